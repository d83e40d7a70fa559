"""
Fire drills: a drill release made of a real one, and the scorecard of its rollout.

Between the two everything takes its ordinary way: the drill release is pushed, deployed and judged like any other. It
must never be promoted (ReleaseContent.drill tells it apart); a drill that nothing caught ends by an abort.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import stat
from collections.abc import Mapping
from typing import Any

from softlaunch import errors
from softlaunch.controller.pipeline import assemble
from softlaunch.core import drills, release_json
from softlaunch.core.rollout import messages, phases

_WASTE = "__pycache__"


def derive(unpacked: pathlib.Path, planted: drills.Fault, directory: pathlib.Path) -> pathlib.Path:
    """
    A copy of an unpacked release with a fault planted in it, ready for Registry.push; returns its directory.

    The same release and fault give the same digest.

    Args:
        unpacked: Directory of the release; it is not touched.
        planted: The fault.
        directory: Made; must not exist.

    Raises:
        ConfigError: it is a drill release already, or none at all.
    """
    try:
        content = release_json.load_content((unpacked / "release.json").read_bytes())
    except OSError as error:
        raise errors.ConfigError(
            f"{unpacked} is no release: release.json cannot be read ({error.strerror}).",
            remedy="Name the directory of an unpacked release.",
            code=errors.Code.RELEASE_UNREADABLE,
        ) from error
    if content.drill is not None:
        raise errors.ConfigError(
            f"The release is a drill release itself ({content.drill}).",
            remedy="Drill the release that is live.",
            code=errors.Code.DRILL_FAULT,
        )
    shutil.copytree(unpacked, directory, symlinks=True, ignore=shutil.ignore_patterns(_WASTE))
    for place, _, names in os.walk(directory):  # unpacked releases are read-only, and so are copies of them
        for path in (pathlib.Path(place), *(pathlib.Path(place, name) for name in names)):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | stat.S_IWUSR)
    assemble.describe(directory, dataclasses.replace(content, drill=planted.name.value))
    assemble.write(directory / drills.FILE, drills.dump(planted))
    return directory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Users:
    """What users got while the drill ran, as a load client or the gateway counted it."""

    sent: int
    failed: int
    """No prediction from a release: errors, fallback answers and invalid bodies count."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scorecard:
    """Whether the net held."""

    rollout_id: int
    service: str
    environment: str
    fault: drills.FaultName
    expected: tuple[str, ...]
    """Guardrails or mechanisms, any of which is enough."""
    caught_by: str
    """The one that did; empty when nothing did."""
    outcome: str
    reason: str
    """The rollout's own last sentence."""
    seconds_to_stable: float | None
    """
    From the first bad attempt to all traffic on stable; of a fault that makes answers late or dear and not bad, from
    the candidate's first attempt. None when it met nobody, or there was no way back.
    """
    candidate_requests: int
    candidate_bad: int
    users: Users | None
    """None: nobody counted."""
    problems: tuple[str, ...]
    """Why the net did not hold, one sentence each; empty when it did."""
    notes: tuple[str, ...]
    """What else is worth knowing."""

    @property
    def held(self) -> bool:
        return not self.problems

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {**dataclasses.asdict(self), "fault": self.fault.value, "held": self.held}

    def lines(self) -> list[str]:
        """For people."""
        seconds = "not measured" if self.seconds_to_stable is None else f"{self.seconds_to_stable:.2f} s"
        users = "not counted" if self.users is None else f"{self.users.failed} of {self.users.sent}"
        return [
            f"Drill {self.fault} in {self.service}, {self.environment}: {'HELD' if self.held else 'DID NOT HOLD'}",
            f"  expected           {' or '.join(self.expected)}",
            f"  caught by          {self.caught_by or 'nothing'}",
            f"  outcome            {self.outcome.replace('_', ' ')}: {self.reason}",
            f"  bad to all stable  {seconds}",
            f"  candidate requests {self.candidate_requests}, {self.candidate_bad} of them bad",
            f"  failed for users   {users}",
            *(f"  ! {problem}" for problem in self.problems),
            *(f"  {note}" for note in self.notes),
        ]


