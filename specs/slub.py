"""What must hold of the slab allocator: invariants S1 ... S25 with their kernel origin, and the refinement.

Identifiers are those of the project's reference; B1 ... B18 are the page allocator's, of which each slab is a client.
The invariants together are inductive: they say of every page which block it is in, of every slab which cpu or list has
it, of every object which freelist has it or that a client does, and of every counter and link what it counts or names.

S12 (no ABA) speaks of what happens between the reads and the cmpxchg of one operation, and has no meaning where
operations are atomic. S20 (bulk) is in specs/slub_bulk.py, S24 (aliases) in specs/cache.py; S21 and S22 are of sheaves,
which 6.1 does not have.
"""

from __future__ import annotations

from ..model.buddy import (
    Page,
    expand,
    find_buddy_pfn,
    free_one_page,
    rmqueue_smallest,
    zone_end_pfn,
    zone_spans_pfn,
)
from ..model.lang import (
    Clauses,
    Refinement,
    Spec,
    clause,
    indices,
    invariant,
    step_property,
)
from ..model.objects import Objects, allocate, refuse, release
from ..model.page_alloc import (
    PageAllocator,
    free_pages,
    free_pages_ok,
    free_the_page,
    free_to_zone,
    get_page_from_freelist,
    page_to_nid,
    rmqueue,
    rmqueue_buddy,
)
from ..model.slab import Cache, Cpu, Node, Object, Slot
from ..model.slab_clients import (
    SlubMachine,
    flush_cpu_slab,
    kmem_cache_alloc,
    kmem_cache_free,
    kmem_cache_init,
    kmem_cache_shrink,
    kmem_cache_shutdown,
)
from ..model.slowpath import alloc_pages
from ..model.slub import (
    SlabAllocator,
    ___slab_alloc,
    __free_slab,
    __slab_free,
    __unfreeze_partials,
    alloc_slab_page,
    allocate_slab,
    discard_slab,
    do_slab_free,
    folio_order,
    free_slab,
    get_partial,
    get_partial_node,
    has_slot,
    new_slab,
    object_at,
    put_cpu_partial,
    slab_alloc_node,
    slab_free,
    slab_nid,
    slot_of,
    virt_to_slab,
)
from .buddy import free_blocks_with, head_at, is_free_block, list_length
from .objects import SPEC as OBJECTS
from .slub_scope import DERIVED, REQUIREMENTS, SCOPES, slub_parameters

# --- what the statements are made of


def is_slab(m: SlabAllocator, page: Page) -> bool:
    """PageSlab: whether a slab starts at the page."""
    return m.slab[page].slab_cache is not None


def is_allocated(pages: PageAllocator, page: int) -> bool:
    """Whether an allocated block starts at the page: somebody holds a reference to it."""
    return pages.memory.mem_map[page].refcount != 0


def block_order(pages: PageAllocator, page: int) -> int:
    """The order of an allocated block: of a compound page, or 0."""
    order = pages.memory.mem_map[page].compound
    if order is None:
        return 0
    return order


def allocated_blocks_with(pages: PageAllocator, page: Page) -> int:
    """How many allocated blocks contain a page."""
    return sum(
        1
        for order in indices(pages.zone[0].free_area)
        if is_allocated(pages, head_at(page, order)) and block_order(pages, head_at(page, order)) == order
    )


def inside_free_block(pages: PageAllocator, page: Page) -> bool:
    """Whether a page lies in a free block that starts before it."""
    return any(
        is_free_block(pages.memory, head_at(page, order), order)
        for order in indices(pages.zone[0].free_area)
        if head_at(page, order) != page
    )


def is_listed(m: SlabAllocator, page: Page, cache: int, nid: int) -> bool:
    """Whether a slab should be on this partial list: not frozen, with a free object."""
    slab = m.slab[page]
    return slab.slab_cache == cache and not slab.frozen and slab.freelist is not None and slab_nid(m, page) == nid


def listed_count(m: SlabAllocator, cache: int, nid: int) -> int:
    """How many slabs should be on a partial list."""
    return sum(1 for page in indices(m.slab) if is_listed(m, page, cache, nid))


def empty_count(m: SlabAllocator, cache: int, nid: int) -> int:
    """How many slabs without an object in use should be on a partial list."""
    return sum(1 for page in indices(m.slab) if is_listed(m, page, cache, nid) and m.slab[page].inuse == 0)


def partial_length(m: SlabAllocator, cache: int, nid: int) -> int:
    """Slabs met on a walk along a partial list; one more than there can be if the walk does not end."""
    length = 0
    page = m.kmem_cache[cache].node[nid].first
    for _ in range(len(m.slab) + 1):
        if page is None:
            break
        length += 1
        page = m.slab[page].next
    return length


def cpu_slabs_at(m: SlabAllocator, page: Page) -> int:
    """How many cpus allocate from a slab."""
    return sum(
        1
        for cache in indices(m.kmem_cache)
        for cpu in indices(m.kmem_cache[cache].cpu_slab)
        if m.kmem_cache[cache].cpu_slab[cpu].slab == page
    )


