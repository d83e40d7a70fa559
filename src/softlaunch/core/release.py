"""
Releases: immutable, named by the digest of their content.

The digest covers model, code, lock, signature, reference profile and the deterministic gate results. Commit, branch,
author, times and test reports are attached as referrers, so that a merge commit with unchanged content *is* the tested
release.
"""

from __future__ import annotations

import dataclasses
import enum
import re

from softlaunch import errors
from softlaunch.core import answer_checks, lookups

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, order=True)
class Digest:
    """An OCI content digest, always sha256."""

    value: str

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.value):
            raise errors.InvariantError(f"Not a sha256 digest: {self.value!r}.")

    def __str__(self) -> str:
        return self.value

    @property
    def short(self) -> str:
        """The first twelve hex digits: how people, sockets and logs name a release."""
        return self.value[7:19]


class Runtime(enum.StrEnum):
    """How the model server executes a release."""

    ONNX = "onnx"
    SKLEARN = "sklearn"
    XGBOOST = "xgboost"
    """XGBoost's own files: .ubj, .json."""
    LIGHTGBM = "lightgbm"
    """LightGBM's own text file: .lgb, .txt."""
    CATBOOST = "catboost"
    """CatBoost's own file: .cbm."""
    TORCH = "torch"
    """A PyTorch exported program (.pt2) or TorchScript (.pt)."""
    TEXT = "text"
    """A directory with tokenizer.json and model.onnx."""
    MLFLOW = "mlflow"
    """A directory with an MLmodel file."""
    PYTHON = "python"
    ASGI = "asgi"
    """Somebody's own ASGI app, `module:attribute`; it has no signature."""
    COMMAND = "command"
    """Any program that serves HTTP on $PORT; it has no signature."""
    ATTACHED = "attached"
    """Somebody else runs it, at `ReleaseContent.attached_url`."""


class Datatype(enum.StrEnum):
    """Open Inference Protocol datatypes that features and outputs may have."""

    BOOL = "BOOL"
    INT64 = "INT64"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    name: str
    datatype: Datatype
    nullable: bool = False
    """A missing value (null) is accepted; floats then carry NaN, BYTES the empty string."""
    minimum: float | None = None
    maximum: float | None = None
    """Bounds of an *output*: an answer outside is off-schema, hence invalid. Unused for inputs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signature:
    """Inputs by name in the model's order, and outputs by name."""

    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReleaseContent:
    """
    What an unpacked release directory holds; stored there as release.json.

    All paths are relative to that directory: `model/...`, `code/...`, `requirements.lock`, `profile.json`,
    `smoke.json` (rows made from the reference).
    """

    service: str
    runtime: Runtime
    model_file: str | None
    """model/model.onnx, model/model.joblib; None for a Python class that needs no file."""
    python_target: str | None
    """module.py:Class relative to code/, for Runtime.PYTHON; module:attribute for Runtime.ASGI."""
    signature: Signature
    lock_file: str | None
    """requirements.lock when the release has its own Python environment."""
    profile_file: str | None
    smoke_file: str | None
    gates: tuple[GateResult, ...] = ()
    compile_note: str = ""
    """Which form of the model is served and why, one sentence."""
    drill: str | None = None
    """
    Name of the fault planted in it (core.drills, drill.json); such a release is never promoted. None for real ones.
    """
    attached_url: str | None = None
    """Runtime.ATTACHED: scheme, host and port of what is running already."""
    attached_ready: str = ""
    """Runtime.ATTACHED: path that answers 2xx when it is ready; empty: an open port is enough."""
    command: tuple[str, ...] = ()
    """Runtime.COMMAND: program and arguments; {port} in them is replaced, and $PORT is set."""
    ready_path: str = ""
    """Runtime.ASGI and COMMAND: path that answers 2xx when ready; empty: started (ASGI), an open port (COMMAND)."""
    answers: tuple[answer_checks.AnswerCheck, ...] = ()
    """Runtime.ASGI and COMMAND: what every answer on prediction paths has to hold."""
    lookups: tuple[lookups.LookupSpec, ...] = ()
    """Features looked up when a request comes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GateResult:
    """Deterministic result of one gate: a quality metric on the holdout, or the parity of the compiled model."""

    name: str
    passed: bool
    value: float
    threshold: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lineage:
    """Where a release came from; a referrer of its digest, never part of it."""

    commit: str
    branch: str | None
    tags: tuple[str, ...]
    author: str
    committed_at: str
    built_at: str
    tests: str
    """One line: how many tests passed, coverage; or that there were none."""
