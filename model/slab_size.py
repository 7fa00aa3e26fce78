"""How large, how aligned and how many: the sizing of a cache's objects and slabs (Linux 6.1, mm/slub.c).

The one idea: these functions are pure, over integers, and every constant of the machine (PAGE_SIZE, the word, the cache
line, the CPUs, slub_max_order …) comes from a `SlabGeometry`. So the same text gives the real kernel's numbers at
its real geometry, and runs in a scope whose page has eight bytes.
"""

from __future__ import annotations

from typing import Annotated

from .lang import FromScope, Machine, Range, Record, Sort, action, bounded, require, unsigned

Order = Annotated[int, Sort("order", "orders")]
UnsignedInt = Annotated[int, Machine(32)]
ObjectSize = Annotated[int, Range(1, "object_size_max")]
AlignmentShift = Annotated[int, Sort("alignment", "alignments")]

SLAB_CONSISTENCY_CHECKS = 0x00000100
SLAB_RED_ZONE = 0x00000400
SLAB_POISON = 0x00000800
SLAB_KMALLOC = 0x00001000
SLAB_HWCACHE_ALIGN = 0x00002000
SLAB_CACHE_DMA = 0x00004000
SLAB_CACHE_DMA32 = 0x00008000
SLAB_STORE_USER = 0x00010000
SLAB_RECLAIM_ACCOUNT = 0x00020000
SLAB_PANIC = 0x00040000
SLAB_TYPESAFE_BY_RCU = 0x00080000
SLAB_MEM_SPREAD = 0x00100000
SLAB_TRACE = 0x00200000
SLAB_NOLEAKTRACE = 0x00800000
SLAB_FAILSLAB = 0x02000000
SLAB_ACCOUNT = 0x04000000
SLAB_NO_USER_FLAGS = 0x10000000

SLAB_DEBUG_FLAGS = SLAB_RED_ZONE | SLAB_POISON | SLAB_STORE_USER | SLAB_TRACE | SLAB_CONSISTENCY_CHECKS

MAX_OBJS_PER_PAGE = 32767
"""slab.objects has 15 bits."""


class SlabGeometry(Record):
    """What the sizes depend on: the architecture, the configuration and the boot parameters of the kernel."""

    page_size: Annotated[int, FromScope("page_size")]  # PAGE_SIZE
    word: Annotated[int, FromScope("word")]  # sizeof(void *)
    cache_line: Annotated[int, FromScope("cache_line")]  # cache_line_size()
    minalign: Annotated[int, FromScope("minalign")]  # arch_slab_minalign()
    track: Annotated[int, FromScope("track")]  # sizeof(struct track)
    nr_cpus: Annotated[int, FromScope("nr_cpus")]  # num_present_cpus(), or nr_cpu_ids if that is 1
    max_order: Annotated[int, FromScope("orders")]  # MAX_ORDER, one more than the largest order (until 6.4)
    slub_min_order: Annotated[int, FromScope("slub_min_order")]
    slub_max_order: Annotated[int, FromScope("slub_max_order")]
    slub_min_objects: Annotated[int, FromScope("slub_min_objects")]
    min_partial: Annotated[int, FromScope("min_partial_least")]  # MIN_PARTIAL
    max_partial: Annotated[int, FromScope("min_partial_most")]  # MAX_PARTIAL
    kilobyte: Annotated[int, FromScope("kilobyte")]  # the 1024 of set_cpu_partial(); a quarter of it is its 256


# --- arithmetic (include/linux/align.h, bitops.h, include/asm-generic/getorder.h)


def align_up(value: int, alignment: int) -> int:
    """The next multiple of a power of two (ALIGN())."""
    return (value + alignment - 1) & ~(alignment - 1)


def align_down(value: int, alignment: int) -> int:
    """The last multiple of a power of two (ALIGN_DOWN())."""
    return value & ~(alignment - 1)


@bounded(32)
def fls(value: int) -> UnsignedInt:
    """The number of the highest bit set, counted from 1; 0 for 0 (fls())."""
    bit = 0
    while value >> bit != 0:
        bit += 1
    return bit


