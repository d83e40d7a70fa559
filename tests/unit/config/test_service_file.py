from __future__ import annotations

import pathlib
import time

import hypothesis
import pytest
from hypothesis import strategies

from softlaunch import errors
from softlaunch.config import keys, problems, service_file, yaml_tree
from softlaunch.core import spec, verify_specs

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "config"
THREE_LINES = "service: flight-delay\nmodel: model.joblib\nenvironments: [production]\n"

DESIGNED = """\
service: flight-delay
model:
  path: model.joblib
  train: python train.py
reference: data/train.parquet
tests:
  command: pytest -q
  coverage_percent_min: 80
  quality:
    data: data/holdout.parquet
    label: late
    metrics: {roc_auc: ">= 0.68", brier: "<0.2"}
    latency_ms_p99_max: 20
environments:
  integration: {branch: develop, verify: {requests: 30}, replicas: 1}
  production:
    branch: main
    after: integration
    strategy:
      canary:
        key: X-User-Id
        steps: [0.01%, 5%, 25%, 100%]
        guardrails: [errors, latency]
        holdback: 2.5%
        watch: 90m
        alpha: 0.02
        beta: 0.005
        margin: 1.5
        acceptable: 0.5%
        step_attempts_min: 200
        latency_slo: 50ms
        deadline: 2h
    replicas: 3
    fallback: {body: {"late": 0.2, why: [down, null, true, 1, "1"]}}
    env: {CARRIER_API: $CARRIER_API, DEBUG: 0, VERBOSE: no}
    request_timeout: 2s
"""


def _problems(text: str) -> tuple[problems.Problem, ...]:
    with pytest.raises(problems.ServiceFileError) as caught:
        service_file.parse(text)
    return caught.value.problems


def _strategy(text: str) -> spec.StrategySpec:
    parsed = service_file.parse(
        f"service: a\nmodel: model.joblib\nenvironments:\n  production: {{strategy: {text}}}\n",
    )
    return parsed.environments[0].strategy


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_broken_file_is_answered_with_every_mistake_and_its_line(path: pathlib.Path) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        service_file.parse_bytes(path.read_bytes())

    assert path.with_suffix(".txt").read_text(encoding="utf-8") == f"{caught.value.message}\n"


def test_three_lines_are_enough() -> None:
    parsed = service_file.parse(THREE_LINES)

    assert parsed.service == "flight-delay"
    assert parsed.model == spec.ModelSpec(source=spec.ModelSource.PATH, path="model.joblib")
    assert parsed.environments == (
        spec.EnvironmentSpec(
            name="production",
            strategy=spec.StrategySpec(kind=spec.StrategyKind.CANARY, steps=spec.shares(100, 500, 2_500, 10_000)),
        ),
    )


def test_what_is_missing_is_named_with_what_it_costs() -> None:
    gaps = service_file.parse(THREE_LINES).gaps

    assert [
        "No tests.command",
        "No tests.quality (holdout, label, metrics)",
        "No tests.latency_ms_p99_max",
        "No reference",
        "No environments.production.branch",
        "No environments.production.after",
        "No environments.production.fallback",
        "No strategy key in environments.production",
    ] == [gap.partition(":")[0] for gap in gaps]
    assert all(gap.endswith(".") and gap.partition(": ")[2] for gap in gaps)


def test_a_complete_file_has_no_gaps() -> None:
    assert service_file.parse(DESIGNED).gaps == ()


def test_no_holdback_is_a_gap() -> None:
    text = THREE_LINES.replace("[production]", "{production: {strategy: {blue_green: {holdback: 0%}}}}")

    assert any(gap.startswith("No holdback in environments.production") for gap in service_file.parse(text).gaps)


def test_a_command_without_a_coverage_bar_is_a_gap() -> None:
    parsed = service_file.parse(f"{THREE_LINES}tests: {{command: pytest}}\n")

    assert any(gap.startswith("No tests.coverage_percent_min") for gap in parsed.gaps)


