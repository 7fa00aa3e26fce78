"""Traces of a kernel's memory events: recorded ones are accepted, each clause can be broken, doubts have reasons."""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import random
import re
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kmemspec.cli import main
from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.recorded.vmscan import OTHER, UNEVICTABLE
from kmemspec.specs.traces import clauses, objects
from kmemspec.specs.traces.lines import numbered_lines
from kmemspec.specs.traces.text import ClauseResult, TextChecker, check_text
from kmemspec.specs.traces.validation import SNAPSHOTS, TEXT, TraceValidation, switched_on, validate_trace

RECORDINGS = Path(__file__).parent / "data" / "recordings"
BEFORE, LOST, TIE = clauses.BEFORE.text, clauses.LOST.text, clauses.TIE.text
UNSEEN, SILENT, BULK = clauses.PAGES_UNSEEN.text, clauses.SILENTLY_FREED.text, clauses.BULK_ALLOCATED.text
ON, HASHED = clauses.SWITCHED_ON.text, clauses.HASHED.text


def checked(path: Path, recorded: Sequence[str] = ()) -> tuple[TextChecker, dict[str, ClauseResult]]:
    checker = TextChecker(str(path), recorded)
    return checker, {one.clause.name: one for one in check_text(path, checker)}


def reasons(results: dict[str, ClauseResult]) -> set[str]:
    return {reason for one in results.values() for reason, _ in one.unknown}


# --- recorded traces


@pytest.mark.parametrize(
    ("trace", "events", "excuses"),
    [
        ("drv1/trace.txt.xz", 6914, set()),
        ("mid1/trace.txt.xz", 77653, set()),
        ("mid2/trace.txt.xz", 81688, set()),
        ("boot1/trace.txt.xz", 141488, {UNSEEN, SILENT, BULK}),
        ("real2/trace.txt.xz", 87466, {UNSEEN, SILENT, BULK}),
        ("real2/trace-cmd-report.txt.xz", 3000, {BULK}),
        ("real2u/trace.txt.xz", 108058, {UNSEEN, SILENT, BULK, TIE}),
        ("lost2/trace.txt.xz", 1944, {LOST, BULK}),
        ("lost2/trace_pipe.txt.xz", 5353, {LOST, BULK, UNSEEN, SILENT}),
        ("quirks/nohash_ptr_la57.txt.xz", 3001, {LOST}),
        ("swap2/vmscan.txt.xz", None, {UNSEEN}),
        ("thp2/vmscan.txt.xz", None, {UNSEEN}),
    ],
)
def test_recorded_traces_are_not_violated(trace: str, events: int | None, excuses: set[str]) -> None:
    path = RECORDINGS / trace
    checker, results = checked(path, switched_on(path.parent))
    assert [(one.number, one.clause.name, one.observed) for one in checker.judge.violations] == []
    assert events is None or checker.number == events
    assert reasons(results) & clauses.EXCUSES - {UNEVICTABLE} <= excuses | {ON}
    assert excuses <= reasons(results)
    assert results["page-alloc"].held > 20


def test_a_clock_of_large_steps_and_bulk_operations_are_counted_one_by_one() -> None:
    _, results = checked(RECORDINGS / "real2u" / "trace.txt.xz")
    unknown = {name: dict(one.unknown) for name, one in results.items()}
    assert unknown["object-alloc"][TIE] > 300
    assert unknown["object-free"][TIE] > 300
    assert unknown["page-free"][TIE] > 100
    _, results = checked(RECORDINGS / "boot1" / "trace.txt.xz")
    assert dict(results["page-free"].unknown) == {UNSEEN: 1410, BEFORE: 3193}
    assert dict(results["object-alloc"].unknown) == {SILENT: 1}


@pytest.mark.parametrize(("name", "outcome"), [("drv1", Outcome.HOLDS), ("mid2", Outcome.HOLDS)])
def test_recordings_with_snapshots(name: str, outcome: Outcome) -> None:
    found = validate_trace(RECORDINGS / name, (TEXT, SNAPSHOTS))
    assert [one.strength for one in found.strengths] == [TEXT, SNAPSHOTS]
    assert found.strengths[0].outcome is outcome
    assert found.strengths[1].violated == 0
    assert found.rejections == ()
    if name == "mid2":
        held = {one.clause.name: one.held for one in found.strengths[1].results}
        assert held["snapshot-counters"] == 8
        assert held["snapshot-in-use"] > 6000
        assert held["snapshot-objects"] > 100
        assert held["snapshot-unused"] > 500


def test_full_states_and_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = ["validate", "trace", str(RECORDINGS / "drv1"), "--strength", "text,states", "--json", str(report)]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "✓ holds" in shown
    assert "with full states:" in shown
    assert "address of each slab allocation" in shown
    assert '"schema": "kmemspec-trace-validation/1"' in report.read_text()


# --- the formats


