"""A finding in a C library as a C program: it opens the library as the checker does, makes the same arena and instance,
makes the calls and checks what comes back.

The one idea: it needs nothing of this package, so it stays a useful regression test when the bug is mended.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from .arenas import GAP, regions_of
from .blocks import foreign_place
from .contract import Call, Contract
from .description import OUT, CCall, Description, bytes_of, signature, type_of
from .heap_oracle import alignment_of, requested
from .judging import block_names, call_text
from .misuse import MISUSE_CLAUSE, REJECTED
from .search import Failure, Search
from .sequences import Operation

REFUSALS = frozenset(
    {"capacity", "batch", "available", "exhaustion", "failure-harmless", "eager-merge", "exact-success"}
)
"""Clauses by which the last call must succeed."""
EXCESSES = frozenset({"oversize-fails", "calloc-overflow", "zero-size"})
"""Clauses by which the last call must fail, if it gave a block."""
WINDOW = 1 << 16
FAILED = {
    "NULL": "raw == 0",
    "zero": "raw == 0",
    "negative": "raw < 0",
    "status": "0",
    "never": "0",
}
PLACES = {"pointer": "(unsigned char *)raw", "offset": "base + raw", "index": "base + raw * UNIT"}
HEAD = """/* {title}
 *
 * Found by kmemspec validate: {message}
 *
 * Build and run:  cc reproducer.c -o reproducer -ldl && ./reproducer
 * Exit status 0 if the contract is kept. If the library wants static TLS (jemalloc), run it with
 * GLIBC_TUNABLES={tunables}
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define HELPER static __attribute__((unused))
#define NONE INTPTR_MIN
#define UNIT {unit}
#define HEADER {header}
#define ARENA ((size_t){arena})        /* bytes; 0: the library has memory of its own */
#define ALIGN ((size_t){align})
#define GUARD ((size_t){guard})
#define TOUCH {touch}        /* may blocks be written to? */

{cdef}
{functions}

HELPER unsigned char *base;
HELPER void *context;
HELPER void *out;
{room}
static struct block {{ unsigned char *at; intptr_t raw; size_t size; unsigned char fill; }} blocks[{blocks}];

HELPER void fail(const char *what, int block)
{{
	fprintf(stderr, "broken: %s (b%d)\\n", what, block);
	_exit(1);
}}

HELPER size_t shown(size_t size) {{ return !TOUCH ? 0 : size < {whole} ? size : {whole}; }}
{failed}
HELPER unsigned char *place(intptr_t raw) {{ return {place}; }}

{arena_text}
{slab_text}
/* Every live block still carries its bytes, at its start and at its end. */
HELPER void check(void)
{{
	for (int i = 1; i < {blocks}; i++)
		for (size_t k = 0; blocks[i].at && k < shown(blocks[i].size); k++)
			if (blocks[i].at[k] != blocks[i].fill || blocks[i].at[blocks[i].size - 1 - k] != blocks[i].fill)
				fail("contents of a live block changed", i);
	check_guards();
}}

/* A call gave `raw` for `size` bytes: is it aligned, its own, inside the arena, and usable? */
HELPER void accept(int i, intptr_t raw, size_t size, size_t alignment, uintptr_t origin, unsigned char fill)
{{
	unsigned char *at = place(raw);
	uintptr_t start = (uintptr_t)at, end = start + (size ? size : 1);
	if (ARENA && !in_a_region(start - (uintptr_t)base, size))
		fail("block is not within the arena", i);
	if ((start - HEADER - origin) % alignment)
		fail("block is not aligned", i);
	for (int j = 1; j < {blocks}; j++) {{
		uintptr_t other = (uintptr_t)blocks[j].at;
		if (j != i && other && start < other + (blocks[j].size ? blocks[j].size : 1) && other < end)
			fail("block overlaps a live block", i);
	}}
	memset(at, fill, shown(size));
	memset(at + size - shown(size), fill, shown(size));
	blocks[i] = (struct block){{ at, raw, size, fill }};
	check_slab(i);
}}

/* Allocation: due is 0 if it must fail, 1 if it must succeed, 2 if it may do either. */
HELPER void made(int i, intptr_t raw, size_t size, size_t alignment, uintptr_t origin, int due, int zeroed)
{{
	if (raw != NONE && due == 0)
		fail("a request that must fail did not", i);
	if (raw == NONE && due == 1)
		fail("request refused", i);
	for (size_t k = 0; raw != NONE && zeroed && k < shown(size); k++)
		if (place(raw)[k] || place(raw)[size - 1 - k])
			fail("calloc memory is not zero", i);
	if (raw != NONE)
		accept(i, raw, size, alignment, origin, (unsigned char)(i * 37 + 1));
	check();
}}

