"""How a Python cache or memoiser is called by the lru contract: in the child process, and in a reproducer.

The one idea: what a cache can do is seen by the names of its methods, and a function that finds out is written once: a
reproducer, which needs nothing of this package, takes its text along. It takes a plain model of the policies along too,
since the machine of specs/contract_lru.py needs the package; tests/test_validate_lru.py holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import getsource
from typing import Any

from ...model.lang.errors import InputError
from .contract import Contract, Declared
from .python_class import MethodAdapter, constructed


def adapt(contract: Contract, factory: Any, scope: dict[str, int], declared: Declared) -> MethodAdapter:
    """A fresh cache of that capacity, or a function memoised by a decorator of that capacity."""
    made = constructed(contract, factory, scope["capacity"])
    if is_cache(made):
        check_lookup(contract, made)
        return MethodAdapter(contract, cache_methods(made, declared), scope)
    if not callable(made):
        what = f"{getattr(factory, '__name__', 'it')}({scope['capacity']}), a {type(made).__name__},"
        raise InputError(f"{what[:200]} has neither put nor [], and is no decorator", f"give {contract.target}")
    return MemoAdapter(contract, Memo(made), scope)


def check_lookup(contract: Contract, cache: Any) -> None:
    """What can be put into must be looked up as well."""
    names = ("get",) if hasattr(cache, "put") else ("get", "__getitem__")
    if not any(callable(getattr(cache, name, None)) for name in names):
        wanted = f"give it {contract.operations['get'].meaning}"
        raise InputError(f"{type(cache).__name__[:100]} has no method {' or '.join(names)}", wanted)


def is_cache(made: Any) -> bool:
    """Is it a cache to put something into? Else it is a decorator."""
    return hasattr(type(made), "__setitem__") or hasattr(made, "put")


def cache_methods(cache: Any, declared: Any) -> dict[str, Any]:
    """How the operations are called on a cache, as far as it has them."""

    def first_of(*names: str) -> Any:
        return next((getattr(cache, name) for name in names if callable(getattr(cache, name, None))), None)

    store = first_of("put", "__setitem__")
    look = first_of("get") if hasattr(cache, "put") else first_of("__getitem__", "get")
    methods: dict[str, Any] = {"put": lambda key, value: store(key, value), "get": lambda key: looked_up(look, key)}
    remove = first_of("delete", "remove", "__delitem__")
    if remove is not None:
        methods["delete"] = lambda key: removed(remove, key)
    if hasattr(type(cache), "__contains__"):
        methods["contains"] = lambda key: key in cache
    if hasattr(type(cache), "__len__"):
        methods["length"] = lambda: len(cache)
    for kind, method in (("resize", first_of("resize", "set_size")), ("clear", first_of("clear"))):
        if method is not None:
            methods[kind] = method
    listing = first_of("keys")
    if listing is not None:
        methods["keys"] = lambda: list(listing())
    counts = first_of("statistics", "cache_info", "get_stats")
    if counts is not None:
        methods["statistics"] = lambda: [*(-1 if number is None else number for number in counts()), -1, -1][:4]
    if first_of("popitem") is not None and declared["pops_victim"]:
        methods["pop"] = lambda: popped(cache)
    return methods


def looked_up(look: Any, key: int) -> Any:
    """A value; None for every usual way to say that there is none."""
    try:
        value = look(key)
    except KeyError:
        return None
    return None if type(value) is int and value == -1 else value


def removed(remove: Any, key: int) -> Any:
    """1 if it was there, 0 if not, None if the method does not tell."""
    try:
        told = remove(key)
    except KeyError:
        return 0
    return int(told) if isinstance(told, bool) else 1 if remove.__name__ == "__delitem__" else None


def popped(cache: Any) -> Any:
    """The key that popitem() takes out."""
    try:
        return cache.popitem()[0]
    except KeyError:
        return None


class Memo:
    """A function of one argument, memoised; what its body gives and how often it ran is known."""

    def __init__(self, decorator: Any) -> None:
        self.now = self.ran = 0
        function = decorator(self.body)
        self.methods: dict[str, Any] = {"call": lambda key, value: self.call(function, key, value)}
        if hasattr(function, "cache_clear"):
            self.methods["clear"] = function.cache_clear
        if hasattr(function, "cache_info"):
            self.methods["statistics"] = lambda: [-1 if number is None else number for number in function.cache_info()]

    def body(self, key: int) -> int:
        """What is memoised."""
        self.ran += 1
        return self.now

    def call(self, function: Any, key: int, value: int) -> Any:
        """Call the function when its body would give this value."""
        self.now = value
        return function(key)


class MemoAdapter(MethodAdapter):
    """Calls a memoised function, and says how often its body ran."""

    def __init__(self, contract: Contract, memo: Memo, scope: Mapping[str, int]) -> None:
        super().__init__(contract, memo.methods, scope)
        self.memo = memo

    def perform(self, index: int, kind: str, block: int | None, arguments: list[int], say: Callable[..., None]) -> None:
        """Make one call; of a call of the function also say how often its body ran."""
        before = self.memo.ran
        super().perform(index, kind, block, arguments, say)
        if kind == "call":
            say("computed", self.memo.ran - before)


REFERENCE = '''

class Checked:
    """Calls the cache beside a plain model: entries [key, value, referenced, active], the next victim first."""

    def __init__(self):
        self.policy, used_by = DECLARED["policy"], DECLARED["used_by"]
        self.used_by = (used_by or ("nothing" if self.policy == "fifo" else "get put")).split()
        self.entries, self.capacity, self.hits, self.misses, self.newest = [], SCOPE["capacity"], 0, 0, None
        made = make()(self.capacity)
        self.memo = None if is_cache(made) else Memo(made)
        self.methods = self.memo.methods if self.memo else cache_methods(made, DECLARED)

    def find(self, key):
        return next((entry for entry in self.entries if entry[0] == key), None)

    def move(self, entry):
        self.entries.remove(entry)
        self.entries.append(entry)

    def use(self, entry, call):
        if entry is None or call not in self.used_by:
            return
        if self.policy in ("lru", "fifo"):
            self.move(entry)
        elif self.policy == "clock" or not entry[2]:
            entry[2] = True
        elif not entry[3]:
            entry[2:] = [False, True]
            self.move(entry)

    def evict(self):
        if self.policy == "clock":
            while self.entries[0][2]:
                self.entries[0][2] = False
                self.move(self.entries[0])
        while 2 * sum(entry[3] for entry in self.entries) > len(self.entries):
            oldest = next(entry for entry in self.entries if entry[3])
            oldest[3] = False
            self.move(oldest)
        victim = next(entry for entry in self.entries if not entry[3])
        self.entries.remove(victim)
        return victim[0]

    def insert(self, key, value):
        self.newest = key
        if not self.capacity:
            return
        if self.policy != "approximate" and len(self.entries) == self.capacity:
            self.evict()
        self.entries.append([key, value, False, False])

    def may_be_gone(self, key, absent):
        entry = self.find(key)
        if absent and entry is not None and self.policy == "approximate" and key != self.newest:
            self.entries.remove(entry)
            entry = None
        return entry

    def get(self, key):
        found = self.methods["get"](key)
        entry = self.may_be_gone(key, found is None)
        due = None if entry is None else entry[1]
        self.hits, self.misses = self.hits + (entry is not None), self.misses + (entry is None)
        assert found == due, f"get({key}) gives {found}, not {due}"
        self.use(entry, "get")

    def put(self, key, value):
        self.methods["put"](key, value)
        entry = self.find(key)
        if entry is None:
            self.insert(key, value)
            return
        self.newest = key
        entry[1] = value
        self.use(entry, "put")

    def call(self, key, value):
        before = self.memo.ran
        found = self.methods["call"](key, value)
        entry = self.find(key)
        due = value if entry is None else entry[1]
        self.hits, self.misses = self.hits + (entry is not None), self.misses + (entry is None)
        assert found == due, f"call({key}) gives {found}, not {due}"
        assert self.memo.ran - before == (entry is None), f"the function ran {self.memo.ran - before} times"
        if entry is None:
            self.insert(key, value)
        self.use(entry, "get")

    def delete(self, key):
        told = self.methods["delete"](key)
        entry = self.may_be_gone(key, told == 0)
        assert told in (None, int(entry is not None)), f"delete({key}) gives {told}"
        if entry is not None:
            self.entries.remove(entry)

    def contains(self, key):
        told = self.methods["contains"](key)
        entry = self.may_be_gone(key, not told)
        assert told == (entry is not None), f"contains({key}) gives {told}"
        self.use(entry, "contains")

    def length(self):
        self.length_is(self.methods["length"]())

    def length_is(self, found):
        assert found <= self.capacity, f"{found} entries, and the capacity is {self.capacity}"
        due = len(self.entries)
        assert found == due or (self.policy == "approximate" and 0 <= found < due), f"{found} entries, not {due}"

    def pop(self):
        found, due = self.methods["pop"](), self.evict() if self.entries else None
        assert found == due, f"pop() takes {found}, not {due}"

    def resize(self, capacity):
        self.methods["resize"](capacity)
        self.capacity = capacity
        while self.policy != "approximate" and len(self.entries) > capacity:
            self.evict()

    def clear(self):
        self.methods["clear"]()
        self.entries, self.hits, self.misses, self.newest = [], 0, 0, None

    def statistics(self):
        found = self.methods["statistics"]()
        due = [self.hits, self.misses, self.capacity]
        for number, right in zip(found, due):
            assert number in (-1, right), f"[hits, misses, capacity] = {found[:3]}, not {due}"
        if found[3] != -1:
            self.length_is(found[3])

    def keys(self):
        found, due = self.methods["keys"](), [entry[0] for entry in self.entries]
        order = DECLARED["keys_order"]
        if self.policy == "approximate":
            due = [key for key in due if key in found or key == self.newest]
            self.entries = [entry for entry in self.entries if entry[0] in due]
        if order == "any":
            found, due = sorted(found), sorted(due)
        assert found == (due[::-1] if order == "newest first" else due), f"keys() gives {found}, not {due}"
'''

TAKEN_ALONG: tuple[Any, ...] = (is_cache, cache_methods, looked_up, removed, popped, Memo)
PYTHON_CHECKS = "\n\n".join(["from typing import Any\n", *(getsource(thing) for thing in TAKEN_ALONG)]) + REFERENCE
