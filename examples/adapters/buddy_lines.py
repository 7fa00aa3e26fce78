"""A buddy allocator behind the JSON-lines protocol (docs/adapters.md):

kmemspec validate page-allocator "command:python3 buddy_lines.py"
"""

import json
import sys


class Buddy:
    def __init__(self, pages, orders):
        self.orders, self.free = orders, set()
        for page in range(pages):
            self.merge(page, 0)

    def merge(self, page, order):
        self.free.add((page, order))
        while order < self.orders - 1 and (page ^ (1 << order), order) in self.free:
            self.free -= {(page, order), (page ^ (1 << order), order)}
            page, order = page & ~(1 << order), order + 1
            self.free.add((page, order))

    def alloc(self, order):
        block = min(((size, page) for page, size in self.free if size >= order), default=None)
        if block is None:
            return None
        size, page = block
        self.free.remove((page, size))
        self.free |= {(page + (1 << part), part) for part in range(order, size)}
        return page


for line in sys.stdin:
    request = json.loads(line)
    if request["op"] == "init":
        buddy, answer = Buddy(request["pages"], request["orders"]), {}
    elif request["op"] == "alloc":
        answer = {"at": buddy.alloc(request["order"])}
    else:
        buddy.merge(request["at"], request["order"])
        answer = {}
    print(json.dumps(answer), flush=True)
