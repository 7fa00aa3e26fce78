"""Toy machines with leads-to properties for test_liveness: their steps are drawn by a hash of the scope's `seed`."""

from typing import Annotated

from kmemspec import (
    Array,
    FromScope,
    Leads,
    Parameter,
    Range,
    Record,
    Sort,
    Spec,
    action,
    choose,
    indices,
    leads,
    leads_to,
    require,
)

Way = Annotated[int, Sort("way", 2)]
Spot = Annotated[int, Range(0, 8)]
Token = Annotated[int, Sort("token", "tokens")]


class Walker(Record):
    seed: Annotated[int, FromScope("seed")]
    at: Spot


def drawn(seed: int, at: int, what: int) -> int:
    """A number that looks random."""
    number = (at * 7919 + what * 104729 + seed * 1299709 + 12345) % 1000003
    number = (number * number + at + 31 * what) % 999983
    return number * 48271 % 65521


def begin(m: Walker) -> None:
    m.at = 0


@action
def go(m: Walker, way: Way) -> None:
    require(drawn(m.seed, m.at, way) % 3 != 0)
    m.at = drawn(m.seed, m.at, 10 + way) % 9


@action
def hop(m: Walker) -> None:
    require(drawn(m.seed, m.at, 2) % 2 == 0)
    far = choose(range(2))
    require(drawn(m.seed, m.at, 3 + far) % 4 != 0)
    m.at = drawn(m.seed, m.at, 20 + far) % 9


@action
def rest(m: Walker) -> None:
    require(drawn(m.seed, m.at, 5) % 3 == 0)


@action
def push(m: Walker) -> None:
    require(drawn(m.seed, m.at, 6) % 2 == 0)
    m.at = drawn(m.seed, m.at, 30) % 9


def due(m: Walker) -> Leads:
    return leads(when=drawn(m.seed, m.at, 50) % 3 == 0, then=drawn(m.seed, m.at, 51) % 5 == 0)


@leads_to("RUN")
def due_running(m: Walker) -> Leads:
    return leads(when=drawn(m.seed, m.at, 50) % 3 == 0, then=drawn(m.seed, m.at, 51) % 5 == 0)


@leads_to("RUNQ", quiet=(push, go))
def due_running_quiet(m: Walker) -> Leads:
    return leads(when=drawn(m.seed, m.at, 50) % 3 == 0, then=drawn(m.seed, m.at, 51) % 5 == 0)


@leads_to("GO", fair=(go,))
def due_go(m: Walker) -> Leads:
    when = drawn(m.seed, m.at, 50) % 3 == 0
    if when:
        return leads(when=True, then=drawn(m.seed, m.at, 51) % 5 == 0)
    return leads(then=drawn(m.seed, m.at, 51) % 5 == 0, when=False)


@leads_to("HOP", fair=(hop, rest), quiet=(push,))
def due_hop(m: Walker) -> Leads:
    return leads(when=drawn(m.seed, m.at, 50) % 3 == 0, then=drawn(m.seed, m.at, 51) % 5 == 0)


@leads_to("ALL", fair=(hop, rest, go, push))
def due_all(m: Walker, way: Way) -> Leads:
    return leads(when=drawn(m.seed, m.at, 50 + way) % 4 == 0, then=drawn(m.seed, m.at, 60 + way) % 5 == 0)


WALKER = Spec(
    "walker", Walker, begin, (go, hop, rest, push), (due_running, due_running_quiet, due_go, due_hop, due_all),
    (Parameter("seed", 0, "which machine", least=0),),
)


class Board(Record):
    seed: Annotated[int, FromScope("seed")]
    shared: Annotated[int, Range(0, 2)]
    spots: Array[Token, Annotated[int, Range(0, 2)]]
    turn: Token | None


def set_up(m: Board) -> None:
    m.shared = 0


@action
def move(m: Board, token: Token) -> None:
    seen = 3 * m.spots[token] + m.shared
    require(drawn(m.seed, seen, 70) % 3 != 0)
    m.spots[token] = drawn(m.seed, seen, 71) % 3
    m.shared = drawn(m.seed, seen, 72) % 3


