"""
What a service asked for, parsed and checked: the frozen form of softlaunch.yaml.

softlaunch.config builds these; everything else reads them. They refuse to exist in a wrong state only where a mistake
could not have been reported with its line by the parser.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

from softlaunch.core import (
    answer_checks,
    evidence_policy,
    identities,
    job_spec,
    lookups,
    secret_references,
    verify_specs,
)

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
    MLFLOW = "mlflow"
    """A model of an MLflow registry (models:/NAME@ALIAS), pinned to version and digest in softlaunch.lock."""
    APP = "app"
    """`module:attribute`, an ASGI app of the checkout, run as it is."""
    COMMAND = "command"
    """A program that serves HTTP on $PORT."""
    NONE = "none"
    """Every environment attaches what runs already, or there are only jobs: there is nothing to build."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpec:
    source: ModelSource
    path: str | None = None
    """File inside the checkout; set for PATH, URL (where it is put) and TRAIN; for PYTHON an optional model file."""
    url: str | None = None
    train_command: str | None = None
    python_target: str | None = None
    compile: bool = True
    """Compile to ONNX when that agrees with the original."""
    allow_globals: tuple[str, ...] = ()
    """module.name or module.* that the model's pickles may import although it is dangerous."""
    inputs: Mapping[str, str] | None = None
    """Explicit signature: feature to OIP datatype (FP64, FP32, INT64, BOOL, BYTES); None: taken from the reference."""
    features: tuple[str, ...] | None = None
    """Which reference columns are inputs, in the model's order; None: all but the label."""
    mlflow_uri: str | None = None
    """models:/NAME@ALIAS or models:/NAME/VERSION."""
    app_target: str | None = None
    """module:attribute."""
    command: tuple[str, ...] = ()
    """Program and arguments; {port} in them is replaced, and $PORT is set."""
    ready_path: str = ""
    """APP and COMMAND: path that answers 2xx when it is ready."""
    answers: tuple[answer_checks.AnswerCheck, ...] = ()
    """APP and COMMAND: what every answer on prediction paths has to hold."""


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
    timeout_seconds: float = 1_800.0
    """Of the command; then its whole process group is killed."""
    container: str | None = None
    """Image in which the command runs; None: on the machine that builds."""
    memory_bytes_max: int | None = None
    """Of the container; None: as much as there is."""
    cpus: float | None = None
    """So many CPUs' time the container gets at most; None: all of them."""
    coverage_percent_min: float | None = None
    quality: QualitySpec | None = None
    latency_ms_p99_max: float | None = None


class GuardrailName(enum.StrEnum):
    """Streams of bad events the judge knows by itself; CheckSpec adds a team's own."""

    ERRORS = "errors"
    CLIENT_ERRORS = "client_errors"
    LATENCY = "latency"
    INVALID = "invalid"
    OUTPUTS = "outputs"
    """The distribution of the answers: which bin of stable's own history an answer falls into."""
    DISAGREEMENT = "disagreement"
    """Answers to the same request that differ from stable's; needs a shadow step or a replay."""
    SHED = "shed"
    """Answers refused for overload."""
    CPU = "cpu"
    """CPU time per attempt, as the model server reports it."""
    MEMORY = "memory"
    """Growth of a process's memory per 1,000 requests, compared at equal request counts, and out-of-memory kills."""
    FEATURES = "features"
    """Answers for which a looked-up feature was missing, late or stale, and its default was used."""


GUARDRAILS_DEFAULT = (
    GuardrailName.ERRORS,
    GuardrailName.CLIENT_ERRORS,
    GuardrailName.LATENCY,
    GuardrailName.INVALID,
)
"""Enforcing when nothing is said: what no release may do. The others may change on purpose, and observe."""


class CheckKind(enum.StrEnum):
    """Where a team's own guardrail gets its answer from."""

    PROMQL = "promql"
    """A query of a Prometheus server; its value is compared with `at_least` and `at_most`."""
    HTTP = "http"
    """A URL that must answer 2xx; the number at `json_path`, when given, is compared as well."""
    EXPRESSION = "expression"
    """A Python expression over the fields of an attempt: true makes it a bad event of the judge."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckSpec:
    """A team's own guardrail."""

    name: str
    kind: CheckKind
    target: str
    """The query, URL or expression; in the first two {service}, {environment}, {candidate} and {stable} are put in."""
    server: str = ""
    """PROMQL: URL of the Prometheus server."""
    json_path: str = ""
    """HTTP: dotted path to a number of the answer; empty: the status alone decides."""
    at_least: float | None = None
    at_most: float | None = None
    every_seconds: float = 30.0
    failure_count: int = 3
    """So many broken answers in a row break the guardrail. No answer is no failure, and no pass either."""
    enforcing: bool = True


