"""The LRU lists: every invariant is inductive; the model agrees with a naive machine and with the kernel's formulas.

The naive machine (tests/peers/naive_lru.py) has Python lists, and looks for references instead of counting them. It
must have the model's states and steps, all of them at small scopes, and those on random walks at larger ones.
"""

from __future__ import annotations

import functools
import importlib
import math
import random
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pytest
from kmemspec.model.folio import ANON, FILE, LRU_ACTIVE_FILE, LRU_INACTIVE_FILE, LruMemory, LruScan
from kmemspec.model.lang import FromScope
from kmemspec.model.lang.execute import PythonMachine
from kmemspec.model.lang.records import Store
from kmemspec.model.lang.trace import nest
from kmemspec.model.lang.verdict import Outcome
from kmemspec.model.lru import get_scan_count, inactive_is_low, prepare_scan_count, refault_distance, workingset_refault
from kmemspec.proofs.explore import Exploration, NativeMachine, explore, status
from kmemspec.proofs.symbolic import prove
from kmemspec.specs.loading import load

sys.path.insert(0, str(Path(__file__).with_name("peers")))
naive_lru: Any = importlib.import_module("naive_lru")

LISTS = range(4)
FLAGS = (
    "active", "referenced", "unevictable", "swapbacked", "mlocked", "workingset", "locked", "dirty", "writeback",
    "reclaim",
)
WHAT = ("munlock", "mlock", "new")
TYPES = ("anon", "file")


@functools.cache
def loaded() -> Any:
    return load("lru")


def sizes_of(scope: str) -> dict[str, int]:
    sizes: dict[str, int] = loaded().spec.scope(scope)
    return sizes


# --- engines


def search(scope: str, symmetry: bool | None = True) -> Exploration:
    found = explore(loaded().program, sizes_of(scope), symmetry=symmetry)
    assert found.complete
    assert {v.property for v in found.verdicts if v.outcome is not Outcome.HOLDS} == set()
    return found


def test_all_states_with_and_without_symmetry() -> None:
    """The states that the visited ones stand for are exactly those of the search without reduction."""
    reduced = search("advice").symmetry
    assert reduced is not None
    assert search("advice", symmetry=False).states == reduced.states == 337_689


SMALL = "cpus=1,with_reclaim=0,with_mlock=0"
EVERYTHING = (
    "with_advice=1,with_migration=1,with_young=1,with_io=1,with_shadows=1,with_contention=1,mappings=2,zones=2"
)
SLOW = [pytest.param(EVERYTHING, marks=pytest.mark.slow)]


@pytest.mark.parametrize("scope", [SMALL, *SLOW])
def test_every_invariant_is_inductive(scope: str) -> None:
    """Also with everything switched on at once, which is too much for a search."""
    proof = prove(loaded().program, sizes_of(scope), timeout_seconds=900)
    assert {v.property: v.reason for v in proof.verdicts if v.outcome is not Outcome.HOLDS} == {}


# --- the naive machine


def walk(folios: Sequence[Any], head: Any) -> list[int]:
    """The pages of a linked list, first one first."""
    pages: list[int] = []
    page, before = head["first"], None
    while page is not None:
        assert folios[page]["prev"] == before
        pages.append(page)
        page, before = folios[page]["next"], page
    assert head["last"] == before
    return pages


