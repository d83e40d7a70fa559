"""
Features by HTTP: GET of a URL, the answer a JSON object.

The standard library's client with connections that are kept: a release's environment need not have more. Redirects are
not followed; 404 and 204 say that there is nothing of that name.
"""

from __future__ import annotations

import base64
import collections
import http.client
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from softlaunch.core import lookup_values, lookups
from softlaunch.serving.features import source

_BODY_BYTES_MAX = 2**20
_PART_BYTES = 65_536


class Place(NamedTuple):
    """Where a server listens."""

    scheme: str
    host: str
    port: int | None
    prefix: str
    """Path in front of every target, without a slash at its end."""
    authorization: str | None


def place(opening: source.Opening, url: str) -> Place:
    """
    The parts of a server's URL.

    Raises:
        ConfigError: it is not an http or https URL.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise source.unusable(
            opening.spec, "its `server` is not an http or https URL", remedy="Write one, such as http://features:8080."
        )
    user = parts.netloc.rpartition("@")[0]
    token = base64.b64encode(urllib.parse.unquote(user).encode()).decode() if user else None
    return Place(parts.scheme, host, port, parts.path.rstrip("/"), token and f"Basic {token}")


class Client:
    """
    Requests to one server, over as many connections as are asked for at once; used by several threads.

    Args:
        where: The server.
        kept_count: Connections kept open.
    """

    def __init__(self, where: Place, *, kept_count: int) -> None:
        self._where = where
        self._kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
        self._free: collections.deque[http.client.HTTPConnection] = collections.deque(maxlen=kept_count)
        self._headers = {"accept": "application/json"}
        if where.authorization:
            self._headers["authorization"] = where.authorization

    def ask(self, method: str, path: str, seconds: float, body: bytes | None = None) -> tuple[int, bytes]:
        """
        Status and body.

        Raises:
            TimeoutError: it took longer than `seconds`.
            OSError: no connection, or it broke; also when the body is too large.
            HTTPException: what came back is not HTTP.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                connection, kept = self._free.pop(), True
            except IndexError:
                connection, kept = self._kind(self._where.host, self._where.port, timeout=seconds), False
            try:
                found = self._asked(connection, method, path, body, deadline)
            except (ConnectionError, http.client.BadStatusLine):  # also RemoteDisconnected
                connection.close()
                if not kept:
                    raise
                continue  # the server had closed a connection that was kept: another one, at last a new one
            except BaseException:
                connection.close()
                raise
            if connection.sock is not None:
                self._free.append(connection)
            return found

    def close(self) -> None:
        while self._free:
            self._free.pop().close()

    def _asked(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, deadline: float
    ) -> tuple[int, bytes]:
        headers = self._headers if body is None else {**self._headers, "content-type": "application/json"}
        _limit(connection, deadline)
        connection.request(method, self._where.prefix + path, body=body, headers=headers)
        _limit(connection, deadline)
        response = connection.getresponse()
        parts: list[bytes] = []
        size = 0
        while True:
            _limit(connection, deadline)
            part = response.read1(_PART_BYTES)
            if not part:
                response.read()  # nothing, or IncompleteRead: read1 does not tell that the answer was whole
                return response.status, b"".join(parts)
            parts.append(part)
            size += len(part)
            if size > _BODY_BYTES_MAX:
                raise OSError(f"the answer is larger than {_BODY_BYTES_MAX} bytes")


def _limit(connection: http.client.HTTPConnection, deadline: float) -> None:
    """No single wait from here on ends after the deadline."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.timeout = left
    if connection.sock is not None:
        connection.sock.settimeout(left)


class HttpSource:
    """See source.Source."""

    batch_count_max = 1

    def __init__(self, opening: source.Opening) -> None:
        target = opening.spec.target
        if target.startswith("/"):
            where, self._target = place(opening, opening.server), target
        else:
            parts = urllib.parse.urlsplit(target)
            where = place(opening, f"{parts.scheme}://{parts.netloc}")
            self._target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        self._client = Client(where, kept_count=opening.connection_count)
        self._decode = msgspec.json.Decoder().decode

    def fetch(self, wanted: Sequence[Mapping[str, Any]], seconds: float) -> list[lookup_values.Answer]:
        """See source.Source.fetch."""
        deadline = time.monotonic() + seconds
        return [self._fetch(values, deadline - time.monotonic()) for values in wanted]

    def _fetch(self, values: Mapping[str, Any], seconds: float) -> lookup_values.Answer:
        status, body = self._client.ask("GET", lookups.filled(self._target, values, encoded=True), seconds)
        if status in (204, 404):
            return lookup_values.NOTHING
        if status != 200:
            raise OSError(f"it answered {status}")
        found = self._decode(body)
        if not isinstance(found, dict):
            raise TypeError(f"it answered a {type(found).__name__}, not a JSON object")
        return lookup_values.Answer(found)

    def close(self) -> None:
        """See source.Source.close."""
        self._client.close()


def open_source(opening: source.Opening) -> HttpSource:
    """See opening.opened."""
    return HttpSource(opening)