def chain_links_to(m: SlabAllocator, page: Page) -> int:
    """How many cpu partial lists begin with a slab, and how many slabs on such lists come just before it."""
    heads = sum(
        1
        for cache in indices(m.kmem_cache)
        for cpu in indices(m.kmem_cache[cache].cpu_slab)
        if m.kmem_cache[cache].cpu_slab[cpu].partial == page
    )
    return heads + sum(1 for other in indices(m.slab) if m.slab[other].slabs > 0 and m.slab[other].next == page)


def is_object(m: SlabAllocator, page: Page, slot: Slot) -> bool:
    """Whether a page is a slab that has this object."""
    cache = m.slab[page].slab_cache
    return cache is not None and has_slot(m, m.kmem_cache[cache], page, slot)


def free_links_to(m: SlabAllocator, page: Page, object: Object) -> int:
    """How often an object is named: by its slab's freelist, a cpu's freelist, a free object of its slab."""
    by_slab = 1 if m.slab[page].freelist == object else 0
    by_cpus = sum(
        1
        for cache in indices(m.kmem_cache)
        for cpu in indices(m.kmem_cache[cache].cpu_slab)
        if m.kmem_cache[cache].cpu_slab[cpu].freelist == object
    )
    by_objects = sum(
        1 for slot in indices(m.kmem_cache[0].oo.has) if m.freepointer[object_at(m, page, slot)] == object
    )
    return by_slab + by_cpus + by_objects


def length_in(m: SlabAllocator, page: Page, object: Object | None) -> int:
    """Objects met on a walk along a freelist as long as it stays in the slab; at most as many as there are slots."""
    length = 0
    for _ in indices(m.kmem_cache[0].random_seq):
        if object is None or virt_to_slab(m, object) != page:
            break
        length += 1
        object = m.freepointer[object_at(m, page, slot_of(m, object))]
    return length


def cpu_length_in(m: SlabAllocator, page: Page) -> int:
    """Objects of a slab on the freelists of the cpus."""
    return sum(
        length_in(m, page, m.kmem_cache[cache].cpu_slab[cpu].freelist)
        for cache in indices(m.kmem_cache)
        for cpu in indices(m.kmem_cache[cache].cpu_slab)
    )


def free_objects(m: SlubMachine, page: Page) -> int:
    """How many objects of a slab no client has."""
    return sum(
        1
        for slot in indices(m.kmem_cache[0].oo.has)
        if is_object(m, page, slot) and m.held[object_at(m, page, slot)] is None
    )


# --- the page allocator's invariants


@invariant("B1", origin="__free_one_page(): VM_BUG_ON_PAGE(pfn & ((1 << order) - 1))")
def blocks_aligned(m: SlubMachine) -> Clauses:
    """The head of a block of order o is a multiple of 2**o, free or allocated."""
    for page in indices(m.slab):
        order = m.pages.memory.mem_map[page].order
        if m.pages.memory.mem_map[page].buddy:
            yield clause("a free block is aligned", page & ((1 << order) - 1) == 0, page)
        if is_allocated(m.pages, page):
            held = block_order(m.pages, page)
            yield clause("an allocated block is aligned", page & ((1 << held) - 1) == 0, page)


@invariant("B2", origin="bad_range(), page_is_buddy(): page_zone_id()")
def blocks_in_zone(m: SlubMachine) -> Clauses:
    """Every block lies in one zone."""
    for page in indices(m.slab):
        order = m.pages.memory.mem_map[page].order
        if m.pages.memory.mem_map[page].buddy:
            yield clause("a free block lies in a zone", lies_in_a_zone(m.pages, page, order), page)
        if is_allocated(m.pages, page):
            lies = lies_in_a_zone(m.pages, page, block_order(m.pages, page))
            yield clause("an allocated block lies in a zone", lies, page)


def lies_in_a_zone(pages: PageAllocator, page: Page, order: int) -> bool:
    """Whether the block of 2**order pages from this one on lies in one zone."""
    return any(
        zone_spans_pfn(pages.zone[z], page) and page + (1 << order) <= zone_end_pfn(pages.zone[z])
        for z in indices(pages.zone)
    )


@invariant("B4", origin="(the allocator's purpose: no double allocation)")
def pages_exclusive(m: SlubMachine) -> Clauses:
    """Each page of a zone is in exactly one block, free or allocated; frames outside are in none."""
    for page in indices(m.slab):
        owners = free_blocks_with(m.pages.memory, m.pages.zone[0], page) + allocated_blocks_with(m.pages, page)
        if lies_in_a_zone(m.pages, page, 0):
            yield clause("a page is not in two blocks", owners <= 1, page)
            yield clause("a page is not lost", owners >= 1, page)
        else:
            yield clause("a frame outside the zones is in no block", owners == 0, page)


@invariant("B6", origin="set_buddy_order(), del_page_from_free_list(): __ClearPageBuddy")
def flag_means_listed(m: SlubMachine) -> Clauses:
    """A page is PageBuddy of order o exactly when it is on a free list of order o in its zone, and it is there once."""
    memory = m.pages.memory
    for page in indices(memory.mem_map):
        order = memory.mem_map[page].order
        next = memory.mem_map[page].next
        prev = memory.mem_map[page].prev
        if memory.mem_map[page].buddy:
            yield clause("order < MAX_ORDER", order < len(m.pages.zone[0].free_area), page)
            if next is not None:
                right = is_free_block(memory, next, order) and same_zone(m.pages, page, next)
                yield clause("a free block's successor is on the same list", right, page)
            if prev is not None:
                right_before = is_free_block(memory, prev, order) and same_zone(m.pages, page, prev)
                yield clause("a free block's predecessor is on the same list", right_before, page)
        else:
            yield clause("a page that is not PageBuddy is linked nowhere", next is None and prev is None, page)
            yield clause("a page that is not PageBuddy has no order", order == 0, page)