def project(program: Any, sizes: dict[str, int], flat: Sequence[int], machine: Any = naive_lru) -> Any:
    """A state of the model as one of the naive machine. What that one does not have must follow from the rest."""
    state: Any = nest(program.schema, flat, sizes)
    folios, lruvec, sc = state["folio"], state["lruvec"], state["sc"]
    lru = machine.Lru(sizes)
    for page, folio in enumerate(folios):
        lru.flags[page] = {name for name in FLAGS if folio[name]} | ({"mapped"} if folio["mapcount"] else set())
        if folio["lru"] and folio["unevictable"]:
            lru.unevictable[page] = folio["mlock_count"]
        if state["held"][page]:
            lru.clients.add(page)
        if state["migrating"][page] is not None:
            lru.migrating[page] = TYPES[state["migrating"][page]]
    for number, name in enumerate(naive_lru.LISTS):
        lru.lists[name] = walk(folios, lruvec["lists"][number])
        assert lruvec["nr_lru"][number] == len(lru.lists[name])
    assert lruvec["nr_lru"][4] == len(lru.unevictable)
    for cpu, batches in enumerate(state["batch"]):
        for kind, batch in zip(naive_lru.KINDS, batches, strict=True):
            lru.batches[cpu][kind] = batch["folios"][: batch["nr"]]
        pvec = state["mlock_batch"][cpu]
        named = [WHAT[kind] for kind in pvec["kind"]]
        lru.mlocks[cpu] = list(zip(pvec["folios"], named, strict=True))[: pvec["nr"]]
    if sc["lru"] is not None:
        hold, keep, inactive = (walk(folios, sc[name])[::-1] for name in ("folio_list", "ret_folios", "l_inactive"))
        lru.reclaimer = machine.Reclaimer(sc["lru"], hold, sc["nr_scanned"], sc["nr_skipped"])
        lru.reclaimer.keep, lru.reclaimer.inactive = keep, inactive
        lru.reclaimer.taken, lru.reclaimer.written = sc["nr_taken"], sc["nr_pageout"]
    for index, slot in enumerate(state["slot"]):
        shadow = slot["shadow"]
        lru.slots[index] = slot["folio"] if shadow is None else ("shadow", shadow >> 1, shadow & 1 == 1)
    lru.young, lru.zone = dict(enumerate(state["young"])), dict(enumerate(state["zonenum"]))
    lru.cost = {"anon": lruvec["anon_cost"], "file": lruvec["file_cost"]}
    lru.age = lruvec["nonresident_age"]
    lru.refaulted = {TYPES[type] for type in (0, 1) if lruvec["activated"][type] != lruvec["refaults"][type]}
    for page, folio in enumerate(folios):
        assert folio["refcount"] == lru.references(page)
        assert folio["lru"] == lru.on_list(page)
    for type, name in enumerate(TYPES):
        taken = lru.reclaimer.taken if lru.reclaimer and naive_lru.LISTS[lru.reclaimer.number][0] == name else 0
        assert lruvec["nr_isolated"][type] == list(lru.migrating.values()).count(name) + taken
    return lru


ONE = "pages=1,cpus=1,most_queued=1"
TWO = "cpus=1,most_queued=1,with_mlock=0"
MLOCK = "pages=1,with_reclaim=0"
YOUNG = f"{ONE},with_young=1"
IO = f"{ONE},with_mlock=0,with_io=1"
ADVICE_IO = f"{ONE},with_reclaim=0,with_advice=1,with_io=1"
ADVICE_TWO = f"{TWO},with_reclaim=0,with_advice=1"
BATCH_TWO = "cpus=1,most_queued=2,with_mlock=0,with_reclaim=0"
SCOPES = {MLOCK: 793, IO: 751, ADVICE_IO: 826}
SCOPES_LARGE = {
    YOUNG: 1_782,
    ADVICE_TWO: 1_313,
    "pages=1,with_reclaim=0,pagevec_size=3,most_queued=3,mlocks=3,most_references=4": 3_825,
    f"{ONE},with_migration=1,with_young=1,with_contention=1": 3_738,
    f"{ONE},with_reclaim=0,with_advice=1,with_migration=1,with_whole=1,with_young=1": 1_464,
    TWO: 14_277,
}
"""How many states both machines have."""

MUTANTS = {
    "a batch is done backwards": (
        BATCH_TWO, "for page in pages:\n            if kind", "for page in reversed(pages):\n            if kind"
    ),
    "a written folio goes to the head": (ADVICE_TWO, '{"active"}, tail=True)', '{"active"})'),
    "a dirty folio goes to the tail": (f"{ADVICE_TWO},with_io=1", "tail=not busy", "tail=True"),
    "mlock is not seen when a folio is added": (
        MLOCK, 'if "mlocked" in self.flags[page]:\n            self.make_unevictable(page, 0)',
        "if False:\n            pass",
    ),
    "the last munlock is the first": (MLOCK, "max(0, self.unevictable[page] - 1)", "0"),
    "a folio in any batch is activated": (MLOCK, 'elif page in self.batches[cpu]["add"]:', "else:"),
    "a page table entry counts as two uses": (YOUNG, "if twice or used > 1 or", "if True or"),
    "use is forgotten": (YOUNG, 'flags.add("referenced")\n        if twice', "if twice"),
    "the working set is forgotten": (YOUNG, 'self.flags[page].add("workingset")\n            scan', "scan"),
    "a mapped folio is freed": (IO, '{"writeback", "mapped"}', '{"writeback"}'),
}
"""What is wrong: a scope that shows it, the text of the naive machine, the text instead."""


