from __future__ import annotations

import math

import numpy as np
import pytest

from softlaunch.core import job_spec, output_checks, training_record


def values(line: str) -> list[tuple[str, float, int | None]]:
    return [(each.name, each.value, each.step) for each in training_record.metrics_of_line(line)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("loss=0.2", [("loss", 0.2, None)]),
        ("epoch 3 loss=0.2 val_accuracy: 0.91", [("loss", 0.2, 3), ("val_accuracy", 0.91, 3)]),
        ("[10]\tvalidation_0-logloss:0.31", [("validation_0-logloss", 0.31, 10)]),
        ("Epoch 2/5 - loss: 1.2e-3 - auc: .5", [("loss", 1.2e-3, 2), ("auc", 0.5, 2)]),
    ],
)
def test_metrics_are_read_from_what_trainers_print(line, expected) -> None:
    assert expected == values(line)


@pytest.mark.parametrize(
    "line", ["port: 8080", "at 12:30:05 ready", "version=1.2.3", "loss is small", "loss=0.2abc", "http://host:80/loss"]
)
def test_a_number_without_a_metric_s_name_is_no_metric(line) -> None:
    assert [] == values(line)


def test_a_loss_that_is_no_number_is_kept_and_is_no_extreme() -> None:
    first = training_record.summarised({}, training_record.Metric(name="loss", value=0.5, step=1))
    found = training_record.summarised({"loss": first}, training_record.metrics_of_line("step 2 loss=nan")[0])

    assert math.isnan(found.last)
    assert (2, 0.5, 0.5, 2) == (found.count, found.least, found.greatest, found.step)


def test_a_record_is_read_as_it_was_written() -> None:
    record = training_record.TrainingRecord(
        run="r",
        command=("python", "train.py"),
        directory="d",
        started_at=1.5,
        outcome=training_record.Outcome.SUCCEEDED,
        metrics=(training_record.MetricSummary(name="loss", last=math.inf, count=2, least=0.1, greatest=0.2),),
        files=(training_record.ProducedFile(path="m", sha256="0" * 64, bytes=3),),
        gates=(training_record.Gate(name="rows", passed=True, detail="3"),),
        code=training_record.Code(dirty=("a",), locks={"requirements.lock": "1" * 64}),
        parameters={"lr": "0.1"},
    )

    assert record == training_record.load(record.dump())


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"run": 1}', b"null"])
def test_what_is_no_record_is_refused(raw) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of json or our own
        training_record.load(raw)


@pytest.mark.parametrize("line", ["[]", "{", '{"step": 1.5, "loss": 1}', '{"loss": "low"}', '{"loss": true}'])
def test_a_line_that_is_no_entry_of_metrics_is_refused(line) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of json or our own
        training_record.metrics_of_entry(line)


def test_parameters_are_the_command_s_own_options() -> None:
    command = ("python", "train.py", "--lr", "-0.1", "--depth=3", "--fast", "--name", "x")

    assert {"lr": "-0.1", "depth": "3", "fast": "true", "name": "x"} == training_record.parameters_of(command)


def test_no_secret_stays_in_a_command_line_or_a_parameter() -> None:
    command = ("env", "DB_PASSWORD=hunter2", "x", "--token", "abc", "--api-key=def", "https://ada:pw@example.com/d")
    kept = " ".join(training_record.without_secrets(command))

    assert [] == [secret for secret in ("hunter2", "abc", "def", "ada", "pw@") if secret in kept]
    assert {"lr": "1", "token": "[secret]"} == training_record.parameters_kept({"token": "abc", "lr": "1"})
    assert {"hunter2", "abc", "def"} == set(training_record.secrets_of(command, {}, {}))


def table(score, count: int | None = None) -> output_checks.Table:
    found = np.array(score, dtype=np.float64)
    column = output_checks.Column(values=found, missing=np.isnan(found))
    return output_checks.Table(row_count=count or found.size, columns={"score": column})


def failing(found, before=None, **asked) -> list[str]:
    gates = output_checks.judge(found, before, job_spec.Checks(**asked))
    return [gate.name for gate in gates if not gate.passed]


def test_an_output_fails_the_check_it_does_not_meet_and_no_other() -> None:
    good = table([0.1, 0.5, 0.9])

    assert [] == failing(good, rows_min=3, columns=("score",), missing_percent_max=0, ranges=(("score", 0, 1),))
    assert ["rows"] == failing(good, rows_min=4)
    assert ["column id"] == failing(good, columns=("id",))
    assert ["missing score"] == failing(table([0.1, np.nan]), missing_percent_max=49)
    assert ["range score"] == failing(table([0.1, 1.5]), ranges=(("score", 0, 1),))
    assert ["range id"] == failing(good, ranges=(("id", 0, 1),))


def test_change_is_judged_against_what_is_published() -> None:
    before = table([0.0, 1.0] * 50)

    assert [] == failing(table([0.0, 1.0] * 55), before, rows_change_percent_max=10, mean_change_percent_max=10)
    assert ["rows change"] == failing(table([0.0, 1.0] * 56), before, rows_change_percent_max=10)
    assert ["mean score"] == failing(table([1.0] * 100), before, mean_change_percent_max=99)
    assert [] == failing(table([1.0] * 100), before, mean_change_percent_max=100)  # half a unit is one deviation
    assert [] == failing(table([1.0]), None, rows_change_percent_max=0, mean_change_percent_max=0)
