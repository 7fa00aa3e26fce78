"""The front end's entry: a `Spec` to a `Program`.

Functions are lowered on demand, once for each combination of state parts that their record parameters name
(monomorphisation): `expand(zone, …)` called with `machine.zone` and with `before.zone` is two IR functions.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import typing
from collections.abc import Callable
from types import FunctionType
from typing import Any

from . import actions as words
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
    Choice,
    Claim,
    ClauseIR,
    Compare,
    Constant,
    Expression,
    Function,
    Jump,
    LeadsToIR,
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
    Store,
)
from .records import FieldType, Record, method_of, schema_of
from .sorts import AnnotationError, size
from .spec import Refinement, Spec
from .statements import StatementLowering
from .values import Kind, Place, Signature, is_a, kind_of, signature_of


def lower(spec: Spec) -> Program:
    """The program of a specification; raises SpecError for anything outside the language."""
    lowering = ProgramLowering(spec)
    try:
        return lowering.program()
    except RecursionError:
        raise lowering.too_deep() from None


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
        self.nodes: dict[int, tuple[str, ast.AST]] = {}
        self.signatures: dict[Callable[..., Any], Signatures] = {}
        self.owners: dict[Callable[..., Any], type[Record]] = {}

    def too_deep(self) -> SpecError:
        """For calls that nest so deep that the front end runs out of stack."""
        function = self.in_progress[-1][0] if self.in_progress else inspect.unwrap(self.spec.init)
        return refusal_of(function, "too-deep", f"{function.__name__} is called too deep in calls", "call fewer levels")

    # --- what function lowering asks for (see expressions.Instances)

    def schema_at(self, root: int) -> Schema:
        if root in (CURRENT, BEFORE):
            return self.schema
        assert self.abstract_schema is not None
        return self.abstract_schema

    def leaf(self, root: int, path: str) -> int:
        return self.leaves[root][path]

    def leaf_below(self, root: int, path: str) -> tuple[int, int]:
        """A leaf below a path (or beside it, when there is only constants below) and how many indices it takes."""
        while True:
            for number, leaf in enumerate(self.schema_at(root).leaves):
                if _is_below(leaf.path, path):
                    return number, len(leaf.dimensions)
            path = path.rpartition(".")[0]

    def dimensions(self, root: int, path: str) -> tuple[Size, ...]:
        """The array sizes on the way to a path."""
        number, _ = self.leaf_below(root, path)
        return self.schema_at(root).leaves[number].dimensions[: path.count("[]")]

    def is_ghost(self, root: int, leaf: int) -> bool:
        return self.schema_at(root).leaves[leaf].ghost

    def where(self, filename: str, node: ast.AST) -> int:
        number = self.positions.setdefault(source.position(filename, node), len(self.positions))
        self.nodes.setdefault(number, (filename, node))
        return number

    def method(self, record: type[Record], name: str) -> FunctionType | None:
        """The method that a record's class has under a name. What it calls `self` is of the class that defines it."""
        owner, function = method_of(record, name) or (record, None)
        if not isinstance(function, FunctionType):
            return None
        self.owners[function] = owner
        return function

    def parameters(self, function: Callable[..., Any]) -> tuple[tuple[str, Signature], ...]:
        return self.signatures_of(function)[0]

    def signatures_of(self, function: Callable[..., Any]) -> Signatures:
        """The parameters and the result of a specification function; raises SpecError if it is not one."""
        known = self.signatures.get(function)
        if known is None:
            definition = source.definition(function)
            owner = self.owners.get(function)
            check_plain(function, definition, owner)
            known = self.signatures[function] = signatures(function, definition, owner)
        return known

    def call(self, function: Callable[..., Any], places: tuple[Place, ...]) -> Callee:
        """The IR function for these state parts, lowered now if it is new."""
        key = (inspect.unwrap(function), tuple((place.root, place.path) for place in places))
        if key in self.callees:
            return self.callees[key]
        definition = source.definition(function)
        if key[0] in [called for called, _ in self.in_progress]:
            raise refusal_of(function, "recursion", f"{definition.name} calls itself", "write a bounded loop")
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
        parameters, returns = self.signatures_of(function)
        turns = getattr(function, "kmemspec_turns", 0)
        if size(turns).parameter is not None and all(signature.place is None for _, signature in parameters):
            message = f"{definition.name} has a bound from the scope and no record to know the scope by"
            raise refusal_of(function, "bounded-record", message, "pass a record, or write @bounded with a number")

        def lower(negative: frozenset[str]) -> tuple[StatementLowering, list[int]]:
            lowering = self.lowering_of(function, returns, is_property=False, negative=negative)
            numbers = self.bind_parameters(lowering, function, definition, places)
            lowering.whole_body(definition)
            self.close(lowering, definition, returns)
            return lowering, numbers

        lowering, numbers = settled(lower)
        name = self.unique_name(self.named(function, definition), places)
        self.add(name, function, definition, lowering, numbers, returns.type)
        return Callee(name, lowering.pure, parameters, returns, lowering.reads_ghost)

    def bind_parameters(
        self,
        lowering: StatementLowering,
        function: Callable[..., Any],
        definition: ast.FunctionDef,
        places: tuple[Place, ...],
    ) -> list[int]:
        """Give the parameters their places or variables; the numbers of the IR function's parameters."""
        given = iter(places)
        numbers: list[int] = []
        for name, signature in self.parameters(function):
            if signature.place is not None:
                place = next(given, None)
                self.check_place(place, signature, function, definition, name)
                assert place is not None
                locals_ = [lowering.new_local() for _ in place.indices]
                numbers.extend(locals_)
                kept: tuple[Expression, ...] = tuple(Local(number) for number in locals_)
                lowering.places[name] = Place(place.root, place.path, kept, place.type, len(kept))
            else:
                if signature.kind is None:
                    raise lowering.refusal(
                        definition, "annotation", f"{name} is always None", "leave the parameter out"
                    )
                numbers.append(lowering.declare(name, signature.kind, signature.type).index)
            lowering.assigned.add(name)
        return numbers

    def check_place(
        self, place: Place | None, signature: Signature, function: Callable[..., Any], node: ast.FunctionDef, name: str
    ) -> None:
        wanted = signature.place
        assert wanted is not None
        same = place is not None and (
            is_a(place.type.record, wanted.record) if wanted.record is not None else place.type.element is not None
        )
        if not same:
            filename = inspect.unwrap(function).__code__.co_filename
            what = wanted.record.__name__ if wanted.record is not None else "an array"
            raise source.refusal(
                filename, node, "record-type", f"parameter {name} of {node.name} is {what}", "pass one of these"
            )

    def lowering_of(
        self, function: Callable[..., Any], returns: Signature, *, is_property: bool, negative: frozenset[str]
    ) -> StatementLowering:
        plain = inspect.unwrap(function)
        turns = getattr(function, "kmemspec_turns", None)
        namespace = plain.__globals__
        bound = None if turns is None else size(turns)
        return StatementLowering(self, plain.__code__.co_filename, namespace, returns, bound, is_property, negative)

    def close(self, lowering: StatementLowering, definition: ast.FunctionDef, returns: Signature) -> None:
        """The end of a function without a return."""
        if lowering.block.terminator is not None:
            return
        needs_value = returns.kind is not None and returns.kind is not Kind.OPTIONAL
        if lowering.is_property:
            needs_value = lowering.is_leads or (bool(lowering.clauses) and not lowering.is_generator)
        if needs_value:
            raise lowering.refusal(
                definition, "missing-return", f"{definition.name} may end without a result", "return one"
            )
        ends_none = returns.kind is Kind.OPTIONAL and not lowering.is_property
        lowering.block.terminator = Return(Constant(-1) if ends_none else None)

    def named(self, function: Callable[..., Any], definition: ast.FunctionDef) -> str:
        """A function's name in the source: that of a method with its class, as in `Zone.hook`."""
        owner = self.owners.get(function)
        return definition.name if owner is None else f"{owner.__name__}.{definition.name}"

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
        sizes: dict[int, int] = {}
        if sum(_tree_size(item, sizes) for item in lowering.finish()) > EXPRESSIONS_MAX:
            raise lowering.refusal(
                definition, "too-large", f"{definition.name} grows too large", "give names to parts of its expressions"
            )
        variables = tuple(LocalVariable(local, type_) for local, type_ in lowering.locals)
        doc = ast.get_docstring(definition) or ""
        self.functions[name] = Function(
            name,
            tuple(parameters),
            variables,
            lowering.finish(),
            lowering.pure,
            returns,
            self.named(function, definition),
            doc,
        )

    # --- the program

    def program(self) -> Program:
        spec = self.spec
        current = Place(CURRENT, "", (), _record(spec.state))
        init = self.init(spec, current)
        if not spec.actions:
            raise refusal_of(
                spec.init, "no-actions", f"{spec.name} has no actions", "give the Spec at least one @action"
            )
        if not self.schema.leaves:
            raise refusal_of(spec.init, "no-state", f"{spec.state.__name__} has no fields", "annotate its fields")
        actions = tuple(self.action(function, current) for function in spec.actions)
        self.check_names(actions)
        properties = [self.property(item, actions) for item in spec.safety]
        liveness = tuple(self.leads_to(item, current, actions) for item in spec.liveness)
        if spec.refinement is not None:
            properties.extend(self.refinement(spec.refinement, actions))
        positions = tuple(sorted(self.positions, key=self.positions.__getitem__))
        names = tuple([parameter.name for parameter in spec.parameters] + list(spec.derived))
        self.check_parameters(names)
        stated = (properties, liveness)
        content = repr(
            (names, self.schema, self.abstract_schema, self.functions, init, actions, stated, spec.symmetric)
        )
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
            spec.symmetric,
            tuple(spec.derived),
            tuple((parameter.name, parameter.default) for parameter in spec.parameters),
            liveness,
        )

    def check_parameters(self, names: tuple[str, ...]) -> None:
        used = {
            found.parameter for found in _sizes_in((self.schema, self.abstract_schema, tuple(self.functions.values())))
        }
        for name in sorted(item for item in used if item is not None):
            if name not in names:
                raise refusal_of(
                    self.spec.init,
                    "unknown-parameter",
                    f"{self.spec.name} uses the scope parameter {name!r}, which it does not declare",
                    f'add Parameter("{name}", …) to the Spec',
                )

    def init(self, spec: Spec, machine: Place) -> str:
        """The name of the IR function of a specification's init."""
        if len(self.parameters(spec.init)) != 1:
            raise refusal_of(spec.init, "init-parameters", "init takes the machine and nothing else", "write init(m)")
        return self.call(spec.init, (machine,)).name

    def check_names(self, actions: tuple[ActionIR, ...]) -> None:
        """Actions and properties are told apart by name and identifier."""
        names: set[str] = set()
        for function, action in zip(self.spec.actions, actions, strict=True):
            if action.name in names:
                raise refusal_of(function, "same-name", f"two actions are called {action.name}", "rename one")
            names.add(action.name)
        identifiers: set[str] = set()
        for item in self.spec.properties:
            if item.identifier in identifiers:
                message = f"two properties have the identifier {item.identifier}"
                raise refusal_of(item.function, "same-name", message, "rename one")
            identifiers.add(item.identifier)

    def action(self, function: Callable[..., Any], current: Place) -> ActionIR:
        definition = source.definition(function)
        if not getattr(function, "kmemspec_action", False):
            raise refusal_of(function, "no-action", f"{definition.name} is not an action", "decorate it with @action")
        signature, returns = self.signatures_of(function)
        if not signature or signature[0][1].place is None:
            raise refusal_of(function, "action-state", f"action {definition.name} takes the machine first", "add it")
        callee = self.call(function, (current,))
        self.check_ghost(function)
        parameters: list[Parameter] = []
        for name, given in callee.parameters[1:]:
            if given.type is None:
                raise refusal_of(
                    function,
                    "action-parameter",
                    f"parameter {name} of action {definition.name} has no finite type",
                    "annotate it with a Sort, an IntEnum or bool",
                )
            parameters.append(Parameter(name, given.type))
        if returns.kind is not None and returns.type is None:
            raise refusal_of(
                function,
                "action-result",
                f"the result of action {definition.name} has no finite type",
                "annotate it with a Sort, an IntEnum or bool, or with None",
            )
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
                filename,
                node,
                "ghost",
                f"{called.__name__} reads ghost state",
                "read it in the action or in a property",
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
        check_plain(item.function, definition)
        target = self.action_named(item, actions, filename, definition)
        self.check_property_parameters(item, target, definition)
        given = [argument.arg for argument in definition.args.args]

        def lower(negative: frozenset[str]) -> tuple[StatementLowering, list[int]]:
            lowering = self.lowering_of(item.function, Signature(None), is_property=True, negative=negative)
            numbers = self.bind_property(lowering, item, target, given)
            lowering.whole_body(definition)
            self.close(lowering, definition, Signature(None))
            return lowering, numbers

        lowering, numbers = settled(lower)
        if not lowering.clauses:
            message = f"{definition.name} states nothing"
            raise refusal_of(item.function, "no-clause", message, "yield a clause or return a bool")
        name = self.unique_name(f"{item.kind} {item.identifier} {definition.name}", ())
        self.add(name, item.function, definition, lowering, numbers, None)
        doc = inspect.getdoc(item.function) or ""
        action = target.name if target else None
        return PropertyIR(
            item.identifier, item.name, item.kind, name, tuple(lowering.clauses), action, doc, item.origin
        )

    def leads_to(self, item: Property, current: Place, actions: tuple[ActionIR, ...]) -> LeadsToIR:
        """A leads-to: a function that returns `when` + 2 * `then`, and the names of its actions."""
        definition = source.definition(item.function)
        signature, _ = self.signatures_of(item.function)
        if typing.get_type_hints(inspect.unwrap(item.function)).get("return") is not words.Leads:
            message = f"the leads-to {definition.name} does not return Leads"
            raise refusal_of(item.function, "leads-result", message, "annotate it with -> Leads")
        if not signature or signature[0][1].place is None:
            raise refusal_of(item.function, "leads-state", f"{definition.name} takes the machine first", "add it")
        parameters: list[Parameter] = []
        for name, given in signature[1:]:
            if given.type is None:
                message = f"parameter {name} of {definition.name} has no finite type"
                raise refusal_of(item.function, "leads-parameter", message, "annotate it with a Sort or an IntEnum")
            parameters.append(Parameter(name, given.type))

        def lower(negative: frozenset[str]) -> tuple[StatementLowering, list[int]]:
            lowering = self.lowering_of(item.function, Signature(None), is_property=True, negative=negative)
            lowering.is_leads = True
            numbers = self.bind_parameters(lowering, item.function, definition, (current,))
            lowering.whole_body(definition)
            self.close(lowering, definition, Signature(None))
            return lowering, numbers

        lowering, numbers = settled(lower)
        name = self.unique_name(f"{item.kind} {item.identifier} {definition.name}", ())
        self.add(name, item.function, definition, lowering, numbers, None)
        known = {action.name for action in actions}
        fair, quiet = (
            None if given is None else tuple(function.__name__ for function in given)
            for given in (item.fair, item.quiet)
        )
        for missing in [action for action in (*(fair or ()), *(quiet or ())) if action not in known]:
            message = f"{missing} is not an action of {self.spec.name}"
            raise refusal_of(item.function, "leads-action", message, "add it to the Spec's actions")
        doc = inspect.getdoc(item.function) or ""
        return LeadsToIR(item.identifier, item.name, name, tuple(parameters), fair, quiet or (), doc, item.origin)

    def check_property_parameters(self, item: Property, target: ActionIR | None, definition: ast.FunctionDef) -> None:
        given = [argument.arg for argument in definition.args.args]
        names = [] if target is None else [parameter.name for parameter in target.parameters]
        for name in ("before", "after", "result"):
            if name in names:
                message = f"parameter {name} of {item.action.__name__ if item.action else ''} hides a word"
                raise refusal_of(item.function, "property-parameters", message, "rename the action's parameter")
        wanted = self.property_parameters(item, target)
        unknown = [name for name in given if item.kind == "step" and name not in wanted]
        if unknown or (item.kind == "invariant" and len(given) != 1):
            expected = ", ".join(wanted) if item.kind == "step" else "the machine"
            message = f"the parameters of {definition.name} do not fit"
            raise refusal_of(item.function, "property-parameters", message, f"it may take: {expected}")

    def action_named(
        self, item: Property, actions: tuple[ActionIR, ...], filename: str, definition: ast.FunctionDef
    ) -> ActionIR | None:
        if item.action is None:
            return None
        for action in actions:
            if action.name == item.action.__name__:
                return action
        message = f"{item.action.__name__} is not an action of {self.spec.name}"
        raise source.refusal(filename, definition, "step-action", message, "add it to the Spec's actions")

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
        record = self.machine_of(item)
        if item.kind == "invariant":
            lowering.places[given[0]] = Place(CURRENT, item.place, (), record)
            lowering.assigned.add(given[0])
            return []
        lowering.places["before"] = Place(BEFORE, item.place, (), record)
        lowering.places["after"] = Place(CURRENT, item.place, (), record)
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

    def machine_of(self, item: Property) -> FieldType:
        """The machine that a property is about: the whole one, or a field of it."""
        if not item.place:
            return _record(self.spec.state)
        known = self.spec.state.field_types().get(item.place)
        if known is None or known.record is None:
            message = f"{self.spec.state.__name__} has no field {item.place} that is a record"
            raise refusal_of(item.function, "property-place", message, "give within() the name of such a field")
        return known

    # --- refinement

    def refinement(self, refinement: Refinement, actions: tuple[ActionIR, ...]) -> list[PropertyIR]:
        """One property an action: mapping, abstract step, mapping, comparison; and one for the initial states."""
        steps = {function.__name__: step for function, step in refinement.steps.items()}
        for function in refinement.steps:
            if function.__name__ not in {action.name for action in actions}:
                message = f"{function.__name__} is not an action of {self.spec.name}"
                raise refusal_of(function, "step-action", message, "name an action of the Spec")
        if len(self.parameters(refinement.mapping)) != 2:
            message = "a mapping takes the concrete and the abstract machine"
            raise refusal_of(refinement.mapping, "refinement-mapping", message, "write mapping(concrete, abstract)")
        abstract = _record(refinement.abstract.state)
        concrete = _record(self.spec.state)

        def map_to(concrete_root: int, abstract_root: int) -> Callee:
            return self.call(
                refinement.mapping, (Place(concrete_root, "", (), concrete), Place(abstract_root, "", (), abstract))
            )

        where = self.where(
            inspect.unwrap(refinement.mapping).__code__.co_filename, source.definition(refinement.mapping)
        )
        before, after = map_to(BEFORE, ABSTRACT), map_to(CURRENT, ABSTRACT_AFTER)
        results: list[PropertyIR] = []
        for action in actions:
            count = len(action.parameters) + (action.returns is not None)
            calls: list[Call] = [Call(None, before.name, (), where)]
            if action.name in steps:
                self.check_step(steps[action.name], action)
                step = self.call(steps[action.name], (Place(ABSTRACT, "", (), abstract),))
                calls.append(Call(None, step.name, tuple(Local(number) for number in range(count)), where))
            calls.append(Call(None, after.name, (), where))
            results.append(
                self.comparison(refinement, f"step of {action.name}", "refinement", action, count, calls, where)
            )
        init = self.init(refinement.abstract, Place(ABSTRACT, "", (), abstract))
        calls = [Call(None, init, (), where), Call(None, after.name, (), where)]
        results.append(self.comparison(refinement, "initial states", "initial", None, 0, calls, where))
        for result in results:
            self.check_refinement(result.function)
        return results

    def check_step(self, step: Callable[..., Any], action: ActionIR) -> None:
        """The abstract step takes the abstract machine, and the arguments and the result in their kinds."""
        given = [kind_of(parameter.type) for parameter in action.parameters]
        given += [kind_of(action.returns)] if action.returns is not None else []
        taken = [signature.kind for _, signature in self.parameters(step)]
        if not taken or taken[1:] != list(given):
            names = [parameter.name for parameter in action.parameters] + ["result"] * (action.returns is not None)
            message = f"the parameters of the abstract step of {action.name} do not fit"
            remedy = f"it takes: {', '.join(['the abstract machine', *names])}"
            raise refusal_of(step, "refinement-step", message, remedy)

    def check_refinement(self, start: str) -> None:
        """A refinement only reads the concrete machine, and leaves nothing to choice."""
        todo, seen = [start], set[str]()
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            todo.extend(sorted(_called(self.functions[name])))
            for instruction in [inner for block in self.functions[name].blocks for inner in block.instructions]:
                if isinstance(instruction, Choice):
                    raise self.refusal_at(instruction.where, "refinement-chooses", "a refinement chooses", "compute it")
                if isinstance(instruction, Store) and instruction.root in (CURRENT, BEFORE):
                    message = "a refinement changes the concrete machine"
                    raise self.refusal_at(instruction.where, "refinement-writes", message, "write the abstract one")

    def refusal_at(self, where: int, code: str, message: str, remedy: str) -> SpecError:
        filename, node = self.nodes[where]
        return source.refusal(filename, node, code, message, remedy)

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
            clauses.append(
                ClauseIR(f"abstract {leaf.path} agrees", tuple(sort or "index" for sort in leaf.dimension_sorts))
            )
            headers: list[int] = []
            counters: list[int] = []
            for dimension in leaf.dimensions:
                variables.append(LocalVariable(""))
                counters.append(len(variables) - 1)
                instructions.append(Assign(counters[-1], Constant(0)))
                blocks.append(Block(tuple(instructions), Jump(len(blocks) + 1), tuple(headers)))
                instructions = []
                headers.append(len(blocks))
                blocks.append(
                    Block(
                        (),
                        Branch(
                            Compare("<", Local(counters[-1]), SizeOf(dimension)), len(blocks) + 1, -1, branches, where
                        ),
                        tuple(headers),
                    )
                )
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
    function: Callable[..., Any], definition: ast.FunctionDef, owner: type[Record] | None
) -> tuple[tuple[tuple[str, Signature], ...], Signature]:
    """The parameters and the result of a specification function, which may be a method of `owner`; raises SpecError."""
    filename = inspect.unwrap(function).__code__.co_filename
    try:
        hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except Exception as error:
        raise source.refusal(
            filename, definition, "annotation", f"an annotation has no meaning: {error}", "import or define its name"
        ) from None
    parameters: list[tuple[str, Signature]] = []
    arguments = list(definition.args.args)
    if owner is not None:
        parameters.append((self_of(definition, hints, owner, filename), Signature(None, None, FieldType(record=owner))))
        del arguments[0]
    for argument in [*arguments, None]:
        name = argument.arg if argument else "return"
        if name not in hints:
            raise source.refusal(
                filename,
                argument or definition,
                "no-annotation",
                f"{name} has no annotation",
                "annotate every parameter and the result",
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


Signatures = tuple[tuple[tuple[str, Signature], ...], Signature]

EXPRESSIONS_MAX = 200_000
"""Nodes in the expressions of one function; more come from expressions that stand twice, nested in each other."""

DECORATORS = (words.action, words.bounded, words.invariant, words.leads_to, words.step_property)


def self_of(definition: ast.FunctionDef, hints: dict[str, Any], owner: type[Record], filename: str) -> str:
    """What a method calls its record."""
    if not definition.args.args:
        message = f"method {definition.name} of {owner.__name__} has no parameter for its record"
        raise source.refusal(filename, definition, "no-self", message, f"write def {definition.name}(self, …)")
    argument = definition.args.args[0]
    if hints.get(argument.arg, owner) is not owner:
        message = f"{argument.arg} of a method of {owner.__name__} is annotated with something else"
        raise source.refusal(filename, argument, "no-self", message, "leave its annotation out")
    return argument.arg


def check_method(definition: ast.FunctionDef, filename: str) -> None:
    """What Python does to the text of a class and not to that of a module."""
    for node in ast.walk(definition):
        given = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "arg", None)
        if isinstance(node, ast.Name) and given in ("super", "__class__"):
            remedy = "move what the base does to a function of the module, and call that"
            raise source.refusal(filename, node, "super", f"{given} is not in the language", remedy)
        if isinstance(given, str) and given.startswith("__") and not given.endswith("__"):
            message = f"Python reads the name {given} in a class as a private name of that class"
            remedy = "move what uses it to a function of the module, and call that"
            raise source.refusal(filename, node, "private-name", message, remedy)


