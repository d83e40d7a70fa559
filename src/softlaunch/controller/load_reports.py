"""Reports of load tests, kept with the release they are about: signed when there is a key, else as they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import structlog

from softlaunch import errors
from softlaunch.controller import evidence
from softlaunch.core import intoto
from softlaunch.ports import signing, store

LOG = structlog.get_logger()

ARTIFACT_TYPE = "application/vnd.softlaunch.load-report.v1+json"
"""Of the referrer that carries a report nobody signed."""
NAME = "verify"
"""Of the report, where others of load tests are named by `softlaunch attest --load NAME=FILE`."""


class LoadReports:
    """
    Attaches reports to releases.

    Args:
        releases: Where releases and what refers to them are.
        keys: One of them signs.
        proofs: Attaches what is signed.
    """

    def __init__(self, *, releases: evidence.Registry, keys: signing.Keys, proofs: evidence.Evidence) -> None:
        self._releases = releases
        self._keys = keys
        self._proofs = proofs

    def add(self, record: store.RolloutRecord, measured: Mapping[str, Any]) -> None:
        """Attaches the report of a rollout's load test; the verdict stands all the same when that fails."""
        document = {
            "service": record.service,
            "environment": record.environment,
            "rollout": record.id,
            "release": record.candidate.value,
            **measured,
        }
        content = json.dumps(document, sort_keys=True)
        try:
            signer = self._keys.signer()
            if signer is None:
                self._releases.refer(
                    record.candidate.release,
                    artifact_type=ARTIFACT_TYPE,
                    media_type="application/json",
                    payload=content.encode(),
                    annotations={},
                )
                return
            file = {
                "name": NAME,
                "digest": {"sha256": hashlib.sha256(content.encode()).hexdigest()},
                "content": content,
            }
            statement = intoto.Statement(
                kind=intoto.Kind.LOAD,
                service=record.service,
                subject=record.candidate.release,
                predicate={"files": [file]},
            )
            self._proofs.attach([statement], signer)
        except errors.SoftlaunchError as error:
            LOG.warning("load_report_not_kept", release=record.candidate.short, rollout=record.id, error=str(error))
