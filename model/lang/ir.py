"""The typed intermediate representation: one control-flow graph a function, shared by every engine.

The one idea: an engine never sees Python. It sees integers. Every value is a mathematical integer: a boolean is
0 or 1, the `None` of an optional reference is -1, an enum member is its value. State is a table of *leaves*
(`Leaf`): a leaf is one field with the dimensions of the arrays around it, e.g. `zone.mem_map[].order` with one
dimension. Records do not exist at run time: a record parameter was replaced by its leaves and by integer
parameters for the array indices on the way to it (monomorphisation), so a `Load` or `Store` names a leaf and gives
one index expression a dimension.

Semantics that all engines share
--------------------------------
* Evaluation is strict and left to right; `BooleanAnd`, `BooleanOr`, `Conditional` and `Quantifier` short-circuit as
  in Python (`all` stops at the first false element, `any` at the first true one).
* A *failure* stops the action. Its kinds are in `FailureKind`: an index outside its dimension (`BOUNDS`), a value
  stored outside its declared range (`RANGE`), `None` used as a number (`NONE`), a false `assert` (`ASSERT`), a loop
  that turns more often than its bound (`UNWIND`), division by zero, negative shift or an intermediate value beyond a
  signed 64-bit integer (`ARITHMETIC`). The native engine detects the last; the others have unbounded integers.
* `Require` with a false condition, and `Choice` over an empty range, *disable* the action for these arguments.
* Bitwise operators, `//` and `%` on negative numbers are Python's (infinite two's complement, floor).
* Storing in a `MachineType` leaf wraps modulo 2**bits as C does; storing in an `IntegerType` leaf is range-checked.
* The initial value of every leaf is `LeafType.initial(sizes)`; the program's `init` function then runs on that state.

Blocks are numbered so that every edge that is not the back edge of a loop goes to a higher number, and the blocks
of a loop are contiguous, header first. So "lowest number first, iteration by iteration" is an order in which all
predecessors of a block come before it; path merging needs nothing else.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from .errors import Position

Sizes = Mapping[str, int]
"""A resolved scope: the value of every scope parameter, derived ones included."""

CURRENT, BEFORE, ABSTRACT, ABSTRACT_AFTER = 0, 1, 2, 3
"""Roots: the state an action works on (the *after* state in step properties), the state before the step, and two
scratch states of the abstract machine in refinements. CURRENT and BEFORE have `Program.schema`, the others
`Program.abstract_schema`."""

NONE = -1
"""How an engine sees `None`."""


@dataclass(frozen=True)
class Size:
    """An integer that the scope decides: `sizes[parameter] + offset`, or just `offset`."""

    parameter: str | None
    offset: int = 0

    def value(self, sizes: Sizes) -> int:
        return self.offset if self.parameter is None else sizes[self.parameter] + self.offset

    def __str__(self) -> str:
        if self.parameter is None:
            return str(self.offset)
        return self.parameter if not self.offset else f"{self.parameter}{self.offset:+d}"


# --- types -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BooleanType:
    """0 or 1."""

    def bounds(self, sizes: Sizes) -> tuple[int, int]:
        return 0, 1

    def initial(self, sizes: Sizes) -> int:
        return 0


@dataclass(frozen=True)
class IntegerType:
    """Integers low..high (inclusive); with `optional` also NONE, and then low is 0 or more.

    `sort` is set for references into a finite sort (for display and symmetry), `labels` for enums. `of` names the two
    sorts of which a product sort is made: its element (i, j) is the number i * size of the second + j."""

    low: Size
    high: Size
    optional: bool = False
    sort: str | None = None
    labels: tuple[str, ...] = ()
    of: tuple[str, ...] = ()

    def bounds(self, sizes: Sizes) -> tuple[int, int]:
        """Smallest and largest value, NONE included."""
        return (NONE if self.optional else self.low.value(sizes)), self.high.value(sizes)

    def initial(self, sizes: Sizes) -> int:
        if self.optional:
            return NONE
        low, high = self.bounds(sizes)
        return 0 if low <= 0 <= high else low


@dataclass(frozen=True)
class MachineType:
    """A C integer of `bits` bits that wraps."""

    bits: Size
    signed: bool

    def bounds(self, sizes: Sizes) -> tuple[int, int]:
        bits = self.bits.value(sizes)
        return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if self.signed else (0, (1 << bits) - 1)

    def initial(self, sizes: Sizes) -> int:
        return 0

    def wrap(self, value: int, sizes: Sizes) -> int:
        """`value` modulo 2**bits, in the range of the type."""
        low, high = self.bounds(sizes)
        return (value - low) % (high - low + 1) + low


LeafType = BooleanType | IntegerType | MachineType


# --- state -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leaf:
    """One field of the state: dotted path with `[]` for each array on the way, the size of each dimension, its type."""

    path: str
    dimensions: tuple[Size, ...]
    type: LeafType
    ghost: bool = False
    dimension_sorts: tuple[str, ...] = ()
    dimension_products: tuple[tuple[str, ...], ...] = ()

    def count(self, sizes: Sizes) -> int:
        """How many elements this leaf has at a scope."""
        count = 1
        for dimension in self.dimensions:
            count *= dimension.value(sizes)
        return count


@dataclass(frozen=True)
class Schema:
    """The leaves of a state, in order. A *flat state* is one tuple of ints: leaf after leaf, row-major."""

    leaves: tuple[Leaf, ...]

    def total(self, sizes: Sizes) -> int:
        """Elements of a flat state."""
        return sum(leaf.count(sizes) for leaf in self.leaves)

    def offsets(self, sizes: Sizes) -> tuple[int, ...]:
        """Position of each leaf's first element in a flat state."""
        offsets, position = [], 0
        for leaf in self.leaves:
            offsets.append(position)
            position += leaf.count(sizes)
        return tuple(offsets)

    def initial(self, sizes: Sizes) -> tuple[int, ...]:
        """The flat state of initial values, before `init` ran."""
        return tuple(
            value for leaf in self.leaves for value in [leaf.type.initial(sizes)] * leaf.count(sizes)
        )


