"""Symmetry reduction: the same answers as the unreduced search, and refusals of what is not symmetric."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from kmemspec.model.lang.errors import InputError, SpecError
from kmemspec.model.lang.replay import replay
from kmemspec.model.lang.symmetry import Symmetry, check
from kmemspec.model.lang.verdict import Outcome
from kmemspec.proofs.explore import NativeMachine, explore, simulate
from kmemspec.proofs.explore.symmetry import PackedSymmetry, symmetry_of
from kmemspec.specs.loading import load

TOY = Path(__file__).with_name("symmetric_toy.py").read_text()


@pytest.fixture(autouse=True)
def cache(monkeypatch, native_cache):
    monkeypatch.setenv("KMEMSPEC_CACHE", str(native_cache))


@pytest.fixture
def variant(tmp_path):
    """The toy with some of its text changed, loaded."""

    def make(*changes: tuple[str, str]):
        text = TOY
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = tmp_path / "toy.py"
        path.write_text(text)
        return load(str(path))

    return make


# --- the same answers ------------------------------------------------------------------------------------------------

CHANGES = {
    "as it is": (),
    "a cpu frees what another holds": (("require(m.held[object] == cpu and m.cpu", "require(m.cpu"),
                                       ("    m.held[object] = cpu\n", "    m.held[object] = m.last_cpu\n"),
                                       ("    lock: Cpu | None\n", "    lock: Cpu | None\n    last_cpu: Cpu | None\n"),
                                       ("    m.lock = cpu\n", "    m.lock = cpu\n    m.last_cpu = cpu\n")),
    "a slot is counted twice": (("    m.used[slot] += 1\n", "    m.used[slot] += 1 if m.last != slot else 2\n"),),
    "an assertion": (("    m.last = slot\n", "    assert m.last != slot or m.lock is None\n    m.last = slot\n"),),
    "a step property": (("before.held[o] is None or after.held[o] is None or after.held[o] == before.held[o]",
                         "before.held[o] is not None or after.held[o] != after.lock or after.lock is None"),),
    "a refinement": (("        abstract.live[object] = True\n",
                      "        abstract.live[object] = abstract.some != object\n        abstract.some = object\n"),),
    "a failure behind another element": (("    yield clause(\"not all taken\", ",
                                          "    yield clause(\"hidden\", any(m.cpu[c].page is None or "
                                          "m.held[m.cpu[c].freelist] is not None for c in indices(m.cpu)))\n"
                                          "    yield clause(\"not all taken\", "),),
    "a failure behind another element of an action": (
        ("    require(m.lock is None or cpu is None)\n",
         "    require(any(m.cpu[c].page is None or m.held[m.cpu[c].freelist] is not None for c in indices(m.cpu)))\n"),
    ),
    "the initial states choose": (
        ("        m.cpu[cpu].tid = 1\n",
         "        m.cpu[cpu].tid = choose(range(2))\n    m.last = choose(indices(m.used))\n"),
    ),
}
BROKEN = {
    "a cpu frees what another holds": "T2",
    "a slot is counted twice": "T1",
    "an assertion": "checks",
    "a step property": "T3",
    "a refinement": "T4",
    "a failure behind another element": "T2",
    "a failure behind another element of an action": "checks",
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=pytest.mark.slow if number >= 3 else ()) for number, one in enumerate(CHANGES)],
)
def test_reduced_and_unreduced_searches_agree(variant, name):
    loaded = variant(*CHANGES[name])
    sizes = loaded.spec.scope("cpus=3,pages=2,slots=2")
    whole = explore(loaded.program, sizes, symmetry=False, stop_at_first=False)
    assert whole.complete
    assert whole.symmetry is None
    violated = {verdict.property for verdict in whole.verdicts if verdict.outcome is Outcome.VIOLATED}
    assert BROKEN.get(name, "T2") in violated
    for sorts in (True, ("cpu",), ("slot",)):
        reduced = explore(loaded.program, sizes, symmetry=sorts, stop_at_first=False)
        assert reduced.complete
        if any(verdict.reason for verdict in reduced.verdicts):
            assert name == "a failure behind another element of an action"
            hidden_behind_a_failure(reduced, whole)
            continue
        assert reduced.symmetry.states == whole.states
        assert reduced.states < whole.states
        assert reduced.depth == whole.depth
        assert {action.name for action in reduced.actions if action.fired} == {
            action.name for action in whole.actions if action.fired
        }
        for mine, theirs in zip(reduced.verdicts, whole.verdicts, strict=True):
            assert (mine.property, mine.outcome) == (theirs.property, theirs.outcome)
            if mine.trace is not None:
                assert len(mine.trace.steps) == len(theirs.trace.steps)
                again = replay(loaded.spec, loaded.program, sizes, mine.trace)
                assert mine.property in {violation.property for violation in again.violations}


def hidden_behind_a_failure(reduced, whole):
    """What an action does after a failure that depends on the order of the elements is not claimed."""
    for mine, theirs in zip(reduced.verdicts, whole.verdicts, strict=True):
        assert mine.outcome in (theirs.outcome, Outcome.UNKNOWN)
        if mine.outcome is Outcome.UNKNOWN:
            assert "an action fails, perhaps not in every order" in mine.reason
    assert any(mine.property == "checks" and mine.outcome is Outcome.VIOLATED for mine in reduced.verdicts)


def test_branches_reached_are_the_same(variant):
    loaded = variant()
    sizes = loaded.spec.scope("cpus=2")
    sides = [
        {(b.function, b.line, b.then_reached, b.otherwise_reached) for b in explore(
            loaded.program, sizes, symmetry=on, stop_at_first=False).branches if not b.function.startswith("init")}
        for on in (True, False)
    ]
    assert sides[0] == sides[1]


def test_the_buggy_toy_is_violated_and_walks_go_on_without_reduction(variant):
    loaded = variant()
    sizes = loaded.spec.scope(None)
    assert {v.property for v in explore(loaded.program, sizes).verdicts if v.outcome is Outcome.VIOLATED} == {"T2"}
    assert simulate(loaded.program, sizes, walks=5, depth=50, seed=1).steps > 0


# --- renaming states -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["cpus=3,pages=2,slots=2", "cpus=4,pages=5,slots=3", "cpus=3,pages=90,slots=3"])
def test_compiled_renaming_finds_the_least_state_and_the_size_of_its_class(variant, scope):
    loaded = variant()
    sizes = loaded.spec.scope(scope)
    machine = NativeMachine(loaded.program, sizes)
    packed = PackedSymmetry(symmetry_of(loaded.program, sizes), machine.layout)
    machine.reduce(packed)
    draw = random.Random(0)
    bounds = [(p.low, p.high) for p in machine.layout.leaves for _ in range(p.count)]
    for spread in (0, 1, 1 << 20) * 4:
        flat = tuple(draw.randint(low, min(high, low + spread)) for low, high in bounds)
        words = machine.layout.pack(flat)
        like = {packed.rename(words, renaming) for renaming in packed.renamings}
        key = [tuple(int.from_bytes(w[8 * n:8 * n + 8], "little") for n in packed.words) for w in sorted(like)]
        least = sorted(like)[key.index(min(key))]
        assert {machine.canonical(other) for other in draw.sample(sorted(like), min(6, len(like)))} == {least}
        assert machine.orbit(words) == len(like)


def test_a_renaming_moves_elements_and_values_of_products_blockwise(variant):
    loaded = variant()
    sizes = loaded.spec.scope("cpus=2,pages=2,slots=3")
    group = Symmetry(check(loaded.program, ("cpu", "slot"), sizes), sizes)
    assert group.order == 12
    held = next(leaf for leaf in loaded.program.schema.leaves if leaf.path == "held[]")
    change = group.leaf(held, {"cpu": (1, 0), "slot": (2, 0, 1)})
    assert change.places == (2, 0, 1, 5, 3, 4)
    assert change.values == (1, 0)


# --- refusals --------------------------------------------------------------------------------------------------------

REFUSALS = {
    "arithmetic": (("    m.last = slot\n", "    m.last = (slot + 1) % m.slots\n"),
                   "a slot is used as a number", "write `page * slots + slot`", "m.last = (slot"),
    "order": (("m.cpu[other].page != page for", "other < cpu for"),
              "`<` puts one cpu before another", "compare by == and !=", "other < cpu"),
    "constant index": (("m.used[object % m.slots] -= 1", "m.used[0] -= 1"),
                       "an index of used[] mixes a slot and a number", "take every slot from", "m.used[0]"),
    "constant value": (("    m.lock = cpu\n", "    m.lock = 0\n"),
                       "the assignment to lock mixes a cpu and a number", "take every cpu from", "m.lock = 0"),
    "constant compared": (("require(m.lock is None or cpu is None)", "require(m.lock is None or cpu == 1)"),
                          "a comparison mixes a cpu and a number", "take every cpu from", None),
    "a number from a cpu": (("m.cpu[cpu].tid += 1", "m.cpu[cpu].tid = cpu"),
                            "the assignment to cpu[].tid mixes a cpu and a number",
                            "start what differs between them at equal values", ".tid = cpu"),
    "two sorts": (("    m.last = slot\n", "    m.last = cpu\n"),
                  "the assignment to last mixes a slot and a cpu", "keep the two sorts apart", "m.last = cpu"),
    "a product by hand": (("    object = page * m.slots + slot\n", "    object = page + page + slot\n"),
                          "a slot is used as a number", "write `page * slots + slot`", "page + page"),
    "another division": (("m.used[object % m.slots] -= 1", "m.used[object % 2] -= 1"),
                         "a object is used as a number", "`object // slots`", "object % 2"),
    "a loop that carries": (("    m.last = slot\n",
                             "    m.last = slot\n    for other in indices(m.used):\n        m.last = other\n"),
                            "the turns of this loop over every slot depend on their order: last is written by one",
                            "or an action for one slot", "for other in"),
    "a loop that counts": (("    for cpu in indices(m.cpu):\n        object =",
                            "    count = 0\n    for cpu in indices(m.cpu):\n        count += 1\n        object ="),
                           "count goes from one to the next", "use all(…), any(…) or sum(…)", "count += 1"),
    "a loop that leaves": (("        if object is not None:\n            yield",
                            "        if object is None:\n            break\n        if object is not None:\n"
                            "            yield"), "one leaves the loop", "use all(…)", None),
    "part of a sort": (("for other in indices(m.cpu)))\n", "for other in range(2)))\n"),
                       "mixes a cpu and a number", "a quantifier", "range(2)"),
    "a loop that writes through a function": (("    if m.held[object] is None:\n        m.next[object] = None\n",
                                               "    if m.next[object] is None:\n        m.next[0] = None\n"),
                                              "next[] is written by one and seen by others", "an action for one", None),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_tells_elements_apart_is_refused_with_its_place(variant, name):
    change, message, remedy, line = REFUSALS[name]
    loaded = variant(change)
    with pytest.raises(SpecError) as refused:
        explore(loaded.program, loaded.spec.scope(None))
    assert message in refused.value.message
    assert remedy in refused.value.remedy
    assert refused.value.code.startswith("symmetry-")
    text = Path(loaded.target).read_text().splitlines()
    if line is not None:
        assert line in text[refused.value.position.line - 1]
    assert explore(loaded.program, loaded.spec.scope("cpus=1,slots=1"), symmetry=False).states
    fallen_back = explore(loaded.program, loaded.spec.scope("cpus=2,slots=2"), symmetry=None)
    assert fallen_back.symmetry is None
    assert message in fallen_back.unreduced


def test_initial_states_must_be_closed_under_renaming(variant):
    loaded = variant(("        m.cpu[cpu].tid = 1\n", "        m.cpu[cpu].tid = cpu % 2\n"))
    with pytest.raises(InputError, match=r"init tells cpu 0 from cpu 1: cpu\[\].tid changes .* let cpu\[\].tid begin"):
        explore(loaded.program, loaded.spec.scope(None))
    assert explore(loaded.program, loaded.spec.scope("cpus=1")).symmetry.sorts == {"slot": 2}


@pytest.mark.parametrize(("sorts", "scope", "message"), [
    (("thread",), "", "toy has no sort 'thread'; its sorts are: cpu, object, page, slot"),
    (("object",), "", "object is a product of page and slot"),
    (("cpu", "slot"), "cpus=5,slots=4", "makes 2,880 renamings, and at most 1,000 are tried"),
])
def test_sorts_that_cannot_be_reduced_by(variant, sorts, scope, message):
    loaded = variant()
    with pytest.raises(InputError, match=message):
        explore(loaded.program, loaded.spec.scope(scope or None), symmetry=sorts)


def test_what_the_scope_switches_off_does_not_break_symmetry(variant):
    loop = "    for other in indices(m.used):\n        m.last = other\n"
    switched = loop.replace("    for", "    if m.slots > 2:\n        for").replace("        m", "            m")
    loaded = variant(("    m.last = slot\n", "    m.last = slot\n" + switched))
    assert explore(loaded.program, loaded.spec.scope("cpus=1")).symmetry.renamings == 2
    with pytest.raises(SpecError, match="the turns of this loop over every slot depend on their order"):
        explore(loaded.program, loaded.spec.scope("cpus=1,slots=3"))


def test_a_second_factor_that_is_not_symmetric_must_be_in_range(variant):
    table = ("    lock: Cpu | None\n", "    lock: Cpu | None\n    lists: Array[CpuSlot, bool]\n")
    declared = 'CpuSlot = Annotated[int, Sort("cpuslot", "cpuslots", of=("cpu", "slot"))]\n\n\n'
    sort = ("class PerCpu(", declared + "class PerCpu(")
    size = ('sizes["slots"]}', 'sizes["slots"], "cpuslots": lambda sizes: sizes["cpus"] * sizes["slots"]}')
    own = "    m.lists[cpu * m.slots + slot] = True\n"
    seen = variant(table, sort, size, ("    m.last = slot\n", "    m.used[slot] += 0\n" + own))
    sizes = seen.spec.scope("cpus=2,slots=2")
    whole, reduced = (explore(seen.program, sizes, symmetry=on, stop_at_first=False) for on in (False, ("cpu",)))
    assert reduced.symmetry.states == whole.states > reduced.states
    unseen = variant(table, sort, size, ("    m.last = slot\n", "    slot = slot + 1\n" + own))
    with pytest.raises(SpecError, match=r"a cpu is used as a number in `\*`.*slot from indices"):
        explore(unseen.program, sizes, symmetry=("cpu",))


def test_a_product_sort_must_have_the_size_of_its_factors(variant):
    loaded = variant(('sizes["pages"] * sizes["slots"]}', 'sizes["pages"] * sizes["slots"] + 1}'))
    with pytest.raises(InputError, match="object has 5 elements, which is not page times slot"):
        explore(loaded.program, loaded.spec.scope(None))


def test_the_command_line_reports_the_factor_and_refuses_by_name(kmemspec, tmp_path):
    (tmp_path / "toy.py").write_text(TOY)
    reduced = kmemspec("explore", "toy.py", "--all")
    assert "symmetry of cpu (3), slot (2): 12 renamings, 990 canonical states for 11,252 states, factor 11.4" in (
        reduced.out
    )
    assert "all 11,252 reachable states (990 up to symmetry)" in reduced.out
    assert kmemspec("replay", "toy-trace.json").status == reduced.status == 1
    assert "symmetry of" not in kmemspec("explore", "toy.py", "--all", "--no-symmetry").out
    refused = kmemspec("explore", "toy.py", "--symmetry", "cpu,object")
    assert (refused.status, refused.out) == (2, "")
    assert len(refused.err.strip().splitlines()) == 1
    bad = TOY.replace("m.cpu[cpu].tid += 1", "m.cpu[cpu].tid = cpu")
    (tmp_path / "bad.py").write_text(bad)
    refused = kmemspec("check", "bad.py", "--engine", "explore")
    assert refused.status == 2
    assert "bad.py:61: the assignment to cpu[].tid mixes a cpu and a number" in refused.err
