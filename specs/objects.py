"""The abstract object cache as a specification of its own (model/objects.py)."""

from __future__ import annotations

from ..model.lang import Clauses, Parameter, Spec, clause, indices, step_property
from ..model.objects import Objects, allocate, no_objects, refuse, release
from ..model.slab import Cache, Object


@step_property("S3", action=allocate, origin="(the allocator's purpose: no double allocation)")
def no_live_object_is_given(before: Objects, after: Objects, cache: Cache, object: Object) -> Clauses:
    """An object that is given was not live, and no other object is touched."""
    yield clause("the object was not live", before.object[object] is None, object)
    for other in indices(before.object):
        if other != object:
            yield clause("no other object is touched", after.object[other] == before.object[other], other)


SPEC = Spec(
    name="objects",
    state=Objects,
    init=no_objects,
    actions=(allocate, release, refuse),
    properties=(no_live_object_is_given,),
    parameters=(
        Parameter("frames", 2, "the number of page frames", least=1, most=1 << 16),
        Parameter("slots", 3, "the most objects that a slab has", least=1, most=1 << 15),
        Parameter("caches", 2, "the number of caches", least=1, most=1 << 10),
    ),
    derived={"objects": lambda sizes: sizes["frames"] * sizes["slots"]},
    doc=__doc__,
)
