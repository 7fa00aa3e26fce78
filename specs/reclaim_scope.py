"""The scope of reclaim: frames and watermarks, tasks and their memory, how hard reclaim tries.

The one idea: batches of one folio and lists of a few make a reclaimer's position small, so that two of them and two
tasks can be searched together.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..model.gfp import GFP_KERNEL, GFP_NOFS, GFP_NOIO
from ..model.lang import Parameter, Requirement
from .lru_scope import LRU_DERIVED, lru_parameters

Sizes = Mapping[str, int]

FLAGS_MOST = (1 << 25) - 1

PARAMETERS = (
    *lru_parameters(
        pages=2, cpus=1, pagevec_size=1, swap_cluster_max=1, age_bits=1, eviction_bits=1, swappiness=200, mlocks=2,
        gigabyte_order=18,
    ),
    Parameter("tasks", 2, "the number of tasks that may exist at a time", most=1 << 10),
    Parameter("vpages", 1, "the anonymous pages that each task has", most=1 << 10),
    Parameter("file_pages", 1, "the pages of the file", most=1 << 10),
    Parameter("swap_entries", 1, "the entries of the swap device", most=1 << 16),
    Parameter("watermark_min", 0, "the zone's lowest watermark", least=0, most=1 << 16),
    Parameter("watermark_low", 1, "the watermark below which kswapd is woken", least=0, most=1 << 16),
    Parameter("watermark_high", 1, "the watermark at which kswapd sleeps", least=0, most=1 << 16),
    Parameter("direct_reclaimers", 1, "the tasks that reclaim directly at a time", most=64),
    Parameter("def_priority", 0, "DEF_PRIORITY", least=0, most=12),
    Parameter("reclaim_retries", 1, "MAX_RECLAIM_RETRIES", least=1, most=16),
    Parameter("requests", 1, "kinds of requests: of user memory, and of the kernel with the flags gfp1, gfp2", most=3),
    Parameter("gfp1", GFP_KERNEL, "the flags of the kernel's first kind of request", least=0, most=FLAGS_MOST),
    Parameter("gfp2", GFP_NOFS, "the flags of the kernel's second kind of request", least=0, most=FLAGS_MOST),
    Parameter("overlap", 0, "whether two reclaimers may be in the midst of their turns together", least=0, most=1),
    Parameter("file_writes", 1, "whether tasks write to the file, or read it only", least=0, most=1),
    Parameter("mlock", 1, "whether tasks lock memory", least=0, most=1),
    Parameter("munlock", 0, "whether tasks lock memory that they use, and unlock it", least=0, most=1),
    Parameter("reserves", 1, "whether tasks that reclaim need frames themselves", least=0, most=1),
    Parameter("keeps_history", 0, "whether the age of lists is kept, for shadows", least=0, most=1),
)

DERIVED = {
    "frames": lambda sizes: sizes["pages"],
    **LRU_DERIVED,
    "mappings": lambda sizes: sizes["tasks"] * sizes["vpages"],
    # PTEs, a cache, and one each of: isolation, a batch, the step that runs and its callee
    "references": lambda sizes: sizes["mappings"] + 6,
    "isolation_turns": lambda sizes: sizes["swap_cluster_max"],
    "reclaimers": lambda sizes: 1 + sizes["direct_reclaimers"],
    "failure_bits": lambda sizes: (sizes["reclaim_retries"] + 1).bit_length(),
    # allow_direct_reclaim(): half of the lowest watermark is not left to who does not die
    "throttles": lambda sizes: int(sizes["watermark_min"] > 1),
    # the page allocator has one node, and requests are for one page
    "nodes": lambda sizes: 1,
    "orders": lambda sizes: 1,
    "costly_order": lambda sizes: 3,
    "watch_kswapd": lambda sizes: 1,
    "slowpath_turns": lambda sizes: 1,
}

REQUIREMENTS = (
    Requirement(
        lambda sizes: sizes["watermark_min"] <= sizes["watermark_low"] <= sizes["watermark_high"],
        "watermark_min <= watermark_low <= watermark_high",
    ),
    Requirement(
        lambda sizes: sizes["pages"] < 1 << sizes["long"], "a counter must hold all folios: pages < 2**long"
    ),
)

ONE = {"tasks": 1, "mlock": 0}
"""One task, so that what else is switched on does not multiply."""

PLAIN = {**ONE, "vpages": 2, "file_writes": 0, "reserves": 0}
"""One task that only reads the file, so that there may be more frames."""

SCOPES: dict[str, dict[str, int]] = {
    "small": {**ONE, "vpages": 2},
    "kernel": {**ONE, "requests": 2, "mlock": 1, "munlock": 1},
    "noio": {**ONE, "requests": 2, "gfp1": GFP_NOIO, "overlap": 1},
    "reserve": {"mlock": 0, "pages": 3, "watermark_min": 2, "watermark_low": 2, "watermark_high": 2},
    "marks": {**ONE, "vpages": 2, "pages": 3, "watermark_high": 2},
    "retries": {**ONE, "vpages": 2, "reclaim_retries": 2},
    "priorities": {**PLAIN, "pages": 3, "file_pages": 2, "def_priority": 2},
    "proportion": {**PLAIN, "pages": 4, "file_pages": 2},
    "batch": {**ONE, "vpages": 2, "swap_cluster_max": 2},
    "history": {**ONE, "requests": 2, "keeps_history": 1},
    "entries": {**ONE, "vpages": 2, "swap_entries": 2, "swappiness": 60},
}
"""`small` is what most faults need; `kernel`: frames that are no user memory, and munlock; `noio`: requests that may
not write, and reclaimers at work at the same time; `reserve`: a lowest watermark of which half is kept for who dies;
`marks`: a high watermark above the low one; `retries`: two loops before OOM, two failures before kswapd gives up;
`priorities`: three of them; `proportion`: lists so long that a turn may end early; `batch`: two folios are isolated at
a time; `history`: shadows; `entries`: two swap entries, and both types scanned."""
