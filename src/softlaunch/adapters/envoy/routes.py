"""
Routes for Envoy (RDS): which request goes to which arm, and what may be repeated.

One route configuration per environment. A service answers at the virtual host SERVICE.localhost, at the prefix
/SERVICE/ of any other host, and at / when it is alone in its environment. In each place every population (cohorts in
their order, then everybody else) has its routes: one for each form of prediction path, which may be repeated and
copied to a shadow, and one for everything else, which is sent once. gRPC calls have two of these, with the bridge on.

A population's weight, a request's place in it and its epoch are decided here and nowhere else: the epoch is set on the
request, for the log and the model server.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from softlaunch.adapters.envoy import addresses, clusters, grpc_bridge, names, populations
from softlaunch.core import spec
from softlaunch.core.rollout import traffic

_TYPE = "type.googleapis.com/"

BODY_BYTES_MAX = 8 * 1024 * 1024
"""A body up to here is kept until the answer has come, so that it can be sent again; a larger one is refused (413)."""

RETRIABLE_4XX = (400, 404, 405, 406, 409, 410, 413, 415, 422)
"""Answers of a candidate that stable may give differently: a renamed feature shows up as 422, a lost route as 404."""

RETRY_COUNT = 2
"""Candidate, stable, the other stable replica; or stable and two more."""

EPOCH_HEADER = "x-softlaunch-epoch"
"""The routing decision a request was routed under; the two parts of a weighted route may differ in it."""

MIRROR_HEADER = "x-softlaunch-mirror-to"
"""The cluster a copy of the request goes to."""

_INFER = "/v2/models/[^/]+(/versions/[^/]+)?/infer"

_RETRY_ON = "5xx,reset,connect-failure,refused-stream,retriable-headers"


def document(environment: str, routes: Sequence[traffic.RouteSpec]) -> dict[str, Any]:
    """The route configuration of one environment, named after it."""
    routes = sorted(routes, key=lambda route: route.service)
    hosts = [
        {
            "name": route.service,
            "domains": [f"{names.segment(route.service)}.localhost"],
            "include_request_attempt_count": True,
            "request_body_buffer_limit": BODY_BYTES_MAX,
            "routes": [*grpc_bridge.refusals(), *_service(route, prefix="/"), _not_found(environment, routes)],
        }
        for route in routes
    ]
    anywhere = [entry for route in routes for entry in _service(route, prefix=f"/{route.service}/")]
    if len(routes) == 1:
        anywhere.extend(_service(routes[0], prefix="/"))
    hosts.append(
        {
            "name": "*",
            "domains": ["*"],
            "include_request_attempt_count": True,
            "request_body_buffer_limit": BODY_BYTES_MAX,
            "routes": [*grpc_bridge.refusals(), *anywhere, _not_found(environment, routes)],
        }
    )
    return {
        "@type": _TYPE + "envoy.config.route.v3.RouteConfiguration",
        "name": names.segment(environment),
        "ignore_port_in_host_matching": True,
        "virtual_hosts": hosts,
    }


def _not_found(environment: str, routes: Sequence[traffic.RouteSpec]) -> dict[str, Any]:
    services = ", ".join(route.service for route in routes) or "none yet"
    message = (
        f"No service answers here. Environment {environment} serves: {services}. "
        f"Ask http://SERVICE.localhost or put /SERVICE/ before the path."
    )
    return {
        "name": "not-found",
        "match": {"prefix": "/"},
        "direct_response": {"status": 404, "body": {"inline_string": message}},
    }


def _service(route: traffic.RouteSpec, *, prefix: str) -> list[dict[str, Any]]:
    post = {"name": ":method", "string_match": {"exact": "POST"}}
    inner = prefix.rstrip("/")
    rewrite: dict[str, Any] = {}
    if inner:
        rewrite = {"regex_rewrite": {"pattern": {"regex": f"^{re.escape(inner)}/"}, "substitution": "/"}}
    ours = _standard(inner) if route.standard_paths else []
    theirs: list[dict[str, Any]] = [
        {"prefix": inner + path[:-1]} if path.endswith("*") else {"path": inner + path} for path in route.predict_paths
    ]
    kinds = [_Kind(match=path, headers=[post], repeatable=True) for path in ours]
    if not inner:  # a client of gRPC cannot put anything before the path; and `theirs` may have a word for every path
        if route.standard_paths or grpc_bridge.PREDICT_PATH in route.predict_paths:
            kinds.append(_Kind(match={"path": grpc_bridge.PREDICT_PATH}, headers=[post], repeatable=True, grpc=True))
        kinds.append(_Kind(match={"prefix": grpc_bridge.SERVICE}, grpc=True))
    kinds.extend(_Kind(match=path, headers=[post], repeatable=True) for path in theirs)
    kinds.append(_Kind(match={"prefix": prefix}))
    by_grpc = clusters.for_grpc(route)
    return [
        _entry(
            by_grpc if kind.grpc else route,
            kind.match | {"headers": [*kind.headers, *population.matches, *stickiness.matches]},
            population,
            stickiness,
            repeatable=kind.repeatable,
            mirrored=mirrored,
            rewrite=rewrite,
        )
        | (grpc_bridge.enabled() if kind.grpc else {})
        for population in populations.of_route(route)
        for kind in kinds
        for mirrored in (_mirroring(route) if kind.repeatable else (False,))
        for stickiness in populations.stickiness(route, population)
    ]


def _standard(inner: str) -> list[dict[str, Any]]:
    return [{"path": f"{inner}/predict"}, {"safe_regex": {"regex": re.escape(inner) + _INFER}}]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Kind:
    """Requests of a service that are treated alike."""

    match: dict[str, Any]
    headers: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    repeatable: bool = False
    grpc: bool = False


def _mirroring(route: traffic.RouteSpec) -> tuple[bool, ...]:
    return (False,) if route.shadow is None or route.shadow.weight == 0 else (True, False)


def _entry(
    route: traffic.RouteSpec,
    match: dict[str, Any],
    population: populations.Population,
    stickiness: populations.Stickiness,
    *,
    repeatable: bool,
    mirrored: bool,
    rewrite: dict[str, Any],
) -> dict[str, Any]:
    name = "predict" if repeatable else "once"
    if mirrored:
        assert route.shadow is not None
        name = "mirror"
        fraction = {"numerator": route.shadow.weight, "denominator": "TEN_THOUSAND"}
        match = match | {"runtime_fraction": {"default_value": fraction}}
    action: dict[str, Any] = {
        "timeout": _seconds(route.request_timeout_seconds),
        "retry_policy": _retries(route) if repeatable else _unsent_only(),
    }
    if repeatable and (route.candidate is not None or route.fallbacks):
        action["hedge_policy"] = {"hedge_on_per_try_timeout": True}
    if _has_outside(route):
        action["auto_host_rewrite"] = True
    headers: list[dict[str, Any]] = []
    if route.key_header is not None:
        headers.append(_set("x-softlaunch-key", f"%REQ({route.key_header}):128%"))
    ours = [_set(EPOCH_HEADER, str(population.epoch))]
    on_stable = ours
    if mirrored:
        assert route.shadow is not None
        shadow = names.shadow(route, route.shadow.candidate)
        on_stable = [
            _set(EPOCH_HEADER, str(route.shadow.epoch)),
            _set("x-softlaunch-arm", "mirrored"),
            _set(MIRROR_HEADER, shadow),
        ]
        # The header, not the cluster: of a weighted route only stable's part has it.
        policy = {"cluster_header": MIRROR_HEADER, "disable_shadow_host_suffix_append": True}
        action["request_mirror_policies"] = [policy | _shadow_host(route.shadow)]
    if population.weight == 0:
        action["cluster"] = _cluster(route, repeatable=repeatable)
        headers.extend(on_stable)
    else:
        action["hash_policy"] = stickiness.hash_policy
        action["weighted_clusters"] = _weights(route, population, ours, on_stable, repeatable=repeatable)
    return {
        "name": name,
        "match": match,
        "metadata": {"filter_metadata": {"softlaunch": {"place": f"{route.service}/{route.environment}"}}},
        "route": action | rewrite,
        "request_headers_to_remove": ["x-softlaunch-key"],
        **({"request_headers_to_add": headers} if headers else {}),
        **stickiness.entry,
        **({"response_headers_to_remove": [clusters.FALLBACK_HEADER]} if not (repeatable and route.fallbacks) else {}),
        **(_fallback(route) if repeatable else {}),
    }


def _shadow_host(shadow: traffic.ShadowRoute) -> dict[str, Any]:
    """What a copy's Host header becomes: the mirror has no rewriting by endpoint, and a release has one address."""
    servers = [addresses.parse(replica.socket) for replica in shadow.candidate.replicas]
    return next(({"host_rewrite_literal": server.authority} for server in servers if server is not None), {})


