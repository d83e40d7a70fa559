"""Bodies of the control plane's API."""

from __future__ import annotations

import enum

import pydantic

NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
"""A host name, as softlaunch.yaml asks for: it becomes part of paths and virtual hosts."""


class Deploy(pydantic.BaseModel):
    """A launch."""

    model_config = pydantic.ConfigDict(extra="forbid")

    service: str = pydantic.Field(pattern=NAME)
    environment: str
    """core.spec_json of the EnvironmentSpec, as a string."""
    release: str = pydantic.Field(pattern=r"^sha256:[0-9a-f]{64}$")
    ref: str
    commit: str
    by: str


class Verb(enum.StrEnum):
    """What can be asked of an environment."""

    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"
    ROLLBACK = "rollback"


class Operate(pydantic.BaseModel):
    """Who asks, and what a verb needs."""

    model_config = pydantic.ConfigDict(extra="forbid")

    by: str
    full: bool = False
    reason: str = ""
    to: str = "previous"
