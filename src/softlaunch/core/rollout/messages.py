"""
What can happen to a rollout (events) and what it wants told (announcements).

Events are facts and wishes; the machine alone decides what follows. Announcements become history records and
notifications; routes and fleets need none, they follow from the state.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class CandidateReady:
    """Every replica of the candidate answers that it is ready."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StableStopped:
    """Every process of the old release has ended, as a plan that recreates asks."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CandidateFailed:
    """A replica of the candidate ended before it ever was ready."""

    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyPassed:
    detail: str
    measured: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    """Results of a replay and of a load test, as JSON."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyFailed:
    reason: str
    measured: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyInvalid:
    """Verification could not be done, or says nothing of the candidate."""

    reason: str
    measured: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)


class Verdict(enum.StrEnum):
    """What the evidence says; always with a reason."""

    PASS = "pass"  # noqa: S105 - not a password
    """Enough evidence that the candidate is not worse by the margin, or good enough."""
    FAIL = "fail"
    """Enough evidence that the candidate is worse."""
    INCONCLUSIVE = "inconclusive"
    """Not enough evidence for either."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """The judge looked at all evidence so far."""

    verdict: Verdict
    reason: str
    step_attempts: int
    """The candidate's first attempts since the current share took effect."""
    settled: bool = True
    """False: a guardrail that decides can be settled in this step only, and is not yet."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvidenceLost:
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ejected:
    """The gateway's fuse refuses every replica of the candidate."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Readmitted:
    """The gateway uses a replica of the candidate again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GatewayRefused:
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class GatewayAccepted:
    """The gateway believes what the saved state says."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutageSeen:
    """Both arms fail as they never did before."""

    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutageOver:
    """Stable answers again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ticked:
    """Time has passed; the only event that lets waiting end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PauseAsked:
    by: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResumeAsked:
    by: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromoteAsked:
    """An operator takes the decision to go on: one step, or to the end."""

    by: str
    full: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbortAsked:
    by: str
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ApproveAsked:
    """Somebody who may do so says that the rollout may go on."""

    by: str
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplaceAsked:
    """Another release shall enter the environment: this rollout makes way for it."""

    by: str
    release: str
    """In short, for people."""


Event = (
    CandidateReady
    | StableStopped
    | OutageSeen
    | OutageOver
    | ApproveAsked
    | ReplaceAsked
    | CandidateFailed
    | VerifyPassed
    | VerifyFailed
    | VerifyInvalid
    | Judged
    | EvidenceLost
    | Ejected
    | Readmitted
    | GatewayRefused
    | GatewayAccepted
    | Ticked
    | PauseAsked
    | ResumeAsked
    | PromoteAsked
    | AbortAsked
)


class AnnouncementKind(enum.StrEnum):
    """Kinds of history records about a rollout."""

    STARTED = "started"
    VERIFIED = "verified"
    STEP = "step"
    HELD = "held"
    RELEASED = "released"
    PAUSED = "paused"
    RESUMED = "resumed"
    APPROVAL_ASKED = "approval_asked"
    APPROVED = "approved"
    PROMOTED = "promoted"
    FINISHED = "finished"
    TRAFFIC = "traffic"
    """Who answers has changed, and nothing else is told of it."""
    ROLLING_BACK = "rolling_back"
    ENDED = "ended"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Announcement:
    kind: AnnouncementKind
    text: str
