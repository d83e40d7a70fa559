"""
gRPC at the gateway: a unary call becomes an HTTP/1.1 request of the ordinary kind, and its answer a message again.

Envoy's `grpc_http1_reverse_bridge` takes the frame off the message and puts it back around the answer. Between bridge
and router everything is HTTP, so that retries, hedges, copies, the fuse and the attempt log are those of HTTP.

Rules, each measured with Envoy 1.40:

* The bridge replaces the content type and has the route chosen anew: a route of these paths must not match by it.
* The bridge needs the message in one piece: the buffer stands before it.
* What the bridge takes for no protobuf it replaces by an answer of Envoy's own, without the headers of the original and
  past every filter outside. So a script inside it (_SCRIPT) notes in the stream's metadata what the failure was and
  spoils the content type; the local reply (`replies`) then says it in gRPC's words.
* Answers of Envoy's own (no replica, timeout) pass the script and the bridge as well, and go the same way.
"""

from __future__ import annotations

from typing import Any

SERVICE = "/inference.GRPCInferenceService/"
PREDICT_PATH = SERVICE + "ModelInfer"
_STREAM_PATH = SERVICE + "ModelStreamInfer"

STATUS_HEADER = "x-softlaunch-grpc-status"
MESSAGE_HEADER = "x-softlaunch-grpc-message"
"""How a model server words a failure, beside its HTTP status; the message percent-encoded as gRPC wants it."""

_CONTENT_TYPE = "application/x-protobuf"
_NOTES = "softlaunch.grpc"
"""Namespace of the stream's metadata between _SCRIPT and the local reply."""

_TYPE = "type.googleapis.com/"
_FILTER_CONFIG = {"@type": _TYPE + "envoy.config.route.v3.FilterConfig", "config": {}}

_INFLATE_RATIO_MAX = 1_032
"""
The most gzip can: at 100, the default, Envoy cuts a message of many zeros off and forwards what it has. What a small
message may unpack to is the second buffer's to limit.
"""

BRIDGE = "softlaunch.grpc_bridge"
SCRIPT = "softlaunch.grpc_script"
UNPACK = "softlaunch.grpc_unpack"
UNPACKED = "softlaunch.grpc_unpacked"

_SCRIPT = (
    """
local STATUS_OF = {
  ["200"] = "12", ["400"] = "12", ["404"] = "12", ["405"] = "12", ["415"] = "12", ["422"] = "12",
  ["401"] = "16", ["403"] = "7", ["413"] = "8", ["429"] = "8", ["500"] = "13",
  ["502"] = "14", ["503"] = "14", ["504"] = "4",
}

function envoy_on_request(handle)
  local headers = handle:headers()
  local encoding = headers:get("grpc-encoding")
  if encoding == nil or encoding == "identity" then return end
  if encoding ~= "gzip" then
    handle:respond(
      {[":status"] = "404", ["grpc-status"] = "12", ["grpc-accept-encoding"] = "identity,gzip"},
      "Messages compressed with " .. encoding .. " are not understood. Send them with gzip or uncompressed."
    )
    return
  end
  -- Each message says for itself whether it is compressed. No message of protobuf begins like a gzip file.
  local body = handle:body()
  headers = handle:headers() -- what was asked for before waiting is gone
  if body ~= nil and body:length() > 2 and body:getBytes(0, 2) == "\\31\\139" then
    headers:replace("content-encoding", "gzip")
  end
  headers:remove("grpc-encoding")
end

local function failure(headers, status)
  local said, message = headers:get("x-softlaunch-grpc-status"), headers:get("x-softlaunch-grpc-message")
  if (headers:get("content-type") or ""):sub(1, 16) == "application/grpc" then
    -- Envoy's own answer. The bridge would make an empty message and the status OK of it.
    said, message = headers:get("grpc-status"), headers:get("grpc-message")
  end
  if said ~= nil then
    return said, ((message or ""):gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
  end
  if headers:get("x-softlaunch-fallback") ~= nil then
    return "14", "Every release failed, and the fallback answered HTTP " .. status .. "."
  end
  if headers:get("x-softlaunch-invalid") ~= nil then
    return "14", "No release gave a valid answer."
  end
  local code = STATUS_OF[status] or (tonumber(status) < 500 and "2" or "14")
  if code == "12" then
    return code, "The model server does not answer gRPC (HTTP " .. status .. ", " ..
      (headers:get("content-type") or "no content type") .. ")."
  end
  return code, "The model server answered HTTP " .. status .. "."
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local kind = headers:get("content-type") or ""
  local status = headers:get(":status")
  if kind == "application/x-protobuf" and status == "200"
    and headers:get("x-softlaunch-grpc-status") == nil and headers:get("x-softlaunch-invalid") == nil then
    return
  end
  local notes = handle:streamInfo():dynamicMetadata()
  local code, message = failure(headers, status)
  notes:set("softlaunch.grpc", "status", code)
  notes:set("softlaunch.grpc", "message", message ~= "" and message or "HTTP " .. status)
  for _, name in ipairs({"retry-after", "x-softlaunch-shed"}) do
    local value = headers:get(name)
    if value ~= nil then notes:set("softlaunch.grpc", name, value) end
  end
  if kind == "application/x-protobuf" then headers:replace("content-type", "softlaunch/failure") end
end
""".strip()
    + "\n"
)


