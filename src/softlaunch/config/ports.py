"""Listener ports of environments: one each, the same after every restart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from softlaunch import errors
from softlaunch.config import settings as settings_

PRODUCTION = "production"
_PORT_LAST = 65_535


def assign(
    environments: Iterable[str],
    *,
    remembered: Mapping[str, int],
    settings: settings_.Settings,
    is_free: Callable[[int], bool],
) -> dict[str, int]:
    """
    A port for every environment.

    Production has its own; whoever has a remembered port keeps it, free or not (it is in use by our own gateway after
    a restart of the control plane); the others take the first port from `environment_port_first` upward that is free
    and promised to nobody, also not to an environment that is not running now.

    Args:
        environments: Names; repeated ones count once.
        remembered: What earlier calls returned. The caller stores the answer.
        settings: Whose ports to use.
        is_free: Whether a port can be bound now.

    Raises:
        UnavailableError: no port is left.
    """
    promised = {
        *(port for name, port in remembered.items() if name != PRODUCTION),
        settings.production_port,
        settings.api_port,
    }
    found: dict[str, int] = {}
    for name in sorted(set(environments)):
        if name == PRODUCTION:
            found[name] = settings.production_port
        elif name in remembered:
            found[name] = remembered[name]
        else:
            found[name] = _first(settings.environment_port_first, promised, is_free)
            promised.add(found[name])
    return found


def _first(start: int, promised: set[int], is_free: Callable[[int], bool]) -> int:
    for port in range(start, _PORT_LAST + 1):
        if port not in promised and is_free(port):
            return port
    raise errors.UnavailableError(
        f"No port from {start} upward is free.",
        remedy="Stop what listens there, or set SOFTLAUNCH_ENVIRONMENT_PORT_FIRST to another start.",
        code=errors.Code.SETTING,
    )