def _weights(
    route: traffic.RouteSpec,
    population: populations.Population,
    on_candidate: list[dict[str, Any]],
    on_stable: list[dict[str, Any]],
    *,
    repeatable: bool,
) -> dict[str, Any]:
    assert route.candidate is not None
    guarded = repeatable and bool(route.fallbacks)
    composite = names.guarded_composite if guarded else names.composite
    # The candidate comes first: as its share grows, so does the same interval of hashes, and nobody falls back.
    entries = [
        {
            "name": composite(route, route.candidate),
            "weight": population.weight,
            "request_headers_to_add": on_candidate,
        },
        {
            "name": _cluster(route, repeatable=repeatable),
            "weight": spec.WEIGHT_FULL - population.weight,
            "request_headers_to_add": on_stable,
        },
    ]
    return {"use_hash_policy": True, "clusters": entries}


def _cluster(route: traffic.RouteSpec, *, repeatable: bool) -> str:
    return names.guarded_stable(route) if repeatable and route.fallbacks else names.stable(route)


def _has_outside(route: traffic.RouteSpec) -> bool:
    arms = [route.stable, *([route.candidate] if route.candidate is not None else [])]
    found = [replica.socket for arm in arms for replica in arm.replicas]
    found.extend(address for fallback in route.fallbacks for address in fallback.addresses)
    return any(addresses.parse(address) is not None for address in found)


