"""
Checks over HTTP; see ports.checks.Checks.

A failed query is not a failed check. Whatever keeps a number from being known (an empty or ambiguous result, NaN, a
timeout, an error of the monitoring system) is unavailable, with its reason; only a URL that answers something else than
2xx has said no itself.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Any

import httpx

from softlaunch.core import check_targets, spec
from softlaunch.ports import checks

_SECONDS_MAX = 5.0
"""A guess: the answer to an instant query takes milliseconds, and a check is asked again soon."""
_BYTES_MAX = 1 << 20
_TEXT_CHARS = 200


class HttpChecks:
    """
    See ports.checks.Checks. May be asked from several threads.

    Args:
        seconds_max: For one answer, from connecting to its last byte.
    """

    def __init__(self, *, seconds_max: float = _SECONDS_MAX) -> None:
        self._seconds_max = seconds_max
        self._client = httpx.Client(timeout=seconds_max, follow_redirects=True)

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()

    def ask(self, check: spec.CheckSpec, names: Mapping[str, str]) -> checks.Answer:
        """See ports.checks.Checks.ask."""
        try:
            match check.kind:
                case spec.CheckKind.PROMQL:
                    query = check_targets.promql(check.target, names)
                    return self._promql(check.server.rstrip("/") + "/api/v1/query", query)
                case spec.CheckKind.HTTP:
                    return self._http(check_targets.url(check.target, names), check.json_path)
                case spec.CheckKind.EXPRESSION:
                    return checks.Unavailable(reason="expressions are judged over attempts, nobody is asked")
        except KeyError as error:
            return checks.Unavailable(reason=f"{{{error.args[0]}}} is not known here")
        except _UnavailableError as error:
            return checks.Unavailable(reason=str(error))

    def _promql(self, url: str, query: str) -> checks.Answer:
        # POST, as Prometheus recommends for long queries; it changes nothing there.
        status, body = self._fetched("POST", url, {"query": query})
        try:
            document = json.loads(body)
        except ValueError:
            raise _UnavailableError(f"Prometheus answered {status} and no JSON: {_text(body)}") from None
        if not isinstance(document, dict) or document.get("status") != "success":
            said = document.get("error") if isinstance(document, dict) else document
            raise _UnavailableError(f"Prometheus answered {status}: {str(said)[:_TEXT_CHARS]}")
        return checks.Value(value=_sample(document.get("data")))

    def _http(self, url: str, json_path: str) -> checks.Answer:
        status, body = self._fetched("GET", url, None)
        if not httpx.codes.is_success(status):
            return checks.Status(ok=False, detail=f"it answered {status}: {_text(body)}")
        if not json_path:
            return checks.Status(ok=True, detail=f"it answered {status}")
        try:
            found = json.loads(body)
        except ValueError:
            raise _UnavailableError(f"it answered {status} and no JSON: {_text(body)}") from None
        return checks.Value(value=_at(found, json_path))

    def _fetched(self, method: str, url: str, form: Mapping[str, str] | None) -> tuple[int, bytes]:
        end = time.monotonic() + self._seconds_max
        body = b""
        try:
            with self._client.stream(method, url, data=form) as answer:
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > _BYTES_MAX:
                        raise _UnavailableError(f"its answer is larger than {_BYTES_MAX} bytes")
                    if time.monotonic() > end:
                        raise _UnavailableError(f"no whole answer in {self._seconds_max:g} s")
                return answer.status_code, body
        except httpx.TimeoutException:
            raise _UnavailableError(f"no answer in {self._seconds_max:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            # Not the error's text when it is about the URL: that may hold a password.
            said = f": {error}" if isinstance(error, httpx.NetworkError) else ""
            raise _UnavailableError(f"it cannot be asked ({type(error).__name__}{said})") from None


class _UnavailableError(Exception):
    """Why there is no answer."""


def _sample(data: Any) -> float:
    """The one number of a query's result."""
    try:
        kind, result = data["resultType"], data["result"]
        if kind == "vector":
            if len(result) != 1:
                what = "no sample" if not result else f"{len(result)} samples"
                raise _UnavailableError(f"the query has {what}, and one is needed")
            _, text = result[0]["value"]
        elif kind == "scalar":
            _, text = result
        else:
            raise _UnavailableError(f"the query's result is a {kind!s:.40}, not a scalar or a vector of one sample")
        value = float(text)
    except (KeyError, TypeError, ValueError, IndexError):
        raise _UnavailableError("Prometheus answered something that is no result of a query") from None
    if math.isnan(value):
        raise _UnavailableError("the query's value is NaN")
    return value


def _at(document: Any, path: str) -> float:
    """The number at a dotted path; parts that are whole numbers index lists."""
    found = document
    for part in path.split("."):
        if isinstance(found, dict) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            raise _UnavailableError(f"its answer has nothing at {path!r}")
    if isinstance(found, bool) or not isinstance(found, int | float) or math.isnan(found):
        raise _UnavailableError(f"what its answer has at {path!r} is no number: {str(found)[:_TEXT_CHARS]}")
    return float(found)


def _text(body: bytes) -> str:
    return " ".join(body[:_TEXT_CHARS].decode(errors="replace").split())
