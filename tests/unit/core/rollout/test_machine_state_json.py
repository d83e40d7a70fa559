"""The written form of a rollout's state."""

from __future__ import annotations

import json

import hypothesis
import pytest
from hypothesis import strategies as st

from softlaunch import errors
from softlaunch.core import spec
from softlaunch.core.rollout import phases, state_json

NUMBERS = st.floats(allow_nan=False)
BETWEEN = st.lists(
    st.builds(
        spec.StepSpec,
        kind=st.sampled_from([found for found in spec.StepKind if found is not spec.StepKind.SHARE]),
        weight=st.integers(1, 10_000),
        cohort=st.text(min_size=1),
        duration_seconds=NUMBERS,
        attempts_min=st.none() | st.integers(0),
        approvers=st.lists(st.text(), max_size=2).map(tuple),
    ),
    max_size=3,
).map(tuple)
SHARES = st.sets(st.integers(1, 9_999), max_size=5).map(lambda found: spec.shares(*sorted(found), 10_000))
PLANS = st.builds(
    phases.LaunchPlan,
    steps=st.tuples(BETWEEN, SHARES).map(lambda found: found[0] + found[1]),
    recreate=st.booleans(),
    drill=st.booleans(),
    on_deadline=st.sampled_from(spec.DeadlinePolicy),
    on_failure=st.sampled_from(spec.FailurePolicy),
    compared=st.booleans(),
    verified_only=st.booleans(),
    immediate=st.booleans(),
    holdback=st.integers(0, 9_999),
    step_attempts_min=st.integers(0),
    watch_seconds=NUMBERS,
    deadline_seconds=NUMBERS,
    drain_seconds=NUMBERS,
)
STATES = st.builds(
    phases.State,
    plan=PLANS,
    phase=st.sampled_from(phases.Phase),
    step=st.integers(0, 5),
    entered_at=NUMBERS,
    paused=st.booleans(),
    approved=st.booleans(),
    hold=st.none() | st.builds(phases.Hold, kind=st.sampled_from(phases.HoldKind), reason=st.text()),
    ending=st.none() | st.sampled_from(phases.Phase),
    reason=st.text(),
)
STATE = phases.State(
    plan=phases.LaunchPlan(steps=spec.shares(100, 10_000), compared=True, verified_only=False),
    entered_at=1_700_000_000.5,
)


@hypothesis.given(STATES)
@hypothesis.settings(deadline=None, derandomize=True)
def test_every_state_comes_back_as_it_was(state: phases.State) -> None:
    raw = state_json.dump(state)

    assert state == state_json.load(raw)
    assert raw == state_json.dump(state_json.load(raw))
    assert 1 == raw.count(b"\n")


def test_what_comes_back_has_the_types_it_had() -> None:
    found = state_json.load(state_json.dump(STATE))

    assert isinstance(found.phase, phases.Phase)
    assert isinstance(found.plan.steps, tuple)
    assert isinstance(found.plan.steps[0].kind, spec.StepKind)


OLD = (
    b'{"ending":null,"entered_at":1700000000.5,"hold":{"kind":"deadline","reason":"late"},"paused":true,'
    b'"phase":"stepping","plan":{"compared":true,"deadline_seconds":3600.0,"drain_seconds":5.0,"holdback":500,'
    b'"immediate":false,"step_attempts_min":50,"verified_only":false,"watch_seconds":86400.0,'
    b'"weights":[100,2500,10000]},"reason":"","schema":1,"step":1}\n'
)
"""As written before steps had kinds."""


def test_a_state_whose_plan_was_a_list_of_weights_comes_back_as_shares() -> None:
    found = state_json.load(OLD)

    assert found == phases.State(
        plan=phases.LaunchPlan(steps=spec.shares(100, 2_500, 10_000), compared=True, verified_only=False),
        phase=phases.Phase.STEPPING,
        step=1,
        entered_at=1_700_000_000.5,
        paused=True,
        hold=phases.Hold(kind=phases.HoldKind.DEADLINE, reason="late"),
    )
    assert found == state_json.load(state_json.dump(found))


def test_a_state_written_before_a_field_was_added_takes_its_default() -> None:
    document = json.loads(state_json.dump(STATE))
    del document["hold"], document["plan"]["immediate"]

    assert STATE == state_json.load(json.dumps(document).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"schema": None},
        {"phase": "dancing"},
        {"new_field": 1},
        {"hold": {"kind": "boredom", "reason": ""}},
        {"hold": {"kind": "ejected"}},
        {"hold": "ejected"},
        {"ending": "never"},
        {"plan": None},
        {"plan": {"weights": [100]}},
        {"plan": {"weights": [10_000, 100], "compared": True, "verified_only": False}},
        {"plan": {"weights": [10_000], "steps": [], "compared": True, "verified_only": False}},
        {"plan": {"steps": [{"kind": "jump"}], "compared": True, "verified_only": False}},
        {"plan": {"steps": [{"kind": "share", "weight": 10_000, "size": 1}], "compared": True, "verified_only": False}},
        {"plan": {"steps": None, "compared": True, "verified_only": False}},
    ],
    ids=str,
)
def test_what_no_softlaunch_wrote_is_refused(change: dict[str, object]) -> None:
    document = {**json.loads(state_json.dump(STATE)), **change}

    with pytest.raises(errors.ConfigError) as refused:
        state_json.load(json.dumps(document).encode())

    assert errors.Code.STATE_UNREADABLE is refused.value.code


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{", b"\xff\xfe\x00", b"{}"])
def test_what_is_no_document_is_refused(raw: bytes) -> None:
    with pytest.raises(errors.ConfigError):
        state_json.load(raw)