def check_plain(
    function: Callable[..., Any], definition: ast.FunctionDef, owner: type[Record] | None = None
) -> None:
    """What CPython calls must be the text that is read: no other decorators, no defaults, no variables around it."""
    plain = inspect.unwrap(function)
    filename = plain.__code__.co_filename
    if owner is not None:
        check_method(definition, filename)
    elif "." in plain.__qualname__.rpartition("<locals>.")[2]:
        message = f"{definition.name} is defined in a class, and used as a function"
        remedy = "call it on its record; init, actions and properties are functions of the module"
        raise source.refusal(filename, definition, "method-role", message, remedy)
    for node in definition.decorator_list:
        if owner is not None and not _names_object(node, words.bounded, plain.__globals__):
            message = f"the decorator {ast.unparse(node)} is not for methods"
            remedy = "delete it, or decorate a function of the module"
            raise source.refusal(filename, node, "decorator", message, remedy)
        if not any(_names_object(node, known, plain.__globals__) for known in DECORATORS):
            text = ast.unparse(node)
            raise source.refusal(
                filename,
                node,
                "decorator",
                f"the decorator {text} is not in the language",
                "delete it, or call it inside",
            )
    if plain.__code__.co_freevars:
        names = ", ".join(plain.__code__.co_freevars)
        raise source.refusal(
            filename, definition, "closure", f"{definition.name} uses variables around it: {names}", "pass them"
        )
    given = definition.args
    if given.vararg or given.kwarg or given.kwonlyargs or given.defaults or given.posonlyargs:
        message = "only plain parameters without defaults are in the language"
        raise source.refusal(filename, definition, "parameters", message, "write them out")


