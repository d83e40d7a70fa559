"""
What Envoy is told: a routing snapshot as JSON documents, and the few facts that never change as its bootstrap.

Pure functions. Listeners, clusters and one route configuration per environment are files of their own that Envoy
watches; `version_info` is the digest of the content, so that its admin interface says which of them it believes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch.adapters.envoy import addresses, clusters, grpc_bridge, names, routes
from softlaunch.core.rollout import traffic

_TYPE = "type.googleapis.com/"

ATTEMPT_LOG = {
    "start": "%START_TIME(%s.%6f)%",
    "id": "%REQ(X-REQUEST-ID)%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "epoch": "%REQ(X-SOFTLAUNCH-EPOCH)%",
    "host": "%UPSTREAM_HOST%",
    "release": "%UPSTREAM_METADATA(softlaunch:release)%",
    "number": "%REQ(X-ENVOY-ATTEMPT-COUNT)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "us": "%COMMON_DURATION(US_TX_BEG:US_RX_BEG:us)%",
    "key": "%REQ(X-SOFTLAUNCH-KEY)%",
    "invalid": "%RESP(X-SOFTLAUNCH-INVALID)%",
    "shed": "%RESP(X-SOFTLAUNCH-SHED)%",
    "out": "%RESP(X-SOFTLAUNCH-OUT):72%",
    "cpu": "%RESP(X-SOFTLAUNCH-CPU-US):20%",
    "memory": "%RESP(X-SOFTLAUNCH-MEMORY-KIB):20%",
    "served": "%RESP(X-SOFTLAUNCH-SERVED):20%",
    "features": "%RESP(X-SOFTLAUNCH-FEATURES):80%",
    "bytes": "%REQ(CONTENT-LENGTH):20%",
}
"""One line per attempt: the contract between Envoy and attempt_lines.py."""

FALLBACK_LOG = {
    "fallback": "%RESP(X-SOFTLAUNCH-FALLBACK):20%",
    "place": "%METADATA(ROUTE:softlaunch:place)%",
    "id": "%REQ(X-REQUEST-ID)%",
    "start": "%START_TIME(%s.%6f)%",
}
"""One line per answer that is a fallback, in the same file: what came after its attempts is known by the order."""

RE2_PROGRAM_MAX = 1_000_000
"""Far above populations.VALUES_MAX values of a usual length, some 20 instructions each."""

_IS_FALLBACK = "'x-softlaunch-fallback' in response.headers"

STAT_PREFIX = "environment-"
"""Keeps the statistics of an environment apart from those of Envoy's own admin interface."""

INTERNAL_HEADERS = (
    "x-softlaunch-invalid",
    "x-softlaunch-out",
    "x-softlaunch-cpu-us",
    "x-softlaunch-memory-kib",
    "x-softlaunch-served",
    "x-softlaunch-features",
    "x-envoy-ratelimited",
    clusters.ARM_STATUS_HEADER,
    grpc_bridge.STATUS_HEADER,
    grpc_bridge.MESSAGE_HEADER,
)
"""Between model server and gateway; logged, then removed from what the client sees."""

FORBIDDEN_HEADERS = (
    "x-softlaunch-recorded-features",
    "x-softlaunch-arm",
    "x-softlaunch-probe",
    routes.EPOCH_HEADER,
    routes.MIRROR_HEADER,
)
"""Between gateway and model server: removed from what clients send before a route is chosen."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paths:
    """Where the gateway's files are."""

    directory: pathlib.Path
    """HOME/gateway."""
    admin_socket: pathlib.Path
    """In the run directory: a Unix socket's path must stay short."""

    @property
    def bootstrap(self) -> pathlib.Path:
        return self.directory / "bootstrap.json"

    @property
    def listeners(self) -> pathlib.Path:
        return self.directory / "listeners.json"

    @property
    def clusters(self) -> pathlib.Path:
        return self.directory / "clusters.json"

    def routes(self, environment: str) -> pathlib.Path:
        return self.directory / f"routes-{names.segment(environment)}.json"

    @property
    def attempts(self) -> pathlib.Path:
        return self.directory / "attempts.log"


def bootstrap(paths: Paths) -> dict[str, Any]:
    """What Envoy is started with."""
    return {
        "node": {"id": "softlaunch", "cluster": "softlaunch"},
        "admin": {"address": {"pipe": {"path": str(paths.admin_socket), "mode": 0o600}}},
        "dynamic_resources": {
            "lds_config": _file(paths.listeners),
            "cds_config": _file(paths.clusters),
        },
        # A cohort of many users is one large expression; by default 100 instructions are the most.
        "layered_runtime": {
            "layers": [
                {
                    "name": "softlaunch",
                    "static_layer": {
                        "re2.max_program_size.error_level": RE2_PROGRAM_MAX,
                        "re2.max_program_size.warn_level": RE2_PROGRAM_MAX,
                    },
                }
            ]
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": _TYPE
                        + "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": 20_000,
                    },
                }
            ]
        },
    }


