"""
One repository of one registry, by the OCI distribution API.

Credentials (see credentials.py) go to the registry and its token service alone, and never in the clear but on this
machine. What is refused for the moment (429, 5xx) is asked again, when the registry says
or after a pause that doubles. What an answer holds is compared with the digest it was asked by.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import pathlib
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Self

import httpx

from softlaunch import errors
from softlaunch.core import release
from softlaunch.distribution import credentials

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
_DOCKER_HUB_API = "registry-1.docker.io"
_DOCKER = "application/vnd.docker.distribution.manifest"
_ACCEPT = f"{MANIFEST}, {INDEX}, {_DOCKER}.v2+json, {_DOCKER}.list.v2+json"
_REFERENCE = re.compile(r"(?P<name>[a-z0-9._/-]+)(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_CHUNK = 1 << 20
_PAGES_MAX = 1_000
TRIES = 4
_PAUSE_SECONDS = 0.25
"""Before the second try."""
_PAUSE_SECONDS_MAX = 30.0
"""However long a registry says."""


class Repository:
    """One repository of one registry; a context that closes its connections."""

    def __init__(self, reference: str) -> None:
        host, name = _split(reference)
        match = _REFERENCE.fullmatch(name)
        if match is None:
            raise errors.ConfigError(
                f"{reference!r} is no reference of an image.",
                remedy="Write HOST/NAME:TAG or HOST/NAME@sha256:HEX, in small letters.",
                code=errors.Code.BAD_OPTION,
            )
        self.asked = match["digest"] or match["tag"] or "latest"
        self.is_tagged = match["tag"] is not None
        self.host, self.name = host, match["name"]
        api = _DOCKER_HUB_API if host == credentials.DOCKER_HUB else host
        is_local = re.fullmatch(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", host) is not None
        self._scheme = "http" if is_local else "https"
        self._client = httpx.Client(base_url=f"{self._scheme}://{api}", timeout=_TIMEOUT)
        self._authorization: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def manifest(self, asked: str) -> tuple[release.Digest, bytes]:
        """The manifest of a tag or digest, and its digest."""
        return self._checked(self.ask("GET", f"/v2/{self.name}/manifests/{asked}", headers={"accept": _ACCEPT}), asked)

    def has(self, digest: release.Digest) -> bool:
        """Whether the blob is there."""
        found = self.ask("HEAD", f"/v2/{self.name}/blobs/{digest}")
        if found.status_code == httpx.codes.NOT_FOUND:
            return False
        self.expect(found, 200)
        return True

    def has_manifest(self, digest: release.Digest) -> bool:
        """Whether the manifest is there."""
        found = self.ask("HEAD", f"/v2/{self.name}/manifests/{digest}", headers={"accept": _ACCEPT})
        if found.status_code == httpx.codes.NOT_FOUND:
            return False
        self.expect(found, 200)
        return True

    def tagged(self) -> release.Digest | None:
        """What the tag of the reference names now."""
        found = self.find_manifest(self.asked)
        return None if found is None else found[0]

    def find_manifest(self, asked: str) -> tuple[release.Digest, bytes] | None:
        """As `manifest`; None when there is none."""
        found = self.ask("GET", f"/v2/{self.name}/manifests/{asked}", headers={"accept": _ACCEPT})
        return None if found.status_code == httpx.codes.NOT_FOUND else self._checked(found, asked)

    @contextlib.contextmanager
    def blob(self, digest: release.Digest, begin: int = 0) -> Iterator[tuple[int, Iterator[bytes]]]:
        """
        The blob's bytes from `begin` on as they come, and where they really begin: registries may ignore ranges.

        Whoever stores them compares their digest.
        """
        url = f"/v2/{self.name}/blobs/{digest}"
        if not self.has(digest):  # which is answered 401 when a token has to be had first: a stream is not asked twice
            raise self.failed(f"has no blob {digest.short}")
        headers = {**self._headers(url), "accept-encoding": "identity"}
        if begin:
            headers["range"] = f"bytes={begin}-"
        try:
            with self._client.stream("GET", url, headers=headers, follow_redirects=True) as found:
                if found.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
                    raise self.failed(f"answered {found.status_code} for blob {digest.short}")
                is_rest = found.headers.get("content-range", "").startswith(f"bytes {begin}-")
                if found.status_code == httpx.codes.PARTIAL_CONTENT and not is_rest:
                    raise self.failed(f"answered another part of blob {digest.short} than was asked for")
                yield begin if is_rest else 0, found.iter_bytes()
        except httpx.TransportError as error:
            raise self.failed(f"broke off ({type(error).__name__})") from error

    def put_manifest(self, raw: bytes, asked: str, media_type: str = MANIFEST) -> bool:
        """Stores a manifest; says whether the registry lists it among the referrers of its subject."""
        sent = self.ask("PUT", f"/v2/{self.name}/manifests/{asked}", headers={"content-type": media_type}, content=raw)
        self.expect(sent, 201)
        return "oci-subject" in sent.headers

    def referrers(self, digest: release.Digest) -> list[dict[str, Any]]:
        """Descriptors of what is attached to it: by the referrers API, else by the index under the fallback tag."""
        listed: list[dict[str, Any]] = []
        for found in self._pages(f"/v2/{self.name}/referrers/{digest}"):
            if found.status_code == httpx.codes.NOT_FOUND:
                return self.fallback(digest)[0]
            self.expect(found, 200)
            listed += self.listed(found.content)
        return listed

    def fallback(self, digest: release.Digest) -> tuple[list[dict[str, Any]], str | None]:
        """Descriptors of the index under the fallback tag, and its ETag; none of them when there is no index."""
        url = f"/v2/{self.name}/manifests/{fallback_tag(digest)}"
        found = self.ask("GET", url, headers={"accept": INDEX})
        if found.status_code == httpx.codes.NOT_FOUND:
            return [], None
        self.expect(found, 200)
        return self.listed(found.content), found.headers.get("etag")

    def put_fallback(self, digest: release.Digest, raw: bytes, etag: str | None) -> bool:
        """Replaces that index; False when the registry knows that it is no longer the one with that ETag."""
        held = {"if-none-match": "*"} if etag is None else {"if-match": etag}
        url = f"/v2/{self.name}/manifests/{fallback_tag(digest)}"
        sent = self.ask("PUT", url, headers={"content-type": INDEX, **held}, content=raw)
        if sent.status_code == httpx.codes.PRECONDITION_FAILED:
            return False
        self.expect(sent, 201)
        return True

    def tags(self) -> list[str]:
        """Every tag of the repository; none when it does not exist."""
        listed: list[str] = []
        for found in self._pages(f"/v2/{self.name}/tags/list"):
            if found.status_code == httpx.codes.NOT_FOUND:
                return []
            self.expect(found, 200)
            try:
                listed += [str(each) for each in found.json()["tags"] or ()]
            except (ValueError, KeyError, TypeError) as error:
                raise self.failed("answers with no list of tags") from error
        return listed

    def _pages(self, url: str) -> Iterator[httpx.Response]:
        """The answer, and those it links to as its next."""
        for _ in range(_PAGES_MAX):
            found = self.ask("GET", url)
            yield found
            following = found.links.get("next", {}).get("url")
            if following is None:
                return
            url = str(found.url.join(following))
        raise self.failed("answers with a list that does not end")

    def listed(self, raw: bytes) -> list[dict[str, Any]]:
        """Descriptors of an index the registry gave."""
        try:
            found = [dict(each) for each in json.loads(raw)["manifests"]]
            for each in found:
                release.Digest(each["digest"])
        except (ValueError, KeyError, TypeError, errors.InvariantError) as error:
            raise self.failed("answers with no index") from error
        return found

    def _checked(self, found: httpx.Response, asked: str) -> tuple[release.Digest, bytes]:
        self.expect(found, 200)
        digest = release.Digest(f"sha256:{hashlib.sha256(found.content).hexdigest()}")
        if asked.startswith("sha256:") and asked != digest.value:
            raise self.failed(f"answered other bytes than {asked} is named for")
        return digest, found.content

    # -- requests --------------------------------------------------------------------------------------------------

    def ask(
        self,
        method: str,
        url: str | httpx.URL,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        file: pathlib.Path | None = None,
    ) -> httpx.Response:
        """
        The answer, whatever it is; asked again after a cut, a 429, a 5xx and a 401 that something can be done about.

        Raises:
            UnavailableError: the registry cannot be reached.
        """
        for left in range(TRIES - 1, -1, -1):
            body: bytes | Iterator[bytes] | None = content if file is None else _chunks(file)
            length = {} if file is None else {"content-length": str(file.stat().st_size)}
            asked = {**self._headers(url), **length, **(headers or {})}
            try:
                found = self._client.request(method, url, headers=asked, content=body, follow_redirects=method != "PUT")
            except httpx.TransportError as error:
                if left:
                    time.sleep(pause(left, None))
                    continue
                raise self.failed(f"cannot be reached ({type(error).__name__})") from error
            if found.status_code == httpx.codes.UNAUTHORIZED and left and self.login(found):
                continue
            busy = found.status_code == httpx.codes.TOO_MANY_REQUESTS or found.is_server_error
            if not busy or not left:
                return found
            time.sleep(pause(left, found.headers.get("retry-after")))
        raise errors.InvariantError("The last try returns or raises.")

    def ask_once(self, method: str, url: httpx.URL, *, headers: Mapping[str, str], content: bytes) -> httpx.Response:
        """
        The answer to a request that may not simply be repeated.

        Raises:
            httpx.TransportError: there is none.
        """
        return self._client.request(method, url, headers={**self._headers(url), **headers}, content=content)

    def location(self, found: httpx.Response, default: httpx.URL | None = None) -> httpx.URL:
        """
        Where an answer sends us.

        Raises:
            UnavailableError: it does not say, and there is no default.
        """
        told = found.headers.get("location")
        if told is None and default is None:
            raise self.failed("does not say where an upload goes")
        return default if told is None and default is not None else self._client.base_url.join(str(told))

    def is_home(self, url: str | httpx.URL) -> bool:
        """Whether this is a place at the registry itself."""
        place, home = self._client.base_url.join(url), self._client.base_url
        return (place.scheme, place.host, place.port) == (home.scheme, home.host, home.port)

    def _headers(self, url: str | httpx.URL) -> dict[str, str]:
        """The credentials, unless the registry has sent us to another host."""
        if self._authorization is None or not self.is_home(url):
            return {}
        return {"authorization": self._authorization}

    def login(self, refused: httpx.Response) -> bool:
        """Whether there is something new to try: credentials, or a token for them."""
        kind, _, rest = refused.headers.get("www-authenticate", "").partition(" ")
        basic = credentials.find(self.host, self.name)
        before = self._authorization
        if kind.lower() == "basic":
            self._authorization = basic
        elif kind.lower() == "bearer":
            told = dict(_CHALLENGE.findall(rest))
            if not told.get("realm", "").startswith(f"{self._scheme}://"):
                raise self.failed("names a token service that would be asked in the clear")
            wanted = {name: told[name] for name in ("service", "scope") if name in told}
            headers = {} if basic is None else {"authorization": basic}
            try:
                found = self._client.get(told["realm"], params=wanted, headers=headers)
                token = found.json()
                self._authorization = f"Bearer {token.get('token') or token['access_token']}"
            except (httpx.HTTPError, ValueError, KeyError):
                return False
        return self._authorization is not None and self._authorization != before

    def expect(self, found: httpx.Response, status: int) -> None:
        """
        Raises:
            ConfigError: it was refused, or is not there.
            UnavailableError: it is any other answer than `status`.
        """
        code = found.status_code
        if code == status:
            return
        where = f"{self.host}/{self.name}"
        if code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise errors.ConfigError(
                f"The registry refuses {where} (HTTP {code}).",
                remedy=f"Log in with `docker login {self.host}` or podman's, or ask for the right to use it.",
                code=errors.Code.IMAGE_REGISTRY,
            )
        if code == httpx.codes.NOT_FOUND:
            raise errors.ConfigError(
                f"The registry has no {where}{'@' if self.asked.startswith('sha256:') else ':'}{self.asked}.",
                remedy="Check the name and the tag.",
                code=errors.Code.IMAGE_REGISTRY,
            )
        if code == httpx.codes.TOO_MANY_REQUESTS:
            raise self.failed("has too many requests (HTTP 429), also after waiting")
        raise self.failed(f"answered {code}")

    def failed(self, what: str) -> errors.UnavailableError:
        """The registry did not do its part."""
        return errors.UnavailableError(
            f"The registry of {self.host}/{self.name} {what}.",
            remedy="Try again: what it has already is not sent again, and nothing half pushed can be pulled.",
            code=errors.Code.IMAGE_REGISTRY,
        )


def fallback_tag(digest: release.Digest) -> str:
    """The tag of the index of its referrers, where a registry has no referrers API."""
    return digest.value.replace(":", "-")


def _split(reference: str) -> tuple[str, str]:
    """Registry and the rest, as Docker reads it: a first part with a dot, a colon or `localhost` is a host."""
    first, slash, rest = reference.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    return credentials.DOCKER_HUB, reference if slash else f"library/{reference}"


def pause(left: int, retry_after: str | None) -> float:
    """Seconds before the next try; `left` tries are left."""
    if retry_after is not None and retry_after.isdecimal():
        return min(float(retry_after), _PAUSE_SECONDS_MAX)
    return float(_PAUSE_SECONDS * 2 ** (TRIES - 1 - left))


def _chunks(path: pathlib.Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