class Model:
    """The model in native code, its states seen as those of the naive machine."""

    def __init__(self, scope: str) -> None:
        self.program, self.sizes = loaded().program, sizes_of(scope)
        self.machine = NativeMachine(self.program, self.sizes)
        self.looks: dict[bytes, Any] = {}

    def read(self, words: bytes, machine: Any = naive_lru) -> Any:
        return project(self.program, self.sizes, self.machine.layout.unpack(words), machine)

    def look(self, words: bytes) -> Any:
        """What a state is to the naive machine."""
        if words not in self.looks:
            self.looks[words] = self.read(words).key()
        return self.looks[words]

    def initial(self) -> set[bytes]:
        return {self.machine.layout.pack(step.state) for step in self.machine.initial_states()}

    def steps(self, words: bytes) -> dict[tuple[Any, ...], bytes]:
        """Every step out of a state, and the packed state after it."""
        found = {}
        for action, arguments, step in self.machine.raw_transitions(words):
            assert step.status == status.OK, (action, arguments, self.machine.failure(step.status))
            one = self.program.actions[action]
            result = None if one.returns is None else step.result
            found[one.name, arguments, result, self.look(step.words)] = step.words
        return found

    def naive_steps(self, words: bytes, machine: Any = naive_lru) -> set[tuple[Any, ...]]:
        """What the naive machine does in the same state."""
        state = self.read(words, machine)
        return {
            (action.name, arguments, result, after.key())
            for number, action in enumerate(self.program.actions)
            for arguments in self.machine.argument_tuples(number)
            for result, after in machine.successors(state, action.name, arguments)
        }


def assert_same(scope: str, states: int) -> None:
    """Every reachable state has the naive machine's steps, and no two look alike there."""
    model = Model(scope)
    level = model.initial()
    seen = set(level)
    while level:
        following: set[bytes] = set()
        for words in level:
            steps = model.steps(words)
            expected = model.naive_steps(words)
            assert steps.keys() == expected, (steps.keys() - expected, expected - steps.keys())
            following.update(steps.values())
        level = following - seen
        seen |= level
    assert len(seen) == len({model.look(words) for words in seen}) == states


@pytest.mark.parametrize("scope", SCOPES)
def test_model_and_naive_machine_have_the_same_states_and_steps(scope: str) -> None:
    assert_same(scope, SCOPES[scope])
    assert explore(loaded().program, sizes_of(scope), symmetry=False).states == SCOPES[scope]


@pytest.mark.slow
@pytest.mark.parametrize("scope", SCOPES_LARGE)
def test_larger_scopes_agree(scope: str) -> None:
    assert_same(scope, SCOPES_LARGE[scope])


def differs(model: Model, machine: Any) -> bool:
    """Whether some reachable state has other steps in a machine."""
    level = model.initial()
    seen = set(level)
    while level:
        following: set[bytes] = set()
        for words in level:
            steps = model.steps(words)
            try:
                if steps.keys() != model.naive_steps(words, machine):
                    return True
            except (AssertionError, KeyError):
                return True
            following.update(steps.values())
        level = following - seen
        seen |= level
    return False


@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_mutant_of_the_naive_machine_is_told_from_the_model(mutant: str, monkeypatch: Any) -> None:
    scope, found, instead = MUTANTS[mutant]
    text = Path(naive_lru.__file__).read_text()
    assert text.count(found) == 1
    changed = types.ModuleType("mutant")
    monkeypatch.setitem(sys.modules, "mutant", changed)
    exec(compile(text.replace(found, instead), mutant, "exec"), changed.__dict__)
    assert differs(Model(scope), changed)


# --- random walks


