from __future__ import annotations

import json
import math

import hypothesis
import pytest
from hypothesis import strategies

from softlaunch import errors
from softlaunch.core import spec, spec_json, verify_specs

_TEXT = strategies.text(strategies.characters(exclude_categories=["Cs"]), max_size=12)
_NUMBER = strategies.floats(allow_nan=False, allow_infinity=False)
_MAYBE_TEXT = strategies.none() | _TEXT
_STEPS = strategies.builds(
    spec.StepSpec,
    kind=strategies.sampled_from(spec.StepKind),
    weight=strategies.integers(0, 10_000),
    cohort=_TEXT,
    duration_seconds=_NUMBER,
    attempts_min=strategies.none() | strategies.integers(0, 10**6),
    approvers=strategies.lists(_TEXT, max_size=2).map(tuple),
)
_CHECKS = strategies.builds(
    spec.CheckSpec,
    name=_TEXT,
    kind=strategies.sampled_from(spec.CheckKind),
    target=_TEXT,
    at_least=strategies.none() | _NUMBER,
    failure_count=strategies.integers(1, 9),
    enforcing=strategies.booleans(),
)
_STRATEGIES = strategies.builds(
    spec.StrategySpec,
    kind=strategies.sampled_from(spec.StrategyKind),
    steps=strategies.lists(_STEPS, min_size=1, max_size=5).map(tuple),
    checks=strategies.lists(_CHECKS, max_size=2).map(tuple),
    on_deadline=strategies.sampled_from(spec.DeadlinePolicy),
    on_failure=strategies.sampled_from(spec.FailurePolicy),
    key_header=_MAYBE_TEXT,
    guardrails=strategies.lists(strategies.sampled_from(spec.GuardrailName), max_size=4).map(tuple),
    step_attempts_min=strategies.integers(1, 10**6),
    latency_slo_ms=strategies.none() | _NUMBER,
    **dict.fromkeys(
        (
            "acceptable_percent",
            "margin_ratio",
            "alpha",
            "beta",
            "holdback_percent",
            "watch_seconds",
            "warm_seconds",
            "disagreement_percent_max",
            "agreement_tolerance",
            "deadline_seconds",
        ),
        _NUMBER,
    ),
)
_ENVIRONMENTS = strategies.builds(
    spec.EnvironmentSpec,
    name=_TEXT,
    branch=_MAYBE_TEXT,
    after=_MAYBE_TEXT,
    strategy=_STRATEGIES,
    replica_count=strategies.integers(1, 64),
    verify=strategies.none() | strategies.builds(verify_specs.VerifySpec, request_count=strategies.integers(1, 99)),
    fallback_body=strategies.none() | _TEXT.map(lambda text: json.dumps(text, ensure_ascii=False).encode()),
    fallbacks=strategies.lists(
        strategies.builds(
            spec.FallbackSpec,
            kind=strategies.sampled_from(spec.FallbackKind),
            target=_TEXT,
            keys=strategies.lists(_TEXT, max_size=2).map(tuple),
            content=_TEXT,
        ),
        max_size=2,
    ).map(tuple),
    cohorts=strategies.lists(
        strategies.builds(
            spec.CohortSpec,
            name=_TEXT,
            header=_TEXT,
            values=strategies.lists(_TEXT, max_size=2).map(tuple),
            pattern=_TEXT,
        ),
        max_size=2,
    ).map(tuple),
    predict_paths=strategies.lists(_TEXT, max_size=2).map(tuple),
    capture=strategies.none() | strategies.builds(spec.CaptureSpec, percent=_NUMBER),
    replay=strategies.none() | strategies.builds(spec.ReplaySpec, rate=_NUMBER),
    notify=strategies.dictionaries(_TEXT, _TEXT, max_size=2),
    env=strategies.dictionaries(_TEXT, _TEXT, max_size=3),
    request_timeout_seconds=_NUMBER,
)
_GATES = strategies.builds(spec.QualityGate, metric=_TEXT, operator=_TEXT, threshold=_NUMBER)
_SERVICES = strategies.builds(
    spec.ServiceSpec,
    service=_TEXT,
    model=strategies.builds(
        spec.ModelSpec,
        source=strategies.sampled_from(spec.ModelSource),
        path=_MAYBE_TEXT,
        url=_MAYBE_TEXT,
        train_command=_MAYBE_TEXT,
        python_target=_MAYBE_TEXT,
        compile=strategies.booleans(),
        inputs=strategies.none() | strategies.dictionaries(_TEXT, _TEXT, max_size=3),
        features=strategies.none() | strategies.lists(_TEXT, max_size=3).map(tuple),
    ),
    reference=_MAYBE_TEXT,
    tests=strategies.none()
    | strategies.builds(
        spec.TestsSpec,
        command=_MAYBE_TEXT,
        coverage_percent_min=strategies.none() | _NUMBER,
        quality=strategies.none()
        | strategies.builds(
            spec.QualitySpec,
            data=_TEXT,
            label=_TEXT,
            gates=strategies.lists(_GATES, max_size=3).map(tuple),
        ),
        latency_ms_p99_max=strategies.none() | _NUMBER,
    ),
    environments=strategies.lists(_ENVIRONMENTS, max_size=2).map(tuple),
    gaps=strategies.lists(_TEXT, max_size=2).map(tuple),
)
ENVIRONMENT = spec.EnvironmentSpec(
    name="production",
    strategy=spec.StrategySpec(kind=spec.StrategyKind.CANARY, steps=spec.shares(100, 10_000)),
)


