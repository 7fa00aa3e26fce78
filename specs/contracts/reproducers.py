"""A finding as a program that fails by itself: a pytest file for a Python class, a C main() for a library.

The one idea: a reproducer needs nothing of this package. It carries the few checks its sequence needs, so it stays a
useful regression test when the bug is mended. Texts only; who calls decides where to write them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from .contract import Contract, Declared
from .heap import alignment_of, requested
from .interface import Interface
from .judging import Broken, block_names, call_text
from .search import Failure, Search
from .sequences import Operation, Sequence

PYTEST_HEAD = '''"""{title}

Found by kmemspec validate: {message}
"""

import importlib
import importlib.util
import inspect
import os
import subprocess
import sys

TARGET = {target!r}
SCOPE = {scope!r}
DECLARED = {declared!r}


def make():
    """The class or factory under test."""
    source, _, name = TARGET.rpartition(":")
    if source.endswith(".py"):
        sys.path.insert(0, os.path.dirname(source))
        spec = importlib.util.spec_from_file_location("validated", source)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, os.getcwd())
        module = importlib.import_module(source)
    return getattr(module, name)


def takes(method, count):
    """Does the method take that many arguments, as far as its signature tells?"""
    try:
        inspect.signature(method).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return True
    return True

{checks}


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


def reproducer(interface: Interface, target: str, search: Search, failure: Failure) -> tuple[str, str]:
    """File name and text of the program that shows the failure."""
    contract, broken = interface.contract, failure.judgement.broken
    assert broken is not None
    name = identifier(broken.clause)
    if search.child.setup["kind"] == "library":
        return f"reproduce_{name}.c", c_text(contract, target, search, failure.sequence, broken)
    return f"test_reproduce_{name}.py", pytest_text(interface, target, search, failure, broken)


def identifier(name: str) -> str:
    """A clause's name as part of a Python name."""
    return name.replace("-", "_")


def absolute(target: str) -> str:
    """A path that works from anywhere; a soname or module name as it is."""
    return os.path.abspath(target) if "/" in target or target.endswith(".py") else target


def pytest_text(interface: Interface, target: str, search: Search, failure: Failure, broken: Broken) -> str:
    """A pytest file; when the process itself ends, the sequence runs in a process of its own."""
    contract, sequence = interface.contract, failure.sequence
    source, _, name = target.rpartition(":")
    names = block_names(contract, sequence)
    steps = [f"    {pytest_step(index, operation, names)}" for index, operation in enumerate(sequence)]
    statement = contract.clause(broken.clause).statement
    form = PYTEST_INSIDE if broken.kind == "clause" else PYTEST_OUTSIDE
    head = PYTEST_HEAD.format(
        title=f"The {contract.name} contract, clause {broken.clause}: {statement}.",
        message=quoted(broken.message),
        target=f"{absolute(source)}:{name}",
        scope=dict(failure.scope),
        declared=dict(search.child.declared),
        checks=interface.python_checks.strip("\n"),
        steps="\n".join(steps) or "    assert a",
    )
    return head + form.format(name=identifier(broken.clause), statement=statement)


def pytest_step(index: int, operation: Operation, names: Mapping[int, str]) -> str:
    """One call as Python."""
    block = [] if operation.block is None else [names[operation.block]]
    call = f"a.{operation.kind}({', '.join([*block, *map(str, operation.arguments)])})"
    return f"{names[index]} = {call}" if index in names else call


def c_text(contract: Contract, target: str, search: Search, sequence: Sequence, broken: Broken) -> str:
    """A C program that opens the library as the checker does."""
    options = search.options
    names = block_names(contract, sequence)
    numbers = {index: int(name[1:]) for index, name in names.items()}
    lines = []
    for index, operation in enumerate(sequence):
        last = index == len(sequence) - 1
        due = due_of(operation, 1 if last and broken.kind == "clause" and broken.clause in REFUSALS else 2)
        step = c_step(index, operation, numbers, due, search.child.declared)
        lines.append(f"\t{step} /* {call_text(index, operation, names)} */")
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


def c_step(index: int, operation: Operation, numbers: Mapping[int, int], due: int, declared: Declared) -> str:
    """One call as C."""
    if operation.kind == "free":
        assert operation.block is not None
        return f"freed({numbers[operation.block]});"
    size = requested(operation) & (1 << 64) - 1
    alignment = alignment_of(size, declared) if size else 1
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
