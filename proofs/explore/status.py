"""How compiled code says what happened: one int64, 0 when all went well.

1: disabled. 2: too many choices. Otherwise a failure or a false claim: bits 0-3 the kind, bits 4-31 the position
(an index into `Program.positions`), bits 32-62 the clause of a claim or the number of an assert's message.
"""

from __future__ import annotations

from ...model.lang.ir import FailureKind

OK, DISABLED, TOO_MANY_CHOICES = 0, 1, 2
CLAIM = 15
KINDS = tuple(FailureKind)
_FIRST_KIND = 3
LARGEST_POSITION = (1 << 28) - 1


def failure_status(kind: FailureKind, where: int, message: int = 0) -> int:
    """The status of a failure."""
    return (_FIRST_KIND + KINDS.index(kind)) | where << 4 | message << 32


def claim_status(clause: int, where: int) -> int:
    """The status of a false claim."""
    return CLAIM | where << 4 | clause << 32


def kind_of(status: int) -> FailureKind | None:
    """The failure kind, or None for a claim."""
    code = status & 15
    return None if code == CLAIM else KINDS[code - _FIRST_KIND]


def where_of(status: int) -> int:
    """The position."""
    return status >> 4 & LARGEST_POSITION


def detail_of(status: int) -> int:
    """The clause or message number."""
    return status >> 32
