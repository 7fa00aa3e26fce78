"""Creating, merging, shrinking and destroying caches (Linux 6.1, mm/slab_common.c, and mm/slub.c where it opens one).

Functions have the kernel's names and the kernel's order of steps. A `struct kmem_cache *` is the index of an entry of
`kmem_cache`; what callers hold is a handle, so that two names of one merged cache are two handles of one entry.

What is left out: the caches of the boot (kmalloc, kmem_cache itself: refcount -1 until they are up), the memory of
struct kmem_cache and its nodes (an entry is free or there is -ENOMEM), sysfs, debugfs, and the grace period of
SLAB_TYPESAFE_BY_RCU, after which slabs and cache are really freed: here it has passed when the step ends.
"""

from __future__ import annotations

import enum
from typing import Annotated

from .lang import GHOST, Array, FromScope, Range, Record, Sort, action, bounded, choose, indices, require
from .slab import Cache, Cpu, KmemCache, Object
from .slab_clients import SlubMachine, give_out, mem_init
from .slab_size import (
    SLAB_ACCOUNT,
    SLAB_CACHE_DMA,
    SLAB_CACHE_DMA32,
    SLAB_DEBUG_FLAGS,
    SLAB_FAILSLAB,
    SLAB_HWCACHE_ALIGN,
    SLAB_MEM_SPREAD,
    SLAB_NO_USER_FLAGS,
    SLAB_NOLEAKTRACE,
    SLAB_PANIC,
    SLAB_POISON,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TRACE,
    SLAB_TYPESAFE_BY_RCU,
    SlabGeometry,
    align_up,
    calculate_alignment,
    calculate_order,
    cpu_partial_as_slabs,
    freepointer_offset,
    get_order,
    initial_cpu_partial,
    initial_min_partial,
    object_inuse,
    order_objects,
    slab_object_size,
)
from .slub import (
    flush_all,
    free_partials,
    kmem_cache_do_shrink,
    slab_alloc_node,
    slab_free,
    virt_to_slab,
)

Handle = Annotated[int, Sort("handle", "handles")]
WishedSize = Annotated[int, Range("wished_size_least", "wished_size_max")]
AlignmentShift = Annotated[int, Sort("alignment", "alignments")]
Kind = Annotated[int, Sort("kind", "kinds")]
Region = Annotated[int, Sort("region", "regions")]

SLAB_NEVER_MERGE = (
    SLAB_RED_ZONE
    | SLAB_POISON
    | SLAB_STORE_USER
    | SLAB_TRACE
    | SLAB_TYPESAFE_BY_RCU
    | SLAB_NOLEAKTRACE
    | SLAB_FAILSLAB
)
"""Flags that keep a cache to itself."""

SLAB_MERGE_SAME = SLAB_RECLAIM_ACCOUNT | SLAB_CACHE_DMA | SLAB_CACHE_DMA32 | SLAB_ACCOUNT
"""Flags that must be the same in caches that are merged."""

SLAB_CORE_FLAGS = SLAB_HWCACHE_ALIGN | SLAB_CACHE_DMA | SLAB_CACHE_DMA32 | SLAB_PANIC | SLAB_TYPESAFE_BY_RCU
SLAB_CACHE_FLAGS = SLAB_NOLEAKTRACE | SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT | SLAB_NO_USER_FLAGS
CACHE_CREATE_MASK = SLAB_CORE_FLAGS | SLAB_DEBUG_FLAGS | SLAB_CACHE_FLAGS
"""The flags that SLUB knows; others that are permitted (SLAB_MEM_SPREAD) are dropped."""

SLAB_FLAGS_PERMITTED = CACHE_CREATE_MASK | SLAB_MEM_SPREAD
"""What a caller may give (CONFIG_DEBUG_OBJECTS is off: SLAB_DEBUG_OBJECTS is 0)."""


class Caller(enum.IntEnum):
    """How kmem_cache_create() is called."""

    ORDINARY = 0
    WITHOUT_NAME = 1
    IN_INTERRUPT = 2