class StrategyKind(enum.StrEnum):
    CANARY = "canary"
    BLUE_GREEN = "blue_green"
    RECREATE = "recreate"
    """The old release ends before the new one starts: downtime, but never two at once."""
    SHADOW = "shadow"


class StepKind(enum.StrEnum):
    SHARE = "share"
    """The candidate answers `weight` of all users."""
    COHORT = "cohort"
    """The candidate answers `weight` of a named cohort; the rest of that cohort is its control."""
    SHADOW = "shadow"
    """`weight` of the prediction requests are sent to the candidate as well; users never see its answers."""
    APPROVAL = "approval"
    """The routing of the step before stays until somebody approves."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepSpec:
    """One step of a launch. Steps are passed in order; a cohort stays with the candidate in later steps."""

    kind: StepKind = StepKind.SHARE
    weight: int = 0
    """In 1/10000; 0 only for APPROVAL."""
    cohort: str = ""
    duration_seconds: float = 0.0
    """The step lasts at least so long; 0: as fast as the evidence allows."""
    attempts_min: int | None = None
    """Candidate first attempts (pairs of a shadow) before the next step; None: the strategy's."""
    approvers: tuple[str, ...] = ()
    """Who may approve; empty: everybody who may use the control plane."""


def shares(*weights: int) -> tuple[StepSpec, ...]:
    """Steps that are nothing but growing shares of all users, in 1/10000."""
    return tuple(StepSpec(weight=weight) for weight in weights)


class DeadlinePolicy(enum.StrEnum):
    """What follows when a step did not gather enough evidence in time."""

    HOLD = "hold"
    ROLL_BACK = "roll_back"
    ASK = "ask"
    """Notifies, and waits for somebody to approve the next step or to abort."""


