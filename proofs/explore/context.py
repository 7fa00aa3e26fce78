"""The context: one array of int64 through which compiled code and Python share everything but states.

Scalars first, then small arrays, then one byte for each side of each branch. Its shape depends on the program alone,
so offsets are constants in the code. Action code gets it as a `noalias` pointer: nothing the code stores into a state
can change what it knows about the context.
"""

from __future__ import annotations

from ...model.lang.ir import Program

SCALARS = (
    "words",  # words of a state
    "abstract_words",
    "parameters",  # address of the parameter array
    "start",  # address of the initial values, packed
    "abstract_start",
    "source",  # address of the state a single step starts from
    "target",  # address of the state a single step ends in
    "abstract",
    "abstract_after",
    "result",  # result of a single step
    "script_length",
    "script_position",
    "random",  # 1: choices beyond the script are drawn at random
    "seed",
    "witnesses",  # how many witnesses a false claim left
    "chunks",  # address of the array of chunk addresses
    "chunk_shift",
    "capacity",  # states for which chunks exist
    "table",
    "table_mask",
    "table_room",  # number of states at which the table must grow
    "state_limit",
    "states",
    "cursor",  # next state to expand
    "level_end",
    "depth",
    "peak",
    "transitions",
    "stop",  # see STOP_* below
    "stop_at_first",
    "pending",  # address of the buffer of successors not yet looked up
    "pending_count",
    "grow",  # address of the function that gets more memory
    "steps",
    "draws",  # failed draws before a walk gives up
    "parent",  # of the state being inserted
    "action",  # the last one of a walk
    "renamings",  # how many renamings change states; 0: no symmetry reduction
    "idle",  # how many change none, the identity among them
    "group_order",
    "streams",  # address of the array of their streams' addresses (see symmetry)
    "affected",  # how many words they change
    "affected_words",  # address of the array of these words' numbers
    "original",  # address of room for a state
    "candidate",
    "orbits",  # states that the states stand for, together
    "renamed",  # the renaming that canonicalise chose last, plus one; 0: none
    "elements",  # liveness (see liveness_code): how many tuples of elements the property is about
    "element_values",  # address of their values
    "element_images",  # address of their numbers under each renaming
    "labels",  # address of a byte for each node: what holds there
    "places",  # address of each node's place among the pending ones, plus one
    "nodes",  # address of the pending nodes
    "origins",  # address of the place from which each was reached
    "vias",  # address of the renaming on the way
    "starts",  # address of each one's first edge
    "edges",  # address of the edges
    "edges_room",
    "enabled",  # address of the bits of the fair instances that are enabled in each
    "fair_words",  # words of such bits
    "fair_count",
    "fair_images",  # address of the fair instances' numbers under each renaming
    "fairness",  # address of what is assumed of each action: base, stride, quiet
    "pending_nodes",
    "pended",  # how many of them have their edges
    "edge_count",
    "edges_full",
    "when_nodes",  # nodes in which something is due
    "components",  # address of each pending node's component
    "component_count",
    "scratch",  # address of room for the algorithms
    "cursors",  # … and of more
    "strict",  # 1: quantifiers over symmetric sorts evaluate every element, so that no failure depends on their order
)
STOP_VIOLATION, STOP_MEMORY, STOP_STATES, STOP_CHOICES = 1, 2, 3, 4
GROW_STATES, GROW_TABLE = 0, 1
WALK_GOES_ON, WALK_STUCK, WALK_VIOLATED, WALK_FAILED = 0, 1, 2, 3
NO_PARENT = 0xFFFFFFFF

CHOICES = 512
"""The most choices one execution can make."""

WITNESSES = 16
FOUND_SLOTS = 4
"""A property's record: found (0 or 1), status, parent, state (-1: the violation is in a step out of the parent)."""

COUNTER_SLOTS = 3
"""An action's counters: enabled, fired, new. The last triple is that of the initial states."""

PENDING = 64
PENDING_HEADER = 4
"""An entry of the buffer of successors: hash, parent, action, how many states it stands for, then the words."""


class Context:
    """Offsets (in int64) of everything in the context of a program."""

    def __init__(self, program: Program) -> None:
        self.scalar = {name: index for index, name in enumerate(SCALARS)}
        position = len(SCALARS)
        self.script = position
        position += CHOICES
        self.stops = position
        position += CHOICES
        self.witness = position
        position += WITNESSES
        self.arguments = position
        position += max([1, *(len(action.parameters) for action in program.actions)])
        self.checks = len(program.properties)
        self.deadlock = self.checks + 1
        self.found = position
        position += FOUND_SLOTS * (self.deadlock + 1)
        self.counters = position
        position += COUNTER_SLOTS * (len(program.actions) + 1)
        self.coverage = position
        self.branch_base: dict[str, int] = {}
        count = 0
        for name, function in program.functions.items():
            self.branch_base[name] = count
            count += 2 * max((branch.branch + 1 for branch in function.branches()), default=0)
        self.coverage_bytes = count
        self.length = position + count // 8 + 1

    def found_slot(self, property_index: int) -> int:
        """First slot of a property's record."""
        return self.found + FOUND_SLOTS * property_index

    def counter_slot(self, action: int) -> int:
        """First counter of an action."""
        return self.counters + COUNTER_SLOTS * action