HEADER = b"""# ========
# captured on    : Mon Nov 23 05:30:00 2026
# cmdline : /usr/bin/perf record -a -g -e kmem:*
# ========
#
"""
CALLERS = (
    b"\tffffffff812a31f0 __alloc_pages+0x211 ([kernel.kallsyms])",
    b"                  27f1dc .__kmalloc (/boot/vmlinux)",
    b"                       0 [unknown] ([unknown])",
    b"\t    7f3b1c2d4e50 std::vector<int>::push_back(int const&) (inlined)",
    b"\t          4005d6 main+0x16 (/home/user/a b)",
    b"",
)
EVENT = re.compile(rb"^ *(.+)-(\d+) +\[(\d+)\] (\S+) +([\d.]+): (\w+): (.*)$")
Event = tuple[bytes, int, int, int, bytes, bytes]
"""Task, its number, CPU, time in microseconds, name and fields."""


def _events(trace: Path, most: int) -> list[Event]:
    found = []
    for _, line in numbered_lines(trace):
        match = EVENT.match(line)
        assert match is not None
        # All are of tasks, as perf prints them: it does not say of which context an event is.
        name = match[6].replace(b"tracing_mark_write", b"print")
        found.append((match[1], int(match[2]), int(match[3]), int(match[5].replace(b".", b"")), name, match[7]))
        if len(found) == most:
            break
    return found


def _seconds(time: int, more: int = 0) -> bytes:
    return b"%d.%06d%s" % (*divmod(time, 1_000_000), b"0" * more)


def _as_ftrace(task: bytes, pid: int, cpu: int, time: int, name: bytes, fields: bytes) -> bytes:
    return b"%16s-%-7d [%03d] ..... %12s: %s: %s" % (task, pid, cpu, _seconds(time), name, fields)


def _as_trace_cmd(task: bytes, pid: int, cpu: int, time: int, name: bytes, fields: bytes) -> bytes:
    return b"    %s-%d     [%03d]    %s: %s:      %s" % (task, pid, cpu, _seconds(time), name, fields)


def _as_perf(task: bytes, pid: int, cpu: int, time: int, name: bytes, fields: bytes) -> bytes:
    group = b"vmscan" if b"vmscan" in name else b"pagemap" if b"lru" in name else b"kmem"
    return b"%16s %5d [%03d] %12s: %25s: %s" % (task, pid, cpu, _seconds(time), group + b":" + name, fields)


def _as_perf_with_all(task: bytes, pid: int, cpu: int, time: int, name: bytes, fields: bytes) -> bytes:
    """-F +pid,+period --ns: as -F comm,pid,tid,cpu,time,period,event,trace."""
    return b"%s %d/%d [%03d] %s: %10d kmem:%s: %s" % (task, pid + 1, pid, cpu, _seconds(time, 3), 1, name, fields)


def _as_perf_without_cpu(task: bytes, pid: int, cpu: int, time: int, name: bytes, fields: bytes) -> bytes:
    return b"%s %d %s: kmem:%s: %s" % (task, pid, _seconds(time), name, fields)


def _as_perf_without_task(task: bytes, pid: int, cpu: int, time: int, name: bytes, fields: bytes) -> bytes:
    return b"%7d [%03d] %s: kmem:%s: %s" % (pid, cpu, _seconds(time), name, fields)


FORMATS = (_as_ftrace, _as_trace_cmd, _as_perf, _as_perf_with_all, _as_perf_without_cpu, _as_perf_without_task)


def _written(events: Sequence[Event], form: Callable[..., bytes], target: Path, callers: bool) -> Path:
    lines = []
    for number, event in enumerate(events):
        lines.append(form(*event))
        if callers and number % 3 == 0:
            lines += CALLERS
        if callers and number % 100 == 0:
            lines.insert(-1, b"\t          4005d6 main+0x16 (/home/user/some of 12.5: a:b: x)")
    target.write_bytes(HEADER + b"\n".join(lines) + b"\n")
    return target


def test_a_recording_as_perf_prints_it_has_the_same_counts(tmp_path: Path) -> None:
    trace = RECORDINGS / "mid1" / "trace.txt.xz"
    recorded = switched_on(trace.parent)
    checker, rows = checked(_written(_events(trace, 100_000), _as_perf, tmp_path / "trace.txt", True), recorded)
    assert checker.number == 77653
    assert rows == checked(trace, recorded)[1]
    assert sum(one.violated for one in rows.values()) == 0


@pytest.mark.parametrize(("trace", "most"), [("mid2/trace.txt.xz", 9000), ("swap2/vmscan.txt.xz", 3000)])
def test_all_formats_say_the_same(trace: str, most: int, tmp_path: Path) -> None:
    """Also that an event is wrong, and which; and lines of callers between events change nothing."""
    events = _events(RECORDINGS / trace, most)
    half = len(events) // 2
    free = next(number for number, event in enumerate(events) if event[4] == b"mm_page_free" and number > half)
    twice = [*events[: free + 1], events[free], *events[free + 1 :]]
    twice = [(*event[:3], event[3] + 10 * (number > free), *event[4:]) for number, event in enumerate(twice)]
    recorded = switched_on(RECORDINGS / "mid1")
    for given, wrong in ((events, []), (twice, [("page-free", free + 2)])):
        found = []
        for form in FORMATS:
            path = _written(given, form, tmp_path / "trace.txt", callers="perf" in form.__name__)
            checker, rows = checked(path, recorded)
            assert [(one.clause.name, one.number) for one in checker.judge.violations] == wrong, form.__name__
            assert [number for number, _ in numbered_lines(path)][-1] == checker.number == len(given)
            found.append(rows)
        assert found[0]["page-alloc"].held > 100
        assert found[1:] == found[:1] * (len(FORMATS) - 1)


