"""
What a training run leaves: parameters, metrics, resources and produced files; and how they are read from what it says.

Lines of output are read conservatively: a number counts as a metric when its name has a word that metrics have, such as
`loss`. A port or a duration is none. What is not found that way can be written to the file SOFTLAUNCH_METRICS names.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from softlaunch.core import tree_digest

_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf)"
_NAMED = re.compile(
    rf"(?<![\w./'-])([A-Za-z][\w./'@-]{{0,63}}(?: [a-z]\w{{0,20}})?)\s?[=:]\s?({_NUMBER})%?(?=[\s,;|)\]]|$)"
)
_STEP = re.compile(
    r"\b(?:epoch|step|iter|iteration|round|batch)\b\s?[=:#]?\s?\[?(\d{1,12})\b|^\[(\d{1,12})\]", re.IGNORECASE
)
_WORDS = frozenset(
    {
        *("acc", "accuracy", "auc", "auroc", "bleu", "cer", "error", "f1", "gini", "iou", "kappa", "logloss", "loss"),
        *("mae", "map", "mape", "merror", "mlogloss", "mse", "ndcg", "nll", "perplexity", "ppl", "precision", "r2"),
        *("recall", "rmse", "rmsle", "roc", "rouge", "score", "smape", "wer"),
    }
)
_SECRET = re.compile(
    r"pass(word|wd|phrase)?$|secret|token$|credential|api_?key|access_?key|private_?key|^auth$", re.IGNORECASE
)
_URL_USER = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_OPTION = re.compile(r"--([A-Za-z][\w.-]*)(?:=(.*))?", re.DOTALL)
MARK = "[secret]"


class Outcome(enum.StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    GATES_FAILED = "gates_failed"
    """Of a job: the command worked, its output is not good enough."""
    INTERRUPTED = "interrupted"
    """Whoever recorded it is gone; how it ended is unknown."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProducedFile:
    """A file the run created or changed."""

    path: str
    """Below the run's working directory; of a job below its output directory."""
    sha256: str
    bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """One value of one metric."""

    name: str
    value: float
    step: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricSummary:
    """All values of one metric. Values that are no numbers are counted, and are neither the least nor the greatest."""

    name: str
    last: float
    count: int = 1
    least: float | None = None
    greatest: float | None = None
    step: int | None = None
    """Of the last value."""

    def document(self) -> dict[str, Any]:
        """As JSON; NaN and infinities are texts there."""
        found = dataclasses.asdict(self)
        return {name: number(value) if isinstance(value, float) else value for name, value in found.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gate:
    """One check of a job's output."""

    name: str
    passed: bool
    detail: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Code:
    """What ran, as far as it can be known."""

    commit: str = ""
    """Empty: no git repository, or no commit in it."""
    dirty: tuple[str, ...] = ()
    python: str = ""
    """Of the command, where it is a Python; else empty."""
    locks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """sha256 of requirements.lock and softlaunch.lock, as far as they are there."""
    seeds: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Variables of the environment with SEED in their name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resources:
    """What the run took. None: not measured, which is not nothing."""

    cpu_seconds: float | None = None
    ram_bytes_max: int | None = None
    received_bytes: int | None = None
    """By all of the machine, while the run lasted: Linux counts no bytes for one process."""
    sent_bytes: int | None = None
    gpu: str | None = None
    """Names of the machine's GPUs; None: there is none that nvidia-smi sees."""
    gpu_percent_max: float | None = None
    gpu_memory_bytes_max: int | None = None
    sample_count: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """One run, under way or finished; a finished record never changes again."""

    run: str
    command: tuple[str, ...]
    """Without secrets."""
    directory: str
    started_at: float
    outcome: Outcome = Outcome.RUNNING
    name: str = ""
    source: str = "softlaunch"
    """Who recorded it: softlaunch, or mlflow with the tracking server's or store's name."""
    finished_at: float | None = None
    exit_code: int | None = None
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    metrics: tuple[MetricSummary, ...] = ()
    files: tuple[ProducedFile, ...] = ()
    notes: tuple[str, ...] = ()
    """What is not complete, and why."""
    code: Code = dataclasses.field(default_factory=Code)
    resources: Resources = dataclasses.field(default_factory=Resources)
    logs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """sha256 of metrics.jsonl, resources.jsonl and output.log."""
    job: str = ""
    gates: tuple[Gate, ...] = ()

    def document(self) -> dict[str, Any]:
        """As JSON."""
        found = dataclasses.asdict(self)
        found["metrics"] = [each.document() for each in self.metrics]
        return found

    def dump(self) -> bytes:
        """Canonical JSON: the same bytes for the same record."""
        return json.dumps(self.document(), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode()

    def produced(self, sha256: str) -> str | None:
        """The file it produced that has this sha256, or the folder that has this digest; None: neither."""
        found = next((file.path for file in self.files if file.sha256 == sha256), None)
        if found is not None:
            return found
        below = tree_digest.folders({file.path: file.sha256 for file in self.files})
        return next((f"{folder}/" for folder, digest in below.items() if digest == sha256), None)

    @property
    def digest(self) -> str:
        """The sha256 of run.json."""
        return hashlib.sha256(self.dump()).hexdigest()


def load(raw: bytes) -> TrainingRecord:
    """
    The record in these bytes.

    Raises:
        ValueError: they hold none.
    """
    try:
        found = json.loads(raw)
        return TrainingRecord(
            **{
                **found,
                "outcome": Outcome(found["outcome"]),
                "command": tuple(found["command"]),
                "metrics": tuple(MetricSummary(**_floats(each)) for each in found["metrics"]),
                "files": tuple(ProducedFile(**each) for each in found["files"]),
                "notes": tuple(found["notes"]),
                "code": Code(**{**found["code"], "dirty": tuple(found["code"]["dirty"])}),
                "resources": Resources(**found["resources"]),
                "gates": tuple(Gate(**each) for each in found["gates"]),
            }
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no record of a training run: {error}") from error


def number(value: float) -> float | str:
    """A value as JSON has it: NaN and infinities as texts."""
    return value if math.isfinite(value) else str(value)


def _floats(summary: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(summary)
    for name in ("last", "least", "greatest"):
        if found[name] is not None:
            found[name] = float(found[name])
    return found


def metrics_of_line(line: str) -> tuple[Metric, ...]:
    """Metrics in a line of output, such as `epoch 3 loss=0.2 accuracy: 0.91`."""
    step = next((int(first or second) for first, second in _STEP.findall(line)), None)
    found = []
    for name, value in _NAMED.findall(line):
        if any(word in _WORDS for word in re.split(r"[\W_]+", name.lower())) or name.lower() in _WORDS:
            found.append(Metric(name=name, value=float(value), step=step))
    return tuple(found)


def metrics_of_entry(line: str) -> tuple[Metric, ...]:
    """
    Metrics in a line of the file a program writes, such as {"step": 3, "loss": 0.2}.

    Raises:
        ValueError: it is no such line.
    """
    entry = json.loads(line)
    if not isinstance(entry, dict):
        raise ValueError("no object")  # noqa: TRY004 - one kind of error for whoever reads lines
    step = entry.pop("step", None)
    if step is not None and (isinstance(step, bool) or not isinstance(step, int)):
        raise ValueError("`step` is no integer")
    wrong = [name for name, value in entry.items() if isinstance(value, bool) or not isinstance(value, int | float)]
    if wrong:
        raise ValueError(f"{wrong[0]!r:.60} is no number")
    return tuple(Metric(name=name, value=float(value), step=step) for name, value in entry.items())


def summarised(summaries: Mapping[str, MetricSummary], metric: Metric) -> MetricSummary:
    """The summary of a metric with one more value."""
    before = summaries.get(metric.name)
    known = (before.least, before.greatest) if before is not None else ()
    values = [value for value in (metric.value, *known) if value is not None and math.isfinite(value)]
    return MetricSummary(
        name=metric.name,
        last=metric.value,
        count=1 + (before.count if before is not None else 0),
        least=min(values, default=None),
        greatest=max(values, default=None),
        step=metric.step,
    )


def parameters_of(command: Sequence[str]) -> dict[str, str]:
    """The command's own `--key value`, `--key=value` and `--flag` arguments."""
    found: dict[str, str] = {}
    for index, word in enumerate(command[1:], start=1):
        option = _OPTION.fullmatch(word)
        if option is None:
            continue
        key, value = option.group(1), option.group(2)
        if value is None:
            after = command[index + 1] if index + 1 < len(command) else "--"
            value = after if not re.match(r"-(?!\.?\d)", after) else "true"
        found[key] = value
    return found


def is_secret(name: str) -> bool:
    """A parameter or variable of that name holds what nobody else may know."""
    return _SECRET.search(name.replace("-", "_")) is not None


def without_secrets(command: Iterable[str]) -> tuple[str, ...]:
    """A command line that can be kept: values of `--token` and its like, and users of URLs, are not."""
    found: list[str] = []
    hide = False
    for word in command:
        name, sign, _ = word.partition("=")
        if hide and not word.startswith("--"):
            found.append(MARK)
            hide = False
            continue
        hide = False
        if is_secret(name.lstrip("-")) and (sign or word.startswith("--")):
            found.append(f"{name}={MARK}" if sign else word)
            hide = not sign
        else:
            found.append(_URL_USER.sub(MARK, word))
    return tuple(found)


def secrets_of(command: Sequence[str], parameters: Mapping[str, str], variables: Mapping[str, str]) -> tuple[str, ...]:
    """Values that output may repeat and records may not."""
    named = [*parameters.items(), *parameters_of(command).items(), *variables.items()]
    named += [(name, value) for name, _, value in (word.partition("=") for word in command)]
    return tuple(value for name, value in named if value and is_secret(name.lstrip("-")))


def parameters_kept(parameters: Mapping[str, str]) -> dict[str, str]:
    """Parameters that can be kept."""
    return {name: MARK if is_secret(name) else _URL_USER.sub(MARK, value) for name, value in sorted(parameters.items())}
