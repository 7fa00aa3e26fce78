"""Memory with contents, and nothing else: tasks, their pages, one file, and what was written there last.

No frames, no swap, no page cache: what a task may rely on. User memory refines it (specs/swap.py), whatever is
reclaimed, swapped, shared or copied. A page that was freed by MADV_FREE may read as zero until it is written again.
"""

from __future__ import annotations

from .lang import Array, Record, action, indices, require
from .mm import Content, FileIndex, TaskId, VirtualPage


class TaskContents(Record):
    """The memory of a task."""

    value: Array[VirtualPage, Content]
    freed: Array[VirtualPage, bool]


class Contents(Record):
    """The tasks, the file, and the page of a task or of the file that a device is about to write to."""

    task: Array[TaskId, TaskContents]
    file: Array[FileIndex, Content]
    io_task: TaskId | None
    io_address: VirtualPage
    io_index: FileIndex | None


def all_zero(m: Contents) -> None:
    """At the beginning all is zero, and so it is for a task that does not exist."""


@action
def read(m: Contents, task: TaskId, address: VirtualPage, value: Content) -> None:
    """A task reads what was last written."""
    require(m.task[task].value[address] == value or (m.task[task].freed[address] and value == 0))


@action
def write(m: Contents, task: TaskId, address: VirtualPage, value: Content) -> None:
    """A task turns what it would read into the other value."""
    require(m.task[task].value[address] != value or m.task[task].freed[address])
    m.task[task].value[address] = value
    m.task[task].freed[address] = False


@action
def spawn(m: Contents, task: TaskId, child: TaskId) -> None:
    """A child begins with what its parent has."""
    for address in indices(m.task[task].value):
        m.task[child].value[address] = m.task[task].value[address]
        m.task[child].freed[address] = m.task[task].freed[address]


@action
def end(m: Contents, task: TaskId) -> None:
    """A task ends."""
    for address in indices(m.task[task].value):
        m.task[task].value[address] = 0
        m.task[task].freed[address] = False
    if m.io_task == task:
        m.io_task = None
        m.io_address = 0


@action
def free(m: Contents, task: TaskId, address: VirtualPage) -> None:
    """A task says that it does not need a page's content."""
    m.task[task].freed[address] = m.task[task].value[address] != 0


@action
def drop(m: Contents, task: TaskId, address: VirtualPage) -> None:
    """A task gives a page up."""
    m.task[task].value[address] = 0
    m.task[task].freed[address] = False
    if m.io_task == task and m.io_address == address:
        m.io_task = None
        m.io_address = 0


@action
def begin_io(m: Contents, task: TaskId, address: VirtualPage) -> None:
    """A task asks a device to write to a page."""
    require(m.io_task is None and m.io_index is None)
    m.io_task = task
    m.io_address = address


@action
def begin_file_io(m: Contents, index: FileIndex) -> None:
    """A task asks a device to write to a page of the file."""
    require(m.io_task is None and m.io_index is None)
    m.io_index = index


@action
def end_io(m: Contents, value: Content) -> None:
    """The device has written, if the task still has the page."""
    index = m.io_index
    if index is not None:
        write_to_file(m, index, value)
        m.io_index = None
    task = m.io_task
    if task is not None:
        write(m, task, m.io_address, value)
        m.io_task = None
        m.io_address = 0


@action
def read_from_file(m: Contents, index: FileIndex, value: Content) -> None:
    """Who reads the file finds what was last written there."""
    require(m.file[index] == value)


@action
def write_to_file(m: Contents, index: FileIndex, value: Content) -> None:
    """Who writes to the file turns what is there into the other value."""
    require(m.file[index] != value)
    m.file[index] = value
