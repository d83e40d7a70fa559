"""
The written form of phases.State: canonical JSON, byte for byte the same for the same value.

As in spec_json, an absent field takes its default, so that a state written before an update can be read after it; an
unknown one is refused.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from softlaunch import errors
from softlaunch.core import spec
from softlaunch.core.rollout import phases

SCHEMA_VERSION = 1


def dump(state: phases.State) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8, one final newline."""
    document = {"schema": SCHEMA_VERSION, **dataclasses.asdict(state)}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode(errors="replace") + b"\n"  # a reason may quote bytes a process printed that are no text


def load(raw: bytes) -> phases.State:
    """
    The state that `dump` wrote.

    Raises:
        ConfigError: not such a document, or written by a newer softlaunch.
    """
    try:
        document = json.loads(raw)
        if not isinstance(document, dict):
            raise _broken(f"it is {type(document).__name__}, not an object")
        schema = document.pop("schema", None)
        if schema != SCHEMA_VERSION:
            raise _broken(f"schema is {schema!r}, this softlaunch reads {SCHEMA_VERSION}")
        return _state(document)
    except (ValueError, TypeError, KeyError, AttributeError, errors.InvariantError) as error:
        raise _broken(str(error)) from error


def _state(document: dict[str, Any]) -> phases.State:
    hold, ending = document.get("hold"), document.get("ending")
    return phases.State(
        **{
            **document,
            "plan": _plan(document["plan"]),
            "phase": phases.Phase(document["phase"]),
            "hold": None if hold is None else phases.Hold(**{**hold, "kind": phases.HoldKind(hold["kind"])}),
            "ending": None if ending is None else phases.Phase(ending),
        }
    )


def _plan(document: dict[str, Any]) -> phases.LaunchPlan:
    if "weights" in document and "steps" not in document:  # as it was written before steps had kinds
        document = {**document, "steps": [{"weight": weight} for weight in document["weights"]]}
        del document["weights"]
    return phases.LaunchPlan(
        **{
            **document,
            "steps": tuple(_step(step) for step in document["steps"]),
            "on_deadline": spec.DeadlinePolicy(document.get("on_deadline", spec.DeadlinePolicy.HOLD)),
            "on_failure": spec.FailurePolicy(document.get("on_failure", spec.FailurePolicy.ROLL_BACK)),
        }
    )


def _step(document: dict[str, Any]) -> spec.StepSpec:
    kind = spec.StepKind(document.get("kind", spec.StepKind.SHARE))
    return spec.StepSpec(**{**document, "kind": kind, "approvers": tuple(document.get("approvers", ()))})


def _broken(detail: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"A rollout's saved state cannot be read: {detail}.",
        remedy="Use the version of softlaunch that wrote it, or a newer one.",
        code=errors.Code.STATE_UNREADABLE,
    )