def _names_object(node: ast.expr, thing: Any, namespace: dict[str, Any]) -> bool:
    """Whether an expression like `action`, `lang.action` or `bounded(3)` names this object."""
    if isinstance(node, ast.Call):
        return _names_object(node.func, thing, namespace)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return getattr(namespace.get(node.value.id), node.attr, None) is thing
    return isinstance(node, ast.Name) and namespace.get(node.id) is thing


def settled(
    lower: Callable[[frozenset[str]], tuple[StatementLowering, list[int]]],
) -> tuple[StatementLowering, list[int]]:
    """Lower a body until the variables that may be negative are known (each round adds one, or is the last)."""
    negative: frozenset[str] = frozenset()
    while True:
        lowering, numbers = lower(negative)
        if lowering.negative <= negative:
            return lowering, numbers
        negative = frozenset(lowering.negative)


def refusal_of(function: Callable[..., Any], code: str, message: str, remedy: str) -> SpecError:
    """A refusal that points to a function's definition."""
    filename = inspect.unwrap(function).__code__.co_filename
    return source.refusal(filename, source.definition(function), code, message, remedy)


def _schema(spec: Spec) -> Schema:
    try:
        return schema_of(spec.state)
    except AnnotationError as error:
        raise _refused_record(spec, error.message, error.remedy, error.record or spec.state) from None
    except Exception as error:
        message = f"an annotation of {spec.state.__name__} has no meaning: {error}"
        raise _refused_record(spec, message, "define or import its names", spec.state) from None


