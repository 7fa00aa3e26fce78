"""What a step of the model wrote, read as what went where.

The one idea: the engine's journal of a step (`Store.commit`) has every write in order, so that the pages a refill
takes, or a drain gives back, are known one by one without a second text of the model that says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Changes:
    """What a step wrote, in order, as far as it shows what went where."""

    def __init__(self, changes: Iterable[Any], kept: bool = True) -> None:
        self.changes = list(changes)
        self.kept = kept

    def to_pcp(self) -> list[int]:
        """Pages that came to a per-CPU list, in order."""
        return [_index(holder) for holder, key, old in self.changes if key == "pcp_list" and old is None]

    def drained(self) -> tuple[int, ...]:
        """Pages that left a per-CPU list, in order."""
        return tuple(_index(holder) for holder, key, old in self.changes if key == "pcp_list" and old is not None)

    def drained_by_page(self) -> dict[int, tuple[int, ...]]:
        """The pages that left the per-CPU lists after each page that was freed to them."""
        found: dict[int, tuple[int, ...]] = {}
        last: int | None = None
        for holder, key, old in self.changes:
            if key == "pcp_list":
                if old is None:
                    last = _index(holder)
                    found[last] = ()
                elif last is not None:
                    found[last] = (*found[last], _index(holder))
        return found

    def new_slabs(self) -> list[int]:
        return [_index(holder) for holder, key, old in self.changes if key == "slab_cache" and old is None]

    def discarded_slabs(self) -> list[int]:
        return [_index(holder) for holder, key, old in self.changes if key == "slab_cache" and old is not None]


def _index(record: Any) -> int:
    """The index of an array's record in its array."""
    return int(record._place[1])
