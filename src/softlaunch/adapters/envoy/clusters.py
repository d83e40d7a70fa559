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

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch.adapters.envoy import addresses, names
from softlaunch.core import spec
from softlaunch.core.rollout import traffic

_TYPE = "type.googleapis.com/"

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

ARM_STATUS_HEADER = "x-softlaunch-arm-status"
"""Set by a composite on every answer: its status and whose it is. A 4xx *of the candidate* is retried, stable's not."""

FALLBACK_HEADER = "x-softlaunch-fallback"
"""The kind of fallback that answered, on what the client sees."""

NOWHERE = addresses.Outside()

STABLE_TRIES = 3
"""Without a candidate: the first try and two more, as a composite has one on the candidate and two on stable."""

SHADOW_LIMITS = {"max_connections": 64, "max_pending_requests": 64, "max_requests": 128, "max_retries": 1}
"""Copies in flight; more are not sent. A guess: 64 at 20 ms each are 3,000 copies a second."""

EJECTION_SECONDS = 3600
"""A fuse that has blown stays blown until the controller has decided; an hour is longer than any decision."""

UPSTREAM_IDLE_SECONDS = 10
"""Shorter than any model server keeps an idle connection, so that no request is written into a closing one."""

OUTSIDE_IDLE_SECONDS = 4
"""Servers that are attached may close after 5 s already (uvicorn, Node)."""

_LIMIT = 65_536
"""Per cluster: high enough never to refuse on one machine; overload is the model server's to shed."""


def documents(route: traffic.RouteSpec, outside: addresses.Outside = NOWHERE) -> list[dict[str, Any]]:
    """Every cluster the route needs, sub-clusters before the composite that names them."""
    stable = names.stable(route)
    made = [_static(stable, _replicas(route.stable), outside)]
    made.extend(
        _static(
            names.fallback(route, arm), [_Host(address=found, fallback=arm.kind) for found in arm.addresses], outside
        )
        for arm in route.fallbacks
    )
    if route.candidate is not None:
        members = [names.candidate(route, route.candidate), stable, stable]
        made.append(_candidate(route, route.candidate, outside))
        made.append(_composite(names.composite(route, route.candidate), members, fuse=route.fuse_enabled))
    made.extend(_guarded(route))
    grpc = for_grpc(route)
    if grpc.fallbacks != route.fallbacks:
        made.extend(_guarded(grpc))
    if route.shadow is not None:
        made.append(_shadow(route, route.shadow, outside))
    return made


def for_grpc(route: traffic.RouteSpec) -> traffic.RouteSpec:
    """The route as gRPC calls see it: a fixed body, a table or a function has no message to answer with."""
    speaking = (spec.FallbackKind.PREVIOUS, spec.FallbackKind.URL)
    fallbacks = tuple(arm for arm in route.fallbacks if arm.kind in speaking)
    return dataclasses.replace(route, fallback_body=None, fallbacks=fallbacks)


def _guarded(route: traffic.RouteSpec) -> list[dict[str, Any]]:
    """Composites whose last members are the route's fallbacks."""
    if not route.fallbacks:
        return []
    stable = names.stable(route)
    fallbacks = [names.fallback(route, arm) for arm in route.fallbacks]
    made = [_composite(names.guarded_stable(route), [*[stable] * STABLE_TRIES, *fallbacks], guarded=True)]
    if route.candidate is not None:
        members = [names.candidate(route, route.candidate), stable, stable, *fallbacks]
        name = names.guarded_composite(route, route.candidate)
        made.append(_composite(name, members, fuse=route.fuse_enabled, guarded=True))
    return made


def place(address: Mapping[str, Any]) -> str:
    """An address as Envoy prints it, here and in its admin interface."""
    if "pipe" in address:
        return str(address["pipe"]["path"])
    return f"{address['socket_address']['address']}:{address['socket_address']['port_value']}"


def address(endpoint: Mapping[str, Any]) -> str:
    """Of an endpoint in a document of ours: the Replica.socket it was made from."""
    said = endpoint.get("metadata", {}).get("filter_metadata", {}).get("softlaunch", {})
    return str(said.get("address", place(endpoint["endpoint"]["address"])))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Host:
    """One endpoint, and what log lines and answers of it shall say."""

    address: str
    release: str = "fallback"
    fallback: str = ""
    candidate: bool = False

    @property
    def metadata(self) -> dict[str, Any]:
        said = {"release": self.release, "address": self.address}
        if self.fallback:
            said |= {"fallback": self.fallback, "arm": "fallback"}
        elif self.candidate:
            said["arm"] = "candidate"
        return {"filter_metadata": {"softlaunch": said}}


def _replicas(arm: traffic.ArmRoute, *, candidate: bool = False) -> list[_Host]:
    return [
        _Host(address=replica.socket, release=arm.release.short, candidate=candidate)
        for replica in sorted(arm.replicas, key=lambda replica: replica.socket)
    ]


def _static(name: str, hosts: Sequence[_Host], outside: addresses.Outside) -> dict[str, Any]:
    entries = []
    servers = set()
    for host in hosts:
        server = addresses.parse(host.address)
        if server is None:
            entries.append({"endpoint": {"address": {"pipe": {"path": host.address}}}, "metadata": host.metadata})
            continue
        servers.add(server)
        for ip in outside.addresses[host.address]:
            where = {"socket_address": {"address": ip, "port_value": server.port}}
            metadata = host.metadata
            if server.tls:
                metadata["filter_metadata"]["envoy.transport_socket_match"] = {"server": server.authority}
            entries.append({"endpoint": {"address": where, "hostname": server.authority}, "metadata": metadata})
    cluster: dict[str, Any] = {
        "@type": _TYPE + "envoy.config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s" if servers else "0.25s",
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": _circuit_breakers(),
        "typed_extension_protocol_options": _protocol(outside=bool(servers)),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": entries}]},
    }
    secured = sorted((server for server in servers if server.tls), key=str)
    if secured:
        cluster["transport_socket_matches"] = [_tls(server, outside) for server in secured]
    return cluster


