"""The front end's entry: a `Spec` to a `Program`.

Functions are lowered on demand, once for each combination of state parts that their record parameters name
(monomorphisation): `expand(zone, …)` called with `machine.zone` and with `before.zone` is two IR functions.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import typing
from collections.abc import Callable
from typing import Any

from . import source
from .actions import Property
from .errors import Position, SpecError
from .expressions import Callee
from .ir import (
    ABSTRACT,
    ABSTRACT_AFTER,
    BEFORE,
    CURRENT,
    ActionIR,
    Assign,
    Binary,
    Block,
    Branch,
    Call,
    Claim,
    ClauseIR,
    Compare,
    Constant,
    Expression,
    Function,
    Jump,
    LeafType,
    Load,
    Local,
    LocalVariable,
    Parameter,
    Program,
    PropertyIR,
    Return,
    Schema,
    Size,
    SizeOf,
)
from .records import FieldType, Record, schema_of
from .sorts import AnnotationError, size
from .spec import Refinement, Spec
from .statements import StatementLowering
from .values import Kind, Place, Signature, kind_of, signature_of


def lower(spec: Spec) -> Program:
    """The program of a specification; raises SpecError for anything outside the language."""
    return ProgramLowering(spec).program()


class ProgramLowering:
    """Collects the functions, positions and schemas of one program."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.schema = _schema(spec)
        abstract = spec.refinement.abstract if spec.refinement else None
        self.abstract_schema = _schema(abstract) if abstract else None
        self.leaves = {CURRENT: _index(self.schema)}
        self.leaves[BEFORE] = self.leaves[CURRENT]
        if self.abstract_schema is not None:
            self.leaves[ABSTRACT] = self.leaves[ABSTRACT_AFTER] = _index(self.abstract_schema)
        self.functions: dict[str, Function] = {}
        self.callees: dict[tuple[Any, ...], Callee] = {}
        self.in_progress: list[tuple[Any, ...]] = []
        self.positions: dict[Position, int] = {}

    # --- what function lowering asks for (see expressions.Instances)

    def schema_at(self, root: int) -> Schema:
        if root in (CURRENT, BEFORE):
            return self.schema
        assert self.abstract_schema is not None
        return self.abstract_schema

    def leaf(self, root: int, path: str) -> int:
        return self.leaves[root][path]

    def leaf_type(self, root: int, leaf: int) -> LeafType:
        return self.schema_at(root).leaves[leaf].type

    def dimensions(self, root: int, path: str) -> tuple[Size, ...]:
        """The array sizes on the way to a path (found at any leaf below it)."""
        depth = path.count("[]")
        for leaf in self.schema_at(root).leaves:
            if leaf.path == path or leaf.path.startswith((path + ".", path + "[")):
                return leaf.dimensions[:depth]
        return ()

    def is_ghost(self, root: int, leaf: int) -> bool:
        return self.schema_at(root).leaves[leaf].ghost

    def where(self, filename: str, node: ast.AST) -> int:
        position = source.position(filename, node)
        return self.positions.setdefault(position, len(self.positions))

    def call(self, function: Callable[..., Any], places: tuple[Place, ...]) -> Callee:
        """The IR function for these state parts, lowered now if it is new."""
        function = inspect.unwrap(function) if not hasattr(function, "kmemspec_turns") else function
        key = (inspect.unwrap(function), tuple((place.root, place.path) for place in places))
        if key in self.callees:
            return self.callees[key]
        definition = source.definition(function)
        if key in self.in_progress:
            filename = inspect.unwrap(function).__code__.co_filename
            raise source.refusal(
                filename, definition, "recursion", f"{definition.name} calls itself", "write a bounded loop"
            )
        self.in_progress.append(key)
        callee = self.lower_function(function, definition, places)
        self.in_progress.pop()
        self.callees[key] = callee
        return callee

    # --- functions

    def lower_function(
        self, function: Callable[..., Any], definition: ast.FunctionDef, places: tuple[Place, ...]
    ) -> Callee:
        """Lower a function called from a specification (or an action, or init)."""
        parameters, returns = signatures(function, definition)
        lowering = self.lowering_of(function, returns, is_property=False)
        indices = iter(places)
        numbers: list[int] = []
        for name, signature in parameters:
            if signature.place is not None:
                place = next(indices, None)
                self.check_place(place, signature, function, definition, name)
                assert place is not None
                locals_ = [lowering.new_local() for _ in place.indices]
                numbers.extend(locals_)
                kept: tuple[Expression, ...] = tuple(Local(number) for number in locals_)
                lowering.places[name] = Place(place.root, place.path, kept, place.type)
            else:
                assert signature.kind is not None
                numbers.append(lowering.declare(name, signature.kind, signature.type).index)
            lowering.assigned.add(name)
        lowering.body(definition.body)
        self.close(lowering, definition, returns)
        name = self.unique_name(definition.name, places)
        self.add(name, function, definition, lowering, numbers, returns.type)
        return Callee(name, lowering.pure, parameters, returns, lowering.reads_ghost)

    def check_place(
        self, place: Place | None, signature: Signature, function: Callable[..., Any], node: ast.FunctionDef, name: str
    ) -> None:
        wanted = signature.place
        assert wanted is not None
        same = place is not None and (
            place.type.record is wanted.record if wanted.record is not None else place.type.element is not None
        )
        if not same:
            filename = inspect.unwrap(function).__code__.co_filename
            what = wanted.record.__name__ if wanted.record is not None else "an array"
            raise source.refusal(
                filename, node, "record-type", f"parameter {name} of {node.name} is {what}", "pass one of these"
            )

    def lowering_of(
        self, function: Callable[..., Any], returns: Signature, *, is_property: bool
    ) -> StatementLowering:
        plain = inspect.unwrap(function)
        turns = getattr(function, "kmemspec_turns", None)
        namespace = plain.__globals__
        bound = None if turns is None else size(turns)
        return StatementLowering(self, plain.__code__.co_filename, namespace, returns, bound, is_property)

    def close(self, lowering: StatementLowering, definition: ast.FunctionDef, returns: Signature) -> None:
        """The end of a function without a return."""
        if lowering.block.terminator is None:
            if returns.kind is not None and returns.kind is not Kind.OPTIONAL and not lowering.is_property:
                lowering.refuse(definition, "missing-return", f"{definition.name} may end without a result", "return one")
            ends_none = returns.kind is Kind.OPTIONAL and not lowering.is_property
            lowering.block.terminator = Return(Constant(-1) if ends_none else None)

    def unique_name(self, name: str, places: tuple[Place, ...]) -> str:
        suffix = ",".join(f"{place.root}:{place.path}" for place in places)
        candidate = f"{name}({suffix})"
        while candidate in self.functions:
            candidate += "'"
        return candidate

    def add(
        self,
        name: str,
        function: Callable[..., Any],
        definition: ast.FunctionDef,
        lowering: StatementLowering,
        parameters: list[int],
        returns: LeafType | None,
    ) -> None:
        variables = tuple(LocalVariable(local, type_) for local, type_ in lowering.locals)
        doc = ast.get_docstring(definition) or ""
        self.functions[name] = Function(
            name, tuple(parameters), variables, lowering.finish(), lowering.pure, returns, definition.name, doc
        )

    # --- the program

    def program(self) -> Program:
        spec = self.spec
        current = Place(CURRENT, "", (), _record(spec.state))
        init = self.call(spec.init, (current,)).name
        actions = tuple(self.action(function, current) for function in spec.actions)
        properties = [self.property(item, actions) for item in spec.properties]
        if spec.refinement is not None:
            properties.extend(self.refinement(spec.refinement, actions))
        positions = tuple(sorted(self.positions, key=self.positions.__getitem__))
        names = tuple([parameter.name for parameter in spec.parameters] + list(spec.derived))
        self.check_parameters(names)
        content = repr((names, self.schema, self.abstract_schema, self.functions, init, actions, properties))
        return Program(
            spec.name,
            names,
            self.schema,
            self.abstract_schema,
            self.functions,
            init,
            actions,
            tuple(properties),
            positions,
            hashlib.sha256(content.encode()).hexdigest(),
            spec.deadlock_free,
        )

    def check_parameters(self, names: tuple[str, ...]) -> None:
        used = {found.parameter for found in _sizes_in((self.schema, self.abstract_schema, tuple(self.functions.values())))}
        for name in sorted(item for item in used if item is not None):
            if name not in names:
                raise SpecError(
                    "unknown-parameter",
                    f"{self.spec.name} uses the scope parameter {name!r}, which it does not declare",
                    f'add Parameter("{name}", …) to the Spec',
                    _place_of(self.spec.init),
                )

    def action(self, function: Callable[..., Any], current: Place) -> ActionIR:
        definition = source.definition(function)
        filename = inspect.unwrap(function).__code__.co_filename
        if not getattr(function, "kmemspec_action", False):
            raise source.refusal(filename, definition, "no-action", f"{definition.name} is not an action", "decorate it with @action")
        callee = self.call(function, (current,))
        self.check_ghost(function)
        parameters: list[Parameter] = []
        for name, signature in callee.parameters[1:]:
            if signature.type is None:
                raise source.refusal(
                    filename,
                    definition,
                    "action-parameter",
                    f"parameter {name} of action {definition.name} has no finite type",
                    "annotate it with a Sort, an IntEnum or bool",
                )
            parameters.append(Parameter(name, signature.type))
        if callee.parameters[0][1].place is None:
            raise source.refusal(filename, definition, "action-state", "an action takes the machine first", "add it")
        doc = inspect.getdoc(function) or ""
        return ActionIR(definition.name, callee.name, tuple(parameters), callee.returns.type, doc)

    def check_ghost(self, function: Callable[..., Any]) -> None:
        """Ghost state is read by actions' own guards, never by the functions of the kernel they call."""
        own = inspect.unwrap(function)
        for (called, _), callee in self.callees.items():
            if called is own or callee.reads_ghost is None or not self.reaches(own, called):
                continue
            filename, node = callee.reads_ghost
            raise source.refusal(
                filename, node, "ghost", f"{called.__name__} reads ghost state", "read it in the action or in a property"
            )

    def reaches(self, start: Callable[..., Any], goal: Callable[..., Any]) -> bool:
        """Whether one IR function of `start` calls, directly or not, one of `goal`."""
        names = {callee.name: called for (called, _), callee in self.callees.items()}
        todo = [callee.name for (called, _), callee in self.callees.items() if called is start]
        seen: set[str] = set()
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            if names[name] is goal:
                return True
            todo.extend(_called(self.functions[name]))
        return False

    # --- properties

    def property(self, item: Property, actions: tuple[ActionIR, ...]) -> PropertyIR:
        definition = source.definition(item.function)
        filename = inspect.unwrap(item.function).__code__.co_filename
        lowering = self.lowering_of(item.function, Signature(None), is_property=True)
        target = self.action_named(item, actions, filename, definition)
        wanted = self.property_parameters(item, target)
        given = [argument.arg for argument in definition.args.args]
        unknown = [name for name in given if item.kind == "step" and name not in wanted]
        if unknown or (item.kind == "invariant" and len(given) != 1):
            expected = ", ".join(wanted) if item.kind == "step" else "the machine"
            lowering.refuse(
                definition, "property-parameters", f"{definition.name} does not fit its kind", f"it may take: {expected}"
            )
        numbers = self.bind_property(lowering, item, target, given)
        lowering.body(definition.body)
        self.close(lowering, definition, Signature(None))
        if not lowering.clauses:
            lowering.refuse(definition, "no-clause", f"{definition.name} states nothing", "yield a clause or return a bool")
        name = self.unique_name(f"{item.kind} {item.identifier} {definition.name}", ())
        self.add(name, item.function, definition, lowering, numbers, None)
        doc = inspect.getdoc(item.function) or ""
        action = target.name if target else None
        return PropertyIR(
            item.identifier, item.name, item.kind, name, tuple(lowering.clauses), action, doc, item.origin
        )

    def action_named(
        self, item: Property, actions: tuple[ActionIR, ...], filename: str, definition: ast.FunctionDef
    ) -> ActionIR | None:
        if item.action is None:
            return None
        for action in actions:
            if action.name == item.action.__name__:
                return action
        raise source.refusal(
            filename,
            definition,
            "step-action",
            f"{item.action.__name__} is not an action of {self.spec.name}",
            "add it to the Spec's actions",
        )

    def property_parameters(self, item: Property, target: ActionIR | None) -> list[str]:
        if item.kind == "invariant":
            return []
        names = ["before", "after"]
        if target is not None:
            names += [parameter.name for parameter in target.parameters]
            names += ["result"] if target.returns is not None else []
        return names

    def bind_property(
        self, lowering: StatementLowering, item: Property, target: ActionIR | None, given: list[str]
    ) -> list[int]:
        record = _record(self.spec.state)
        if item.kind == "invariant":
            lowering.places[given[0]] = Place(CURRENT, "", (), record)
            lowering.assigned.add(given[0])
            return []
        lowering.places["before"] = Place(BEFORE, "", (), record)
        lowering.places["after"] = Place(CURRENT, "", (), record)
        lowering.assigned.update(("before", "after"))
        numbers: list[int] = []
        if target is not None:
            typed = [(parameter.name, parameter.type) for parameter in target.parameters]
            typed += [("result", target.returns)] if target.returns is not None else []
            for name, type_ in typed:
                slot = lowering.declare(name, kind_of(type_), type_)
                lowering.assigned.add(name)
                numbers.append(slot.index)
        return numbers

    # --- refinement

    def refinement(self, refinement: Refinement, actions: tuple[ActionIR, ...]) -> list[PropertyIR]:
        """One property an action: mapping, abstract step, mapping, comparison; and one for the initial states."""
        steps = {function.__name__: step for function, step in refinement.steps.items()}
        for name in steps:
            if name not in {action.name for action in actions}:
                raise SpecError(
                    "step-action", f"{name} is not an action of {self.spec.name}", "name an action", _place_of(refinement.mapping)
                )
        abstract = _record(refinement.abstract.state)
        concrete = _record(self.spec.state)

        def map_to(concrete_root: int, abstract_root: int) -> Callee:
            return self.call(
                refinement.mapping, (Place(concrete_root, "", (), concrete), Place(abstract_root, "", (), abstract))
            )

        where = self.where(inspect.unwrap(refinement.mapping).__code__.co_filename, source.definition(refinement.mapping))
        before, after = map_to(BEFORE, ABSTRACT), map_to(CURRENT, ABSTRACT_AFTER)
        results: list[PropertyIR] = []
        for action in actions:
            count = len(action.parameters) + (action.returns is not None)
            calls: list[Call] = [Call(None, before.name, (), where)]
            if action.name in steps:
                step = self.call(steps[action.name], (Place(ABSTRACT, "", (), abstract),))
                if len(step.parameters) != count + 1:
                    raise SpecError(
                        "refinement-step",
                        f"the abstract step of {action.name} takes {len(step.parameters)} parameters",
                        "it takes the abstract machine, the action's parameters and its result",
                        _place_of(steps[action.name]),
                    )
                calls.append(Call(None, step.name, tuple(Local(number) for number in range(count)), where))
            calls.append(Call(None, after.name, (), where))
            results.append(self.comparison(refinement, f"step of {action.name}", "refinement", action, count, calls, where))
        init = self.call(refinement.abstract.init, (Place(ABSTRACT, "", (), abstract),))
        calls = [Call(None, init.name, (), where), Call(None, after.name, (), where)]
        results.append(self.comparison(refinement, "initial states", "initial", None, 0, calls, where))
        return results

    def comparison(
        self,
        refinement: Refinement,
        title: str,
        kind: str,
        action: ActionIR | None,
        count: int,
        calls: list[Call],
        where: int,
    ) -> PropertyIR:
        """A function that runs the calls and then claims that ABSTRACT and ABSTRACT_AFTER agree, leaf by leaf."""
        assert self.abstract_schema is not None
        variables = [LocalVariable(f"argument{number}") for number in range(count)]
        blocks: list[Block] = []
        clauses: list[ClauseIR] = []
        instructions: list[Any] = list(calls)
        branches = 0
        for number, leaf in enumerate(self.abstract_schema.leaves):
            clauses.append(ClauseIR(f"abstract {leaf.path} agrees", tuple(sort or "index" for sort in leaf.dimension_sorts)))
            headers: list[int] = []
            counters: list[int] = []
            for dimension in leaf.dimensions:
                variables.append(LocalVariable(""))
                counters.append(len(variables) - 1)
                instructions.append(Assign(counters[-1], Constant(0)))
                blocks.append(Block(tuple(instructions), Jump(len(blocks) + 1), tuple(headers)))
                instructions = []
                headers.append(len(blocks))
                blocks.append(Block((), Branch(Compare("<", Local(counters[-1]), SizeOf(dimension)), len(blocks) + 1, -1, branches, where), tuple(headers)))
                branches += 1
            indices: tuple[Expression, ...] = tuple(Local(counter) for counter in counters)
            same = Compare("==", Load(ABSTRACT, number, indices, where), Load(ABSTRACT_AFTER, number, indices, where))
            instructions.append(Claim(number, same, indices, where))
            for counter in reversed(counters):
                instructions.append(Assign(counter, Binary("+", Local(counter), Constant(1), where)))
                header = headers[-1]
                blocks.append(Block(tuple(instructions), Jump(header), tuple(headers)))
                headers.pop()
                instructions = []
                branch = blocks[header].terminator
                assert isinstance(branch, Branch)
                patched = Branch(branch.condition, branch.then, len(blocks), branch.branch, branch.where)
                blocks[header] = Block((), patched, blocks[header].loops)
        blocks.append(Block(tuple(instructions), Return(None), ()))
        clauses.append(ClauseIR("abstract step is enabled"))
        name = self.unique_name(f"refinement {refinement.identifier} {title}", ())
        self.functions[name] = Function(
            name, tuple(range(count)), tuple(variables), tuple(blocks), False, None, f"refinement of {title}"
        )
        doc = inspect.getdoc(refinement.mapping) or ""
        return PropertyIR(
            refinement.identifier,
            f"refines {refinement.abstract.name}: {title}",
            kind,
            name,
            tuple(clauses),
            action.name if action else None,
            doc,
            refinement.origin,
        )


