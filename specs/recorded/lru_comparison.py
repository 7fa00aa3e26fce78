"""What a recording shows of the LRU and of reclaim: events, counters and lists held against the model and the kernel.

The one idea: the recording's first state is loaded into the model's own records and moved on by its events with the
model's own functions; the second state then says, page by page, whether that was right. Beside it stand the relations
between reclaim's events, the counters that they must add up to, and what must hold of each state by itself.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...model.faults import Fault
from ...model.folio import LRU_UNEVICTABLE
from ...model.lang.errors import InputError
from ...model.lang.execute import STEP_ERRORS
from .ftrace import Event, Other, PageFreed, read_trace
from .lru import MODULES, LruText, RecordedLru, lru_text
from .lru_invariants import LruInvariants
from .lru_states import BATCHES, LISTS, LruState, read_lru_state
from .page_flags import MUNLOCKED, NAMED, FlagWatch, flag_files
from .page_life import IN_TRANSIT, NO_PROBES, PageLife
from .scan_counts import ScanCounts
from .tally import STEPS, Difference, Row, Tally, row_of
from .vmscan import OTHER, ZONES, Vmscan
from .vmscan_events import KswapdCalled, LruActivated, LruInserted, LruIsolated, parsers

STEPS_OF = (LruInserted, LruActivated, PageFreed)
"""The events that move the model's machine on."""
ONE_LIST = "a page is on one list, once"
CLASSES = "lists = frames that the dump calls lru"
BATCHED = "batches: pages in use, lru_add's on no list, once"
ZONE_COUNTERS = "lengths by zone = the zones' counters"
NODE_COUNTERS = "lengths = the node's counters"
ISOLATED = "isolated pages = the node's counters"
STATE_RELATIONS = (ONE_LIST, CLASSES, BATCHED, ZONE_COUNTERS, NODE_COUNTERS, ISOLATED)

COUNTERS = "vm_events: what the events add up to"

MEMBERS = "pages that are on the LRU"
TYPES = "anonymous or file, of each"
WHICH = "active or inactive, of each"
ORDER = "active lists, in order"
LENGTHS = "pages of each type that nr_lru counts"
FRAMES = "frames that are in use, and free ones"
END_RELATIONS = (FRAMES, MEMBERS, TYPES, WHICH, ORDER, LENGTHS)

NOT_ADDED = "the dump has not what the CPUs have still to add to the node's counters"
NOT_ADDED_MAX = 125
"""Most that a CPU keeps to itself (calculate_normal_threshold())."""
DEACTIVATED = "made inactive with no event: PGDEACTIVATE and PGROTATED say how many may be"
PUT_BACK_ACTIVE = "reclaim put back as active: it counts them and does not say which"
SHRUNK = "reclaim took pages of the list without saying which"
NAMELESS = "events of tasks of which it is not known whether they are kswapd"
INVALIDATED = "more than the events: drop_caches and MADV_COLD deactivate with no event"
NOT_WRITTEN = "fewer than the events: pageout() of a page that needs no write any more has the event too"
NO_COUNTER = "the state has no such counter"
NOT_COUNTED = "free_one_page() counts nothing, when the per-CPU lists are locked"
GENERATIONAL = "the multi-generational LRU is on"
SHRINKING = "a state finds a list being shrunk, which is counted and has no event yet"
NO_LRU_EVENTS = "the recording has no events of the LRU"
NO_RECLAIM_EVENTS = "the recording has no events of reclaim"
USED = frozenset({"used", "lru", "head", "tail"})
"""Classes of frames that a batch may hold."""


@dataclass(frozen=True)
class LruFidelity:
    """The table of one recording. `exact_scans`: how often the model had one number for what is scanned of a list, and
    it was that."""

    name: str
    events: int
    during: tuple[Row, ...]
    counters: tuple[Row, ...]
    states: tuple[Row, ...]
    invariants: tuple[Row, ...]
    at_end: tuple[Row, ...]
    exact_scans: int

    @property
    def rows(self) -> tuple[Row, ...]:
        return (*self.during, *self.counters, *self.states, *self.invariants, *self.at_end)

    @property
    def holds(self) -> bool:
        return not any(row.wrong for row in self.rows)


