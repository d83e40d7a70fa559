"""
Every key of softlaunch.yaml, in tables: what the parser accepts, and what the reference page must list.

`SECTIONS` are the keys that work. `NOT_BUILT` are words of softlaunch's world whose feature does not exist yet: they
are refused by name, together with what works today, because silence would let somebody believe they are guarded.
"""

from __future__ import annotations

import types
from collections.abc import Mapping

from softlaunch.config import key, launch_keys, lookup_keys, verify_keys

Key = key.Key

TOP = "(top)"
MODEL = "model"
ANSWERS = "model.answers[N]"
TESTS = "tests"
QUALITY = "tests.quality"
COHORT = "cohorts.NAME"
SIGNING = "evidence"
ENVIRONMENT = "environments.NAME"
ATTACH = "environments.NAME.attach"
EVIDENCE = "environments.NAME.evidence"
IDENTITY = "environments.NAME.evidence.identities[N]"
SECRET = "environments.NAME.secrets.NAME"  # noqa: S105 - the name of a section
VERIFY = "environments.NAME.verify"
VERIFY_REPLAY = "environments.NAME.verify.replay"
VERIFY_LOAD = "environments.NAME.verify.load"
FALLBACK = "environments.NAME.fallback"
LOOKUP = "features.NAME"
LOOKUP_FEATURE = "features.NAME.features.NAME"
JOB = "jobs.NAME"
JOB_OUTPUT = "jobs.NAME.outputs.FILE"
CAPTURE = "environments.NAME.capture"
REPLAY = "environments.NAME.replay"
STRATEGY = "environments.NAME.strategy"
VALUES = "environments.NAME.strategy.STRATEGY"
STEP = "environments.NAME.strategy.STRATEGY.steps[N]"
GUARDRAIL = "environments.NAME.strategy.STRATEGY.guardrails[N]"

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
                "path or URL",
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
            Key(
                "features",
                "mapping of name to lookup",
                "none",
                "{weather: {http: 'http://features:8080/{origin}', by: [origin], features: {wind: 5.0}}}",
                "Inputs of the model that are looked up when a request comes, instead of being sent.",
            ),
            Key(
                "registry",
                "HOST/NAME",
                "none",
                "registry.example.com/flight-delay",
                "Where `softlaunch ship` sends each release with its evidence, before it is launched.",
            ),
            Key(
                "evidence",
                "mapping",
                "none",
                "{sign: keyless}",
                "How `build` and `ship` sign what they say of a release; without it, by the key of the home.",
            ),
            Key(
                "jobs",
                "mapping of name to job",
                "none",
                "{scores: {command: python batch.py}}",
                "Batches that train and predict in one go, run by `softlaunch job run NAME`.",
            ),
            *launch_keys.TOP,
        ),
        MODEL: (
            Key(
                "path",
                "path",
                "none",
                "model.joblib",
                "The model's file or folder: committed, or where `url` or `train` puts it.",
            ),
            Key(
                "url",
                "URL",
                "none",
                "https://models.example.com/delay.onnx",
                "http(s), s3, gs or az; fetched while building, pinned by sha256 in a committed softlaunch.lock.",
            ),
            Key(
                "mlflow",
                "models:/NAME@ALIAS or /VERSION",
                "none",
                "models:/delay@champion",
                "A model of an MLflow registry, pinned by version and sha256 in a committed softlaunch.lock.",
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
            Key("compile", "true or false", "true", "false", "Compile to ONNX where it answers like the original."),
            Key(
                "allow_globals",
                "list of names",
                "none",
                "[builtins.getattr]",
                "What the model's pickles may import although it is dangerous: module.name, or module.* for all of it.",
            ),
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
            Key(
                "app",
                "MODULE:ATTRIBUTE",
                "none",
                "service:app",
                "An ASGI app (FastAPI, Starlette, Django) of your repository, run as it is; MODULE:FACTORY() too.",
            ),
            Key(
                "command",
                "command or list of words",
                "none",
                "node server.js",
                "Any program that serves HTTP on 127.0.0.1 at $PORT; {port} in it is replaced as well.",
            ),
            Key(
                "ready",
                "path",
                "started, or an open port",
                "/health",
                "Of an app or a command: a path that answers 2xx when it can take requests.",
            ),
            Key(
                "answers",
                "list of checks",
                "none",
                "[{path: late, min: 0, max: 1}]",
                "Of an app or a command: what every 2xx answer on predict_paths has to hold; another one is invalid.",
            ),
            Key(
                "predict_paths",
                "list of paths",
                "none",
                "[/score]",
                "Of an app or a command: those of every environment that names none of its own.",
            ),
        ),
        ANSWERS: (
            Key(
                "path",
                "dotted path",
                "required",
                "predictions.*.late",
                "A place of the JSON answer: names and list places; * stands for every element of a list.",
            ),
            Key("min", "number", "none", "0", "A number below it is invalid."),
            Key("max", "number", "none", "1", "A number above it is invalid."),
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
                "container",
                "image",
                "none",
                "debian:12",
                "Image in which podman or docker runs `command`, without network; Python is the release's.",
            ),
            Key("memory", "size, 16MiB to 1TiB", "none", "2GiB", "So much memory `container` gets, swap included."),
            Key("cpus", "number, above 0 to 1024", "none", "2", "So many CPUs' time `container` gets."),
            Key(
                "timeout",
                "duration, 1s to 24h",
                "30m",
                "10m",
                "After this long `command` and everything it started is killed, and the build refused.",
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
            Key("data", "path or URL", "required", "data/holdout.parquet", "Held-out rows (.parquet or .csv)."),
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
        LOOKUP: lookup_keys.LOOKUP,
        LOOKUP_FEATURE: lookup_keys.LOOKUP_FEATURE,
        COHORT: launch_keys.COHORT,
        SIGNING: launch_keys.SIGNING,
        ENVIRONMENT: launch_keys.ENVIRONMENT,
        VERIFY: verify_keys.VERIFY,
        VERIFY_REPLAY: verify_keys.REPLAY,
        VERIFY_LOAD: verify_keys.LOAD,
        ATTACH: launch_keys.ATTACH,
        EVIDENCE: launch_keys.EVIDENCE,
        IDENTITY: launch_keys.IDENTITY,
        SECRET: launch_keys.SECRET,
        FALLBACK: launch_keys.FALLBACK,
        JOB: launch_keys.JOB,
        JOB_OUTPUT: launch_keys.JOB_OUTPUT,
        CAPTURE: launch_keys.CAPTURE,
        REPLAY: launch_keys.REPLAY,
        STRATEGY: launch_keys.STRATEGY,
        VALUES: launch_keys.VALUES,
        STEP: launch_keys.STEP,
        GUARDRAIL: launch_keys.GUARDRAIL,
    },
)

ALIASES: Mapping[str, Mapping[str, str]] = types.MappingProxyType({STRATEGY: {"blue-green": "blue_green"}})
"""Second spellings of keys, per section."""

_DRIFT = "Today a release is watched by its guardrails until `watch` has passed."

NOT_BUILT: Mapping[str, Mapping[str, str]] = types.MappingProxyType(
    {
        TOP: {
            "monitors": _DRIFT,
            "retrain": "Today `model.train` trains while a release is built: run `softlaunch build` when you like.",
            "stream": "Today evidence is read from the gateway's attempt log on this machine.",
        },
        MODEL: {},
        ENVIRONMENT: {
            "monitors": _DRIFT,
            "stream": "Today evidence is read from the gateway's attempt log on this machine.",
            "autoscale": "Today `replicas` is a fixed number.",
        },
    },
)


def names(section: str) -> tuple[str, ...]:
    """The keys a section accepts, in the order of the reference page."""
    return tuple(found.name for found in SECTIONS[section])
