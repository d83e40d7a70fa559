from __future__ import annotations

import dataclasses
import json

import pytest

from softlaunch import errors
from softlaunch.core import answer_checks, lookups, release, release_json

PLAIN = release.ReleaseContent(
    service="flights",
    runtime=release.Runtime.ONNX,
    model_file="model/model.onnx",
    python_target=None,
    signature=release.Signature(
        inputs=(release.Column(name="distance", datatype=release.Datatype.FP64, nullable=True),),
        outputs=(release.Column(name="late", datatype=release.Datatype.FP64, minimum=0.0, maximum=1.0),),
    ),
    lock_file=None,
    profile_file="profile.json",
    smoke_file="smoke.json",
    gates=(release.GateResult(name="roc_auc", passed=True, value=0.7, threshold=">= 0.68"),),
    compile_note="Served as ONNX.",
)
FULL = dataclasses.replace(
    PLAIN,
    runtime=release.Runtime.COMMAND,
    drill="nan",
    attached_url="http://127.0.0.1:9000",
    attached_ready="/health",
    command=("node", "server.js", "--port", "{port}"),
    ready_path="/health",
    answers=(answer_checks.AnswerCheck(path="prediction.late", minimum=0.0, maximum=1.0),),
    lookups=(
        lookups.LookupSpec(
            name="weather",
            source=lookups.LookupSource.SQL,
            target="select wind from weather where origin = :origin",
            by=("origin",),
            features={"wind": 3.5, "sky": None},
            server="$WEATHER",
            age_seconds_max=3600.0,
            timestamp="at",
        ),
    ),
)
LINEAGE = release.Lineage(
    commit="c" * 40,
    branch=None,
    tags=("v1", "v2"),
    author="Ada",
    committed_at="2026-01-01T00:00:00Z",
    built_at="2026-01-02T00:00:00Z",
    tests="12 passed",
)


@pytest.mark.parametrize("content", [PLAIN, FULL])
def test_what_is_written_is_read_again(content: release.ReleaseContent) -> None:
    raw = release_json.dump_content(content)

    assert content == release_json.load_content(raw)
    assert raw == release_json.dump_content(release_json.load_content(raw))


def test_a_release_without_the_newer_fields_keeps_the_bytes_its_digest_was_made_of() -> None:
    document = json.loads(release_json.dump_content(PLAIN))

    assert {
        "schema", "service", "runtime", "model_file", "python_target", "signature", "lock_file", "profile_file",
        "smoke_file", "gates", "compile_note",
    } == set(document)  # fmt: skip


def test_lineage_is_read_as_written() -> None:
    assert LINEAGE == release_json.load_lineage(release_json.dump_lineage(LINEAGE))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "Expecting value"),
        (b"[]", "schema is None"),
        (b'{"schema":99}', "schema is 99"),
        (b'{"schema":1}', "'service'"),
        (release_json.dump_content(PLAIN).replace(b'"onnx"', b'"abacus"'), "abacus"),
        (release_json.dump_content(FULL).replace(b'"sql"', b'"tarot"'), "tarot"),
        (release_json.dump_content(FULL).replace(b'"minimum":0.0,"path"', b'"least":0.0,"path"'), "least"),
    ],
)
def test_what_this_version_did_not_write_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(errors.ConfigError, match=words) as caught:
        release_json.load_content(raw)
    assert errors.Code.RELEASE_UNREADABLE is caught.value.code


def test_a_lineage_that_lacks_something_is_refused() -> None:
    with pytest.raises(errors.ConfigError, match="commit"):
        release_json.load_lineage(b'{"schema":1}')