HELPER void resized(int i, intptr_t raw, size_t size, size_t alignment, int due)
{{
	struct block old = blocks[i];
	size_t common = old.size < size ? old.size : size;
	if (raw != NONE && due == 0)
		fail("a request that must fail did not", i);
	if (raw == NONE && due == 1)
		fail("request refused", i);
	for (size_t k = 0; raw != NONE && k < shown(common); k++)
		if (place(raw)[k] != old.fill)
			fail("realloc lost the old contents", i);
	if (raw != NONE)
		accept(i, raw, size, alignment, 0, (unsigned char)(old.fill + 91));
	check();
}}

/* A block is about to be freed: is there one? */
HELPER int leaving(int i)
{{
	unsigned char *at = blocks[i].at;
	blocks[i].at = NULL;
	return at != NULL;
}}

static void sequence(void)
{{
{init}{steps}
}}

int main(void)
{{
	int status;
	pid_t child;
	struct rlimit memory = {{ {memory}, {memory} }};
	void *library = dlopen("{library}", RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
	if (!library) {{
		fprintf(stderr, "%s\\n", dlerror());
		return 2;
	}}
{lookups}
	if (memory.rlim_cur)
		setrlimit(RLIMIT_AS, &memory);
	child = fork();                 /* so that an exit in the middle is seen too */
	if (child == 0) {{
		alarm(5);
		make_arena();
		sequence();
		_exit(42);
	}}
	waitpid(child, &status, 0);
	if (WIFSIGNALED(status))
		fprintf(stderr, "broken: ended by %s\\n", strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) != 42 && WEXITSTATUS(status) != 1)
		fprintf(stderr, "broken: left the process with status %d\\n", WEXITSTATUS(status));
	return !(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}}
"""
ARENA_TEXT = """enum { REGIONS = {count}, GAP = {gap} };
static const size_t regions[REGIONS][2] = { {regions} };     /* where each begins in the arena, and its bytes */
static size_t behind = GUARD;
static unsigned char guard(size_t k) { return (unsigned char)(k * 91 + 165); }

/* The arena as the checker made it: its place, what it is filled with, guard bytes around it. */
static void make_arena(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), lead = (ALIGN > page ? ALIGN : page) + page;
	size_t room = (lead + ARENA + 2 * page + ALIGN) / page * page + page;
	unsigned char *origin = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t ceiling = (uintptr_t)origin + room - page;
	if ({wall}) {
		base = (unsigned char *)((ceiling - ARENA - {phase}) / ALIGN * ALIGN + {phase});
		mprotect((void *)ceiling, page, PROT_NONE);
		if (ceiling - (uintptr_t)base - ARENA < GUARD)
			behind = ceiling - (uintptr_t)base - ARENA;
	} else {
		base = (unsigned char *)(((uintptr_t)origin + page + ALIGN - 1) / ALIGN * ALIGN + {phase});
	}
	for (size_t k = 0; {garbage} && k < ARENA; k++)
		base[k] = (unsigned char)(255 - k % 255);
	for (size_t k = 0; k < GUARD; k++)
		base[k - GUARD] = guard(k);
	for (size_t k = 0; k < behind; k++)
		base[ARENA + k] = guard(k);
	for (int r = 1; r < REGIONS; r++)
		for (size_t k = 0; k < GAP; k++)
			base[regions[r][0] - GAP + k] = guard(k);
}

HELPER int in_a_region(size_t at, size_t size)
{
	for (int r = 0; r < REGIONS; r++)
		if (at <= ARENA && at >= regions[r][0] && at + size <= regions[r][0] + regions[r][1])
			return 1;
	return 0;
}

HELPER void check_guards(void)
{
	for (size_t k = 0; k < GUARD; k++)
		if (base[k - GUARD] != guard(k) || (k < behind && base[ARENA + k] != guard(k)))
			fail("something is written outside the arena", 0);
	for (int r = 1; r < REGIONS; r++)
		for (size_t k = 0; k < GAP; k++)
			if (base[regions[r][0] - GAP + k] != guard(k))
				fail("something is written between two regions", 0);
}
"""
FAILURE = "HELPER intptr_t {name}(intptr_t raw) {{ return {test} ? NONE : raw; }}"
SLAB_TEXT = """#define SLAB(j) ((uintptr_t)blocks[j].at / {slab_bytes})

