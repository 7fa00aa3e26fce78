"""The fsck for the allocator: recorded states and files hold, each kind of corruption is found, bad files refused."""

from __future__ import annotations

import copy
import gzip
import json
import lzma
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kmemspec.cli import main
from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.snapshot.checking import check_snapshot
from kmemspec.specs.snapshot.file_check import CLAUSES, check_files
from kmemspec.specs.snapshot.files import Files, live_files
from kmemspec.specs.snapshot.results import Snapshot
from kmemspec.specs.snapshot.state_check import check_state_file
from kmemspec.views.snapshot import findings_text, snapshot_svg

HERE = Path(__file__).parent
RECORDINGS = HERE / "data" / "recordings"
FILES = HERE / "data" / "snapshots"
START, FRAMES = 12288, 1024
"""The part of mid2's second zone that is cut out: as large as the largest block, with slabs, LRU and free pages."""

Data = dict[str, Any]


def whole() -> Data:
    data: Data = json.loads(gzip.decompress((RECORDINGS / "mid2" / "state_B.json.gz").read_bytes()))
    return data


def cut(top: Data) -> Data:
    """A machine of 1,024 frames out of a recorded one: what lies in them, and counters of that."""
    inside = range(START, START + FRAMES)

    def kept(pages: list[int]) -> list[int]:
        return [page - START for page in pages if page in inside]

    top["max_pfn"], zone = FRAMES, top["zones"][1]
    zone.update(start_pfn=0, spanned=FRAMES, present=FRAMES)
    zone.update(watermark=[20, 25, 30, 35], lowmem_reserve=[0] * 5, watermark_boost=0)
    for area in zone["free_area"]:
        area["lists"] = [kept(blocks) for blocks in area["lists"]]
        area["nr_free"] = sum(map(len, area["lists"]))
    for pcp in zone["pcp"].values():
        pcp["lists"] = [kept(blocks) for blocks in pcp["lists"]]
        pcp["count"] = sum(len(pages) << min(index // 3, 9) for index, pages in enumerate(pcp["lists"]))
        pcp["vm_stat_diff"] = [0] * 11
    free = sum(len(blocks) << order for order, area in enumerate(zone["free_area"]) for blocks in area["lists"])
    top["pages_rle"] = [
        [max(first, START) - START, min(first + count, inside.stop) - max(first, START), what, detail]
        for first, count, what, detail in top["pages_rle"] if first < inside.stop and first + count > START
    ]  # fmt: skip
    zone["managed"] = FRAMES - sum(count for _, count, what, _ in top["pages_rle"] if what == "reserved")
    for name, pages in top["lru"].items():
        top["lru"][name] = kept(pages)
        counter = "NR_ZONE_" + name.removeprefix("LRU_")
        zone["vm_stat"][counter] = top["node_vm_stat"][name.replace("LRU", "NR")] = len(top["lru"][name])
    for batches in top["lru_batches"].values():
        batches.update({name: kept(pages) for name, pages in batches.items()})
    zone["vm_stat"]["NR_FREE_PAGES"] = free
    top["zones"], top["pageblock_migratetype"] = [zone], top["pageblock_migratetype"][START >> 9 :][: FRAMES >> 9]
    for cache in top["caches"]:
        cut_cache(cache, kept)
    top["caches"] = [cache for cache in top["caches"] if cache["slabs"]]
    return top


def cut_cache(cache: Data, kept: Callable[[list[int]], list[int]]) -> None:
    slabs = cache["slabs"] or {}
    cache["slabs"] = {str(page - START): slabs[str(page)] for page in map(int, slabs) if kept([page])}
    for cpu in cache["cpu"].values():
        if cpu["slab"] is not None:
            cpu["slab"] = kept([cpu["slab"]])[0] if kept([cpu["slab"]]) else None
            cpu["free"] = cpu["free"] if cpu["slab"] is not None else []
        cpu["partial"] = kept(cpu["partial"])
    partial = kept(cache["node"]["partial"])
    objects = sum(slab["objects"] for slab in cache["slabs"].values())
    cache["node"] = {"partial": partial, "nr_partial": len(partial), "nr_slabs": len(cache["slabs"]),
                     "total_objects": objects}  # fmt: skip


@pytest.fixture(scope="module")
def small() -> Data:
    return cut(whole())


def checked(data: Data, directory: Path) -> Snapshot:
    path = directory / "state.json"
    path.write_text(json.dumps(data))
    return check_state_file(path)


def broken(found: Snapshot) -> dict[str, int]:
    return {answer.identifier: answer.broken for answer in found.answers if answer.broken}


# --- kinds of corruption: what they do to a state, and the clauses that have to notice


def lists(data: Data, order: int) -> list[list[int]]:
    found: list[list[int]] = data["zones"][-1]["free_area"][order]["lists"]
    return found


def some(data: Data, order: int) -> list[int]:
    return next(blocks for blocks in lists(data, order) if blocks)


def cache(data: Data, wanted: Callable[[Data], Any]) -> Data:
    return next(one for one in data["caches"] if wanted(one))


def cpu_of(data: Data) -> tuple[Data, Data, Data]:
    """A cache with a CPU that has a freelist, that CPU, its slab."""
    one = cache(data, lambda one: any(cpu["slab"] and cpu["free"] for cpu in one["cpu"].values()))
    cpu = next(cpu for cpu in one["cpu"].values() if cpu["slab"] and cpu["free"])
    return one, cpu, one["slabs"][str(cpu["slab"])]


def with_partial(data: Data) -> tuple[Data, Data]:
    one = cache(data, lambda one: one["node"]["partial"])
    return one, one["slabs"][str(one["node"]["partial"][0])]


KINDS: dict[str, tuple[Callable[[Data], object], set[str]]] = {}


def kind(*clauses: str) -> Callable[[Callable[[Data], object]], Callable[[Data], object]]:
    def note(function: Callable[[Data], object]) -> Callable[[Data], object]:
        KINDS[function.__name__] = function, set(clauses)
        return function

    return note


@kind("P6", "B7")
def entry_on_the_list_of_another_order(data: Data) -> None:
    lists(data, 2)[0].append(some(data, 3).pop(0))


@kind("P6", "B4", "B5")
def entry_on_another_list_and_counters_with_it(data: Data) -> None:
    entry_on_the_list_of_another_order(data)
    zone = data["zones"][-1]
    zone["free_area"][3]["nr_free"] -= 1
    zone["free_area"][2]["nr_free"] += 1
    zone["vm_stat"]["NR_FREE_PAGES"] -= 4


@kind("P1", "B7", "B12")
def entry_twice_on_a_list(data: Data) -> None:
    some(data, 1).append(some(data, 1)[0])


@kind("P6", "B6", "B7")
def entry_lost(data: Data) -> None:
    some(data, 1).pop()


@kind("P1", "P2")
def free_page_on_a_cpu_list_too(data: Data) -> None:
    pages = next(pages for pcp in data["zones"][-1]["pcp"].values() for pages in pcp["lists"][:3] if pages)
    lists(data, 0)[0].append(pages[0])


@kind("B1", "P6")
def block_not_aligned(data: Data) -> None:
    some(data, 3)[0] += 1


@kind("B9")
def buddies_not_merged(data: Data) -> None:
    page = some(data, 3).pop(0)
    lists(data, 2)[0].extend([page, page + 4])
    area = data["zones"][-1]["free_area"]
    area[3]["nr_free"] -= 1
    area[2]["nr_free"] += 2
    runs: list[list[Any]] = []
    for run in data["pages_rle"]:
        if run[0] == page:
            runs += [[page, 1, "buddy", 2], [page + 1, 3, "buddy", -1], [page + 4, 1, "buddy", 2]]
        else:
            runs.append([page + 5, 3, "buddy", -1] if run[0] == page + 1 else run)
    data["pages_rle"] = runs


@kind("B7")
def nr_free_off_by_one(data: Data) -> None:
    data["zones"][-1]["free_area"][0]["nr_free"] += 1


@kind("B8")
def free_pages_off_by_one(data: Data) -> None:
    data["zones"][-1]["vm_stat"]["NR_FREE_PAGES"] -= 1


@kind("B14")
def pcp_count_off_by_one(data: Data) -> None:
    data["zones"][-1]["pcp"]["0"]["count"] += 1


@kind("B17")
def watermarks_out_of_order(data: Data) -> None:
    data["zones"][-1]["watermark"][0] = 9999


@kind("P4", "S3", "S4")
def free_object_on_the_cpu_freelist_too(data: Data) -> None:
    _, cpu, slab = cpu_of(data)
    slab["free"].append(cpu["free"][0])


@kind("P4", "S2")
def object_twice_on_a_freelist(data: Data) -> None:
    _, slab = with_partial(data)
    slab["free"].append(slab["free"][0])


@kind("P3", "S5")
def slab_on_two_partial_lists(data: Data) -> None:
    one, _ = with_partial(data)
    one["cpu"]["0"]["partial"].append(one["node"]["partial"][0])


@kind("S6", "S7")
def partial_slab_on_no_list(data: Data) -> None:
    with_partial(data)[0]["node"]["partial"].pop(0)


@kind("S5", "S6")
def frozen_though_on_the_node_list(data: Data) -> None:
    with_partial(data)[1]["frozen"] = 1


@kind("S5", "S13")
def cpu_slab_not_frozen(data: Data) -> None:
    cpu_of(data)[2]["frozen"] = 0


@kind("S4")
def inuse_off_by_one(data: Data) -> None:
    with_partial(data)[1]["inuse"] += 1


@kind("S7")
def nr_partial_off_by_one(data: Data) -> None:
    with_partial(data)[0]["node"]["nr_partial"] += 1


@kind("S8")
def nr_slabs_off_by_one(data: Data) -> None:
    with_partial(data)[0]["node"]["nr_slabs"] -= 1


@kind("S8")
def total_objects_off_by_one(data: Data) -> None:
    with_partial(data)[0]["node"]["total_objects"] += 1


@kind("P2", "P3")
def slab_of_two_caches(data: Data) -> None:
    one, other = [one for one in data["caches"] if one["slabs"] and one["oo"][0] == 0][:2]
    page, slab = next(iter(one["slabs"].items()))
    other["slabs"][page] = dict(slab)


@kind("P2", "S16")
def slab_of_another_order(data: Data) -> None:
    next(iter(cache(data, lambda one: one["oo"][0] == 0 and one["slabs"])["slabs"].values()))["order"] = 1


@kind("S10")
def cpu_slab_of_another_cache(data: Data) -> None:
    one, other = [one for one in data["caches"] if one["cpu"]["0"]["slab"]][:2]
    one["cpu"]["0"].update(slab=other["cpu"]["0"]["slab"], free=[])


@kind("S19")
def random_sequence_names_an_object_twice(data: Data) -> None:
    sequence = cache(data, lambda one: one["slabs"] and one["oo"][1] > 3)["random_seq"]
    sequence[0] = sequence[1]


@kind("P5")
def more_objects_than_fit(data: Data) -> None:
    cache(data, lambda one: one["slabs"])["size"] += 8


@kind("P7")
def more_objects_than_a_slab_can_say(data: Data) -> None:
    cache(data, lambda one: one["slabs"])["cpu_partial_slabs"] = 3
    cache(data, lambda one: one["slabs"])["random_seq"][0] = 32000


@kind("P8")
def no_batch(data: Data) -> None:
    data["zones"][-1]["pcp"]["0"]["batch"] = 0


@kind("R7")
def batch_longer_than_a_pagevec(data: Data) -> None:
    data["lru_batches"]["0"]["lru_add"] = list(range(20))


def lru_pages(data: Data) -> tuple[str, str]:
    """A list with pages, and another one."""
    name = next(name for name, pages in data["lru"].items() if pages)
    return name, "LRU_ACTIVE_FILE" if name != "LRU_ACTIVE_FILE" else "LRU_INACTIVE_FILE"


@kind("R1", "L1-links")
def page_on_two_lru_lists(data: Data) -> None:
    one, other = lru_pages(data)
    data["lru"][other].append(data["lru"][one][0])


@kind("R4", "L3")
def page_on_the_wrong_lru_list(data: Data) -> None:
    one, other = lru_pages(data)
    data["lru"][other].append(data["lru"][one].pop(0))


@kind("P2", "R2", "L1")
def free_page_on_an_lru_list(data: Data) -> None:
    data["lru"]["LRU_ACTIVE_FILE"].append(some(data, 2)[0])


@kind("R3", "L1")
def page_in_an_lru_batch_and_on_a_list(data: Data) -> None:
    data["lru_batches"]["0"]["lru_add"].append(data["lru"][lru_pages(data)[0]][0])


def test_the_cut_machine_holds(small: Data, tmp_path: Path) -> None:
    """With every clause evaluated that a state can be held to."""
    found = checked(small, tmp_path)
    assert broken(found) == {}
    assert found.outcome is Outcome.HOLDS
    silent = {answer.identifier for answer in found.answers if not answer.checked}
    assert silent == {"B18", "S11", "S17", "C5", "L1-taken", "L1-scan", "L7", "L9", "L12"}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_corruption_is_found(small: Data, tmp_path: Path, name: str) -> None:
    corrupt, clauses = KINDS[name]
    data = copy.deepcopy(small)
    corrupt(data)
    found = checked(data, tmp_path)
    assert clauses <= broken(found).keys(), broken(found)
    assert all(finding.about and finding.clause for _, finding in found.findings)


def test_every_clause_of_a_state_can_fail() -> None:
    """Each clause that is written here, and most of the model's, is broken by some kind above."""
    noticed = set().union(*(clauses for _, clauses in KINDS.values()))
    assert {f"P{number}" for number in range(1, 9)} <= noticed


@pytest.mark.slow
@pytest.mark.parametrize("name", list(KINDS)[::12])
def test_each_kind_is_found_in_the_whole_recorded_state(tmp_path: Path, name: str) -> None:
    corrupt, clauses = KINDS[name]
    data = whole()
    corrupt(data)
    assert clauses <= broken(checked(data, tmp_path)).keys()


@pytest.mark.slow
def test_a_recorded_state_holds() -> None:
    found = check_state_file(RECORDINGS / "drv1" / "state_A.json.gz")
    assert broken(found) == {}
    assert sum(answer.outcome is Outcome.HOLDS for answer in found.answers) >= 50


@pytest.mark.slow
@pytest.mark.parametrize("name", ["drv1/state_B", "mid1/state_B", "mid2/state_B"])
def test_all_recorded_states_hold(name: str) -> None:
    assert broken(check_state_file(RECORDINGS / f"{name}.json.gz")) == {}


@pytest.mark.parametrize("name", ["swap2", "thp2"])
def test_a_state_that_was_cut_down_to_the_lru(name: str) -> None:
    found = check_state_file(RECORDINGS / name / "state_A.json.gz")
    assert found.outcome is Outcome.HOLDS
    assert {answer.part for answer in found.answers} == {"LRU"}


def test_another_release_is_held_to_what_holds_of_any(small: Data, tmp_path: Path) -> None:
    data = {**copy.deepcopy(small), "release": "6.12.1"}
    cpu_slab_not_frozen(data)
    found = checked(data, tmp_path)
    assert found.outcome is Outcome.HOLDS
    assert any("the model is that of Linux 6.1" in reason for answer in found.answers for reason in answer.unknown)
    entry_twice_on_a_list(data)
    assert {"P1", "B7"} <= broken(checked(data, tmp_path)).keys()


def test_isolated_pageblocks_cannot_be_told(small: Data, tmp_path: Path) -> None:
    data = copy.deepcopy(small)
    data["pageblock_migratetype"][0] = 4
    found = checked(data, tmp_path)
    assert found.outcome is Outcome.HOLDS
    assert all(answer.unknown for answer in found.answers if answer.identifier.startswith("B"))


def test_findings_are_drawn_with_their_lists(small: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = copy.deepcopy(small)
    slab_on_two_partial_lists(data)
    one, _ = with_partial(data)
    page = one["node"]["partial"][0]
    found = checked(data, tmp_path)
    assert f"[{page}✗]" in findings_text(found)
    assert f">{page}</text>" in snapshot_svg(found)
    picture, table = tmp_path / "broken.svg", tmp_path / "table.json"
    arguments = ["snapshot", "check", str(tmp_path / "state.json"), "-o", str(picture), "--json", str(table)]
    assert main(arguments) == 1
    assert "P3 a slab is of one cache and at one place" in capsys.readouterr().out
    assert f"{one['name']} cpu 0 partial" in picture.read_text()
    assert json.loads(table.read_text())["snapshots"][0]["verdict"] == "violated"


# --- hostile states


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("zones/0/free_area/0/lists/0", [-5], "is not a number from 0"),
        ("zones/0/free_area/0/lists/0", ["7"], "is not a number from 0"),
        ("zones/0/free_area/0/lists/0", [1 << 70], "is not a number from 0"),
        ("zones/0/free_area/0/nr_free", True, "nr_free is not a number"),
        ("zones/0/free_area", [], "is not a list of orders"),
        ("zones/0/pcp", {"0": 7}, "is not a table"),
        ("pages_rle", [[0, 8, "buddy", 77]], "order of each free block"),
        ("pages_rle", [[0, 8, "buddy", "x"]], "order of each free block"),
        ("caches/0/slabs", {"-1": {}}, "is not a table by page frame"),
        ("caches/0/min_partial", 1e300, "is not a number from 0"),
        ("caches/0/oo", [3], "is not two numbers"),
        ("lru", [], "is not a list"),
        ("lru/LRU_ACTIVE_FILE", list(range(1000)) * 3, "lists of pages that there are"),
    ],
)
def test_hostile_states_are_one_line(
    small: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str, value: Any, message: str
) -> None:
    data: Any = copy.deepcopy(small)
    *parents, last = path.split("/")
    place = data
    for part in parents:
        place = place[int(part) if isinstance(place, list) else part]
    place[int(last) if isinstance(place, list) else last] = value
    (tmp_path / "state.json").write_text(json.dumps(data))
    refused(capsys, str(tmp_path / "state.json"), message)


def refused(capsys: pytest.CaptureFixture[str], target: str, message: str) -> None:
    assert main(["snapshot", "check", target]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_hostile_files_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut_off = tmp_path / "cut.json.gz"
    cut_off.write_bytes((RECORDINGS / "drv1" / "state_A.json.gz").read_bytes()[:20_000])
    bomb = tmp_path / "bomb.json.gz"
    bomb.write_bytes(gzip.compress(b"[" * (70 << 20)))
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 100_000)
    (tmp_path / "empty").mkdir()
    (tmp_path / "garbage.tar.xz").write_bytes(b"no archive")
    for target, message in (
        (cut_off, "not a complete gzip file"), (bomb, "more than 64 MiB"), (deep, "does not hold JSON"),
        (tmp_path / "empty", "no file of a snapshot"), (tmp_path / "none", "does not exist"),
        (tmp_path / "garbage.tar.xz", "cannot be read"),
    ):  # fmt: skip
        refused(capsys, str(target), message)
    assert main(["snapshot", "check"]) == 2


# --- files of /proc and /sys


def files() -> Files:
    """mid2's last snapshot."""
    return Files("mid2", {
        path.name.removesuffix(".xz"): lzma.decompress(path.read_bytes()) for path in sorted(FILES.glob("mid2/*.xz"))
    })  # fmt: skip


def edited(content: dict[str, bytes], name: str, before: str, after: str) -> None:
    text = content[name].decode()
    assert before in text, name
    content[name] = text.replace(before, after, 1).encode()


def first_frame(content: dict[str, bytes], bit: int) -> int:
    words = struct.unpack(f"<{len(content['kpageflags.bin']) // 8}Q", content["kpageflags.bin"])
    return next(page for page, word in enumerate(words) if word >> bit & 1)


def flip(content: dict[str, bytes], page: int, bits: int) -> None:
    data = bytearray(content["kpageflags.bin"])
    [word] = struct.unpack_from("<Q", data, 8 * page)
    struct.pack_into("<Q", data, 8 * page, word ^ bits)
    content["kpageflags.bin"] = bytes(data)


def replaced(name: str, before: str, after: str) -> Callable[[dict[str, bytes]], None]:
    return lambda content: edited(content, name, before, after)


def both(content: dict[str, bytes]) -> None:
    for name in ("buddyinfo", "buddyinfo2"):
        edited(content, name, "DMA32 ", "DMA32 1")


FILE_KINDS: dict[str, Callable[[dict[str, bytes]], None]] = {
    "F1": lambda content: flip(content, first_frame(content, 10), 1 << 10),
    "F2": both,
    "F3": replaced("zoneinfo", "pages free     ", "pages free     1"),
    "F4": replaced("vmstat", "nr_free_pages ", "nr_free_pages 9"),
    "F5": replaced("zoneinfo", "managed  3840", "managed  38"),
    "F6": lambda content: flip(content, first_frame(content, 10), 1 << 5),
    "F7": replaced("zoneinfo", "nr_zone_inactive_anon ", "nr_zone_inactive_anon 9"),
    "F8": replaced("slabinfo", "7104   7104 ", "7104   9104 "),
    "F9": replaced("slab_sysfs.txt", "objs_per_slab 13", "objs_per_slab 14"),
    "F10": replaced("slab_sysfs.txt", "kmalloc-64 slab_size 64", "kmalloc-64 slab_size 72"),
    "B17": replaced("zoneinfo", "        low      ", "        low      9"),
    "L2": lambda content: flip(content, first_frame(content, 6), 1 << 18),
}  # fmt: skip


def test_recorded_files_hold() -> None:
    found = check_files(files(), "mid2")
    assert broken(found) == {}
    assert {answer.identifier for answer in found.answers if answer.checked} >= set(FILE_KINDS) | {"L7"}
    assert {one.identifier for one in CLAUSES} <= set(FILE_KINDS)


@pytest.mark.parametrize("identifier", FILE_KINDS)
def test_each_corruption_of_files_is_found(identifier: str) -> None:
    content = dict(files().content)
    FILE_KINDS[identifier](content)
    assert identifier in broken(check_files(Files("mid2", content), "mid2"))


def test_files_of_a_machine_at_work_cannot_be_told() -> None:
    """What differs between files is no finding if buddyinfo was another one at the end, or was not read again."""
    content = dict(files().content)
    edited(content, "buddyinfo", "DMA32 ", "DMA32 1")
    found = check_files(Files("mid2", content), "mid2")
    assert broken(found) == {}
    reasons = {reason for answer in found.answers for reason in answer.unknown}
    assert any("at work" in reason for reason in reasons)
    del content["buddyinfo2"], content["kpageflags.bin"]
    reasons = {reason for answer in check_files(Files("mid2", content), "mid2").answers for reason in answer.unknown}
    assert "kpageflags.bin: there is no such file" in reasons
    assert any("read once" in reason for reason in reasons)


def test_directories_archives_and_other_roots(tmp_path: Path) -> None:
    assert [found.outcome for found in check_snapshot(str(FILES / "mid2"))] == [Outcome.HOLDS]
    plain = tmp_path / "snap_a"
    plain.mkdir()
    for name, data in files().content.items():
        (plain / name).write_bytes(data)
    with tarfile.open(tmp_path / "snaps.tar.xz", "w:xz") as archive:
        archive.add(plain, "snap_a")
    [found] = check_snapshot(str(tmp_path / "snaps.tar.xz"))
    assert (found.outcome, broken(found)) == (Outcome.HOLDS, {})
    shutil.rmtree(plain)
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)
    shutil.copytree(FILES / "mid2", root / "sys" / "kernel" / "slab" / "not-a-cache")
    (root / "proc" / "buddyinfo").write_bytes(files().content["buddyinfo"])
    live = live_files(root)
    assert "buddyinfo2" in live.content
    assert check_files(live, "a root").outcome is Outcome.UNKNOWN


@pytest.mark.slow
def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["snapshot", "check", "--live"]) in (0, 3)
    assert "the running machine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("buddyinfo", b"Node 0, zone DMA -1 2"), ("buddyinfo", b"\xff\xfe"), ("slabinfo", b"kmalloc 1 2 3"),
        ("kpageflags.bin", b"1234567"), ("vmstat", b"nr_free_pages minus"),
        ("zoneinfo", b"Node 0, zone DMA\n managed 5\n"),
        ("slab_sysfs.txt", b"nothing"), ("buddyinfo", b"Node 0, zone DMA " + b"9" * 40),
    ],
)  # fmt: skip
def test_bad_files_are_refused(name: str, content: bytes) -> None:
    given = {**files().content, name: content}
    with pytest.raises(InputError, match=name):
        check_files(Files("bad", given), "bad")
