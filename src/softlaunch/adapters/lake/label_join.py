"""
The join of predictions and labels in SQL, as known at a moment.

The view `labelled` has a row for each prediction and name of a label that is known:

    id, name    the prediction (REQUEST:ROW), the label
    value       mean over the raters; text: the class they all say, null when they do not
    raters      how many said something that stands; 0 when `otherwise` of a declaration applies
    disagree    they do not all say the same
    arrived     when the last of what stands was known
    implied     by a window that has passed
    votes       what each rater says: rater, value, text, version, at, arrived

Of one rater the highest version stands, of equal ones what arrived last, of those of one moment the greatest push and
line. What arrived after the moment does not exist, nor do predictions that were made after it.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from softlaunch.adapters.lake import sql
from softlaunch.core.labels import rules

_MICROSECONDS = 1_000_000
EMPTY_LABELS = """CREATE VIEW labels AS SELECT NULL::VARCHAR AS prediction_id, NULL::VARCHAR AS key_name,
    NULL::VARCHAR AS key, NULL::TIMESTAMPTZ AS "at", NULL::TIMESTAMPTZ AS arrived, NULL::VARCHAR AS name,
    NULL::DOUBLE AS value, NULL::VARCHAR AS text, NULL::BIGINT AS version, NULL::VARCHAR AS rater,
    NULL::VARCHAR AS source, NULL::VARCHAR AS push, NULL::BIGINT AS line, NULL::DATE AS day WHERE false"""


def view(declared: Mapping[str, rules.Rule], *, as_of: datetime.datetime, by_key: bool, only: str | None = None) -> str:
    """
    The statement that creates `labelled` over the views `predictions` and `labels`.

    Args:
        declared: By the label's name.
        as_of: The moment, with its zone.
        by_key: Whether some label names a business key; without, predictions' keys are not read.
        only: The view has this prediction alone, and reads little more; None: all of them.
    """
    # Which prediction was the last one of a key is told by the others.
    is_one = only is not None and not any(rule.match is rules.Match.LAST for rule in declared.values())
    one = f" AND id = {sql.quoted(only)}" if is_one and only is not None else ""
    moment = f"TIMESTAMPTZ {sql.quoted(as_of.isoformat())}"
    parts = [_BY_ID]
    if by_key:
        parts.append(_BY_KEY)
    truths = "\nUNION ALL BY NAME\n".join(parts)
    implied = _IMPLIED if any(rule.otherwise is not None for rule in declared.values()) else ""
    keys = ", arg_min(key, time) AS key, arg_min(keys, time) AS keys" if by_key else ""
    return f"""
