"""The process that the implementation runs in: loads it once, then forks for every sequence.

The one idea: the loaded state is a zygote; each sequence gets a fork of it, so a crash, an exit or a global state left
behind costs nothing and the next sequence starts fresh. JSON lines go over private descriptors (requests in, answers of
the forks, status of the zygote), so whatever the implementation prints breaks nothing. The zygote alone decides
how a fork ended, since the fork itself cannot be trusted.

Run as `python -P -m kmemspec.specs.contracts.child REQUESTS ANSWERS STATUS`, by `process.py` only.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import signal
import sys
import time
from typing import Any

from ...model.lang.errors import InputError
from .adapter import LOST_PIPE, Loader, Make, ProgramEndedError, describe_exception, one_line

ANSWER_LIMIT = 4000
"""Longest answer line in characters: below PIPE_BUF, so that a line is written whole or not at all."""
PRIVATE_DESCRIPTOR = 200
"""Where private descriptors are moved to, out of the way of code that closes the first few."""
FINAL_TAGS = frozenset({"rubbish", "contents", "prefix", "nonzero", "guard", "odd", "program", "raised", "unfit"})
"""Answers after which the sequence is not continued: the clause is broken, and what follows would say nothing."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

def loader(kind: str) -> Loader:
    """The adapter of that kind; imported here so that a class is validated without cffi."""
    if kind == "library":
        from .library import load_library

        return load_library
    if kind == "command":
        from .command import load_command

        return load_command
    from .python_class import load_class

    return load_class


class _OverError(BaseException):
    """Ends a sequence after an answer behind which nothing counts; passes through the implementation's own handlers."""


def run_sequence(make: Make, request: dict[str, Any], answers: int) -> None:
    """In the fork: run one sequence and write every answer at once, so that a crash loses none."""
    own = os.getpid()

    def write(index: int, *answer: object) -> None:
        if os.getpid() != own:
            os.write(answers, json.dumps([index, "forked"]).encode() + b"\n")
            os._exit(0)
        try:
            os.write(answers, json.dumps([index, *answer])[:ANSWER_LIMIT].encode() + b"\n")
        except OSError:
            os._exit(LOST_PIPE)
        if answer[0] in FINAL_TAGS:
            raise _OverError

    index = -1
    adapter: Any = None
    last: tuple[object, ...] = ()
    try:
        adapter = make(request["scope"])
        write(-1, "ready")
        for index, (kind, block, *arguments) in enumerate(request["sequence"]):
            adapter.perform(index, kind, block, arguments, lambda *answer: write(index, *answer))  # noqa: B023
            write(index, "next")
        index = len(request["sequence"])
        if hasattr(adapter, "finish"):
            adapter.finish(lambda *answer: write(index, *answer))
        write(index, "done")
    except _OverError:
        pass
    except ProgramEndedError as error:
        last = ("program", *error.args)
    except SystemExit as error:
        last = ("left", one_line(error.code if type(error.code) in (int, str, type(None)) else "?"))
    except InputError as error:
        last = ("unfit", one_line(error.message), one_line(error.remedy))
    except BaseException as error:
        last = ("raised", type(error).__name__[:100], describe_exception(error))
    with contextlib.suppress(_OverError):
        if last:
            write(index, *last)
    with contextlib.suppress(BaseException):
        if hasattr(adapter, "close"):
            adapter.close()
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)


def wait_for(child: int, seconds: float) -> list[Any]:
    """How the fork ended: ["exit", status], ["signal", number] or ["timeout"]; SIGCHLD is blocked meanwhile."""
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return ["exit", code] if code >= 0 else ["signal", -code]
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return ["timeout"]
        signal.sigtimedwait([signal.SIGCHLD], remaining)


def clear_leftovers(group: int) -> bool:
    """Kill and reap whatever a fork left behind in its process group or orphaned; was there anything?"""
    found = False
    with contextlib.suppress(OSError):
        os.killpg(group, signal.SIGKILL)
        found = True
        while os.waitpid(-group, 0)[0]:
            pass
    for orphan in orphans():
        with contextlib.suppress(OSError):
            os.kill(orphan, signal.SIGKILL)
            os.waitpid(orphan, 0)
            found = True
    with contextlib.suppress(OSError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            found = True
    return found


def orphans() -> list[int]:
    """Processes that made a session of their own and came to this one, their subreaper, when their parents ended."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/self/task/{os.getpid()}/children") as children:
        return [int(number) for number in children.read(1 << 16).split()]
    return []


def serve(requests: int, answers: int, status: int) -> None:
    """Load the target named by the first line, then run one sequence for each further line until the pipe ends."""
    lines = os.fdopen(requests, "rb")
    setup = json.loads(lines.readline())
    if setup["memory"]:
        resource.setrlimit(resource.RLIMIT_AS, (setup["memory"], setup["memory"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(int(setup["load_seconds"]) + 1)
    try:
        make, declared = loader(setup["kind"])(setup)
    except InputError as error:
        tell(status, "refused", one_line(error.message, 1500), one_line(error.remedy, 500))
        return
    except BaseException as error:
        problem = f"{type(error).__name__}: {describe_exception(error)}"
        tell(status, "refused", f"cannot load {setup['target']}: {problem}", "make it importable on its own first")
        return
    signal.alarm(0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    gc.freeze()
    tell(status, "loaded", declared)
    for line in lines:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            end_with_parent()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            os.close(status)
            os.close(requests)
            run_sequence(make, request, answers)
        with contextlib.suppress(OSError):
            os.setpgid(child, child)
        ending = wait_for(child, request["seconds"])
        leftovers = clear_leftovers(child)
        # A program that hangs outlives the fork that talked to it: that is the hang, not another process left behind.
        expected = setup["kind"] == "command" and ending == ["timeout"]
        tell(status, "ended", request["number"], ending, leftovers and not expected)


def tell(status: int, *message: object) -> None:
    """One line to the parent."""
    os.write(status, json.dumps(message).encode() + b"\n")


def end_with_parent() -> None:
    """Ask the kernel to end this process with its parent (Linux; elsewhere the time limit has to do)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main() -> None:
    """Move the descriptors away, drop what is not needed, serve."""
    import fcntl

    given = [int(text) for text in sys.argv[1:4]]
    private = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, PRIVATE_DESCRIPTOR) for number in given]
    for number in given:
        os.close(number)
    sys.argv = ["validated"]
    end_with_parent()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    serve(*private)


if __name__ == "__main__":
    main()
