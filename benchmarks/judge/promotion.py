"""
What promotion lets through, and what it takes back afterwards.

    python benchmarks/judge/promotion.py --launches 10000 --lines --out benchmarks/results/judge_promotion.json

* twice as bad: 2.2 % errors against stable's 1.1 % with 1 % acceptable; the report is asked every 20 lines, and one
  PASS counts. The bar is 1 %: beta.
* equal: how many candidate requests an equal release needs until it may pass, at several shares.
* no traffic: a candidate that never got a request never passes.
* later: an hour after promotion (36,000 requests at 10 a second) the errors rise from 1 to 5 % on the candidate, while
  5 % of the traffic is held back on stable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import simulate

from softlaunch.core import spec
from softlaunch.core.rollout import judge_policy

ERRORS_ONLY = judge_policy.JudgePolicy(enforcing=(spec.GuardrailName.ERRORS,))
LATER_ATTEMPTS = 72_000
RISE_AT = 0.5


def constant(rate: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda at: np.full_like(at, rate)


def rising(at: np.ndarray) -> np.ndarray:
    return np.where(at < RISE_AT, 0.01, 0.05)


TWICE_AS_BAD = tuple(
    simulate.Scenario(
        name=f"twice as bad at {share:.0%}",
        attempts=6_000,
        shares=(share,),
        error_rate=constant(0.011),
        error_rate_candidate=constant(0.022),
    )
    for share in (0.1, 0.5)
)
EQUAL = tuple(
    simulate.Scenario(
        name=f"equal at {share:.0%}, {errors:.1%} errors",
        attempts=int(3_000 / share),
        shares=(share,),
        error_rate=constant(errors),
        client_error_rate=0.001,
        invalid_rate=0.0,
    )
    for errors in (0.001, 0.03)
    for share in (0.05, 0.1, 0.25, 0.5)
)
NO_TRAFFIC = simulate.Scenario(name="no traffic", real_shares=(0.0,), attempts=6_000)
LATER = simulate.Scenario(
    name="1 to 5 % after promotion, 5 % held back",
    attempts=LATER_ATTEMPTS,
    per_second=10.0,
    shares=(0.95,),
    error_rate=constant(0.01),
    error_rate_candidate=rising,
)


def main() -> None:
    options = simulate.arguments(__doc__ or "", 10_000)
    document: dict[str, Any] = {}
    rows = []

    def say(name: str, launches: int, **found: Any) -> None:
        said = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in found.items())
        rows.append((name, launches, said))
        document[name] = {"launches": launches, **found}
        print(name, launches, said, sep=" | ", flush=True)

    def results_of(scenario: simulate.Scenario, launches: int, **more: Any) -> list[simulate.Result]:
        return simulate.run_many(scenario, launches, processes=options.processes, lines=options.lines, **more)

    # Only errors enforce here: with the others, a launch could only be promoted less often.
    for scenario in (*TWICE_AS_BAD, NO_TRAFFIC):
        if options.only in scenario.name:
            results = results_of(scenario, options.launches, policy=ERRORS_ONLY, until_pass=True)
            promoted = sum(result.passed_at is not None for result in results)
            say(scenario.name, len(results), promoted=promoted, rate=promoted / len(results))
    for scenario in EQUAL:
        if options.only in scenario.name:
            results = results_of(scenario, max(1, options.launches // 20), until_pass=True)
            spent = [result.candidate_requests for result in results if result.passed_at is not None]
            say(
                scenario.name,
                len(results),
                promoted=len(spent),
                candidate_requests_median=simulate.quantile(spent, 0.5) if spent else None,
                candidate_requests_p95=simulate.quantile(spent, 0.95) if spent else None,
            )
    if options.only in LATER.name:
        results = results_of(LATER, max(1, options.launches // 50))
        back = [result.candidate_requests - int(0.95 * RISE_AT * LATER_ATTEMPTS) for result in results if result.failed]
        say(
            LATER.name,
            len(results),
            rolled_back=len(back),
            candidate_requests_after_rise_median=simulate.quantile(back, 0.5) if back else None,
            candidate_requests_after_rise_p95=simulate.quantile(back, 0.95) if back else None,
        )
    print()
    for line in simulate.table(("scenario", "launches", "found"), rows):
        print(line)
    simulate.save(options.out, document)


if __name__ == "__main__":
    main()
