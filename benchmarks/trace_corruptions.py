"""How many single-event corruptions of recorded traces are found, by kind: by the text alone, and with full states.

python benchmarks/trace_corruptions.py RECORDING… [--each 5] [--states] [--seed 0]

With --states, for recordings with state_A and state_B, what the text does not find is given to the lock-step.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
from pathlib import Path

from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.recorded.states import read_state
from kmemspec.specs.traces.corruptions import (
    STATE_KINDS,
    TRACE_KINDS,
    corrupted,
    corrupted_state,
    text_finds,
    trace_events,
    write_recording,
)
from kmemspec.specs.traces.validation import STATE_FILES, STATES, switched_on, trace_of, validate_trace


def between_states(directory: Path) -> tuple[int, int | None]:
    """Positions of the events between the two states, for recordings that have them."""
    if not (directory / STATE_FILES[0]).exists():
        return 0, None
    before, after = (read_state(directory / name) for name in STATE_FILES)
    return sum(before.lines), sum(after.lines)


def states_find(source: Path, lines: list[bytes] | None, state: object = None) -> bool:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_recording(directory, source, lines, state)
        try:
            return validate_trace(directory, [STATES]).outcome is Outcome.VIOLATED
        except InputError:
            return False


def measure(directory: Path, each: int, seed: int, states: bool) -> dict[str, tuple[int, int, int]]:
    """By kind: how many were tried, found by the text, found by the lock-step beyond that."""
    lines = trace_events(trace_of(directory))
    first, last = between_states(directory)
    recorded = switched_on(directory)
    found: dict[str, tuple[int, int, int]] = {}
    for kind in TRACE_KINDS:
        tried = by_text = by_states = 0
        for number in range(each):
            try:
                changed = corrupted(lines, kind, seed + number, first, last)
            except InputError:
                break
            tried += 1
            if text_finds(changed, recorded):
                by_text += 1
            elif states:
                by_states += states_find(directory, changed)
        found[kind.name] = (tried, by_text, by_states)
    if states:
        last_state = json.loads(gzip.decompress((directory / STATE_FILES[1]).read_bytes()))
        for state_kind in STATE_KINDS:
            hits = sum(
                states_find(directory, None, corrupted_state(last_state, state_kind, seed + number))
                for number in range(each)
            )
            found[state_kind.name] = (each, 0, hits)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", nargs="+", type=Path)
    parser.add_argument("--each", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--states", action="store_true")
    options = parser.parse_args()
    columns = [measure(path, options.each, options.seed, options.states) for path in options.recording]
    kinds = list(dict.fromkeys(kind for column in columns for kind in column))
    print(f"{'found of tried: text + states':32}" + "".join(f"{path.name[:16]:>16}" for path in options.recording))
    for kind in kinds:
        cells = []
        for column in columns:
            tried, by_text, by_states = column.get(kind, (0, 0, 0))
            more = f"+{by_states}" if options.states else ""
            cells.append(f"{by_text}{more}/{tried}" if tried else "-")
        print(f"{kind:32}" + "".join(f"{cell:>16}" for cell in cells))
    for place, path in enumerate(options.recording):
        tried = sum(one for one, _, _ in columns[place].values())
        hits = sum(one + more for _, one, more in columns[place].values())
        print(f"{path.name}: {hits} of {tried} found")


if __name__ == "__main__":
    main()
