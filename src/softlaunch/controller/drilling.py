"""
`softlaunch drill`: launches the live release against itself, with a fault planted in the copy.

Everything but the planted fault takes its ordinary way; the machine never promotes a drill (core.rollout.machine).
"""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from typing import Any

from softlaunch import errors
from softlaunch.controller import commands, drill, shelf
from softlaunch.controller import loop as loops
from softlaunch.core import drills, release, spec
from softlaunch.ports import registry, store

PRODUCTION = "production"
STEP_SECONDS_MAX = 600.0
"""A drill that nothing has caught by then holds; whoever asked for it aborts."""
ATTEMPTS_MIN = 1_000_000
"""No step of a drill is left for having gone well: it lasts until something catches the fault or somebody gives up."""


class Drilling:
    """
    The use case.

    Args:
        loop: To see what is live.
        operations: To launch.
        registry: Where the drill release is pushed.
        shelf: Unpacks the release that is live.
    """

    def __init__(
        self,
        *,
        loop: loops.ControlLoop,
        operations: commands.Commands,
        registry: registry.Registry,
        shelf: shelf.Shelf,
    ) -> None:
        self._loop = loop
        self._operations = operations
        self._registry = registry
        self._shelf = shelf

    def start(
        self,
        *,
        service: str,
        environment: str,
        planted: drills.Fault,
        weight: int,
        by: str,
        production: bool = False,
        enforce: bool = False,
    ) -> commands.Deployed:
        """
        Launches the drill.

        Args:
            service: Whose net is tried.
            environment: Where.
            planted: The fault.
            weight: The drill release's share of the traffic, in 1/10000.
            by: Who asks.
            production: Production may be drilled.
            enforce: The guardrails that have to catch the fault decide, also where the environment's own plan only
                observes them. Otherwise the net that is tried is the environment's own.

        Raises:
            ConfigError: nothing is live there, the share is none, or it is production and nobody said so.
            ConflictError: a rollout runs there.
        """
        live, stable = self._live(service, environment)
        _check_users(live, production=production)
        if not 0 < weight < spec.WEIGHT_FULL:
            raise errors.ConfigError(
                f"{weight / 100:g} % is no share for a drill.",
                remedy="Give a share above 0 and below 100 %, such as 10%.",
                code=errors.Code.BAD_OPTION,
            )
        directory, content = self._shelf.take(stable)
        if content.runtime is release.Runtime.ATTACHED:
            raise errors.ConfigError(
                f"{content.attached_url} is attached, not run by softlaunch: no fault can be planted in it.",
                remedy="Drill a service that softlaunch runs.",
                code=errors.Code.DRILL_FAULT,
            )
        if content.runtime in (release.Runtime.ASGI, release.Runtime.COMMAND):
            raise errors.ConfigError(
                f"{service} is an app or a command: faults are planted in models only.",
                remedy="Launch a commit of it that is broken on purpose, with a share of 1 %.",
                code=errors.Code.DRILL_FAULT,
            )
        with tempfile.TemporaryDirectory(prefix="softlaunch-drill-") as scratch:
            made = drill.derive(directory, planted, pathlib.Path(scratch) / "release")
            digest = self._registry.push(made)
        return self._operations.deploy(
            commands.DeployRequest(
                service=service,
                environment=_plan(live.spec, planted, weight, enforce=enforce),
                release=digest,
                ref=f"drill {planted.name}",
                commit="",
                by=by,
                replace=False,
                drill=True,
            )
        )

    def material(self, *, service: str, environment: str, production: bool = False) -> dict[str, Any]:
        """
        What requests to the live release can be made of: {"url", "rows", "key_header"}.

        Raises:
            ConfigError: nothing is live there, or it is production and nobody said so.
        """
        live, stable = self._live(service, environment)
        _check_users(live, production=production)
        with self._loop.lock:
            port = self._loop.ledger.listeners[environment]
        return {
            "url": f"http://127.0.0.1:{port}/{service}/",
            "rows": self._shelf.smoke_rows(stable),
            "key_header": live.spec.strategy.key_header,
        }

    def _live(self, service: str, environment: str) -> tuple[store.LiveRecord, release.Digest]:
        with self._loop.lock:
            live = self._loop.ledger.lives.get((service, environment))
        if live is None or live.stable is None:
            raise errors.ConfigError(
                f"Nothing of {service!r} is live in {environment!r}: there is nothing to drill.",
                remedy="Launch a release first with `softlaunch deploy`.",
                code=errors.Code.NOT_LIVE,
            )
        return live, live.stable


def _check_users(live: store.LiveRecord, *, production: bool) -> None:
    if (live.environment == PRODUCTION or live.spec.after is not None) and not production:
        raise errors.ConfigError(
            f"{live.environment!r} has users: a drill there is refused.",
            remedy="Drill another environment, or say that you mean it with --production.",
            code=errors.Code.DRILL_PRODUCTION,
        )


def _plan(
    environment: spec.EnvironmentSpec, planted: drills.Fault, weight: int, *, enforce: bool
) -> spec.EnvironmentSpec:
    """The environment's own net, one step wide."""
    strategy = environment.strategy
    catchers = drills.CATCHERS[planted.name] if enforce else ()
    needed = (spec.GuardrailName(name) for name in catchers if name != drills.READINESS)
    return dataclasses.replace(
        environment,
        verify=None,
        strategy=dataclasses.replace(
            strategy,
            kind=spec.StrategyKind.CANARY,
            steps=spec.shares(weight, spec.WEIGHT_FULL),
            guardrails=tuple(dict.fromkeys((*strategy.guardrails, *needed))),
            step_attempts_min=ATTEMPTS_MIN,
            deadline_seconds=STEP_SECONDS_MAX,
            on_deadline=spec.DeadlinePolicy.HOLD,
            on_failure=spec.FailurePolicy.ROLL_BACK,
            watch_seconds=0.0,
        ),
    )
