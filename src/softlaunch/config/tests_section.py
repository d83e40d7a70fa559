"""The key `tests:` of softlaunch.yaml: what a release must pass while it is built."""

from __future__ import annotations

import re

from softlaunch.config import fields, keys, problems, yaml_tree
from softlaunch.core import spec

HIGHER_IS_BETTER = ("roc_auc", "accuracy", "f1", "precision", "recall", "r2")
LOWER_IS_BETTER = ("brier", "log_loss", "mae", "rmse")
METRICS = (*HIGHER_IS_BETTER, *LOWER_IS_BETTER)
_SHARES = frozenset({"roc_auc", "accuracy", "f1", "precision", "recall", "brier"})
"""Metrics between 0 and 1; r2 may be negative, the others are unbounded above."""

_COMPARISON = re.compile(r"(>=|<=|>|<)\s*([-+]?\d{1,12}(?:\.\d{1,12})?)", re.ASCII)
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@+-]{0,511}", re.ASCII)
"""Nothing that podman or docker would read as an option."""
_TIMEOUT_SECONDS = 1_800.0
_CPUS_MAX = 1024
_LATENCY_MS_MAX = 600_000.0
"""Ten minutes for one row: above that it is surely not meant in milliseconds."""


def read(field: fields.Field) -> spec.TestsSpec:
    """The gates of a build."""
    section = fields.Section(field, keys.TESTS)
    command, timeout = section.get("command"), section.get("timeout")
    coverage = section.get("coverage_percent_min")
    quality = section.get("quality")
    latency, container = section.get("latency_ms_p99_max"), section.get("container")
    if container is not None and not section.has("command"):
        container.wrong("There is no `command` that could run in it.", "Add command: pytest -q")
    memory, cpus = section.get("memory"), section.get("cpus")
    if not section.has("container"):
        section.only_with("container", "memory", "cpus")
    if coverage is not None and not section.has("command"):
        coverage.wrong("There is no `command` whose coverage could be measured.", "Add command: pytest -q")
    found_quality, latency_inside = _quality(quality) if quality is not None else (None, None)
    if latency is not None and latency_inside is not None:
        latency_inside.wrong("`latency_ms_p99_max` stands here and under `tests`.", "Keep one of them.")
    latency = latency if latency is not None else latency_inside
    return spec.TestsSpec(
        command=command.text("a command", example="pytest -q") if command is not None else None,
        timeout_seconds=(
            timeout.duration_seconds(minimum=1, maximum=86_400, stand_in=_TIMEOUT_SECONDS)
            if timeout is not None
            else _TIMEOUT_SECONDS
        ),
        container=_image(container) if container is not None else None,
        memory_bytes_max=(
            memory.byte_count(minimum=1 << 24, maximum=1 << 40, stand_in=1 << 31) if memory is not None else None
        ),
        cpus=cpus.number(above=0, at_most=_CPUS_MAX, stand_in=2) if cpus is not None else None,
        coverage_percent_min=(
            coverage.number(above=0, at_most=100, stand_in=80, or_zero=True) if coverage is not None else None
        ),
        quality=found_quality,
        latency_ms_p99_max=(
            latency.number(above=0, at_most=_LATENCY_MS_MAX, stand_in=20) if latency is not None else None
        ),
    )


def _image(field: fields.Field) -> str:
    text = field.text("an image", example="debian:12")
    if text and not _IMAGE.fullmatch(text):
        field.wrong(f"'{problems.show(text)}' is not the name of an image.", "For example: debian:12")
    return text


def _quality(field: fields.Field) -> tuple[spec.QualitySpec, fields.Field | None]:
    section = fields.Section(field, keys.QUALITY)
    data, label, metrics = section.need("data"), section.need("label"), section.need("metrics")
    found = spec.QualitySpec(
        data=data.data_place(suffixes=(".parquet", ".csv"), example="data/holdout.parquet") if data is not None else "",
        label=label.text("a column name", example="late") if label is not None else "",
        gates=_gates(metrics) if metrics is not None else (),
    )
    return found, section.get("latency_ms_p99_max")


def _gates(field: fields.Field) -> tuple[spec.QualityGate, ...]:
    found = []
    for key, value in field.entries("a mapping of metrics to comparisons", example="{roc_auc: '>= 0.68'}"):
        metric = key.scalar or ""
        if metric not in METRICS:
            key.wrong(f"'{problems.show(metric)}' is not a metric.", problems.choose(metric, METRICS))
            continue
        gate = _gate(metric, value)
        if gate is not None:
            found.append(gate)
    if isinstance(field.node, yaml_tree.Mapping) and not field.node.entries:
        field.wrong("There is no metric.", "For example: {roc_auc: '>= 0.68'}")
    return tuple(found)


def _gate(metric: str, value: fields.Field) -> spec.QualityGate | None:
    wanted = ">=" if metric in HIGHER_IS_BETTER else "<="
    example = f"{metric}: '{wanted} 0.68'"
    text = value.scalar
    match = _COMPARISON.fullmatch(text.strip()) if text is not None else None
    if match is None:
        value.expected("a comparison", example=example)
        return None
    operator, threshold = match[1], float(match[2])
    if operator[0] != wanted[0]:
        better = "higher" if wanted == ">=" else "lower"
        value.wrong(
            f"'{problems.show(text or '')}' bounds {metric} from the wrong side.",
            f"It is better when {better}: {example}",
        )
    if metric in _SHARES and not 0 <= threshold <= 1:
        value.wrong(f"{match[2]} is outside 0 to 1, where {metric} lies.", f"For example: {example}")
    if metric == "r2" and threshold > 1:
        value.wrong(f"{match[2]} is above 1, where r2 ends.", f"For example: {example}")
    return spec.QualityGate(metric=metric, operator=operator, threshold=threshold)
