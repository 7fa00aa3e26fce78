"""What engines have answered on this machine: remembered after each run, so that `explain` can say what established a
property.

The one idea: an answer counts only for the program and the sizes it was given for, so each entry carries the program's
fingerprint. The file lies in the cache directory and is outside input: whatever cannot be read as an entry is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..model.lang.ir import Sizes
from ..model.lang.verdict import Outcome, Verdict
from ..specs.loading import NAMED, Loaded
from .cache import cache_directory

SCHEMA = "kmemspec-ledger/1"
BYTES_MAX = 4 << 20
ENTRIES_MAX = 2000
TEXT_MAX = 400


@dataclass(frozen=True)
class Entry:
    """One engine's last answer about one property at one scope (`sizes`, derived ones included)."""

    fingerprint: str
    sizes: dict[str, int]
    engine: str
    property: str
    outcome: str
    bound: str
    reason: str

    def asked(self) -> tuple[Any, ...]:
        """What a later answer to the same question has in common with this one."""
        return (self.engine, self.property, tuple(sorted(self.sizes.items())))

    def is_current(self, loaded: Loaded) -> bool:
        """Whether it is about the specification as it is now."""
        return self.fingerprint == loaded.program.fingerprint


def remember(loaded: Loaded, sizes: Sizes, verdicts: Iterable[Verdict]) -> None:
    """Add the answers of a run; one about a faulty program is not remembered. A file that cannot be written is none."""
    if loaded.fault is not None:
        return
    fingerprint = loaded.program.fingerprint
    known = {entry.asked(): entry for entry in recall(loaded.target)}
    for verdict in verdicts:
        entry = Entry(
            fingerprint, dict(sizes), verdict.engine, verdict.property, verdict.outcome.value,
            verdict.bound[:TEXT_MAX], verdict.reason[:TEXT_MAX],
        )
        before = known.get(entry.asked())
        decided = before is not None and before.fingerprint == fingerprint and before.outcome != Outcome.UNKNOWN.value
        if verdict.outcome is not Outcome.UNKNOWN or not decided:
            known.pop(entry.asked(), None)  # so that what was answered last stands last
            known[entry.asked()] = entry
    if known:
        _write(_path(loaded.target), [asdict(entry) for entry in list(known.values())[-ENTRIES_MAX:]])


def recall(target: str) -> tuple[Entry, ...]:
    """The answers about a specification, oldest first, also those about earlier versions of it."""
    try:
        with _path(target).open("rb") as file:
            content = file.read(BYTES_MAX + 1)
        record = json.loads(content) if len(content) <= BYTES_MAX else None
    except (OSError, ValueError, RecursionError):
        return ()
    if not isinstance(record, dict) or record.get("schema") != SCHEMA or not isinstance(record.get("entries"), list):
        return ()
    found = (_entry(item) for item in record["entries"][:ENTRIES_MAX])
    return tuple(entry for entry in found if entry is not None)


def _entry(item: Any) -> Entry | None:
    """An entry if it is one in every part."""
    texts = ("fingerprint", "engine", "property", "outcome", "bound", "reason")
    if not isinstance(item, dict) or set(item) != {*texts, "sizes"}:
        return None
    sizes = item["sizes"]
    right = isinstance(sizes, dict) and all(type(value) is int and abs(value) < 1 << 63 for value in sizes.values())
    right = right and all(isinstance(item[name], str) and len(item[name]) <= TEXT_MAX for name in texts)
    return Entry(**item) if right and item["outcome"] in {one.value for one in Outcome} else None


def _path(target: str) -> Path:
    """A built-in specification's file has its name; that of a user's file has the digest of where the file is."""
    name = target
    if name not in NAMED:
        name = hashlib.sha256(os.fsencode(os.path.realpath(name))).hexdigest()[:40]
    return cache_directory() / f"{name}.ledger.json"


def _write(path: Path, entries: list[dict[str, Any]]) -> None:
    """Whole or not at all."""
    text = f'{{"schema": "{SCHEMA}", "entries": [\n' + ",\n".join(map(json.dumps, entries)) + "\n]}\n"
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.stem, delete=False) as file:
            file.write(text.encode())
        os.replace(file.name, path)