/* Slabs are multiples of their {slab_bytes} bytes; each holds {slots} objects; there are {slabs} at most. */
HELPER void check_slab(int i)
{
	int objects = 0, slabs = 0;
	if (SLAB(i) != ((uintptr_t)blocks[i].at + blocks[i].size - 1) / {slab_bytes})
		fail("object reaches over the end of its slab", i);
	for (int j = 1; j < {blocks}; j++) {
		int first = blocks[j].at != NULL;
		objects += blocks[j].at && SLAB(j) == SLAB(i);
		for (int k = 1; k < j; k++)
			first = first && !(blocks[k].at && SLAB(k) == SLAB(j));
		slabs += first;
	}
	if (objects > {slots} || slabs > {slabs})
		fail("object is one more than its slab, or the cache, can hold", i);
}
"""
NO_SLABS = "HELPER void check_slab(int i) { (void)i; }\n"
NO_ARENA = """static void make_arena(void) { }
HELPER int in_a_region(size_t at, size_t size) { return at + size > 0; }
HELPER void check_guards(void) { }
"""


def c_text(contract: Contract, search: Search, failure: Failure) -> str:
    """The program."""
    description = Description.from_plain(search.child.setup["description"])
    broken, scope = failure.judgement.broken, failure.scope
    assert broken is not None
    kinds = dict.fromkeys(contract.operations[step.kind].misuse or step.kind for step in failure.sequence)
    used: dict[str, tuple[CCall, Call | None]] = {
        kind: (description.calls[kind], contract.operations[kind]) for kind in kinds if kind in description.calls
    }
    used |= {name: (call, None) for name, call in (("init", description.init), ("add", description.add)) if call}
    steps = Steps(contract, search, failure, description).lines()
    failures = sorted({failure_test(description, kind) for kind in used})
    arena = ARENA_TEXT
    size = scope.get("arena", 0) or scope.get("pages", 0) * description.unit
    regions = regions_of({**scope, "arena": size})
    texts = {name: str(scope.get(name, 0)) for name in ("phase", "garbage", "wall")}
    texts |= {"count": str(len(regions)), "gap": str(GAP)}
    texts["regions"] = ", ".join(f"{{ {start}u, {length}u }}" for start, length in regions)
    for name, text in texts.items():
        arena = arena.replace("{" + name + "}", text)
    return HEAD.format(
        title=f"The {contract.name} contract, clause {broken.clause}: {contract.clause(broken.clause).statement}.",
        message=quoted(broken.message).replace("*/", "* /"),
        tunables="glibc.rtld.optional_static_tls=65536",
        unit=description.unit,
        header=description.header,
        arena=size if "arena" in scope else 0,
        align=scope.get("align", 4096),
        guard=description.guard if "arena" in scope else 0,
        touch=int(description.memory),
        cdef=description.cdef.strip(),
        functions="\n".join(pointer_to(kind, call, operation, description) for kind, (call, operation) in used.items()),
        room=f"static _Alignas(16) unsigned char room[{description.context}];" if description.context else "",
        blocks=len(block_names(contract, failure.sequence)) + 1,
        whole=WINDOW,
        failed="\n".join(FAILURE.format(name=name, test=test) for name, test in failures),
        place=PLACES[description.result],
        arena_text=arena if "arena" in scope else NO_ARENA,
        slab_text=slab_text(contract, search, failure),
        init=initialised(description, scope),
        steps="\n".join(steps),
        library=absolute(description.library).replace("\\", "\\\\").replace('"', '\\"'),
        lookups="\n".join(f'\t*(void **)&{kind}_ = dlsym(library, "{call.name}");' for kind, (call, _) in used.items()),
        memory=search.options.memory,
    )


def failure_test(description: Description, kind: str) -> tuple[str, str]:
    """The name of the function that tells the failure value, and how it does."""
    failure = description.failure_of(kind)
    test = FAILED.get(failure, f"raw == {failure}")
    return f"got_{re.sub(r'[^A-Za-z0-9]', '_', failure)}", test


def slab_text(contract: Contract, search: Search, failure: Failure) -> str:
    """The checks of slabs, if their layout is declared."""
    declared = search.child.declared
    broken = failure.judgement.broken
    if broken is None or not (declared.get("slab_bytes") and declared.get("slots")):
        return NO_SLABS
    text = SLAB_TEXT
    numbers = {
        "slab_bytes": declared["slab_bytes"],
        "slots": declared["slots"],
        "slabs": len(failure.sequence) if broken.most is None else broken.most,
        "blocks": len(block_names(contract, failure.sequence)) + 1,
    }
    for name, number in numbers.items():
        text = text.replace("{" + name + "}", str(number))
    return text


def pointer_to(kind: str, call: CCall, operation: Call | None, description: Description) -> str:
    """The declaration of the pointer to a function."""
    if f"{call.name}(" in description.cdef.replace(" (", "("):
        return f"static __typeof__({call.name}) *{kind}_;"
    result, _, arguments = signature(kind, call, operation, description).partition(f"{call.name}(")
    return f"static {result}(*{kind}_)({arguments}"


def initialised(description: Description, scope: Mapping[str, int]) -> str:
    """The lines that make the instance."""
    text = "\tcontext = room;\n" if description.context else ""
    if description.init is None:
        return text

    def given(call: CCall, region: int) -> str:
        return ", ".join(role_text(role, scope, description, {}, "0", region) for role in call.arguments)

    arguments = given(description.init, 0)
    more = range(1, scope.get("regions", 1)) if description.add is not None else ()
    added = "".join(f"\tadd_({given(description.add, region)});\n" for region in more if description.add is not None)
    pointer = "*" in description.init.type or not description.init.type
    assign = "context = " if pointer and not description.context else ""
    return f"{text}\t{assign}init_({arguments});\n{added}"


def role_text(
    role: str,
    scope: Mapping[str, int],
    description: Description,
    numbers: Mapping[str, int],
    block: str,
    region: int = 0,
) -> str:
    """One argument as C."""
    texts = {"context": "context", "arena": "base", "end": "base + ARENA", "bytes": "ARENA"}
    if scope.get("regions", 1) > 1:
        begin, length = f"base + regions[{region}][0]", f"regions[{region}][1]"
        texts |= {"arena": begin, "end": f"{begin} + {length}", "bytes": length}
    if role in texts:
        return texts[role]
    if role == OUT:
        return f"(out = (void *){block}, &out)"
    if role.startswith("&"):
        text = role_text(role[1:], scope, description, numbers, block)
        return f"&({type_of(role[1:], description)}){{ {text} }}"
    if role == "block":
        return f"(void *){block}" if description.result == "pointer" else block
    if role in numbers or role in scope:
        value = numbers.get(role, scope.get(role, 0)) % (1 << 64)
        return f"{value}u" if value < 1 << 31 else f"{value}ull"
    if role in ("count", "size") and "order" in numbers:
        return f"{(description.unit if role == 'size' else 1) << numbers['order']}u"
    return role


class Steps:
    """The calls of a failing sequence as lines of C."""

    def __init__(self, contract: Contract, search: Search, failure: Failure, description: Description) -> None:
        self.contract, self.failure, self.description = contract, failure, description
        self.declared = search.child.declared
        self.names = block_names(contract, failure.sequence)
        self.sizes: dict[int, int] = {}

    def lines(self) -> list[str]:
        """One line for each call."""
        calls = [
            f"\t{self.step(index, operation)} /* {call_text(index, operation, self.names)} */"
            for index, operation in enumerate(self.failure.sequence)
        ]
        broken = self.failure.judgement.broken
        if broken is None or broken.wanted is None:
            return calls
        block = self.names[len(calls) - 1][1:]
        due = f"\tif (blocks[{block}].at - base != {broken.wanted}l * UNIT)"
        return [*calls, due, f'\t\tfail("another block was due", {block});']

    def due(self, index: int, operation: Operation) -> int:
        """0: the call must fail; 1: it must succeed; 2: either."""
        broken, value = self.failure.judgement.broken, self.failure.judgement.values.get(index)
        assert broken is not None
        arena = self.failure.scope.get("arena") or 1 << 47
        if "size" in self.contract.operations[operation.kind].numbers and requested(operation) > arena:
            return 0
        if index < len(self.failure.sequence) - 1 or broken.kind != "clause":
            return 2
        if broken.clause in EXCESSES and value is not None:
            return 0
        return 1 if broken.clause in REFUSALS and value is None else 2

    def step(self, index: int, operation: Operation) -> str:
        """One call as C."""
        form = self.contract.operations[operation.kind]
        numbers = dict(zip(form.numbers, operation.arguments, strict=True))
        block = "0" if operation.block is None else f"blocks[{self.names[operation.block][1:]}].raw"
        known = dict(numbers)
        if form.misuse and operation.block is None:
            block = self.foreign(*operation.arguments)
            asked = self.contract.operations[self.contract.block_maker].numbers
            known = {**dict.fromkeys(asked, 0), "old_size": 0}
        if operation.block is not None:
            maker = self.failure.sequence[operation.block]
            made = dict(zip(self.contract.operations[maker.kind].numbers, maker.arguments, strict=True))
            known = {**made, "old_size": self.sizes.get(operation.block, 0), **numbers}
        if form.misuse:
            return self.misuse(index, operation, self.call(form.misuse, known, block))
        call = self.call(operation.kind, known, block)
        size = bytes_of(self.description, self.failure.scope, numbers) % (1 << 64)
        if form.result == "block":
            self.sizes[index] = size
            return self.made(index, operation, call, size)
        if form.result == "moved":
            assert operation.block is not None
            self.sizes[operation.block] = size
            name = self.names[operation.block][1:]
            alignment = alignment_of(size, self.declared) if size else 1
            due, raw = self.due(index, operation), self.wrapped(operation.kind, call)
            return f"if (blocks[{name}].at) resized({name}, {raw}, {size}u, {alignment}, {due});"
        if form.result == "nothing" and operation.block is not None:
            return f"if (leaving({self.names[operation.block][1:]})) {{ {call}; check(); }}"
        return self.value(index, operation, call)

    def foreign(self, which: int | None = None) -> str:
        """NULL, or what no call returned, as `CAdapter.foreign_handle` has it."""
        scope = self.failure.scope
        if which is None:
            return "0"
        if self.description.result != "pointer":
            unit = self.description.unit if self.description.result == "index" else 1
            size = scope.get("arena", 0) or scope.get("pages", 0) * self.description.unit
            return str(foreign_place(which, {**scope, "arena": size // unit}))
        places = ("base + ARENA + 16", "base - 16", "&blocks")
        return f"(intptr_t)({places[which % 3 if 'arena' in scope else 2]})"

    def call(self, kind: str, numbers: Mapping[str, int], block: str) -> str:
        """The call itself."""
        roles = self.description.calls[kind].arguments
        arguments = (role_text(role, self.failure.scope, self.description, numbers, block) for role in roles)
        return f"{kind}_({', '.join(arguments)})"

    def wrapped(self, kind: str, call: str) -> str:
        """The call, with NONE in place of its failure value."""
        if self.description.failure_of(kind) == "status":
            return f"({call} ? NONE : (intptr_t)out)"
        return f"{failure_test(self.description, kind)[0]}((intptr_t){call})"

    def made(self, index: int, operation: Operation, call: str, size: int) -> str:
        """A call that makes a block."""
        alignment, origin = 1, "0"
        if "order" in self.contract.operations[operation.kind].numbers:
            alignment, origin = size, "(uintptr_t)base"
            size -= self.description.header
        elif size and "alignment" in self.declared:
            small = "small_alignment" in self.declared
            alignment = alignment_of(size, self.declared) if small else self.declared["alignment"]
        if operation.kind == "aligned_alloc":
            alignment = operation.arguments[0]
        due, zeroed = self.due(index, operation), int(operation.kind == "calloc")
        text = f"{self.wrapped(operation.kind, call)}, {size}u, {alignment}, {origin}, {due}, {zeroed}"
        return f"made({self.names[index][1:]}, {text});"

    def misuse(self, index: int, operation: Operation, call: str) -> str:
        """A call that frees what it must not."""
        broken = self.failure.judgement.broken
        if index < len(self.failure.sequence) - 1 or broken is None or broken.clause != MISUSE_CLAUSE.name:
            return f"{call}; check();"
        wrong = "!" if self.declared[operation.kind] == REJECTED else ""
        return f'if ({wrong}{call}) {{ fail("it is not {self.declared[operation.kind]}", 0); }} check();'

    def value(self, index: int, operation: Operation, call: str) -> str:
        """A call that gives a number: the last one must not give what it gave when it was found."""
        form = self.contract.operations[operation.kind]
        broken, value = self.failure.judgement.broken, self.failure.judgement.values.get(index)
        assert broken is not None
        if index < len(self.failure.sequence) - 1 or broken.kind != "clause" or form.result == "nothing":
            return f"{call}; check();"
        bad: Any = "NONE" if value is None else int(value)
        got = f"(intptr_t)!!{call}" if form.result == "truth" else self.wrapped(operation.kind, call)
        return f'if ({got} == {bad}) fail("it gives the wrong answer", 0);'


def quoted(message: str) -> str:
    """Text from the target, harmless inside a docstring or comment."""
    return message.replace("\\", "/").replace('"', "'").encode("ascii", "replace").decode()


def absolute(target: str) -> str:
    """A path that works from anywhere; a soname or module name as it is."""
    return os.path.abspath(target) if "/" in target or target.endswith(".py") else target
