"""
The first softlaunch.yaml of a project, written from what lies in its folder.

What was found is written as a key, what was not as a comment that shows how. The text always parses. Which requests of
a web application may be sent twice is its owner's to say, so that stays a comment.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Sequence

from softlaunch import errors
from softlaunch.config import model_section, service_file

_WALK_DEPTH_MAX = 3
_WALK_FILES_MAX = 20_000
"""A folder with more files than this is a data lake or a home directory; what was seen until then is enough."""
_SKIPPED = frozenset({"node_modules", "__pycache__", "venv", "env", "build", "dist", "site-packages"})
_APP_FILES = ("main.py", "app.py", "service.py", "api.py", "server.py")
_APP = re.compile(r"^(\w+)\s*(?::[^=\n]+)?=\s*(?:\w+\.)?(FastAPI|Starlette|Litestar|Quart)\(", re.MULTILINE)
_ROUTE = re.compile(r"^@\w+\.(get|post)\(\s*[\"'](/[A-Za-z0-9._~/-]*)[\"']", re.MULTILINE)
_HEALTH = re.compile(r"/(?:[\w/-]*[/_-])?(?:health|healthz|ready|readyz|readiness|ping|status)", re.ASCII)
_TRAIN_FILES = ("train.py", "training.py", "fit.py")
_MODEL_BEGINS = {".txt": b"tree\nversion=", ".json": b'"learner"'}
"""What LightGBM and XGBoost begin such files with."""
_MODEL_HEAD_BYTES = 64
_SOURCE_BYTES_MAX = 1_000_000
_REFERENCE_WORDS = ("train", "reference", "ref")
_HOLDOUT_WORDS = ("holdout", "hold_out", "test", "valid", "eval")


@dataclasses.dataclass(frozen=True, kw_only=True)
class App:
    """A web application, as its source reads."""

    target: str
    """module:attribute."""
    health: str | None
    """A GET path that sounds like one to ask whether it is ready."""
    posts: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """What lies in the folder, as paths relative to it."""

    service: str
    model: str | None
    other_models: tuple[str, ...]
    app: App | None
    train: str | None
    reference: str | None
    holdout: str | None
    has_tests: bool
    has_requirements: bool


def starter(directory: pathlib.Path) -> str:
    """A commented softlaunch.yaml for the folder; nothing is written."""
    return _text(look(directory))


def write(directory: pathlib.Path) -> pathlib.Path:
    """
    Writes the starter into the folder and returns its path.

    Raises:
        ConflictError: there is a softlaunch.yaml already; it is left as it is.
        ConfigError: there is no such folder, or it cannot be written to.
    """
    path = directory / service_file.FILE_NAME
    text = starter(directory)
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise errors.ConflictError(
            f"{path} exists already.",
            remedy="Edit it, or move it away and run `softlaunch init` again.",
            code=errors.Code.SERVICE_FILE_EXISTS,
        ) from error
    except OSError as error:
        raise errors.ConfigError(
            f"{path} cannot be written: {error.strerror or error}.",
            remedy="Name a folder that exists and that you may write to.",
            code=errors.Code.SERVICE_FILE,
        ) from error
    return path


def look(directory: pathlib.Path) -> Findings:
    """What lies in the folder. Hidden folders and virtual environments are passed over, links are not followed."""
    files = _files(directory)
    own = [path for path in files if _writable_name(path) and not path.startswith(("test/", "tests/"))]
    models = sorted(
        (path for path in own if path.endswith(model_section.MODEL_SUFFIXES) and _may_be_model(directory / path)),
        key=lambda path: (not _stem(path).startswith("model"), path.count("/"), path),
    )
    tables = [path for path in own if path.endswith((".parquet", ".csv"))]
    holdout = _best(tables, _HOLDOUT_WORDS)
    rest = [path for path in tables if path != holdout]
    reference = _best(rest, _REFERENCE_WORDS) or next((path for path in rest if path.startswith("data/")), None)
    names = set(files)
    return Findings(
        service=_service_name(directory),
        model=models[0] if models else None,
        other_models=tuple(models[1:4]),
        app=_app(directory, names),
        train=next((path for path in _TRAIN_FILES if path in names), None),
        reference=reference,
        holdout=holdout,
        has_tests=any(re.fullmatch(r"(?:tests?/(?:.*/)?)?test_[^/]*\.py", path) for path in files),
        has_requirements=bool(names & {"requirements.txt", "pyproject.toml", "requirements.lock", "uv.lock"}),
    )


def _files(directory: pathlib.Path) -> Sequence[str]:
    found: list[str] = []
    for place, folders, files in os.walk(directory):
        below = pathlib.Path(place).relative_to(directory)
        depth = len(below.parts)
        folders[:] = sorted(
            name
            for name in folders
            if depth < _WALK_DEPTH_MAX and not name.startswith(".") and name.lower() not in _SKIPPED
        )
        found += [(below / name).as_posix() for name in sorted(files) if not name.startswith(".")]
        if len(found) > _WALK_FILES_MAX:
            break
    return found


def _writable_name(path: str) -> bool:
    """The path can stand in the file without quotes, and on one line."""
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./+@-]*", path) is not None and ".." not in path.split("/")


def _may_be_model(path: pathlib.Path) -> bool:
    """By its first bytes, where the ending says little: requirements.txt is no model of LightGBM's."""
    begins = _MODEL_BEGINS.get(path.suffix)
    if begins is None:
        return True
    try:
        with path.open("rb") as stream:
            return begins in stream.read(_MODEL_HEAD_BYTES)
    except OSError:
        return False  # as below


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0].lower()


