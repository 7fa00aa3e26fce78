"""A pool of solver processes behind one call: `ask` for the satisfiability of a few terms.

Terms travel as rows of JSON, each once a process. A process that overruns its time (Z3's own limit is not always
kept), or dies, is replaced, and its query is unknown. Nothing is shared, so a Ctrl-C or a crash harms no other query.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any

from .values import Boolean, Integer, Term, Terms, Truth

GRACE_SECONDS = 5.0
"""How long after its limit a solver may still answer before it is killed."""


@dataclass(frozen=True)
class Answer:
    """What a solver said: "sat" with the model and which ways are true in it, "unsat", or "unknown" with the reason."""

    answer: str
    seconds: float = 0.0
    reason: str = ""
    model: Mapping[str, int] = field(default_factory=dict)
    ways: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Question:
    """Numbers of terms: can the roots hold together, and with all of one of the ways, if there are any?"""

    roots: list[int]
    ways: list[list[int]]
    model: bool


def encode(terms: Iterable[Term]) -> list[list[Any]]:
    """Rows of the table of terms: operator, interval, arguments (a number is a term, a string a constant)."""
    rows = []
    for term in terms:
        low, high = (term.low, term.high) if isinstance(term, Integer) else (None, None)
        arguments = [a.number if isinstance(a, Integer | Boolean) else _constant(a) for a in term.arguments]
        rows.append([term.operator, low, high, arguments])
    return rows


def _constant(argument: int | str) -> str:
    return argument if isinstance(argument, str) else str(int(argument))


class _Process:
    """One solver process and how much of the table it has."""

    def __init__(self) -> None:
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # should it die, its query is unknown, and says why
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # a Ctrl-C is for the parent, which then ends us
        )
        self._sent = 0

    def ask(self, terms: Terms, question: _Question, seconds: float) -> Answer:
        nodes = encode(terms.nodes[self._sent :])
        self._sent += len(nodes)
        message = {"nodes": nodes, "milliseconds": int(seconds * 1000), **asdict(question)}
        timer = threading.Timer(seconds + GRACE_SECONDS, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except (OSError, ValueError):
            line = ""
        finally:
            timer.cancel()
        if not line:
            self.end()
            return Answer("unknown", seconds, "the solver process ended")
        result = json.loads(line)
        return Answer(
            result["answer"], result["seconds"], result.get("reason", ""), result.get("model", {}),
            tuple(result.get("ways", ())),
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


class Solvers:
    """A context manager: `jobs` solver processes over one table of terms."""

    def __init__(self, terms: Terms, jobs: int | None = None) -> None:
        self._terms = terms
        self.jobs = jobs or len(os.sched_getaffinity(0))
        self._idle: list[_Process] = []
        self._all: list[_Process] = []
        self._lock = threading.Lock()
        self._closed = False
        self._threads = ThreadPoolExecutor(self.jobs)

    def __enter__(self) -> Solvers:
        with self._lock:
            self._all = [_Process() for _ in range(self.jobs)]  # they import Z3 while we execute
            self._idle = list(self._all)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True
            for process in self._all:
                process.end()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def ask(self, conditions: Iterable[Truth], deadline: float, model: bool = True) -> Future[Answer]:
        """Can all conditions hold together? Decided at once when they are concrete, else by the deadline (of
        `time.monotonic`)."""
        roots: list[int] = []
        for condition in conditions:
            if condition is False:
                return _settled(Answer("unsat"))
            if isinstance(condition, Boolean):
                roots.append(condition.number)
        if not roots:
            return _settled(Answer("sat"))
        return self._threads.submit(self._ask, _Question(list(dict.fromkeys(roots)), [], model), deadline)

    def ask_any(
        self, common: Iterable[Boolean], ways: Iterable[Iterable[Boolean]], deadline: float, limit: float
    ) -> Future[Answer]:
        """Can the common conditions hold together with all those of one of the ways? Not longer than `limit` seconds
        from when a solver begins."""
        question = _Question([c.number for c in common], [[c.number for c in way] for way in ways], True)
        return self._threads.submit(self._ask, question, deadline, limit)

    def _ask(self, question: _Question, deadline: float, limit: float = math.inf) -> Answer:
        seconds = min(limit, deadline - time.monotonic())
        if seconds <= 0:
            return Answer("unknown", 0.0, "timeout")
        process = self._take()
        if process is None:
            return Answer("unknown", 0.0, "interrupted")
        answer = process.ask(self._terms, question, seconds)
        with self._lock:
            if process.alive:
                self._idle.append(process)
            else:
                self._all.remove(process)
        return answer

    def _take(self) -> _Process | None:
        with self._lock:
            if self._closed:
                return None
            if not self._idle:
                process = _Process()
                self._all.append(process)
                self._idle.append(process)
            return self._idle.pop()


def _settled(answer: Answer) -> Future[Answer]:
    future: Future[Answer] = Future()
    future.set_result(answer)
    return future