@hypothesis.given(_ENVIRONMENTS)
@hypothesis.settings(deadline=None)
def test_every_environment_survives_writing_and_reading(environment: spec.EnvironmentSpec) -> None:
    raw = spec_json.dump_environment(environment)

    assert environment == spec_json.load_environment(raw)
    assert raw == spec_json.dump_environment(spec_json.load_environment(raw))


@hypothesis.given(_SERVICES)
def test_every_service_survives_writing_and_reading(service: spec.ServiceSpec) -> None:
    assert service == spec_json.load_service(spec_json.dump_service(service))


def test_the_order_of_a_mapping_does_not_show() -> None:
    one, other = (
        spec.EnvironmentSpec(name="production", strategy=ENVIRONMENT.strategy, env=dict(pairs))
        for pairs in ([("A", "1"), ("B", "2")], [("B", "2"), ("A", "1")])
    )

    assert spec_json.dump_environment(one) == spec_json.dump_environment(other)


def test_a_field_added_after_the_plan_was_written_takes_its_default() -> None:
    document = json.loads(spec_json.dump_environment(ENVIRONMENT))
    del document["environment"]["strategy"]["alpha"]
    del document["environment"]["env"]

    assert spec_json.load_environment(json.dumps(document).encode()) == ENVIRONMENT


OLD = (
    b'{"environment":{"after":null,"branch":"main","env":{},"fallback_body":null,"name":"production",'
    b'"replica_count":2,"request_timeout_seconds":5.0,"strategy":{"acceptable_percent":1.0,"alpha":0.01,"beta":0.01,'
    b'"deadline_seconds":3600.0,"guardrails":["errors","client_errors","latency","invalid"],"holdback_percent":5.0,'
    b'"key_header":null,"kind":"canary","latency_slo_ms":null,"margin_ratio":2.0,"step_attempts_min":50,'
    b'"watch_seconds":86400.0,"weights":[100,2500,10000]},"verify":null},"schema":1}\n'
)
"""As written before steps had kinds."""


def test_a_plan_that_was_a_list_of_weights_comes_back_as_shares() -> None:
    found = spec_json.load_environment(OLD)

    assert found == spec.EnvironmentSpec(
        name="production",
        branch="main",
        strategy=spec.StrategySpec(kind=spec.StrategyKind.CANARY, steps=spec.shares(100, 2_500, 10_000)),
    )
    assert found == spec_json.load_environment(spec_json.dump_environment(found))


def _changed(**changes: object) -> bytes:
    document = json.loads(spec_json.dump_environment(ENVIRONMENT))
    document["environment"].update(changes)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"", "Expecting value"),
        (b"\xff", "decode"),
        (b"[]", "the document is list"),
        (b'{"schema": 2}', "schema is 2"),
        (b'{"schema": 1}', "environment is NoneType"),
        (b'{"schema": 1, "environment": {}}', "environment lacks the field 'name'"),
        (b"[" * 100_000, "recursion"),
        (_changed(canary_mode=True), "unknown field 'canary_mode'"),
        (_changed(replica_count="2"), "environment.replica_count is str"),
        (_changed(replica_count=True), "environment.replica_count is bool"),
        (_changed(request_timeout_seconds=math.inf), "environment.request_timeout_seconds is inf"),
        (_changed(env={"A": 1}), "environment.env.A is int"),
        (_changed(strategy={"kind": "big_bang", "steps": []}), "big_bang"),
        (_changed(strategy={"kind": "canary", "steps": ["1"]}), r"environment.strategy.steps\[0\] is str"),
        (_changed(strategy={"kind": "canary", "weights": ["1"]}), r"environment.strategy.steps\[0\].weight is str"),
        (_changed(strategy={"kind": "canary", "weights": [1], "steps": []}), "unknown field 'weights'"),
    ],
    ids=str,
)
def test_a_damaged_plan_is_refused_with_the_place_of_the_damage(raw: bytes, named: str) -> None:
    with pytest.raises(errors.ConfigError, match=named) as caught:
        spec_json.load_environment(raw)

    assert caught.value.code is errors.Code.SPEC_UNREADABLE


@hypothesis.given(strategies.binary(max_size=60))
def test_no_bytes_raise_anything_but_a_config_error(raw: bytes) -> None:
    with pytest.raises(errors.ConfigError):
        spec_json.load_service(raw)


def test_a_number_json_does_not_know_is_our_own_mistake() -> None:
    environment = spec.EnvironmentSpec(name="a", strategy=ENVIRONMENT.strategy, request_timeout_seconds=math.nan)

    with pytest.raises(errors.InvariantError):
        spec_json.dump_environment(environment)