def discovery(resources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A discovery response whose version is the digest of its resources."""
    text = json.dumps(list(resources), sort_keys=True)
    return {"version_info": hashlib.sha256(text.encode()).hexdigest()[:16], "resources": list(resources)}


def listener_documents(snapshot: traffic.RoutingSnapshot, paths: Paths) -> list[dict[str, Any]]:
    return [
        _listener(listener, paths) for listener in sorted(snapshot.listeners, key=lambda listener: listener.environment)
    ]


def cluster_documents(
    snapshot: traffic.RoutingSnapshot, outside: addresses.Outside = clusters.NOWHERE
) -> list[dict[str, Any]]:
    ordered = sorted(snapshot.routes, key=lambda route: (route.environment, route.service))
    return [document for route in ordered for document in clusters.documents(route, outside)]


def route_documents(snapshot: traffic.RoutingSnapshot) -> dict[str, dict[str, Any]]:
    """One route configuration per listener, also where no service is routed yet (its answer is a 404 in words)."""
    return {
        listener.environment: routes.document(
            listener.environment,
            [route for route in snapshot.routes if route.environment == listener.environment],
        )
        for listener in snapshot.listeners
    }


def _file(path: pathlib.Path) -> dict[str, Any]:
    return {"resource_api_version": "V3", "path_config_source": {"path": str(path)}}


def _listener(listener: traffic.Listener, paths: Paths) -> dict[str, Any]:
    return {
        "@type": _TYPE + "envoy.config.listener.v3.Listener",
        "name": names.segment(listener.environment),
        "address": {"socket_address": {"address": listener.host, "port_value": listener.port}},
        # With it two Envoys could listen on one port and share its connections, and nobody would be told.
        "enable_reuse_port": False,
        "connection_balance_config": {"exact_balance": {}},
        "per_connection_buffer_limit_bytes": 1024 * 1024,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": _connection_manager(listener, paths),
                    }
                ]
            }
        ],
    }


def _connection_manager(listener: traffic.Listener, paths: Paths) -> dict[str, Any]:
    return {
        "@type": _TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": STAT_PREFIX + listener.environment,
        "server_name": "softlaunch",
        # The edge: x-envoy-* headers of clients are dropped, and every request gets an id of its own, so that a client
        # that sends one id for all its requests cannot make them look like retries of one.
        "use_remote_address": True,
        # No client is internal: a range nobody can come from, because an empty list trusts loopback.
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
        "generate_request_id": True,
        "preserve_external_request_id": False,
        "always_set_request_id_in_response": True,
        "normalize_path": True,
        "merge_slashes": True,
        # Slow clients: headers within 10 s, the whole request within 60 s, nothing idle for longer than that.
        "request_headers_timeout": "10s",
        "request_timeout": "60s",
        "stream_idle_timeout": "60s",
        "common_http_protocol_options": {"idle_timeout": "300s", "max_headers_count": 100},
        "max_request_headers_kb": 60,
        "rds": {"route_config_name": listener.environment, "config_source": _file(paths.routes(listener.environment))},
        "early_header_mutation_extensions": [
            {
                "name": "envoy.http.early_header_mutation.header_mutation",
                "typed_config": {
                    "@type": _TYPE + "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                    "mutations": [{"remove": name} for name in FORBIDDEN_HEADERS],
                },
            }
        ],
        "access_log": [_log(paths, FALLBACK_LOG) | {"filter": _fallback_filter()}],
        "http_filters": _http_filters(paths),
        "local_reply_config": _local_replies(),
    }


def _http_filters(paths: Paths) -> list[dict[str, Any]]:
    """Answers pass them from the last to the first: internal headers are removed after the fallback has read them."""

    def http_filter(name: str, **config: Any) -> dict[str, Any]:
        message = "".join(part.capitalize() for part in name.split("_"))
        url = f"{_TYPE}envoy.extensions.filters.http.{name}.v3.{message}"
        return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": url, **config}}

    return [
        http_filter(
            "header_mutation", mutations={"response_mutations": [{"remove": name} for name in INTERNAL_HEADERS]}
        ),
        http_filter("buffer", max_request_bytes=routes.BODY_BYTES_MAX),
        *grpc_bridge.filters(routes.BODY_BYTES_MAX),
        http_filter("custom_response"),
        http_filter("router", upstream_log=[_log(paths, ATTEMPT_LOG)]),
    ]


def _log(paths: Paths, fields: Mapping[str, str]) -> dict[str, Any]:
    config = {
        "@type": _TYPE + "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": str(paths.attempts),
        "log_format": {"json_format": dict(fields)},
    }
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def _fallback_filter() -> dict[str, Any]:
    config = {
        "@type": _TYPE + "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        "expression": _IS_FALLBACK,
    }
    return {"extension_filter": {"name": "envoy.access_loggers.extension_filters.cel", "typed_config": config}}


def _local_replies() -> dict[str, Any]:
    """Everything Envoy itself answers with 4xx or 5xx is JSON in the shape of the Open Inference Protocol."""

    def status(operator: str, value: int) -> dict[str, Any]:
        comparison = {
            "op": operator,
            "value": {"default_value": value, "runtime_key": f"softlaunch.{operator}.{value}"},
        }
        return {"status_code_filter": {"comparison": comparison}}

    shape = {"json_format": {"error": "%LOCAL_REPLY_BODY%", "status": "%RESPONSE_CODE%"}}
    too_large = (
        f"The request body is larger than {routes.BODY_BYTES_MAX // 1024 // 1024} MiB, the most that can be sent "
        "again when a release fails. Send fewer rows per request."
    )
    return {
        "mappers": [
            *grpc_bridge.replies(too_large),
            {"filter": status("EQ", 413), "body": {"inline_string": too_large}, "body_format_override": shape},
            {"filter": status("GE", 400), "body_format_override": shape},
        ]
    }
