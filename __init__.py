"""kmemspec: an executable formal model of Linux memory management, and the checker around it.

What a specification of your own needs is here:

    from kmemspec import Array, Parameter, Record, Sort, Spec, action, choose, clause, indices, invariant, require

`kmemspec check my_allocator.py` then runs every engine on it.
"""

from .model.lang import (
    GHOST,
    Array,
    Clauses,
    FromScope,
    Machine,
    Parameter,
    Range,
    Record,
    Refinement,
    Requirement,
    Sort,
    Spec,
    action,
    bounded,
    choose,
    clause,
    indices,
    invariant,
    require,
    signed,
    step_property,
    unsigned,
)

__all__ = [
    "GHOST",
    "Array",
    "Clauses",
    "FromScope",
    "Machine",
    "Parameter",
    "Range",
    "Record",
    "Refinement",
    "Requirement",
    "Sort",
    "Spec",
    "action",
    "bounded",
    "choose",
    "clause",
    "indices",
    "invariant",
    "require",
    "signed",
    "step_property",
    "unsigned",
]
