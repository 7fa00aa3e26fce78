"""A state of the allocator out of a live kernel or a crash dump, read with drgn (Linux 6.1; optional extra `drgn`).

The one idea: the walk below is over the structures by their names in Linux 6.1, with drgn's own helpers for lists,
per-CPU variables and page frames; what comes out is the file that specs/recorded/states.py reads. drgn is imported only
when a state is taken.

What the tests run is the walk, on a stand-in for drgn's program that serves the structures of a recorded state: taking
a state from it gives that state back. A state that was taken from a dump of a real kernel is among their data.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ...model.lang.errors import InputError
from ..recorded.lru_states import BATCHES, LISTS
from ..recorded.states import FORMAT, FRAMES_MAX
from .places import pcp_order

CGROUPS_MAX = 1 << 16
COSTS = ("anon_cost", "file_cost")
PAGE_SHIFT = 12
PAGEBLOCK_ORDER = 9
PAGEBLOCK_BITS, MIGRATETYPE_MASK = 4, 7
PAGES_PER_SECTION = 1 << 15
SECTION_HAS_MEM_MAP = 2
ROOT_BYTES = 4096
PAGE_TYPE_BASE, PG_BUDDY = 0xF0000000, 0x80
"""include/linux/page-flags.h of 6.1: a page with this bit cleared under the base is PageBuddy."""
ALL_ONES = (1 << 64) - 1
SLAB_FIELDS = ("slab_list", "slab_cache", "freelist", "counters", "next")
INSTALL = "pip install 'kmemspec[drgn]'"


@dataclass(frozen=True)
class Tools:
    """What is used of drgn besides its program."""

    list_for_each_entry: Callable[[str, Any, str], Iterable[Any]]
    per_cpu: Callable[[Any, int], Any]
    per_cpu_ptr: Callable[[Any, int], Any]
    pfn_to_page: Callable[[Any, int], Any]
    page_to_pfn: Callable[[Any], Any]
    for_each_online_cpu: Callable[[Any], Iterable[int]]
    cast: Callable[[str, Any], Any]
    offsetof: Callable[[Any, str], int]


def drgn_tools() -> Tools:
    """drgn's own; raises InputError without drgn."""
    try:
        from drgn import cast, offsetof  # type: ignore[import-not-found, unused-ignore]
        from drgn.helpers.linux.cpumask import for_each_online_cpu  # type: ignore[import-not-found, unused-ignore]
        from drgn.helpers.linux.list import list_for_each_entry  # type: ignore[import-not-found, unused-ignore]
        from drgn.helpers.linux.mm import page_to_pfn, pfn_to_page  # type: ignore[import-not-found, unused-ignore]
        from drgn.helpers.linux.percpu import per_cpu, per_cpu_ptr  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise InputError("drgn is not installed", INSTALL) from None
    return Tools(
        list_for_each_entry, per_cpu, per_cpu_ptr, pfn_to_page, page_to_pfn, for_each_online_cpu, cast, offsetof
    )


def take(vmcore: str | None, vmlinux: str | None) -> bytes:
    """The state of a crash dump, or of the running kernel, as a file state.json.gz; raises InputError."""
    tools = drgn_tools()
    import drgn  # type: ignore[import-not-found, unused-ignore]

    prog = drgn.Program()
    try:
        if vmcore is None:
            prog.set_kernel()
        else:
            prog.set_core_dump(vmcore)
        if vmlinux is None:
            prog.load_default_debug_info()
        else:
            prog.load_debug_info([vmlinux])
    except (OSError, ValueError, drgn.MissingDebugInfoError) as error:
        said = " ".join(str(error).split())[:300]
        remedy = "live kernels need root and debug information; give --vmcore FILE and --vmlinux FILE"
        raise InputError(f"drgn cannot open {vmcore or 'the running kernel'}: {said}", remedy) from None
    try:
        state = KernelReader(prog, tools).state()
    except (LookupError, AttributeError, TypeError, ValueError, drgn.FaultError) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        message = f"the kernel's structures are not those of Linux 6.1: {said}"
        raise InputError(message, "take a state from Linux 6.1") from None
    return gzip.compress(json.dumps(state).encode(), mtime=0)


