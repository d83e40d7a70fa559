"""
What a service asked for, parsed and checked: the frozen form of softlaunch.yaml.

softlaunch.config builds these; everything else reads them. They refuse to exist in a wrong state only where a mistake
could not have been reported with its line by the parser.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

WEIGHT_FULL = 10_000
"""Shares of traffic are counted in 1/10000, Envoy's total weight here: 0.01 % is the smallest share."""


class ModelSource(enum.StrEnum):
    """Where the model's bytes come from."""

    PATH = "path"
    """A committed file (.joblib, .pkl, .onnx)."""
    URL = "url"
    """Fetched, and pinned by sha256 in a committed softlaunch.lock."""
    TRAIN = "train"
    """Produced at `path` by a command in the checkout, cached by the digests of its inputs."""
    PYTHON = "python"
    """`module.py:Class`, a class of the checkout with predict(rows) or predict_batch(columns)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpec:
    source: ModelSource
    path: str | None = None
    """File inside the checkout; set for PATH, URL (where it is put) and TRAIN; for PYTHON an optional model file."""
    url: str | None = None
    train_command: str | None = None
    python_target: str | None = None
    compile: bool = True
    """Compile scikit-learn to ONNX when it agrees with the original."""
    inputs: Mapping[str, str] | None = None
    """Explicit signature: feature to OIP datatype (FP64, FP32, INT64, BOOL, BYTES); None: taken from the reference."""
    features: tuple[str, ...] | None = None
    """Which reference columns are inputs, in the model's order; None: all but the label."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class QualityGate:
    """One comparison such as roc_auc >= 0.68."""

    metric: str
    operator: str
    """One of ">=", ">", "<=", "<"."""
    threshold: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class QualitySpec:
    data: str
    label: str
    gates: tuple[QualityGate, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TestsSpec:
    command: str | None = None
    coverage_percent_min: float | None = None
    quality: QualitySpec | None = None
    latency_ms_p99_max: float | None = None


class GuardrailName(enum.StrEnum):
    ERRORS = "errors"
    CLIENT_ERRORS = "client_errors"
    LATENCY = "latency"
    INVALID = "invalid"


class StrategyKind(enum.StrEnum):
    CANARY = "canary"
    BLUE_GREEN = "blue_green"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StrategySpec:
    """
    How a release enters an environment. Canary and blue-green differ only in these values.

    `weights` rise strictly and end at WEIGHT_FULL.
    """

    kind: StrategyKind
    weights: tuple[int, ...]
    key_header: str | None = None
    """Request header that makes the arm sticky per user; None: a cookie the gateway sets."""
    guardrails: tuple[GuardrailName, ...] = tuple(GuardrailName)
    step_attempts_min: int = 50
    """Candidate first attempts before the next step; a guess: enough to see a release that is simply broken."""
    acceptable_percent: float = 1.0
    """A bad-event rate below this is good enough to promote without comparison."""
    margin_ratio: float = 2.0
    """A release at least this many times worse must not be promoted (probability <= beta)."""
    alpha: float = 0.01
    beta: float = 0.01
    holdback_percent: float = 5.0
    watch_seconds: float = 86_400.0
    latency_slo_ms: float | None = None
    deadline_seconds: float = 3_600.0
    """After this long in one step without a decision the rollout holds and says so; it never passes by waiting."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifySpec:
    """Smoke requests made from the reference rows, sent straight to the candidate before it gets any traffic."""

    request_count: int = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnvironmentSpec:
    name: str
    branch: str | None = None
    after: str | None = None
    strategy: StrategySpec
    replica_count: int = 2
    verify: VerifySpec | None = None
    """Set: the environment has no traffic of its own and passes by these requests."""
    fallback_body: bytes | None = None
    """JSON bytes answered on prediction paths when every arm failed; None: no fallback."""
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    request_timeout_seconds: float = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServiceSpec:
    service: str
    model: ModelSpec
    reference: str | None = None
    tests: TestsSpec | None = None
    environments: tuple[EnvironmentSpec, ...]
    gaps: tuple[str, ...] = ()
    """What is missing and what that costs, one sentence each; never an error."""

    def environment(self, name: str) -> EnvironmentSpec | None:
        """The environment of that name, None when the service has none."""
        return next((found for found in self.environments if found.name == name), None)
