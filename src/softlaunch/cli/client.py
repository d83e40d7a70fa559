"""The control plane, as the CLI sees it."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import httpx

from softlaunch import errors
from softlaunch.config import home as homes
from softlaunch.config import settings

TIMEOUT_SECONDS = 10.0
_NOT_RUNNING = "The control plane is not running."
_START = "Start it with `softlaunch up`."


class Client:
    """
    Calls the API of the control plane that serves a home.

    As its owner, with what stands in control.json; or as the person whose token is in SOFTLAUNCH_TOKEN, at
    SOFTLAUNCH_URL where control.json cannot be read.
    """

    def __init__(self, home: homes.Home, variables: Mapping[str, str] = os.environ) -> None:
        """
        Raises:
            UnavailableError: no control plane has written its address there.
        """
        address = read_address(home) or {}
        url, token = (variables.get(name) for name in settings.CLIENT[::-1])
        url, token = url or address.get("url"), token or address.get("token")
        if url is None or token is None:
            raise errors.UnavailableError(_NOT_RUNNING, remedy=_START, code=errors.Code.NOT_RUNNING)
        self._http = httpx.Client(
            base_url=url,
            headers={"authorization": f"Bearer {token}"},
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
            verify=False,  # noqa: S501 - plain HTTP on loopback; loading certificates takes longer than the answer
        )

    def get(self, path: str, **query: Any) -> Any:
        return self._call("GET", path, params={key: value for key, value in query.items() if value is not None})

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._call("POST", path, json=body)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise errors.UnavailableError(
                f"{_NOT_RUNNING} ({error})", remedy=_START, code=errors.Code.NOT_RUNNING
            ) from error
        if answer.is_success:
            return answer.json()
        raise _error(answer)


def read_address(home: homes.Home) -> dict[str, Any] | None:
    """{"url", "token", "pid", "instance"} of the control plane last started there; None when there is none."""
    path: pathlib.Path = home.control_file
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):  # also a home that is no directory: who uses it will say what is wrong with it
        return None
    return found if isinstance(found, dict) and found.keys() >= {"url", "token", "pid", "instance"} else None


def healthy(address: dict[str, Any]) -> bool:
    """Whether the control plane of that address answers, has made its first turn and is the one that was asked."""
    try:
        answer = httpx.get(f"{address['url']}/healthz", timeout=2.0, trust_env=False, verify=False)  # noqa: S501 - as above
        body = answer.json()
    except (httpx.HTTPError, ValueError):
        return False
    return bool(body.get("ready")) and body.get("instance") == address["instance"]


def _error(answer: httpx.Response) -> errors.SoftlaunchError:
    kinds: dict[int, type[errors.ConfigError | errors.ConflictError | errors.UnavailableError]] = {
        409: errors.ConflictError,
        503: errors.UnavailableError,
    }
    try:
        body = answer.json()
        if answer.status_code == 500:
            return errors.InvariantError(body["error"])
        kind = kinds.get(answer.status_code, errors.ConfigError)
        return kind(body["error"], remedy=body["remedy"], code=errors.Code(body["code"]))
    except (ValueError, KeyError, TypeError):
        return errors.UnavailableError(
            f"The control plane answered {answer.status_code}: {_detail(answer)}",
            remedy="Look into logs/control-plane.log in softlaunch's home.",
            code=errors.Code.BAD_ANSWER,
        )


def _detail(answer: httpx.Response) -> str:
    """What a web framework says about a request it did not take, in words; else the beginning of the answer."""
    try:
        detail = answer.json()["detail"]
        if isinstance(detail, str):
            return detail
        return "; ".join(f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in detail)
    except (ValueError, KeyError, TypeError):
        return answer.text[:300]
