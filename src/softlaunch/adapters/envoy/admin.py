"""Envoy's admin interface over its Unix socket: what it believes, and the few things it can be told to do."""

from __future__ import annotations

import http.client
import json
import pathlib
import socket
from typing import Any

from softlaunch import errors

TIMEOUT_SECONDS = 5.0


class Admin:
    def __init__(self, path: pathlib.Path) -> None:
        self._path = path

    def ready(self) -> bool:
        """Envoy is there and has its first configuration."""
        return self.standing().startswith("LIVE")

    def standing(self) -> str:
        """LIVE, or what Envoy says it is doing instead, or why it says nothing."""
        try:
            return self.get("/ready").strip()
        except errors.UnavailableError as error:
            return error.message

    def stats(self, pattern: str) -> dict[str, str]:
        """Statistics whose whole name matches, by name; text values without their quotes."""
        found = {}
        for line in self.get(f"/stats?filter={pattern}").splitlines():
            name, separator, value = line.rpartition(": ")
            if separator:
                found[name] = value.strip('"')
        return found

    def document(self, path: str) -> Any:
        """An answer in JSON, decoded."""
        return json.loads(self.get(path))

    def get(self, path: str) -> str:
        return self._ask("GET", path)

    def post(self, path: str) -> str:
        return self._ask("POST", path)

    def _ask(self, method: str, path: str) -> str:
        connection = _Connection(self._path)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise errors.UnavailableError(
                f"Envoy does not answer on its admin socket {self._path} ({error!r}).",
                remedy="Look into logs/envoy.log; `softlaunch up` starts it again.",
                code=errors.Code.GATEWAY_UNREACHABLE,
            ) from error
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: pathlib.Path) -> None:
        super().__init__("envoy", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_SECONDS)
        self.sock.connect(str(self._path))