class Dice:
    """Every choice from one seeded generator, and what was chosen of how many."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.made: list[tuple[int, int]] = []

    def choose(self, options: range) -> int:
        choice = self.random.randrange(len(options))
        self.made.append((len(options), choice))
        return options[choice]


WALK = (
    "large,pages=8,cpus=2,pagevec_size=3,swap_cluster_max=4,mapping_slots=3,most_references=5,mlocks=3,mappings=2,"
    "gigabyte_order=1,high_wmark=3,long=6,age_bits=6,eviction_bits=4,bucket_order=1,priority_most=2"
)


@pytest.mark.parametrize("scope", [WALK, f"{WALK},swap=0,zones=1,high_wmark=0", f"{WALK},swappiness=0,zones=2"])
def test_a_walk_with_more_folios_takes_the_naive_machine_along(scope: str) -> None:
    """The CPython engine's steps, choices and results, one after the other; what one can do the other can."""
    program, sizes = loaded().program, sizes_of(scope)
    engine, dice = PythonMachine(loaded().spec, program, sizes), Dice(7)
    engine.start(dice)
    naive, taken = naive_lru.Lru(sizes), 0
    arguments = [list(engine.arguments(number)) for number in range(len(program.actions))]
    for _ in range(4_000):
        number = dice.random.randrange(len(program.actions))
        chosen = dice.random.choice(arguments[number])
        dice.made.clear()
        outcome = engine.take(number, chosen, dice)
        assert outcome.failure is None
        after = naive_lru.follow(naive, program.actions[number].name, chosen, list(dice.made))
        assert outcome.enabled == (after is not None), (program.actions[number].name, chosen)
        if outcome.enabled:
            result, naive = after
            assert result == outcome.result
            assert naive.key() == project(program, sizes, engine.state).key()
            taken += 1
    assert taken > 1_000


# --- formulas at real widths


class Bare(LruMemory):
    """Lists of which only the counters are known."""

    sc: LruScan
    swap: Annotated[int, FromScope("swap")]
    free: Annotated[int, FromScope("free")]
    high_wmark: Annotated[int, FromScope("high_wmark")]

    def can_reclaim_anon_pages(self) -> bool:
        return self.swap != 0

    def node_free_pages(self) -> int:
        return self.free

    def total_high_wmark(self) -> int:
        return self.high_wmark


REAL = {
    "frames": 1, "cpus": 1, "pagevec_size": 15, "swap_cluster_max": 32, "long": 63, "age_bits": 63, "eviction_bits": 45,
    "bucket_order": 0, "gigabyte_order": 18, "sqrt_turns": 20, "references": 1, "mappings": 1, "mlocks": 1,
    "scan_max": 1 << 40, "cost_max": 1 << 40, "shadow_max": (1 << 46) - 1, "swappiness": 60, "swap": 1, "free": 0,
    "high_wmark": 0,
}


def bare(**sizes: int) -> Bare:
    return Bare(Store({**REAL, **sizes}))


def some_pages(dice: random.Random) -> int:
    """A few, or up to a terabyte."""
    return dice.randrange(1 << dice.randrange(1, 28))


def kernel_scan_counts(
    sizes: Sequence[int], costs: tuple[int, int], swappiness: int, priority: int, may_swap: bool, tiny: bool, trim: bool
) -> list[int]:
    """get_scan_count() of 6.1 for global reclaim, line by line."""
    denominator, fraction = 0, [0, 0]
    anon_cost, file_cost = costs
    if not may_swap:
        balance = "SCAN_FILE"
    elif not priority and swappiness:
        balance = "SCAN_EQUAL"
    elif tiny:
        balance = "SCAN_ANON"
    elif trim:
        balance = "SCAN_FILE"
    else:
        balance = "SCAN_FRACT"
        total_cost = anon_cost + file_cost
        anon_cost = total_cost + anon_cost
        file_cost = total_cost + file_cost
        total_cost = anon_cost + file_cost
        ap = swappiness * (total_cost + 1)
        ap //= anon_cost + 1
        fp = (200 - swappiness) * (total_cost + 1)
        fp //= file_cost + 1
        fraction = [ap, fp]
        denominator = ap + fp
    counts = []
    for lru, size in enumerate(sizes):
        file = lru in (2, 3)
        scan = size >> priority
        if balance == "SCAN_FRACT":
            scan = scan * fraction[file] // denominator
        elif balance in ("SCAN_FILE", "SCAN_ANON") and (balance == "SCAN_FILE") != file:
            scan = 0
        counts.append(scan)
    return counts


def kernel_inactive_is_low(inactive: int, active: int) -> bool:
    """inactive_is_low() of 6.1."""
    gb = (inactive + active) >> (30 - 12)
    inactive_ratio = math.isqrt(10 * gb) if gb else 1
    return inactive * inactive_ratio < active