def _refused_record(spec: Spec, message: str, remedy: str, record: type[Record]) -> SpecError:
    """A refusal of a record's field, which stands where the message names it, else at the record of the state."""
    owner, _, name = message.partition(":")[0].partition(".")
    module = sys.modules.get(record.__module__)
    filename = getattr(module, "__file__", None) or inspect.unwrap(spec.init).__code__.co_filename
    node = source.field(filename, owner, name) or source.field(filename, spec.state.__name__, "")
    if node is None:
        return refusal_of(spec.init, "annotation", message, remedy)
    return source.refusal(filename, node, "annotation", message, remedy)


def _is_below(path: str, prefix: str) -> bool:
    return prefix == "" or path == prefix or path.startswith((prefix + ".", prefix + "["))


def _tree_size(thing: Any, sizes: dict[int, int]) -> int:
    """How many nodes an IR tree has, written out; parts that stand twice are measured once."""
    if isinstance(thing, tuple):
        return sum(_tree_size(item, sizes) for item in thing)
    if not hasattr(thing, "__dataclass_fields__"):
        return 0
    if id(thing) not in sizes:
        sizes[id(thing)] = 1 + sum(_tree_size(getattr(thing, name), sizes) for name in thing.__dataclass_fields__)
    return sizes[id(thing)]


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
