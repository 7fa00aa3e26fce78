"""A program as loadable machine code, kept on disk by content.

A cache entry is the object file with, in front of it, what else code generation decided (which scope parameters and
messages the code numbers), under a checksum: a damaged entry is compiled again. The key is the program's
fingerprint, the engine's own source, llvmlite's and LLVM's version and the processor.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llvmlite  # type: ignore[import-untyped]
import llvmlite.binding as llvm  # type: ignore[import-untyped]

from ...model.lang.ir import Program
from ..cache import cache_directory
from .codegen import ModuleEmitter
from .driver import SIGNATURES, Driver
from .liveness_code import LIVENESS_SIGNATURES, LivenessCode

_MAGIC = b"kmemspec-native/1\n"


@dataclass(frozen=True)
class Compiled:
    """Machine code and what it numbers: scope parameters, messages, and machine integers (parameter, offset, signed)
    whose width must be checked against a scope."""

    code: bytes
    sizes: tuple[str, ...]
    messages: tuple[str, ...]
    machine_sizes: tuple[tuple[str | None, int, bool], ...]


class Native:
    """Loaded machine code: `functions` by name, each called with the context's address."""

    def __init__(self, compiled: Compiled, target: Any, signatures: Mapping[str, int] = SIGNATURES) -> None:
        self.compiled = compiled
        empty = llvm.parse_assembly("")
        self._engine = llvm.create_mcjit_compiler(empty, target)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(compiled.code))
        self._engine.finalize_object()
        self.functions: Mapping[str, Callable[..., int]] = {
            name: self._function(name, arguments) for name, arguments in signatures.items()
        }

    def _function(self, name: str, arguments: int) -> Callable[..., int]:
        address = self._engine.get_function_address(name)
        return ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * arguments)(address)


def native(program: Program, quick: bool = False) -> Native:
    """The machine code of a program, from the cache when it is there; `quick`: not optimised, in a fraction of the
    time, for searches that end soon."""
    target = _target_machine(quick)
    path = _cache_path(program, quick)
    signatures = {**SIGNATURES, **(LIVENESS_SIGNATURES if program.liveness else {})}
    compiled = _read(path)
    if compiled is not None:
        try:
            return Native(compiled, target, signatures)
        except (RuntimeError, OSError):
            target = _target_machine(quick)
    compiled = compile_program(program, target, quick)
    _write(path, compiled)
    return Native(compiled, _target_machine(quick), signatures)


def compile_program(program: Program, target: Any = None, quick: bool = False) -> Compiled:
    """Generate, optimise (unless it is to be quick) and emit."""
    target = target or _target_machine(quick)
    emitter = ModuleEmitter(program)
    driver = Driver(emitter)
    if program.liveness:
        LivenessCode(driver)
    module = llvm.parse_assembly(str(emitter.module))
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=0 if quick else 2)
    options.loop_vectorization = False
    options.slp_vectorization = False
    options.loop_unrolling = False
    builder = llvm.create_pass_builder(target, options)
    builder.getModulePassManager().run(module, builder)
    return Compiled(
        target.emit_object(module), tuple(emitter.slots.sizes), tuple(emitter.messages), tuple(emitter.machine_sizes)
    )


def _target_machine(quick: bool) -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=0 if quick else 2, jit=True
    )


# --- the cache -------------------------------------------------------------------------------------------------


def _cache_path(program: Program, quick: bool) -> Path:
    digest = hashlib.sha256()
    features = llvm.get_host_cpu_features().flatten()
    version = (llvmlite.__version__, str(llvm.llvm_version_info), llvm.get_host_cpu_name(), features)
    for part in (program.fingerprint, "quick" if quick else "", llvm.get_default_triple(), *version):
        digest.update(part.encode() + b"\0")
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return cache_directory() / f"{digest.hexdigest()[:40]}.native"


def _read(path: Path) -> Compiled | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    magic, checksum, body = content[: len(_MAGIC)], content[len(_MAGIC) :][:32], content[len(_MAGIC) + 32 :]
    if magic != _MAGIC or hashlib.sha256(body).digest() != checksum:
        return None
    header, _, code = body.partition(b"\n")
    try:
        names = json.loads(header)
        return Compiled(
            code,
            tuple(names["sizes"]),
            tuple(names["messages"]),
            tuple((parameter, offset, signed) for parameter, offset, signed in names["machine_sizes"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _write(path: Path, compiled: Compiled) -> None:
    """Whole or not at all; a cache that cannot be written is none."""
    names = {"sizes": compiled.sizes, "messages": compiled.messages, "machine_sizes": compiled.machine_sizes}
    body = json.dumps(names).encode() + b"\n" + compiled.code
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.stem, delete=False) as file:
            file.write(_MAGIC + hashlib.sha256(body).digest() + body)
        os.replace(file.name, path)
    except OSError:
        return
