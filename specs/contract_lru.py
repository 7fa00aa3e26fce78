"""What a cache of fixed capacity does: exact LRU, FIFO, CLOCK or two lists, to the entry that is evicted.

The one idea: the entries stand in one queue, the next victim first. An exact LRU moves what is used to the end; a FIFO
moves nothing; CLOCK turns the head of the queue over to its end as long as it was used (second chance); two lists are
two sub-sequences of the queue, and a second use makes an entry active, as mark_page_accessed() does, until the active
ones outnumber the inactive (inactive_is_low()). Which calls count as a use is declared, by the scope.

The exact order is stated a second time, apart from the queue, by a matrix of which key was used before which
(U4, U5): the LRU matrix of hardware caches. `kmemspec validate lru` runs this machine beside an implementation.
"""

from __future__ import annotations

from typing import Annotated

from ..model.lang import (
    GHOST,
    Array,
    Clauses,
    FromScope,
    Machine,
    Parameter,
    Range,
    Record,
    Requirement,
    Sort,
    Spec,
    action,
    bounded,
    choose,
    clause,
    indices,
    invariant,
    require,
    step_property,
)

ORDER = 0
"""LRU or FIFO: the first of the queue goes; what moves to its end is declared."""
CLOCK = 1
TWO_LIST = 2
APPROXIMATE = 3
"""Any entry but the one put last may go at any time."""

Key = Annotated[int, Sort("key", "keys")]
Place = Annotated[int, Sort("place", "keys")]
Value = Annotated[int, Range(0, "values-1")]
Capacity = Annotated[int, Range("capacity_least", "capacity_most")]
Count = Annotated[int, Machine("count_bits")]


class Entry(Record):
    """What is known of one key: its value if it is present, and how it was used."""

    value: Value | None
    referenced: bool
    active: bool


class Cache(Record):
    """A cache; `newest` is the key that was put last into an approximate one, if it was not deleted since."""

    policy: Annotated[int, FromScope("policy")]
    get_is_use: Annotated[int, FromScope("get_is_use")]
    put_is_use: Annotated[int, FromScope("put_is_use")]
    contains_is_use: Annotated[int, FromScope("contains_is_use")]
    counting: Annotated[int, FromScope("counting")]
    capacity_least: Annotated[int, FromScope("capacity_least")]
    capacity_most: Annotated[int, FromScope("capacity_most")]
    capacity: Capacity
    length: Annotated[int, Range(0, "keys")]
    queue: Array[Place, Key | None]
    entry: Array[Key, Entry]
    newest: Key | None
    hits: Count
    misses: Count
    earlier: Annotated[Array[Key, Array[Key, bool]], GHOST]  # [a][b]: both are present, and a was used before b


def empty_cache(m: Cache) -> None:
    """A new cache of any capacity."""
    m.capacity = choose(range(m.capacity_least, m.capacity_most + 1))


# --- the queue


@bounded("keys")
def take_out(m: Cache, key: Key) -> None:
    """Take a key out of the queue; those behind it move up."""
    place = 0
    while m.queue[place] != key:
        place += 1
    for following in range(place + 1, m.length):
        m.queue[following - 1] = m.queue[following]
    m.length -= 1
    m.queue[m.length] = None


def put_last(m: Cache, key: Key) -> None:
    """Put a key that is not in the queue at its end."""
    m.queue[m.length] = key
    m.length += 1


def to_end(m: Cache, key: Key) -> None:
    """Move a key to the end of the queue: it will be the last to go."""
    take_out(m, key)
    put_last(m, key)
    note_use(m, key)


def note_use(m: Cache, key: Key) -> None:
    """Ghost: every other key was used before this one."""
    for other in indices(m.entry):
        m.earlier[key][other] = False
        m.earlier[other][key] = other != key and m.entry[other].value is not None


# --- entries


def is_present(m: Cache, key: Key) -> bool:
    """Whether a key has a value."""
    return m.entry[key].value is not None


