"""Allocators with one thing wrong each, for the tests: every one must become a finding, none may end the checker."""

import ctypes
import os
import random
import sys
import time

from buddy import Buddy


class Aborts(Buddy):
    def free(self, page, order):
        os.abort()


class Segfaults(Buddy):
    def alloc(self, order):
        if sum(map(len, self.free_blocks)) > 1:
            ctypes.string_at(16)
        return super().alloc(order)


class Hangs(Buddy):
    def alloc(self, order):
        page = super().alloc(order)
        while page is None:
            time.sleep(0.05)
        return page


class Rubbish(Buddy):
    def alloc(self, order):
        page = super().alloc(order)
        return "page" if page is None else page


class Fraction(Buddy):
    def alloc(self, order):
        page = super().alloc(order)
        return page and page / 1


class Huge(Buddy):
    def alloc(self, order):
        page = super().alloc(order)
        return 10**100_000 if page else page


class Negative(Buddy):
    def alloc(self, order):
        page = super().alloc(order)
        return -1 if page is None else page


class HostileText(Buddy):
    class Page:
        def __repr__(self):
            raise SystemExit(0)

        __str__ = __repr__

    def alloc(self, order):
        return self.Page()


class Prints(Buddy):
    def alloc(self, order):
        print('[0, "value", 99]' * 100)
        sys.stderr.write("noise\n" * 50)
        return super().alloc(order)


class Raises(Buddy):
    def free(self, page, order):
        if order:
            raise KeyError(page)
        super().free(page, order)


class Misaligned(Buddy):
    def alloc(self, order):
        page = super().alloc(order)
        return page + 1 if page is not None and order == 1 and page + 2 < self.pages else page


class Overlaps(Buddy):
    def free(self, page, order):
        super().free(page, order)
        if order == 1:
            self.free_blocks[0].add(page)


class NeverMerges(Buddy):
    def free(self, page, order):
        self.free_blocks[order].add(page)


class MergesAnyOrder(Buddy):
    def free(self, page, order):
        while order < len(self.free_blocks) - 1 and any(page ^ (1 << order) in blocks for blocks in self.free_blocks):
            for blocks in self.free_blocks:
                blocks.discard(page ^ (1 << order))
            page &= ~(1 << order)
            order += 1
        self.free_blocks[order].add(page)


class Leaks(Buddy):
    def free(self, page, order):
        super().free(page, 0)


class Exits(Buddy):
    def free(self, page, order):
        os._exit(0)


class SysExits(Buddy):
    def free(self, page, order):
        sys.exit(0)


class ClosesDescriptors(Buddy):
    def free(self, page, order):
        os.closerange(0, 1024)


class Forks(Buddy):
    def free(self, page, order):
        os.fork()


class ForksAndSleeps(Buddy):
    def free(self, page, order):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        super().free(page, order)


class KillsItsParent(Buddy):
    def free(self, page, order):
        os.kill(os.getppid(), 9)


class WritesToThePipe(Buddy):
    def free(self, page, order):
        for descriptor in range(3, 1024):
            try:
                os.write(descriptor, b"\xff garbage {\n")
            except OSError:
                continue


class EatsMemory(Buddy):
    def free(self, page, order):
        self.hoard = bytearray(1 << 40)


class RaisesAtOnce:
    def __init__(self, pages, orders):
        raise OSError("no arena")

    alloc = free = None


class OnlyPowersOfTwo(Buddy):
    def __init__(self, pages, orders):
        if pages & (pages - 1):
            raise ValueError("pages must be a power of two")
        super().__init__(pages, orders)


class Moody(Buddy):
    def alloc(self, order):
        return super().alloc(order) if random.SystemRandom().random() < 0.98 else None


class FreeTakesThePage(Buddy):
    def __init__(self, pages, orders):
        super().__init__(pages, orders)
        self.order_of = {}

    def alloc(self, order):
        page = super().alloc(order)
        self.order_of[page] = order
        return page

    def free(self, page):
        super().free(page, self.order_of.pop(page))
