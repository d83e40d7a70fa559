"""
The webhook of git servers: somebody has pushed, so ask the server now.

    GitHub      X-Hub-Signature-256: sha256=HEX(HMAC-SHA256(secret, body))
    Gitea       X-Gitea-Signature: HEX(HMAC-SHA256(secret, body)), Forgejo the same
    Bitbucket   X-Hub-Signature: sha256=HEX(HMAC-SHA256(secret, body))
    GitLab      X-Gitlab-Token: secret

Nothing that a payload says is believed, not even which repository it is about: all that are followed are asked, and
what they answer counts. A delivery is accepted once, by its body and by its id; the last SEEN_COUNT_MAX are remembered,
also over a restart. The secret is one of its own, made from the one of the other webhooks: GitLab sends it as it is,
and whoever reads it must not be able to sign a rollback.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import fastapi
import fastapi.concurrency

from softlaunch import errors
from softlaunch.api import access
from softlaunch.controller import following, hook_secret
from softlaunch.ports import store as stores

PATH = f"{access.SIGNED}git"
BODY_BYTES_MAX = 8 * 2**20
"""A push of two thousand commits; GitHub cuts payloads off later than that."""
SEEN_COUNT_MAX = 2_000
_BOOKMARK = "git.deliveries"
_DELIVERIES = ("x-github-delivery", "x-gitea-delivery", "x-gitlab-event-uuid", "x-request-uuid", "x-request-id")
_MARK_LENGTH = 32
_SIGN = "Give the git server's webhook the secret that `softlaunch webhook git` prints; docs/howto shows where."


class Deliveries:
    """
    What was accepted; may be used by several threads.

    Args:
        store: Where it is kept over a restart.
    """

    def __init__(self, store: stores.Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._seen: dict[str, None] = dict.fromkeys(json.loads(store.bookmark(_BOOKMARK) or "[]"))

    def spend(self, *marks: str) -> bool:
        """
        Whether none of the marks was spent before; from now on they are.

        Raises:
            UnavailableError: that could not be written down; in this process they are spent all the same.
        """
        with self._lock:
            if any(mark in self._seen for mark in marks):
                return False
            self._seen |= dict.fromkeys(marks)
            for old in list(self._seen)[: max(0, len(self._seen) - SEEN_COUNT_MAX)]:
                del self._seen[old]
            self._store.commit(stores.Change(bookmarks={_BOOKMARK: json.dumps(list(self._seen))}))
            return True


def add(
    app: fastapi.FastAPI,
    *,
    source: following.Following,
    store: stores.Store,
    secret: Callable[[], bytes | None],
) -> None:
    """
    Adds the route to the application.

    Args:
        app: The application.
        source: What asks the servers.
        store: Keeps what was accepted.
        secret: The secret of the other webhooks; None while webhooks are off.
    """
    deliveries = Deliveries(store)

    @app.post(PATH)
    async def pushed(request: fastapi.Request) -> Any:
        body = await _body(request)
        headers = {name.lower(): value for name, value in request.headers.items()}

        def act() -> Any:
            key = secret()
            if key is None:
                return access.denied(
                    "Webhooks are off: there is no secret.",
                    "Make one with `softlaunch webhook secret`.",
                    errors.Code.HOOK_OFF,
                )
            if not _good(hook_secret.for_git(key).encode(), headers, body):
                return access.denied("The signature is missing or wrong.", _SIGN, errors.Code.HOOK_UNSIGNED)
            if not deliveries.spend(*_marks(headers, body)):
                raise errors.ConflictError(
                    "This delivery was accepted before.",
                    remedy="Nothing was done a second time; `softlaunch sync` asks the git servers now.",
                    code=errors.Code.HOOK_REPLAYED,
                )
            return {"asked": source.poke()}

        return await fastapi.concurrency.run_in_threadpool(act)


def _good(key: bytes, headers: Mapping[str, str], body: bytes) -> bool:
    """One header decides, the strongest there is: a weaker one beside it is not asked."""
    found = hmac.new(key, body, hashlib.sha256).hexdigest()
    if "x-hub-signature-256" in headers:
        given, wanted = headers["x-hub-signature-256"], f"sha256={found}"
    elif "x-gitea-signature" in headers:
        given, wanted = headers["x-gitea-signature"], found
    elif "x-hub-signature" in headers:
        given, wanted = headers["x-hub-signature"], f"sha256={found}"
    elif "x-gitlab-token" in headers:
        given, wanted = headers["x-gitlab-token"], key.decode()
    else:
        return False
    return hmac.compare_digest(given.encode(), wanted.encode())


def _marks(headers: Mapping[str, str], body: bytes) -> list[str]:
    """By its body, which is signed, and by its id, which is not: whoever changes the id does not get it in again."""
    signed = hashlib.sha256(body).hexdigest()[:_MARK_LENGTH]
    named = (f"{name}:{headers[name]}" for name in _DELIVERIES if headers.get(name))
    return [signed, *(hashlib.sha256(each.encode()).hexdigest()[:_MARK_LENGTH] for each in named)]


async def _body(request: fastapi.Request) -> bytes:
    parts, length = [], 0
    async for part in request.stream():
        parts.append(part)
        length += len(part)
        if length > BODY_BYTES_MAX:
            raise errors.ConfigError(
                f"The body has more than {BODY_BYTES_MAX} bytes.",
                remedy="Let the git server send push events only; `softlaunch sync` does the same by hand.",
                code=errors.Code.BAD_REQUEST,
            )
    return b"".join(parts)