def test_every_key_that_works_arrives_in_the_spec() -> None:
    parsed = service_file.parse(DESIGNED)

    assert parsed == spec.ServiceSpec(
        service="flight-delay",
        model=spec.ModelSpec(source=spec.ModelSource.TRAIN, path="model.joblib", train_command="python train.py"),
        reference="data/train.parquet",
        tests=spec.TestsSpec(
            command="pytest -q",
            coverage_percent_min=80.0,
            quality=spec.QualitySpec(
                data="data/holdout.parquet",
                label="late",
                gates=(
                    spec.QualityGate(metric="roc_auc", operator=">=", threshold=0.68),
                    spec.QualityGate(metric="brier", operator="<", threshold=0.2),
                ),
            ),
            latency_ms_p99_max=20.0,
        ),
        environments=(
            spec.EnvironmentSpec(
                name="integration",
                branch="develop",
                strategy=spec.StrategySpec(
                    kind=spec.StrategyKind.BLUE_GREEN,
                    steps=spec.shares(10_000),
                    holdback_percent=0.0,
                    watch_seconds=0.0,
                ),
                replica_count=1,
                verify=verify_specs.VerifySpec(request_count=30),
            ),
            spec.EnvironmentSpec(
                name="production",
                branch="main",
                after="integration",
                strategy=spec.StrategySpec(
                    kind=spec.StrategyKind.CANARY,
                    steps=spec.shares(1, 500, 2_500, 10_000),
                    key_header="x-user-id",
                    guardrails=(spec.GuardrailName.ERRORS, spec.GuardrailName.LATENCY),
                    step_attempts_min=200,
                    acceptable_percent=0.5,
                    margin_ratio=1.5,
                    alpha=0.02,
                    beta=0.005,
                    holdback_percent=2.5,
                    watch_seconds=5_400.0,
                    latency_slo_ms=50.0,
                    deadline_seconds=7_200.0,
                ),
                replica_count=3,
                fallback_body=b'{"late":0.2,"why":["down",null,true,1,"1"]}',
                env={"CARRIER_API": "$CARRIER_API", "DEBUG": "0", "VERBOSE": "no"},
                request_timeout_seconds=2.0,
            ),
        ),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model.onnx", spec.ModelSpec(source=spec.ModelSource.PATH, path="model.onnx")),
        (
            "{path: m/model.pkl, compile: false, features: [a, b]}",
            spec.ModelSpec(source=spec.ModelSource.PATH, path="m/model.pkl", compile=False, features=("a", "b")),
        ),
        (
            "{url: https://models.example.com/m.onnx, path: m.onnx}",
            spec.ModelSpec(source=spec.ModelSource.URL, url="https://models.example.com/m.onnx", path="m.onnx"),
        ),
        (
            "{python: src/delay.py:Predictor, path: weights.bin, train: make, inputs: {a: FP64, b: BYTES}}",
            spec.ModelSpec(
                source=spec.ModelSource.PYTHON,
                python_target="src/delay.py:Predictor",
                path="weights.bin",
                train_command="make",
                inputs={"a": "FP64", "b": "BYTES"},
            ),
        ),
    ],
)
def test_a_model_comes_from_one_of_four_places(text: str, expected: spec.ModelSpec) -> None:
    parsed = service_file.parse(f"service: a\nmodel: {text}\nenvironments: [production]\n")

    assert expected == parsed.model


def test_a_class_may_take_its_inputs_from_the_reference() -> None:
    parsed = service_file.parse("service: a\nmodel: {python: p.py:P}\nreference: r.csv\nenvironments: [production]\n")

    assert parsed.model.inputs is None


@pytest.mark.parametrize("text", ["blue_green", "blue-green", "{blue_green: {}}", "{blue-green: {}}"])
def test_blue_green_moves_everything_at_once_however_it_is_spelt(text: str) -> None:
    assert _strategy(text) == spec.StrategySpec(kind=spec.StrategyKind.BLUE_GREEN, steps=spec.shares(10_000))


