"""Caches: the sizing functions against real kernels, and the `cache` and `sizes` specifications."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from kmemspec.model.lang.actions import CHOOSER
from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.execute import Script
from kmemspec.model.lang.records import Store
from kmemspec.model.lang.verdict import Outcome
from kmemspec.model.slab_common import (
    SLAB_FLAGS_PERMITTED,
    CacheMachine,
    Caller,
    create_cache,
    kmem_cache_alloc,
    kmem_cache_create,
    kmem_cache_create_usercopy,
    kmem_cache_destroy,
    kmem_cache_free,
    no_caches,
)
from kmemspec.proofs.explore import explore
from kmemspec.proofs.symbolic import prove
from kmemspec.specs.cache import SPEC as CACHE
from kmemspec.specs.loading import load
from kmemspec.specs.recorded.slab_sysfs import EXCEPTIONS, RecordedCache, differences, read_slab_sysfs, x86_64

DATA = Path(__file__).parent / "data" / "caches"
CPUS = {"boot1": 1, "drv1": 1, "lost2": 2, "mid1": 1, "mid2": 2, "real2": 2, "real2u": 2, "swap2": 2, "thp2": 2}
"""The CPUs of each recorded machine (-smp in its run.json)."""

NO_MERGING = {"boot1", "drv1", "mid1"}
"""Booted with slub_nomerge."""


def text(name: str) -> str:
    return lzma.decompress((DATA / f"{name}.txt.xz").read_bytes()).decode()


def sysfs(run: str) -> tuple[RecordedCache, ...]:
    return read_slab_sysfs(text(f"{run}.sysfs"), run)


def dump(run: str) -> tuple[RecordedCache, ...]:
    """The caches of a memory dump, newest first: the order of the kernel's list slab_caches."""
    names, *rows = (line.split() for line in text(f"{run}.dump").splitlines())
    return tuple(
        RecordedCache(name, dict(zip(names[1:], map(int, numbers), strict=True))) for name, *numbers in rows
    )


@pytest.mark.parametrize("run", sorted(path.name.partition(".")[0] for path in DATA.glob("*.sysfs.txt.xz")))
def test_every_cache_in_sysfs_has_the_sizes_that_the_model_computes(run: str) -> None:
    caches = sysfs(run)
    assert len(caches) > 200
    compared = {"size", "oo_order", "oo_objects", "min_partial", "cpu_partial"}
    assert all(compared <= cache.numbers.keys() for cache in caches)
    assert differences(x86_64(CPUS[run]), caches) == ()


@pytest.mark.parametrize("run", sorted(path.name.partition(".")[0] for path in DATA.glob("*.dump.txt.xz")))
def test_every_cache_in_a_dump_has_the_numbers_that_the_model_computes_but_for_the_known_exceptions(run: str) -> None:
    caches = dump(run)
    assert len(caches) > 150
    found = differences(x86_64(CPUS[run]), caches)
    expected = set() if run in NO_MERGING else set(EXCEPTIONS)
    assert {(difference.cache, difference.number) for difference in found} == expected
    merged = {cache.name for cache in caches if cache.numbers["refcount"] > 1}
    assert {difference.cache for difference in found} <= merged


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("dentry", "not a line"),
        ("dentry order x", "not a number"),
        ("dentry order 99999999999999999999", "not a number"),
        ("dentry slabs_cpu_partial 3", "objects"),
        ("dentry order 0", "no object_size"),
        ("\x00", "not a line"),
    ],
)
def test_bad_sysfs_text_is_one_clear_line(line: str, what: str) -> None:
    with pytest.raises(InputError) as caught:
        read_slab_sysfs(line, "x.txt")
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def machine_at_real_scale(nr_cpus: int, merge: bool) -> CacheMachine:
    """Room for every cache of a kernel; no memory to speak of, as nothing is allocated."""
    sizes = CACHE.scope("x86-64") | {"nr_cpus": nr_cpus, "slab_nomerge": int(not merge)}
    return CacheMachine(Store(sizes))


def create_all(m: CacheMachine, requests: list[tuple[RecordedCache, int]]) -> dict[str, int]:
    """Create caches one after the other as a kernel did: the cache that each name got."""
    made = {}
    CHOOSER.set(Script())
    for cache, usersize in requests:
        object_size, align, flags = (cache.numbers[name] for name in ("object_size", "align", "flags"))
        flags &= SLAB_FLAGS_PERMITTED
        ctor = bool(cache.numbers["ctor"])
        if cache.numbers["refcount"] < 0 or "kmalloc-" in cache.name:
            # create_boot_cache(), create_kmalloc_cache(): without the search for one to merge with
            found = create_cache(m, object_size, align, flags, usersize, ctor)
            assert found is not None
            m.kmem_cache[found].refcount = cache.numbers["refcount"]
        else:
            found = kmem_cache_create_usercopy(m, Caller.ORDINARY, object_size, align, flags, 0, usersize, ctor)
            assert found is not None
        made[cache.name] = found
    return made


