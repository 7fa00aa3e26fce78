"""Caches of every policy, written as their users write them, and the same with one thing wrong each."""

from collections import OrderedDict, namedtuple


class Lru:
    """Exact LRU over an ordered dictionary, the oldest first."""

    declares = {"keys_order": "oldest first", "pops_victim": True}  # noqa: RUF012

    def __init__(self, capacity):
        if capacity < 1:
            raise ValueError("a capacity is positive")
        self.capacity, self.entries, self.hits, self.misses = capacity, OrderedDict(), 0, 0

    def __setitem__(self, key, value):
        if key not in self.entries and len(self.entries) >= self.capacity:
            self.popitem()
        self.entries[key] = value
        self.entries.move_to_end(key)

    def __getitem__(self, key):
        if key not in self.entries:
            self.misses += 1
            raise KeyError(key)
        self.hits += 1
        self.entries.move_to_end(key)
        return self.entries[key]

    def __delitem__(self, key):
        del self.entries[key]

    def __contains__(self, key):
        return key in self.entries

    def __len__(self):
        return len(self.entries)

    def keys(self):
        return list(self.entries)

    def popitem(self):
        return self.entries.popitem(last=False)

    def resize(self, capacity):
        self.capacity = capacity
        while len(self.entries) > capacity:
            self.popitem()

    def clear(self):
        self.entries.clear()
        self.hits = self.misses = 0

    def statistics(self):
        return self.hits, self.misses, self.capacity, len(self.entries)


class Fifo:
    """get and put, -1 for what is absent; nothing counts as a use."""

    declares = {"policy": "fifo", "least_capacity": 0}  # noqa: RUF012

    def __init__(self, capacity):
        self.capacity, self.entries = capacity, {}

    def get(self, key):
        return self.entries.get(key, -1)

    def put(self, key, value):
        if key in self.entries:
            self.entries[key] = value
        elif self.capacity:
            if len(self.entries) == self.capacity:
                del self.entries[next(iter(self.entries))]
            self.entries[key] = value

    def delete(self, key):
        return self.entries.pop(key, None) is not None


class Clock:
    """Second chance: a ring as a list, the hand at its beginning."""

    declares = {"policy": "clock"}  # noqa: RUF012

    def __init__(self, capacity):
        self.capacity, self.ring, self.values, self.used = capacity, [], {}, set()

    def get(self, key):
        if key in self.values:
            self.used.add(key)
        return self.values.get(key)

    def put(self, key, value):
        if key in self.values:
            self.used.add(key)
        else:
            if len(self.ring) == self.capacity:
                self.evict()
            self.ring.append(key)
        self.values[key] = value

    def evict(self):
        while self.ring[0] in self.used:
            self.used.remove(self.ring[0])
            self.ring.append(self.ring.pop(0))
        del self.values[self.ring.pop(0)]

    def remove(self, key):
        present = key in self.values
        if present:
            self.ring.remove(key)
            self.used.discard(key)
            del self.values[key]
        return present


class TwoList:
    """An active and an inactive list: the second use activates, the active are never more than half."""

    declares = {"policy": "two-list"}  # noqa: RUF012

    def __init__(self, capacity):
        self.capacity, self.values, self.active, self.inactive, self.referenced = capacity, {}, [], [], set()

    def use(self, key):
        if key not in self.referenced:
            self.referenced.add(key)
        elif key in self.inactive:
            self.inactive.remove(key)
            self.referenced.remove(key)
            self.active.append(key)

    def get(self, key):
        if key in self.values:
            self.use(key)
        return self.values.get(key)

    def put(self, key, value):
        if key in self.values:
            self.use(key)
        else:
            if len(self.values) == self.capacity:
                self.evict()
            self.inactive.append(key)
        self.values[key] = value

    def evict(self):
        while len(self.inactive) < len(self.active):
            self.inactive.append(self.active.pop(0))
        victim = self.inactive.pop(0)
        self.referenced.discard(victim)
        del self.values[victim]