def same_zone(pages: PageAllocator, page: int, other: int) -> bool:
    """Whether two pages lie in the same zone."""
    return any(
        zone_spans_pfn(pages.zone[z], page) and zone_spans_pfn(pages.zone[z], other) for z in indices(pages.zone)
    )


@invariant("B7", origin="free_area[].nr_free in add_to_free_list(), del_page_from_free_list()")
def nr_free_counts(m: SlubMachine) -> Clauses:
    """nr_free of each order is the length of its list, and every free block of that order is on it."""
    for z in indices(m.pages.zone):
        zone = m.pages.zone[z]
        for order in indices(zone.free_area):
            length = list_length(m.pages.memory, zone.free_area[order].free_list[0], order)
            yield clause("nr_free is the length of the list", zone.free_area[order].nr_free == length, z, order)
            yield clause("every free block is on the list", length == free_blocks_in(m.pages, z, order), z, order)


def free_blocks_in(pages: PageAllocator, z: int, order: int) -> int:
    """How many pages of a zone are flagged as heads of free blocks of an order."""
    return sum(
        1
        for page in indices(pages.memory.mem_map)
        if is_free_block(pages.memory, page, order) and zone_spans_pfn(pages.zone[z], page)
    )


@invariant("B8", origin="__mod_zone_freepage_state(NR_FREE_PAGES)")
def nr_free_pages_counts(m: SlubMachine) -> Clauses:
    """NR_FREE_PAGES is the number of pages in free blocks."""
    for z in indices(m.pages.zone):
        free = sum(
            1 << m.pages.memory.mem_map[page].order
            for page in indices(m.pages.memory.mem_map)
            if m.pages.memory.mem_map[page].buddy and zone_spans_pfn(m.pages.zone[z], page)
        )
        yield clause("NR_FREE_PAGES counts the free pages", m.pages.zone[z].nr_free_pages == free, z)


@invariant("B9", origin="__free_one_page() merge loop")
def coalesced(m: SlubMachine) -> Clauses:
    """No two buddies of the same order below the top are both free."""
    memory = m.pages.memory
    for page in indices(memory.mem_map):
        order = memory.mem_map[page].order
        if memory.mem_map[page].buddy and order < len(m.pages.zone[0].free_area) - 1:
            buddy = find_buddy_pfn(page, order)
            split = not is_free_block(memory, buddy, order) or not same_zone(m.pages, page, buddy)
            yield clause("a free block has no free buddy of its order", split, page)


@invariant("B10", origin="__free_one_page(), expand(): only heads carry PageBuddy")
def tails_unmarked(m: SlubMachine) -> Clauses:
    """Inside a free or allocated block no page but the head of a free one is PageBuddy."""
    for page in indices(m.slab):
        if m.pages.memory.mem_map[page].buddy:
            inside = inside_free_block(m.pages, page)
            yield clause("a PageBuddy page is not inside a larger free block", not inside, page)
            yield clause("a PageBuddy page is not allocated", allocated_blocks_with(m.pages, page) == 0, page)


@invariant("B12", origin="lib/list_debug.c: __list_add_valid(), __list_del_entry_valid()")
def lists_linked(m: SlubMachine) -> Clauses:
    """Free lists are linked both ways, with proper ends (B7 says that they are acyclic)."""
    memory = m.pages.memory
    for page in indices(memory.mem_map):
        if memory.mem_map[page].buddy:
            next = memory.mem_map[page].next
            prev = memory.mem_map[page].prev
            if next is not None:
                yield clause("the successor points back", memory.mem_map[next].prev == page, page)
            else:
                yield clause("a block without successor is the last", is_an_end(m.pages, page, True), page)
            if prev is not None:
                yield clause("the predecessor points forward", memory.mem_map[prev].next == page, page)
            else:
                yield clause("a block without predecessor is the first", is_an_end(m.pages, page, False), page)
    for z in indices(m.pages.zone):
        for order in indices(m.pages.zone[z].free_area):
            first = m.pages.zone[z].free_area[order].free_list[0].first
            last = m.pages.zone[z].free_area[order].free_list[0].last
            yield clause("a list has both ends or none", (first is None) == (last is None), z, order)
            if first is not None:
                right = is_free_block(memory, first, order) and zone_spans_pfn(m.pages.zone[z], first)
                yield clause("a free list begins with a free block of its order", right, z, order)
                yield clause("the first block has no predecessor", memory.mem_map[first].prev is None, z, order)
            if last is not None:
                right_last = is_free_block(memory, last, order) and zone_spans_pfn(m.pages.zone[z], last)
                yield clause("a free list ends with a free block of its order", right_last, z, order)
                yield clause("the last block has no successor", memory.mem_map[last].next is None, z, order)


