"""An fsck for the allocator: one snapshot of a kernel against every structural invariant (`kmemspec snapshot`).

The one idea: what must hold of a state is written once, as the invariants of specs/buddy.py … specs/lru.py, and is
evaluated on the machine that the snapshot is loaded into; only what is said of files alone is written here.
"""