def _best(tables: Sequence[str], words: Iterable[str]) -> str | None:
    for word in words:
        fitting = [path for path in tables if re.search(rf"(?:^|[_.-]){word}", _stem(path))]
        if fitting:
            return min(fitting, key=lambda path: (not path.startswith("data/"), not path.endswith(".parquet"), path))
    return None


def _app(directory: pathlib.Path, names: set[str]) -> App | None:
    for name in _APP_FILES:
        if name not in names:
            continue
        try:
            with (directory / name).open(encoding="utf-8", errors="replace") as stream:
                source = stream.read(_SOURCE_BYTES_MAX)
        except OSError:
            continue  # a file that cannot be read is a file that was not found
        found = _APP.search(source)
        if found is not None:
            gets = [path for verb, path in _ROUTE.findall(source) if verb == "get"]
            return App(
                target=f"{name.removesuffix('.py')}:{found[1]}",
                health=next((path for path in gets if _HEALTH.fullmatch(path)), None),
                posts=tuple(dict.fromkeys(path for verb, path in _ROUTE.findall(source) if verb == "post")),
            )
    return None


def _service_name(directory: pathlib.Path) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", directory.resolve().name.lower()).strip("-")[:63].rstrip("-")
    return name or "my-service"


def _text(found: Findings) -> str:
    parts = [
        _head(found),
        _model(found),
        _reference(found),
        _tests(found),
        _ENVIRONMENTS,
    ]
    return "\n".join(parts)


def _head(found: Findings) -> str:
    return (
        "# How this service is built and launched. Three keys are needed: service, model, environments.\n"
        "# Every other key is worth a minute: `softlaunch build` names what is missing and what that costs.\n\n"
        f"service: {_quoted(found.service)}\n"
    )


def _quoted(name: str) -> str:
    """A name such as `2024` or `true` is a text only in quotes."""
    return f'"{name}"' if re.fullmatch(r"[\d.e-]+|true|false|null", name) else name


def _model(found: Findings) -> str:
    lines = []
    if found.app is not None:
        return _app_model(found, found.app)
    if found.model is not None:
        lines.append("model:")
        lines.append(f"  path: {found.model}")
        if found.other_models:
            lines[-1] += f"   # also found: {', '.join(found.other_models)}"
        if found.train is not None:
            lines.append(f"  # train: python {found.train}   # make the file while building, instead of committing it")
    elif found.train is not None:
        lines += [
            "model:",
            "  path: model.joblib   # the file that the command below writes: correct the name",
            f"  train: python {found.train}",
        ]
    else:
        lines += [
            "# No model file was found (.joblib, .pkl, .onnx). Commit one under this name, or correct it:",
            "model: model.joblib",
        ]
    if not found.has_requirements:
        lines += [
            "# No requirements.txt or pyproject.toml was found. A scikit-learn model or a class of your own runs in a",
            "# Python of its own, made from one of them: write down what it needs.",
        ]
    return "\n".join(lines) + "\n"


def _app_model(found: Findings, app: App) -> str:
    ready = f"  ready: {app.health}" if app.health is not None else "  # ready: /health"
    paths = ", ".join(app.posts) or "/score"
    lines = [
        "# A web application: it is launched as it is, not a line of it changes.",
        "model:",
        f"  app: {app.target}",
        f"{ready}   # a path of the app that answers 2xx when it can take requests",
        "  # Which POST requests may be sent twice: tried again on the other release, copied to a shadow, recorded.",
        "  # None that writes, mails or pays:",
        f"  # predict_paths: [{paths}]",
        "  # What each of their answers has to hold, by its place in the JSON:",
        "  # answers: [{path: score, min: 0, max: 1}]",
    ]
    if found.model is not None:
        lines.append(f"# Without the app, {found.model} alone is a service, too: model: {found.model}")
    if not found.has_requirements:
        lines += [
            "# No requirements.lock was found: write down what the app needs, and it runs in a Python of its own:",
            "# uv pip compile --generate-hashes requirements.in -o requirements.lock",
        ]
    return "\n".join(lines) + "\n"


def _reference(found: Findings) -> str:
    if found.app is not None:
        return "# Nothing is compared with training data: an app has no rows.\n"
    head = "# What the model was trained on: its profile travels inside the release, smoke requests come from it.\n"
    if found.reference is not None:
        return f"{head}reference: {found.reference}\n"
    return f"{head}# reference: data/train.parquet   # .parquet or .csv\n"


def _tests(found: Findings) -> str:
    holdout = found.holdout or "data/holdout.parquet"
    quality = [
        "# What the model must reach on rows it has not seen. Name the column that holds the truth:",
        f"# quality: {{data: {holdout}, label: late, metrics: {{roc_auc: '>= 0.68'}}, latency_ms_p99_max: 20}}",
    ]
    if found.app is not None:
        return "tests:\n  command: pytest -q\n" if found.has_tests else "# tests:\n#   command: pytest -q\n"
    if found.has_tests:
        lines = ["tests:", "  command: pytest -q", "  # coverage_percent_min: 80", *(f"  {line}" for line in quality)]
    else:
        lines = ["# tests:", "#   command: pytest -q", "#   coverage_percent_min: 80"]
        lines += [f"#   {line[2:]}" for line in quality]
    return "\n".join(lines) + "\n"


_ENVIRONMENTS = """\
environments:
  # integration: {branch: develop, verify: smoke}   # no traffic: passes by requests made from the reference
  production:
    # branch: main
    # after: integration                            # nothing reaches production that did not pass integration
    strategy:
      canary:
        # key: x-user-id                            # the header that names a user: keeps each user on one release
        steps: [1%, 5%, 25%, 100%]                  # also: {cohort: NAME}, {shadow: 10%}, approval
    # fallback: {body: {late: 0.2}}                 # answered when every replica failed
    # env: {CARRIER_API: $CARRIER_API}              # taken from where softlaunch runs
"""
