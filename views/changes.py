"""What is in a state, and what differs between two states.

The one idea: a state is nested plain data, so a *path* of names and indices names each value, a change is a path with
two values, and any state is drawn as scalars and *grids* (arrays with one row for each field of their elements).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..model.lang.trace import Plain, Step, Trace
from .text import printable

Path = tuple[str | int, ...]
ROWS_INSIDE = 12
"""An array inside the elements of a longer one is shown as rows of it, if it is no longer than this."""


class _Absent:
    """The value of a path that one of two states does not have."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()


@dataclass(frozen=True)
class Change:
    """One value that differs between two states."""

    path: Path
    old: Plain
    new: Plain


@dataclass(frozen=True)
class Row:
    """One field of the elements of an array: its name ('' for an array of scalars) and a cell for each element."""

    name: str
    cells: tuple[tuple[Path, Plain], ...]


@dataclass(frozen=True)
class Grid:
    """An array: its path and its rows, all of `columns` cells."""

    path: Path
    columns: int
    rows: tuple[Row, ...]


def leaves(state: Plain) -> Iterator[tuple[Path, Plain]]:
    """Every scalar of a state with its path, in order."""
    stack: list[tuple[Path, Plain]] = [((), state)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, Mapping):
            stack.extend(((*path, key), node[key]) for key in reversed(list(node)))
        elif isinstance(node, list | tuple):
            stack.extend(((*path, index), node[index]) for index in reversed(range(len(node))))
        else:
            yield path, node


def differs(old: Plain, new: Plain) -> bool:
    """Whether two scalars differ; True and 1 do."""
    return type(old) is not type(new) or bool(old != new)


def changes(before: Plain, after: Plain) -> tuple[Change, ...]:
    """The values that differ, in the order of `after`; what only `before` has comes last in its record or array."""
    return tuple(_changes((), before, after))


def _changes(path: Path, old: Plain, new: Plain) -> Iterator[Change]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*new, *(key for key in old if key not in new)]:
            yield from _changes((*path, key), old.get(key, ABSENT), new.get(key, ABSENT))
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple):
        for index in range(max(len(old), len(new))):
            first = old[index] if index < len(old) else ABSENT
            second = new[index] if index < len(new) else ABSENT
            if first != second or not isinstance(first, Mapping):  # most elements of a large array stay the same
                yield from _changes((*path, index), first, second)
    elif isinstance(old, Mapping | list | tuple) or isinstance(new, Mapping | list | tuple):
        yield from (Change(path + inner, value, ABSENT) for inner, value in leaves(old) if old is not ABSENT)
        yield from (Change(path + inner, ABSENT, value) for inner, value in leaves(new) if new is not ABSENT)
    elif differs(old, new):
        yield Change(path, old, new)


