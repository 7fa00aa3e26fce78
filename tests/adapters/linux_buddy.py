"""A buddy allocator that takes the blocks that Linux 6.1 takes, written from the kernel's rules and not from the model;
and two that take others: all that the contract page-allocator without `choice` cannot tell apart."""

from __future__ import annotations

from collections import deque


class LinuxBuddy:
    """Lists of free blocks: the head is taken; what is freed goes to the head, or to the tail if it may merge soon."""

    declares = {"choice": "linux"}  # noqa: RUF012

    def __init__(self, pages: int, orders: int) -> None:
        self.lists: list[deque[int]] = [deque() for _ in range(orders)]
        page = 0
        while page < pages:
            order = orders - 1
            while page % (1 << order) or page + (1 << order) > pages:
                order -= 1
            self.give(page, order, boot=True)
            page += 1 << order

    def alloc(self, order: int) -> int | None:
        larger = next((size for size in range(order, len(self.lists)) if self.lists[size]), None)
        if larger is None:
            return None
        page = self.lists[larger].popleft()
        while larger > order:
            larger -= 1
            self.lists[larger].appendleft(page + (1 << larger))
        return page

    def free(self, page: int, order: int) -> None:
        self.give(page, order, boot=False)

    def give(self, page: int, order: int, boot: bool) -> None:
        top = len(self.lists) - 1
        while order < top and page ^ (1 << order) in self.lists[order]:
            self.lists[order].remove(page ^ (1 << order))
            page &= ~(1 << order)
            order += 1
        if boot or self.may_merge_soon(page, order):
            self.lists[order].append(page)
        else:
            self.lists[order].appendleft(page)

    def may_merge_soon(self, page: int, order: int) -> bool:
        """Whether the block that this one and its buddy would make has a free buddy."""
        if order >= len(self.lists) - 2:
            return False
        return (page & ~(1 << order)) ^ (2 << order) in self.lists[order + 1]


class NeverToTheTail(LinuxBuddy):
    """Freed blocks always go to the head, as before Linux 2.6.35."""

    def may_merge_soon(self, page: int, order: int) -> bool:
        return False


class OldestFirst(LinuxBuddy):
    """A first-in, first-out order of free blocks."""

    def give(self, page: int, order: int, boot: bool) -> None:
        super().give(page, order, boot=True)
