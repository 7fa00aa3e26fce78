"""A finding as a program that fails by itself: a pytest file for a Python class, a C main() for a library.

The one idea: a reproducer needs nothing of this package. It carries the few checks its sequence needs, so it stays a
useful regression test when the bug is mended. Texts only; who calls decides where to write them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from .contract import Contract
from .heap import requested
from .judging import Broken, block_names, call_text
from .results import ValidateOptions
from .sequences import Operation, Sequence

PYTEST_HEAD = '''"""{title}

Found by kmemspec validate: {message}
"""

import importlib
import importlib.util
import os
import subprocess
import sys

TARGET = {target!r}
PAGES, ORDERS = {pages}, {orders}


def make():
    """A fresh allocator."""
    source, _, name = TARGET.rpartition(":")
    if source.endswith(".py"):
        sys.path.insert(0, os.path.dirname(source))
        spec = importlib.util.spec_from_file_location("validated", source)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, os.getcwd())
        module = importlib.import_module(source)
    return getattr(module, name)(PAGES, ORDERS)


class Checked:
    """Calls the allocator and checks each answer against what is live."""

    def __init__(self):
        self.allocator, self.live = make(), {{}}

    def taken(self):
        return {{page + i for page, order in self.live.items() for i in range(1 << order)}}

    def alloc(self, order):
        size, taken = 1 << order, self.taken()
        runs = [p for p in range(0, PAGES - size + 1, size) if not taken & set(range(p, p + size))]
        page = self.allocator.alloc(order)
        if page is None:
            assert not runs, f"alloc({{order}}) gives None, but page {{runs[0]}} and {{size - 1}} more are free"
            return None
        assert not isinstance(page, bool) and hasattr(page, "__index__"), f"alloc({{order}}) gives {{page!r:.100}}"
        assert 0 <= page <= PAGES - size, f"alloc({{order}}) gives {{page}}, out of bounds"
        assert page % size == 0, f"alloc({{order}}) gives {{page}}, not aligned"
        assert not taken & set(range(page, page + size)), f"alloc({{order}}) gives {{page}}, which is live"
        self.live[page] = order
        return page

    def free(self, page):
        if page is not None:
            order = self.live.pop(page)
            self.allocator.free({free_arguments})


def sequence():
    a = Checked()
{steps}

'''
PYTEST_INSIDE = '''
def test_{name}():
    """{statement}"""
    sequence()
'''
PYTEST_OUTSIDE = '''
def test_{name}():
    """{statement}"""
    command = [sys.executable, __file__]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=5)
    assert run.returncode == 0, f"ended with {{run.returncode}}: {{run.stderr[-500:]}}"
    assert run.stdout.count("the sequence is over") == 1


if __name__ == "__main__":
    guard = os.dup(2)
    sequence()
    os.fstat(guard)
    print("the sequence is over", flush=True)
'''

C_HEAD = """/* {title}
 *
 * Found by kmemspec validate: {message}
 *
 * Build and run:  cc reproducer.c -o reproducer -ldl && ./reproducer
 * Exit status 0 if the contract is kept. If the library wants static TLS (jemalloc), run it with
 * GLIBC_TUNABLES={tunables}
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define HELPER static __attribute__((unused))

static void *(*malloc_)(size_t);
static void (*free_)(void *);
static void *(*realloc_)(void *, size_t);
static void *(*calloc_)(size_t, size_t);
static void *(*aligned_alloc_)(size_t, size_t);

static struct block {{ unsigned char *at; size_t size; unsigned char fill; }} blocks[{blocks}];

HELPER void fail(const char *what, int block)
{{
	fprintf(stderr, "broken: %s (b%d)\\n", what, block);
	_exit(1);
}}

HELPER size_t shown(size_t size) {{ return size < {whole} ? size : {whole}; }}

/* Every live block still carries its bytes, at its start and at its end. */
HELPER void check_contents(void)
{{
	for (int i = 1; i < {blocks}; i++)
		for (size_t k = 0; blocks[i].at && k < shown(blocks[i].size); k++)
			if (blocks[i].at[k] != blocks[i].fill || blocks[i].at[blocks[i].size - 1 - k] != blocks[i].fill)
				fail("contents of a live block changed", i);
}}

/* A call gave `at` for `size` bytes: is it aligned, its own, and usable? */
HELPER void accept(int i, void *at, size_t size, size_t alignment, unsigned char fill)
{{
	uintptr_t start = (uintptr_t)at, end = start + (size ? size : 1);
	if (!at)
		return;
	if (start % alignment)
		fail("block is not aligned", i);
	for (int j = 1; j < {blocks}; j++) {{
		uintptr_t other = (uintptr_t)blocks[j].at;
		if (j != i && other && start < other + (blocks[j].size ? blocks[j].size : 1) && other < end)
			fail("block overlaps a live block", i);
	}}
	memset(at, fill, shown(size));
	memset((unsigned char *)at + size - shown(size), fill, shown(size));
	blocks[i] = (struct block){{ at, size, fill }};
}}

/* Allocation: due is 0 if it must fail, 1 if it must succeed, 2 if it may do either. */
HELPER void made(int i, void *at, size_t size, size_t alignment, int due, int zeroed)
{{
	if (at && due == 0)
		fail("impossible request did not fail", i);
	if (!at && due == 1)
		fail("request refused", i);
	for (size_t k = 0; at && zeroed && k < shown(size); k++)
		if (((unsigned char *)at)[k] || ((unsigned char *)at)[size - 1 - k])
			fail("calloc memory is not zero", i);
	accept(i, at, size, alignment, (unsigned char)(i * 37 + 1));
	check_contents();
}}

