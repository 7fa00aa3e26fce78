"""The object-cache contract: objects of one size out of slabs; its clauses, its oracle and its generators.

The one idea: the oracle is the machine of `specs/contract_slab.py`, run beside the implementation. Which object it gets
is the implementation's choice; that it was not live, that a request is refused only when every object is live, and what
the statistics say, is the machine's. A Python class numbers its objects (slab = object // slots); a library returns
addresses, whose slabs are known if it declares how large they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from ...model.lang.errors import ScopeError
from .arenas import within
from .contract import Call, Clause, Contract, Declaration, Declared
from .interface import Attempt, Interface, Scope
from .judging import Broken, judge_memory
from .lockstep import Impossible, LockStep
from .misuse import MISUSE_CALLS, MISUSE_CHECKS, MISUSE_CLAUSE, MISUSE_DECLARATIONS
from .pages import ordering
from .python_class import MethodAdapter, constructed, methods_of
from .results import ValidateOptions
from .sequences import Draw, Operation, Sequence, every_sequence, unfreed

if TYPE_CHECKING:
    from .guided import Edge, Tour

CONTRACT = Contract(
    name="object-cache",
    title="objects of one size, out of slabs that come and go whole",
    target=(
        "a Python class MyCache(slabs, slots) with alloc() -> object number | None and free(object), where object // "
        "slots is its slab, or a library by a description of its calls"
    ),
    operations={
        "alloc": Call("alloc(): an object that is not live, None when every object is", result="block"),
        "free": Call("free(object): gives back an object that alloc returned", takes_block=True),
        "shrink": Call("shrink(): every empty slab goes back; how many, None if it does not tell", result="number"),
        "statistics": Call("statistics(): live objects, slabs; -1 for what is not kept", result="numbers"),
        **MISUSE_CALLS,
    },
    clauses=(
        Clause("disjoint", "no object is handed out twice, and objects share no byte"),
        Clause("aligned", "an object is aligned as declared"),
        Clause("in-slab", "an object lies whole in a slab"),
        Clause("in-bounds", "an object lies whole in the arena, if there is one, and nothing is written outside it"),
        Clause("usable", "every byte of an object can be read and written"),
        Clause("contents", "the contents of every live object are unchanged after every operation"),
        Clause("available", "a request is refused only when every object that there can be is live"),
        Clause("exhaustion", "filled up again, the cache holds as many objects as before"),
        Clause("shrink", "shrink gives back the empty slabs, and no other"),
        Clause("statistics", "the counts of live objects and of slabs are right"),
        MISUSE_CLAUSE,
    ),
    declarations={
        "size": Declaration(0, "the bytes of an object, if alloc gives addresses; 0: it gives numbers", most=1 << 20),
        "alignment": Declaration(1, "what an object's address is a multiple of", least=1, power_of_two=True),
        "slots": Declaration(0, "the objects of a slab, if alloc returns addresses; 0: unknown", most=1 << 16),
        "slab_bytes": Declaration(0, "the bytes of a slab, and what its address is a multiple of; 0: unknown"),
        "keep_empty": Declaration(-1, "how many empty slabs are kept; -1: unknown", least=-1, most=1 << 16),
        **MISUSE_DECLARATIONS,
    },
)

METHODS = ("alloc", "free")
SCOPES = ((2, 2), (1, 1), (1, 3), (3, 1), (4, 4), (3, 16))
"""Slabs and slots of a class; the first is the one whose graph is walked."""
MOST_OBJECTS = 256
"""How far a cache is filled to see whether it ends."""
TINY_OBJECTS = 4
TINY_LENGTH = 6
WALK, WALKS_MAX = 40, 150
UNBOUNDED = -1


class ObjectOracle:
    """Follows one run of an object cache with the machine beside it.

    `most` is how many objects there can be (UNBOUNDED if filling did not end, None while that is being learnt)."""

    def __init__(
        self, declared: Declared, scope: Scope, machine: LockStep, tour: Tour | None, most: int | None
    ) -> None:
        self.declared, self.machine, self.tour, self.most = declared, machine, tour, most
        self.size = int(declared["size"])
        self.scope, self.arena = scope, scope.get("arena", 0)
        self.phase = scope.get("phase", 0)
        """Where the arena begins, modulo every alignment that can be declared; addresses are offsets in it."""
        self.slots = machine.machine.sizes["slots"]
        self.frames = machine.machine.sizes["frames"]
        self.slab_bytes = int(declared["slab_bytes"])
        machine.begin()
        if tour is not None:
            tour.begin()
        self.live: dict[int, tuple[int, int]] = {}
        """By the index of its call: where an object is, and its number in the machine."""
        self.slabs: dict[int, int] = {}
        """The number in the machine of the slab at each place."""
        self.exact = declared["keep_empty"] >= 0
        """Is it known which slabs are there? Else the machine keeps them all until shrink."""
        self.freed = False
        self.counts: Counter[str] = Counter()
        self.peaks: Counter[str] = Counter()

    def take(self, action: str, *arguments: int) -> int | None:
        """One step of the machine, and of the tour."""
        result = self.machine.take(action, *arguments)
        if self.tour is not None:
            try:
                self.tour.follow(action, *arguments)
            except Impossible:
                self.tour = None  # this run has left the tiny graph
        return result

    # --- which object of the machine it is

    def number(self, value: int) -> int | None:
        """The number in the machine of an object that is given now; None if its slab cannot be one more."""
        if not self.size:
            return value
        taken = {number for _, number in self.live.values()}
        if not self.slab_bytes or self.slots == 1:
            return next((number for number in range(self.frames * self.slots) if number not in taken), None)
        slab = (self.phase + value) // self.slab_bytes
        there = self.machine.state.slab
        self.slabs = {base: number for base, number in self.slabs.items() if there[number]}
        if slab not in self.slabs:
            unused = next((number for number in range(self.frames) if number not in self.slabs.values()), None)
            if unused is None:
                return None
            self.slabs[slab] = unused
        first = self.slabs[slab] * self.slots
        return next((number for number in range(first, first + self.slots) if number not in taken), None)

    # --- the protocol of an oracle

    def expected(self, operation: Operation) -> str:
        """What may come."""
        state = self.machine.state
        if operation.kind == "alloc":
            full = self.most not in (None, UNBOUNDED) and len(self.live) == self.most
            return f"None: all {self.most} objects are live" if full else "an object that is not live"
        if operation.kind == "statistics":
            return f"[{state.active}, {state.slabs if self.exact else 'slabs'}]"
        return "returns"

    def show(self, operation: Operation, value: Any) -> str:
        """An object, None, numbers."""
        if operation.kind == "free":
            return "returned"
        return f"{value:#x}" if operation.kind == "alloc" and value is not None and self.size else str(value)

    def observe(self, index: int, operation: Operation, value: Any) -> Broken | None:
        """Judge one call."""
        if operation.kind == "alloc":
            return self.refused() if value is None else self.given(index, value)
        if operation.kind == "statistics":
            return self.counted(value)
        if operation.kind == "shrink":
            return self.shrunk(value)
        assert operation.block is not None
        self.take("release", self.live.pop(operation.block)[1])
        self.freed = True
        self.exact = self.declared["keep_empty"] >= 0
        return None

    def after(self, operation: Operation, value: Any, answer: list[Any]) -> Broken | None:
        """What the child found in memory."""
        return judge_memory(operation, value, answer)

    # --- each call

    def given(self, index: int, value: int) -> Broken | None:
        """An object came: may it be that one?"""
        extent = self.size or 1
        alignment = int(self.declared["alignment"])
        at = self.phase + value
        if at % alignment:
            return Broken("aligned", f"an object at {at:#x}, which is no multiple of {alignment}")
        if not self.size and not 0 <= value < self.frames * self.slots:
            return Broken("in-slab", f"object {value} is in none of the {self.frames} slabs of {self.slots}")
        if self.arena and not within(self.scope, value, extent):
            return Broken("in-bounds", f"the object at offset {value} is not within the arena of {self.arena} bytes")
        if self.slab_bytes and at // self.slab_bytes != (at + extent - 1) // self.slab_bytes:
            return Broken("in-slab", f"the object at {value:#x} reaches over the end of its slab")
        for other, _ in self.live.values():
            if value < other + extent and other < value + extent:
                what = "is handed out again while it is live" if value == other else f"overlaps the one at {other:#x}"
                return Broken("disjoint", f"object {value:#x} {what}")
        number = self.number(value)
        try:
            if number is None:
                raise Impossible
            self.take("allocate", number)
        except Impossible:
            another = self.slab_bytes and at // self.slab_bytes not in self.slabs
            message = f"the object at {value:#x} is one more than {'all slabs' if another else 'its slab'} can hold"
            return Broken("in-slab", message, most=self.frames if another else None)
        self.live[index] = (value, number)
        self.peaks["peak live objects"] = max(self.peaks["peak live objects"], len(self.live))
        self.peaks["peak slabs"] = max(self.peaks["peak slabs"], self.machine.state.slabs)
        return None

    def refused(self) -> Broken | None:
        """No object came: are all live?"""
        if self.most is None:
            return None
        if self.most != UNBOUNDED and len(self.live) >= self.most:
            try:
                self.take("refuse")
            except Impossible:
                self.tour = None  # the machine has room for more objects than the cache had when it was filled first
            self.counts["exhaustion reached"] += 1
            self.counts["exhaustion reached again"] += self.freed
            return None
        most = "no end was met" if self.most == UNBOUNDED else f"it held {self.most}"
        clause = "exhaustion" if self.freed else "available"
        return Broken(clause, f"a request is refused with {len(self.live)} objects live; {most} when it was new")

    def counted(self, value: list[int]) -> Broken | None:
        """Are the counts right?"""
        if len(value) != 2:
            return Broken("statistics", f"statistics() gives {len(value)} numbers, not live objects, slabs")
        state = self.machine.state
        if value[0] not in (-1, state.active):
            return Broken("statistics", f"statistics() gives {value[0]} live objects, there are {state.active}")
        if value[1] == -1 or (self.size and self.slots == 1):
            return None
        used = len({number // self.slots for _, number in self.live.values()})
        least, most = (state.slabs, state.slabs) if self.exact else (used, self.frames)
        if not least <= value[1] <= most:
            due = str(least) if least == most else f"at least {least} and at most {most}"
            return Broken("statistics", f"statistics() gives {value[1]} slabs, there are {due}")
        return None

    def shrunk(self, value: int | None) -> Broken | None:
        """Did the empty slabs go?"""
        before = self.exact
        gone = self.take("shrink")
        self.counts["slabs given back"] += gone or 0
        self.exact = True
        if value is None or not before or value == gone:
            return None
        return Broken("shrink", f"shrink() gives back {value} slabs, and {gone} are empty")


class ObjectWorkload:
    """What sequences an object cache is tried with."""

    kinds: tuple[str, ...] = ("alloc",) * 6 + ("free",) * 5 + ("shrink", "statistics", "fill", "free all", "free slab")

    def __init__(self, options: ValidateOptions, declared: Declared) -> None:
        self.options, self.declared = options, declared
        self.numbered = not declared["size"]
        if self.numbered:
            given = [(options.scope.get("slabs", 2), options.scope.get("slots", 2))] if options.scope else SCOPES
            self.scopes: tuple[Scope, ...] = tuple({"slabs": slabs, "slots": slots} for slabs, slots in given)
        else:
            self.scopes = ({"size": int(declared["size"])},)
        self.offered = frozenset(CONTRACT.operations)
        self.most: int | None = None
        self.machines: dict[tuple[int, int], LockStep] = {}
        self.tour: Tour | None = None

    # --- what there is

    def learn(self, attempt: Attempt) -> list[str]:
        """Which operations there are, and how many objects the cache holds."""
        missing = []
        for kind in ("shrink", "statistics"):
            judgement = attempt((Operation(kind),), self.scopes[0])
            if judgement.records and judgement.records[-1].observed == "not called":
                missing.append(kind)
        self.offered -= frozenset(missing)
        self.kinds = tuple(kind for kind in self.kinds if kind in self.offered or kind not in CONTRACT.operations)
        notes = [f"the target has no {', '.join(missing)}"] if missing else []
        if not self.numbered:
            judgement = attempt((Operation("alloc"),) * MOST_OBJECTS, self.scopes[0])
            values = [judgement.values.get(index) for index in range(MOST_OBJECTS)]
            self.most = UNBOUNDED if None not in values else values.index(None)
            self.machines.clear()
            bound = f"{self.most} objects" if None in values else f"{MOST_OBJECTS} objects or more"
            notes.append(f"a new cache holds {bound}")
        return notes

    def most_in(self, scope: Scope) -> int | None:
        """How many objects there can be."""
        return scope["slabs"] * scope["slots"] if self.numbered else self.most

    def dimensions(self, scope: Scope) -> tuple[int, int]:
        """Slabs and slots of the machine: of addresses in unknown slabs, each object is a slab of its own."""
        if self.numbered:
            return scope["slabs"], scope["slots"]
        slots = int(self.declared["slots"]) if self.declared["slab_bytes"] and self.declared["slots"] else 1
        most = self.most if self.most and self.most > 0 else MOST_OBJECTS
        return -(-most // slots) + (0 if self.most and self.most > 0 else MOST_OBJECTS // slots), slots

    def settings(self, dimensions: tuple[int, int]) -> dict[str, int]:
        """The machine's scope; if it is not known how many empty slabs are kept, it keeps them all."""
        frames, slots = dimensions
        keep = int(self.declared["keep_empty"])
        return {"frames": frames, "slots": slots, "keep_empty": frames if keep < 0 else keep}

    def oracle(self, scope: Scope) -> ObjectOracle:
        """A fresh oracle for one run; runs come one after another, so they share the machine of their scope."""
        dimensions = self.dimensions(scope)
        if dimensions not in self.machines:
            from ..loading import load

            self.machines[dimensions] = LockStep(load("contract-slab"), self.settings(dimensions))
        walked = self.tour if self.scopes[0].items() <= scope.items() else None
        return ObjectOracle(self.declared, scope, self.machines[dimensions], walked, self.most_in(scope))

    def notes(self, coverage: Mapping[str, int]) -> list[str]:
        """How much of the contract's graph was walked."""
        return [self.tour.coverage()] if self.tour is not None else []

    # --- sequences

    def sketch(self, scope: Scope, limit: int) -> ObjectSketch:
        """Builds a sequence of what there is."""
        most = self.most_in(scope)
        slots = self.dimensions(scope)[1]
        return ObjectSketch(self.offered, most if most and most > 0 else 2 * TINY_OBJECTS, slots, limit)

    def program(self, draws: list[Draw], scope: Scope) -> Sequence:
        """Drawn numbers to a sequence."""
        sketch = self.sketch(scope, self.options.operations * 2)
        for draw in draws:
            if draw.kind == "free" and sketch.live:
                sketch.release(sketch.live[draw.first % len(sketch.live)])
            elif draw.kind == "fill":
                sketch.fill()
            elif draw.kind == "free all":
                sketch.free_all(draw.second)
            elif draw.kind == "free slab":
                sketch.free_slab(draw.first)
            elif draw.kind != "free":
                sketch.add(draw.kind)
        return tuple(sketch.operations)

    def calls(self, scope: Scope, before: Sequence) -> Iterator[Operation]:
        """An allocation, a free of any object not yet freed; what shrinks or looks, not twice in a row."""
        yield Operation("alloc")
        for block in unfreed(before):
            yield Operation("free", block)
        for kind in ("shrink", "statistics"):
            if kind in self.offered and not (before and before[-1].kind == kind):
                yield Operation(kind)

    def closing(self, scope: Scope) -> Sequence:
        """The counts."""
        return (Operation("statistics"),) if "statistics" in self.offered else ()

    def systematic(self) -> Iterator[tuple[Scope, Sequence]]:
        """Every short sequence; walks over the contract's graph; fill, free in four orders and fill again."""
        for sequence in every_sequence(self.sparing_calls, TINY_LENGTH):
            last = (Operation("statistics"),) if "statistics" in self.offered else ()
            yield self.scopes[0], (*sequence, *last)
        self.tour = self.new_tour()
        for walk in islice(self.tour.walks(WALK), WALKS_MAX):
            yield self.scopes[0], self.walked(walk)
        for scope in self.scopes:
            for pattern in range(4):
                sketch = self.sketch(scope, 5 * MOST_OBJECTS)
                for again in range(2):
                    sketch.fill()
                    sketch.free_slab(pattern)
                    sketch.add("statistics")
                    sketch.add("alloc")
                    sketch.free_all(pattern + again)
                    sketch.add("shrink")
                sketch.fill()
                sketch.add("statistics")
                yield scope, tuple(sketch.operations)

    def sparing_calls(self, before: Sequence) -> Iterator[Operation]:
        """Calls without a look at the statistics, and with shrink only where something was just freed."""
        for operation in self.calls(self.scopes[0], before):
            useless = operation.kind == "shrink" and not (before and before[-1].kind == "free")
            if operation.kind != "statistics" and not useless:
                yield operation

    def new_tour(self) -> Tour:
        """The graph of the first scope, or of the first few objects."""
        from .guided import tour

        frames, slots = self.dimensions(self.scopes[0])
        actions = {"allocate", "release", *self.offered} | ({"refuse"} if self.numbered else set())
        if frames * slots > TINY_OBJECTS:
            frames = max(1, TINY_OBJECTS // slots)
        settings = self.settings((frames, slots))
        wanted: Callable[[str], bool] = lambda name: name in actions  # noqa: E731
        return tour("contract-slab", settings, (), wanted, call_of, self.options.seed, ("frames", "slots"))

    def walked(self, walk: list[Edge]) -> Sequence:
        """The calls of a walk; an object is named by the call that should have made it."""
        operations: list[Operation] = []
        maker: dict[int, int] = {}
        for edge in walk:
            if edge.action == "release":
                operations.append(Operation("free", maker.pop(edge.arguments[0])))
                continue
            if edge.action == "allocate":
                maker[edge.arguments[0]] = len(operations)
            operations.append(Operation("shrink" if edge.action == "shrink" else "alloc"))
            if "statistics" in self.offered:
                operations.append(Operation("statistics"))
        return tuple(operations)


def call_of(action: str, arguments: tuple[int, ...]) -> Hashable:
    """What a client decides: which object to free, but not which one it gets."""
    return ("free", *arguments) if action == "release" else "shrink" if action == "shrink" else "alloc"


class ObjectSketch:
    """Builds a sequence, assuming that `most` objects can be had."""

    def __init__(self, offered: frozenset[str], most: int, slots: int, limit: int) -> None:
        self.offered, self.most, self.slots, self.limit = offered, most, slots, limit
        self.operations: list[Operation] = []
        self.live: list[int] = []

    def add(self, kind: str) -> None:
        """Append a call, if the target has it."""
        if kind in self.offered and len(self.operations) < self.limit:
            if kind == "alloc" and len(self.live) < self.most:
                self.live.append(len(self.operations))
            self.operations.append(Operation(kind))

    def release(self, block: int) -> None:
        """Append a free."""
        self.live.remove(block)
        self.operations.append(Operation("free", block))

    def fill(self) -> None:
        """Allocate until it fails."""
        for _ in range(self.most - len(self.live) + 1):
            self.add("alloc")

    def free_all(self, pattern: int) -> None:
        """Free everything, in one of four orders."""
        for block in ordering(list(self.live), pattern):
            self.release(block)

    def free_slab(self, which: int) -> None:
        """Free as many neighbours as a slab has objects."""
        start = which * self.slots % max(1, len(self.live))
        for block in self.live[start : start + self.slots]:
            self.release(block)


def check_options(options: ValidateOptions) -> None:
    """Scopes that are too large to follow."""
    for name, value in options.scope.items():
        if name not in ("slabs", "slots"):
            raise ScopeError(f"the object-cache contract has no scope number {name!r}", "it has slabs and slots")
        if not 1 <= value <= 64:
            raise ScopeError(f"{name}={value} is not within 1 to 64", "give a smaller scope")


def adapt(factory: Any, scope: dict[str, int], declared: Declared) -> MethodAdapter:
    """In the child: a fresh cache and its methods."""
    cache = constructed(CONTRACT, factory, scope["slabs"], scope["slots"])
    end = getattr(cache, "close", lambda: None)
    return MethodAdapter(CONTRACT, methods_of(CONTRACT, cache, METHODS), scope, end=end)


PYTHON_CHECKS = f"{MISUSE_CHECKS}\n" + '''
SLABS, SLOTS, KEEP = SCOPE["slabs"], SCOPE["slots"], DECLARED["keep_empty"]


class Checked(Misuses):
    """Calls the cache and checks each answer against the live objects and the slabs that are there."""

    def __init__(self):
        self.target, self.live, self.slabs, self.exact = make()(SLABS, SLOTS), set(), set(), KEEP >= 0

    def used(self):
        return {number // SLOTS for number in self.live}

    def alloc(self):
        number = self.target.alloc()
        if number is None:
            assert len(self.live) == SLABS * SLOTS, f"refused with {len(self.live)} live of {SLABS * SLOTS}"
            return None
        assert not isinstance(number, bool) and hasattr(number, "__index__"), f"alloc() gives {number!r:.100}"
        assert 0 <= number < SLABS * SLOTS, f"object {number} is in no slab"
        assert number not in self.live, f"object {number} is handed out again while it is live"
        self.live.add(number)
        self.slabs.add(number // SLOTS)
        return number

    def free(self, number):
        if number is None:
            return
        self.target.free(number)
        self.live.remove(number)
        self.exact = KEEP >= 0
        if self.exact and number // SLOTS not in self.used() and len(self.slabs - self.used()) > KEEP:
            self.slabs.remove(number // SLOTS)

    def shrink(self):
        told, due = self.target.shrink(), len(self.slabs - self.used())
        assert told is None or not self.exact or told == due, f"shrink() gives back {told} slabs, {due} are empty"
        self.slabs, self.exact = self.used(), True

    def statistics(self):
        active, slabs = self.target.statistics()
        assert active in (-1, len(self.live)), f"{active} live objects, not {len(self.live)}"
        least, most = (len(self.slabs),) * 2 if self.exact else (len(self.used()), SLABS)
        assert slabs == -1 or least <= slabs <= most, f"{slabs} slabs, not {least} to {most}"
'''

INTERFACE = Interface(
    contract=CONTRACT,
    workload=ObjectWorkload,
    adapt=adapt,
    methods=METHODS,
    python_checks=PYTHON_CHECKS,
    makes=lambda scope: (Operation("alloc"),),
    check_options=check_options,
)
