"""The scope of user memory: how many frames, tasks, pages and swap entries, and what is switched on.

The one idea: what makes the machine large is not that there are many things but many kinds of them. So mlock, direct
io, threads that sleep in a fault, a TLB, a fast swap device and references that are kept are switches, each on in some
scope; and where five of them are on, as by default, they are under way one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..model.lang import Parameter, Requirement

Sizes = Mapping[str, int]


def mappings(sizes: Sizes) -> int:
    """The most PTEs that can map one folio, or have one swap entry."""
    return sizes["tasks"] * sizes["vpages"]


PARAMETERS = (
    Parameter("frames", 2, "the page frames of user memory", most=1 << 16),
    Parameter("tasks", 2, "the number of tasks that may exist at a time", most=1 << 10),
    Parameter("vpages", 1, "the anonymous pages that each task has", most=1 << 10),
    Parameter("file_pages", 1, "the pages of the file", most=1 << 10),
    Parameter("swap_entries", 1, "the entries of the swap device", most=1 << 16),
    Parameter("file", 1, "whether tasks use the file", least=0, most=1),
    Parameter("mlock", 1, "whether tasks lock memory", least=0, most=1),
    Parameter("direct_io", 1, "whether devices write straight to the memory of tasks", least=0, most=1),
    Parameter("threads", 1, "whether a thread may sleep in a fault", least=0, most=1),
    Parameter("waiters", 1, "whether others may run before those are woken who wait for writeback", least=0, most=1),
    Parameter("together", 0, "whether these five may be under way at the same time", least=0, most=1),
    Parameter("tlb", 0, "whether processors remember PTEs", least=0, most=1),
    Parameter("synchronous", 0, "whether the swap device is done when a request returns (zram)", least=0, most=1),
    Parameter("references_kept", 0, "whether references are kept, or reclaim may find any", least=0, most=1),
)

DERIVED = {
    "mappings": mappings,
    # PTEs, a cache, and one each of: isolation, direct io, a sleeping thread, the step that runs and its callee
    "references": lambda sizes: mappings(sizes) + 6,
    "mlocks": mappings,
    # There are no LRU lists (model/folio.py) in this machine.
    "cpus": lambda sizes: 1,
    "long": lambda sizes: 1,
    "pagevec_size": lambda sizes: 1,
    "age_bits": lambda sizes: 1,
    "cost_max": lambda sizes: 0,
    "shadow_max": lambda sizes: 0,
    "scan_max": lambda sizes: 0,
    "swap_cluster_max": lambda sizes: 1,
    "swappiness": lambda sizes: 60,
    "eviction_bits": lambda sizes: 1,
    "bucket_order": lambda sizes: 0,
    "gigabyte_order": lambda sizes: 18,
    "sqrt_turns": lambda sizes: 1,
}

REQUIREMENTS = (
    Requirement(
        lambda sizes: not sizes["tlb"] or not (sizes["direct_io"] or sizes["threads"]),
        "a task with a TLB has one thread and no direct io: tlb needs direct_io=0, threads=0",
    ),
)

PLAIN = {"file": 0, "mlock": 0, "direct_io": 0, "threads": 0, "waiters": 0}
SCOPES: dict[str, dict[str, int]] = {
    "tiny": PLAIN,
    "entries": {**PLAIN, "swap_entries": 2},
    "fast": {**PLAIN, "threads": 1, "synchronous": 1},
    "tlb": {**PLAIN, "tlb": 1, "references_kept": 1},
    "references": {**PLAIN, "frames": 1, "file": 1, "references_kept": 1},
    "together": {"together": 1},
}
"""In `tiny` nothing out of the ordinary happens; `entries` has two swap entries, in `fast` swap is zram and threads
sleep in faults, in `tlb` processors remember PTEs, in `references` the pages of the file are looked at for references,
and in `together` everything may be under way at the same time: a scope for proofs."""