def signatures(
    function: Callable[..., Any], definition: ast.FunctionDef
) -> tuple[tuple[tuple[str, Signature], ...], Signature]:
    """The parameters and the result of a specification function; raises SpecError."""
    filename = inspect.unwrap(function).__code__.co_filename
    arguments = definition.args
    if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.defaults or arguments.posonlyargs:
        raise source.refusal(
            filename, definition, "parameters", "only plain parameters without defaults are in the language", "write them out"
        )
    try:
        hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except Exception as error:
        raise source.refusal(
            filename, definition, "annotation", f"an annotation has no meaning: {error}", "import or define its name"
        ) from None
    parameters: list[tuple[str, Signature]] = []
    for argument in [*arguments.args, None]:
        name = argument.arg if argument else "return"
        if name not in hints:
            raise source.refusal(
                filename, argument or definition, "no-annotation", f"{name} has no annotation", "annotate every parameter and the result"
            )
        try:
            parameters.append((name, signature_of(hints[name])))
        except AnnotationError as error:
            raise source.refusal(filename, argument or definition, "annotation", error.message, error.remedy) from None
    *rest, (_, returns) = parameters
    if returns.place is not None:
        raise source.refusal(
            filename, definition, "returns-record", "a function cannot return a record", "return a reference to it"
        )
    return tuple(rest), returns


