"""Renamings of interchangeable elements as tables for compiled code.

The one idea: of the states that differ in the numbers of interchangeable elements alone, the search keeps the one whose
words are least, so a successor is compared with itself under every renaming, word by word, until one of the two is
known to be less. A renaming moves bits and exchanges values. What only moves is taken a mask and a rotation at a time,
as many elements as travel together; values are looked up eight bits at a time. Words that no renaming touches are
never looked at. How many renamings lead to the least state says how large its class is: of |G| renamings, |G| / ties
states are different, and the sum of these is the number of states that the unreduced search would find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ...model.lang.errors import InputError
from ...model.lang.ir import Program, Sizes
from ...model.lang.symmetry import Images, LeafRenaming, Symmetry, check
from .layout import WORD_MASK, Layout, LeafLayout

_CHUNK = 8
_LARGEST_TABLE = 1 << 16
MOVE_SLOTS, LOOKUP_SLOTS = 3, 5
"""An operation in a stream: source word, mask, rotation; and source word, shift, mask, table's address, rotation."""


@dataclass
class WordRecipe:
    """One word of a renamed state: masks by (source word, rotation), and lookups."""

    moves: dict[tuple[int, int], int] = field(default_factory=dict)
    lookups: list[tuple[int, int, int, tuple[int, ...], int]] = field(default_factory=list)

    def is_identity(self, word: int) -> bool:
        return not self.lookups and set(self.moves) <= {(word, 0)}


class PackedSymmetry:
    """The renamings of a group, for states in a layout."""

    def __init__(self, symmetry: Symmetry, layout: Layout) -> None:
        self.symmetry = symmetry
        self.layout = layout
        self.renamings = tuple(symmetry.renamings())
        made = [(self._recipe(renaming), renaming) for renaming in self.renamings[1:]]
        made = [(recipe, to) for recipe, to in made if not all(word.is_identity(n) for n, word in enumerate(recipe))]
        recipes = [recipe for recipe, _ in made]
        self.acting = tuple(renaming for _, renaming in made)  # the renamings of the recipes, in their order
        self.idle = len(self.renamings) - len(recipes)  # renamings that change no state, the identity among them
        touched = {
            number: sum(not recipe[number].is_identity(number) for recipe in recipes) for number in range(layout.words)
        }
        self.words = sorted((number for number in touched if touched[number]), key=lambda number: -touched[number])
        self.recipes = recipes

    def rename(self, words: bytes, renaming: Images) -> bytes:
        """A packed state under a renaming, the slow way."""
        flat = self.layout.unpack(words)
        return self.layout.pack(self.symmetry.state(self.layout.schema, flat, renaming))

    def tables(self) -> tuple[list[list[int]], list[tuple[int, ...]]]:
        """A stream of numbers for each renaming, and the tables they name by position (plus one, negated)."""
        tables: dict[tuple[int, ...], int] = {}
        streams = []
        for recipe in self.recipes:
            stream: list[int] = []
            for number in self.words:
                word = recipe[number]
                stream += [number, len(word.moves), len(word.lookups)]
                for (source, rotation), mask in word.moves.items():
                    stream += [source, mask, rotation]
                for source, shift, mask, table, rotation in word.lookups:
                    position = tables.setdefault(table, len(tables))
                    stream += [source, shift, mask, -position - 1, rotation]
            streams.append(stream)
        return streams, list(tables)

    def _recipe(self, renaming: Images) -> list[WordRecipe]:
        recipe = [WordRecipe() for _ in range(self.layout.words)]
        for leaf, place in zip(self.layout.schema.leaves, self.layout.leaves, strict=True):
            change = self.symmetry.leaf(leaf, renaming)
            if change.values is None:
                _add_moves(recipe, place, change)
            else:
                _add_lookups(recipe, place, change, change.values)
        return recipe


def _add_moves(recipe: list[WordRecipe], place: LeafLayout, change: LeafRenaming) -> None:
    for index, target in enumerate(change.places):
        source_bit = place.base + (index << place.log2_width)
        target_bit = place.base + (target << place.log2_width)
        moves = recipe[target_bit >> 6].moves
        key = (source_bit >> 6, (target_bit - source_bit) & 63)
        moves[key] = moves.get(key, 0) | place.mask << (source_bit & 63)


def _add_lookups(
    recipe: list[WordRecipe], place: LeafLayout, change: LeafRenaming, values: Sequence[int]
) -> None:
    """Chunks of bits of one leaf, each to one target word, through a table of what the chunk's elements become."""
    width = 1 << place.log2_width
    chunk_bits = max(_CHUNK, width)
    images = [0, *(value + 1 for value in values)] if place.low else list(values)  # by stored bits
    if len(images) > _LARGEST_TABLE:
        raise InputError(f"a reference has {len(images):,} values", "use --no-symmetry, or a smaller scope")
    groups: dict[tuple[int, int], list[int]] = {}
    for index, target in enumerate(change.places):
        chunk = (place.base + (index << place.log2_width)) // chunk_bits
        target_word = (place.base + (target << place.log2_width)) >> 6
        groups.setdefault((target_word, chunk), []).append(index)
    for (target_word, _), elements in groups.items():
        first = place.base + (elements[0] << place.log2_width)
        targets = [(place.base + (change.places[index] << place.log2_width)) & 63 for index in elements]
        shifts = [(index - elements[0]) << place.log2_width for index in elements]
        bits = shifts[-1] + width
        table = tuple(
            _looked_up(source, list(zip(shifts, targets, strict=True)), place.mask, images)
            for source in range(1 << bits if bits <= _CHUNK else len(images))
        )
        recipe[target_word].lookups.append((first >> 6, first & 63, (1 << bits) - 1, table, targets[0]))


def _looked_up(chunk: int, moves: Sequence[tuple[int, int]], mask: int, images: Sequence[int]) -> int:
    """What a chunk's elements become, with the first one's target at bit 0 (the rest rotated along)."""
    result = 0
    for shift, target in moves:
        bits = chunk >> shift & mask
        image = images[bits] if bits < len(images) else 0
        rotation = (target - moves[0][1]) & 63
        result |= (image << rotation | image >> (64 - rotation)) & WORD_MASK if rotation else image
    return result


def symmetric_program(program: Program, names: Sequence[str]) -> Program:
    """A program with these symmetric sorts: the declared ones or those that the user asks for."""
    names = tuple(names)
    if names == program.symmetric:
        return program
    return replace(program, symmetric=names, fingerprint=f"{program.fingerprint} {' '.join(names)}")


def symmetry_of(program: Program, sizes: Sizes) -> Symmetry:
    """The symmetry that a program declares, at a scope; raises InputError (SpecError) when it has not got it."""
    return Symmetry(check(program, program.symmetric, sizes), sizes)
