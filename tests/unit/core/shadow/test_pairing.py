from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest

from softlaunch.core import attempts, spool
from softlaunch.core.shadow import agreement, pairing, summary

STABLE, CANDIDATE = "a" * 12, "b" * 12
PLACE = pairing.Place(service="svc", environment="env", stable=STABLE, candidate=CANDIDATE, epoch=9)
TIMEOUT = 5.0
DUE = TIMEOUT + pairing.WAIT_MORE_SECONDS


def record(name: str, arm: str = spool.PRIMARY, **more: Any) -> spool.Record:
    made = spool.Record(
        request_id=name, at=100.0, release=STABLE if arm == spool.PRIMARY else CANDIDATE, instance=f"{arm} process",
        arm=arm, mirrored=arm == spool.PRIMARY, path="/predict", content_type="", request=b"123", status=200,
        answer=b'{"prediction":{"y":1.0}}', invalid=False, shed=False, service_us=700, cpu_us=50, key="ada",
        row_count=1, output="n:1", memory_kib=1_000, served_count=4, dropped=0,
    )  # fmt: skip
    return made._replace(**more)


def paired(**more: Any) -> pairing.Pairing:
    return pairing.Pairing(PLACE, rule=agreement.Rule(), request_timeout_seconds=TIMEOUT, **more)


def test_a_pair_is_made_in_either_order() -> None:
    for order in itertools.permutations([record("x"), record("x", spool.SHADOW, key="", at=100.5)]):
        pairs = paired()
        assert pairs.add(order[0]) is None
        found = pairs.add(order[1])
        assert found is not None
        assert (True, True, 0) == (found.agrees, found.joined, pairs.pending_count)
        assert (STABLE, CANDIDATE) == (found.stable.release, found.candidate.release)
        assert (9, 9) == (found.stable.epoch, found.candidate.epoch)
        assert ("ada", "ada") == (found.stable.key, found.candidate.key)
        assert found.stable.request_id != found.candidate.request_id
        assert (700, 50, "n:1", 3, 1_000, 4) == (
            found.candidate.latency_us, found.candidate.cpu_us, found.candidate.output, found.candidate.input_bytes,
            found.candidate.memory_kib, found.candidate.served_count,
        )  # fmt: skip


def test_pairs_count_under_the_epoch_they_are_completed_in() -> None:
    pairs = paired()
    pairs.add(record("x"))
    pairs.begin(12)
    found = pairs.add(record("x", spool.SHADOW))

    assert found is not None
    assert (12, 12) == (found.stable.epoch, found.candidate.epoch)


def test_a_copy_without_an_answer_in_time_is_the_candidate_s_error() -> None:
    pairs = paired()
    pairs.add(record("x"))

    assert [] == pairs.overdue(100.0 + DUE - 0.1)
    (found,) = pairs.overdue(100.0 + DUE)
    assert attempts.Outcome.ERROR is attempts.outcome(found.candidate)
    assert attempts.Outcome.OK is attempts.outcome(found.stable)
    assert (None, False, CANDIDATE) == (found.agrees, found.joined, found.candidate.release)
    assert pairs.add(record("x", spool.SHADOW)) is None


def test_answers_that_failed_are_not_compared_but_judged() -> None:
    for status, outcome in ((500, attempts.Outcome.ERROR), (422, attempts.Outcome.CLIENT_ERROR)):
        pairs = paired()
        pairs.add(record("x"))
        found = pairs.add(record("x", spool.SHADOW, status=status, answer=b"{}"))
        assert found is not None
        assert found.agrees is None
        assert outcome is attempts.outcome(found.candidate)


def test_a_gap_the_candidate_s_process_told_of_is_no_error() -> None:
    pairs = paired()
    for name in ("a", "b", "c", "d"):
        pairs.add(record(name))
    pairs.add(record("a", spool.SHADOW, dropped=3))
    pairs.add(record("d", spool.SHADOW, dropped=4))

    missing = pairs.overdue(100.0 + DUE)

    assert (["c"], 1) == ([found.request_id for found in missing], pairs.lost_count)


def test_requests_without_a_copy_wait_for_nothing_unless_asked() -> None:
    plain = record("x", mirrored=False)

    live, replayed = paired(), paired(mirrored_only=False)
    assert live.add(plain) is None
    assert replayed.add(plain) is None
    assert (0, 1) == (live.pending_count, replayed.pending_count)


def test_other_releases_are_left_alone() -> None:
    pairs = paired()
    pairs.add(record("x", release="c" * 12))
    pairs.add(record("x", spool.SHADOW, release="c" * 12))

    assert (0, 2) == (pairs.pending_count, pairs.foreign_count)


