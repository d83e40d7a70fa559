"""
Replay: what production asked yesterday, asked of a candidate that no user can reach.

Requests that stable answered are sent again, open loop, at their recorded spacing divided by the rate: a slow candidate
is not asked more slowly. Every answer is paired with stable's recorded one and judged by the engine of rollouts, at a
share of one half. It ends when the recording does, or, unless all of it is wanted, as soon as the judge has seen enough
to fail the candidate.

Latency, CPU time and memory are reported, but decide nothing: stable's were taken at another time, under another load.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable, Container, Iterable, Iterator, Sequence

from softlaunch import errors
from softlaunch.core import spec, spool
from softlaunch.core.rollout import judge, judge_policy, judge_report, messages
from softlaunch.core.shadow import agreement, pairing, summary
from softlaunch.ports import clock as clock_port
from softlaunch.ports import fleet, sender

EPOCH = 1
"""The one population of a replay."""
_SHARE = 0.5
_TICK_SECONDS = 0.02
_PROGRESS_SECONDS = 0.5
_RECENT_COUNT = 100_000
"""Request ids remembered, so that a retry on stable is not sent as a request of its own."""
_READY_SECONDS_MAX = 120.0
_ANSWERED = 200
_INCOMPARABLE = frozenset(
    {spec.GuardrailName.LATENCY, spec.GuardrailName.CPU, spec.GuardrailName.MEMORY, spec.GuardrailName.FEATURES}
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """One replay."""

    service: str
    environment: str
    stable: str
    """First twelve hex digits: whose recorded answers are the comparison."""
    candidate: str
    strategy: spec.StrategySpec
    rate: float = 1.0
    """Times the speed at which the requests came, > 0."""
    request_timeout_seconds: float = 5.0
    compared_paths: tuple[str, ...] = ()
    """As of an EnvironmentSpec."""
    whole: bool = False
    """Send everything, also when the candidate has failed already."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    sent_count: int
    paired_count: int
    recorded_at: float
    """Unix seconds at which the request sent last was recorded."""
    verdict: messages.Verdict


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplayReport:
    verdict: messages.Verdict
    reason: str
    judged: judge_report.JudgeReport
    pairs: summary.Report
    sent_count: int
    skipped_count: int
    """Recorded, but not sent: of other releases, without their body, refused for overload, repeated."""
    redacted_count: int
    """Recorded, but not sent: fields were left out or hashed, so it is not the user's request any more."""
    recorded_seconds: float
    """From the first request sent to the last, when they were recorded."""
    seconds: float
    """What the replay took."""
    late_seconds_max: float
    """How far sending fell behind the schedule; beyond a few milliseconds this machine is too slow for the rate."""


def policy(strategy: spec.StrategySpec, *, request_timeout_seconds: float = 5.0) -> judge_policy.JudgePolicy:
    """The strategy's own rules, without the guardrails that recorded numbers cannot decide."""
    found = judge_policy.of_strategy(strategy, request_timeout_seconds=request_timeout_seconds)
    enforcing = tuple(name for name in found.enforcing if name not in _INCOMPARABLE)
    return dataclasses.replace(found, enforcing=enforcing or (spec.GuardrailName.ERRORS,))


