"""The keys that say how a release is launched; softlaunch.config.keys puts them into its tables."""

from __future__ import annotations

from softlaunch.config import key

Key = key.Key

COHORT = (
    Key("header", "header name", "required", "x-employee", "Request header the cohort is known by."),
    Key("values", "text or list of texts", "none", "[u1, u2]", "Its exact values; the cohort is whoever sends one."),
    Key(
        "pattern",
        "RE2 expression",
        "none",
        '"acme-.*"',
        "What the whole value must match, in place of `values`; with neither the header's presence is enough.",
    ),
)

FALLBACK = (
    Key("body", "any value", "none", "{late: 0.2}", "Answered as JSON; in a list the last, because it never fails."),
    Key("table", "path", "none", "fallback.csv", "Lookup table: `keys` name a row, its other columns are the answer."),
    Key("keys", "list of names", "required with table", "[origin]", "The table's columns that name a row."),
    Key(
        "python",
        "FILE.py:FUNCTION",
        "none",
        "fallback.py:price",
        "A function of one row (feature: value) that gives outputs; it runs outside of any release.",
    ),
    Key("previous", "true", "none", "true", "The release that was stable before this one."),
    Key("url", "URL", "none", "http://10.0.0.7:8080", "Another service, asked at the same path."),
)

ATTACH = (
    Key("stable", "URL", "required", "http://127.0.0.1:9000", "What runs now: scheme, host and port."),
    Key("candidate", "URL", "none", "http://127.0.0.1:9001", "What shall take its place."),
    Key("ready", "path", "none: an open port", "/healthz", "Answers 2xx when the version behind a URL is ready."),
)

SIGNING = (
    Key(
        "sign", "key or keyless", "required", "keyless", "Keyless: by Sigstore, as who the job's identity token names."
    ),
    Key(
        "trusted_root",
        "path",
        "the public Sigstore's",
        "/etc/softlaunch/trusted_root.json",
        "The trusted root of your own Sigstore, outside of the repository: a path from / or ~/ on.",
    ),
    Key(
        "signing_config",
        "path",
        "the public Sigstore's",
        "/etc/softlaunch/signing_config.json",
        "The services of your own Sigstore (signing configuration 0.2), outside of the repository.",
    ),
)

EVIDENCE = (
    Key("require", "signed or none", "none", "signed", "Signed: a release whose evidence does not verify is refused."),
    Key("keys", "list of names or paths", "every key of the home", "[ci]", "Keys that are trusted here, and no other."),
    Key("threshold", "whole number, 1 to 10", "1", "2", "So many different keys have to sign each statement."),
    Key(
        "identities",
        "list of mappings",
        "none",
        "[{issuer: https://accounts.google.com, subject: ci@example.com}]",
        "Who is trusted here by Sigstore, without a key. Keys then count only when `keys` names them.",
    ),
    Key(
        "trusted_root",
        "path",
        "the public Sigstore's",
        "/etc/softlaunch/trusted_root.json",
        "The trusted root of your own Sigstore, outside of the repository: a path from / or ~/ on.",
    ),
)

IDENTITY = (
    Key(
        "issuer",
        "URL",
        "required",
        "https://token.actions.githubusercontent.com",
        "The OpenID provider that vouches for the subject, to the letter.",
    ),
    Key(
        "subject",
        "text",
        "none",
        "https://github.com/org/repo/.github/workflows/ship.yml@refs/heads/main",
        "Who signs: a workflow's URL or an e-mail address, to the letter.",
    ),
    Key(
        "subject_regexp",
        "text from ^ to $",
        "none",
        r"'^https://github\.com/org/[a-z-]+/\.github/workflows/ship\.yml@refs/heads/main$'",
        "In place of `subject`: a pattern that the whole subject has to match.",
    ),
)

SECRET = (
    Key("file", "path", "none", "/run/secrets/api-key", "A file where softlaunch runs, from / or ~/ on."),
    Key("env", "name", "none", "API_KEY", "A variable of the environment softlaunch runs in."),
    Key("vault", "PATH#FIELD", "none", "secret/data/tips#password", "A field of Vault's key-value engine, version 2."),
)

JOB = (
    Key("command", "command or list of words", "required", "python batch.py", "Run in this file's folder, no shell."),
    Key(
        "outputs",
        "file, list of files, or mapping of file to checks",
        "output.csv",
        "{scores.csv: {columns: [id]}}",
        "What it writes into the folder SOFTLAUNCH_OUTPUT names; *, ? and ** stand for what they do in a shell.",
    ),
    Key("publish", "path", "the job's name", "out/scores", "Where a link to the good output is put; /... is meant so."),
    Key("keep", "whole number, 1 to 1000", "5", "5", "So many good outputs are kept; the published one always."),
    Key("timeout", "duration, 1s to 30d", "none", "2h", "After this long it and what it started is stopped."),
    Key("env", "mapping of name to text", "none", "{MONTH: 2026-11}", "Its variables; $NAME as in an environment."),
    Key("secrets", "mapping of name to reference", "none", "{DB_PASSWORD: $DB_PASSWORD}", "As in an environment."),
)