def path_text(path: Path) -> str:
    """`zone.mem_map[2].order`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{printable(part, 60)}" if text else printable(part, 60)
    return text or "state"


def value_text(value: Plain, limit: int = 60) -> str:
    """A value in as few characters as stay clear: `-` is None, T and F are the booleans."""
    if value is None:
        return "-"
    if value is ABSENT:
        return "absent"
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, Mapping):
        return printable("{" + ", ".join(f"{key}: {value_text(value[key], limit)}" for key in value) + "}", limit)
    if isinstance(value, list | tuple):
        return printable("[" + ", ".join(value_text(element, limit) for element in value) + "]", limit)
    return printable(str(value), limit)


def call_text(step: Step) -> str:
    """`alloc_pages(order=0) → 4`, with the choices made inside it."""
    if not step.action:
        return "initial state"
    arguments = ", ".join(f"{printable(name, 40)}={value_text(value)}" for name, value in step.arguments.items())
    text = f"{printable(step.action, 80)}({arguments})"
    if step.choices:
        chosen = ", ".join(str(choice) for choice in step.choices[:16]) + (", …" if len(step.choices) > 16 else "")
        text += f" choosing {chosen}"
    return text if step.result is None else f"{text} → {value_text(step.result)}"


def layout(state: Plain) -> tuple[tuple[tuple[Path, Plain], ...], tuple[Grid, ...]]:
    """The scalars outside arrays, and every array as a grid."""
    scalars: list[tuple[Path, Plain]] = []
    grids: list[Grid] = []
    _layout((), state, scalars, grids)
    return tuple(scalars), tuple(grids)


def _layout(
    path: Path, node: Plain, scalars: list[tuple[Path, Plain]], grids: list[Grid], within: int = 0
) -> None:
    """An array of at most `within` elements is part of the record it is in, any other is a grid of its own."""
    if isinstance(node, Mapping):
        for key, child in node.items():
            _layout((*path, key), child, scalars, grids, within)
    elif isinstance(node, list | tuple) and 0 < len(node) <= within:
        for index, child in enumerate(node):
            _layout((*path, index), child, scalars, grids, within)
    elif isinstance(node, list | tuple):
        _layout_array(path, node, grids)
    else:
        scalars.append((path, node))


def _layout_array(path: Path, node: Sequence[Plain], grids: list[Grid]) -> None:
    if node and all(isinstance(element, list | tuple) and _flat(element) for element in node):
        rows = [
            Row(f"[{index}]", tuple(((*path, index, column), value) for column, value in enumerate(element)))
            for index, element in enumerate(node)
        ]
        grids.append(Grid(path, max(len(element) for element in node), tuple(rows)))
        return
    fields: dict[str, list[tuple[Path, Plain]]] = {}
    inner: list[Grid] = []
    within = min(ROWS_INSIDE, len(node))
    for index, element in enumerate(node):
        found: list[tuple[Path, Plain]] = []
        _layout((*path, index), element, found, inner, within)
        for where, value in found:
            name = path_text(where[len(path) + 1 :]) if len(where) > len(path) + 1 else ""
            fields.setdefault(name, []).append((where, value))
    if fields or not node:
        grids.append(Grid(path, len(node), tuple(Row(name, tuple(cells)) for name, cells in fields.items())))
    grids.extend(inner)


def _flat(element: Sequence[Plain]) -> bool:
    return not any(isinstance(value, Mapping | list | tuple) for value in element)


# --- which cells a violation points at ---------------------------------------------------------------------------


def sort_name(name: str) -> str:
    """A sort or array name reduced to what they share: `pages`, `Page` and `page` are the same.

    >>> sort_name("zone.Pages"), sort_name("entries"), sort_name("boxes")
    ('page', 'entry', 'box')
    """
    word = name.rsplit(".", 1)[-1].lower()
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("xes", "sses", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


class Culprits:
    """Which values of a state the violated clause points at.

    A trace does not carry the sorts of its arrays. `dimension_sorts` (leaf path with `[]` → sort names) says them when
    the specification is at hand; otherwise an element points into arrays named like it, or else into arrays as long
    as `lengths` or the scope says the sort is, or else into every array that has such an index."""

    def __init__(
        self,
        trace: Trace,
        dimension_sorts: Mapping[str, Sequence[str]] | None = None,
        lengths: Mapping[str, int] | None = None,
    ) -> None:
        self.elements = trace.violation.elements if trace.violation else ()
        self._sorts = {
            path: tuple(sort_name(name) for name in names) for path, names in (dimension_sorts or {}).items()
        }
        scope_size = {sort_name(name): size for name, size in trace.scope.items()} | dict(lengths or {})
        self._targets: set[tuple[str, int, int]] = set()
        dimensions = _dimensions(trace.steps[-1].state) if trace.steps and self.elements else {}
        for name, value in self.elements:
            sort = sort_name(name)
            fitting = [key for key, length in dimensions.items() if 0 <= value < length]
            chosen = (
                [key for key in fitting if self._declared(key, sort)]
                or [key for key in fitting if key[1] == 0 and sort_name(key[0].replace("[]", "")) == sort]
                or [key for key in fitting if dimensions[key] == scope_size.get(sort)]
                or (fitting if sort not in scope_size and not self._sorts else [])
            )
            self._targets.update((array, depth, value) for array, depth in chosen)

    def _declared(self, key: tuple[str, int], sort: str) -> bool:
        array, depth = key
        position = array.count("[]") + depth
        return any(
            path.startswith(array + "[]") and position < len(sorts) and sorts[position] == sort
            for path, sorts in self._sorts.items()
        )

    def points_at(self, path: Path) -> bool:
        """Whether the value at this path belongs to an offending element."""
        if not self._targets:
            return False
        name, depth = "", 0
        for part in path:
            if isinstance(part, int):
                if (name, depth, part) in self._targets:
                    return True
                depth += 1
            else:
                name = (name + "[]" * depth + "." + part) if name else part
                depth = 0
        return False


def _dimensions(state: Plain) -> dict[tuple[str, int], int]:
    """(array name with `[]` for outer arrays, depth of the dimension in it) → length."""
    found: dict[tuple[str, int], int] = {}
    stack: list[tuple[str, int, Plain]] = [("", 0, state)]
    while stack:
        name, depth, node = stack.pop()
        if isinstance(node, Mapping):
            for key, child in node.items():
                stack.append(((name + "[]" * depth + "." + key) if name else key, 0, child))
        elif isinstance(node, list | tuple):
            found[name, depth] = max(len(node), found.get((name, depth), 0))
            stack.extend((name, depth + 1, element) for element in node)
    return found