def _candidate(route: traffic.RouteSpec, arm: traffic.ArmRoute, outside: addresses.Outside) -> dict[str, Any]:
    cluster = _static(names.candidate(route, arm), _replicas(arm, candidate=True), outside)
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
        options = cluster["typed_extension_protocol_options"][_OPTIONS]
        options["outlier_detection"] = {"error_matcher": _failed_but_not_shed()}
    return cluster


def _shadow(route: traffic.RouteSpec, shadow: traffic.ShadowRoute, outside: addresses.Outside) -> dict[str, Any]:
    """Few connections, a bounded time: what hangs here is dropped, and nobody waits for it."""
    arm = shadow.candidate
    cluster = _static(names.shadow(route, arm), _replicas(arm), outside)
    cluster["circuit_breakers"] = {"thresholds": [SHADOW_LIMITS]}
    options = cluster["typed_extension_protocol_options"][_OPTIONS]
    options["common_http_protocol_options"]["max_stream_duration"] = f"{route.request_timeout_seconds:.6f}s"
    options["http_filters"] = _upstream_filters(request_mutations=[_overwrite("x-softlaunch-arm", "shadow")])
    return cluster


def _composite(name: str, members: Sequence[str], *, fuse: bool = False, guarded: bool = False) -> dict[str, Any]:
    return {
        "@type": _TYPE + "envoy.config.cluster.v3.Cluster",
        "name": name,
        "connect_timeout": "0.25s",
        "lb_policy": "CLUSTER_PROVIDED",
        "circuit_breakers": _circuit_breakers(),
        "typed_extension_protocol_options": _composite_protocol(fuse=fuse, guarded=guarded),
        "cluster_type": {
            "name": "envoy.clusters.composite",
            "typed_config": {
                "@type": _TYPE + "envoy.extensions.clusters.composite.v3.ClusterConfig",
                "clusters": [{"name": member} for member in members],
            },
        },
    }


def _circuit_breakers() -> dict[str, Any]:
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {"thresholds": [dict.fromkeys(limits, _LIMIT)]}


def _protocol(*, outside: bool = False) -> dict[str, Any]:
    seconds = OUTSIDE_IDLE_SECONDS if outside else UPSTREAM_IDLE_SECONDS
    return {
        _OPTIONS: {
            "@type": _TYPE + _OPTIONS,
            "explicit_http_config": {"http_protocol_options": {}},
            "common_http_protocol_options": {"idle_timeout": f"{seconds}s"},
        }
    }


def _composite_protocol(*, fuse: bool, guarded: bool) -> dict[str, Any]:
    protocol = _protocol()
    if fuse:
        protocol[_OPTIONS]["outlier_detection"] = {"error_matcher": _failed_but_not_shed()}
    mutations = [_overwrite(ARM_STATUS_HEADER, "%RESP(:STATUS)% %UPSTREAM_METADATA(softlaunch:arm)%")]
    if guarded:
        # No release can make its answer look like a fallback's: what it sent goes first.
        mark = _overwrite(FALLBACK_HEADER, "%UPSTREAM_METADATA(softlaunch:fallback)%")
        mutations += [{"remove": FALLBACK_HEADER}, mark]
    protocol[_OPTIONS]["http_filters"] = _upstream_filters(response_mutations=mutations)
    return protocol


def _tls(server: addresses.Endpoint, outside: addresses.Outside) -> dict[str, Any]:
    """How a server with this name is talked to: as itself (SNI), and believed only with a certificate for the name."""
    name = {"san_type": "IP_ADDRESS" if server.is_ip else "DNS", "matcher": {"exact": server.host}}
    validation = {"trusted_ca": {"filename": outside.ca_bundle}, "match_typed_subject_alt_names": [name]}
    context: dict[str, Any] = {
        "@type": _TYPE + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {"validation_context": validation, "alpn_protocols": ["http/1.1"]},
    }
    if not server.is_ip:
        context["sni"] = server.host
    return {
        "name": server.authority,
        "match": {"server": server.authority},
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
    }


def _failed_but_not_shed() -> dict[str, Any]:
    def present(name: str) -> dict[str, Any]:
        return {"http_response_headers_match": {"headers": [{"name": name, "present_match": True}]}}

    status = {"name": ":status", "string_match": {"safe_regex": {"regex": "5.."}}}
    failed = {
        "or_match": {"rules": [present("x-softlaunch-invalid"), {"http_response_headers_match": {"headers": [status]}}]}
    }
    return {"and_match": {"rules": [failed, {"not_match": present("x-softlaunch-shed")}]}}


def _overwrite(name: str, value: str) -> dict[str, Any]:
    return {"append": {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}


def _upstream_filters(**mutations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": "envoy.filters.http.header_mutation",
            "typed_config": {
                "@type": _TYPE + "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
                "mutations": mutations,
            },
        },
        {
            "name": "envoy.filters.http.upstream_codec",
            "typed_config": {"@type": _TYPE + "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"},
        },
    ]
