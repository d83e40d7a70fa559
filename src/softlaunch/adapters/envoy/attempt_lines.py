"""Lines of the attempt log as attempts: in some two microseconds each, for there is one for every try of a request."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, cast

import msgspec

from softlaunch.adapters.envoy import names
from softlaunch.core import attempts


class Line(msgspec.Struct, gc=False):
    """
    config.ATTEMPT_LOG as Envoy writes it: an absent value is null.

    In the order in which Envoy writes them (by name): msgspec looks for a field where the last one ended, and takes a
    third less time than with another order. `fallback` and `place` are in lines of config.FALLBACK_LOG only, `gap` in
    those of the gateway itself.
    """

    bytes: str | None = None
    cluster: str | None = None
    cpu: str | None = None
    epoch: str | None = None
    fallback: str | None = None
    features: str | None = None
    flags: str | None = None
    gap: str | None = None
    host: str | None = None
    id: str | None = None
    invalid: str | None = None
    key: str | None = None
    memory: str | None = None
    number: str | None = None
    out: str | None = None
    place: str | None = None
    release: str | None = None
    served: str | None = None
    shed: str | None = None
    start: str = ""
    status: int = 0
    us: int | None = None


_DIGITS_MAX = 19
"""More would not fit into 64 bits, and no counter gets there."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parsed:
    copies: list[attempts.Attempt]
    """Of mirrored requests, on the shadow."""
    attempts: list[attempts.Attempt]
    gaps: list[str]
    fallbacks: dict[tuple[str, str], int]
    """Answers that were fallbacks, by service and environment."""
    fallback_ids: list[str] = dataclasses.field(default_factory=list)
    """Their requests."""


class Parser:
    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(Line)
        self._place_of = _Places()
        self._replica_of = _Replicas()
        self._number_of = _Numbers()
        self._defaulted_of = _Defaulted()

    def parse(self, block: bytes) -> Parsed:
        """Every line of a block of whole lines; a line that is none of ours is a gap, and the others are still read."""
        gaps: list[str] = []
        try:
            lines = self._decoder.decode_lines(block)
        except (msgspec.DecodeError, UnicodeDecodeError):
            lines = self._one_by_one(block, gaps)
        found: list[attempts.Attempt] = []
        copies: list[attempts.Attempt] = []
        fallbacks: dict[tuple[str, str], int] = {}
        fallback_ids: list[str] = []
        place_of, replica_of, number_of = self._place_of, self._replica_of, self._number_of
        defaulted_of = self._defaulted_of
        # What Attempt._make does, without asking whether the fields are as many as they are below.
        make = cast("Callable[[type[attempts.Attempt], tuple[Any, ...]], attempts.Attempt]", tuple.__new__)
        kind, keep = attempts.Attempt, found.append
        for line in lines:
            try:
                service, environment, composite, shadow = place_of[line.cluster]
                release, replica, is_socket = replica_of[line.host]
                served = line.served
                recorded = False
                if served and served[-1] == attempts.RECORDED:
                    served = served[:-1]
                    # A server with an address of its own writes to a spool of its own.
                    recorded = is_socket
                # Another one for every answer of a process: not worth remembering.
                number = int(served) if served and served.isdecimal() and len(served) < _DIGITS_MAX else None
                attempt = make(
                    kind,
                    (
                        float(line.start),
                        line.id or "",
                        service,
                        environment,
                        int(line.epoch or 0),
                        line.release or release,
                        composite,
                        int(line.number or 1),
                        line.status,
                        line.flags or "-",
                        line.us,
                        line.key or "",
                        line.invalid is not None,
                        line.shed is not None,
                        line.out or "",
                        number_of[line.cpu],
                        number_of[line.memory],
                        number,
                        number_of[line.bytes],
                        replica,
                        defaulted_of[line.features],
                        recorded and number is not None,
                    ),
                )
                if shadow:
                    copies.append(_copy(attempt))
                else:
                    keep(attempt)
            except ValueError as error:
                # Neither has a cluster, so the common case pays nothing for the rare ones.
                if line.fallback is not None and line.place is not None:
                    service, _, environment = line.place.partition("/")
                    fallbacks[service, environment] = fallbacks.get((service, environment), 0) + 1
                    fallback_ids.append(line.id or "")
                else:
                    gaps.append(line.gap or f"an attempt log line with an impossible value ({error})")
        return Parsed(attempts=found, gaps=gaps, fallbacks=fallbacks, copies=copies, fallback_ids=fallback_ids)

    def _one_by_one(self, block: bytes, gaps: list[str]) -> list[Line]:
        lines = []
        broken = 0
        for text in block.split(b"\n"):
            if not text:
                continue
            try:
                lines.append(self._decoder.decode(text))
            except (msgspec.DecodeError, UnicodeDecodeError):
                broken += 1
        if broken:
            gaps.append(f"{broken} unreadable attempt log lines")
        return lines


def _copy(attempt: attempts.Attempt) -> attempts.Attempt:
    """A copy has no client who could leave and no hedge who could win: without an answer its time was over."""
    return attempt._replace(flags="UT") if attempt.status == 0 and attempt.flags == "-" else attempt


class _Places(dict[str | None, tuple[str, str, bool, bool]]):
    """Cluster name to service, environment, composite, shadow; each name is taken apart once."""

    def __missing__(self, cluster: str | None) -> tuple[str, str, bool, bool]:
        name = names.parse(cluster or "")
        if name is None:
            raise ValueError(f"unknown cluster {cluster!r}")
        place = (name.service, name.environment, name.role in names.COMPOSITES, name.role is names.Role.SHADOW)
        self[cluster] = place
        return place


class _Replicas(dict[str | None, tuple[str, str, bool]]):
    """
    Host to release and replica: file name of a socket, up to its first dot and whole; both empty when none was reached.
    And whether it is a socket.

    A server with an address of its own has its release in the line, as have sockets whose name does not tell it.
    """

    def __missing__(self, host: str | None) -> tuple[str, str, bool]:
        if len(self) > 10_000:
            self.clear()
        folder, _, name = (host or "").rpartition("/")
        self[host] = found = (name.partition(".")[0] if folder else "", name, bool(folder))
        return found


class _Numbers(dict[str | None, int | None]):
    """A count as a server claims it; what is none (and what no counter reaches) is None."""

    def __missing__(self, text: str | None) -> int | None:
        if len(self) > 10_000:
            self.clear()
        self[text] = found = int(text) if text and text.isdecimal() and len(text) < _DIGITS_MAX else None
        return found


_FEATURES = re.compile(r"missing=(\d{1,9}),late=(\d{1,9}),stale=(\d{1,9})", re.ASCII)


class _Defaulted(dict[str | None, int | None]):
    """How many looked-up values were not to be had, of x-softlaunch-features; None where nothing is looked up."""

    def __missing__(self, text: str | None) -> int | None:
        if len(self) > 10_000:
            self.clear()
        counts = _FEATURES.fullmatch(text or "")
        self[text] = found = sum(map(int, counts.groups())) if counts is not None else None
        return found
