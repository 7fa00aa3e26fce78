"""Methods of records: what a call means, on all engines, and that faults, charts and coverage follow it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import kmemspec.model
import kmemspec.specs
import pytest
from kmemspec.model.faults import Fault
from kmemspec.model.lang.errors import InputError, SpecError
from kmemspec.model.lang.execute import PythonMachine
from kmemspec.model.lang.verdict import Outcome, Verdict
from kmemspec.proofs.explore import explore
from kmemspec.proofs.symbolic import prove
from kmemspec.specs import loading
from kmemspec.specs.loading import Loaded, load
from kmemspec.specs.stateful import run
from kmemspec.views import flow

# A function of the base takes a page from any source; where from, and what is noted, is the source's own affair.
BASE = '''\
from typing import Annotated

from kmemspec import Array, Range, Record, Sort, bounded, choose, indices, require

Page = Annotated[int, Sort("page", "pages")]
Count = Annotated[int, Range(0, "pages")]


class Frame(Record):
    used: bool

    def is_free(self) -> bool:
        return not self.used


class Source(Record):
    """Pages in any order."""

    frame: Array[Page, Frame]
    taken: Count

    def pick(self) -> Page | None:
        return choose(indices(self.frame))

    def free_pages(self) -> int:
        return sum(self.frame[page].is_free() for page in indices(self.frame))

    def note(self, page: int) -> None:
        pass

    def first(self, page: int) -> bool:
        return page == 0


class Zone(Record):
    source: Source
    last: Page | None


def take(source: Source) -> Page | None:
    require(source.free_pages() > 0)
    page = source.pick()
    if page is None or not source.frame[page].is_free():
        return None
    source.frame[page].used = True
    source.taken += 1
    source.note(page)
    return page


def take_of(zone: Zone) -> Page | None:
    zone.last = take(zone.source)
    return zone.last


@bounded("pages")
def first_free(source: Source) -> Page | None:
    page = 0
    while page < len(source.frame):
        if source.frame[page].is_free():
            return page
        page += 1
    return None
'''
DERIVED = '''\
from typing import Annotated

from kmemspec import Array, Range, Record, bounded
from .toy_base import Count, Frame, Page, Source, Zone, first_free


class BigFrame(Frame):
    order: Annotated[int, Range(0, 1)]

    def is_free(self) -> bool:
        return not self.used and self.order == 0


class Ordered(Source):
    """The first page that is free."""

    hint: Page | None

    def pick(self) -> Page | None:
        return first_free(self)

    def note(self, page: int) -> None:
        self.hint = page


class Counted(Source):
    """What is free is counted, not looked up."""

    notes: Count

    def free_pages(self) -> int:
        return len(self.frame) - self.taken

    @bounded("pages")
    def note(self, page: int) -> None:
        """Every page up to this one is noted."""
        while page >= self.notes and not self.is_full():
            self.add_note()

    def is_full(self) -> bool:
        return self.notes == len(self.frame)

    def add_note(self) -> None:
        self.notes += 1


class Both(Ordered, Counted):
    frame: Array[Page, BigFrame]

    def is_like(self, other: Source) -> bool:
        return self.free_pages() == other.free_pages() and other.first(0)


class BigZone(Zone):
    source: Both
'''
SPEC = '''\
from kmemspec import (
    Array, Clauses, Parameter, Record, Refinement, Spec, action, choose, clause, indices, invariant, require,
    step_property)
from ..model.toy_base import Count, Page, Source, Zone, first_free, take, take_of
from ..model.toy_derived import Both, BigZone, Counted


class Machine(Record):
    plain: Zone
    zone: BigZone
    many: Array[Page, Counted]
    at: Page | None
    count: Count


def init(m: Machine) -> None:
    pass


@action
def take_plain(m: Machine) -> Page | None:
    page = take_of(m.plain)
    return page


@action
def take_zone(m: Machine) -> Page | None:
    page = take_of(m.zone)
    return page


@action
def grow(m: Machine, page: Page) -> bool:
    m.zone.source.frame[page].order = 1
    return m.zone.source.is_like(m.plain.source)


@action
def take_many(m: Machine, at: Page) -> Page | None:
    one = m.many[at]
    page = take(m.many[at])
    if one.free_pages() == 0 or one.first(at):
        one.note(page=0)
    return page


@action
def move(m: Machine, at: Page) -> None:
    """The record is taken from its array before the method is called, be it needed or not."""
    require(m.count < 2)
    m.at = at if m.many[at + m.count].first(7 // (1 + m.count)) else None
    m.count += 1


@action
def use(m: Machine) -> None:
    if m.many[m.at].first(0):
        m.at = None


@invariant("I1")
def all_counted(m: Machine) -> Clauses:
    """What is taken is not free."""
    yield clause("plain", m.plain.source.taken + m.plain.source.free_pages() == len(m.many))
    yield clause("zone", m.zone.source.taken + m.zone.source.free_pages() == len(m.many))
    yield clause("looked up", all(
        m.zone.source.frame[page].is_free() or m.zone.source.frame[page].order == 1 or m.zone.source.taken > 0
        for page in indices(m.many)))


@invariant("I2")
def few_noted(m: Machine) -> Clauses:
    """Fewer are noted than are taken, which is wrong as soon as a higher one is taken first."""
    yield clause("noted", all(m.many[at].notes <= m.many[at].taken for at in indices(m.many)))


@invariant("I3")
def in_order(m: Machine) -> bool:
    """The first page that is free is taken first."""
    return all(
        m.zone.source.frame[lower].used or m.zone.source.frame[lower].order == 1
        for page in indices(m.many) if m.zone.source.frame[page].used for lower in range(page))


@invariant("I4")
def noted_when_taken(m: Machine) -> bool:
    """All are noted only when the last is taken."""
    return all(
        m.many[at].notes < len(m.many) or m.many[at].frame[len(m.many) - 1].used for at in indices(m.many))


@step_property("S1")
def free_falls(before: Machine, after: Machine) -> bool:
    """Nothing is given back."""
    return after.plain.source.free_pages() <= before.plain.source.free_pages()


class Abstract(Record):
    zone: Zone


def abstract_init(abstract: Abstract) -> None:
    pass


@action
def abstract_take(abstract: Abstract) -> Page | None:
    page = take_of(abstract.zone)
    return page


def mapping(m: Machine, abstract: Abstract) -> None:
    abstract.zone.source.taken = m.zone.source.taken
    abstract.zone.last = m.zone.last
    for page in indices(m.many):
        abstract.zone.source.frame[page].used = m.zone.source.frame[page].used
    if m.zone.source.free_pages() + abstract.zone.source.free_pages() == 2 * len(m.many):
        abstract.zone.last = None


def step(abstract: Abstract, result: Page | None) -> None:
    abstract.zone.last = result
    if result is not None:
        abstract.zone.source.frame[result].used = True
        abstract.zone.source.taken += 1


ABSTRACT = Spec("sources", Abstract, abstract_init, (abstract_take,), (), (Parameter("pages", 2, "pages"),))
SPEC = Spec(
    "toy", Machine, init, (take_plain, take_zone, grow, take_many, move, use),
    (all_counted, few_noted, in_order, noted_when_taken, free_falls),
    (Parameter("pages", 2, "pages"),), refinement=Refinement("R", ABSTRACT, mapping, {take_zone: step}),
    flows={"alloc": (take_zone, take_of, take, Both.note, first_free)},
)
'''
SYMMETRIC = '''\
from kmemspec import Parameter, Spec, action, invariant


class Pool(Source):
    newest: Page | None

    def note(self, page: int) -> None:
        self.newest = page


def init(pool: Pool) -> None:
    pass


@action
def get(pool: Pool) -> Page | None:
    page = take(pool)
    return page


@action
def put(pool: Pool, page: Page) -> None:
    require(not pool.frame[page].is_free())
    pool.frame[page].used = False
    pool.taken -= 1


@invariant("I1")
def newest_is_taken(pool: Pool) -> bool:
    return pool.newest is None or not pool.frame[pool.newest].is_free()


SPEC = Spec("pool", Pool, init, (get, put), (newest_is_taken,), (Parameter("pages", 3, "pages"),), symmetric=("page",))
'''
FREE = """    def free_pages(self) -> int:
        return len(self.frame) - self.taken
