"""
The control plane's HTTP API, on loopback, for the CLI and for programs.

Every route but /healthz wants `Authorization: Bearer TOKEN`: the owner's of HOME/control.json (mode 0600), or a
person's own. Webhooks are signed instead. HTTP status codes are chosen in this package and nowhere else.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Annotated, Any

import fastapi
import fastapi.exceptions
import fastapi.responses

import softlaunch
from softlaunch import errors
from softlaunch.api import (
    access,
    complaining,
    drills,
    evidence,
    follows,
    git_hooks,
    history,
    hooks,
    labels,
    places,
    schemas,
)
from softlaunch.controller import (
    commands,
    complaints,
    drilling,
    explain,
    following,
    hook_secret,
    people,
    pinning,
    views,
)
from softlaunch.controller import loop as loops
from softlaunch.controller.labels import receiving
from softlaunch.core import release, spec, spec_json
from softlaunch.core.rollout import phases
from softlaunch.ports import store as stores

STATUS = {
    errors.ConfigError: 422,
    errors.ConflictError: 409,
    errors.UnavailableError: 503,
    errors.InvariantError: 500,
}


def create(
    *,
    loop: loops.ControlLoop,
    operations: commands.Commands,
    store: stores.Store,
    token: str,
    instance: str,
    ready: Callable[[], bool],
    stop: Callable[[], None],
    owner: str | None = None,
    whose: Callable[[str], str | None] = people.nobody,
    key: Callable[[], bytes | None] = hook_secret.off,
    find_release: complaints.FindRelease = complaints.nowhere,
    drill: drilling.Drilling | None = None,
    follow: following.Following | None = None,
    receiver: receiving.Receiving | None = None,
) -> fastapi.FastAPI:
    """
    The application.

    Args:
        loop: Read for views, under its lock.
        operations: What may be asked.
        store: Finished rollouts and history.
        token: The owner's bearer token.
        instance: Names this run of the control plane.
        ready: Whether the first turn of the loop has been made.
        stop: Ends the control plane and everything it started; returns at once.
        owner: Under which name the owner decides; None: the local user's.
        whose: The name of the person with a token (people.People.whose).
        key: The key of webhooks' signatures, None while they are off (hook_secret.HookSecret.read).
        find_release: Looks up where and by which release a prediction was made.
        drill: Plants faults; None: no drills here.
        follow: Follows git repositories; None: none are followed here.
        receiver: Keeps labels; None: none are taken here.
    """
    guard = access.Access(token=token, owner=owner or people.local_user(), whose=whose)
    reports = complaints.Complaints(store=store, loop=loop, find_release=find_release)
    app = fastapi.FastAPI(
        title="softlaunch control plane", version=softlaunch.__version__, docs_url=None, redoc_url=None
    )

    @app.exception_handler(errors.SoftlaunchError)
    async def _refuse(_request: fastapi.Request, error: Exception) -> fastapi.Response:
        assert isinstance(error, errors.SoftlaunchError)
        status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
        body = {"error": error.message, "remedy": error.remedy, "code": error.code.value}
        return fastapi.responses.JSONResponse(body, status_code=status)

    @app.exception_handler(fastapi.exceptions.RequestValidationError)
    async def _refuse_body(_request: fastapi.Request, error: Exception) -> fastapi.Response:
        assert isinstance(error, fastapi.exceptions.RequestValidationError)
        # The offending value is not repeated: a body may carry what nobody wants in a log.
        found = "; ".join(f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors())
        body = {
            "error": f"The request cannot be used: {found}.",
            "remedy": "docs/reference/api.md describes every route; a client of another version may ask differently.",
            "code": errors.Code.BAD_REQUEST.value,
        }
        return fastapi.responses.JSONResponse(body, status_code=422)

    app.middleware("http")(guard.admit)
    complaining.add(app, reports=reports, guard=guard, loop=loop)
    evidence.add(app, store=store)
    history.add(app, store=store, now=loop.now)
    places.add(app, loop=loop)
    if drill is not None:
        drills.add(app, drill=drill, guard=guard)
    if receiver is not None:
        labels.add(app, receiver=receiver, guard=guard)
    if follow is not None:
        follows.add(app, source=follow, guard=guard, now=loop.now)
        git_hooks.add(app, source=follow, store=store, secret=key)
    hooks.add(app, operations=operations, reports=reports, store=store, secret=key, now=loop.now)

    @app.get("/healthz")
    def healthz() -> dict[str, Any]:
        return {"ready": ready(), "instance": instance, "version": softlaunch.__version__}

    @app.get("/v1/status")
    def status() -> dict[str, Any]:
        return views.status(loop)

    @app.post("/v1/rollouts", status_code=201)
    def deploy(body: schemas.Deploy, request: fastapi.Request) -> dict[str, Any]:
        done = operations.deploy(_request(body, by=guard.by(request, body.by)))
        return {"rollout_id": done.rollout_id, "text": done.text, "after": done.after}

    @app.get("/v1/rollouts")
    def rollouts(
        service: str | None = None,
        environment: str | None = None,
        limit: Annotated[int, fastapi.Query(ge=1, le=1000)] = 50,
    ) -> list[dict[str, Any]]:
        found = store.rollouts(service=service, environment=environment, limit=limit)
        with loop.lock:
            return [views.rollout(loop, record) for record in found]

    @app.get("/v1/rollouts/{number}")
    def rollout(number: int) -> dict[str, Any]:
        return _view(number)

    @app.get("/v1/rollouts/{number}/explain")
    def why(number: int) -> dict[str, Any]:
        record, view = _record(number), _view(number)
        pins = operations.pins(view["service"], view["environment"])
        pin = next((_pin(found) for found in pins if pinning.means(found, record.candidate)), None)
        return {"lines": explain.lines(view, events=views.events(list(store.events(rollout_id=number))), pin=pin)}

    @app.get("/v1/rollouts/{number}/curve")
    def curve(number: int) -> dict[str, Any]:
        record = _record(number)
        with loop.lock:
            return {"curve": views.curve(loop, record)}

    @app.get("/v1/events")
    def events(
        service: str | None = None,
        environment: str | None = None,
        rollout_id: int | None = None,
        after_id: int = 0,
        limit: Annotated[int, fastapi.Query(ge=1, le=10_000)] = 200,
    ) -> list[dict[str, Any]]:
        found = store.events(
            service=service, environment=environment, rollout_id=rollout_id, after_id=after_id, limit=limit
        )
        return views.events(list(found))

    @app.get("/v1/services/{service}/{environment}/pins")
    def pins(service: str, environment: str) -> list[dict[str, Any]]:
        return [_pin(found) for found in operations.pins(service, environment)]

    @app.post("/v1/services/{service}/{environment}/{verb}")
    def operate(
        service: str, environment: str, verb: schemas.Verb, body: schemas.Operate, request: fastapi.Request
    ) -> dict[str, Any]:
        place = {"service": service, "environment": environment, "by": guard.by(request, body.by)}
        match verb:
            case schemas.Verb.ROLLBACK:
                return _deployed(operations.rollback(**place, to=body.to, reason=body.reason))
            case schemas.Verb.RETRY:
                return _deployed(operations.retry(**place, lift_reason=body.lift_reason))
            case schemas.Verb.UNPIN:
                return _pin(operations.lift(**place, release=body.release, reason=body.reason))
            case schemas.Verb.PAUSE:
                record = operations.pause(**place)
            case schemas.Verb.RESUME:
                record = operations.resume(**place)
            case schemas.Verb.ABORT:
                record = operations.abort(**place, reason=body.reason)
            case schemas.Verb.PROMOTE:
                record = operations.promote(**{**place, "by": guard.deciding(request)}, full=body.full)
            case schemas.Verb.APPROVE:
                record = operations.approve(**{**place, "by": guard.deciding(request)}, reason=body.reason)
        with loop.lock:
            return views.rollout(loop, record)

    @app.post("/v1/stop", status_code=202)
    def stop_everything() -> dict[str, Any]:
        stop()
        return {"text": "Stopping the gateway, every model server and the control plane."}

    def _view(number: int) -> dict[str, Any]:
        record = _record(number)
        with loop.lock:
            return views.rollout(loop, record)

    def _record(number: int) -> stores.RolloutRecord:
        found = store.rollout(number)
        if found is None:
            raise errors.ConfigError(
                f"There is no rollout {number}.",
                remedy="`softlaunch history` lists all of them.",
                code=errors.Code.NO_ROLLOUT,
            )
        with loop.lock:
            running = loop.ledger.rollouts.get((found.service, found.environment))
            return running if running is not None and running.id == number else found

    def _request(body: schemas.Deploy, *, by: str) -> commands.DeployRequest:
        return commands.DeployRequest(
            service=body.service,
            environment=_environment(body.environment),
            release=release.Digest(body.release),
            ref=body.ref,
            commit=body.commit,
            by=by,
            replace=body.replace,
        )

    return app


def _deployed(done: commands.Deployed) -> dict[str, Any]:
    return {"rollout_id": done.rollout_id, "text": done.text}


def _pin(found: stores.Pin) -> dict[str, Any]:
    settings = {"arm": found.release.short} if isinstance(found.release, release.Arm) else {}
    return {**dataclasses.asdict(found), "release": found.release.value, **settings}


def _environment(text: str) -> spec.EnvironmentSpec:
    found = spec_json.load_environment(text.encode())
    if not re.fullmatch(schemas.NAME, found.name):
        raise errors.ConfigError(
            f"{found.name!r} is no name of an environment.",
            remedy="Use lower-case letters, digits and hyphens.",
            code=errors.Code.BAD_REQUEST,
        )
    try:
        phases.plan_of(found, compared=True)
    except errors.InvariantError as error:  # softlaunch.yaml's parser lets none through; another client may
        raise errors.ConfigError(
            f"The strategy of {found.name!r} makes no plan: {error.message}",
            remedy="Use rising shares that end at 100 %.",
            code=errors.Code.BAD_REQUEST,
        ) from error
    return found
