"""Single-event corruptions of recorded traces: found by the text where it can be, and always with full states."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.recorded.states import read_state
from kmemspec.specs.traces.corruptions import (
    STATE_KINDS,
    TRACE_KINDS,
    Corruption,
    StateCorruption,
    corrupted,
    corrupted_state,
    text_finds,
    trace_events,
    write_recording,
)
from kmemspec.specs.traces.validation import STATES, STRENGTHS, TEXT, TraceValidation, switched_on, validate_trace

RECORDINGS = Path(__file__).parent / "data" / "recordings"
SEEDS = 4
NEEDS_STATES = {"other-cpu"}
"""Kinds that no text shows: on which CPU a page is taken, is told by that CPU's list alone."""
CHOSEN = {"other-cpu", "drop-object-alloc", "swapped", "state-list", "state-object", "state-count"}
SOMETIMES = {"drop-page-alloc", "drop-object-alloc", "other-object", "other-page-freed"}
"""Kinds that the text shows unless the page or object was never seen before."""


@cache
def recording(name: str) -> tuple[list[bytes], int, int]:
    """The events, and where those between the two states begin and end."""
    source = RECORDINGS / name
    before, after = (read_state(source / f"state_{state}.json.gz") for state in "AB")
    return trace_events(source / "trace.txt.xz"), sum(before.lines), sum(after.lines)


ALL_KINDS: tuple[Corruption | StateCorruption, ...] = (*TRACE_KINDS, *STATE_KINDS)


def with_states(tmp_path: Path, name: str, kind: Corruption | StateCorruption, seed: int) -> TraceValidation:
    source = RECORDINGS / name
    if isinstance(kind, Corruption):
        lines, first, last = recording(name)
        write_recording(tmp_path, source, corrupted(lines, kind, seed, first, last))
        found = validate_trace(tmp_path, [TEXT])
        return found if found.outcome is Outcome.VIOLATED else validate_trace(tmp_path, STRENGTHS)
    state = json.loads(gzip.decompress((source / "state_B.json.gz").read_bytes()))
    write_recording(tmp_path, source, None, corrupted_state(state, kind, seed))
    return validate_trace(tmp_path, [STATES])


def is_explained(found: TraceValidation) -> bool:
    """The rejection says what was wanted, and of an event its text and its history."""
    rejection = found.rejections[0]
    if not rejection.expected or not rejection.observed or not rejection.clause.name:
        return False
    return not rejection.number or (bool(rejection.line) and rejection.accepted == rejection.number - 1)


def test_there_are_kinds_enough() -> None:
    names = [kind.name for kind in ALL_KINDS]
    assert len(set(names)) == len(names) == 25


def test_the_text_of_drv1_shows_most_kinds() -> None:
    lines, first, last = recording("drv1")
    recorded = switched_on(RECORDINGS / "drv1")
    assert not text_finds(lines, recorded)
    found = Counter[str]()
    for kind in TRACE_KINDS:
        for seed in range(SEEDS):
            found[kind.name] += text_finds(corrupted(lines, kind, seed, first, last), recorded)
    for kind in TRACE_KINDS:
        if kind.name in NEEDS_STATES:
            assert found[kind.name] == 0
        elif kind.name in SOMETIMES:
            assert found[kind.name] >= 1
        else:
            assert found[kind.name] == SEEDS, kind.name
    assert found.total() >= 0.85 * len(TRACE_KINDS) * SEEDS


@pytest.mark.parametrize(
    "kind",
    [kind for kind in ALL_KINDS if kind.name in CHOSEN],
    ids=lambda kind: kind.name,
)
def test_with_full_states_every_kind_is_found(kind: Corruption | StateCorruption, tmp_path: Path) -> None:
    found = with_states(tmp_path, "drv1", kind, 3)
    assert found.outcome is Outcome.VIOLATED
    assert is_explained(found)


def test_without_probes_some_kinds_are_still_found() -> None:
    """real2: hashed addresses, no probes. What could be a bulk operation is no finding."""
    lines = trace_events(RECORDINGS / "real2" / "trace.txt.xz")[:30_000]
    sure = {"drop-page-free", "double-page-alloc", "other-order", "misaligned", "other-type", "short-object", "earlier"}
    hopeless = {"other-cpu", "drop-page-alloc", "drop-object-alloc", "double-object-alloc"}
    for kind in TRACE_KINDS:
        assert kind.name not in sure or text_finds(corrupted(lines, kind, 1, 2000, 20_000)), kind.name
    kinds = [kind for kind in TRACE_KINDS if kind.name in hopeless]
    assert not any(text_finds(corrupted(lines, kind, 1, 2000)) for kind in kinds)


def test_corruptions_are_the_same_for_the_same_seed() -> None:
    lines, first, last = recording("drv1")
    for kind in TRACE_KINDS:
        one, again, other = (corrupted(lines, kind, seed, first, last) for seed in (1, 1, 2))
        assert one == again != other
        assert one != lines
    with pytest.raises(InputError, match="no place for misaligned"):
        corrupted(lines[:3], next(kind for kind in TRACE_KINDS if kind.name == "misaligned"), 1)


SAMPLES = (
    *(("drv1", kind) for kind in ALL_KINDS),
    *(("mid1", kind) for kind in ALL_KINDS[::4]),
    *(("mid2", kind) for kind in ALL_KINDS[1::4]),
)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), SAMPLES, ids=[f"{name}-{kind.name}" for name, kind in SAMPLES])
def test_every_kind_is_found_in_every_recording_with_states(
    name: str, kind: Corruption | StateCorruption, tmp_path: Path
) -> None:
    found = with_states(tmp_path, name, kind, 0)
    assert found.outcome is Outcome.VIOLATED
    assert is_explained(found)
