"""Files over HTTP; see ports.download.Downloads."""

from __future__ import annotations

import hashlib
import pathlib

import httpx

from softlaunch import errors

_TIMEOUT = httpx.Timeout(30.0, read=120.0)


class HttpDownloads:
    """See ports.download.Downloads."""

    def fetch(self, url: str, path: pathlib.Path) -> str:
        """See ports.download.Downloads.fetch."""
        digest = hashlib.sha256()
        try:
            with httpx.stream("GET", url, follow_redirects=True, timeout=_TIMEOUT) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise _failed(url, f"it answered {answer.status_code}")
                with path.open("wb") as file:
                    for chunk in answer.iter_bytes(1 << 20):
                        digest.update(chunk)
                        file.write(chunk)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _failed(url, " ".join(str(error).split()) or type(error).__name__) from error
        return digest.hexdigest()


def _failed(url: str, why: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        f"The model at {url} cannot be fetched: {why}.",
        remedy="Check the address and the network, then build again.",
        code=errors.Code.DOWNLOAD_FAILED,
    )
