"""A program with one thing wrong, for the tests: `hostile_lines.py NAME`. Correct with the name none.

It rejects what must not be freed; with the name careful it says so."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

WRONG = sys.argv[1]
REJECTED = dict.fromkeys(("free_null", "double_free", "foreign_free"), "rejected")
DECLARES = {"careful": REJECTED, "promises": {"double_free": "never"}, "promises badly": 7}
calls = 0
live = {}


def misbehave():
    if WRONG == "segfaults":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif WRONG == "exits":
        os._exit(0)
    elif WRONG == "exits with 3":
        sys.exit(3)
    elif WRONG == "sleeps":
        time.sleep(1000)
    elif WRONG == "closes stdout":
        os.close(1)
        time.sleep(1000)
    elif WRONG == "garbage":
        print("hello { world", flush=True)
    elif WRONG == "megabytes":
        sys.stdout.write("9" * (8 << 20))
        sys.stdout.flush()
    elif WRONG == "nests":
        print("[" * 20000, flush=True)
    elif WRONG == "forks":
        subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL)
    elif WRONG == "escapes":
        subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL, start_new_session=True)
    elif WRONG == "eats memory":
        hoard = [bytearray(1 << 28) for _ in range(100)]
        print(len(hoard), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    elif WRONG == "no place":
        print(json.dumps({"place": 0}), flush=True)
    elif WRONG == "a text":
        print(json.dumps({"at": "0x10"}), flush=True)
    elif WRONG == "an error":
        print(json.dumps({"error": "out of luck"}), flush=True)


if WRONG == "ends at once":
    sys.exit(7)
for line in sys.stdin:
    request = json.loads(line)
    answer = {}
    if request["op"] == "init":
        pages, orders = request["pages"], request["orders"]
        free = set(range(pages))
        answer = {"declined": "only whole numbers"} if WRONG == "declines" else {}
        if WRONG in DECLARES or WRONG.startswith("accepts"):
            answer["declares"] = DECLARES.get(WRONG, REJECTED)
    elif request["op"] == "alloc":
        calls += 1
        if calls == 2:
            misbehave()
        size = 1 << request["order"]
        runs = [page for page in range(0, pages - size + 1, size) if set(range(page, page + size)) <= free]
        page = runs[0] if runs else None
        if page is not None and WRONG == "misaligned" and size == 2 and page + 3 <= pages:
            page += 1
        if page is not None and WRONG == "twice" and live:
            page = next(iter(live))
        if page is not None:
            free -= set(range(page, page + size))
            live[page] = size
        answer = {"at": page}
    elif request["at"] not in live and not (
        (WRONG == "accepts twice" and request["at"] in free)
        or (WRONG == "accepts NULL" and request["at"] is None)
        or (WRONG == "accepts any" and request["at"] not in (None, *range(pages)))
    ):
        answer = {"rejected": True}
    elif request["at"] is not None:
        free |= set(range(request["at"], request["at"] + (1 << request["order"])))
        live.pop(request["at"], None)
    print(json.dumps(answer), flush=True)
if WRONG == "fails at the end":
    sys.exit(23)
if WRONG == "talks on":
    print("that was all")
if WRONG == "stays":
    time.sleep(1000)
