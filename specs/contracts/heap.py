"""The heap contract put together: its Python adapters, over offsets or over real memory, and its interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .arena import Arena, make_arena
from .contract import Declared
from .heap_oracle import CONTRACT, requested
from .heap_sequences import HeapWorkload
from .heap_walks import WalkedHeap
from .interface import Interface, Scope
from .memory import Memory
from .misuse import MISUSE_CHECKS
from .python_class import MethodAdapter, constructed, methods_of
from .results import ValidateOptions
from .sequences import Operation

METHODS = ("malloc", "free")


class MemoryMethods(MethodAdapter):
    """A Python class over real memory: what it returns is filled and checked like a C heap's blocks."""

    def __init__(self, methods: Mapping[str, Any], scope: Mapping[str, int], arena: Arena | None) -> None:
        super().__init__(CONTRACT, methods, scope, 0 if arena is None else arena.address)
        self.arena = arena
        self.memory = Memory(arena)

    def perform(self, index: int, kind: str, block: int | None, arguments: list[int], say: Callable[..., None]) -> None:
        """Make one call, say where the block lies, then use the memory."""
        values: list[int] = []

        def located(tag: str, *rest: Any) -> None:
            if tag == "value" and type(rest[0]) is int:
                values.append(rest[0])
                rest = (rest[0] - self.base,)
            say(tag, *rest)

        if kind == "free" and block is not None:
            self.memory.gone(block)
        super().perform(index, kind, block, arguments, located)
        for address in values:
            size = requested(Operation(kind, block, tuple(arguments)))
            if block is None:
                self.memory.made(index, address, size, kind == "calloc", say)
            else:
                self.memory.moved(index, block, address, size, say)
        self.memory.check_all(say)


def adapt(factory: Any, scope: dict[str, int], declared: Declared) -> MethodAdapter:
    """In the child: a fresh heap, over offsets or over memory, and those of its methods that the contract knows."""
    arena = make_arena({"garbage": 1, **scope}, 0, 64) if declared["memory"] else None
    given = [] if "arena" not in scope else [scope["arena"] if arena is None else arena]
    methods = methods_of(CONTRACT, constructed(CONTRACT, factory, *given), METHODS)
    return MemoryMethods(methods, scope, arena) if declared["memory"] else MethodAdapter(CONTRACT, methods, scope)


PYTHON_CHECKS = f"{MISUSE_CHECKS}\n" + '''
class Checked(Misuses):
    """Calls a heap over offsets and checks each answer against what is live."""

    def __init__(self):
        self.arena = SCOPE.get("arena", 0)
        self.target, self.live, self.places = make()(*([self.arena] if self.arena else [])), {}, {}
        self.number = 0

    def place(self, block):
        return self.places.get(block, block)

    def made(self, name, at, size):
        if at is None:
            return None
        assert not self.arena or 0 <= at <= self.arena - size, f"a block of {size} at {at}, out of bounds"
        assert size == 0 or at % DECLARED["alignment" if size >= DECLARED["alignment"] else "small_alignment"] == 0
        for other, (start, length) in self.live.items():
            overlaps = at < start + max(length, 1) and start < at + max(size, 1)
            assert other == name or not overlaps, f"a block of {size} at {at} overlaps the one at {start}"
        self.live[name], self.places[name] = (at, size), at
        return name

    def malloc(self, size):
        self.number += 1
        return self.made(self.number, self.target.malloc(size), size)

    def calloc(self, count, size):
        self.number += 1
        return self.made(self.number, self.target.calloc(count, size), count * size)

    def aligned_alloc(self, alignment, size):
        self.number += 1
        at = self.target.aligned_alloc(alignment, size)
        assert at is None or at % alignment == 0, f"{at} is no multiple of {alignment}"
        return self.made(self.number, at, size)

    def realloc(self, name, size):
        if name is not None:
            self.made(name, self.target.realloc(self.live[name][0], size), size)

    def free(self, name):
        if name is not None:
            self.target.free(self.live.pop(name)[0])

'''

def walked_heap(options: ValidateOptions, declared: Declared) -> WalkedHeap:
    """What is tried, and walks over the contract's graph."""
    inner = HeapWorkload(options, declared)
    return WalkedHeap(inner, options.seed, inner.arena, options.skip)



def blocks_to_make(scope: Scope) -> tuple[Operation, ...]:
    """A small block, and one larger than most minima."""
    return tuple(Operation("malloc", None, (size,)) for size in (24, 200))


INTERFACE = Interface(
    contract=CONTRACT,
    workload=walked_heap,
    adapt=adapt,
    methods=METHODS,
    python_checks=PYTHON_CHECKS,
    makes=blocks_to_make,
    exports={
        "malloc": "malloc(size)",
        "free": "free(block)",
        "realloc": "realloc(block, size)",
        "calloc": "calloc(count, size)",
        "aligned_alloc": "aligned_alloc(alignment, size)",
    },
)
