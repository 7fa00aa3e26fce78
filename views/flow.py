"""A flow chart of an action, made from the IR: a box for each function, with its decisions, steps, loops and calls.

The one idea: nodes and edges are the blocks and jumps of `Program.functions`; only the words come from the source, by
walking a function's syntax tree in the order in which it was lowered, so that a picture cannot differ from what the
engines run. What would hide the path is left out unless asked for: asserts, ghost state, names for parts of the state,
and the inside of helpers.
"""

from __future__ import annotations

import ast
import copy
import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..model.lang.errors import InputError
from ..model.lang.ir import Block, Branch, Call, Function, Jump, Program, Return, Sizes, Store
from ..model.lang.spec import Spec
from .flow_folding import Folding
from .source_text import definition, file_of, lines_of

HELPER_BRANCHES = 2
"""A function with no loop and at most so many decisions, which calls nothing larger, is a helper: one line, no box."""
BOXES = 12
"""Without a depth given, no more functions than these get a box."""
BOXES_MAX = 200


@dataclass(frozen=True)
class Options:
    """How much is drawn: `depth` calls of calls; or the functions that the flow names; or as many as can be read at
    once. With `sizes`, a decision that this scope has already taken is left out."""

    depth: int | None = None
    named: frozenset[str] = frozenset()
    detail: bool = False
    sizes: Sizes | None = None


@dataclass(frozen=True)
class Node:
    """A step: `kind` is steps, decision, call (of a function with a box, `callee`), summary (of one without) or end.

    `returns`: the function ends here."""

    number: int
    kind: str
    lines: tuple[str, ...] = ()
    callee: str | None = None
    returns: bool = False


@dataclass(frozen=True)
class Edge:
    """From node to node, `label` says for which answer; `back` begins the next turn of a loop."""

    start: int
    end: int
    label: str = ""
    back: bool = False


@dataclass(frozen=True)
class Box:
    """A function: its name, the first line of its docstring, how deep in calls it is met, what happens in it."""

    name: str
    title: str
    depth: int
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


@dataclass(frozen=True)
class Chart:
    """The boxes, those of the actions first."""

    title: str
    boxes: tuple[Box, ...]


def first_flow(spec: Spec) -> str:
    """The flow that is drawn when none is named."""
    if not spec.flows:
        raise InputError(f"{spec.name} has no flows", "name an action: --flow NAME")
    return next(iter(spec.flows))


