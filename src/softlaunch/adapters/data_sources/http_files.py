"""Files over HTTP; see ports.download.Downloads. A download that breaks off goes on where it ended."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import httpx

from softlaunch import errors
from softlaunch.adapters.data_sources import parts
from softlaunch.ports import download

_TIMEOUT = httpx.Timeout(30.0, read=120.0)
_ATTEMPTS_MAX = 5
"""In one call, as long as the server answers at all; a guess. What is there by then stays for the next call."""


class HttpFiles:
    """
    See ports.download.Downloads.

    Args:
        headers: Sent with every request.
    """

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        self._headers = {"accept-encoding": "identity", **(headers or {})}

    def fetch(self, url: str, path: pathlib.Path, *, version: str = "") -> download.Fetched:
        """See ports.download.Downloads.fetch; HTTP knows no earlier versions."""
        del version
        with parts.alone(path):
            for attempt in range(1, _ATTEMPTS_MAX + 1):
                before, _ = parts.known(path)
                try:
                    tag = self._once(url, path)
                    return download.Fetched(sha256=parts.sha256(path), version=tag)
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    more, _ = parts.known(path)
                    if attempt == _ATTEMPTS_MAX or more <= before:
                        raise _failed(url, " ".join(str(error).split()) or type(error).__name__) from error
        raise AssertionError

    def version(self, url: str) -> str:
        """See ports.download.Downloads.version."""
        try:
            answer = httpx.head(url, follow_redirects=True, timeout=_TIMEOUT, headers=self._headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _failed(url, " ".join(str(error).split()) or type(error).__name__) from error
        if answer.status_code in (httpx.codes.METHOD_NOT_ALLOWED, httpx.codes.NOT_IMPLEMENTED):
            return ""
        if answer.status_code != httpx.codes.OK:
            raise _failed(url, f"it answered {answer.status_code}")
        return _strong(answer)

    def _once(self, url: str, path: pathlib.Path) -> str:
        """Downloads what is missing; returns the strong ETag, empty where there is none."""
        size, tag = parts.known(path)
        wanted = {"range": f"bytes={size}-", "if-range": tag} if size else {}
        headers = {**self._headers, **wanted}
        with httpx.stream("GET", url, follow_redirects=True, timeout=_TIMEOUT, headers=headers) as answer:
            going_on = answer.status_code == httpx.codes.PARTIAL_CONTENT and size > 0
            if going_on and not answer.headers.get("content-range", "").startswith(f"bytes {size}-"):
                raise _failed(url, "it answered another part of the file than was asked for")
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and size:
                if answer.headers.get("content-range") == f"bytes */{size}" and _strong(answer) == tag:
                    return tag  # all of it was there already
                parts.begin(path, "")
                raise httpx.TransportError("the file became shorter")
            if not going_on:
                if answer.status_code != httpx.codes.OK:
                    raise _failed(url, f"it answered {answer.status_code}")
                tag = _strong(answer)
                parts.begin(path, tag)
            with path.open("ab") as file:
                for chunk in answer.iter_raw():
                    file.write(chunk)
        return tag


def _strong(answer: httpx.Response) -> str:
    tag = str(answer.headers.get("etag", ""))
    return "" if tag.startswith("W/") else tag


def _failed(url: str, why: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        f"{shown(url)} cannot be fetched: {why}.",
        remedy="Check the address and the network, then try again.",
        code=errors.Code.DOWNLOAD_FAILED,
    )


def shown(url: str) -> str:
    """The URL without what may be a secret in it: signed addresses carry their signature in the query."""
    bare = url.partition("?")[0]
    scheme, mark, rest = bare.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}" + ("?..." if "?" in url else "")