TRACES = ("trace.txt", "trace.txt.xz", "vmscan.txt.xz")
"""The trace of a recording; the last is one that was cut down to what concerns the LRU."""


def trace_of(directory: Path) -> Path:
    return next((directory / name for name in TRACES if (directory / name).exists()), directory / TRACES[1])


def concerns_lru(fault: Fault | None) -> bool:
    """Whether there is no fault, or one in the model of the LRU."""
    return fault is None or fault.module.removeprefix("model.") in MODULES


def only_lru(directory: Path, fault: Fault | None = None) -> bool:
    """Whether the allocators are not to be replayed: the recording was cut down, or the fault is in the LRU's model."""
    cut = trace_of(directory).name == TRACES[2]
    if cut and not concerns_lru(fault):
        raise InputError(f"{directory} was cut down to the LRU's part", "give a recording with all its events")
    return cut or (fault is not None and concerns_lru(fault))


def compare_lru(directory: Path, fault: Fault | None = None) -> LruFidelity:
    """Hold a recording's LRU against the model; raises InputError for bad recordings."""
    before = read_lru_state(directory / "state_A.json.gz")
    after = read_lru_state(directory / "state_B.json.gz")
    if (before.cpus, before.frames) != (after.cpus, after.frames):
        raise InputError(f"the states in {directory} are of two machines", "give one recording's directory")
    if before.generational or after.generational:
        return _not_told(directory.name, GENERATIONAL)
    more = parsers(before.frames)
    events = read_trace(trace_of(directory), before.vmemmap_base, before.frames, more)
    phased = in_phases(events, before, after)
    return compare_events(directory.name, phased, before, after, flag_files(directory), fault)


def _not_told(name: str, reason: str) -> LruFidelity:
    """Of another LRU nothing is."""
    row = Row(MEMBERS, 0, (), ((reason, 1),))
    return LruFidelity(name, 0, (), (), (), (), (row,), 0)


def compare_events(
    name: str,
    events: Iterable[tuple[Event, int]],
    before: LruState,
    after: LruState,
    flags: Sequence[Path] = (),
    fault: Fault | None = None,
    invariants: bool = True,
) -> LruFidelity:
    """The same for events with their phases. `flags`: files with the flags of all frames at some time. The invariants
    take most of the time."""
    text = lru_text(fault)
    reading = _Reading(text, before, after, FlagWatch(text, before, flags))
    count = 0
    for event, phase in events:
        reading.read(event, phase)
        count += 1
    reading.finish()
    counters = _counters(reading, before, after)
    states = {**_states(before, after, reading.isolated), NAMED: reading.flags.tally}
    at_end = reading.at_end if LruInserted in reading.vmscan.seen else _not_followed(reading.at_end[FRAMES], after)
    evaluated = _invariants(text, reading, before, after) if invariants else {}
    return LruFidelity(
        name,
        count,
        tuple(row_of(what, tally) for what, tally in reading.tallies().items()),
        (row_of(COUNTERS, counters),),
        tuple(row_of(what, tally) for what, tally in states.items()),
        tuple(row_of(what, tally) for what, tally in evaluated.items()),
        tuple(row_of(what, tally) for what, tally in at_end.items()),
        reading.scans.exact,
    )


def _invariants(text: LruText, reading: _Reading, before: LruState, after: LruState) -> Mapping[str, Tally]:
    """On both states, on the first one moved on by the events, and, some of them, on flags that were read alone."""
    invariants = LruInvariants()
    for state in (before, after):
        invariants.check_state(text, state)
    for snapshot, flagged in reading.flags.machines.items():
        invariants.check_flags(flagged.m, before, f"snapshot {snapshot}")
    if LruInserted in reading.vmscan.seen:
        invariants.check(reading.lru, before, f"state {before.name}, moved on by all events")
    return invariants.tallies