HELPER void resized(int i, size_t size, size_t alignment, int due)
{{
	struct block old = blocks[i];
	size_t common = old.size < size ? old.size : size;
	unsigned char *at = realloc_(old.at, size);
	if (at && due == 0)
		fail("impossible request did not fail", i);
	if (!at && due == 1)
		fail("request refused", i);
	for (size_t k = 0; at && k < shown(common); k++)
		if (at[k] != old.fill)
			fail("realloc lost the old contents", i);
	accept(i, at, size, alignment, (unsigned char)(old.fill + 91));
	check_contents();
}}

HELPER void freed(int i)
{{
	void *at = blocks[i].at;
	blocks[i].at = NULL;
	free_(at);
	check_contents();
}}

static void sequence(void)
{{
{steps}
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
	malloc_ = (void *(*)(size_t))dlsym(library, "{prefix}malloc");
	free_ = (void (*)(void *))dlsym(library, "{prefix}free");
	realloc_ = (void *(*)(void *, size_t))dlsym(library, "{prefix}realloc");
	calloc_ = (void *(*)(size_t, size_t))dlsym(library, "{prefix}calloc");
	aligned_alloc_ = (void *(*)(size_t, size_t))dlsym(library, "{prefix}aligned_alloc");
	if (memory.rlim_cur)
		setrlimit(RLIMIT_AS, &memory);
	child = fork();                 /* so that an exit in the middle is seen too */
	if (child == 0) {{
		alarm(5);
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
REFUSALS = frozenset({"capacity", "batch", "available", "failure-harmless"})
C_WINDOW = 1 << 16


def reproducer(
    contract: Contract,
    target: str,
    options: ValidateOptions,
    scope: Mapping[str, int],
    sequence: Sequence,
    broken: Broken,
) -> tuple[str, str]:
    """File name and text of the program that shows the failure."""
    if contract.name == "heap":
        return f"reproduce_{identifier(broken.clause)}.c", c_text(contract, target, options, sequence, broken)
    return f"test_reproduce_{identifier(broken.clause)}.py", pytest_text(contract, target, scope, sequence, broken)


def identifier(name: str) -> str:
    """A clause's name as part of a Python name."""
    return name.replace("-", "_")


def absolute(target: str) -> str:
    """A path that works from anywhere; a soname or module name as it is."""
    return os.path.abspath(target) if "/" in target or target.endswith(".py") else target


def pytest_text(contract: Contract, target: str, scope: Mapping[str, int], sequence: Sequence, broken: Broken) -> str:
    """A pytest file; when the process itself ends, the sequence runs in a process of its own."""
    source, _, name = target.rpartition(":")
    names = block_names(sequence)
    steps = [f"    {pytest_step(index, operation, names)}" for index, operation in enumerate(sequence)]
    title = f"The {contract.name} contract, clause {broken.clause}: {contract.clause(broken.clause).statement}."
    form = PYTEST_INSIDE if broken.kind == "clause" else PYTEST_OUTSIDE
    head = PYTEST_HEAD.format(
        title=title,
        message=quoted(broken.message),
        target=f"{absolute(source)}:{name}",
        pages=scope["pages"],
        orders=scope["orders"],
        free_arguments="page, order",
        steps="\n".join(steps) or "    assert a",
    )
    return head + form.format(name=identifier(broken.clause), statement=contract.clause(broken.clause).statement)


def pytest_step(index: int, operation: Operation, names: Mapping[int, str]) -> str:
    """One call as Python."""
    if operation.block is not None:
        return f"a.free({names[operation.block]})"
    return f"{names[index]} = a.alloc({operation.arguments[0]})"


def c_text(contract: Contract, target: str, options: ValidateOptions, sequence: Sequence, broken: Broken) -> str:
    """A C program that opens the library as the checker does."""
    names = block_names(sequence)
    numbers = {index: int(name[1:]) for index, name in names.items()}
    lines = []
    for index, operation in enumerate(sequence):
        last = index == len(sequence) - 1
        due = due_of(operation, 1 if last and broken.kind == "clause" and broken.clause in REFUSALS else 2)
        lines.append(f"\t{c_step(index, operation, numbers, due, options)} /* {call_text(index, operation, names)} */")
    return C_HEAD.format(
        title=f"The heap contract, clause {broken.clause}: {contract.clause(broken.clause).statement}.",
        message=quoted(broken.message).replace("*/", "* /"),
        tunables="glibc.rtld.optional_static_tls=65536",
        blocks=len(names) + 1,
        whole=C_WINDOW,
        steps="\n".join(lines),
        library=absolute(target).replace("\\", "\\\\").replace('"', '\\"'),
        prefix=options.prefix,
        memory=options.memory,
    )


def due_of(operation: Operation, otherwise: int) -> int:
    """0 for a request that must fail."""
    return 0 if operation.kind != "free" and requested(operation) > 1 << 47 else otherwise


def c_step(index: int, operation: Operation, numbers: Mapping[int, int], due: int, options: ValidateOptions) -> str:
    """One call as C."""
    if operation.kind == "free":
        assert operation.block is not None
        return f"freed({numbers[operation.block]});"
    size = requested(operation) & (1 << 64) - 1
    alignment = options.alignment if size >= options.alignment else options.small_alignment if size else 1
    if operation.kind == "realloc":
        assert operation.block is not None
        return f"resized({numbers[operation.block]}, {size}u, {alignment}, {due});"
    if operation.kind == "aligned_alloc":
        alignment = operation.arguments[0]
    call = f"{operation.kind}_({', '.join(f'{value}u' for value in operation.arguments)})"
    return f"made({numbers[index]}, {call}, {size}u, {alignment}, {due}, {int(operation.kind == 'calloc')});"


def quoted(message: str) -> str:
    """Text from the target, harmless inside a docstring or comment."""
    return message.replace("\\", "/").replace('"', "'").encode("ascii", "replace").decode()