"""


def one_file(*changes: tuple[str, str]) -> str:
    """The three modules as one file."""
    lines = f"{BASE}{DERIVED}{SPEC}".splitlines()
    text = "\n".join(line for line in lines if not line.startswith("from .")) + "\n"
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


Loading = Callable[..., Loaded]


@pytest.fixture
def written(tmp_path: Path) -> Loading:
    """Loads the toy as one file, with changes."""

    def make(*changes: tuple[str, str]) -> Loaded:
        path = tmp_path / "toy.py"
        path.write_text(one_file(*changes))
        return load(str(path))

    return make


def verdicts(found: Sequence[Verdict]) -> dict[str, Outcome]:
    """The answers by property, the worst first."""
    answers: dict[str, Outcome] = {}
    for verdict in found:
        if answers.get(verdict.property) is not Outcome.VIOLATED:
            answers[verdict.property] = verdict.outcome
    return answers


def helper(name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_class_of_the_record_decides(written: Loading) -> None:
    """A base's function runs the methods of the record that it is given, on every way that one comes to it."""
    loaded = written()
    names = set(loaded.program.functions)
    assert {"Source.pick(0:plain.source)", "Ordered.pick(0:zone.source)", "Source.pick(0:many[])"} <= names
    assert {"Source.free_pages(0:plain.source)", "Counted.free_pages(0:zone.source)"} <= names
    assert {"Frame.is_free(0:plain.source.frame[])", "BigFrame.is_free(0:zone.source.frame[])"} <= names
    assert {"Source.note(0:plain.source)", "Ordered.note(0:zone.source)", "Counted.note(0:many[])"} <= names
    # At the same place of another machine stands a record of another class.
    assert {"Source.free_pages(2:zone.source)", "Counted.free_pages(1:zone.source)"} <= names
    assert not any(name.startswith(("Counted.", "Ordered.", "Both.")) and "(2:" in name for name in names)


