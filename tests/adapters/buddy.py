"""A buddy allocator in forty lines, and all that `kmemspec validate page-allocator buddy.py:Buddy` needs."""

from __future__ import annotations


class Buddy:
    """Blocks of 2**order pages out of any number of pages; freed buddies merge at once."""

    def __init__(self, pages: int, orders: int) -> None:
        self.pages = pages
        self.free_blocks: list[set[int]] = [set() for _ in range(orders)]
        page = 0
        while page < pages:
            order = orders - 1
            while page % (1 << order) or page + (1 << order) > pages:
                order -= 1
            self.free_blocks[order].add(page)
            page += 1 << order

    def alloc(self, order: int) -> int | None:
        """The first page of 2**order contiguous pages, or None."""
        for larger in range(order, len(self.free_blocks)):
            if self.free_blocks[larger]:
                page = min(self.free_blocks[larger])
                self.free_blocks[larger].remove(page)
                while larger > order:
                    larger -= 1
                    self.free_blocks[larger].add(page + (1 << larger))
                return page
        return None

    def free(self, page: int, order: int) -> None:
        """Give a block back and merge it with its buddy as long as that is free too."""
        while order < len(self.free_blocks) - 1 and page ^ (1 << order) in self.free_blocks[order]:
            self.free_blocks[order].remove(page ^ (1 << order))
            page &= ~(1 << order)
            order += 1
        self.free_blocks[order].add(page)
