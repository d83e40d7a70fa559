"""
One repository of one registry, by the OCI distribution API.

Credentials are those of Docker's config file and its helpers; they go to the registry and its token service alone, and
never in the clear but on this machine. What is refused for the moment (429, 5xx) is asked again, when the registry says
or after a pause that doubles. What an answer holds is compared with the digest it was asked by.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pathlib
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any, Self

import httpx

from softlaunch import errors
from softlaunch.core import release

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
_DOCKER_HUB, _DOCKER_HUB_API = "docker.io", "registry-1.docker.io"
_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_DOCKER = "application/vnd.docker.distribution.manifest"
_ACCEPT = f"{MANIFEST}, {INDEX}, {_DOCKER}.v2+json, {_DOCKER}.list.v2+json"
_REFERENCE = re.compile(r"(?P<name>[a-z0-9._/-]+)(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_CHUNK = 1 << 20
_PART_BYTES = 16 << 20
"""Of an upload that is sent in parts: what is sent again after a cut, at most. A guess."""
_TRIES = 4
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
        api = _DOCKER_HUB_API if host == _DOCKER_HUB else host
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
        return self._checked(self._ask("GET", f"/v2/{self.name}/manifests/{asked}", headers={"accept": _ACCEPT}), asked)

    def has(self, digest: release.Digest) -> bool:
        """Whether the blob is there."""
        found = self._ask("HEAD", f"/v2/{self.name}/blobs/{digest}")
        if found.status_code == httpx.codes.NOT_FOUND:
            return False
        self._expect(found, 200)
        return True

    def has_manifest(self, digest: release.Digest) -> bool:
        """Whether the manifest is there."""
        found = self._ask("HEAD", f"/v2/{self.name}/manifests/{digest}", headers={"accept": _ACCEPT})
        if found.status_code == httpx.codes.NOT_FOUND:
            return False
        self._expect(found, 200)
        return True

    def tagged(self) -> release.Digest | None:
        """What the tag of the reference names now."""
        found = self.find_manifest(self.asked)
        return None if found is None else found[0]

    def find_manifest(self, asked: str) -> tuple[release.Digest, bytes] | None:
        """As `manifest`; None when there is none."""
        found = self._ask("GET", f"/v2/{self.name}/manifests/{asked}", headers={"accept": _ACCEPT})
        return None if found.status_code == httpx.codes.NOT_FOUND else self._checked(found, asked)

    def chunks(self, digest: release.Digest) -> Iterator[bytes]:
        """The blob's bytes as they come; whoever stores them compares their digest."""
        url = f"/v2/{self.name}/blobs/{digest}"
        self.has(digest)  # is answered 401 when a token has to be had first: a stream is not asked twice
        try:
            with self._client.stream("GET", url, headers=self._headers(url), follow_redirects=True) as found:
                if found.status_code != httpx.codes.OK:
                    raise self.failed(f"answered {found.status_code} for blob {digest.short}")
                yield from found.iter_bytes(_CHUNK)
        except httpx.TransportError as error:
            raise self.failed(f"broke off ({type(error).__name__})") from error

    def upload(self, digest: release.Digest, path: pathlib.Path) -> None:
        """Sends a blob: a large one in parts, going on after a cut where the registry says it stands."""
        begun = self._ask("POST", f"/v2/{self.name}/blobs/uploads/")
        self._expect(begun, 202)
        place = self._client.base_url.join(begun.headers["location"])
        if path.stat().st_size <= _PART_BYTES:
            sent = self._ask("PUT", place.copy_merge_params({"digest": digest.value}), file=path)
        else:
            place = self._upload_parts(place, path)
            sent = self._ask("PUT", place.copy_merge_params({"digest": digest.value}), content=b"")
        self._expect(sent, 201)

    def _upload_parts(self, place: httpx.URL, path: pathlib.Path) -> httpx.URL:
        offset, left = 0, _TRIES
        with path.open("rb") as file:
            while True:
                file.seek(offset)
                part = file.read(_PART_BYTES)
                if not part:
                    return place
                headers = {
                    **self._headers(place),
                    "content-range": f"{offset}-{offset + len(part) - 1}",
                    "content-type": "application/octet-stream",
                }
                try:
                    found = self._client.patch(place, headers=headers, content=part)
                except httpx.TransportError as error:
                    what = f"cut the upload ({type(error).__name__})"
                else:
                    if found.status_code == httpx.codes.ACCEPTED:
                        place = self._client.base_url.join(found.headers.get("location", str(place)))
                        offset, left = offset + len(part), _TRIES
                        continue
                    what = f"answered {found.status_code} within an upload"
                    if found.status_code == httpx.codes.UNAUTHORIZED:
                        self._login(found)  # a token that ran out
                left -= 1
                if not left:
                    raise self.failed(what)
                time.sleep(_pause(left, None))
                place, offset = self._upload_state(place)

    def _upload_state(self, place: httpx.URL) -> tuple[httpx.URL, int]:
        """Where an upload goes on, and how many bytes the registry has of it."""
        found = self._ask("GET", place)
        self._expect(found, 204)
        first, dash, last = found.headers.get("range", "").rpartition("=")[2].partition("-")
        if not (dash and first == "0" and last.isdecimal()):
            raise self.failed("does not say where the upload stands")
        # "0-0" stands for nothing and for one byte alike: docker-registry says it of an empty upload
        offset = 0 if last == "0" else int(last) + 1
        return self._client.base_url.join(found.headers.get("location", str(place))), offset

    def put_manifest(self, raw: bytes, asked: str, media_type: str = MANIFEST) -> bool:
        """Stores a manifest; says whether the registry lists it among the referrers of its subject."""
        sent = self._ask("PUT", f"/v2/{self.name}/manifests/{asked}", headers={"content-type": media_type}, content=raw)
        self._expect(sent, 201)
        return "oci-subject" in sent.headers

    def referrers(self, digest: release.Digest) -> list[dict[str, Any]]:
        """Descriptors of what is attached to it: by the referrers API, else by the index under the fallback tag."""
        url: str | None = f"/v2/{self.name}/referrers/{digest}"
        listed: list[dict[str, Any]] = []
        while url is not None:
            found = self._ask("GET", url)
            if found.status_code == httpx.codes.NOT_FOUND:
                tagged = self.find_manifest(fallback_tag(digest))
                return [] if tagged is None else self.listed(tagged[1])
            self._expect(found, 200)
            listed += self.listed(found.content)
            url = found.links.get("next", {}).get("url")
        return listed

    def tags(self) -> list[str]:
        """Every tag of the repository; none when it does not exist."""
        url: str | None = f"/v2/{self.name}/tags/list"
        listed: list[str] = []
        while url is not None:
            found = self._ask("GET", url)
            if found.status_code == httpx.codes.NOT_FOUND:
                return []
            self._expect(found, 200)
            try:
                listed += [str(each) for each in found.json()["tags"] or ()]
            except (ValueError, KeyError, TypeError) as error:
                raise self.failed("answers with no list of tags") from error
            url = found.links.get("next", {}).get("url")
        return listed

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
        self._expect(found, 200)
        digest = release.Digest(f"sha256:{hashlib.sha256(found.content).hexdigest()}")
        if asked.startswith("sha256:") and asked != digest.value:
            raise self.failed(f"answered other bytes than {asked} is named for")
        return digest, found.content

    # -- requests --------------------------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        url: str | httpx.URL,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        file: pathlib.Path | None = None,
    ) -> httpx.Response:
        for left in range(_TRIES - 1, -1, -1):
            body: bytes | Iterator[bytes] | None = content if file is None else _chunks(file)
            length = {} if file is None else {"content-length": str(file.stat().st_size)}
            asked = {**self._headers(url), **length, **(headers or {})}
            try:
                found = self._client.request(method, url, headers=asked, content=body, follow_redirects=method != "PUT")
            except httpx.TransportError as error:
                if left:
                    time.sleep(_pause(left, None))
                    continue
                raise self.failed(f"cannot be reached ({type(error).__name__})") from error
            if found.status_code == httpx.codes.UNAUTHORIZED and left and self._login(found):
                continue
            busy = found.status_code == httpx.codes.TOO_MANY_REQUESTS or found.is_server_error
            if not busy or not left:
                return found
            time.sleep(_pause(left, found.headers.get("retry-after")))
        raise errors.InvariantError("The last try returns or raises.")

    def _headers(self, url: str | httpx.URL) -> dict[str, str]:
        """The credentials, unless the registry has sent us to another host."""
        place, home = self._client.base_url.join(url), self._client.base_url
        is_home = (place.scheme, place.host, place.port) == (home.scheme, home.host, home.port)
        return {"authorization": self._authorization} if is_home and self._authorization is not None else {}

    def _login(self, refused: httpx.Response) -> bool:
        """Whether there is something new to try: credentials, or a token for them."""
        kind, _, rest = refused.headers.get("www-authenticate", "").partition(" ")
        basic = credentials(self.host)
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

    def _expect(self, found: httpx.Response, status: int) -> None:
        code = found.status_code
        if code == status:
            return
        where = f"{self.host}/{self.name}"
        if code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise errors.ConfigError(
                f"The registry refuses {where} (HTTP {code}).",
                remedy=f"Log in with `docker login {self.host}`, or ask for the right to use {self.name}.",
                code=errors.Code.IMAGE_REGISTRY,
            )
        if code == httpx.codes.NOT_FOUND:
            raise errors.ConfigError(
                f"The registry has no {where}:{self.asked}.",
                remedy="Check the name and the tag.",
                code=errors.Code.IMAGE_REGISTRY,
            )
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