class CacheInfo(Record):
    """Fields of struct kmem_cache that only creation and destruction read."""

    inuse: Annotated[int, Range(0, "size_max")]  # where the metadata behind an object begins
    offset: Annotated[int, Range(0, "size_max")]  # where in an object the free pointer is
    ctor: bool
    usersize: Annotated[int, Range(0, "size_max")]
    next: Cache | None  # list.next
    prev: Cache | None  # list.prev


class ListHead(Record):
    """The list slab_caches, the newest cache first."""

    first: Cache | None
    last: Cache | None


class Wish(Record):
    """What the holder of a handle asked for when it got it."""

    size: Annotated[int, Range(0, "wished_size_max")]
    align: Annotated[int, Range(0, "size_max")]
    kind: Kind


class CacheMachine(SlubMachine):
    """SLUB with caches that come and go, and the handles that callers hold.

    After a panic nothing happens any more."""

    geometry: SlabGeometry
    slab_nomerge: Annotated[int, FromScope("slab_nomerge")]
    debug_vm: Annotated[int, FromScope("debug_vm")]
    info: Array[Cache, CacheInfo]
    slab_caches: ListHead
    handle: Annotated[Array[Handle, Cache | None], GHOST]
    wish: Annotated[Array[Handle, Wish], GHOST]
    panicked: Annotated[bool, GHOST]


# --- the list of caches


def slab_caches_add(m: CacheMachine, cache: Cache) -> None:
    """Put a new cache first (list_add(&s->list, &slab_caches))."""
    head = m.slab_caches.first
    m.info[cache].next = head
    m.info[cache].prev = None
    if head is None:
        m.slab_caches.last = cache
    else:
        m.info[head].prev = cache
    m.slab_caches.first = cache


def slab_caches_del(m: CacheMachine, cache: Cache) -> None:
    """Unlink a cache (list_del(&s->list))."""
    next = m.info[cache].next
    prev = m.info[cache].prev
    if prev is None:
        m.slab_caches.first = next
    else:
        m.info[prev].next = next
    if next is None:
        m.slab_caches.last = prev
    else:
        m.info[next].prev = prev
    m.info[cache].next = None
    m.info[cache].prev = None


# --- the random sequence (mm/slab_common.c)


def freelist_randomize(s: KmemCache, count: int) -> None:
    """Shuffle the objects of a slab, by Fisher and Yates (freelist_randomize())."""
    for index in range(count):
        s.random_seq[index] = index
    for index in range(count - 1, 0, -1):
        rand = choose(range(index + 1))
        kept = s.random_seq[index]
        s.random_seq[index] = s.random_seq[rand]
        s.random_seq[rand] = kept


def init_cache_random_seq(s: KmemCache) -> None:
    """Decide the order in which the objects of each new slab are given out (init_cache_random_seq()).

    Below two objects there is nothing to decide, and no sequence (cache_random_seq_create())."""
    count = s.oo.objects
    if count >= 2:
        freelist_randomize(s, count)


# --- opening a cache (mm/slub.c)


def slub_set_cpu_partial(s: KmemCache, nr_objects: int) -> None:
    """Limit the partial slabs of a cpu (slub_set_cpu_partial())."""
    s.cpu_partial = nr_objects
    s.cpu_partial_slabs = cpu_partial_as_slabs(nr_objects, s.oo.objects)


def calculate_sizes(m: CacheMachine, cache: Cache) -> bool:
    """The layout of objects and slabs; false if no slab holds an object (calculate_sizes())."""
    s = m.kmem_cache[cache]
    info = m.info[cache]
    info.inuse = object_inuse(m.geometry, s.object_size, s.flags)
    info.offset = freepointer_offset(m.geometry, s.object_size, s.flags, info.ctor)
    s.size = slab_object_size(m.geometry, s.object_size, s.align, s.flags, info.ctor)
    order = calculate_order(m.geometry, s.size)
    if order is None:
        return False
    s.oo.order = order
    s.oo.objects = order_objects(m.geometry, order, s.size)
    s.min.order = get_order(m.geometry, s.size)
    s.min.objects = order_objects(m.geometry, s.min.order, s.size)
    for slot in indices(s.oo.has):
        s.oo.has[slot] = slot < s.oo.objects
        s.min.has[slot] = slot < s.min.objects
    return s.oo.objects != 0


