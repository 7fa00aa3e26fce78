"""Faults of the buddy allocator: the generic mutants of the bug catalogue's section B, and bugs others had.

The catalogue measured the generic ones on throw-away models: five of them never show as overlapping blocks.
"""

from __future__ import annotations

from . import Faults

GENERIC = "generic mutant of the bug catalogue, section B"
RCORE = "rcore-os/buddy_system_allocator"

_fault = Faults("buddy", "model.buddy", GENERIC)

FAULTS = (
    _fault(
        "merge-ignores-order",
        "a block merges with its buddy even if that is free in a smaller size",
        "page_is_buddy",
        "    if memory.mem_map[buddy].order != order:\n        return False\n",
        "",
        ("B4", "B6", "B12"),
    ),
    _fault(
        "merge-ignores-pagebuddy",
        "a block merges with a buddy that is not free, by its stale order",
        "page_is_buddy",
        "    if not memory.mem_map[buddy].buddy:\n        return False\n",
        "",
        ("checks",),
    ),
    _fault(
        "merge-ignores-zone",
        "a block merges with a buddy outside its zone",
        "page_is_buddy",
        "    if not zone_spans_pfn(zone, buddy):\n        return False\n    if not memory.mem_map[buddy].buddy:\n"
        "        return False\n",
        "    if zone_spans_pfn(zone, buddy) and not memory.mem_map[buddy].buddy:\n        return False\n",
        ("B2", "B4", "checks"),
        source="stable 2022-06, Xianting Tian: the buddy of the first block of a RISC-V zone",
        catalogue="B6x",
        scope="pages=7",
    ),
    _fault(
        "rmqueue-keeps-pagebuddy",
        "an allocated block keeps PageBuddy",
        "del_page_from_free_list",
        "    memory.mem_map[page].buddy = False\n    memory.mem_map[page].order = 0\n",
        "    memory.mem_map[page].order = 0\n",
        ("checks",),
    ),
    _fault(
        "expand-wrong-half",
        "expand gives back the lower half, which is also allocated",
        "expand",
        "        add_to_free_list(memory, zone, page + (1 << high), high, migratetype)\n"
        "        set_buddy_order(memory, page + (1 << high), high)",
        "        add_to_free_list(memory, zone, page, high, migratetype)\n        set_buddy_order(memory, page, high)",
        ("checks",),
    ),
    _fault(
        "expand-wrong-list",
        "expand puts the upper half on the list of the next order",
        "expand",
        "add_to_free_list(memory, zone, page + (1 << high), high, migratetype)",
        "add_to_free_list(memory, zone, page + (1 << high), high + 1, migratetype)",
        ("B6", "B12", "B7"),
    ),
    _fault(
        "expand-forgets-flag",
        "expand does not mark the upper half as a free block",
        "expand",
        "        set_buddy_order(memory, page + (1 << high), high)\n",
        "",
        ("B4", "B5", "B6"),
    ),
    _fault(
        "expand-too-far",
        "expand splits one level too far",
        "expand",
        "    while high > low:\n        high -= 1\n",
        "    while high >= low and high > 0:\n        high -= 1\n",
        ("checks",),
    ),
    _fault(
        "nr-free-pages-not-updated",
        "an allocation does not lower NR_FREE_PAGES",
        "alloc_pages",
        "        mod_zone_freepage_state(m.zone, -(1 << order), get_pcppage_migratetype(m.memory, page))\n",
        "",
        ("B8",),
    ),
    _fault(
        "nr-free-pages-whole-block",
        "an allocation lowers NR_FREE_PAGES by the whole block that it splits",
        "rmqueue_smallest",
        "        expand(memory, zone, page, order, current_order, migratetype)\n",
        "        expand(memory, zone, page, order, current_order, migratetype)\n"
        "        zone.nr_free_pages -= (1 << current_order) - (1 << order)\n",
        ("B8",),
    ),
    _fault(
        "merge-without-list-del",
        "a merged buddy stays on its free list",
        "free_one_page",
        "        del_page_from_free_list(memory, zone, buddy_pfn, order)\n",
        "        memory.mem_map[buddy_pfn].buddy = False\n"
        "        memory.mem_map[buddy_pfn].order = 0\n"
        "        zone.free_area[order].nr_free -= 1\n",
        ("B6", "B7"),
    ),
    _fault(
        "merge-keeps-nr-free",
        "nr_free is not lowered when a buddy is merged",
        "free_one_page",
        "        del_page_from_free_list(memory, zone, buddy_pfn, order)\n",
        "        list_del(memory, zone.free_area[order].free_list[migratetype], buddy_pfn)\n"
        "        memory.mem_map[buddy_pfn].buddy = False\n"
        "        memory.mem_map[buddy_pfn].order = 0\n",
        ("B7",),
    ),
    _fault(
        "merge-keeps-pagebuddy",
        "a merged buddy keeps PageBuddy",
        "free_one_page",
        "        del_page_from_free_list(memory, zone, buddy_pfn, order)\n",
        "        list_del(memory, zone.free_area[order].free_list[migratetype], buddy_pfn)\n"
        "        zone.free_area[order].nr_free -= 1\n",
        ("B6", "B10", "B3"),
    ),
    _fault(
        "combine-with-or",
        "the merged block begins at page | buddy instead of page & buddy",
        "free_one_page",
        "        page = buddy_pfn & page\n",
        "        page = buddy_pfn | page\n",
        ("B1", "B4"),
    ),
    _fault(
        "merge-beyond-max-order",
        "the merge loop goes on at the highest order",
        "free_one_page",
        "    while order < len(zone.free_area) - 1:\n",
        "    while order < len(zone.free_area):\n",
        ("checks",),
    ),
    _fault(
        "D1",
        "the block is inserted before merging, and the lower-order entry stays behind",
        "free_one_page",
        "        page = buddy_pfn & page\n        order += 1\n    set_buddy_order(memory, page, order)\n",
        "        set_buddy_order(memory, page, order)\n"
        "        add_to_free_list(memory, zone, page, order, migratetype)\n"
        "        page = buddy_pfn & page\n"
        "        order += 1\n"
        "    set_buddy_order(memory, page, order)\n",
        ("B3", "B6"),
        f"{RCORE} 6a89f48 (#8)",
        "D1",
    ),
    _fault(
        "D2",
        "the merge loop runs to the number of orders instead of one less",
        "free_one_page",
        "    while order < len(zone.free_area) - 1:\n",
        "    while order <= len(zone.free_area) - 1:\n",
        ("checks",),
        f"{RCORE} a51e890 (#14, #31)",
        "D2",
    ),
    _fault(
        "D3",
        "initialisation does not cap the order of a range at the highest one",
        "largest_aligned_order",
        "    order = len(zone.free_area) - 1\n",
        "    order = len(zone.free_area)\n",
        ("checks",),
        f"{RCORE} 95ed662, a269562",
        "D3",
    ),
    _fault(
        "D7",
        "a merge stops after one level",
        "free_one_page",
        "        order += 1\n",
        "        order += 1\n        if order > 0:\n            break\n",
        ("B9", "R-blocks"),
        "sos-os/kernel #8",
        "D7",
    ),
    _fault(
        "D5",
        "the neighbour of a block that is taken off its list keeps pointing to it",
        "list_del",
        "        memory.mem_map[next].prev = prev\n",
        "        memory.mem_map[next].prev = page\n",
        ("B12",),
        "vulkano #2832, #2833",
        "D5",
    ),
    _fault(
        "D6",
        "initialisation adds an unpaired block from both sides",
        "free_core_memory",
        "        start += 1 << order\n",
        "        if order == 0:\n            set_buddy_order(memory, start, 0)\n"
        "            add_to_free_list(memory, zone, start, 0, MIGRATE_UNMOVABLE)\n        start += 1 << order\n",
        ("B6", "B7", "B12", "checks"),
        "mit-pdos/xv6-riscv-fall19 #13",
        "D6",
        scope="pages=7",
    ),
    _fault(
        "D8",
        "whether a block fits is decided by the end of the map, not by that of the zone",
        "largest_aligned_order",
        "start + (1 << order) > end:",
        "start >= end:",
        ("B2", "B4", "checks"),
        "Zephyr PR #16966 (fixes #15279)",
        "D8",
        scope="pages=7",
    ),
    _fault(
        "B5x",
        "the page of a buddy that need not exist is read at the highest order",
        "free_one_page",
        "    set_buddy_order(memory, page, order)\n",
        "    if order == len(zone.free_area) - 1:\n"
        "        assert memory.mem_map[find_buddy_pfn(page, order)].order <= order\n"
        "    set_buddy_order(memory, page, order)\n",
        ("checks",),
        "Muchun Song, 2020-12 (fixes d9dddbf55667): merge loop up to max_order",
        "B5x",
        scope="pages=12",
    ),
    _fault(
        "rmqueue-any-order",
        "an allocation takes the smallest free block even if it is too small",
        "rmqueue_smallest",
        "    for current_order in range(order, len(zone.free_area)):\n",
        "    for current_order in range(len(zone.free_area)):\n",
        ("checks",),
        "own, for the step properties",
    ),
    _fault(
        "rmqueue-largest-first",
        "an allocation splits the largest block instead of the smallest that suffices",
        "rmqueue_smallest",
        "    for current_order in range(order, len(zone.free_area)):\n",
        "    for current_order in range(len(zone.free_area) - 1, order - 1, -1):\n",
        ("B20",),
        "own, for the step properties",
    ),
    _fault(
        "rmqueue-skips-top-order",
        "an allocation never looks at the highest order",
        "rmqueue_smallest",
        "    for current_order in range(order, len(zone.free_area)):\n",
        "    for current_order in range(order, len(zone.free_area) - 1):\n",
        ("B21", "R-blocks"),
        "own, for the step properties",
    ),
    _fault(
        "free-head-only",
        "freeing a block gives back its head page and loses its tails",
        "free_pages",
        "    free_one_page(m.memory, m.zone, page, order, get_pageblock_migratetype(m.memory, page), False)\n",
        "    free_one_page(m.memory, m.zone, page, 0, get_pageblock_migratetype(m.memory, page), False)\n",
        ("B23", "B4", "B5"),
        "e320d3012d25 fixed this for pages with a second reference; here in its plainest form",
        "B1x",
    ),
    _fault(
        "free-keeps-reference",
        "a freed page keeps its reference",
        "free_pages",
        "    m.memory.mem_map[page].refcount = 0\n",
        "    m.memory.mem_map[page].refcount = 1\n",
        ("B18",),
        "own, for the reference counts",
    ),
    _fault(
        "tail-without-back-link",
        "add_to_free_list_tail does not link back to the old tail",
        "list_add_tail",
        "    memory.mem_map[page].prev = tail\n",
        "    memory.mem_map[page].prev = None\n",
        ("B12",),
        "own, for the list links",
    ),
    _fault(
        "flag-one-order-too-high",
        "the merged block is marked one order too high",
        "free_one_page",
        "    set_buddy_order(memory, page, order)\n",
        "    set_buddy_order(memory, page, order + 1)\n",
        ("B13", "B6", "B1"),
        "own, for the bound on the order",
    ),
)
"""Every fault of the buddy allocator, the generic fifteen first."""