def test_packed_traces_say_the_same(tmp_path: Path) -> None:
    trace = RECORDINGS / "drv1" / "trace.txt.xz"
    packed = tmp_path / "trace.gz"
    packed.write_bytes(gzip.compress(lzma.decompress(trace.read_bytes())))
    assert checked(packed)[1] == checked(trace)[1]


def _perf(*lines: str) -> tuple[TextChecker, dict[str, ClauseResult]]:
    checker = TextChecker("perf")
    checker.read(line.encode() for line in lines)
    return checker, {one.clause.name: one for one in checker.finish()}


def _pages_by_perf(*events: str, cpu: str = "[000]") -> list[str]:
    """As perf prints them without vmemmap's address: a page is its frame number."""
    return [f"perf  6429 {cpu} {22 + number / 1000:12.6f}:    kmem:{event}" for number, event in enumerate(events)]


A_PAGE = "page=0x176a17 pfn=1534487 order=0"
ALLOC_BY_PERF = f"mm_page_alloc: {A_PAGE} migratetype=0 gfp_flags=GFP_NOFS|GFP_ZERO"


def test_pages_as_perf_prints_them() -> None:
    free = f"mm_page_free: {A_PAGE}"
    failures = [
        f"mm_page_alloc: page=(nil) pfn={pfn} order=9 migratetype=1 gfp_flags=GFP_TRANSHUGE"
        for pfn in ("0", "-1", "0xffffffffffffffff", "18446744073709551615")
    ]
    nulls = ["kfree: call_site=c0000000003ce108 ptr=(nil)", "kfree: call_site=sk_free+0x5 ptr=(null)"]
    checker, rows = _perf(*_pages_by_perf(*failures, *nulls, ALLOC_BY_PERF, free, ALLOC_BY_PERF, ALLOC_BY_PERF))
    assert [(one.clause.name, one.number) for one in checker.judge.violations] == [("page-alloc", 10)]
    assert checker.judge.counts[b"mm_page_alloc"] + checker.pages.more_allocated == 3
    # A probe shows a page's address: without vmemmap's it is not known which page that is.
    probes = ["page_bulk_alloc: (x+0x1/0x2) page=0xffffea0005da85c0", "isolate_free_ret: (x <- y) ret=0", free]
    _, rows = _perf(*_pages_by_perf(ALLOC_BY_PERF, free, *probes))
    assert dict(rows["page-free"].unknown) == {UNSEEN: 1}


@pytest.mark.parametrize(
    "lost",
    [
        "perf  6429 [000] 22.002500: PERF_RECORD_LOST lost 77",
        "perf  6429/6430 22.002500: PERF_RECORD_LOST_SAMPLES lost 77",
        "Processed 9000 events and lost 77 chunks!",
    ],
)
def test_what_perf_lost(lost: str) -> None:
    events = _pages_by_perf(ALLOC_BY_PERF, f"mm_page_free: {A_PAGE}", ALLOC_BY_PERF, ALLOC_BY_PERF)
    checker, _ = _perf(*events)
    assert checker.judge.violations
    checker, rows = _perf(*events[:3], "Warning:", lost, "Check IO/CPU overload!", *events[3:])
    assert checker.judge.violations == []
    assert dict(rows["time"].unknown) == {LOST: 77}


def test_without_cpus_nothing_is_known_of_events_of_one_microsecond() -> None:
    free = f"mm_page_free: {A_PAGE}"
    events = _pages_by_perf(ALLOC_BY_PERF, free, ALLOC_BY_PERF, free, free, cpu="")
    tied = [*events[:3], events[3].replace("22.003", "22.004"), events[4]]
    assert dict(_perf(*events)[1]["page-free"].unknown) == {UNSEEN: 1}
    assert dict(_perf(*tied)[1]["page-free"].unknown) == {TIE: 1}
    backwards = [*events[:2], events[2].replace("22.002", "21.000")]
    assert _perf(*backwards)[0].judge.violations == []


def test_callers_in_ftraces_own_text() -> None:
    trace = Trace().alloc(0x10).event("<stack trace>").alloc(0x11)
    trace.lines[2:2] = [" => __alloc_pages", " => vfs_write", ""]
    assert trace.check().number == 2
    # But a line that only begins like a caller's, and is of an event, is not passed over.
    with pytest.raises(InputError, match="event 3 is not a line"):
        _perf(*_pages_by_perf(ALLOC_BY_PERF, ALLOC_BY_PERF), "  cafe 7 [000 22.1: kmem:mm_page_free: x")


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    data = lzma.decompress((RECORDINGS / "drv1" / "trace.txt.xz").read_bytes())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["validate", "trace", "-"]) == 0
    assert "6,914 events" in capsys.readouterr().out


