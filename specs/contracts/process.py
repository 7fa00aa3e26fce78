"""The checker's side of the child process: starts it, sends sequences, collects answers within limits.

The one idea: nothing the implementation does can block or end the checker. Every read has a deadline and a size
limit, every way to end is data (`Transcript`), and a child that is lost is started anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...model.lang.errors import InputError
from .sequences import Sequence, to_plain

LOAD_SECONDS = 10.0
GRACE_SECONDS = 5.0
"""How long after its own deadline a child may stay silent before it is given up."""
ANSWERS_LIMIT = 1 << 20
NOISE_KEPT = 2000
STATIC_TLS = "glibc.rtld.optional_static_tls=65536"
"""Room for libraries built to be preloaded (jemalloc), which otherwise refuse to be loaded late."""


@dataclass(frozen=True)
class Ending:
    """How the process of one sequence ended: "exit", "signal", "timeout" or "lost", with status or signal number."""

    kind: str
    number: int = 0


@dataclass(frozen=True)
class Transcript:
    """Everything one run of a sequence said: answers by call (-1 is the construction), ending, garbage if any."""

    answers: Mapping[int, tuple[list[Any], ...]]
    ending: Ending
    leftovers: bool = False
    garbage: str = ""


class ChildProcess:
    """One zygote (see `child.py`) and its pipes. Use as a context manager."""

    def __init__(self, setup: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> None:
        self.setup = {**setup, "load_seconds": LOAD_SECONDS}
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None
        self.selector = selectors.DefaultSelector()
        self.requests = self.answers = self.status = self.noise = -1
        self.status_rest = b""
        self.noise_text = b""
        self.noise_bytes = 0
        self.number = 0
        self.starts = 0
        self.declared: Mapping[str, Any] = {}

    def __enter__(self) -> ChildProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the zygote and wait until it has loaded the target."""
        requests_end, self.requests = os.pipe()
        self.answers, answers_end = os.pipe()
        self.status, status_end = os.pipe()
        self.noise, noise_end = os.pipe()
        ends = (requests_end, answers_end, status_end)
        command = [sys.executable, "-P", "-u", "-m", f"{__package__}.child", *map(str, ends)]
        tunables = ":".join(filter(None, (os.environ.get("GLIBC_TUNABLES"), STATIC_TLS)))
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=noise_end,
            stderr=noise_end,
            pass_fds=ends,
            start_new_session=True,
            env={**os.environ, "GLIBC_TUNABLES": tunables, **(self.environment or {})},
        )
        for end in (*ends, noise_end):
            os.close(end)
        self.starts += 1
        self.status_rest = b""
        self.selector = selectors.DefaultSelector()
        for descriptor in (self.answers, self.status, self.noise):
            os.set_blocking(descriptor, False)
            self.selector.register(descriptor, selectors.EVENT_READ)
        self.send(self.setup)
        message = self.wait_for_status(LOAD_SECONDS + GRACE_SECONDS, bytearray())
        if message is not None and message[0] == "loaded":
            self.declared = message[1]
            return
        self.stop()
        if message is not None and message[0] == "refused":
            raise InputError(str(message[1]), str(message[2]))
        ending = describe_returncode(self.process.returncode if self.process else None)
        noise = self.noise_text.decode(errors="replace").strip().splitlines()
        said = f" ({noise[-1][:200]})" if noise else ""
        remedy = "loading it must neither end nor block the process"
        raise InputError(f"loading {self.setup['target']} ended with {ending}{said}", remedy)

    def stop(self) -> None:
        """End the zygote and all that it started, close the pipes."""
        if self.process is not None:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.selector.close()
            for descriptor in (self.requests, self.answers, self.status, self.noise):
                with contextlib.suppress(OSError):
                    os.close(descriptor)
            self.requests = self.answers = self.status = self.noise = -1

    def restart(self) -> None:
        """A fresh zygote."""
        self.stop()
        self.start()

    def send(self, message: Mapping[str, Any]) -> None:
        """One request line; a child that is gone shows when its status is awaited."""
        with contextlib.suppress(OSError):
            data = json.dumps(message).encode() + b"\n"
            while data:
                data = data[os.write(self.requests, data) :]

    def run(self, sequence: Sequence, scope: Mapping[str, int], seconds: float) -> Transcript:
        """Run one sequence in a fresh fork of the loaded target."""
        if self.requests < 0:
            self.start()
        self.number += 1
        request = {"number": self.number, "scope": dict(scope), "sequence": to_plain(sequence), "seconds": seconds}
        self.send(request)
        collected = bytearray()
        message = self.wait_for_status(seconds + GRACE_SECONDS, collected)
        if message is None or message[:2] != ["ended", self.number]:
            self.stop()
            return read_transcript(collected, Ending("lost"), False)
        self.drain(self.answers, collected)
        self.drain(self.noise, None)
        kind, *numbers = message[2]
        transcript = read_transcript(collected, Ending(kind, *numbers), bool(message[3]))
        if transcript.leftovers or transcript.garbage:
            self.stop()
        return transcript

    def wait_for_status(self, seconds: float, collected: bytearray) -> list[Any] | None:
        """The next status line; None when the child is gone or silent for too long."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self.status_rest:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return None
            for key, _ in self.selector.select(remaining):
                if key.fd == self.status:
                    data = os.read(self.status, 1 << 16)
                    if not data:
                        return None
                    self.status_rest += data
                elif not self.drain(key.fd, collected if key.fd == self.answers else None):
                    self.selector.unregister(key.fd)
        line, _, self.status_rest = self.status_rest.partition(b"\n")
        message: list[Any] = json.loads(line)
        return message

    def drain(self, descriptor: int, collected: bytearray | None) -> bool:
        """Read what there is, keeping a bounded part of it; False at the end of the pipe."""
        for _ in range(64):
            try:
                data = os.read(descriptor, 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                return False
            if collected is None:
                self.noise_bytes += len(data)
                self.noise_text += data[: NOISE_KEPT - len(self.noise_text)]
            elif len(collected) <= ANSWERS_LIMIT:
                collected += data
        return True


def read_transcript(collected: bytearray, ending: Ending, leftovers: bool) -> Transcript:
    """Answer lines to answers by call; what is no answer is kept as garbage."""
    answers: dict[int, list[list[Any]]] = {}
    garbage = ""
    for line in bytes(collected).split(b"\n")[:-1]:
        try:
            index, *answer = json.loads(line)
            well_formed = type(index) is int and index >= -1 and bool(answer) and isinstance(answer[0], str)
        except (ValueError, TypeError, RecursionError):
            well_formed = False
        if not well_formed:
            garbage = line[:100].decode(errors="replace")
            break
        answers.setdefault(index, []).append(answer)
    if len(collected) > ANSWERS_LIMIT:
        garbage = f"more than {ANSWERS_LIMIT} bytes"
    return Transcript({index: tuple(said) for index, said in answers.items()}, ending, leftovers, garbage)


def signal_name(number: int) -> str:
    """SIGSEGV for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def describe_returncode(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None or code == -signal.SIGKILL:
        return "no answer in time"
    return signal_name(-code) if code < 0 else f"exit status {code}"
