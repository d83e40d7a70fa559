"""
kill -9 at some phases of a rollout under load; benchmarks/launches/kill.py has all of them.

A user notices nothing, the rollout ends as it should, and a second count of the whole attempt log agrees with what the
control plane kept.
"""

from __future__ import annotations

import kill
import pytest

pytestmark = pytest.mark.slow

CASES = (
    kill.Case(victim="control plane", phase="step 2"),
    kill.Case(victim="control plane", phase="watching", bad="at the kill"),
    kill.Case(victim="stable replica", phase="step 1"),
    kill.Case(victim="candidate replica", phase="watching"),
)


@pytest.fixture(scope="module")
def results() -> dict[kill.Case, kill.Result]:
    with kill.bench() as bench:
        return {case: bench.run(case) for case in CASES}  # recounted on the way out


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_kill_changes_neither_the_outcome_nor_the_count_nor_an_answer(
    results: dict[kill.Case, kill.Result], case: kill.Case
) -> None:
    assert [] == kill.wrong(results[case])
