"""The key `verify:` of an environment: how it is passed without traffic of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from softlaunch.config import fields, keys, problems
from softlaunch.core import spec, verify_specs
from softlaunch.core.load import schedule

_REQUESTS_MAX = 10_000
_RECORDED_MAX = 100_000
_MINUTE_SECONDS = 60.0
_SPAN_SECONDS_MAX = 90 * 86_400.0


def read(field: fields.Field) -> verify_specs.VerifySpec:
    """How the environment is verified."""
    if field.scalar == "smoke":
        return verify_specs.VerifySpec()
    if field.scalar is not None:
        name = field.scalar
        if name in keys.names(keys.VERIFY):
            example = next(found.example for found in keys.SECTIONS[keys.VERIFY] if found.name == name)
            field.wrong(f"`verify: {name}` does not say enough.", f"For example: {{{name}: {example}}}")
        else:
            field.wrong(f"'{problems.show(name)}' is no way to verify.", "Write smoke, or {requests: 20}.")
        return verify_specs.VerifySpec()
    section = fields.Section(field, keys.VERIFY)
    requests, replay, load = section.get("requests"), section.get("replay"), section.get("load")
    return verify_specs.VerifySpec(
        request_count=requests.integer(minimum=1, maximum=_REQUESTS_MAX, stand_in=20) if requests is not None else 20,
        replay=_replay(replay) if replay is not None else None,
        load=_load(load) if load is not None else None,
    )


def check_app(app: spec.ModelSpec, field: fields.Field) -> None:
    """An app has no rows: what needs some is refused."""
    section = None if field.scalar is not None else fields.Section(_silent(field), keys.VERIFY)
    load = section.get("load") if section is not None else None
    rows_asked = section is not None and (section.has("requests") or not (section.has("replay") or load is not None))
    if rows_asked or (field.scalar is not None and field.scalar != "smoke") or not app.ready_path:
        field.wrong(
            "An app or a command has no rows to make requests from: it passes when its ready path answers.",
            "Write verify: smoke, and under `model` ready: /health.",
        )
    elif load is not None and not fields.Section(_silent(load), keys.VERIFY_LOAD).has("from"):
        load.wrong(
            "An app or a command has no rows to make requests from.",
            "Write `from: production`, an environment whose recorded requests are sent.",
        )


def _silent(field: fields.Field) -> fields.Field:
    """The same field, whose mistakes are told elsewhere."""
    return fields.Field(node=field.node, path=field.path, notebook=problems.Notebook())


def check_sources(found: Sequence[tuple[fields.Field, spec.EnvironmentSpec]]) -> None:
    """Requests are recorded where they are asked for."""
    environments = {environment.name: environment for _, environment in found}
    for field, environment in found:
        for name in _sources(environment):
            source = environments.get(name)
            if source is None:
                others = tuple(other for other in environments if other != environment.name)
                remedy = problems.choose(name, others) if others else "Add it."
                field.wrong(f"`verify` wants what was recorded in '{problems.show(name)}'; there is none.", remedy)
            elif source.verify is not None:
                field.wrong(
                    f"`verify` wants what was recorded in {name}, which has no traffic.",
                    "Name an environment that users reach.",
                )
            elif source.capture is None:
                field.wrong(
                    f"`verify` wants what was recorded in {name}, where `capture` is off.", "Remove `capture: off`."
                )


def _sources(environment: spec.EnvironmentSpec) -> Iterator[str]:
    verify = environment.verify
    if verify is not None and verify.replay is not None and verify.replay.environment:
        yield verify.replay.environment
    if verify is not None and verify.load is not None and verify.load.environment:
        yield verify.load.environment


def _replay(field: fields.Field) -> verify_specs.ReplaySpec:
    section = fields.Section(field, keys.VERIFY_REPLAY)
    source, requests, since, rate = (
        section.need("from"),
        section.get("requests"),
        section.get("since"),
        section.get("rate"),
    )
    default = verify_specs.ReplaySpec(environment="")
    return verify_specs.ReplaySpec(
        environment=source.text("the name of an environment", example="production") if source is not None else "",
        request_count=(
            requests.integer(minimum=1, maximum=_RECORDED_MAX, stand_in=default.request_count)
            if requests is not None
            else default.request_count
        ),
        since_seconds=(
            since.duration_seconds(minimum=_MINUTE_SECONDS, maximum=_SPAN_SECONDS_MAX, stand_in=default.since_seconds)
            if since is not None
            else default.since_seconds
        ),
        rate=rate.number(above=0, at_most=10_000, stand_in=default.rate) if rate is not None else default.rate,
    )


def _load(field: fields.Field) -> verify_specs.LoadSpec:
    section = fields.Section(field, keys.VERIFY_LOAD)
    rate, p99, duration, wrong = (
        section.need("rate"),
        section.need("p99"),
        section.get("duration"),
        section.get("errors"),
    )
    arrivals, connections, source = section.get("arrivals"), section.get("connections"), section.get("from")
    default = verify_specs.LoadSpec(rate=200.0, latency_ms_p99_max=20.0)
    found = verify_specs.LoadSpec(
        rate=rate.number(above=0, at_most=100_000, stand_in=default.rate) if rate is not None else default.rate,
        duration_seconds=(
            duration.duration_seconds(minimum=1, maximum=3_600, stand_in=default.duration_seconds)
            if duration is not None
            else default.duration_seconds
        ),
        latency_ms_p99_max=(
            1e3 * p99.duration_seconds(minimum=0.001, maximum=600, stand_in=0.02)
            if p99 is not None
            else default.latency_ms_p99_max
        ),
        error_percent_max=_errors(wrong, default.error_percent_max) if wrong is not None else default.error_percent_max,
        arrivals=(
            arrivals.choice(verify_specs.Arrivals, stand_in=default.arrivals)
            if arrivals is not None
            else default.arrivals
        ),
        connection_count_max=(
            connections.integer(minimum=1, maximum=10_000, stand_in=256) if connections is not None else None
        ),
        environment=source.text("the name of an environment", example="production") if source is not None else None,
    )
    planned = round(found.rate * found.duration_seconds)
    if not 1 <= planned <= schedule.REQUEST_COUNT_MAX:
        field.wrong(
            f"{found.rate:g} requests per second for {found.duration_seconds:g} s are {planned:,} requests.",
            f"1 to {schedule.REQUEST_COUNT_MAX:,} are possible.",
        )
    return found


def _errors(field: fields.Field, stand_in: float) -> float:
    value = field.percent()
    if value is None:
        return stand_in
    if value > 100:
        field.wrong(f"{problems.show(field.scalar or '')} is above 100%.", "For example: 0.1%")
        return stand_in
    return float(value)
