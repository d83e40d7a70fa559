"""
A team's own guardrail as one line of Python: true makes an attempt a bad event.

    bad = compile_("status == 200 and cpu_ms > 50 and input_bytes < 4096")
    bad(attempt)

What may be said: fields of an attempt, `latency_ms`, `cpu_ms`, `memory_mib` and `output_number` (of an output
`n:0.42`), numbers, texts, True and False, comparisons (also chained), `in` a text or a list of literals, `and`, `or`,
`not`, and + - * / // %. Nothing is called, indexed or assigned, and Python's own evaluator never sees the text: it is
checked and turned into closures, kind by kind, so a comparison of a text with a number is refused when the file is
read.

A field that is not known for an attempt, and a division by zero, make the comparison around them false. `not` of that
is true, so write `cpu_ms <= 5` for "known and small", not `not cpu_ms > 5`.
"""

from __future__ import annotations

import ast
import enum
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from softlaunch import errors
from softlaunch.core import attempts

_LENGTH_MAX = 1_000
_NODES_MAX = 100
"""Both are guesses: it runs for every attempt, and whoever needs more wants a program."""


class _Kind(enum.Enum):
    NUMBER = "a number"
    TEXT = "a text"
    TRUTH = "true or false"


_Value = Callable[[attempts.Attempt], Any]


class _Part(NamedTuple):
    kind: _Kind
    value: _Value


_TEXTS = ("request_id", "service", "environment", "release", "flags", "key", "output", "replica")
_TRUTHS = ("composite", "invalid", "shed")
_NUMBERS = (
    "started_at",
    "epoch",
    "number",
    "status",
    "latency_us",
    "cpu_us",
    "memory_kib",
    "served_count",
    "input_bytes",
    "features_defaulted",
)


def output_number(attempt: attempts.Attempt) -> float | None:
    """The number the attempt answered; None when it answered a class or reported nothing."""
    if not attempt.output.startswith("n:"):
        return None
    try:
        number = float(attempt.output[2:])
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _scaled(name: str, scale: float) -> _Value:
    field = operator.attrgetter(name)

    def value(attempt: attempts.Attempt) -> float | None:
        found: float | None = field(attempt)
        return None if found is None else found / scale

    return value


_NAMES: Mapping[str, _Part] = {
    **{name: _Part(_Kind.TEXT, operator.attrgetter(name)) for name in _TEXTS},
    **{name: _Part(_Kind.TRUTH, operator.attrgetter(name)) for name in _TRUTHS},
    **{name: _Part(_Kind.NUMBER, operator.attrgetter(name)) for name in _NUMBERS},
    "latency_ms": _Part(_Kind.NUMBER, _scaled("latency_us", 1_000.0)),
    "cpu_ms": _Part(_Kind.NUMBER, _scaled("cpu_us", 1_000.0)),
    "memory_mib": _Part(_Kind.NUMBER, _scaled("memory_kib", 1_024.0)),
    "output_number": _Part(_Kind.NUMBER, output_number),
}

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def compile_(text: str) -> Callable[[attempts.Attempt], bool]:
    """
    The expression as a function of an attempt; it never raises.

    Raises:
        ConfigError: it is too long, is no expression, or says something that is not allowed; the part is named.
    """
    if len(text) > _LENGTH_MAX:
        raise _refused(text[:40] + "...", f"has {len(text)} characters, and {_LENGTH_MAX} is the most")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refused(text, f"is no Python expression ({error})") from error
    size = sum(isinstance(node, ast.expr) for node in ast.walk(tree))
    if size > _NODES_MAX:
        raise _refused(text, f"has {size} parts, and {_NODES_MAX} is the most")
    part = _part(tree)
    if part.kind is not _Kind.TRUTH:
        raise _refused(ast.unparse(tree), f"is {part.kind.value}, and must be true or false: compare it with something")
    value = part.value
    return lambda attempt: bool(value(attempt))


def _refused(text: str, why: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"In the expression of a guardrail, `{text}` {why}.",
        remedy="Write one line of Python over the fields of an attempt, such as `status == 200 and cpu_ms > 50`.",
        code=errors.Code.EXPRESSION,
    )


def _part(node: ast.expr) -> _Part:
    if isinstance(node, ast.Constant):
        return _constant(node)
    if isinstance(node, ast.Name):
        return _field(node)
    if isinstance(node, ast.BoolOp):
        return _both(node)
    if isinstance(node, ast.UnaryOp):
        return _unary(node)
    if isinstance(node, ast.BinOp):
        return _arithmetic(node)
    if isinstance(node, ast.Compare):
        return _comparison(node)
    raise _refused(
        ast.unparse(node), "is not allowed: only fields, literals, comparisons, and/or/not and arithmetic are"
    )


