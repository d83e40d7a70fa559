"""
Evidence of the guardrail on answers: does the candidate answer differently?

"An answer in bin b" is a kind of event. If both arms answer alike then, whatever the bin, the next answer in it is the
candidate's with probability rho. Each bin has its own one-sided process, and the evidence is their mean: answers that
move must fall into some bin more often than before. Bins are cut from stable's record, or from its first answers in the
rollout, before the first answer they judge.

Users. The answers of one user are alike, and with a sticky key they all land on one arm: a busy user would look like a
shift. So of a user with a key only the first answer counts, once in the whole rollout: which arm a new user meets was
drawn by the configured share and by nothing else, so first answers are independent, and rho is the share among them.
Who has been counted is kept as 32,768 slots of a hash; a user whose slot is taken says nothing, which costs evidence
and no validity, because the slot knows neither arm nor answer. At small shares almost every user would be spent on
stable, so there only a part of the users, drawn by the same hash, is counted; the others are left for later steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from softlaunch.core import attempts
from softlaunch.core.rollout import evidence, judge_keys, judge_policy, judge_streams
from softlaunch.core.stats import absolute, answers

_ADMITTED_MIN = 0.1
_ADMITTED_PER_SHARE = 4.0
"""At a share of 1 % every tenth user is counted, at 25 % and above everybody; a guess."""


class OutputEvidence(judge_streams.Stream):
    """
    The evidence of the guardrail.

    Args:
        policy: Rules.
        history: Stable's answers before the rollout; None or too few: bins are cut during it.
    """

    relative_only = True

    def __init__(self, *, policy: judge_policy.JudgePolicy, history: answers.AnswerCounts | None) -> None:
        super().__init__()
        self._policy = policy
        self._seen: answers.AnswerCounts | None = answers.AnswerCounts()
        self._bins = answers.Bins((), ())
        self._evidence: list[evidence.CountEvidence] = []
        self._shares = evidence.Shares()
        self._users = judge_keys.UserSlots()
        self.trials_candidate = 0
        self.trials_stable = 0
        if history is not None and history.count >= policy.latency_history_min:
            self._cut(history)

    def _cut(self, history: answers.AnswerCounts) -> None:
        self._seen = None
        self._bins = history.bins()
        self._build()

    def _build(self) -> None:
        policy = self._policy
        self._evidence = [
            evidence.CountEvidence(
                acceptable_rate=policy.acceptable_rate,
                alone_rate=policy.acceptable_rate,
                margin_ratio=policy.margin_ratio,
            )
            for _ in range(self._bins.bin_count)
        ]

    def observe(self, attempt: attempts.Attempt, epoch: evidence.RoutingEpoch, *, from_candidate: bool) -> None:
        """Take the answer of one attempt into account that happened while both arms had traffic."""
        key, answer = attempt.key, attempt.output
        if self._seen is not None:
            if not from_candidate:
                self._seen.add(answer)
                if self._seen.count >= self._policy.latency_history_min:
                    self._cut(self._seen)
            return
        if key and self._policy.dedupe_keys:
            admitted = max(_ADMITTED_MIN, _ADMITTED_PER_SHARE * epoch.share)
            if not self._users.take(key, attempt.request_id, admitted=admitted):
                return
        share = self._shares.of(attempt.epoch, epoch)
        found = self._evidence[self._bins.bin_of(answer)]
        found.count_event(from_candidate)
        found.compare(from_candidate, *share.rho_values())
        share.count(from_candidate)
        self.trials_candidate += from_candidate
        self.trials_stable += not from_candidate
        self.relative_e = math.fsum(found.relative_e for found in self._evidence) / len(self._evidence)

    @property
    def log_e_relative(self) -> float:
        """Logarithm of the evidence for "answers differently"."""
        if self._seen is not None:
            return 0.0
        count = len(self._evidence)
        return absolute.log_sum_exp([found.log_e_relative - math.log(count) for found in self._evidence])

    def _worst(self) -> int:
        return max(range(len(self._evidence)), key=lambda index: self._evidence[index].log_e_relative)

    @property
    def ready(self) -> bool:
        """Whether there are bins."""
        return self._seen is None

    @property
    def trials(self) -> tuple[int, int]:
        """Answers judged, of the candidate and of stable."""
        return self.trials_candidate, self.trials_stable

    @property
    def events(self) -> tuple[int, int]:
        """Those in the bin that moved most, likewise."""
        if self._seen is not None:
            return 0, 0
        worst = self._evidence[self._worst()]
        return worst.events_candidate, worst.events_stable

    @property
    def verb(self) -> str:
        """What an event did, for people."""
        if self._seen is not None:
            return f"answered ({self._seen.count} of {self._policy.latency_history_min} stable answers seen)"
        return f"answered {self._bins.label(self._worst())}"

    def promotion(self) -> evidence.Promotion:
        """The evidence for "no bin is rare no more": the least over all bins, because every bin must be good."""
        if self._seen is not None:
            return evidence.Promotion(log_e=0.0, absolute=False)
        found = [bin_.promotion(self.trials_candidate) for bin_ in self._evidence]
        return min(found, key=lambda promotion: promotion.log_e)

    def state(self) -> dict[str, Any]:
        """A JSON-able object; `load` goes on from it."""
        return {
            "seen": None if self._seen is None else self._seen.to_json(),
            "bins": [list(part) for part in self._bins],
            "evidence": [found.state() for found in self._evidence],
            "shares": self._shares.state(),
            "users": self._users.state(),
            "trials": [self.trials_candidate, self.trials_stable],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        self._seen = None if state["seen"] is None else answers.AnswerCounts.from_json(state["seen"])
        edges, classes = state["bins"]
        self._bins = answers.Bins(tuple(int(edge) for edge in edges), tuple(str(name) for name in classes))
        if self._seen is None:
            self._build()
            for found, saved in zip(self._evidence, state["evidence"], strict=True):
                found.load(saved)
            self.relative_e = math.fsum(found.relative_e for found in self._evidence) / len(self._evidence)
        self._shares.load(state["shares"])
        self._users.load(state["users"])
        self.trials_candidate, self.trials_stable = (int(count) for count in state["trials"])
