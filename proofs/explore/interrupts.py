"""Ctrl-C waits until compiled code has returned.

The one idea: a signal handler that raises may be run by Python at the entry of a callback from compiled code, where
ctypes drops the exception and hands the compiled code a made-up answer. Calls last a fraction of a second, so the
handler is run after the call instead.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Handlers written in Python run when the block is left, not inside it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread alone
        return
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with contextlib.ExitStack() as stack:  # which puts every handler back, even if one of them raises on the way
        for deferred, handler in handlers.items():
            if callable(handler):
                stack.callback(signal.signal, deferred, handler)
                signal.signal(deferred, note)
        yield
    for number in caught:
        handler = handlers[signal.Signals(number)]
        assert callable(handler)
        handler(number, None)
