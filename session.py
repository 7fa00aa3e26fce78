"""The process around a command: its streams, its signals, the files that it writes.

The one idea: what goes wrong outside the model (a reader that has gone, Ctrl-C, a full disk, a terminal without ✓) is
dealt with here once, so that a command is only about its engine.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TextIO

from .model.lang.errors import InputError
from .views.text import printable

PLAIN = {
    "✓": "+", "✗": "x", "─": "-", "━": "-", "·": ".", "…": ".", "→": ">", "—": "-", "↺": "@", "≤": "<", "•": "*",
    "⏎": "$", "⠋": "|",
}
"""What stands for our symbols where the encoding lacks them: one character each, so that columns stay in line."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Session:
    """One run of a command: where a report for `--json -` goes, whether it was asked to stop, and whether a file could
    not be written."""

    output: TextIO = field(default_factory=lambda: sys.stdout)
    interrupted: bool = False
    unwritten: bool = False

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """SIGINT and SIGTERM both raise KeyboardInterrupt, with which engines end and say what they know."""

        def stop(number: int, frame: FrameType | None) -> None:
            self.interrupted = True
            raise KeyboardInterrupt

        before = {}
        if threading.current_thread() is threading.main_thread():
            # What a shell told us to ignore (nohup, a background job) stays ignored.
            before = {
                number: signal.signal(number, stop) for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN
            }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def words_elsewhere(self, wanted: bool) -> Iterator[None]:
        """With `--json -` standard output is the report alone, and the words go to standard error."""
        with contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext():
            yield

    def attempt(self, write: Callable[[], None]) -> bool:
        """Write something when the work is done; failing is said in a line, and does not hide what was found."""
        try:
            write()
        except InputError as error:
            complain(str(error))
            self.unwritten = True
            return False
        return True

    def write(self, file: str, text: str) -> None:
        """Write a report to a file, or to standard output for `-`."""
        if file == "-":
            self.output.write(text)
        else:
            write_bytes(file, text.encode("utf-8", "backslashreplace"))


def complain(*lines: str) -> None:
    """A line on standard error (and more only where a source line is shown), safe for a terminal and of bounded length;
    nowhere if standard error is gone too."""
    with contextlib.suppress(OSError):
        print("kmemspec: " + "\n".join(map(_shown, lines)), file=sys.stderr, flush=True)


def _shown(line: str) -> str:
    """The beginning says what is wrong and the end what to do, so a long line loses its middle."""
    if len(line) > 1000:
        line = f"{line[:600]}…{line[-390:]}"
    return printable(line.replace("\t", " "), 4000)


def prepare_streams() -> None:
    """Streams that exist (`>&-` takes them away) and that can write every character in some way."""
    codecs.register_error("kmemspec-plain", _plain)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (open until the process ends)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="kmemspec-plain")


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeEncodeError):
        bad = error.object[error.start : error.end]
        if all(character in PLAIN for character in bad):
            return "".join(PLAIN[character] for character in bad), error.end
    return codecs.backslashreplace_errors(error)


def abandon_output() -> None:
    """Whoever read our output has gone: Python must not complain about that again when it flushes at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())  # type: ignore[union-attr]


# --- files


def check_place(file: str | None) -> None:
    """Whether a file can be written there, before long work and not after it; raises InputError."""
    if file is None or file == "-":
        return
    path = Path(file)
    remedy = "choose another place"
    if path.is_dir():
        raise InputError(f"{file} is a directory", "name a file")
    if not path.parent.is_dir():
        raise InputError(f"{file} cannot be written: there is no directory {path.parent}", "make it, or " + remedy)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"{file} cannot be written: permission denied", remedy)


def write_bytes(file: str, content: bytes) -> None:
    """Write a file; raises InputError."""
    try:
        Path(file).write_bytes(content)
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}", "choose another place") from None


def make_directory(directory: str) -> None:
    """Make a directory unless it is there; raises InputError."""
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory} cannot be made: {error.strerror}", "choose another place") from None
