"""
Releases: immutable, named by the digest of their content.

The digest covers model, code, lock, signature, reference profile and the deterministic gate results. Commit, branch,
author, times and test reports are attached as referrers, so that a merge commit with unchanged content *is* the tested
release.

What an environment gives a release when it runs, its `env:` and `secrets:`, is not part of it. An arm is a release with
the settings it runs with: a plain Digest with those it was first launched with in a place, an Arm with later ones.
"""

from __future__ import annotations

import dataclasses
import enum
import re

from softlaunch import errors
from softlaunch.core import answer_checks, lookups

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = re.compile(r"(?:sha256:)?([0-9a-f]+)(_[0-9]+)?")


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

    @property
    def text(self) -> str:
        """How it is written down; `parse` reads it."""
        return self.value

    @property
    def release(self) -> Digest:
        """The release alone, whatever settings it runs with."""
        return self


@dataclasses.dataclass(frozen=True, order=True)
class Arm(Digest):
    """
    A release with settings other than those it was first launched with in a place, told apart by their number.

    It *is* the release for whoever asks for its bytes (`value`), and another one for whoever routes, judges or names
    its replicas: it is equal only to itself, and `short` and `text` end with `_NUMBER`. The number is counted, never
    derived from the settings: nothing of a secret can be guessed from it.
    """

    settings: int

    @property
    def short(self) -> str:
        return f"{super().short}_{self.settings}"

    @property
    def text(self) -> str:
        return f"{self.value}_{self.settings}"

    @property
    def release(self) -> Digest:
        return Digest(self.value)


def arm(digest: Digest, settings: int) -> Digest:
    """The release with settings of that number; 0: those it was first launched with, and the plain digest."""
    return Arm(digest.value, settings) if settings else digest.release


def settings_number(arm: Digest) -> int:
    return arm.settings if isinstance(arm, Arm) else 0


def exactly(arm: Digest) -> Arm:
    """The release with these settings and no others, also where they are the first."""
    return Arm(arm.value, settings_number(arm))


def parse(text: str) -> Digest:
    """
    What `Digest.text` wrote.

    Raises:
        InvariantError: it never wrote such a text.
    """
    value, number = split_number(text)
    return Digest(value) if number is None else Arm(value, number)


def split_number(text: str) -> tuple[str, int | None]:
    """A release's name and the number behind it: `3f1c2a9b0d4e_1` names an arm; None: there is none."""
    name, mark, number = text.rpartition("_")
    return (name, int(number)) if mark and number.isdecimal() else (text, None)


def short(text: str) -> str:
    """`Digest.short` of a digest, an arm or the beginning of one, as text; any other text as it is."""
    found = _NAME.fullmatch(text)
    return text if found is None else f"{found[1][:12]}{found[2] or ''}"


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