def kmem_cache_open(m: CacheMachine, cache: Cache, flags: int) -> bool:
    """Fill in a new cache; false for -EINVAL (kmem_cache_open(), under __kmem_cache_create()).

    kmem_cache_flags() adds what the boot parameter slub_debug asks for: nothing here."""
    s = m.kmem_cache[cache]
    s.flags = flags
    possible = calculate_sizes(m, cache)
    if not possible:
        return False
    s.min_partial = initial_min_partial(m.geometry, s.size)
    slub_set_cpu_partial(s, initial_cpu_partial(m.geometry, s.size, s.flags))
    init_cache_random_seq(s)
    return True


# --- merging (mm/slab_common.c, mm/slub.c)


def slab_unmergeable(m: CacheMachine, cache: Cache) -> bool:
    """Whether a cache takes no aliases (slab_unmergeable())."""
    if m.slab_nomerge != 0 or m.kmem_cache[cache].flags & SLAB_NEVER_MERGE != 0:
        return True
    if m.info[cache].ctor:
        return True
    if m.info[cache].usersize != 0:
        return True
    return m.kmem_cache[cache].refcount < 0  # a cache of the boot


@bounded("caches")
def find_mergeable(m: CacheMachine, size: int, align: int, flags: int, ctor: bool) -> Cache | None:
    """The oldest cache whose objects are of the same size and good enough (find_mergeable())."""
    if m.slab_nomerge != 0:
        return None
    if ctor:
        return None
    size = align_up(size, m.geometry.word)
    align = calculate_alignment(m.geometry, flags, align, size)
    size = align_up(size, align)
    if flags & SLAB_NEVER_MERGE != 0:
        return None
    cache = m.slab_caches.last
    while cache is not None:
        s = m.kmem_cache[cache]
        if not slab_unmergeable(m, cache):
            fits = size <= s.size and s.size - size < m.geometry.word
            aligned = s.size & ~(align - 1) == s.size
            if fits and aligned and flags & SLAB_MERGE_SAME == s.flags & SLAB_MERGE_SAME:
                return cache
        cache = m.info[cache].prev
    return None


def kmem_cache_alias(m: CacheMachine, size: int, align: int, flags: int, ctor: bool) -> Cache | None:
    """Make the new name an alias of a cache that will do (__kmem_cache_alias())."""
    cache = find_mergeable(m, size, align, flags, ctor)
    if cache is not None:
        s = m.kmem_cache[cache]
        s.refcount += 1
        # So that kzalloc() clears the whole object for every alias.
        s.object_size = max(s.object_size, size)
        m.info[cache].inuse = max(m.info[cache].inuse, align_up(size, m.geometry.word))
    return cache


# --- creating


def kmem_cache_sanity_check(m: CacheMachine, caller: int, size: int) -> bool:
    """Whether the call makes sense; nothing is checked without CONFIG_DEBUG_VM (kmem_cache_sanity_check()).

    The limit is KMALLOC_MAX_SIZE. Older kernels refuse objects smaller than a word too."""
    if m.debug_vm == 0:
        return True
    return caller == Caller.ORDINARY and size <= m.geometry.page_size << (m.geometry.max_order - 1)


def kmem_cache_zalloc(m: CacheMachine) -> Cache | None:
    """An entry that names no cache (kmem_cache_zalloc(kmem_cache))."""
    for cache in indices(m.kmem_cache):
        if not m.kmem_cache[cache].alive:
            return cache
    return None


def create_cache(
    m: CacheMachine, object_size: int, align: int, flags: int, usersize: int, ctor: bool
) -> Cache | None:
    """A cache of its own, or None for -ENOMEM and -EINVAL (create_cache())."""
    cache = kmem_cache_zalloc(m)
    if cache is None:
        return None
    s = m.kmem_cache[cache]
    s.alive = True
    s.size = object_size
    s.object_size = object_size
    s.align = align
    m.info[cache].ctor = ctor
    m.info[cache].usersize = usersize
    opened = kmem_cache_open(m, cache, flags)
    if not opened:
        slab_kmem_cache_release(m, cache)
        return None
    s.refcount = 1
    slab_caches_add(m, cache)
    return cache


