"""The key `jobs:`: batches that train and predict in one go."""

from __future__ import annotations

import re

from softlaunch.config import app_section, fields, keys, problems, secrets_section, yaml_tree
from softlaunch.core import job_spec

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)
_COUNT_MAX = 100
_OUTPUTS_MAX = 50
_COLUMNS_MAX = 1_000
_ROWS_MAX = 10**12
_BOUND_MAX = 1e15
_PERCENT_MAX = 1e6
_KEEP_MAX = 1_000
_TIMEOUT_SECONDS_MAX = 30 * 86_400.0
_PUBLISH_CHARACTERS_MAX = 1_000


def read(field: fields.Field) -> tuple[job_spec.JobSpec, ...]:
    """The jobs, in the order of the file."""
    found = []
    for key, value in field.entries("a mapping of names to jobs", example="{scores: {command: python batch.py}}"):
        name = key.scalar or ""
        if not _NAME.fullmatch(name):
            key.wrong(
                f"'{problems.show(name)}' cannot name a job.",
                "Use letters, digits, - and _, at most 63, beginning with a letter or digit.",
            )
        found.append(_job(name, value))
    if isinstance(field.node, yaml_tree.Mapping) and not field.node.entries:
        field.wrong("There is no job.", "For example: {scores: {command: python batch.py}}")
    if len(found) > _COUNT_MAX:
        field.wrong(f"There are {len(found)} jobs, more than {_COUNT_MAX}.", "Keep fewer.")
    return tuple(found)


def _job(name: str, field: fields.Field) -> job_spec.JobSpec:
    section = fields.Section(field, keys.JOB)
    command, outputs, publish = section.need("command"), section.get("outputs"), section.get("publish")
    keep, timeout = section.get("keep"), section.get("timeout")
    env, secrets = secrets_section.read(section.get("env"), section.get("secrets"))
    return job_spec.JobSpec(
        name=name,
        command=app_section.command_words(command) if command is not None else (),
        outputs=_outputs(outputs) if outputs is not None else (job_spec.Output(),),
        publish=_publish(publish) if publish is not None else "",
        keep=keep.integer(minimum=1, maximum=_KEEP_MAX, stand_in=job_spec.KEEP) if keep is not None else job_spec.KEEP,
        timeout_seconds=(
            timeout.duration_seconds(minimum=1, maximum=_TIMEOUT_SECONDS_MAX, stand_in=7_200)
            if timeout is not None
            else None
        ),
        env=env,
        secrets=secrets,
    )


def _publish(field: fields.Field) -> str:
    text = field.text("a path", example="out/scores")
    if text.startswith("/"):
        if "\x00" in text or len(text) > _PUBLISH_CHARACTERS_MAX:
            field.wrong(f"'{problems.show(text)}' is no path.", "For example: out/scores")
        return text
    return field.file_path(example="out/scores")


def _outputs(field: fields.Field) -> tuple[job_spec.Output, ...]:
    found = []
    if isinstance(field.node, yaml_tree.Mapping):
        for key, value in field.entries("a mapping of files to checks", example="{scores.csv: {columns: [id]}}"):
            pattern = _pattern(key)
            output = job_spec.Output(pattern=pattern)
            if not value.is_null:
                output = job_spec.Output(pattern=pattern, checks=_checks(value))
                if pattern and not output.is_table:
                    value.wrong(
                        f"The rows of '{problems.show(pattern)}' cannot be looked at.",
                        f"Remove its checks; tables end with {' or '.join(job_spec.TABLES)}.",
                    )
            found.append(output)
        if not field.node.entries:
            field.wrong("There is no output.", "For example: {scores.csv: {columns: [id]}}")
    elif field.scalar is not None:
        found.append(job_spec.Output(pattern=_pattern(field)))
    else:
        items = field.items("a file, a list of files, or files with checks", example="[scores.csv, parts/*.parquet]")
        found += [job_spec.Output(pattern=_pattern(item)) for item in items]
    patterns = [each.pattern for each in found]
    for pattern in {each for each in patterns if patterns.count(each) > 1}:
        field.wrong(f"'{problems.show(pattern)}' stands here twice.", "Keep one of them.")
    if len(found) > _OUTPUTS_MAX:
        field.wrong(f"There are {len(found)} outputs, more than {_OUTPUTS_MAX}.", "Use a pattern, such as *.parquet.")
    return tuple(found)


def _pattern(field: fields.Field) -> str:
    text = field.scalar or ""
    if not text or text.startswith(("/", "~")) or "\\" in text or not text.isprintable() or ".." in text.split("/"):
        field.wrong(
            f"'{problems.show(text)}' is no file of the folder that SOFTLAUNCH_OUTPUT names.",
            "Write a path below that folder, or a pattern, such as parts/*.parquet.",
        )
    return text


def _checks(field: fields.Field) -> job_spec.Checks:
    section = fields.Section(field, keys.JOB_OUTPUT)
    rows, columns, missing = section.get("rows_min"), section.get("columns"), section.get("missing_percent_max")
    ranges = section.get("ranges")
    rows_change, mean_change = section.get("rows_change_percent_max"), section.get("mean_change_percent_max")
    return job_spec.Checks(
        rows_min=rows.integer(minimum=1, maximum=_ROWS_MAX, stand_in=1) if rows is not None else 1,
        columns=columns.texts("column", example="[id, score]", count_max=_COLUMNS_MAX) if columns is not None else (),
        missing_percent_max=(
            missing.number(above=0, at_most=100, stand_in=1, or_zero=True) if missing is not None else None
        ),
        ranges=_ranges(ranges) if ranges is not None else (),
        rows_change_percent_max=(
            rows_change.number(above=0, at_most=_PERCENT_MAX, stand_in=20) if rows_change is not None else None
        ),
        mean_change_percent_max=(
            mean_change.number(above=0, at_most=_PERCENT_MAX, stand_in=50) if mean_change is not None else None
        ),
    )


def _ranges(field: fields.Field) -> tuple[tuple[str, float, float], ...]:
    found = []
    for key, value in field.entries("a mapping of columns to bounds", example="{score: [0, 1]}"):
        bounds = [
            item.number(above=-_BOUND_MAX, at_most=_BOUND_MAX, stand_in=0, or_zero=True)
            for item in value.items("two bounds", example="[0, 1]")
        ]
        if len(bounds) != 2:
            if bounds:
                value.wrong(f"Expected two bounds, found {len(bounds)}.", "For example: [0, 1]")
            continue
        if bounds[0] > bounds[1]:
            value.wrong(f"{bounds[0]:g} is above {bounds[1]:g}: no value lies within.", "Exchange them.")
        found.append((key.scalar or "", bounds[0], bounds[1]))
    return tuple(found)
