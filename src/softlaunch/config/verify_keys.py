"""The keys that say how an environment without traffic is passed; softlaunch.config.keys puts them into its tables."""

from __future__ import annotations

from softlaunch.config import key

Key = key.Key

VERIFY = (
    Key("requests", "whole number, 1 to 10000", "20", "20", "How many requests are made from the reference rows."),
    Key(
        "replay",
        "mapping",
        "none",
        "{from: production}",
        "Requests recorded in another environment are sent, and the answers compared.",
    ),
    Key("load", "mapping", "none", "{rate: 200, p99: 20ms}", "A load test: latency and errors at a stated rate."),
)

REPLAY = (
    Key("from", "environment", "required", "production", "Where the requests were recorded; its guardrails judge."),
    Key("requests", "whole number, 1 to 100000", "500", "500", "The newest so many of them."),
    Key("since", "duration, 1m to 90d", "7d", "7d", "None of them is older."),
    Key("rate", "number, above 0 to 10000", "50", "50", "Requests per second."),
)

LOAD = (
    Key("rate", "number, above 0 to 100000", "required", "200", "Requests per second, however long answers take."),
    Key("duration", "duration, 1s to 1h", "15s", "15s", "How long requests are sent."),
    Key("p99", "duration, 1ms to 10m", "required", "20ms", "99 of 100 answers come in it, from the intended start on."),
    Key("errors", "percentage, 0% to 100%", "0.1%", "0.1%", "So many answers may be errors, invalid, or missing."),
    Key("arrivals", "poisson or constant", "poisson", "constant", "Requests come as independent users do, or evenly."),
    Key(
        "connections",
        "whole number, 1 to 10000",
        "rate x request_timeout, 16 to 1000",
        "256",
        "Connections of the sender; when all of them wait for an answer, requests are late.",
    ),
    Key(
        "from",
        "environment",
        "none",
        "production",
        "Requests recorded there are sent, the newest 500, instead of rows of the reference.",
    ),
)