class FailurePolicy(enum.StrEnum):
    """What follows when a guardrail breaks."""

    ROLL_BACK = "roll_back"
    FREEZE = "freeze"
    """Everything stays as it is, and somebody is asked: for changes that going back would make worse."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StrategySpec:
    """
    How a release enters an environment: a list of steps. Strategies differ only in these values.

    Shares rise strictly and end at WEIGHT_FULL.
    """

    kind: StrategyKind
    steps: tuple[StepSpec, ...]
    key_header: str | None = None
    """Request header that makes the arm sticky per user; None: a cookie the gateway sets."""
    guardrails: tuple[GuardrailName, ...] = GUARDRAILS_DEFAULT
    """Those that decide; every other one is observed and reported."""
    checks: tuple[CheckSpec, ...] = ()
    step_attempts_min: int = 50
    """Candidate first attempts before the next step; a guess: enough to see a release that is simply broken."""
    acceptable_percent: float = 1.0
    """A bad-event rate below this is good enough to promote without comparison."""
    disagreement_percent_max: float = 5.0
    """More answers than this that differ from stable's to the same request break the guardrail `disagreement`."""
    agreement_tolerance: float = 0.0
    """Numbers this close, relative to the larger, agree; texts and booleans agree when equal."""
    margin_ratio: float = 2.0
    """A release at least this many times worse must not be promoted (probability <= beta)."""
    alpha: float = 0.01
    beta: float = 0.01
    holdback_percent: float = 5.0
    watch_seconds: float = 86_400.0
    warm_seconds: float = 0.0
    """So long after the launch the old release's processes stay ready: the way back takes less than a second."""
    latency_slo_ms: float | None = None
    deadline_seconds: float = 3_600.0
    """After this long in one step without a decision `on_deadline` says what follows; it never passes by waiting."""
    on_deadline: DeadlinePolicy = DeadlinePolicy.HOLD
    on_failure: FailurePolicy = FailurePolicy.ROLL_BACK

    @property
    def weights(self) -> tuple[int, ...]:
        """The shares of all users, in 1/10000."""
        return tuple(step.weight for step in self.steps if step.kind is StepKind.SHARE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CohortSpec:
    """Requests that meet a release before everybody else, known by a header."""

    name: str
    header: str
    values: tuple[str, ...] = ()
    """Exact values; empty: `pattern` decides."""
    pattern: str = ""
    """RE2 expression the whole value must match; empty and without `values`: the header's presence is enough."""


class FallbackKind(enum.StrEnum):
    TABLE = "table"
    """A lookup table (CSV): some features name a row, its other columns are the answer."""
    PYTHON = "python"
    """A function of the request: FILE.py:FUNCTION, called with one row (feature: value), gives outputs."""
    PREVIOUS = "previous"
    """The release that was stable before."""
    URL = "url"
    """Another service at the same path; scheme, host and port only."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FallbackSpec:
    """What answers prediction requests when every release failed; runs outside of any release."""

    kind: FallbackKind
    target: str = ""
    """TABLE: file name; PYTHON: FILE.py:FUNCTION; URL: the URL."""
    keys: tuple[str, ...] = ()
    """TABLE: the columns that name a row."""
    content: str = ""
    """TABLE and PYTHON: text of the file, taken from the commit when it is deployed."""


class Redaction(enum.StrEnum):
    """What is recorded instead of a field's value."""

    DROP = "drop"
    """null."""
    HASH = "hash"
    """A keyed digest: equal values stay equal, and cannot be read back without the home's key."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptureSpec:
    """What of the predictions is written to the spool, for shadows, replays and questions."""

    percent: float = 100.0
    disk_bytes_max: int = 1 << 30
    """Per service and environment; the oldest segments go first."""
    keys: tuple[str, ...] = ()
    """Business keys that requests carry beside the features: recorded with every row, never shown to the model."""
    redact: Mapping[str, Redaction] = dataclasses.field(default_factory=dict)
    """Fields of requests (features, keys) that are not recorded as they came."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplaySpec:
    """A replay of recorded requests against the newest build, again and again."""

    every_seconds: float = 86_400.0
    since_seconds: float = 86_400.0
    rate: float = 5.0
    """Times the speed at which the requests came."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttachSpec:
    """What runs already, started and stopped by somebody else. URLs are scheme, host and port."""

    stable: str
    candidate: str | None = None
    ready: str = ""
    """Path that answers 2xx when it is ready; empty: an open port is enough."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnvironmentSpec:
    name: str
    branch: str | None = None
    after: str | None = None
    strategy: StrategySpec
    replica_count: int = 2
    verify: verify_specs.VerifySpec | None = None
    """Set: the environment has no traffic of its own and passes by this."""
    fallback_body: bytes | None = None
    """JSON bytes answered on prediction paths when everything else failed; None: no such fallback."""
    fallbacks: tuple[FallbackSpec, ...] = ()
    """Asked in this order when every arm failed, before `fallback_body`."""
    cohorts: tuple[CohortSpec, ...] = ()
    predict_paths: tuple[str, ...] = ()
    """Paths that may be repeated, besides those of `standard_paths`; a final * stands for any rest."""
    standard_paths: bool = True
    """/predict and the Open Inference Protocol's are prediction paths; False for apps and commands, whose are known."""
    compared_paths: tuple[str, ...] = ()
    """Places of answers that are compared by shadows and replays; empty: all of the answer."""
    capture: CaptureSpec | None = dataclasses.field(default_factory=CaptureSpec)
    """None: nothing is recorded."""
    replay: ReplaySpec | None = None
    attach: AttachSpec | None = None
    """Set: this environment launches between running URLs."""
    notify: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Where changes of state are told: a name to a URL as apprise reads it, or $NAME of a variable that holds one."""
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    secrets: Mapping[str, secret_references.SecretReference] = dataclasses.field(default_factory=dict)
    """Variables whose values are kept elsewhere, and where."""
    evidence: evidence_policy.EvidenceSpec = dataclasses.field(default_factory=evidence_policy.EvidenceSpec)
    request_timeout_seconds: float = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServiceSpec:
    service: str
    model: ModelSpec
    reference: str | None = None
    tests: TestsSpec | None = None
    environments: tuple[EnvironmentSpec, ...]
    lookups: tuple[lookups.LookupSpec, ...] = ()
    """`features:`, looked up when a request comes."""
    registry: str | None = None
    """HOST/NAME where `ship` sends releases and their evidence before it launches them."""
    keyless: identities.Keyless | None = None
    """How builds are signed by an identity; None: by the key of the home, where there is one."""
    jobs: tuple[job_spec.JobSpec, ...] = ()
    """Batches that are run by `softlaunch job run NAME`; no part of a release."""
    gaps: tuple[str, ...] = ()
    """What is missing and what that costs, one sentence each; never an error."""

    def environment(self, name: str) -> EnvironmentSpec | None:
        """The environment of that name, None when the service has none."""
        return next((found for found in self.environments if found.name == name), None)
