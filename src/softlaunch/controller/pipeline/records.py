"""Records of finished builds, by what went in: the same inputs need not be built twice."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Iterator
from typing import Any

import softlaunch
from softlaunch.controller.pipeline import workshop
from softlaunch.core import release, spec

RECIPE = 1
"""Part of every key: counts changes of what a build does with the same inputs."""
_OWN_PACKAGES = ("numpy", "scikit-learn", "joblib", "skl2onnx", "onnx", "onnxruntime", "pyarrow")
"""Of softlaunch's own interpreter: they make releases without a lock file, and profiles of all."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    digest: release.Digest
    gates: tuple[release.GateResult, ...]
    notes: tuple[str, ...]
    tests: str
    model: workshop.ModelOrigin = dataclasses.field(default_factory=workshop.ModelOrigin)


def key(checkout_digest: str, service: spec.ServiceSpec) -> str:
    """What decides the result: the files, the parts of softlaunch.yaml that a build reads, and our own tools."""
    asked: dict[str, Any] = {"service": service.service, "reference": service.reference}
    asked |= {"model": dataclasses.asdict(service.model)}
    asked |= {"lookups": [dataclasses.asdict(found) for found in service.lookups]} if service.lookups else {}
    asked |= {"tests": dataclasses.asdict(service.tests) if service.tests is not None else None}
    if service.tests is not None:
        for limit in ("timeout_seconds", "memory_bytes_max", "cpus"):
            del asked["tests"][limit]  # what tests may take decides nothing about a release
    material = [*tools(), checkout_digest, asked]
    return hashlib.sha256(json.dumps(material, sort_keys=True, default=dict).encode()).hexdigest()


def tools() -> list[object]:
    """Our own part of every result: what a build does, and with which packages."""
    return [RECIPE, softlaunch.__version__, platform.python_version(), list(_versions())]


def tests_key(checkout_digest: str, service: spec.ServiceSpec) -> str:
    """What decides whether the tests pass: as `key`, without what is asked of the release afterwards."""
    tests = service.tests if service.tests is not None else spec.TestsSpec()
    asked = spec.TestsSpec(
        command=tests.command, container=tests.container, coverage_percent_min=tests.coverage_percent_min
    )
    return key(checkout_digest, dataclasses.replace(service, tests=asked, lookups=()))


def load(cache: pathlib.Path, name: str) -> Record | None:
    """The record of that key; None when there is none that can be read."""
    try:
        found = json.loads((cache / "builds" / f"{name}.json").read_bytes())
        return Record(
            digest=release.Digest(found["digest"]),
            gates=tuple(release.GateResult(**each) for each in found["gates"]),
            notes=tuple(found["notes"]),
            tests=found["tests"],
            model=workshop.ModelOrigin(**found.get("model", {})),  # of older records nothing is known
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a cache: whatever is wrong with it, building again is right


def save(cache: pathlib.Path, name: str, record: Record) -> None:
    """Keeps the record, by rename."""
    path = cache / "builds" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(
        json.dumps(
            {
                "digest": str(record.digest),
                "gates": [dataclasses.asdict(each) for each in record.gates],
                "notes": record.notes,
                "tests": record.tests,
                "model": dataclasses.asdict(record.model),
            }
        )
    )
    unfinished.rename(path)


def _versions() -> Iterator[str]:
    for name in _OWN_PACKAGES:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{name} absent"