JOB_OUTPUT = (
    Key("rows_min", "whole number, from 1 on", "1", "1000", "Fewer rows are not published."),
    Key("columns", "name or list of names", "none", "[id, score]", "They have to be there."),
    Key(
        "missing_percent_max",
        "number, 0 to 100",
        "none",
        "1",
        "Missing values of each of `columns`, or of every column.",
    ),
    Key("ranges", "mapping of column to [MIN, MAX]", "none", "{score: [0, 1]}", "Every value there lies within."),
    Key("rows_change_percent_max", "number, above 0", "none", "20", "Against the published output."),
    Key(
        "mean_change_percent_max",
        "number, above 0",
        "none",
        "50",
        "Of every column of numbers, in percent of its standard deviation in the published output.",
    ),
)

CAPTURE = (
    Key("percent", "percent, above 0%", "100%", "10%", "Share of the predictions that are recorded."),
    Key("disk", "size, 1MiB to 1TiB", "1GiB", "256MiB", "The records' room on disk; the oldest go first."),
    Key(
        "keys",
        "name or list of names",
        "none",
        "[booking_id]",
        "Business keys that requests carry beside the features: recorded with every row, never shown to the model.",
    ),
    Key(
        "redact",
        "mapping of field to drop or hash",
        "none",
        "{birthday: drop}",
        "Fields of requests that are not recorded as they came.",
    ),
)

REPLAY = (
    Key("every", "duration, 1m to 90d", "24h", "24h", "How often the newest build is replayed."),
    Key("since", "duration, 1m to 90d", "24h", "2h", "How far the replayed requests lie back."),
    Key("rate", "number and x, to 1000x", "5x", "5x", "Times the speed at which the requests came."),
)

STEP = (
    Key("share", "percent", "80% of a cohort", "5%", "Of all users, or of the step's cohort: the rest is its control."),
    Key("cohort", "name", "none", "internal", "The step is for this one of `cohorts`, which then stays."),
    Key(
        "shadow",
        "percent",
        "none",
        "10%",
        "Share of the prediction requests that the candidate gets as a copy; users never see its answers.",
    ),
    Key("approval", "name or list of names", "none", "[ana, bo]", "Waits until one of them approves."),
    Key("for", "duration, up to 90d", "0", "10m", "The step lasts at least so long."),
    Key(
        "attempts",
        "whole number, 1 to 1000000",
        "step_attempts_min",
        "200",
        "Requests the candidate must answer (a shadow: pairs) before the next step.",
    ),
)

GUARDRAIL = (
    Key(
        "observe",
        "name, or true beside name",
        "none",
        "cpu",
        "Observes and decides nothing: a built-in one by name, one of your own with `observe: true`.",
    ),
    Key("name", "name", "required for your own", "p99", "What a guardrail of your own is called in reports."),
    Key(
        "promql",
        "query",
        "none",
        '"histogram_quantile(0.99, rate(s_bucket[1m]))"',
        "Its value is compared; {service}, {environment}, {candidate}, {stable} are put in.",
    ),
    Key("server", "URL", "required with promql", "http://127.0.0.1:9090", "The Prometheus server."),
    Key("http", "URL", "none", "http://127.0.0.1:8080/health", "Must answer 2xx; takes the same words in braces."),
    Key("json", "dotted path", "none", "status.lag", "The number of the http answer that is compared as well."),
    Key(
        "expression",
        "expression",
        "none",
        '"latency_ms > 80 and input_bytes > 10000"',
        "Over the fields of an attempt: true makes it a bad event, judged like an error.",
    ),
    Key("at_least", "number", "none", "0.9", "A value below this is broken."),
    Key("at_most", "number", "none", "0.2", "A value above this is broken."),
    Key("every", "duration, 1s to 1h", "30s", "30s", "How often promql and http ask."),
    Key("failures", "whole number, 1 to 100", "3", "3", "So many broken answers in a row break the guardrail."),
)