class Random:
    """Loses something, not what was put last; nobody knows what."""

    declares = {"policy": "approximate"}  # noqa: RUF012

    def __init__(self, capacity):
        self.capacity, self.entries = capacity, {}

    def get(self, key):
        return self.entries.get(key)

    def put(self, key, value):
        if key not in self.entries and len(self.entries) == self.capacity:
            del self.entries[sorted(self.entries, key=lambda key: key * 7 % 5)[0]]
        self.entries[key] = value

    def __len__(self):
        return len(self.entries)


CacheInfo = namedtuple("CacheInfo", "hits misses maxsize currsize")


def memoise(maxsize):
    """A decorator as functools.lru_cache is one."""

    def decorator(function):
        cache = Lru(maxsize)

        def wrapper(key):
            try:
                return cache[key]
            except KeyError:
                cache[key] = value = function(key)
                return value

        wrapper.cache_info = lambda: CacheInfo(cache.hits, cache.misses, maxsize, len(cache))
        wrapper.cache_clear = cache.clear
        return wrapper

    return decorator


def memoise_carelessly(maxsize):
    """The function is called on a hit too, and the result dropped."""

    def decorator(function):
        cached = memoise(maxsize)(function)

        def wrapper(key):
            hits = cached.cache_info().hits
            value = cached(key)
            if cached.cache_info().hits > hits:
                function(key)
            return value

        return wrapper

    return decorator


class KeepsOldValue(Lru):
    def __setitem__(self, key, value):
        super().__setitem__(key, self.entries.get(key, value))


class Invents(Lru):
    def __getitem__(self, key):
        return super().__getitem__(key) if key in self.entries else 7


class OneTooMany(Lru):
    def __setitem__(self, key, value):
        if key not in self.entries and len(self.entries) > self.capacity:
            self.popitem()
        self.entries[key] = value
        self.entries.move_to_end(key)


class PutEvicts(Lru):
    def __setitem__(self, key, value):
        if len(self.entries) >= self.capacity:
            self.popitem()
        super().__setitem__(key, value)


class GetIsNoUse(Lru):
    def __getitem__(self, key):
        if key in self.entries:
            self.hits += 1
            return self.entries[key]
        return super().__getitem__(key)


class ContainsIsUse(Lru):
    def __contains__(self, key):
        if key in self.entries:
            self.entries.move_to_end(key)
        return key in self.entries


class EvictsNewest(Lru):
    def popitem(self):
        return self.entries.popitem()


class DeleteKeeps(Lru):
    def __delitem__(self, key):
        self.entries[key]


class DeleteTakesOldest(Lru):
    def __delitem__(self, key):
        self.entries[key]
        del self.entries[next(iter(self.entries))]


class ResizeDropsNewest(Lru):
    def resize(self, capacity):
        self.capacity = capacity
        while len(self.entries) > capacity:
            self.entries.popitem()


class ResizeKeepsAll(Lru):
    def resize(self, capacity):
        self.capacity = capacity


class ClearKeepsOne(Lru):
    def clear(self):
        while len(self.entries) > 1:
            self.popitem()
        self.hits = self.misses = 0


class Miscounts(Lru):
    def __len__(self):
        return max(0, len(self.entries) - 1) if len(self.entries) == self.capacity else len(self.entries)


class CountsContains(Lru):
    def __contains__(self, key):
        self.hits += key in self.entries
        return key in self.entries


class ListsNewestFirst(Lru):
    def keys(self):
        return list(self.entries)[::-1]


class ForgetsHand(Clock):
    def evict(self):
        victim = next((key for key in self.ring if key not in self.used), self.ring[0])
        self.used.clear()
        self.ring.remove(victim)
        del self.values[victim]


class ActivatesAtOnce(TwoList):
    def use(self, key):
        self.referenced.add(key)
        super().use(key)


class LosesNewest(Random):
    def put(self, key, value):
        super().put(key, value)
        if len(self.entries) == self.capacity and self.capacity > 1:
            del self.entries[key]
