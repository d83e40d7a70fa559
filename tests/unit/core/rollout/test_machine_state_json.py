"""The written form of a rollout's state."""

from __future__ import annotations

import json

import hypothesis
import pytest
from hypothesis import strategies as st

from softlaunch import errors
from softlaunch.core.rollout import phases, state_json

NUMBERS = st.floats(allow_nan=False)
PLANS = st.builds(
    phases.LaunchPlan,
    weights=st.sets(st.integers(1, 9_999), max_size=5).map(lambda found: (*sorted(found), 10_000)),
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
    hold=st.none() | st.builds(phases.Hold, kind=st.sampled_from(phases.HoldKind), reason=st.text()),
    ending=st.none() | st.sampled_from(phases.Phase),
    reason=st.text(),
)
STATE = phases.State(
    plan=phases.LaunchPlan(weights=(100, 10_000), compared=True, verified_only=False), entered_at=1_700_000_000.5
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
    assert isinstance(found.plan.weights, tuple)


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
