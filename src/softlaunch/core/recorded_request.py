"""A recorded request as it is sent once more: its path and headers."""

from __future__ import annotations

import re

from softlaunch.core import lookup_recorded, oip_recorded, spool

_VERSION = re.compile(r"/versions/[^/]+(?=/infer$)")


def path(record: spool.Record) -> str:
    """The path without the release that a version in it named then."""
    return _VERSION.sub("", record.path)


def headers(record: spool.Record) -> dict[str, str]:
    """What the body needs to be understood, and that no user waits for the answer; others are not recorded."""
    found = {
        "content-type": record.content_type or "application/json",
        "x-softlaunch-arm": spool.SHADOW,
        **lookup_recorded.header(record.features),
    }
    json_bytes = _json_bytes(record)
    if json_bytes is not None:
        found["inference-header-content-length"] = str(json_bytes)
    return found


def _json_bytes(record: spool.Record) -> int | None:
    """How much of the request is JSON, when binary tensor data follows it: headers are not recorded."""
    if not record.path.endswith("/infer"):
        return None
    found = oip_recorded.document_bytes(record.request)
    return found if found is not None and record.request[found:].strip() else None
