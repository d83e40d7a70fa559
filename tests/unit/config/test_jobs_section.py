from __future__ import annotations

import pytest

from softlaunch.config import problems, service_file
from softlaunch.core import job_spec, secret_references, spec

JOBS_ALONE = """\
service: churn
jobs:
  scores:
    command: python batch.py --month 2026-11
    outputs:
      scores.csv: {columns: [id], ranges: {score: [0, 1]}, mean_change_percent_max: 50}
      parts/*.parquet: {rows_min: 4}
      report.html:
    publish: /srv/out
    keep: 3
    timeout: 2h
    env: {MONTH: $MONTH}
    secrets: {PASSWORD: $PASSWORD}
  short: {command: [sh, -c, "a | b"], outputs: report.html}
  bare: {command: make}
"""


def test_a_file_of_jobs_alone_needs_no_model_and_no_environment() -> None:
    found = service_file.parse(JOBS_ALONE)

    assert (spec.ModelSource.NONE, ()) == (found.model.source, found.environments)
    assert ["scores", "short", "bare"] == [each.name for each in found.jobs]


def test_every_key_of_a_job_is_read() -> None:
    scores, short, bare = service_file.parse(JOBS_ALONE).jobs

    checks = job_spec.Checks(columns=("id",), ranges=(("score", 0.0, 1.0),), mean_change_percent_max=50.0)
    assert scores == job_spec.JobSpec(
        name="scores",
        command=("python", "batch.py", "--month", "2026-11"),
        outputs=(
            job_spec.Output(pattern="scores.csv", checks=checks),
            job_spec.Output(pattern="parts/*.parquet", checks=job_spec.Checks(rows_min=4)),
            job_spec.Output(pattern="report.html"),
        ),
        publish="/srv/out",
        keep=3,
        timeout_seconds=7_200.0,
        env={"MONTH": "$MONTH"},
        secrets={
            "PASSWORD": secret_references.SecretReference(kind=secret_references.SecretKind.ENV, target="PASSWORD")
        },
    )
    assert ("sh", "-c", "a | b") == short.command
    assert [False] == [each.is_table for each in short.outputs]
    assert bare == job_spec.JobSpec(name="bare", command=("make",))


def test_a_file_with_jobs_and_a_model_still_needs_environments() -> None:
    with pytest.raises(problems.ServiceFileError) as caught:
        service_file.parse("service: a\nmodel: m.onnx\njobs: {b: {command: make}}\n")

    assert ["The key 'environments' is missing."] == [found.message for found in caught.value.problems]


def test_jobs_are_no_part_of_what_an_environment_has_to_say() -> None:
    assert () == service_file.parse(JOBS_ALONE).gaps
