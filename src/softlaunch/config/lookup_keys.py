"""The keys that say what is looked up when a request comes; softlaunch.config.keys puts them into its tables."""

from __future__ import annotations

from softlaunch.config import key

Key = key.Key

LOOKUP = (
    Key(
        "http",
        "URL or path",
        "none",
        "'http://features:8080/weather/{origin}'",
        "GET of a JSON object; {name} is a value of `by`, percent-encoded. With `server` a path.",
    ),
    Key("redis", "key", "none", "'weather:{origin}'", "A hash, or a JSON object, at this key of `server`."),
    Key(
        "sql",
        "query",
        "none",
        "select wind from weather where origin = :origin",
        "A query of at most one row, asked of `server`; :name is a value of `by`.",
    ),
    Key(
        "feast",
        "feature view or service:NAME",
        "none",
        "weather",
        "Feast's online store; `server` is the URL of a feature server, or the repository's directory.",
    ),
    Key("python", "FILE.py:FUNCTION", "none", "lookups.py:weather", "A function of your code that gives a mapping."),
    Key(
        "server",
        "URL or $NAME",
        "required but with http and python",
        "$WEATHER_URL",
        "Where it is asked: $NAME of `env` keeps passwords out of this file.",
    ),
    Key("by", "list of names", "required", "[origin]", "Inputs or `capture.keys` whose values it goes by."),
    Key(
        "features",
        "mapping of name to default",
        "required",
        "{wind: 5.0}",
        "Inputs it gives, each with the value used when it is missing, late or stale.",
    ),
    Key("timeout", "duration", "20ms", "50ms", "Later than this is late; at most 1s."),
    Key("max_age", "duration", "none: any age will do", "1h", "Older than this is stale; needs `timestamp`."),
    Key(
        "timestamp",
        "field",
        "none",
        "made_at",
        "Field that says when the values were made: Unix seconds or ISO 8601. Feast says it by itself.",
    ),
)

LOOKUP_FEATURE = (
    Key("default", "value or null", "required", "5.0", "As above, where the feature needs a `field` as well."),
    Key("field", "field", "the feature's name", "current.wind", "Its field in the answer; dots go into objects."),
)
