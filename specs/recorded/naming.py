"""Which cache an allocation event is about, and which flags and objects it names.

Events say neither the cache nor all flags: kmalloc's cache follows from size and flags, that of a new slab from the
object's size or from a later free, which does name its cache.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...model import gfp as gfp_names
from ...model.slab_size import SLAB_CACHE_DMA, SLAB_RECLAIM_ACCOUNT
from .machine import RecordedMachine
from .operations import PAGE_SHIFT, AllocateObject, FreeObject, FreePages, Operation
from .states import CacheState, KernelState


def kmalloc_name(flags_text: str, size: int) -> str:
    """The cache that kmalloc() takes an object of this size from (kmalloc_type(), kmalloc_info[])."""
    flags = gfp_flags(flags_text)
    if flags & gfp_names.__GFP_DMA:
        kind = "dma-kmalloc-"
    elif flags & gfp_names.__GFP_RECLAIMABLE:
        kind = "kmalloc-rcl-"
    else:
        kind = "kmalloc-cg-" if flags & gfp_names.__GFP_ACCOUNT else "kmalloc-"
    return kind + (f"{size >> 10}k" if size >= 1024 else str(size))


def cache_flags(cache: CacheState) -> int:
    """s->allocflags, as kmem_cache_open() sets them and allocate_slab() adds them to the caller's flags."""
    flags = gfp_names.__GFP_COMP if cache.oo[0] else 0
    if cache.flags & SLAB_CACHE_DMA:
        flags |= gfp_names.__GFP_DMA
    if cache.flags & SLAB_RECLAIM_ACCOUNT:
        flags |= gfp_names.__GFP_RECLAIMABLE
    return flags


def gfp_flags(text: str) -> int:
    """The flags in an event's text (include/trace/events/mmflags.h); one that the model does not know decides nothing
    there."""
    value = 0
    for name in text.split("|"):
        known = getattr(gfp_names, name, None) if name.startswith(("GFP_", "__GFP_")) else None
        value |= known if isinstance(known, int) else 0
    return value


def live_addresses(machine: RecordedMachine, state: KernelState) -> set[int]:
    """The addresses of all objects that somebody has: on no freelist of their slab or its CPU."""
    live: set[int] = set()
    for cache in state.caches:
        on_cpu = {cpu.slab: cpu.free for cpu in cache.cpu if cpu.slab is not None}
        for page, slab in cache.slabs.items():
            free = {*slab.free, *on_cpu.get(page, ())}
            start = state.page_offset_base + (page << PAGE_SHIFT) + cache.red_left_pad
            live.update(start + slot * cache.size for slot in range(slab.objects) if slot not in free)
    return live


def named_later(operations: Sequence[Operation], machine: RecordedMachine, after: KernelState) -> dict[int, int]:
    """For each allocation with a new slab, by its line: the cache that a later free of an object in it names, or that
    the slab belongs to in the second state."""
    in_frame: dict[int, int] = {}
    for cache in after.caches:
        number = machine.by_address.get(cache.address)
        for page, slab in cache.slabs.items():
            if number is not None:
                in_frame.update(dict.fromkeys(range(page, page + (1 << slab.order)), number))
    named: dict[int, int] = {}
    for operation in reversed(operations):
        match operation:
            case FreeObject(address=address, cache=str(name)) if name in machine.by_name:
                in_frame[machine.frame(address)] = machine.by_name[name]
            case FreePages(pfn=pfn, order=order):
                for frame in range(pfn, pfn + (1 << order)):
                    in_frame.pop(frame, None)
            case AllocateObject(pages=(pages, *_)):
                frames = range(pages.pfn, pages.pfn + (1 << pages.order))
                found = {in_frame[frame] for frame in frames if frame in in_frame}
                if len(found) == 1:
                    named[operation.line] = found.pop()
    return named
