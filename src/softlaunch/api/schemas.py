"""Bodies of the control plane's API."""

from __future__ import annotations

import enum
from typing import Literal

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
    replace: bool = True


class Verb(enum.StrEnum):
    """What can be asked of an environment."""

    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"
    ROLLBACK = "rollback"
    APPROVE = "approve"
    RETRY = "retry"
    UNPIN = "unpin"


class Operate(pydantic.BaseModel):
    """Who asks, and what a verb needs."""

    model_config = pydantic.ConfigDict(extra="forbid")

    by: str
    full: bool = False
    reason: str = ""
    to: str = "previous"
    release: str = ""
    lift_reason: str | None = None


class Report(pydantic.BaseModel):
    """A complaint."""

    model_config = pydantic.ConfigDict(extra="forbid")

    prediction: str
    text: str
    by: str
    source: Literal["cli", "api"] = "api"
    service: str | None = None
    environment: str | None = None
    ticket: str = ""


class HookRollback(pydantic.BaseModel):
    """A webhook that goes back."""

    model_config = pydantic.ConfigDict(extra="forbid")

    service: str
    environment: str
    to: str = "previous"
    reason: str = ""


class HookTicket(pydantic.BaseModel):
    """A webhook that tells of a ticket."""

    model_config = pydantic.ConfigDict(extra="forbid")

    id: str = pydantic.Field(min_length=1)
    prediction: str
    text: str
    by: str
    service: str | None = None
    environment: str | None = None