def is_an_end(pages: PageAllocator, page: Page, of_the_end: bool) -> bool:
    """Whether a page is the last or the first of the list of its order in its zone."""
    return any(
        zone_spans_pfn(pages.zone[z], page)
        and pages.memory.mem_map[page].order == order
        and page
        == (
            pages.zone[z].free_area[order].free_list[0].last
            if of_the_end
            else pages.zone[z].free_area[order].free_list[0].first
        )
        for z in indices(pages.zone)
        for order in indices(pages.zone[z].free_area)
    )


@invariant("B17", origin="__setup_per_zone_wmarks(), setup_per_zone_lowmem_reserve()")
def no_reserves(m: SlubMachine) -> Clauses:
    """In these scopes the page allocator keeps nothing back: no watermark, no reserve, no isolated pageblock."""
    for z in indices(m.pages.zone):
        zone = m.pages.zone[z]
        for mark in indices(zone.watermark):
            yield clause("no watermark", zone.watermark[mark] == 0, z)
        for kind in indices(zone.lowmem_reserve):
            yield clause("no reserve for lower zones", zone.lowmem_reserve[kind] == 0, z)
        unboosted = zone.watermark_boost == 0 and not zone.boosted_watermark
        yield clause("no boost", unboosted, z)
        together = zone.nr_reserved_highatomic == 0 and zone.nr_isolate_pageblock == 0 and zone.nr_free_cma_pages == 0
        yield clause("no pageblock is kept apart", together, z)


@invariant("B18", origin="page_expected_state(), prep_new_page(): set_page_refcounted()")
def reference_counts(m: SlubMachine) -> Clauses:
    """A slab has one reference, every other page none; what the page allocator keeps of a page is clean."""
    for page in indices(m.slab):
        frame = m.pages.memory.mem_map[page]
        references = 1 if is_slab(m, page) else 0
        yield clause("a slab has one reference, any other page none", frame.refcount == references, page)
        if frame.refcount == 0:
            yield clause("a page that is not allocated is not compound", frame.compound is None, page)


# --- S1 ... S4: freelists and objects


@invariant("S1", origin="check_valid_pointer(), check_slab()")
def pointers_in_bounds(m: SlubMachine) -> Clauses:
    """Every free pointer names an object of the same slab."""
    for page in indices(m.slab):
        freelist = m.slab[page].freelist
        if freelist is not None:
            inside = virt_to_slab(m, freelist) == page and is_object(m, page, slot_of(m, freelist))
            yield clause("the freelist of a slab begins in it", inside, page)
        if is_slab(m, page):
            for slot in indices(m.kmem_cache[0].oo.has):
                next = m.freepointer[object_at(m, page, slot)]
                if next is not None:
                    inside_next = virt_to_slab(m, next) == page and is_object(m, page, slot_of(m, next))
                    yield clause("a free pointer stays in its slab", inside_next, page, slot)


@invariant("S2", origin="on_freelist(): fp chain, nr <= slab->objects")
def freelists_acyclic(m: SlubMachine) -> Clauses:
    """Walks along the freelist of a slab and the freelist of its cpu meet all of its free objects."""
    for page in indices(m.slab):
        if is_slab(m, page):
            met = length_in(m, page, m.slab[page].freelist) + cpu_length_in(m, page)
            yield clause("the freelists have every free object once", met == free_objects(m, page), page)


@invariant("S3", origin="(drgn: union of freelists; crash: duplicate object)")
def objects_unique(m: SlubMachine) -> Clauses:
    """An object is in exactly one place: a client has it, or one freelist does, once."""
    for page in indices(m.slab):
        if is_slab(m, page):
            for slot in indices(m.kmem_cache[0].oo.has):
                object = object_at(m, page, slot)
                links = free_links_to(m, page, object)
                holder = m.held[object]
                if holder is not None:
                    yield clause("an object in use is on no freelist", links == 0, page, slot)
                    right = holder == m.slab[page].slab_cache
                    yield clause("an object in use is of its slab's cache", right, page, slot)
                elif is_object(m, page, slot):
                    yield clause("a free object is on a freelist", links >= 1, page, slot)
                    yield clause("a free object is on one freelist only", links <= 1, page, slot)


@invariant("S4", origin="on_freelist(): slab->inuse != slab->objects - nr")
def inuse_counts(m: SlubMachine) -> Clauses:
    """inuse is what the slab's own freelist leaves of its objects; those on a cpu's freelist count as in use."""
    for page in indices(m.slab):
        if is_slab(m, page):
            free = length_in(m, page, m.slab[page].freelist)
            counted = m.slab[page].inuse + free == m.slab[page].objects
            yield clause("inuse + free objects == objects", counted, page)


# --- S5 ... S10, S13, S14: who has a slab


@invariant("S5", origin="acquire_slab(), get_freelist(), __slab_free(): new.frozen")
def frozen_means_owned(m: SlubMachine) -> Clauses:
    """A slab is frozen exactly when it is the slab of one cpu or on one cpu's partial list."""
    for page in indices(m.slab):
        if is_slab(m, page):
            owners = cpu_slabs_at(m, page) + chain_links_to(m, page)
            yield clause("a frozen slab has a cpu", not m.slab[page].frozen or owners >= 1, page)
            yield clause("a slab that is not frozen has no cpu", m.slab[page].frozen or owners == 0, page)
            yield clause("a slab has at most one cpu", owners <= 1, page)
            linked = chain_links_to(m, page) > 0
            yield clause("slabs on cpu partial lists count slabs, no others", linked == (m.slab[page].slabs > 0), page)


