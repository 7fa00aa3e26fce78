"""The search loop as LLVM code, around the functions of a program.

States live in chunks, in the order in which they are found, so a state's number is its place in the breadth-first
order and the states still to expand are those between a cursor and the end. Behind the states of a chunk lie their
parents' numbers (32 bits). The table is open-addressed: an entry is 32 bits, a state's number plus one in as many low
bits as number the slots, and hash bits above; on equal hash bits whole states are compared, so no state is lost.
Successors are not looked up at once but wait in a small buffer while the processor fetches their table slots and then
the states there: the search is bound by memory latency otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir as ll  # type: ignore[import-untyped]

from ...model.lang import ir
from . import context as shared
from . import status
from .codegen import I32, I64, WORDS, ModuleEmitter, Value, draw, int64
from .symmetry_code import emit_canonicalise

VOID = ll.VoidType()
INVALID = int64(-1)
DRAWS_PER_ACTION = 256
SIGNATURES = {
    "run": 2,  # (context, number of states to expand)
    "seed_states": 1,  # (context): find the initial states
    "execute": 2,  # (context, action or -1): one step from source to target
    "judge": 2,  # (context, property) about source and target
    "insert_target": 1,  # (context): the number of the target state, judged and stored when new
    "walk": 2,  # (context, steps)
    "canonical_target": 1,  # (context): rename the target state to the one that stands for it
}
"""The functions that Python calls: all take the context's address, then integers, and return an int64."""


