"""The model beside the recorded kernel: drv1, mid1 and mid2 replayed through the model's own functions."""

from __future__ import annotations

import gzip
import json
import lzma
import random
from pathlib import Path
from typing import Any

import pytest
from kmemspec.cli import main
from kmemspec.model.faults import Fault
from kmemspec.model.lang.errors import InputError
from kmemspec.specs.recorded import comparison, replay, tally
from kmemspec.specs.recorded.comparison import Fidelity, compare_recording, compare_state
from kmemspec.specs.recorded.ftrace import (
    Event,
    Marker,
    ObjectAllocated,
    ObjectFreed,
    ObjectsBulkFreed,
    PageAllocated,
    PageBulkAllocated,
    read_trace,
)
from kmemspec.specs.recorded.machine import RecordedMachine, model
from kmemspec.specs.recorded.operations import (
    AllocateObject,
    AllocatePages,
    FreeObject,
    FreePages,
    Operation,
    between,
    operations,
    postponed,
)
from kmemspec.specs.recorded.states import read_state

RECORDINGS = Path(__file__).parent / "data" / "recordings"

EXPECTED: dict[str, dict[str, int]] = {
    "drv1": {
        tally.PAGES: 211, tally.ZONES: 117, tally.BLOCKS: 117, tally.ADDRESSES: 3298, comparison.FREE_LISTS: 88,
        comparison.PCP_LISTS: 28, comparison.LIVE: 68192, comparison.CPU_LISTS: 223, comparison.CPU_PARTIAL: 223,
        comparison.NODE_PARTIAL: 223, comparison.SLABS: 2680, comparison.CACHE_COUNTERS: 892,
    },
    "mid1": {
        tally.PAGES: 7470, tally.ZONES: 7334, tally.BLOCKS: 5502, tally.DRAINED: 5395, tally.BULK: 40,
        tally.ADDRESSES: 11148, tally.DISCARDED: 81, comparison.FREE_LISTS: 88, comparison.PCP_LISTS: 28,
        comparison.LIVE: 71014, comparison.CPU_LISTS: 219, comparison.CPU_PARTIAL: 219, comparison.NODE_PARTIAL: 219,
        comparison.SLABS: 2694, comparison.CACHE_COUNTERS: 876,
    },
    "mid2": {
        tally.PAGES: 7520, tally.ZONES: 7419, tally.BLOCKS: 6030, tally.DRAINED: 5979, tally.BULK: 88,
        tally.ISOLATED: 3, tally.ADDRESSES: 7388, tally.DISCARDED: 1, comparison.FREE_LISTS: 88,
        comparison.PCP_LISTS: 56, comparison.LIVE: 70607, comparison.CPU_LISTS: 0,
    },
}  # fmt: skip
"""How many predictions of each kind there are, all of them right."""

NOT_PREDICTED = {"drv1": {tally.FRESH}, "mid1": {tally.FRESH}, "mid2": {tally.FRESH, tally.SHRUNK_BY_ALL}}


def rows(found: Fidelity) -> dict[str, tally.Row]:
    return {row.what: row for row in (*found.during, *found.at_end)}


def recorded(name: str) -> tuple[Any, Any, list[Operation]]:
    before, after = (read_state(RECORDINGS / name / f"state_{state}.json.gz") for state in "AB")
    events = read_trace(RECORDINGS / name / "trace.txt.xz", before.vmemmap_base, before.frames)
    return before, after, operations(between(events, before, after), before.page_offset_base)


# --- the recordings


@pytest.mark.parametrize("name", ["drv1", pytest.param("mid1", marks=pytest.mark.slow), "mid2"])
def test_the_model_does_what_the_kernel_did(name: str) -> None:
    found = compare_recording(RECORDINGS / name)
    assert [difference for row in rows(found).values() for difference in row.wrong] == []
    assert found.exact
    assert {what: rows(found)[what].right for what in EXPECTED[name]} == EXPECTED[name]
    reasons = {reason for row in rows(found).values() for reason, _ in row.not_predicted}
    assert reasons == NOT_PREDICTED[name]
    assert found.orders_tried == ((24830, 29099) if name == "mid1" else ())


