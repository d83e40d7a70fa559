"""The key `attach:` of an environment: what runs already, at URLs that softlaunch does not manage."""

from __future__ import annotations

from softlaunch.config import fields, keys
from softlaunch.core import spec


def read(field: fields.Field) -> spec.AttachSpec:
    """The URLs of the old and the new version."""
    section = fields.Section(field, keys.ATTACH)
    stable, candidate, ready = section.need("stable"), section.get("candidate"), section.get("ready")
    found = spec.AttachSpec(
        stable=stable.url(example="http://127.0.0.1:9000", bare=True) if stable is not None else "",
        candidate=candidate.url(example="http://127.0.0.1:9001", bare=True) if candidate is not None else None,
        ready=ready.text("a path", example="/healthz") if ready is not None else "",
    )
    if ready is not None and found.ready and not found.ready.startswith("/"):
        ready.wrong(f"'{found.ready}' is no path.", "Begin it with /, such as /healthz.")
    if candidate is not None and found.candidate == found.stable:
        candidate.wrong("The old and the new version have the same URL.", "Run the new one at another port.")
    return found


def check(
    attach: fields.Field, strategy: spec.StrategySpec, others: tuple[tuple[str, fields.Field | None], ...]
) -> None:
    """Writes down what cannot be had of processes that softlaunch does not run."""
    if strategy.kind is spec.StrategyKind.RECREATE:
        attach.wrong("What is attached cannot be recreated: softlaunch neither starts nor stops it.", "Use blue_green.")
    if any(step.kind is spec.StepKind.SHADOW for step in strategy.steps):
        attach.wrong(
            "A shadow is compared by recorded answers, and what is attached records none.",
            "Begin with a cohort or a small share.",
        )
    for name, field in others:
        if field is not None:
            field.wrong(
                f"`{name}` is for processes that softlaunch runs.", f"Remove it, or `attach`: {name} is theirs."
            )
