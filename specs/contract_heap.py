"""What a heap does: blocks of any size in an arena, disjoint, aligned, kept until they are freed, and no policy.

The one idea: the arena is an array of units, each with what is written in it. A block is where it begins and how long
it is; which units are free is a function of the live blocks alone, so a heap that merges eagerly refuses exactly when
no gap holds the block with its header. Of a heap whose header, rounding or arena is not known `kmemspec validate heap`
learns from the heap itself what it must give (specs/contracts/heap_oracle.py).
"""

from __future__ import annotations

from typing import Annotated

from ..model.lang import (
    Array,
    Clauses,
    FromScope,
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
    step_property,
)

Unit = Annotated[int, Sort("unit", "units")]
Length = Annotated[int, Range(1, "units")]
Byte = Annotated[int, Range(0, "bytes-1")]


class Heap(Record):
    """The length of the live block that begins at each unit, if one does, and what every unit holds."""

    header: Annotated[int, FromScope("header")]
    alignment: Annotated[int, FromScope("alignment")]
    block: Array[Unit, Length | None]
    memory: Array[Unit, Byte]


def covers(m: Heap, start: int, unit: int) -> bool:
    """Whether the live block that begins at `start`, if one does, has a unit."""
    length = m.block[start]
    return length is not None and start <= unit and unit < start + length


def is_taken(m: Heap, start: int, unit: int) -> bool:
    """As covers, or the unit is of that block's header."""
    length = m.block[start]
    return length is not None and start - m.header <= unit and unit < start + length


def fits(m: Heap, at: int, length: int, beside: Unit | None) -> bool:
    """Whether a block, with its header, lies in the arena and in no live block's place but that of `beside`."""
    if at % m.alignment != 0 or at < m.header or at + length > len(m.block):
        return False
    for start in indices(m.block):
        if beside is None or start != beside:
            for unit in range(at - m.header, at + length):
                if is_taken(m, start, unit):
                    return False
    return True


def is_empty(m: Heap) -> bool:
    """Whether nothing is live."""
    return all(m.block[start] is None for start in indices(m.block))


def no_blocks(m: Heap) -> None:
    """At the beginning nothing is live."""


@action
def allocate(m: Heap, at: Unit, length: Length) -> None:
    """A block becomes live where nothing is; what it holds is whatever the units held."""
    require(fits(m, at, length, None))
    m.block[at] = length


@action
def release(m: Heap, at: Unit) -> None:
    """A live block ends; the heap may use its units from now on."""
    require(m.block[at] is not None)
    m.block[at] = None


@action
def refuse(m: Heap, length: Length) -> None:
    """A request fails: no gap holds it."""
    require(all(not fits(m, at, length, None) for at in indices(m.block)))


@action
def reallocate(m: Heap, at: Unit, to: Unit, length: Length) -> None:
    """A block gets another length, where it is or elsewhere, and keeps what fits of its contents."""
    old = m.block[at]
    require(old is not None)
    assert old is not None
    require(fits(m, to, length, at))
    kept = min(old, length)
    if to <= at:
        for offset in range(0, kept):
            m.memory[to + offset] = m.memory[at + offset]
    else:
        for offset in range(kept - 1, -1, -1):
            m.memory[to + offset] = m.memory[at + offset]
    m.block[at] = None
    m.block[to] = length


@action
def refuse_to_reallocate(m: Heap, at: Unit, length: Length) -> None:
    """A block cannot get that length: no gap holds it, not even with its own place."""
    require(m.block[at] is not None)
    require(all(not fits(m, to, length, at) for to in indices(m.block)))


@action
def write(m: Heap, at: Unit, unit: Unit, byte: Byte) -> None:
    """The client writes into a block of its own."""
    require(covers(m, at, unit))
    m.memory[unit] = byte


@action
def use(m: Heap, unit: Unit, byte: Byte) -> None:
    """The heap writes where nothing is live: headers, links of free blocks."""
    require(all(not covers(m, start, unit) for start in indices(m.block)))
    m.memory[unit] = byte


