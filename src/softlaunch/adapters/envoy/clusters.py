"""
Clusters for Envoy (CDS): which replicas exist, who is asked first, when a replica is left alone.

Rules, each measured with Envoy 1.40 (docs/reference/gateway.md):

* A route's retries are counted against the cluster the route names, and the default circuit breaker (3 retries)
  leaks failures: every cluster has high limits.
* The error matcher of the fuse works only on the cluster the route names, the ejection only on the cluster that owns
  the host: the composite has the first, the candidate both.
* `max_ejection_percent` defaults to 10 and panic to 50 %: a fuse needs 100 and 0.
* The composite names stable twice, so that a stable replica killed at that moment is one more retry and no failure.
"""

from __future__ import annotations

from typing import Any

from softlaunch.adapters.envoy import names
from softlaunch.core.rollout import traffic

_TYPE = "type.googleapis.com/"

CANDIDATE_STATUS_HEADER = "x-softlaunch-candidate-status"
"""Set by the composite on every answer: status and host. A 4xx *of the candidate* is retried by it, stable's is not."""

EJECTION_SECONDS = 3600
"""A fuse that has blown stays blown until the controller has decided; an hour is longer than any decision."""

UPSTREAM_IDLE_SECONDS = 10
"""Shorter than any model server keeps an idle connection, so that no request is written into a closing one."""

_LIMIT = 65_536
"""Per cluster: high enough never to refuse on one machine; overload is the model server's to shed."""


def documents(route: traffic.RouteSpec) -> list[dict[str, Any]]:
    """Every cluster the route needs, sub-clusters before the composite that names them."""
    found = [_static(names.stable(route), route.stable)]
    if route.candidate is not None:
        found.append(_candidate(route, route.candidate))
        found.append(_composite(route, route.candidate))
    return found


def _static(name: str, arm: traffic.ArmRoute) -> dict[str, Any]:
    endpoints = [
        {"endpoint": {"address": {"pipe": {"path": replica.socket}}}}
        for replica in sorted(arm.replicas, key=lambda replica: replica.socket)
    ]
    return {
        "@type": _TYPE + "envoy.config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": _circuit_breakers(),
        "typed_extension_protocol_options": _protocol(),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _candidate(route: traffic.RouteSpec, arm: traffic.ArmRoute) -> dict[str, Any]:
    cluster = _static(names.candidate(route, arm), arm)
    if route.fuse_enabled:
        cluster["outlier_detection"] = {
            "consecutive_5xx": route.fuse_failures,
            "enforcing_consecutive_5xx": 100,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "interval": "1s",
            "base_ejection_time": f"{EJECTION_SECONDS}s",
            "max_ejection_time": f"{EJECTION_SECONDS}s",
            "max_ejection_percent": 100,
        }
        cluster["typed_extension_protocol_options"] = _protocol(error_matcher=True)
    return cluster


def _composite(route: traffic.RouteSpec, arm: traffic.ArmRoute) -> dict[str, Any]:
    stable = names.stable(route)
    return {
        "@type": _TYPE + "envoy.config.cluster.v3.Cluster",
        "name": names.composite(route, arm),
        "connect_timeout": "0.25s",
        "lb_policy": "CLUSTER_PROVIDED",
        "circuit_breakers": _circuit_breakers(),
        "typed_extension_protocol_options": _protocol(error_matcher=route.fuse_enabled, candidate_status=True),
        "cluster_type": {
            "name": "envoy.clusters.composite",
            "typed_config": {
                "@type": _TYPE + "envoy.extensions.clusters.composite.v3.ClusterConfig",
                "clusters": [{"name": names.candidate(route, arm)}, {"name": stable}, {"name": stable}],
            },
        },
    }


def _circuit_breakers() -> dict[str, Any]:
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {"thresholds": [dict.fromkeys(limits, _LIMIT)]}


def _protocol(*, error_matcher: bool = False, candidate_status: bool = False) -> dict[str, Any]:
    options: dict[str, Any] = {
        "@type": _TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
        "common_http_protocol_options": {"idle_timeout": f"{UPSTREAM_IDLE_SECONDS}s"},
    }
    if error_matcher:
        options["outlier_detection"] = {"error_matcher": _failed_but_not_shed()}
    if candidate_status:
        options["http_filters"] = _mark_candidate_status()
    return {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}


def _failed_but_not_shed() -> dict[str, Any]:
    def present(name: str) -> dict[str, Any]:
        return {"http_response_headers_match": {"headers": [{"name": name, "present_match": True}]}}

    status = {"name": ":status", "string_match": {"safe_regex": {"regex": "5.."}}}
    failed = {
        "or_match": {"rules": [present("x-softlaunch-invalid"), {"http_response_headers_match": {"headers": [status]}}]}
    }
    return {"and_match": {"rules": [failed, {"not_match": present("x-softlaunch-shed")}]}}


def _mark_candidate_status() -> list[dict[str, Any]]:
    header = {"key": CANDIDATE_STATUS_HEADER, "value": "%RESP(:STATUS)% %UPSTREAM_HOST%"}
    mutation = {"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
    return [
        {
            "name": "envoy.filters.http.header_mutation",
            "typed_config": {
                "@type": _TYPE + "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
                "mutations": {"response_mutations": [mutation]},
            },
        },
        {
            "name": "envoy.filters.http.upstream_codec",
            "typed_config": {"@type": _TYPE + "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"},
        },
    ]