def test_scan_counts_are_the_kernels() -> None:
    """prepare_scan_count() and get_scan_count() over many lists, costs and settings."""
    dice = random.Random(11)
    for _ in range(3_000):
        sizes = [some_pages(dice) for _ in LISTS]
        swappiness, priority = dice.choice([0, 1, 60, 100, 133, 200]), dice.randrange(13)
        free, high_wmark, swap = some_pages(dice), some_pages(dice), dice.randrange(4) > 0
        m = bare(swappiness=swappiness, free=free, high_wmark=high_wmark, swap=int(swap))
        for lru in LISTS:
            m.lruvec.nr_lru[lru] = sizes[lru]
        m.lruvec.anon_cost, m.lruvec.file_cost = some_pages(dice), some_pages(dice)
        m.lruvec.activated[ANON], m.lruvec.activated[FILE] = dice.randrange(2), dice.randrange(2)
        m.sc.priority, m.sc.may_swap, m.sc.force_deactivate = priority, dice.randrange(4) > 0, dice.randrange(4) == 0
        prepare_scan_count(m, m.sc)
        get_scan_count(m, m.sc)
        lows = [kernel_inactive_is_low(sizes[0], sizes[1]), kernel_inactive_is_low(sizes[2], sizes[3])]
        came_back = [m.lruvec.activated[type] != 0 for type in (ANON, FILE)]
        may = [m.sc.force_deactivate or low or back for low, back in zip(lows, came_back, strict=True)]
        assert [m.sc.may_deactivate[type] for type in (ANON, FILE)] == may
        trim = sizes[2] >> priority > 0 and not may[FILE]
        tiny = sizes[2] + sizes[3] + free <= high_wmark and not may[ANON] and sizes[0] >> priority > 0
        assert (m.sc.cache_trim_mode, m.sc.file_is_tiny) == (trim, tiny)
        costs = (m.lruvec.anon_cost, m.lruvec.file_cost)
        expected = kernel_scan_counts(sizes, costs, swappiness, priority, m.sc.may_swap and swap, tiny, trim)
        assert [m.sc.nr[lru] for lru in LISTS] == expected


@pytest.mark.parametrize(("gigabytes", "ratio"), [(1, 3), (10, 10), (100, 31), (1024, 101), (10240, 320)])
def test_the_inactive_ratio_is_that_of_the_kernels_table(gigabytes: int, ratio: int) -> None:
    """The table above inactive_is_low(): so many active folios are well for one that is inactive."""
    pages = gigabytes << 18
    inactive = pages // (ratio + 1) + ratio
    m = bare()
    m.lruvec.nr_lru[LRU_INACTIVE_FILE], m.lruvec.nr_lru[LRU_ACTIVE_FILE] = inactive, pages - inactive
    assert not inactive_is_low(m, FILE)
    m.lruvec.nr_lru[LRU_INACTIVE_FILE], m.lruvec.nr_lru[LRU_ACTIVE_FILE] = inactive - 2 * ratio, pages - inactive
    assert inactive_is_low(m, FILE)


@pytest.mark.parametrize("bucket_order", [0, 3])
def test_the_refault_distance_is_the_kernels(bucket_order: int) -> None:
    """Modulo EVICTION_MASK, in buckets, also when the age has gone round; and what is activated by it."""
    dice, mask = random.Random(3), (1 << 45) - 1
    m = bare(bucket_order=bucket_order)
    for _ in range(2_000):
        evicted, passed = dice.randrange(1 << 63), some_pages(dice) << dice.choice([0, 0, 20])
        shadow = ((evicted >> bucket_order) & mask) << 1 | dice.randrange(2)
        m.lruvec.nonresident_age = evicted + passed
        eviction = (shadow >> 1) << bucket_order
        distance = (((evicted + passed) % (1 << 63)) - eviction) & mask
        assert refault_distance(m, shadow) == distance
        if bucket_order == 0:
            assert distance == passed & mask
        m.lruvec.nr_lru[LRU_ACTIVE_FILE] = dice.choice([distance, distance + 1, max(0, distance - 1)])
        m.folio[0].active = False
        m.folio[0].workingset = False
        expected = distance <= m.lruvec.nr_lru[LRU_ACTIVE_FILE]
        workingset_refault(m, 0, shadow)
        assert m.folio[0].active == expected
        assert m.folio[0].workingset == (expected and shadow & 1 == 1)