# --- expressions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Constant:
    value: int


@dataclass(frozen=True)
class SizeOf:
    """A scope-dependent integer."""

    size: Size


@dataclass(frozen=True)
class Local:
    """The value of a local variable, by its index in `Function.locals`."""

    index: int


@dataclass(frozen=True)
class Load:
    """Read a leaf element. Fails with BOUNDS when an index is outside its dimension (NONE always is)."""

    root: int
    leaf: int
    indices: tuple[Expression, ...]
    where: int


@dataclass(frozen=True)
class Unary:
    """`operator` is one of: not, -, ~. `not` takes and gives 0 or 1."""

    operator: str
    operand: Expression


@dataclass(frozen=True)
class Binary:
    """`operator` is one of: + - * // % << >> & | ^ min max."""

    operator: str
    left: Expression
    right: Expression
    where: int


@dataclass(frozen=True)
class Compare:
    """`operator` is one of: == != < <= > >=. Gives 0 or 1."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class BooleanAnd:
    """Both operands are 0 or 1; the right one is evaluated only when the left one is 1."""

    left: Expression
    right: Expression


@dataclass(frozen=True)
class BooleanOr:
    """Both operands are 0 or 1; the right one is evaluated only when the left one is 0."""

    left: Expression
    right: Expression


@dataclass(frozen=True)
class Conditional:
    """`then if condition else otherwise`."""

    condition: Expression
    then: Expression
    otherwise: Expression


@dataclass(frozen=True)
class Present:
    """The operand, which must not be NONE (fails with NONE)."""

    operand: Expression
    where: int


@dataclass(frozen=True)
class Quantifier:
    """`kind(body for local in range(start, stop) if condition)`; kind is all, any or sum. Empty: 1, 0, 0.

    `all` and `any` have a body that is 0 or 1. The local belongs to the quantifier alone."""

    kind: str
    local: int
    start: Expression
    stop: Expression
    condition: Expression | None
    body: Expression


@dataclass(frozen=True)
class Apply:
    """The result of a *pure* function: one that writes no state, chooses nothing and requires nothing."""

    function: str
    arguments: tuple[Expression, ...]
    where: int


@dataclass(frozen=True)
class Wrap:
    """The operand modulo 2**bits, in the range of the machine type."""

    type: MachineType
    operand: Expression


Expression = (
    Constant | SizeOf | Local | Load | Unary | Binary | Compare | BooleanAnd | BooleanOr | Conditional | Present
    | Quantifier | Apply | Wrap
)


# --- instructions ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Assign:
    local: int
    value: Expression


@dataclass(frozen=True)
class Store:
    """Write a leaf element; BOUNDS as in Load, RANGE when the value is outside an IntegerType's bounds. The indices
    are evaluated first, then the value, then the checks: bounds, range."""

    root: int
    leaf: int
    indices: tuple[Expression, ...]
    value: Expression
    where: int


@dataclass(frozen=True)
class Call:
    """Call a function (it may write, choose, require); its result goes to `target` if that is not None."""

    target: int | None
    function: str
    arguments: tuple[Expression, ...]
    where: int


@dataclass(frozen=True)
class Choice:
    """Set `local` to any value of range(start, stop); an empty range disables the action."""

    local: int
    start: Expression
    stop: Expression
    where: int


@dataclass(frozen=True)
class Require:
    """Disable the action unless the condition is 1."""

    condition: Expression
    where: int


@dataclass(frozen=True)
class Check:
    """Fail with `kind` unless the condition is 1 (an assert, or a loop's bound)."""

    kind: FailureKind
    condition: Expression
    message: str
    where: int


@dataclass(frozen=True)
class Claim:
    """In the function of a property: clause number `clause` says that the condition is 1, about these elements.

    The property holds when every claim reached in a full run of the function is true. Execution goes on after a
    false claim; an engine that wants only the first false one may stop there."""

    clause: int
    condition: Expression
    witnesses: tuple[Expression, ...]
    where: int


Instruction = Assign | Store | Call | Choice | Require | Check | Claim


@dataclass(frozen=True)
class Jump:
    target: int


@dataclass(frozen=True)
class Branch:
    """`branch` numbers the branch within the function, for coverage; `where` is its source line."""

    condition: Expression
    then: int
    otherwise: int
    branch: int
    where: int


@dataclass(frozen=True)
class Return:
    value: Expression | None


Terminator = Jump | Branch | Return


@dataclass(frozen=True)
class Block:
    """`loops` are the header block numbers of the loops around this block, outermost first (a header is inside its
    own loop)."""

    instructions: tuple[Instruction, ...]
    terminator: Terminator
    loops: tuple[int, ...] = ()


@dataclass(frozen=True)
class LocalVariable:
    """A local: its name in the source ('' for a hidden one) and its type if it has a declared one."""

    name: str
    type: LeafType | None = None


@dataclass(frozen=True)
class Function:
    """A monomorphic function. Entry is block 0. `parameters` are indices into `locals`. Every local has a value
    before it is read, except where the front end could not tell: those are initialised to 0 at entry by engines.
    `source` is its name in the text, `Class.method` for a method of a record."""

    name: str
    parameters: tuple[int, ...]
    locals: tuple[LocalVariable, ...]
    blocks: tuple[Block, ...]
    pure: bool
    returns: LeafType | None
    source: str
    doc: str = ""

    def branches(self) -> Iterator[Branch]:
        for block in self.blocks:
            if isinstance(block.terminator, Branch):
                yield block.terminator


class FailureKind(enum.Enum):
    """Why a step could not complete; see the module docstring."""

    BOUNDS = "index outside its array"
    RANGE = "value outside its declared range"
    NONE = "None used as a number"
    ASSERT = "assertion"
    UNWIND = "loop bound exceeded"
    ARITHMETIC = "arithmetic"


# --- programs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    """A parameter of an action: engines enumerate `type.bounds(sizes)`."""

    name: str
    type: LeafType


@dataclass(frozen=True)
class ActionIR:
    """An action: `function` takes the parameters in order."""

    name: str
    function: str
    parameters: tuple[Parameter, ...]
    returns: LeafType | None
    doc: str = ""


@dataclass(frozen=True)
class ClauseIR:
    """A named clause; `elements` are the sort names (or labels) of its witnesses, in order: ("page", "order")."""

    name: str
    elements: tuple[str, ...] = ()


@dataclass(frozen=True)
class PropertyIR:
    """A property and the names of its clauses (a `Claim` refers to them by number).

    * invariant (`kind` "invariant"): the function takes no parameters and claims about CURRENT;
    * step property (`kind` "step"): CURRENT is the state after, BEFORE the one before. `action` None: every action,
      and the function takes no parameters. Otherwise it is evaluated for steps of that action alone and takes the
      action's parameters in order and then, if the action returns something, its result;
    * refinement (`kind` "refinement"): as a step property of one action; it also uses the scratch roots ABSTRACT and
      ABSTRACT_AFTER, which hold the abstract schema's initial values at entry. A `Require` that is false in it is a
      violation of its last clause, "abstract step is enabled";
    * initial (`kind` "initial"): evaluated in initial states only (a refinement's initial condition), no parameters.

    A failure (bounds, range, …) while evaluating a property violates it as well."""

    identifier: str
    name: str
    kind: str
    function: str
    clauses: tuple[ClauseIR, ...]
    action: str | None = None
    doc: str = ""
    origin: str = ""


WHEN, THEN = 1, 2
"""The bits of what the function of a leads-to returns about a state."""


@dataclass(frozen=True)
class LeadsToIR:
    """A leads-to: whenever `when` holds, `then` holds then or later, in every run that counts (see actions.leads_to).

    `function` is pure, takes `parameters` in order (engines enumerate `type.bounds(sizes)`; the statement is about each
    combination by itself) and returns the bits WHEN and THEN of CURRENT. `fair` and `quiet` are names of actions;
    `fair` None: the run goes on while any action that is not quiet is enabled. It claims nothing about a state or a
    step alone, so it is not among `Program.properties`."""

    identifier: str
    name: str
    function: str
    parameters: tuple[Parameter, ...]
    fair: tuple[str, ...] | None
    quiet: tuple[str, ...]
    doc: str = ""
    origin: str = ""

    def runs_text(self) -> str:
        """The runs it is about, in words."""
        if self.fair is None:
            runs = "in every run that goes on while it can"
        else:
            runs = f"under weak fairness of {', '.join(self.fair)}"
        return runs + (f", if {', '.join(self.quiet)} stop{'s' * (len(self.quiet) == 1)}" if self.quiet else "")


SCOPE_WORDS = 6
"""A scope of more parameters is named by those that differ from the default scope."""


@dataclass(frozen=True)
class Program:
    """A whole specification, ready for the engines. `fingerprint` identifies its content (for caches); `symmetric`
    names the sorts whose elements are declared to be interchangeable; `parameters` are all sizes by name, `derived`
    those of them that follow from the others."""

    name: str
    parameters: tuple[str, ...]
    schema: Schema
    abstract_schema: Schema | None
    functions: Mapping[str, Function]
    init: str
    actions: tuple[ActionIR, ...]
    properties: tuple[PropertyIR, ...]
    positions: tuple[Position, ...]
    fingerprint: str
    deadlock_free: bool = False
    symmetric: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    defaults: tuple[tuple[str, int], ...] = ()
    liveness: tuple[LeadsToIR, ...] = ()

    def scope_text(self, sizes: Sizes) -> str:
        """`pages=8, orders=3`: the parameters from which all sizes follow; of many, those that are not the defaults.
        A scope of an older text of the specification may lack some."""
        chosen = [name for name in self.parameters if name not in self.derived and name in sizes]
        defaults = dict(self.defaults)
        if len(chosen) > SCOPE_WORDS and all(name in defaults for name in chosen):
            chosen = [name for name in chosen if sizes[name] != defaults[name]]
            return ", ".join(["the default scope", *(f"{name}={sizes[name]}" for name in chosen)])
        return ", ".join(f"{name}={sizes[name]}" for name in chosen)

    def restricted(self, identifiers: Collection[str]) -> Program:
        """The same machine with these of its properties alone."""
        chosen = sorted(set(identifiers))
        return replace(
            self,
            properties=tuple(item for item in self.properties if item.identifier in chosen),
            liveness=tuple(item for item in self.liveness if item.identifier in chosen),
            fingerprint=" ".join((self.fingerprint, *chosen)),
        )

    def schema_of(self, root: int) -> Schema:
        if root in (CURRENT, BEFORE):
            return self.schema
        assert self.abstract_schema is not None
        return self.abstract_schema
