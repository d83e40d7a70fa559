"""Smoke requests over a replica's Unix socket, past the gateway."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx

from softlaunch.ports import prober

_TIMEOUT_SECONDS = 10.0
_BODY_CHARS = 300


class HttpProber:
    """A ports.prober.Prober: each row is one POST /predict on one connection."""

    def smoke(self, socket: str, rows: Sequence[dict[str, Any]]) -> prober.ProbeReport:
        """A row fails when there is no answer, a status other than 200, or no prediction in the body."""
        failed = 0
        first_failure = ""
        transport = httpx.HTTPTransport(uds=socket)
        with httpx.Client(transport=transport, base_url="http://replica", timeout=_TIMEOUT_SECONDS) as http:
            for row in rows:
                trouble = _trouble(http, row)
                if trouble:
                    failed += 1
                    first_failure = first_failure or trouble
        return prober.ProbeReport(sent=len(rows), failed=failed, first_failure=first_failure)


def _trouble(http: httpx.Client, row: dict[str, Any]) -> str:
    """What is wrong with the answer to a row; empty when nothing is."""
    try:
        answer = http.post("/predict", content=json.dumps(row))
    except httpx.HTTPError as error:
        return f"no answer ({type(error).__name__}: {error})"
    if answer.status_code != httpx.codes.OK:
        return f"{answer.status_code} {answer.text[:_BODY_CHARS]}"
    try:
        body = answer.json()
    except ValueError:
        return f"not JSON: {answer.text[:_BODY_CHARS]}"
    if not isinstance(body, dict) or "prediction" not in body:
        return f"no prediction: {answer.text[:_BODY_CHARS]}"
    return ""
