"""
Attached releases: a URL that somebody else runs, written down as a release so that it can be launched like any other.

The release holds nothing but the URL: its digest names the address, not what answers there. Who changes what runs
behind an attached URL changes it behind softlaunch's back.
"""

from __future__ import annotations

import pathlib
import urllib.parse

from softlaunch import errors
from softlaunch.controller.pipeline import assemble
from softlaunch.core import release


def write(directory: pathlib.Path, *, service: str, url: str, ready_path: str = "") -> pathlib.Path:
    """
    The release of an attached URL, ready for Registry.push; returns its directory.

    Args:
        directory: Made; must not exist.
        service: Whose release it is.
        url: http(s)://HOST[:PORT].
        ready_path: Answers 2xx when it is ready; empty: an open port is enough.

    Raises:
        ConfigError: the URL is none that requests can be sent to.
    """
    parts = urllib.parse.urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    plain = parts.path in ("", "/") and not parts.query and not parts.fragment and parts.username is None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or not plain:
        raise errors.ConfigError(
            f"{url!r} cannot be attached.",
            remedy="Give scheme, host and port, such as http://127.0.0.1:9000: paths are passed on as they come.",
            code=errors.Code.ATTACH_URL,
        )
    if ready_path and not ready_path.startswith("/"):
        raise errors.ConfigError(
            f"{ready_path!r} is no path.", remedy="Begin it with /, such as /healthz.", code=errors.Code.ATTACH_URL
        )
    directory.mkdir(parents=True)
    content = release.ReleaseContent(
        service=service,
        runtime=release.Runtime.ATTACHED,
        model_file=None,
        python_target=None,
        signature=release.Signature(inputs=(), outputs=()),
        lock_file=None,
        profile_file=None,
        smoke_file=None,
        attached_url=f"{parts.scheme}://{parts.netloc}",
        attached_ready=ready_path,
    )
    assemble.describe(directory, content)
    return directory
