"""A small, slow interpreter of the IR, written from the text of `model/lang/ir.py`: the native engine's oracle."""

from __future__ import annotations

from collections.abc import Iterator

from kmemspec.model.lang import ir
from kmemspec.model.lang.ir import FailureKind
from kmemspec.model.lang.trace import Failure, FlatStep, StepOutcome


class FailedError(Exception):
    def __init__(self, kind, where, message=""):
        self.failure = Failure(kind, where, message)


class DisabledError(Exception):
    pass


class FalseClaimError(Exception):
    def __init__(self, claim, witnesses):
        self.claim, self.witnesses = claim, witnesses


class Interpreter:
    def __init__(self, program, sizes):
        self.program, self.sizes = program, sizes

    # --- running -------------------------------------------------------------------------------------------------

    def run(self, function, arguments, roots, script):
        """The result; `script` is a list of [value, stop] that grows as choices are made."""
        self.roots, self.script, self.position = roots, script, 0
        return self.function(function, arguments)

    def executions(self, function, arguments, flat) -> Iterator[tuple[tuple[int, ...], StepOutcome]]:
        """(choices, outcome) for every way to choose, as an odometer."""
        script: list[list[int]] = []
        while True:
            state = list(flat)
            try:
                result = self.run(function, arguments, {ir.CURRENT: state, ir.BEFORE: list(flat)}, script)
                outcome = StepOutcome(True, tuple(state), result)
            except DisabledError:
                outcome = StepOutcome(False)
            except FailedError as failed:
                outcome = StepOutcome(True, failure=failed.failure)
            yield tuple(value for value, _ in script), outcome
            while script and script[-1][0] + 1 >= script[-1][1]:
                script.pop()
            if not script:
                return
            script[-1][0] += 1

    def initial_states(self):
        states = {}
        for choices, outcome in self.executions(self.program.init, (), self.program.schema.initial(self.sizes)):
            if outcome.state is not None and outcome.state not in states:
                states[outcome.state] = FlatStep(-1, (), choices, None, outcome.state)
        return list(states.values())

    def transitions(self, flat):
        """(action, arguments, choices, outcome) of everything that is not disabled."""
        for number, action in enumerate(self.program.actions):
            for arguments in self.arguments(action.parameters):
                for choices, outcome in self.executions(action.function, arguments, flat):
                    if outcome.enabled:
                        if action.returns is None and outcome.state is not None:
                            outcome = StepOutcome(True, outcome.state)
                        yield number, arguments, choices, outcome

    def arguments(self, parameters):
        if not parameters:
            yield ()
            return
        low, high = parameters[0].type.bounds(self.sizes)
        for value in range(low, high + 1):
            for rest in self.arguments(parameters[1:]):
                yield (value, *rest)

    def judge(self, prop, current, before, arguments=()):
        """None when the property holds, else (clause or failure kind or "require", witnesses)."""
        roots = {ir.CURRENT: list(current), ir.BEFORE: list(before)}
        if self.program.abstract_schema is not None:
            for root in (ir.ABSTRACT, ir.ABSTRACT_AFTER):
                roots[root] = list(self.program.abstract_schema.initial(self.sizes))
        try:
            self.run(prop.function, arguments, roots, [])
        except DisabledError:
            return "require", ()
        except FailedError as failed:
            return failed.failure.kind, ()
        except FalseClaimError as false:
            return false.claim.clause, false.witnesses
        return None

    # --- functions -----------------------------------------------------------------------------------------------

    def function(self, name, arguments):
        function = self.program.functions[name]
        frame = [0] * len(function.locals)
        for local, value in zip(function.parameters, arguments, strict=True):
            frame[local] = value
        number = 0
        while True:
            block = function.blocks[number]
            for instruction in block.instructions:
                self.instruction(instruction, frame)
            match block.terminator:
                case ir.Jump(target):
                    number = target
                case ir.Branch(condition, then, otherwise, _, where):
                    number = then if self.value(condition, frame, where) else otherwise
                case ir.Return(value):
                    return 0 if value is None else self.value(value, frame, 0)

    def instruction(self, instruction, frame):
        where = getattr(instruction, "where", 0)
        match instruction:
            case ir.Assign(local, value):
                frame[local] = self.value(value, frame, where)
            case ir.Store(root, leaf, indices, value, _):
                self.store(root, leaf, [self.value(i, frame, where) for i in indices],
                           self.value(value, frame, where), where)
            case ir.Call(target, name, arguments, _):
                result = self.function(name, [self.value(a, frame, where) for a in arguments])
                if target is not None:
                    frame[target] = result
            case ir.Choice(local, start, stop, _):
                frame[local] = self.choose(self.value(start, frame, where), self.value(stop, frame, where))
            case ir.Require(condition, _):
                if not self.value(condition, frame, where):
                    raise DisabledError
            case ir.Check(kind, condition, message, _):
                if not self.value(condition, frame, where):
                    raise FailedError(kind, where, message)
            case ir.Claim(_, condition, witnesses, _):
                if not self.value(condition, frame, where):
                    raise FalseClaimError(instruction, tuple(self.value(w, frame, where) for w in witnesses))

    def choose(self, start, stop):
        if start >= stop:
            raise DisabledError
        if self.position == len(self.script):
            self.script.append([start, stop])
        self.position += 1
        return self.script[self.position - 1][0]

    def element(self, root, leaf, indices, where):
        schema = self.program.schema_of(root)
        position = 0
        for size, index in zip(schema.leaves[leaf].dimensions, indices, strict=True):
            if not 0 <= index < size.value(self.sizes):
                raise FailedError(FailureKind.BOUNDS, where)
            position = position * size.value(self.sizes) + index
        return schema.offsets(self.sizes)[leaf] + position

    def store(self, root, leaf, indices, value, where):
        place = self.element(root, leaf, indices, where)
        kind = self.program.schema_of(root).leaves[leaf].type
        if isinstance(kind, ir.MachineType):
            value = kind.wrap(value, self.sizes)
        elif isinstance(kind, ir.IntegerType):
            low, high = kind.bounds(self.sizes)
            if not low <= value <= high:
                raise FailedError(FailureKind.RANGE, where)
        self.roots[root][place] = value

    # --- expressions ---------------------------------------------------------------------------------------------

    def value(self, expression, frame, where):
        match expression:
            case ir.Constant(value):
                return value
            case ir.SizeOf(size):
                return size.value(self.sizes)
            case ir.Local(index):
                return frame[index]
            case ir.Load(root, leaf, indices, place):
                numbers = [self.value(index, frame, where) for index in indices]
                return self.roots[root][self.element(root, leaf, numbers, place)]
            case ir.Unary(operator, operand):
                value = self.value(operand, frame, where)
                return int(not value) if operator == "not" else self.fits(-value if operator == "-" else ~value, where)
            case ir.Binary(operator, left, right, place):
                return self.binary(operator, self.value(left, frame, where), self.value(right, frame, where), place)
            case ir.Compare(operator, left, right):
                a, b = self.value(left, frame, where), self.value(right, frame, where)
                return int({"==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[operator])
            case ir.BooleanAnd(left, right):
                return self.value(right, frame, where) if self.value(left, frame, where) else 0
            case ir.BooleanOr(left, right):
                return 1 if self.value(left, frame, where) else self.value(right, frame, where)
            case ir.Conditional(condition, then, otherwise):
                return self.value(then if self.value(condition, frame, where) else otherwise, frame, where)
            case ir.Present(operand, place):
                value = self.value(operand, frame, where)
                if value == ir.NONE:
                    raise FailedError(FailureKind.NONE, place)
                return value
            case ir.Quantifier():
                return self.quantifier(expression, frame, where)
            case ir.Apply(name, arguments, _):
                return self.function(name, [self.value(argument, frame, where) for argument in arguments])
            case ir.Wrap(kind, operand):
                return kind.wrap(self.value(operand, frame, where), self.sizes)
        raise AssertionError(expression)

    def quantifier(self, q, frame, where):
        total = 0
        for value in range(self.value(q.start, frame, where), self.value(q.stop, frame, where)):
            frame[q.local] = value
            if q.condition is not None and not self.value(q.condition, frame, where):
                continue
            body = self.value(q.body, frame, where)
            if q.kind == "all" and not body:
                return 0
            if q.kind == "any" and body:
                return 1
            total = self.fits(total + body, where)
        return {"all": 1, "any": 0, "sum": total}[q.kind]

    def fits(self, value, where):
        if not -(1 << 63) <= value < 1 << 63:
            raise FailedError(FailureKind.ARITHMETIC, where)
        return value

    def binary(self, operator, a, b, where):
        if (operator in ("//", "%") and b == 0) or (operator in ("<<", ">>") and b < 0):
            raise FailedError(FailureKind.ARITHMETIC, where)
        if operator == "<<" and b > 64 and a:
            raise FailedError(FailureKind.ARITHMETIC, where)
        operations = {
            "+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "//": lambda: a // b, "%": lambda: a % b,
            "<<": lambda: a << b if a else 0, ">>": lambda: a >> min(b, 100), "&": lambda: a & b, "|": lambda: a | b,
            "^": lambda: a ^ b, "min": lambda: min(a, b), "max": lambda: max(a, b),
        }
        return self.fits(operations[operator](), where)
