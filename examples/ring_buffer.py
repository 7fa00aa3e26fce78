"""A ring buffer with two cursors: what a specification of your own looks like.

The counters wrap as C's unsigned integers do, and the ghost `queue_length` says what the buffer should hold.
"""

from typing import Annotated

from kmemspec import (
    GHOST,
    Array,
    Clauses,
    FromScope,
    Machine,
    Parameter,
    Range,
    Record,
    Requirement,
    Sort,
    Spec,
    action,
    clause,
    indices,
    invariant,
    require,
)

Slot = Annotated[int, Sort("slot", "slots")]
Cursor = Annotated[int, Machine("bits")]


class Ring(Record):
    """The state: a flag for each slot, the cursors, and a ghost that says what they should tell."""

    bits: Annotated[int, FromScope("bits")]
    full: Array[Slot, bool]
    head: Cursor
    tail: Cursor
    queue_length: Annotated[int, Range(0, "slots"), GHOST]


def used(ring: Ring) -> int:
    """How far apart the cursors are, whatever wrapped."""
    return (ring.head - ring.tail) % (1 << ring.bits)


def empty(ring: Ring) -> None:
    """Nothing is in the buffer."""


@action
def put(ring: Ring) -> None:
    """The producer fills the next slot."""
    require(used(ring) < len(ring.full))
    slot = ring.head % len(ring.full)
    assert not ring.full[slot], "a full slot is overwritten"
    ring.full[slot] = True
    ring.head += 1
    ring.queue_length += 1


@action
def get(ring: Ring) -> None:
    """The consumer empties the oldest slot."""
    require(used(ring) > 0)
    slot = ring.tail % len(ring.full)
    assert ring.full[slot], "an empty slot is read"
    ring.full[slot] = False
    ring.tail += 1
    ring.queue_length -= 1


@invariant("length")
def length_is_right(ring: Ring) -> Clauses:
    """The cursors say how many slots are full."""
    full = sum(1 for slot in indices(ring.full) if ring.full[slot])
    yield clause("the cursors are as far apart as the queue is long", used(ring) == ring.queue_length)
    yield clause("as many slots are full", full == ring.queue_length)


@invariant("window")
def full_slots_lie_between_the_cursors(ring: Ring) -> Clauses:
    """A slot is full exactly when it lies between the cursors."""
    for slot in indices(ring.full):
        distance = (slot - ring.tail) % len(ring.full)
        yield clause("full from tail to head", ring.full[slot] == (distance < used(ring)), slot)


SPEC = Spec(
    name="ring",
    state=Ring,
    init=empty,
    actions=(put, get),
    properties=(length_is_right, full_slots_lie_between_the_cursors),
    parameters=(
        Parameter("slots", 4, "the number of slots", most=64),
        Parameter("bits", 3, "the width of the cursors", most=16),
    ),
    requirements=(
        Requirement(lambda scope: scope["slots"] < 1 << scope["bits"], "a full buffer must differ from an empty one"),
    ),
)