def run(
    plan: Plan,
    records: Iterable[spool.Record],
    *,
    to: sender.Sender,
    clock: clock_port.Clock,
    progress: Callable[[Progress], None] = lambda _: None,
    see: Callable[[pairing.Pair], None] = lambda _: None,
) -> ReplayReport:
    """
    Sends the records' requests and judges the answers.

    Args:
        plan: What is compared.
        records: In the order of time, as ports.spool.Spool.scan gives them.
        to: Reaches the candidate, and nobody else.
        clock: Tells when to send; in virtual time nothing waits.
        progress: Called twice a second, and at the end.
        see: Called with every pair.

    Raises:
        ConfigError: nothing that could be sent was recorded, or the candidate is stable itself.
    """
    if plan.stable == plan.candidate:
        raise errors.ConfigError(
            f"Release {plan.candidate} is the stable one itself.",
            remedy="Name another release as the candidate of the replay.",
            code=errors.Code.REPLAY_ITSELF,
        )
    if not 0.0 < plan.rate < float("inf"):
        raise errors.ConfigError(
            f"A replay cannot run at {plan.rate:g} times the speed.",
            remedy="Give a rate above 0, such as 5x.",
            code=errors.Code.BAD_OPTION,
        )
    replaying = _Replay(plan, to=to, clock=clock, progress=progress, see=see)
    chosen = replaying.chosen(records)
    first = next(chosen, None)
    if first is None and replaying.redacted_count:
        raise errors.ConfigError(
            f"All {replaying.redacted_count} requests that {plan.stable} answered in that time were redacted when they "
            "were recorded, and what was left out or hashed cannot be asked again.",
            remedy="Compare with a shadow step instead, or take features out of `capture.redact`.",
            code=errors.Code.NO_RECORDING,
        )
    if first is None:
        raise errors.ConfigError(
            f"No request that release {plan.stable} answered as stable of {plan.service} in {plan.environment} was "
            f"recorded in that time ({replaying.skipped_count} other records).",
            remedy="Send traffic while `capture` is on, or go back further with --since.",
            code=errors.Code.NO_RECORDING,
        )
    return replaying.run(first, chosen)


def most_recorded(records: Iterable[spool.Record]) -> str | None:
    """The release that answered most users: who was stable, where nobody says so. None when nobody was answered."""
    counted = collections.Counter(record.release for record in records if record.arm == spool.PRIMARY)
    return counted.most_common(1)[0][0] if counted else None


def pairs(
    records: Iterable[spool.Record], *, stable: str, candidate: str, request_ids: Container[str]
) -> Iterator[tuple[str, bytes, bytes]]:
    """
    Successful answers of both releases to the same request, as a shadow step recorded them.

    Args:
        records: In any order.
        stable: First twelve hex digits.
        candidate: Likewise.
        request_ids: Of these requests only; one side of each is kept in memory until the other comes.
    """
    waiting: dict[tuple[str, str], bytes] = {}
    releases = {spool.PRIMARY: stable, spool.SHADOW: candidate}
    for record in records:
        if record.request_id not in request_ids or record.release != releases[record.arm]:
            continue
        if record.status != _ANSWERED or record.cut:
            continue
        other = spool.SHADOW if record.arm == spool.PRIMARY else spool.PRIMARY
        answer = waiting.pop((record.request_id, other), None)
        if answer is None:
            waiting[record.request_id, record.arm] = record.answer
        elif record.arm == spool.SHADOW:
            yield record.request_id, answer, record.answer
        else:
            yield record.request_id, record.answer, answer


def candidate_sockets(
    replicas: fleet.Fleet,
    specs: Sequence[fleet.ReplicaSpec],
    *,
    clock: clock_port.Clock,
    timeout_seconds: float = _READY_SECONDS_MAX,
) -> list[str]:
    """
    Starts the replicas and waits until all are ready: their sockets. Stopping them stays the caller's.

    Raises:
        UnavailableError: one ended, or was not ready in time.
    """
    names = {each.name for each in specs}
    for each in specs:
        replicas.start(each)
    deadline = clock.now() + timeout_seconds
    while True:
        found = [status for status in replicas.observe() if status.name in names]
        failed = next((status for status in found if status.phase is fleet.ReplicaPhase.FAILED), None)
        if failed is not None:
            raise _unready(f"{failed.name} {failed.detail}")
        sockets = [status.socket for status in found if status.phase is fleet.ReplicaPhase.READY]
        if len(sockets) == len(names):
            return sockets
        if clock.now() > deadline:
            raise _unready(f"{len(sockets)} of {len(names)} replicas were ready after {timeout_seconds:g} s")
        clock.sleep(_TICK_SECONDS)