# --- clauses, one by one


VMEMMAP, MAPPED = 0xFFFFEA0000000000, 0xFFFF888000000000


class Trace:
    """Lines of a trace as they are written, one CPU after the other or as is said."""

    def __init__(self, step: float = 0.00001) -> None:
        self.lines: list[str] = []
        self.time = 10.0
        self.step = step

    def event(self, text: str, cpu: int = 0, pid: int = 7, time: str | None = None) -> Trace:
        self.time += self.step
        stamp = f"{self.time:12.6f}" if time is None else f"{time:>12}"
        self.lines.append(f"{'task':>16}-{pid:<7} [{cpu:03}] ..... {stamp}: {text}")
        return self

    def page(self, name: str, pfn: int, order: int = 0, more: str = "", **where: Any) -> Trace:
        return self.event(f"{name}: page={VMEMMAP + 64 * pfn:016x} pfn={pfn:#x} order={order}{more}", **where)

    def alloc(self, pfn: int, order: int = 0, flags: str = "GFP_KERNEL", kind: int = 0, **where: Any) -> Trace:
        return self.page("mm_page_alloc", pfn, order, f" migratetype={kind} gfp_flags={flags}", **where)

    def free(self, pfn: int, order: int = 0, **where: Any) -> Trace:
        return self.page("mm_page_free", pfn, order, **where)

    def kmalloc(self, address: int, asked: int = 64, got: int = 64, name: str = "kmalloc", **where: Any) -> Trace:
        sizes = f"bytes_req={asked} bytes_alloc={got} gfp_flags=GFP_KERNEL node=-1 accounted=false"
        return self.event(f"{name}: call_site=f+0x1/0x2 ptr={address:016x} {sizes}", **where)

    def kfree(self, address: int, cache: str = "", **where: Any) -> Trace:
        name, more = ("kmem_cache_free", f" name={cache}") if cache else ("kfree", "")
        return self.event(f"{name}: call_site=f+0x1/0x2 ptr={address:016x}{more}", **where)

    def check(self, *recorded: str) -> TextChecker:
        checker = TextChecker("test", recorded)
        checker.read(line.encode() for line in self.lines)
        self.results = {one.clause.name: one for one in checker.finish()}
        return checker


PROBES = ("page_bulk_alloc", "isolate_free_ret", "slab_bulk_alloc", "slab_bulk_free", "split_page")


def start() -> Trace:
    """Some life, with each kind of event once; four new slabs show where page 0 is mapped."""
    trace = Trace().alloc(0x10).free(0x10).kmalloc(MAPPED).kfree(MAPPED)
    trace.kmalloc(MAPPED + 128, name="kmem_cache_alloc").kfree(MAPPED + 128, "filp")
    for number in range(4):
        trace.alloc(0x100 + number).kmalloc(MAPPED + ((0x100 + number) << 12))
    trace.kmalloc(MAPPED + 0x100040, name="kmem_cache_alloc").kfree(MAPPED + 0x100040, "filp")
    trace.alloc(0x200, 1, "GFP_HIGHUSER_MOVABLE", 1).free(0x200, 1).alloc(0x210).free(0x210)
    trace.page("mm_page_free_batched", 0x210).kmalloc(MAPPED + 0x101040).kfree(MAPPED + 0x101040)
    trace.page("mm_page_alloc_zone_locked", 0x300, 3, " migratetype=0 percpu_refill=1")
    return trace.page("mm_page_pcpu_drain", 0x210, 0, " migratetype=0")


O = MAPPED + 0x102000  # noqa: E741  an address in a page of the start that has one object
FAULTS: dict[str, Callable[[Trace], Trace]] = {
    "time": lambda t: t.event("kfree: call_site=f+0x1/0x2 ptr=(nil)", time="9.000000"),
    "numbers": lambda t: t.alloc(0x800, 11),
    "aligned": lambda t: t.alloc(0x801, 1),
    "migratetype": lambda t: t.alloc(0x800, 0, "GFP_KERNEL", 1),
    "struct-page": lambda t: t.alloc(0x220).event(f"mm_page_free: page={VMEMMAP:016x} pfn=0x220 order=0"),
    "page-alloc": lambda t: t.alloc(0x102),
    "page-free": lambda t: t.free(0x210),
    "page-order": lambda t: t.alloc(0x220).free(0x220, 2),
    "page-batched": lambda t: t.alloc(0x220).page("mm_page_free_batched", 0x220),
    "block-taken": lambda t: t.alloc(0x222).page("mm_page_alloc_zone_locked", 0x220, 2, " migratetype=0"),
    "page-drained": lambda t: t.alloc(0x222).page("mm_page_pcpu_drain", 0x222, 0, " migratetype=0"),
    "lru-page": lambda t: t.event(f"mm_lru_activate: folio={VMEMMAP + 64 * 0x210:016x} pfn=0x210"),
    "object-size": lambda t: t.kmalloc(O + 0x40, 65, 64),
    "object-alloc": lambda t: t.kmalloc(O),
    "object-free": lambda t: t.kfree(O).kfree(O),
    "cache-size": lambda t: t.kmalloc(O + 0x9000, 32, 32).kfree(O + 0x9000, "filp").kfree(O, "filp"),
    "slab-spacing": lambda t: t.kmalloc(O + 0x20),
    "slab-page": lambda t: t.kmalloc(MAPPED + 0x210000),
    "slab-free": lambda t: t.free(0x102),
}