def test_an_interrupt_between_the_event_of_a_free_and_the_free() -> None:
    """In mid1 this happens twice: taken in the order of the events, five addresses are wrong, and they show where."""
    before, after, done = recorded("mid1")
    shrunk = next(number for number, one in enumerate(done) if one.line > 45_000)
    found = replay.replay(RecordedMachine(model(), before), done[:shrunk], before, after)
    wrong = found.tallies[tally.ADDRESSES].wrong
    assert [one.line for one in wrong] == [24943, 25361, 29204, 29204, 29204]
    assert wrong[0].because == 24830
    late = postponed(done[:shrunk], frozenset({24830, 29099}))
    found = replay.replay(RecordedMachine(model(), before), late, before, after)
    assert not any(one.wrong for one in found.tallies.values())


@pytest.mark.slow
def test_every_operation_counts() -> None:
    """Without any one of the operations something differs in the end, or on the way."""
    before, after, done = recorded("drv1")
    effective = [
        number
        for number, one in enumerate(done)
        if not (isinstance(one, FreeObject) and one.address in replay.NULL_POINTERS)
    ]
    for number in random.Random(1).sample(effective, 8):
        machine = RecordedMachine(model(), before)
        found = replay.replay(machine, [*done[:number], *done[number + 1 :]], before, after)
        tallies = [*found.tallies.values(), *compare_state(found, before, after).values()]
        assert any(one.wrong for one in tallies), done[number]


def fault(module: str, function: str, find: str, replacement: str) -> Fault:
    return Fault("test", "a changed rule", "this test", "slub", module, function, find, replacement, ())


