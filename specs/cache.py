"""What must hold of caches that are created, merged, shrunk and destroyed: S16, S18, S19, S24, and K1 ... K7.

Below them what holds of slabs holds as before (specs/slub.py), so that together all of it is inductive. K is for what
the reference has no number for: layout, list and limits of a cache, and what creation owes its caller.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..model.gfp import GFP_NOWAIT
from ..model.lang import Clauses, Parameter, Requirement, Spec, clause, indices, invariant, step_property
from ..model.lang.records import Store
from ..model.slab import Cache, Cpu
from ..model.slab_common import (
    CACHE_CREATE_MASK,
    SLAB_FLAGS_PERMITTED,
    SLAB_MERGE_SAME,
    SLAB_NEVER_MERGE,
    AlignmentShift,
    CacheMachine,
    Caller,
    Handle,
    Kind,
    Region,
    WishedSize,
    kmem_cache_alloc,
    kmem_cache_create,
    kmem_cache_destroy,
    kmem_cache_free,
    kmem_cache_shrink,
    no_caches,
    slab_flags,
    slab_unmergeable,
)
from ..model.slab_size import (
    SLAB_PANIC,
    SlabGeometry,
    calculate_alignment,
    calculate_order,
    cpu_partial_as_slabs,
    get_order,
    order_objects,
    slab_object_size,
)
from ..model.slub import folio_order
from .slab_scope import GEOMETRY_REQUIREMENTS, X86_64, geometry_parameters
from .slub import INVARIANTS, random_sequence_is_permutation, slab_orders
from .zone_scope import OF_ONE_TYPE, PAGE_ALLOC_DERIVED, PAGE_ALLOC_REQUIREMENTS, page_alloc_parameters

Sizes = Mapping[str, int]

FLAGS_MAX = (1 << 29) - 1


def size_max(sizes: Sizes) -> int:
    """No object is further than this from the next."""
    alignment = max(1 << (sizes["alignments"] - 1), sizes["cache_line"], sizes["minalign"], sizes["word"])
    return sizes["wished_size_max"] + 2 * sizes["word"] + alignment



def objects_of(geometry: SlabGeometry, order: int, size: int) -> int:
    """How many objects of a size fit into a block; 0 for no size."""
    return order_objects(geometry, order, max(1, size))


@invariant("K6", origin="order_objects(), oo_make()")
def objects_as_sized(m: CacheMachine) -> Clauses:
    """oo and min of a cache have as many objects as fit, one at least."""
    for cache in indices(m.kmem_cache):
        s = m.kmem_cache[cache]
        if s.alive:
            yield clause("oo.objects fit", s.oo.objects == objects_of(m.geometry, s.oo.order, s.size), cache)
            yield clause("min.objects fit", s.min.objects == objects_of(m.geometry, s.min.order, s.size), cache)
            yield clause("there is an object", s.min.objects >= 1 and s.oo.objects >= s.min.objects, cache)
            for slot in indices(s.oo.has):
                yield clause("oo has the first slots", s.oo.has[slot] == (slot < s.oo.objects), cache)
                yield clause("min has the first slots", s.min.has[slot] == (slot < s.min.objects), cache)


@invariant("K7", origin="kmem_cache_open(): min_partial; set_cpu_partial(), slub_set_cpu_partial()")
def limits_as_sized(m: CacheMachine) -> Clauses:
    """min_partial lies between MIN_PARTIAL and MAX_PARTIAL; cpu_partial_slabs are cpu_partial objects."""
    for cache in indices(m.kmem_cache):
        s = m.kmem_cache[cache]
        if s.alive:
            within = m.geometry.min_partial <= s.min_partial and s.min_partial <= m.geometry.max_partial
            yield clause("MIN_PARTIAL <= min_partial <= MAX_PARTIAL", within, cache)
            slabs = cpu_partial_as_slabs(s.cpu_partial, max(1, s.oo.objects))
            yield clause("cpu_partial_slabs follows cpu_partial", s.cpu_partial_slabs == slabs, cache)


@invariant("S16", origin="calculate_order(), allocate_slab(): oo, or min if memory is short")
def slabs_of_two_orders(m: CacheMachine) -> Clauses:
    """oo wastes at most a quarter or is min, the smallest order with an object; each slab is of one of the two."""
    for cache in indices(m.kmem_cache):
        s = m.kmem_cache[cache]
        if s.alive:
            yield clause("min is the smallest order", s.min.order == get_order(m.geometry, max(1, s.size)), cache)
            yield clause("min is not larger than oo", s.min.order <= s.oo.order, cache)
            yield clause("oo < MAX_ORDER", s.oo.order < m.geometry.max_order, cache)
            slab_size = m.geometry.page_size << s.oo.order
            little = (slab_size - s.oo.objects * s.size) * 4 <= slab_size
            smallest = s.oo.order == max(m.geometry.slub_min_order, s.min.order)
            yield clause("at most a quarter is wasted, or nothing smaller will do", little or smallest, cache)
    for page in indices(m.slab):
        owner = m.slab[page].slab_cache
        if owner is not None:
            order = folio_order(m, page)
            objects = m.slab[page].objects
            s = m.kmem_cache[owner]
            best = order == s.oo.order and objects == s.oo.objects
            least = order == s.min.order and objects == s.min.objects
            yield clause("a slab is as oo or as min says", best or least, page)


@invariant("S18", origin="kmem_cache_destroy(), __kmem_cache_shutdown(), kmem_cache_release()")
def nothing_is_left_of_a_cache(m: CacheMachine) -> Clauses:
    """A cache that is gone has no slabs, no objects, no handles and nothing on any cpu or node."""
    for cache in indices(m.kmem_cache):
        s = m.kmem_cache[cache]
        if not s.alive:
            for cpu in indices(s.cpu_slab):
                c = s.cpu_slab[cpu]
                yield clause("no cpu has a slab of it", c.slab is None and c.partial is None, cache, cpu)
                yield clause("no cpu has an object of it", c.freelist is None, cache, cpu)
            for node in indices(s.node):
                n = s.node[node]
                yield clause("no node has a partial slab of it", n.first is None and n.last is None, cache, node)
                none = n.nr_partial == 0 and n.nr_slabs == 0 and n.total_objects == 0
                yield clause("no node counts slabs of it", none, cache, node)
    for page in indices(m.slab):
        owner = m.slab[page].slab_cache
        if owner is not None:
            yield clause("a slab's cache is there", m.kmem_cache[owner].alive, page)
    for object in indices(m.held):
        kept = m.held[object]
        if kept is not None:
            yield clause("an object's cache is there", m.kmem_cache[kept].alive, object)
    for handle in indices(m.handle):
        named = m.handle[handle]
        if named is not None:
            yield clause("a handle's cache is there", m.kmem_cache[named].alive, handle)


@invariant("S19", origin="init_cache_random_seq(), freelist_randomize(); CVE-2017-5546")
def random_sequence_is_a_permutation(m: CacheMachine) -> Clauses:
    """The random sequence of a cache names each object of a slab once; a single object needs none."""
    for cache in indices(m.kmem_cache):
        s = m.kmem_cache[cache]
        for position in indices(s.random_seq):
            slot = s.random_seq[position]
            wanted = s.alive and s.oo.objects >= 2 and position < s.oo.objects
            yield clause("a sequence for each position", (slot is not None) == wanted, cache, position)
            if slot is not None:
                yield clause("an object of the slab", slot < s.oo.objects, cache, position)
                once = all(s.random_seq[other] != slot for other in range(position))
                yield clause("no object twice", once, cache, position)


@invariant("S24", origin="kmem_cache_destroy(): s->refcount--; __kmem_cache_alias(): s->refcount++")
def references_are_names(m: CacheMachine) -> Clauses:
    """refcount is the number of names of a cache: of those who created it or an alias and did not destroy that."""
    for cache in indices(m.kmem_cache):
        s = m.kmem_cache[cache]
        names = sum(1 for handle in indices(m.handle) if m.handle[handle] == cache)
        yield clause("refcount counts the names", s.refcount == names, cache)
        if s.refcount > 1:
            yield clause("only mergeable caches have aliases", not slab_unmergeable(m, cache), cache)


@invariant("K1", origin="calculate_alignment(), find_mergeable(), __kmem_cache_alias()")
def wishes_are_met(m: CacheMachine) -> Clauses:
    """Whoever has a name for a cache gets objects that are large enough, aligned as asked, and cleared to the end."""
    for handle in indices(m.handle):
        cache = m.handle[handle]
        wish = m.wish[handle]
        if cache is not None:
            s = m.kmem_cache[cache]
            info = m.info[cache]
            yield clause("kzalloc() clears the whole object", wish.size <= s.object_size, handle)
            yield clause("the object ends before its metadata", wish.size <= info.inuse, handle)
            yield clause("the objects are aligned as asked", s.size & (max(1, wish.align) - 1) == 0, handle)
            wanted = slab_flags(wish.kind) & SLAB_MERGE_SAME
            yield clause("flags that an alias must share are shared", s.flags & SLAB_MERGE_SAME == wanted, handle)
            shared = s.refcount > 1
            alone = slab_flags(wish.kind) & SLAB_NEVER_MERGE != 0
            yield clause("a cache that must be alone is", not (shared and alone), handle)
            yield clause("a cache that must be alone says so", not alone or s.flags & SLAB_NEVER_MERGE != 0, handle)
            permitted = slab_flags(wish.kind) & ~SLAB_FLAGS_PERMITTED == 0
            yield clause("nobody got what nobody may ask for", permitted, handle)
        else:
            yield clause("no name, no wish", wish.size == 0 and wish.align == 0 and wish.kind == 0, handle)


@invariant("K2", origin="calculate_sizes(): s->inuse, s->offset, s->size")
def objects_as_laid_out(m: CacheMachine) -> Clauses:
    """Object and free pointer lie between an object and the next one, and the distance keeps the alignment."""
    for cache in indices(m.kmem_cache):
        s = m.kmem_cache[cache]
        info = m.info[cache]
        if s.alive:
            yield clause("the alignment is a power of two", s.align >= 1 and s.align & (s.align - 1) == 0, cache)
            yield clause("the distance keeps the alignment", s.size & (s.align - 1) == 0, cache)
            yield clause("the object fits", s.object_size <= info.inuse and info.inuse <= s.size, cache)
            yield clause("the free pointer fits", info.offset + m.geometry.word <= s.size, cache)
            yield clause("there is an object", s.object_size >= 1, cache)
            yield clause("SLUB knows all flags", s.flags & ~CACHE_CREATE_MASK == 0, cache)


@invariant("K3", origin="slab_caches: list_add() in create_cache(), list_del() in shutdown_cache(); 46a9ea668188")
def caches_listed(m: CacheMachine) -> Clauses:
    """slab_caches is linked both ways and has every cache once."""
    first = m.slab_caches.first
    last = m.slab_caches.last
    yield clause("both ends or none", (first is None) == (last is None))
    if first is not None:
        yield clause("the first has no predecessor", m.info[first].prev is None and m.kmem_cache[first].alive)
    if last is not None:
        yield clause("the last has no successor", m.info[last].next is None and m.kmem_cache[last].alive)
    for cache in indices(m.kmem_cache):
        next = m.info[cache].next
        prev = m.info[cache].prev
        if m.kmem_cache[cache].alive:
            if next is None:
                yield clause("a cache without successor is the last", last == cache, cache)
            else:
                yield clause("the successor points back", m.info[next].prev == cache, cache)
                yield clause("the successor is a cache", m.kmem_cache[next].alive, cache)
            if prev is None:
                yield clause("a cache without predecessor is the first", first == cache, cache)
            else:
                yield clause("the predecessor points forward", m.info[prev].next == cache, cache)
                yield clause("the predecessor is a cache", m.kmem_cache[prev].alive, cache)
        else:
            yield clause("what is no cache is linked nowhere", next is None and prev is None, cache)
    alive = sum(1 for cache in indices(m.kmem_cache) if m.kmem_cache[cache].alive)
    yield clause("every cache is on the list", list_length(m) == alive)


def list_length(m: CacheMachine) -> int:
    """Caches met on a walk along slab_caches; one more than there can be if the walk does not end."""
    length = 0
    cache = m.slab_caches.first
    for _ in range(len(m.kmem_cache) + 1):
        if cache is None:
            break
        length += 1
        cache = m.info[cache].next
    return length


@invariant("K4", origin="slab_kmem_cache_release(), kmem_cache_zalloc(kmem_cache)")
def unused_entries_are_blank(m: CacheMachine) -> Clauses:
    """An entry that names no cache is as new."""
    for cache in indices(m.kmem_cache):
        s = m.kmem_cache[cache]
        info = m.info[cache]
        if not s.alive:
            blank = s.flags == 0 and s.size == 0 and s.object_size == 0 and s.align == 0 and s.refcount == 0
            yield clause("no sizes", blank and info.inuse == 0 and info.offset == 0, cache)
            no_slabs = s.oo.order == 0 and s.oo.objects == 0 and s.min.order == 0 and s.min.objects == 0
            yield clause("no slabs", no_slabs and all(not s.oo.has[slot] for slot in indices(s.oo.has)), cache)
            yield clause("no constructor, no region", not info.ctor and info.usersize == 0, cache)


def objects_left(m: CacheMachine, cache: Cache) -> bool:
    """Whether somebody has an object of a cache."""
    return any(m.held[object] == cache for object in indices(m.held))


@step_property("S18-destroy", action=kmem_cache_destroy, origin="kmem_cache_destroy(), shutdown_cache(); 02e1a9cd1ebf")
def destroyed_if_empty(
    before: CacheMachine, after: CacheMachine, handle: Handle, cpu: Cpu, result: bool
) -> Clauses:
    """With its last name a cache goes, unless it has objects: then it stays, and the kernel warns."""
    cache = before.handle[handle]
    if cache is not None:
        last = before.kmem_cache[cache].refcount == 1
        busy = objects_left(before, cache)
        yield clause("a cache without objects is destroyed", not last or busy or not after.kmem_cache[cache].alive)
        yield clause("a cache with objects or names stays", (last and not busy) or after.kmem_cache[cache].alive)
        yield clause("the kernel warns if objects are left", result == (last and busy))
        for page in indices(after.slab):
            if last and after.slab[page].slab_cache == cache:
                yield clause("only slabs with objects stay", after.slab[page].inuse > 0, page)
    for object in indices(after.held):
        yield clause("nobody loses an object", after.held[object] == before.held[object], object)


@step_property("S24-destroy", action=kmem_cache_destroy, origin="kmem_cache_destroy(): if (s->refcount)")
def alias_goes_alone(before: CacheMachine, after: CacheMachine, handle: Handle, cpu: Cpu, result: bool) -> Clauses:
    """A name that is not the last takes nothing with it; other caches are not touched."""
    cache = before.handle[handle]
    for page in indices(after.slab):
        owner = before.slab[page].slab_cache
        if owner is not None and cache is not None and (owner != cache or before.kmem_cache[cache].refcount > 1):
            kept = after.slab[page].slab_cache == owner and after.slab[page].inuse == before.slab[page].inuse
            yield clause("slabs of other names and caches stay as they are", kept, page)


@step_property("S18-shrink", action=kmem_cache_shrink, origin="__kmem_cache_shrink(): discard; flush_all()")
def shrunk_to_what_is_used(
    before: CacheMachine, after: CacheMachine, handle: Handle, cpu: Cpu, result: bool
) -> Clauses:
    """After a shrink every slab of the cache has an object in use and belongs to no cpu."""
    cache = before.handle[handle]
    left = any(after.slab[page].slab_cache == cache for page in indices(after.slab))
    if cache is not None:
        yield clause("the result says whether slabs are left", result == left)
        for page in indices(after.slab):
            if after.slab[page].slab_cache == cache:
                yield clause("no empty slab is left", after.slab[page].inuse > 0, page)
                yield clause("no cpu has a slab", not after.slab[page].frozen, page)


@step_property("K5", action=kmem_cache_create, origin="kmem_cache_create_usercopy(): SLAB_FLAGS_PERMITTED, SLAB_PANIC")
def created_or_refused(
    before: CacheMachine,
    after: CacheMachine,
    handle: Handle,
    caller: Caller,
    size: WishedSize,
    alignment: AlignmentShift,
    kind: Kind,
    region: Region,
    ctor: bool,
    result: Cache | None,
) -> Clauses:
    """Bad arguments give nothing, and a panic if that was asked for; good ones give an alias or a cache."""
    flags = slab_flags(kind)
    panic = flags & SLAB_PANIC != 0
    bad_flags = flags & ~SLAB_FLAGS_PERMITTED != 0
    bad_caller = before.debug_vm != 0 and caller != Caller.ORDINARY
    yield clause("what is not permitted is refused", not (bad_flags or bad_caller) or result is None)
    yield clause("a failure panics exactly if that was asked for", after.panicked == (panic and result is None))
    room = any(not before.kmem_cache[cache].alive for cache in indices(before.kmem_cache))
    fits = calculate_order(before.geometry, own_stride(before, size, alignment, flags, ctor)) is not None
    refused = bad_flags or bad_caller or caller != Caller.ORDINARY
    yield clause("what is good is not refused", refused or not room or not fits or result is not None)
    if result is not None and before.kmem_cache[result].alive:
        was = before.kmem_cache[result]
        now = after.kmem_cache[result]
        close = now.size - own_stride(before, size, alignment, flags, ctor) < before.geometry.word
        yield clause("an alias wastes less than a word an object", close)
        yield clause("an alias adds a name", now.refcount == was.refcount + 1)
        yield clause("an alias keeps the distance", now.size == was.size)
    if result is not None and not before.kmem_cache[result].alive:
        for cache in indices(before.kmem_cache):
            twin = before.kmem_cache[cache].alive and mergeable_twin(after, cache, result)
            yield clause("there was none to merge with", not twin, cache)


def own_stride(m: CacheMachine, size: int, alignment: int, flags: int, ctor: bool) -> int:
    """The distance between objects of a cache of its own for such a wish."""
    align = calculate_alignment(m.geometry, flags, (1 << alignment) if alignment > 0 else 0, size)
    return slab_object_size(m.geometry, size, align, flags & CACHE_CREATE_MASK, ctor)


def mergeable_twin(m: CacheMachine, cache: Cache, other: Cache) -> bool:
    """Whether two caches may both be merged and have objects of the same distance and kind."""
    s = m.kmem_cache[cache]
    t = m.kmem_cache[other]
    same = s.size == t.size and s.flags & SLAB_MERGE_SAME == t.flags & SLAB_MERGE_SAME
    return same and not slab_unmergeable(m, cache) and not slab_unmergeable(m, other)


def slots(sizes: Sizes) -> int:
    """The most objects that a slab of any cache here has; a larger object than a page has fewer than one of a word."""
    geometry = SlabGeometry(Store(sizes))
    most = 1
    for size in range(sizes["word"], sizes["page_size"] + 1, sizes["word"]):
        order = calculate_order(geometry, size)
        if order is not None:
            most = max(most, order_objects(geometry, order, size))
    return most


def partial_slabs(sizes: Sizes) -> int:
    """The most slabs that a cpu partial list can have: set_cpu_partial() allows more than there is memory for."""
    return min(sizes["frames"], 240)


DERIVED = {
    **PAGE_ALLOC_DERIVED,
    "slots": slots,
    "objects": lambda sizes: sizes["frames"] * sizes["slots"],
    "inuse_bits": lambda sizes: sizes["slots"].bit_length(),
    "size_max": size_max,
    "flags_max": lambda sizes: FLAGS_MAX,
    "refcount_max": lambda sizes: sizes["handles"],
    "cpu_partial_max": lambda sizes: 120,
    "cpu_partial_slabs_max": lambda sizes: 240,
    "chain_turns": partial_slabs,
    "partial_turns": lambda sizes: sizes["frames"] + 1,
    "arguments": lambda sizes: 1,
    "redo_turns": lambda sizes: sizes["frames"] + 2,
    "gfp": lambda sizes: GFP_NOWAIT,
    # What the scope of `slub` says of its caches is computed here.
    "oo_order": lambda sizes: 0,
    "oo_objects": lambda sizes: 0,
    "min_order": lambda sizes: 0,
    "min_objects": lambda sizes: 0,
    "min_partial": lambda sizes: 0,
    "cpu_partial_slabs": lambda sizes: 0,
    "known_random_seq": lambda sizes: 1,
    "rcu_delays": lambda sizes: 0,
}
SLAB_INVARIANTS = tuple(
    statement for statement in INVARIANTS if statement not in (slab_orders, random_sequence_is_permutation)
)
"""What holds of slabs whatever caches there are; the two others say that no cache ever changes."""

SPEC = Spec(
    name="cache",
    state=CacheMachine,
    init=no_caches,
    actions=(kmem_cache_create, kmem_cache_destroy, kmem_cache_shrink, kmem_cache_alloc, kmem_cache_free),
    properties=(
        *SLAB_INVARIANTS,
        objects_as_sized,
        limits_as_sized,
        slabs_of_two_orders,
        nothing_is_left_of_a_cache,
        random_sequence_is_a_permutation,
        references_are_names,
        wishes_are_met,
        objects_as_laid_out,
        caches_listed,
        unused_entries_are_blank,
        destroyed_if_empty,
        alias_goes_alone,
        shrunk_to_what_is_used,
        created_or_refused,
    ),
    parameters=(
        *page_alloc_parameters(pages=2, orders=2, costly_order=0, pageblock_order=1),
        Parameter("caches", 2, "the caches there can be", least=1, most=1 << 12),
        Parameter("handles", 2, "the names of caches that callers can have", least=1, most=1 << 12),
        Parameter("wished_size_least", 2, "the smallest object asked for, in bytes", least=1, most=1 << 23),
        Parameter("wished_size_max", 3, "the largest object asked for, in bytes", least=1, most=1 << 23),
        Parameter("alignments", 1, "alignments asked for: none, 2, 4 … bytes", least=1, most=13),
        Parameter("kinds", 2, "the kinds of flags that callers give, by slab_flags() in the model", most=7),
        Parameter("regions", 1, "the regions for user space that callers give, by user_size() in the model", most=4),
        Parameter("slab_nomerge", 0, "the boot parameter slab_nomerge", least=0, most=1),
        Parameter("debug_vm", 1, "CONFIG_DEBUG_VM", least=0, most=1),
        Parameter("tid_bits", 3, "the bits of a cpu's transaction number", least=1, most=64),
        *geometry_parameters(page_size=4, word=2, minalign=2),
    ),
    derived=DERIVED,
    requirements=(
        *PAGE_ALLOC_REQUIREMENTS,
        OF_ONE_TYPE,
        *GEOMETRY_REQUIREMENTS,
        Requirement(
            lambda sizes: sizes["wished_size_least"] <= sizes["wished_size_max"],
            "wished_size_least <= wished_size_max",
        ),
    ),
    scopes={
        "two-cpus": {"cpus": 2, "caches": 1, "handles": 1, "kinds": 1, "wished_size_max": 2},
        "three-names": {"caches": 1, "handles": 3, "kinds": 2},
        "one-cache": {"caches": 1, "handles": 2, "kinds": 2, "wished_size_max": 4, "pages": 4},
        "unrounded": {"kinds": 1, "wished_size_least": 3, "wished_size_max": 4},
        "words-of-one": {"kinds": 2, "word": 1, "minalign": 1, "wished_size_least": 3, "wished_size_max": 4},
        "alone": {"kinds": 7, "regions": 4, "wished_size_least": 4, "wished_size_max": 4},
        "no-checks": {"caches": 1, "kinds": 2, "alignments": 3, "debug_vm": 0, "wished_size_max": 9},
        "no-merging": {"kinds": 1, "slab_nomerge": 1},
        "three-objects": {
            "caches": 1,
            "handles": 1,
            "kinds": 1,
            "page_size": 8,
            "word": 1,
            "minalign": 1,
            "slub_min_objects": 3,
            "wished_size_least": 5,
            "wished_size_max": 5,
        },
        "x86-64": {
            **X86_64,
            "nr_cpus": 2,
            "pages": 1 << 10,
            "pageblock_order": 9,
            "costly_order": 3,
            "long": 63,
            "caches": 300,
            "handles": 300,
            "wished_size_least": 1,
            "wished_size_max": 1 << 22,
            "alignments": 13,
        },
    },
    explored=("two-cpus", "alone", "no-checks", "no-merging"),
    doc=__doc__,
)