def test_what_is_right_is_accepted() -> None:
    trace = start()
    checker = trace.check(*PROBES)
    assert checker.judge.violations == []
    assert all(not one.unknown for one in trace.results.values())
    assert checker.objects.base == MAPPED >> 12


@pytest.mark.parametrize("name", FAULTS)
def test_each_clause_can_be_broken(name: str) -> None:
    trace = FAULTS[name](start())
    checker = trace.check(*PROBES)
    last = len(trace.lines) - (name == "cache-size")
    assert {(one.clause.name, one.number) for one in checker.judge.violations} == {(name, last)}
    assert trace.results[name].violated == 1


def test_every_clause_about_single_events_has_a_fault() -> None:
    assert {clause.name for clause in (clauses.TIME, *clauses.CHECKED)} == FAULTS.keys()


def test_relations_of_reclaim_are_clauses() -> None:
    trace = start()
    begin = "mm_vmscan_direct_reclaim_begin: order=0 gfp_flags=GFP_KERNEL"
    trace.event(begin, pid=9).event("mm_vmscan_direct_reclaim_end: nr_reclaimed=3", pid=9).event(begin, pid=9)
    assert trace.check().judge.violations == []
    trace.event(begin, pid=9)
    [violation] = trace.check().judge.violations
    assert (violation.clause.name, violation.subject) == ("direct-nested", ("task", 9))
    trace.lines.pop()
    trace.event("mm_vmscan_lru_isolate: isolate_mode=0 classzone=2 order=0 nr_requested=32 nr_scanned=3 nr_skipped=0 "
                "nr_taken=5 lru=inactive_anon", pid=9)  # fmt: skip
    assert {one.clause.name for one in trace.check().judge.violations} == {"isolate-taken"}


def test_other_reclaims_excuse_what_they_may_disturb() -> None:
    trace = start().event("mm_vmscan_direct_reclaim_begin: order=0 gfp_flags=GFP_KERNEL", pid=9)
    isolated = "mm_vmscan_lru_isolate: isolate_mode=0 classzone=2 order=3 nr_requested=32 nr_scanned=3 nr_skipped=0 "
    trace.event(isolated + "nr_taken=0 lru=inactive_anon", pid=9)
    assert {one.clause.name for one in trace.check().judge.violations} == {"isolate-reclaim"}
    trace.event("mm_vmscan_memcg_reclaim_begin: order=0 gfp_flags=GFP_KERNEL", pid=9)
    assert only(trace, "isolate-reclaim") == {OTHER: 1}


# --- what cannot be told, and why


def only(trace: Trace, clause: str, *recorded: str) -> dict[str, int]:
    """Nothing is violated; why this clause cannot be told."""
    assert trace.check(*recorded).judge.violations == []
    return dict(trace.results[clause].unknown)


def test_begun_midway() -> None:
    assert only(start().free(0x900), "page-free") == {BEFORE: 1}
    assert only(start().kfree(O + 0x9000), "object-free") == {BEFORE: 1}
    assert only(start().page("mm_page_free_batched", 0x900), "page-batched") == {BEFORE: 1}


def test_paths_without_events_unless_probes_show_them() -> None:
    double = start().free(0x210)
    assert only(double, "page-free") == {UNSEEN: 1}
    assert double.check("page_bulk_alloc", "isolate_free_ret").judge.violated.total() == 1
    assert only(start().kmalloc(O), "object-alloc") == {SILENT: 1}
    assert only(start().kfree(MAPPED + 0x100040, "filp"), "object-free") == {BULK: 1}
    assert only(start().free(0x102), "slab-free") == {SILENT: 1}
    # A probe that shows itself only later in the text counts for what was before.
    probe = f"page_bulk_alloc: (__alloc_pages_bulk+0x305/0x6b0) page={VMEMMAP + 64 * 0x999:#x}"
    shown = start().free(0x210).event(probe)
    assert [one.clause.name for one in shown.check("isolate_free_ret").judge.violations] == ["page-free"]
    # What no path can do is found without probes: kfree() frees nothing that was allocated in bulk.
    assert [one.clause.name for one in start().kfree(O).kfree(O).check().judge.violations] == ["object-free"]
    assert [one.clause.name for one in start().alloc(0x102).check().judge.violations] == ["page-alloc"]


