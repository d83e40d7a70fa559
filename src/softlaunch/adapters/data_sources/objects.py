"""
Objects of S3 (and whatever speaks like it), Google Cloud Storage and Azure; see ports.download.Downloads.

Credentials and endpoints come from the variables each cloud's own tools read (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL,
GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_KEY, ...), or from the machine's identity there. A bucket that
keeps versions gives the version that was pinned, whatever has been written over it since.
"""

from __future__ import annotations

import datetime
import os
import pathlib
import urllib.parse
from typing import Any

from softlaunch import errors
from softlaunch.adapters.data_sources import parts
from softlaunch.ports import download

_VERSION, _TAG = "version:", "etag:"
_ATTEMPTS_MAX = 5
_RETRIES: Any = {"max_retries": 3, "retry_timeout": datetime.timedelta(seconds=30)}
"""Of the library, within one attempt; its own three minutes are long for somebody who mistyped a host."""
_CHUNK_BYTES = 4 << 20
_UNVERSIONED = ("", "null")
"""What buckets without versions call the only one."""


class ObjectFiles:
    """See ports.download.Downloads; URLs are s3://BUCKET/KEY, gs://BUCKET/KEY and az://ACCOUNT/CONTAINER/KEY."""

    def fetch(self, url: str, path: pathlib.Path, *, version: str = "") -> download.Fetched:
        """See ports.download.Downloads.fetch."""
        with parts.alone(path):
            for attempt in range(1, _ATTEMPTS_MAX + 1):
                before, _ = parts.known(path)
                try:
                    found = self._once(url, path, version)
                    return download.Fetched(sha256=parts.sha256(path), version=found)
                except Exception as error:  # the library raises errors of a dozen kinds, some bare
                    # Its FileNotFoundError has no number; those of this disk have one.
                    if isinstance(error, errors.SoftlaunchError) or getattr(error, "errno", None) is not None:
                        raise
                    more, _ = parts.known(path)
                    if attempt == _ATTEMPTS_MAX or more <= before:
                        raise _failed(url, error) from error
        raise errors.InvariantError("The last attempt returns or raises.")

    def version(self, url: str) -> str:
        """See ports.download.Downloads.version."""
        store, key = _opened(url)
        import obstore  # noqa: PLC0415 - an extra; `_opened` says so where it is missing

        try:
            return _version(dict(obstore.head(store, key)))
        except Exception as error:  # the library raises errors of a dozen kinds, some bare
            raise _failed(url, error) from error

    def _once(self, url: str, path: pathlib.Path, version: str) -> str:
        store, key = _opened(url)
        import obstore  # noqa: PLC0415 - as above

        size, known = parts.known(path)
        options: dict[str, Any] = {}
        wanted = version.removeprefix(_VERSION) if version.startswith(_VERSION) else ""
        if wanted:
            options["version"] = wanted
            if known != version:
                size = 0  # what is there is of another version than the one that is asked for
        if size:
            if _total(obstore.head(store, key), known) == size:
                return known
            options["range"] = {"offset": size}
            if known.startswith(_TAG):
                options["if_match"] = known.removeprefix(_TAG)
            elif known.startswith(_VERSION):
                options["version"] = known.removeprefix(_VERSION)
        try:
            answer = obstore.get(store, key, options=options)  # type: ignore[arg-type]
        except obstore.exceptions.PreconditionError:  # another object stands there by now
            parts.begin(path, "")
            answer = obstore.get(store, key, options={"version": wanted} if wanted else {})
            size = 0
        found = _version(dict(answer.meta))
        if not size:
            parts.begin(path, found)
        with path.open("ab") as file:
            for chunk in answer.stream(min_chunk_size=_CHUNK_BYTES):
                file.write(bytes(chunk))
        return found


def _total(meta: Any, known: str) -> int | None:
    """The object's size, when it still is the one of that version."""
    return int(meta["size"]) if _version(dict(meta)) == known else None


def _version(meta: dict[str, Any]) -> str:
    version, tag = meta.get("version") or "", meta.get("e_tag") or ""
    if version not in _UNVERSIONED:
        return f"{_VERSION}{version}"
    return f"{_TAG}{tag}" if tag else ""


def _opened(url: str) -> tuple[Any, str]:
    """The bucket, and the key in it."""
    try:
        from obstore import store as stores  # noqa: PLC0415 - an extra: many services keep nothing in buckets
    except ImportError as error:
        raise errors.ConfigError(
            f"{url} lies in an object store, and this softlaunch was installed without what reads those.",
            remedy="Install softlaunch[objects].",
            code=errors.Code.DOWNLOAD_FAILED,
        ) from error
    parts_ = urllib.parse.urlsplit(url)
    key = urllib.parse.unquote(parts_.path.lstrip("/"))
    root = f"{parts_.scheme}://{parts_.netloc}"
    if parts_.scheme == "az":
        container, _, key = key.partition("/")
        root = f"{root}/{container}"
    if not parts_.netloc or not key:
        raise errors.ConfigError(
            f"{url} names no object.",
            remedy="Write s3://BUCKET/KEY, gs://BUCKET/KEY or az://ACCOUNT/CONTAINER/KEY.",
            code=errors.Code.DOWNLOAD_FAILED,
        )
    plain = os.environ.get("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT", "")).startswith("http://")
    options = {"allow_http": True} if parts_.scheme == "s3" and plain else {}
    try:
        if parts_.scheme == "az":
            opened: Any = stores.AzureStore(container, account_name=parts_.netloc, retry_config=_RETRIES)
        else:
            opened = stores.from_url(root, client_options=options, retry_config=_RETRIES)  # type: ignore[call-overload]
    except Exception as error:  # as in `version`
        raise _failed(url, error) from error
    return opened, key


def _failed(url: str, error: Exception) -> errors.UnavailableError:
    # What the library says may hold signed addresses and whole answers: the kind of its error is enough.
    kind = type(error).__name__.removesuffix("Error")
    known = {
        "NotFound": "there is no such object",
        "FileNotFound": "there is no such object",
        "PermissionDenied": "access is denied",
        "Unauthenticated": "the credentials are not accepted, or there are none",
    }
    return errors.UnavailableError(
        f"{url} cannot be fetched: {known.get(kind, kind)}.",
        remedy="Check its name, the endpoint (AWS_ENDPOINT_URL) and the credentials in this environment.",
        code=errors.Code.DOWNLOAD_FAILED,
    )
