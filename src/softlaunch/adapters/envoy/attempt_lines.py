"""Lines of the attempt log as attempts: two microseconds each, because there is one for every try of every request."""

from __future__ import annotations

import dataclasses

import msgspec

from softlaunch.adapters.envoy import names
from softlaunch.core import attempts


class Line(msgspec.Struct, gc=False):
    """
    config.ATTEMPT_LOG as Envoy writes it: an absent value is null.

    `fallback` and `place` only in lines of config.FALLBACK_LOG, `gap` only in lines of the gateway itself.
    """

    start: str = ""
    id: str | None = None
    cluster: str | None = None
    epoch: str | None = None
    host: str | None = None
    number: str | None = None
    status: int = 0
    flags: str | None = None
    us: int | None = None
    key: str | None = None
    invalid: str | None = None
    shed: str | None = None
    release: str | None = None
    out: str | None = None
    cpu: str | None = None
    memory: str | None = None
    served: str | None = None
    bytes: str | None = None
    fallback: str | None = None
    place: str | None = None
    gap: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parsed:
    attempts: list[attempts.Attempt]
    gaps: list[str]
    fallbacks: dict[tuple[str, str], int]
    """Answers that were fallbacks, by service and environment."""
    copies: list[attempts.Attempt]
    """Of mirrored requests, on the shadow."""


class Parser:
    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(Line)
        self._place_of = _Places()
        self._replica_of = _Replicas()

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
        make, place_of, replica_of, number = attempts.Attempt._make, self._place_of, self._replica_of, _number
        for line in lines:
            try:
                place = place_of[line.cluster]
                replica = replica_of[line.host]
                (copies if place[3] else found).append(
                    make(
                        (
                            float(line.start),
                            line.id or "",
                            place[0],
                            place[1],
                            int(line.epoch or 0),
                            line.release or replica[0],
                            place[2],
                            int(line.number or 1),
                            line.status,
                            line.flags or "-",
                            line.us,
                            line.key or "",
                            line.invalid is not None,
                            line.shed is not None,
                            line.out or "",
                            number(line.cpu) if line.cpu else None,
                            number(line.memory) if line.memory else None,
                            number(line.served) if line.served else None,
                            number(line.bytes) if line.bytes else None,
                            replica[1],
                        )
                    )
                )
            except ValueError as error:
                # Neither has a cluster, so the common case pays nothing for the rare ones.
                if line.fallback is not None and line.place is not None:
                    service, _, environment = line.place.partition("/")
                    fallbacks[service, environment] = fallbacks.get((service, environment), 0) + 1
                else:
                    gaps.append(line.gap or f"an attempt log line with an impossible value ({error})")
        return Parsed(attempts=found, gaps=gaps, fallbacks=fallbacks, copies=copies)

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


class _Places(dict[str | None, tuple[str, str, bool, bool]]):
    """Cluster name to service, environment, composite, shadow; each name is taken apart once."""

    def __missing__(self, cluster: str | None) -> tuple[str, str, bool, bool]:
        name = names.parse(cluster or "")
        if name is None:
            raise ValueError(f"unknown cluster {cluster!r}")
        place = (name.service, name.environment, name.role in names.COMPOSITES, name.role is names.Role.SHADOW)
        self[cluster] = place
        return place


class _Replicas(dict[str | None, tuple[str, str]]):
    """
    Host to release and replica: file name of a socket, up to its first dot and whole; both empty when none was reached.

    A server with an address of its own has its release in the line, as have sockets whose name does not tell it.
    """

    def __missing__(self, host: str | None) -> tuple[str, str]:
        if len(self) > 10_000:
            self.clear()
        folder, _, name = (host or "").rpartition("/")
        self[host] = found = (name.partition(".")[0] if folder else "", name)
        return found


def _number(text: str) -> int | None:
    """A count as a server claims it; what is none (and what no counter reaches) is not believed."""
    return int(text) if len(text) < 19 and text.isdecimal() else None