def test_blue_green_may_look_before_it_moves() -> None:
    assert _strategy("{blue_green: {steps: [10%, 100%]}}").weights == (1_000, 10_000)


def test_environments_may_be_a_mapping_without_values() -> None:
    parsed = service_file.parse("service: a\nmodel: model.joblib\nenvironments:\n  one:\n  two: ~\n")

    assert [environment.name for environment in parsed.environments] == ["one", "two"]


def test_smoke_is_short_for_the_default_number_of_requests() -> None:
    parsed = service_file.parse("service: a\nmodel: m.onnx\nenvironments: {one: {verify: smoke}}\n")

    assert parsed.environments[0].verify == verify_specs.VerifySpec()


def test_the_latency_bar_may_stand_beside_quality() -> None:
    parsed = service_file.parse(f"{THREE_LINES}tests: {{latency_ms_p99_max: 7.5}}\n")

    assert parsed.tests == spec.TestsSpec(latency_ms_p99_max=7.5)


def test_a_message_names_file_line_column_key_value_and_remedy() -> None:
    path = GOLDEN / "steps-do-not-rise.yaml"

    with pytest.raises(problems.ServiceFileError) as caught:
        service_file.parse(path.read_text(encoding="utf-8"), name="services/softlaunch.yaml")

    assert caught.value.message == (
        "services/softlaunch.yaml:10:13: environments.production.strategy.canary.steps[2]: 5% is not above 25%. "
        "Steps must rise: each gives the candidate more traffic than the one before."
    )
    assert caught.value.code is errors.Code.SERVICE_FILE


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10_000,
        "{" * 10_000,
        "- " * 10_000,
        "? " * 10_000,
        "\n".join("[" * 10_000),
        "service: a\nfallback: " + "{a: " * 9_000,
        "".join(f"{' ' * depth}a:\n" for depth in range(400)),
    ],
    ids=["lists", "mappings", "dashes", "questions", "lines", "values", "blocks"],
)
def test_deep_nesting_is_refused_at_once(text: str) -> None:
    started = time.process_time()

    found = _problems(text)

    assert any("nests deeper" in problem.message for problem in found)
    assert time.process_time() - started < 5


def test_a_file_larger_than_a_person_writes_is_refused() -> None:
    (found,) = _problems("# x\n" * yaml_tree.CHARACTER_COUNT_MAX)

    assert "characters, more than" in found.message


def test_a_bomb_of_aliases_is_refused() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(letter)}: &{chr(letter)} [*{chr(letter - 1)}, *{chr(letter - 1)}]\n" for letter in range(98, 123)
    )

    assert any("Aliases" in problem.message for problem in _problems(bomb))