def _set(name: str, value: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _retries(route: traffic.RouteSpec) -> dict[str, Any]:
    headers: list[dict[str, Any]] = [{"name": "x-softlaunch-invalid", "present_match": True}]
    policy: dict[str, Any] = {
        "retry_on": _RETRY_ON,
        "retriable_headers": headers,
        "num_retries": RETRY_COUNT + len(route.fallbacks),
        **_another_host(),
    }
    arms = [*(["candidate"] if route.candidate is not None else []), *(["fallback"] if route.fallbacks else [])]
    if arms:
        pattern = f"({'|'.join(str(code) for code in RETRIABLE_4XX)}) ({'|'.join(arms)})"
        headers.append({"name": clusters.ARM_STATUS_HEADER, "string_match": {"safe_regex": {"regex": pattern}}})
        policy["per_try_timeout"] = _seconds(_try_seconds(route))
    return policy


def _try_seconds(route: traffic.RouteSpec) -> float:
    """
    After so long the next member of the composite is asked beside the one that is slow.

    A fallback is the fourth: it must not answer for releases that are merely slow. Without a candidate nobody is in a
    hurry, and it is asked when four fifths of the time are over.
    """
    if not route.fallbacks:
        return route.try_timeout_seconds
    if route.candidate is None:
        return route.request_timeout_seconds * 0.8 / clusters.STABLE_TRIES
    return max(route.try_timeout_seconds, route.request_timeout_seconds / 10)


def _unsent_only() -> dict[str, Any]:
    """A request whose connection failed was never sent: trying again still sends it once."""
    return {"retry_on": "connect-failure", "num_retries": RETRY_COUNT, **_another_host()}


def _another_host() -> dict[str, Any]:
    config = {"@type": _TYPE + "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}
    predicate = {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": config}
    return {
        "host_selection_retry_max_attempts": 5,
        "retry_host_predicate": [predicate],
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
    }


def _fallback(route: traffic.RouteSpec) -> dict[str, Any]:
    if route.fallback_body is None:
        return {}
    headers = [(clusters.FALLBACK_HEADER, "body"), ("content-type", "application/json")]
    answer = {
        "@type": _TYPE + "envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy",
        "status_code": 200,
        "body": {"inline_string": route.fallback_body.decode()},
        "response_headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in headers
        ],
    }
    unknown = {"and_matcher": {"predicate": [_status_class("4xx"), _header(clusters.FALLBACK_HEADER)]}}
    failures = [_status_class("5xx"), _header("x-softlaunch-invalid"), *([unknown] if route.fallbacks else [])]
    failed = {"or_matcher": {"predicate": failures}}
    not_shed = {"not_matcher": _header("x-softlaunch-shed")}
    matcher = {
        "predicate": {"and_matcher": {"predicate": [failed, not_shed]}},
        "on_match": {"action": {"name": "fallback", "typed_config": answer}},
    }
    return {
        "typed_per_filter_config": {
            "envoy.filters.http.custom_response": {
                "@type": _TYPE + "envoy.extensions.filters.http.custom_response.v3.CustomResponse",
                "custom_response_matcher": {"matcher_list": {"matchers": [matcher]}},
            }
        }
    }


def _status_class(name: str) -> dict[str, Any]:
    config = {"@type": _TYPE + "envoy.type.matcher.v3.HttpResponseStatusCodeClassMatchInput"}
    return {
        "single_predicate": {"input": {"name": "status_class", "typed_config": config}, "value_match": {"exact": name}}
    }


def _header(name: str) -> dict[str, Any]:
    config = {"@type": _TYPE + "envoy.type.matcher.v3.HttpResponseHeaderMatchInput", "header_name": name}
    return {
        "single_predicate": {
            "input": {"name": name, "typed_config": config},
            "value_match": {"safe_regex": {"google_re2": {}, "regex": ".+"}},
        }
    }


def _seconds(value: float) -> str:
    return f"{value:.6f}s"