CREATE VIEW labelled AS
WITH asked AS (
    SELECT id, epoch_us(min(time)) AS asked_us{keys} FROM predictions WHERE time <= {moment}{one} GROUP BY id
),
meaning AS ({_meanings(declared)}),
said AS (
    SELECT l.prediction_id, coalesce(l.key_name, '') AS key_name, l.key,
        epoch_us(coalesce(l."at", l.arrived)) AS happened_us, l."at", l.arrived,
        l.version, l.rater, l.push, l.line, coalesce(m.name, l.name) AS name,
        CASE WHEN m.means IS NULL OR (l.value IS NULL AND l.text IS NULL) THEN l.value ELSE m.means END AS value,
        CASE WHEN m.means IS NULL THEN l.text END AS text,
        m.means IS NOT NULL AS bounded, coalesce(m.last, false) AS last,
        coalesce(m.within_us, {round(rules.WITHIN_SECONDS * _MICROSECONDS)}) AS within_us
    FROM labels l LEFT JOIN meaning m ON m.source = l.name WHERE l.arrived <= {moment}
),
matched AS ({truths}),
standing AS (
    SELECT * FROM (
        SELECT * FROM matched
        QUALIFY row_number() OVER (
            PARTITION BY id, name, rater ORDER BY version DESC, arrived DESC, push DESC, line DESC
        ) = 1
    ) WHERE value IS NOT NULL OR text IS NOT NULL
),
known AS (
    SELECT id, name, avg(value) AS value,
        CASE WHEN count(text) = count(*) AND min(text) = max(text) THEN min(text) END AS text,
        count(*) AS raters,
        coalesce(min(value) < max(value), false) OR coalesce(min(text) < max(text), false)
            OR (count(value) > 0 AND count(text) > 0) AS disagree,
        max(arrived) AS arrived, false AS implied,
        list(struct_pack(rater := rater, value := value, text := text, version := version, "at" := "at",
            arrived := arrived) ORDER BY rater NULLS FIRST) AS votes
    FROM standing GROUP BY id, name
)
SELECT * FROM known{implied.format(moment=moment)}"""  # noqa: S608 - names of declarations are checked and quoted


_BY_ID = """
    SELECT a.id, s.name, s.value, s.text, s.rater, s.version, s."at", s.arrived, s.push, s.line
    FROM said s JOIN asked a ON a.id = s.prediction_id
    WHERE NOT s.bounded OR s.happened_us BETWEEN a.asked_us AND a.asked_us + s.within_us"""
_BY_KEY = """
    SELECT k.id, s.name, s.value, s.text, s.rater, s.version, s."at", s.arrived, s.push, s.line
    FROM said s JOIN (
        SELECT id, asked_us, '' AS key_name, key FROM asked WHERE key IS NOT NULL
        UNION ALL
        SELECT id, asked_us, entry.key, entry.value
        FROM (SELECT id, asked_us, unnest(map_entries(keys)) AS entry FROM asked)
    ) k ON k.key = s.key AND k.key_name = s.key_name
    WHERE s.happened_us BETWEEN k.asked_us AND k.asked_us + s.within_us
    QUALIFY NOT s.last OR row_number() OVER (
        PARTITION BY s.push, s.line, s.name ORDER BY k.asked_us DESC, k.id DESC
    ) = 1"""
_IMPLIED = """
UNION ALL BY NAME
SELECT a.id, m.name, m.otherwise AS value, NULL AS text, 0 AS raters, false AS disagree,
    make_timestamp(a.asked_us + m.within_us)::TIMESTAMPTZ AS arrived, true AS implied, NULL AS votes
FROM asked a CROSS JOIN (
    SELECT DISTINCT name, otherwise, within_us FROM meaning WHERE otherwise IS NOT NULL
) m
WHERE a.asked_us + m.within_us <= epoch_us({moment})
    AND NOT EXISTS (SELECT 1 FROM known w WHERE w.id = a.id AND w.name = m.name)"""


def _meanings(declared: Mapping[str, rules.Rule]) -> str:
    """Names of pushed labels to what they mean."""
    rows = []
    for name, rule in sorted(declared.items()):
        events: list[tuple[str, float | None]] = [*sorted(rule.events.items())]
        for source, means in events or [(name, None)]:
            rows.append(
                f"({sql.quoted(source)}, {sql.quoted(name)}, {'NULL' if means is None else repr(means)}, "
                f"{round(rule.within_seconds * _MICROSECONDS)}, "
                f"{'true' if rule.match is rules.Match.LAST else 'false'}, "
                f"{'NULL' if rule.otherwise is None else repr(rule.otherwise)})"
            )
    listed = ", ".join(rows) or "(NULL, NULL, NULL, NULL, NULL, NULL)"
    # Names of declarations are checked, and quoted.
    return f"""
    SELECT source::VARCHAR AS source, name::VARCHAR AS name, means::DOUBLE AS means,
        within_us::BIGINT AS within_us, last::BOOLEAN AS last, otherwise::DOUBLE AS otherwise
    FROM (VALUES {listed}) AS found(source, name, means, within_us, last, otherwise)"""  # noqa: S608
