"""The lru contract: its clauses, its oracle and its generators. How a Python cache is called: `caches.py`.

The one idea: the oracle is the machine of `specs/contract_lru.py`, run beside the implementation. Which entry must be
there, with which value, and what the next eviction takes is what the machine has; the oracle only words the difference.
Of an approximate cache the machine's entries are those that may be there: a miss is a step of the machine too (drop).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from itertools import islice, product
from typing import TYPE_CHECKING, Any

from ...model.lang.errors import ScopeError
from .caches import PYTHON_CHECKS, adapt
from .contract import Call, Clause, Contract, Declaration, Declared
from .interface import Attempt, Interface, Scope
from .judging import Broken
from .lockstep import Impossible, LockStep
from .results import ValidateOptions
from .sequences import Draw, Operation, Sequence

if TYPE_CHECKING:
    from .guided import Edge, Tour

USES = ("get put", "get", "put", "nothing", "get put contains", "get contains")
POLICIES = ("lru", "fifo", "clock", "two-list", "approximate")
POLICY_NUMBERS = {"lru": 0, "fifo": 0, "clock": 1, "two-list": 2, "approximate": 3}
"""What `policy` of the machine is; a FIFO is a queue in which no call counts as a use."""

CONTRACT = Contract(
    name="lru",
    title="a cache of fixed capacity that evicts exactly the entry that its policy names",
    target=(
        "a Python class MyCache(capacity) with [] or get and put, or a decorator that takes the capacity such as "
        "functools:lru_cache; anything else by a description of its calls"
    ),
    operations={
        "get": Call("get(key): the value that was put last, None if the key is absent", ("key",), "number", fixed=True),
        "put": Call(
            "put(key, value): stores a value, evicting an entry if the cache is full", ("key", "value"), fixed=True
        ),
        "call": Call(
            "call(key, value): a memoised function whose body would give this value now",
            ("key", "value"),
            "number",
            fixed=True,
        ),
        "delete": Call(
            "delete(key): 1 if it was present, 0 if not, None if the call does not tell", ("key",), "number", fixed=True
        ),
        "contains": Call("contains(key): is it present?", ("key",), "truth", fixed=True),
        "length": Call("length(): the number of entries", (), "number"),
        "pop": Call("pop(): takes out the next victim; its key, None if there is none", (), "number"),
        "resize": Call("resize(capacity): what no longer fits goes", ("capacity",)),
        "clear": Call("clear(): everything goes, and the counts of hits and misses begin again"),
        "statistics": Call("statistics(): hits, misses, capacity, length; -1 for what is not kept", (), "numbers"),
        "keys": Call("keys(): the keys that are present", (), "numbers"),
    },
    clauses=(
        Clause("values", "a present key has the value that was put last, and a key never put has none"),
        Clause("capacity", "there are never more entries than the capacity"),
        Clause("retention", "nothing goes while there is room, nor for a put of a present key"),
        Clause("eviction-order", "what goes is the entry that the declared policy names"),
        Clause("deletion", "a deleted key is gone, no other one is, and delete tells whether it was there"),
        Clause("resize", "a new capacity holds at once, and what no longer fits goes in the order of eviction"),
        Clause("clear", "a cleared cache is empty"),
        Clause("length", "the length is the number of entries"),
        Clause("statistics", "hits, misses, capacity and length are what they were"),
        Clause("order", "the keys are listed once each, in the declared order"),
        Clause("computes-once", "a memoised function is called on a miss, once, and not on a hit"),
    ),
    declarations={
        "policy": Declaration("lru", "which entry goes", POLICIES),
        "used_by": Declaration(
            "", "which calls of a present key count as a use; by default get and put, of a fifo nothing", ("", *USES)
        ),
        "keys_order": Declaration("any", "how keys are listed", ("any", "newest first", "oldest first")),
        "pops_victim": Declaration(False, "popitem() takes out the next victim"),
        "least_capacity": Declaration(1, "the smallest capacity that makes sense", least=0, most=1 << 20),
        "most_capacity": Declaration(32, "the largest capacity to try", least=1, most=1 << 10),
    },
)

SCOPES = ((2, 3), (1, 2), (3, 5), (0, 2), (8, 12), (20, 30))
"""Capacity and number of keys; the first is the one whose graph is walked."""
TINY_SCOPES = ({"capacity": 2, "keys": 3}, {"capacity": 1, "keys": 2})
SHORTEST, SHORT = (("put", "call", "get", "delete"), 3), (("put", "call", "get"), 4)
"""Of these calls every sequence of that length is tried, the shortest before and the others after the walks."""
TINY_KEYS = 4
"""The graph of more keys is not tiny."""
WALK = 40
WALKS_MAX = 150
"""Walks over a graph that is larger than it takes for an LRU (20 walks) are cut here; the coverage says so."""
KEYS_MAX = 256
CLOSING_VALUES = 1 << 16
"""Beyond the values of any sequence: those of the calls behind it are new, too."""
EVICTED, DELETED, RESIZED, CLEARED, OVERWRITTEN = "evicted", "deleted", "resized", "cleared", "overwritten"
CLAUSE_OF = {
    EVICTED: "eviction-order", DELETED: "deletion", RESIZED: "resize", CLEARED: "clear", OVERWRITTEN: "retention"
}


def settings(declared: Declared, scope: Scope) -> dict[str, int]:
    """The machine's scope for what is declared."""
    policy = str(declared["policy"])
    used_by = str(declared["used_by"]) or ("nothing" if policy == "fifo" else "get put")
    keys = scope["keys"]
    return {
        "keys": keys,
        "capacity_least": 0,
        "capacity_most": max(keys, scope["capacity"]),
        "policy": POLICY_NUMBERS[policy],
        **{f"{call}_is_use": int(call in used_by.split()) for call in ("get", "put", "contains")},
    }


