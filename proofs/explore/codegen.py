"""IR functions to LLVM functions.

The one idea: every function returns a pair (value, status) from one exit block; a failing check jumps there with a
constant status, and a caller passes a nonzero status on. State is read and written in place in the bit-packed
words (see `layout`). Locals are stack slots that LLVM's mem2reg turns into registers. What is constant for every scope
(a boolean's width, an optional's lower bound) is a constant in the code; the rest is loaded from the parameter array
with `invariant.load`, so LLVM may keep it in registers across stores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Any

from llvmlite import ir as ll  # type: ignore[import-untyped]

from ...model.lang import ir
from ...model.lang.errors import InputError
from ...model.lang.symmetry import sorts_of
from . import status
from .context import CHOICES, WITNESSES, Context
from .layout import BASE, LOG2_WIDTH, LOW, MASK, SPAN, ParameterSlots, check_machine_bits

I1, I8, I32, I64 = ll.IntType(1), ll.IntType(8), ll.IntType(32), ll.IntType(64)
WORDS = I64.as_pointer()
PAIR = ll.LiteralStructType([I64, I64])
Value = Any

_COMPARE = {"==": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_OVERFLOWING = {"+": "sadd", "-": "ssub", "*": "smul"}


def nodes(item: object) -> Iterator[object]:
    """Every dataclass node below `item`."""
    stack = [item]
    while stack:
        node = stack.pop()
        if isinstance(node, tuple):
            stack.extend(node)
        elif is_dataclass(node):
            yield node
            stack.extend(vars(node).values())


def int64(value: int) -> Value:
    """A constant modulo 2**64."""
    return ll.Constant(I64, (value + (1 << 63)) % (1 << 64) - (1 << 63))


class ModuleEmitter:
    """The LLVM module of a program: its functions, callees first."""

    def __init__(self, program: ir.Program) -> None:
        self.program = program
        self.context = Context(program)
        self.slots = ParameterSlots(program)
        self.machine_sizes: dict[tuple[str | None, int, bool], None] = {}
        self.messages: dict[str, int] = {"": 0}
        self.module = ll.Module(name="kmemspec")
        self.invariant = self.module.add_metadata([])
        self.functions: dict[str, Value] = {}
        self.roots: dict[str, tuple[int, ...]] = {}
        self.symmetric = _symmetric_names(program)
        self.can_fail: set[str] = set()
        self.chooses: set[str] = set()
        if len(program.positions) > status.LARGEST_POSITION:
            raise InputError("the specification has too many source positions", "split it")
        self.choose = self._choose()
        for name in self._callees_first():
            self._emit(name)

    def parameter(self, builder: Value, parameters: Value, slot: int) -> Value:
        """Load a slot of the parameter array."""
        load = builder.load(builder.gep(parameters, [ll.Constant(I32, slot)]))
        load.set_metadata("invariant.load", self.invariant)
        return load

    def call(self, builder: Value, name: str, context: Value, parameters: Value, roots: Any, arguments: Any) -> Value:
        """Call a function of the program; `roots` maps a root to its pointer."""
        pointers = [roots[root] for root in self.roots[name]]
        return builder.call(self.functions[name], [context, parameters, *pointers, *arguments])

    def message(self, text: str) -> int:
        """The number of an assert's message."""
        return self.messages.setdefault(text, len(self.messages))

    def _callees_first(self) -> list[str]:
        wanted = [self.program.init, *(a.function for a in self.program.actions)]
        wanted += [p.function for p in self.program.properties]
        wanted += [leads.function for leads in self.program.liveness]
        order: list[str] = []
        state: dict[str, int] = {}
        stack = [(name, False) for name in reversed(wanted)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                state[name] = 2
                order.append(name)
                continue
            if state.get(name) == 2:
                continue
            if state.get(name) == 1:
                raise InputError(f"{name}() calls itself", "write a bounded loop instead")
            if name not in self.program.functions:
                raise InputError(f"the program has no function {name!r}", "report this: the front end lost it")
            state[name] = 1
            stack.append((name, True))
            for callee in sorted(self._callees(name)):
                if state.get(callee) == 1:
                    raise InputError(f"{callee}() calls itself", "write a bounded loop instead")
                if callee not in state:
                    stack.append((callee, False))
        return order

    def _callees(self, name: str) -> set[str]:
        blocks = self.program.functions[name].blocks
        return {node.function for node in nodes(blocks) if isinstance(node, ir.Call | ir.Apply)}

    def _emit(self, name: str) -> None:
        function = self.program.functions[name]
        roots: set[int] = set()
        for node in nodes(function.blocks):
            if isinstance(node, ir.Load | ir.Store):
                roots.add(node.root)
            elif isinstance(node, ir.Choice):
                self.chooses.add(name)
            elif isinstance(node, ir.Call | ir.Apply):
                roots.update(self.roots[node.function])
                if node.function in self.chooses:
                    self.chooses.add(name)
        self.roots[name] = tuple(sorted(roots))
        FunctionEmitter(self, function).emit()

    def _choose(self) -> Value:
        """choose(context, start, stop): the next choice of the script, or the first (or a random) one beyond it."""
        context = self.context
        function = ll.Function(self.module, ll.FunctionType(PAIR, [WORDS, I64, I64]), "choose")
        function.linkage = "internal"
        function.attributes.add("noinline")
        pointer, start, stop = function.args
        builder = ll.IRBuilder(function.append_basic_block())

        def slot(name: str) -> Value:
            return builder.gep(pointer, [ll.Constant(I32, context.scalar[name])])

        def give(value: Value, code: int) -> None:
            pair = builder.insert_value(ll.Constant(PAIR, ll.Undefined), value, 0)
            builder.ret(builder.insert_value(pair, int64(code), 1))

        with builder.if_then(builder.icmp_signed(">=", start, stop), likely=False):
            give(int64(0), status.DISABLED)
        position = builder.load(slot("script_position"))
        with builder.if_then(builder.icmp_unsigned(">=", position, int64(CHOICES)), likely=False):
            give(int64(0), status.TOO_MANY_CHOICES)
        builder.store(builder.add(position, int64(1)), slot("script_position"))
        place = builder.gep(pointer, [builder.add(position, int64(context.script))])
        builder.store(stop, builder.gep(pointer, [builder.add(position, int64(context.stops))]))
        scripted = builder.icmp_unsigned("<", position, builder.load(slot("script_length")))
        with builder.if_then(builder.not_(scripted)):
            builder.store(start, place)
            builder.store(builder.add(position, int64(1)), slot("script_length"))
            with builder.if_then(builder.icmp_signed("!=", builder.load(slot("random")), int64(0))):
                drawn = draw(builder, slot("seed"), builder.sub(stop, start))
                builder.store(builder.add(start, drawn), place)
        value = builder.load(place)
        outside = builder.or_(builder.icmp_signed("<", value, start), builder.icmp_signed(">=", value, stop))
        with builder.if_then(outside, likely=False):
            give(int64(0), status.DISABLED)
        give(value, status.OK)
        return function


def _symmetric_names(program: ir.Program) -> frozenset[str]:
    """The sorts that a reduced search renames: the symmetric ones and products of them."""
    if not program.symmetric:
        return frozenset()
    names = frozenset(program.symmetric)
    return names | {sort.name for sort in sorts_of(program).values() if names & set(sort.of)}


def draw(builder: Value, seed: Value, count: Value) -> Value:
    """A number below `count` (unsigned, not 0) from the xorshift64* generator whose state `seed` points to."""
    state = builder.load(seed)
    state = builder.xor(state, builder.lshr(state, int64(12)))
    state = builder.xor(state, builder.shl(state, int64(25)))
    state = builder.xor(state, builder.lshr(state, int64(27)))
    builder.store(state, seed)
    mixed = builder.lshr(builder.mul(state, int64(0x2545F4914F6CDD1D)), int64(16))
    return builder.urem(mixed, count)


class Exit:
    """The block that returns, reached from every return and every check. The pair is made here and nowhere else: LLVM
    takes it apart again after inlining and then knows each status, which it cannot do with pairs that meet."""

    def __init__(self, function: Value, name: str) -> None:
        self.block = function.append_basic_block(name)
        self.codes, self.values = (ll.IRBuilder(self.block).phi(I64) for _ in range(2))
        self.failing = False

    def take(self, builder: Value, code: Value, value: Value | None = None) -> None:
        """The current block, which is about to jump here, brings this status, or a value."""
        self.codes.add_incoming(code, builder.block)
        self.values.add_incoming(int64(0) if value is None else value, builder.block)
        self.failing = self.failing or value is None

    def finish(self) -> None:
        """Return the pair, or vanish when nothing jumps here."""
        if not self.codes.incomings:
            self.block.parent.blocks.remove(self.block)
            return
        builder = ll.IRBuilder(self.block)
        pair = builder.insert_value(ll.Constant(PAIR, ll.Undefined), self.values, 0)
        builder.ret(builder.insert_value(pair, self.codes, 1))


class FunctionEmitter:
    """One function."""

    def __init__(self, module: ModuleEmitter, function: ir.Function) -> None:
        self.module = module
        self.function = function
        roots = module.roots[function.name]
        kinds = [WORDS, WORDS, *[WORDS for _ in roots], *[I64 for _ in function.parameters]]
        self.code = ll.Function(module.module, ll.FunctionType(PAIR, kinds), f"spec.{function.name}")
        self.code.linkage = "internal"
        for argument in self.code.args[: 2 + len(roots)]:
            argument.add_attribute("noalias")
        module.functions[function.name] = self.code
        self.context, self.parameters = self.code.args[:2]
        self.roots = dict(zip(roots, self.code.args[2:], strict=False))
        self.arguments = self.code.args[2 + len(roots) :]
        self.builder = ll.IRBuilder(self.code.append_basic_block("entry"))
        self.exit = Exit(self.code, "leave")
        self.where = 0

    # --- the frame -------------------------------------------------------------------------------------------

    def emit(self) -> None:
        """Emit the body."""
        builder = self.builder
        self.locals = [builder.alloca(I64) for _ in self.function.locals]
        given = dict(zip(self.function.parameters, self.arguments, strict=True))
        for index, local in enumerate(self.locals):
            builder.store(given.get(index, int64(0)), local)
        self.blocks = [self.code.append_basic_block(f"b{number}") for number in range(len(self.function.blocks))]
        builder.branch(self.blocks[0])
        for block, code in zip(self.function.blocks, self.blocks, strict=True):
            builder.position_at_end(code)
            for instruction in block.instructions:
                self.instruction(instruction)
            self.terminator(block.terminator)
        if self.exit.failing:
            self.module.can_fail.add(self.function.name)
        self.exit.finish()

    def block(self) -> Value:
        """A new block."""
        return self.code.append_basic_block()

    def parameter(self, slot: int) -> Value:
        """A slot of the parameter array."""
        return self.module.parameter(self.builder, self.parameters, slot)

    def guard(self, good: Value, code: Value | int) -> None:
        """Leave with this status unless `good`."""
        after = self.block()
        self.exit.take(self.builder, int64(code) if isinstance(code, int) else code)
        self.builder.cbranch(good, after, self.exit.block).set_weights([1000, 1])
        self.builder.position_at_end(after)

    def fail_unless(self, good: Value, kind: ir.FailureKind, where: int) -> None:
        """Fail with this kind unless `good`."""
        self.guard(good, status.failure_status(kind, where))

    def demand(self, condition: ir.Expression, code: int) -> None:
        """Leave with this status unless the expression is 1."""
        after, bad = self.block(), self.block()
        self.branch(condition, after, bad)
        self.builder.position_at_end(bad)
        self.exit.take(self.builder, int64(code))
        self.builder.branch(self.exit.block)
        self.builder.position_at_end(after)

    # --- instructions ----------------------------------------------------------------------------------------

    def instruction(self, instruction: ir.Instruction) -> None:
        """Emit one instruction."""
        self.where = getattr(instruction, "where", self.where)
        match instruction:
            case ir.Assign(local, value):
                self.builder.store(self.value(value), self.locals[local])
            case ir.Store():
                self.store(instruction)
            case ir.Call(target, function, arguments, _):
                value = self.call(function, arguments)
                if target is not None:
                    self.builder.store(value, self.locals[target])
            case ir.Choice(local, start, stop, _):
                bounds = [self.value(start), self.value(stop)]
                pair = self.builder.call(self.module.choose, [self.context, *bounds])
                self.builder.store(self.unpack(pair), self.locals[local])
            case ir.Require(condition, _):
                self.demand(condition, status.DISABLED)
            case ir.Check(kind, condition, message, where):
                self.demand(condition, status.failure_status(kind, where, self.module.message(message)))
            case ir.Claim():
                self.claim(instruction)

    def terminator(self, terminator: ir.Terminator) -> None:
        """Emit the end of a block."""
        builder = self.builder
        match terminator:
            case ir.Jump(target):
                builder.branch(self.blocks[target])
            case ir.Return(value):
                result = int64(0) if value is None else self.value(value)
                self.exit.take(builder, int64(status.OK), result)
                builder.branch(self.exit.block)
            case ir.Branch(condition, then, otherwise, branch, where):
                self.where = where
                sides = [self.block(), self.block()]
                self.branch(condition, *sides)
                context = self.module.context
                first = context.coverage * 8 + context.branch_base[self.function.name] + 2 * branch
                for side, (code, target) in enumerate(zip(sides, (then, otherwise), strict=True)):
                    builder.position_at_end(code)
                    self.cover(first + side)
                    builder.branch(self.blocks[target])

    def cover(self, byte: int) -> None:
        """Note that this side of a branch was taken."""
        pointer = self.builder.bitcast(self.context, I8.as_pointer())
        self.builder.store(ll.Constant(I8, 1), self.builder.gep(pointer, [ll.Constant(I32, byte)]))

    def claim(self, claim: ir.Claim) -> None:
        """Leave with the clause and the witnesses when the condition is false."""
        builder, context = self.builder, self.module.context
        after, bad = self.block(), self.block()
        self.branch(claim.condition, after, bad)
        builder.position_at_end(bad)
        code = int64(status.claim_status(claim.clause, claim.where))
        count = builder.gep(self.context, [ll.Constant(I32, context.scalar["witnesses"])])
        builder.store(int64(0), count)
        outer, self.exit = self.exit, Exit(self.code, "witness")
        for index, witness in enumerate(claim.witnesses[:WITNESSES]):
            value = self.value(witness)
            builder.store(value, builder.gep(self.context, [ll.Constant(I32, context.witness + index)]))
            builder.store(int64(index + 1), count)
        self.leave(self.exit, outer, code)
        self.exit = outer
        outer.take(builder, code)
        builder.branch(outer.block)
        builder.position_at_end(after)

    def leave(self, inner: Exit, outer: Exit, code: Value) -> None:
        """A witness that cannot be computed is left out; the claim is false all the same."""
        if not inner.failing:
            inner.finish()
            return
        builder = ll.IRBuilder(inner.block)
        outer.take(builder, code)
        builder.branch(outer.block)

    def call(self, function: str, arguments: tuple[ir.Expression, ...]) -> Value:
        """Call a function of the program and pass its failure on."""
        values = [self.value(argument) for argument in arguments]
        pair = self.module.call(self.builder, function, self.context, self.parameters, self.roots, values)
        if function in self.module.can_fail:
            return self.unpack(pair)
        return self.builder.extract_value(pair, 0)

    def unpack(self, pair: Value) -> Value:
        """The value of a pair, leaving with its status unless that is 0."""
        code = self.builder.extract_value(pair, 1)
        self.guard(self.builder.icmp_signed("==", code, int64(0)), code)
        return self.builder.extract_value(pair, 0)

    # --- state -----------------------------------------------------------------------------------------------

    def leaf(self, root: int, leaf: int) -> Field:
        """The field that a load or store names."""
        return Field(self, root, leaf)

    def store(self, store: ir.Store) -> None:
        """Indices, value, bounds, range, then read-modify-write of one word."""
        builder = self.builder
        field = self.leaf(store.root, store.leaf)
        indices = [self.value(index) for index in store.indices]
        bits = builder.sub(self.value(store.value), field.low())
        field.check_bounds(indices, store.where)
        mask = field.mask()
        if isinstance(field.type, ir.IntegerType):
            self.fail_unless(
                builder.icmp_unsigned("<=", bits, field.span()), ir.FailureKind.RANGE, store.where
            )
        else:
            bits = builder.and_(bits, field.span())
        pointer, shift = field.locate(indices)
        kept = builder.and_(builder.load(pointer), builder.not_(builder.shl(mask, shift)))
        builder.store(builder.or_(kept, builder.shl(bits, shift)), pointer)

    def load(self, load: ir.Load) -> Value:
        """Indices, bounds, then shift and mask."""
        builder = self.builder
        field = self.leaf(load.root, load.leaf)
        indices = [self.value(index) for index in load.indices]
        field.check_bounds(indices, load.where)
        pointer, shift = field.locate(indices)
        bits = builder.and_(builder.lshr(builder.load(pointer), shift), field.mask())
        return builder.add(bits, field.low())

    # --- conditions ------------------------------------------------------------------------------------------

    def branch(self, condition: ir.Expression, then: Value, otherwise: Value) -> None:
        """Jump to `then` or `otherwise`; ends the current block."""
        match condition:
            case ir.Unary("not", operand):
                self.branch(operand, otherwise, then)
            case ir.BooleanAnd(left, right):
                middle = self.block()
                self.branch(left, middle, otherwise)
                self.builder.position_at_end(middle)
                self.branch(right, then, otherwise)
            case ir.BooleanOr(left, right):
                middle = self.block()
                self.branch(left, then, middle)
                self.builder.position_at_end(middle)
                self.branch(right, then, otherwise)
            case ir.Quantifier(kind="all" | "any"):
                self.quantify(condition, then, otherwise)
            case ir.Constant(value):
                self.builder.branch(then if value else otherwise)
            case _:
                self.builder.cbranch(self.condition(condition), then, otherwise)

    def condition(self, condition: ir.Expression) -> Value:
        """The condition as an i1."""
        match condition:
            case ir.Compare(operator, left, right):
                values = [self.value(left), self.value(right)]
                return self.builder.icmp_signed(_COMPARE[operator], *values)
            case ir.Unary("not", operand):
                return self.builder.not_(self.condition(operand))
            case ir.BooleanAnd() | ir.BooleanOr() | ir.Quantifier(kind="all" | "any"):
                then, otherwise, join = self.block(), self.block(), self.block()
                self.branch(condition, then, otherwise)
                for block in (then, otherwise):
                    ll.IRBuilder(block).branch(join)
                self.builder.position_at_end(join)
                phi = self.builder.phi(I1)
                phi.add_incoming(ll.Constant(I1, 1), then)
                phi.add_incoming(ll.Constant(I1, 0), otherwise)
                return phi
            case _:
                return self.builder.icmp_signed("!=", self.value(condition), int64(0))

    def quantify(self, quantifier: ir.Quantifier, then: Value, otherwise: Value) -> None:
        """`all` or `any` as a loop with an early exit."""
        decided, undecided = (otherwise, then) if quantifier.kind == "all" else (then, otherwise)
        if self.is_symmetric(quantifier):
            self.quantify_symmetric(quantifier, decided, undecided)
            return
        with self.elements(quantifier, undecided) as latch:
            sides = (latch, decided) if quantifier.kind == "all" else (decided, latch)
            self.branch(quantifier.body, *sides)

    def is_symmetric(self, quantifier: ir.Quantifier) -> bool:
        """Whether the quantifier runs over a sort that is reduced."""
        type_ = self.function.locals[quantifier.local].type
        return isinstance(type_, ir.IntegerType) and type_.sort in self.module.symmetric

    def quantify_symmetric(self, quantifier: ir.Quantifier, decided: Value, undecided: Value) -> None:
        """In a reduced search ("strict") elements after the one that decides are evaluated, too: if one of them fails,
        the failure would come first in a state that differs in the elements' numbers alone."""
        builder = self.builder
        is_decided = self.local()
        builder.store(int64(0), is_decided)
        done, decides = self.block(), self.block()
        with self.elements(quantifier, done) as latch:
            sides = (latch, decides) if quantifier.kind == "all" else (decides, latch)
            self.branch(quantifier.body, *sides)
            builder.position_at_end(decides)
            builder.store(int64(1), is_decided)
            strict = builder.load(
                builder.gep(self.context, [ll.Constant(I32, self.module.context.scalar["strict"])])
            )
            builder.cbranch(builder.icmp_signed("!=", strict, int64(0)), latch, decided)
        builder.position_at_end(done)
        builder.cbranch(builder.icmp_signed("!=", builder.load(is_decided), int64(0)), decided, undecided)

    @contextmanager
    def elements(self, quantifier: ir.Quantifier, done: Value) -> Iterator[Value]:
        """The loop of a quantifier: the body must end by jumping to the yielded latch or out."""
        builder = self.builder
        start, stop = self.value(quantifier.start), self.value(quantifier.stop)
        before, head, body, latch = builder.block, self.block(), self.block(), self.block()
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(I64)
        index.add_incoming(start, before)
        builder.cbranch(builder.icmp_signed("<", index, stop), body, done)
        builder.position_at_end(body)
        builder.store(index, self.locals[quantifier.local])
        if quantifier.condition is not None:
            chosen = self.block()
            self.branch(quantifier.condition, chosen, latch)
            builder.position_at_end(chosen)
        yield latch
        builder.position_at_end(latch)
        index.add_incoming(builder.add(index, int64(1), flags=["nsw"]), latch)
        builder.branch(head)

    def sum(self, quantifier: ir.Quantifier) -> Value:
        """`sum` as a loop."""
        builder = self.builder
        total = self.local()
        builder.store(int64(0), total)
        done = self.block()
        with self.elements(quantifier, done) as latch:
            value = self.value(quantifier.body)
            builder.store(self.overflowing("sadd", builder.load(total), value, self.where), total)
            builder.branch(latch)
        builder.position_at_end(done)
        return builder.load(total)

    def local(self) -> Value:
        """A stack slot of the engine's own."""
        with self.builder.goto_entry_block():
            return self.builder.alloca(I64)

    # --- values ----------------------------------------------------------------------------------------------

    def value(self, expression: ir.Expression) -> Value:
        """The expression as an i64."""
        builder = self.builder
        match expression:
            case ir.Constant(value):
                return self.constant(value)
            case ir.SizeOf(size):
                return self.size(size)
            case ir.Local(index):
                return builder.load(self.locals[index])
            case ir.Load():
                return self.load(expression)
            case ir.Unary("-", operand):
                return self.overflowing("ssub", int64(0), self.value(operand), self.where)
            case ir.Unary("~", operand):
                return builder.not_(self.value(operand))
            case ir.Binary():
                return self.binary(expression)
            case ir.Conditional(condition, then, otherwise):
                return self.conditional(condition, then, otherwise)
            case ir.Present(operand, where):
                value = self.value(operand)
                self.fail_unless(builder.icmp_signed("!=", value, int64(ir.NONE)), ir.FailureKind.NONE, where)
                return value
            case ir.Quantifier(kind="sum"):
                return self.sum(expression)
            case ir.Apply(function, arguments, _):
                return self.call(function, arguments)
            case ir.Wrap(type_, operand):
                return self.wrap(type_, self.value(operand))
            case _:
                return builder.zext(self.condition(expression), I64)

    def constant(self, value: int) -> Value:
        """A constant; refused beyond 64 bits."""
        if not -(1 << 63) <= value < 1 << 63:
            raise InputError(f"the constant {value} is beyond 64-bit integers", "use smaller numbers")
        return int64(value)

    def size(self, size: ir.Size) -> Value:
        """A scope-dependent integer."""
        if size.parameter is None:
            return self.constant(size.offset)
        value = self.parameter(self.module.slots.size(size.parameter))
        return self.builder.add(value, self.constant(size.offset), flags=["nsw"]) if size.offset else value

    def conditional(self, condition: ir.Expression, then: ir.Expression, otherwise: ir.Expression) -> Value:
        """Only the chosen side is evaluated."""
        builder = self.builder
        sides, join = (self.block(), self.block()), self.block()
        self.branch(condition, *sides)
        incoming = []
        for side, expression in zip(sides, (then, otherwise), strict=True):
            builder.position_at_end(side)
            value = self.value(expression)
            incoming.append((value, builder.block))
            builder.branch(join)
        builder.position_at_end(join)
        phi = builder.phi(I64)
        for value, block in incoming:
            phi.add_incoming(value, block)
        return phi

    def wrap(self, type_: ir.MachineType, value: Value) -> Value:
        """Modulo 2**bits into the range of the type."""
        builder, size = self.builder, type_.bits
        if size.parameter is None:
            check_machine_bits(size.offset, type_.signed, "a value")
            mask: Value = int64((1 << size.offset) - 1)
            half: Value = int64(1 << (size.offset - 1))
        else:
            self.module.machine_sizes[(size.parameter, size.offset, type_.signed)] = None
            bits = self.size(size)
            mask = builder.lshr(int64(-1), builder.sub(int64(64), bits))
            half = builder.shl(int64(1), builder.sub(bits, int64(1)))
        if not type_.signed:
            return builder.and_(value, mask)
        return builder.sub(builder.and_(builder.add(value, half), mask), half)

    def binary(self, binary: ir.Binary) -> Value:
        """Both operands, then the operation with its checks."""
        builder, operator, where = self.builder, binary.operator, binary.where
        left, right = self.value(binary.left), self.value(binary.right)
        constant = binary.right.value if isinstance(binary.right, ir.Constant) else None
        match operator:
            case "+" | "-" | "*":
                return self.overflowing(_OVERFLOWING[operator], left, right, where)
            case "&":
                return builder.and_(left, right)
            case "|":
                return builder.or_(left, right)
            case "^":
                return builder.xor(left, right)
            case "min" | "max":
                first = builder.icmp_signed("<=" if operator == "min" else ">=", left, right)
                return builder.select(first, left, right)
            case "<<":
                return self.shift_left(left, right, where)
            case ">>":
                self.fail_unless(builder.icmp_signed(">=", right, int64(0)), ir.FailureKind.ARITHMETIC, where)
                return builder.ashr(left, self.at_most_63(right))
            case "//" if constant is not None and constant > 0 and constant & (constant - 1) == 0:
                return builder.ashr(left, int64(constant.bit_length() - 1))
            case "%" if constant is not None and constant > 0 and constant & (constant - 1) == 0:
                return builder.and_(left, int64(constant - 1))
            case "//":
                return self.floor_division(left, right, where)
            case "%":
                return self.floor_remainder(left, right, where)
        raise InputError(f"unknown operator {operator!r}", "report this: the front end made it")

    def overflowing(self, name: str, left: Value, right: Value, where: int) -> Value:
        """Add, subtract or multiply; fails beyond 64 bits."""
        builder = self.builder
        operation = getattr(builder, f"{name}_with_overflow")
        pair = operation(left, right)
        fine = builder.not_(builder.extract_value(pair, 1))
        self.fail_unless(fine, ir.FailureKind.ARITHMETIC, where)
        return builder.extract_value(pair, 0)

    def at_most_63(self, shift: Value) -> Value:
        """A shift count that the processor defines."""
        return self.builder.select(self.builder.icmp_unsigned("<", shift, int64(63)), shift, int64(63))

    def shift_left(self, left: Value, right: Value, where: int) -> Value:
        """Fails for a negative count and when bits are lost."""
        builder = self.builder
        if isinstance(left, ll.Constant) and left.constant > 0:
            most = int64(63 - left.constant.bit_length())
            self.fail_unless(builder.icmp_unsigned("<=", right, most), ir.FailureKind.ARITHMETIC, where)
            return builder.shl(left, right, flags=["nsw", "nuw"])
        count = self.at_most_63(right)
        result = builder.shl(left, count)
        kept = builder.icmp_signed("==", builder.ashr(result, count), left)
        small = builder.icmp_unsigned("<=", right, int64(63))
        zero = builder.and_(
            builder.icmp_signed("==", left, int64(0)), builder.icmp_signed(">=", right, int64(0))
        )
        self.fail_unless(builder.or_(builder.and_(kept, small), zero), ir.FailureKind.ARITHMETIC, where)
        return result

    def floor_division(self, left: Value, right: Value, where: int) -> Value:
        """Rounds down; fails for zero and for the one overflow."""
        builder = self.builder
        least = builder.icmp_signed("==", left, int64(-(1 << 63)))
        overflow = builder.and_(least, builder.icmp_signed("==", right, int64(-1)))
        bad = builder.or_(builder.icmp_signed("==", right, int64(0)), overflow)
        self.fail_unless(builder.not_(bad), ir.FailureKind.ARITHMETIC, where)
        quotient = builder.sdiv(left, right)
        remainder = builder.sub(left, builder.mul(quotient, right))
        return builder.sub(quotient, builder.zext(self.rounds_down(remainder, right), I64))

    def floor_remainder(self, left: Value, right: Value, where: int) -> Value:
        """Has the sign of the divisor; fails for zero."""
        builder = self.builder
        self.fail_unless(builder.icmp_signed("!=", right, int64(0)), ir.FailureKind.ARITHMETIC, where)
        divisor = builder.select(builder.icmp_signed("==", right, int64(-1)), int64(1), right)
        remainder = builder.srem(left, divisor)
        return builder.add(remainder, builder.select(self.rounds_down(remainder, divisor), divisor, int64(0)))

    def rounds_down(self, remainder: Value, divisor: Value) -> Value:
        """Whether truncation and floor differ."""
        builder = self.builder
        signs = builder.icmp_signed("<", builder.xor(remainder, divisor), int64(0))
        return builder.and_(builder.icmp_signed("!=", remainder, int64(0)), signs)


class Field:
    """A leaf in code: its parameters, constants where the program fixes them."""

    def __init__(self, emitter: FunctionEmitter, root: int, leaf: int) -> None:
        self.emitter = emitter
        self.builder = emitter.builder
        self.words = emitter.roots[root]
        schema = emitter.module.program.schema_of(root)
        self.leaf = schema.leaves[leaf]
        self.type = self.leaf.type
        self.first = emitter.module.slots.leaf(root in (ir.ABSTRACT, ir.ABSTRACT_AFTER), leaf)
        self.fixed = _fixed_bounds(self.type)

    def slot(self, offset: int) -> Value:
        """One of the leaf's parameters."""
        return self.emitter.parameter(self.first + offset)

    def low(self) -> Value:
        """What is subtracted from a value before it is stored."""
        if isinstance(self.type, ir.IntegerType) and self.type.optional:
            return int64(ir.NONE)
        if isinstance(self.type, ir.IntegerType) and self.type.low.parameter is None:
            return int64(self.type.low.offset)
        if isinstance(self.type, ir.MachineType) and not self.type.signed:
            return int64(0)
        return int64(self.fixed[0]) if self.fixed else self.slot(LOW)

    def span(self) -> Value:
        """The largest stored bits."""
        return int64(self.fixed[1] - self.fixed[0]) if self.fixed else self.slot(SPAN)

    def mask(self) -> Value:
        """The bits of one element."""
        return int64((1 << (1 << self.fixed_log2())) - 1) if self.fixed else self.slot(MASK)

    def log2_width(self) -> Value:
        """log2 of the element width."""
        return int64(self.fixed_log2()) if self.fixed else self.slot(LOG2_WIDTH)

    def fixed_log2(self) -> int:
        """log2 of the element width when the program fixes it; as `layout` computes it."""
        assert self.fixed is not None
        return (max(1, (self.fixed[1] - self.fixed[0]).bit_length()) - 1).bit_length()

    def dimension(self, number: int) -> Value:
        """The size of a dimension: the value that a loop over it runs to, so LLVM can often drop the check."""
        return self.emitter.size(self.leaf.dimensions[number])

    def check_bounds(self, indices: list[Value], where: int) -> None:
        """Every index inside its dimension; None is not."""
        for number, index in enumerate(indices):
            inside = self.builder.icmp_unsigned("<", index, self.dimension(number))
            self.emitter.fail_unless(inside, ir.FailureKind.BOUNDS, where)

    def locate(self, indices: list[Value]) -> tuple[Value, Value]:
        """The word that holds the element, and the shift within it."""
        builder = self.builder
        bit = self.slot(BASE)
        if indices:
            linear = indices[0]
            for number, index in enumerate(indices[1:], start=1):
                linear = builder.add(builder.mul(linear, self.dimension(number)), index)
            bit = builder.add(bit, builder.shl(linear, self.log2_width()))
        pointer = builder.gep(self.words, [builder.lshr(bit, int64(6))])
        return pointer, builder.and_(bit, int64(63))


def _fixed_bounds(type_: ir.LeafType) -> tuple[int, int] | None:
    """The bounds of a type that needs no scope."""
    sizes = [type_.low, type_.high] if isinstance(type_, ir.IntegerType) else []
    if isinstance(type_, ir.MachineType):
        sizes = [type_.bits]
        if type_.bits.parameter is None:
            check_machine_bits(type_.bits.offset, type_.signed, "a field")
    return None if any(size.parameter is not None for size in sizes) else type_.bounds({})
