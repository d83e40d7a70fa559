"""A FastAPI app as tutorials write it gets canary, shadow, rollback and capture with no change to its code."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import own_code_lab
import pytest

from softlaunch.core import spool

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def app() -> Iterator[own_code_lab.OwnCode]:
    with own_code_lab.example("fastapi", train=True) as found:
        yield found


def test_the_app_knows_nothing_of_softlaunch() -> None:
    source = (own_code_lab.EXAMPLES / "fastapi" / "service.py").read_text(encoding="utf-8")
    code = [line for line in source.splitlines() if not line.startswith('"""')]

    assert not [line for line in code if "softlaunch" in line]


def test_it_runs_in_an_environment_of_its_own_and_is_recorded(app: own_code_lab.OwnCode) -> None:
    with app.users():
        found = app.recorded(lambda record: record.status == 200)

    first = found[0]
    assert "/score" == first.path
    assert {"distance", "hour"} == set(json.loads(first.request))
    assert 0.0 <= json.loads(first.answer)["late"] <= 1.0
    assert first.output.startswith("n:")
    assert app.live() == first.release
    assert list((app.machine.home.venvs).glob("serving-*"))


def test_a_good_candidate_is_promoted_in_front_of_users(app: own_code_lab.OwnCode) -> None:
    before = app.live()
    app.plan()
    app.change("service.py", 'title="Flight delays"', 'title="Flight delays 2"')

    with app.users():
        view = app.deploy()

    assert "promoted" == view["outcome"], view["reason"]
    assert before != app.live()


def test_a_shadow_is_compared_by_its_answers(app: own_code_lab.OwnCode) -> None:
    app.plan(kind="shadow", steps="[{shadow: 100%, attempts: 60}, 100%]", guardrails="[errors, disagreement]")
    stable = app.live()
    with app.users(), app.changed("service.py", "[0][1]", "[0][1] / 2"):
        view = app.deploy()
        copies = app.recorded(lambda record: record.arm == spool.SHADOW)

    assert "rolled_back" == view["outcome"], view["reason"]
    assert "disagreement" in own_code_lab.guardrail(view)
    assert stable == app.live()
    assert copies


def test_a_shadow_that_answers_the_same_goes_on_although_other_fields_differ(app: own_code_lab.OwnCode) -> None:
    app.plan(kind="shadow", steps="[{shadow: 100%, attempts: 60}, 100%]", guardrails="[errors, disagreement]")
    app.change("service.py", "    late: float\n", "    late: float\n    version: int = 2\n")

    with app.users():
        view = app.deploy()

    assert "promoted" == view["outcome"], view["reason"]


@pytest.mark.parametrize(
    ("broken", "caught"),
    [
        ("Score(late=late + None)", "errors"),
        ('Score(late=float("nan"))', ""),
        ("Score(late=late + 2)", "invalid"),
    ],
)
def test_a_bad_candidate_is_taken_back_and_no_user_notices(app: own_code_lab.OwnCode, broken: str, caught: str) -> None:
    app.plan()
    stable = app.live()

    with app.users(), app.changed("service.py", "Score(late=late)", broken):
        began = time.monotonic()
        view = app.deploy()

    assert "rolled_back" == view["outcome"], view["reason"]
    assert caught in own_code_lab.guardrail(view)
    assert stable == app.live()
    assert time.monotonic() - began < 60


def test_other_paths_of_the_app_are_its_own(app: own_code_lab.OwnCode) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{app.machine.port}", trust_env=False) as caller:
        assert 200 == caller.get("/openapi.json").status_code
        assert {"status": "ok"} == caller.get("/health").json()
        assert 404 == caller.post("/predict", json={}).status_code
        assert "detail" in caller.post("/score", json={"distance": 1}).json()
        forged = caller.get("/v2/health/ready", headers={"x-softlaunch-probe": "any"})
        assert 404 == forged.status_code, "the app has no such path, and the question is the supervisor's alone"