def get_order(geometry: SlabGeometry, size: int) -> UnsignedInt:
    """The order of the smallest block that holds `size` bytes, which are 1 or more (get_order())."""
    return fls((size - 1) // geometry.page_size)


# --- orders and objects (mm/slub.c)


def order_objects(geometry: SlabGeometry, order: int, size: int) -> int:
    """How many objects fit into a block of an order (order_objects())."""
    return (geometry.page_size << order) // size


def calc_slab_order(
    geometry: SlabGeometry, size: int, min_objects: int, max_order: int, fract_leftover: int
) -> UnsignedInt:
    """The smallest order that holds so many objects and wastes at most this fraction; more than max_order if there
    is none (calc_slab_order(); once slab_order())."""
    min_order = geometry.slub_min_order
    if order_objects(geometry, min_order, size) > MAX_OBJS_PER_PAGE:
        return unsigned(get_order(geometry, size * MAX_OBJS_PER_PAGE) - 1, 32)
    first = max(min_order, get_order(geometry, min_objects * size))
    for order in range(first, max_order + 1):
        slab_size = geometry.page_size << order
        rem = slab_size % size
        if rem <= slab_size // fract_leftover:
            return order
    return max(first, max_order + 1)


def wanted_objects(geometry: SlabGeometry) -> int:
    """The objects a slab should have at least: slub_min_objects, or by the number of CPUs (in calculate_order())."""
    if geometry.slub_min_objects != 0:
        return geometry.slub_min_objects
    return 4 * (fls(geometry.nr_cpus) + 1)


@bounded(64)
def calculate_order(geometry: SlabGeometry, size: int) -> Order | None:
    """The order of a cache's slabs: accept more and more waste, then fewer objects (calculate_order()).

    None is the kernel's -ENOSYS: not even one object fits."""
    max_objects = order_objects(geometry, geometry.slub_max_order, size)
    min_objects = min(wanted_objects(geometry), max_objects)
    while min_objects > 1:
        fraction = 16
        while fraction >= 4:
            order = calc_slab_order(geometry, size, min_objects, geometry.slub_max_order, fraction)
            if order <= geometry.slub_max_order:
                return order
            fraction //= 2
        min_objects -= 1
    order = calc_slab_order(geometry, size, 1, geometry.slub_max_order, 1)
    if order <= geometry.slub_max_order:
        return order
    order = calc_slab_order(geometry, size, 1, geometry.max_order, 1)
    if order < geometry.max_order:
        return order
    return None


# --- the object (mm/slab_common.c, mm/slub.c)


@bounded(32)
def calculate_alignment(geometry: SlabGeometry, flags: int, align: int, size: int) -> int:
    """The alignment of a cache's objects: what flags, caller and architecture ask (calculate_alignment())."""
    if flags & SLAB_HWCACHE_ALIGN != 0:
        ralign = geometry.cache_line
        while size <= ralign // 2:
            ralign //= 2
        align = max(align, ralign)
    align = max(align, geometry.minalign)
    return align_up(align, geometry.word)


def object_inuse(geometry: SlabGeometry, object_size: int, flags: int) -> int:
    """Where the metadata behind an object begins: s->inuse (calculate_sizes())."""
    size = align_up(object_size, geometry.word)
    if flags & SLAB_RED_ZONE != 0 and size == object_size:
        size += geometry.word
    return size


def freeptr_outside_object(geometry: SlabGeometry, object_size: int, flags: int, ctor: bool) -> bool:
    """Whether the free pointer may not overwrite the object (the condition in calculate_sizes())."""
    if flags & (SLAB_TYPESAFE_BY_RCU | SLAB_POISON) != 0 or ctor:
        return True
    return flags & SLAB_RED_ZONE != 0 and object_size < geometry.word


def freepointer_offset(geometry: SlabGeometry, object_size: int, flags: int, ctor: bool) -> int:
    """Where in the object the free pointer is: s->offset (calculate_sizes(); at 0 before 5.7)."""
    if freeptr_outside_object(geometry, object_size, flags, ctor):
        return object_inuse(geometry, object_size, flags)
    return align_down(object_size // 2, geometry.word)


def red_left_pad(geometry: SlabGeometry, align: int, flags: int) -> int:
    """The bytes before an object that catch a write in front of it (calculate_sizes())."""
    if flags & SLAB_RED_ZONE != 0:
        return align_up(geometry.word, align)
    return 0


def slab_object_size(geometry: SlabGeometry, object_size: int, align: int, flags: int, ctor: bool) -> int:
    """The distance from one object to the next: s->size (calculate_sizes())."""
    size = object_inuse(geometry, object_size, flags)
    if freeptr_outside_object(geometry, object_size, flags, ctor):
        size += geometry.word
    if flags & SLAB_STORE_USER != 0:
        size += 2 * geometry.track
        if flags & SLAB_KMALLOC != 0:
            size += 4  # sizeof(unsigned int): the size that the caller of kmalloc() asked for
    if flags & SLAB_RED_ZONE != 0:
        size += geometry.word + red_left_pad(geometry, align, flags)
    return align_up(size, align)


# --- how many slabs to keep (mm/slub.c)


def kmem_cache_has_cpu_partial(flags: int) -> bool:
    """Whether the cache keeps partial slabs for each CPU: not while it is debugged (kmem_cache_has_cpu_partial())."""
    return flags & SLAB_DEBUG_FLAGS == 0


def initial_min_partial(geometry: SlabGeometry, size: int) -> int:
    """How many partial slabs a node keeps even if empty (kmem_cache_open(); once set_min_partial())."""
    return max(geometry.min_partial, min(geometry.max_partial, (fls(size) - 1) // 2))


def initial_cpu_partial(geometry: SlabGeometry, size: int, flags: int) -> int:
    """How many free objects a CPU may keep in partial slabs, by the size of an object (set_cpu_partial())."""
    if not kmem_cache_has_cpu_partial(flags):
        return 0
    if size >= geometry.page_size:
        return 6
    if size >= geometry.kilobyte:
        return 24
    if size >= geometry.kilobyte // 4:
        return 52
    return 120


def cpu_partial_as_slabs(nr_objects: int, objects: int) -> int:
    """The same as a number of slabs of so many objects, taken to be half full (slub_set_cpu_partial(), 5.16)."""
    return (nr_objects * 2 + objects - 1) // objects


# --- a machine that sizes one cache: what holds of the sizes, holds of every cache


class SizedCache(Record):
    """The fields of struct kmem_cache that creation computes, for one cache, after one call."""

    opened: bool
    failed: bool
    debugged: bool
    asked: AlignmentShift
    object_size: Annotated[int, Range(0, "object_size_max")]
    align: Annotated[int, Range(0, "stride_max")]
    inuse: Annotated[int, Range(0, "stride_max")]
    offset: Annotated[int, Range(0, "stride_max")]
    red_left_pad: Annotated[int, Range(0, "stride_max")]
    size: Annotated[int, Range(0, "stride_max")]
    order: Order
    objects: Annotated[int, Range(0, "block_max")]
    min_order: Annotated[int, Range(0, 64)]
    min_objects: Annotated[int, Range(0, "block_max")]
    min_partial: Annotated[int, Range(0, "min_partial_most")]
    cpu_partial: Annotated[int, Range(0, 120)]
    cpu_partial_slabs: Annotated[int, Range(0, 240)]


class SizesMachine(Record):
    """A geometry and the cache that is sized by it."""

    geometry: SlabGeometry
    cache: SizedCache


def no_cache(m: SizesMachine) -> None:
    """Nothing is sized yet."""


@action
def kmem_cache_open(
    m: SizesMachine,
    object_size: ObjectSize,
    alignment: AlignmentShift,
    hwcache_align: bool,
    free_pointer_outside: bool,
    red_zone: bool,
    store_user: bool,
    kmalloc: bool,
) -> None:
    """Any caller asks for a cache; the flags that matter for its sizes (kmem_cache_open(), calculate_sizes())."""
    require(not m.cache.opened)
    flags = 0
    if hwcache_align:
        flags |= SLAB_HWCACHE_ALIGN
    if free_pointer_outside:
        flags |= SLAB_TYPESAFE_BY_RCU
    if red_zone:
        flags |= SLAB_RED_ZONE
    if store_user:
        flags |= SLAB_STORE_USER
    if kmalloc:
        flags |= SLAB_KMALLOC
    s = m.cache
    s.opened = True
    s.debugged = flags & SLAB_DEBUG_FLAGS != 0
    s.asked = alignment
    s.object_size = object_size
    s.align = calculate_alignment(m.geometry, flags, 1 << alignment, object_size)
    s.inuse = object_inuse(m.geometry, object_size, flags)
    s.offset = freepointer_offset(m.geometry, object_size, flags, False)
    s.red_left_pad = red_left_pad(m.geometry, s.align, flags)
    s.size = slab_object_size(m.geometry, object_size, s.align, flags, False)
    order = calculate_order(m.geometry, s.size)
    s.failed = order is None
    if order is None:
        return
    s.order = order
    s.objects = order_objects(m.geometry, order, s.size)
    s.min_order = get_order(m.geometry, s.size)
    s.min_objects = order_objects(m.geometry, s.min_order, s.size)
    s.min_partial = initial_min_partial(m.geometry, s.size)
    s.cpu_partial = initial_cpu_partial(m.geometry, s.size, flags)
    s.cpu_partial_slabs = cpu_partial_as_slabs(s.cpu_partial, s.objects)
