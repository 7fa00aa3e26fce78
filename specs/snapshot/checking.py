"""From what a user names to a checked snapshot: a state, a directory or archive of files, or the running machine."""

from __future__ import annotations

from pathlib import Path

from ...model.lang.errors import InputError
from .file_check import check_files
from .files import archives, directory_of, live_files
from .results import Snapshot
from .state_check import Progress, check_state_file

LIVE = "/"
ARCHIVES = (".tar", ".tar.xz", ".tar.gz")


def check_snapshot(target: str, progress: Progress = lambda what: None) -> list[Snapshot]:
    """Check what is there; an archive has a snapshot for each of its directories. Raises InputError."""
    path = Path(target)
    if target == LIVE:
        progress("reading /proc and /sys")
        return [check_files(live_files(), "the running machine")]
    if path.is_dir():
        return [check_files(directory_of(path), target)]
    if not path.exists():
        raise InputError(f"{target} does not exist", "give a state, a directory of /proc files, or / for this machine")
    if target.endswith(ARCHIVES):
        return [check_files(files, f"{target}: {files.name}") for files in archives(path)]
    return [check_state_file(path, progress)]
