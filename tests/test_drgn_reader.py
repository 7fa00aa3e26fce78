"""Taking a state with drgn, on a stand-in for drgn's program that serves the structures of a recorded state.

The stand-in has the members that the walk reads, as objects: it shows that the walk puts together what a state is made
of, not that a kernel's structures have these names; drgn and a kernel are not needed here. That they have is shown by a
state that drgn took from a dump of a real kernel (data/snapshots/drgn).
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kmemspec.cli import main
from kmemspec.specs.recorded.states import read_state
from kmemspec.specs.snapshot.drgn_reader import (
    PAGE_TYPE_BASE,
    PAGEBLOCK_BITS,
    PAGES_PER_SECTION,
    PG_BUDDY,
    KernelReader,
    Tools,
    drgn_tools,
)
from kmemspec.specs.snapshot.state_check import check_state_file
from kmemspec.specs.snapshot.texts import read_buddyinfo, read_slabinfo

RECORDINGS = Path(__file__).parent / "data" / "recordings"
TAKEN = Path(__file__).parent / "data" / "snapshots" / "drgn"
RANDOM = 0x5DEECE66D1234567
Data = dict[str, Any]


class Struct:
    """A structure, or a pointer to one: members as attributes, elements as items; its address as a number."""

    def __init__(self, address: int = 0, **members: Any) -> None:
        self.at = address
        self.__dict__.update(members)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    def __int__(self) -> int:
        return self.at

    def member_(self, name: str) -> Any:
        return self.__dict__[name]

    def address_of_(self) -> Struct:
        return self


class Head(Struct):
    """A list_head: through which member of which structures it leads."""

    def __init__(self, type_: str, member: str, entries: list[Any]) -> None:
        super().__init__()
        self.entries = (type_, member, entries)


class Text:
    def __init__(self, text: str) -> None:
        self.text = text

    def string_(self) -> bytes:
        return self.text.encode()


class Pointers(list[Any]):
    """An array behind a pointer."""

    def __int__(self) -> int:
        return 1


def counter(value: int) -> Struct:
    return Struct(counter=value)


class Program:
    """What the walk asks drgn's Program for, of one recorded state."""

    def __init__(self, state: Data, cgroups: bool = False) -> None:
        self.state, self.cgroups = state, cgroups
        self.base = int(state["page_offset_base"], 16)
        self.words: dict[int, int] = {}
        self.pages = [self._page(pfn) for pfn in range(state["max_pfn"] + 1)]
        self.slabs: dict[int, Struct] = {}
        self._flag_pages()
        self.caches = [self._cache(cache) for cache in state["caches"]]
        self.variables = self._variables()

    def __getitem__(self, name: str) -> Any:
        return self.variables[name]

    def read_u64(self, address: int) -> int:
        return self.words[address]

    def type(self, name: str) -> Any:
        state, enums = self.state, {
            "enum pageflags": {f"PG_{name}": value for name, value in self.state["pageflags"].items()},
            "enum migratetype": self.state["migratetypes"],
        }
        enums["enum pageflags"]["__NR_PAGEFLAGS"] = 24
        for enum, names in (
            ("enum zone_stat_item", state["zones"][0]["vm_stat"]), ("enum node_stat_item", state["node_vm_stat"]),
            ("enum vm_event_item", state["vm_events"]),
        ):  # fmt: skip
            enums[enum] = {name: number for number, name in enumerate([*names, "NR_ITEMS"])}
        return Struct(enumerators=list(enums.get(name, {}).items()), size=32, offsets=state["slab_offsets"])

    # --- pages

    def _page(self, pfn: int) -> Struct:
        return Struct(pfn + 1, pfn=pfn, flags=0, page_type=0xFFFFFFFF, compound_head=0, private=0,
                      compound_order=0, _refcount=counter(0))  # fmt: skip

    def _flag(self, pfn: int, name: str) -> None:
        self.pages[pfn].flags |= 1 << self.state["pageflags"][name]

    def _flag_pages(self) -> None:
        order_of = {int(pfn): slab["order"] for cache in self.state["caches"] for pfn, slab in cache["slabs"].items()}
        for first, count, what, detail in self.state["pages_rle"]:
            for pfn in range(first, first + count):
                page = self.pages[pfn]
                if what == "buddy" and detail >= 0:
                    page.page_type, page.private = PAGE_TYPE_BASE | (0x0FFFFFFF & ~PG_BUDDY), detail
                elif what in ("used", "lru", "reserved", "head"):
                    page._refcount.counter = 1
                if what in ("reserved", "lru"):
                    self._flag(pfn, what)
                if what == "head":
                    self._flag(pfn, "head")
                    self.pages[pfn + 1].compound_order = detail
                if what == "tail":
                    page.compound_head = 1
        for pfn, order in order_of.items():
            self._flag(pfn, "slab")
            if order:
                self._flag(pfn, "head")
                self.pages[pfn + 1].compound_order = order
        for pfn in self.state["lru"]["LRU_UNEVICTABLE"]:
            self._flag(pfn, "unevictable")

    def on_list(self, member: str, pfns: list[int]) -> Head:
        return Head("struct page", member, [self.pages[pfn] for pfn in pfns])

    def pageblock_words(self) -> list[int]:
        words = [0] * 64
        for block, kind in enumerate(self.state["pageblock_migratetype"]):
            words[block * PAGEBLOCK_BITS // 64] |= kind << block * PAGEBLOCK_BITS % 64
        return words

    # --- caches

    def _cache(self, cache: Data) -> Struct:
        address = int(cache["addr"], 16)
        made = Struct(address, name=Text(cache["name"]), flags=int(cache["flags"], 16), random=RANDOM,
                      ctor=int(cache["ctor"]), oo=Struct(x=cache["oo"][0] << 16 | cache["oo"][1]),
                      min=Struct(x=cache["min"][0] << 16 | cache["min"][1]))  # fmt: skip
        for name in ("size", "object_size", "offset", "align", "inuse", "refcount", "min_partial", "cpu_partial",
                     "cpu_partial_slabs", "red_left_pad"):  # fmt: skip
            setattr(made, name, cache[name])
        made.random_seq = Pointers(number * cache["size"] for number in cache["random_seq"])
        for pfn, slab in cache["slabs"].items():
            freelist = self._freelist(cache, int(pfn), slab["free"])
            counts = {name: slab[name] for name in ("inuse", "objects", "frozen")}
            known = {"pfn": int(pfn), "slab_cache": address, "freelist": freelist, **counts}
            self.slabs[int(pfn)] = Struct(int(pfn) + 1, **known)
        made.cpu_slab = [self._cpu_slab(cache, cpu) for cpu in cache["cpu"].values()]
        node = cache["node"]
        partial = Head("struct slab", "slab_list", [self.slabs[pfn] for pfn in node["partial"]])
        made.node = [Struct(nr_partial=node["nr_partial"], nr_slabs=counter(node["nr_slabs"]), partial=partial,
                            total_objects=counter(node["total_objects"]))]  # fmt: skip
        return made

    def _cpu_slab(self, cache: Data, cpu: Data) -> Struct:
        slab: Struct = Struct() if cpu["slab"] is None else self.slabs[cpu["slab"]]
        freelist = 0 if cpu["slab"] is None else self._freelist(cache, cpu["slab"], cpu["free"])
        following = Struct()
        for pfn in reversed(cpu["partial"]):
            self.slabs[pfn].next = following
            following = self.slabs[pfn]
        return Struct(tid=cpu["tid"], slab=slab, freelist=freelist, partial=following)

    def _freelist(self, cache: Data, pfn: int, slots: list[int]) -> int:
        """Free pointers as CONFIG_SLAB_FREELIST_HARDENED writes them; the first object."""
        following = 0
        for slot in reversed(slots):
            address = self.base + (pfn << 12) + cache["red_left_pad"] + slot * cache["size"]
            place = address + cache["offset"]
            self.words[place] = following ^ RANDOM ^ int.from_bytes(place.to_bytes(8, "little"), "big")
            following = address
        return following

    # --- variables

    def _zone(self, zone: Data) -> Struct:
        areas = [
            Struct(nr_free=area["nr_free"], free_list=[self.on_list("buddy_list", pfns) for pfns in area["lists"]])
            for area in zone["free_area"]
        ]
        pcp = [
            Struct(count=one["count"], high=one["high"], batch=one["batch"],
                   lists=[self.on_list("pcp_list", pfns) for pfns in one["lists"]])
            for one in zone["pcp"].values()
        ]  # fmt: skip
        return Struct(
            name=Text(zone["name"]), zone_start_pfn=zone["start_pfn"], spanned_pages=zone["spanned"],
            present_pages=zone["present"], managed_pages=counter(zone["managed"]), _watermark=zone["watermark"],
            watermark_boost=zone["watermark_boost"], lowmem_reserve=zone["lowmem_reserve"],
            nr_reserved_highatomic=zone["nr_reserved_highatomic"], free_area=areas, per_cpu_pageset=pcp,
            vm_stat=[counter(value) for value in zone["vm_stat"].values()],
            per_cpu_zonestats=[Struct(vm_stat_diff=one["vm_stat_diff"]) for one in zone["pcp"].values()],
        )  # fmt: skip

    def _batch(self, pfns: list[int]) -> Struct:
        return Struct(nr=len(pfns), folios=[Struct(page=self.pages[pfn]) for pfn in pfns])

    def _variables(self) -> Data:
        state = self.state
        lruvec = self._lruvec(slice(0) if self.cgroups else slice(None), not self.cgroups)
        node = Struct(node_zones=[*map(self._zone, state["zones"]), Struct(present_pages=0)], __lruvec=lruvec,
                      nr_zones=len(state["zones"]) + 1,
                      vm_stat=[counter(value) for value in state["node_vm_stat"].values()])  # fmt: skip
        buffers = [
            Struct(entries=Struct(a=counter(one["entries"] + one["overrun"] + 5)), read=5,
                   overrun=Struct(a=counter(one["overrun"])))
            for one in state["trace_entries"].values()
        ]  # fmt: skip
        buffer = Struct(buffers=buffers, record_disabled=counter(0 if state["tracing_on"] else 1))
        section = Struct(section_mem_map=3, usage=Struct(pageblock_flags=self.pageblock_words()))
        batches = [{name: self._batch(pfns) for name, pfns in one.items()} for one in state["lru_batches"].values()]
        events = list(state["vm_events"].values())
        first = state["cpus"][0]
        return {
            "max_pfn": state["max_pfn"], "page_offset_base": self.base, "node_data": [node],
            "vmemmap_base": int(state["vmemmap_base"], 16), "saved_command_line": Text(state["cmdline"]),
            "init_uts_ns": Struct(name=Struct(release=Text(state["release"]))),
            "global_trace": Struct(array_buffer=Struct(buffer=buffer)),
            "mem_section": [[section] * (2 + state["max_pfn"] // PAGES_PER_SECTION)],
            "cpu_fbatches": [Struct(0, **one) for one in batches],
            "lru_rotate": [Struct(fbatch=one["lru_rotate"]) for one in batches],
            "vm_event_states": [Struct(event=events if cpu == first else [0] * len(events)) for cpu in state["cpus"]],
            "slab_caches": Head("struct kmem_cache", "list", self.caches),
            "lru_gen_caps": [Struct(key=Struct(enabled=counter(int(state["lrugen_enabled"]))))],
            **({"root_mem_cgroup": self._cgroups()} if self.cgroups else {}),
        }  # fmt: skip

    def _lruvec(self, part: slice, costs: bool) -> Struct:
        """Some of the pages of each list."""
        lists = [self.on_list("lru", pfns[part]) for pfns in self.state["lru"].values()]
        anon, file = self.state["lru_total_cost"] if costs else (0, 0)
        return Struct(lists=lists, anon_cost=anon, file_cost=file)

    def _cgroups(self) -> Struct:
        """The first page of each list is the root's, the next three are of a group in a group in it, and the rest of
        that group's neighbour."""

        def group(part: slice, costs: bool, *below: Struct) -> Struct:
            children = Head("struct cgroup_subsys_state", "sibling", list(below))
            return Struct(1, css=Struct(children=children), nodeinfo=[Struct(lruvec=self._lruvec(part, costs))])

        inner = group(slice(1, 4), False)
        return group(slice(1), False, group(slice(4, None), True), group(slice(0), False, inner))


def tools(prog: Program) -> Tools:
    def entries(type_: str, head: Head, member: str) -> Iterator[Any]:
        known_type, known_member, found = head.entries
        assert (type_, member) == (known_type, known_member)
        yield from found

    def cast(type_: str, pointer: Struct) -> Struct:
        if type_ == "struct mem_cgroup *":
            return pointer
        return prog.slabs[pointer.pfn] if type_ == "struct slab *" else prog.pages[pointer.pfn]

    class Page:
        """A pointer to a page, and the page behind it."""

        def __init__(self, page: Struct, after: Struct) -> None:
            self.page, self.after = page, after

        def __getattr__(self, name: str) -> Any:
            return getattr(self.page, name)

        def __getitem__(self, index: int) -> Struct:
            return (self.page, self.after)[index]

    pick: Callable[[Any, int], Any] = lambda each, cpu: each[prog.state["cpus"].index(cpu)]  # noqa: E731
    return Tools(
        entries, pick, pick, lambda _, pfn: Page(prog.pages[pfn], prog.pages[min(pfn + 1, len(prog.pages) - 1)]),
        lambda page: page.pfn, lambda _: prog.state["cpus"], cast, lambda type_, name: type_.offsets[name],
    )  # fmt: skip


@pytest.mark.parametrize("name", ["mid2/state_B", "drv1/state_A"])
def test_what_is_taken_is_what_was_recorded(name: str) -> None:
    recorded = json.loads(gzip.decompress((RECORDINGS / f"{name}.json.gz").read_bytes()))
    prog = Program(recorded)
    taken = KernelReader(prog, tools(prog)).state()
    del recorded["seconds"]  # how long the recording took
    for part, value in recorded.items():
        assert taken[part] == value, part
    assert taken.keys() == recorded.keys()


def test_folios_are_on_the_lists_of_their_memory_cgroups() -> None:
    recorded = json.loads(gzip.decompress((RECORDINGS / "mid2" / "state_B.json.gz").read_bytes()))
    prog = Program(recorded, cgroups=True)
    taken = KernelReader(prog, tools(prog)).state()
    assert taken["lru"] == recorded["lru"]
    assert max(len(pfns) for pfns in taken["lru"].values()) > 4
    assert taken["lru_total_cost"] == recorded["lru_total_cost"]


@pytest.mark.slow
def test_nothing_is_broken_in_a_state_that_drgn_took_from_a_real_kernel() -> None:
    found = check_state_file(TAKEN / "state.json.gz")
    assert [answer.identifier for answer in found.answers if answer.broken] == []
    checked = {answer.identifier: answer.checked for answer in found.answers}
    assert checked["B4"] > 50_000
    assert checked["S3"] > 100_000


def test_a_state_that_drgn_took_has_what_the_kernel_said_a_moment_before() -> None:
    state = read_state(TAKEN / "state.json.gz")
    caches = {cache.name: cache for cache in state.caches}
    texts = read_slabinfo("slabinfo", (TAKEN / "slabinfo").read_bytes())
    assert [one.name for one in texts if one.name not in caches] == []
    equal = [
        one.name
        for one in texts
        if (one.num_slabs, one.num_objs) == (caches[one.name].nr_slabs, caches[one.name].total_objects)
    ]
    assert len(equal) >= len(texts) - 2
    for one in texts:
        assert (one.pagesperslab, one.objperslab) == (1 << caches[one.name].oo[0], caches[one.name].oo[1])
    buddyinfo = read_buddyinfo("buddyinfo", (TAKEN / "buddyinfo").read_bytes())
    for zone, counts in zip(state.zones, buddyinfo.values(), strict=True):
        assert counts == zone.nr_free
    lists = json.loads(gzip.decompress((TAKEN / "state.json.gz").read_bytes()))["lru"]
    assert len(lists["LRU_INACTIVE_ANON"]) > 4000


def test_what_a_corrupt_kernel_has_is_taken_as_it_is() -> None:
    """A freelist that leads round in a circle ends; so does a list of pages."""
    recorded = json.loads(gzip.decompress((RECORDINGS / "drv1" / "state_A.json.gz").read_bytes()))
    prog = Program(recorded)
    cache = next(one for one in recorded["caches"] if any(len(slab["free"]) > 2 for slab in one["slabs"].values()))
    pfn, slab = next((pfn, slab) for pfn, slab in cache["slabs"].items() if len(slab["free"]) > 2)
    last = prog.base + (int(pfn) << 12) + slab["free"][-1] * cache["size"] + cache["offset"]
    prog.words[last] ^= prog.slabs[int(pfn)].freelist
    taken = KernelReader(prog, tools(prog)).state()
    found = next(one for one in taken["caches"] if one["addr"] == cache["addr"])["slabs"][pfn]["free"]
    assert found[: len(slab["free"]) + 1] == [*slab["free"], slab["free"][0]]
    assert len(found) == slab["objects"] + 1


def test_drgn_has_what_is_used_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("drgn")
    drgn_tools()
    (tmp_path / "vmcore").write_bytes(b"no core")
    arguments = ["snapshot", "take", "--vmcore", str(tmp_path / "vmcore"), "-o", str(tmp_path / "state.json.gz")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "drgn cannot open" in error
    assert error.count("\n") == 1


def test_without_drgn_it_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "drgn", None)
    assert main(["snapshot", "take", "-o", str(tmp_path / "state.json.gz")]) == 2
    error = capsys.readouterr().err
    assert "drgn is not installed; pip install 'kmemspec[drgn]'" in error
    assert error.count("\n") == 1
