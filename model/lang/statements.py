"""Front end, second half: statements of the restricted language to a control-flow graph.

Blocks are numbered when they are placed, in source order, which gives the numbering that `ir` promises: forward
edges go up, a loop's blocks are contiguous with the header first.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import actions
from .expressions import DEPTH_MAX, Domain, ExpressionLowering, Instances, Slot, can_fail, facts, facts_about
from .ir import (
    THEN,
    WHEN,
    Assign,
    Binary,
    Block,
    BooleanAnd,
    Branch,
    Call,
    Check,
    Choice,
    Claim,
    ClauseIR,
    Compare,
    Conditional,
    Constant,
    Expression,
    FailureKind,
    Instruction,
    IntegerType,
    Jump,
    Local,
    Require,
    Return,
    Size,
    SizeOf,
    Store,
    Terminator,
)
from .records import indices
from .sorts import AnnotationError
from .values import Kind, Place, Signature, Value, is_non_negative, kind_of, signature_of

REFUSED_STATEMENTS: dict[type[ast.AST], tuple[str, str, str]] = {
    ast.With: ("with", "with is not in the language", "call the functions it would call"),
    ast.Try: ("try", "try is not in the language", "test the condition with if"),
    ast.TryStar: ("try", "try is not in the language", "test the condition with if"),
    ast.Raise: ("raise", "raise is not in the language", "use `assert` for a bug, `require` for a guard"),
    ast.Import: ("import", "an import inside a function is not in the language", "import at the top of the module"),
    ast.ImportFrom: ("import", "an import inside a function is not in the language", "import at the top of the module"),
    ast.Global: ("global", "global is not in the language", "keep state in the machine's records"),
    ast.Delete: ("del", "del is not in the language", "assign None"),
    ast.FunctionDef: (
        "nested-function",
        "a function inside a function is not in the language",
        "move it to the module",
    ),
    ast.ClassDef: ("nested-class", "a class inside a function is not in the language", "move it to the module"),
    ast.AsyncFunctionDef: ("async", "async is not in the language", "write an atomic action"),
    ast.Match: ("match", "match is not in the language", "use if and elif"),
}


@dataclass
class OpenBlock:
    """A block that is being filled. `number` is -1 until it is placed."""

    instructions: list[Instruction] = field(default_factory=list)
    terminator: Terminator | None = None
    loops: tuple[OpenBlock, ...] = ()
    number: int = -1


@dataclass
class LoopContext:
    """Where continue and break go."""

    on_continue: OpenBlock
    on_break: OpenBlock


class StatementLowering(ExpressionLowering):
    """Lowers the body of one function.

    `negative` names the variables that some assignment may make negative. Such an assignment can stand below a use
    (in a loop), so a body is lowered again until the set no longer grows (see `lowering.settled`)."""

    def __init__(
        self,
        program: Instances,
        filename: str,
        namespace: dict[str, Any],
        returns: Signature,
        turns: Size | None,
        is_property: bool,
        negative: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(program, filename, namespace)
        self.negative = set(negative)
        self.returns = returns
        self.turns = turns
        self.is_property = is_property
        self.is_generator = False
        self.is_leads = False
        self.pure = True
        self.clauses: list[ClauseIR] = []
        self.blocks: list[OpenBlock] = []
        self.targets: dict[int, tuple[OpenBlock, ...]] = {}
        self.enclosing: list[OpenBlock] = []
        self.loops: list[LoopContext] = []
        self.branches = 0
        self.block = self.place(OpenBlock())

    # --- blocks

    def place(self, block: OpenBlock) -> OpenBlock:
        """Give a block its number and make it the current one."""
        block.number = len(self.blocks)
        block.loops = tuple(self.enclosing)
        self.blocks.append(block)
        self.block = block
        return block

    def emit(self, instruction: Instruction) -> None:
        self.block.instructions.append(instruction)

    def jump(self, target: OpenBlock) -> None:
        if self.block.terminator is None:
            self.block.terminator = Jump(-1)
            self.targets[id(self.block)] = (target,)

    def branch(self, condition: Expression, then: OpenBlock, otherwise: OpenBlock, node: ast.AST) -> None:
        self.block.terminator = Branch(condition, -1, -1, self.branches, self.where(node))
        self.branches += 1
        self.targets[id(self.block)] = (then, otherwise)

    def finish(self) -> tuple[Block, ...]:
        """All blocks, with the numbers of their successors filled in; unreachable ones are dropped."""
        reachable = self.reachable_blocks()
        number = {id(block): index for index, block in enumerate(reachable)}
        return tuple(
            Block(tuple(block.instructions), self.resolved(block, number), tuple(number[id(h)] for h in block.loops))
            for block in reachable
        )

    def reachable_blocks(self) -> list[OpenBlock]:
        seen: set[int] = set()
        todo = [self.blocks[0]]
        while todo:
            block = todo.pop()
            if id(block) not in seen:
                seen.add(id(block))
                todo.extend(self.targets.get(id(block), ()))
        return [block for block in self.blocks if id(block) in seen]

    def resolved(self, block: OpenBlock, number: dict[int, int]) -> Terminator:
        targets = [number[id(target)] for target in self.targets.get(id(block), ())]
        terminator = block.terminator
        if isinstance(terminator, Branch):
            return Branch(terminator.condition, targets[0], targets[1], terminator.branch, terminator.where)
        if isinstance(terminator, Jump):
            return Jump(targets[0])
        assert terminator is not None
        return terminator

    # --- statements

    def whole_body(self, definition: ast.FunctionDef) -> None:
        """Lower a function's body."""
        self.known.update(_assigned_names(definition))
        self.is_generator = any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in ast.walk(definition))
        self.body(definition.body)

    def body(self, statements: Sequence[ast.stmt]) -> None:
        """Lower a suite. Text after a return, break or continue is refused."""
        for statement in statements:
            if self.block.terminator is not None:
                raise self.refusal(statement, "unreachable", "this line cannot be reached", "delete it")
            self.depth += 1
            if self.depth > DEPTH_MAX:
                raise self.too_deep(statement)
            self.statement(statement)
            self.depth -= 1

    def statement(self, node: ast.stmt) -> None:
        handlers: dict[type[ast.stmt], Callable[[Any], None]] = {
            ast.Assign: self.assign,
            ast.AnnAssign: self.annotated_assign,
            ast.AugAssign: self.augmented_assign,
            ast.Expr: self.expression_statement,
            ast.If: self.if_statement,
            ast.While: self.while_statement,
            ast.For: self.for_statement,
            ast.Return: self.return_statement,
            ast.Assert: self.assert_statement,
            ast.Break: self.break_statement,
            ast.Continue: self.continue_statement,
            ast.Pass: lambda _: None,
        }
        handler = handlers.get(type(node))
        if handler is not None:
            handler(node)
            return
        code, message, remedy = REFUSED_STATEMENTS.get(
            type(node),
            ("statement", f"{type(node).__name__} is not in the language", "use assignments, if, for, while"),
        )
        raise self.refusal(node, code, message, remedy)

    def suite(self, statements: Sequence[ast.stmt], owner: ast.stmt) -> None:
        """The body of a compound statement, which starts on a line of its own (for line-based coverage and pdb)."""
        if statements and statements[0].lineno == owner.lineno:
            raise self.refusal(
                statements[0], "one-line", "a compound statement on one line", "put its body on the next line"
            )
        self.body(statements)

    # --- assignments

    def assign(self, node: ast.Assign) -> None:
        if len(node.targets) != 1:
            raise self.refusal(node, "chained-assignment", "a = b = c is not in the language", "assign one at a time")
        self.assign_to(node.targets[0], node.value, None, node)

    def annotated_assign(self, node: ast.AnnAssign) -> None:
        if not isinstance(node.target, ast.Name):
            raise self.refusal(
                node, "declaration", "a field is annotated in its record", "leave the annotation out here"
            )
        if node.value is None:
            raise self.refusal(node, "declaration", "a declaration without a value", "give it a value here")
        try:
            annotation = eval(compile(ast.Expression(node.annotation), self.filename, "eval"), self.namespace)
            signature = signature_of(annotation)
        except AnnotationError as error:
            raise self.refusal(node.annotation, "annotation", error.message, error.remedy) from None
        except Exception as error:
            message = f"this annotation has no meaning: {error}"
            raise self.refusal(node.annotation, "annotation", message, "use a declared type") from None
        if signature.kind is None:
            raise self.refusal(node.annotation, "annotation", "a record variable needs no annotation", "leave it out")
        self.assign_to(node.target, node.value, signature, node)

    def assign_to(self, target: ast.expr, source_node: ast.expr, declared: Signature | None, node: ast.stmt) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            raise self.refusal(
                target, "unpack", "several targets at once are not in the language", "assign one at a time"
            )
        if isinstance(target, ast.Name):
            self.assign_name(target, source_node, declared, node)
        elif isinstance(target, (ast.Attribute, ast.Subscript)):
            place = self.target_place(target)
            self.store(place, self.right_hand(source_node), target)
        else:
            raise self.refusal(target, "target", "this cannot be assigned to", "assign to a variable or a field")

    def target_place(self, node: ast.Attribute | ast.Subscript) -> Place:
        """The scalar place that is assigned to."""
        if isinstance(node, ast.Subscript):
            place = self.element(node)
        else:
            base = self.expression(node.value)
            if not isinstance(base, Place) or base.type.record is None:
                raise self.refusal(node, "target", "only fields of records can be assigned", "assign to machine.field")
            fields = base.type.record.field_types()
            if node.attr not in fields:
                raise self.refusal(
                    node,
                    "no-field",
                    f"{base.type.record.__name__} has no field {node.attr}",
                    f"its fields are: {', '.join(fields)}",
                )
            path = f"{base.path}.{node.attr}" if base.path else node.attr
            place = Place(base.root, path, base.indices, fields[node.attr], base.checked)
        if place.type.constants:
            raise self.refusal(
                node, "assign-constant", f"{place.path} is a constant of the scope", "use a field that is state"
            )
        if place.type.scalar is None:
            raise self.refusal(
                node, "assign-record", f"{place.path} is {place.describe()}", "assign its fields one by one"
            )
        return place

    def store(self, place: Place, value: Value, node: ast.AST) -> None:
        if self.is_property:
            raise self.refusal(node, "property-writes", "a property changes state", "a property only reads")
        scalar = place.type.scalar
        assert scalar is not None
        leaf = self.program.leaf(place.root, place.path)
        kind = kind_of(scalar)
        where = self.where(node)
        checked = (kind is Kind.OPTIONAL and value.kind is Kind.INTEGER and not value.non_negative) or (
            kind is Kind.INTEGER and value.kind is Kind.OPTIONAL
        )
        if checked or (can_fail(value.expression) and any(map(can_fail, place.indices))):
            # CPython evaluates the value before the indices, and looks at the value after the indices.
            local = self.new_local()
            self.emit(Assign(local, value.expression))
            value = Value(Local(local), value.kind, value.type, value.non_negative)
        if checked:
            self.check_indices(place, node)
        if checked and value.kind is Kind.INTEGER:
            self.emit(Check(FailureKind.RANGE, Compare(">=", value.expression, Constant(0)), "", where))
            value = Value(value.expression, Kind.INTEGER, value.type, True)
        self.emit(Store(place.root, leaf, place.indices, self.coerce(value, kind, node), where))
        self.pure = False

    def assign_name(self, target: ast.Name, source_node: ast.expr, declared: Signature | None, node: ast.stmt) -> None:
        name = target.id
        value: Value | None = None
        if declared is None and not self.is_statement_call(source_node):
            lowered = self.expression(source_node)
            if isinstance(lowered, Place):
                self.alias(name, lowered, node)
                return
            value = lowered
        if name in self.places:
            raise self.refusal(node, "record-variable", f"{name} names a record", "use another name for the value")
        if value is None:
            value = self.right_hand(source_node)
        slot = self.slots.get(name)
        if slot is None:
            kind = Kind.OPTIONAL if value.kind is Kind.NONE else value.kind
            slot = self.declare(name, kind, value.type)
            slot.non_negative = name not in self.negative
            if declared is not None and declared.kind is not None:
                slot.kind, slot.type = declared.kind, declared.type
        elif declared is not None and declared.kind is not slot.kind:
            raise self.refusal(
                node, "kind-change", f"{name} was {slot.kind.value}", "annotate it once, where it begins"
            )
        if slot.kind is Kind.INTEGER and value.kind in (Kind.NONE, Kind.OPTIONAL) and not value.present:
            raise self.refusal(
                node,
                "kind-change",
                f"{name} is an integer and may become None",
                f"annotate it where it begins: {name}: Page | None = …",
            )
        if slot.kind is Kind.INTEGER and not value.non_negative:
            self.weaken(name, slot)
        expression = self.coerce(value, slot.kind, source_node, declared.type if declared is not None else None)
        if not (isinstance(expression, Local) and expression.index == slot.index):
            self.emit(Assign(slot.index, expression))
        self.assigned.add(name)
        self.assigned -= facts_about([name])
        if value.kind is Kind.INTEGER or value.present:
            self.assigned |= facts_about([name])

    def weaken(self, name: str, slot: Slot) -> None:
        """An assignment that may make the variable negative, here and wherever else it is read."""
        slot.non_negative = False
        self.negative.add(name)

    def declare(self, name: str, kind: Kind, type_: Any) -> Slot:
        non_negative = kind is Kind.OPTIONAL or (is_non_negative(type_) and name not in self.negative)
        slot = Slot(self.new_local(name, type_), kind, type_, non_negative)
        self.slots[name] = slot
        self.known.add(name)
        return slot

    def alias(self, name: str, place: Place, node: ast.stmt) -> None:
        """`area = zone.free_area[order]`: the path is fixed, the indices are kept in hidden variables."""
        if name in self.slots:
            raise self.refusal(node, "record-variable", f"{name} was a value and becomes a record", "use another name")
        old = self.places.get(name)
        if old is not None and (old.root, old.path) != (place.root, place.path):
            raise self.refusal(
                node, "record-variable", f"{name} would name two different parts of the state", "use two names"
            )
        slots = [index.index for index in old.indices if isinstance(index, Local)] if old else []
        if not slots:
            slots = [self.new_local() for _ in place.indices]
        fresh = [self.new_local() for _ in place.indices]
        for temporary, index in zip(fresh, place.indices, strict=True):
            self.emit(Assign(temporary, index))
        kept = tuple(Local(slot) for slot in slots)
        for slot, temporary in zip(slots, fresh, strict=True):
            self.emit(Assign(slot, Local(temporary)))
        alias = Place(place.root, place.path, kept, place.type, place.checked)
        self.check_indices(alias, node)
        self.places[name] = Place(place.root, place.path, kept, place.type, len(kept))
        self.known.add(name)
        self.assigned.add(name)

    def check_indices(self, place: Place, node: ast.AST) -> None:
        """Taking an element checks the index, as Python does, even if no field is read afterwards."""
        lengths = self.program.dimensions(place.root, place.path)
        for index, length in list(zip(place.indices, lengths, strict=False))[place.checked :]:
            inside = BooleanAnd(Compare(">=", index, Constant(0)), Compare("<", index, SizeOf(length)))
            self.emit(Check(FailureKind.BOUNDS, inside, "", self.where(node)))

    def augmented_assign(self, node: ast.AugAssign) -> None:
        load = ast.copy_location(_as_load(node.target), node.target)
        combined = ast.copy_location(ast.BinOp(load, node.op, node.value), node)
        self.assign_to(node.target, combined, None, node)

    def right_hand(self, node: ast.expr) -> Value:
        """The right side of an assignment: an expression, a call that may change state, or a choice."""
        if not self.is_statement_call(node):
            return self.value(node)
        assert isinstance(node, ast.Call)
        if self.callee(node) is actions.choose:
            return self.choice(node)
        return self.effectful_call(node)

    def is_statement_call(self, node: ast.expr) -> bool:
        """Whether this is a call of choose or of a specification function (which may change state)."""
        if not isinstance(node, ast.Call):
            return False
        function = node.func
        if isinstance(function, ast.Name) and self.is_variable(function.id):
            return False
        if isinstance(function, ast.Attribute) and self.static(function.value) is None:
            record = self.record_class(function.value)
            return record is not None and self.program.method(record, function.attr) is not None
        if not isinstance(function, (ast.Name, ast.Attribute)):
            return False
        target = self.callee(node)
        words = (actions.require, actions.clause, actions.leads, actions.unsigned, actions.signed, indices)
        return target is actions.choose or (callable(target) and hasattr(target, "__code__") and target not in words)

    def choice(self, node: ast.Call) -> Value:
        if self.is_property:
            raise self.refusal(node, "property-chooses", "a property chooses", "use any(…) or all(…)")
        if len(node.args) != 1 or node.keywords:
            raise self.refusal(
                node, "choose", "choose takes one range", "write choose(indices(array)) or choose(range(…))"
            )
        domain = self.domain(node.args[0])
        local = self.new_local("", domain.type)
        self.emit(Choice(local, domain.start.expression, domain.stop.expression, self.where(node)))
        self.pure = False
        return Value(Local(local), Kind.INTEGER, domain.type, domain.start.non_negative)

    def effectful_call(self, node: ast.Call) -> Value:
        """A call on a line of its own; its result goes to a hidden variable."""
        function = self.callee(node)
        callee, arguments = self.arguments(node, function)
        self.check_call(callee.pure, node)
        kind = callee.returns.kind
        if kind is None:
            raise self.refusal(
                node, "no-result", f"{ast.unparse(node.func)} returns nothing", "call it without assigning"
            )
        local = self.new_local("", callee.returns.type)
        self.emit(Call(local, callee.name, arguments, self.where(node)))
        return Value(
            Local(local), kind, callee.returns.type, kind is Kind.OPTIONAL or is_non_negative(callee.returns.type)
        )

    def check_call(self, pure: bool, node: ast.AST) -> None:
        if not pure:
            self.pure = False
            if self.is_property:
                raise self.refusal(
                    node, "property-writes", "a property calls a function that changes state", "only read"
                )

    # --- other simple statements

    def expression_statement(self, node: ast.Expr) -> None:
        value = node.value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return
        if isinstance(value, ast.Yield):
            self.claim(value)
            return
        if not isinstance(value, ast.Call):
            self.expression(value)
            raise self.refusal(node, "no-effect", "this line has no effect", "assign it or delete it")
        function = self.callee(value)
        if function is actions.require:
            self.require(value)
        elif function is actions.choose:
            raise self.refusal(node, "choose-unused", "the choice is not used", "write `x = choose(…)`")
        elif function is actions.clause:
            raise self.refusal(node, "clause-inside", "a clause must be yielded", "write `yield clause(…)`")
        elif self.is_statement_call(value):
            callee, arguments = self.arguments(value, function)
            self.check_call(callee.pure, node)
            self.emit(Call(None, callee.name, arguments, self.where(node)))
        else:
            self.call(value)
            raise self.refusal(node, "no-effect", "this line has no effect", "assign it or delete it")

    def require(self, node: ast.Call) -> None:
        if self.is_property:
            raise self.refusal(
                node, "property-requires", "a property has no guard", "use `if` or `if … in the generator`"
            )
        if len(node.args) != 1 or node.keywords:
            raise self.refusal(node, "require", "require takes one condition", "write require(condition)")
        self.emit(Require(self.boolean(node.args[0]), self.where(node)))
        self.assigned |= facts(node.args[0], True)
        self.pure = False

    def claim(self, node: ast.Yield) -> None:
        call = node.value
        if not self.is_property:
            self.expression(node)
        if not isinstance(call, ast.Call) or self.callee(call) is not actions.clause:
            raise self.refusal(
                node, "yield-clause", "a property yields clauses", 'write `yield clause("name", condition, page)`'
            )
        name = call.args[0] if call.args else None
        if len(call.args) < 2 or call.keywords or not isinstance(name, ast.Constant) or not isinstance(name.value, str):
            raise self.refusal(
                call, "clause-name", "a clause has a constant name and a condition", 'write clause("name", condition)'
            )
        condition = self.boolean(call.args[1])
        witnesses = [self.value(argument) for argument in call.args[2:]]
        labels = tuple(map(_label, witnesses, call.args[2:]))
        number = self.clause_number(ClauseIR(name.value, labels), call)
        self.emit(Claim(number, condition, tuple(value.expression for value in witnesses), self.where(call)))

    def clause_number(self, clause: ClauseIR, node: ast.AST) -> int:
        for number, known in enumerate(self.clauses):
            if known.name == clause.name:
                if len(known.elements) != len(clause.elements):
                    raise self.refusal(
                        node, "clause-elements", f"clause {clause.name!r} has two shapes", "give it the same elements"
                    )
                return number
        self.clauses.append(clause)
        return len(self.clauses) - 1

    def assert_statement(self, node: ast.Assert) -> None:
        message = ast.unparse(node.test)
        if node.msg is not None:
            if not isinstance(node.msg, ast.Constant) or not isinstance(node.msg.value, str):
                raise self.refusal(
                    node.msg, "assert-message", "the message must be a constant string", 'write assert x, "text"'
                )
            message = node.msg.value
        self.emit(Check(FailureKind.ASSERT, self.boolean(node.test), message, self.where(node)))
        self.assigned |= facts(node.test, True)

    def return_statement(self, node: ast.Return) -> None:
        if self.is_property:
            self.property_return(node)
            return
        kind = self.returns.kind
        if node.value is None or (kind is None and isinstance(node.value, ast.Constant) and node.value.value is None):
            if kind is not None and kind is not Kind.OPTIONAL:
                raise self.refusal(node, "return-value", "this function returns a value", "return it here as well")
            self.block.terminator = Return(Constant(-1) if kind is Kind.OPTIONAL else None)
            return
        if kind is None:
            raise self.refusal(
                node, "return-none", "this function is annotated to return nothing", "annotate its result"
            )
        value = self.right_hand(node.value)
        self.check_present(value, kind, node.value)
        self.block.terminator = Return(self.coerce(value, kind, node.value, self.returns.type))

    def leads_return(self, node: ast.Return) -> None:
        """A leads-to returns `when` + 2 * `then`."""
        call = node.value
        given = {word.arg: word.value for word in call.keywords} if isinstance(call, ast.Call) else {}
        if not isinstance(call, ast.Call) or self.callee(call) is not actions.leads or call.args or (
            set(given) != {"when", "then"}
        ):
            raise self.refusal(
                node, "leads-return", "a leads-to returns something else", "write return leads(when=…, then=…)"
            )
        first, second = (
            Conditional(self.boolean(value), Constant(WHEN if word == "when" else THEN), Constant(0))
            for word, value in given.items()
        )
        self.block.terminator = Return(Binary("+", first, second, self.where(node)))

    def property_return(self, node: ast.Return) -> None:
        """A property that returns a bool is one clause; one that yields may return early without a value."""
        if self.is_leads:
            self.leads_return(node)
            return
        if node.value is not None and self.is_generator:
            raise self.refusal(
                node, "return-clause", "a property that yields clauses returns a value", "yield a clause"
            )
        if node.value is None and not self.is_generator:
            raise self.refusal(
                node, "return-value", "this property returns no truth value here", "return True or False"
            )
        if node.value is not None:
            number = self.clause_number(ClauseIR("holds"), node)
            self.emit(Claim(number, self.boolean(node.value), (), self.where(node)))
        self.block.terminator = Return(None)

    # --- control flow

    def if_statement(self, node: ast.If) -> None:
        condition = self.boolean(node.test)
        then, otherwise, join = OpenBlock(), OpenBlock(), OpenBlock()
        self.branch(condition, then, otherwise if node.orelse else join, node.test)
        before = self.assigned | facts(node.test, False)
        self.assigned = self.assigned | facts(node.test, True)
        self.place(then)
        self.suite(node.body, node)
        after_then = self.assigned if self.block.terminator is None else None
        self.jump(join)
        after_else: set[str] | None = before
        if node.orelse:
            self.assigned = set(before)
            self.place(otherwise)
            if len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
                self.body(node.orelse)
            else:
                self.suite(node.orelse, node)
            after_else = self.assigned if self.block.terminator is None else None
            self.jump(join)
        if after_then is None and after_else is None:
            return
        paths = [path for path in (after_then, after_else) if path is not None]
        self.assigned = set.intersection(*map(set, paths))
        self.place(join)

    def while_statement(self, node: ast.While) -> None:
        if node.orelse:
            raise self.refusal(node, "while-else", "while … else is not in the language", "use a flag and an if")
        if self.turns is None:
            raise self.refusal(
                node, "unbounded", "this loop has no bound", 'decorate the function with @bounded("orders") or a number'
            )
        counter = self.new_local()
        self.emit(Assign(counter, Constant(0)))
        header, inside, after = OpenBlock(), OpenBlock(), OpenBlock()
        self.assigned -= facts_about(_assigned_names(node))
        before = set(self.assigned)
        self.jump(header)
        self.enclosing.append(header)
        self.place(header)
        self.branch(self.boolean(node.test), inside, after, node.test)
        self.place(inside)
        where = self.where(node)
        self.emit(Check(FailureKind.UNWIND, Compare("<", Local(counter), SizeOf(self.turns)), "", where))
        self.emit(Assign(counter, Binary("+", Local(counter), Constant(1), where)))
        self.assigned |= facts(node.test, True)
        self.loop_body(node, header, after)
        self.jump(header)
        self.enclosing.pop()
        self.assigned = before
        self.place(after)

    def for_statement(self, node: ast.For) -> None:
        if node.orelse:
            raise self.refusal(node, "for-else", "for … else is not in the language", "use a flag and an if")
        if not isinstance(node.target, ast.Name):
            raise self.refusal(node.target, "unpack", "a loop has one variable", "use a plain name")
        domain = self.domain(node.iter, steps=True)
        where = self.where(node.iter)
        counter, stop = self.new_local(), self.new_local()
        self.emit(Assign(counter, domain.start.expression))
        self.emit(Assign(stop, domain.stop.expression))
        header, inside, advance, after = OpenBlock(), OpenBlock(), OpenBlock(), OpenBlock()
        self.assigned -= facts_about(_assigned_names(node))
        self.jump(header)
        self.enclosing.append(header)
        self.place(header)
        comparison = "<" if domain.step > 0 else ">"
        self.branch(Compare(comparison, Local(counter), Local(stop)), inside, after, node.iter)
        before = set(self.assigned)
        self.place(inside)
        self.loop_variable(node.target, domain, counter)
        self.loop_body(node, advance, after)
        self.jump(advance)
        self.place(advance)
        self.emit(Assign(counter, Binary("+", Local(counter), Constant(domain.step), where)))
        self.jump(header)
        self.enclosing.pop()
        self.assigned = before
        self.place(after)

    def loop_variable(self, target: ast.Name, domain: Domain, counter: int) -> None:
        name = target.id
        if name in self.places:
            raise self.refusal(target, "record-variable", f"{name} names a record", "use another loop variable")
        slot = self.slots.get(name)
        non_negative = domain.start.non_negative and domain.step > 0
        if slot is None:
            slot = self.declare(name, Kind.INTEGER, domain.type)
            slot.non_negative = name not in self.negative
        elif slot.kind is not Kind.INTEGER:
            raise self.refusal(target, "kind-change", f"{name} is {slot.kind.value}", "use another loop variable")
        if not non_negative:
            self.weaken(name, slot)
        self.emit(Assign(slot.index, Local(counter)))
        self.assigned.add(name)

    def loop_body(self, node: ast.For | ast.While, on_continue: OpenBlock, after: OpenBlock) -> None:
        before = set(self.assigned)
        self.loops.append(LoopContext(on_continue, after))
        self.suite(node.body, node)
        self.loops.pop()
        self.assigned = before

    def break_statement(self, node: ast.Break) -> None:
        self.jump(self.loops[-1].on_break)

    def continue_statement(self, node: ast.Continue) -> None:
        self.jump(self.loops[-1].on_continue)


def _assigned_names(definition: ast.AST) -> set[str]:
    """The names that a function or a loop assigns; a generator's own variables are not among them."""
    inner = {
        id(target)
        for node in ast.walk(definition)
        if isinstance(node, ast.comprehension)
        for target in ast.walk(node.target)
    }
    return {
        node.id
        for node in ast.walk(definition)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in inner
    }


def _as_load(node: ast.expr) -> ast.expr:
    copy: ast.expr = ast.parse(ast.unparse(node), mode="eval").body
    for inner in ast.walk(copy):
        ast.copy_location(inner, node)
    return copy


def _label(value: Value, node: ast.expr) -> str:
    if isinstance(value.type, IntegerType) and value.type.sort:
        return value.type.sort
    return ast.unparse(node)