CHANGED_RULES = {
    "pages are freed to the tail of the per-CPU list": (
        fault("model.page_alloc", "free_unref_page_commit", "list_add(", "list_add_tail("), tally.PAGES
    ),
    "free blocks go to the head of the free list, whatever their buddies": (
        fault("model.buddy", "free_one_page", "if to_tail or buddy_merge_likely(", "if False and buddy_merge_likely("),
        comparison.FREE_LISTS,
    ),
    "free blocks go to the tail of the free list": (
        fault("model.buddy", "free_one_page", "if to_tail or buddy_merge_likely(", "if True or buddy_merge_likely("),
        comparison.FREE_LISTS,
    ),
    "a refill takes one block less": (
        fault("model.page_alloc", "rmqueue_bulk", "range(count)", "range(count - 1)"), tally.BLOCKS
    ),
    "the cpu partial list holds one slab more": (
        fault(
            "model.slub", "put_cpu_partial", ".slabs >= s.cpu_partial_slabs", ".slabs > s.cpu_partial_slabs"
        ),
        tally.ADDRESSES,
    ),
    "a free slab of the cpu is not used first": (
        fault("model.slub", "do_slab_free", "if page != c.slab:", "if True:"), tally.ADDRESSES
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", CHANGED_RULES)
def test_a_changed_rule_of_the_model_shows(rule: str) -> None:
    changed, row = CHANGED_RULES[rule]
    found = compare_recording(RECORDINGS / "drv1", changed)
    assert not found.exact
    assert rows(found)[row].wrong, rule


# --- the trace


HEADER = "# tracer: nop\n#\n# entries-in-buffer/entries-written: 2/2   #P:1\n#\n"
VMEMMAP = 0xFFFFEA0000000000


def events(tmp_path: Path, *lines: str, header: str = HEADER) -> list[Event]:
    path = tmp_path / "trace.txt"
    path.write_text(header + "".join(f"{line}\n" for line in lines))
    return list(read_trace(path, VMEMMAP, 1 << 15))


def test_lines_of_a_trace(tmp_path: Path) -> None:
    found = events(
        tmp_path,
        "     kworker/0:1H-37      [000] d.h1.   12.000105: kmalloc: call_site=virtqueue_add+0x8d/0x700 [virtio_ring] "
        "ptr=ffff888006284a20 bytes_req=32 bytes_alloc=64 gfp_flags=GFP_ATOMIC|__GFP_ZERO node=-1 accounted=false",
        "  two words: -1-5         [001] .....   13: kmem_cache_free: call_site=a+0x1/0x2 ptr=(nil) name=filp",
        "          <idle>-0       [000] ..s1.   14: mm_page_alloc: page=0000000000000000 pfn=0x0 order=0 migratetype=1 "
        "gfp_flags=GFP_KERNEL",
        "             wl-7       [000] ..Zff   15: page_bulk_alloc: (__alloc_pages_bulk+0x305/0x6b0) "
        "page=0xffffea0000078280",
        "             wl-7       [000] .....   16: slab_bulk_free: (kmem_cache_free_bulk+0x0/0x20) s=0x0 n=2 "
        "p={0xffff888005fb2200,0xffff888005fb2b00,0x0,0x1}",
        "             wl-7       [000] .....   17: tracing_mark_write: KT PHASE drop",
        "             wl-7       [000] .....   18: something_new: anything at all",
    )
    flags = "GFP_ATOMIC|__GFP_ZERO"
    assert found[0] == ObjectAllocated(1, 0, 37, "d.h1.", 0xFFFF888006284A20, 32, 64, flags, True, "virtqueue_add")
    assert found[1] == ObjectFreed(2, 1, 5, ".....", 0, "filp")
    assert found[2] == PageAllocated(3, 0, 0, "..s1.", None, 0, 1, "GFP_KERNEL")
    assert found[3] == PageBulkAllocated(4, 0, 7, "..Zff", 0x1E0A)
    assert found[4] == ObjectsBulkFreed(5, 0, 7, ".....", 2, 0, (0xFFFF888005FB2200, 0xFFFF888005FB2B00))
    assert found[5] == Marker(6, 0, 7, ".....", "KT PHASE drop")
    assert len(found) == 7


LINE = "             wl-7       [000] .....   15: "


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("what is this", "event 1 is not a line of ftrace"),
        (LINE + "mm_page_free: page=0 order=0", "event 1 \\(mm_page_free\\) lacks 'pfn'"),
        (LINE + "mm_page_free: page=0 pfn=0x9999 order=0", "out of range"),
        (LINE + "mm_page_free: page=0 pfn=0x10 order=64", "out of range"),
        (LINE + "kfree: call_site=a ptr=zz", "out of range"),
        ("CPU:0 [LOST 77 EVENTS]", "LOST 77 EVENTS"),
        ("x" * (1 << 17), "a line too long"),
    ],
)
def test_bad_traces_are_refused(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        events(tmp_path, line)


def test_overwritten_and_damaged_traces_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only 2 of 3 events"):
        events(tmp_path, header=HEADER.replace("2/2", "2/3"))
    path = tmp_path / "trace.txt.xz"
    path.write_bytes(lzma.compress(b"# x\n" * 9999)[:-20])
    with pytest.raises(InputError, match="not a complete xz file"):
        list(read_trace(path, VMEMMAP, 100))
    with pytest.raises(InputError, match="cannot be read"):
        list(read_trace(tmp_path / "none.xz", VMEMMAP, 100))


# --- what the events say was done


BASE = 0xFFFF888000000000


def test_a_slab_operation_takes_over_the_pages_it_asked_for() -> None:
    page = (2, 0, 9, ".....", 0x40, 0, 0, "GFP_KERNEL|__GFP_NOWARN|__GFP_NORETRY")
    found = operations(
        [
            PageAllocated(1, 0, 9, ".....", 0x40, 0, 0, "GFP_KERNEL"),
            ObjectFreed(2, 0, 9, ".....", BASE, None),
            PageAllocated(3, *page[1:]),
            ObjectFreed(4, 0, 9, "..s1.", BASE + 64, None),
            ObjectAllocated(5, 0, 9, ".....", BASE + 0x40000 + 128, 64, 64, "GFP_KERNEL", False, "f"),
            ObjectAllocated(6, 0, 9, ".....", BASE + 0x50000, 9000, 16384, "GFP_KERNEL", True, "f"),
        ],
        BASE,
    )
    assert [type(one) for one in found] == [AllocatePages, FreeObject, AllocateObject, FreeObject]
    [allocation] = [one for one in found if isinstance(one, AllocateObject)]
    assert allocation.at == 3
    assert [pages.pfn for pages in allocation.pages] == [0x40]


def test_a_free_of_a_list_takes_effect_at_its_batched_event(tmp_path: Path) -> None:
    head = "             wl-7       [000] .....   15: "
    lines = [
        head + "mm_page_free: page=0 pfn=0x10 order=0",
        head + "mm_page_free: page=0 pfn=0x11 order=0",
        head + "mm_page_free_batched: page=0 pfn=0x10 order=0",
        head + "mm_page_pcpu_drain: page=0 pfn=0x20 order=0 migratetype=1",
        head + "mm_page_free_batched: page=0 pfn=0x11 order=0",
        head + "mm_page_free: page=0 pfn=0x12 order=0",
    ]
    found = operations(events(tmp_path, *lines), BASE)
    frees = [one for one in found if isinstance(one, FreePages)]
    assert [(one.line, one.pfn, one.drained) for one in frees] == [(3, 16, (32,)), (5, 17, ()), (6, 18, ())]


def test_parts_of_one_bulk_free_are_joined(tmp_path: Path) -> None:
    pointers = [f"0x{BASE + 64 * number:x}" for number in range(40)]
    head = "             wl-7       [000] .....   15: slab_bulk_free"
    tail = ": (kmem_cache_free_bulk+0x0/0x20) s=0x0 n=40 p="
    lines = [f"{head}2{tail}{{{','.join(pointers[32:])}}}", f"{head}{tail}{{{','.join(pointers[:32])}}}"]
    for order in (lines, lines[::-1]):
        [found] = operations(events(tmp_path, *order), BASE)
        assert found.complete  # type: ignore[attr-defined]
        assert [f"0x{one:x}" for one in found.addresses] == pointers  # type: ignore[attr-defined]


# --- bad recordings


@pytest.fixture
def state() -> Any:
    return json.loads(gzip.decompress((RECORDINGS / "drv1" / "state_A.json.gz").read_bytes()))


def changed(data: Any, path: str, value: Any) -> None:
    *parents, last = path.split("/")
    for part in parents:
        data = data[int(part) if isinstance(data, list) else part]
    data[int(last) if isinstance(data, list) else last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", "kernel-allocator-state/9", "the format is"),
        ("release", "6.12.1", "of Linux 6.12.1"),
        ("cpus", [], "cpus is not a list"),
        ("max_pfn", -1, "max_pfn is not a number"),
        ("max_pfn", 1 << 60, "max_pfn is not a number"),
        ("zones", {}, "zones is not a list"),
        ("zones", [], "the recorded zones are"),
        ("zones/0/name", "Strange", "the recorded zones are Strange"),
        ("zones/1/free_area/0/lists/1", [1 << 40], "free_area.0..lists is not a number"),
        ("zones/1/free_area/0/lists/4", [5000], "isolated blocks"),
        ("zones/1/pcp/0/lists", [[]], "other per-CPU lists"),
        ("caches", [], "no caches"),
        ("caches/3/size", "big", "is not a number"),
        ("caches/3/random_seq", [1], "no random_seq"),
        ("caches/3/random_seq", [99999] * 600, "random_seq is not|contradicts itself"),
        ("caches/3/addr", "0xzz", "is not an address"),
        ("pages_rle", [[1, 2]], "pages_rle is not"),
    ],
)
def test_bad_states_are_refused(state: dict[str, Any], tmp_path: Path, path: str, value: Any, message: str) -> None:
    changed(state, path, value)
    (tmp_path / "state_A.json.gz").write_bytes(gzip.compress(json.dumps(state).encode()))
    for name in ("state_B.json.gz", "trace.txt.xz"):
        (tmp_path / name).write_bytes((RECORDINGS / "drv1" / name).read_bytes())
    with pytest.raises(InputError, match=message):
        compare_recording(tmp_path)


# --- the command


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.json"
    assert main(["fidelity", str(RECORDINGS / "drv1"), "--json", str(table)]) == 0
    shown = capsys.readouterr().out
    assert "3,298 of 3,298" in shown
    assert "✓ the model does what the kernel did" in shown
    data = json.loads(table.read_text())
    assert data["schema"] == "kmemspec-fidelity/1"
    assert data["recordings"][0]["exact"]
    assert main(["fidelity", str(RECORDINGS / "drv1"), "--fault", "rmqueue-largest-first"]) == 1
    assert "✗ the model does something else" in capsys.readouterr().out


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state_A.json.gz").write_bytes(b"no gzip")
    for arguments in ([str(tmp_path / "none")], [str(tmp_path)], [str(RECORDINGS / "drv1"), "--fault", "none"]):
        assert main(["fidelity", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "Traceback" not in error