def _schema(spec: Spec) -> Schema:
    try:
        return schema_of(spec.state)
    except AnnotationError as error:
        raise SpecError("annotation", error.message, error.remedy, _place_of(spec.init)) from None
    except NameError as error:
        raise SpecError("annotation", f"an annotation has no meaning: {error}", "define the name", _place_of(spec.init)) from None


def _place_of(function: Callable[..., Any]) -> Position:
    code = inspect.unwrap(function).__code__
    return Position(code.co_filename, code.co_firstlineno)


def _index(schema: Schema) -> dict[str, int]:
    return {leaf.path: number for number, leaf in enumerate(schema.leaves)}


def _record(state: type[Record]) -> FieldType:
    return FieldType(record=state)


def _called(function: Function) -> set[str]:
    """The names of the functions that a function calls."""
    return _names_in(function.blocks)


def _names_in(thing: Any) -> set[str]:
    if isinstance(thing, tuple):
        return set[str]().union(*map(_names_in, thing)) if thing else set()
    if hasattr(thing, "__dataclass_fields__"):
        own = {thing.function} if isinstance(getattr(thing, "function", None), str) else set()
        return own.union(*(_names_in(getattr(thing, name)) for name in thing.__dataclass_fields__))
    return set()


def _sizes_in(thing: Any) -> set[Size]:
    if isinstance(thing, Size):
        return {thing}
    if isinstance(thing, tuple):
        return set[Size]().union(*map(_sizes_in, thing)) if thing else set()
    if hasattr(thing, "__dataclass_fields__"):
        return set[Size]().union(*(_sizes_in(getattr(thing, name)) for name in thing.__dataclass_fields__))
    return set()