class LruOracle:
    """Follows one run of a cache with the machine beside it; `tour`, at the scope whose graph is walked, goes along."""

    def __init__(self, declared: Declared, scope: Scope, machine: LockStep, tour: Tour | None) -> None:
        self.declared, self.machine, self.tour = declared, machine, tour
        self.keys = scope["keys"]
        self.approximate = declared["policy"] == "approximate"
        machine.begin((scope["capacity"],))
        if tour is not None:
            tour.begin()
        self.present: set[int] = set()
        self.went: dict[int, str] = {}
        """Why the machine has a key no more."""
        self.disturbed: dict[int, str] = {}
        """What took another key since this one was put: it may have taken this one instead."""
        self.since: set[str] = set()
        """How keys went, or might have gone, since the length was last right."""
        self.missed = False
        self.counts: Counter[str] = Counter()
        self.peaks: Counter[str] = Counter()

    # --- what the machine has

    @property
    def capacity(self) -> int:
        """The capacity it has now."""
        return int(self.machine.state.capacity)

    def value_of(self, key: int) -> int | None:
        """The value of a key, None if it is absent."""
        value: int | None = self.machine.state.entry[key].value if 0 <= key < self.keys else None
        return value

    def order(self) -> list[int]:
        """The keys in the machine's queue, the next victim first."""
        state = self.machine.state
        return [int(state.queue[place]) for place in range(state.length)]

    def take(self, action: str, *arguments: int) -> int | None:
        """One step of the machine, and of the tour; then see what is there no more."""
        result = self.machine.take(action, *arguments)
        if self.tour is not None:
            try:
                # The graph that is walked knows no values.
                self.tour.follow(action, *(arguments if action not in ("put", "call") else (arguments[0], 0)))
            except Impossible:
                self.tour = None  # this run has left the graph, by a capacity that is not in it
        now = {key for key in range(self.keys) if self.value_of(key) is not None}
        how = {"delete": DELETED, "resize": RESIZED, "clear": CLEARED}.get(action, EVICTED)
        gone = self.present - now
        self.counts["evictions"] += len(gone) if how == EVICTED else 0
        for key in gone:
            self.went[key] = how
        if gone:
            self.disturbed.update((key, how) for key in now)
            self.since.add(how)
        for key in now - self.present:
            self.disturbed.pop(key, None)
        self.present = now
        self.peaks["peak entries"] = max(self.peaks["peak entries"], len(now))
        self.counts["full cache reached"] += len(now) == self.capacity and bool(gone)
        return result

    # --- the protocol of an oracle

    def expected(self, operation: Operation) -> str:
        """What the machine would answer."""
        key = operation.arguments[0] if operation.arguments else 0
        kept = self.value_of(key)
        may = " or None" if self.approximate and kept is not None else ""
        if operation.kind in ("get", "call"):
            absent = "None: it is absent" if operation.kind == "get" else f"{operation.arguments[-1]}, computed now"
            return absent if kept is None else f"{kept}, which is kept{may}"
        if operation.kind in ("contains", "delete"):
            return f"it is {'present' if kept is not None else 'absent'}{may and ', or gone'}"
        if operation.kind == "put":
            full = kept is None and len(self.present) >= self.capacity and not self.approximate
            return "an entry goes for it" if full else "nothing else goes"
        if operation.kind == "pop":
            return "the next victim"
        if operation.kind == "statistics":
            return f"[hits, misses, capacity, length] = {self.statistics()}"
        if operation.kind == "keys":
            return f"{sorted(self.present)}"
        return str(len(self.present)) if operation.kind == "length" else "returns"

    def show(self, operation: Operation, value: Any) -> str:
        """The value."""
        returns = CONTRACT.operations[operation.kind].result != "nothing"
        return str(value) if returns else "returned"

    def observe(self, index: int, operation: Operation, value: Any) -> Broken | None:
        """Judge one call."""
        judge: Callable[..., Broken | None] = getattr(self, f"judge_{operation.kind}")
        return judge(value, *operation.arguments)

    def after(self, operation: Operation, value: Any, answer: list[Any]) -> Broken | None:
        """How often the body of the memoised function ran."""
        if answer[0] != "computed" or len(answer) != 2 or operation.kind != "call":
            return None
        due = int(self.missed)
        if answer[1] == due:
            return None
        hit = "a miss" if due else "a hit"
        return Broken("computes-once", f"the function was called {answer[1]} times for {hit}")

    # --- each call

    def judge_get(self, value: int | None, key: int) -> Broken | None:
        """The value of a present key."""
        if value is None and self.value_of(key) is not None:
            broken = self.gone(key)
            if broken is not None:
                return broken
        kept = self.take("get", key)
        self.missed = kept is None
        self.counts["hits" if kept is not None else "misses"] += 1
        return None if value == kept else self.differs(f"get({key}) gives {value}", key, value, kept)

    def judge_call(self, value: int | None, key: int, fresh: int) -> Broken | None:
        """The value that is kept, or the fresh one."""
        kept = self.value_of(key)
        if value == fresh and kept not in (None, fresh):
            broken = self.gone(key)
            if broken is not None:
                return broken
            kept = None
        self.take("call", key, fresh)
        self.missed = kept is None
        self.counts["hits" if kept is not None else "misses"] += 1
        if value == (fresh if kept is None else kept):
            return None
        return self.differs(f"the call gives {value}, and the function would give {fresh} now,", key, value, kept)

    def judge_put(self, value: None, key: int, new: int) -> Broken | None:
        """Nothing to be seen yet."""
        if self.value_of(key) is not None:
            self.counts["puts of a present key"] += 1
            self.since.add(OVERWRITTEN)
        self.take("put", key, new)
        return None

    def judge_contains(self, value: bool, key: int) -> Broken | None:
        """As a get, without the value."""
        kept = self.value_of(key)
        if not value and kept is not None:
            broken = self.gone(key)
            if broken is not None:
                return broken
        if value and kept is None:
            return self.still_there(f"contains({key}) is true", key)
        self.take("contains", key)
        return None

    def judge_delete(self, value: int | None, key: int) -> Broken | None:
        """Was it there?"""
        kept = self.value_of(key)
        if value == 0 and kept is not None:
            broken = self.gone(key)
            if broken is not None:
                return broken
        if value is not None and value != 0 and kept is None:
            return self.still_there(f"delete({key}) says that it was present", key)
        self.take("delete", key)
        return None

    def judge_length(self, value: int | None) -> Broken | None:
        """The number of entries; of an approximate cache no more than there may be."""
        return self.length_is(value, "length", "length()")

    def judge_pop(self, value: int | None) -> Broken | None:
        """The next victim."""
        victim = self.take("pop")
        if value == victim:
            return None
        return Broken("eviction-order", f"pop() takes {value}, and the next to go is {victim}")

    def judge_resize(self, value: None, capacity: int) -> Broken | None:
        """Nothing to be seen yet."""
        before = len(self.present)
        self.take("resize", min(capacity, max(self.keys, 1)))
        self.counts["shrunk with entries lost"] += len(self.present) < before
        return None

    def judge_clear(self, value: None) -> Broken | None:
        """Nothing to be seen yet."""
        self.take("clear")
        return None

    def judge_statistics(self, value: list[int]) -> Broken | None:
        """Each number that is kept."""
        if len(value) != 4:
            return Broken("statistics", f"statistics() gives {len(value)} numbers, not hits, misses, capacity, length")
        names = ("hits", "misses", "capacity", "length")
        for name, found, due in zip(names, value, self.statistics(), strict=True):
            loose = self.approximate and name == "length"
            if found != -1 and found != due and not loose:
                return Broken("statistics", f"statistics() gives {found} {name}, there are {due}")
        return self.length_is(value[3], "statistics", "statistics()") if value[3] != -1 else None

    def judge_keys(self, value: list[int]) -> Broken | None:
        """What is listed is what is there."""
        if len(set(value)) != len(value):
            return Broken("order", f"keys() lists a key twice: {value}")
        for key in value:
            if key not in self.present:
                return self.still_there(f"keys() has {key}", key)
        for key in sorted(self.present - set(value)):
            broken = self.gone(key)
            if broken is not None:
                return broken
        order = self.order() if self.declared["keys_order"] == "oldest first" else self.order()[::-1]
        if self.declared["keys_order"] != "any" and value != order:
            return Broken("order", f"keys() gives {value}, and the order is {order}")
        return None

    # --- the difference in words

    def statistics(self) -> list[int]:
        """Hits, misses, capacity, length."""
        state = self.machine.state
        return [int(state.hits), int(state.misses), self.capacity, len(self.present)]

    def length_is(self, value: int | None, clause: str, where: str) -> Broken | None:
        """Judge a length."""
        if value is None or value < 0:
            return Broken(clause, f"{where} gives {value}")
        if value > self.capacity:
            return Broken("capacity", f"{where} gives {value} entries, and the capacity is {self.capacity}")
        due = len(self.present)
        if value > due or (value < due and not self.approximate):
            # An eviction of the wrong entry leaves the length right, so it is not what went wrong if there is another.
            reasons = (self.since - {EVICTED}) or self.since
            if len(reasons) == 1 and (reasons != {OVERWRITTEN} or value < due):
                clause = CLAUSE_OF[next(iter(reasons))]
            return Broken(clause, f"{where} gives {value} entries, there are {due}: {sorted(self.present)}")
        self.since.clear()
        return None

    def gone(self, key: int) -> Broken | None:
        """A key that the machine has is not there: may it be gone?"""
        if self.approximate:
            try:
                self.take("drop", key)
            except Impossible:
                return Broken("retention", f"key {key}, the one put last, is gone")
            return None
        how = self.disturbed.get(key)
        if how is None:
            return Broken("retention", f"key {key} is gone, and nothing had to go since it was put")
        others = [other for other, why in self.went.items() if why == how and other not in self.present]
        instead = f"; {how} should be {sorted(others)}" if others else ""
        return Broken(CLAUSE_OF[how], f"key {key} is gone{instead}")

    def still_there(self, what: str, key: int) -> Broken:
        """A key that the machine has no more, or never had, is there."""
        how = self.went.get(key)
        if how is None:
            return Broken("values", f"{what}, and key {key} was never put")
        return Broken(CLAUSE_OF[how], f"{what}, and key {key} is {how}")

    def differs(self, what: str, key: int, value: int | None, kept: int | None) -> Broken:
        """Another value than the machine's."""
        if kept is None:
            return self.still_there(what, key)
        if value is None:
            return Broken("retention", f"{what}, and {kept} is kept")
        return Broken("values", f"{what}, and {kept} was put last")


