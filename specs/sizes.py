"""What must hold of the sizes that a new cache gets, for every object size, alignment and flag.

One step opens one cache; so each invariant is a theorem about the sizing functions, established by trying every
argument of a scope and by Z3 for all of them at once.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..model.lang import Clauses, Parameter, Requirement, Spec, clause, invariant
from ..model.slab_size import MAX_OBJS_PER_PAGE, SizesMachine, get_order, kmem_cache_open, no_cache
from .slab_scope import GEOMETRY_REQUIREMENTS, X86_64, geometry_parameters


def block_max(sizes: Mapping[str, int]) -> int:
    """The bytes of the largest block, which is also the most objects there can be."""
    return sizes["page_size"] << (sizes["orders"] - 1)


def stride_max(sizes: Mapping[str, int]) -> int:
    """No object is further than this from the next: the object, all metadata, and the largest alignment twice."""
    alignment = max(1 << (sizes["alignments"] - 1), sizes["cache_line"], sizes["minalign"], sizes["word"])
    return sizes["object_size_max"] + 4 * sizes["word"] + 2 * sizes["track"] + 4 + 2 * alignment


@invariant("K6", origin="order_objects(), MAX_OBJS_PER_PAGE: slab->objects has 15 bits")
def objects_fit(m: SizesMachine) -> Clauses:
    """A slab has as many objects as fit into its pages, one at least, and slab->objects can count them."""
    s = m.cache
    if s.opened and not s.failed:
        slab_size = m.geometry.page_size << s.order
        yield clause("the objects fit into the slab", s.objects * s.size <= slab_size)
        yield clause("one more would not fit", (s.objects + 1) * s.size > slab_size)
        yield clause("there is an object", s.objects >= 1)
        yield clause("slab->objects can count them", s.objects <= MAX_OBJS_PER_PAGE)


@invariant("S16", origin="calculate_order(), calc_slab_order(): rem <= slab_size / fract_leftover")
def order_wastes_little(m: SizesMachine) -> Clauses:
    """The order is one that the page allocator has; it wastes a quarter at most, or is the smallest with one object."""
    s = m.cache
    if s.opened and not s.failed:
        slab_size = m.geometry.page_size << s.order
        smallest = max(m.geometry.slub_min_order, get_order(m.geometry, s.size))
        yield clause("order < MAX_ORDER", s.order < m.geometry.max_order)
        yield clause("min is the smallest order with one object", s.min_order == get_order(m.geometry, s.size))
        yield clause("min has an object", s.min_objects >= 1)
        yield clause("the fall-back is not larger", s.min_order <= s.order)
        little = (slab_size - s.objects * s.size) * 4 <= slab_size
        yield clause("at most a quarter is wasted, or nothing smaller will do", little or s.order == smallest)
        within = s.order <= m.geometry.slub_max_order
        yield clause("slub_max_order is kept where an object fits", within or s.order == smallest)
    if s.opened and s.failed:
        yield clause("only what fits no block fails", s.size > m.geometry.page_size << (m.geometry.max_order - 1))


@invariant("K7", origin="kmem_cache_open(): min_partial; set_cpu_partial()")
def few_slabs_are_kept(m: SizesMachine) -> Clauses:
    """min_partial lies between MIN_PARTIAL and MAX_PARTIAL; half of the cpu partial slabs' objects are the limit."""
    s = m.cache
    if s.opened and not s.failed:
        within = m.geometry.min_partial <= s.min_partial and s.min_partial <= m.geometry.max_partial
        yield clause("MIN_PARTIAL <= min_partial <= MAX_PARTIAL", within)
        yield clause("half-full slabs hold cpu_partial objects", s.cpu_partial_slabs * s.objects >= 2 * s.cpu_partial)
        fewer = (s.cpu_partial_slabs - 1) * s.objects < 2 * s.cpu_partial
        yield clause("one slab less would not hold them", s.cpu_partial_slabs == 0 or fewer)
        yield clause("a cache that is debugged keeps none", not s.debugged or s.cpu_partial_slabs == 0)


@invariant("K8", origin="calculate_alignment(), calculate_sizes(): size = ALIGN(size, s->align)")
def objects_aligned(m: SizesMachine) -> Clauses:
    """Every object of a slab is aligned as asked, and to a word."""
    s = m.cache
    if s.opened:
        yield clause("the alignment is a power of two", s.align & (s.align - 1) == 0 and s.align >= 1)
        yield clause("the caller's alignment is kept", s.align & ((1 << s.asked) - 1) == 0)
        yield clause("a word is aligned", s.align >= m.geometry.word and s.align >= m.geometry.minalign)
        yield clause("the distance between objects keeps the alignment", s.size & (s.align - 1) == 0)
        yield clause("the pad before an object keeps the alignment", s.red_left_pad & (s.align - 1) == 0)


@invariant("K2", origin="calculate_sizes(): s->inuse, s->offset; freeptr_outside_object()")
def free_pointer_fits(m: SizesMachine) -> Clauses:
    """Object, free pointer and pads lie one behind the other between an object and the next one."""
    s = m.cache
    if s.opened:
        yield clause("the object fits", s.object_size <= s.inuse and s.red_left_pad + s.inuse <= s.size)
        yield clause("the free pointer is a whole word", s.offset & (m.geometry.word - 1) == 0)
        yield clause("the free pointer fits", s.red_left_pad + s.offset + m.geometry.word <= s.size)
        inside = s.offset + m.geometry.word <= s.inuse
        yield clause("the free pointer is inside the object or behind it", inside or s.offset >= s.inuse)


SPEC = Spec(
    name="sizes",
    state=SizesMachine,
    init=no_cache,
    actions=(kmem_cache_open,),
    properties=(objects_fit, order_wastes_little, few_slabs_are_kept, objects_aligned, free_pointer_fits),
    parameters=(
        *geometry_parameters(slub_max_order=2),
        Parameter("orders", 4, "MAX_ORDER, one more than the largest order", least=1, most=11),
        Parameter("object_size_max", 72, "the largest object asked for, in bytes", least=1, most=1 << 26),
        Parameter("alignments", 4, "alignments asked for: 1, 2, 4 … bytes", least=1, most=13),
    ),
    derived={"block_max": block_max, "stride_max": stride_max},
    requirements=(
        *GEOMETRY_REQUIREMENTS,
        Requirement(
            lambda sizes: sizes["object_size_max"] <= 2 * block_max(sizes),
            "object_size_max <= twice the largest block, page_size << (orders - 1)",
        ),
    ),
    scopes={
        "many-objects": {
            "page_size": 1 << 16,
            "word": 8,
            "minalign": 8,
            "cache_line": 64,
            "orders": 5,
            "slub_min_order": 3,
            "slub_max_order": 3,
            "slub_min_objects": 0,
            "nr_cpus": 2,
            "kilobyte": 1024,
            "object_size_max": 64,
            "alignments": 1,
        },
        "x86-64": {**X86_64, "nr_cpus": 2, "object_size_max": 9000, "alignments": 8},
        "x86-64-large": {**X86_64, "nr_cpus": 64, "object_size_max": 1 << 23, "alignments": 1},
    },
    explored=("many-objects",),
    doc=__doc__,
)