def score(rollout: Mapping[str, Any], planted: drills.Fault, *, users: Users | None = None) -> Scorecard:
    """
    The scorecard of a finished rollout.

    Args:
        rollout: Its view (controller.views.rollout).
        planted: The fault of its candidate.
        users: What users got meanwhile.
    """
    outcome = rollout["outcome"]
    if outcome is None:
        raise errors.InvariantError(f"Rollout {rollout['id']} has not ended: it has no scorecard.")
    measured = rollout["measured"]
    requests = int(measured.get("candidate_attempts") or 0)
    expected = drills.CATCHERS[planted.name]
    problems: list[str] = []
    notes: list[str] = []
    if outcome == phases.Phase.PROMOTED.value:
        problems.append("The drill release was promoted. Roll back now: `softlaunch rollback`.")
    if drills.READINESS in expected:
        early = requests > 0 and planted.values["seconds"] > rollout["finished_at"] - rollout["created_at"]
        bad = int(measured.get("candidate_bad") or 0)
        caught_by = "" if early or bad else drills.READINESS
        if early:
            problems.append(f"{requests} requests reached a candidate that was not ready.")
        elif bad:
            problems.append(f"{bad} of {requests} requests failed on a candidate that started slowly.")
    else:
        caught_by = _caught_by(rollout, expected)
        problems += _uncaught(rollout, planted, caught_by, requests)
        if caught_by and caught_by not in expected:
            notes.append(f"It was caught, but not by {' or '.join(expected)}.")
    if users is None:
        notes.append("Nobody counted what users got: run the drill under load.")
    elif users.failed:
        problems.append(f"{users.failed} of {users.sent} requests failed for users.")
    return Scorecard(
        rollout_id=rollout["id"],
        service=rollout["service"],
        environment=rollout["environment"],
        fault=planted.name,
        expected=expected,
        caught_by=caught_by,
        outcome=outcome,
        reason=rollout["reason"],
        seconds_to_stable=_seconds(measured),
        candidate_requests=requests,
        candidate_bad=int(measured.get("candidate_bad") or 0),
        users=users,
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _caught_by(rollout: Mapping[str, Any], expected: tuple[str, ...]) -> str:
    """Of the guardrails that broke an expected one, else the strongest; else whatever took the candidate back."""
    evidence: Mapping[str, Any] = rollout["evidence"] or {}
    if evidence.get("verdict") == messages.Verdict.FAIL.value:
        deciding: dict[str, Any] = {name: found for name, found in evidence["guardrails"].items() if found["enforcing"]}
        broken = [name for name, found in deciding.items() if found["verdict"] == messages.Verdict.FAIL.value]
        for name in expected:
            if name in broken:
                return name
        among = broken or list(deciding)
        if among:
            return max(among, key=lambda name: float(deciding[name]["log_e"]))
    if rollout["outcome"] == phases.Phase.ROLLED_BACK.value:
        return "another mechanism"
    return ""


def _uncaught(rollout: Mapping[str, Any], planted: drills.Fault, caught_by: str, requests: int) -> list[str]:
    if not caught_by:
        seen = [
            name
            for name, found in (rollout["evidence"] or {}).get("guardrails", {}).items()
            if found["verdict"] == messages.Verdict.FAIL.value and not found["enforcing"]
        ]
        if seen:
            return [f"{', '.join(seen)} saw it and only observes: {_DECIDE}"]
        expected = " or ".join(drills.CATCHERS[planted.name])
        enforcing = [
            name
            for name, found in (rollout["evidence"] or {}).get("guardrails", {}).items()
            if found["enforcing"] and name in drills.CATCHERS[planted.name]
        ]
        advice = "give it more traffic (--share, --rate) or time (--patience)"
        if not enforcing:
            advice = f"{expected} only observes here: {_DECIDE}"
            return [f"{requests} candidate requests were served and nothing stopped them: {advice}"]
        return [f"{requests} candidate requests broke no guardrail ({expected} should have): {advice}."]
    if requests == 0 and not planted.smoke:
        return ["It was taken back before it met a user, so the fault was not tried."]
    return []


_DECIDE = "name it under `guardrails:` to make it decide, or try with --enforce whether that would help."


def watched_only(rollout: Mapping[str, Any], planted: drills.Fault) -> str:
    """
    The guardrail that has seen the fault, should catch it and may not: it only observes.

    Empty: there is none, or another one that may decide can still catch it.
    """
    guardrails = (rollout["evidence"] or {}).get("guardrails", {})
    catchers = {name: guardrails[name] for name in drills.CATCHERS[planted.name] if name in guardrails}
    if any(found["enforcing"] for found in catchers.values()):
        return ""
    seen = (name for name, found in catchers.items() if found["verdict"] == messages.Verdict.FAIL.value)
    return next(seen, "")


def _seconds(measured: Mapping[str, Any]) -> float | None:
    first, back = measured.get("first_bad_at") or measured.get("first_candidate_at"), measured.get("stable_again_at")
    return None if first is None or back is None else max(0.0, back - first)
