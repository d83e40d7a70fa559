from __future__ import annotations

import json

import structlog

from softlaunch.cli import output


def test_what_adapters_log_does_not_stand_in_the_command_s_answer(capsys) -> None:
    output.log_to_stderr()
    try:
        structlog.get_logger("adapter").info("replica_adopted", pid=7)
        output.document({"verdict": "pass"})
    finally:
        structlog.reset_defaults()
    told = capsys.readouterr()

    assert {"verdict": "pass"} == json.loads(told.out)
    assert "replica_adopted" in told.err