@invariant("S6", origin="add_partial(), remove_partial()")
def partial_lists_linked(m: SlubMachine) -> Clauses:
    """The slabs that are not frozen and have free objects are on their node's partial list, linked both ways; a slab
    that is full or a cpu's is not."""
    for page in indices(m.slab):
        slab = m.slab[page]
        cache = slab.slab_cache
        next = slab.next
        prev = slab.prev
        if cache is not None and is_listed(m, page, cache, slab_nid(m, page)):
            nid = slab_nid(m, page)
            n = m.kmem_cache[cache].node[nid]
            if next is None:
                yield clause("a slab without successor is the last", n.last == page, page)
            else:
                yield clause("the successor is on the same list", is_listed(m, next, cache, nid), page)
                yield clause("the successor points back", m.slab[next].prev == page, page)
            if prev is None:
                yield clause("a slab without predecessor is the first", n.first == page, page)
            else:
                yield clause("the predecessor is on the same list", is_listed(m, prev, cache, nid), page)
                yield clause("the predecessor points forward", m.slab[prev].next == page, page)
        else:
            yield clause("a slab that is not on a partial list has no predecessor", prev is None, page)
            if slab.slabs == 0:
                yield clause("a slab that is on no list has no successor", next is None, page)
    for k in indices(m.kmem_cache):
        for node in indices(m.kmem_cache[k].node):
            first = m.kmem_cache[k].node[node].first
            last = m.kmem_cache[k].node[node].last
            yield clause("a partial list has both ends or none", (first is None) == (last is None), k, node)
            if first is not None:
                yield clause("a partial list begins with such a slab", is_listed(m, first, k, node), k, node)
                yield clause("the first slab has no predecessor", m.slab[first].prev is None, k, node)
            if last is not None:
                yield clause("a partial list ends with such a slab", is_listed(m, last, k, node), k, node)
                yield clause("the last slab has no successor", m.slab[last].next is None, k, node)


@invariant("S7", origin="validate_slab_node(): count != n->nr_partial")
def nr_partial_counts(m: SlubMachine) -> Clauses:
    """nr_partial is the length of the list, and every slab that should be on it is."""
    for cache in indices(m.kmem_cache):
        for nid in indices(m.kmem_cache[cache].node):
            length = partial_length(m, cache, nid)
            n = m.kmem_cache[cache].node[nid]
            yield clause("nr_partial is the length of the list", n.nr_partial == length, cache, nid)
            yield clause("every partial slab is on the list", length == listed_count(m, cache, nid), cache, nid)


@invariant("S8", origin="inc_slabs_node(), dec_slabs_node()")
def nr_slabs_counts(m: SlubMachine) -> Clauses:
    """nr_slabs counts the slabs of a cache on a node, total_objects their objects."""
    for cache in indices(m.kmem_cache):
        for nid in indices(m.kmem_cache[cache].node):
            n = m.kmem_cache[cache].node[nid]
            slabs = sum(1 for page in indices(m.slab) if is_slab_of(m, page, cache, nid))
            objects = sum(m.slab[page].objects for page in indices(m.slab) if is_slab_of(m, page, cache, nid))
            yield clause("nr_slabs counts the slabs", n.nr_slabs == slabs, cache, nid)
            yield clause("total_objects counts their objects", n.total_objects == objects, cache, nid)


def is_slab_of(m: SlabAllocator, page: Page, cache: int, nid: int) -> bool:
    """Whether a slab of this cache in the memory of this node starts at the page."""
    return m.slab[page].slab_cache == cache and slab_nid(m, page) == nid


@invariant("S9", origin="__slab_free(), deactivate_slab(), __unfreeze_partials(): n->nr_partial >= s->min_partial")
def few_empty_slabs(m: SlubMachine) -> Clauses:
    """A partial list has at most min_partial empty slabs."""
    for cache in indices(m.kmem_cache):
        for nid in indices(m.kmem_cache[cache].node):
            few = empty_count(m, cache, nid) <= m.kmem_cache[cache].min_partial
            yield clause("at most min_partial empty slabs are kept", few, cache, nid)


@invariant("S10", origin="___slab_alloc(): eeaa345e1285")
def cpu_freelist_of_cpu_slab(m: SlubMachine) -> Clauses:
    """The freelist of a cpu lies in its slab, which is of the cache; without a slab there is no freelist."""
    for cache in indices(m.kmem_cache):
        for cpu in indices(m.kmem_cache[cache].cpu_slab):
            page = m.kmem_cache[cache].cpu_slab[cpu].slab
            freelist = m.kmem_cache[cache].cpu_slab[cpu].freelist
            if page is None:
                yield clause("a cpu without a slab has no freelist", freelist is None, cache, cpu)
            else:
                yield clause("a cpu's slab is of the cache", m.slab[page].slab_cache == cache, cache, cpu)
                if freelist is not None:
                    inside = virt_to_slab(m, freelist) == page and is_object(m, page, slot_of(m, freelist))
                    yield clause("a cpu's freelist begins in its slab", inside, cache, cpu)