def kmem_cache_create_usercopy(
    m: CacheMachine,
    caller: int,
    size: int,
    align: int,
    flags: int,
    useroffset: int,
    usersize: int,
    ctor: bool,
) -> Cache | None:
    """A cache for objects of this size, perhaps an alias of another one; None, or a panic, if the arguments are bad
    (kmem_cache_create_usercopy())."""
    if not kmem_cache_sanity_check(m, caller, size) or flags & ~SLAB_FLAGS_PERMITTED != 0:
        m.panicked = flags & SLAB_PANIC != 0
        return None
    flags &= CACHE_CREATE_MASK
    # Fail closed on bad values.
    if (usersize == 0 and useroffset != 0) or size < usersize or size - usersize < useroffset:
        usersize = 0
        useroffset = 0
    cache: Cache | None = None
    if usersize == 0:
        cache = kmem_cache_alias(m, size, align, flags, ctor)
    if cache is None and caller != Caller.WITHOUT_NAME:
        # kstrdup_const() of no name is NULL, which counts as -ENOMEM.
        cache = create_cache(m, size, calculate_alignment(m.geometry, flags, align, size), flags, usersize, ctor)
    if cache is None:
        m.panicked = flags & SLAB_PANIC != 0
    return cache


# --- shrinking and destroying


def slab_kmem_cache_release(m: CacheMachine, cache: Cache) -> None:
    """The entry names no cache any more (slab_kmem_cache_release(); it is zero when it is used again)."""
    s = m.kmem_cache[cache]
    info = m.info[cache]
    s.alive = False
    s.flags = 0
    s.size = 0
    s.object_size = 0
    s.align = 0
    s.refcount = 0
    s.oo.order = 0
    s.oo.objects = 0
    s.min.order = 0
    s.min.objects = 0
    for slot in indices(s.oo.has):
        s.oo.has[slot] = False
        s.min.has[slot] = False
        s.random_seq[slot] = None
    s.min_partial = 0
    s.cpu_partial = 0
    s.cpu_partial_slabs = 0
    info.inuse = 0
    info.offset = 0
    info.ctor = False
    info.usersize = 0


def settle(m: CacheMachine, cache: Cache) -> None:
    """Between steps nobody holds a tid, so that its value means nothing: it begins anew."""
    for cpu in indices(m.kmem_cache[cache].cpu_slab):
        m.kmem_cache[cache].cpu_slab[cpu].tid = 0


def __kmem_cache_shrink(m: CacheMachine, cache: Cache, cpu: Cpu) -> bool:
    """Flush all cpus and free the empty slabs; gives whether slabs are left (__kmem_cache_shrink())."""
    flush_all(m, cache)
    return kmem_cache_do_shrink(m, cache, cpu)


def __kmem_cache_shutdown(m: CacheMachine, cache: Cache, cpu: Cpu) -> bool:
    """Flush all cpus and free the slabs; gives whether some are left, as objects remain (__kmem_cache_shutdown())."""
    flush_all(m, cache)
    return free_partials(m, cache, cpu)


def shutdown_cache(m: CacheMachine, cache: Cache, cpu: Cpu) -> bool:
    """Free the cache's memory and take it off the list; gives whether it is -EBUSY: objects are left
    (shutdown_cache())."""
    left = __kmem_cache_shutdown(m, cache, cpu)
    if left:
        return True
    slab_caches_del(m, cache)
    return False


def destroy_cache(m: CacheMachine, cache: Cache, cpu: Cpu) -> bool:
    """One name of a cache less; the last one takes the cache with it. Gives whether the kernel warns that it still
    has objects: it stays, without a name (kmem_cache_destroy())."""
    s = m.kmem_cache[cache]
    s.refcount -= 1
    if s.refcount != 0:
        return False
    busy = shutdown_cache(m, cache, cpu)
    settle(m, cache)
    if busy:
        return True
    slab_kmem_cache_release(m, cache)
    return False


