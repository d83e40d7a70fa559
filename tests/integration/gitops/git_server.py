"""A real git server: git's own http-backend behind HTTP with a password, and a person's clone of a repository on it."""

from __future__ import annotations

import base64
import http.server
import os
import pathlib
import subprocess
import threading

USER, PASSWORD = "robot", "correct-horse-battery"


class GitServer:
    """
    Serves DIRECTORY/*.git until it is closed.

    Args:
        directory: Where the repositories are.
        password: Ask for USER and PASSWORD.
    """

    def __init__(self, directory: pathlib.Path, *, password: bool = False) -> None:
        self.directory = directory
        self.requests: list[str] = []
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def log_message(self, *arguments: object) -> None:
                pass

            def _answer(self) -> None:
                outer.requests.append(f"{self.command} {self.path}")
                body = self._body()
                if password and self.headers.get("authorization") != wanted:
                    self.send_response(401)
                    self.send_header("www-authenticate", 'Basic realm="git"')
                    self.send_header("content-length", "0")
                    self.end_headers()
                    return
                self._reply(outer.backend(self.command, self.path, dict(self.headers), body))

            def _body(self) -> bytes:
                if self.headers.get("transfer-encoding", "") == "chunked":
                    parts = []
                    while size := int(self.rfile.readline(), 16):
                        parts.append(self.rfile.read(size))
                        self.rfile.readline()
                    self.rfile.readline()
                    return b"".join(parts)
                return self.rfile.read(int(self.headers.get("content-length", "0")))

            def _reply(self, raw: bytes) -> None:
                head, _, content = raw.partition(b"\r\n\r\n")
                headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
                self.send_response(int(headers.pop("Status", "200 OK").split()[0]))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.port: int = self._server.server_address[1]

    def url(self, name: str = "flights") -> str:
        return f"http://127.0.0.1:{self.port}/{name}.git"

    def create(self, name: str = "flights") -> pathlib.Path:
        """An empty repository; pushes are taken."""
        place = self.directory / f"{name}.git"
        git(self.directory, "init", "-q", "--bare", "-b", "main", str(place))
        git(place, "config", "http.receivepack", "true")
        git(place, "config", "uploadpack.allowAnySHA1InWant", "true")
        return place

    def protect(self, branch: str, *, name: str = "flights") -> None:
        """A hook as hosting services have it: nobody pushes there directly."""
        hook = self.directory / f"{name}.git" / "hooks" / "pre-receive"
        hook.write_text(
            "#!/bin/sh\nwhile read -r old new name; do\n"
            f"  if [ $name = refs/heads/{branch} ]; then\n"
            f"    echo 'You are not allowed to push to {branch}: open a merge request.' >&2; exit 1\n  fi\ndone\n"
        )
        hook.chmod(0o755)

    def open(self, *, name: str = "flights") -> None:
        (self.directory / f"{name}.git" / "hooks" / "pre-receive").unlink()

    def backend(self, method: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
        path, _, query = target.partition("?")
        lowered = {key.lower(): value for key, value in headers.items()}
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.directory),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": lowered.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": lowered.get("content-encoding", ""),
            "GIT_PROTOCOL": lowered.get("git-protocol", ""),
            "REMOTE_USER": USER,
            "REMOTE_ADDR": "127.0.0.1",
        }
        return subprocess.run(
            ["git", "http-backend"], input=body, env=environment, capture_output=True, check=True
        ).stdout

    def close(self) -> None:
        """No connection is taken any more: the server is down."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def git(directory: pathlib.Path, *arguments: str, config: pathlib.Path | None = None) -> str:
    """Runs git as Ada, with nobody's configuration."""
    identity = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com"}
    identity |= {"GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com"}
    done = subprocess.run(
        ["git", "-C", str(directory), *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **identity, "GIT_CONFIG_GLOBAL": str(config or os.devnull), "GIT_TERMINAL_PROMPT": "0"},
    )
    assert done.returncode == 0, f"git {arguments}: {done.stderr}"
    return done.stdout.strip()
