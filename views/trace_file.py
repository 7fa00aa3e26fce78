"""Trace files of either kind: kmemspec's own JSON and ITF, told apart by what is in them, not by their names."""

from __future__ import annotations

import os

from ..model.lang.trace import Trace
from . import itf, strict_json, trace_json
from .text import printable


def load_trace(file: str | os.PathLike[str]) -> Trace:
    """The trace in a file; anything wrong is one InputError that names the file."""
    name = printable(os.fspath(file))
    data = strict_json.read(file)
    return itf.from_itf(data, name) if itf.is_itf(data) else trace_json.from_json(data, name)


def save_trace(trace: Trace, file: str | os.PathLike[str]) -> None:
    """Write a trace: ITF if the name ends in `.itf.json`, else kmemspec's own format."""
    (itf if os.fspath(file).lower().endswith(".itf.json") else trace_json).save(trace, file)
