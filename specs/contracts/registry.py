"""Every contract there is: one file and one line each."""

from __future__ import annotations

from collections.abc import Mapping

from . import heap, lru, object_cache, pages
from .contract import Contract
from .interface import Interface

INTERFACES: Mapping[str, Interface] = {
    interface.contract.name: interface
    for interface in (heap.INTERFACE, lru.INTERFACE, object_cache.INTERFACE, pages.INTERFACE)
}
CONTRACTS: Mapping[str, Contract] = {name: interface.contract for name, interface in INTERFACES.items()}
