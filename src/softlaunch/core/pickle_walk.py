"""Follows the opcodes of one pickle on a stack of symbols; see softlaunch.core.pickles."""

from __future__ import annotations

import dataclasses
import io
import pickletools
from collections.abc import Iterator
from typing import Any

import numpy as np

COMPUTED = "(a name put together while loading)"
DEPTH_MAX = 8
"""Of zip files in zip files, and of pickles in arrays of objects in pickles."""


class NotScannedError(Exception):
    """Why a part cannot be followed."""


@dataclasses.dataclass(frozen=True)
class _Global:
    name: str


@dataclasses.dataclass(eq=False)
class _Made:
    """What a call would have returned."""

    by: Any
    arguments: Any
    state: Any = None


_MARK, _UNKNOWN = object(), object()
_CALLS = frozenset({"REDUCE", "NEWOBJ", "NEWOBJ_EX"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_EXTENSIONS = frozenset({"EXT1", "EXT2", "EXT4"})
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Walk:
    """
    Afterwards `globals` holds module.name of what loading would import, `unscanned` what could not be followed.

    Args:
        name: Of the file, for what is said.
        depth: How many containers it lies in.
    """

    def __init__(self, name: str, depth: int) -> None:
        self.globals: set[str] = set()
        self.unscanned: list[str] = []
        self._name, self._depth = name, depth
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, stream: io.BytesIO) -> None:
        position = 0
        try:
            for opcode, argument, place in pickletools.genops(stream):
                position = place or 0
                self._step(opcode, argument, stream)
        except NotScannedError as reason:
            self.unscanned.append(f"{self._name} from byte {position} on ({reason})")
        except (ValueError, IndexError, TypeError, KeyError, RecursionError, OverflowError) as error:
            text = " ".join(str(error).split())
            self.unscanned.append(f"{self._name} from byte {position} on (no pickle that can be followed: {text:.100})")

    def _step(self, opcode: pickletools.OpcodeInfo, argument: Any, stream: io.BytesIO) -> None:
        name, stack = opcode.name, self._stack
        if name in {"GLOBAL", "INST"}:
            module, _, attribute = argument.partition(" ")
            if name == "INST":
                self._slice()
            stack.append(self._global(module, attribute))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(self._global(module, attribute))
        elif name in _EXTENSIONS:
            self.unscanned.append(f"{self._name} (extension code {argument} of the copyreg module)")
            stack.append(_UNKNOWN)
        elif name in _CALLS:
            arguments = [stack.pop() for _ in opcode.stack_before[1:]][::-1]
            stack.append(_Made(stack.pop(), arguments[0]))
        elif name == "OBJ":
            found = self._slice()
            stack.append(_Made(found[0], tuple(found[1:])))
        elif name == "BUILD":
            self._build(stack.pop(), stream)
        elif name in _PUTS:
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in _GETS:
            stack.append(self._memo[argument])
        else:
            self._plain(opcode, name, argument)

    def _plain(self, opcode: pickletools.OpcodeInfo, name: str, argument: Any) -> None:
        """Values, containers and what only moves the stack."""
        stack = self._stack
        if name == "MARK":
            stack.append(_MARK)
        elif name == "POP_MARK":
            self._slice()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name in _TUPLES:
            count = _TUPLES[name]
            found = tuple(stack[len(stack) - count :])
            del stack[len(stack) - count :]
            stack.append(found)
        elif name == "TUPLE":
            stack.append(tuple(self._slice()))
        elif name in {"EMPTY_DICT", "DICT"}:
            stack.append(dict(_pairs(self._slice())) if name == "DICT" else {})
        elif name in {"SETITEM", "SETITEMS"}:
            items = self._slice() if name == "SETITEMS" else [stack.pop(), stack.pop()][::-1]
            if isinstance(stack[-1], dict):
                stack[-1].update(_pairs(items))
        elif name in {"APPENDS", "ADDITEMS"}:
            self._slice()
        elif name in {"LIST", "FROZENSET"}:
            self._slice()
            stack.append(_UNKNOWN)
        elif name == "PROTO":
            if argument > 5:  # the newest there is
                raise NotScannedError(f"pickle protocol {argument} is not known")
        elif name != "STOP":
            for _ in opcode.stack_before:
                stack.pop()
            known = argument is not None or name == "NONE"
            value = argument if known else {"NEWTRUE": True, "NEWFALSE": False}.get(name, _UNKNOWN)
            stack.extend([value] * len(opcode.stack_after))

    def _slice(self) -> list[Any]:
        place = len(self._stack) - 1 - self._stack[::-1].index(_MARK)
        found = self._stack[place + 1 :]
        del self._stack[place:]
        return found

    def _global(self, module: Any, attribute: Any) -> _Global:
        known = isinstance(module, str) and isinstance(attribute, str)
        name = f"{module}.{attribute}" if known else COMPUTED
        self.globals.add(name)
        return _Global(name)

    def _build(self, state: Any, stream: io.BytesIO) -> None:
        made = self._stack[-1]
        if not isinstance(made, _Made):
            return
        made.state = state
        name = made.by.name if isinstance(made.by, _Global) else ""
        if name == "joblib.numpy_pickle.NumpyArrayWrapper":
            self._skip_array(state, stream)
        elif name.endswith((".NDArrayWrapper", ".ZNDArrayWrapper")):
            self.unscanned.append(f"{self._name} (arrays in files of their own, as joblib before 0.10 wrote them)")

    def _skip_array(self, state: Any, stream: io.BytesIO) -> None:
        """Array bytes lie behind the wrapper, padded; arrays of objects are a pickle of their own."""
        if not isinstance(state, dict):
            raise NotScannedError("an array whose wrapper says nothing about it")
        dtype, shape = state.get("dtype"), state.get("shape")
        if not (isinstance(shape, tuple) and all(isinstance(each, int) and each >= 0 for each in shape)):
            raise NotScannedError("an array whose shape is not declared")
        size, has_objects = _sizes(dtype)
        if has_objects:
            inner = Walk(f"{self._name}, an array of objects,", self._depth + 1)
            if inner._depth > DEPTH_MAX:
                raise NotScannedError("nested too deeply")
            inner.run(stream)
            self.globals |= inner.globals
            self.unscanned += inner.unscanned
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            padding = stream.read(1)
            stream.seek(padding[0] if padding else 0, io.SEEK_CUR)
        count = 1
        for each in shape:
            count *= each
        if count * size > len(stream.getbuffer()) - stream.tell():
            raise NotScannedError("an array that ends behind the end of the file")
        stream.seek(count * size, io.SEEK_CUR)


def _sizes(dtype: Any) -> tuple[int, bool]:
    """Bytes of one element as a numpy.dtype(...) call declares them, and whether elements are objects."""
    call = dtype.by if isinstance(dtype, _Made) else None
    arguments = dtype.arguments if isinstance(dtype, _Made) else None
    if not (isinstance(call, _Global) and call.name in {"numpy.dtype", "numpy.core.multiarray.dtype"}):
        raise NotScannedError("an array whose element type is not declared")
    if not (isinstance(arguments, tuple) and arguments and isinstance(arguments[0], str)):
        raise NotScannedError("an array whose element type is not declared")
    try:
        found = np.dtype(arguments[0])
    except (TypeError, ValueError, SyntaxError) as error:
        raise NotScannedError(f"an array of unknown elements {arguments[0]!r:.40}") from error
    return found.itemsize, found.hasobject or _has_object_fields(dtype.state)


def _has_object_fields(state: Any) -> bool:
    """A structured type names its fields in its state: (version, order, subtype, names, {name: (dtype, offset)})."""
    if not isinstance(state, tuple):
        return False
    parts: list[Any] = [each for each in state if isinstance(each, tuple)]
    fields = next((each for each in state if isinstance(each, dict)), {})
    parts += list(fields.values())
    inner = [each for part in parts if isinstance(part, tuple) for each in part if isinstance(each, _Made)]
    return any(_sizes(each)[1] for each in inner)


def _pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Keys of texts and numbers only: the others say nothing here."""
    for key, value in zip(items[::2], items[1::2], strict=True):
        if isinstance(key, str | int):
            yield key, value
