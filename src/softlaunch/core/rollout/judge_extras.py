"""
The guardrails beyond bad and slow answers, gathered: outputs, disagreement, shed, cpu, memory, features and a
team's own.

They see the same first attempts as the others. What enforces has its share of alpha in the judge's sum; all are
reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from softlaunch.core import attempts, spec
from softlaunch.core.rollout import (
    evidence,
    expressions,
    judge_history,
    judge_memory,
    judge_outputs,
    judge_policy,
    judge_report,
    judge_sizes,
    judge_streams,
    judge_values,
)

_ALONE_RATE_MAX = 0.95
"""An alarm above this cannot ring; a guardrail whose recorded rate is higher judges nothing while alone."""

_Watched = judge_streams.Stream | judge_values.ValueEvidence


class Extras:
    """
    Evidence of the further guardrails.

    Args:
        policy: Rules.
        stable: Whether there is a stable release.
        history: What stable did before.
    """

    def __init__(
        self, *, policy: judge_policy.JudgePolicy, stable: bool, history: judge_history.ArmHistory | None
    ) -> None:
        self._policy = policy
        self._stable = stable
        self._outputs = judge_outputs.OutputEvidence(policy=policy, history=history.answers if history else None)
        self._disagreement = judge_streams.DisagreementStream(rate_max=policy.disagreement_rate_max)
        self._shed = judge_streams.ShedStream(
            policy=policy,
            alone_rate=alone_rate(policy, spec.GuardrailName.SHED, history),
        )
        self._cpu = judge_values.ValueEvidence(
            policy=policy,
            rules=judge_sizes.CPU_RULES,
            history=history.cpu if history else None,
            histories=history.cpu_sizes if history else None,
        )
        self._cpu_shares = evidence.Shares()
        self._memory = judge_memory.MemoryEvidence(policy=policy, history=history.growth if history else None)
        self._features = judge_streams.EventStream(policy=policy, verb="went on with default features")
        self._custom: list[tuple[Callable[[attempts.Attempt], bool], judge_streams.EventStream]] = [
            (
                expressions.compile_(rule.text),
                judge_streams.EventStream(policy=policy, verb=f"were bad by `{rule.text}`"),
            )
            for rule in policy.expressions
        ]
        self._streams: dict[str, _Watched] = {
            spec.GuardrailName.OUTPUTS: self._outputs,
            spec.GuardrailName.DISAGREEMENT: self._disagreement,
            spec.GuardrailName.SHED: self._shed,
            spec.GuardrailName.CPU: self._cpu,
            spec.GuardrailName.MEMORY: self._memory,
            spec.GuardrailName.FEATURES: self._features,
            **{rule.name: stream for rule, (_, stream) in zip(policy.expressions, self._custom, strict=True)},
        }
        self._deciding = [
            (policy.weight(name), *self._parts(stream), stream)
            for name, stream in self._streams.items()
            if policy.weight(name)
        ]
        self.decides = bool(self._deciding)
        """Whether any of them enforces."""
        self._reported: dict[str, bool] = dict.fromkeys(
            (
                spec.GuardrailName.OUTPUTS,
                spec.GuardrailName.CPU,
                spec.GuardrailName.MEMORY,
                spec.GuardrailName.FEATURES,
            ),
            False,
        )

    def _parts(self, stream: _Watched) -> tuple[float, float]:
        """Shares of the comparison and of the alarm."""
        if isinstance(stream, judge_streams.Stream):
            if stream.absolute_only:
                return 0.0, 1.0
            if stream.relative_only:
                return 1.0, 0.0
        return 1.0 - self._policy.alone_weight, self._policy.alone_weight

    @property
    def e(self) -> float:
        """The weighted sum of those that enforce."""
        total = 0.0
        for weight, beside, alone, stream in self._deciding:
            total += weight * (beside * stream.relative_e + alone * stream.alone_e)
        return total

    @property
    def sees_all(self) -> bool:
        """Attempts that reported nothing count, too."""
        return bool(self._custom) or self._reported[spec.GuardrailName.FEATURES]

    def observe(self, attempt: attempts.Attempt, epoch: evidence.RoutingEpoch, *, from_candidate: bool) -> None:
        """Take what the model server reported about a first attempt into account."""
        defaulted = attempt.features_defaulted
        if defaulted is not None or self._reported[spec.GuardrailName.FEATURES]:
            # From the first report on every attempt is a trial: a release that looks nothing up never uses a default.
            self._reported[spec.GuardrailName.FEATURES] = True
            self._features.observe(attempt, epoch, from_candidate=from_candidate, event=bool(defaulted))
        if self._custom:
            self._observe_custom(attempt, epoch, from_candidate=from_candidate)
        if attempt.output:
            self._reported[spec.GuardrailName.OUTPUTS] = True
            if not epoch.alone:
                self._outputs.observe(attempt, epoch, from_candidate=from_candidate)
        served = attempt.served_count
        if attempt.cpu_us is not None:
            self._reported[spec.GuardrailName.CPU] = True
            if served is None or served >= judge_history.WARM_UP_REQUESTS:
                self._observe_cpu(attempt, attempt.cpu_us, epoch, from_candidate=from_candidate)
        if attempt.memory_kib is not None and served is not None and attempt.replica:
            self._reported[spec.GuardrailName.MEMORY] = True
            self._memory.observe(
                from_candidate=from_candidate,
                replica=attempt.replica,
                served_count=served,
                memory_kib=attempt.memory_kib,
            )

    def _observe_cpu(
        self, attempt: attempts.Attempt, cpu_us: int, epoch: evidence.RoutingEpoch, *, from_candidate: bool
    ) -> None:
        size = judge_sizes.size_class(attempt.input_bytes)
        if epoch.alone:
            if from_candidate:
                self._cpu.observe_alone(cpu_us, size)
            return
        share = self._cpu_shares.of(attempt.epoch, epoch)
        self._cpu.observe(attempt.epoch, share, from_candidate, cpu_us, size)
        share.count(from_candidate)

    def _observe_custom(self, attempt: attempts.Attempt, epoch: evidence.RoutingEpoch, *, from_candidate: bool) -> None:
        """Ask a team's own guardrails about a first attempt."""
        for bad, stream in self._custom:
            stream.observe(attempt, epoch, from_candidate=from_candidate, event=bad(attempt))

    def observe_shed(
        self, number: int, epoch: evidence.RoutingEpoch, *, from_candidate: bool, alone_trials: int
    ) -> None:
        """Take an answer refused for overload into account."""
        self._shed.observe(number, epoch, from_candidate=from_candidate, alone_trials=alone_trials)

    def observe_pair(self, *, agrees: bool) -> None:
        """Take two answers to one request into account."""
        self._disagreement.observe(agrees)

    def observe_kill(self, *, from_candidate: bool, rho: float) -> None:
        """Take an out-of-memory kill into account."""
        if not self._stable:
            return  # nothing to compare with, and the guardrail says that it does not judge
        self._reported[spec.GuardrailName.MEMORY] = True
        self._memory.kill(from_candidate=from_candidate, rho=rho)

    def reports(self, attempt_counts: tuple[int, int]) -> list[judge_report.GuardrailReport]:
        """One per guardrail, the built-in ones in order and then the team's own."""
        self._shed.attempts = attempt_counts
        return [self._report(name, stream) for name, stream in self._streams.items()]

    def _report(self, name: str, stream: _Watched) -> judge_report.GuardrailReport:
        beside, alone = self._parts(stream)
        return judge_report.guardrail(
            name=name,
            policy=self._policy,
            trials=stream.trials,
            events=stream.events,
            log_e_relative=stream.log_e_relative if beside else None,
            log_e_alone=stream.log_e_alone if alone else None,
            promotion=stream.promotion(),
            subject=stream.subject if isinstance(stream, judge_values.ValueEvidence) else None,
            verb=_verb(stream),
            missing=self._missing(name, stream),
        )

    def _missing(self, name: str, stream: _Watched) -> judge_report.Missing | None:
        if not self._reported.get(name, True) or (stream is self._disagreement and not stream.trials[0]):
            return judge_report.Missing.REPORTS
        compares = stream is not self._disagreement and stream is not self._shed
        if compares and not self._stable:
            return judge_report.Missing.YARDSTICK
        ready = stream.can_judge if isinstance(stream, judge_values.ValueEvidence) else stream.ready
        return None if ready else judge_report.Missing.THRESHOLDS

    def state(self) -> dict[str, Any]:
        """A JSON-able object; `load` goes on from it."""
        return {
            "streams": [[str(name), stream.state()] for name, stream in self._streams.items()],
            "cpu_shares": self._cpu_shares.state(),
            "reported": [str(name) for name, reported in self._reported.items() if reported],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        for name, saved in state["streams"]:
            self._streams[name].load(saved)
        self._cpu_shares.load(state["cpu_shares"])
        self._reported = {name: str(name) in state["reported"] for name in self._reported}


def _verb(stream: _Watched) -> str:
    if isinstance(stream, judge_values.ValueEvidence):
        return f"used more CPU time than {stream.subject}"
    return stream.verb


def alone_rate(
    policy: judge_policy.JudgePolicy, name: spec.GuardrailName, history: judge_history.ArmHistory | None
) -> float:
    """The rate above which a candidate without anything beside it is worse: acceptable, or recorded of stable."""
    recorded = None if history is None else history.rate_upper(name)
    return min(_ALONE_RATE_MAX, max(policy.acceptable_rate, recorded or 0.0))
