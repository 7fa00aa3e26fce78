"""Compiled code that takes a state to the least of those it becomes under the renamings (see `symmetry`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codegen import WORDS, Value, int64
from .symmetry import LOOKUP_SLOTS, MOVE_SLOTS

if TYPE_CHECKING:
    from .driver import Code


def emit_canonicalise(code: Code) -> Value:
    """canonicalise(context, state): rename the state in place; how many renamings lead to what it is now. The context's
    `renamed` is one of them: its number plus one, or 0 for none."""
    builder = code.builder
    code.put("renamed", 0)
    state = code.arguments[1]
    original, candidate = code.pointer("original"), code.pointer("candidate")
    with code.each(0, code.get("words")) as index:
        builder.store(code.word(state, index), code.at(original, index))
    affected, streams = code.get("affected"), code.pointer("streams")
    ties = code.variable(code.get("idle"))
    with code.each(0, code.get("renamings")) as renaming:
        stream = code.variable(code.word(streams, renaming))
        less = code.variable(0)
        number = code.variable(0)
        with code.loop(lambda: code.test(builder.load(number), "<", affected)) as over:
            head = builder.inttoptr(builder.load(stream), WORDS)
            word = code.word(head, 0)
            renamed = _word(code, original, head, stream)
            builder.store(renamed, code.at(candidate, builder.load(number)))
            with code.when(code.test(builder.load(less), "==", 0)):
                best = code.word(state, word)
                with code.when(builder.icmp_unsigned(">", renamed, best)):
                    builder.store(int64(-1), less)
                with code.when(builder.icmp_unsigned("<", renamed, best)):
                    builder.store(int64(1), less)
            code.leave_if(code.test(builder.load(less), "<", 0), over)
            builder.store(builder.add(builder.load(number), int64(1)), number)
        with code.when(code.test(builder.load(less), "==", 0)):
            builder.store(builder.add(builder.load(ties), int64(1)), ties)
        with code.when(code.test(builder.load(less), ">", 0)):
            builder.store(int64(1), ties)
            code.put("renamed", builder.add(renaming, int64(1)))
            order = code.pointer("affected_words")
            with code.each(0, affected) as index:
                builder.store(code.word(candidate, index), code.at(state, code.word(order, index)))
    code.returns(builder.load(ties))
    return code.function


def _word(code: Code, original: Value, head: Value, stream: Value) -> Value:
    """One word of the renamed state; leaves the stream at the next one."""
    builder = code.builder
    moves, lookups = code.word(head, 1), code.word(head, 2)
    result = code.variable(0)
    first = code.at(head, 3)

    def take(bits: Value, rotation: Value) -> None:
        left = builder.shl(bits, rotation)
        right = builder.lshr(bits, builder.and_(builder.neg(rotation), int64(63)))
        builder.store(builder.or_(builder.load(result), builder.or_(left, right)), result)

    with code.each(0, moves) as index:
        move = code.at(first, builder.mul(index, int64(MOVE_SLOTS)))
        source, mask, rotation = (code.word(move, slot) for slot in range(MOVE_SLOTS))
        take(builder.and_(code.word(original, source), mask), rotation)
    second = code.at(first, builder.mul(moves, int64(MOVE_SLOTS)))
    with code.each(0, lookups) as index:
        lookup = code.at(second, builder.mul(index, int64(LOOKUP_SLOTS)))
        source, shift, mask, table, rotation = (code.word(lookup, slot) for slot in range(LOOKUP_SLOTS))
        chunk = builder.and_(builder.lshr(code.word(original, source), shift), mask)
        take(code.word(builder.inttoptr(table, WORDS), chunk), rotation)
    end = code.at(second, builder.mul(lookups, int64(LOOKUP_SLOTS)))
    builder.store(builder.ptrtoint(end, int64(0).type), stream)
    return builder.load(result)