@invariant("S11", origin="next_tid(): eeaa345e1285, fd4d9c7d0c71")
def changes_are_marked(m: SlubMachine) -> Clauses:
    """Whatever changes the slab or the freelist of a cpu changes its tid."""
    yield clause("no change left the tid as it was", not m.tid_kept)
    for cache in indices(m.kmem_cache):
        for cpu in indices(m.kmem_cache[cache].cpu_slab):
            tid = m.kmem_cache[cache].cpu_slab[cpu].tid
            yield clause("between operations tids begin anew", tid == 0, cache, cpu)


@invariant("S13", origin="___slab_alloc(): c->slab = slab; VM_BUG_ON(!c->slab->frozen)")
def one_cpu_slab(m: SlubMachine) -> Clauses:
    """A slab that a cpu allocates from is no other cpu's, and on no list."""
    for page in indices(m.slab):
        cpus = cpu_slabs_at(m, page) if is_slab(m, page) else 0
        yield clause("a slab is the slab of at most one cpu", cpus <= 1, page)
        if cpus > 0:
            unlisted = m.slab[page].next is None and m.slab[page].prev is None and m.slab[page].slabs == 0
            yield clause("a cpu's slab is on no list", unlisted and m.slab[page].frozen, page)


@invariant("S14", origin="put_cpu_partial(): slab->slabs, s->cpu_partial_slabs")
def cpu_partial_counts(m: SlubMachine) -> Clauses:
    """On a cpu partial list each slab counts those from it on, down to 1; the list is no longer than it may be."""
    for page in indices(m.slab):
        slab = m.slab[page]
        next = slab.next
        if slab.slabs > 0:
            yield clause("a slab on a cpu partial list has free objects", slab.freelist is not None, page)
            if next is None:
                yield clause("the last one counts 1", slab.slabs == 1, page)
            else:
                yield clause("the next one counts one less", m.slab[next].slabs + 1 == slab.slabs, page)
                yield clause("the next one is of the same cache", m.slab[next].slab_cache == slab.slab_cache, page)
    for cache in indices(m.kmem_cache):
        for cpu in indices(m.kmem_cache[cache].cpu_slab):
            partial = m.kmem_cache[cache].cpu_slab[cpu].partial
            if partial is not None:
                s = m.kmem_cache[cache]
                right = m.slab[partial].slab_cache == cache
                yield clause("a cpu partial list begins with a slab of the cache", right, cache, cpu)
                yield clause("the first one counts 1 or more", m.slab[partial].slabs > 0, cache, cpu)
                most = max(s.cpu_partial_slabs, 1)
                yield clause("the list is not longer than cpu_partial_slabs", m.slab[partial].slabs <= most, cache, cpu)


# --- S15 ... S19: pages and caches


@invariant("S15", origin="check_slab(); __free_slab(): __folio_clear_slab()")
def pages_that_are_slabs(m: SlubMachine) -> Clauses:
    """A page that is no slab has nothing of one left; one that is, is of a cache that exists."""
    for page in indices(m.slab):
        slab = m.slab[page]
        cache = slab.slab_cache
        if cache is None:
            clean = slab.freelist is None and slab.objects == 0 and slab.inuse == 0
            yield clause("a page that is no slab has no objects", clean, page)
            unowned = not slab.frozen and slab.slabs == 0 and slab.next is None and slab.prev is None
            yield clause("a page that is no slab is on no list", unowned, page)
        else:
            yield clause("a slab is of a cache that exists", m.kmem_cache[cache].alive, page)


@invariant("C5", origin="account_slab(), unaccount_slab(): NR_SLAB_UNRECLAIMABLE_B")
def slab_pages_counted(m: SlubMachine) -> Clauses:
    """NR_SLAB is the number of pages in slabs and large blocks, which are all that is allocated here."""
    allocated = sum(
        1 << block_order(m.pages, page) for page in indices(m.slab) if is_allocated(m.pages, page)
    )
    yield clause("NR_SLAB counts the pages", m.nr_slab == allocated)


@invariant("S16", origin="calculate_order(), allocate_slab()")
def slab_orders(m: SlubMachine) -> Clauses:
    """A slab has the order and the objects that oo or min says; what a cache was made with does not change."""
    for cache in indices(m.kmem_cache):
        s = m.kmem_cache[cache]
        kept = s.oo.order == m.oo_order and s.oo.objects == m.oo_objects
        yield clause("oo is as the cache was made", kept, cache)
        kept_min = s.min.order == m.min_order and s.min.objects == m.min_objects
        yield clause("min is as the cache was made", kept_min, cache)
        kept_limits = s.min_partial == m.min_partial and s.cpu_partial_slabs == m.cpu_partial_slabs
        yield clause("the limits are as the cache was made", kept_limits and s.alive, cache)
        has = sum(1 for slot in indices(s.oo.has) if s.oo.has[slot])
        has_min = sum(1 for slot in indices(s.min.has) if s.min.has[slot])
        yield clause("oo has as many slots as objects", has == s.oo.objects, cache)
        yield clause("min has as many slots as objects", has_min == s.min.objects, cache)
        both = all(s.oo.has[slot] or not s.min.has[slot] for slot in indices(s.oo.has))
        yield clause("a slab of the order oo has what one of the order min has", both, cache)
    for page in indices(m.slab):
        cache_here = m.slab[page].slab_cache
        if cache_here is not None:
            s_here = m.kmem_cache[cache_here]
            order = folio_order(m, page)
            best = order == s_here.oo.order and m.slab[page].objects == s_here.oo.objects
            least = order == s_here.min.order and m.slab[page].objects == s_here.min.objects
            yield clause("a slab is as oo or as min says", best or least, page)