def test_the_model_merges_the_caches_that_the_kernel_merged() -> None:
    """The 219 caches of a kernel without merging, created one by one by the model with merging, are the 157 caches of
    the kernel with it: the same names stay, with as many aliases and objects as large."""
    usersize = {cache.name: cache.numbers["usersize"] for cache in sysfs("mid1")}
    requests = [(cache, usersize[cache.name]) for cache in reversed(dump("mid1"))]
    assert len(requests) == 219
    m = machine_at_real_scale(2, merge=True)
    made = create_all(m, requests)
    first = {}
    for name, cache in made.items():
        first.setdefault(cache, name)
    model = {
        name: (m.kmem_cache[cache].refcount, m.kmem_cache[cache].object_size, m.kmem_cache[cache].size)
        for cache, name in first.items()
    }
    kernel = {
        cache.name: tuple(cache.numbers[name] for name in ("refcount", "object_size", "size")) for cache in dump("mid2")
    }
    assert len(kernel) == 157
    assert model == kernel


def test_without_merging_every_name_is_a_cache_with_the_numbers_of_the_kernel() -> None:
    usersize = {cache.name: cache.numbers["usersize"] for cache in sysfs("mid1")}
    requests = [(cache, usersize[cache.name]) for cache in reversed(dump("mid1"))]
    m = machine_at_real_scale(1, merge=False)
    made = create_all(m, requests)
    assert len(set(made.values())) == 219
    newest_first = []
    cache = m.slab_caches.first
    while cache is not None:
        newest_first.append(cache)
        cache = m.info[cache].next
    assert newest_first == [made[cache.name] for cache in dump("mid1")]
    for recorded in dump("mid1"):
        s, info = m.kmem_cache[made[recorded.name]], m.info[made[recorded.name]]
        numbers = {
            "size": s.size, "object_size": s.object_size, "align": s.align, "refcount": s.refcount,
            "min_partial": s.min_partial, "cpu_partial": s.cpu_partial, "cpu_partial_slabs": s.cpu_partial_slabs,
            "oo_order": s.oo.order, "oo_objects": s.oo.objects, "min_order": s.min.order,
            "min_objects": s.min.objects, "inuse": info.inuse, "offset": info.offset,
        }
        assert numbers == {name: recorded.numbers[name] for name in numbers}
        assert sorted(s.random_seq[position] for position in range(s.oo.objects)) == list(range(s.oo.objects))


def doubts(spec: str, scope: str, engine: str) -> dict[str, Outcome]:
    """The properties that an engine does not establish."""
    loaded = load(spec)
    sizes = loaded.spec.scope(scope)
    run = explore if engine == "explore" else prove
    verdicts = run(loaded.program, sizes).verdicts
    assert {verdict.property for verdict in verdicts} >= {item.identifier for item in loaded.program.properties}
    return {verdict.property: verdict.outcome for verdict in verdicts if verdict.outcome is not Outcome.HOLDS}


@pytest.mark.parametrize("engine", ["explore", "prove"])
def test_what_is_said_of_sizes_holds_for_all_sizes(engine: str) -> None:
    assert doubts("sizes", "default", engine) == {}


@pytest.mark.slow
def test_what_is_said_of_sizes_is_proved_for_a_real_machine() -> None:
    """Every size up to 9,000 bytes; the scope x86-64-large, of every size up to 8 MiB, takes minutes."""
    assert doubts("sizes", "x86-64", "prove") == {}


@pytest.mark.slow
def test_caches_come_and_go_in_a_scope_that_is_searched_at_once() -> None:
    assert doubts("cache", "three-objects", "explore") == {}


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["two-cpus", "alone", "no-checks"])
def test_what_is_said_of_caches_is_proved(scope: str) -> None:
    """What `check` searches; the default scope it proves as well."""
    assert doubts("cache", scope, "prove") == {}


def test_a_cache_that_was_not_destroyed_for_its_objects_is_merged_with_again() -> None:
    """What 6.1 does: the cache without a name stays on slab_caches with refcount 0, where find_mergeable() finds it."""
    sizes = CACHE.scope("default")
    m = CacheMachine(Store(sizes))
    no_caches(m)
    CHOOSER.set(Script())
    ordinary = Caller.ORDINARY
    cache = kmem_cache_create(m, 0, ordinary, 2, 0, 0, 0, False)
    assert cache is not None
    object = kmem_cache_alloc(m, 0, 0)
    assert object is not None
    assert kmem_cache_destroy(m, 0, 0)
    assert (m.kmem_cache[cache].alive, m.kmem_cache[cache].refcount) == (True, 0)
    assert kmem_cache_create(m, 1, ordinary, 2, 0, 0, 0, False) == cache
    kmem_cache_free(m, 0, object)
    assert not kmem_cache_destroy(m, 1, 0)
    assert not m.kmem_cache[cache].alive
