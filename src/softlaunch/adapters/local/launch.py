"""Starts one model server process and says how one ended."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
from collections.abc import Callable, Mapping

from softlaunch.adapters.local import logs, process, records
from softlaunch.ports import fleet

FLEET_VARIABLE = "SOFTLAUNCH_FLEET"
"""Holds the run directory in the environment of every process of the fleet, so that one without a record is found."""

_INHERITED = frozenset(
    (
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "PATH",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TMPDIR",
        "TZ",
        "USER",
    )
)
"""What a process needs of the environment `up` was typed in; the rest (credentials, proxies) stays out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launch:
    """What it takes to start a replica, prepared by wiring."""

    python: pathlib.Path
    """Interpreter that runs the module."""
    release_directory: pathlib.Path | None
    """The unpacked release; None: the module serves none."""
    module: str = "softlaunch.serving"
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Wins over the environment the replica's spec asks for: PYTHONPATH belongs here."""
    arguments: tuple[str, ...] = ()
    """Further arguments of the module."""


Launcher = Callable[[fleet.ReplicaSpec], Launch]
"""May take long (unpack a release, build its virtual environment); called in a thread of its own, never twice at once
for one release. What it raises becomes the replica's FAILED detail."""


def spawn(
    launch: Launch, spec: fleet.ReplicaSpec, record: records.Record, *, fleet_mark: str
) -> subprocess.Popen[bytes]:
    """
    Starts the process in a session of its own, so that no signal to the control plane's terminal reaches it.

    Raises:
        OSError: the interpreter or the release's directory is not there, or no process or log can be made.
    """
    pathlib.Path(record.socket).unlink(missing_ok=True)
    served = () if launch.release_directory is None else ("--release", str(launch.release_directory))
    output = logs.open_to_append(pathlib.Path(record.log))
    try:
        return subprocess.Popen(
            [
                str(launch.python),
                "-m",
                launch.module,
                *served,
                "--socket",
                record.socket,
                "--instance",
                record.token,
                *launch.arguments,
            ],
            cwd=launch.release_directory,
            env=environment(launch, spec, record, fleet_mark=fleet_mark),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            close_fds=True,
            start_new_session=True,
        )
    finally:
        os.close(output)


def environment(launch: Launch, spec: fleet.ReplicaSpec, record: records.Record, *, fleet_mark: str) -> dict[str, str]:
    """Needed of ours, then what the service asks for, then what the launch needs; the marks cannot be overridden."""
    inherited = {key: value for key, value in os.environ.items() if key in _INHERITED or key.startswith("LC_")}
    return {
        **inherited,
        "PYTHONUNBUFFERED": "1",  # the last words of a crash reach the log
        "PYTHONSAFEPATH": "1",  # the release's own folders (code/!) must not shadow modules; serving adds what it needs
        **spec.env,
        **launch.env,
        process.TOKEN_VARIABLE: record.token,
        FLEET_VARIABLE: fleet_mark,
    }


def describe_exit(returncode: int) -> str:
    """As subprocess reports it: negative for a signal."""
    if returncode >= 0:
        return f"ended by itself with exit code {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was killed by signal {-returncode}"