def test_a_cache_may_be_made_anew() -> None:
    trace = start().kmalloc(O + 0x9000, 32, 32).kmalloc(O + 0x9020, 32, 32)
    trace.kfree(O + 0x9000, "filp").kfree(O + 0x9020, "filp")
    assert only(trace, "cache-size") == {clauses.MADE_ANEW.text: 1}


def test_parts_of_a_block() -> None:
    split = clauses.SPLIT.text
    assert only(start().alloc(0x220, 2).free(0x221).free(0x220).alloc(0x221), "page-order") == {split: 1}
    probed = start().alloc(0x220, 2)
    probed.event(f"split_page: (split_page+0x0/0x40) page={VMEMMAP + 64 * 0x220:#x} order=2").free(0x221)
    assert only(probed, "page-order") == {}


def test_lost_events_void_what_was_known() -> None:
    lost = start().kfree(O)
    lost.lines.append("CPU:0 [LOST 5 EVENTS]")
    assert only(lost.kfree(O).alloc(0x103).free(0x210), "object-free", *PROBES) == {LOST: 1}
    # Of another CPU: what was rejected since its last event may be a consequence.
    late = start().event("kfree: call_site=f+0x1/0x2 ptr=(nil)", cpu=1).alloc(0x103)
    late.lines.append("CPU:1 [LOST 77 EVENTS]")
    assert only(late, "page-alloc", *PROBES) == {LOST: 1}
    dropped = start().event("kfree: call_site=f+0x1/0x2 ptr=(nil)", cpu=1).alloc(0x103)
    dropped.lines.append("CPU:1 [77 EVENTS DROPPED]")
    assert only(dropped, "page-alloc", *PROBES) == {LOST: 1}
    header = start().alloc(0x103)
    header.lines.insert(0, "# entries-in-buffer/entries-written: 5/9   #P:2")
    header.event("kfree: call_site=f+0x1/0x2 ptr=(nil)", cpu=1)
    assert only(header, "page-alloc", *PROBES) == {LOST: 1}


def test_clocks_that_do_not_order_cpus() -> None:
    def trace(first: str, second: str, third: str) -> Trace:
        two = start().alloc(0x400, cpu=0, time=first)
        return two.alloc(0x400, cpu=1, time=second).free(0x400, cpu=0, time=third).kfree(0, time="20.000000")

    assert only(trace("11.000000", "12.000000", "12.000001"), "page-alloc") == {TIE: 1}
    assert trace("11.000000", "12.000000", "12.000003").check().judge.violated.total() == 1
    # Whole numbers that come twice are steps, and whole chains of events fit into one of them.
    steps = Trace().alloc(0x99, time="5").alloc(0x98, cpu=1, time="5").kfree(O + 0x5000, time="6")
    steps.kmalloc(O + 0x5040, time="6")
    steps.kmalloc(O, cpu=0, time="7").kmalloc(O, cpu=0, time="7")
    steps.kfree(O, cpu=1, time="7").kfree(O, cpu=1, time="7")
    assert TIE in only(steps, "object-alloc") | only(steps, "object-free")
    counter = Trace().free(0x97, time="4").alloc(0x99, time="5").alloc(0x98, cpu=1, time="6")
    assert counter.alloc(0x99, cpu=1, time="7").free(0x99, time="8").check().judge.violated.total() == 1


def test_tracepoints_switched_on_one_by_one() -> None:
    trace = Trace().kmalloc(O).kmalloc(O).kfree(O)
    assert only(trace, "object-alloc") == {ON: 1}


def test_hashed_addresses_have_no_pages() -> None:
    trace = Trace()
    for number in range(2):
        trace.kmalloc(0xC0296900 + number, 64, 64)
    trace.kfree(0xC0296900).kmalloc(0xC0296902).kfree(0xC0296901).kfree(0xC0296901)
    checker = trace.check()
    assert [one.clause.name for one in checker.judge.violations] == ["object-free"]
    assert dict(trace.results["slab-spacing"].unknown) == {HASHED: 3}


# --- explained and cut


def test_a_rejected_trace_is_explained_and_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for _, line in numbered_lines(RECORDINGS / "drv1" / "trace.txt.xz")]
    at = next(number for number, line in enumerate(lines) if number > 3000 and b": mm_page_alloc: " in line)
    pfn = re.search(rb"pfn=(\S+)", lines[at])
    assert pfn is not None
    lines.insert(at + 1, lines[at])
    bad, cut = tmp_path / "bad.txt", tmp_path / "cut.txt"
    bad.write_bytes(b"# tracer: nop\n" + b"\n".join(lines) + b"\n")
    assert main(["validate", "trace", str(bad), "--cut", str(cut)]) == 1
    shown = capsys.readouterr().out
    assert f"event {at + 2:,}: " in shown
    assert f"accepted: events 1 to {at + 1:,}" in shown
    assert "page-alloc: an allocated block has no page that is in use" in shown
    assert "the whole history" in shown
    found = validate_trace(bad)
    [rejection] = found.rejections
    blocks = [re.findall(r"pfn=0x(\w+) order=(\d+)", text)[0] for _, text in rejection.history]
    assert all(int(page, 16) <= int(pfn[1], 16) < int(page, 16) + (1 << int(order)) for page, order in blocks)
    assert {at + 1, at + 2} <= {number for number, _ in rejection.cut}
    assert len(rejection.cut) <= 3
    # The cut is a trace of its own that is rejected at the same event.
    again = validate_trace(cut)
    assert again.events == at + 2
    assert [(one.clause, one.number) for one in again.rejections] == [(rejection.clause, rejection.number)]


