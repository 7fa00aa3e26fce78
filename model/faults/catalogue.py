"""All faults, by identifier; those of the contracts of `validate` are found too, and not among the kernel's."""

from __future__ import annotations

from ..lang.errors import InputError
from . import Fault
from .buddy import FAULTS as BUDDY
from .cache import FAULTS as CACHE
from .contracts import FAULTS as CONTRACTS
from .lru import FAULTS as LRU
from .reclaim import FAULTS as RECLAIM
from .slub import FAULTS as SLUB
from .swap import FAULTS as SWAP
from .system import FAULTS as SYSTEM
from .zone import FAULTS as ZONE

ALL: tuple[Fault, ...] = (*BUDDY, *ZONE, *CACHE, *SLUB, *LRU, *SWAP, *RECLAIM, *SYSTEM)


def find(identifier: str) -> Fault:
    """The fault with this identifier; raises InputError naming near ones."""
    for fault in (*ALL, *CONTRACTS):
        if fault.identifier.lower() == identifier.lower():
            return fault
    near = [fault.identifier for fault in (*ALL, *CONTRACTS) if identifier.lower() in fault.identifier.lower()][:5]
    known = ", ".join(near) or "`kmemspec faults list` shows them all"
    raise InputError(f"there is no fault {identifier!r}", f"did you mean: {known}")
