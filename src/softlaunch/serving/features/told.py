"""The reply that says what became of looked-up features: to the gateway in a header, to the spool in full."""

from __future__ import annotations

from softlaunch.core import lookup_values
from softlaunch.serving import replies


def told(reply: replies.Reply, features: lookup_values.FeaturesServed) -> replies.Reply:
    """The reply to a prediction request whose features were looked up."""
    measured = None if reply.measured is None else reply.measured._replace(features=features.recorded)
    return reply._replace(headers=(*reply.headers, features.header), measured=measured)
