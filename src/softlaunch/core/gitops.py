"""
What to do about an environment whose branch says one thing while perhaps another thing runs.

    facts: the branch's newest commit, what runs, what is pinned, how the last attempt went
        |
        v  decide
    decision: where the environment stands, why in one sentence, and whether a pipeline is started

The order of the questions is the rule. A branch that cannot be trusted comes first, then what is under way, then the
pins: what was taken back does not come again, however often Git asks and under whichever commit. Only after all that an
environment that differs from its branch is made to agree with it.
"""

from __future__ import annotations

import dataclasses
import enum

RETRY_SECONDS_MIN = 15.0
"""Before a pipeline that met a race or a missing neighbour is tried again; doubled each time. A guess."""
RETRY_SECONDS_MAX = 600.0
EXIT_DONE, EXIT_NO, EXIT_CALLER = 0, 1, 2
"""Exit codes of `softlaunch ship`: promoted or unchanged; gates failed or taken back; a mistake in the commit."""


class OnRollback(enum.StrEnum):
    """What a rollback means to the branch; the release is pinned in any case."""

    PIN = "pin"
    """Nothing: the branch stays as it is."""
    REVERT = "revert"
    """A revert commit on the branch; on a branch of its own where the server refuses that."""
    MERGE_REQUEST = "merge-request"
    """A revert commit on a branch of its own."""