class _Replay:
    def __init__(
        self,
        plan: Plan,
        *,
        to: sender.Sender,
        clock: clock_port.Clock,
        progress: Callable[[Progress], None],
        see: Callable[[pairing.Pair], None],
    ) -> None:
        self._plan = plan
        self._sender = to
        self._clock = clock
        self._progress = progress
        self._see = see
        self._judge = judge.Judge(
            policy=policy(plan.strategy, request_timeout_seconds=plan.request_timeout_seconds),
            stable=plan.stable,
            candidate=plan.candidate,
        )
        self._judge.begin_epochs({EPOCH: _SHARE})
        self._pairing = pairing.Pairing(
            pairing.Place(
                service=plan.service,
                environment=plan.environment,
                stable=plan.stable,
                candidate=plan.candidate,
                epoch=EPOCH,
            ),
            rule=agreement.Rule(tolerance=plan.strategy.agreement_tolerance, paths=plan.compared_paths),
            request_timeout_seconds=plan.request_timeout_seconds,
            mirrored_only=False,
        )
        self._summary = summary.Summary()
        self._recent: collections.OrderedDict[str, None] = collections.OrderedDict()
        self.skipped_count = 0
        self.redacted_count = 0
        self._sent_count = 0
        self._paired_count = 0
        self._late_seconds_max = 0.0
        self._recorded_at = 0.0
        self._told_at = 0.0

    def chosen(self, records: Iterable[spool.Record]) -> Iterator[spool.Record]:
        """Those that are sent, each request once."""
        for record in records:
            fits = record.arm == spool.PRIMARY and record.release == self._plan.stable
            if fits and record.redacted:
                self.redacted_count += 1
                continue
            if not fits or record.cut or record.shed or not record.request or record.request_id in self._recent:
                self.skipped_count += 1
                continue
            self._recent[record.request_id] = None
            if len(self._recent) > _RECENT_COUNT:
                self._recent.popitem(last=False)
            yield record

    @property
    def _decided(self) -> bool:
        return self._judge.failed and not self._plan.whole

    def run(self, first: spool.Record, rest: Iterator[spool.Record]) -> ReplayReport:
        began = self._clock.now()
        for record in itertools.chain([first], rest):
            due = began + (record.at - first.at) / self._plan.rate
            self._wait(due)
            if self._decided:
                break
            self._late_seconds_max = max(self._late_seconds_max, self._clock.now() - due)
            self._pairing.add(record)
            self._sender.send(record)
            self._sent_count += 1
            self._recorded_at = record.at
        self._drain()
        judged = self._judge.report()
        self._tell(judged.verdict)
        return ReplayReport(
            verdict=judged.verdict,
            reason=judged.reason,
            judged=judged,
            pairs=self._summary.report(lost_count=self._pairing.lost_count),
            sent_count=self._sent_count,
            skipped_count=self.skipped_count,
            redacted_count=self.redacted_count,
            recorded_seconds=self._recorded_at - first.at,
            seconds=self._clock.now() - began,
            late_seconds_max=self._late_seconds_max,
        )

    def _wait(self, due: float) -> None:
        self._collect()
        while (left := due - self._clock.now()) > 0 and not self._decided:
            self._clock.sleep(min(left, _TICK_SECONDS))
            self._collect()
        if self._clock.now() - self._told_at >= _PROGRESS_SECONDS:
            self._tell(self._judge.report().verdict)

    def _drain(self) -> None:
        """Takes the last answers; the sender tells of every request in its timeout."""
        deadline = self._clock.now() + self._plan.request_timeout_seconds + pairing.WAIT_MORE_SECONDS
        while self._pairing.pending_count and not self._decided and self._clock.now() < deadline:
            self._collect()
            self._clock.sleep(_TICK_SECONDS)
        self._collect()
        if not self._decided:
            for pair in self._pairing.overdue(float("inf")):
                self._count(pair)

    def _collect(self) -> None:
        for sent in self._sender.collect():
            answer = sent.answer
            pair = self._pairing.answerless(sent.request_id) if answer is None else self._pairing.add(answer)
            if pair is not None:
                self._count(pair)

    def _count(self, pair: pairing.Pair) -> None:
        self._paired_count += 1
        self._summary.add(pair)
        self._see(pair)
        self._judge.observe(pair.stable)
        self._judge.observe(pair.candidate)
        if pair.agrees is not None:
            self._judge.observe_pair(pair.agrees)

    def _tell(self, verdict: messages.Verdict) -> None:
        self._told_at = self._clock.now()
        self._progress(
            Progress(
                sent_count=self._sent_count,
                paired_count=self._paired_count,
                recorded_at=self._recorded_at,
                verdict=verdict,
            )
        )


def _unready(said: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        f"The candidate is not ready: {said}.",
        remedy="Read its log, named in HOME/logs/replays; then replay again.",
        code=errors.Code.REPLAY_UNREADY,
    )
