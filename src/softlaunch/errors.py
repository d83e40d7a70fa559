"""
The one error tree.

Whose fault comes first: ConfigError (the caller), ConflictError (a race with somebody else), UnavailableError (a
neighbour: disk, process, network), InvariantError (us). Every error says what happened with the offending value, then
what to do about it. HTTP status codes live in the API layer, exit codes in the CLI.
"""

from __future__ import annotations

import enum


class Code(enum.StrEnum):
    """Stable names of errors, documented in docs/reference/errors.md; a test compares the two."""

    INTERNAL = "internal"
    NOT_PASSED = "not-passed"
    NO_PREVIOUS = "no-previous"
    NO_ROLLOUT = "no-rollout"
    NOT_NOW = "not-now"
    NOT_LIVE = "not-live"
    ROLLOUT_RUNS = "rollout-runs"
    NO_RELEASE = "no-release"
    UNAUTHORIZED = "unauthorized"
    BAD_REQUEST = "bad-request"
    NOT_RUNNING = "not-running"
    NOT_STOPPED = "not-stopped"
    BAD_ANSWER = "bad-answer"
    BAD_OPTION = "bad-option"
    WHICH_PLACE = "which-place"
    ALREADY_UP = "already-up"
    ENV_CHANGED = "env-changed"
    PORT_TAKEN = "port-taken"
    RELEASE_UNREADABLE = "release-unreadable"
    GATEWAY_UNREACHABLE = "gateway-unreachable"
    GATEWAY_UNWRITABLE = "gateway-unwritable"
    GATEWAY_REFUSED = "gateway-refused"
    GATEWAY_PORT_TAKEN = "gateway-port-taken"
    GATEWAY_ADDRESS = "gateway-address"
    HOME_LOCKED = "home-locked"
    RUN_DIR_UNUSABLE = "run-dir-unusable"
    REPLICA_UNRECORDABLE = "replica-unrecordable"
    REPLICA_UNSTOPPABLE = "replica-unstoppable"
    CLASSES_UNSUPPORTED = "classes-unsupported"
    MODEL_UNLOADABLE = "model-unloadable"
    MODEL_MISMATCH = "model-mismatch"
    SOCKET_UNUSABLE = "socket-unusable"
    REQUEST_MALFORMED = "request-malformed"
    ROW_INVALID = "row-invalid"
    UNIT = "unit"
    SERVICE_FILE = "service-file"
    SERVICE_FILE_EXISTS = "service-file-exists"
    ENV_REFERENCE = "env-reference"
    SPEC_UNREADABLE = "spec-unreadable"
    SETTING = "setting"
    HOME_UNUSABLE = "home-unusable"
    STATE_UNREADABLE = "state-unreadable"
    STATE_DAMAGED = "state-damaged"
    STATE_NEWER = "state-newer"
    STATE_FOREIGN = "state-foreign"
    STATE_UNWRITABLE = "state-unwritable"
    LOAD_UNUSABLE = "load-unusable"
    NO_REPOSITORY = "no-repository"
    UNKNOWN_REF = "unknown-ref"
    COMMIT_ABSENT = "commit-absent"
    CHECKOUT_UNUSABLE = "checkout-unusable"
    GIT_FAILED = "git-failed"
    LOCK_UNSUPPORTED = "lock-unsupported"
    ENVIRONMENT_FAILED = "environment-failed"
    TESTS_FAILED = "tests-failed"
    TESTS_TIMEOUT = "tests-timeout"
    COVERAGE_LOW = "coverage-low"
    COVERAGE_UNMEASURED = "coverage-unmeasured"
    MODEL_MISSING = "model-missing"
    MODEL_UNREADABLE = "model-unreadable"
    MODEL_UNPINNED = "model-unpinned"
    MODEL_CHANGED = "model-changed"
    DOWNLOAD_FAILED = "download-failed"
    TRAIN_FAILED = "train-failed"
    PIN_FILE = "pin-file"
    SIGNATURE_UNKNOWN = "signature-unknown"
    TABLE_UNREADABLE = "table-unreadable"
    TABLE_COLUMNS = "table-columns"
    QUALITY_UNMET = "quality-unmet"
    QUALITY_UNDEFINED = "quality-undefined"
    LATENCY_UNMET = "latency-unmet"
    DISK_FULL = "disk-full"
    REGISTRY_DAMAGED = "registry-damaged"
    DRILL_FAULT = "drill-fault"
    FALLBACK_UNUSABLE = "fallback-unusable"
    PINNED = "pinned"
    NOT_PINNED = "not-pinned"
    NOT_APPROVER = "not-approver"
    ATTACH_URL = "attach-url"
    DRILL_PRODUCTION = "drill-production"
    PRIVATE_FILE = "private-file"
    PERSON_NAME = "person-name"
    PERSON_EXISTS = "person-exists"
    NO_PERSON = "no-person"
    HOOK_KEY_EXISTS = "hook-key-exists"
    HOOK_OFF = "hook-off"
    HOOK_UNSIGNED = "hook-unsigned"
    HOOK_LATE = "hook-late"
    HOOK_REPLAYED = "hook-replayed"
    BAD_COMPLAINT = "bad-complaint"
    NO_PREDICTION = "no-prediction"
    EVIDENCE_MISSING = "evidence-missing"
    EVIDENCE_DAMAGED = "evidence-damaged"
    EVIDENCE_UNWRITABLE = "evidence-unwritable"
    PICKLE_DANGEROUS = "pickle-dangerous"
    NOTIFY_URL = "notify-url"
    NOTIFY_FAILED = "notify-failed"
    EXPRESSION = "expression"
    NO_RECORDING = "no-recording"
    REPLAY_ITSELF = "replay-itself"
    REPLAY_RUNS = "replay-runs"
    REPLAY_UNREADY = "replay-unready"
    LABELS_UNREADABLE = "labels-unreadable"
    NO_SHADOW = "no-shadow"
    DRILL_RELEASE = "drill-release"
    APP_UNUSABLE = "app-unusable"
    COMMAND_FAILED = "command-failed"
    LOOKUP_MISMATCH = "lookup-mismatch"
    LOOKUP_UNUSABLE = "lookup-unusable"
    IMAGE_FILE = "image-file"
    IMAGE_BASE = "image-base"
    IMAGE_PACKAGES = "image-packages"
    IMAGE_STORE = "image-store"
    IMAGE_TOOL = "image-tool"
    NO_IMAGE = "no-image"
    IMAGE_RELEASE = "image-release"
    IMAGE_REGISTRY = "image-registry"
    FOLLOW_URL = "follow-url"
    NO_FOLLOW = "no-follow"
    GIT_REFUSED = "git-refused"
    REVERT_CONFLICT = "revert-conflict"
    SHIP_UNREADY = "ship-unready"
    PIN_STALE = "pin-stale"
    SECRET_UNREADABLE = "secret-unreadable"  # noqa: S105  # no password, an error code
    KEY_NAME = "key-name"
    KEY_EXISTS = "key-exists"
    KEY_UNREADABLE = "key-unreadable"
    KEY_LOCKED = "key-locked"
    NO_KEY = "no-key"
    UNSIGNED = "unsigned"
    MODEL_SIGNATURE = "model-signature"
    PIPELINE_RUNS = "pipeline-runs"
    NO_PIPELINE = "no-pipeline"
    NO_HISTORY = "no-history"
    TRAINING_COMMAND = "training-command"
    TESTS_CONTAINER = "tests-container"
    NO_TRAINING_RUN = "no-training-run"
    MLFLOW_RUN = "mlflow-run"
    JOB_NAME = "job-name"
    JOB_RUNS = "job-runs"
    NO_JOB = "no-job"
    JOB_PUBLISH = "job-publish"
    NO_SIGSTORE = "no-sigstore"
    TRUSTED_ROOT = "trusted-root"
    NO_IDENTITY_TOKEN = "no-identity-token"  # noqa: S105  # no token, an error code
    SIGSTORE_SERVICE = "sigstore-service"
    LOAD_TEST_FAILED = "load-test-failed"
    STATE_OLDER = "state-older"
    REGISTRY_TAG = "registry-tag"
    REGISTRY_BUSY = "registry-busy"
    LOG_UNAVAILABLE = "log-unavailable"
    LOG_RUNS = "log-runs"
    LOG_QUERY = "log-query"
    NO_LOG = "no-log"
    NOT_IN_LOG = "not-in-log"
    LOG_IMPORT = "log-import"
    LABELS = "labels"
    STREAM_UNAVAILABLE = "stream-unavailable"
    STREAM_OPTIONS = "stream-options"
    NO_KAFKA = "no-kafka"


class SoftlaunchError(Exception):
    """
    Base of everything softlaunch raises on purpose.

    Args:
        message: What happened, with the offending value.
        remedy: What to do next, as an imperative sentence.
        code: Stable name for machines and for the documentation.
    """

    def __init__(self, message: str, *, remedy: str, code: Code) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = code

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"


class ConfigError(SoftlaunchError):
    """The caller asked for something that cannot be: a bad file, value, reference or request."""


class ConflictError(SoftlaunchError):
    """Somebody else holds what is asked for: a lock, a port, a running rollout."""


class UnavailableError(SoftlaunchError):
    """A neighbour cannot do its part now: disk, process, network, Envoy."""


class InvariantError(SoftlaunchError):
    """A rule of our own was broken: a bug in softlaunch."""

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            remedy="This is a bug in softlaunch: please report it with this message.",
            code=Code.INTERNAL,
        )