def filters(body_bytes_max: int) -> list[dict[str, Any]]:
    """Between the buffer and the router, in this order; they run on `enabled` routes only."""
    zlib = {
        "@type": _TYPE + "envoy.extensions.compression.gzip.decompressor.v3.Gzip",
        "max_inflate_ratio": _INFLATE_RATIO_MAX,
    }
    never = {"default_value": False, "runtime_key": "softlaunch.decompress_answers"}
    return [
        _filter(
            BRIDGE, "grpc_http1_reverse_bridge", "FilterConfig", content_type=_CONTENT_TYPE, withhold_grpc_frames=True
        ),
        _filter(SCRIPT, "lua", "Lua", default_source_code={"inline_string": _SCRIPT}),
        _filter(
            UNPACK,
            "decompressor",
            "Decompressor",
            decompressor_library={"name": "gzip", "typed_config": zlib},
            request_direction_config={"advertise_accept_encoding": False},
            response_direction_config={"common_config": {"enabled": never}},
        ),
        # A small message may unpack to a large one, and content-length must be that of what is sent.
        _filter(UNPACKED, "buffer", "Buffer", max_request_bytes=body_bytes_max),
    ]


def _filter(name: str, kind: str, message: str, **config: Any) -> dict[str, Any]:
    url = f"{_TYPE}envoy.extensions.filters.http.{kind}.v3.{message}"
    return {"name": name, "disabled": True, "typed_config": {"@type": url, **config}}


def enabled() -> dict[str, Any]:
    """What makes a route one whose requests may be gRPC."""
    bridge = {
        "@type": _TYPE + "envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfigPerRoute",
        "disabled": False,
    }
    others = dict.fromkeys((SCRIPT, UNPACK, UNPACKED), _FILTER_CONFIG)
    return {"typed_per_filter_config": {BRIDGE: bridge, **others}}


def refusals() -> list[dict[str, Any]]:
    """Routes to stand before all others: calls that are answered UNIMPLEMENTED at once, whatever is still to come."""
    stream = "ModelStreamInfer is not offered: each ModelInfer call is guarded by itself. Call ModelInfer."
    other = f"Of gRPC only the unary methods of {SERVICE.strip('/')} are answered here; no reflection, no streams."
    ours = {"name": ":path", "string_match": {"prefix": SERVICE}, "invert_match": True}
    return [
        _refusal("grpc-stream", {"path": _STREAM_PATH, "grpc": {}}, stream),
        _refusal("grpc-other", {"prefix": "/", "grpc": {}, "headers": [ours]}, other),
    ]


def _refusal(name: str, match: dict[str, Any], message: str) -> dict[str, Any]:
    # Without the buffer, which would wait for the end of a stream that has none. gRPC's word for 404 is UNIMPLEMENTED.
    unbuffered = {"@type": _TYPE + "envoy.extensions.filters.http.buffer.v3.BufferPerRoute", "disabled": True}
    return {
        "name": name,
        "match": match,
        "direct_response": {"status": 404, "body": {"inline_string": message}},
        "typed_per_filter_config": {"envoy.filters.http.buffer": unbuffered},
    }


def replies(too_large: str) -> list[dict[str, Any]]:
    """Mappers of local replies, to stand before those for HTTP: a status and a plain message instead of JSON."""
    noted = {
        "metadata_filter": {
            "matcher": {"filter": _NOTES, "path": [{"key": "status"}], "value": {"present_match": True}},
            "match_if_key_not_found": False,
        }
    }
    headers = [("grpc-status", "status"), ("retry-after", "retry-after"), ("x-softlaunch-shed", "x-softlaunch-shed")]
    return [
        {
            "filter": noted,
            "headers_to_add": [_header(name, f"%DYNAMIC_METADATA({_NOTES}:{key})%") for name, key in headers],
            "body_format_override": {"text_format": f"%DYNAMIC_METADATA({_NOTES}:message)%"},
        },
        _own(413, "8", too_large),
        _own(408, "4", "The request did not arrive in time."),
        _own(504, "4", "No release answered within the service's request timeout."),
        {"filter": _called(), "body_format_override": {"text_format": "%LOCAL_REPLY_BODY%"}},
    ]


def _own(status: int, code: str, message: str) -> dict[str, Any]:
    value = {"default_value": status, "runtime_key": f"softlaunch.EQ.{status}"}
    comparison = {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}
    return {
        "filter": {"and_filter": {"filters": [comparison, _called()]}},
        "headers_to_add": [_header("grpc-status", code)],
        "body": {"inline_string": message},
        "body_format_override": {"text_format": "%LOCAL_REPLY_BODY%"},
    }


def _called() -> dict[str, Any]:
    """It was a gRPC call: by its path, since the bridge replaces the content type, or by the content type."""
    by_path = {"name": ":path", "string_match": {"prefix": SERVICE}}
    by_type = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    return {"or_filter": {"filters": [{"header_filter": {"header": header}} for header in (by_path, by_type)]}}


def _header(name: str, value: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