VALUES = (
    Key(
        "steps",
        "list of steps",
        "by strategy",
        "[1%, 5%, 25%, 100%]",
        "Shares such as 5%, approval, and steps with values; shares rise strictly, the last step is 100%.",
    ),
    Key(
        "key",
        "header name",
        "a cookie",
        "x-user-id",
        "Request header that names the user: the same user always meets the same release.",
    ),
    Key(
        "guardrails",
        "list of guardrails",
        "errors, client_errors, latency, invalid",
        "[errors, latency]",
        "What decides; every other built-in one is observed and reported.",
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
    Key("warm", "duration, up to 90d", "0", "1h", "So long after that the old release stays ready for the way back."),
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
        "disagreement_max",
        "percent, above 0%, at most 50%",
        "5%",
        "5%",
        "More answers than this that differ from stable's to the same request break `disagreement`.",
    ),
    Key(
        "agreement_tolerance",
        "number, 0 to 1",
        "0",
        "0.001",
        "Numbers this close, relative to the larger, agree; texts and booleans agree when equal.",
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
        "A step undecided for this long beyond its `for` is overdue; it never passes by waiting.",
    ),
    Key(
        "on_deadline",
        "hold, roll_back or ask",
        "hold",
        "ask",
        "What an overdue step does: stay, go back, or stay and notify somebody who approves or aborts.",
    ),
    Key(
        "on_failure",
        "roll_back or freeze",
        "roll_back",
        "freeze",
        "What a broken guardrail does: freeze leaves everything as it is and asks.",
    ),
)

STRATEGY = (
    Key(
        "canary",
        "mapping",
        "none",
        "{steps: [5%, 100%]}",
        "A small share first, then more while the evidence is good: [1%, 5%, 25%, 100%].",
    ),
    Key(
        "blue_green",
        "mapping",
        "none",
        "{watch: 1h}",
        "Both releases run in full, the traffic moves at once: [100%]; also written blue-green.",
    ),
    Key(
        "shadow",
        "mapping",
        "none",
        "{steps: [{shadow: 10%, for: 1h}, approval, 100%]}",
        "Copies of the requests first, compared answer by answer: [{shadow: 100%}, approval, 100%].",
    ),
    Key(
        "recreate",
        "mapping",
        "none",
        "{watch: 1h}",
        "The old release ends before the new one starts: downtime, but never two at once.",
    ),
)

ENVIRONMENT = (
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
        "name or mapping",
        "canary",
        "{canary: {key: x-user-id}}",
        "How a release takes over the traffic: canary, blue_green, shadow or recreate.",
    ),
    Key(
        "cohorts",
        "mapping of name to cohort",
        "the file's",
        "{internal: {header: x-employee}}",
        "Who meets a release first; a name that the file's `cohorts` have too is meant anew here.",
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
        "The environment has no traffic of its own and passes by requests: smoke, replay, load test.",
    ),
    Key(
        "fallback",
        "mapping or list of mappings",
        "none",
        "{body: {late: 0.2}}",
        "What is answered on prediction paths when every release failed; a list is asked in order.",
    ),
    Key(
        "predict_paths",
        "list of paths",
        "none",
        "[/score, /v1/*]",
        "Paths whose requests may be repeated, besides /predict and /v2/models/NAME/infer.",
    ),
    Key(
        "capture",
        "off or mapping",
        "all, 1GiB",
        "{percent: 10%}",
        "What of the predictions is recorded, for shadows, replays and questions.",
    ),
    Key(
        "attach",
        "mapping",
        "none",
        "{stable: http://127.0.0.1:9000}",
        "Launches between two URLs that run already; `softlaunch attach` does it.",
    ),
    Key(
        "replay",
        "mapping",
        "none",
        "{every: 24h}",
        "Recorded requests are sent to the newest build again and again, and compared.",
    ),
    Key(
        "notify",
        "mapping of name to URL",
        "the file's",
        "{oncall: $ONCALL_URL}",
        "Who is told here as well; the same name replaces the file's.",
    ),
    Key(
        "env",
        "mapping of name to text or secret",
        "none",
        "{CARRIER_API: $CARRIER_API}",
        "Environment variables of the model servers; $NAME is looked up where softlaunch runs, a mapping is a secret.",
    ),
    Key(
        "secrets",
        "mapping of name to secret",
        "none",
        "{API_KEY: {file: /run/secrets/api-key}}",
        "Variables whose values are kept elsewhere, and are read when a model server starts; $NAME is {env: NAME}.",
    ),
    Key(
        "evidence",
        "mapping",
        "none",
        "{require: signed}",
        "What a release has to show before it is launched here, and again before its model is loaded.",
    ),
    Key(
        "request_timeout",
        "duration, 50ms to 10m",
        "5s",
        "5s",
        "After this long the client gets an answer, whatever happened behind.",
    ),
)

TOP = (
    Key(
        "cohorts",
        "mapping of name to cohort",
        "none",
        "{internal: {header: x-employee}}",
        "Requests that meet a release before everybody else, known by a header; for all environments.",
    ),
    Key(
        "notify",
        "mapping of name to URL",
        "none",
        "{slack: $SLACK_WEBHOOK}",
        "Who is told of every change of state: a URL as Apprise reads it, or $NAME of a variable that holds one.",
    ),
)
