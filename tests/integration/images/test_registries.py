"""Images to and from registries that ask who one is, break off, or answer nonsense."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import pathlib
import threading

import pytest

from softlaunch import errors
from softlaunch.adapters.images import store, transfer
from softlaunch.core import release
from softlaunch.distribution import repository

SECRET = "s3cret-of-ana"
BASIC = "Basic " + base64.b64encode(f"ana:{SECRET}".encode()).decode()


class Registry:
    """A registry in memory that wants a token, got with a password; `breaks` says what goes wrong next."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.uploads = 0
        self.breaks: list[str] = []
        self.refuses: list[int] = []
        self.realm = ""
        self.upload_host = ""
        self.seen: list[tuple[str, str | None]] = []
        """Paths, and the credentials they came with."""
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path, _, query = self.path.partition("?")
                registry.seen.append((path, self.headers.get("Authorization")))
                if path.startswith("/elsewhere/"):
                    self.answer(201)
                elif path == "/token":
                    right = self.headers.get("Authorization") == BASIC
                    self.answer(200 if right else 401, b'{"token": "t1"}' if right else b"{}")
                elif self.headers.get("Authorization") != "Bearer t1":
                    realm = registry.realm or f"http://{registry.host}/token"
                    told = f'Bearer realm="{realm}",service="r",scope="repository:demo:pull,push"'
                    self.answer(401, WWW_Authenticate=told)
                elif registry.refuses:
                    self.answer(registry.refuses.pop(0), Retry_After="0")
                elif registry.breaks and registry.breaks[0] in f"{self.command} {path}":
                    registry.breaks.pop(0)
                    self.close_connection = True
                elif "/manifests/" in path:
                    self.manifest(path.rpartition("/")[2], body)
                elif self.command == "POST":
                    there = f"http://{registry.upload_host}/elsewhere/" if registry.upload_host else path
                    self.answer(202, Location=f"{there}1?state=x")
                elif self.command == "PUT":
                    digest = query.partition("digest=")[2].replace("%3A", ":")
                    assert digest == "sha256:" + hashlib.sha256(body).hexdigest()
                    registry.blobs[digest] = body
                    registry.uploads += 1
                    self.answer(201)
                else:
                    found = registry.blobs.get(path.rpartition("/")[2])
                    self.answer(404 if found is None else 200, found or b"")

            def manifest(self, name: str, body: bytes) -> None:
                if self.command == "PUT":
                    registry.manifests[name] = body
                    self.answer(201)
                else:
                    found = registry.manifests.get(name)
                    self.answer(404 if found is None else 200, found or b"")

            do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def registry(tmp_path, monkeypatch):
    monkeypatch.setattr(repository, "_PAUSE_SECONDS", 0.001)
    found = Registry()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,))
    thread.start()
    log_in(tmp_path, monkeypatch, {"auths": {found.host: {"auth": BASIC.removeprefix("Basic ")}}})
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def log_in(tmp_path: pathlib.Path, monkeypatch, config: dict) -> None:
    (tmp_path / "docker").mkdir(exist_ok=True)
    (tmp_path / "docker" / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


def image(place: pathlib.Path) -> release.Digest:
    layout = store.Store(place)
    blobs = [layout.put(b"{}"), layout.put(b"a layer"), layout.put(b"another")]
    described = [{"digest": each.value, "size": layout.path(each).stat().st_size} for each in blobs]
    return layout.put(store.canonical({"config": described[0], "layers": described[1:]}))


def test_what_was_pushed_is_fetched_again_and_never_sent_twice(registry, tmp_path) -> None:
    digest = image(tmp_path / "layout")
    registries = transfer.Registries()

    first = registries.send(tmp_path / "layout", digest, f"{registry.host}/demo:v1")
    second = registries.send(tmp_path / "layout", digest, f"{registry.host}/demo:v2")
    fetched = registries.fetch(f"{registry.host}/demo:v1", tmp_path / "other", architecture="amd64")

    assert (digest, 3) == (fetched, registry.uploads)
    assert {"v1", "v2"} == set(registry.manifests)
    assert (0, 16) == (first.present_bytes, second.present_bytes)
    assert b"another" in {path.read_bytes() for path in (tmp_path / "other" / "blobs" / "sha256").iterdir()}


@pytest.mark.parametrize(
    "broken", ["HEAD /v2/demo/blobs", "POST /v2/demo/blobs", "PUT /v2/demo/blobs", "PUT /v2/demo/man"]
)
def test_a_connection_that_breaks_is_tried_again_and_one_that_stays_broken_leaves_no_manifest(
    registry, tmp_path, broken
) -> None:
    digest = image(tmp_path / "layout")
    registry.breaks = [broken] * 9
    with pytest.raises(errors.UnavailableError) as raised:
        transfer.Registries().send(tmp_path / "layout", digest, f"{registry.host}/demo:v1")
    assert errors.Code.IMAGE_REGISTRY is raised.value.code
    assert {} == registry.manifests

    registry.breaks = [broken]
    transfer.Registries().send(tmp_path / "layout", digest, f"{registry.host}/demo:v1")

    assert {"v1"} == set(registry.manifests)


def test_a_registry_that_is_busy_is_asked_again_when_it_says(registry, tmp_path) -> None:
    registry.refuses = [429, 503]

    transfer.Registries().send(tmp_path / "layout", image(tmp_path / "layout"), f"{registry.host}/demo:v1")

    assert {"v1"} == set(registry.manifests)


def test_credentials_do_not_follow_an_upload_to_another_host(registry, tmp_path) -> None:
    registry.upload_host = registry.host.replace("127.0.0.1", "localhost")

    transfer.Registries().send(tmp_path / "layout", image(tmp_path / "layout"), f"{registry.host}/demo:v1")

    elsewhere = [credentials for path, credentials in registry.seen if path.startswith("/elsewhere/")]
    assert [None] * 3 == elsewhere
    assert ("/token", BASIC) in registry.seen


def test_a_token_service_of_another_kind_of_address_gets_no_password(registry, tmp_path) -> None:
    registry.realm = f"ftp://{registry.host}/token"

    with pytest.raises(errors.UnavailableError, match="in the clear"):
        transfer.Registries().send(tmp_path / "layout", image(tmp_path / "layout"), f"{registry.host}/demo:v1")

    assert BASIC not in [credentials for _, credentials in registry.seen]


def test_other_bytes_than_a_digest_says_are_refused(registry, tmp_path) -> None:
    digest = image(tmp_path / "layout")
    registries = transfer.Registries()
    registries.send(tmp_path / "layout", digest, f"{registry.host}/demo:v1")
    name = next(name for name, raw in registry.blobs.items() if raw == b"a layer")
    registry.blobs[name] = b"poison!"

    with pytest.raises(errors.UnavailableError, match="other bytes"):
        registries.fetch(f"{registry.host}/demo:v1", tmp_path / "other", architecture="amd64")
    registry.manifests[digest.value] = b"{}"
    with pytest.raises(errors.UnavailableError, match="other bytes"):
        registries.fetch(f"{registry.host}/demo@{digest}", tmp_path / "third", architecture="amd64")


@pytest.mark.parametrize("config", [{}, {"auths": {"127.0.0.1": {"auth": "eDp5"}}}])
def test_whom_the_registry_does_not_know_is_told_to_log_in(registry, tmp_path, monkeypatch, config) -> None:
    log_in(tmp_path, monkeypatch, config)

    with pytest.raises(errors.ConfigError, match="refuses") as raised:
        transfer.Registries().fetch(f"{registry.host}/demo:v1", tmp_path / "other", architecture="amd64")

    assert "docker login" in raised.value.remedy


def test_credential_helpers_are_asked_and_their_secrets_stay_out_of_errors(registry, tmp_path, monkeypatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    helper = programs / "docker-credential-vault"
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    log_in(tmp_path, monkeypatch, {"credHelpers": {registry.host: "vault"}})
    digest = image(tmp_path / "layout")

    helper.write_text(f'#!/bin/sh\ncat > /dev/null\necho \'{{"Username": "ana", "Secret": "{SECRET}"}}\'\n')
    helper.chmod(0o755)
    assert digest == transfer.Registries().send(tmp_path / "layout", digest, f"{registry.host}/demo").digest

    helper.write_text(f"#!/bin/sh\ncat > /dev/null\necho '{SECRET}'\n")
    with pytest.raises(errors.ConfigError, match="docker-credential-vault") as raised:
        transfer.Registries().fetch(f"{registry.host}/demo", tmp_path / "other", architecture="amd64")
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None


def test_what_is_not_there_is_the_callers_mistake_and_who_does_not_answer_a_neighbours(registry, tmp_path) -> None:
    with pytest.raises(errors.ConfigError, match="has no"):
        transfer.Registries().fetch(f"{registry.host}/demo:none", tmp_path, architecture="amd64")
    with pytest.raises(errors.UnavailableError, match="cannot be reached"):
        transfer.Registries().fetch("127.0.0.1:1/demo:v1", tmp_path, architecture="amd64")
    with pytest.raises(errors.ConfigError, match="no reference"):
        transfer.Registries().fetch(f"{registry.host}/De mo", tmp_path, architecture="amd64")
