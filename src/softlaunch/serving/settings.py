"""How the model server was started. Imports nothing heavy: thread counts must be set before numpy is imported."""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import re
import socket
from collections.abc import Mapping, Sequence

_PORT_MAX = 65535
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{12})[0-9a-f]*(_[0-9]+)?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Address:
    """Where a container listens. Anybody who reaches it may ask: what is in front decides who does."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    release: pathlib.Path
    socket: pathlib.Path | Address
    instance: str
    batch_rows_max: int
    queue_rows_max: int
    body_bytes_max: int
    threads: int
    grace_seconds: float
    debug: bool
    spool: pathlib.Path | None = None
    """Directory of one service in one environment (its name) that predictions are recorded in; None: they are not."""
    spool_bytes_max: int = 2**30
    capture_percent: float = 100.0
    capture_keys: tuple[str, ...] = ()
    """Business keys that requests may carry beside the features."""
    redact: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What is recorded of a field: drop or hash."""
    redact_secret: pathlib.Path | None = None
    """File with the key of the hashes."""
    tell_service_time: bool = False
    predict_paths: tuple[str, ...] = ()
    """Of apps and commands: whose POST requests are predictions; a final * stands for any rest."""
    digest: str | None = None
    """First twelve hex digits of the release's digest, where neither directory nor socket is named for it; with the
    number of its settings (`_1`) behind them where they are not those it was first launched with."""


def parse(arguments: Sequence[str]) -> Settings:
    """The settings in `arguments`; prints the usage and exits with 2 when they are wrong."""
    parser = argparse.ArgumentParser(prog="python -m softlaunch.serving", description="Serve one unpacked release.")
    parser.add_argument("--release", type=pathlib.Path, required=True, help="directory of the unpacked release")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--socket", type=pathlib.Path, help="Unix socket to serve on")
    place.add_argument(
        "--listen", type=_address, metavar="HOST:PORT", help="TCP to serve on, in a container; $NAME is a variable"
    )
    parser.add_argument("--instance", help="token that health answers carry; with --listen the host's name")
    parser.add_argument("--digest", type=_version, metavar="DIGEST", help="of the release, if no path's name says it")
    parser.add_argument("--batch-rows-max", type=_positive, default=256, help="rows of one model call (%(default)s)")
    parser.add_argument("--queue-rows-max", type=_positive, default=4096, help="rows that may wait (%(default)s)")
    parser.add_argument("--body-bytes-max", type=_positive, default=16 * 2**20, help="largest body (%(default)s)")
    parser.add_argument("--threads", type=_positive, default=1, help="threads of one model call (%(default)s)")
    parser.add_argument("--grace-seconds", type=float, default=8.0, help="time to drain after SIGTERM (%(default)s)")
    parser.add_argument("--spool", type=pathlib.Path, help="record predictions in this directory, SERVICE/ENVIRONMENT")
    parser.add_argument(
        "--spool-bytes-max", type=_positive, default=2**30, help="of the directory, oldest go first (%(default)s)"
    )
    parser.add_argument(
        "--capture-percent", type=_percent, default=100.0, help="share of requests recorded (%(default)s)"
    )
    parser.add_argument(
        "--capture-key", action="append", default=[], metavar="NAME", help="member of requests beside the features"
    )
    parser.add_argument(
        "--redact", action="append", default=[], type=_redaction, metavar="FIELD=drop|hash", help="not to be recorded"
    )
    parser.add_argument("--redact-secret", type=pathlib.Path, help="file with the key of the hashes")
    parser.add_argument(
        "--tell-service-time", action="store_true", help="answer with x-softlaunch-service-us, for replays"
    )
    parser.add_argument(
        "--predict-path", action="append", default=[], metavar="PATH", help="of an app: POST there is a prediction"
    )
    parser.add_argument("--debug", action="store_true", help="print tracebacks")
    found = parser.parse_args(arguments)
    # Absolute: a release's code becomes the working directory.
    paths = {
        name: path.absolute()
        for name, path in vars(found).items()
        if name in ("release", "socket", "spool", "redact_secret") and path is not None
    }
    others = {**vars(found), **paths, "redact": dict(found.redact)}
    if "hash" in others["redact"].values() and found.redact_secret is None:
        parser.error("--redact FIELD=hash needs --redact-secret")
    listen = others.pop("listen")
    if listen is not None:
        others = {**others, "socket": listen, "instance": found.instance or socket.gethostname()}
    elif found.instance is None:
        parser.error("--socket needs --instance")
    return Settings(
        predict_paths=tuple(others.pop("predict_path")), capture_keys=tuple(others.pop("capture_key")), **others
    )


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if port.startswith("$"):  # serverless platforms choose the port and tell it in a variable
        port = os.environ.get(port[1:], "")
    if not host or not (port.isascii() and port.isdecimal() and 0 < int(port) <= _PORT_MAX):
        raise argparse.ArgumentTypeError(f"{text} is not HOST:PORT with a port between 1 and {_PORT_MAX}")
    return Address(host=host.removeprefix("[").removesuffix("]"), port=int(port))


def _version(text: str) -> str:
    found = _DIGEST.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text} is not a digest")
    return found[1] + (found[2] or "")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value


def _redaction(text: str) -> tuple[str, str]:
    name, equals, how = text.rpartition("=")
    if not equals or not name or how not in ("drop", "hash"):
        raise argparse.ArgumentTypeError(f"{text} is not FIELD=drop or FIELD=hash")
    return name, how


def _percent(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 100.0:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 100")
    return value
