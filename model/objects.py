"""The abstract object cache: a set of live objects for each cache, and nothing else.

No slabs, no freelists, no policy: what a client may rely on. The slab allocator refines it (specs/slub.py).
"""

from __future__ import annotations

from .lang import Array, Record, action, require
from .slab import Cache, Object


class Objects(Record):
    """The cache that each live object is of."""

    object: Array[Object, Cache | None]


def no_objects(m: Objects) -> None:
    """At the beginning nothing is live."""


@action
def allocate(m: Objects, cache: Cache, object: Object) -> None:
    """An object becomes live that was not."""
    require(m.object[object] is None)
    m.object[object] = cache


@action
def release(m: Objects, object: Object) -> None:
    """A live object ends."""
    require(m.object[object] is not None)
    m.object[object] = None


@action
def refuse(m: Objects, cache: Cache) -> None:
    """A request fails; the set of live objects cannot tell why."""
