"""Reads the LRU lists of a state: walks every list and collects for each folio where it is and who refers to it.

The one idea: nothing is trusted. What a link, a counter or a flag says is compared with what the walk finds, and what
does not agree becomes a remark beside the folio, the row or the entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..model.lang.trace import Plain
from .changes import Path, path_text, value_text
from .lru_map import (
    FILE,
    FLAGS,
    FREE_COUNT,
    HANDS,
    MAPPING,
    MM,
    MOST_CELLS,
    NOTES,
    POOL,
    POSITION,
    SWAP,
    TASK,
    USE,
    Cell,
    FolioView,
    LruMap,
    LruView,
    Row,
    batch_names,
    kswapd,
    list_name,
    list_names,
    phase_name,
)
from .memory_map import Record, find, number_at, shown_link
from .text import printable


def _reclaimers(state: Plain) -> Iterator[tuple[Path, Record]]:
    """The records of those who reclaim, wherever they are: they have a `folio_list`, or flush what they unmapped."""
    stack: list[tuple[Path, Plain]] = [((), state)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, Mapping):
            if "folio_list" in node or "flush_required" in node:
                yield path, node
            stack += [((*path, name), value) for name, value in reversed(list(node.items()))]
        elif isinstance(node, list) and len(node) <= MOST_CELLS and node and isinstance(node[0], Mapping | list):
            stack += [((*path, index), value) for index, value in reversed(list(enumerate(node)))]


def read(state: Plain, here: LruMap) -> LruView:
    """The view of a state that `here`, which is one made by `within`, fits."""
    return _Reader(state, here).view()


class _Reader:
    """The lists of a state as walked, and who refers to each folio."""

    def __init__(self, state: Plain, here: LruMap) -> None:
        self.state = state
        self.here = here
        self.folios: list[Record] = [record for record in here.array(state, "folio") if isinstance(record, Mapping)]
        self.count = len(self.folios)
        self.uses = here.array(state, USE)
        self.listed: dict[int, list[int]] = {}
        self.somewhere: set[int] = set()
        self.odd: dict[int, list[str]] = {}
        self.mapped: dict[int, list[str]] = {}
        self.swapped: dict[int, list[str]] = {}

    def view(self) -> LruView:
        lists = [self._list(number, head) for number, head in enumerate(self.here.array(self.state, "lruvec.lists"))]
        tasks = tuple(self._tasks())
        hands = tuple(self._hands())
        slots, file = tuple(self._slots()), tuple(self._file())
        batches = tuple(self._batches())
        isolated = tuple(self._isolated())
        elsewhere = {page for row in (*batches, *isolated) for page in row.folios}
        lists = [self._with_unevictable(row) for row in lists] if self.here.lists else []
        self.somewhere = elsewhere | {page for row in lists for page in row.folios}
        rest = [page for page in range(self.count) if page not in self.somewhere]
        loose = tuple(page for page in rest if self._in_use(page))
        free = tuple(page for page in rest if not self._in_use(page))
        for page in loose:
            if self.here.lists and self.folios[page].get("lru") is True:
                self._remark(page, "PG_lru, but on no list")
        lists.sort(key=lambda row: (row.number // 2, -row.number))  # of each type the active ones first
        rows = (
            *batches, *lists, *isolated,
            Row("other", "other", 0, "in use, on no list" if self.here.lists else "in use", loose), self._free(free),
        )
        folios = {page: self._folio(page) for page in range(self.count)}
        return LruView(folios, rows, tasks, hands, slots, file, self._facts())

    def _remark(self, page: int, words: str) -> None:
        self.odd.setdefault(page, []).append(words)

    def _in_use(self, page: int) -> bool:
        refcount = self.folios[page].get("refcount")
        return refcount is not False and refcount != 0

    # --- lists

    def _list(self, number: int, head: Record) -> Row:
        """A list as walked from its head, and what is odd about it."""
        found, remarks = self._walk(head)
        facts = self._counter("nr", "nr_lru", number)
        counted = facts[0][2] if facts else len(found)
        if number != self._unevictable() and not remarks and counted != len(found):
            remarks = (f"counted {shown_link(counted)}, listed {len(found)}",)
        for page in found:
            self._listed(page, number)
        return Row(f"list {number}", "list", number, list_name(number), found, True, facts, remarks)

    def _walk(self, head: Record) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """The folios of a list with links, and how it ends if not as it should."""
        found: dict[int, None] = {}
        target, previous = head["first"], None
        while target is not None:
            page = number_at(target, self.count)
            if page is None or page in found:
                words = f"loops back to {page}" if page is not None else f"leads to {shown_link(target)}"
                return tuple(found), (words,)
            found[page] = None
            if self.folios[page]["prev"] != previous:
                self._remark(page, f"prev is {shown_link(self.folios[page]['prev'])}")
            target, previous = self.folios[page]["next"], page
        if head["last"] != previous:
            words = f"its last is {shown_link(head['last'])}, the walk ends at {shown_link(previous)}"
            return tuple(found), (words,)
        return tuple(found), ()

    def _listed(self, page: int, number: int) -> None:
        folio = self.folios[page]
        self.listed.setdefault(page, []).append(number)
        if folio["lru"] is not True:
            self._remark(page, "on a list without PG_lru")
        expected = self._expected(folio)
        if expected is not None and expected != number:
            self._remark(page, f"its flags say {list_name(expected)}")

    def _expected(self, folio: Record) -> int | None:
        """folio_lru_list(), if the flags are flags."""
        flags = [folio.get(name) for name in ("unevictable", "active", "swapbacked")]
        if not all(isinstance(flag, bool) for flag in flags):
            return None
        unevictable, active, swapbacked = flags
        return self._unevictable() if unevictable else 2 * (not swapbacked) + bool(active)

    def _unevictable(self) -> int:
        return next((number for number, name in list_names().items() if name == "unevictable"), -1)

    def _with_unevictable(self, row: Row) -> Row:
        """The unevictable list has no links: its folios are those with both flags."""
        if row.number != self._unevictable():
            return row
        pages = tuple(
            page for page, folio in enumerate(self.folios)
            if folio["lru"] is True and folio.get("unevictable") is True and page not in row.folios
        )
        for page in pages:
            if page in self.listed:
                self._remark(page, f"unevictable, and on {list_name(self.listed[page][0])}")
        whole = (*row.folios, *pages)
        remarks = row.remarks
        counted = row.facts[0][2] if row.facts else len(whole)
        if counted != len(whole):
            remarks = (*remarks, f"counted {shown_link(counted)}, there are {len(whole)}")
        return Row(row.key, row.kind, row.number, row.label, whole, False, row.facts, remarks)

    def _batches(self) -> Iterator[Row]:
        for cpu, kinds in enumerate(self.here.array(self.state, "batch")):
            for kind, batch in enumerate(kinds if isinstance(kinds, list) else []):
                name = batch_names().get(kind, f"batch {kind}")
                yield from self._batch(batch, self.here.where("batch", cpu, kind), cpu, name)
        for cpu, batch in enumerate(self.here.array(self.state, "mlock_batch")):
            yield from self._batch(batch, self.here.where("mlock_batch", cpu), cpu, "mlock")

    def _batch(self, batch: Plain, where: Path, cpu: int, name: str) -> Iterator[Row]:
        """What a cpu gathers, if it has gathered something; only the first `nr` slots count."""
        slots = batch.get("folios") if isinstance(batch, Mapping) else None
        if not isinstance(slots, list) or not isinstance(batch, Mapping):
            return
        nr = number_at(batch.get("nr"), min(len(slots), MOST_CELLS) + 1)
        held = [number_at(value, self.count) for value in slots[: min(len(slots), MOST_CELLS) if nr is None else nr]]
        pages = tuple(dict.fromkeys(page for page in held if page is not None))
        odd = () if nr is not None and not any(page is None for page in held) else (
            f"nr is {shown_link(batch.get('nr'))}",)
        if pages or odd:
            yield Row(f"batch {cpu} {name}", "batch", cpu, f"cpu {cpu} {name}", pages,
                      facts=(("nr", (*where, "nr"), batch.get("nr")),), remarks=odd)

    def _isolated(self) -> Iterator[Row]:
        """The lists of those who reclaim, which have the links of the folios that are on them."""
        for where, record in _reclaimers(self.state):
            number = next((part for part in reversed(where) if isinstance(part, int)), 0)
            sleeper = "phase" in record and number == kswapd()
            label = "kswapd" if sleeper else path_text(where).rsplit(".", 1)[-1]
            facts = tuple(self._position(where, record))
            at_work = record.get("phase", 0) not in (0, None) or record.get("folio") is not None
            if at_work or sleeper:
                yield Row(path_text(where), "reclaimer", number, label, (), facts=facts)
            for name, head in record.items():
                if isinstance(head, Mapping) and head.keys() == {"first", "last"}:
                    found, remarks = self._walk(head)
                    for page in found:
                        if page in self.listed:
                            self._remark(page, f"isolated, and on {list_name(self.listed[page][0])}")
                    if found or remarks:
                        key, title = f"{path_text(where)} {name}", f"↳ {printable(name, 20)}"
                        yield Row(key, "isolated", number, title, found, True, remarks=remarks)

    def _position(self, where: Path, record: Record) -> Iterator[tuple[str, Path, Plain]]:
        """Where a reclaimer is, and what it still has to do."""
        for name in POSITION:
            if name in record:
                yield name, (*where, name), phase_name(record[name]) if name == "phase" else record[name]
        if record.get("nr_to_reclaim") not in (0, None):
            yield "reclaimed", (*where, "nr_reclaimed"), record.get("nr_reclaimed")
            yield "of", (*where, "nr_to_reclaim"), record["nr_to_reclaim"]
        scan = record.get("nr")
        for number, count in enumerate(scan if isinstance(scan, list) else []):
            if count != 0:
                yield f"to scan: {list_name(number)}", (*where, "nr", number), count

    def _counter(self, name: str, array: str, number: int) -> tuple[tuple[str, Path, Plain], ...]:
        values = self.here.array(self.state, f"lruvec.{array}")
        return ((name, self.here.where("lruvec", array, number), values[number]),) if number < len(values) else ()

    def _free(self, pages: tuple[int, ...]) -> Row:
        """The folios that are not in use, and what their allocator says of them if it is one of frames."""
        pool, where = self.here.array(self.state, POOL), self.here.where(FREE_COUNT)
        if len(pool) != self.count:
            words = "not user memory" if self.here.shares_pages(self.state) else "not in use"
            return Row("free", "free", 0, words, pages)
        for page in range(self.count):
            if pool[page] is True and page not in pages:
                self._remark(page, "in use, though its frame is free")
            elif pool[page] is False and page in pages:
                self._remark(page, "its frame is taken, and not in use")
        counted = find(self.state, self.here.path(FREE_COUNT))
        remarks = () if counted == sum(one is True for one in pool) else (
            f"counted {shown_link(counted)}, free are {sum(one is True for one in pool)}",)
        return Row("free", "free", 0, "free frames", pages, facts=(("nr", where, counted),), remarks=remarks)

    def _facts(self) -> tuple[tuple[str, Path, Plain], ...]:
        """The numbers of the lruvec that are not those of a list; the pair of a type's is named anon and file."""
        lruvec = find(self.state, self.here.path("lruvec"))
        found: list[tuple[str, Path, Plain]] = []
        for name, value in lruvec.items():
            if name in ("lists", "nr_lru"):
                continue
            where = self.here.where("lruvec", name)
            if isinstance(value, list):
                kinds = ("anon", "file") if len(value) == 2 else tuple(map(str, range(len(value))))
                found += [(f"{name} {kind}", (*where, index), each)
                          for index, (kind, each) in enumerate(zip(kinds, value, strict=True))]
            else:
                found.append((name, where, value))
        return tuple(found[:MOST_CELLS])

    # --- who refers to folios

    def _tasks(self) -> Iterator[tuple[int, tuple[Cell, ...]]]:
        for task, mm in enumerate(self.here.array(self.state, MM)):
            if not isinstance(mm, Mapping):
                continue
            cells = []
            for array, entries in mm.items():
                if isinstance(entries, list) and entries and isinstance(entries[0], Mapping) and "page" in entries[0]:
                    cells += [self._entry(task, mm, array, index, entry)
                              for index, entry in enumerate(entries[:MOST_CELLS]) if isinstance(entry, Mapping)]
            cells += self._task(task)
            if mm.get("alive") is not False or any(not cell.idle for cell in cells):
                yield task, tuple(cell for cell in cells if cell.kind == "pte" or not cell.idle)

    def _task(self, task: int) -> Iterator[Cell]:
        """What a task does, and the page that the kernel holds for it."""
        record = _at(self.here.array(self.state, TASK), task)
        if not isinstance(record, Mapping):
            return
        where = self.here.where(TASK, task)
        flags = [printable(name, 20) for name, value in record.items() if value is True]
        numbers = [f"{printable(name, 20)} {value_text(value, 8)}" for name, value in record.items()
                   if name != "kernel_page" and type(value) is int and value != 0]
        yield Cell("hand", task, 0, "state", where, None, None, " ".join(flags))
        yield Cell("hand", task, 2, "has", where, None, None, " ".join(numbers))
        page = record.get("kernel_page")
        yield Cell("hand", task, 1, "kernel", (*where, "kernel_page"), number_at(page, self.count), None,
                   "" if page is None else f"page {shown_link(page)}")

    def _entry(self, task: int, mm: Record, array: str, index: int, entry: Record) -> Cell:
        """A page table entry, or (without the bit that says that it was used) what a processor remembers of one."""
        where = self.here.where(MM, task, array, index)
        kind = "pte" if "young" in entry else "tlb"
        cell = self._referring(kind, task, index, f"{printable(array, 12)} {index}", where, entry)
        if kind == "pte":
            if cell.page is not None:
                self.mapped.setdefault(cell.page, []).append(cell.name)
            if cell.slot is not None:
                self.swapped.setdefault(cell.slot, []).append(cell.name)
        if array != "anon" or kind != "pte":
            return cell
        words = [cell.words] if cell.words else []
        words += ["VM_LOCKED"] if _at(mm.get("locked"), index) is True else []
        expected = _at(mm.get("expected"), index)
        if expected is not None and (words or expected != 0):
            words.append(f"expects {shown_link(expected)}" + (" or 0" if _at(mm.get("freed"), index) is True else ""))
        beside = tuple(self.here.where(MM, task, name, index) for name in ("locked", "expected", "freed"))
        return replace(cell, words=" ".join(words), beside=beside)

    def _referring(self, kind: str, group: int, number: int, name: str, where: Path, record: Record) -> Cell:
        """Something with a page or a swap entry, and perhaps flags."""
        page, slot = record.get("page"), record.get("swap", record.get("entry"))
        target = number_at(page, self.count)
        entry = number_at(slot, len(self.here.array(self.state, SWAP)))
        remarks = []
        if target is not None and not self._in_use(target):
            remarks.append(f"page {target} is not in use")
        elif page is not None and target is None:
            remarks.append(f"{shown_link(page)} is no page")
        words = [f"page {shown_link(page)}"] if page is not None else []
        words += [f"swap {shown_link(slot)}"] if slot is not None else []
        words += [printable(flag, 16) for flag, value in record.items() if value is True] if words else []
        return Cell(kind, group, number, name, where, target, entry, " ".join(words), tuple(remarks))

    def _hands(self) -> Iterator[Cell]:
        """What threads have in hand in the middle of a fault or a transfer."""
        for number, (name, title) in enumerate(HANDS.items()):
            record = find(self.state, self.here.path(name))
            if isinstance(record, Mapping):
                cell = self._referring("hand", -1, number, title, self.here.where(name), record)
                if not cell.idle:
                    task = record.get("task")
                    yield replace(cell, words=cell.words if task is None else f"task {shown_link(task)} {cell.words}")

    def _slots(self) -> Iterator[Cell]:
        for index, slot in enumerate(self.here.array(self.state, SWAP)[:MOST_CELLS]):
            if not isinstance(slot, Mapping):
                continue
            page, count = slot.get("folio"), slot.get("count")
            users = len(self.swapped.get(index, ()))
            used = count not in (0, None) or slot.get("has_cache") is True or page is not None
            words = [f"map {shown_link(count)}"] if used else []
            words += ["cache"] if slot.get("has_cache") is True else []
            words += [f"page {shown_link(page)}"] if page is not None else []
            words += [f"disk {shown_link(slot.get('content'))}"] if used else []
            words += self._remembered(slot)
            remarks = (f"{users} entries name it",) if self.here.array(self.state, MM) and users != count else ()
            yield Cell("slot", 0, index, f"swap {index}", self.here.where(SWAP, index), number_at(page, self.count),
                       None, " ".join(words), remarks)

    def _file(self) -> Iterator[Cell]:
        array = FILE if self.here.array(self.state, FILE) or not self.here.mapping else MAPPING
        for index, slot in enumerate(self.here.array(self.state, array)[:MOST_CELLS]):
            if not isinstance(slot, Mapping):
                continue
            page = slot.get("folio")
            words = [f"page {shown_link(page)}"] if page is not None else []
            words += [f"disk {shown_link(slot['content'])}"] if "content" in slot else []
            words += [f"expects {shown_link(slot['expected'])}"] if "expected" in slot else []
            words += self._remembered(slot)
            yield Cell("file", 0, index, f"file {index}", self.here.where(array, index), number_at(page, self.count),
                       None, " ".join(words))

    def _remembered(self, slot: Record) -> list[str]:
        """The page that is being written to a block, and what is remembered of one that was reclaimed."""
        words = [f"writing page {shown_link(slot['io'])}"] if slot.get("io") is not None else []
        return words + ([f"shadow {value_text(slot['shadow'], 16)}"] if slot.get("shadow") is not None else [])

    def _folio(self, page: int) -> FolioView:
        folio = self.folios[page]
        use = self.uses[page] if page < len(self.uses) else None
        users = tuple(self.mapped.get(page, ()))
        mapcount = folio.get("mapcount")
        lists = self.listed.get(page, [])
        odd = [f"on {' and '.join(map(list_name, lists))}"] if len(lists) > 1 else []
        odd += dict.fromkeys(self.odd.get(page, ()))
        if self.here.array(self.state, MM) and mapcount != len(users):
            odd.append(f"mapcount {shown_link(mapcount)}, mapped by {len(users)}")
        flags = [FLAGS[flag] for flag in FLAGS if folio.get(flag) is True]
        if not self._in_use(page):
            still = ["on a list or in a batch"] * (page in self.somewhere) + [words for _, words in flags]
            odd += [f"not in use, but {', '.join(still)}"] if still else []
        notes = [f"holds {value_text(use.get('content'), 8)}"] if isinstance(use, Mapping) else []
        notes += [name if value is True else f"{name} {value_text(value, 8)}" for name in NOTES
                  if (value := _at(find(self.state, self.here.path(name)), page)) not in (None, False, 0)]
        anon, in_use = folio.get("swapbacked") is True, self._in_use(page)
        letters = "".join(letter for letter, _ in flags)
        return FolioView(
            page, anon, in_use, letters, folio.get("refcount"), mapcount, " ".join(notes), users, tuple(odd)
        )


def _at(array: Plain, index: int) -> Plain:
    """An element, or None if there is none."""
    return array[index] if isinstance(array, list | tuple) and index < len(array) else None
