"""kmemspec: an executable formal model of Linux memory management, and the checker around it.

What a specification of your own needs is here:

    from kmemspec import Array, Parameter, Record, Sort, Spec, action, choose, clause, indices, invariant, require

`kmemspec check my_allocator.py` then runs every engine on it.
"""

from .model.lang import *  # noqa: F403 - the list of names is written in model/lang alone
from .model.lang import __all__ as __all__

CONTRACT_TESTS = frozenset({"PageAllocatorContract", "HeapContract", "ObjectCacheContract", "LruContract"})
"""Contracts for the test suites of others (see specs/contracts/testing.py); imported when they are asked for."""


def __getattr__(name: str) -> object:
    if name in CONTRACT_TESTS:
        from .specs.contracts import testing

        return getattr(testing, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