# --- the machine: what callers do with their handles


def slab_flags(kind: int) -> int:
    """The flags that callers give here, by number: a scope has the first so many of them."""
    if kind == 1:
        return SLAB_PANIC | SLAB_HWCACHE_ALIGN
    if kind == 2:
        return SLAB_RECLAIM_ACCOUNT
    if kind == 3:
        return SLAB_FAILSLAB
    if kind == 4:
        return SLAB_FAILSLAB | SLAB_PANIC
    if kind == 5:
        return SLAB_TYPESAFE_BY_RCU
    if kind == 6:
        return SLAB_MEM_SPREAD
    return 0


def user_size(region: int, size: int) -> int:
    """How much of an object may be copied to user space, by number: nothing, a byte, nothing, more than there is."""
    if region == 1:
        return 1
    if region == 3:
        return size + 1
    return 0


@action
def kmem_cache_create(
    m: CacheMachine,
    handle: Handle,
    caller: Caller,
    size: WishedSize,
    alignment: AlignmentShift,
    kind: Kind,
    region: Region,
    ctor: bool,
) -> Cache | None:
    """A caller wants a cache, perhaps with a constructor (kmem_cache_create(), kmem_cache_create_usercopy())."""
    require(not m.panicked and m.handle[handle] is None)
    require(caller == Caller.ORDINARY or (handle == 0 and alignment == 0 and not ctor))
    # Without CONFIG_DEBUG_VM nothing is checked: taking the mutex in an interrupt is not what this model is about.
    require(caller != Caller.IN_INTERRUPT or m.debug_vm != 0)
    align = (1 << alignment) if alignment > 0 else 0
    # Region 2 begins behind the first byte and is empty, which is an error.
    useroffset = 1 if region == 2 else 0
    usersize = user_size(region, size)
    cache = kmem_cache_create_usercopy(m, caller, size, align, slab_flags(kind), useroffset, usersize, ctor)
    if cache is not None:
        m.handle[handle] = cache
        m.wish[handle].size = size
        m.wish[handle].align = align
        m.wish[handle].kind = kind
    return cache


@action
def kmem_cache_destroy(m: CacheMachine, handle: Handle, cpu: Cpu) -> bool:
    """A caller gives a cache back, and does not use it any more (kmem_cache_destroy()). Gives whether the kernel warns
    "Slab cache still has objects"."""
    cache = m.handle[handle]
    require(not m.panicked and cache is not None)
    assert cache is not None
    m.handle[handle] = None
    m.wish[handle].size = 0
    m.wish[handle].align = 0
    m.wish[handle].kind = 0
    return destroy_cache(m, cache, cpu)


@action
def kmem_cache_shrink(m: CacheMachine, handle: Handle, cpu: Cpu) -> bool:
    """A caller frees what memory a cache can spare (kmem_cache_shrink()). Gives whether slabs are left."""
    cache = m.handle[handle]
    require(not m.panicked and cache is not None)
    assert cache is not None
    left = __kmem_cache_shrink(m, cache, cpu)
    settle(m, cache)
    return left


@action
def kmem_cache_alloc(m: CacheMachine, handle: Handle, cpu: Cpu) -> Object | None:
    """A caller takes an object from a cache (kmem_cache_alloc())."""
    cache = m.handle[handle]
    require(not m.panicked and cache is not None)
    assert cache is not None
    object = slab_alloc_node(m, cache, cpu, m.gfp, None)
    settle(m, cache)
    give_out(m, cache, object)
    return object


@action
def kmem_cache_free(m: CacheMachine, cpu: Cpu, object: Object) -> None:
    """A caller gives an object back (kmem_cache_free()): also after its cache was destroyed in vain."""
    cache = m.held[object]
    require(not m.panicked and cache is not None)
    assert cache is not None
    m.held[object] = None
    slab_free(m, cache, cpu, virt_to_slab(m, object), object, None, 1)
    settle(m, cache)


def no_caches(m: CacheMachine) -> None:
    """All memory is free, and there are no caches but the ones that this model is not about."""
    mem_init(m.pages)