def in_phases(events: Iterable[Event], before: LruState, after: LruState) -> Iterator[tuple[Event, int]]:
    """The events with 0, 1 or 2: before the first state, between the two, after the second, by each CPU's own count of
    lines. No event comes before one of an earlier phase, in whatever order the lines are."""
    limits = (before.lines, after.lines)
    seen = [0] * before.cpus
    now = 0
    held: deque[tuple[Event, int]] = deque()
    for event in events:
        if event.cpu >= before.cpus:
            raise InputError(f"event {event.line} is of CPU {event.cpu}", "the state has fewer: give one recording")
        seen[event.cpu] += 1
        phase = sum(seen[event.cpu] > limit[event.cpu] for limit in limits)
        if phase > now:
            if not isinstance(event, Other):
                held.append((event, phase))
            while now < 2 and all(map(int.__ge__, seen, limits[now])):
                now += 1
                yield from [one for one in held if one[1] == now]
                held = deque(one for one in held if one[1] > now)
        elif not isinstance(event, Other):
            yield event, phase
    yield from sorted(held, key=lambda one: one[1])


class _Reading:
    """One pass over the events; at the second state the machine is compared with it."""

    def __init__(self, text: LruText, before: LruState, after: LruState, flags: FlagWatch) -> None:
        self.flags = flags
        self.lru = lru = RecordedLru(text, before, batches=False)
        self.after = after
        huge = any(len(before.folio(page)) > 1 for pages in before.lists for page in pages)
        self.before = before
        self.vmscan = Vmscan(huge)
        self.life = PageLife(lru, before)
        self.scans = ScanCounts(text, self.life)
        self.phase = 0
        self.isolated: list[Counter[bool]] = []  # by state: pages that tasks had isolated, by their type
        self.asleep: list[bool | None] = []  # by state: whether kswapd is
        self.at_end: dict[str, Tally] = {}
        self.steps = Tally()

    def read(self, event: Event, phase: int) -> None:
        while self.phase < phase:
            self._next_phase()
        inside = phase == 1
        self.flags.read(event)
        self.vmscan.read(event, inside)
        try:
            self.scans.read(event, inside)
            self.life.read(event, inside)
        except STEP_ERRORS as error:
            said = str(error) or type(error).__name__
            self.steps.wrong.append(Difference(event.line, type(event).__name__, "the kernel went on", said))
        else:
            self.steps.right += isinstance(event, STEPS_OF)

    def finish(self) -> None:
        while self.phase < 2:
            self._next_phase()
        self.vmscan.finish()
        self.life.finish()
        if not self.life.probed:
            self.at_end[FRAMES].excuse(NO_PROBES)

    def _next_phase(self) -> None:
        self.phase += 1
        self.flags.compare(self.before if self.phase == 1 else self.after)
        self.isolated.append(self.vmscan.isolated_now())
        self.asleep.append(self.vmscan.asleep)
        if self.phase == 1:
            self.life.start()
        else:
            self.at_end = compare_lists(self, self.before, self.after)

    def tallies(self) -> Mapping[str, Tally]:
        return {**self.life.tallies, STEPS: self.steps, **self.vmscan.tallies, **self.scans.tallies}


# --- counters

# Counters that are counted where an event is; a first word alone stands for the counters of all zones.
_OF_RECLAIM = (
    "PGREFILL", "PGSCAN_ANON", "PGSCAN_FILE", "PGSCAN_SKIP", "PGSTEAL_ANON", "PGSTEAL_FILE", "PAGEOUTRUN",
    *(f"ALLOCSTALL_{zone}" for zone in ZONES),
)  # fmt: skip
_BY_KSWAPD = ("PGSCAN_KSWAPD", "PGSCAN_DIRECT", "PGSTEAL_KSWAPD", "PGSTEAL_DIRECT")
_OF_ALL_ZONES = {name: tuple(f"{name}_{zone}" for zone in ZONES) for name in ("PGALLOC", "PGSCAN_SKIP")}
_WOKEN_EARLY = "KSWAPD_LOW_WMARK_HIT_QUICKLY"
_NOT_BALANCED = "KSWAPD_HIGH_WMARK_HIT_QUICKLY"


