"""
Drills: which faults can be planted in a release, with what parameters, and what has to catch each.

A drill release is a release with one more file, drill.json, and `ReleaseContent.drill` set: the same model and code,
another digest. The model server that unpacks it behaves as the file says (serving.faults); everything else takes its
ordinary way. A drill release is never promoted.

Faults show themselves to users only, that is to requests that came through the gateway. Smoke requests are answered
well, because a fault they find meets no traffic and tries no guardrail; `smoke` changes that, for environments in
which smoke requests are the whole evidence.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import types
from collections.abc import Mapping

from softlaunch import errors
from softlaunch.core import spec

FILE = "drill.json"
"""Beside release.json."""
SCHEMA_VERSION = 1


class FaultName(enum.StrEnum):
    ERRORS_5XX = "errors_5xx"
    """Answers 503."""
    RESETS = "resets"
    """Closes the connection without an answer, and every other open one with it, as a dying process does."""
    HANG = "hang"
    """Never answers."""
    SLOW_START = "slow_start"
    """Is not ready for a long time."""
    LATENCY_TAIL = "latency_tail"
    """Some answers come late."""
    NAN = "nan"
    """Answers NaN."""
    WRONG_SCHEMA = "wrong_schema"
    """Answers outputs of another type than the signature promises."""
    CRASH_LOOP = "crash_loop"
    """The process ends after some requests, again and again."""
    MEMORY_LEAK = "memory_leak"
    """The process keeps memory of every request."""
    CPU_BURN = "cpu_burn"
    """Every row costs more CPU time."""


READINESS = "readiness"
"""Not a guardrail: no user reaches a replica that is not ready."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
    default: float
    minimum: float
    maximum: float
    meaning: str


_PERCENT = Parameter(default=100.0, minimum=0.01, maximum=100.0, meaning="share of users' predictions that meet it")

PARAMETERS: Mapping[FaultName, Mapping[str, Parameter]] = types.MappingProxyType(
    {
        FaultName.ERRORS_5XX: {"percent": _PERCENT},
        FaultName.RESETS: {},
        FaultName.HANG: {"percent": _PERCENT},
        FaultName.SLOW_START: {
            "seconds": Parameter(
                default=3_600.0,
                minimum=0.1,
                maximum=86_400.0,
                meaning="until it is ready; longer than drills wait",
            ),
        },
        FaultName.LATENCY_TAIL: {
            "percent": dataclasses.replace(_PERCENT, default=5.0),
            "seconds": Parameter(default=0.5, minimum=0.001, maximum=60.0, meaning="how late they come"),
        },
        FaultName.NAN: {"percent": _PERCENT},
        FaultName.WRONG_SCHEMA: {"percent": _PERCENT},
        FaultName.CRASH_LOOP: {
            "requests": Parameter(default=20.0, minimum=1.0, maximum=1e6, meaning="users' predictions until it ends"),
        },
        FaultName.MEMORY_LEAK: {
            "kib": Parameter(default=64.0, minimum=1.0, maximum=65_536.0, meaning="kept of each request"),
            "mib_max": Parameter(
                default=512.0, minimum=1.0, maximum=65_536.0, meaning="all it keeps: the machine is not what is tried"
            ),
        },
        FaultName.CPU_BURN: {
            "ms": Parameter(default=5.0, minimum=0.1, maximum=1_000.0, meaning="CPU time added to each row"),
        },
    }
)

CATCHERS: Mapping[FaultName, tuple[str, ...]] = types.MappingProxyType(
    {
        FaultName.ERRORS_5XX: (spec.GuardrailName.ERRORS.value,),
        FaultName.RESETS: (spec.GuardrailName.ERRORS.value,),
        # A try that hung is lost after the try's timeout, and then it is an error as well as late.
        FaultName.HANG: (spec.GuardrailName.ERRORS.value, spec.GuardrailName.LATENCY.value),
        FaultName.SLOW_START: (READINESS,),
        FaultName.LATENCY_TAIL: (spec.GuardrailName.LATENCY.value,),
        FaultName.NAN: (spec.GuardrailName.INVALID.value,),
        FaultName.WRONG_SCHEMA: (spec.GuardrailName.INVALID.value,),
        FaultName.CRASH_LOOP: (spec.GuardrailName.ERRORS.value,),
        FaultName.MEMORY_LEAK: (spec.GuardrailName.MEMORY.value,),
        FaultName.CPU_BURN: (spec.GuardrailName.CPU.value, spec.GuardrailName.LATENCY.value),
    }
)
"""Any one of these is enough."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Load:
    """What a drill sends when nobody says otherwise."""

    percent: float = 10.0
    """The drill release's share."""
    rate_per_second: float = 100.0


_LOADS = types.MappingProxyType(
    {
        # Memory is bet on once per 250 requests of one process, and some fifteen bets are needed.
        FaultName.MEMORY_LEAK: Load(percent=50.0, rate_per_second=400.0),
        # The p95 needs some 600 of the candidate's answers at 10 %, fewer at more.
        FaultName.LATENCY_TAIL: Load(percent=25.0, rate_per_second=200.0),
    }
)


def load_of(name: FaultName) -> Load:
    """The traffic with which its guardrail decides within a minute."""
    return _LOADS.get(name, Load())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault with a value for each of its parameters. Make it with `fault`."""

    name: FaultName
    values: Mapping[str, float]
    smoke: bool = False
    """Smoke requests meet it too."""


def fault(name: str, parameters: Mapping[str, float] | None = None, *, smoke: bool = False) -> Fault:
    """
    The fault of that name; parameters that are not given have their defaults.

    Raises:
        ConfigError: there is no such fault or parameter, or a value is out of its bounds.
    """
    try:
        found = FaultName(name)
    except ValueError:
        raise _refused(f"There is no fault {name!r:.80}.", f"Choose one of {', '.join(FaultName)}.") from None
    known = PARAMETERS[found]
    given = dict(parameters or {})
    for key, value in given.items():
        if key not in known:
            names = ", ".join(known) or "none"
            raise _refused(f"The fault {found} has no parameter {key!r:.80}.", f"Its parameters: {names}.")
        parameter = known[key]
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not parameter.minimum <= value <= parameter.maximum:
            raise _refused(
                f"The parameter {key} of the fault {found} is {value!r:.80}.",
                f"Give a number from {parameter.minimum:g} to {parameter.maximum:g}: {parameter.meaning}.",
            )
    values = {key: float(given.get(key, parameter.default)) for key, parameter in known.items()}
    return Fault(name=found, values=values, smoke=smoke)


def dump(planted: Fault) -> bytes:
    """drill.json, byte for byte the same for the same fault."""
    document = {"schema": SCHEMA_VERSION, "fault": planted.name.value, "smoke": planted.smoke, **planted.values}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def load(raw: bytes) -> Fault:
    """
    The fault that `dump` wrote.

    Raises:
        ConfigError: it is no such document.
    """
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise _refused(f"{FILE} is not JSON ({error}).", _AGAIN) from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA_VERSION:
        raise _refused(f"{FILE} is not of schema {SCHEMA_VERSION}.", _AGAIN)
    named = {key: value for key, value in document.items() if key not in ("schema", "fault", "smoke")}
    return fault(str(document.get("fault")), named, smoke=document.get("smoke") is True)


_AGAIN = "Start the drill again with this version of softlaunch."


def _refused(message: str, remedy: str) -> errors.ConfigError:
    return errors.ConfigError(message, remedy=remedy, code=errors.Code.DRILL_FAULT)
