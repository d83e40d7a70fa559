"""
Routes for Envoy (RDS): which request goes to which arm, and what may be repeated.

One route configuration per environment. A service answers at the virtual host SERVICE.localhost, at the prefix
/SERVICE/ of any other host, and at / when it is alone in its environment. In each place three routes: the two forms of
prediction paths, which may be repeated, and everything else, which is sent once.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from softlaunch.adapters.envoy import clusters, names
from softlaunch.core import spec
from softlaunch.core.rollout import traffic

_TYPE = "type.googleapis.com/"

BODY_BYTES_MAX = 8 * 1024 * 1024
"""A body up to here is kept until the answer has come, so that it can be sent again; a larger one is refused (413)."""

RETRIABLE_4XX = (400, 404, 405, 406, 409, 410, 413, 415, 422)
"""Answers of a candidate that stable may give differently: a renamed feature shows up as 422, a lost route as 404."""

RETRY_COUNT = 2
"""Candidate, stable, the other stable replica; or stable and two more."""

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
            "routes": [*_service(route, prefix="/"), _not_found(environment, routes)],
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
            "routes": [*anywhere, _not_found(environment, routes)],
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
    matches: list[tuple[dict[str, Any], bool]] = [
        ({"path": f"{inner}/predict", "headers": [post]}, True),
        ({"safe_regex": {"regex": re.escape(inner) + _INFER}, "headers": [post]}, True),
        ({"prefix": prefix}, False),
    ]
    return [
        {
            "name": "predict" if repeatable else "once",
            "match": match | {"headers": [*match.get("headers", []), *stickiness.matches]},
            "metadata": {"filter_metadata": {"softlaunch": {"epoch": str(route.epoch)}}},
            "route": _action(route, stickiness, repeatable=repeatable) | rewrite,
            **_request_headers(route),
            **stickiness.entry,
            **(_fallback(route) if repeatable else {}),
        }
        for match, repeatable in matches
        for stickiness in _stickiness(route)
    ]


def _action(route: traffic.RouteSpec, stickiness: _Stickiness, *, repeatable: bool) -> dict[str, Any]:
    action: dict[str, Any] = {
        "timeout": _seconds(route.request_timeout_seconds),
        "retry_policy": _retries(route) if repeatable else _unsent_only(),
        **_weights(route, stickiness),
    }
    if repeatable and route.candidate is not None:
        action["hedge_policy"] = {"hedge_on_per_try_timeout": True}
    return action


def _weights(route: traffic.RouteSpec, stickiness: _Stickiness) -> dict[str, Any]:
    stable = names.stable(route)
    if route.candidate is None or route.candidate_weight == 0:
        return {"cluster": stable}
    weight = route.candidate_weight
    # The candidate comes first: as its share grows, so does the same interval of hashes, and nobody falls back.
    entries = [
        {"name": names.composite(route, route.candidate), "weight": weight},
        {"name": stable, "weight": spec.WEIGHT_FULL - weight},
    ]
    return {
        "hash_policy": stickiness.hash_policy,
        "weighted_clusters": {"use_hash_policy": True, "clusters": entries},
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Stickiness:
    """One way to stay on an arm: which requests it is for, what is hashed, what is added to the route."""

    matches: list[dict[str, Any]]
    hash_policy: list[dict[str, Any]]
    entry: dict[str, Any]


def _stickiness(route: traffic.RouteSpec) -> list[_Stickiness]:
    """
    By the key header, else by a cookie; the first request without either is given the cookie.

    Envoy's own cookie generation does not run for the choice among weighted clusters (seen with 1.40: no Set-Cookie and
    every request random). The new cookie's value is the request's id, so that this request is already on the arm on
    which the cookie will keep the client.
    """
    if route.candidate is None or route.candidate_weight == 0:
        return [_Stickiness(matches=[], hash_policy=[], entry={})]
    salt = names.salt(route)
    cookie = f"softlaunch-{salt}"
    newcomer: list[dict[str, Any]] = [
        {
            "name": "cookie",
            "string_match": {"contains": f"{cookie}="},
            "treat_missing_header_as_empty": True,
            "invert_match": True,
        }
    ]
    known: list[dict[str, Any]] = [{"cookie": {"name": cookie}}]
    if route.key_header is not None:
        newcomer.append({"name": route.key_header, "present_match": True, "invert_match": True})
        # Salted, or the same users would meet every new release; terminal, or the cookie would be mixed in.
        salted = {"pattern": {"regex": "^(.*)$"}, "substitution": rf"\1:{salt}"}
        known.insert(0, {"header": {"header_name": route.key_header, "regex_rewrite": salted}, "terminal": True})
    value = f"{cookie}=%REQ(X-REQUEST-ID)%; Max-Age=86400; Path=/; HttpOnly; SameSite=Lax"
    return [
        _Stickiness(
            matches=newcomer,
            hash_policy=[{"header": {"header_name": "x-request-id"}, "terminal": True}],
            entry={"response_headers_to_add": [{"header": {"key": "set-cookie", "value": value}}]},
        ),
        _Stickiness(matches=[], hash_policy=known, entry={}),
    ]


def _retries(route: traffic.RouteSpec) -> dict[str, Any]:
    headers: list[dict[str, Any]] = [{"name": "x-softlaunch-invalid", "present_match": True}]
    policy: dict[str, Any] = {
        "retry_on": _RETRY_ON,
        "retriable_headers": headers,
        "num_retries": RETRY_COUNT,
        **_another_host(),
    }
    if route.candidate is not None:
        codes = "|".join(str(code) for code in RETRIABLE_4XX)
        pattern = rf"({codes}) .*/{route.candidate.release.short}\.[^/]*"
        headers.append({"name": clusters.CANDIDATE_STATUS_HEADER, "string_match": {"safe_regex": {"regex": pattern}}})
        policy["per_try_timeout"] = _seconds(route.try_timeout_seconds)
    return policy


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


def _request_headers(route: traffic.RouteSpec) -> dict[str, Any]:
    """The sticky key under one name for every service, for the log and the model server; a client cannot set it."""
    entry: dict[str, Any] = {"request_headers_to_remove": ["x-softlaunch-key", "x-softlaunch-arm"]}
    if route.key_header is not None:
        entry["request_headers_to_add"] = [
            {"header": {"key": "x-softlaunch-key", "value": f"%REQ({route.key_header}):128%"}}
        ]
    return entry


def _fallback(route: traffic.RouteSpec) -> dict[str, Any]:
    if route.fallback_body is None:
        return {}
    headers = [("x-softlaunch-fallback", "1"), ("content-type", "application/json")]
    answer = {
        "@type": _TYPE + "envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy",
        "status_code": 200,
        "body": {"inline_string": route.fallback_body.decode()},
        "response_headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in headers
        ],
    }
    failed = {"or_matcher": {"predicate": [_status_class("5xx"), _header("x-softlaunch-invalid")]}}
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
