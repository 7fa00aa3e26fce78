"""The scope of a cache's sizing: the architecture, the configuration and the boot parameters that sizes depend on.

The defaults are a tiny machine, with a page of eight bytes and a word of one, where a slab has a handful of objects;
X86_64 is the machine of the recordings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ..model.lang import Parameter, Requirement

GEOMETRY_PARAMETERS = (
    Parameter("page_size", 8, "PAGE_SIZE, in bytes", least=1, most=1 << 16),
    Parameter("word", 1, "sizeof(void *)", least=1, most=16),
    Parameter("cache_line", 4, "cache_line_size(), in bytes", least=1, most=1 << 12),
    Parameter("minalign", 1, "arch_slab_minalign(), in bytes", least=1, most=1 << 12),
    Parameter("track", 1, "sizeof(struct track), in bytes", least=0, most=256),
    Parameter("nr_cpus", 1, "num_present_cpus(), or nr_cpu_ids where that is 1", least=1, most=1 << 13),
    Parameter("slub_min_order", 0, "the boot parameter slub_min_order", least=0, most=10),
    Parameter("slub_max_order", 1, "the boot parameter slub_max_order", least=0, most=10),
    Parameter("slub_min_objects", 2, "the boot parameter slub_min_objects; 0: by the CPUs", most=1 << 10, least=0),
    Parameter("min_partial_least", 0, "MIN_PARTIAL", least=0, most=1 << 10),
    Parameter("min_partial_most", 1, "MAX_PARTIAL", least=0, most=1 << 10),
    Parameter("kilobyte", 4, "the object size from which set_cpu_partial() takes 24 objects", least=1, most=1 << 16),
)
"""Beside these a sizing needs `orders` (MAX_ORDER), which a spec shares with its zones."""


def geometry_parameters(**defaults: int) -> tuple[Parameter, ...]:
    """The parameters of a sizing, with other defaults."""
    return tuple(
        dataclasses.replace(parameter, default=defaults.get(parameter.name, parameter.default))
        for parameter in GEOMETRY_PARAMETERS
    )


def is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


GEOMETRY_REQUIREMENTS = (
    Requirement(
        lambda sizes: all(is_power_of_two(sizes[name]) for name in ("page_size", "word", "cache_line", "minalign")),
        "page_size, word, cache_line and minalign are powers of two",
    ),
    Requirement(lambda sizes: sizes["word"] <= sizes["page_size"], "a word fits into a page: word <= page_size"),
    Requirement(
        lambda sizes: sizes["slub_min_order"] <= sizes["slub_max_order"] < sizes["orders"],
        "slub_min_order <= slub_max_order < orders",
    ),
    Requirement(
        lambda sizes: sizes["min_partial_least"] <= sizes["min_partial_most"], "min_partial_least <= min_partial_most"
    ),
)

X86_64: Mapping[str, int] = {
    "page_size": 4096,
    "word": 8,
    "cache_line": 64,
    "minalign": 8,
    "track": 32,
    "orders": 11,
    "slub_min_order": 0,
    "slub_max_order": 3,
    "slub_min_objects": 0,
    "min_partial_least": 5,
    "min_partial_most": 10,
    "kilobyte": 1024,
}
"""Linux 6.1 on x86-64 as Debian configures it; nr_cpus is the machine's."""