@action
def grab(m: Board, token: Token) -> None:
    require(m.turn is None or m.turn == token or drawn(m.seed, m.spots[token], 74) % 2 == 0)
    other = choose(indices(m.spots))
    require(drawn(m.seed, m.spots[other], 75) % 2 == 0)
    if drawn(m.seed, m.shared, 76) % 2 == 0:
        m.turn = other
    else:
        m.turn = None


@action
def shift(m: Board) -> None:
    total = sum(m.spots[token] for token in indices(m.spots))
    require(drawn(m.seed, 3 * total + m.shared, 77) % 3 != 0)
    m.shared = drawn(m.seed, 3 * total + m.shared, 78) % 3


@leads_to("MOVE", fair=(move,), quiet=(grab,))
def token_moves(m: Board, token: Token) -> Leads:
    """With elements and fair instances of a symmetric sort."""
    seen = 3 * m.spots[token] + m.shared
    return leads(when=drawn(m.seed, seen, 80) % 3 == 0, then=drawn(m.seed, seen, 81) % 6 == 0)


@leads_to("GRAB", fair=(grab, shift))
def grabbed(m: Board) -> Leads:
    """With fair instances of a symmetric sort."""
    return leads(when=m.turn is None, then=m.turn is not None or drawn(m.seed, m.shared, 82) % 3 == 0)


@leads_to("SHIFT", fair=(shift,), quiet=(grab,))
def shifted(m: Board, token: Token) -> Leads:
    """With elements alone."""
    return leads(when=m.turn == token, then=m.turn != token or m.spots[token] == drawn(m.seed, 0, 83) % 3)


@leads_to("PAIR", fair=(move, grab))
def pair(m: Board, token: Token, other: Token) -> Leads:
    """With pairs of elements."""
    return leads(when=m.spots[token] != m.spots[other], then=m.spots[token] == m.spots[other] and m.turn != token)


@leads_to("ON")
def goes_on(m: Board) -> Leads:
    """Of runs that go on."""
    return leads(when=m.shared == 0, then=m.shared == drawn(m.seed, 1, 84) % 3)


BOARD = Spec(
    "board", Board, set_up, (move, grab, shift), (token_moves, grabbed, shifted, pair, goes_on),
    (Parameter("seed", 0, "which machine", least=0), Parameter("tokens", 3, "tokens")), symmetric=("token",),
)


class Queue(Record):
    seed: Annotated[int, FromScope("seed")]
    waiting: Array[Token, bool]
    after: Array[Token, Token | None]
    last: Token | None
    holder: Token | None


def empty(m: Queue) -> None:
    m.last = None


@action
def want(m: Queue, token: Token) -> None:
    require(not m.waiting[token] and m.holder != token)
    m.waiting[token] = True
    if drawn(m.seed, 0, 90) % 2 == 0:
        m.after[token] = m.last
        m.last = token


@action
def take(m: Queue, token: Token) -> None:
    require(m.waiting[token] and m.holder is None and m.after[token] is None)
    m.waiting[token] = False
    if drawn(m.seed, 0, 91) % 2 == 0:
        m.holder = token
    if m.last == token:
        m.last = None
    for other in indices(m.after):
        if m.after[other] == token:
            m.after[other] = None


@action
def release(m: Queue) -> None:
    require(m.holder is not None)
    m.holder = None


@leads_to("SERVED", fair=(take, release))
def served(m: Queue, token: Token) -> Leads:
    """Who waits gets it: in a queue, or if it is always free; else others may take it each time."""
    return leads(when=m.waiting[token], then=not m.waiting[token])


@leads_to("STOPS", fair=(take, release), quiet=(want,))
def stops(m: Queue) -> Leads:
    """Once nobody wants it any more, it is free."""
    free = all(not m.waiting[token] for token in indices(m.waiting))
    return leads(when=m.holder is not None, then=m.holder is None and free)


@leads_to("OTHERS", fair=(take, want))
def others(m: Queue, token: Token, other: Token) -> Leads:
    """One does not wait because another does."""
    return leads(when=m.waiting[token] and token != other, then=m.waiting[other])


QUEUE = Spec(
    "queue", Queue, empty, (want, take, release), (served, stops, others),
    (Parameter("seed", 0, "which machine", least=0), Parameter("tokens", 3, "tokens")), symmetric=("token",),
)
