"""A slab class of memcached, by its text protocol:

kmemspec validate object-cache examples/adapters/memcached_slabs.py:SlabClass

Each cache is a server of its own that may have `slabs` pages of 1 MiB and does not evict. An item is an object of the
largest class of which a page has `slots` chunks; the items are as small and as large as this class has them, so that
one that goes to another class is missing in the counts. Objects have no place in the protocol: they are numbered by
the lowest number that is free, so a page more than the numbers need is one too many. What `stats slabs` says of the
class must agree with itself (chunks a page, total, used and free) and with the growth factor. Every second object is
freed by deletion, the others by expiry.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time

PAGE, CHUNK_MAX, FIRST, FACTOR = 1 << 20, 1 << 19, 96, 1.25
HEADER, KEY = 48 + 8 + 1 + 2, "{:08d}"


def classes():
    """Number and chunk size of each class, as slabs_init of memcached makes them."""
    sizes, size = [], FIRST
    while size <= CHUNK_MAX / FACTOR:
        size = (size + 7) // 8 * 8
        sizes.append(size)
        size = int(size * FACTOR)
    return [0, *sizes, CHUNK_MAX]


class SlabClass:
    declares = {"keep_empty": 64}  # noqa: RUF012

    def __init__(self, slabs, slots):
        sizes = classes()
        fitting = [number for number, size in enumerate(sizes) if size and PAGE // size == slots]
        if not fitting or not 2 <= slabs <= 64:
            raise ValueError(f"no class has {slots} chunks a page, or {slabs} MiB are not 2 to 64")
        self.number, self.slots, self.live = fitting[-1], slots, set()
        self.size, self.smaller = sizes[self.number], sizes[self.number - 1]
        self.place = tempfile.mkdtemp()
        os.chmod(self.place, 0o777)
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        options = ["-M", "-m", str(slabs), "-t", "1", "-o", "no_lru_maintainer"]
        command = ["memcached", *user, "-s", f"{self.place}/s", *options, *os.environ.get("MEMCACHED", "").split()]
        self.server = subprocess.Popen(command)
        self.socket = socket.socket(socket.AF_UNIX)
        while self.socket.connect_ex(f"{self.place}/s"):
            time.sleep(0.002)
        self.answers = self.socket.makefile("rb")

    def ask(self, line, data=b""):
        self.socket.sendall(line.encode() + b"\r\n" + data)
        return self.answers.readline().decode().strip()

    def alloc(self):
        number = next(number for number in range(len(self.live) + 1) if number not in self.live)
        key = KEY.format(number)
        total = self.size if number % 2 else self.smaller + 1
        data = b"x" * (total - HEADER - len(key))
        answer = self.ask(f"set {key} 0 0 {len(data)}", data + b"\r\n")
        if answer == "SERVER_ERROR out of memory storing object":
            return None
        assert answer == "STORED", answer
        self.live.add(number)
        return number

    def free(self, number):
        key = KEY.format(number)
        said = self.ask(f"delete {key}") if number % 2 else self.ask(f"touch {key} -1") + self.ask(f"get {key}")
        assert said in ("DELETED", "TOUCHEDEND"), said
        self.live.remove(number)

    def statistics(self):
        said, line = {}, self.ask("stats slabs")
        while line != "END":
            name, value = line.split()[1:]
            said[name.removeprefix(f"{self.number}:")] = int(value)
            line = self.answers.readline().decode().strip()
        if "chunk_size" not in said:
            return 0, 0
        chunks = (said["total_pages"] * self.slots, said["total_chunks"], said["used_chunks"] + said["free_chunks"])
        sizes = (said["chunk_size"], said["chunks_per_page"])
        assert len(set(chunks)) == 1, f"pages, total, used and free: {chunks} chunks"
        assert sizes == (self.size, self.slots), f"chunks of {sizes[0]} bytes, {sizes[1]} a page"
        return said["used_chunks"], said["total_pages"]

    def close(self):
        self.server.kill()
        self.server.wait()
        shutil.rmtree(self.place)
