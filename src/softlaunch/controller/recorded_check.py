"""
Recorded requests as a verification: what another environment's users asked, asked of a candidate without traffic.

The newest requests that the release live there answered are sent at a steady rate; the candidate's answers are judged
by that environment's own guardrails, as `softlaunch replay` does. What comes of it:

    the judge fails it                                  failed
    the judge passes it                                 passed
    too few requests to say, and the candidate failed
    more of them than the recorded release did          failed: a smoke request may not fail either
    too few requests to say, and it did not             passed, with the numbers
    nothing was recorded there (yet)                    passed by the other verifications, with a note: else the first
                                                        release could never get to where requests are recorded
    all that was recorded is redacted                   unknown: nothing can ever be sent, and somebody should know
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

from softlaunch.controller import replay, verify_outcomes
from softlaunch.core import attempts, release, spool, verify_specs
from softlaunch.core.rollout import messages
from softlaunch.ports import clock as clocks
from softlaunch.ports import sender, store
from softlaunch.ports import spool as spools


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What can be sent of what was recorded, oldest first."""

    records: tuple[spool.Record, ...]
    redacted_count: int


def newest(recordings: spools.Spool, source: store.LiveRecord, *, count: int, since: float, until: float) -> Found:
    """The newest requests that the release live in `source` answered, each once, as they were asked."""
    stable = source.stable.short if source.stable is not None else ""
    kept: collections.OrderedDict[str, spool.Record] = collections.OrderedDict()
    redacted = 0
    for record in recordings.scan(source.service, source.environment, since=since, until=until):
        if record.arm != spool.PRIMARY or record.release != stable or record.cut or record.shed or not record.request:
            continue
        if record.redacted:
            redacted += 1
            continue
        if record.request_id not in kept:
            kept[record.request_id] = record
            if len(kept) > count:
                kept.popitem(last=False)
    return Found(records=tuple(kept.values()), redacted_count=redacted)


def check(
    wanted: verify_specs.ReplaySpec,
    record: store.RolloutRecord,
    source: store.LiveRecord | None,
    *,
    sockets: Sequence[str],
    recordings: spools.Spool,
    senders: sender.Senders,
    clock: clocks.Clock,
    tell: Callable[[str], None],
) -> verify_outcomes.Outcome:
    """
    Sends what was recorded and judges the answers.

    Args:
        wanted: How much of what.
        record: The rollout whose candidate is verified.
        source: The environment the requests come from; None: nothing was ever launched there.
        sockets: Of the candidate's replicas.
        recordings: What was recorded.
        senders: Reach the candidate.
        clock: When to send; it may raise to end the check.
        tell: Told how far it is.
    """
    place = wanted.environment
    if source is None or source.stable is None:
        return verify_outcomes.Outcome(passed=True, said=f"Nothing is live in {place} yet, so nothing was replayed.")
    if source.stable.release == record.candidate.release:
        return verify_outcomes.Outcome(passed=True, said=f"It is what is live in {place}, so nothing was replayed.")
    now = clock.now()
    found = newest(recordings, source, count=wanted.request_count, since=now - wanted.since_seconds, until=now)
    if not found.records and found.redacted_count:
        return verify_outcomes.Outcome(
            passed=None,
            said=f"All {found.redacted_count:,} requests recorded in {place} are redacted, and what was left out or "
            "hashed cannot be asked again. Take features out of `capture.redact`, or `replay` out of `verify`.",
        )
    if not found.records:
        return verify_outcomes.Outcome(
            passed=True,
            said=f"Nothing that {source.stable.short} answered in {place} is recorded yet, so nothing was replayed.",
        )
    plan = replay.Plan(
        service=record.service,
        environment=place,
        stable=source.stable.short,
        candidate=record.candidate.short,
        strategy=source.spec.strategy,
        request_timeout_seconds=record.spec.request_timeout_seconds,
        compared_paths=record.spec.compared_paths,
    )

    def progress(so_far: replay.Progress) -> None:
        tell(f"replay: {so_far.sent_count:,} of {len(found.records):,} requests recorded in {place} sent")

    with senders(
        sockets, release=record.candidate.short, timeout_seconds=record.spec.request_timeout_seconds
    ) as sending:
        report = replay.run(plan, _paced(found.records, wanted.rate), to=sending, clock=clock, progress=progress)
    return _outcome(report, place=place, stable=source.stable)


def _paced(records: Sequence[spool.Record], rate: float) -> Iterator[spool.Record]:
    """The records at a steady rate instead of the times they were recorded at."""
    for number, record in zip(itertools.count(), records, strict=False):
        yield record._replace(at=records[0].at + number / rate)


def _outcome(report: replay.ReplayReport, *, place: str, stable: release.Digest) -> verify_outcomes.Outcome:
    pairs = report.pairs
    good = pairs.outcomes.get(attempts.Outcome.OK, (0, 0))
    stable_bad, bad = pairs.pair_count - good[0], pairs.pair_count - good[1]
    counted = f"Of {report.sent_count:,} requests recorded in {place} {bad:,} failed ({stable_bad:,} had failed there)"
    if pairs.compared_count:
        counted += f"; {pairs.agreed_count:,} of {pairs.compared_count:,} answers agree with {stable.short}'s"
    passed = report.verdict is messages.Verdict.PASS or (
        report.verdict is messages.Verdict.INCONCLUSIVE and bad <= stable_bad
    )
    measured = {
        "verdict": "pass" if passed else "fail",
        "judge": report.verdict.value,
        "reason": report.reason,
        "environment": place,
        "stable": stable.value,
        "sent": report.sent_count,
        "failed": bad,
        "stable_failed": stable_bad,
        "compared": pairs.compared_count,
        "agreed": pairs.agreed_count,
        "examples": list(pairs.examples),
    }
    tail = f" {report.reason}" if report.verdict is messages.Verdict.FAIL else ""
    return verify_outcomes.Outcome(passed=passed, said=f"{counted}.{tail}", measured=measured)