class _Counters:
    """Each counter's difference between the states, beside what the events say."""

    def __init__(self, before: LruState, after: LruState) -> None:
        self.before, self.after = before, after
        self.tally = Tally()

    def difference(self, names: Sequence[str]) -> int | None:
        if any(name not in state.events for name in names for state in (self.before, self.after)):
            return None
        return sum(self.after.events[name] - self.before.events[name] for name in names)

    def compare(self, about: str, names: Sequence[str], expected: int, more: str = "", fewer: str = "") -> None:
        """`more`, `fewer`: the reason for which there may be more, or fewer, than the events say."""
        found = self.difference(names)
        if found is None:
            self.tally.not_predicted[NO_COUNTER] += 1
        elif found == expected:
            self.tally.right += 1
        elif reason := more if found > expected else fewer:
            self.tally.not_predicted[f"{about} {found:,}, {expected:,} by events: {reason}"] += 1
        else:
            self.tally.wrong.append(Difference(0, about, f"{found:,}", f"{expected:,} by the events"))

    def check(self, about: str, right: bool, recorded: str, expected: str) -> None:
        if right:
            self.tally.right += 1
        else:
            self.tally.wrong.append(Difference(0, about, recorded, expected))


def _counters(reading: _Reading, before: LruState, after: LruState) -> Tally:
    counts = reading.vmscan.counts + reading.life.counts
    found = _Counters(before, after)
    found.compare("PGALLOC", _OF_ALL_ZONES["PGALLOC"], counts["PGALLOC"], "" if reading.life.probed else NO_PROBES)
    found.compare("PGFREE", ("PGFREE",), counts["PGFREE"], fewer=NOT_COUNTED)
    unlisted = "" if LruInserted in reading.vmscan.seen else NO_LRU_EVENTS
    found.compare("PGACTIVATE", ("PGACTIVATE",), counts["PGACTIVATE"], more=unlisted)
    missing = "" if LruIsolated in reading.vmscan.seen else NO_RECLAIM_EVENTS
    for name in _OF_RECLAIM:
        found.compare(name, _OF_ALL_ZONES.get(name, (name,)), counts[name], more=missing)
    for name in _BY_KSWAPD:
        if reading.vmscan.nameless:
            found.tally.not_predicted[NAMELESS] += 1
        else:
            found.compare(name, (name,), counts[name], more=missing)
    found.compare("PGDEACTIVATE", ("PGDEACTIVATE",), counts["PGDEACTIVATE"], more=INVALIDATED)
    found.compare("PSWPOUT", ("PSWPOUT",), counts["PSWPOUT"], more=missing, fewer=NOT_WRITTEN)
    _compare_sleeps(found, counts, reading.asleep, KswapdCalled in reading.vmscan.seen)
    if reading.vmscan.others:
        found.tally.excuse(OTHER)
    if any(isolated.total() for isolated in reading.isolated):
        found.tally.excuse(SHRINKING)
    return found.tally


def _compare_sleeps(
    found: _Counters, counts: Counter[str], asleep: Sequence[bool | None], calls: bool
) -> None:
    """After each waking kswapd tries to sleep once (kswapd_try_to_sleep()): it does, with an event, or one of two
    counters says why not: somebody has called it, or the zones are not balanced. `asleep`: at each state. `calls`: who
    calls it is recorded."""
    tried = found.difference((_WOKEN_EARLY, _NOT_BALANCED))
    unbalanced = found.difference((_NOT_BALANCED,))
    if tried is None or unbalanced is None:
        found.tally.not_predicted[NO_COUNTER] += 2
        return
    wakings, endings = counts["PAGEOUTRUN"], counts["KSWAPD_SLEPT"] + tried
    # At a state that finds it awake, it may have tried already.
    least, most = -(asleep[0] is not True), int(asleep[1] is not True)
    said = f"{endings:,} ({counts['KSWAPD_SLEPT']:,} sleeps)"
    found.check("tries of kswapd to sleep", least <= wakings - endings <= most, said, f"{wakings:,} wakings")
    uncalled = counts["WOKEN_UNCALLED"]
    if uncalled and not calls:
        found.tally.not_predicted[NO_RECLAIM_EVENTS] += 1
        return
    found.check("wakings that nobody called for", uncalled <= unbalanced + 1, str(uncalled), f"at most {unbalanced}")


# --- each state by itself