def _field(node: ast.Name) -> _Part:
    found = _NAMES.get(node.id)
    if found is None:
        raise _refused(node.id, f"is no field of an attempt; there are {', '.join(sorted(_NAMES))}")
    return found


def _constant(node: ast.Constant) -> _Part:
    value = node.value
    if isinstance(value, bool):
        return _Part(_Kind.TRUTH, lambda _: value)
    if isinstance(value, int | float) and abs(value) <= 1e18:  # far above any time or size
        return _Part(_Kind.NUMBER, lambda _: value)
    if isinstance(value, str):
        return _Part(_Kind.TEXT, lambda _: value)
    raise _refused(ast.unparse(node), "is no number up to 1e18, text, True or False")


def _both(node: ast.BoolOp) -> _Part:
    values = [_of_kind(value, _Kind.TRUTH) for value in node.values]
    if isinstance(node.op, ast.And):
        return _Part(_Kind.TRUTH, lambda attempt: all(value(attempt) for value in values))
    return _Part(_Kind.TRUTH, lambda attempt: any(value(attempt) for value in values))


def _unary(node: ast.UnaryOp) -> _Part:
    if isinstance(node.op, ast.Not):
        truth = _of_kind(node.operand, _Kind.TRUTH)
        return _Part(_Kind.TRUTH, lambda attempt: not truth(attempt))
    if not isinstance(node.op, ast.USub):
        raise _refused(ast.unparse(node), "uses an operator that is not allowed")
    number = _of_kind(node.operand, _Kind.NUMBER)

    def negative(attempt: attempts.Attempt) -> Any:
        found = number(attempt)
        return None if found is None else -found

    return _Part(_Kind.NUMBER, negative)


def _arithmetic(node: ast.BinOp) -> _Part:
    compute = _ARITHMETIC.get(type(node.op))
    if compute is None:
        raise _refused(ast.unparse(node), "uses an operator that is not allowed; + - * / // % are")
    left, right = _of_kind(node.left, _Kind.NUMBER), _of_kind(node.right, _Kind.NUMBER)

    def value(attempt: attempts.Attempt) -> Any:
        one, other = left(attempt), right(attempt)
        if one is None or other is None:
            return None
        try:
            return compute(one, other)
        except (ZeroDivisionError, OverflowError):
            return None

    return _Part(_Kind.NUMBER, value)


def _comparison(node: ast.Compare) -> _Part:
    checks: list[_Value] = []
    left = node.left
    for operation, right in zip(node.ops, node.comparators, strict=True):
        if isinstance(operation, ast.In | ast.NotIn):
            checks.append(_membership(left, right, wanted=isinstance(operation, ast.In)))
        elif type(operation) in _COMPARISONS:
            checks.append(_pair(left, right, _COMPARISONS[type(operation)]))
        else:
            raise _refused(ast.unparse(node), "uses `is`; compare with == or !=")
        left = right
    if len(checks) == 1:
        return _Part(_Kind.TRUTH, checks[0])
    return _Part(_Kind.TRUTH, lambda attempt: all(check(attempt) for check in checks))


def _pair(left: ast.expr, right: ast.expr, compare: Callable[[Any, Any], bool]) -> _Value:
    one, other = _part(left), _part(right)
    if one.kind is not other.kind:
        raise _refused(
            f"{ast.unparse(left)} ... {ast.unparse(right)}", f"compares {one.kind.value} with {other.kind.value}"
        )

    def value(attempt: attempts.Attempt) -> bool:
        first, second = one.value(attempt), other.value(attempt)
        return first is not None and second is not None and compare(first, second)

    return value


def _membership(left: ast.expr, right: ast.expr, *, wanted: bool) -> _Value:
    item = _part(left)
    if isinstance(right, ast.List | ast.Tuple | ast.Set):
        try:
            choices = frozenset(ast.literal_eval(right))
        except (ValueError, TypeError) as error:
            raise _refused(ast.unparse(right), "is no list of literals") from error
        container: _Value = lambda _: choices  # noqa: E731  # beside the other branch's closure
    else:
        container = _of_kind(right, _Kind.TEXT)
        if item.kind is not _Kind.TEXT:
            raise _refused(ast.unparse(left), f"is {item.kind.value}, and cannot be in a text")

    def value(attempt: attempts.Attempt) -> bool:
        found, inside = item.value(attempt), container(attempt)
        return found is not None and (found in inside) is wanted

    return value


def _of_kind(node: ast.expr, kind: _Kind) -> _Value:
    found = _part(node)
    if found.kind is not kind:
        raise _refused(ast.unparse(node), f"is {found.kind.value} where {kind.value} is needed")
    return found.value