def remove(m: Cache, key: Key) -> None:
    """A key and its value go."""
    take_out(m, key)
    entry = m.entry[key]
    entry.value = None
    entry.referenced = False
    entry.active = False
    if m.newest == key:
        m.newest = None
    for other in indices(m.entry):
        m.earlier[key][other] = False
        m.earlier[other][key] = False


def use(m: Cache, key: Key) -> None:
    """A present key is used, by a call that counts as a use."""
    entry = m.entry[key]
    if m.policy == ORDER:
        to_end(m, key)
    elif m.policy == CLOCK:
        entry.referenced = True
    elif m.policy == TWO_LIST:
        if not entry.referenced:
            entry.referenced = True
        elif not entry.active:
            entry.active = True
            entry.referenced = False
            to_end(m, key)


def count_active(m: Cache) -> int:
    """How many entries are on the active list."""
    return sum(1 for key in indices(m.entry) if m.entry[key].active)


@bounded("keys")
def first_of_list(m: Cache, active: bool) -> Key | None:
    """The first in the queue of those that are active, or of those that are not."""
    for place in range(0, m.length):
        key = m.queue[place]
        if key is not None and m.entry[key].active == active:
            return key
    return None


@bounded("keys+1")
def next_victim(m: Cache) -> Key | None:
    """The key that goes next; the entries that get a second chance on the way to it have had it."""
    if m.policy == CLOCK:
        first = m.queue[0]
        while first is not None and m.entry[first].referenced:
            m.entry[first].referenced = False
            to_end(m, first)
            first = m.queue[0]
        return first
    if m.policy == TWO_LIST:
        while m.length - count_active(m) < count_active(m):
            oldest = first_of_list(m, True)
            if oldest is not None:
                m.entry[oldest].active = False
                to_end(m, oldest)
        return first_of_list(m, False)
    return m.queue[0]


def evict(m: Cache) -> Key | None:
    """The next victim goes; None if there is nothing."""
    victim = next_victim(m)
    if victim is not None:
        remove(m, victim)
    return victim


def count(m: Cache, hit: bool) -> None:
    """One more hit or miss, where they are counted."""
    if m.counting != 0:
        if hit:
            m.hits += 1
        else:
            m.misses += 1


def note_newest(m: Cache, key: Key) -> None:
    """An approximate cache keeps this one for now."""
    if m.policy == APPROXIMATE:
        m.newest = key


def insert(m: Cache, key: Key, value: Value) -> Key | None:
    """A key that is absent is put; gives the key that had to go."""
    if m.capacity == 0:
        return None
    evicted: Key | None = None
    if m.policy != APPROXIMATE and m.length == m.capacity:
        evicted = evict(m)
    m.entry[key].value = value
    put_last(m, key)
    note_use(m, key)
    note_newest(m, key)
    return evicted


# --- what a client calls


@action
def get(m: Cache, key: Key) -> Value | None:
    """The value of a key, None if it is absent."""
    value = m.entry[key].value
    count(m, value is not None)
    if value is not None and m.get_is_use != 0:
        use(m, key)
    return value


@action
def put(m: Cache, key: Key, value: Value) -> Key | None:
    """A key gets a value; gives the key that was evicted for it, never for one that is present."""
    if not is_present(m, key):
        return insert(m, key, value)
    m.entry[key].value = value
    note_newest(m, key)
    if m.put_is_use != 0:
        use(m, key)
    return None


@action
def call(m: Cache, key: Key, value: Value) -> Value:
    """A memoised function is called with a key: the value that is kept, else the one that the function gives now."""
    kept = m.entry[key].value
    count(m, kept is not None)
    if kept is None:
        insert(m, key, value)
        return value
    if m.get_is_use != 0:
        use(m, key)
    return kept


@action
def delete(m: Cache, key: Key) -> bool:
    """A key goes; was it present?"""
    present = is_present(m, key)
    if present:
        remove(m, key)
    return present


@action
def contains(m: Cache, key: Key) -> bool:
    """Is a key present?"""
    present = is_present(m, key)
    if present and m.contains_is_use != 0:
        use(m, key)
    return present


