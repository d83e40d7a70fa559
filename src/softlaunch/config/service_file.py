"""
softlaunch.yaml, parsed into a spec.

Three keys are enough: service, model, environments. Everything wrong with the file is reported at once, each mistake
with its line; what is merely missing becomes a gap of the spec, one sentence saying what it costs. A file with a
mistake yields no spec at all, and nothing unknown ever becomes a default.
"""

from __future__ import annotations

import pathlib
import re

from softlaunch.config import (
    app_section,
    cohorts_section,
    environments_section,
    evidence_section,
    features_section,
    fields,
    gaps,
    jobs_section,
    keys,
    model_section,
    notify_section,
    problems,
    tests_section,
    yaml_tree,
)
from softlaunch.core import spec

FILE_NAME = "softlaunch.yaml"
BYTE_COUNT_MAX = 4 * yaml_tree.CHARACTER_COUNT_MAX
"""No longer file can have few enough characters."""

_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_APPS = (spec.ModelSource.APP, spec.ModelSource.COMMAND)
REGISTRY_HOST = r"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:)|\[[0-9a-f:]+\])(?::[0-9]{1,5})?"
"""As Docker tells a host from a name: it has a dot or a port, or is localhost."""
_WORD = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REGISTRY = re.compile(rf"{REGISTRY_HOST}/{_WORD}(?:/{_WORD})*")
_DATA_SUFFIXES = (".parquet", ".csv")


def parse(text: str, *, name: str = FILE_NAME) -> spec.ServiceSpec:
    """
    The service the text describes.

    Args:
        text: The whole file.
        name: How the file is called in messages.

    Raises:
        ServiceFileError: the file has mistakes; all of them are in `problems`.
    """
    notebook = problems.Notebook()
    root = yaml_tree.compose(text, notebook)
    found = None if root is None else _service(fields.Field(node=root, path="", notebook=notebook))
    written = notebook.problems()
    if written or found is None:
        raise problems.ServiceFileError(name, written)
    return found


def parse_bytes(raw: bytes, *, name: str = FILE_NAME) -> spec.ServiceSpec:
    """
    As `parse`, for the bytes of a file.

    Raises:
        ServiceFileError: as `parse`; also when the bytes are not UTF-8.
    """
    if len(raw) > BYTE_COUNT_MAX:
        message = f"The file has {len(raw)} bytes, more than {BYTE_COUNT_MAX}."
        raise _refused(name, message, "Put data into files of its own and name them here.")
    try:
        return parse(raw.decode("utf-8"), name=name)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"The byte 0x{raw[error.start]:02x} is not UTF-8."
        raise _refused(name, message, "Save the file as UTF-8.", line=line) from error


def load(path: pathlib.Path) -> spec.ServiceSpec:
    """
    As `parse`, for a file on disk.

    Raises:
        ServiceFileError: as `parse_bytes`; also when there is no such file or it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(BYTE_COUNT_MAX + 1)
    except FileNotFoundError as error:
        message = f"There is no {path.name} in {path.absolute().parent}."
        raise _refused(path.name, message, "Write one with `softlaunch init`.") from error
    except OSError as error:
        message = f"The file cannot be read: {error.strerror or error}."
        raise _refused(path.name, message, "Check that it is a file and that you may read it.") from error
    return parse_bytes(raw, name=path.name)


def _service(root: fields.Field) -> spec.ServiceSpec | None:
    top = fields.Section(root, keys.TOP)
    name = top.need("service")
    bare = _attached_only(root) or (top.has("jobs") and not top.has("environments"))
    model = top.get("model") if bare and not top.has("model") else top.need("model")
    reference = top.get("reference")
    tests = top.get("tests")
    environments = top.get("environments") if top.has("jobs") and not top.has("model") else top.need("environments")
    cohorts, notify = top.get("cohorts"), top.get("notify")
    has_reference = top.has("reference")
    found_name = _service_name(name) if name is not None else ""
    found_model = model_section.read(model, has_reference=has_reference) if model is not None else None
    if found_model is None and not top.has("model") and bare:
        found_model = spec.ModelSpec(source=spec.ModelSource.NONE)
    found_reference = (
        reference.data_place(suffixes=_DATA_SUFFIXES, example="data/train.parquet") if reference is not None else None
    )
    found_tests = tests_section.read(tests) if tests is not None else None
    common = environments_section.Common(
        cohorts=cohorts_section.read(cohorts) if cohorts is not None else (),
        notify=notify_section.read(notify) if notify is not None else {},
        app=found_model if found_model is not None and found_model.source in _APPS else None,
        predict_paths=app_section.predict_paths(model),
    )
    if common.app is not None:
        rest = found_tests if found_tests is not None else spec.TestsSpec()
        app_section.check_rest(reference, tests, rest.quality, rest.latency_ms_p99_max)
    found_environments = environments_section.read(environments, common) if environments is not None else ()
    registry = top.get("registry")
    found_registry = _registry(registry) if registry is not None else None
    signing = top.get("evidence")
    found_keyless = evidence_section.signing(signing) if signing is not None else None
    jobs = top.get("jobs")
    found_jobs = jobs_section.read(jobs) if jobs is not None else ()
    lookups = top.get("features")
    found_lookups = features_section.read(lookups, found_model, found_environments) if lookups is not None else ()
    if found_model is None:
        return None
    found = spec.ServiceSpec(
        service=found_name,
        model=found_model,
        reference=found_reference,
        tests=found_tests,
        environments=found_environments,
        lookups=found_lookups,
        registry=found_registry,
        keyless=found_keyless,
        jobs=found_jobs,
    )
    return gaps.named(found)


def _attached_only(root: fields.Field) -> bool:
    """Every environment of the file says `attach`: there is no model to name."""
    if not isinstance(root.node, yaml_tree.Mapping):
        return False
    environments = next((value for key, value in root.node.entries if key.text == "environments"), None)
    if not isinstance(environments, yaml_tree.Mapping) or not environments.entries:
        return False
    return all(
        isinstance(value, yaml_tree.Mapping) and any(key.text == "attach" for key, _ in value.entries)
        for _, value in environments.entries
    )


def _service_name(field: fields.Field) -> str:
    text = field.text("a name", example="flight-delay")
    if text and not _DNS_LABEL.fullmatch(text):
        near = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].rstrip("-") or "flight-delay"
        field.wrong(
            f"'{problems.show(text)}' cannot be a host name.",
            f"Use lower-case letters, digits and hyphens, at most 63, such as {near}.",
        )
    return text


def _registry(field: fields.Field) -> str | None:
    text = field.text("a repository of a registry", example="registry.example.com/flight-delay")
    if not text or _REGISTRY.fullmatch(text):
        return text or None
    field.wrong(
        "This is no repository of a registry.",  # it is not shown: people put passwords into addresses
        "Write HOST/NAME, such as registry.example.com/flight-delay: no https://, user, tag or digest, small letters.",
    )
    return None


def _refused(name: str, message: str, remedy: str, *, line: int = 1) -> problems.ServiceFileError:
    return problems.ServiceFileError(
        name,
        [problems.Problem(line=line, column=1, path="", message=message, remedy=remedy)],
    )
