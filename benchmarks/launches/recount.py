"""
A second count of a rollout, from the attempt log alone, to be compared with what the control plane has kept.

The control plane read the log in pieces, saved its evidence along with its place in the log, was killed and went on. A
fresh analysis is fed every line once, from the rollout's first to its last. Whatever was counted twice or lost shows as
a difference: of the judge's state down to the last bit, of the facts in `measured`, of the users set aside.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import tempfile
from typing import Any

from softlaunch.adapters.archive import files
from softlaunch.adapters.envoy import attempt_lines
from softlaunch.controller import analysis
from softlaunch.core import attempts, spec
from softlaunch.core.rollout import judge_history
from softlaunch.ports import store

_FACTS = ("candidate_attempts", "candidate_bad", "stable_attempts", "stable_bad", "first_bad_at", "last_candidate_at")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """Where a rollout stands in the log, and what stable's history was before."""

    begins: int
    ends: int
    history: dict[str, Any]


def lines(log: pathlib.Path, begins: int, ends: int) -> list[attempts.Attempt]:
    """Every attempt between two places of a log that was never rotated."""
    rotated = sorted(log.parent.glob(f"{log.name}.*"))
    if rotated:
        raise RuntimeError(f"the log was rotated ({rotated[0].name}): it is not the whole truth any more.")
    return attempt_lines.Parser().parse(log.read_bytes()[begins:ends]).attempts


def differences(
    record: store.RolloutRecord, keys: list[tuple[str, int]], log: pathlib.Path, window: Window
) -> list[str]:
    """What the control plane kept that a fresh count does not find; empty when they agree."""
    history = judge_history.ArmHistory.from_json(window.history) if window.history else None
    with tempfile.TemporaryDirectory(prefix="sl-recount-") as scratch:
        fresh = analysis.Analysis.start(record, history, files.FileArchive(pathlib.Path(scratch)))
        for number, epoch in record.evidence["judge"]["epochs"]:
            fresh.begin_epochs({number: epoch["share"]})
        for attempt in lines(log, window.begins, window.ends):
            if (attempt.service, attempt.environment) == (record.service, record.environment):
                fresh.observe(attempt)
        evidence, measured, fresh_keys = json.loads(json.dumps(fresh.save()))
    judged, again = _of_attempts(record.evidence["judge"]), _of_attempts(evidence["judge"])
    found = [
        f"judge {name}: kept {kept}, recounted {again.get(name)}"
        for name, kept in judged.items()
        if kept != again.get(name)
    ]
    found += [
        f"{name}: kept {record.measured[name]}, recounted {measured[name]}"
        for name in _FACTS
        if record.measured[name] != measured[name]
    ]
    if sorted(keys) != sorted(map(tuple, fresh_keys)):
        found.append(f"users set aside: kept {len(keys)}, recounted another set")
    return found


def _of_attempts(state: dict[str, Any]) -> dict[str, Any]:
    """A judge's state without its count of killed processes, which are not in the log."""
    found: dict[str, Any] = json.loads(json.dumps(state))
    for name, stream in found["extras"]["streams"]:
        if name == spec.GuardrailName.MEMORY:
            del stream["kills"]
            del stream["counts"][3:]
    return found


def history_difference(release: str, after: dict[str, Any], log: pathlib.Path, window: Window) -> str | None:
    """The same for the history of a release that stayed stable all the while."""
    before = window.history
    fresh = judge_history.ArmHistory.from_json(before) if before else judge_history.ArmHistory(release=release)
    for attempt in lines(log, window.begins, window.ends):
        fresh.observe(attempt)
    counted = json.loads(json.dumps(fresh.to_json()))
    if counted == after:
        return None
    return f"history of {release}: kept {after.get('trials')} first attempts, recounted {counted['trials']}"
