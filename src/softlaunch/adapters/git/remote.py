"""
The git program, asked about repositories that lie elsewhere.

Who may come in is git's own business: its credential helpers, its ssh, its configuration. Nobody is asked at a
terminal. Whatever git says is freed of user names and passwords in URLs before it goes anywhere.
"""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence

from softlaunch import errors

ASK_SECONDS_MAX = 30.0
TRANSFER_SECONDS_MAX = 900.0
"""A first copy of a repository of some gigabytes; a guess."""
_USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@'\"]*@", re.IGNORECASE)
_SECRETS = re.compile(r"((?:authorization|token|password)\s*[:=]\s*)\S+(?: \S+)?", re.IGNORECASE)
_KEPT = ("GIT_SSH", "GIT_ASKPASS", "GIT_CONFIG_", "GIT_SSL_", "GIT_HTTP_", "GIT_PROXY_", "GIT_ALLOW_PROTOCOL")
"""Of git's variables those that say how to get in. Others name another repository, or print what is secret."""
_SETTINGS = {
    "core.hooksPath": os.devnull,
    "protocol.ext.allow": "never",
    "gc.autoDetach": "false",
    "advice.detachedHead": "false",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "20",
}


def scrub(text: str) -> str:
    """The text without what could let somebody in."""
    return _SECRETS.sub(r"\1***", _USERINFO.sub(r"\1", text))


class Git:
    """
    Runs git; may be used by several threads, and `close` ends what any of them waits for.

    Args:
        url: Of the server's repository, for messages.
    """

    def __init__(self, url: str) -> None:
        self._shown = scrub(url)
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def run(
        self,
        directory: pathlib.Path,
        *arguments: str,
        check: bool = True,
        seconds: float = ASK_SECONDS_MAX,
        variables: Mapping[str, str] | None = None,
        ask: bytes = b"",
    ) -> subprocess.CompletedProcess[bytes]:
        """
        Runs git in a directory.

        Args:
            directory: Where.
            arguments: Of git.
            check: Raise when git fails.
            seconds: After which it is ended.
            variables: Further environment variables.
            ask: Its standard input.

        Raises:
            UnavailableError: it failed, hung or is not there; or `close` was called.
        """
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = ["git", *settings, "-C", str(directory), *arguments]
        process = self._begin(command, {**environment(), **(variables or {})})
        try:
            out, err = process.communicate(ask, timeout=seconds)
        except subprocess.TimeoutExpired as error:
            self._end(process)
            raise failed(
                f"{self._shown} did not answer `git {arguments[0]}` within {seconds:g} s.",
                "Check the network and the server; it is tried again.",
            ) from error
        finally:
            with self._lock:
                self._running.discard(process)
        if check and process.returncode:
            raise self.refused(arguments, err)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def refused(self, arguments: Sequence[str], said: bytes) -> errors.UnavailableError:
        """The error for what git printed."""
        words = scrub(" ".join(said.decode(errors="replace").split()))
        return failed(
            f"git {arguments[0]} of {self._shown} failed: {words:.400}",
            "Check the address, the network, and that git gets in by itself: `git ls-remote` as the same user.",
        )

    def close(self) -> None:
        """Ends what runs; nothing is started any more."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for process in running:
            self._end(process)

    def _begin(self, command: list[str], variables: dict[str, str]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise failed("The control plane stops.", "It is asked again by the next one.")
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=variables,
                    start_new_session=True,
                )
            except OSError as error:
                raise failed(f"git cannot be started: {error.strerror}.", "Install git.") from error
            self._running.add(process)
            return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Ends it and its children: git leaves the network to programs of its own."""
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        process.wait()


def environment() -> dict[str, str]:
    """What git is started with."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name.startswith(_KEPT)}
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "GCM_INTERACTIVE": "never", "LC_ALL": "C"}


def failed(message: str, remedy: str) -> errors.UnavailableError:
    return errors.UnavailableError(message, remedy=remedy, code=errors.Code.GIT_FAILED)
