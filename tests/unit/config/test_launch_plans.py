"""The keys of a launch, written out and read back."""

from __future__ import annotations

import pytest

from softlaunch.config import problems, service_file
from softlaunch.core import spec
from softlaunch.core.rollout import plan

HEAD = "service: a\nmodel: model.joblib\n"


def _environment(text: str, top: str = "") -> spec.EnvironmentSpec:
    return service_file.parse(f"{HEAD}{top}environments: {{production: {text}}}\n").environments[0]


def _strategy(text: str, top: str = "") -> spec.StrategySpec:
    return _environment(f"{{strategy: {text}}}", top).strategy


def _gaps(text: str, top: str = "") -> str:
    return "\n".join(service_file.parse(f"{HEAD}{top}environments: {{production: {text}}}\n").gaps)


COHORTS = "cohorts: {internal: {header: x-employee, values: [yes]}, beta: {header: X-User-Id, values: [u1, 17]}}\n"


def test_steps_mix_shadows_cohorts_shares_and_people() -> None:
    strategy = _strategy(
        "{canary: {steps: [{cohort: internal}, {cohort: beta, share: 50%, for: 10m}, {shadow: 10%, for: 1h}, 1%,"
        " {share: 5%, for: 10m, attempts: 200}, {approval: [ana, bo]}, approval, 25%, 100%]}}",
        COHORTS,
    )

    assert strategy.steps == (
        spec.StepSpec(kind=spec.StepKind.COHORT, cohort="internal", weight=8_000),
        spec.StepSpec(kind=spec.StepKind.COHORT, cohort="beta", weight=5_000, duration_seconds=600.0),
        spec.StepSpec(kind=spec.StepKind.SHADOW, weight=1_000, duration_seconds=3_600.0),
        spec.StepSpec(weight=100),
        spec.StepSpec(weight=500, duration_seconds=600.0, attempts_min=200),
        spec.StepSpec(kind=spec.StepKind.APPROVAL, approvers=("ana", "bo")),
        spec.StepSpec(kind=spec.StepKind.APPROVAL),
        *spec.shares(2_500, 10_000),
    )


@pytest.mark.parametrize("kind", list(spec.StrategyKind))
def test_the_name_of_a_strategy_is_enough(kind: spec.StrategyKind) -> None:
    assert {plan.strategy(kind)} == {_strategy(kind.value), _strategy(f"{{{kind.value}: {{}}}}")}


def test_a_recreated_release_is_judged_by_the_same_values() -> None:
    strategy = _strategy("{recreate: {guardrails: [errors], watch: 1h, on_failure: freeze}}")

    assert strategy == spec.StrategySpec(
        kind=spec.StrategyKind.RECREATE,
        steps=spec.shares(10_000),
        holdback_percent=0.0,
        guardrails=(spec.GuardrailName.ERRORS,),
        watch_seconds=3_600.0,
        on_failure=spec.FailurePolicy.FREEZE,
    )


def test_a_team_writes_its_own_guardrails_beside_those_that_decide() -> None:
    strategy = _strategy(
        "{canary: {guardrails: [errors, outputs, {observe: cpu},"
        ' {name: p99, promql: "up{job=\'{service}\'}", server: "http://p:9090", at_least: -1, at_most: 0.2,'
        " every: 1m, failures: 5, observe: true},"
        ' {name: healthy, http: "http://h/{candidate}", json: status.lag, at_most: 5},'
        ' {name: slow_big, expression: "latency_ms > 80 and input_bytes > 10000"}]}}'
    )

    assert strategy.guardrails == (spec.GuardrailName.ERRORS, spec.GuardrailName.OUTPUTS)
    assert strategy.checks == (
        spec.CheckSpec(
            name="p99",
            kind=spec.CheckKind.PROMQL,
            target="up{job='{service}'}",
            server="http://p:9090",
            at_least=-1.0,
            at_most=0.2,
            every_seconds=60.0,
            failure_count=5,
            enforcing=False,
        ),
        spec.CheckSpec(
            name="healthy",
            kind=spec.CheckKind.HTTP,
            target="http://h/{candidate}",
            json_path="status.lag",
            at_most=5.0,
        ),
        spec.CheckSpec(
            name="slow_big", kind=spec.CheckKind.EXPRESSION, target="latency_ms > 80 and input_bytes > 10000"
        ),
    )


def test_the_other_values_of_a_launch_arrive() -> None:
    strategy = _strategy(
        "{blue_green: {warm: 1h, on_deadline: ask, on_failure: freeze, disagreement_max: 2.5%,"
        " agreement_tolerance: 0.001}}"
    )

    assert strategy == spec.StrategySpec(
        kind=spec.StrategyKind.BLUE_GREEN,
        steps=spec.shares(10_000),
        warm_seconds=3_600.0,
        on_deadline=spec.DeadlinePolicy.ASK,
        on_failure=spec.FailurePolicy.FREEZE,
        disagreement_percent_max=2.5,
        agreement_tolerance=0.001,
    )


