"""Asks a model server over its Unix socket whether it is ready."""

from __future__ import annotations

import dataclasses
import enum
import http.client
import socket

READY_PATH = "/v2/health/ready"
INSTANCE_HEADER = "x-softlaunch-instance"
PROBE_HEADER = "x-softlaunch-probe"
"""Holds the token: a server around somebody's own code, which may have this path too, knows our question by it."""
DETAIL_HEADER = "x-softlaunch-detail"
"""Why it is not ready, where it can say."""


class Health(enum.Enum):
    READY = enum.auto()
    NOT_READY = enum.auto()
    """It answered, and not that it is ready; or somebody else answered."""
    SILENT = enum.auto()
    """No answer: no socket yet, refused, too slow. It may only be busy."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    health: Health
    detail: str = ""


def ask(path: str, token: str, *, timeout_seconds: float) -> Answer:
    """What the server at the socket says of itself; READY only from the instance that has the token."""
    connection = http.client.HTTPConnection("localhost", timeout=timeout_seconds)
    try:
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(timeout_seconds)
        connection.sock.connect(path)
        connection.request("GET", READY_PATH, headers={PROBE_HEADER: token})
        response = connection.getresponse()
        response.read()
    except FileNotFoundError:
        return Answer(health=Health.SILENT, detail="it has not opened its socket")
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = str(error) or type(error).__name__
        return Answer(health=Health.SILENT, detail=f"it does not answer {READY_PATH}: {reason}")
    finally:
        connection.close()
    if response.getheader(INSTANCE_HEADER) != token:
        return Answer(health=Health.NOT_READY, detail=f"another server answers at {path}")
    if response.status != http.client.OK:
        detail = response.getheader(DETAIL_HEADER) or f"it answers {READY_PATH} with {response.status}"
        return Answer(health=Health.NOT_READY, detail=detail)
    return Answer(health=Health.READY)
