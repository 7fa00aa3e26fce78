"""Compiled code for leads-to properties: what holds in each node, the pending part of the graph, components, fairness.

A node is a state of the search and a tuple of elements that the property is about. All arrays are of the size that is
needed at most and memory is taken as they are filled; only the edges are moved to a larger array by Python, which is
why `leads_expand` can stop in the middle of a node and begin it again. What the steps compute, and why, is said in
`liveness`.
"""

from __future__ import annotations

from typing import Any

from ...model.lang import ir
from . import context as shared
from . import status
from .codegen import I8, I32, I64, WORDS, Value, int64
from .driver import VOID, Code, Driver

LIVENESS_SIGNATURES = {
    "leads_label": 4,  # (context, leads-to, first state, last + 1): what holds there; the status of a failure
    "leads_begin": 3,  # (context, first node, last + 1): those in which something is due and has not come
    "leads_expand": 2,  # (context, number of nodes): 1 when none is left, 2 when there is no room for edges
    "leads_components": 1,  # (context)
    "leads_judge": 1,  # (context): the first pending node of a component that a fair run can stay in, or -1
    "leads_judge_renamed": 1,  # as leads_judge, when edges rename fair instances
}
"""As `driver.SIGNATURES`, of programs with leads-to properties."""

FAIRNESS_SLOTS = 3
"""What is assumed of an action: the number of its first fair instance (-1: none), the step from one of its instances to
the next (0: all are one), and whether it stops."""

TARGET_BITS = 32
"""An edge is 64 bits: the place of the node it leads to, and above it the renaming on the way and the fair instance
plus one, as `instance * (renamings + 1) + renaming`."""


