"""A naive breadth-first search of the buddy machine: the third, slowest and plainest count of its states.

The one idea: a representation that shares nothing with the checker's model nor with `buddy.pml`. A state is a pair
(free lists, held blocks): for each order a tuple of head frames in list order, and a sorted tuple of (frame, order).
Flags, orders, links, counters and reference counts do not exist here; in the machine they follow from these two.
Models: Linux 6.1 mm/page_alloc.c (`__rmqueue_smallest`, `expand`, `__free_one_page`, `buddy_merge_likely`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

State = tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, int], ...]]


@dataclass(frozen=True)
class Geometry:
    """A zone of `pages` frames from frame `start`, with orders 0..orders-1."""

    pages: int
    orders: int
    start: int = 0

    def contains(self, frame: int) -> bool:
        return self.start <= frame < self.start + self.pages


@dataclass(frozen=True)
class Count:
    """States, steps that change the state or not (every enabled action of every state), and the longest distance."""

    states: int
    transitions: int
    depth: int


def boot_blocks(geometry: Geometry) -> Iterator[tuple[int, int]]:
    """The (frame, order) blocks memblock hands over, largest aligned block first, in address order."""
    frame, end = geometry.start, geometry.start + geometry.pages
    while frame < end:
        order = geometry.orders - 1
        while frame % (1 << order) or frame + (1 << order) > end:
            order -= 1
        yield frame, order
        frame += 1 << order


def insert_block(geometry: Geometry, lists: list[list[int]], frame: int, order: int, to_tail: bool) -> None:
    """`__free_one_page` on lists of frames."""
    while order < geometry.orders - 1 and frame ^ (1 << order) in lists[order]:
        lists[order].remove(frame ^ (1 << order))
        frame &= ~(1 << order)
        order += 1
    if not to_tail and order < geometry.orders - 2:
        higher = frame & ~(1 << order)
        to_tail = higher ^ (2 << order) in lists[order + 1]
    if to_tail:
        lists[order].append(frame)
    else:
        lists[order].insert(0, frame)


def initial_state(geometry: Geometry) -> State:
    lists: list[list[int]] = [[] for _ in range(geometry.orders)]
    for frame, order in boot_blocks(geometry):
        insert_block(geometry, lists, frame, order, True)
    return tuple(map(tuple, lists)), ()


def allocate(state: State, wanted: int) -> State:
    """alloc_pages: the same state when no block is large enough."""
    lists, held = [list(frames) for frames in state[0]], dict(state[1])
    order = next((order for order in range(wanted, len(lists)) if lists[order]), None)
    if order is None:
        return state
    frame = lists[order].pop(0)
    while order > wanted:
        order -= 1
        lists[order].insert(0, frame + (1 << order))
    held[frame] = wanted
    return tuple(map(tuple, lists)), tuple(sorted(held.items()))


def free(geometry: Geometry, state: State, frame: int) -> State:
    lists, held = [list(frames) for frames in state[0]], dict(state[1])
    insert_block(geometry, lists, frame, held.pop(frame), False)
    return tuple(map(tuple, lists)), tuple(sorted(held.items()))


def successors(geometry: Geometry, state: State) -> Iterator[State]:
    for order in range(geometry.orders):
        yield allocate(state, order)
    for frame, _ in state[1]:
        yield free(geometry, state, frame)


def check_cover(geometry: Geometry, state: State) -> None:
    """Free and held blocks are aligned, disjoint and cover exactly the zone."""
    blocks = [(frame, order) for order, frames in enumerate(state[0]) for frame in frames] + list(state[1])
    frames = sorted(inner for frame, order in blocks for inner in range(frame, frame + (1 << order)))
    assert frames == list(range(geometry.start, geometry.start + geometry.pages)), state
    assert all(frame % (1 << order) == 0 for frame, order in blocks), state


def search(geometry: Geometry) -> Count:
    """All reachable states."""
    level = [initial_state(geometry)]
    seen, transitions, depth = set(level), 0, 0
    while level:
        following = []
        for state in level:
            check_cover(geometry, state)
            for successor in successors(geometry, state):
                transitions += 1
                if successor not in seen:
                    seen.add(successor)
                    following.append(successor)
        depth += bool(following)
        level = following
    return Count(len(seen), transitions, depth)


if __name__ == "__main__":
    print(search(Geometry(*map(int, sys.argv[1:]))))
