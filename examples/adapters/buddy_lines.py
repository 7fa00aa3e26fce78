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
        while order < self.orders - 1 and (page ^ (1 << order), order) in self.free:
            self.free.remove((page ^ (1 << order), order))
            page, order = page & ~(1 << order), order + 1
        self.free.add((page, order))

    def alloc(self, order):
        size, page = min(((size, page) for page, size in self.free if size >= order), default=(None, None))
        if page is not None:
            self.free.remove((page, size))
            self.free |= {(page + (1 << part), part) for part in range(order, size)}
        return page


for line in sys.stdin:
    request, answer = json.loads(line), {}
    if request["op"] == "init":
        buddy = Buddy(request["pages"], request["orders"])
    elif request["op"] == "alloc":
        answer = {"at": buddy.alloc(request["order"])}
    else:
        buddy.merge(request["at"], request["order"])
    print(json.dumps(answer), flush=True)