def test_an_environment_names_cohorts_anew_and_puts_its_own_first() -> None:
    environment = _environment(
        '{cohorts: {tenants: {header: x-tenant, pattern: "acme-.*"}, beta: {header: x-beta}}}', COHORTS
    )

    assert environment.cohorts == (
        spec.CohortSpec(name="tenants", header="x-tenant", pattern="acme-.*"),
        spec.CohortSpec(name="beta", header="x-beta"),
        spec.CohortSpec(name="internal", header="x-employee", values=("yes",)),
    )


def test_what_the_file_says_for_all_holds_for_environments_without_values() -> None:
    parsed = service_file.parse(f"{HEAD}{COHORTS}notify: {{slack: $SLACK}}\nenvironments: [one, two]\n")

    for environment in parsed.environments:
        assert [cohort.name for cohort in environment.cohorts] == ["internal", "beta"]
        assert environment.notify == {"slack": "$SLACK"}


def test_who_is_told_is_merged() -> None:
    environment = _environment(
        '{notify: {ops: "json://host/path", slack: "${OTHER}"}}', "notify: {slack: $SLACK, mail: $MAIL}\n"
    )

    assert environment.notify == {"slack": "${OTHER}", "mail": "$MAIL", "ops": "json://host/path"}


def test_fallbacks_are_asked_in_their_order_and_the_body_stands_behind() -> None:
    environment = _environment(
        '{fallback: [{table: f.csv, keys: [origin]}, {python: "fallback.py:price"}, {previous: true},'
        ' {url: "http://h:1/"}, {body: {late: 0.2}}]}'
    )

    assert environment.fallbacks == (
        spec.FallbackSpec(kind=spec.FallbackKind.TABLE, target="f.csv", keys=("origin",)),
        spec.FallbackSpec(kind=spec.FallbackKind.PYTHON, target="fallback.py:price"),
        spec.FallbackSpec(kind=spec.FallbackKind.PREVIOUS),
        spec.FallbackSpec(kind=spec.FallbackKind.URL, target="http://h:1"),
    )
    assert environment.fallback_body == b'{"late":0.2}'


def test_one_fallback_needs_no_list() -> None:
    environment = _environment("{fallback: {previous: true}}")

    assert environment.fallbacks == (spec.FallbackSpec(kind=spec.FallbackKind.PREVIOUS),)
    assert environment.fallback_body is None


def test_records_replays_and_paths_arrive() -> None:
    environment = _environment(
        "{predict_paths: [/score, /v1/*], capture: {percent: 50%, disk: 2GiB},"
        " replay: {every: 12h, since: 2h, rate: 2.5x}}"
    )

    assert environment.predict_paths == ("/score", "/v1/*")
    assert environment.capture == spec.CaptureSpec(percent=50.0, disk_bytes_max=2 << 30)
    assert environment.replay == spec.ReplaySpec(every_seconds=43_200.0, since_seconds=7_200.0, rate=2.5)


def test_business_keys_and_redaction_are_read() -> None:
    capture = _environment("{capture: {keys: [order, customer], redact: {birthday: drop, key: hash}}}").capture

    assert ("order", "customer") == capture.keys
    assert {"birthday": spec.Redaction.DROP, "key": spec.Redaction.HASH} == capture.redact


@pytest.mark.parametrize("text", ["{keys: [rows]}", "{keys: [-x]}", "{redact: {a: mask}}", "{redact: [a]}"])
def test_keys_and_redactions_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(problems.ServiceFileError):
        _environment(f"{{capture: {text}}}")


def test_nothing_is_recorded_when_capture_is_off() -> None:
    assert _environment("{capture: off}").capture is None


def test_a_url_of_notify_is_never_shown() -> None:
    with pytest.raises(problems.ServiceFileError) as caught:
        service_file.parse(f"{HEAD}environments: [a]\nnotify: {{slack: hunter2, mail: [hunter2]}}\n")

    assert "hunter2" not in str(caught.value)


def test_what_a_launch_lacks_is_a_gap() -> None:
    steps = "steps: [{cohort: internal, share: 100%}, approval, 100%]"

    assert "is recreated: while the new release loads" in _gaps("{strategy: recreate}")
    assert "No control for the cohort internal" in _gaps(
        f"{{strategy: {{canary: {{holdback: 0%, {steps}}}}}}}", COHORTS
    )
    assert "No notify for environments.production" in _gaps(f"{{strategy: {{canary: {{{steps}}}}}}}", COHORTS)
    assert "No notify" not in _gaps(f"{{strategy: {{canary: {{{steps}}}}}}}", f"{COHORTS}notify: {{a: $A}}\n")
    assert "No shadow step" in _gaps("{strategy: {canary: {guardrails: [errors, disagreement]}}}")
    assert "holds /*" in _gaps('{predict_paths: ["/*"]}')
    assert "No environments.production.fallback" not in _gaps("{fallback: {previous: true}}")


def test_a_holdback_stays_in_every_cohort_and_is_its_control() -> None:
    steps = "steps: [{cohort: internal, share: 100%}, 100%]"

    assert "No control" not in _gaps(f"{{strategy: {{canary: {{{steps}}}}}}}", COHORTS)
