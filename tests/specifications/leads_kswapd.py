"""A toy kswapd and leads-to properties: one that holds, one that a lasso breaks, one without fairness, one vacuous."""

from typing import Annotated

from kmemspec import Leads, Range, Record, Spec, action, leads, leads_to, require


class Kswapd(Record):
    level: Annotated[int, Range(0, 3)]
    awake: bool


def full(m: Kswapd) -> None:
    m.level = 3


@action
def kswapd_step(m: Kswapd) -> None:
    require(m.awake)
    if m.level >= 2:
        m.awake = False
    else:
        m.level += 1


@action
def wake(m: Kswapd) -> None:
    require(not m.awake and m.level < 2)
    m.awake = True


@action
def alloc(m: Kswapd) -> None:
    require(m.level > 0)
    m.level -= 1


@action
def idle(m: Kswapd) -> None:
    require(True)


@leads_to("FAIR", fair=(kswapd_step,))
def sleeps(m: Kswapd) -> Leads:
    """Allocations may go on for ever."""
    return leads(when=m.awake, then=not m.awake)


@leads_to("STOPS", fair=(kswapd_step,), quiet=(alloc,), origin="balance_pgdat()")
def sleeps_when_quiet(m: Kswapd) -> Leads:
    """kswapd goes back to sleep, once nobody allocates any more."""
    return leads(when=m.awake, then=not m.awake)


@leads_to("UNFAIR", quiet=(alloc,))
def sleeps_unfairly(m: Kswapd) -> Leads:
    """Nothing says that kswapd runs."""
    return leads(when=m.awake, then=not m.awake)


@leads_to("NEVER", fair=(kswapd_step,))
def never_due(m: Kswapd) -> Leads:
    """Vacuous."""
    return leads(when=m.awake and m.level == 3 and m.level == 0, then=False)


SPEC = Spec(
    "kswapd", Kswapd, full, (kswapd_step, wake, alloc, idle), (sleeps, sleeps_when_quiet, sleeps_unfairly, never_due)
)
