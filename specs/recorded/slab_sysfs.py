"""What /sys/kernel/slab says of a running kernel's caches, beside what the model's sizing functions compute.

The one idea: a cache is its name and a few numbers by name, some given (the object's size, alignment, flags) and the
rest computed from them; both sources of such numbers, sysfs and a memory dump, give the same record, and what they
have in common with the model is compared. Where the kernel's number is another one, `EXCEPTIONS` has to say why.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...model.lang.errors import InputError
from ...model.lang.records import Store
from ...model.slab_size import (
    SLAB_TYPESAFE_BY_RCU,
    SlabGeometry,
    calculate_alignment,
    calculate_order,
    cpu_partial_as_slabs,
    freepointer_offset,
    get_order,
    initial_cpu_partial,
    initial_min_partial,
    object_inuse,
    order_objects,
    red_left_pad,
    slab_object_size,
)
from ..slab_scope import X86_64

CACHES_MAX = 10_000
NUMBER_MAX = 1 << 40

SYSFS_NUMBERS = {
    "object_size": "object_size",
    "align": "align",
    "slab_size": "size",
    "order": "oo_order",
    "objs_per_slab": "oo_objects",
    "min_partial": "min_partial",
    "cpu_partial": "cpu_partial",
    "aliases": "aliases",
    "usersize": "usersize",
}
"""The attributes of /sys/kernel/slab/<cache>/ that are read as numbers, and what struct kmem_cache calls them."""

GIVEN = ("object_size", "align", "flags", "ctor")
"""What the sizes are computed from; the alignment is also computed from itself, which must not change it."""


@dataclass(frozen=True)
class RecordedCache:
    """A cache of a real kernel: its numbers by the names that struct kmem_cache has for them."""

    name: str
    numbers: Mapping[str, int]


@dataclass(frozen=True)
class Difference:
    """The model computes one number of a cache, the kernel had another."""

    cache: str
    number: str
    model: int
    kernel: int


EXCEPTIONS: Mapping[tuple[str, str], str] = {
    (cache, "offset"): "merged: __kmem_cache_alias() raises object_size for a larger alias, but the free pointer stays "
    "in the middle of the object that the cache was created with"
    for cache in ("PING", "filp", "pid", "signal_cache", "skbuff_ext_cache", "skbuff_fclone_cache")
}
"""(cache, number): why the kernel's number is not what the functions compute. All need a kernel that merges caches."""


def read_slab_sysfs(text: str, source: str = "the text") -> tuple[RecordedCache, ...]:
    """The caches in lines `cache attribute value`, as `grep -r . /sys/kernel/slab` has them after a change of marks."""
    caches: dict[str, dict[str, int]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        cache, _, rest = line.partition(" ")
        attribute, _, value = rest.partition(" ")
        if not cache or not attribute:
            raise InputError(f"{source}:{number}: not a line `cache attribute value`", "give one attribute a line")
        numbers = caches.setdefault(cache, {"flags": 0, "ctor": 0})
        if len(caches) > CACHES_MAX:
            raise InputError(f"{source}:{number}: more than {CACHES_MAX} caches", "give one kernel's caches")
        if attribute in SYSFS_NUMBERS:
            numbers[SYSFS_NUMBERS[attribute]] = _number(value, source, number)
        elif attribute == "ctor":
            numbers["ctor"] = int(value.strip() != "")
        elif attribute == "destroy_by_rcu" and _number(value, source, number):
            numbers["flags"] |= SLAB_TYPESAFE_BY_RCU
        elif attribute == "slabs_cpu_partial":
            held = re.match(r"(\d{1,12})\((\d{1,12})\)", value)
            if held is None:
                raise InputError(f"{source}:{number}: {value[:40]!r} is not `objects(slabs)`", "copy sysfs as it is")
            numbers["held_objects"], numbers["held_slabs"] = int(held[1]), int(held[2])
    for name, numbers in caches.items():
        missing = [given for given in GIVEN if given not in numbers]
        if missing:
            raise InputError(f"{source}: cache {name} has no {missing[0]}", "record object_size, align, ctor")
    return tuple(RecordedCache(name, numbers) for name, numbers in caches.items())


def _number(value: str, source: str, line: int) -> int:
    if re.fullmatch(r"\d{1,12}", value.strip()) is None:
        raise InputError(f"{source}:{line}: {value[:40]!r} is not a number", "copy the attribute as sysfs shows it")
    return int(value)


def x86_64(nr_cpus: int) -> SlabGeometry:
    """The geometry of the recorded kernels, with so many CPUs."""
    return SlabGeometry(Store({**X86_64, "nr_cpus": nr_cpus}))


def computed(geometry: SlabGeometry, cache: RecordedCache) -> dict[str, int]:
    """What the model's functions say of a cache (kmem_cache_open() as one table)."""
    object_size, align, flags, ctor = (cache.numbers[name] for name in GIVEN)
    if not 0 < object_size < NUMBER_MAX or not 0 < align < NUMBER_MAX or align & (align - 1):
        given = f"object_size {object_size}, align {align}"
        raise InputError(f"cache {cache.name}: {given}", "an alignment is a power of two")
    size = slab_object_size(geometry, object_size, align, flags, bool(ctor))
    order = calculate_order(geometry, size)
    if order is None:
        raise InputError(f"cache {cache.name}: objects of {size} bytes fit no slab", "no kernel creates such a cache")
    least = get_order(geometry, size)
    objects = order_objects(geometry, order, size)
    nr_objects = initial_cpu_partial(geometry, size, flags)
    return {
        "align": calculate_alignment(geometry, flags, align, object_size),
        "inuse": object_inuse(geometry, object_size, flags),
        "offset": freepointer_offset(geometry, object_size, flags, bool(ctor)),
        "red_left_pad": red_left_pad(geometry, align, flags),
        "size": size,
        "oo_order": order,
        "oo_objects": objects,
        "min_order": least,
        "min_objects": order_objects(geometry, least, size),
        "min_partial": initial_min_partial(geometry, size),
        "cpu_partial": nr_objects,
        "cpu_partial_slabs": cpu_partial_as_slabs(nr_objects, objects),
        "held_objects": cache.numbers.get("held_slabs", 0) * objects // 2,
    }


def differences(geometry: SlabGeometry, caches: Iterable[RecordedCache]) -> tuple[Difference, ...]:
    """Every number that the kernel has and that the model computes otherwise."""
    return tuple(
        Difference(cache.name, name, value, cache.numbers[name])
        for cache in caches
        for name, value in computed(geometry, cache).items()
        if cache.numbers.get(name, value) != value
    )