def test_the_longest_file_of_mistakes_is_answered_in_time_and_in_fifty_lines() -> None:
    started = time.process_time()

    with pytest.raises(problems.ServiceFileError) as caught:
        service_file.parse("ab: c\n" * (yaml_tree.CHARACTER_COUNT_MAX // 6))

    assert time.process_time() - started < 10
    assert len(caught.value.message.splitlines()) == 51


def test_a_long_value_is_shortened_in_messages() -> None:
    (found,) = _problems(THREE_LINES.replace("flight-delay", "x" * 50_000))

    assert len(found.message) < 120


def test_a_value_of_env_is_never_shown() -> None:
    text = THREE_LINES.replace(
        "[production]", '{production: {env: {1KEY: hunter2, KEY: "hun\\0ter2", LIST: [hunter2]}}}'
    )

    with pytest.raises(problems.ServiceFileError) as caught:
        service_file.parse(text)

    assert "hunter2" not in str(caught.value)


def test_bytes_that_are_too_many_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(errors.ConfigError, match="bytes, more than"):
        service_file.parse_bytes(b"\xff" * (service_file.BYTE_COUNT_MAX + 1))


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert service_file.parse_bytes(b"\xef\xbb\xbf" + THREE_LINES.encode()) == service_file.parse(THREE_LINES)


def test_a_file_is_loaded_from_disk(tmp_path: pathlib.Path) -> None:
    path = tmp_path / service_file.FILE_NAME
    path.write_text(THREE_LINES, encoding="utf-8")

    assert service_file.load(path) == service_file.parse(THREE_LINES)


def test_a_missing_file_says_how_to_get_one(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.ConfigError, match="softlaunch init"):
        service_file.load(tmp_path / service_file.FILE_NAME)


def test_a_folder_in_place_of_the_file_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.ConfigError, match="cannot be read"):
        service_file.load(tmp_path)


_WORDS = sorted(
    {key.name for section in keys.SECTIONS.values() for key in section}
    | {key.example for section in keys.SECTIONS.values() for key in section}
    | {word for words in keys.NOT_BUILT.values() for word in words}
    | {"production", "canary", "smoke", "5%", "100%", "1", "-1", "1e99", "null", "~", "true", "$X", ".inf", "", "\t"},
)
_SCALARS = strategies.sampled_from(_WORDS) | strategies.text(max_size=8)
_PIECES = strategies.sampled_from(
    [
        "\n",
        "\n  ",
        "\n    ",
        ": ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "&a ",
        "*a",
        "!t ",
        '"',
        "'",
        "|",
        ">",
        "#",
        "%",
        "? ",
        "---",
    ],
)


def _flow(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(below)}" for key, below in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(below) for below in value) + "]"
    return str(value)


def _only_a_config_error(text: str) -> None:
    found: tuple[problems.Problem, ...] | None = None
    try:
        service_file.parse(text)
    except problems.ServiceFileError as error:
        found = error.problems
    assert found != ()
    for problem in found or ():
        assert problem.line >= 1
        assert problem.column >= 1
        assert problem.message
        assert problem.remedy


@hypothesis.given(strategies.text(max_size=200))
@hypothesis.settings(max_examples=150, deadline=None)
def test_no_text_raises_anything_but_a_config_error(text: str) -> None:
    _only_a_config_error(text)


@hypothesis.given(strategies.lists(_PIECES | _SCALARS, max_size=40).map("".join))
@hypothesis.settings(max_examples=250, deadline=None)
def test_no_text_of_yaml_pieces_raises_anything_but_a_config_error(text: str) -> None:
    _only_a_config_error(text)


@hypothesis.given(
    strategies.dictionaries(
        strategies.sampled_from([*keys.names(keys.TOP), "monitors", "x"]),
        strategies.recursive(
            _SCALARS,
            lambda below: (
                strategies.lists(below, max_size=3)
                | strategies.dictionaries(strategies.sampled_from(_WORDS[:60]), below, max_size=4)
            ),
            max_leaves=12,
        ),
    ).map(_flow),
)
@hypothesis.settings(max_examples=200, deadline=None)
def test_no_tree_of_known_words_raises_anything_but_a_config_error(text: str) -> None:
    _only_a_config_error(text)


@hypothesis.given(strategies.binary(max_size=100))
@hypothesis.settings(max_examples=200, deadline=None)
def test_no_bytes_raise_anything_but_a_config_error(raw: bytes) -> None:
    with pytest.raises(errors.ConfigError):
        service_file.parse_bytes(raw)


@pytest.mark.parametrize("image", ["--privileged", "-v/:/host", "debian 12", "debian;id"])
def test_an_image_for_tests_is_nothing_that_podman_would_read_otherwise(image) -> None:
    text = (
        f"service: s\nmodel: m.joblib\ntests: {{command: pytest, container: {image!r}}}\nenvironments: [production]\n"
    )

    with pytest.raises(errors.ConfigError, match="is not the name of an image"):
        service_file.parse(text, name="softlaunch.yaml")