class Standing(enum.StrEnum):
    """How an environment and its branch get along."""

    SYNCED = "synced"
    """What runs is what the branch says."""
    SHIPPING = "shipping"
    """A pipeline, or the rollout it began, brings what the branch says."""
    DUE = "due"
    """It differs, and a pipeline is started now."""
    WAITING = "waiting"
    """It differs, and what stands in the way passes by itself."""
    ROLLED_BACK = "rolled-back"
    """Somebody went back; the branch is followed again from its next commit on."""
    PINNED = "pinned"
    """What the branch says was taken back here, and is not launched again."""
    FAILED = "failed"
    """What the branch says did not get through its pipeline."""
    HELD = "held"
    """The branch cannot be followed until somebody looks."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tip:
    """The newest commit of a branch."""

    commit: str
    tree: str
    """Names the content of the service's folder: equal for equal files, whatever the commit."""
    trouble: str = ""
    """Why it must not be followed (rewritten history, no signature); empty: nothing is wrong with it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Running:
    """What an environment answers with."""

    release: str
    """Digest."""
    commit: str
    by: str
    """Who launched it."""
    arm: str = ""
    """The release with its settings; compared with other arms only."""
    returned: bool = False
    """It was brought by going back to it, and not by a launch."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entering:
    """A rollout that has not promoted its candidate yet."""

    id: int
    release: str
    commit: str
    by: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pinned:
    """A pin that nobody has lifted."""

    release: str
    """Digest."""
    commit: str
    tree: str
    """Of its commit; empty where that commit is not in the repository."""
    reason: str
    by: str
    arm: str = ""
    """Set: the release is pinned with these settings alone, and may be launched with others."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attempt:
    """The last pipeline that was started for the branch's newest commit."""

    commit: str
    count: int = 1
    exit_code: int | None = None
    """None while it runs."""
    release: str = ""
    """What it ended with; empty: it came to no release."""
    text: str = ""
    ended_at: float = 0.0
    left: str = ""
    """The arm that ran when it ended."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything a decision rests on."""

    branch: str
    tip: Tip
    known_as: str
    """The release made of the tip; empty: none was made yet."""
    running: Running | None
    desired_arm: str = ""
    """The tip's release with the tip's settings; empty: not known yet."""
    entering: Entering | None = None
    pins: tuple[Pinned, ...] = ()
    attempt: Attempt | None = None
    taken_back: str = ""
    """Who went back from the tip or from something else since the tip is there, and to what; empty: nobody."""
    busy: str = ""
    """Why no pipeline may be started now; empty: one may."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    standing: Standing
    reason: str
    ship: bool = False
    desired: str = ""
    """Digest of what the branch says, where it is known."""
    pin: Pinned | None = None
    """Of Standing.PINNED."""

    @property
    def drifted(self) -> bool:
        """What runs is not what the branch says."""
        return self.standing is not Standing.SYNCED


def decide(facts: Facts, now: float) -> Decision:
    """
    Where the environment stands, and whether a pipeline starts.

    Args:
        facts: What is known.
        now: Unix seconds.
    """
    attempt = facts.attempt if facts.attempt is not None and facts.attempt.commit == facts.tip.commit else None
    desired = facts.known_as or (attempt.release if attempt is not None else "")
    standing, reason, pin = _standing(facts, attempt, desired, now)
    return Decision(standing=standing, reason=reason, ship=standing is Standing.DUE, desired=desired, pin=pin)


def retry_at(attempt: Attempt) -> float:
    """When an attempt that came to nothing is made again."""
    return attempt.ended_at + min(RETRY_SECONDS_MAX, RETRY_SECONDS_MIN * 2.0 ** min(attempt.count - 1, 16))


def find_pin(tip: Tip, release: str, pins: tuple[Pinned, ...], *, arm: str = "") -> Pinned | None:
    """The pin that means the tip: by its release (of a pin of settings: with these), its commit or its content."""
    for pin in pins:
        same = pin.arm == arm if pin.arm else bool(release) and pin.release == release
        if same or pin.commit == tip.commit or (pin.tree and pin.tree == tip.tree):
            return pin
    return None


def _standing(facts: Facts, attempt: Attempt | None, desired: str, now: float) -> tuple[Standing, str, Pinned | None]:
    tip, running = facts.tip, facts.running
    short = tip.commit[:12]
    if tip.trouble:
        return Standing.HELD, tip.trouble, None
    if attempt is not None and attempt.exit_code is None:
        return Standing.SHIPPING, f"A pipeline ships {short} of {facts.branch}.", None
    pin = find_pin(tip, desired, facts.pins, arm=facts.desired_arm)
    if pin is not None:
        return Standing.PINNED, f"{short} is what {pin.by} took back: {pin.reason}", pin
    if facts.entering is not None:
        return *_entering(facts.entering, tip, desired), None
    if running is not None and _is(running, facts, desired, attempt):
        return Standing.SYNCED, f"{_short(running.release)} of {short} is what {facts.branch} says.", None
    if facts.taken_back:
        reason = f"{facts.taken_back} {facts.branch} is followed again from its next commit on."
        return Standing.ROLLED_BACK, reason, None
    return *_differs(facts, attempt, now), None


def _is(running: Running, facts: Facts, desired: str, attempt: Attempt | None) -> bool:
    """Its commit was launched here, or its release runs and nothing else is left to be done."""
    if running.commit == facts.tip.commit and not running.returned:
        return not desired or desired == running.release
    # The same release of another commit may have another plan or fallback beside it: a pipeline sees to that once.
    settled = running.returned or (attempt is not None and attempt.exit_code == EXIT_DONE)
    other_settings = facts.desired_arm and facts.desired_arm != running.arm
    return bool(settled and desired and desired == running.release and not other_settings)


def _entering(entering: Entering, tip: Tip, desired: str) -> tuple[Standing, str]:
    what = f"rollout {entering.id} of {_short(entering.release)}, launched by {entering.by}"
    if entering.commit == tip.commit or (desired and entering.release == desired):
        return Standing.SHIPPING, f"It is under way: {what}."
    return Standing.WAITING, f"It waits for the end of {what}."


def _differs(facts: Facts, attempt: Attempt | None, now: float) -> tuple[Standing, str]:
    short, running = facts.tip.commit[:12], facts.running
    if attempt is not None and attempt.exit_code in (EXIT_NO, EXIT_CALLER):
        return Standing.FAILED, f"{short} did not get through: {attempt.text}"
    if attempt is not None:
        left = (running.arm or running.release) if running is not None else ""
        came_to_nothing = attempt.exit_code != EXIT_DONE or left == attempt.left
        if came_to_nothing and now < retry_at(attempt):
            return Standing.WAITING, f"{short} is tried again in {retry_at(attempt) - now:.0f} s: {attempt.text}"
    if facts.busy:
        return Standing.WAITING, facts.busy
    if running is None:
        return Standing.DUE, f"Nothing runs yet; {facts.branch} says {short}."
    runs = f"{_short(running.release)} of {running.commit[:12] or 'no commit'}, launched by {running.by}"
    return Standing.DUE, f"{facts.branch} says {short}; what runs is {runs}."


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
