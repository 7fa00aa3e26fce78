"""Memory with contents as a specification of its own (model/contents.py)."""

from __future__ import annotations

from ..model.contents import (
    Contents,
    all_zero,
    begin_file_io,
    begin_io,
    drop,
    end,
    end_io,
    free,
    read,
    read_from_file,
    spawn,
    write,
    write_to_file,
)
from ..model.lang import Clauses, Parameter, Spec, clause, indices, invariant, step_property
from ..model.mm import Content, TaskId, VirtualPage


@invariant("M1", origin="madvise(2): MADV_FREE")
def zero_cannot_be_lost(m: Contents) -> Clauses:
    """What may be lost is not zero."""
    for task in indices(m.task):
        for address in indices(m.task[task].value):
            useful = not m.task[task].freed[address] or m.task[task].value[address] != 0
            yield clause("what may be lost is not zero", useful, task)


@step_property("M2", action=write, origin="(private memory: nobody else sees what a task writes)")
def a_write_is_private(
    before: Contents, after: Contents, task: TaskId, address: VirtualPage, value: Content
) -> Clauses:
    """What a task writes changes its own page and no other."""
    yield clause("what was written is there", after.task[task].value[address] == value, task)
    for other in indices(after.task):
        for place in indices(after.task[other].value):
            if other != task or place != address:
                same = after.task[other].value[place] == before.task[other].value[place]
                yield clause("no other page is touched", same, other)


SPEC = Spec(
    name="contents",
    state=Contents,
    init=all_zero,
    actions=(read, write, spawn, end, free, drop, begin_io, begin_file_io, end_io, read_from_file, write_to_file),
    properties=(zero_cannot_be_lost, a_write_is_private),
    parameters=(
        Parameter("tasks", 2, "the number of tasks that may exist at a time", most=1 << 10),
        Parameter("vpages", 1, "the anonymous pages that each task has", most=1 << 10),
        Parameter("file_pages", 1, "the pages of the file", most=1 << 10),
    ),
    doc=__doc__,
)
