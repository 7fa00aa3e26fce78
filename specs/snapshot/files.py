"""The files of a snapshot, wherever they are: a directory, an archive, or /proc and /sys of the running machine.

The one idea: a file is its bytes or the reason for which it cannot be read; a clause that needs it then cannot be told,
for this reason. On the running machine some files are read a second time at the end: if they are other ones by then,
files that were read at different times need not agree.
"""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ...model.lang.errors import InputError

FILE_BYTES_MAX = 1 << 27
MEMBERS_MAX = 1000
NAMES = (
    "buddyinfo", "zoneinfo", "pagetypeinfo", "slabinfo", "vmstat", "meminfo", "kpageflags.bin", "kpagecount.bin",
    "slab_sysfs.txt", "buddyinfo2", "slabinfo2", "vmstat2",
)  # fmt: skip
"""What is looked for; the names of /proc, `.bin` for binary ones, and `2` for a second reading."""
OTHER_NAMES = {"kpageflags": "kpageflags.bin", "kpagecount": "kpagecount.bin"}
SYSFS_ATTRIBUTES = (
    "object_size", "align", "slab_size", "order", "objs_per_slab", "min_partial", "cpu_partial", "aliases", "ctor",
    "destroy_by_rcu", "objects", "objects_partial", "partial", "slabs", "total_objects",
)  # fmt: skip
SYSFS_CACHES_MAX = 10_000
NOT_THERE = "there is no such file"


@dataclass(frozen=True)
class Files:
    """What could be read, and why the rest could not."""

    name: str
    content: Mapping[str, bytes]
    missing: Mapping[str, str] = field(default_factory=dict)

    def reason(self, name: str) -> str:
        return f"{name}: {self.missing.get(name, NOT_THERE)}"


def directory_of(directory: Path) -> Files:
    """The files in a directory, compressed or not."""
    content: dict[str, bytes] = {}
    missing: dict[str, str] = {}
    for name in (*NAMES, *OTHER_NAMES):
        for path, unpack in ((directory / name, False), (directory / f"{name}.xz", True)):
            if path.exists():
                _take(content, missing, OTHER_NAMES.get(name, name), path, unpack)
    if not content and not missing:
        raise InputError(f"{directory} has no file of a snapshot", f"it should have some of {', '.join(NAMES)}")
    return Files(directory.name, content, missing)


def _take(content: dict[str, bytes], missing: dict[str, str], name: str, path: Path, unpack: bool = False) -> None:
    try:
        with lzma.open(path, "rb") if unpack else path.open("rb") as stream:
            content[name] = _bounded(stream.read(FILE_BYTES_MAX + 1), str(path))
    except OSError as error:
        missing[name] = error.strerror or "it cannot be read"
    except (lzma.LZMAError, EOFError):
        raise InputError(f"{path} is not a complete xz file", "copy it again") from None


def _bounded(data: bytes, name: str) -> bytes:
    if len(data) > FILE_BYTES_MAX:
        raise InputError(f"{name} has more than {FILE_BYTES_MAX >> 20} MiB", "it is no file of a snapshot")
    return data


def archives(path: Path) -> Iterator[Files]:
    """Each directory in an archive that has files of a snapshot."""
    found: dict[str, dict[str, bytes]] = {}
    size = 0
    try:
        with tarfile.open(path) as archive:
            for number, member in enumerate(archive):
                name = PurePosixPath(member.name)
                size += member.size
                if number >= MEMBERS_MAX or size > 2 * FILE_BYTES_MAX:
                    raise InputError(f"{path} is too large for an archive of snapshots", "give one directory")
                stream = archive.extractfile(member) if name.name in NAMES and member.isfile() else None
                if stream is not None:
                    found.setdefault(str(name.parent), {})[name.name] = stream.read(FILE_BYTES_MAX)
    except (tarfile.TarError, lzma.LZMAError, EOFError, zlib.error, OSError) as error:
        said = getattr(error, "strerror", None) or "it is not a complete tar archive"
        raise InputError(f"{path} cannot be read: {said}", "copy it again") from None
    if not found:
        raise InputError(f"{path} has no file of a snapshot", f"its directories should have some of {', '.join(NAMES)}")
    yield from (Files(name, content) for name, content in sorted(found.items()))


def live_files(root: Path = Path("/")) -> Files:
    """What the running machine lets this user read."""
    content: dict[str, bytes] = {}
    missing: dict[str, str] = {}
    proc = root / "proc"
    for name in NAMES:
        if name == "slab_sysfs.txt":
            _sysfs(content, missing, root / "sys/kernel/slab")
        elif name.endswith("2"):
            _again(content, missing, name, proc)
        else:
            path = proc / name.removesuffix(".bin")
            if path.exists():
                _take(content, missing, name, path)
    return Files("the running machine", content, missing)


def _again(content: dict[str, bytes], missing: dict[str, str], name: str, proc: Path) -> None:
    if name.removesuffix("2") in content:
        _take(content, missing, name, proc / name.removesuffix("2"))


def _sysfs(content: dict[str, bytes], missing: dict[str, str], directory: Path) -> None:
    """/sys/kernel/slab as lines `cache attribute value`, as a recording has it; links are other names of a cache."""
    lines: list[str] = []
    try:
        caches = sorted(path for path in directory.iterdir() if path.is_dir() and not path.is_symlink())
        for cache in caches[:SYSFS_CACHES_MAX]:
            for attribute in SYSFS_ATTRIBUTES:
                path = cache / attribute
                if path.exists():
                    value = path.read_text(errors="replace").partition("\n")[0]
                    lines.append(f"{cache.name} {attribute} {value}")
    except OSError as error:
        missing["slab_sysfs.txt"] = error.strerror or "it cannot be read"
        return
    content["slab_sysfs.txt"] = "\n".join(lines).encode()
