"""What a build says about the release it made: SLSA v1 provenance, and a statement for each thing that went in."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch.core import intoto, release

BUILD_TYPE = "https://softlaunch.dev/build/v1"
BUILDER = "https://softlaunch.dev/builder/local/v1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Material:
    """A file that went into the build."""

    name: str
    sha256: str
    uri: str = ""
    version: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Build:
    """What a build knows when it ends."""

    content: release.ReleaseContent
    digest: release.Digest
    lineage: release.Lineage
    locks: tuple[Material, ...]
    """requirements.lock and softlaunch.lock, when there are."""
    inputs: tuple[Material, ...]
    """Model, reference and holdout as softlaunch.yaml names them."""
    blobs: tuple[release.Digest, ...]
    """The manifest and everything it names."""
    versions: Mapping[str, str]
    """Of softlaunch and Python."""
    tested: bool = True
    """The service has a command of tests, which ends the build when it fails."""


def statements(build: Build) -> tuple[intoto.Statement, ...]:
    """The statements of a build; the last one is its provenance, which names all others by their digests."""
    lineage = dataclasses.asdict(build.lineage)
    content = build.content
    said: list[tuple[intoto.Kind, dict[str, Any]]] = [
        (intoto.Kind.LINEAGE, lineage),
        (
            intoto.Kind.MODEL,
            {
                "runtime": content.runtime.value,
                "file": content.model_file,
                "python": content.python_target,
                "blobs": [each.value for each in build.blobs[1:]],
                "form": content.compile_note,
            },
        ),
        (intoto.Kind.METRICS, {"gates": [dataclasses.asdict(gate) for gate in content.gates]}),
    ]
    if build.tested:
        result = {
            "result": "PASSED",
            "configuration": [{"name": "softlaunch.yaml", "digest": {"gitCommit": build.lineage.commit}}],
            "annotations": {"summary": build.lineage.tests},
        }
        said.append((intoto.Kind.TESTS, result))
    if build.locks:
        said.append((intoto.Kind.LOCK, {"files": [_descriptor(each) for each in build.locks]}))
    if build.inputs:
        said.append((intoto.Kind.DATA, {"files": [_descriptor(each) for each in build.inputs]}))
    made = tuple(
        intoto.Statement(kind=kind, service=content.service, subject=build.digest, predicate=predicate)
        for kind, predicate in said
    )
    predicate = _provenance(build, made)
    last = intoto.Statement(
        kind=intoto.Kind.PROVENANCE, service=content.service, subject=build.digest, predicate=predicate
    )
    return (*made, last)


def byproducts(predicate: Mapping[str, Any]) -> tuple[str, ...]:
    """sha256 of every statement that a provenance says was made with it; what is not understood is none."""
    details = predicate.get("runDetails")
    listed = details.get("byproducts") if isinstance(details, dict) else None
    found = []
    for each in listed if isinstance(listed, list) else []:
        digest = each.get("digest") if isinstance(each, dict) else None
        found.append(str(digest.get("sha256")) if isinstance(digest, dict) else "")
    return tuple(found)


def _provenance(build: Build, made: Sequence[intoto.Statement]) -> dict[str, Any]:
    lineage = build.lineage
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "service": build.content.service,
                "commit": lineage.commit,
                "branch": lineage.branch,
                "tags": list(lineage.tags),
            },
            "internalParameters": dict(build.versions),
            "resolvedDependencies": [
                {"uri": f"git+commit:{lineage.commit}", "digest": {"gitCommit": lineage.commit}},
                *(_descriptor(each) for each in (*build.locks, *build.inputs)),
            ],
        },
        "runDetails": {
            "builder": {"id": BUILDER, "version": dict(build.versions)},
            "metadata": {"finishedOn": lineage.built_at},
            "byproducts": [
                {
                    "name": each.kind.value,
                    "digest": {"sha256": hashlib.sha256(intoto.dump(each)).hexdigest()},
                    "mediaType": intoto.PAYLOAD_TYPE,
                }
                for each in made
            ],
        },
    }


def _descriptor(material: Material) -> dict[str, Any]:
    found: dict[str, Any] = {"name": material.name, "digest": {"sha256": material.sha256}}
    if material.uri:
        found["uri"] = material.uri
    if material.version:
        found["annotations"] = {"version": material.version}
    return found