def test_fields_are_in_the_order_of_the_bases(written: Loading) -> None:
    paths = [leaf.path for leaf in written().program.schema.leaves]
    assert [path.removeprefix("zone.") for path in paths if path.startswith("zone.")] == [
        "source.frame[].used", "source.frame[].order", "source.taken", "source.notes", "source.hint", "last",
    ]


def test_engines_agree(written: Loading) -> None:
    agreement = helper("test_agreement")
    for seed in range(3):
        assert next(agreement.disagreements(written(), "default", 60, seed), None) is None


def test_engines_find_the_same(written: Loading) -> None:
    """The search, the proof and a search in CPython: the states, what holds, what fails where."""
    loaded = written()
    sizes = loaded.spec.scope(None)
    machine = PythonMachine(loaded.spec, loaded.program, sizes)
    todo = [start.state for start in machine.initial_states()]
    reached, broken, failed = set(todo), set(), set()
    while todo:
        state = todo.pop()
        assert state is not None
        broken |= {(item.property, item.clause) for item in machine.check(state)}
        for action, arguments, _, outcome in list(machine.successors(state)):
            if outcome.failure is not None:
                failed.add((loaded.program.actions[action].name, outcome.failure.kind.name))
            elif outcome.state is not None:
                machine.state = outcome.state
                wrong = machine.check_step(state, action, arguments, outcome)
                broken |= {(item.property, item.clause) for item in wrong}
                if outcome.state not in reached:
                    reached.add(outcome.state)
                    todo.append(outcome.state)
    assert failed == {("move", "BOUNDS"), ("use", "NONE")}
    assert broken == {("I2", "noted")}
    found = explore(loaded.program, sizes, stop_at_first=False)
    assert found.states == len(reached)
    assert verdicts(found.verdicts) == {
        "I1": Outcome.HOLDS, "I2": Outcome.VIOLATED, "I3": Outcome.HOLDS, "I4": Outcome.HOLDS,
        "S1": Outcome.HOLDS, "R": Outcome.HOLDS, "checks": Outcome.VIOLATED,
    }
    proved = verdicts(prove(loaded.program, sizes, timeout_seconds=60, only=["S1"]).verdicts)
    assert proved["S1"] is Outcome.HOLDS


