"""softlaunch.lock: written, checked, committed, and kept to by builds."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import threading

import build_kit as kit
import pytest

from softlaunch import errors
from softlaunch.adapters.data_sources import dvc, git_lfs, http_files
from softlaunch.config import home as homes
from softlaunch.core import lockfile, pins
from softlaunch.wiring import builds, locking

YAML = """\
service: flight-delay
model: {{path: model.joblib, features: [hour, delay], compile: false}}
reference: {reference}
tests:
  quality: {{data: {holdout}, label: late, metrics: {{accuracy: '>= 0.6'}}}}
environments: [production]
"""
REFERENCE, HOLDOUT = "data/train.parquet", "data/holdout.parquet"


def sha256(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files(reference: str = REFERENCE, holdout: str = HOLDOUT) -> dict[str, object]:
    return {
        "softlaunch.yaml": YAML.format(reference=reference, holdout=holdout),
        "model.joblib": kit.forest(),
        REFERENCE: kit.frame(),
        HOLDOUT: kit.frame().head(500),
    }


@pytest.fixture
def place(home):
    return homes.Home.locate(str(home))


def build(place, repository):
    return builds.build(place, repository.folder, "HEAD", progress=lambda *_: None).result.digest


def refused(place, repository) -> errors.SoftlaunchError:
    with pytest.raises(errors.SoftlaunchError) as found:
        build(place, repository)
    return found.value


class Files(http.server.SimpleHTTPRequestHandler):
    """A directory with ETags and ranges, whose first answers may break off."""

    breaking: list[int]
    asked: list[str]

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self._answer(body=True)

    def do_HEAD(self):
        self._answer(body=False)

    def _answer(self, *, body):
        path = pathlib.Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        raw = path.read_bytes()
        tag = f'"{hashlib.md5(raw).hexdigest()}"'
        begin = 0
        wanted = self.headers.get("range")
        if body:
            self.asked.append(wanted or "all")
        if wanted and self.headers.get("if-range") == tag:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("content-range", f"bytes {begin}-{len(raw) - 1}/{len(raw)}")
        else:
            self.send_response(200)
        self.send_header("etag", tag)
        self.send_header("content-length", str(len(raw) - begin))
        self.end_headers()
        if not body:
            return
        end = begin + self.breaking.pop(0) if self.breaking else len(raw)
        self.wfile.write(raw[begin:end])
        self.close_connection = True


@pytest.fixture
def served(tmp_path):
    folder = tmp_path / "www"
    folder.mkdir()
    handler = type("Handler", (Files,), {"breaking": [], "asked": []})
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *found: handler(*found, directory=str(folder))
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_a_lock_of_committed_files_holds_builds_to_their_bytes(repository, place) -> None:
    repository.commit(files())

    written = locking.write(place, repository.folder, again=False)
    assert {"model", "reference", "holdout"} == set(written.pins)
    assert (
        pins.Pin(uri=f"git:{REFERENCE}", version="", sha256=sha256(repository.folder / REFERENCE))
        == written.pins["reference"]
    )
    assert locking.check(place, repository.folder).changes == ()
    repository.commit({})
    assert build(place, repository)

    repository.commit({HOLDOUT: kit.frame().tail(500)})
    assert ["holdout"] == [change.role for change in locking.check(place, repository.folder).changes]
    error = refused(place, repository)
    assert error.code is errors.Code.MODEL_CHANGED


@pytest.mark.slow
def test_data_at_urls_is_built_only_when_pinned_and_unchanged(repository, place, served) -> None:
    folder, address, _ = served
    kit.frame().to_parquet(folder / "t.parquet", index=False)
    kit.frame().head(500).to_csv(folder / "h.csv", index=False)
    repository.commit(files(reference=f"{address}/t.parquet", holdout=f"{address}/h.csv"))

    assert refused(place, repository).code is errors.Code.MODEL_UNPINNED
    locking.write(place, repository.folder, again=False)
    repository.commit({})
    assert build(place, repository)
    (folder / "t.parquet").unlink()
    repository.commit({"README.md": "another commit of the same service"})
    assert build(place, repository)  # the pinned bytes are in the cache

    kit.frame().head(700).to_parquet(folder / "t.parquet", index=False)
    assert [pins.Role.REFERENCE] == [change.role for change in locking.check(place, repository.folder).changes]
    shutil.rmtree(place.cache)
    place.cache.mkdir()
    assert refused(place, repository).code is errors.Code.MODEL_CHANGED


def test_a_lock_written_for_another_file_is_stale(repository, place) -> None:
    repository.commit(files())
    locking.write(place, repository.folder, again=False)
    repository.commit(
        {
            "data/other.parquet": kit.frame(),
            "softlaunch.yaml": YAML.format(reference="data/other.parquet", holdout=HOLDOUT),
        }
    )

    assert refused(place, repository).code is errors.Code.PIN_STALE


def test_a_download_goes_on_where_it_broke_off(tmp_path, served) -> None:
    folder, address, handler = served
    (folder / "a.bin").write_bytes(os.urandom(3_000_000))
    handler.breaking += [1_100_000, 900_000]

    found = http_files.HttpFiles().fetch(f"{address}/a.bin", tmp_path / "a.bin")

    assert sha256(folder / "a.bin") == found.sha256 == sha256(tmp_path / "a.bin")
    assert ["all", "bytes=1100000-", "bytes=2000000-"] == handler.asked
    assert not list(tmp_path.glob("*.part"))


def test_a_download_of_a_file_that_changed_meanwhile_begins_again(tmp_path, served) -> None:
    folder, address, handler = served
    (folder / "a.bin").write_bytes(b"old" * 500_000)
    handler.breaking += [600_000, 0, 0]
    with pytest.raises(errors.UnavailableError):
        http_files.HttpFiles().fetch(f"{address}/a.bin", tmp_path / "a.bin")
    (folder / "a.bin").write_bytes(b"new" * 500_000)
    handler.breaking.clear()

    found = http_files.HttpFiles().fetch(f"{address}/a.bin", tmp_path / "a.bin")

    assert sha256(folder / "a.bin") == found.sha256
    assert b"new" * 500_000 == (tmp_path / "a.bin").read_bytes()


def test_an_error_shows_no_signature_of_a_url(tmp_path, served) -> None:
    _, address, _ = served

    with pytest.raises(errors.UnavailableError) as found:
        http_files.HttpFiles().fetch(f"{address}/none?X-Amz-Signature=hunter2", tmp_path / "a")

    assert "hunter2" not in str(found.value)


def dvc_file(repository, name: str, remote: pathlib.Path) -> None:
    """What `dvc add` and `dvc push` leave behind."""
    path = repository.folder / name
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    kept = remote / "files" / "md5" / md5[:2] / md5[2:]
    kept.parent.mkdir(parents=True, exist_ok=True)
    path.rename(kept)
    repository.write({f"{name}.dvc": f"outs:\n- md5: {md5}\n  size: 1\n  hash: md5\n  path: {path.name}\n"})


@pytest.mark.slow
def test_a_file_that_dvc_keeps_comes_from_its_remote(repository, place, served) -> None:
    remote, address, _ = served
    repository.write(files())
    for name in (REFERENCE, "model.joblib"):
        dvc_file(repository, name, remote)
    repository.write({".dvc/config": f"[core]\n    remote = far\n['remote \"far\"']\n    url = {address}\n"})
    repository.commit({})

    assert refused(place, repository).code is errors.Code.MODEL_UNPINNED
    locked = locking.write(place, repository.folder, again=False)
    repository.commit({})
    assert locked.pins["model"].uri == "dvc:model.joblib"
    assert build(place, repository)

    shutil.rmtree(place.cache)
    place.cache.mkdir()
    for path in remote.rglob("??*"):
        if path.is_file():
            path.write_bytes(b"evil")
    assert refused(place, repository).code is errors.Code.MODEL_CHANGED


def test_a_directory_that_dvc_keeps_is_written_file_by_file(tmp_path, repository) -> None:
    remote = tmp_path / "remote"
    listing = []
    for name, raw in (("a.txt", b"one"), ("below/b.txt", b"two")):
        md5 = hashlib.md5(raw).hexdigest()
        place = remote / "files" / "md5" / md5[:2] / md5[2:]
        place.parent.mkdir(parents=True)
        place.write_bytes(raw)
        listing.append({"md5": md5, "relpath": name})
    raw = json.dumps(listing).encode()
    md5 = hashlib.md5(raw).hexdigest()
    place = remote / "files" / "md5" / md5[:2] / f"{md5[2:]}.dir"
    place.parent.mkdir(parents=True)
    place.write_bytes(raw)
    repository.write({"model.dvc": f"outs:\n- md5: {md5}.dir\n  path: model\n", ".dvc/config": "[core]\nremote = r\n"})
    (repository.folder / ".dvc" / "config.local").write_text(f"['remote \"r\"']\nurl = ../../{remote.name}\n")

    dvc.Dvc(repository.folder, http_files.HttpFiles()).fetch(repository.folder, "model", tmp_path / "model")

    assert b"two" == (tmp_path / "model" / "below" / "b.txt").read_bytes()


def test_a_list_of_dvc_that_leads_out_of_the_directory_is_refused() -> None:
    with pytest.raises(errors.ConfigError):
        dvc._entries(json.dumps([{"md5": "0" * 32, "relpath": "../../etc/passwd"}]).encode(), "model")


def pointer(raw: bytes) -> bytes:
    oid = hashlib.sha256(raw).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(raw)}\n".encode()


class Batch(http.server.BaseHTTPRequestHandler):
    """A server that speaks the batch API of Git LFS."""

    objects: dict[str, bytes]

    def log_message(self, *arguments):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert self.path == "/team/flights.git/info/lfs/objects/batch"
        assert asked["operation"] == "download"
        oid = asked["objects"][0]["oid"]
        action = {"download": {"href": f"/raw/{oid}", "header": {"authorization": "Bearer once"}}}
        found = {"oid": oid, **({"actions": action} if oid in self.objects else {"error": {"code": 404}})}
        self._send(json.dumps({"objects": [found]}).encode())

    def do_GET(self):
        assert self.headers["authorization"] == "Bearer once"
        self._send(self.objects[self.path.rpartition("/")[2]])

    def _send(self, raw):
        self.send_response(200)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


@contextlib.contextmanager
def batch_server(objects):
    handler = type("Handler", (Batch,), {"objects": objects})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/team/flights"
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_a_pointer_of_git_lfs_is_fetched_by_the_batch_api(repository, place, monkeypatch) -> None:
    monkeypatch.setattr(git_lfs.shutil, "which", lambda _: None)
    repository.write(files())
    model = (repository.folder / "model.joblib").read_bytes()
    repository.commit({"model.joblib": pointer(model)})

    assert refused(place, repository).code is errors.Code.DOWNLOAD_FAILED
    objects: dict[str, bytes] = {}
    with batch_server(objects) as address:
        repository.git("remote", "add", "origin", address)
        assert refused(place, repository).code is errors.Code.DOWNLOAD_FAILED
        objects[hashlib.sha256(model).hexdigest()] = b"evil"
        assert refused(place, repository).code is errors.Code.MODEL_CHANGED
        objects[hashlib.sha256(model).hexdigest()] = model
        assert build(place, repository)


def test_a_lock_of_a_pointer_goes_stale_with_it(repository, place) -> None:
    repository.write(files())
    model = (repository.folder / "model.joblib").read_bytes()
    kept = repository.folder / ".git" / "lfs" / "objects"
    for raw in (model, model + b" "):
        oid = hashlib.sha256(raw).hexdigest()
        (kept / oid[:2] / oid[2:4]).mkdir(parents=True)
        (kept / oid[:2] / oid[2:4] / oid).write_bytes(raw)
    repository.commit({"model.joblib": pointer(model)})
    locked = locking.write(place, repository.folder, again=False)
    oid = hashlib.sha256(model).hexdigest()
    assert pins.Pin(uri="lfs:model.joblib", version=f"sha256:{oid}", sha256=oid) == locked.pins["model"]
    repository.commit({})

    repository.commit({"model.joblib": pointer(model + b" ")})
    assert refused(place, repository).code is errors.Code.PIN_STALE


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="needs git-lfs")
def test_files_of_the_real_git_lfs_are_pinned_by_their_pointer_and_built(repository, place, tmp_path) -> None:
    repository.git("lfs", "install", "--local")
    repository.git("lfs", "track", "*.joblib")
    repository.commit(files())
    oid = sha256(repository.folder / "model.joblib")
    assert repository.git("cat-file", "blob", "HEAD:model.joblib").startswith("version https://git-lfs")
    assert locking.write(place, repository.folder, again=False).pins["model"].version == f"sha256:{oid}"
    repository.commit({})
    subprocess.run(["git", "init", "-q", "-b", "main", "--bare", str(tmp_path / "far.git")], check=True)
    repository.git("remote", "add", "origin", f"file://{tmp_path / 'far.git'}")
    repository.git("push", "-q", "origin", "main")

    variables = {**os.environ, "GIT_LFS_SKIP_SMUDGE": "1"}
    subprocess.run(
        ["git", "clone", "-q", f"file://{tmp_path / 'far.git'}", str(tmp_path / "clone")], check=True, env=variables
    )
    clone = kit.Repository.__new__(kit.Repository)
    clone.folder = tmp_path / "clone"
    assert (clone.folder / "model.joblib").read_bytes().startswith(b"version ")

    assert build(place, clone)


def test_a_moved_file_becomes_one_commit_on_a_branch_and_no_second(repository, place, served) -> None:
    folder, address, _ = served
    kit.frame().to_parquet(folder / "t.parquet", index=False)
    repository.commit(files(reference=f"{address}/t.parquet"))
    locking.write(place, repository.folder, again=False)
    repository.commit({})
    repository.git("branch", "develop")
    (repository.folder / "dirty.txt").write_text("not committed")
    kit.frame().head(900).to_parquet(folder / "t.parquet", index=False)

    made = locking.update(place, repository.folder, branch="develop")
    again = locking.update(place, repository.folder, branch="develop")

    assert made.commit == repository.git("rev-parse", "develop")
    assert repository.git("diff", "--name-only", "main", "develop") == "softlaunch.lock"
    assert repository.git("rev-list", "--count", "main..develop") == "1"
    assert (again.commit, again.changes) == (None, ())
    assert repository.git("status", "--porcelain") == "?? dirty.txt"
    assert f"{address}/t.parquet" in repository.git("show", "--no-patch", "--format=%b", "develop")


def test_a_commit_on_the_branch_that_is_checked_out_brings_its_file_along(repository, place) -> None:
    repository.commit(files())

    made = locking.update(place, repository.folder)

    assert made.commit == repository.git("rev-parse", "HEAD")
    assert repository.git("status", "--porcelain") == ""
    assert lockfile.load_roles((repository.folder / lockfile.NAME).read_bytes()) == made.pins


def test_a_pushed_commit_goes_after_what_others_have_pushed(repository, place, tmp_path) -> None:
    repository.commit(files())
    far = tmp_path / "far.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(repository.folder), str(far)], check=True)
    repository.git("remote", "add", "origin", str(far))
    other = tmp_path / "other"
    subprocess.run(["git", "clone", "-q", str(far), str(other)], check=True)
    who = ["-c", "user.name=Bo", "-c", "user.email=bo@example.com"]
    subprocess.run(["git", "-C", str(other), *who, "commit", "-q", "--allow-empty", "-m", "Faster"], check=True)
    subprocess.run(["git", "-C", str(other), "push", "-q"], check=True)

    made = locking.update(place, repository.folder, branch="main", push=True)

    log = subprocess.run(
        ["git", "-C", str(far), "log", "--format=%s", "main"], check=True, capture_output=True, text=True
    )
    assert log.stdout.split("\n")[:2] == ["Update softlaunch.lock", "Faster"]
    assert made.pushed
    assert locking.update(place, repository.folder, branch="main", push=True).commit is None


def test_a_remote_that_refuses_the_commit_leaves_the_clone_as_it_was(repository, place, tmp_path) -> None:
    repository.commit(files())
    far = tmp_path / "far.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(repository.folder), str(far)], check=True)
    hook = far / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho protected >&2\nexit 1\n")
    hook.chmod(0o755)
    repository.git("remote", "add", "origin", str(far))
    before = repository.git("rev-parse", "main")

    with pytest.raises(errors.UnavailableError) as refused_push:
        locking.update(place, repository.folder, branch="main", push=True)

    assert refused_push.value.code is errors.Code.GIT_FAILED
    assert before == repository.git("rev-parse", "main")


@pytest.mark.parametrize("branch", ["--upload-pack=sh", "a..b", "none"])
def test_a_branch_that_is_none_is_refused(repository, place, branch) -> None:
    repository.commit(files())

    with pytest.raises(errors.ConfigError) as found:
        locking.update(place, repository.folder, branch=branch)

    assert found.value.code is errors.Code.UNKNOWN_REF
