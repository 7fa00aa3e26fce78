"""memcached by its text protocol, a cache for `kmemspec validate lru examples/adapters/memcached.py:Memcached`.

It wants a server of its own, whose port is in MEMCACHED_PORT: memcached -m 4 -o no_lru_maintainer -p 11311
Four megabytes hold 40 of these items; those that earlier sequences left behind are older, and go first. A get counts as
a use once in 60 seconds, so what goes should be what was put first: `--declare policy=fifo --declare used_by=put` holds
it to that, and shows that a put of a present key evicts another one, since the new item is there before the old one is
let go. So it declares itself approximate: values exact, never more than fit, what was put last is there.
"""

import os
import socket
import time

CAPACITY = 40
ITEM_BYTES = 100_000


class Memcached:
    """One client, with keys of its own; the value is a number at the start of a large item."""

    declares = {"policy": "approximate", "least_capacity": CAPACITY}  # noqa: RUF012

    def __init__(self, capacity):
        if capacity != CAPACITY:
            raise ValueError(f"the server holds {CAPACITY} items")
        self.socket = socket.create_connection(("127.0.0.1", int(os.environ["MEMCACHED_PORT"])), timeout=2)
        self.answers = self.socket.makefile("rb")
        self.own = f"{os.getpid()}-{time.monotonic_ns()}"
        self.known = set()

    def ask(self, line, data=b""):
        self.socket.sendall(line.encode() + b"\r\n" + data)
        return self.answers.readline().split()

    def put(self, key, value):
        data = str(value).encode().ljust(ITEM_BYTES)
        self.known.add(key)
        answer = self.ask(f"set {self.own}-{key} 0 0 {len(data)}", data + b"\r\n")
        if answer != [b"STORED"]:
            raise RuntimeError(f"set is answered by {b' '.join(answer).decode()}")

    def get(self, key):
        answer = self.ask(f"get {self.own}-{key}")
        if answer == [b"END"]:
            return None
        data = self.answers.read(int(answer[3]) + 2)
        self.answers.readline()
        return int(data)

    def delete(self, key):
        return self.ask(f"delete {self.own}-{key}") == [b"DELETED"]

    def clear(self):
        self.ask("flush_all")

    def __len__(self):
        return sum(self.ask(f"mg {self.own}-{key}") == [b"HD"] for key in self.known)
