"""Allocators of pages, of objects and of bytes that say what a misuse does, and the same with one thing wrong each."""

from buddy import Buddy
from slabs import Plain

ALL_REJECTED = {"free_null": "rejected", "double_free": "rejected", "foreign_free": "rejected"}
ALL_IGNORED = dict.fromkeys(ALL_REJECTED, "ignored")


class Careful(Buddy):
    """Refuses to free what is not live."""

    declares = ALL_REJECTED

    def __init__(self, pages, orders):
        super().__init__(pages, orders)
        self.live = {}

    def alloc(self, order):
        page = super().alloc(order)
        if page is not None:
            self.live[page] = order
        return page

    def free(self, page, order):
        if self.wrong(page):
            raise ValueError(f"{page} is not live")
        self.live.pop(page, None)
        super().free(page, order)

    def wrong(self, page):
        return page not in self.live


class Forgiving(Careful):
    """Does nothing about what is not live."""

    declares = ALL_IGNORED

    def free(self, page, order):
        if page in self.live:
            super().free(page, order)


class AcceptsDouble(Careful):
    def wrong(self, page):
        return page is None or not 0 <= page < self.pages


class AcceptsForeign(Careful):
    def free(self, page, order):
        if page is None or page in range(self.pages):
            super().free(page, order)


class AcceptsNull(Careful):
    def free(self, page, order):
        if page is not None:
            super().free(page, order)


class SaysIgnored(Careful):
    declares = ALL_IGNORED


class Mangles(Forgiving):
    """Ignores, it says, yet what is freed twice is free twice."""

    def free(self, page, order):
        if page in self.live:
            del self.live[page]
        if page in range(self.pages):
            self.free_blocks[order].add(page)


class CarefulObjects(Plain):
    declares = ALL_REJECTED

    def __init__(self, slabs, slots):
        super().__init__(slabs, slots)
        self.all = set(self.left)

    def free(self, number):
        if number not in self.all or number in self.left:
            return False
        super().free(number)
        return None


class TwiceFreeObjects(CarefulObjects):
    def free(self, number):
        if number not in self.all:
            raise ValueError(number)
        self.left.append(number)


class CarefulBytes:
    """A heap over offsets of units of 16 bytes, first fit."""

    declares = {**ALL_REJECTED, "free_null": "ignored", "arena": 1024, "zero_size": "null"}  # noqa: RUF012

    def __init__(self, arena):
        self.units, self.sizes = [False] * (arena // 16), {}

    def malloc(self, size):
        need = (size + 15) // 16
        for at in range(len(self.units) - need + 1) if need else ():
            if not any(self.units[at : at + need]):
                self.units[at : at + need] = [True] * need
                self.sizes[at * 16] = need
                return at * 16
        return None

    def free(self, at):
        if at is None:
            return
        need = self.sizes.pop(at)
        self.units[at // 16 : at // 16 + need] = [False] * need


class TwiceFreeBytes(CarefulBytes):
    def free(self, at):
        if at is not None and self.units[at // 16]:
            super().free(at)
        elif at == -1:
            raise ValueError(at)