@invariant("S17", origin="get_freepointer_safe(): an object in use is its holder's to write")
def objects_in_use_untouched(m: SlubMachine) -> Clauses:
    """No free pointer is written into an object that somebody has, or into memory that is no object."""
    for page in indices(m.slab):
        for slot in indices(m.kmem_cache[0].oo.has):
            object = object_at(m, page, slot)
            if not is_object(m, page, slot):
                yield clause("memory that is no object is not written", m.freepointer[object] is None, page, slot)
                yield clause("memory that is no object is not in use", m.held[object] is None, page, slot)
            elif m.held[object] is not None:
                yield clause("an object in use is not written", m.freepointer[object] is None, page, slot)


@invariant("S19", origin="shuffle_freelist(), freelist_randomize(): CVE-2017-5546")
def random_sequence_is_permutation(m: SlubMachine) -> Clauses:
    """A random sequence that is known names each object of a slab once."""
    for cache in indices(m.kmem_cache):
        s = m.kmem_cache[cache]
        for position in indices(s.random_seq):
            slot = s.random_seq[position]
            known = m.known_random_seq != 0 and position < s.oo.objects
            yield clause("the sequence is as long as a slab has objects", (slot is not None) == known, cache, position)
            if slot is not None:
                once = sum(1 for other in indices(s.random_seq) if s.random_seq[other] == slot) == 1
                yield clause("the sequence names an object of a slab, once", once and s.oo.has[slot], cache, position)


# --- step properties


@step_property("S9-free", action=kmem_cache_free, origin="__slab_free(): slab_empty")
def empty_slab_kept_only_below_min_partial(before: SlubMachine, after: SlubMachine, object: Object) -> Clauses:
    """A slab on a node's list that becomes empty stays there only if the list was shorter than min_partial."""
    page = virt_to_slab(before, object)
    cache = before.slab[page].slab_cache
    if cache is not None and not before.slab[page].frozen and before.slab[page].freelist is not None:
        n = before.kmem_cache[cache].node[slab_nid(before, page)]
        if after.slab[page].slab_cache is not None and after.slab[page].inuse == 0:
            short = n.nr_partial < before.kmem_cache[cache].min_partial
            yield clause("an empty slab is kept only on a short list", short, page)


@step_property("S18", action=kmem_cache_shutdown, origin="__kmem_cache_shutdown(): free_partial()")
def shutdown_frees_all(before: SlubMachine, after: SlubMachine, cache: Cache, result: bool) -> Clauses:
    """A cache whose cpus are flushed is shut down exactly when none of its objects is in use; then no slab is left."""
    in_use = any(before.held[object] == cache for object in indices(before.held))
    flushed = all(
        before.kmem_cache[cache].cpu_slab[cpu].slab is None and before.kmem_cache[cache].cpu_slab[cpu].partial is None
        for cpu in indices(before.kmem_cache[cache].cpu_slab)
    )
    yield clause("slabs are left if objects are in use", result or not in_use, cache)
    yield clause("slabs are left only if objects are in use or a cpu has some", in_use or not flushed or not result)
    for page in indices(after.slab):
        if after.slab[page].slab_cache == cache:
            yield clause("what is left is said to be", result, page)
            empty = after.slab[page].inuse == 0 and not after.slab[page].frozen
            # The kernel gives up at the first node that has slabs left; the lists of those after it stay as they are.
            reached = all(
                after.kmem_cache[cache].node[nid].nr_slabs == 0 for nid in range(slab_nid(after, page))
            )
            yield clause("no empty slab is left on a list", not empty or not reached, page)


@step_property("S18-shrink", action=kmem_cache_shrink, origin="__kmem_cache_do_shrink()")
def shrink_leaves_no_empty_slab(before: SlubMachine, after: SlubMachine, cache: Cache, result: bool) -> Clauses:
    """After a shrink no slab on a node's list is empty, and the fullest come first."""
    for page in indices(after.slab):
        slab = after.slab[page]
        next = slab.next
        if slab.slab_cache == cache:
            yield clause("what is left is said to be", result, page)
            if not slab.frozen:
                yield clause("no empty slab is left on a list", slab.inuse > 0, page)
                if next is not None:
                    free = slab.objects - slab.inuse
                    sorted = free <= after.slab[next].objects - after.slab[next].inuse
                    yield clause("the fullest slabs come first", sorted, page)