@invariant("H1")
def live_blocks_disjoint(m: Heap) -> Clauses:
    """No unit is in two live blocks, nor in one and in the header of another."""
    for unit in indices(m.block):
        owners = sum(1 for start in indices(m.block) if is_taken(m, start, unit))
        yield clause("a unit has one owner", owners <= 1, unit)


@invariant("H2")
def live_blocks_in_arena(m: Heap) -> Clauses:
    """A live block lies in the arena, aligned, with its header."""
    for start in indices(m.block):
        length = m.block[start]
        if length is not None:
            inside = start >= m.header and start + length <= len(m.block)
            yield clause("a block lies in the arena", inside, start)
            yield clause("a block is aligned", start % m.alignment == 0, start)


def is_changed(before: Heap, after: Heap, unit: int) -> bool:
    """Whether a unit of a block that lives on in its place holds something else now."""
    lives_on = any(covers(before, start, unit) and covers(after, start, unit) for start in indices(before.block))
    return lives_on and after.memory[unit] != before.memory[unit]


@step_property("H3", action=use)
def the_heap_writes_nowhere_live(before: Heap, after: Heap) -> Clauses:
    """The heap's own writes change no live contents."""
    for unit in indices(before.memory):
        yield clause("live contents are kept", not is_changed(before, after, unit), unit)


@step_property("H6", action=release)
def a_release_keeps_the_others(before: Heap, after: Heap) -> Clauses:
    """Freeing a block changes no other one."""
    for unit in indices(before.memory):
        yield clause("live contents are kept", not is_changed(before, after, unit), unit)
    ended = sum(1 for start in indices(before.block) if before.block[start] != after.block[start])
    yield clause("one block ends", ended == 1)


@step_property("H4", action=reallocate)
def the_prefix_is_kept(before: Heap, after: Heap, at: Unit, to: Unit, length: Length) -> Clauses:
    """A block that is moved or resized keeps what it held, as far as it goes; all others hold what they held."""
    old = before.block[at]
    for offset in range(0, len(before.block)):
        if old is not None and offset < old and offset < length:
            kept = after.memory[to + offset] == before.memory[at + offset]
            yield clause("the prefix is kept", kept, offset)
    for start in indices(before.block):
        for unit in indices(before.block):
            if start != at and covers(before, start, unit):
                yield clause("others are kept", after.memory[unit] == before.memory[unit], start, unit)


@step_property("H5", action=refuse)
def a_refusal_is_harmless(before: Heap, after: Heap, length: Length) -> Clauses:
    """A request that fails changes nothing; with nothing live the whole arena is to be had."""
    for unit in indices(before.block):
        yield clause("blocks stay", after.block[unit] == before.block[unit], unit)
        yield clause("contents stay", after.memory[unit] == before.memory[unit], unit)
    least = before.header if before.header % before.alignment == 0 else before.alignment
    yield clause("an empty heap gives all it has", not is_empty(before) or least + length > len(before.block))


SPEC = Spec(
    name="contract-heap",
    state=Heap,
    init=no_blocks,
    actions=(allocate, release, refuse, reallocate, refuse_to_reallocate, write, use),
    properties=(
        live_blocks_disjoint,
        live_blocks_in_arena,
        the_heap_writes_nowhere_live,
        a_release_keeps_the_others,
        the_prefix_is_kept,
        a_refusal_is_harmless,
    ),
    parameters=(
        Parameter("units", 6, "the units of the arena"),
        Parameter("bytes", 2, "what a unit can hold"),
        Parameter("header", 0, "units before each block that the heap keeps for itself", least=0),
        Parameter("alignment", 1, "units that a block's start is a multiple of"),
    ),
    requirements=(Requirement(lambda sizes: sizes["header"] <= sizes["alignment"], "header <= alignment"),),
    scopes={"header": {"header": 1, "alignment": 2}},
    explored=("header",),
    doc=__doc__,
)
