"""User memory and swap in Python sets and dicts, written from the kernel's rules without a look at the model's text.

Nothing is counted here: who maps a page, who has a swap entry, who holds a page are sets, and the model's counts must
be their sizes. What the world decides (which frame, which entry, how far reclaim goes with a page) is read off the
model's next state; everything else follows, and is compared by the test. Anonymous memory only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

KEEP, ACTIVATE, RECLAIMED, PAGEOUT, UNMAPPED = range(5)
Place = tuple[int, int]
"""A task and an address."""


@dataclass
class Page:
    """A frame in use."""

    bytes: int = 0
    mappers: dict[Place, dict[str, bool]] = field(default_factory=dict)  # place -> {"dirty", "write"}
    entry: int | None = None
    dirty: bool = False
    lazy: bool = False
    exclusive: bool = False
    io: bool = False
    was_mapped: bool = False


class NaiveMemory:
    """Tasks, pages, and a swap device."""

    def __init__(self, entries: int, first: int) -> None:
        self.total = entries
        self.alive = {first}
        self.page: dict[int, Page] = {}
        self.entries: dict[Place, tuple[int, bool]] = {}  # the entry in a PTE, and whether it is exclusive
        self.device: dict[int, int] = {}  # entries in use
        self.hand: int | None = None
        self.second_half = False
        self.written: dict[Place, int] = {}
        self.useless: set[Place] = set()

    # --- who has what

    def frame_of(self, place: Place) -> int | None:
        return next((frame for frame, page in self.page.items() if place in page.mappers), None)

    def holders(self, frame: int) -> int:
        page = self.page[frame]
        return len(page.mappers) + (page.entry is not None) + (self.hand == frame)

    def users(self, entry: int) -> set[Place]:
        return {place for place, (other, _) in self.entries.items() if other == entry}

    def cached(self, entry: int) -> int | None:
        return next((frame for frame, page in self.page.items() if page.entry == entry), None)

    def locked(self, frame: int) -> bool:
        return self.second_half and self.hand == frame

    def full(self) -> bool:
        return 2 * (self.total - len(self.device)) < self.total

    # --- small steps

    def drop(self, frame: int) -> None:
        """The frame is unused if nobody holds it."""
        if self.holders(frame) == 0:
            del self.page[frame]

    def release_entry(self, entry: int) -> None:
        """The entry is free if no PTE and no page has it."""
        if not self.users(entry) and self.cached(entry) is None:
            del self.device[entry]

    def leave_cache(self, frame: int) -> bool:
        """A page gives its swap space up, unless a PTE needs it or io is under way. Then it has no copy elsewhere."""
        page = self.page[frame]
        entry = page.entry
        if entry is None or page.io or self.users(entry):
            return False
        page.entry = None
        page.dirty = True
        self.release_entry(entry)
        return True

    def unmap(self, frame: int, place: Place) -> None:
        """A task no longer maps a page."""
        page = self.page[frame]
        del page.mappers[place]
        if not page.mappers and not self.locked(frame):
            self.leave_cache(frame)
        self.drop(frame)

    def forget(self, place: Place) -> None:
        """A PTE is cleared."""
        frame = self.frame_of(place)
        if frame is not None:
            self.unmap(frame, place)
        elif place in self.entries:
            self.forget_entry(place)

    def forget_entry(self, place: Place) -> None:
        entry, _ = self.entries.pop(place)
        frame = self.cached(entry)
        if frame is not None and not self.users(entry) and not self.locked(frame):
            if not self.page[frame].mappers or self.full():
                self.leave_cache(frame)
            if frame in self.page:
                self.drop(frame)
        elif frame is None:
            self.release_entry(entry)

    # --- faults

    def new_page(self, frame: int, place: Place, content: int) -> None:
        assert frame not in self.page, "a frame in use was given"
        self.page[frame] = Page(content, {place: {"dirty": True, "write": True}}, exclusive=True, was_mapped=True)

    def swap_in(self, place: Place, write: bool, frame: int) -> bool:
        """The page of an entry is mapped; true if it may be written to."""
        entry, exclusive = self.entries[place]
        if self.cached(entry) is None:
            assert frame not in self.page, "a frame in use was given"
            self.page[frame] = Page(self.device[entry], entry=entry)
        frame = self.cached(entry)  # type: ignore[assignment]
        page = self.page[frame]
        del self.entries[place]
        if self.full() or (write and self.holders(frame) + 1 == 2):
            self.leave_cache(frame)
        alone = exclusive or self.holders(frame) == 0
        page.mappers[place] = {"dirty": write and alone, "write": write and alone}
        page.exclusive = page.exclusive or alone
        page.was_mapped = True
        return alone

    def write_fault(self, place: Place, frame: int) -> None:
        """A write to a page that is mapped read-only; `frame` is what the task has afterwards."""
        old = self.frame_of(place)
        assert old is not None
        page = self.page[old]
        if not page.exclusive:
            if self.holders(old) == 1 + (page.entry is not None):
                self.leave_cache(old)
            if self.holders(old) > 1:
                content = page.bytes
                self.unmap(old, place)
                self.new_page(frame, place, content)
                return
        page.exclusive = True
        page.mappers[place] = {"dirty": True, "write": True}

    def read(self, place: Place, after: Any) -> int | None:
        if place in self.entries:
            frame = after.mm[place[0]].anon[place[1]].page
            if frame is None:
                return None
            self.swap_in(place, False, frame)
        frame = self.frame_of(place)
        return 0 if frame is None else self.page[frame].bytes

    def write(self, place: Place, after: Any) -> int | None:
        pte = after.mm[place[0]].anon[place[1]]
        if pte.page is None or not pte.write:
            if place in self.entries and pte.page is not None:  # it came back, but there was no frame for a copy
                self.swap_in(place, True, pte.page)
            return None
        frame = pte.page
        if place in self.entries:
            entry, _ = self.entries[place]
            known = self.cached(entry)
            alone = self.swap_in(place, True, frame if known is None else known)
            if not alone:
                self.write_fault(place, frame)
        elif self.frame_of(place) is None:
            self.new_page(frame, place, 0)
        elif not self.page[self.frame_of(place)].mappers[place]["write"]:  # type: ignore[index]
            self.write_fault(place, frame)
        mine = self.frame_of(place)
        assert mine is not None
        self.page[mine].mappers[place]["dirty"] = True
        self.page[mine].bytes ^= 1
        self.written[place] = self.page[mine].bytes if place in self.useless else self.written.get(place, 0) ^ 1
        self.useless.discard(place)
        return self.page[mine].bytes

    # --- system calls

    def fork(self, task: int, child: int) -> None:
        self.alive.add(child)
        for page in self.page.values():
            for (owner, address), bits in list(page.mappers.items()):
                if owner == task:
                    page.exclusive = False
                    bits["write"] = False
                    page.mappers[child, address] = dict(bits)
        for (owner, address), (entry, _) in list(self.entries.items()):
            if owner == task:
                self.entries[owner, address] = self.entries[child, address] = (entry, False)
        for (owner, address), value in list(self.written.items()):
            if owner == task:
                self.written[child, address] = value
        self.useless |= {(child, address) for owner, address in self.useless if owner == task}

    def give_up(self, place: Place) -> None:
        self.forget(place)
        self.written.pop(place, None)
        self.useless.discard(place)

    def exit(self, task: int, addresses: int) -> None:
        self.alive.discard(task)
        for address in range(addresses):
            self.give_up((task, address))

    def free_lazily(self, place: Place) -> None:
        if self.written.get(place, 0) != 0:
            self.useless.add(place)
        if place in self.entries:
            self.forget_entry(place)
            return
        frame = self.frame_of(place)
        if frame is None:
            return
        page = self.page[frame]
        if page.entry is not None or page.dirty:
            if len(page.mappers) > 1 or (page.entry is not None and not self.leave_cache(frame)):
                return
            page.dirty = False
        page.mappers[place]["dirty"] = False
        if self.hand != frame:
            page.lazy = True

    # --- reclaim

    def isolate(self, frame: int) -> None:
        self.hand = frame

    def shrink(self, outcome: int, after: Any) -> None:
        """The first half: what can be seen of it in the next state must be one of the ways it can go."""
        frame = self.hand
        assert frame is not None
        page = self.page[frame]
        if page.io:
            assert outcome == ACTIVATE or (outcome == KEEP and page.mappers), "a page under writeback is left alone"
        gone = [place for place in page.mappers if after.mm[place[0]].anon[place[1]].page is None]
        if gone and not page.lazy and page.entry is None:
            self.to_swap(page, after.mm[gone[0][0]].anon[gone[0][1]].swap)
        elif page.entry is None and after.use[frame].swap is not None:
            self.to_swap(page, after.use[frame].swap)
        for place in gone:
            self.take_away(frame, place)
        if page.lazy and outcome == ACTIVATE and after.folio[frame].swapbacked:
            assert any(bits["dirty"] for bits in page.mappers.values()) or page.dirty
            page.lazy = False
            page.dirty = True
        if outcome == UNMAPPED:
            assert not page.mappers, "a page in its second half is not mapped"
            assert not page.dirty, "a page in its second half is clean"
            self.second_half = True
            return
        if outcome == PAGEOUT:
            assert not page.mappers, "a page that is written is not mapped"
            assert page.dirty, "a page that is written is dirty"
            page.dirty = False
            page.io = True
        elif outcome == ACTIVATE and page.entry is not None and self.full():
            self.leave_cache(frame)
        elif outcome == KEEP and page.entry is not None and after.use[frame].swap is None:
            assert self.leave_cache(frame), "a page whose entry nobody needs is not written"
        self.hand = None
        self.drop(frame)

    def to_swap(self, page: Page, entry: int) -> None:
        if entry in self.device:  # nobody but the swap cache had it
            other = self.cached(entry)
            assert other is not None, "an entry in use was given"
            assert self.leave_cache(other), "an entry that is needed was given"
            self.drop(other)
        self.device[entry] = 0
        page.entry = entry
        page.dirty = True

    def take_away(self, frame: int, place: Place) -> None:
        """Reclaim takes a PTE away."""
        page = self.page[frame]
        if page.mappers.pop(place)["dirty"]:
            page.dirty = True
        if page.entry is not None:
            self.entries[place] = (page.entry, page.exclusive)
            page.exclusive = False
        else:
            assert place in self.useless or self.written.get(place, 0) == 0, "what a task needs was thrown away"

    def finish(self) -> int:
        """The second half."""
        frame = self.hand
        assert frame is not None
        page = self.page[frame]
        self.second_half = False
        only = 1 if page.entry is None else 2
        if self.holders(frame) == only and (page.lazy or (page.entry is not None and not page.dirty)):
            entry = page.entry
            self.hand = None
            del self.page[frame]
            if entry is not None:
                self.release_entry(entry)
            return RECLAIMED
        self.hand = None
        self.drop(frame)
        return KEEP

    def end_write(self, entry: int) -> None:
        frame = self.cached(entry)
        assert frame is not None
        self.device[entry] = self.page[frame].bytes
        self.page[frame].io = False
