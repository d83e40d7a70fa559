"""
An OCI image layout that images are made in: blobs under their digests, index.json changed by rename under a lock.

Compressing is what takes time, so the layout also remembers which compressed blob belongs to which uncompressed one
(`softlaunch.layers.json`, which other tools ignore).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from softlaunch import errors
from softlaunch.adapters.images import tarring
from softlaunch.core import release
from softlaunch.ports import images

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
MEDIA_TYPES: Mapping[images.Compression, str] = {
    images.Compression.GZIP: f"{LAYER}+gzip",
    images.Compression.NONE: LAYER,
}
_LEVEL = 6
_GZIP = 31  # zlib's word for a gzip wrapper; it writes no name and no time
_KNOWN = "softlaunch.layers.json"


class _Writer(Protocol):
    def write(self, chunk: bytes, /) -> int: ...


class _Hashing:
    """Hashes and counts what passes on its way to `next`."""

    def __init__(self, following: _Writer | None) -> None:
        self._following = following
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes, /) -> int:
        self._hash.update(chunk)
        self.size += len(chunk)
        if self._following is not None:
            self._following.write(chunk)
        return len(chunk)

    @property
    def digest(self) -> release.Digest:
        return release.Digest(f"sha256:{self._hash.hexdigest()}")


class _Gzip:
    def __init__(self, following: _Writer) -> None:
        self._following = following
        self._zlib = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)

    def write(self, chunk: bytes, /) -> int:
        self._following.write(self._zlib.compress(chunk))
        return len(chunk)

    def close(self) -> None:
        self._following.write(self._zlib.flush())


class Store:
    """
    Args:
        root: The layout's directory; made with the first blob.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self._blobs = root / "blobs" / "sha256"

    def path(self, digest: release.Digest) -> pathlib.Path:
        """Where the blob is, or would be."""
        return self._blobs / digest.value.removeprefix("sha256:")

    def holds(self, digest: release.Digest) -> bool:
        """Whether the blob is there with the bytes it is named for."""
        try:
            with self.path(digest).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == digest.value.removeprefix("sha256:")
        except OSError:
            return False

    def put(self, raw: bytes) -> release.Digest:
        """Stores the bytes."""
        digest = release.Digest(f"sha256:{hashlib.sha256(raw).hexdigest()}")
        if not self.path(digest).is_file():
            with self._writing() as (sink, _):
                sink.write(raw)
        return digest

    def read(self, digest: release.Digest) -> bytes:
        """
        The blob's bytes.

        Raises:
            UnavailableError: they are absent, or other bytes.
        """
        try:
            raw = self.path(digest).read_bytes()
        except OSError as error:
            raise damaged(self.root, digest, f"cannot be read ({error.strerror})") from error
        if hashlib.sha256(raw).hexdigest() != digest.value.removeprefix("sha256:"):
            raise damaged(self.root, digest, "holds other bytes than it is named for")
        return raw

    def layer(self, name: str, entries: Iterable[tarring.Entry], compression: images.Compression) -> images.Layer:
        """Stores the entries as a layer; nothing is compressed when the same one is there already."""
        ordered = tarring.parents(entries)
        first = _Hashing(None)
        tarring.write(first, ordered)
        known = self._known(first.digest, compression)
        if known is None:
            with self._writing() as (sink, _):
                gzip = _Gzip(sink) if compression is images.Compression.GZIP else None
                second = _Hashing(gzip or sink)
                tarring.write(second, ordered)
                if gzip is not None:
                    gzip.close()
            if second.digest != first.digest:
                raise tarring.unusable(name, "is a layer whose files changed while they were read")
            known = sink.digest, sink.size
            self._remember(first.digest, compression, *known)
        digest, size = known
        return images.Layer(
            name=name, digest=digest, diff_id=first.digest, size=size, media_type=MEDIA_TYPES[compression]
        )

    def copy_blob(self, source: pathlib.Path, digest: release.Digest) -> None:
        """Takes a blob over from another layout, checking its bytes."""
        if self.path(digest).is_file():
            return
        try:
            with source.open("rb") as file, self._writing(expected=digest) as (sink, _):
                shutil.copyfileobj(file, sink, 1 << 20)
        except FileNotFoundError as error:
            raise damaged(source.parents[2], digest, "is absent") from error

    # -- the index -------------------------------------------------------------------------------------------------

    def index(self) -> list[dict[str, Any]]:
        """
        Descriptors of the images, the oldest first.

        Raises:
            UnavailableError: index.json cannot be read.
        """
        try:
            found: list[dict[str, Any]] = json.loads((self.root / "index.json").read_bytes())["manifests"]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise errors.UnavailableError(
                f"{self.root / 'index.json'} cannot be read ({error}).",
                remedy="Move the directory away and build the image again.",
                code=errors.Code.IMAGE_STORE,
            ) from error
        return found

    def list(self, descriptor: dict[str, Any]) -> None:
        """Puts an image at the end of the index; an entry of the same digest and name goes, and the name elsewhere."""
        with self._locked():
            name = descriptor.get("annotations", {}).get("org.opencontainers.image.ref.name")
            kept = [
                each
                for each in self.index()
                if each.get("annotations", {}).get("org.opencontainers.image.ref.name") != name
            ]
            document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*kept, descriptor]}
            self._replace("index.json", canonical(document))
            self._replace("oci-layout", canonical({"imageLayoutVersion": "1.0.0"}))

    # -- what belongs together -------------------------------------------------------------------------------------

    def _known(self, diff_id: release.Digest, compression: images.Compression) -> tuple[release.Digest, int] | None:
        found = self._table().get(f"{compression} {diff_id}")
        if found is None:
            return None
        digest, size = release.Digest(found[0]), int(found[1])
        try:
            return (digest, size) if self.path(digest).stat().st_size == size else None
        except FileNotFoundError:
            return None

    def _remember(
        self, diff_id: release.Digest, compression: images.Compression, digest: release.Digest, size: int
    ) -> None:
        with self._locked():
            table = {**self._table(), f"{compression} {diff_id}": [digest.value, size]}
            self._replace(_KNOWN, canonical(table))

    def _table(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.root / _KNOWN).read_bytes())
        except (OSError, ValueError):  # a memory, not a record: what is lost is made again
            return {}
        return found

    # -- files -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _writing(self, expected: release.Digest | None = None) -> Iterator[tuple[_Hashing, pathlib.Path]]:
        with disk_errors(self.root):
            self._blobs.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._blobs, prefix=".writing-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    sink = _Hashing(file)
                    yield sink, pathlib.Path(name)
                    self._expect(expected, sink.digest)
                    file.flush()
                    os.fsync(file.fileno())
                    os.fchmod(file.fileno(), 0o644)
                pathlib.Path(name).rename(self.path(sink.digest))
            except BaseException:
                pathlib.Path(name).unlink(missing_ok=True)
                raise

    def _expect(self, expected: release.Digest | None, found: release.Digest) -> None:
        if expected is not None and found != expected:
            raise damaged(self.root, expected, "holds other bytes than it is named for")

    def _replace(self, name: str, raw: bytes) -> None:
        path = self.root / name
        with disk_errors(self.root):
            unfinished = self.root / f".{name}.writing"
            unfinished.write_bytes(raw)
            unfinished.rename(path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def blobs_of(read: Callable[[release.Digest], bytes], digest: release.Digest) -> list[tuple[release.Digest, int]]:
    """Config and layers of an image, then its manifest, with their sizes."""
    raw = read(digest)
    manifest = json.loads(raw)
    found = [(release.Digest(each["digest"]), each["size"]) for each in (manifest["config"], *manifest["layers"])]
    return [*dict.fromkeys(found), (digest, len(raw))]


def canonical(document: Mapping[str, Any]) -> bytes:
    """The same bytes for the same document."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@contextlib.contextmanager
def disk_errors(directory: pathlib.Path) -> Iterator[None]:
    """Errors of the disk under `directory` become ours."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise errors.UnavailableError(
            f"{'The disk is full' if full else 'Writing failed'} below {directory}: {error.strerror or error}.",
            remedy="Make room, or check who may write there; nothing half written is used.",
            code=errors.Code.DISK_FULL if full else errors.Code.IMAGE_STORE,
        ) from error


def damaged(root: pathlib.Path, digest: release.Digest, what: str) -> errors.UnavailableError:
    """A blob of a layout cannot be used."""
    return errors.UnavailableError(
        f"The blob {digest.short} of the layout {root} {what}.",
        remedy="Make the layout anew: fetch the base, or build the image, again.",
        code=errors.Code.IMAGE_STORE,
    )