@action
def pop(m: Cache) -> Key | None:
    """The next victim is taken out; None if the cache is empty."""
    require(m.policy != APPROXIMATE)
    return evict(m)


@action
@bounded("keys")
def resize(m: Cache, capacity: Capacity) -> None:
    """The capacity changes; what no longer fits goes, in the order of eviction."""
    m.capacity = capacity
    if m.policy != APPROXIMATE:
        while m.length > capacity:
            evict(m)


@action
def clear(m: Cache) -> None:
    """Everything goes, and the counts begin again."""
    for key in indices(m.entry):
        if is_present(m, key):
            remove(m, key)
    m.hits = 0
    m.misses = 0


@action
def drop(m: Cache, key: Key) -> None:
    """An approximate cache lets an entry go of itself, not the one put last."""
    require(m.policy == APPROXIMATE)
    require(is_present(m, key))
    require(m.newest != key)
    remove(m, key)


# --- what must hold


@invariant("U1")
def capacity_is_kept(m: Cache) -> bool:
    """There are never more entries than the capacity (of an approximate cache: it may have any of those it has)."""
    return m.policy == APPROXIMATE or m.length <= m.capacity


@invariant("U2")
def the_queue_is_of_what_is_present(m: Cache) -> Clauses:
    """The queue has every present key once, from its first place on, and nothing else."""
    for place in indices(m.queue):
        queued = m.queue[place]
        yield clause("the first places are taken", (queued is not None) == (place < m.length), place)
        if queued is not None:
            yield clause("a queued key has a value", is_present(m, queued), place)
    for key in indices(m.entry):
        places = sum(1 for place in indices(m.queue) if m.queue[place] == key)
        yield clause("a key stands at most once, if it has a value", places == (1 if is_present(m, key) else 0), key)


@invariant("U3", origin="PageReferenced, PageActive")
def marks_are_of_entries(m: Cache) -> Clauses:
    """Only what is present is marked, and only by the policies that use the marks; the newest is present."""
    for key in indices(m.entry):
        entry = m.entry[key]
        marked = m.policy == CLOCK or m.policy == TWO_LIST
        yield clause("what is referenced is present", not entry.referenced or (marked and is_present(m, key)), key)
        yield clause(
            "what is active is present", not entry.active or (m.policy == TWO_LIST and is_present(m, key)), key
        )
        yield clause("the newest is present", m.newest != key or is_present(m, key), key)


@invariant("U4", origin="the matrix of hardware LRU")
def the_queue_is_the_order_of_use(m: Cache) -> Clauses:
    """Of two entries the one that stands first moved last before the other did."""
    for place in indices(m.queue):
        for later in indices(m.queue):
            first = m.queue[place]
            second = m.queue[later]
            if first is not None and second is not None:
                yield clause("first is earlier", m.earlier[first][second] == (place < later), place, later)
    for key in indices(m.entry):
        for other in indices(m.entry):
            both = is_present(m, key) and is_present(m, other)
            yield clause("only entries are ordered", both or not m.earlier[key][other], key, other)


@step_property("U5", action=put)
def a_put_evicts_the_least_recent(before: Cache, after: Cache, key: Key, result: Key | None) -> Clauses:
    """A put of a present key, or with room, evicts nothing; else an exact cache loses the entry used least recently."""
    if result is None:
        for other in indices(before.entry):
            kept = other == key or is_present(after, other) == is_present(before, other)
            yield clause("nothing else goes", kept, other)
        return
    yield clause("a put of a present key evicts nothing", not is_present(before, key), key)
    yield clause("nothing goes while there is room", before.length == before.capacity)
    for other in indices(before.entry):
        if other != result and is_present(before, other):
            kept = is_present(after, other)
            yield clause("only one goes", kept, other)
            yield clause("it is the earliest", before.policy != ORDER or before.earlier[result][other], other)