def test_a_cut_says_what_was_recorded_where_that_matters(tmp_path: Path) -> None:
    directory = tmp_path / "recording"
    directory.mkdir()
    (directory / "trace.txt").write_text("\n".join(start().free(0x210).lines) + "\n")
    (directory / "set_event").write_text("kp:page_bulk_alloc kp:isolate_free_ret kmem:mm_page_free\n")
    [rejection] = validate_trace(directory).rejections
    assert rejection.clause is clauses.FREED
    assert "# switched on:" in rejection.cut_text
    cut = tmp_path / "cut.txt"
    cut.write_text(rejection.cut_text)
    assert [one.number for one in validate_trace(cut).rejections] == [rejection.number]


def test_a_recording_whose_buffer_was_full(tmp_path: Path) -> None:
    trace = start().event("kfree: call_site=f+0x1/0x2 ptr=(nil)", cpu=1).alloc(0x103)
    (tmp_path / "trace.txt").write_text("\n".join(trace.lines) + "\n")
    assert validate_trace(tmp_path).outcome is Outcome.VIOLATED
    (tmp_path / "per_cpu_stats.txt").write_text("== cpu0\ndropped events: 0\n== cpu1\ndropped events: 9\n")
    assert validate_trace(tmp_path).outcome is Outcome.UNKNOWN


def test_states_of_another_kernel_tell_nothing(tmp_path: Path) -> None:
    for file in ("trace.txt.xz", "state_A.json.gz", "state_B.json.gz"):
        data = (RECORDINGS / "drv1" / file).read_bytes()
        if file.startswith("state"):
            data = gzip.compress(gzip.decompress(data).replace(b'"6.1.', b'"6.12.', 1))
        (tmp_path / file).write_bytes(data)
    found = validate_trace(tmp_path)
    assert [one.outcome for one in found.strengths] == [Outcome.HOLDS, Outcome.UNKNOWN]
    assert "is of Linux 6.12" in found.strengths[1].notes[0]


# --- snapshots


def _with_snapshot(tmp_path: Path, snapshot: str, file: str, old: bytes, new: bytes) -> TraceValidation:
    """mid2, one file of one snapshot changed."""
    for name in ("trace.txt.xz", "set_event"):
        (tmp_path / name).write_bytes((RECORDINGS / "mid2" / name).read_bytes())
    with tarfile.open(RECORDINGS / "mid2" / "snaps.tar.xz") as source, tarfile.open(
        tmp_path / "snaps.tar.xz", "w:xz"
    ) as target:
        for member in source:
            stream = source.extractfile(member)
            if stream is None:
                continue
            data = stream.read()
            if member.name == f"snap_{snapshot}/{file}":
                assert re.search(old, data)
                data = re.sub(old, new, data, count=1)
            elif file not in member.name:
                continue
            member.size = len(data)
            target.addfile(member, io.BytesIO(data))
    return validate_trace(tmp_path, (TEXT, SNAPSHOTS))


@pytest.mark.parametrize("counter", [b"pgalloc_dma32", b"pgfree", b"pageoutrun"])
def test_a_counter_that_is_off_is_found(tmp_path: Path, counter: bytes) -> None:
    found = _with_snapshot(tmp_path, "m", "vmstat", counter + rb" \d+", counter + b" 999999")
    assert found.outcome is Outcome.VIOLATED
    assert [one.clause for one in found.rejections] == [clauses.SNAP_COUNTS]
    assert counter.partition(b"_")[0].decode() in found.rejections[0].observed