def test_a_retry_on_stable_makes_no_second_pair() -> None:
    pairs = paired()
    pairs.add(record("x"))
    pairs.add(record("x", instance="another"))
    assert pairs.add(record("x", spool.SHADOW)) is not None
    pairs.add(record("x", instance="third"))

    assert (0, 2) == (pairs.pending_count, pairs.repeat_count)


def test_a_copy_whose_primary_was_not_recorded_is_forgotten_in_time() -> None:
    pairs = paired()
    pairs.add(record("x", spool.SHADOW))

    assert [] == pairs.overdue(100.0 + DUE)
    assert (0, 1) == (pairs.pending_count, pairs.orphan_count)


def test_everything_is_joined_whatever_the_order() -> None:
    chance = random.Random(3)
    records = [record(str(n), arm) for n in range(500) for arm in (spool.PRIMARY, spool.SHADOW)]
    chance.shuffle(records)
    pairs = paired()

    found = [pair for each in records if (pair := pairs.add(each)) is not None]

    assert 500 == len({pair.request_id for pair in found}) == len(found)
    assert [] == pairs.overdue(1e9)


def test_it_goes_on_from_its_state() -> None:
    first = paired()
    first.add(record("x", answer=b"\xff\x00"))
    first.add(record("y", spool.SHADOW, dropped=2))
    first.add(record("z", spool.SHADOW, dropped=5))
    second = paired()
    second.load(json.loads(json.dumps(first.state())))

    assert 3 == second.pending_count
    found = second.add(record("x", spool.SHADOW, answer=b"\xff\x00", dropped=5))
    assert found is not None
    assert (True, b"\xff\x00") == (found.agrees, found.stable_answer)
    assert first.state()["unexplained"] == second.state()["unexplained"]


def summed(*pairs: pairing.Pair) -> summary.Summary:
    found = summary.Summary()
    for pair in pairs:
        found.add(pair)
    return found


def pair(number: int, **more: Any) -> pairing.Pair:
    pairs = paired()
    pairs.add(record(str(number), output=f"n:{number}"))
    found = pairs.add(record(str(number), spool.SHADOW, **{"output": f"n:{number}", **more}))
    assert found is not None
    return found


def test_a_summary_adds_up() -> None:
    pairs = [pair(number, answer=b'{"prediction":{"y":2.0}}', service_us=1_400) for number in range(4)]
    pairs += [pair(number, status=500) for number in range(6)]

    report = summed(*pairs).report(lost_count=3)

    assert (10, 10, 4, 0, 3) == (
        report.pair_count, report.joined_count, report.compared_count, report.agreed_count, report.lost_count,
    )  # fmt: skip
    assert (0.0, 1.0) == (report.agreement_rate, report.joined_share)
    assert {"ok": (10, 4), "error": (0, 6)} == report.outcomes
    assert pytest.approx((700, 1_400), rel=0.02) == report.latency_us["p99"]
    assert "0 [0].y: stable 1, candidate 2" == report.examples[0]


def test_nothing_is_undefined_and_not_zero() -> None:
    report = summary.Summary().report()

    assert (None, None, (None, None)) == (report.agreement_rate, report.joined_share, report.latency_us["p50"])


def test_numbers_are_binned_at_stable_s_tenths() -> None:
    chance = random.Random(5)
    outputs = summary.Outputs()
    for _ in range(2_000):
        outputs.add(summary.STABLE, f"n:{chance.random():.4g}")
        outputs.add(summary.CANDIDATE, f"n:{chance.random() * 0.5:.4g}")

    bins = outputs.bins()

    assert 10 == len(bins)
    assert 2_000 == sum(found.counts[0] for found in bins) == sum(found.counts[1] for found in bins)
    assert all(100 < found.counts[0] < 320 for found in bins)
    assert 0 == bins[-1].counts[1]


def test_classes_are_counted_by_name_and_the_many_are_other() -> None:
    outputs = summary.Outputs()
    for number in range(150):
        outputs.add(summary.STABLE, f"c:{number}")
    for _ in range(3):
        outputs.add(summary.CANDIDATE, "c:0")

    bins = outputs.bins()

    assert ("(other)", (50, 0)) == (bins[0].name, bins[0].counts)
    assert ("0", (1, 3)) == (bins[1].name, bins[1].counts)


@pytest.mark.parametrize("count", [5, 500])
def test_a_summary_goes_on_from_its_state(count: int) -> None:
    pairs = [pair(number % 37, status=500 if number % 9 == 0 else 200) for number in range(count)]
    half = summed(*pairs[: count // 2])

    resumed = summary.Summary.restore(json.loads(json.dumps(half.state())))
    for each in pairs[count // 2 :]:
        resumed.add(each)

    assert summed(*pairs).report() == resumed.report()
    json.dumps(resumed.report().to_json())
