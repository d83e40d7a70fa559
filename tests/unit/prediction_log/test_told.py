from __future__ import annotations

import datetime

from softlaunch.core.prediction_log import schema, told

ROW = dict.fromkeys(field.name for field in schema.ENVELOPE) | {
    "id": "a:0", "release": "9a538929db29", "arm": "candidate", "environment": "production", "status": 200,
    "served": True,
    "attempt": 1, "time": datetime.datetime(2026, 11, 23, 14, 30, 0, 250_000, tzinfo=datetime.UTC),
    "service_us": 1_250, "latency_us": 3_000, "features": {"x": 1.5, "note": "<script>"}, "answer": {"late": None},
    "key": "u\x1b[2J1", "keys": {"customer": "4711"},
}  # fmt: skip
LAUNCH = {
    "arm": "9a538929db29", "rollout": 7, "commit": "0123456789abcdef", "requested_by": "ann", "approved_by": ["bob"],
    "outcome": None, "why": "",
}  # fmt: skip
MOMENT = {"serves": {f"sha256:{'9a538929db29' + '0' * 52}": 5.0}, "live": None, "entering": LAUNCH}
DOCUMENT = {
    "id": "a:0",
    "service": "pricing",
    "answers": [ROW],
    "moments": [MOMENT],
    "labels": [],
    "notes": ["Something is missing."],
}


def test_an_answer_is_told_with_its_release_its_rollout_and_its_values() -> None:
    assert [
        "a:0 of pricing",
        "",
        "The answer that the user got",
        "  answered        2026-11-23 14:30:00.250 UTC",
        "  release         9a538929db29, the candidate of a rollout, in production",
        "  result          attempt 1, status 200",
        "  took            1.2 ms in the model server, 3.0 ms as the gateway saw it",
        "  key             u?[2J1",
        "  key customer    4711",
        "  asked: x        1.5",
        "  asked: note     <script>",
        "  answer: late    null",
        "  who answered    9a538929db29 5 %",
        "  being launched  rollout 7, of commit 0123456789ab, asked for by ann, approved by bob",
        "",
        "release 9a53",
        "! Something is missing.",
    ] == told.lines(DOCUMENT, ["release 9a53"])


def test_the_page_shows_what_clients_sent_and_runs_none_of_it() -> None:
    page = told.page(DOCUMENT, ["└─ <b>commit</b>"])

    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "└─ &lt;b&gt;commit&lt;/b&gt;" in page


def test_answers_no_user_got_are_told_apart() -> None:
    rows = [ROW, ROW | {"served": False, "arm": "shadow"}, ROW | {"served": False}, ROW | {"served": None}]

    titles = [title for title, _ in told.sections({"answers": rows, "moments": [None] * 4, "labels": []})]

    assert [
        "The answer that the user got",
        "A shadow's answer, which no user got",
        "An answer that no user got",
        "Another answer",
    ] == titles


def test_what_turned_out_to_be_true_is_told_with_who_said_so() -> None:
    vote = {"rater": "anna", "value": 1.0, "text": None, "arrived": ROW["time"]}
    known = {"arrived": ROW["time"], "implied": False, "raters": 1, "disagree": False, "text": None}
    labels = [
        {**known, "name": "late", "value": 1.0, "votes": [vote]},
        {**known, "name": "clicked", "value": 0.0, "implied": True, "raters": 0, "votes": None},
        {
            **known, "name": "kind", "value": None, "raters": 2, "disagree": True,
            "votes": [{**vote, "rater": None, "value": None, "text": "ham"}, {**vote, "value": None, "text": "spam"}],
        },
    ]  # fmt: skip

    *_, (title, pairs) = told.sections({**DOCUMENT, "labels": labels})

    assert "What turned out to be true" == title
    assert [
        ("late", "1, known since 2026-11-23 14:30:00.250 UTC"),
        ("clicked", "0, known since 2026-11-23 14:30:00.250 UTC, by a window that passed"),
        ("kind", "not one answer, known since 2026-11-23 14:30:00.250 UTC, 2 raters, who disagree"),
        ("kind, by nobody named", "ham, 2026-11-23 14:30:00.250 UTC"),
        ("kind, by anna", "spam, 2026-11-23 14:30:00.250 UTC"),
    ] == pairs