class LruWorkload:
    """What sequences a cache is tried with."""

    kinds: tuple[str, ...] = (
        *("put", "call") * 4,
        *("get",) * 3,
        *("contains", "delete", "length", "statistics", "keys", "pop", "resize", "clear", "fill", "sweep", "look"),
    )

    def __init__(self, options: ValidateOptions, declared: Declared) -> None:
        self.options, self.declared = options, declared
        # What an approximate cache lets go next is not known.
        self.offered = frozenset(CONTRACT.operations) - ({"pop"} if declared["policy"] == "approximate" else set())
        self.scopes = tuple(scopes(options, declared))
        self.machines: dict[tuple[int, int], LockStep] = {}
        self.tour: Tour | None = None

    def learn(self, attempt: Attempt) -> list[str]:
        """Which of the operations the target has: each is called once."""
        missing = []
        for kind, call in CONTRACT.operations.items():
            numbers = tuple(1 for _ in call.numbers)
            judgement = attempt((Operation(kind, None, numbers),), self.scopes[0])
            if judgement.records and judgement.records[-1].observed == "not called":
                missing.append(kind)
            if judgement.broken is not None and judgement.broken.kind == "hang":
                break  # another call may hang as well, and one is enough to report
        self.offered -= frozenset(missing)
        self.kinds = tuple(kind for kind in self.kinds if kind in self.offered or kind not in CONTRACT.operations)
        return [f"the target has no {', '.join(missing)}"] if missing else []

    def notes(self, coverage: Mapping[str, int]) -> list[str]:
        """How much of the contract's graph was walked."""
        return [self.tour.coverage()] if self.tour is not None else []

    def oracle(self, scope: Scope) -> LruOracle:
        """A fresh oracle for one run; runs come one after another, so they share the machine of their scope."""
        key = (scope["capacity"], scope["keys"])
        if key not in self.machines:
            from ..loading import load

            numbers = {"values": 1 << 20, "count_bits": 64}
            self.machines[key] = LockStep(load("contract-lru"), {**settings(self.declared, scope), **numbers})
        walked = self.tour if self.scopes[0].items() <= scope.items() else None
        return LruOracle(self.declared, scope, self.machines[key], walked)

    def program(self, draws: list[Draw], scope: Scope) -> Sequence:
        """Drawn numbers to a sequence."""
        sketch = LruSketch(self.offered, scope, self.options.operations * 2)
        for draw in draws:
            key = draw.first % scope["keys"]
            if draw.kind == "fill":
                sketch.store_all(draw.first, min(scope["keys"], scope["capacity"] + draw.second % 3))
            elif draw.kind == "sweep":
                sketch.look_at_all()
            elif draw.kind == "look":
                sketch.look(key)
            elif draw.kind == "resize":
                least = int(self.declared["least_capacity"])
                sketch.add("resize", max(least, draw.first % (scope["keys"] + 1)))
            else:
                sketch.call(draw.kind, key)
        return tuple(sketch.operations)

    def closing(self, scope: Scope) -> Sequence:
        """A look at every key."""
        sketch = LruSketch(self.offered, scope, 0)
        sketch.value = CLOSING_VALUES
        sketch.look_at_all(always=True)
        return tuple(sketch.operations)

    def systematic(self) -> Iterator[tuple[Scope, Sequence]]:
        """Every short sequence, so that what fails is short; walks over the contract's graph; long streams."""
        yield from self.every_short(*SHORTEST)
        scope = self.scopes[0]
        self.tour = self.new_tour(scope) if scope["keys"] <= TINY_KEYS else None
        for walk in islice(self.tour.walks(WALK), WALKS_MAX) if self.tour is not None else ():
            yield scope, self.walked(walk, scope)
        yield from self.every_short(*SHORT)
        for larger in self.scopes:
            sketch = LruSketch(self.offered, larger, 4 * larger["keys"] + 40)
            sketch.store_all(0, larger["keys"])
            sketch.look_at_all()
            sketch.store_all(1, larger["keys"])
            for key in range(0, larger["keys"], 2):
                sketch.look(key)
            sketch.store_all(larger["keys"] // 2, larger["keys"])
            sketch.look_at_all(always=True)
            yield larger, tuple(sketch.operations)

    def calls(self, scope: Scope, before: Sequence) -> Iterator[Operation]:
        """Every call that the target has, with the keys met so far and one more, a new value, any capacity."""
        met = 0
        for operation in before:
            if "key" in CONTRACT.operations[operation.kind].numbers:
                met = max(met, operation.arguments[0] + 1)
        ranges = {
            "key": range(min(met + 1, scope["keys"])),
            "value": range(len(before) + 1, len(before) + 2),
            "capacity": range(int(self.declared["least_capacity"]), scope["keys"] + 1),
        }
        for kind in CONTRACT.operations:
            if kind in self.offered:
                for arguments in product(*(ranges[name] for name in CONTRACT.operations[kind].numbers)):
                    yield Operation(kind, None, arguments)

    def every_short(self, kinds: tuple[str, ...], length: int) -> Iterator[tuple[Scope, Sequence]]:
        """Every sequence of that length at the tiny scopes."""
        for tiny in TINY_SCOPES:
            for sequence in every_sequence(self.offered, kinds, tiny, length) if tiny in self.scopes else ():
                yield tiny, sequence

    def new_tour(self, scope: Scope) -> Tour:
        """The graph of what the target offers, without values and counts."""
        from .guided import tour

        offered = self.offered | ({"drop"} if self.declared["policy"] == "approximate" else set())
        least = int(self.declared["least_capacity"])
        bounds = {"capacity_least": min(least, scope["capacity"]), "capacity_most": max(3, scope["capacity"])}
        sizes = {**settings(self.declared, scope), "values": 1, "counting": 0, **bounds}
        start = (scope["capacity"],)
        seed = self.options.seed
        return tour("contract-lru", sizes, start, lambda name: name in offered, whole, seed, ("keys", "capacity_most"))

    def walked(self, walk: list[Edge], scope: Scope) -> Sequence:
        """The calls of a walk, with values of their own; at the end every key is looked at."""
        sketch = LruSketch(self.offered, scope, 2 * WALK)
        for edge in walk:
            if edge.action in ("put", "call"):
                sketch.call(edge.action, edge.arguments[0])
            elif edge.action != "drop":
                sketch.add(edge.action, *edge.arguments)
        sketch.look_at_all(always=True)
        return tuple(sketch.operations)


def whole(action: str, arguments: tuple[int, ...]) -> Hashable:
    """A client decides everything about a step."""
    return action, arguments


def scopes(options: ValidateOptions, declared: Declared) -> Iterator[dict[str, int]]:
    """The capacities and numbers of keys to try."""
    least, most = int(declared["least_capacity"]), int(declared["most_capacity"])
    given = options.scope
    if given:
        capacity = given.get("capacity", 2)
        yield {"capacity": capacity, "keys": given.get("keys", min(KEYS_MAX, capacity + 1 + capacity // 2))}
        return
    usual = [{"capacity": capacity, "keys": keys} for capacity, keys in SCOPES if least <= capacity <= most]
    yield from usual or [{"capacity": least, "keys": least + 2 + least // 4}]


class LruSketch:
    """Builds a sequence of the operations that the target has; every value is a new one."""

    def __init__(self, offered: frozenset[str], scope: Scope, limit: int) -> None:
        self.offered, self.scope, self.limit = offered, scope, limit
        self.operations: list[Operation] = []
        self.value = 0
        self.store = "put" if "put" in offered else "call"
        self.looks = tuple(kind for kind in ("contains", "get") if kind in offered)

    def add(self, kind: str, *arguments: int) -> None:
        """Append a call, if the target has it."""
        if kind in self.offered and len(self.operations) < self.limit:
            self.operations.append(Operation(kind, None, arguments))

    def call(self, kind: str, key: int) -> None:
        """Append a call with a key and a new value, as far as it takes them."""
        self.value += 1
        given = {"key": key, "value": self.value}
        self.add(kind, *(given[name] for name in CONTRACT.operations[kind].numbers))

    def store_all(self, first: int, count: int) -> None:
        """Put keys in a row, beginning anywhere."""
        for step in range(count):
            self.call(self.store, (first + step) % self.scope["keys"])

    def look(self, key: int) -> None:
        """A get, or what there is instead."""
        self.call("get" if "get" in self.offered else self.store, key)

    def look_at_all(self, always: bool = False) -> None:
        """See of every key whether it is there, and what else can be seen."""
        if always:
            self.limit = len(self.operations) + 2 * self.scope["keys"] + 4
        for kind in ("length", "keys", "statistics"):
            self.add(kind)
        for kind in self.looks or (self.store,):
            for key in range(self.scope["keys"]):
                self.call(kind, key)


def every_sequence(
    offered: frozenset[str], kinds: tuple[str, ...], scope: Scope, length: int
) -> Iterator[Sequence]:
    """Every sequence of these calls of that length, up to the names of the keys; then a look at all."""
    for chosen in product([kind for kind in kinds if kind in offered], repeat=length):
        for keys in product(range(scope["keys"]), repeat=length):
            if not in_order(keys):
                continue
            sketch = LruSketch(offered, scope, length)
            for kind, key in zip(chosen, keys, strict=True):
                sketch.call(kind, key)
            sketch.look_at_all(always=True)
            yield tuple(sketch.operations)


def in_order(keys: tuple[int, ...]) -> bool:
    """Is each key that comes for the first time the next number? (Keys are interchangeable.)"""
    seen = 0
    for key in keys:
        if key > seen:
            return False
        seen = max(seen, key + 1)
    return True


def check_options(options: ValidateOptions) -> None:
    """Scopes that are too large to follow."""
    for name, value in options.scope.items():
        if name not in ("capacity", "keys"):
            raise ScopeError(f"the lru contract has no scope number {name!r}", "it has capacity and keys")
        if not 0 <= value <= KEYS_MAX or (name == "keys" and not value):
            raise ScopeError(f"{name}={value} is not within 1 to {KEYS_MAX}", "give a smaller scope")


INTERFACE = Interface(
    contract=CONTRACT,
    workload=LruWorkload,
    adapt=lambda factory, scope, declared: adapt(CONTRACT, factory, scope, declared),
    methods=(),
    python_checks=PYTHON_CHECKS,
    check_options=check_options,
)
