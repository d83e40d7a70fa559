"""
Webhooks: what other programs may ask for with a signature instead of a token.

    X-Softlaunch-Timestamp: Unix seconds
    X-Softlaunch-Signature: sha256=HEX(HMAC-SHA256(secret, timestamp + "." + body))

A signature is good for five minutes and for one request: those that were accepted are kept (also over a restart) for as
long as their timestamp is good. It is spent before anything is done, so a sender signs every attempt anew.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import fastapi
import fastapi.concurrency
import pydantic

from softlaunch import errors
from softlaunch.api import access, schemas
from softlaunch.controller import commands, complaints
from softlaunch.ports import store as stores

CLOCK_SECONDS_MAX = 300.0
BODY_BYTES_MAX = 64 * 1024
BY = "webhook"
_Body = TypeVar("_Body", bound=pydantic.BaseModel)
_BOOKMARK = "hooks.seen"
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_SIGN = "Sign the timestamp, a dot and the very bytes of the body with the secret; docs/reference/api.md shows how."


class Spent:
    """
    Signatures that were accepted. May be used by several threads.

    Args:
        store: Where they are kept over a restart.
    """

    def __init__(self, store: stores.Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._seen: dict[str, float] = json.loads(store.bookmark(_BOOKMARK) or "{}")

    def spend(self, signature: str, *, at: float, now: float) -> bool:
        """
        Whether the signature is new; from now on it is not.

        Args:
            signature: Hexadecimal.
            at: Its timestamp.
            now: The time.

        Raises:
            UnavailableError: that could not be written down; in this process it is spent all the same.
        """
        with self._lock:
            if signature in self._seen:
                return False
            self._seen = {known: made for known, made in self._seen.items() if made >= now - CLOCK_SECONDS_MAX}
            self._seen[signature] = at
            self._store.commit(stores.Change(bookmarks={_BOOKMARK: json.dumps(self._seen)}))
            return True


def add(
    app: fastapi.FastAPI,
    *,
    operations: commands.Commands,
    reports: complaints.Complaints,
    store: stores.Store,
    secret: Callable[[], bytes | None],
    now: Callable[[], float],
) -> None:
    """
    Adds the routes to the application.

    Args:
        app: The application.
        operations: Rolls back.
        reports: Takes complaints.
        store: Keeps spent signatures.
        secret: The key of the signatures; None while webhooks are off.
        now: Unix seconds.
    """
    spent = Spent(store)

    def check(body: bytes, timestamp: str, signature: str, *, urgent: bool) -> fastapi.Response | None:
        key = secret()
        if key is None:
            return access.denied(
                "Webhooks are off: there is no secret.",
                "Make one with `softlaunch webhook secret`.",
                errors.Code.HOOK_OFF,
            )
        found = hmac.new(key, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(f"sha256={found}".encode(), signature.encode()):
            return access.denied("The signature is missing or wrong.", _SIGN, errors.Code.HOOK_UNSIGNED)
        if not _TIMESTAMP.fullmatch(timestamp) or abs(now() - int(timestamp)) > CLOCK_SECONDS_MAX:
            return access.denied(
                f"The timestamp is more than {CLOCK_SECONDS_MAX:g} s away from this machine's clock.",
                "Send Unix seconds of now, and compare the two machines' clocks.",
                errors.Code.HOOK_LATE,
            )
        try:
            new = spent.spend(found, at=float(timestamp), now=now())
        except errors.UnavailableError:
            if not urgent:
                raise
            new = True  # going back does not wait for a disk
        if not new:
            raise errors.ConflictError(
                "A request with this signature was accepted before.",
                remedy="Nothing was done a second time. Sign every attempt anew, with the time of now.",
                code=errors.Code.HOOK_REPLAYED,
            )
        return None

    @app.post(f"{access.SIGNED}rollback")
    async def rollback(request: fastapi.Request) -> Any:
        body = await _body(request)

        def act() -> Any:
            refusal = check(body, *_signed(request), urgent=True)
            if refusal is not None:
                return refusal
            asked = _read(schemas.HookRollback, body)
            done = operations.rollback(
                service=asked.service, environment=asked.environment, to=asked.to, by=BY, reason=asked.reason
            )
            return {"rollout_id": done.rollout_id, "text": done.text}

        return await fastapi.concurrency.run_in_threadpool(act)

    @app.post(f"{access.SIGNED}ticket")
    async def ticket(request: fastapi.Request) -> Any:
        body = await _body(request)

        def act() -> Any:
            refusal = check(body, *_signed(request), urgent=False)
            if refusal is not None:
                return refusal
            asked = _read(schemas.HookTicket, body)
            told = reports.report(
                prediction=asked.prediction,
                text=asked.text,
                by=asked.by,
                source="ticket",
                service=asked.service,
                environment=asked.environment,
                ticket=asked.id,
            )
            return {"new": told.new, "release": told.complaint.release}

        return await fastapi.concurrency.run_in_threadpool(act)


async def _body(request: fastapi.Request) -> bytes:
    """The body's bytes; anybody may send some, so not more than a webhook has."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES_MAX:
            raise errors.ConfigError(
                f"The body has more than {BODY_BYTES_MAX} bytes.",
                remedy="Send the fields that docs/reference/api.md names, and no others.",
                code=errors.Code.BAD_REQUEST,
            )
    return body


def _signed(request: fastapi.Request) -> tuple[str, str]:
    headers = request.headers
    return headers.get("x-softlaunch-timestamp", ""), headers.get("x-softlaunch-signature", "")


def _read(wanted: type[_Body], body: bytes) -> _Body:
    try:
        return wanted.model_validate_json(body)
    except pydantic.ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'body'}: {each['msg']}" for each in error.errors())
        raise errors.ConfigError(
            f"The request cannot be used: {found}.",
            remedy="docs/reference/api.md describes every route.",
            code=errors.Code.BAD_REQUEST,
        ) from error