def test_flags_that_contradict_the_events_are_found(tmp_path: Path) -> None:
    """Of a page in use the flags say that it is free, of one in a free list that it is on the LRU."""
    size = 8 * 4096
    found = _with_snapshot(
        tmp_path, "m", "kpageflags.bin", rb"(?s)^.*$", (1 << 10 | 1 << 5).to_bytes(8, "little") * (size * 8 // 8)
    )
    assert {clauses.SNAP_LIVE, clauses.SNAP_UNUSED, clauses.SNAP_OBJECTS} & {one.clause for one in found.rejections}
    violated = {one.clause for one in found.strengths[1].results if one.violated}
    assert {clauses.SNAP_LIVE, clauses.SNAP_UNUSED, clauses.SNAP_OBJECTS} <= violated
    live = next(one for one in found.rejections if one.clause is clauses.SNAP_LIVE)
    assert live.history


# --- in a stream


def _life(rounds: int, kept: int) -> Iterator[bytes]:
    """The same allocations and frees again and again, beside objects and pages that stay in use."""
    sizes = "bytes_req=64 bytes_alloc=64 gfp_flags=GFP_KERNEL node=-1 accounted=false"
    time = 0
    for turn in range(rounds):
        for number in range(kept if turn else 0, kept + 200):
            address, page, pfn = MAPPED + number * 64, VMEMMAP + 64 * number, number
            time += 10
            head = f"            task-7       [000] ..... {time:12}: "
            yield f"{head}kmalloc: call_site=f+0x1/0x2 ptr={address:016x} {sizes}".encode()
            asked = "order=0 migratetype=0 gfp_flags=GFP_KERNEL"
            yield f"{head}mm_page_alloc: page={page:016x} pfn={pfn:#x} {asked}".encode()
            if number >= kept:
                yield f"{head}kfree: call_site=f+0x1/0x2 ptr={address:016x}".encode()
                yield f"{head}mm_page_free: page={page:016x} pfn={pfn:#x} order=0".encode()


def _peak(rounds: int, kept: int) -> tuple[int, int]:
    """Bytes at most, and events, of a checker of pages and objects, of which `kept` stay in use."""
    checker = TextChecker("stream")
    tracemalloc.start()
    try:
        checker.read(_life(rounds, kept))
        checker.finish()
        assert checker.judge.violations == []
        return tracemalloc.get_traced_memory()[1], checker.number
    finally:
        tracemalloc.stop()


def test_memory_grows_with_what_is_in_use_not_with_the_trace() -> None:
    (some, events), (often, more), (larger, _) = _peak(3, 100), _peak(30, 100), _peak(1, 2000)
    assert more > 9 * events
    assert often < 1.3 * some
    assert larger > 3 * some


def test_what_was_freed_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "FREED_MIN", 1 << 6)
    checker = TextChecker("stream")
    checker.read(_life(1, 0))
    assert (checker.objects.count, len(checker.objects.live), len(checker.pages.live)) == (0, 0, 0)
    assert len(checker.objects.freed) <= 1 << 6
    assert len(checker.pages.freed) == 200


# --- bad input


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "has no event"),
        (b"# tracer: nop\n", "has no event"),
        (b"what is this\n", "event 1 is not a line of a trace"),
        (b"\0\xff\xfe" * 1000, "event 1 is not a line of a trace"),
        (b"x" * (1 << 20), "a line too long"),
        (lzma.compress(b"# x\n" * 9999)[:-20], "not a complete compressed file"),
        (gzip.compress(b"# x\n" * 9999, mtime=0)[:-20], "not a complete compressed file"),
        (b"            task-7       [000] .....   15: mm_page_free: pfn=zz order=0\n", "has other fields"),
        (b"            task-7       [000] .....   15: kfree: call_site=f ptr=zz\n", "has other fields"),
        (b"            task-7       [000] .....   1.2.3: kfree: call_site=f ptr=0\n", "has the time 1.2.3"),
        (b"            task-7       [000] .....   15: mm_vmscan_lru_isolate: lru=none\n", "has other fields"),
    ],
)
def test_bad_traces_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, message: str
) -> None:
    path = tmp_path / "trace.txt"
    path.write_bytes(data)
    assert main(["validate", "trace", str(path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_damaged_lines_are_an_answer_or_an_error() -> None:
    """Never anything else, wherever a line is damaged."""
    for name in ("drv1/trace.txt.xz", "swap2/vmscan.txt.xz", "lost2/trace_pipe.txt.xz"):
        lines = [line for number, line in numbered_lines(RECORDINGS / name) if number <= 1500]
        for seed in range(60):
            choice = random.Random(seed)
            damaged = list(lines)
            for _ in range(choice.choice((1, 3, 30))):
                at = choice.randrange(len(damaged))
                line = bytearray(damaged[at])
                kind = choice.randrange(4)
                if kind == 0:
                    line[choice.randrange(len(line))] = choice.randrange(256)
                elif kind == 1:
                    del line[choice.randrange(len(line)) :]
                elif kind == 2:
                    longer = b"9" * choice.choice((1, 5, 20))
                    line = bytearray(re.sub(rb"\d+", lambda match, new=longer: new, bytes(line), count=3))  # type: ignore[misc]
                else:
                    line = bytearray(choice.choice((b"CPU:9 [LOST EVENTS]", b"# event 99999999", damaged[0])))
                damaged[at] = bytes(line)
            checker = TextChecker("damaged")
            with contextlib.suppress(InputError):
                checker.read(damaged)
                checker.finish()


def test_bad_places_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = str(RECORDINGS / "drv1" / "trace.txt.xz")
    for arguments in ([str(tmp_path / "none")], [str(tmp_path)], [good, "--strength", "guess"],
                      [good, "--cut", str(tmp_path / "no" / "cut")]):  # fmt: skip
        assert main(["validate", "trace", *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(InputError, match="has no trace"):
        validate_trace(tmp_path)