def _states(before: LruState, after: LruState, isolated: Sequence[Counter[bool]]) -> dict[str, Tally]:
    tallies = {row: Tally() for row in STATE_RELATIONS}
    for state, taken in zip((before, after), isolated, strict=True):
        check_state(state, taken, tallies)
    return tallies


def check_state(state: LruState, isolated: Counter[bool], tallies: dict[str, Tally]) -> None:
    """The relations inside one state; `isolated`: pages that tasks had isolated, by their type."""
    one = _State(state, tallies)
    one.check_lists()
    one.check_batches()
    one.check_counters(isolated)


class _State:
    def __init__(self, state: LruState, tallies: dict[str, Tally]) -> None:
        self.state = state
        self.tallies = tallies
        self.uses = {page: what for run, what in state.classes for page in run}
        self.listed: dict[int, int] = {}

    def check(self, row: str, right: bool, about: str, recorded: object, wanted: object) -> None:
        if right:
            self.tallies[row].right += 1
        else:
            said = Difference(0, f"state {self.state.name}, {about}", str(recorded), str(wanted))
            self.tallies[row].wrong.append(said)

    def check_lists(self) -> None:
        for lru, pages in enumerate(self.state.lists):
            for page in pages:
                self.check(ONE_LIST, page not in self.listed, f"page {page}", LISTS[lru], "on no other list, and once")
                self.listed.update(dict.fromkeys(self.state.folio(page), lru))
        called = {page for page, what in self.uses.items() if what == "lru"}
        heads = {page for pages in self.state.lists for page in pages}
        for page in sorted(called | heads):
            what = self.uses.get(page, "no frame")
            self.check(CLASSES, page in called and page in heads, f"page {page}", what,
                       "on a list" if page in called else "lru, as it is on a list")  # fmt: skip

    def check_batches(self) -> None:
        added: set[int] = set()
        for cpu, batches in enumerate(self.state.batches):
            for kind, folios in zip(BATCHES, batches, strict=True):
                for page in folios:
                    right = self.uses.get(page) in USED
                    if kind == "lru_add":
                        right = right and page not in self.listed and page not in added
                        added.add(page)
                    where = "on a list" if page in self.listed else self.uses.get(page, "no frame")
                    self.check(BATCHED, right, f"cpu {cpu}, {kind}, page {page}", where, "in use, once")

    def check_counters(self, isolated: Counter[bool]) -> None:
        for lru, name in enumerate(LISTS):
            frames = [frame for frame, on in self.listed.items() if on == lru]
            for zone in self.state.zones:
                length = sum(frame in zone.frames for frame in frames)
                self.check(ZONE_COUNTERS, length == zone.pages(lru), f"{zone.name}, {name}", zone.pages(lru),
                           f"{length} on the list")  # fmt: skip
            self._near(NODE_COUNTERS, name, self.state.nr_lru[lru], len(frames))
        for file, counted in enumerate(self.state.nr_isolated):
            self._near(ISOLATED, ("anonymous", "file")[file], counted, isolated[bool(file)])

    def _near(self, row: str, about: str, counted: int, there: int) -> None:
        if counted != there and abs(counted - there) <= NOT_ADDED_MAX * self.state.cpus:
            self.tallies[row].not_predicted[NOT_ADDED] += 1
        else:
            self.check(row, counted == there, about, counted, f"{there} there")


# --- the second state


def compare_lists(reading: _Reading, before: LruState, after: LruState) -> dict[str, Tally]:
    """Every page that is on a list of the machine or of the state, which must be the same pages."""
    lru = reading.lru
    tallies = {row: Tally() for row in END_RELATIONS}
    _compare_frames(tallies[FRAMES], reading.life, after)
    recorded = {frame: on for on, pages in enumerate(after.lists) for page in pages for frame in after.folio(page)}
    predicted = {page: on for page in range(after.frames) if (on := lru.list_of(page)) is not None}
    silent: Counter[str] = Counter()
    for page in sorted(recorded.keys() | predicted.keys()):
        there, expected = recorded.get(page), predicted.get(page)
        if expected is None and reading.life.silent(page):
            tallies[MEMBERS].not_predicted[MUNLOCKED] += 1
        else:
            _compare_page(tallies, silent, page, there, expected)
    _allow(tallies[WHICH], silent, _budget(reading, before, after))
    _compare_order(tallies[ORDER], reading, recorded)
    for kind, what in enumerate(("anonymous", "file")):
        counted = sum(zone.pages(on) for zone in after.zones for on in (2 * kind, 2 * kind + 1))
        moved = sum(predicted.get(page) == LRU_UNEVICTABLE != on and on >> 1 == kind for page, on in recorded.items())
        _count(tallies[LENGTHS], what, counted, lru.pages_of_type(kind) + moved)
    return tallies