class LivenessCode:
    """Adds the functions to the module of a program."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.emitter = driver.emitter
        self.program = driver.program
        self.find = self._find()
        self.enter = self._enter()
        self._label()
        self._begin()
        self._expand()
        self._components()
        self._judge()
        self._judge_renamed()

    # --- arrays

    def element(self, code: Code, array: str, index: Value, kind: Any = I32) -> Value:
        """The address of an element of one of the context's arrays."""
        builder = code.builder
        return builder.gep(builder.bitcast(code.pointer(array), kind.as_pointer()), [index])

    def read(self, code: Code, array: str, index: Value, kind: Any = I32) -> Value:
        """An element of an array, as int64."""
        value = code.builder.load(self.element(code, array, index, kind))
        return value if kind is I64 else code.builder.zext(value, I64)

    def write(self, code: Code, array: str, index: Value, value: Value, kind: Any = I32) -> None:
        """Set an element of an array."""
        value = value if kind is I64 else code.builder.trunc(value, kind)
        code.builder.store(value, self.element(code, array, index, kind))

    def part(self, code: Code, number: int, index: Value) -> Value:
        """An index into the scratch array, which is taken as so many arrays, each as long as there are nodes."""
        return code.builder.add(code.builder.mul(int64(number), code.get("pending_nodes")), index)

    # --- the graph

    def _find(self) -> Value:
        """find(context, words): the number of a state, -1 when the search has not got it."""
        driver = self.driver
        code = Code(driver, "find", [WORDS, WORDS])
        builder = code.builder
        context, state = code.arguments
        words, mask = code.get("words"), code.get("table_mask")
        mixed = builder.call(driver.hash, [state, words])
        slot = code.variable(builder.and_(mixed, mask))
        with code.loop() as empty:
            entry = driver.entry_at(code, builder.load(slot))
            code.leave_if(code.test(entry, "==", 0), empty)
            with code.when(driver.alike(code, entry, mixed)):
                number = driver.number_in(code, entry)
                other = builder.call(driver.address, [context, number])
                with code.when(driver.same(code, state, other, words)):
                    code.returns(number)
            builder.store(builder.and_(builder.add(builder.load(slot), int64(1)), mask), slot)
        code.returns(-1)
        return code.function

    def _enter(self) -> Value:
        """enter(context, node, origin, renaming): the place of a node among the pending ones, a new one if need be."""
        code = Code(self.driver, "enter", [WORDS, I64, I64, I64])
        builder = code.builder
        _, node, origin, via = code.arguments
        known = self.read(code, "places", node)
        with code.when(code.test(known, "!=", 0)):
            code.returns(builder.sub(known, int64(1)))
        place = code.get("pending_nodes")
        code.put("pending_nodes", builder.add(place, int64(1)))
        self.write(code, "places", node, builder.add(place, int64(1)))
        self.write(code, "nodes", place, node)
        self.write(code, "origins", place, origin)
        self.write(code, "vias", place, via)
        code.returns(place)
        return code.function

    def _label(self) -> None:
        """leads_label(context, leads-to, start, stop)."""
        code = Code(self.driver, "leads_label", [WORDS, I64, I64, I64], exported=True)
        builder = code.builder
        context, chosen, start, stop = code.arguments
        parameters, elements = code.pointer("parameters"), code.get("elements")

        def case(index: int) -> None:
            leads = self.program.liveness[index]
            count = len(leads.parameters)
            with code.each(start, stop) as number:
                state = builder.call(self.driver.address, [context, number])
                with code.each(0, elements) as element:
                    first = builder.mul(element, int64(count))
                    values = [
                        self.read(code, "element_values", builder.add(first, int64(offset)), I64)
                        for offset in range(count)
                    ]
                    roots = {ir.CURRENT: state}
                    pair = self.emitter.call(builder, leads.function, context, parameters, roots, values)
                    failed = builder.extract_value(pair, 1)
                    node = builder.add(builder.mul(number, elements), element)
                    with code.when(code.test(failed, "!=", status.OK), likely=False):
                        code.put("result", node)
                        code.returns(failed)
                    self.write(code, "labels", node, builder.extract_value(pair, 0), I8)
            code.returns(status.OK)

        self.driver.switch(code, chosen, len(self.program.liveness), case)
        code.returns(status.OK)

    def _begin(self) -> None:
        """leads_begin(context, start, stop)."""
        code = Code(self.driver, "leads_begin", [WORDS, I64, I64], exported=True)
        builder = code.builder
        context, start, stop = code.arguments
        with code.each(start, stop) as node:
            label = self.read(code, "labels", node, I8)
            with code.when(code.test(builder.and_(label, int64(ir.WHEN)), "!=", 0)):
                code.count("when_nodes")
                with code.when(code.test(builder.and_(label, int64(ir.THEN)), "==", 0)):
                    builder.call(self.enter, [context, node, int64(shared.NO_PARENT), int64(0)])
        code.returns(0)

    def _expand(self) -> None:
        """leads_expand(context, count)."""
        step = self._expand_node()
        code = Code(self.driver, "leads_expand", [WORDS, I64], exported=True)
        builder = code.builder
        with code.each(0, code.arguments[1]):
            place, edges = code.get("pended"), code.get("edge_count")
            self.write(code, "starts", place, edges, I64)
            with code.when(code.test(place, ">=", code.get("pending_nodes"))):
                code.returns(1)
            builder.call(step, [code.context, place])
            with code.when(code.test(code.get("edges_full"), "!=", 0), likely=False):
                code.put("edges_full", 0)
                code.put("edge_count", edges)
                code.returns(2)
            code.count("pended")
        code.returns(0)

    def _expand_node(self) -> Value:
        """expand_node(context, place): a pending node's edges to pending nodes, without those of actions that stop, and
        which fair instances are enabled in it."""
        code = Code(self.driver, "expand_node", [WORDS, I64], VOID)
        builder = code.builder
        place = code.arguments[1]
        node = self.read(code, "nodes", place)
        number, element = (getattr(builder, operation)(node, code.get("elements")) for operation in ("udiv", "urem"))
        source = builder.call(self.driver.address, [code.context, number])
        frame = (place, element, source, code.pointer("target"), code.get("words"), code.pointer("parameters"))
        for index in range(len(self.program.actions)):
            instance = code.variable(0)

            def fire(values: list[Value], index: int = index, instance: Value = instance) -> None:
                self._fire(code, index, values, builder.load(instance), frame)
                builder.store(builder.add(builder.load(instance), int64(1)), instance)

            self.driver.every_argument(code, index, fire)
        builder.ret_void()
        return code.function

    def _fire(self, code: Code, index: int, values: list[Value], instance: Value, frame: tuple[Value, ...]) -> None:
        """Every execution of an action with these arguments, which are so many-th."""
        builder = code.builder
        place, element, source, target, words, parameters = frame
        base, stride, quiet = (
            self.read(code, "fairness", int64(FAIRNESS_SLOTS * index + slot), I64) for slot in range(FAIRNESS_SLOTS)
        )
        is_fair = code.test(base, ">=", 0)
        number = builder.add(base, builder.mul(stride, instance))
        fair = builder.select(is_fair, builder.add(number, int64(1)), int64(0))

        def once() -> None:
            self.driver.copy(code, target, source, words)
            roots = {ir.CURRENT: target, ir.BEFORE: source}
            pair = self.emitter.call(
                builder, self.program.actions[index].function, code.context, parameters, roots, values
            )
            verdict = builder.extract_value(pair, 1)
            with code.when(builder.and_(is_fair, code.test(verdict, "!=", status.DISABLED))):
                first = builder.mul(place, code.get("fair_words"))
                word = builder.add(first, builder.lshr(number, int64(6)))
                bit = builder.shl(int64(1), builder.and_(number, int64(63)))
                self.write(code, "enabled", word, builder.or_(self.read(code, "enabled", word, I64), bit), I64)
            with code.when(code.test(verdict, "==", status.OK)):
                self._add_edge(code, place, element, target, fair, quiet)

        self.driver.every_choice(code, self.program.actions[index].function, once)

    def _add_edge(self, code: Code, place: Value, element: Value, target: Value, fair: Value, quiet: Value) -> None:
        """The step to the state in the target buffer, if what is due has not come there."""
        builder = code.builder
        code.put("renamed", 0)
        with code.when(code.test(code.get("renamings"), "!=", 0)):
            builder.call(self.driver.canonicalise, [code.context, target])
        renamed, elements = code.get("renamed"), code.get("elements")
        number = builder.call(self.find, [code.context, target])
        image = self.read(code, "element_images", builder.add(builder.mul(renamed, elements), element), I64)
        node = builder.add(builder.mul(number, elements), image)
        due = builder.and_(self.read(code, "labels", node, I8), int64(ir.THEN))
        with code.when(code.test(due, "==", 0)):
            there = builder.call(self.enter, [code.context, node, place, renamed])
            with code.when(code.test(quiet, "==", 0)):
                count = code.get("edge_count")
                with builder.if_else(code.test(count, "<", code.get("edges_room")), likely=True) as (room, full):
                    with room:
                        renamings = builder.add(code.get("renamings"), int64(1))
                        label = builder.add(builder.mul(fair, renamings), renamed)
                        edge = builder.or_(builder.shl(label, int64(TARGET_BITS)), there)
                        self.write(code, "edges", count, edge, I64)
                        code.put("edge_count", builder.add(count, int64(1)))
                    with full:
                        code.put("edges_full", 1)

    # --- components

    def _components(self) -> None:
        """leads_components(context): Tarjan's algorithm, with a stack of its own."""
        code = Code(self.driver, "leads_components", [WORDS], exported=True)
        builder = code.builder
        order, low, stack, frames = range(4)
        found, top, depth = (code.variable(0) for _ in range(3))

        def get(part: int, index: Value) -> Value:
            return self.read(code, "scratch", self.part(code, part, index))

        def put(part: int, index: Value, value: Value) -> None:
            self.write(code, "scratch", self.part(code, part, index), value)

        def cursor(level: Value) -> Value:
            return self.element(code, "cursors", level, I64)

        def add(cell: Value, by: int) -> Value:
            value = builder.add(builder.load(cell), int64(by))
            builder.store(value, cell)
            return value

        def visit(node: Value) -> None:
            """A new node, on both stacks."""
            number = add(found, 1)
            put(order, node, number)
            put(low, node, number)
            put(stack, builder.load(top), node)
            add(top, 1)
            put(frames, builder.load(depth), node)
            builder.store(self.read(code, "starts", node, I64), cursor(builder.load(depth)))
            add(depth, 1)

        def lower(node: Value, value: Value) -> None:
            with code.when(code.test(value, "<", get(low, node))):
                put(low, node, value)

        def edge(node: Value, at: Value) -> None:
            """Follow an edge."""
            place = cursor(builder.sub(builder.load(depth), int64(1)))
            builder.store(builder.add(at, int64(1)), place)
            other = self._target(code, at)
            with builder.if_else(code.test(get(order, other), "==", 0)) as (fresh, seen):
                with fresh:
                    visit(other)
                with seen, code.when(code.test(self.read(code, "components", other), "==", 0)):
                    lower(node, get(order, other))

        def leave(node: Value) -> None:
            """All edges of a node are followed: a component is done, and the node is left."""
            with code.when(code.test(get(low, node), "==", get(order, node))):
                code.count("component_count")
                number = code.get("component_count")
                with code.loop() as done:
                    last = get(stack, add(top, -1))
                    self.write(code, "components", last, number)
                    code.leave_if(code.test(last, "==", node), done)
            level = add(depth, -1)
            with code.when(code.test(level, ">", 0)):
                lower(get(frames, builder.sub(level, int64(1))), get(low, node))

        with code.each(0, code.get("pending_nodes")) as start:
            with code.when(code.test(get(order, start), "==", 0)):
                visit(start)
            with code.loop(lambda: code.test(builder.load(depth), ">", 0)):
                level = builder.sub(builder.load(depth), int64(1))
                node = get(frames, level)
                at = builder.load(cursor(level))
                stop = self.read(code, "starts", builder.add(node, int64(1)), I64)
                with builder.if_else(code.test(at, "<", stop)) as (more, none):
                    with more:
                        edge(node, at)
                    with none:
                        leave(node)
        code.returns(0)

    def _target(self, code: Code, edge: Value) -> Value:
        """Where an edge leads."""
        mask = int64((1 << TARGET_BITS) - 1)
        return code.builder.and_(self.read(code, "edges", edge, I64), mask)

    def _edge_label(self, code: Code, edge: Value) -> tuple[Value, Value]:
        """The fair instance of an edge, plus one, and its renaming."""
        builder = code.builder
        label = builder.lshr(self.read(code, "edges", edge, I64), int64(TARGET_BITS))
        renamings = builder.add(code.get("renamings"), int64(1))
        return builder.udiv(label, renamings), builder.urem(label, renamings)

    def _each_inner_edge(self, code: Code, body: Any) -> None:
        """`body(node, target, edge)` for each edge inside a component."""
        builder = code.builder
        with code.each(0, code.get("pending_nodes")) as node:
            component = self.read(code, "components", node)
            stop = self.read(code, "starts", builder.add(node, int64(1)), I64)
            with code.each(self.read(code, "starts", node, I64), stop) as edge:
                target = self._target(code, edge)
                with code.when(code.test(self.read(code, "components", target), "==", component)):
                    body(node, target, edge)

    # --- fairness

    def _judge(self) -> None:
        """leads_judge(context): for each component, the bits of the fair instances that are enabled everywhere and
        taken nowhere; `scratch` holds all ones at first."""
        code = Code(self.driver, "leads_judge", [WORDS], exported=True)
        builder = code.builder
        words = code.get("fair_words")

        def first(node: Value) -> Value:
            component = builder.sub(self.read(code, "components", node), int64(1))
            return builder.mul(component, words)

        def keep(place: Value, bits: Value) -> None:
            kept = builder.and_(self.read(code, "scratch", place, I64), bits)
            self.write(code, "scratch", place, kept, I64)

        with code.each(0, code.get("pending_nodes")) as node, code.each(0, words) as word:
            bits = self.read(code, "enabled", builder.add(builder.mul(node, words), word), I64)
            keep(builder.add(first(node), word), bits)

        def taken(node: Value, target: Value, edge: Value) -> None:
            fair, _ = self._edge_label(code, edge)
            with code.when(code.test(fair, "!=", 0)):
                number = builder.sub(fair, int64(1))
                bit = builder.shl(int64(1), builder.and_(number, int64(63)))
                keep(builder.add(first(node), builder.lshr(number, int64(6))), builder.not_(bit))

        self._each_inner_edge(code, taken)
        with code.each(0, code.get("pending_nodes")) as node:
            left = code.variable(0)
            with code.each(0, words) as word:
                bits = self.read(code, "scratch", builder.add(first(node), word), I64)
                builder.store(builder.or_(builder.load(left), bits), left)
            with code.when(code.test(builder.load(left), "==", 0)):
                code.returns(node)
        code.returns(-1)

    def _judge_renamed(self) -> None:
        """leads_judge_renamed(context): a union-find over pairs of a node and a fair instance, `scratch`, whose roots
        are marked in `cursors` when the instance is disabled or taken somewhere on the way."""
        code = Code(self.driver, "leads_judge_renamed", [WORDS], exported=True)
        builder = code.builder
        root = self._root()
        count = code.get("fair_count")

        def pair(node: Value, instance: Value) -> Value:
            return builder.add(builder.mul(node, count), instance)

        def mark(node: Value, instance: Value) -> None:
            self.write(code, "cursors", builder.call(root, [code.context, pair(node, instance)]), int64(1), I8)

        with code.each(0, builder.mul(code.get("pending_nodes"), count)) as index:
            self.write(code, "scratch", index, index)

        def unite(node: Value, target: Value, edge: Value) -> None:
            _, renaming = self._edge_label(code, edge)
            with code.each(0, count) as instance:
                place = builder.add(builder.mul(renaming, count), instance)
                image = self.read(code, "fair_images", place, I64)
                left = builder.call(root, [code.context, pair(node, instance)])
                right = builder.call(root, [code.context, pair(target, image)])
                self.write(code, "scratch", left, right)

        self._each_inner_edge(code, unite)
        words = code.get("fair_words")
        with code.each(0, code.get("pending_nodes")) as node, code.each(0, count) as instance:
            word = builder.add(builder.mul(node, words), builder.lshr(instance, int64(6)))
            bits = builder.lshr(self.read(code, "enabled", word, I64), builder.and_(instance, int64(63)))
            with code.when(code.test(builder.and_(bits, int64(1)), "==", 0)):
                mark(node, instance)

        def taken(node: Value, target: Value, edge: Value) -> None:
            fair, _ = self._edge_label(code, edge)
            with code.when(code.test(fair, "!=", 0)):
                mark(node, builder.sub(fair, int64(1)))

        self._each_inner_edge(code, taken)
        with code.each(0, code.get("pending_nodes")) as node:
            left = code.variable(0)
            with code.each(0, count) as instance:
                top = builder.call(root, [code.context, pair(node, instance)])
                with code.when(code.test(self.read(code, "cursors", top, I8), "==", 0)):
                    builder.store(int64(1), left)
            with code.when(code.test(builder.load(left), "==", 0)):
                code.returns(node)
        code.returns(-1)

    def _root(self) -> Value:
        """root(context, pair): its class, whose paths are halved on the way."""
        code = Code(self.driver, "root", [WORDS, I64])
        builder = code.builder
        at = code.variable(code.arguments[1])
        with code.loop() as done:
            here = builder.load(at)
            above = self.read(code, "scratch", here)
            code.leave_if(builder.icmp_signed("==", above, here), done)
            further = self.read(code, "scratch", above)
            self.write(code, "scratch", here, further)
            builder.store(further, at)
        code.returns(builder.load(at))
        return code.function
