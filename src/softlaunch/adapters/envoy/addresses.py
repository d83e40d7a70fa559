"""
Where a replica is: a Unix socket, or the address of a server that is attached and not run by us.

Names are resolved here and not by Envoy: what the machine's resolver says (hosts file, search domains) is what people
expect, and a name nobody knows is an error of the change that brought it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import pathlib
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Mapping, Sequence

import msgspec

from softlaunch import errors
from softlaunch.adapters.envoy import files
from softlaunch.core.rollout import traffic
from softlaunch.ports import clock, gateway

REFRESH_SECONDS = 30.0
"""How long an answer is used before the resolver is asked again. A guess: names of services move within minutes."""

_FIRST_ANSWER_SECONDS = 5.0
"""A name never resolved is waited for, and asked for again after as long; later questions nobody waits for."""

_PORTS = {"tcp": 80, "tls": 443}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outside:
    """What clusters need to know of servers outside."""

    addresses: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    """IP addresses by `tcp://HOST:PORT` or `tls://HOST:PORT`."""
    ca_bundle: str = ""
    """File of trusted certificates; needed for tls:// only."""


Resolve = Callable[[str, int], list[str]]
"""Host and port to IP addresses; raises OSError."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One server outside."""

    host: str
    port: int
    tls: bool

    @property
    def authority(self) -> str:
        """What belongs into the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS["tls" if self.tls else "tcp"] else f"{host}:{self.port}"

    @property
    def is_ip(self) -> bool:
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


def parse(address: str) -> Endpoint | None:
    """
    The server a replica's address names; None for the path of a Unix socket.

    Raises:
        ConfigError: it is neither.
    """
    if address.startswith("/"):
        return None
    try:
        parts = urllib.parse.urlsplit(address)
        port = parts.port
    except ValueError:
        parts, port = urllib.parse.urlsplit(""), None
    if parts.scheme not in _PORTS or not parts.hostname or not port or parts.path or parts.query or parts.username:
        raise errors.ConfigError(
            f"{address!r} is no address of a server.",
            remedy="Write tcp://HOST:PORT or tls://HOST:PORT.",
            code=errors.Code.GATEWAY_ADDRESS,
        )
    return Endpoint(host=parts.hostname, port=port, tls=parts.scheme == "tls")


def servers(snapshot: traffic.RoutingSnapshot) -> dict[str, Endpoint]:
    """
    Every server outside that a snapshot names, by its address.

    Raises:
        ConfigError: an address is none.
    """
    found = {}
    for route in snapshot.routes:
        arms = gateway.arms(route)
        sockets = [replica.socket for arm in arms for replica in arm.replicas]
        for address in [*sockets, *(address for arm in route.fallbacks for address in arm.addresses)]:
            server = parse(address)
            if server is not None:
                found[address] = server
    return found


def ca_bundle() -> pathlib.Path:
    """
    The system's file of trusted certificates.

    Raises:
        UnavailableError: there is none.
    """
    default = ssl.get_default_verify_paths().cafile
    usual = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
    for candidate in (default, *usual):
        if candidate is not None and pathlib.Path(candidate).is_file():
            return pathlib.Path(candidate)
    raise errors.UnavailableError(
        "This machine has no file of trusted certificates, so a tls:// server cannot be verified.",
        remedy="Install the package ca-certificates, or name a file in the variable SSL_CERT_FILE.",
        code=errors.Code.GATEWAY_ADDRESS,
    )


def system_resolve(host: str, port: int) -> list[str]:
    """What getaddrinfo says, in a fixed order; of two families IPv4: a machine without IPv6 is still told of both."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    old = {str(entry[4][0]) for entry in found if entry[0] == socket.AF_INET}
    return sorted(old or {str(entry[4][0]) for entry in found})


class Resolver:
    """Host names to addresses: the last good answer is kept, also over a restart, and nobody waits for a newer one."""

    def __init__(self, file: pathlib.Path, *, timekeeper: clock.Clock, resolve: Resolve = system_resolve) -> None:
        self._file = file
        self._clock = timekeeper
        self._resolve = resolve
        self._lock = threading.Lock()
        self._asked_at: dict[str, float] = {}
        self._failures: dict[str, str] = {}
        self._known: dict[str, list[str]] = {}
        with contextlib.suppress(msgspec.DecodeError):  # only a memory
            self._known = msgspec.json.decode(files.read(file) or b"{}", type=dict[str, list[str]])

    def addresses(self, endpoint: Endpoint) -> list[str]:
        """
        IP addresses of the server, as last heard.

        Raises:
            UnavailableError: the name was never resolved, and is not now.
        """
        if endpoint.is_ip:
            return [endpoint.host]
        name = f"{endpoint.host}:{endpoint.port}"
        now = self._clock.now()
        asked_at = self._asked_at.get(name)
        patience = REFRESH_SECONDS if name in self._known else _FIRST_ANSWER_SECONDS
        if asked_at is None or not 0.0 <= now - asked_at < patience:
            self._asked_at[name] = now
            question = threading.Thread(target=self._ask, args=(name, endpoint), daemon=True)
            question.start()
            if name not in self._known:
                question.join(_FIRST_ANSWER_SECONDS)
        with self._lock:
            known = self._known.get(name)
        if known:
            return known
        raise errors.UnavailableError(
            f"The name {endpoint.host} does not resolve ({self._failures.get(name, 'no answer yet')}).",
            remedy="Check the name and this machine's resolver; the routes before this change stay in force.",
            code=errors.Code.GATEWAY_ADDRESS,
        )

    def _ask(self, name: str, endpoint: Endpoint) -> None:
        try:
            found = self._resolve(endpoint.host, endpoint.port)
        except OSError as error:
            self._failures[name] = str(error)
            return
        if not found:
            return
        with self._lock:
            if self._known.get(name) == found:
                return
            self._known[name] = found
            # Only a memory for a restart: a full disk is told by those who cannot go on without it.
            with contextlib.suppress(errors.UnavailableError):
                files.replace(self._file, msgspec.json.encode(self._known))
