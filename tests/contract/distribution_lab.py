"""
A registry to test with, in this process, that keeps to the OCI distribution specification 1.1.

No registry with the referrers API can be installed from the package registries tests may use; so the one here is ours,
written from the specification and not from our client.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import http.server
import json
import re
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Iterator

INDEX = "application/vnd.oci.image.index.v1+json"
_NAME = r"(?P<name>[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)"
_DIGEST = r"(?P<digest>sha256:[0-9a-f]{64})"
_ROUTES = {
    "blob": re.compile(rf"/v2/{_NAME}/blobs/{_DIGEST}"),
    "uploads": re.compile(rf"/v2/{_NAME}/blobs/uploads/"),
    "upload": re.compile(rf"/v2/{_NAME}/blobs/uploads/(?P<upload>[0-9a-f-]+)"),
    "manifest": re.compile(rf"/v2/{_NAME}/manifests/(?P<asked>sha256:[0-9a-f]{{64}}|\w[\w.-]{{0,127}})"),
    "referrers": re.compile(rf"/v2/{_NAME}/referrers/{_DIGEST}"),
    "tags": re.compile(rf"/v2/{_NAME}/tags/list"),
}


def digest_of(raw: bytes) -> str:
    return "sha256:" + hashlib.sha256(raw).hexdigest()


@dataclasses.dataclass
class Stored:
    """One repository."""

    blobs: dict[str, bytes] = dataclasses.field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = dataclasses.field(default_factory=dict)
    tags: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Upload:
    raw: bytearray = dataclasses.field(default_factory=bytearray)
    turn: int = 0


class Distribution:
    """
    A registry of the OCI distribution specification 1.1 in memory.

    Args:
        has_referrers: Whether it has the referrers API; without it, it is one of 1.0.
        has_ranges: Whether parts of blobs can be had.
        has_conditions: Whether If-Match and If-None-Match are minded when a manifest is stored.
        page: Entries of one answer of a list.
    """

    def __init__(
        self, *, has_referrers: bool = True, has_ranges: bool = True, has_conditions: bool = False, page: int = 2
    ) -> None:
        self.has_referrers, self.has_ranges, self.has_conditions = has_referrers, has_ranges, has_conditions
        self.page = page
        self.password: str | None = None
        """`name:password` of who may get tokens; None: nobody is asked for one."""
        self.scopes: list[str] = []
        """Of tokens that were given."""
        self.repositories: dict[str, Stored] = {}
        self.uploads: dict[str, Upload] = {}
        self.lock = threading.RLock()

    def repository(self, name: str) -> Stored:
        return self.repositories.setdefault(name, Stored())


class _Asked(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    registry: Distribution

    def handle_any(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/token":
            self.token()
            return
        if self.registry.password is not None and not self.may_enter(url.path):
            return
        for kind, route in _ROUTES.items():
            match = route.fullmatch(url.path)
            if match is not None:
                with self.registry.lock:
                    getattr(self, f"{kind}_{self.command.lower()}", self.unsupported)(**match.groupdict())
                return
        if url.path == "/v2/":
            self.answer(200, b"{}")
        else:
            self.unsupported()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 - http.server's names

    # -- tokens: each is good for what its scope says -----------------------------------------------------------

    def token(self) -> None:
        told = "Basic " + base64.b64encode((self.registry.password or "").encode()).decode()
        if self.headers.get("Authorization") != told or self.query.get("service") != "lab":
            self.error(401, "UNAUTHORIZED")
            return
        self.registry.scopes.append(self.query["scope"])
        self.answer(200, json.dumps({"token": self.query["scope"]}).encode())

    def may_enter(self, path: str) -> bool:
        found = re.match(rf"/v2/{_NAME}/(blobs|manifests|tags|referrers)/", path)
        assert found is not None, path
        needed = "pull" if self.command in ("GET", "HEAD") else "pull,push"
        scope = f"repository:{found['name']}:{needed}"
        if self.headers.get("Authorization", "").startswith(f"Bearer {scope}"):
            return True
        self.body()
        realm = f'Bearer realm="http://{self.headers["Host"]}/token",service="lab",scope="{scope}"'
        self.answer(401, **{"WWW-Authenticate": realm})
        return False

    # -- blobs -----------------------------------------------------------------------------------------------------

    def blob_get(self, name: str, digest: str) -> None:
        raw = self.registry.repository(name).blobs.get(digest)
        if raw is None:
            self.error(404, "BLOB_UNKNOWN")
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        told = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        if wanted is None or not self.registry.has_ranges:
            self.answer(200, raw, **told)
            return
        first, last = int(wanted[1]), min(int(wanted[2] or len(raw) - 1), len(raw) - 1)
        if first >= len(raw):
            self.answer(416, **{"Content-Range": f"bytes */{len(raw)}"})
        else:
            self.answer(206, raw[first : last + 1], **told, **{"Content-Range": f"bytes {first}-{last}/{len(raw)}"})

    blob_head = blob_get

    def uploads_post(self, name: str) -> None:
        self.body()
        mounted, source = self.query.get("mount"), self.query.get("from")
        if mounted is not None and source is not None:
            there = self.registry.repository(source).blobs.get(mounted)
            if there is not None:
                self.registry.repository(name).blobs[mounted] = there
                self.answer(201, Location=f"/v2/{name}/blobs/{mounted}")
                return
        identity = str(uuid.uuid4())
        self.registry.uploads[identity] = Upload()
        self.stands(202, name, identity)

    def upload_get(self, name: str, upload: str) -> None:
        if self.known(upload) is not None:
            self.stands(204, name, upload)

    def upload_patch(self, name: str, upload: str) -> None:
        found = self.known(upload)
        if found is None:
            return
        told = re.fullmatch(r"(\d+)-(\d+)", self.headers.get("Content-Range", ""))
        if told is not None and int(told[1]) != len(found.raw):
            self.stands(416, name, upload)
            return
        if not self.body(found.raw):
            return
        found.turn += 1
        self.stands(202, name, upload)

    def upload_put(self, name: str, upload: str) -> None:
        found = self.known(upload)
        if found is None or not self.body(found.raw):
            return
        raw = bytes(found.raw)
        if self.query.get("digest") != digest_of(raw):
            self.error(400, "DIGEST_INVALID")
            return
        del self.registry.uploads[upload]
        self.registry.repository(name).blobs[digest_of(raw)] = raw
        self.answer(201, Location=f"/v2/{name}/blobs/{digest_of(raw)}")

    def known(self, upload: str) -> Upload | None:
        """The upload, when this is where it stands now; a place that was told before is one no more."""
        found = self.registry.uploads.get(upload)
        if found is None or (self.command != "GET" and self.query.get("turn") != str(found.turn)):
            self.body()
            self.error(404, "BLOB_UPLOAD_UNKNOWN")
            return None
        return found

    def stands(self, code: int, name: str, upload: str) -> None:
        found = self.registry.uploads[upload]
        place = f"/v2/{name}/blobs/uploads/{upload}?turn={found.turn}"
        self.answer(code, Location=place, Range=f"0-{max(len(found.raw) - 1, 0)}")

    # -- manifests -------------------------------------------------------------------------------------------------

    def manifest_get(self, name: str, asked: str) -> None:
        stored = self.registry.repository(name)
        digest = stored.tags.get(asked, asked)
        if digest not in stored.manifests:
            self.error(404, "MANIFEST_UNKNOWN")
            return
        media_type, raw = stored.manifests[digest]
        self.answer(200, raw, **{"Content-Type": media_type, "Docker-Content-Digest": digest, "ETag": f'"{digest}"'})

    manifest_head = manifest_get

    def manifest_put(self, name: str, asked: str) -> None:
        raw = bytearray()
        self.body(raw)
        stored, digest = self.registry.repository(name), digest_of(bytes(raw))
        document = json.loads(raw)
        needed = [each["digest"] for each in (document.get("config"), *document.get("layers", ())) if each]
        missing = [each for each in needed if each not in stored.blobs]
        missing += [each["digest"] for each in document.get("manifests", ()) if each["digest"] not in stored.manifests]
        now = stored.tags.get(asked, asked if asked in stored.manifests else "")
        if self.registry.has_conditions and not self.may(now):
            self.error(412, "PRECONDITION_FAILED")
        elif missing:
            self.error(404, "MANIFEST_BLOB_UNKNOWN")
        elif asked.startswith("sha256:") and asked != digest:
            self.error(400, "DIGEST_INVALID")
        else:
            stored.manifests[digest] = self.headers["Content-Type"], bytes(raw)
            if not asked.startswith("sha256:"):
                stored.tags[asked] = digest
            subject = document.get("subject")
            told = {"OCI-Subject": subject["digest"]} if subject and self.registry.has_referrers else {}
            self.answer(201, Location=f"/v2/{name}/manifests/{digest}", **{"Docker-Content-Digest": digest}, **told)

    def may(self, now: str) -> bool:
        """Whether the conditions of the request hold of the manifest that is there."""
        wanted, unwanted = self.headers.get("If-Match"), self.headers.get("If-None-Match")
        return (wanted is None or wanted == f'"{now}"') and (unwanted != "*" or not now)

    def referrers_get(self, name: str, digest: str) -> None:
        if not self.registry.has_referrers:
            self.error(404, "NOT_FOUND")
            return
        wanted = self.query.get("artifactType")
        found = []
        for each, (media_type, raw) in self.registry.repository(name).manifests.items():
            document = json.loads(raw)
            kind = document.get("artifactType") or document.get("config", {}).get("mediaType", "")
            if (document.get("subject") or {}).get("digest") == digest and wanted in (None, kind):
                described = {"mediaType": media_type, "digest": each, "size": len(raw), "artifactType": kind}
                annotations = document.get("annotations")
                found.append({**described, "annotations": annotations} if annotations else described)
        applied = {} if wanted is None else {"OCI-Filters-Applied": "artifactType"}
        shown, more = self.paged(found, lambda each: str(each["digest"]))
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": shown}
        self.answer(200, json.dumps(document).encode(), **{"Content-Type": INDEX}, **applied, **more)

    def tags_get(self, name: str) -> None:
        if name not in self.registry.repositories:
            self.error(404, "NAME_UNKNOWN")
            return
        shown, more = self.paged(sorted(self.registry.repository(name).tags), str)
        self.answer(200, json.dumps({"name": name, "tags": shown}).encode(), **more)

    def paged(self, entries: list, key: Callable[[object], str]) -> tuple[list, dict[str, str]]:
        """A page of the entries, and where the next one is."""
        last = self.query.get("last")
        begin = next((number for number, each in enumerate(entries, 1) if key(each) == last), 0)
        shown = entries[begin : begin + self.registry.page]
        if begin + self.registry.page >= len(entries):
            return shown, {}
        query = urllib.parse.urlencode({**self.query, "n": self.registry.page, "last": key(shown[-1])})
        return shown, {"Link": f'<{urllib.parse.urlsplit(self.path).path}?{query}>; rel="next"'}

    # -- the wire --------------------------------------------------------------------------------------------------

    def body(self, into: bytearray | None = None) -> bool:
        """Reads what was sent; whether all of it came: what came of a cut request stays."""
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            raw = self.rfile.read1(min(left, 1 << 16))
            if not raw:
                self.close_connection = True
                return False
            left -= len(raw)
            if into is not None:
                into += raw
        return True

    def error(self, code: int, name: str) -> None:
        self.answer(code, json.dumps({"errors": [{"code": name, "message": name.lower()}]}).encode())

    def unsupported(self, **_: str) -> None:
        self.body()
        self.error(405, "UNSUPPORTED")

    def answer(self, code: int, raw: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        if code != 204:
            self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command != "HEAD" and code != 204:
            self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served(registry: Distribution) -> Iterator[str]:
    """The registry on a loopback port; gives HOST:PORT."""
    with listening(type("Handler", (_Asked,), {"registry": registry})) as host:
        yield host


@contextlib.contextmanager
def listening(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server of its own thread on a free loopback port; gives HOST:PORT."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