def test_bounds_of_methods(written: Loading) -> None:
    """A loop in a method has its bound on every engine, from the scope that the record knows."""
    loaded = written(('    @bounded("pages")\n    def note', '    @bounded("pages-1")\n    def note'))
    sizes = loaded.spec.scope(None)
    traces = {verdict.property: verdict.trace for verdict in explore(loaded.program, sizes).verdicts}
    violation = getattr(traces["checks"], "violation", None)
    assert violation is not None
    agreement = helper("test_agreement")
    for seed in range(2):
        assert next(agreement.disagreements(loaded, "default", 60, seed), None) is None


def test_symmetry_is_judged_through_methods(tmp_path: Path) -> None:
    """The same answers as without; an override that tells pages apart is refused, with its place."""
    path = tmp_path / "pool.py"
    path.write_text(f"{BASE}\n{SYMMETRIC}")
    loaded = load(str(path))
    sizes = loaded.spec.scope(None)
    one, all_ = (explore(loaded.program, sizes, symmetry=how, stop_at_first=False) for how in (True, False))
    assert one.states < all_.states
    assert verdicts(one.verdicts) == verdicts(all_.verdicts) == {"I1": Outcome.VIOLATED, "checks": Outcome.HOLDS}
    path.write_text(path.read_text().replace("        self.newest = page", "        self.newest = 0"))
    loaded = load(str(path))
    with pytest.raises(SpecError, match="page") as caught:
        explore(loaded.program, sizes)
    assert path.read_text().splitlines()[caught.value.position.line - 1].strip() == "self.newest = 0"


# --- what else knows functions


def test_flow_charts_follow_methods(written: Loading) -> None:
    loaded = written()
    actions, named = flow.actions_of(loaded.spec, loaded.program, "alloc")
    assert named == {"take_of", "take", "Ordered.note", "first_free"}
    boxes = {box.name: box for box in flow.chart(loaded.program, actions, "", flow.Options(named=named)).boxes}
    assert set(boxes) == {"take_zone", "take_of", "take", "Ordered.note", "first_free"}
    lines = {line: node.kind for node in boxes["take"].nodes for line in node.lines}
    assert lines["page = pick()"] == "call"  # of first_free(), to which it only delegates
    assert lines["page is None or not source.frame[page].is_free()"] == "decision"
    assert lines["note(page)"] == "call"
    everything = flow.chart(loaded.program, ("take_many",), "", flow.Options(depth=9, detail=True))
    assert {"Counted.note", "Counted.add_note", "Source.pick"} <= {box.name for box in everything.boxes}
    note = next(box for box in everything.boxes if box.name == "Counted.note")
    assert [node.lines for node in note.nodes] == [
        ("page >= self.notes and (not self.is_full())",), ("self.add_note()",), ("return",),
    ]


def test_coverage_of_methods(written: Loading) -> None:
    """Hypothesis and the search see the same branches, those in methods and those only reached through one too."""
    loaded = written()
    sizes = loaded.spec.scope(None)
    drawn = run(loaded.spec, loaded.program, sizes, spec_name="toy", seed=0, examples=20, steps=10, seconds=10)
    lines = {branch.line for branch in drawn.branches}
    assert lines == {
        loaded.program.positions[branch.where].line
        for name, function in loaded.program.functions.items() if not name.startswith("refinement ")
        for branch in function.branches()
    }
    text = one_file().splitlines()
    assert {"    while page < len(source.frame):", "        while page >= self.notes and not self.is_full():"} <= {
        text[line - 1] for line in lines
    }