def _compare_frames(tally: Tally, life: PageLife, after: LruState) -> None:
    for run, what in after.classes:
        for page in run:
            right = life.uses_as(page, what)
            if right is None:
                tally.not_predicted[IN_TRANSIT] += 1
            elif right:
                tally.right += 1
            else:
                tally.wrong.append(Difference(0, f"page {page}", what, "free" if life.uses_as(page, "pcp") else "used"))


def _not_followed(frames: Tally, after: LruState) -> dict[str, Tally]:
    """The same, where pages cannot be followed from the first state to the second."""
    tallies = {row: Tally() for row in END_RELATIONS}
    tallies[FRAMES] = frames
    for tally in (tally for row, tally in tallies.items() if row != FRAMES):
        tally.not_predicted[NO_LRU_EVENTS] = sum(map(len, after.lists))
    return tallies


def _compare_page(
    tallies: dict[str, Tally], silent: Counter[str], page: int, there: int | None, expected: int | None
) -> None:
    about = f"page {page}"
    if there is None or expected is None:
        _differ(tallies[MEMBERS], about, there, expected)
        return
    tallies[MEMBERS].right += 1
    if LRU_UNEVICTABLE in (there, expected) and there != expected:
        tallies[TYPES].not_predicted[MUNLOCKED] += 1
        tallies[WHICH].not_predicted[MUNLOCKED] += 1
    elif there >> 1 != expected >> 1:
        _differ(tallies[TYPES], about, there, expected)
    else:
        tallies[TYPES].right += 1
        if there == expected:
            tallies[WHICH].right += 1
        else:
            silent[PUT_BACK_ACTIVE if there > expected else DEACTIVATED] += 1


def _differ(tally: Tally, about: str, there: int | None, expected: int | None) -> None:
    recorded, predicted = ("on no list" if on is None else LISTS[on] for on in (there, expected))
    tally.wrong.append(Difference(0, about, recorded, predicted))


def _budget(reading: _Reading, before: LruState, after: LruState) -> dict[str, int]:
    """How many pages can have been moved silently: as many as the kernel has counted, less those that are accounted
    for."""
    counted = _Counters(before, after).difference(("PGDEACTIVATE", "PGROTATED"))
    return {
        DEACTIVATED: (counted or 0) - reading.life.deactivated,
        PUT_BACK_ACTIVE: reading.vmscan.counts["PGACTIVATE"],
    }


def _allow(tally: Tally, silent: Counter[str], budget: Mapping[str, int]) -> None:
    for reason, pages in silent.items():
        if pages <= budget[reason]:
            tally.not_predicted[reason] += pages
        else:
            said = Difference(0, f"pages {reason}", str(pages), f"at most {budget[reason]}")
            tally.wrong.extend([said] * (pages - budget[reason]))
            tally.not_predicted[reason] += budget[reason]


def _compare_order(tally: Tally, reading: _Reading, recorded: Mapping[int, int]) -> None:
    """The active lists change only at the head as long as reclaim leaves them alone, but for pages that leave them."""
    lists = reading.lru.lists()
    for on in (1, 3):
        predicted = [page for page in lists[on] if recorded.get(page) == on]
        known = set(predicted)
        there = [page for page in reading.after.lists[on] if page in known]
        if on in reading.vmscan.isolated_lists:
            tally.not_predicted[SHRUNK] += len(there)
            continue
        for position, page in enumerate(there):
            _count(tally, f"{LISTS[on]}, position {position}", page, predicted[position])


def _count(tally: Tally, about: str, recorded: int, predicted: int) -> None:
    if recorded == predicted:
        tally.right += 1
    else:
        tally.wrong.append(Difference(0, about, str(recorded), str(predicted)))
