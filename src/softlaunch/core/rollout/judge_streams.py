"""
Streams of events beside bad and slow answers: a team's own, refusals for overload, disagreements of pairs.

A Stream is what all the further guardrails have in common for the judge: their evidence and what they say of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from softlaunch.core import attempts
from softlaunch.core.rollout import evidence, judge_keys, judge_policy
from softlaunch.core.stats import absolute, relative


class Stream:
    """What the judge asks of a further guardrail. One that never saw a trial has evidence of 1 and decides nothing."""

    absolute_only = False
    """Nothing is compared: the verdict is about the candidate alone, whatever traffic it has."""
    relative_only = False
    """There is no test of the candidate alone."""

    def __init__(self) -> None:
        self.relative_e = 1.0
        self.alone_e = 1.0

    @property
    def log_e_relative(self) -> float:
        """Logarithm of the evidence for "worse than stable"."""
        return 0.0

    @property
    def log_e_alone(self) -> float:
        """Logarithm of the evidence for "worse than acceptable, or than recorded"."""
        return 0.0

    @property
    def ready(self) -> bool:
        """Whether trials can be judged, or something of stable's is missing still."""
        return True

    @property
    def trials(self) -> tuple[int, int]:
        """Judged, of the candidate and of stable."""
        raise NotImplementedError

    @property
    def events(self) -> tuple[int, int]:
        """Likewise."""
        raise NotImplementedError

    @property
    def verb(self) -> str:
        """What an event did, for people."""
        raise NotImplementedError

    def promotion(self) -> evidence.Promotion:
        """The evidence that the candidate may pass."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """A JSON-able object; `load` goes on from it."""
        raise NotImplementedError

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        raise NotImplementedError


class EventStream(Stream):
    """
    Events that any attempt may be: a team's own expression, a looked-up feature that was not to be had.

    Compared only. How often an expression was true nobody recorded; and when a source of features is down, that is no
    fault of a candidate that has all traffic just then.

    A user's first event only is compared, at rho among the attempts of users who have had none; who has had one is kept
    as slots of a hash (judge_keys.UserSlots), so that a frequent event does not fill the store. Without a key every
    event counts.

    Args:
        policy: Rules.
        verb: What an event did.
    """

    relative_only = True

    def __init__(self, *, policy: judge_policy.JudgePolicy, verb: str) -> None:
        super().__init__()
        self._dedupe = policy.dedupe_keys
        self._verb = verb
        self._counts = _counts(policy, policy.acceptable_rate)
        self._shares = evidence.Shares()
        self._users = judge_keys.UserSlots()
        self._trials = [0, 0]

    def observe(
        self,
        attempt: attempts.Attempt,
        epoch: evidence.RoutingEpoch,
        *,
        from_candidate: bool,
        event: bool,
    ) -> None:
        """Take one attempt into account."""
        self._trials[not from_candidate] += 1
        if event:
            self._counts.count_event(from_candidate)
        if epoch.alone:
            return
        if attempt.key and self._dedupe:
            user = (attempt.key, attempt.request_id)
            if not self._users.take(*user) if event else self._users.taken(*user):
                return
        share = self._shares.of(attempt.epoch, epoch)
        if event:
            self._counts.compare(from_candidate, *share.rho_values())
            self.relative_e = self._counts.relative_e
        share.count(from_candidate)

    @property
    def log_e_relative(self) -> float:
        """Logarithm of the evidence for "more often than stable"."""
        return self._counts.log_e_relative

    @property
    def trials(self) -> tuple[int, int]:
        """Attempts, of the candidate and of stable."""
        return self._trials[0], self._trials[1]

    @property
    def events(self) -> tuple[int, int]:
        """Events among them, users' later ones too."""
        return self._counts.events_candidate, self._counts.events_stable

    @property
    def verb(self) -> str:
        """What an event did."""
        return self._verb

    def promotion(self) -> evidence.Promotion:
        """The evidence for "rare enough, or not more often by the margin"."""
        return self._counts.promotion(self._trials[0])

    def state(self) -> dict[str, Any]:
        """A JSON-able object; `load` goes on from it."""
        return {
            "counts": self._counts.state(),
            "shares": self._shares.state(),
            "users": self._users.state(),
            "trials": list(self._trials),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        self._counts.load(state["counts"])
        self._shares.load(state["shares"])
        self._users.load(state["users"])
        self._trials = [int(count) for count in state["trials"]]
        self.relative_e = self._counts.relative_e


class ShedStream(Stream):
    """
    Answers refused for overload, which are no trials of the other guardrails.

    Looked at only when one happens, so that everybody else pays nothing. Refusals come in bursts, all on one arm: their
    evidence is stronger than it should be, one reason why this guardrail observes unless told otherwise.

    Args:
        policy: Rules.
        alone_rate: The alarm without comparison above this.
    """

    def __init__(self, *, policy: judge_policy.JudgePolicy, alone_rate: float) -> None:
        super().__init__()
        self._policy = policy
        self._counts = _counts(policy, alone_rate)
        self._epochs: dict[int, list[int]] = {}
        self.attempts = (0, 0)
        """Attempts that were not refused, of the candidate and of stable: set before a report is asked for."""

    def observe(self, number: int, epoch: evidence.RoutingEpoch, *, from_candidate: bool, alone_trials: int) -> None:
        """
        Take one refusal into account.

        Args:
            number: The population it was routed in.
            epoch: The same.
            from_candidate: Which arm refused.
            alone_trials: The candidate's attempts so far, none refused, while it had all traffic.
        """
        counts = self._counts
        counts.count_event(from_candidate)
        if epoch.alone:
            if from_candidate:
                counts.alone_count = alone_trials + counts.alone_events
                counts.alarm()
                self.alone_e = counts.alone_e
            return
        candidate, total = self._epochs.setdefault(number, [0, 0])
        rho = evidence.bracket(epoch.prior, epoch.candidate_prior, epoch.candidate + candidate, epoch.total + total)
        counts.compare(from_candidate, *rho)
        self.relative_e = counts.relative_e
        self._epochs[number] = [candidate + from_candidate, total + 1]

    @property
    def log_e_relative(self) -> float:
        """Logarithm of the evidence for "refuses more often than stable"."""
        return self._counts.log_e_relative

    @property
    def log_e_alone(self) -> float:
        """Logarithm of the evidence for "above the acceptable or recorded rate while alone", at the last refusal."""
        return math.log(self.alone_e) if self.alone_e > 0.0 else -math.inf

    @property
    def trials(self) -> tuple[int, int]:
        """Attempts with the refused ones, of the candidate and of stable."""
        candidate, stable = self.events
        return self.attempts[0] + candidate, self.attempts[1] + stable

    @property
    def events(self) -> tuple[int, int]:
        """Refused ones."""
        return self._counts.events_candidate, self._counts.events_stable

    @property
    def verb(self) -> str:
        """What an event did."""
        return "were refused for overload"

    def promotion(self) -> evidence.Promotion:
        """The evidence for "rare enough, or not more often by the margin"."""
        return self._counts.promotion(self.trials[0])

    def state(self) -> dict[str, Any]:
        """A JSON-able object; `load` goes on from it."""
        return {
            "alone_rate": self._counts.alone_rate,
            "counts": self._counts.state(),
            "epochs": [[number, *found] for number, found in self._epochs.items()],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        self._counts = _counts(self._policy, float(state["alone_rate"]))
        self._counts.load(state["counts"])
        self._epochs = {int(number): [int(candidate), int(total)] for number, candidate, total in state["epochs"]}
        self.relative_e, self.alone_e = self._counts.relative_e, self._counts.alone_e


def _counts(policy: judge_policy.JudgePolicy, alone_rate: float) -> evidence.CountEvidence:
    return evidence.CountEvidence(
        acceptable_rate=policy.acceptable_rate, alone_rate=alone_rate, margin_ratio=policy.margin_ratio
    )


class DisagreementStream(Stream):
    """Pairs of answers to the same request: is the rate of those that differ above what is tolerated, or below?"""

    absolute_only = True

    def __init__(self, *, rate_max: float) -> None:
        super().__init__()
        self._above = absolute.above(rate_max)
        self._below = absolute.below(rate_max)
        self._pairs = 0
        self._differed = 0

    def observe(self, agrees: bool) -> None:  # noqa: FBT001  # an observation
        """Take one pair into account."""
        self._pairs += 1
        self._differed += not agrees
        self.alone_e = relative.exp_capped(self.log_e_alone)

    @property
    def log_e_alone(self) -> float:
        """Logarithm of the evidence for "more often than tolerated"."""
        return self._above.log_e(bad=self._differed, count=self._pairs)

    @property
    def trials(self) -> tuple[int, int]:
        """Pairs, and nothing."""
        return self._pairs, 0

    @property
    def events(self) -> tuple[int, int]:
        """Pairs that differed, and nothing."""
        return self._differed, 0

    @property
    def verb(self) -> str:
        """What an event did."""
        return "differed from stable's answer to the same request"

    def promotion(self) -> evidence.Promotion:
        """The evidence for "less often than tolerated"."""
        return evidence.Promotion(log_e=self._below.log_e(bad=self._differed, count=self._pairs), absolute=True)

    def state(self) -> dict[str, Any]:
        """A JSON-able object; `load` goes on from it."""
        return {"pairs": self._pairs, "differed": self._differed}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        self._pairs, self._differed = int(state["pairs"]), int(state["differed"])
        self.alone_e = relative.exp_capped(self.log_e_alone) if self._pairs else 1.0
