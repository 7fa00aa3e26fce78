"""Cut a recording down to what concerns the LRU, or the page allocator: python cut.py lru|pages SOURCE TARGET.

Events and lines stay as they are, but most are left out, and for the LRU so are caches and free lists of the states;
how many lines of each CPU lie before a state is counted again.
"""

from __future__ import annotations

import gzip
import json
import lzma
import re
import sys
from pathlib import Path

LRU = frozenset((
    "tracing_mark_write", "mm_page_alloc", "mm_page_free", "page_bulk_alloc", "isolate_free", "mm_lru_insertion",
    "mm_lru_activate", "mm_shrink_slab_start", "mm_compaction_isolate_migratepages", "mm_vmscan_lru_isolate",
    "mm_vmscan_lru_shrink_inactive", "mm_vmscan_lru_shrink_active", "mm_vmscan_write_folio",
    "mm_vmscan_direct_reclaim_begin", "mm_vmscan_direct_reclaim_end", "mm_vmscan_kswapd_wake",
    "mm_vmscan_kswapd_sleep", "mm_vmscan_wakeup_kswapd",
))  # fmt: skip
PAGES = frozenset((
    "tracing_mark_write", "mm_page_alloc", "mm_page_free", "mm_page_free_batched", "mm_page_alloc_zone_locked",
    "mm_page_pcpu_drain", "page_bulk_alloc", "isolate_free", "isolate_free_ret", "mm_vmscan_direct_reclaim_begin",
    "mm_vmscan_direct_reclaim_end", "mm_vmscan_kswapd_wake", "mm_vmscan_kswapd_sleep", "mm_vmscan_lru_shrink_inactive",
    "mm_compaction_begin", "mm_compaction_end", "mm_compaction_suitable", "mm_compaction_kcompactd_wake",
    "mm_compaction_kcompactd_sleep",
))  # fmt: skip
"""Of the events of reclaim those that show who reclaims, and when kswapd is at work."""
NAMES = {"lru": ("vmscan.txt.xz", LRU), "pages": ("trace.txt.xz", PAGES)}
LINE = re.compile(r"-\d+\s+\[(\d+)\]\s+\S+\s+[\d.]+: (\w+):")


def cut_trace(
    source: Path, target: Path, wanted: frozenset[str], states: dict[str, dict[str, dict[str, int]]]
) -> None:
    """Write the kept lines; in the states' `trace_entries` only those are counted."""
    seen: dict[str, int] = {}
    kept: dict[str, dict[str, int]] = {name: dict.fromkeys(entries, 0) for name, entries in states.items()}
    lines = []
    with lzma.open(source, "rt", encoding="utf-8") as trace:
        for line in trace:
            match = LINE.search(line)
            if match is None:
                lines.append(line)
                continue
            cpu, event = match.groups()
            seen[cpu] = seen.get(cpu, 0) + 1
            if event in wanted:
                lines.append(line)
                for name, entries in states.items():
                    number = str(int(cpu))
                    kept[name][number] += seen[cpu] <= entries[number]["entries"] + entries[number]["overrun"]
    target.write_bytes(lzma.compress("".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME))
    for name, entries in states.items():
        for cpu in entries:
            entries[cpu] = {"entries": kept[name][cpu], "overrun": 0}


def cut_state(state: dict[str, object]) -> dict[str, object]:
    for name in ("caches", "slab_offsets", "pageblock_migratetype", "seconds"):
        state.pop(name, None)
    zones = state["zones"]
    assert isinstance(zones, list)
    for zone in zones:
        del zone["free_area"]
        zone["pcp"] = {cpu: {"vm_stat_diff": pcp["vm_stat_diff"]} for cpu, pcp in zone["pcp"].items()}
    return state


def main(what: str, source: Path, target: Path) -> None:
    """Cut one recording."""
    trace, wanted = NAMES[what]
    target.mkdir(parents=True, exist_ok=True)
    states = {name: json.loads(gzip.decompress((source / f"state_{name}.json.gz").read_bytes())) for name in "AB"}
    cut_trace(
        source / "trace.txt.xz",
        target / trace,
        wanted,
        {name: state["trace_entries"] for name, state in states.items()},
    )
    for name, state in states.items():
        text = json.dumps(cut_state(state) if what == "lru" else state, separators=(",", ":"))
        (target / f"state_{name}.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
