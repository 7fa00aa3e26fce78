"""A naive machine of the LRU lists, written from mm/swap.c, mm/mlock.c, mm/workingset.c and mm/vmscan.c (Linux 6.1).

The one idea: lists are Python lists, head first; flags are sets of words; and references are not counted but looked
for: a folio lives as long as somebody names it. Costs, ages and counters are what the kernel computes from these. It
shares no text with the model. `successors` gives every way an action can go, each as a hashable state.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

KINDS = ("add", "rotate", "deactivate_file", "deactivate", "lazyfree", "activate")
STATES = (None, "locked", "mapped", "dirty", "writeback")
LISTS = (("anon", False), ("anon", True), ("file", False), ("file", True))
Key = tuple[Any, ...]


class DisabledError(Exception):
    """The action is not possible here, or not in this scope."""


class Reclaimer:
    """What shrink_inactive_list() or shrink_active_list() has on its stack: lists with the next folio first."""

    def __init__(self, number: int, hold: list[int], scanned: int, skipped: int) -> None:
        self.number, self.hold, self.scanned, self.skipped = number, hold, scanned, skipped
        self.taken, self.keep, self.inactive, self.written = len(hold), [], [], 0  # type: ignore[var-annotated]

    def clone(self) -> Reclaimer:
        other = copy.copy(self)
        other.hold, other.keep, other.inactive = list(self.hold), list(self.keep), list(self.inactive)
        return other

    def key(self) -> Key:
        lists = tuple(map(tuple, (self.hold, self.keep, self.inactive)))
        return self.number, *lists, self.taken, self.scanned, self.skipped, self.written


class Lru:
    """The machine. `pick(n)` is a number below n from outside."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        pages, cpus = range(sizes["pages"]), range(sizes["cpus"])
        self.flags: list[set[str]] = [set() for _ in pages]
        self.lists: dict[tuple[str, bool], list[int]] = {name: [] for name in LISTS}
        self.unevictable: dict[int, int] = {}  # mlock_count
        self.batches: list[dict[str, list[int]]] = [{kind: [] for kind in KINDS} for _ in cpus]
        self.mlocks: list[list[tuple[int, str]]] = [[] for _ in cpus]
        self.clients: set[int] = set()
        self.migrating: dict[int, str] = {}
        self.reclaimer: Reclaimer | None = None
        self.slots: list[Any] = [None] * sizes["mapping_slots"]  # a page, or ("shadow", age, workingset)
        self.young: dict[int, int] = {}
        self.zone: dict[int, int] = {}
        self.cost = {"anon": 0, "file": 0}
        self.age = 0
        self.refaulted: set[str] = set()
        self.pick: Callable[[int], int] = lambda n: 0

    def key(self) -> Key:
        return (
            tuple(map(frozenset, self.flags)),
            tuple(tuple(self.lists[name]) for name in LISTS),
            frozenset(self.unevictable.items()),
            tuple(tuple(tuple(batch[kind]) for kind in KINDS) for batch in self.batches),
            tuple(map(tuple, self.mlocks)),
            frozenset(self.clients),
            frozenset(self.migrating.items()),
            self.reclaimer.key() if self.reclaimer else None,
            tuple(self.slots),
            frozenset(item for item in self.young.items() if item[1]),
            frozenset(item for item in self.zone.items() if item[1]),
            (self.cost["anon"], self.cost["file"]),
            self.age,
            frozenset(self.refaulted),
        )

    def clone(self) -> Lru:
        other = copy.copy(self)
        other.flags = [set(flags) for flags in self.flags]
        other.lists = {name: list(pages) for name, pages in self.lists.items()}
        other.unevictable = dict(self.unevictable)
        other.batches = [{kind: list(pages) for kind, pages in batch.items()} for batch in self.batches]
        other.mlocks = [list(pvec) for pvec in self.mlocks]
        other.clients, other.migrating = set(self.clients), dict(self.migrating)
        other.reclaimer = self.reclaimer.clone() if self.reclaimer else None
        other.slots, other.young, other.zone = list(self.slots), dict(self.young), dict(self.zone)
        other.cost, other.refaulted = dict(self.cost), set(self.refaulted)
        return other

    # --- looking

    def on_list(self, page: int) -> bool:
        return page in self.unevictable or any(page in pages for pages in self.lists.values())

    def kind(self, page: int) -> str:
        return "anon" if "swapbacked" in self.flags[page] else "file"

    def references(self, page: int) -> int:
        """Everybody who names the folio."""
        count = (page in self.clients) + (page in self.migrating)
        count += sum(batch[kind].count(page) for batch in self.batches for kind in KINDS)
        count += sum(1 for pvec in self.mlocks for other, _ in pvec if other == page)
        if self.reclaimer:
            count += (self.reclaimer.hold + self.reclaimer.keep + self.reclaimer.inactive).count(page)
        return count

    def size(self, kind: str, active: bool) -> int:
        return len(self.lists[kind, active])

    def swap(self) -> bool:
        return bool(self.sizes["swap"])

    # --- lists

    def insert(self, page: int, tail: bool = False) -> None:
        pages = self.lists[self.kind(page), "active" in self.flags[page]]
        pages.insert(len(pages) if tail else 0, page)

    def remove(self, page: int) -> None:
        if page in self.unevictable:
            del self.unevictable[page]
        else:
            next(pages for pages in self.lists.values() if page in pages).remove(page)

    def make_unevictable(self, page: int, count: int) -> None:
        self.flags[page].discard("active")
        self.flags[page].add("unevictable")
        self.unevictable[page] = count

    def forget(self, page: int) -> None:
        """Free the folio if nobody names it any more."""
        if self.references(page) == 0:
            if self.on_list(page):
                self.remove(page)
            self.flags[page] = set()
            self.zone.pop(page, None)

    # --- batches

    def queue(self, cpu: int, kind: str, page: int) -> None:
        batch = self.batches[cpu][kind]
        batch.append(page)
        if len(batch) == self.sizes["pagevec_size"]:
            self.empty(cpu, kind)

    def empty(self, cpu: int, kind: str) -> None:
        pages = self.batches[cpu][kind]
        for page in pages:
            if kind == "add":
                self.put_on_list(page)
            elif self.on_list(page) and page not in self.unevictable:
                getattr(self, f"do_{kind}")(page)
        self.batches[cpu][kind] = []
        for page in pages:
            self.forget(page)

    def put_on_list(self, page: int) -> None:
        assert not self.on_list(page)
        self.flags[page].discard("unevictable")
        if "mlocked" in self.flags[page]:
            self.make_unevictable(page, 0)
        else:
            self.insert(page)

    def move(self, page: int, without: set[str], tail: bool = False) -> None:
        self.remove(page)
        self.flags[page] -= without
        self.insert(page, tail)

    def do_rotate(self, page: int) -> None:
        self.move(page, {"active"}, tail=True)

    def do_deactivate_file(self, page: int) -> None:
        if "mapped" not in self.flags[page]:
            busy = bool(self.flags[page] & {"dirty", "writeback"})
            self.move(page, {"active", "referenced"}, tail=not busy)
            if busy:
                self.flags[page].add("reclaim")

    def do_deactivate(self, page: int) -> None:
        if "active" in self.flags[page]:
            self.move(page, {"active", "referenced"})

    def do_lazyfree(self, page: int) -> None:
        if "swapbacked" in self.flags[page]:
            self.move(page, {"active", "referenced", "swapbacked"})

    def do_activate(self, page: int) -> None:
        if "active" not in self.flags[page]:
            self.remove(page)
            self.flags[page].add("active")
            self.insert(page)

    def queue_mlock(self, cpu: int, page: int, what: str) -> None:
        if what != "munlock":
            self.flags[page].add("mlocked")
        self.mlocks[cpu].append((page, what))
        if len(self.mlocks[cpu]) == self.sizes["pagevec_size"]:
            self.empty_mlocks(cpu)

    def empty_mlocks(self, cpu: int) -> None:
        pvec = self.mlocks[cpu]
        for page, what in pvec:
            getattr(self, f"do_{what}")(page)
        self.mlocks[cpu] = []
        for page, _ in pvec:
            self.forget(page)

    def do_mlock(self, page: int) -> None:
        if "mlocked" in self.flags[page] and self.on_list(page):
            if page in self.unevictable:
                self.unevictable[page] += 1
            else:
                self.remove(page)
                self.make_unevictable(page, 1)

    def do_new(self, page: int) -> None:
        if "mlocked" in self.flags[page]:
            self.make_unevictable(page, 1)
        else:
            self.insert(page)

    def do_munlock(self, page: int) -> None:
        if page in self.unevictable:
            self.unevictable[page] = max(0, self.unevictable[page] - 1)
            if self.unevictable[page]:
                return
        self.flags[page].discard("mlocked")
        if page in self.unevictable:
            self.remove(page)
            self.flags[page].discard("unevictable")
            self.insert(page)

    # --- working set

    def note_cost(self, kind: str, pages: int) -> None:
        self.cost[kind] += pages
        if sum(self.cost.values()) > sum(map(len, self.lists.values())) // 4:
            self.cost = {name: cost // 2 for name, cost in self.cost.items()}

    def grow_older(self) -> None:
        self.age = (self.age + 1) % (1 << self.sizes["age_bits"])

    def refault(self, page: int, age: int, workingset: bool) -> None:
        kind, order = self.kind(page), self.sizes["bucket_order"]
        distance = (self.age - (age << order)) % (1 << self.sizes["eviction_bits"])
        room = self.size("file", True) + (self.size("file", False) if kind == "anon" else 0)
        if self.swap():
            room += self.size("anon", True) + (self.size("anon", False) if kind == "file" else 0)
        if distance <= room:
            self.flags[page].add("active")
            self.grow_older()
            self.refaulted.add(kind)
            if workingset:
                self.flags[page].add("workingset")
                self.note_cost(kind, 1)

    # --- reclaim

    def is_low(self, kind: str) -> bool:
        inactive, active = self.size(kind, False), self.size(kind, True)
        gb = (inactive + active) >> self.sizes["gigabyte_order"]
        return inactive * (math.isqrt(10 * gb) if gb else 1) < active

    def may_deactivate(self, kind: str) -> bool:
        return bool(self.sizes["force_deactivate"]) or kind in self.refaulted or self.is_low(kind)

    def take(self, number: int, nr_to_scan: int, may_unmap: bool, highest: int) -> None:
        """Look at a list from its tail; gives what is taken to the reclaimer."""
        queue = self.lists[LISTS[number]]
        hold: list[int] = []
        skipped: list[int] = []
        scanned = 0
        while scanned < nr_to_scan and queue:
            page = queue.pop()
            if self.zone.get(page, 0) > highest:
                skipped.insert(0, page)
                continue
            scanned += 1
            if not may_unmap and "mapped" in self.flags[page]:
                queue.insert(0, page)
            else:
                hold.append(page)
        queue[:0] = skipped
        if hold:
            self.reclaimer = Reclaimer(number, hold, scanned + len(skipped), len(skipped))

    def look_at_ptes(self, page: int) -> int:
        """folio_referenced(): how many were used, -1 if their lock is taken."""
        if self.sizes["with_contention"] and self.pick(2) == 1:
            return -1
        return self.young.pop(page, 0)

    def is_locked_area(self, cpu: int, page: int) -> bool:
        if self.sizes["with_mlock"] and self.may_mlock(page) and self.pick(2) == 1:
            self.queue_mlock(cpu, page, "mlock")
            return True
        return False

    def references_say(self, cpu: int, page: int) -> str:
        used, flags = self.look_at_ptes(page), self.flags[page]
        twice = "referenced" in flags
        flags.discard("referenced")
        if self.is_locked_area(cpu, page):
            return "activate"
        if used < 0:
            return "keep"
        if used == 0:
            return "reclaim"
        flags.add("referenced")
        if twice or used > 1 or (self.pick(2) == 1 and self.kind(page) == "file"):
            return "activate"
        return "keep"

    def shrink_one(self, cpu: int) -> None:
        scan = self.reclaimer
        assert scan
        page = scan.hold[0]
        flags = self.flags[page]
        assert "active" not in flags
        verdict = "keep"
        if "locked" not in flags:
            verdict = "activate" if "mlocked" in flags else self.references_say(cpu, page)
        if verdict == "reclaim":
            verdict = ("keep", "activate", "reclaim")[self.pick(3)]
        if verdict == "reclaim":
            verdict = "keep"
            if "dirty" in flags and page in self.clients:
                flags.discard("dirty")
                flags.add("writeback")
                scan.written += 1
            elif page in self.clients and self.references(page) == 2 and not flags & {"writeback", "mapped"}:
                verdict = "free"
        scan.hold.pop(0)
        if verdict == "free":
            self.evict(page)
            return
        if verdict == "activate" and "mlocked" not in flags:
            flags.add("active")
        scan.keep.append(page)

    def evict(self, page: int) -> None:
        self.clients.discard(page)
        for index, slot in enumerate(self.slots):
            if slot == page:
                age = (self.age >> self.sizes["bucket_order"]) % (1 << self.sizes["eviction_bits"])
                self.slots[index] = ("shadow", age, "workingset" in self.flags[page])
                self.grow_older()
        self.forget(page)

    def deactivate_one(self, cpu: int) -> None:
        scan = self.reclaimer
        assert scan
        page = scan.hold.pop(0)
        if "mlocked" in self.flags[page]:
            self.queue(cpu, "add", page)
            return
        scan.hold.insert(0, page)  # it is the reclaimer's until its place is known
        used = self.look_at_ptes(page)
        self.is_locked_area(cpu, page)
        executable = used != 0 and self.pick(2) == 1
        scan.hold.pop(0)
        if executable and self.kind(page) == "file":
            scan.keep.append(page)
        else:
            self.flags[page].discard("active")
            self.flags[page].add("workingset")
            scan.inactive.append(page)

    def put_back(self, cpu: int, pages: list[int]) -> None:
        while pages:
            page = pages.pop(0)
            if "mlocked" in self.flags[page]:
                self.queue(cpu, "add", page)
            elif self.references(page) == 0:
                self.forget(page)
            else:
                self.insert(page)
                if "active" in self.flags[page]:
                    self.grow_older()

    def finish(self, cpu: int) -> None:
        scan = self.reclaimer
        assert scan
        kind, active = LISTS[scan.number]
        self.put_back(cpu, scan.keep)
        self.put_back(cpu, scan.inactive)
        if not active:
            self.note_cost(kind, scan.written)
        self.reclaimer = None

    def scan_count(self, number: int, priority: int) -> int:
        """prepare_scan_count() and get_scan_count() for one list."""
        kind, active = LISTS[number]
        anon_cost, file_cost = self.cost["anon"], self.cost["file"]
        trim = self.size("file", False) >> priority > 0 and not self.may_deactivate("file")
        free = sum(1 for page in range(self.sizes["pages"]) if self.references(page) == 0)
        tiny = (
            self.size("file", True) + self.size("file", False) + free <= self.sizes["high_wmark"]
            and not self.may_deactivate("anon") and self.size("anon", False) >> priority > 0
        )
        scan = self.size(kind, active) >> priority
        if not self.swap():
            return scan if kind == "file" else 0
        swappiness = self.sizes["swappiness"]
        if priority == 0 and swappiness:
            return scan
        if tiny or trim:
            return scan if (kind == "anon") == tiny else 0
        total = anon_cost + file_cost
        anon_cost += total
        file_cost += total
        total = anon_cost + file_cost
        anon = swappiness * (total + 1) // (anon_cost + 1)
        pressure = {"anon": anon, "file": (200 - swappiness) * (total + 1) // (file_cost + 1)}
        return scan * pressure[kind] // sum(pressure.values())

    # --- what the scope allows

    def need(self, *conditions: object) -> None:
        if not all(conditions):
            raise DisabledError

    def queued(self) -> int:
        return sum(len(batch[kind]) for batch in self.batches for kind in KINDS) + sum(map(len, self.mlocks))

    def may_queue(self, page: int) -> bool:
        room = self.references(page) < self.sizes["most_references"] and self.queued() < self.sizes["most_queued"]
        return page in self.clients and room

    def may_mlock(self, page: int) -> bool:
        pending = sum(1 for pvec in self.mlocks for item in pvec if item in ((page, "mlock"), (page, "new")))
        return self.may_queue(page) and self.unevictable.get(page, 0) + pending < self.sizes["mlocks"]

    def settle(self) -> None:
        if not any(isinstance(slot, tuple) for slot in self.slots):
            self.age = 0

    # --- actions

    def add(self, cpu: int, page: int, file: int, locked: int, slot: int) -> None:
        self.need(self.references(page) == 0, self.queued() < self.sizes["most_queued"])
        self.need(not locked or (self.sizes["with_mlock"] and not file and slot < 0))
        self.need(slot < 0 or (self.sizes["with_shadows"] and not isinstance(self.slots[slot], int)))
        self.clients.add(page)
        self.flags[page] = set() if file else {"swapbacked"}
        if self.sizes["zones"] > 1:
            self.zone[page] = self.pick(self.sizes["zones"])
        if slot >= 0:
            if self.slots[slot]:
                self.refault(page, *self.slots[slot][1:])
            self.slots[slot] = page
        if locked:
            self.queue_mlock(cpu, page, "new")
        else:
            self.queue(cpu, "add", page)

    def add_fails(self, cpu: int, page: int) -> None:
        self.need(self.sizes["with_shadows"], self.references(page) == 0)

    def mark_accessed(self, cpu: int, page: int) -> None:
        self.need(self.may_queue(page))
        flags = self.flags[page]
        if "referenced" not in flags:
            flags.add("referenced")
        elif not flags & {"unevictable", "active"}:
            if self.on_list(page):
                self.queue(cpu, "activate", page)
            elif page in self.batches[cpu]["add"]:
                flags.add("active")
            flags.discard("referenced")
            self.grow_older()

    def touch(self, page: int, references: int) -> None:
        self.need(self.sizes["with_young"], page in self.clients, self.young.get(page, 0) < references)
        self.young[page] = references

    def release(self, cpu: int, page: int) -> None:
        self.need(page in self.clients, "writeback" not in self.flags[page])
        self.clients.discard(page)
        self.young.pop(page, None)
        self.flags[page] -= {"locked", "mapped"}
        self.slots = [None if slot == page else slot for slot in self.slots]
        self.forget(page)

    def mlock(self, cpu: int, page: int) -> None:
        self.need(self.sizes["with_mlock"], self.may_mlock(page))
        self.queue_mlock(cpu, page, "mlock")

    def munlock(self, cpu: int, page: int) -> None:
        self.need(self.sizes["with_mlock"], "mlocked" in self.flags[page], self.may_queue(page))
        self.queue_mlock(cpu, page, "munlock")

    def advise_cold(self, cpu: int, page: int) -> None:
        self.need(self.sizes["with_advice"], self.may_queue(page))
        if self.on_list(page) and page not in self.unevictable and "active" in self.flags[page]:
            self.queue(cpu, "deactivate", page)

    def advise_free(self, cpu: int, page: int) -> None:
        self.need(self.sizes["with_advice"], self.may_queue(page))
        if self.on_list(page) and page not in self.unevictable and "swapbacked" in self.flags[page]:
            self.queue(cpu, "lazyfree", page)

    def invalidate(self, cpu: int, page: int) -> None:
        self.need(self.sizes["with_advice"], self.may_queue(page))
        if "unevictable" not in self.flags[page]:
            self.queue(cpu, "deactivate_file", page)

    def rotate(self, cpu: int, page: int) -> None:
        self.need(self.sizes["with_advice"], self.may_queue(page))
        if self.on_list(page) and page not in self.unevictable and not self.flags[page] & {"locked", "dirty"}:
            self.queue(cpu, "rotate", page)

    def change_state(self, page: int, state: int) -> None:
        self.need(self.sizes["with_io"], page in self.clients)
        self.flags[page] -= {"locked", "mapped", "dirty", "writeback"}
        self.flags[page] |= {word for word in STATES[state : state + 1] if word}

    def drain(self, cpu: int, kind: int) -> None:
        self.need(self.batches[cpu][KINDS[kind]])
        self.empty(cpu, KINDS[kind])

    def drain_mlock(self, cpu: int) -> None:
        self.need(self.sizes["with_mlock"], self.mlocks[cpu])
        self.empty_mlocks(cpu)

    def isolate_page(self, page: int) -> None:
        self.need(self.sizes["with_migration"], page in self.clients)
        if self.on_list(page):
            self.remove(page)
            self.migrating[page] = self.kind(page)

    def putback_page(self, cpu: int, page: int) -> None:
        self.need(page in self.migrating)
        del self.migrating[page]
        self.queue(cpu, "add", page)

    def isolate(self, lru: int, nr_to_scan: int, may_unmap: int) -> None:
        self.need(self.sizes["with_reclaim"], not self.reclaimer, may_unmap or self.sizes["with_io"])
        highest = self.pick(self.sizes["zones"])
        kind, active = LISTS[lru]
        if not active or self.may_deactivate(kind):
            self.take(lru, nr_to_scan, bool(may_unmap), highest)

    def decide(self, cpu: int) -> None:
        self.need(self.reclaimer and self.reclaimer.hold)
        assert self.reclaimer
        if LISTS[self.reclaimer.number][1]:
            self.deactivate_one(cpu)
        else:
            self.shrink_one(cpu)

    def putback(self, cpu: int) -> None:
        self.need(self.reclaimer and not self.reclaimer.hold)
        self.finish(cpu)

    def shrink(self, cpu: int, lru: int, nr_to_scan: int, is_kswapd: int, io: int) -> None:
        self.need(self.sizes["with_whole"], not self.reclaimer)
        kind, active = LISTS[lru]
        if active and not self.may_deactivate(kind):
            return
        isolated = sum(1 for other in self.migrating.values() if other == kind)
        if not active and not is_kswapd and isolated > self.size(kind, False) >> (3 if io else 0):
            return
        for each in KINDS:
            self.empty(cpu, each)
        self.empty_mlocks(cpu)
        self.take(lru, nr_to_scan, True, 0)
        while self.reclaimer and self.reclaimer.hold:
            self.decide(cpu)
        if self.reclaimer:
            self.finish(cpu)

    def count_scan(self, priority: int, lru: int) -> int:
        self.need(self.sizes["with_reclaim"], not self.reclaimer)
        return self.scan_count(lru, priority)

    def end_reclaim(self) -> None:
        self.need(self.sizes["with_shadows"], self.refaulted)
        self.refaulted = set()


def follow(
    state: Lru, action: str, arguments: tuple[int, ...], choices: list[tuple[int, int]]
) -> tuple[int | None, Lru] | None:
    """The way an action goes with these choices, each of so many; None if it is not possible."""
    after = state.clone()

    def pick(n: int) -> int:
        options, choice = choices.pop(0)
        assert options == n
        return choice

    after.pick = pick
    try:
        result = getattr(after, action)(*arguments)
    except DisabledError:
        return None
    assert not choices
    after.settle()
    return result, after


def successors(state: Lru, action: str, arguments: tuple[int, ...]) -> Iterator[tuple[int | None, Lru]]:
    """Every way an action goes from a state: its result, and the state after it."""
    todo: list[list[int]] = [[]]
    while todo:
        script = todo.pop()
        made: list[int] = []

        def pick(n: int, script: list[int] = script, made: list[int] = made) -> int:
            if len(made) == len(script):
                todo.extend([*made, other] for other in range(1, n))
                script.append(0)
            made.append(script[len(made)])
            return made[-1]

        after = state.clone()
        after.pick = pick
        try:
            result = getattr(after, action)(*arguments)
        except DisabledError:
            continue
        after.settle()
        after.pick = lambda n: 0
        yield result, after
