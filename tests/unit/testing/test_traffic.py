from __future__ import annotations

import itertools
import math

import pytest

from softlaunch import errors
from softlaunch.testing import arrivals, http_answers, outcomes, traffic


def answer(status: int = 200, body: bytes = b"{}", **headers: str) -> http_answers.Answer:
    return http_answers.Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def report(*latencies: float, ok: int = 0, planned: int = 0) -> outcomes.Report:
    return outcomes.Report(
        planned=planned,
        sent=planned,
        dropped=0,
        outcomes=dict.fromkeys(outcomes.Outcome, 0) | {outcomes.Outcome.OK: ok},
        statuses={},
        details={},
        latencies=latencies,
        seconds=2.0,
        lag_seconds_max=0.0,
    )


def test_steady_arrivals_do_not_drift() -> None:
    offsets = list(itertools.islice(arrivals.steady(300.0), 300_001))

    assert offsets[0] == 0.0
    assert offsets[-1] == 1000.0


def test_poisson_arrivals_have_the_rate_and_the_spread_of_exponential_gaps() -> None:
    count = 20_000
    offsets = list(itertools.islice(arrivals.poisson(50.0, seed=7), count + 1))
    gaps = [after - before for before, after in itertools.pairwise(offsets)]
    mean = sum(gaps) / count
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / count)

    # Mean and deviation of an exponential are both 1/rate; four standard errors (1 and about sqrt(2) over sqrt(n)).
    assert mean == pytest.approx(0.02, rel=4 / math.sqrt(count))
    assert deviation == pytest.approx(0.02, rel=4 * math.sqrt(2 / count))


def test_the_same_seed_gives_the_same_arrivals() -> None:
    first, again, other = (list(itertools.islice(arrivals.poisson(9.0, seed=seed), 50)) for seed in (1, 1, 2))

    assert first == again
    assert first != other


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(errors.ConfigError, match="no rate"):
        arrivals.steady(rate)


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (answer(), outcomes.Outcome.OK),
        (answer(500), outcomes.Outcome.STATUS),
        (answer(422), outcomes.Outcome.STATUS),
        (answer(x_softlaunch_fallback="1"), outcomes.Outcome.FALLBACK),
        (answer(body=b"null"), outcomes.Outcome.BODY),
        (answer(503, x_softlaunch_fallback="1"), outcomes.Outcome.FALLBACK),
        (answer(500, body=b"null"), outcomes.Outcome.STATUS),
    ],
)
def test_a_request_fails_for_one_reason(found: http_answers.Answer, outcome: outcomes.Outcome) -> None:
    check = outcomes.Check(valid=lambda each: each.body == b"{}")

    assert outcome == check.outcome(found)


def test_a_quantile_is_a_latency_that_happened() -> None:
    found = report(0.1, 0.2, 0.3, 0.4)

    assert [0.1, 0.1, 0.2, 0.3, 0.4, 0.4] == [found.quantile(q) for q in (0.0, 0.25, 0.5, 0.75, 0.76, 1.0)]
    assert found.rate_per_second == 2.0


@pytest.mark.parametrize(("latencies", "q"), [((), 0.5), ((0.1,), 1.1), ((0.1,), -0.1)])
def test_there_is_no_quantile_of_nothing(latencies: tuple[float, ...], q: float) -> None:
    with pytest.raises(errors.ConfigError, match="no quantile"):
        report(*latencies).quantile(q)


def test_whatever_is_not_ok_failed_for_the_user() -> None:
    assert report(planned=10, ok=7).failed == 3


@pytest.mark.parametrize("wrong", [{"connection_count_max": 0}, {"timeout_seconds": 0.0}])
def test_a_load_that_cannot_run_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(errors.ConfigError, match="no plan"):
        traffic.Load(traffic.Target(), [], **wrong)


def test_a_closed_loop_without_an_end_is_refused() -> None:
    load = traffic.Load(traffic.Target(), [])

    with pytest.raises(errors.ConfigError, match="an end"):
        traffic.run(load.run_closed(concurrency=1))


def test_a_load_without_requests_ends_at_once_and_runs_only_once() -> None:
    load = traffic.Load(traffic.Target(), [])

    assert traffic.run(load.run_open(arrivals.steady(1.0))).planned == 0
    with pytest.raises(errors.ConfigError, match="already used"):
        traffic.run(load.run_open(arrivals.steady(1.0)))
