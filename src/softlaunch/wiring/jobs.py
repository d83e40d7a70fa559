"""Batch jobs: run and recorded as trainings are, their output gated and published."""

from __future__ import annotations

import dataclasses
import pathlib

from softlaunch import errors
from softlaunch.adapters.build_tools import tables as arrow_tables
from softlaunch.config import home as homes
from softlaunch.controller import jobs
from softlaunch.core import output_checks, training_record
from softlaunch.wiring import training


def kept(home: homes.Home) -> jobs.Jobs:
    """The jobs of that home."""
    return jobs.Jobs(home.jobs)


def run(home: homes.Home, job: jobs.Job, view: training.View) -> training_record.TrainingRecord:
    """
    Runs a job once; publishes its output when every check passes.

    Raises:
        ConfigError: its command cannot be started, or its path is taken.
        ConflictError: it runs already.
        UnavailableError: something cannot be written.
    """
    found = kept(home)

    def finish(record: training_record.TrainingRecord, output: pathlib.Path) -> training_record.TrainingRecord:
        gates = _gates(found, job, output)
        if not all(gate.passed for gate in gates):
            return dataclasses.replace(record, gates=gates, outcome=training_record.Outcome.GATES_FAILED)
        found.write(job)  # what did not work is not what a run without a command repeats
        found.keep(job, record.run, output)
        found.publish(job, record.run)
        found.prune(job)
        return dataclasses.replace(record, gates=gates)

    with found.held(job.name):
        found.check_place(job)
        asked = training.Order(command=job.command, directory=pathlib.Path(job.directory), job=job.name)
        return training.record(home, asked, view, finish)


def restore(home: homes.Home, name: str, run: str | None) -> str:
    """
    Publishes an earlier good output again: that of `run`, else the newest before the published one.

    Raises:
        ConfigError: there is no such job or output.
        ConflictError: the job runs.
    """
    found = kept(home)
    job = found.find(name)
    with found.held(name):
        good, published = found.good(name), found.published(job)
        if run is None:
            run = next((each for each in good if published is None or each < published), None)
        if run is None or run not in good:
            raise errors.ConfigError(
                f"The job {name!r} has no good output {run!r}." if run else f"{name!r} has no earlier good output.",
                remedy=f"`softlaunch job show {name}` lists those that are kept.",
                code=errors.Code.NO_JOB,
            )
        found.publish(job, run)
    return run


def _gates(found: jobs.Jobs, job: jobs.Job, output: pathlib.Path) -> tuple[training_record.Gate, ...]:
    try:
        new = _table(output / job.output)
    except errors.ConfigError as error:
        return (training_record.Gate(name="output", passed=False, detail=error.message),)
    published = found.published(job)
    before = None
    if published is not None:
        try:
            before = _table(found.folder(job.name, published) / job.output)
        except errors.ConfigError:
            before = None  # the job wrote another file then: there is nothing to compare with
    return output_checks.judge(new, before, job.checks)


def _table(path: pathlib.Path) -> output_checks.Table:
    if path.is_symlink() or not path.is_file():
        raise errors.ConfigError(
            f"The command wrote no {path.name}.", remedy="Write it to SOFTLAUNCH_OUTPUT.", code=errors.Code.JOB_NAME
        )
    read = arrow_tables.ArrowTables().read(path)
    columns = {each.name: output_checks.Column(values=each.values, missing=each.missing) for each in read.columns}
    return output_checks.Table(row_count=read.row_count, columns=columns)
