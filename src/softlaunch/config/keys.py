"""
Every key of softlaunch.yaml, in tables: what the parser accepts, and what the reference page must list.

`SECTIONS` are the keys that work. `NOT_BUILT` are words of softlaunch's world whose feature does not exist yet: they
are refused by name, together with what works today, because silence would let somebody believe they are guarded.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Key:
    """One key, as the reference page describes it."""

    name: str
    kind: str
    default: str
    example: str
    meaning: str


TOP = "(top)"
MODEL = "model"
TESTS = "tests"
QUALITY = "tests.quality"
ENVIRONMENT = "environments.NAME"
VERIFY = "environments.NAME.verify"
FALLBACK = "environments.NAME.fallback"
STRATEGY = "environments.NAME.strategy"
CANARY = "environments.NAME.strategy.canary"
BLUE_GREEN = "environments.NAME.strategy.blue_green"


_JUDGED = (
    Key(
        "key",
        "header name",
        "a cookie",
        "x-user-id",
        "Request header that names the user: the same user always meets the same release.",
    ),
    Key(
        "guardrails",
        "list of names",
        "all four",
        "[errors, latency]",
        "What is judged: errors, client_errors (4xx), latency, invalid (answers NaN, infinite or off-schema).",
    ),
    Key(
        "holdback",
        "percent, 0% to 50%",
        "5%",
        "5%",
        "Share that stays on the old release while the new one is watched.",
    ),
    Key(
        "watch",
        "duration",
        "24h",
        "24h",
        "How long the new release is watched at its last step before the old one leaves.",
    ),
    Key("alpha", "number, above 0, at most 0.5", "0.01", "0.01", "Bound on the chance of rolling a good release back."),
    Key(
        "beta",
        "number, above 0, at most 0.5",
        "0.01",
        "0.01",
        "Bound on the chance of promoting a release that is worse by `margin`.",
    ),
    Key("margin", "number, above 1, at most 100", "2", "2", "A release this many times worse must not be promoted."),
    Key(
        "acceptable",
        "percent, above 0%, at most 50%",
        "1%",
        "1%",
        "A rate of bad answers below this needs no comparison.",
    ),
    Key(
        "step_attempts_min",
        "whole number, 1 to 1000000",
        "50",
        "50",
        "Requests the candidate must answer in a step before the next one.",
    ),
    Key(
        "latency_slo",
        "duration",
        "none",
        "50ms",
        "An answer slower than this is a latency event, besides stable's own quantiles.",
    ),
    Key(
        "deadline",
        "duration",
        "1h",
        "1h",
        "A step undecided for this long holds and says so; it never passes by waiting.",
    ),
)

SECTIONS: Mapping[str, tuple[Key, ...]] = types.MappingProxyType(
    {
        TOP: (
            Key(
                "service",
                "name",
                "required",
                "flight-delay",
                "The service's name: lower-case letters, digits, hyphens; its host is NAME.localhost.",
            ),
            Key(
                "model",
                "path or mapping",
                "required",
                "model.joblib",
                "Where the model comes from; a text is short for `path`.",
            ),
            Key(
                "reference",
                "path",
                "none",
                "data/train.parquet",
                "What the model was trained on (.parquet or .csv); its profile travels inside the release.",
            ),
            Key("tests", "mapping", "none", "{command: pytest -q}", "What a release must pass while it is built."),
            Key(
                "environments",
                "mapping or list of names",
                "required",
                "[production]",
                "Where releases run, and how they get there.",
            ),
        ),
        MODEL: (
            Key(
                "path",
                "path",
                "none",
                "model.joblib",
                "The model's file: committed (.joblib, .pkl, .onnx), or where `url` or `train` puts it.",
            ),
            Key(
                "url",
                "URL",
                "none",
                "https://models.example.com/delay.onnx",
                "Fetched while building, pinned by sha256 in a committed softlaunch.lock.",
            ),
            Key(
                "train",
                "command",
                "none",
                "python train.py",
                "Produces `path` in the checkout; cached by the digests of its inputs.",
            ),
            Key(
                "python",
                "FILE.py:CLASS",
                "none",
                "delay.py:Predictor",
                "A class of your repository that predicts; `path` is then an optional file of its own.",
            ),
            Key("compile", "true or false", "true", "false", "Compile scikit-learn to ONNX where both agree."),
            Key(
                "features",
                "list of names",
                "all columns but the label",
                "[origin, distance]",
                "Which reference columns are inputs, in the model's order.",
            ),
            Key(
                "inputs",
                "mapping of name to datatype",
                "taken from the reference",
                "{distance: FP64}",
                "The signature, written out. Datatypes: BOOL, INT64, FP32, FP64, BYTES (texts).",
            ),
        ),
        TESTS: (
            Key(
                "command",
                "command",
                "none",
                "pytest -q",
                "Run in the checkout, in the release's own Python; must end with 0.",
            ),
            Key(
                "coverage_percent_min",
                "number, 0 to 100",
                "none",
                "80",
                "Refuse the build below this line coverage of `command`.",
            ),
            Key(
                "quality",
                "mapping",
                "none",
                "{data: h.parquet, label: late, metrics: {roc_auc: '>= 0.68'}}",
                "What the model must reach on held-out data.",
            ),
            Key(
                "latency_ms_p99_max",
                "number, above 0",
                "none",
                "20",
                "Refuse the build when one row takes longer at p99; also understood inside `quality`.",
            ),
        ),
        QUALITY: (
            Key("data", "path", "required", "data/holdout.parquet", "Held-out rows (.parquet or .csv)."),
            Key("label", "column name", "required", "late", "The column that holds the truth."),
            Key(
                "metrics",
                "mapping of metric to comparison",
                "required",
                "{roc_auc: '>= 0.68'}",
                "Higher is better: roc_auc, accuracy, f1, precision, recall, r2; lower: brier, log_loss, mae, rmse.",
            ),
            Key("latency_ms_p99_max", "number, above 0", "none", "20", "The same as under `tests`."),
        ),
        ENVIRONMENT: (
            Key("branch", "branch name", "none", "main", "Which branch may be deployed here; none: any commit."),
            Key(
                "after",
                "environment",
                "none",
                "integration",
                "Nothing enters here that did not pass that environment first.",
            ),
            Key(
                "strategy",
                "canary, blue_green or mapping",
                "canary",
                "{canary: {key: x-user-id}}",
                "How a release takes over the traffic.",
            ),
            Key(
                "replicas",
                "whole number, 2 to 64 (1 with verify)",
                "2",
                "2",
                "Model server processes of the stable release.",
            ),
            Key(
                "verify",
                "smoke or mapping",
                "none",
                "smoke",
                "The environment has no traffic of its own and passes by requests made from the reference.",
            ),
            Key(
                "fallback",
                "mapping",
                "none",
                "{body: {late: 0.2}}",
                "What is answered on prediction paths when every release failed.",
            ),
            Key(
                "env",
                "mapping of name to text",
                "none",
                "{CARRIER_API: $CARRIER_API}",
                "Environment variables of the model servers; $NAME is looked up where softlaunch runs.",
            ),
            Key(
                "request_timeout",
                "duration, 50ms to 10m",
                "5s",
                "5s",
                "After this long the client gets an answer, whatever happened behind.",
            ),
        ),
        VERIFY: (
            Key(
                "requests",
                "whole number, 1 to 10000",
                "20",
                "20",
                "How many requests are made from the reference rows.",
            ),
        ),
        FALLBACK: (Key("body", "any value", "required", "{late: 0.2}", "Answered as JSON."),),
        STRATEGY: (
            Key(
                "canary",
                "mapping",
                "none",
                "{steps: [5%, 100%]}",
                "A small share first, then more while the evidence is good.",
            ),
            Key(
                "blue_green",
                "mapping",
                "none",
                "{watch: 1h}",
                "Both releases run in full, the traffic moves at once; also written blue-green.",
            ),
        ),
        CANARY: (
            Key(
                "steps",
                "list of percents",
                "[1%, 5%, 25%, 100%]",
                "[10%, 100%]",
                "Shares of traffic: strictly rising, the last is 100%, two decimals.",
            ),
            *_JUDGED,
        ),
        BLUE_GREEN: (
            Key(
                "steps",
                "list of percents",
                "[100%]",
                "[10%, 100%]",
                "As for a canary; more than one step is a look before the move.",
            ),
            *_JUDGED,
        ),
    },
)

ALIASES: Mapping[str, Mapping[str, str]] = types.MappingProxyType({STRATEGY: {"blue-green": "blue_green"}})
"""Second spellings of keys, per section."""

GUARDRAILS_NOT_BUILT: Mapping[str, str] = types.MappingProxyType(
    dict.fromkeys(
        ("outputs", "cpu", "memory", "disagreement", "shed", "custom"),
        "Today's guardrails are errors, client_errors, latency and invalid.",
    ),
)
STEPS_NOT_BUILT: Mapping[str, str] = types.MappingProxyType(
    {
        "cohort": "Today's steps are shares such as 1%: the first step is a small share of all users.",
        "approval": "Today a rollout waits for nobody; `softlaunch pause` and `softlaunch resume` hold it by hand.",
        "shadow": "Today's steps are shares such as 1%; failed requests are repeated on stable.",
        "pause": "Today `softlaunch pause` and `softlaunch resume` hold a rollout by hand.",
    },
)
_DRIFT = "Today a release is watched by its guardrails until `watch` has passed."

NOT_BUILT: Mapping[str, Mapping[str, str]] = types.MappingProxyType(
    {
        TOP: {
            "monitors": _DRIFT,
            "retrain": "Today `model.train` trains while a release is built: run `softlaunch build` when you like.",
            "notify": "Today `softlaunch watch --json` prints every event: pipe it to where you read.",
            "features": "Today `model.features` selects the reference columns that are inputs.",
            "capture": "Today the gateway's attempt log holds every attempt, without inputs or outputs.",
            "secrets": "Today `environments.NAME.env` takes $NAME, looked up where softlaunch runs.",
            "stream": "Today evidence is read from the gateway's attempt log on this machine.",
            "attach": "Today the lineage (commit, branch, tags, author, tests) is attached to every release.",
        },
        MODEL: {
            "mlflow": "Today `model.url` fetches a file, pinned in softlaunch.lock; `model.path` is a committed one.",
            "app": "Today `model.python` wraps a class of your code: FILE.py:CLASS.",
            "command": "Today `model.python` wraps a class of your code: FILE.py:CLASS.",
            "predict_paths": "Today /predict and /v2/models/NAME/infer are the prediction paths.",
        },
        STRATEGY: {
            "recreate": "Today blue_green moves all traffic at once; `verify: smoke` needs no strategy.",
            "shadow": "Today a canary starts at 1%, and failed requests are repeated on stable.",
        },
        VERIFY: {
            "replay": "Today `verify: {requests: N}` makes requests from the reference rows.",
            "load": "Today `tests.latency_ms_p99_max` bounds the latency of one row while building.",
        },
        FALLBACK: {
            "table": "Today `fallback: {body: ...}` answers one fixed value.",
            "python": "Today `fallback: {body: ...}` answers one fixed value.",
            "url": "Today `fallback: {body: ...}` answers one fixed value.",
        },
        ENVIRONMENT: {
            "secrets": "Today `env` takes $NAME, looked up where softlaunch runs.",
            "monitors": _DRIFT,
            "capture": "Today the gateway's attempt log holds every attempt, without inputs or outputs.",
            "attach": "Today the lineage (commit, branch, tags, author, tests) is attached to every release.",
            "stream": "Today evidence is read from the gateway's attempt log on this machine.",
            "autoscale": "Today `replicas` is a fixed number.",
        },
        CANARY: {
            "approval": STEPS_NOT_BUILT["approval"],
            "shadow": STEPS_NOT_BUILT["shadow"],
            "cohort": STEPS_NOT_BUILT["cohort"],
        },
        BLUE_GREEN: {"approval": STEPS_NOT_BUILT["approval"]},
    },
)


def names(section: str) -> tuple[str, ...]:
    """The keys a section accepts, in the order of the reference page."""
    return tuple(key.name for key in SECTIONS[section])