def actions_of(spec: Spec, program: Program, name: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """The actions that a flow name means, and the functions below them that it names; an action's own name means
    itself."""
    names = [action.name for action in program.actions]
    if name in spec.flows:
        flow = [function.__qualname__.rpartition("<locals>.")[2] for function in spec.flows[name]]
        return tuple(item for item in flow if item in names), frozenset(flow) - frozenset(names)
    if name in names:
        return (name,), frozenset()
    raise InputError(f"{spec.name} has no flow {name!r}", f"it has: {', '.join(dict.fromkeys([*spec.flows, *names]))}")


def chart(program: Program, actions: Sequence[str], title: str, options: Options) -> Chart:
    """The flow chart of these actions."""
    drawing = _Drawing(program, options)
    drawing.choose([action.function for action in program.actions if action.name in actions])
    boxes = (drawing.box(program.functions[function], depth) for function, depth in drawing.chosen.values())
    return Chart(title, tuple(boxes))


class _Drawing:
    """Chooses the functions that get a box, and makes the boxes."""

    def __init__(self, program: Program, options: Options) -> None:
        self.program = program
        self.options = options
        self.folding = Folding(program, options.sizes)
        self.shorten = None if options.detail else _Shortener(program)
        self.chosen: dict[str, tuple[str, int]] = {}
        self.weights: dict[str, bool] = {}

    def choose(self, actions: Sequence[str]) -> None:
        """To a given depth; or as many as can be read, those first that are called early, which is the fast path."""
        given = self.options.depth
        waiting = [(0, number, function, 0) for number, function in enumerate(actions)]
        count = len(waiting)
        while waiting:
            cost, _, function, depth = heapq.heappop(waiting)
            name = self.program.functions[function].source
            if name in self.chosen or (given is not None and depth > given):
                continue
            if given is None and depth and not self.options.named and len(self.chosen) >= BOXES:
                continue
            if len(self.chosen) >= BOXES_MAX:
                raise InputError(f"the flow has more than {BOXES_MAX} functions", "choose a smaller --depth")
            self.chosen[name] = (function, depth)
            for place, called in enumerate(self.calls(function)):
                heapq.heappush(waiting, (cost + 1 + (place if given is None else 0), count, called, depth + 1))
                count += 1

    def calls(self, name: str) -> list[str]:
        """The functions that a function calls, in order, without those that are one line."""
        function = self.program.functions[name]
        found: list[str] = []
        for number in sorted(self.folding.reachable(function)):
            for item in function.blocks[number].instructions:
                if isinstance(item, Call):
                    called = self.target(item.function)
                    found += self.calls(called) if self.shown_as_part(called, function) else [called]
        return [called for called in dict.fromkeys(found) if not self.is_line(called) and self.is_wanted(called)]

    def target(self, called: str) -> str:
        """What a call comes to: a method that does nothing but call another function stands for that function."""
        function = self.program.functions[called]
        if "." in function.source and len(function.blocks) == 1 and function.source not in self.options.named:
            made = [item for item in function.blocks[0].instructions if isinstance(item, Call)]
            if len(made) == 1 and not any(isinstance(item, Store) for item in function.blocks[0].instructions):
                return self.target(made[0].function)
        return called

    def is_wanted(self, called: str) -> bool:
        """Whether a function may have a box: where the flow names functions, only those do."""
        named = self.options.named if self.options.depth is None else frozenset()
        return not named or self.program.functions[called].source in named

    def is_line(self, called: str) -> bool:
        if self.options.depth is None and self.program.functions[called].source in self.options.named:
            return False
        return self.program.functions[called].pure or (self.is_helper(called) and not self.options.detail)

    def is_helper(self, name: str) -> bool:
        """Whether a function is small all the way down."""
        if name not in self.weights:
            function = self.program.functions[name]
            reached = self.folding.reachable(function)
            branches = sum(len(self.folding.successors(function, number)) > 1 for number in reached)
            loops = any(function.blocks[number].loops for number in reached)
            called = [item.function for number in reached for item in function.blocks[number].instructions
                      if isinstance(item, Call)]
            self.weights[name] = function.pure or (
                not loops and branches <= HELPER_BRANCHES and all(map(self.is_helper, called))
            )
        return self.weights[name]

    def call_of(self, called: str) -> tuple[str, str | None]:
        """The kind of node that a call is, and its box."""
        name = self.program.functions[called].source
        if self.is_line(called):
            return "steps", None
        return ("call", name) if name in self.chosen else ("summary", None)

    def box(self, function: Function, depth: int) -> Box:
        """One function's nodes and edges."""
        graph = _Graph()
        self.body(graph, graph.new(), function)
        graph.tidy()
        nodes, edges = graph.numbered()
        return Box(function.source, first_line(function.doc), depth, nodes, edges)

    def body(self, graph: _Graph, start: int, function: Function) -> None:
        """Fill in a function's nodes and edges from the empty node `start`; where it ends, `returns` is set."""
        words = Words(self.program, function, self.shorten)
        reached = sorted(self.folding.reachable(function))
        first = {number: start if number == 0 else graph.new() for number in reached}
        for number in reached:
            last = self.block(graph, first[number], function, number, words)
            answers = self.folding.successors(function, number)
            labels = words.labels(number) if len(answers) > 1 else ("",) * len(answers)
            for label, target in zip(labels, answers, strict=True):
                graph.edges.append(Edge(last, first[target], label, back=target <= number))

    def shown_as_part(self, called: str, function: Function) -> bool:
        """Whether a call is of the function that this one wraps: a system's action adds a guard to its part's action of
        the same name, and both are one box."""
        other = self.program.functions[called]
        return other.source == function.source and other is not function

    def block(self, graph: _Graph, start: int, function: Function, number: int, words: Words) -> int:
        """Fill in a block's nodes from the empty node `start`; the last one, from which its edges go."""
        block = function.blocks[number]
        current = start
        for statement in words.statements.get(number, ()):
            if not self.options.detail and self.is_noise(statement, function, block, words):
                continue
            text = words.text(statement)
            made = words.call_in(statement, block)
            called = None if made is None else self.target(made)
            if called is not None and self.shown_as_part(called, function):
                current = self.part(graph, current, self.program.functions[called])
                continue
            kind, box = self.call_of(called) if called is not None else ("steps", None)
            lines = [*words.label(statement), text]
            if kind == "summary" and called is not None:
                lines.append(first_line(self.program.functions[called].doc))
            node = graph.nodes[current]
            if (kind != "steps" and node.lines) or node.kind in ("call", "summary"):
                current = graph.follow(current)
                node = graph.nodes[current]
            graph.nodes[current] = replace(
                node, kind=kind if kind != "steps" else node.kind, lines=(*node.lines, *filter(None, lines)), callee=box
            )
        terminator = block.terminator
        if isinstance(terminator, Return):
            graph.nodes[current] = replace(graph.nodes[current], returns=True)
        elif isinstance(terminator, Branch) and len(self.folding.successors(function, number)) > 1:
            if graph.nodes[current].lines:
                current = graph.follow(current)
            graph.nodes[current] = replace(graph.nodes[current], kind="decision", lines=words.question(number))
        return current

    def part(self, graph: _Graph, current: int, function: Function) -> int:
        """The nodes of a function within those of the one that wraps it; the node after them."""
        start = graph.follow(current)
        before = frozenset(graph.nodes) - {start}
        self.body(graph, start, function)
        after = graph.new()
        for number, node in list(graph.nodes.items()):
            if node.returns and number not in before:
                graph.nodes[number] = replace(node, returns=False)
                graph.edges.append(Edge(number, after))
        return after

    def is_noise(self, statement: ast.stmt, function: Function, block: Block, words: Words) -> bool:
        """An assert, a store to ghost state, or a name for a part of the state."""
        if isinstance(statement, ast.Assert):
            return True
        if not isinstance(statement, ast.Assign):
            return False
        target = statement.targets[0]
        if isinstance(target, ast.Name):
            return target.id not in {local.name for local in function.locals}
        stores = [item for item in block.instructions if isinstance(item, Store) and words.is_in(item.where, statement)]
        leaves = [self.program.schema_of(item.root).leaves[item.leaf] for item in stores]
        return bool(leaves) and all(leaf.ghost for leaf in leaves)


# --- words from the source -----------------------------------------------------------------------------------------


class Words:
    """The source statements of each block of a function, and the question of each branch."""

    def __init__(self, program: Program, function: Function, shorten: _Shortener | None) -> None:
        self.program = program
        self.function = function
        self.shorten = shorten
        self.statements: dict[int, list[ast.stmt]] = {}
        self.questions: dict[int, ast.stmt] = {}
        self.branches = {
            self.place(block.terminator.where): number
            for number, block in enumerate(function.blocks)
            if isinstance(block.terminator, Branch)
        }
        found = definition(program, function)
        self.lines = lines_of(file_of(program, function))
        if found is not None:
            self.walk(found.body, 0)

    def place(self, where: int) -> tuple[int, int]:
        position = self.program.positions[where]
        return position.line, position.column

    def walk(self, statements: Sequence[ast.stmt], block: int | None) -> int | None:
        """Give statements to blocks, from this block on, as the front end does; the block after them, if any."""
        for statement in statements:
            if block is None:
                return None
            if isinstance(statement, (ast.If, ast.While, ast.For)):
                block = self.compound(statement)
            elif isinstance(statement, (ast.Break, ast.Continue)):
                return None
            elif not isinstance(statement, ast.Pass) and not _is_text(statement):
                self.statements.setdefault(block, []).append(statement)
                if isinstance(statement, ast.Return):
                    return None
        return block

    def compound(self, statement: ast.If | ast.While | ast.For) -> int | None:
        asked = statement.iter if isinstance(statement, ast.For) else statement.test
        number = self.branches.get((asked.lineno, asked.col_offset))
        if number is None:
            return None
        terminator = self.function.blocks[number].terminator
        assert isinstance(terminator, Branch)
        self.questions[number] = statement
        then = self.walk(statement.body, terminator.then)
        if not isinstance(statement, ast.If) or not statement.orelse:
            return terminator.otherwise
        otherwise = self.walk(statement.orelse, terminator.otherwise)
        for end in (then, otherwise):
            jump = None if end is None else self.function.blocks[end].terminator
            if isinstance(jump, Jump):
                return jump.target
        return None

    def question(self, number: int) -> tuple[str, ...]:
        """What a decision asks, below the label that it has."""
        statement = self.questions.get(number)
        if isinstance(statement, ast.For):
            asked = f"for {ast.unparse(statement.target)} in {self.unparsed(statement.iter)}"
            return (*self.label(statement), asked)
        if isinstance(statement, (ast.If, ast.While)):
            return (*self.label(statement), self.unparsed(statement.test))
        return ("?",)

    def label(self, statement: ast.stmt) -> tuple[str, ...]:
        """The kernel's label of a statement, which the model has as a comment: `# new_slab:`."""
        before = self.lines[statement.lineno - 2] if 2 <= statement.lineno <= len(self.lines) + 1 else ""
        found = re.fullmatch(r"\s*#\s*(\w+:)\s*", before)
        return (found[1],) if found else ()

    def labels(self, number: int) -> tuple[str, str]:
        """The answers, in the order then, otherwise."""
        return ("each", "done") if isinstance(self.questions.get(number), ast.For) else ("yes", "no")

    def text(self, statement: ast.stmt) -> str:
        """A statement in one line; a declared type is left out."""
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            return f"{ast.unparse(statement.target)} = {self.unparsed(statement.value)}"
        return self.unparsed(statement)

    def unparsed(self, node: ast.AST) -> str:
        return ast.unparse(node if self.shorten is None else self.shorten.visit(copy.deepcopy(node)))

    def is_in(self, where: int, statement: ast.stmt) -> bool:
        line, column = self.place(where)
        end = statement.end_lineno or statement.lineno
        return statement.lineno <= line <= end and (line > statement.lineno or column >= statement.col_offset)

    def call_in(self, statement: ast.stmt, block: Block) -> str | None:
        """The function that a statement calls with effects, if any."""
        for item in block.instructions:
            if isinstance(item, Call) and self.is_in(item.where, statement):
                return item.function
        return None


class _Shortener(ast.NodeTransformer):
    """Calls without the records that are passed whole through them: `expand(page, low, high)`. Of a method's name, one
    among the program's is taken: they all have the parameters of the one they override."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.callees = {other.source: other for other in program.functions.values()}
        self.methods = {name.rpartition(".")[2]: name for name in self.callees if "." in name}
        self.records: dict[str, tuple[bool, ...]] = {}

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in self.callees and not node.keywords:
            node.args = self.kept(node.args, self.parameters(node.func.id))
        elif isinstance(node.func, ast.Attribute) and node.func.attr in self.methods and not node.keywords:
            name = node.func.attr
            node.args = self.kept(node.args, self.parameters(self.methods[name])[1:])
            node.func = node.func if self.kept([node.func.value], (True,)) else ast.Name(name, ast.Load())
        return node

    def kept(self, arguments: list[ast.expr], records: Sequence[bool]) -> list[ast.expr]:
        """The values, and the records that are one of many."""
        return [argument for argument, record in zip(arguments, records, strict=False)
                if not record or any(isinstance(part, ast.Subscript) for part in ast.walk(argument))]

    def parameters(self, name: str) -> tuple[bool, ...]:
        """Which parameters of a function are records: those that are no variables of the IR."""
        if name not in self.records:
            function = self.callees[name]
            values = {local.name for local in function.locals}
            found = definition(self.program, function)
            given = [argument.arg for argument in found.args.args] if found else []
            self.records[name] = tuple(one not in values for one in given) or (False,) * 99
        return self.records[name]


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def first_line(doc: str) -> str:
    """The first line of a docstring."""
    return doc.strip().partition("\n")[0].strip()


# --- nodes and edges -----------------------------------------------------------------------------------------------


@dataclass
class _Graph:
    """The nodes of one box while it is made. `entry` is where the function begins."""

    nodes: dict[int, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    entry: int = 0

    def new(self) -> int:
        number = len(self.nodes)
        self.nodes[number] = Node(number, "steps")
        return number

    def follow(self, start: int) -> int:
        """A new node after this one."""
        number = self.new()
        self.edges.append(Edge(start, number))
        return number

    def tidy(self) -> None:
        """Take out empty nodes, join what is always done together."""
        for number in list(self.nodes):
            self.skip(number)
        for number in list(self.nodes):
            self.join(number)
        self.close()

    def skip(self, number: int) -> None:
        """An empty node with one successor is only a place where paths meet."""
        node = self.nodes[number]
        leaving = [edge for edge in self.edges if edge.start == number]
        if node.lines or node.kind != "steps" or node.returns or len(leaving) != 1 or leaving[0].end == number:
            return
        if number == 0 and any(edge.end == leaving[0].end for edge in self.edges if edge.start != 0):
            pass  # the entry of a function may be a loop's header
        out = leaving[0]
        self.edges = [
            edge if edge.end != number else replace(edge, end=out.end, back=edge.back or out.back)
            for edge in self.edges if edge.start != number
        ]
        del self.nodes[number]
        if number == self.entry:
            self.entry = out.end

    def join(self, number: int) -> None:
        """Steps that only follow other steps belong to them."""
        node = self.nodes[number]
        entering = [edge for edge in self.edges if edge.end == number]
        if len(entering) != 1 or entering[0].back or node.kind != "steps" or not node.lines:
            return
        before = self.nodes[entering[0].start]
        if before.kind != "steps" or before.number == number or not before.lines:
            return
        self.nodes[before.number] = replace(before, lines=before.lines + node.lines, returns=node.returns)
        self.edges = [
            replace(edge, start=before.number) if edge.start == number else edge
            for edge in self.edges if edge is not entering[0]
        ]
        del self.nodes[number]

    def close(self) -> None:
        """An end that only follows steps needs no node of its own: nothing follows them."""
        for number, node in list(self.nodes.items()):
            if not node.returns or node.lines:
                continue
            entering = [edge for edge in self.edges if edge.end == number]
            if entering and all(self.nodes[edge.start].kind != "decision" for edge in entering):
                self.edges = [edge for edge in self.edges if edge.end != number]
                for edge in entering:
                    self.nodes[edge.start] = replace(self.nodes[edge.start], returns=True)
                del self.nodes[number]
            else:
                self.nodes[number] = replace(node, kind="end", lines=("return",))

    def numbered(self) -> tuple[tuple[Node, ...], tuple[Edge, ...]]:
        """The nodes, the entry first, and the edges, each once."""
        others = (node for node in self.nodes.values() if node.number != self.entry)
        return (self.nodes[self.entry], *others), tuple(dict.fromkeys(self.edges))


__all__ = ["Box", "Chart", "Edge", "Node", "Options", "actions_of", "chart", "first_line"]
