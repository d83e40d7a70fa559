"""
Who asks: the owner of the home, or a person with a token of their own.

What a person's token brings was done by that person: the `by` of a body does not count then. The owner's token carries
any `by`, as a note for the history, except where a name decides: the owner approves and promotes under the local user's
name.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

import fastapi
import fastapi.responses

from softlaunch import errors

_OPEN = ("/healthz",)
SIGNED = "/v1/hooks/"
"""Requests under it carry a signature instead of a token; api.hooks checks it."""


class Access:
    """
    Tells who a request comes from.

    Args:
        token: The owner's.
        owner: The local user's name.
        whose: The name of the person with a token; None when nobody has it.
    """

    def __init__(self, *, token: str, owner: str, whose: Callable[[str], str | None]) -> None:
        self._token = token
        self._owner = owner
        self._whose = whose

    async def admit(
        self, request: fastapi.Request, call_next: Callable[[fastapi.Request], Awaitable[fastapi.Response]]
    ) -> fastapi.Response:
        """The middleware: answers 401 itself, or notes who asks and goes on."""
        request.state.person = None
        path = request.url.path
        if path in _OPEN or path.startswith(SIGNED):
            return await call_next(request)
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            request.state.person = self._person(given)
            if request.state.person is None:
                return denied(
                    "The token is missing or wrong.",
                    "Send `Authorization: Bearer TOKEN` with your own token (`softlaunch token add` makes one) or the "
                    "one of control.json in softlaunch's home.",
                    errors.Code.UNAUTHORIZED,
                )
        return await call_next(request)

    def by(self, request: fastapi.Request, said: str) -> str:
        """Who did it, for the history."""
        person: str | None = request.state.person
        return said if person is None else person

    def deciding(self, request: fastapi.Request) -> str:
        """Who did it, where the name decides whether it may be done."""
        return self.by(request, self._owner)

    def _person(self, given: str) -> str | None:
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer" or not token:
            return None
        try:
            return self._whose(token)
        except errors.SoftlaunchError:
            return None  # a list of people that cannot be trusted admits nobody; `softlaunch token list` says why


def denied(message: str, remedy: str, code: errors.Code) -> fastapi.responses.JSONResponse:
    """401 in the form of every refusal."""
    return fastapi.responses.JSONResponse({"error": message, "remedy": remedy, "code": code.value}, status_code=401)