@pytest.fixture
def built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The toy as a built-in specification, its classes in two modules of the model."""
    for package, name, text in (("model", "base", BASE), ("model", "derived", DERIVED), ("specs", "spec", SPEC)):
        (tmp_path / package).mkdir(exist_ok=True)
        (tmp_path / package / f"toy_{name}.py").write_text(text)
    for module in (kmemspec.model, kmemspec.specs):
        monkeypatch.setattr(module, "__path__", [*module.__path__, str(tmp_path / module.__name__.rpartition(".")[2])])
    monkeypatch.setattr(loading, "NAMED", (*loading.NAMED, "toy_spec"))
    yield "toy_spec"
    for name in [name for name in sys.modules if name.rpartition(".")[2].startswith("toy_")]:
        del sys.modules[name]


def fault(module: str, function: str, find: str, replace: str) -> Fault:
    return Fault("toy-fault", "", "", "toy_spec", f"model.toy_{module}", function, find, replace, ("I1",))


# A fault, and what it breaks; the last one hides what is wrong without it.
METHOD_FAULTS = [
    (fault("derived", "Counted.free_pages", "self.taken", "self.taken + 1"), {"I1"}),
    (fault("base", "Frame.is_free", "not self.used", "True"), {"I1"}),
    (fault("base", "first_free", "return page", "return (page + 1) % len(source.frame)"), {"I3"}),
    (fault("derived", "Counted.note", "page >= self.notes and ", ""), {"I4"}),
    (fault("base", "take", "source.note(page)", "source.note(0)"), {"I2"}),
]


@pytest.mark.parametrize(("item", "killed"), METHOD_FAULTS, ids=[item.function for item, _ in METHOD_FAULTS])
def test_faults_in_methods(built_in: str, item: Fault, killed: set[str]) -> None:
    plain, faulty = load(built_in), load(built_in, item)
    sizes = plain.spec.scope(None)
    assert plain.program.fingerprint != faulty.program.fingerprint
    assert load(built_in).program.fingerprint == plain.program.fingerprint
    label = f"{item.module.replace('.', '/')}.py with toy-fault"
    assert label in {position.file for position in faulty.program.positions}
    broken, before = (
        {(v.property, v.trace.violation.clause) for v in explore(one.program, sizes, stop_at_first=False).verdicts
         if v.trace is not None and v.trace.violation is not None}
        for one in (faulty, plain)
    )
    assert {name for name, _ in broken ^ before} == killed
    agreement = helper("test_agreement")
    assert next(agreement.disagreements(faulty, "default", 40, 1), None) is None


def test_a_fault_names_one_function_or_one_method() -> None:
    text = f"{DERIVED}\n\ndef note(source: Source) -> None:\n    source.note(0)\n"
    assert fault("derived", "note", "note(0)", "note(1)").apply(text).endswith("source.note(1)\n")
    changed = fault("derived", "Ordered.note", "= page", "= 0").apply(text)
    assert changed.count("self.hint = 0") == 1
    assert changed.replace("self.hint = 0", "self.hint = page") == text
    for function, find in (("Ordered.note", "add_note"), ("Counted.free_pages", "bounded"), ("Counted.pick", "self")):
        with pytest.raises(InputError, match=r"matches 0 times|has no function"):
            fault("derived", function, find, "").apply(text)


# --- refusals that need two classes


def test_a_method_that_no_call_reaches_is_not_read(written: Loading) -> None:
    written((FREE.strip(), FREE.strip() + "\n\n    def unused(self) -> int:\n        raise NotImplementedError"))


def test_an_override_is_refused_where_it_stands(written: Loading) -> None:
    with pytest.raises(SpecError, match="free_pages takes 1 arguments") as caught:
        written((FREE, FREE.replace("(self)", "(self, page: int)")))
    assert caught.value.code == "argument-count"
    with pytest.raises(SpecError, match=r"Counted\.taken: the field has another type in the base Source") as caught:
        written(("    notes: Count\n", "    notes: Count\n    taken: Page\n"))
    assert caught.value.source_line.strip() == "taken: Page"
