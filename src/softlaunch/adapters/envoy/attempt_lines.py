"""Lines of the attempt log as attempts: two microseconds each, because there is one for every try of every request."""

from __future__ import annotations

import dataclasses

import msgspec

from softlaunch.adapters.envoy import names
from softlaunch.core import attempts


class Line(msgspec.Struct, gc=False):
    """config.ATTEMPT_LOG as Envoy writes it: an absent value is null; `gap` only in lines of the gateway itself."""

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
    gap: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parsed:
    attempts: list[attempts.Attempt]
    gaps: list[str]


class Parser:
    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(Line)
        self._place_of = _Places()
        self._release_of = _Releases()

    def parse(self, block: bytes) -> Parsed:
        """Every line of a block of whole lines; a line that is none of ours is a gap, and the others are still read."""
        gaps: list[str] = []
        try:
            lines = self._decoder.decode_lines(block)
        except (msgspec.DecodeError, UnicodeDecodeError):
            lines = self._one_by_one(block, gaps)
        found = []
        make, place_of, release_of = attempts.Attempt._make, self._place_of, self._release_of
        for line in lines:
            try:
                place = place_of[line.cluster]
                found.append(
                    make(
                        (
                            float(line.start),
                            line.id or "",
                            place[0],
                            place[1],
                            int(line.epoch or 0),
                            release_of[line.host],
                            place[2],
                            int(line.number or 1),
                            line.status,
                            line.flags or "-",
                            line.us,
                            line.key or "",
                            line.invalid is not None,
                            line.shed is not None,
                        )
                    )
                )
            except ValueError as error:
                # A line of the gateway's own has no cluster either: the common case pays nothing for the rare one.
                gaps.append(line.gap or f"an attempt log line with an impossible value ({error})")
        return Parsed(attempts=found, gaps=gaps)

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


class _Places(dict[str | None, tuple[str, str, bool]]):
    """Cluster name to service, environment, composite; each name is taken apart once."""

    def __missing__(self, cluster: str | None) -> tuple[str, str, bool]:
        name = names.parse(cluster or "")
        if name is None:
            raise ValueError(f"unknown cluster {cluster!r}")
        place = (name.service, name.environment, name.role is names.Role.COMPOSITE)
        self[cluster] = place
        return place


class _Releases(dict[str | None, str]):
    """Replica socket to release: its file name up to the first dot; empty when no replica was reached."""

    def __missing__(self, host: str | None) -> str:
        if len(self) > 10_000:
            self.clear()
        self[host] = release = (host or "").rpartition("/")[2].partition(".")[0]
        return release
