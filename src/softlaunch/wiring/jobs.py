"""Batch jobs: run and recorded as trainings are, their output gated and published."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from softlaunch import errors
from softlaunch.adapters.build_tools import tables as arrow_tables
from softlaunch.config import home as homes
from softlaunch.controller import jobs
from softlaunch.core import env_references, job_spec, output_checks, training_record
from softlaunch.wiring import secrecy, training


def kept(home: homes.Home) -> jobs.Jobs:
    """The jobs of that home."""
    return jobs.Jobs(home.jobs)


def run(home: homes.Home, job: jobs.Job, view: training.View) -> training_record.TrainingRecord:
    """
    Runs a job once; publishes its output when every check passes.

    Raises:
        ConfigError: its command cannot be started, its path is taken, or a variable or secret cannot be read.
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
        if job.file and pathlib.Path(job.publish).is_relative_to(job.directory):  # git keeps no empty folders
            pathlib.Path(job.publish).parent.mkdir(parents=True, exist_ok=True)
        found.check_place(job)
        secrets = secrecy.resolve(job.secrets)
        asked = training.Order(
            command=job.command,
            directory=pathlib.Path(job.directory),
            job=job.name,
            variables={**env_references.resolve(job.env, os.environ), **secrets},
            secrets=tuple(secrets.values()),
            timeout_seconds=job.timeout_seconds,
        )
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
    gates: list[training_record.Gate] = []
    published = found.published(job)
    before = found.folder(job.name, published) if published is not None else None
    for each in job.outputs:
        judged = _judged(each, output, before)
        prefix = f"{each.pattern}: " if len(job.outputs) > 1 else ""
        gates += [dataclasses.replace(gate, name=f"{prefix}{gate.name}") for gate in judged]
    return tuple(gates)


def _judged(
    asked: job_spec.Output, output: pathlib.Path, before: pathlib.Path | None
) -> Sequence[training_record.Gate]:
    files = _files(output, asked.pattern)
    if not files:
        return [_output(f"The command wrote no {asked.pattern} to SOFTLAUNCH_OUTPUT.")]
    if not asked.is_table:
        empty = next((path for path in files if not path.stat().st_size), None)
        if empty is not None:
            return [_output(f"{empty.relative_to(output)} is empty.")]
        detail = f"{len(files)} files, none of them empty" if len(files) > 1 else "there, and not empty"
        return [training_record.Gate(name="output", passed=True, detail=detail)]
    try:
        new = _table(files)
    except (errors.ConfigError, ValueError) as error:
        return [_output(error.message if isinstance(error, errors.ConfigError) else f"{asked.pattern}: {error}")]
    try:
        old = _table(_files(before, asked.pattern)) if before is not None else None
    except (errors.ConfigError, ValueError):
        old = None  # the job wrote other files then: there is nothing to compare with
    return output_checks.judge(new, old, asked.checks)


def _files(folder: pathlib.Path, pattern: str) -> list[pathlib.Path]:
    """Plain files of that name, links left out; a file that is called so exactly goes before the pattern."""
    exact = folder / pattern
    found = [exact] if exact.is_file() else sorted(folder.glob(pattern))
    return [path for path in found if path.is_file() and not path.is_symlink()]


def _table(paths: Sequence[pathlib.Path]) -> output_checks.Table:
    if not paths:
        raise ValueError("there is no such file")
    parts = []
    for path in paths:
        read = arrow_tables.ArrowTables().read(path)
        columns = {each.name: output_checks.Column(values=each.values, missing=each.missing) for each in read.columns}
        for name, missing in read.unusable_missing.items():  # dates and lists: there, and maybe missing
            columns[name] = output_checks.Column(values=np.full(missing.size, None), missing=missing)
        parts.append(output_checks.Table(row_count=read.row_count, columns=columns))
    return output_checks.whole(parts)


def _output(why: str) -> training_record.Gate:
    return training_record.Gate(name="output", passed=False, detail=why)
