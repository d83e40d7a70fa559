"""release.json: the written form of ReleaseContent and Lineage, byte for byte the same for the same value."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from softlaunch import errors
from softlaunch.core import answer_checks, lookups, release

SCHEMA_VERSION = 1


def dump_content(content: release.ReleaseContent) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8, one final newline."""
    document = dataclasses.asdict(content)
    if content.drill is None:
        del document["drill"]  # releases from before there were drills keep their digests
    if content.attached_url is None:
        del document["attached_url"], document["attached_ready"]
    for name in ("command", "ready_path", "answers", "lookups"):
        if not document[name]:
            del document[name]
    return _canonical({"schema": SCHEMA_VERSION, **document})


def load_content(raw: bytes) -> release.ReleaseContent:
    """
    The content that `dump_content` wrote.

    Raises:
        ConfigError: not such a document, or written by a newer softlaunch.
    """
    document = _document(raw)
    try:
        return release.ReleaseContent(
            service=document["service"],
            runtime=release.Runtime(document["runtime"]),
            model_file=document["model_file"],
            python_target=document["python_target"],
            signature=release.Signature(
                inputs=tuple(_column(found) for found in document["signature"]["inputs"]),
                outputs=tuple(_column(found) for found in document["signature"]["outputs"]),
            ),
            lock_file=document["lock_file"],
            profile_file=document["profile_file"],
            smoke_file=document["smoke_file"],
            gates=tuple(release.GateResult(**found) for found in document["gates"]),
            compile_note=document["compile_note"],
            drill=document.get("drill"),
            attached_url=document.get("attached_url"),
            attached_ready=document.get("attached_ready", ""),
            command=tuple(document.get("command", ())),
            ready_path=document.get("ready_path", ""),
            answers=tuple(answer_checks.AnswerCheck(**found) for found in document.get("answers", ())),
            lookups=tuple(_lookup(found) for found in document.get("lookups", ())),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(repr(error)) from error


def dump_lineage(lineage: release.Lineage) -> bytes:
    """Canonical JSON, as dump_content."""
    return _canonical({"schema": SCHEMA_VERSION, **dataclasses.asdict(lineage)})


def load_lineage(raw: bytes) -> release.Lineage:
    """
    The lineage that `dump_lineage` wrote.

    Raises:
        ConfigError: not such a document, or written by a newer softlaunch.
    """
    document = _document(raw)
    try:
        return release.Lineage(
            commit=document["commit"],
            branch=document["branch"],
            tags=tuple(document["tags"]),
            author=document["author"],
            committed_at=document["committed_at"],
            built_at=document["built_at"],
            tests=document["tests"],
        )
    except (KeyError, TypeError) as error:
        raise _broken(repr(error)) from error


def _column(found: dict[str, Any]) -> release.Column:
    return release.Column(**{**found, "datatype": release.Datatype(found["datatype"])})


def _lookup(found: dict[str, Any]) -> lookups.LookupSpec:
    return lookups.LookupSpec(**{**found, "source": lookups.LookupSource(found["source"]), "by": tuple(found["by"])})


def _canonical(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _document(raw: bytes) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise _broken(str(error)) from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA_VERSION:
        schema = document.get("schema") if isinstance(document, dict) else None
        raise _broken(f"schema is {schema!r}, this softlaunch reads {SCHEMA_VERSION}")
    return document


def _broken(detail: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"The release's description cannot be read: {detail}.",
        remedy="Build the release again with this version of softlaunch.",
        code=errors.Code.RELEASE_UNREADABLE,
    )