def credentials(host: str) -> str | None:
    """
    An Authorization header for the registry, as Docker's config file and its helpers keep it; None when they do not.

    Raises:
        ConfigError: the config file or a helper cannot be read.
    """
    folder = pathlib.Path(os.environ.get("DOCKER_CONFIG") or pathlib.Path.home() / ".docker")
    key = _DOCKER_HUB_KEY if host == _DOCKER_HUB else host
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
        helper = config.get("credHelpers", {}).get(key) or config.get("credsStore")
        if helper:
            return _from_helper(str(helper), key)
        kept = config.get("auths", {}).get(key, {}).get("auth")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise errors.ConfigError(
            f"{folder / 'config.json'} cannot be read ({type(error).__name__}).",
            remedy="Mend it, or name another folder in DOCKER_CONFIG.",
            code=errors.Code.IMAGE_REGISTRY,
        ) from error
    return f"Basic {kept}" if kept else None


def _from_helper(helper: str, key: str) -> str | None:
    try:
        found = subprocess.run(
            [f"docker-credential-{helper}", "get"], input=key, capture_output=True, text=True, check=False, timeout=30
        )
        if found.returncode:
            return None  # it has nothing for this registry
        told = json.loads(found.stdout)
        pair = f"{told['Username']}:{told['Secret']}"
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        raise errors.ConfigError(
            f"The credential helper docker-credential-{helper} does not answer ({type(error).__name__}).",
            remedy="Install it, or remove it from Docker's config.json.",
            code=errors.Code.IMAGE_REGISTRY,
        ) from None  # its output may hold the secret
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _split(reference: str) -> tuple[str, str]:
    """Registry and the rest, as Docker reads it: a first part with a dot, a colon or `localhost` is a host."""
    first, slash, rest = reference.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    return _DOCKER_HUB, reference if slash else f"library/{reference}"


def _pause(left: int, retry_after: str | None) -> float:
    """Seconds before the next try; `left` tries are left."""
    if retry_after is not None and retry_after.isdecimal():
        return min(float(retry_after), _PAUSE_SECONDS_MAX)
    return float(_PAUSE_SECONDS * 2 ** (_TRIES - 1 - left))


def _chunks(path: pathlib.Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
