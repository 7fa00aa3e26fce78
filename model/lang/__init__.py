"""The specification language: what a specification imports.

    from kmemspec import Array, Parameter, Record, Sort, Spec, action, choose, clause, indices, invariant, require
"""

from .actions import (
    Clauses,
    Leads,
    action,
    bounded,
    choose,
    clause,
    invariant,
    leads,
    leads_to,
    require,
    signed,
    step_property,
    unsigned,
    within,
)
from .records import Array, Record, indices
from .sorts import GHOST, FromScope, Machine, Range, Sort
from .spec import Parameter, Refinement, Requirement, Spec

__all__ = [
    "GHOST",
    "Array",
    "Clauses",
    "FromScope",
    "Leads",
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
    "leads",
    "leads_to",
    "require",
    "signed",
    "step_property",
    "unsigned",
    "within",
]
