"""A real registry, a root directory made of this machine's own Python, and podman."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator

import httpx

PROGRAMS = ("docker-registry", "podman", "skopeo", "runc", "buildah")
_SKIPPED = ("test", "idlelib", "ensurepip", "site-packages", "lib2to3", "tkinter", "turtledemo")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def root(top: pathlib.Path) -> pathlib.Path:
    """The interpreter that runs this, its standard library and the shared libraries both need."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    prefix = pathlib.Path(sys.base_prefix)
    library = top / "usr" / "local" / "lib" / version
    shutil.copytree(
        prefix / "lib" / version,
        library,
        symlinks=True,
        ignore=lambda place, names: {
            name for name in names if name in _SKIPPED or (name.startswith("config-") and place.endswith(version))
        },
    )
    binary = top / "usr" / "local" / "bin" / version
    binary.parent.mkdir(parents=True)
    shutil.copy2(prefix / "bin" / version, binary)
    for path in _shared(binary, *library.glob("lib-dynload/*.so")):
        if not (top / path[1:]).exists():
            (top / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, top / path[1:])
            (top / path[1:]).chmod(0o755)
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
        (top / name).mkdir(exist_ok=True)
    (top / "etc" / "passwd").write_text("root:x:0:0::/:/bin/false\n")
    return top


def _shared(*programs: pathlib.Path) -> set[str]:
    found = set()
    for program in (*programs, *map(pathlib.Path, _cxx())):
        listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
        found |= {word for line in listed.splitlines() for word in line.split() if word.startswith("/")}
    return found | set(_cxx())


def _cxx() -> list[str]:
    """What wheels take for granted of every glibc system."""
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    names = ("libstdc++.so.6", "libgcc_s.so.1", "libpthread.so.0", "librt.so.1", "libdl.so.2")
    return [line.split()[-1] for line in listed.splitlines() if line.split()[:1] and line.split()[0] in names]


@contextlib.contextmanager
def registry(place: pathlib.Path, *, user: str = "", password: str = "") -> Iterator[str]:
    """Debian's docker-registry, for everybody or for one user; gives HOST:PORT."""
    port = free_port()
    config = place / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {place / 'registry'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
        + (f"auth: {{htpasswd: {{realm: lab, path: {place / 'htpasswd'}}}}}\n" if user else "")
    )
    if user:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import crypt
        hashed = crypt.crypt(password, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))
        (place / "htpasswd").write_text(f"{user}:{hashed}\n")
    with (place / "registry.log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/v2/").status_code in (200, 401):
                    break
            assert time.monotonic() < deadline, (place / "registry.log").read_text()
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def may_contain() -> bool:
    """Whether a container can be made here at all: in some sandboxes not even root may."""
    tried = subprocess.run(["unshare", "-m", "-p", "-f", "true"], capture_output=True, check=False)
    return tried.returncode == 0 and os.access("/sys/fs/cgroup", os.W_OK)


class Podman:
    def __init__(self, place: pathlib.Path) -> None:
        roots = ["--root", str(place / "pod"), "--runroot", str(place / "podrun"), "--storage-driver", "vfs"]
        self._words = ["podman", *roots, "--runtime", "/usr/sbin/runc", "--cgroup-manager", "cgroupfs"]

    def __call__(self, *words: str) -> str:
        done = subprocess.run([*self._words, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @contextlib.contextmanager
    def run(self, reference: str) -> Iterator[str]:
        """A running container of the image, read-only, without network of its own; gives its URL."""
        port = free_port()
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
        name = f"softlaunch-{os.getpid()}-{port}"
        place = ("--network", "host", "--env", f"PORT={port}", "--read-only", "--name", name)
        self("run", "--detach", "--tls-verify=false", *limits, *place, reference)
        try:
            deadline = time.monotonic() + 60
            url = f"http://127.0.0.1:{port}"
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"{url}/v2/health/ready").status_code == 200:
                        break
                time.sleep(0.1)
            else:
                raise AssertionError(self("logs", name))
            yield url
        finally:
            self("rm", "--force", "--time", "10", name)