@step_property("U6", action=put)
def a_put_stores(before: Cache, after: Cache, key: Key, value: Value) -> Clauses:
    """After a put the key has the value, and no other entry has another one."""
    yield clause("it is stored", before.capacity == 0 or after.entry[key].value == value, key)
    for other in indices(before.entry):
        same = after.entry[other].value == before.entry[other].value
        yield clause("other values stay", other == key or same or not is_present(after, other), other)


@step_property("U7", action=put)
def what_was_used_stays(before: Cache, after: Cache, result: Key | None) -> Clauses:
    """CLOCK: what goes was not used since the hand passed, or all were. Two lists: no active one goes while half of
    the entries are inactive."""
    if result is not None and before.policy == CLOCK:
        for other in indices(before.entry):
            spared = before.entry[other].referenced or not is_present(before, other)
            yield clause("the used ones stay", not before.entry[result].referenced or spared, other)
    if result is not None and before.policy == TWO_LIST and 2 * count_active(before) <= before.length:
        yield clause("an active one stays", not before.entry[result].active, result)


@step_property("U8", action=get)
def a_get_is_of_what_was_put(before: Cache, after: Cache, key: Key, result: Value | None) -> Clauses:
    """A get gives the value, and changes none."""
    yield clause("it is the value", result == before.entry[key].value, key)
    for other in indices(before.entry):
        yield clause("values stay", after.entry[other].value == before.entry[other].value, other)
    use_is_last = before.policy != ORDER or before.get_is_use == 0 or result is None
    for other in indices(before.entry):
        earlier = other == key or not is_present(after, other) or after.earlier[other][key]
        yield clause("what was used is last", use_is_last or earlier, other)


@step_property("U9", action=resize)
def a_resize_keeps_the_latest(before: Cache, after: Cache, capacity: Capacity) -> Clauses:
    """What fits stays; of an exact order what stays is later than what goes."""
    if before.policy != APPROXIMATE:
        yield clause("as many as fit stay", after.length == min(before.length, capacity))
    for gone in indices(before.entry):
        for kept in indices(before.entry):
            if is_present(before, gone) and not is_present(after, gone) and is_present(after, kept):
                later = before.policy != ORDER or before.earlier[gone][kept]
                yield clause("the earlier go", later, gone, kept)


SPEC = Spec(
    name="contract-lru",
    state=Cache,
    init=empty_cache,
    actions=(get, put, call, delete, contains, pop, resize, clear, drop),
    properties=(
        capacity_is_kept,
        the_queue_is_of_what_is_present,
        marks_are_of_entries,
        the_queue_is_the_order_of_use,
        a_put_evicts_the_least_recent,
        a_put_stores,
        what_was_used_stays,
        a_get_is_of_what_was_put,
        a_resize_keeps_the_latest,
    ),
    parameters=(
        Parameter("keys", 3, "the number of keys"),
        Parameter("values", 2, "the number of values"),
        Parameter("capacity_least", 1, "the smallest capacity", least=0),
        Parameter("capacity_most", 3, "the largest capacity", least=0),
        Parameter("policy", ORDER, "0: a queue (LRU, FIFO), 1: CLOCK, 2: two lists, 3: approximate", least=0, most=3),
        Parameter("get_is_use", 1, "whether a hit counts as a use", least=0, most=1),
        Parameter("put_is_use", 1, "whether a put of a present key counts as a use", least=0, most=1),
        Parameter("contains_is_use", 0, "whether a test for presence counts as a use", least=0, most=1),
        Parameter("counting", 1, "whether hits and misses are counted", least=0, most=1),
        Parameter("count_bits", 1, "the width of the counts", least=1, most=64),
    ),
    requirements=(
        Requirement(lambda sizes: sizes["capacity_least"] <= sizes["capacity_most"], "capacity_least <= capacity_most"),
    ),
    scopes={
        "fifo": {"get_is_use": 0, "put_is_use": 0},
        "clock": {"policy": CLOCK},
        "two_list": {"policy": TWO_LIST, "keys": 4, "values": 1, "counting": 0},
        "approximate": {"policy": APPROXIMATE},
    },
    explored=("fifo", "clock", "two_list", "approximate"),
    doc=__doc__,
)