class Code:
    """A function under construction, with structured control flow and named access to the context."""

    def __init__(
        self, driver: Driver, name: str, kinds: Sequence[Any], result: Any = I64, exported: bool = False
    ) -> None:
        self.shared = driver.shared
        self.function = ll.Function(driver.module, ll.FunctionType(result, list(kinds)), name)
        if not exported:
            self.function.linkage = "internal"
        self.arguments = self.function.args
        self.context = self.arguments[0]
        self.builder = ll.IRBuilder(self.function.append_basic_block())

    def place(self, offset: int | str) -> Value:
        """The address of a slot of the context."""
        number = self.shared.scalar[offset] if isinstance(offset, str) else offset
        return self.builder.gep(self.context, [ll.Constant(I32, number)])

    def get(self, offset: int | str) -> Value:
        """A slot of the context."""
        return self.builder.load(self.place(offset))

    def put(self, offset: int | str, value: Value | int) -> None:
        """Set a slot."""
        self.builder.store(int64(value) if isinstance(value, int) else value, self.place(offset))

    def pointer(self, offset: int | str) -> Value:
        """A slot that holds an address."""
        return self.builder.inttoptr(self.get(offset), WORDS)

    def count(self, offset: int | str, by: Value | int = 1) -> None:
        """Add to a slot."""
        self.put(offset, self.builder.add(self.get(offset), int64(by) if isinstance(by, int) else by))

    def at(self, pointer: Value, index: Value | int) -> Value:
        """The address of a word."""
        return self.builder.gep(pointer, [int64(index) if isinstance(index, int) else index])

    def word(self, pointer: Value, index: Value | int) -> Value:
        """A word."""
        return self.builder.load(self.at(pointer, index))

    def variable(self, value: Value | int) -> Value:
        """A mutable int64 with this value now."""
        with self.builder.goto_entry_block():
            cell = self.builder.alloca(I64)
        self.builder.store(int64(value) if isinstance(value, int) else value, cell)
        return cell

    def test(self, left: Value, operator: str, right: Value | int) -> Value:
        """A signed comparison."""
        return self.builder.icmp_signed(operator, left, int64(right) if isinstance(right, int) else right)

    def returns(self, value: Value | int) -> None:
        """Return."""
        self.builder.ret(int64(value) if isinstance(value, int) else value)

    def when(self, condition: Value, likely: bool | None = None) -> Any:
        """`with code.when(condition): …`"""
        return self.builder.if_then(condition, likely=likely)

    @contextmanager
    def loop(self, condition: Callable[[], Value] | None = None) -> Iterator[Value]:
        """`while condition():`; yields the block to jump to in order to leave."""
        builder = self.builder
        head, body, done = (self.function.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        if condition is None:
            builder.branch(body)
        else:
            builder.cbranch(condition(), body, done)
        builder.position_at_end(body)
        yield done
        if not builder.block.is_terminated:
            builder.branch(head)
        builder.position_at_end(done)

    @contextmanager
    def each(self, start: Value | int, stop: Value) -> Iterator[Value]:
        """`for index in range(start, stop)`."""
        cell = self.variable(start)
        with self.loop(lambda: self.test(self.builder.load(cell), "<", stop)):
            index = self.builder.load(cell)
            yield index
            self.builder.store(self.builder.add(index, int64(1)), cell)

    def leave_if(self, condition: Value, block: Value) -> None:
        """Jump to `block` when the condition holds."""
        go_on = self.function.append_basic_block()
        self.builder.cbranch(condition, block, go_on)
        self.builder.position_at_end(go_on)


class Driver:
    """Adds the search to a program's module."""

    def __init__(self, emitter: ModuleEmitter) -> None:
        self.emitter = emitter
        self.program = emitter.program
        self.module = emitter.module
        self.shared = emitter.context
        self.prefetch_function = ll.Function(
            self.module, ll.FunctionType(VOID, [WORDS, I32, I32, I32]), "llvm.prefetch.p0"
        )
        self.hash = self._hash()
        self.address = self._address()
        self.canonicalise = emit_canonicalise(Code(self, "canonicalise", [WORDS, WORDS]))
        self.record = self._record()
        self.by_kind = self._properties_by_kind()
        self.judge_one = {index: self._judge_one(index) for index in range(len(self.program.properties))}
        self.judge_state = self._judge_state()
        self.rehash = self._rehash()
        self.look_up = self._look_up()
        self.flush = self._flush()
        self.submit = self._submit()
        self.judge_step = {action: self._judge_step(action) for action in range(len(self.program.actions))}
        self._seed_states()
        self._run(self._expand())
        self._execute()
        self._judge()
        self._insert_target()
        self._canonical_target()
        self._walk()

    # --- states and table ------------------------------------------------------------------------------------

    def prefetch(self, code: Code, pointer: Value) -> None:
        """Ask for a cache line."""
        numbers = [ll.Constant(I32, number) for number in (0, 3, 1)]
        code.builder.call(self.prefetch_function, [pointer, *numbers])

    def _hash(self) -> Value:
        """hash(words, count): 64 bits from whole words."""
        code = Code(self, "hash", [WORDS, I64])
        builder = code.builder
        cell = code.variable(0x51_7C_C1_B7_27_22_0A_95)
        with code.each(0, code.arguments[1]) as index:
            mixed = builder.xor(builder.load(cell), code.word(code.arguments[0], index))
            mixed = builder.mul(mixed, int64(0x9E3779B97F4A7C15))
            builder.store(builder.xor(mixed, builder.lshr(mixed, int64(32))), cell)
        mixed = builder.mul(builder.load(cell), int64(0xD6E8FEB86659FD93))
        code.returns(builder.xor(mixed, builder.lshr(mixed, int64(29))))
        return code.function

    def _address(self) -> Value:
        """address(context, state number)."""
        code = Code(self, "address", [WORDS, I64], WORDS)
        builder = code.builder
        chunk = builder.inttoptr(
            code.word(code.pointer("chunks"), builder.lshr(code.arguments[1], code.get("chunk_shift"))), WORDS
        )
        inside = builder.and_(code.arguments[1], self._chunk_mask(code))
        builder.ret(code.at(chunk, builder.mul(inside, code.get("words"))))
        return code.function

    def _chunk_mask(self, code: Code) -> Value:
        builder = code.builder
        return builder.not_(builder.shl(int64(-1), code.get("chunk_shift")))

    def parent_place(self, code: Code, number: Value) -> Value:
        """Where a state's parent is stored."""
        builder = code.builder
        shift = code.get("chunk_shift")
        chunk = builder.inttoptr(code.word(code.pointer("chunks"), builder.lshr(number, shift)), WORDS)
        parents = code.at(chunk, builder.shl(code.get("words"), shift))
        inside = builder.and_(number, self._chunk_mask(code))
        return builder.gep(builder.bitcast(parents, I32.as_pointer()), [inside])

    def copy(self, code: Code, target: Value, source: Value, words: Value) -> None:
        """Copy a state."""
        with code.each(0, words) as index:
            code.builder.store(code.word(source, index), code.at(target, index))

    def same(self, code: Code, left: Value, right: Value, words: Value) -> Value:
        """Whether two states are equal."""
        builder = code.builder
        cell = code.variable(1)
        index = code.variable(0)
        with code.loop(lambda: code.test(builder.load(index), "<", words)) as done:
            number = builder.load(index)
            equal = builder.icmp_signed("==", code.word(left, number), code.word(right, number))
            builder.store(builder.zext(equal, I64), cell)
            code.leave_if(builder.not_(equal), done)
            builder.store(builder.add(number, int64(1)), index)
        return builder.icmp_signed("!=", builder.load(cell), int64(0))

    def _rehash(self) -> Value:
        """rehash(context): enter every state into the (new, empty) table."""
        code = Code(self, "rehash", [WORDS], VOID)
        builder = code.builder
        words, mask = code.get("words"), code.get("table_mask")
        with code.each(0, code.get("states")) as number:
            pointer = builder.call(self.address, [code.context, number])
            mixed = builder.call(self.hash, [pointer, words])
            slot = code.variable(builder.and_(mixed, mask))
            with code.loop() as empty:
                code.leave_if(code.test(self.entry_at(code, builder.load(slot)), "==", 0), empty)
                builder.store(builder.and_(builder.add(builder.load(slot), int64(1)), mask), slot)
            self._enter(code, builder.load(slot), mixed, number)
        builder.ret_void()
        return code.function

    def _slot_place(self, code: Code, slot: Value) -> Value:
        builder = code.builder
        return builder.gep(builder.bitcast(code.pointer("table"), I32.as_pointer()), [slot])

    def entry_at(self, code: Code, slot: Value) -> Value:
        """An entry of the table, 0 when it is empty."""
        return code.builder.zext(code.builder.load(self._slot_place(code, slot)), I64)

    def _enter(self, code: Code, slot: Value, mixed: Value, number: Value) -> None:
        """Write an entry: a number plus one is below the number of slots, so the hash bits above it are free."""
        builder = code.builder
        tag = builder.and_(builder.lshr(mixed, int64(32)), builder.not_(code.get("table_mask")))
        entry = builder.or_(tag, builder.add(number, int64(1)))
        builder.store(builder.trunc(entry, I32), self._slot_place(code, slot))

    def alike(self, code: Code, entry: Value, mixed: Value) -> Value:
        """Whether an entry's hash bits are those of a hash."""
        builder = code.builder
        differing = builder.xor(entry, builder.lshr(mixed, int64(32)))
        return code.test(builder.and_(differing, builder.not_(code.get("table_mask"))), "==", 0)

    def number_in(self, code: Code, entry: Value) -> Value:
        """The state number of an entry."""
        return code.builder.sub(code.builder.and_(entry, code.get("table_mask")), int64(1))

    def _grow(self, code: Code, kind: int) -> Value:
        """Ask Python for memory; 0 when there is some."""
        builder = code.builder
        signature = ll.FunctionType(I64, [I64]).as_pointer()
        return builder.call(builder.inttoptr(code.get("grow"), signature), [int64(kind)])

    def _look_up(self) -> Value:
        """look_up(context, words, hash, parent, action, orbit): the state's number when it is new (then it is stored
        and judged), -1 when it is known, -2 when there is no room."""
        code = Code(self, "look_up", [WORDS, WORDS, I64, I64, I64, I64])
        builder = code.builder
        context, state, mixed, parent, action, orbit = code.arguments
        words, mask = code.get("words"), code.get("table_mask")
        slot = code.variable(builder.and_(mixed, mask))
        with code.loop() as empty:
            entry = self.entry_at(code, builder.load(slot))
            code.leave_if(code.test(entry, "==", 0), empty)
            with code.when(self.alike(code, entry, mixed)):
                other = builder.call(self.address, [context, self.number_in(code, entry)])
                with code.when(self.same(code, state, other, words)):
                    code.returns(-1)
            builder.store(builder.and_(builder.add(builder.load(slot), int64(1)), mask), slot)
        number = code.get("states")
        with code.when(code.test(number, ">=", code.get("state_limit")), likely=False):
            code.put("stop", shared.STOP_STATES)
            code.returns(-2)
        with code.when(code.test(number, ">=", code.get("capacity")), likely=False), \
                code.when(code.test(self._grow(code, shared.GROW_STATES), "!=", 0)):
            code.put("stop", shared.STOP_MEMORY)
            code.returns(-2)
        target = builder.call(self.address, [context, number])
        self.copy(code, target, state, words)
        builder.store(builder.trunc(parent, I32), self.parent_place(code, number))
        self._enter(code, builder.load(slot), mixed, number)
        code.put("states", builder.add(number, int64(1)))
        code.count("orbits", orbit)
        counter = builder.add(builder.mul(action, int64(shared.COUNTER_SLOTS)), int64(self.shared.counters + 2))
        place = code.at(context, counter)
        builder.store(builder.add(builder.load(place), int64(1)), place)
        builder.call(self.judge_state, [context, target, parent, number])
        with code.when(code.test(code.get("states"), ">=", code.get("table_room")), likely=False):
            with code.when(code.test(self._grow(code, shared.GROW_TABLE), "!=", 0)):
                code.put("stop", shared.STOP_MEMORY)
                code.returns(number)
            builder.call(self.rehash, [context])
        code.returns(number)
        return code.function

    # --- properties ------------------------------------------------------------------------------------------

    def _properties_by_kind(self) -> dict[str, list[int]]:
        kinds: dict[str, list[int]] = {"invariant": [], "initial": [], "step": [], "refinement": []}
        for index, prop in enumerate(self.program.properties):
            kinds[prop.kind].append(index)
        return kinds

    def _record(self) -> Value:
        """record(context, property, status, parent, state): the first violation of a property."""
        code = Code(self, "record", [WORDS, I64, I64, I64, I64], VOID)
        builder = code.builder
        context, prop, *details = code.arguments
        first = builder.add(builder.mul(prop, int64(shared.FOUND_SLOTS)), int64(self.shared.found))
        with code.when(code.test(code.word(context, first), "==", 0)):
            for offset, value in enumerate([int64(1), *details]):
                builder.store(value, code.at(context, builder.add(first, int64(offset))))
            with code.when(code.test(code.get("stop_at_first"), "!=", 0)):
                code.put("stop", shared.STOP_VIOLATION)
        builder.ret_void()
        return code.function

    def _judge_one(self, index: int) -> Value:
        """judge(context, current, before, result): a property's status; arguments come from the context."""
        prop = self.program.properties[index]
        code = Code(self, f"judge.{index}", [WORDS, WORDS, WORDS, I64])
        builder = code.builder
        function = self.program.functions[prop.function]
        roots = {ir.CURRENT: code.arguments[1], ir.BEFORE: code.arguments[2]}
        needed = self.emitter.roots[prop.function]
        for root, name in ((ir.ABSTRACT, "abstract"), (ir.ABSTRACT_AFTER, "abstract_after")):
            if root in needed:
                roots[root] = code.pointer(name)
                self.copy(code, roots[root], code.pointer("abstract_start"), code.get("abstract_words"))
        values = [code.get(self.shared.arguments + number) for number in range(len(function.parameters))]
        action = next((a for a in self.program.actions if a.name == prop.action), None)
        if action is not None:
            values = [*values[: len(action.parameters)], code.arguments[3]][: len(function.parameters)]
        pair = self.emitter.call(builder, prop.function, code.context, code.pointer("parameters"), roots, values)
        builder.ret(builder.extract_value(pair, 1))
        return code.function

    def _judge_all(
        self, code: Code, indices: Sequence[int], roots: Sequence[Value], parent: Value, state: Value
    ) -> None:
        """Record the first violation of each of these properties; `roots` are current, before and the result."""
        for index in indices:
            with code.when(code.test(code.get(self.shared.found_slot(index)), "==", 0)):
                verdict = code.builder.call(self.judge_one[index], [code.context, *roots])
                with code.when(code.test(verdict, "!=", 0), likely=False):
                    code.builder.call(self.record, [code.context, int64(index), verdict, parent, state])

    def _judge_state(self) -> Value:
        """judge_state(context, state, parent, number): the invariants, and in initial states those about them."""
        code = Code(self, "judge_state", [WORDS, WORDS, I64, I64], VOID)
        _, state, parent, number = code.arguments
        roots = [state, state, int64(0)]
        self._judge_all(code, self.by_kind["invariant"], roots, parent, number)
        if self.by_kind["initial"]:
            with code.when(code.test(parent, "==", shared.NO_PARENT)):
                self._judge_all(code, self.by_kind["initial"], roots, parent, number)
        code.builder.ret_void()
        return code.function

    def _judge_step(self, action: int) -> Value | None:
        """judge_step(context, after, before, result, parent), None when nothing is claimed about this action."""
        name = self.program.actions[action].name
        indices = [
            index
            for index in sorted(self.by_kind["step"] + self.by_kind["refinement"])
            if self.program.properties[index].action in (None, name)
        ]
        if not indices:
            return None
        code = Code(self, f"judge_step.{action}", [WORDS, WORDS, WORDS, I64, I64], VOID)
        _, after, before, result, parent = code.arguments
        self._judge_all(code, indices, [after, before, result], parent, INVALID)
        code.builder.ret_void()
        return code.function

    # --- successors ------------------------------------------------------------------------------------------

    def _flush(self) -> Value:
        """flush(context): look up the successors that wait."""
        code = Code(self, "flush", [WORDS], VOID)
        builder = code.builder
        stride = builder.add(code.get("words"), int64(shared.PENDING_HEADER))
        total = code.get("pending_count")
        code.put("pending_count", 0)

        def entry_of(index: Value) -> Value:
            return code.at(code.pointer("pending"), builder.mul(index, stride))

        with code.each(0, total) as index:
            mixed = code.word(entry_of(index), 0)
            entry = self.entry_at(code, builder.and_(mixed, code.get("table_mask")))
            with code.when(builder.and_(self.alike(code, entry, mixed), code.test(entry, "!=", 0))):
                self.prefetch(code, builder.call(self.address, [code.context, self.number_in(code, entry)]))
        with code.each(0, total) as index:
            with code.when(code.test(code.get("stop"), ">", shared.STOP_VIOLATION), likely=False):
                builder.ret_void()
            waiting = entry_of(index)
            header = [code.word(waiting, number) for number in range(shared.PENDING_HEADER)]
            builder.call(self.look_up, [code.context, code.at(waiting, shared.PENDING_HEADER), *header])
        builder.ret_void()
        return code.function

    def waiting_state(self, code: Code) -> Value:
        """Where the next successor is to be made: its words in the buffer."""
        builder = code.builder
        stride = builder.add(code.get("words"), int64(shared.PENDING_HEADER))
        entry = code.at(code.pointer("pending"), builder.mul(code.get("pending_count"), stride))
        return code.at(entry, shared.PENDING_HEADER)

    def _submit(self) -> Value:
        """submit(context, words in the buffer, parent, action): let the successor wait for its lookup."""
        code = Code(self, "submit", [WORDS, WORDS, I64, I64], VOID)
        builder = code.builder
        context, state, parent, action = code.arguments
        orbit = code.variable(1)
        with code.when(code.test(code.get("renamings"), "!=", 0)):
            ties = builder.call(self.canonicalise, [context, state])
            builder.store(builder.udiv(code.get("group_order"), ties), orbit)
        mixed = builder.call(self.hash, [state, code.get("words")])
        for offset, value in enumerate([mixed, parent, action, builder.load(orbit)]):
            builder.store(value, code.at(state, offset - shared.PENDING_HEADER))
        slot = self._slot_place(code, builder.and_(mixed, code.get("table_mask")))
        self.prefetch(code, builder.bitcast(slot, WORDS))
        total = builder.add(code.get("pending_count"), int64(1))
        code.put("pending_count", total)
        with code.when(code.test(total, ">=", shared.PENDING), likely=False):
            builder.call(self.flush, [context])
        builder.ret_void()
        return code.function

    def every_choice(self, code: Code, function: str, body: Callable[[], None]) -> None:
        """Run `body` for each way in which the function can choose."""
        if function not in self.emitter.chooses:
            body()
            return
        builder = code.builder
        code.put("script_length", 0)
        with code.loop() as done:
            code.put("script_position", 0)
            body()
            last = code.variable(builder.sub(code.get("script_length"), int64(1)))

            def exhausted() -> Value:
                value = code.word(code.at(code.context, self.shared.script), builder.load(last))
                stop = code.word(code.at(code.context, self.shared.stops), builder.load(last))
                return code.test(builder.add(value, int64(1)), ">=", stop)

            with code.loop() as found:
                code.leave_if(code.test(builder.load(last), "<", 0), done)
                code.leave_if(builder.not_(exhausted()), found)
                builder.store(builder.sub(builder.load(last), int64(1)), last)
            place = code.at(code.at(code.context, self.shared.script), builder.load(last))
            builder.store(builder.add(builder.load(place), int64(1)), place)
            code.put("script_length", builder.add(builder.load(last), int64(1)))

    def _failed(self, code: Code, verdict: Value, parent: Value) -> None:
        """Record the failure of an action."""
        with code.builder.if_else(code.test(verdict, "==", status.TOO_MANY_CHOICES), likely=False) as (many, other):
            with many:
                code.put("stop", shared.STOP_CHOICES)
            with other:
                code.builder.call(self.record, [code.context, int64(self.shared.checks), verdict, parent, INVALID])

    def _seed_states(self) -> None:
        """Find the initial states."""
        code = Code(self, "seed_states", [WORDS], exported=True)
        builder = code.builder
        counters = self.shared.counter_slot(len(self.program.actions))

        def once() -> None:
            target = self.waiting_state(code)
            self.copy(code, target, code.pointer("start"), code.get("words"))
            pair = self.emitter.call(
                builder, self.program.init, code.context, code.pointer("parameters"), {ir.CURRENT: target}, []
            )
            verdict = builder.extract_value(pair, 1)
            with code.when(code.test(verdict, "==", 0)):
                code.count(counters + 1)
                action = int64(len(self.program.actions))
                builder.call(self.submit, [code.context, target, int64(shared.NO_PARENT), action])
            with code.when(code.test(verdict, ">", status.DISABLED)):
                self._failed(code, verdict, int64(shared.NO_PARENT))

        self.every_choice(code, self.program.init, once)
        builder.call(self.flush, [code.context])
        code.put("level_end", code.get("states"))
        code.put("peak", code.get("states"))
        code.returns(code.get("stop"))

    def every_argument(self, code: Code, action: int, body: Callable[[list[Value]], None]) -> None:
        """Nested loops over the bounds of the parameters, the last one fastest."""
        parameters = code.pointer("parameters")
        judged = self.judge_step[action] is not None

        def descend(values: list[Value]) -> None:
            number = len(values)
            if number == len(self.program.actions[action].parameters):
                body(values)
                return
            slot = self.emitter.slots.argument(action, number)
            low, high = (self.emitter.parameter(code.builder, parameters, slot + offset) for offset in (0, 1))
            with code.each(low, code.builder.add(high, int64(1))) as value:
                if judged:
                    code.put(self.shared.arguments + number, value)
                descend([*values, value])

        descend([])

    def _expand(self) -> Value:
        """expand(context, number): all successors of a state."""
        code = Code(self, "expand", [WORDS, I64], VOID)
        builder = code.builder
        parent = code.arguments[1]
        source = builder.call(self.address, [code.context, parent])
        words, parameters = code.get("words"), code.pointer("parameters")
        fired = code.variable(0)
        for index, action in enumerate(self.program.actions):
            self.every_argument(
                code, index, self._fire(code, index, action, (parent, source, words, parameters, fired))
            )
        if self.program.deadlock_free:
            with code.when(code.test(builder.load(fired), "==", 0), likely=False):
                builder.call(self.record, [code.context, int64(self.shared.deadlock), int64(0), parent, INVALID])
        builder.ret_void()
        return code.function

    def _fire(
        self, code: Code, index: int, action: ir.ActionIR, frame: tuple[Value, ...]
    ) -> Callable[[list[Value]], None]:
        builder = code.builder
        parent, source, words, parameters, fired = frame
        counters = self.shared.counter_slot(index)

        def with_arguments(values: list[Value]) -> None:
            enabled = code.variable(0)

            def once() -> None:
                target = self.waiting_state(code)
                self.copy(code, target, source, words)
                roots = {ir.CURRENT: target, ir.BEFORE: source}
                pair = self.emitter.call(builder, action.function, code.context, parameters, roots, values)
                verdict = builder.extract_value(pair, 1)
                with code.when(code.test(verdict, "!=", status.DISABLED)):
                    builder.store(int64(1), enabled)
                    builder.store(int64(1), fired)
                    with builder.if_else(code.test(verdict, "==", 0), likely=True) as (completed, failed):
                        with failed:
                            self._failed(code, verdict, parent)
                        with completed:
                            code.count(counters + 1)
                            if self.judge_step[index] is not None:
                                result = builder.extract_value(pair, 0)
                                call = [code.context, target, source, result, parent]
                                builder.call(self.judge_step[index], call)
                            moved = builder.not_(self.same(code, target, source, words))
                            with code.when(moved):
                                builder.call(self.submit, [code.context, target, parent, int64(index)])

            self.every_choice(code, action.function, once)
            code.count(counters, builder.load(enabled))

        return with_arguments

    def _run(self, expand: Value) -> None:
        """run(context, count): expand so many states; 1 when none is left."""
        code = Code(self, "run", [WORDS, I64], exported=True)
        builder = code.builder
        with code.each(0, code.arguments[1]):
            with code.when(code.test(code.get("cursor"), ">=", code.get("level_end"))):
                builder.call(self.flush, [code.context])
                with code.when(code.test(code.get("states"), "<=", code.get("cursor"))):
                    code.returns(1)
                with code.when(code.test(code.get("stop"), "==", 0)):
                    size = builder.sub(code.get("states"), code.get("cursor"))
                    with code.when(code.test(size, ">", code.get("peak"))):
                        code.put("peak", size)
                    code.put("level_end", code.get("states"))
                    code.count("depth")
            with code.when(code.test(code.get("stop"), "!=", 0)):
                code.returns(0)
            builder.call(expand, [code.context, code.get("cursor")])
            code.count("cursor")
        code.returns(0)

    # --- single steps ----------------------------------------------------------------------------------------

    def switch(self, code: Code, number: Value, cases: int, body: Callable[[int], None]) -> None:
        """Run `body(case)` for the case that `number` is; each must return."""
        blocks = [code.function.append_basic_block() for _ in range(cases)]
        default = code.function.append_basic_block()
        switch = code.builder.switch(number, default)
        for case, block in enumerate(blocks):
            switch.add_case(int64(case), block)
            code.builder.position_at_end(block)
            body(case)
        code.builder.position_at_end(default)

    def _execute(self) -> None:
        """execute(context, action): one step from source to target; any other number runs init."""
        code = Code(self, "execute", [WORDS, I64], exported=True)
        builder = code.builder
        source, target, parameters = (code.pointer(name) for name in ("source", "target", "parameters"))
        code.put("script_position", 0)
        self.copy(code, target, source, code.get("words"))
        roots = {ir.CURRENT: target, ir.BEFORE: source}

        def finish(function: str, values: list[Value]) -> None:
            pair = self.emitter.call(builder, function, code.context, parameters, roots, values)
            code.put("result", builder.extract_value(pair, 0))
            code.returns(builder.extract_value(pair, 1))

        def case(action: int) -> None:
            declared = self.program.actions[action]
            values = [code.get(self.shared.arguments + number) for number in range(len(declared.parameters))]
            finish(declared.function, values)

        self.switch(code, code.arguments[1], len(self.program.actions), case)
        finish(self.program.init, [])
        self.execute = code.function

    def _judge(self) -> None:
        """judge(context, property): its status for the step from source to target."""
        code = Code(self, "judge", [WORDS, I64], exported=True)
        roots = [code.pointer("target"), code.pointer("source"), code.get("result")]

        def case(index: int) -> None:
            code.returns(code.builder.call(self.judge_one[index], [code.context, *roots]))

        self.switch(code, code.arguments[1], len(self.program.properties), case)
        code.returns(0)

    def _insert_target(self) -> None:
        """insert_target(context): see `look_up`; the parent comes from the context, the action is the initial one."""
        code = Code(self, "insert_target", [WORDS], exported=True)
        builder = code.builder
        target = code.pointer("target")
        mixed = builder.call(self.hash, [target, code.get("words")])
        action = int64(len(self.program.actions))
        call = [code.context, target, mixed, code.get("parent"), action, int64(1)]
        code.returns(builder.call(self.look_up, call))

    def _canonical_target(self) -> None:
        """canonical_target(context): the state in the target buffer, renamed; how many renamings lead to it."""
        code = Code(self, "canonical_target", [WORDS], exported=True)
        code.returns(code.builder.call(self.canonicalise, [code.context, code.pointer("target")]))

    def _walk(self) -> None:
        """walk(context, steps): random steps from source, judged; source is the last state in the end."""
        code = Code(self, "walk", [WORDS, I64], exported=True)
        builder = code.builder
        source, target, words = code.pointer("source"), code.pointer("target"), code.get("words")
        step = self._random_step()
        with code.each(0, code.arguments[1]):
            action = builder.call(step, [code.context])
            with code.when(code.test(action, "==", -1)):
                code.returns(shared.WALK_STUCK)
            with code.when(code.test(action, "==", -2)):
                code.returns(shared.WALK_FAILED)
            with code.when(code.test(code.get("stop"), "!=", 0)):
                code.returns(shared.WALK_VIOLATED)
            mixed = builder.call(self.hash, [target, words])
            parent = int64(shared.NO_PARENT - 1)
            number = builder.call(self.look_up, [code.context, target, mixed, parent, action, int64(1)])
            with code.when(code.test(number, "==", -2), likely=False):
                code.put("stop", 0)
                builder.call(self.judge_state, [code.context, target, parent, INVALID])
            self.copy(code, source, target, words)
            code.count("steps")
            with code.when(code.test(code.get("stop"), "!=", 0)):
                code.returns(shared.WALK_VIOLATED)
        code.returns(shared.WALK_GOES_ON)

    def _random_step(self) -> Value:
        """random_step(context): the action taken from source to target, -1 when none was found, -2 when it failed."""
        code = Code(self, "random_step", [WORDS])
        builder = code.builder
        actions = len(self.program.actions)
        if not actions:
            code.returns(-1)
            return code.function
        parameters = code.pointer("parameters")
        # An action keeps its turn for many draws of arguments: one that few arguments enable is not starved by one
        # that is always enabled.
        with code.each(0, code.get("draws")) as attempt:
            with code.when(code.test(builder.urem(attempt, int64(DRAWS_PER_ACTION)), "==", 0)):
                code.put("action", draw(builder, code.place("seed"), int64(actions)))
            action = code.get("action")
            possible = code.variable(1)
            after = code.function.append_basic_block()

            def arguments(case: int, after: Value = after) -> None:
                for number in range(len(self.program.actions[case].parameters)):
                    slot = self.emitter.slots.argument(case, number)
                    low, high = (self.emitter.parameter(builder, parameters, slot + offset) for offset in (0, 1))
                    count = builder.add(builder.sub(high, low), int64(1))
                    empty = code.test(count, "<=", 0)
                    with code.when(empty, likely=False):
                        builder.store(int64(0), possible)
                    drawn = draw(builder, code.place("seed"), builder.select(empty, int64(1), count))
                    code.put(self.shared.arguments + number, builder.add(low, drawn))
                builder.branch(after)

            self.switch(code, action, actions, arguments)
            builder.branch(after)
            builder.position_at_end(after)
            with code.when(code.test(builder.load(possible), "!=", 0)):
                code.put("script_length", 0)
                verdict = builder.call(self.execute, [code.context, action])
                with code.when(code.test(verdict, "!=", status.DISABLED)):
                    with code.when(code.test(verdict, "!=", 0), likely=False):
                        self._failed(code, verdict, int64(shared.NO_PARENT))
                        code.returns(-2)
                    self._judge_walk_step(code, action)
                    code.returns(action)
        code.returns(-1)
        return code.function

    def _judge_walk_step(self, code: Code, action: Value) -> None:
        """Counters and step properties of the step just taken."""
        builder = code.builder
        counter = builder.add(builder.mul(action, int64(shared.COUNTER_SLOTS)), int64(self.shared.counters))
        for offset in (0, 1):
            place = code.at(code.context, builder.add(counter, int64(offset)))
            builder.store(builder.add(builder.load(place), int64(1)), place)
        after = code.function.append_basic_block()

        def case(index: int) -> None:
            if self.judge_step[index] is not None:
                roots = [code.pointer("target"), code.pointer("source"), code.get("result")]
                builder.call(self.judge_step[index], [code.context, *roots, int64(shared.NO_PARENT)])
            builder.branch(after)

        self.switch(code, action, len(self.program.actions), case)
        builder.branch(after)
        builder.position_at_end(after)
