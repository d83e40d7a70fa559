"""Large uploads and downloads that are cut, and releases at registries that misbehave."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading

import pytest

from softlaunch import errors
from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.adapters.oci import remote
from softlaunch.distribution import repository, uploads
from softlaunch.testing import releases


class Registry:
    """In memory, with uploads in parts and no referrers API; `cuts` parts are half taken, then the line is cut."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.upload = b""
        self.received = self.cuts = self.answers = 0
        self.method = ""
        self.truncates = False
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body[: len(body) // 2] if registry.truncates and "/blobs/" in self.path else body)
                    self.close_connection = registry.truncates

            def take(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                if registry.cuts and length > 1000:
                    registry.cuts -= 1
                    registry.upload += self.rfile.read(length // 2)
                    registry.received += length // 2
                    self.close_connection = True
                    return
                begin = int(self.headers["Content-Range"].partition("-")[0])
                body = self.rfile.read(length)
                if begin != len(registry.upload):
                    self.answer(416)
                    return
                registry.upload += body
                registry.received += length
                self.answer(202, Location=self.path, Range=f"0-{len(registry.upload) - 1}")

            def handle_any(self) -> None:
                path, _, query = self.path.partition("?")
                if self.command == "PATCH":
                    self.take()
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                name = path.rpartition("/")[2]
                if registry.answers and self.command == registry.method:
                    self.answer(registry.answers, **{"Retry-After": "0"})
                elif "/referrers/" in path:
                    self.answer(404)
                elif "/uploads/" in path and self.command == "POST":
                    registry.upload = b""
                    self.answer(202, Location="/v2/demo/blobs/uploads/1?state=x")
                elif "/uploads/" in path and self.command == "GET":
                    self.answer(204, Location=self.path, Range=f"0-{max(len(registry.upload) - 1, 0)}")
                elif "/uploads/" in path:
                    whole = registry.upload + body
                    digest = query.partition("digest=")[2].replace("%3A", ":")
                    right = digest == "sha256:" + hashlib.sha256(whole).hexdigest()
                    registry.blobs |= {digest: whole} if right else {}
                    self.answer(201 if right else 400)
                elif self.command == "PUT":
                    registry.manifests[name] = registry.manifests["sha256:" + hashlib.sha256(body).hexdigest()] = body
                    self.answer(201)
                else:
                    found = (registry.manifests if "/manifests/" in path else registry.blobs).get(name)
                    self.answer(404 if found is None else 200, found or b"")

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = handle_any  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def registry(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(uploads, "PART_BYTES", 10_000)
    monkeypatch.setattr(repository, "_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(remote, "_SETTLE_SECONDS", 0.001)
    found = Registry()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,))
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.fixture
def release(tmp_path):
    """Digest of a release with a model of a few parts and something attached to it."""
    directory = releases.write(tmp_path / "release", name="demo")
    (directory / "model").mkdir(exist_ok=True)
    (directory / "model" / "weights.bin").write_bytes(bytes(range(256)) * 300)
    here = oci_registry.OciRegistry(tmp_path / "here")
    digest = here.push(directory)
    note = here.refer(digest, artifact_type="a/b", media_type="a/b", payload=b"a note", annotations={"by": "ana"})
    assert note != digest
    return digest


def test_an_upload_that_is_cut_goes_on_where_the_registry_stands(registry, release, tmp_path) -> None:
    registry.cuts = 3

    remote.OciRemote(tmp_path / "here").send(release, f"{registry.host}/demo:v1")

    large = [raw for raw in registry.blobs.values() if len(raw) > 10_000]
    assert 0 == registry.cuts
    assert sum(map(len, large)) == registry.received


def test_an_upload_that_is_cut_again_and_again_leaves_no_manifest(registry, release, tmp_path) -> None:
    registry.cuts = 99

    with pytest.raises(errors.UnavailableError, match="cut the upload"):
        remote.OciRemote(tmp_path / "here").send(release, f"{registry.host}/demo:v1")

    assert {} == registry.manifests


@pytest.mark.parametrize("nonsense", [b"[]", b"{", b'{"manifests": [{"digest": "x"}]}', b'{"manifests": [1]}'])
def test_nonsense_under_the_fallback_tag_is_the_registrys_fault(registry, release, tmp_path, nonsense) -> None:
    remote.OciRemote(tmp_path / "here").send(release, f"{registry.host}/demo:v1")
    registry.manifests[repository.fallback_tag(release)] = nonsense

    with pytest.raises(errors.UnavailableError, match="no index"):
        remote.OciRemote(tmp_path / "there").fetch(f"{registry.host}/demo:v1")


def test_a_release_comes_back_with_what_is_attached_to_it(registry, release, tmp_path) -> None:
    remote.OciRemote(tmp_path / "here").send(release, f"{registry.host}/demo:v1")
    there = oci_registry.OciRegistry(tmp_path / "there")
    carried = remote.OciRemote(tmp_path / "there").fetch(f"{registry.host}/demo:v1")
    again = remote.OciRemote(tmp_path / "there").fetch(f"{registry.host}/demo@{release}")

    assert (release, 1, 0) == (carried.digest, carried.referrer_count, again.carried_bytes)
    assert [b"a note"] == [each.payload for each in there.referrers(release)]
    listed = json.loads(registry.manifests[repository.fallback_tag(release)])["manifests"]
    assert [({"by": "ana"}, "a/b")] == [(each["annotations"], each["artifactType"]) for each in listed]
    assert len(there.check(release)) > 2


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT"])
@pytest.mark.parametrize("answer", [401, 429, 500])
def test_a_registry_that_refuses_gets_no_tag(registry, release, tmp_path, method, answer) -> None:
    registry.answers, registry.method = answer, method

    with pytest.raises(errors.SoftlaunchError) as raised:
        remote.OciRemote(tmp_path / "here").send(release, f"{registry.host}/demo:v1")

    assert errors.Code.IMAGE_REGISTRY is raised.value.code
    assert {} == registry.manifests


@pytest.mark.parametrize("harm", ["truncated", "other"])
def test_a_download_of_other_bytes_lists_nothing_and_the_next_one_mends(registry, release, tmp_path, harm) -> None:
    remote.OciRemote(tmp_path / "here").send(release, f"{registry.host}/demo:v1")
    whole = dict(registry.blobs)
    registry.truncates = harm == "truncated"
    if harm == "other":
        registry.blobs = {digest: b"?" * len(raw) for digest, raw in whole.items()}

    with pytest.raises(errors.UnavailableError):
        remote.OciRemote(tmp_path / "there").fetch(f"{registry.host}/demo:v1")
    there = oci_registry.OciRegistry(tmp_path / "there")
    assert there.resolve(release.value) is None

    registry.truncates, registry.blobs = False, whole
    remote.OciRemote(tmp_path / "there").fetch(f"{registry.host}/demo:v1")
    assert release == there.resolve(release.value)


def test_a_damaged_blob_of_this_home_is_not_sent_and_is_fetched_anew(registry, release, tmp_path) -> None:
    here = tmp_path / "here"
    remote.OciRemote(here).send(release, f"{registry.host}/demo:v1")
    large = max((here / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    large.write_bytes(b"rot")

    with pytest.raises(errors.UnavailableError, match="other bytes"):
        remote.OciRemote(here).send(release, f"{registry.host}/demo:v2")
    assert "v2" not in registry.manifests

    remote.OciRemote(here).fetch(f"{registry.host}/demo:v1")
    assert oci_registry.OciRegistry(here).check(release)
