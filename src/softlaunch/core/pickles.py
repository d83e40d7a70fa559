"""
What a pickle would import if somebody loaded it, found without loading it.

A pickle is a program: loading it runs whatever it names. Here its opcodes are followed on a stack of symbols that
builds nothing, imports nothing and calls nothing, so that names put together from memoized texts are seen too.

Understood are plain pickles of every protocol; joblib's files, compressed or not, whose arrays lie as raw bytes between
opcodes and are skipped by the size they declare; and zip files such as PyTorch's, whose pickles are looked at one by
one. What cannot be followed to its end is said to be not scanned: it is never passed over in silence.

The list of dangerous names is a list of what is known. A pickle that is not on it is not proved harmless: whoever can
write your model file can write your training code too. What it does is make the usual attack fail, and show everybody
who reads a build's notes what a model imports.
"""

from __future__ import annotations

import bz2
import dataclasses
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from softlaunch import errors
from softlaunch.core import pickle_walk

INFLATED_BYTES_MAX = 8 * 1024**3
"""A guess: larger than models that fit the machines this runs on; a bomb stops here."""
SUFFIXES = (".joblib", ".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".sav", ".npy", ".npz")
"""Files that may hold pickles; others are recognized by their first bytes."""
NAMED = frozenset({".joblib", ".pkl", ".pickle"})
"""Files that are pickles."""

_MODULES = frozenset(
    (
        *("os", "posix", "nt", "posixpath", "ntpath", "subprocess", "sys", "socket", "shutil", "runpy", "webbrowser"),
        *("pty", "ctypes", "_ctypes", "importlib", "imp", "pkgutil", "pip", "code", "codeop", "commands", "pdb", "bdb"),
        *("timeit", "profile", "cProfile", "trace", "doctest", "multiprocessing", "asyncio", "signal", "platform"),
        *("tempfile", "pathlib", "glob", "fileinput", "http", "urllib", "ftplib", "smtplib", "telnetlib", "requests"),
        *("httpx", "aiohttp", "pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "types"),
        *("inspect", "gc", "venv", "ensurepip", "setuptools", "distutils", "sqlite3", "antigravity", "idlelib"),
    )
)
"""Nothing a fitted model needs; cloudpickle's and dill's names mean that functions travel inside the pickle as code."""
_NAMES: Mapping[str, frozenset[str]] = {
    "builtins": frozenset(
        (
            *("eval", "exec", "compile", "open", "__import__", "getattr", "setattr", "delattr", "vars", "globals"),
            *("locals", "input", "breakpoint", "exit", "quit", "help", "__build_class__"),
        )
    ),
    "io": frozenset({"open", "open_code", "FileIO"}),
    "_io": frozenset({"open", "open_code", "FileIO"}),
    "operator": frozenset({"attrgetter", "methodcaller"}),
    "_operator": frozenset({"attrgetter", "methodcaller"}),
    "numpy": frozenset({"load", "loadtxt", "genfromtxt", "fromfile", "memmap", "save", "savetxt"}),
    "numpy.testing._private.utils": frozenset({"runstring", "measure"}),
    "joblib": frozenset({"load"}),
    "joblib.numpy_pickle": frozenset({"load"}),
    "pandas": frozenset({"read_pickle", "eval", "read_csv", "read_parquet"}),
    "torch": frozenset({"load"}),
    "torch.serialization": frozenset({"load"}),
    "torch.jit": frozenset({"load"}),
}
_PREFIXES = ("numpy.f2py", "numpy.distutils", "torch.hub", "torch.utils.cpp_extension", "torch.distributed.rpc")
_HARMLESS = frozenset(
    {"pathlib.PosixPath", "pathlib._local.PosixPath", "pathlib.PurePosixPath", "types.SimpleNamespace"}
)
"""Values of modules that are dangerous otherwise."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scan:
    """What was found in one file or directory."""

    globals: frozenset[str] = frozenset()
    """module.name of everything that loading would import."""
    unscanned: tuple[str, ...] = ()
    """Parts that could not be followed, each with its reason."""

    def __or__(self, other: Scan) -> Scan:
        return Scan(globals=self.globals | other.globals, unscanned=self.unscanned + other.unscanned)


def looks_like_one(name: str, head: bytes) -> bool:
    """Whether a file may hold pickles, by its name or its first bytes (16 are enough)."""
    binary = len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5
    return name.lower().endswith(SUFFIXES) or binary or head.startswith((b"PK\x03\x04", b"\x93NUMPY"))


def scan(raw: bytes | memoryview, *, name: str) -> Scan:
    """
    What loading these bytes would import.

    Args:
        name: Of the file, for what is said about parts that were not scanned.
    """
    return _scan(bytes(raw), name, 0)


def dangerous(found: Collection[str], *, allowed: Collection[str] = ()) -> tuple[str, ...]:
    """
    Those globals that run commands, open files or connections, or reach further code; sorted.

    Args:
        allowed: module.name, or module.* for all of a module.
    """
    return tuple(sorted(each for each in found if _is_dangerous(each) and not _is_allowed(each, allowed)))


def refuse_dangerous(found: Scan, *, allowed: Collection[str], what: str) -> None:
    """
    Raises:
        ConfigError: a dangerous global is there that is not allowed.
    """
    named = dangerous(found.globals, allowed=allowed)
    if named:
        raise errors.ConfigError(
            f"Loading {what} would call {', '.join(named[:5])}{' and others' if len(named) > 5 else ''}.",
            remedy="Find out who wrote the file. If it is yours and needs this, list the names under"
            " `model.allow_globals` in softlaunch.yaml.",
            code=errors.Code.PICKLE_DANGEROUS,
        )


def _is_allowed(name: str, allowed: Collection[str]) -> bool:
    return name in allowed or any(each.endswith(".*") and name.startswith(each[:-1]) for each in allowed)


def _is_dangerous(name: str) -> bool:
    if name in _HARMLESS:
        return False
    if name == pickle_walk.COMPUTED or name.startswith(_PREFIXES):
        return True
    parts = name.split(".")
    module, attribute = ".".join(parts[:-1]), parts[-1]
    if module == "__builtin__":
        module = "builtins"
    if parts[0] in _MODULES or attribute in _NAMES.get(module, ()):
        return True
    # Protocol 4 follows dots: module joblib.memory, name os.system. Such a chain also leads through dunders.
    inner = parts[1:]
    return any(each in _REACHED for each in inner) or any(each in _DUNDERS for each in inner)


_REACHED = frozenset({"os", "sys", "subprocess", "shutil", "socket", "importlib", "builtins", "__builtins__", "ctypes"})
_DUNDERS = frozenset(("__globals__", "__subclasses__", "__getattribute__", "__import__", "__dict__", "__reduce__"))


def _scan(raw: bytes, name: str, depth: int) -> Scan:
    if depth > pickle_walk.DEPTH_MAX:
        return Scan(unscanned=(f"{name} (nested too deeply)",))
    try:
        raw = _inflated(raw)
    except pickle_walk.NotScannedError as reason:
        return Scan(unscanned=(f"{name} ({reason})",))
    if raw.startswith(b"PK\x03\x04"):
        return _scan_zip(raw, name, depth)
    if raw.startswith(b"\x93NUMPY"):
        return _scan_npy(raw, name, depth)
    found = pickle_walk.Walk(name, depth)
    found.run(io.BytesIO(raw))
    return Scan(globals=frozenset(found.globals), unscanned=tuple(found.unscanned))


def _scan_zip(raw: bytes, name: str, depth: int) -> Scan:
    found = Scan()
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            for entry in archive.infolist():
                label = f"{name}/{entry.filename}"
                with archive.open(entry) as file:
                    if not looks_like_one(entry.filename, file.read(16)) or entry.is_dir():
                        continue
                if entry.file_size > INFLATED_BYTES_MAX:
                    found |= Scan(unscanned=(f"{label} (too large)",))
                else:
                    found |= _scan(archive.read(entry), label, depth + 1)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, zlib.error, OSError) as error:
        found |= Scan(unscanned=(f"{name} (its zip archive cannot be read: {error})",))
    return found


def _scan_npy(raw: bytes, name: str, depth: int) -> Scan:
    stream = io.BytesIO(raw)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, dtype = read(stream)
    except (ValueError, EOFError, OSError) as error:
        return Scan(unscanned=(f"{name} (its NumPy header cannot be read: {error})",))
    return _scan(stream.read(), name, depth + 1) if dtype.hasobject else Scan()


def _inflated(raw: bytes) -> bytes:
    if raw.startswith(b"\x04\x22\x4d\x18"):
        raise pickle_walk.NotScannedError("compressed with lz4, which the standard library cannot read")
    if raw.startswith(b"ZF"):
        raise pickle_walk.NotScannedError("written by joblib before 0.10")
    # joblib's own prefixes. No pickle begins so: x is no opcode, and the others cannot be first in one that is whole.
    openers: tuple[tuple[bytes, Callable[[], Any]], ...] = (
        (b"\x78", lambda: zlib.decompressobj(zlib.MAX_WBITS)),
        (b"\x1f\x8b", lambda: zlib.decompressobj(zlib.MAX_WBITS | 16)),
        (b"BZh", bz2.BZ2Decompressor),
        (b"\xfd7zXZ", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ)),
        (b"\x5d\x00", lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE)),
    )
    for prefix, opened in openers:
        if raw.startswith(prefix):
            try:
                return _read_all(raw, opened)
            except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
                raise pickle_walk.NotScannedError(f"its compressed bytes are damaged: {error}") from error
    return raw


def _read_all(raw: bytes, opened: Callable[[], Any]) -> bytes:
    """All of its streams, one after the other, as readers of such files join them."""
    parts, length = [], 0
    while raw:
        stream = opened()
        part = stream.decompress(raw, INFLATED_BYTES_MAX - length + 1)
        length += len(part)
        if length > INFLATED_BYTES_MAX:
            raise pickle_walk.NotScannedError(f"it inflates to more than {INFLATED_BYTES_MAX >> 30} GiB")
        parts.append(part)
        if not stream.eof:
            break
        raw = stream.unused_data.lstrip(b"\0")
        if raw and parts and not _continues(raw, opened):
            break
    return b"".join(parts)


def _continues(raw: bytes, opened: Callable[[], Any]) -> bool:
    try:
        opened().decompress(raw[:64], 64)
    except (zlib.error, lzma.LZMAError, OSError, EOFError):
        return False
    return True