def _numbers(array: Any) -> list[int]:
    return [int(array[number]) for number in range(len(array))]


class KernelReader:
    """Reads the structures of one kernel through `prog`, which is drgn's Program or stands in for it."""

    def __init__(self, prog: Any, tools: Tools) -> None:
        self.prog, self.tools = prog, tools
        self.cpus = list(tools.for_each_online_cpu(prog))
        self.max_pfn = int(prog["max_pfn"])
        if not 0 < self.max_pfn <= FRAMES_MAX:
            raise InputError(f"the kernel has {self.max_pfn} page frames", f"states have at most {FRAMES_MAX}")
        self.page_offset_base = int(prog["page_offset_base"])
        self.node = prog["node_data"][0]
        self.lruvecs = self._lruvecs()
        self.sections: dict[int, Any] = {}
        flags = self._enumerators("enum pageflags")
        self.bits = {name.removeprefix("PG_"): value for name, value in flags if name.startswith("PG_")}

    def state(self) -> dict[str, Any]:
        """The whole state, as the file has it."""
        prog = self.prog
        zones = [self._zone(zone) for zone in self._zones()]
        lru = {name: self._lru_list(number) for number, name in enumerate(LISTS)}
        slab_pages = self._slab_pages()
        caches = [self._cache(cache, slab_pages) for cache in self._caches()]
        return {
            "format": FORMAT,
            "release": self._text(prog["init_uts_ns"].name.release),
            "cmdline": self._text(prog["saved_command_line"]),
            "cpus": self.cpus,
            "vmemmap_base": hex(int(prog["vmemmap_base"])),
            "page_offset_base": hex(self.page_offset_base),
            "max_pfn": self.max_pfn,
            "trace_entries": {str(cpu): self._trace_entries(cpu) for cpu in self.cpus},
            "tracing_on": int(prog["global_trace"].array_buffer.buffer.record_disabled.counter) == 0,
            "pageflags": self.bits,
            "migratetypes": dict(self._enumerators("enum migratetype")),
            "zones": zones,
            "pageblock_migratetype": [
                self._pageblock(block) for block in range(-(-self.max_pfn >> PAGEBLOCK_ORDER))
            ],
            "lru": lru,
            "lru_total_cost": [sum(int(getattr(one, cost)) for one in self.lruvecs) for cost in COSTS],
            "lrugen_enabled": self._generational(),
            "lru_batches": {str(cpu): self._batches(cpu) for cpu in self.cpus},
            "node_vm_stat": self._counters("enum node_stat_item", self.node.vm_stat),
            "vm_events": self._vm_events(),
            "slab_offsets": {name: self.tools.offsetof(prog.type("struct slab"), name) for name in SLAB_FIELDS},
            "caches": caches,
            "pages_rle": self._runs(zones, lru, slab_pages),
        }  # fmt: skip

    # --- small things

    def _text(self, value: Any) -> str:
        text: str = value.string_().decode("utf-8", "replace")
        return text

    def _enumerators(self, name: str) -> list[tuple[str, int]]:
        return [(str(item[0]), int(item[1])) for item in self.prog.type(name).enumerators]

    def _counters(self, names: str, array: Any) -> dict[str, int]:
        """Counters by the names of an enum, whose last member counts them."""
        return {name: int(array[value].counter) for name, value in self._enumerators(names)[:-1]}

    def _pfn(self, page: Any) -> int:
        return int(self.tools.page_to_pfn(page))

    def _pages_on(self, head: Any, member: str) -> list[int]:
        """The page frames of a list; of one that leads round in a circle no more than there are frames."""
        entries = self.tools.list_for_each_entry("struct page", head.address_of_(), member)
        return [self._pfn(page) for page in islice(entries, self.max_pfn + 1)]

    def _lists(self, heads: Any, member: str) -> list[list[int]]:
        return [self._pages_on(heads[number], member) for number in range(len(heads))]

    def _trace_entries(self, cpu: int) -> dict[str, int]:
        buffer = self.prog["global_trace"].array_buffer.buffer.buffers[cpu]
        overrun, read = int(buffer.overrun.a.counter), int(buffer.read)
        return {"entries": int(buffer.entries.a.counter) - overrun - read, "overrun": overrun}

    # --- zones

    def _zones(self) -> Iterator[Any]:
        for number in range(int(self.node.nr_zones)):
            zone = self.node.node_zones[number]
            if int(zone.present_pages):
                yield zone

    def _zone(self, zone: Any) -> dict[str, Any]:
        marks, areas = zone.member_("_watermark"), zone.free_area
        return {
            "name": self._text(zone.name),
            "start_pfn": int(zone.zone_start_pfn),
            "spanned": int(zone.spanned_pages),
            "present": int(zone.present_pages),
            "managed": int(zone.managed_pages.counter),
            "watermark": _numbers(marks),
            "watermark_boost": int(zone.watermark_boost),
            "lowmem_reserve": _numbers(zone.lowmem_reserve),
            "nr_reserved_highatomic": int(zone.nr_reserved_highatomic),
            "vm_stat": self._counters("enum zone_stat_item", zone.vm_stat),
            "free_area": [
                {"nr_free": int(area.nr_free), "lists": self._lists(area.free_list, "buddy_list")}
                for area in (areas[order] for order in range(len(areas)))
            ],
            "pcp": {str(cpu): self._pcp(zone, cpu) for cpu in self.cpus},
        }

    def _pcp(self, zone: Any, cpu: int) -> dict[str, Any]:
        pcp = self.tools.per_cpu_ptr(zone.per_cpu_pageset, cpu)
        stats = self.tools.per_cpu_ptr(zone.per_cpu_zonestats, cpu)
        return {
            "count": int(pcp.count),
            "high": int(pcp.high),
            "batch": int(pcp.batch),
            "lists": self._lists(pcp.lists, "pcp_list"),
            "vm_stat_diff": _numbers(stats.vm_stat_diff),
        }

    def _pageblock(self, block: int) -> int:
        """get_pfnblock_flags_mask() with CONFIG_SPARSEMEM_EXTREME."""
        pfn = block << PAGEBLOCK_ORDER
        section = self._section(pfn // PAGES_PER_SECTION)
        if section is None:
            return 0
        word, bit = divmod((pfn % PAGES_PER_SECTION >> PAGEBLOCK_ORDER) * PAGEBLOCK_BITS, 64)
        return int(section.usage.pageblock_flags[word]) >> bit & MIGRATETYPE_MASK

    def _section(self, number: int) -> Any:
        """A section of memory that has struct pages, or None (__nr_to_section(), valid_section())."""
        if number not in self.sections:
            per_root = ROOT_BYTES // int(self.prog.type("struct mem_section").size)
            root = self.prog["mem_section"][number // per_root]
            section = root[number % per_root] if root else None
            valid = section is not None and int(section.section_mem_map) & SECTION_HAS_MEM_MAP
            self.sections[number] = section if valid else None
        return self.sections[number]

    # --- the LRU

    def _lruvecs(self) -> list[Any]:
        """The node's lists, and those of each memory cgroup, which have all of its folios unless cgroups of memory are
        switched off (folio_lruvec()): the root's, and of all below it."""
        found = [self.node.member_("__lruvec")]  # a name that Python would mangle
        try:
            waiting = [self.prog["root_mem_cgroup"]]
        except LookupError:
            return found  # built without CONFIG_MEMCG
        while waiting and len(found) <= CGROUPS_MAX:
            group = waiting.pop()
            if not int(group):
                continue
            found.append(group.nodeinfo[0].lruvec)
            head = group.css.children.address_of_()
            below = self.tools.list_for_each_entry("struct cgroup_subsys_state", head, "sibling")
            # What a group has of each controller is the first member of what the controller keeps of it.
            waiting += [self.tools.cast("struct mem_cgroup *", css) for css in islice(below, CGROUPS_MAX)]
        return found

    def _lru_list(self, number: int) -> list[int]:
        if LISTS[number] == "LRU_UNEVICTABLE":  # it has no links: its pages are found by their flags
            return [pfn for pfn in range(self.max_pfn) if self._is_unevictable(pfn)]
        return [pfn for lruvec in self.lruvecs for pfn in self._pages_on(lruvec.lists[number], "lru")]

    def _is_unevictable(self, pfn: int) -> bool:
        flags = self._flags(pfn)
        return flags >> self.bits["lru"] & flags >> self.bits["unevictable"] & 1 == 1

    def _generational(self) -> bool:
        try:
            return int(self.prog["lru_gen_caps"][0].key.enabled.counter) > 0
        except LookupError:
            return False  # built without CONFIG_LRU_GEN

    def _batches(self, cpu: int) -> dict[str, list[int]]:
        pvecs = self.tools.per_cpu(self.prog["cpu_fbatches"], cpu)
        rotate = self.tools.per_cpu(self.prog["lru_rotate"], cpu).fbatch
        batches = {name: rotate if name == "lru_rotate" else getattr(pvecs, name) for name in BATCHES}
        return {name: self._batch(batch) for name, batch in batches.items()}

    def _batch(self, batch: Any) -> list[int]:
        folios = [batch.folios[slot] for slot in range(min(int(batch.nr), 31))]
        return [self._pfn(folio.page.address_of_()) for folio in folios]

    def _vm_events(self) -> dict[str, int]:
        states = [self.tools.per_cpu(self.prog["vm_event_states"], cpu) for cpu in self.cpus]
        names = self._enumerators("enum vm_event_item")[:-1]
        return {name: sum(int(state.event[value]) for state in states) & ALL_ONES for name, value in names}

    # --- caches

    def _caches(self) -> Iterable[Any]:
        head = self.prog["slab_caches"].address_of_()
        return islice(self.tools.list_for_each_entry("struct kmem_cache", head, "list"), 10_000)

    def _slab_pages(self) -> dict[int, int]:
        """The head page of each slab, with the address of its cache."""
        found: dict[int, int] = {}
        for pfn in range(self.max_pfn):
            if self._flags(pfn) >> self.bits["slab"] & 1:
                page = self.tools.pfn_to_page(self.prog, pfn)
                found[pfn] = int(self.tools.cast("struct slab *", page).slab_cache)
        return found

    def _slab_at(self, pfn: int) -> Any:
        return self.tools.cast("struct slab *", self.tools.pfn_to_page(self.prog, pfn))

    def _cache(self, cache: Any, slab_pages: Mapping[int, int]) -> dict[str, Any]:
        size, address = int(cache.size), int(cache)
        node = cache.node[0]
        partial = self.tools.list_for_each_entry("struct slab", node.partial.address_of_(), "slab_list")
        oo, least = int(cache.oo.x), int(cache.min.x)
        sequence = cache.random_seq
        return {
            "name": self._text(cache.name),
            "addr": hex(address),
            "size": size,
            **{name: int(getattr(cache, name)) for name in ("object_size", "offset", "align", "inuse")},
            "flags": hex(int(cache.flags)),
            "refcount": int(cache.refcount),
            **{name: int(getattr(cache, name)) for name in ("min_partial", "cpu_partial", "cpu_partial_slabs")},
            "oo": [oo >> 16, oo & 0xFFFF],
            "min": [least >> 16, least & 0xFFFF],
            "ctor": int(cache.ctor) != 0,
            "red_left_pad": int(cache.red_left_pad),
            "slabs": {str(pfn): self._slab(cache, pfn) for pfn, owner in slab_pages.items() if owner == address},
            "cpu": {str(cpu): self._cpu_slab(cache, cpu) for cpu in self.cpus},
            "node": {
                "nr_partial": int(node.nr_partial),
                "nr_slabs": int(node.nr_slabs.counter),
                "total_objects": int(node.total_objects.counter),
                "partial": [self._slab_pfn(slab) for slab in islice(partial, self.max_pfn + 1)],
            },
            # The kernel has multiplied each number by the size of an object (init_cache_random_seq()).
            "random_seq": [int(sequence[n]) // size for n in range(oo & 0xFFFF)] if int(sequence) else [],
        }

    def _slab_pfn(self, slab: Any) -> int:
        return self._pfn(self.tools.cast("struct page *", slab))

    def _slab(self, cache: Any, pfn: int) -> dict[str, Any]:
        slab = self._slab_at(pfn)
        return {
            "order": self._order(pfn),
            "inuse": int(slab.inuse),
            "objects": int(slab.objects),
            "frozen": int(slab.frozen),
            "free": self._freelist(cache, pfn, int(slab.freelist), int(slab.objects)),
        }

    def _cpu_slab(self, cache: Any, cpu: int) -> dict[str, Any]:
        c = self.tools.per_cpu_ptr(cache.cpu_slab, cpu)
        pfn = self._slab_pfn(c.slab) if int(c.slab) else None
        free = [] if pfn is None else self._freelist(cache, pfn, int(c.freelist), int(self._slab_at(pfn).objects))
        partial: list[int] = []
        slab = c.partial
        while int(slab) and len(partial) <= self.max_pfn:
            partial.append(self._slab_pfn(slab))
            slab = slab.next
        return {"tid": int(c.tid), "slab": pfn, "free": free, "partial": partial}

    def _freelist(self, cache: Any, pfn: int, object_: int, most: int) -> list[int]:
        """The objects of a freelist by their numbers (get_freepointer(), freelist_ptr())."""
        start = self.page_offset_base + (pfn << PAGE_SHIFT) + int(cache.red_left_pad)
        try:
            random = int(cache.random)
        except (AttributeError, LookupError):
            random = None  # built without CONFIG_SLAB_FREELIST_HARDENED
        found: list[int] = []
        while object_ and len(found) <= most:
            found.append((object_ - start) // int(cache.size))
            place = object_ + int(cache.offset)
            object_ = int(self.prog.read_u64(place))
            if random is not None:
                object_ ^= random ^ int.from_bytes(place.to_bytes(8, "little"), "big")
        return found

    # --- frames

    def _flags(self, pfn: int) -> int:
        if self._section(pfn // PAGES_PER_SECTION) is None:
            return 0
        return int(self.tools.pfn_to_page(self.prog, pfn).flags)

    def _order(self, pfn: int) -> int:
        """compound_order()."""
        page = self.tools.pfn_to_page(self.prog, pfn)
        return int(page[1].compound_order) if int(page.flags) >> self.bits["head"] & 1 else 0

    def _runs(
        self, zones: Sequence[Mapping[str, Any]], lru: Mapping[str, Sequence[int]], slab_pages: Mapping[int, int]
    ) -> list[list[Any]]:
        """What each frame is used for, in runs; a free block always begins a run."""
        known: dict[int, tuple[str, int | str]] = {}
        for zone in zones:
            for cpu, pcp in zone["pcp"].items():
                for pindex, pages in enumerate(pcp["lists"]):
                    tails = range(1 << pcp_order(pindex))
                    known.update(dict.fromkeys((pfn + tail for pfn in pages for tail in tails), ("pcp", int(cpu))))
        known.update({pfn: ("lru", name) for name, pages in lru.items() for pfn in pages})
        names = {int(cache): self._text(cache.name) for cache in self._caches()}
        for pfn, owner in slab_pages.items():
            frames = range(pfn, pfn + (1 << self._order(pfn)))
            known.update(dict.fromkeys(frames, ("slab", names.get(owner, "?"))))
        runs: list[list[Any]] = []
        free_until = 0
        for pfn in range(self.max_pfn):
            what = ("buddy", -1) if pfn < free_until else known.get(pfn) or self._class_of(pfn)
            begins = what[0] == "buddy" and what[1] != -1
            if begins:
                free_until = pfn + (1 << int(what[1]))
            if runs and runs[-1][2:] == [*what] and not begins:
                runs[-1][1] += 1
            else:
                runs.append([pfn, 1, *what])
        return runs

    def _class_of(self, pfn: int) -> tuple[str, int | str]:
        if self._section(pfn // PAGES_PER_SECTION) is None:
            return "absent", 0
        page = self.tools.pfn_to_page(self.prog, pfn)
        flags, kind = int(page.flags), int(page.page_type) & 0xFFFFFFFF
        if kind & (PAGE_TYPE_BASE | PG_BUDDY) == PAGE_TYPE_BASE:
            return "buddy", int(page.private)
        if flags >> self.bits["reserved"] & 1:
            return "reserved", 0
        if flags >> self.bits["head"] & 1:
            return "head", self._order(pfn)
        if int(page.compound_head) & 1:
            return "tail", 0
        return ("used" if int(page.member_("_refcount").counter) else "ref0"), 0