@step_property("S23", action=kmem_cache_alloc, origin="node_match(); __alloc_pages_node()")
def object_as_asked(
    before: SlubMachine, after: SlubMachine, cache: Cache, node: Node | None, result: Object | None
) -> Clauses:
    """An object that is given was in nobody's use, is of the cache, and of the node that is named, unless that node has
    no partial slab and no memory for a slab of the order oo: without __GFP_THISNODE other nodes will do then."""
    if result is not None:
        page = virt_to_slab(after, result)
        yield clause("the object was in nobody's use", before.held[result] is None, result)
        yield clause("the object is of the cache", after.slab[page].slab_cache == cache, result)
        if node is not None and slab_nid(after, page) != node:
            s = before.kmem_cache[cache]
            yield clause("the node that is named had no partial slab", s.node[node].first is None, result)
            yield clause("the node that is named had no memory", not node_has_block(before, node, s.oo.order), result)


def node_has_block(m: SlabAllocator, node: int, order: int) -> bool:
    """Whether a node has a free block of 2**order pages or more."""
    return any(
        m.pages.memory.mem_map[page].buddy
        and m.pages.memory.mem_map[page].order >= order
        and page_to_nid(m.pages, page) == node
        for page in indices(m.slab)
    )


@step_property("S25", action=kmem_cache_alloc, origin="___slab_alloc(): new_objects, slab_out_of_memory()")
def request_succeeds_if_possible(
    before: SlubMachine, after: SlubMachine, cache: Cache, cpu: Cpu, node: Node | None, result: Object | None
) -> Clauses:
    """A request for an object of any node fails only if this cpu and its node have none and no slab can be made."""
    if result is None and node is None:
        s = before.kmem_cache[cache]
        c = s.cpu_slab[cpu]
        yield clause("the cpu's freelist is empty", c.freelist is None, cpu)
        yield clause("the cpu has no partial slab", c.partial is None, cpu)
        page = c.slab
        if page is not None:
            yield clause("the cpu's slab is full", before.slab[page].freelist is None, cpu)
        if len(s.node) == 1:
            yield clause("the node has no partial slab", s.node[0].first is None, cpu)
        free = any(
            before.pages.memory.mem_map[block].buddy and before.pages.memory.mem_map[block].order >= s.min.order
            for block in indices(before.slab)
        )
        yield clause("no block is large enough for a slab", not free, cpu)


# --- refinement: the allocator is a set of live objects for each cache


def live_objects(concrete: SlubMachine, abstract: Objects) -> None:
    """The live objects are what the clients hold."""
    for object in indices(concrete.held):
        abstract.object[object] = concrete.held[object]


def allocate_or_refuse(abstract: Objects, cache: Cache, cpu: Cpu, node: Node | None, result: Object | None) -> None:
    """kmem_cache_alloc() takes an object that is not live, or fails."""
    if result is not None:
        allocate(abstract, cache, result)
    else:
        refuse(abstract, cache)


def release_object(abstract: Objects, cpu: Cpu, object: Object) -> None:
    """kmem_cache_free() ends an object's life."""
    release(abstract, object)


INVARIANTS = (
    blocks_aligned,
    blocks_in_zone,
    pages_exclusive,
    flag_means_listed,
    nr_free_counts,
    nr_free_pages_counts,
    coalesced,
    tails_unmarked,
    lists_linked,
    no_reserves,
    reference_counts,
    pointers_in_bounds,
    freelists_acyclic,
    objects_unique,
    inuse_counts,
    frozen_means_owned,
    partial_lists_linked,
    nr_partial_counts,
    nr_slabs_counts,
    few_empty_slabs,
    cpu_freelist_of_cpu_slab,
    changes_are_marked,
    one_cpu_slab,
    cpu_partial_counts,
    pages_that_are_slabs,
    slab_pages_counted,
    slab_orders,
    objects_in_use_untouched,
    random_sequence_is_permutation,
)

STEPS = (
    empty_slab_kept_only_below_min_partial,
    shutdown_frees_all,
    shrink_leaves_no_empty_slab,
    object_as_asked,
    request_succeeds_if_possible,
)

SPEC = Spec(
    name="slub",
    state=SlubMachine,
    init=kmem_cache_init,
    actions=(kmem_cache_alloc, kmem_cache_free, flush_cpu_slab, kmem_cache_shrink, kmem_cache_shutdown),
    properties=(*INVARIANTS, *STEPS),
    parameters=slub_parameters(),
    derived=DERIVED,
    requirements=REQUIREMENTS,
    scopes=SCOPES,
    explored=("caches", "nodes", "fallback"),
    refinement=Refinement(
        "R-objects",
        OBJECTS,
        live_objects,
        {kmem_cache_alloc: allocate_or_refuse, kmem_cache_free: release_object},
        origin="mm/slub.c as its callers see it",
    ),
    deadlock_free=True,
    doc=__doc__,
    flows={
        "alloc": (
            kmem_cache_alloc, slab_alloc_node, ___slab_alloc, get_partial, get_partial_node, new_slab, allocate_slab,
            alloc_slab_page, alloc_pages, PageAllocator.get_page_from_freelist, get_page_from_freelist, rmqueue,
            rmqueue_buddy, rmqueue_smallest, expand,
        ),
        "free": (
            kmem_cache_free, slab_free, do_slab_free, __slab_free, put_cpu_partial, __unfreeze_partials, discard_slab,
            free_slab, __free_slab, free_pages, free_the_page, free_pages_ok, free_to_zone, free_one_page,
        ),
    },
    symmetric=("cpu", "slot"),
)
