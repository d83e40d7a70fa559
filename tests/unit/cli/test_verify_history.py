"""`softlaunch verify --history` of a home whose kept hashes are younger than its history."""

from __future__ import annotations

from softlaunch.adapters.sql import chain, store
from softlaunch.ports import store as records


def test_that_hashes_of_earlier_records_are_unknown_is_said(run, home) -> None:
    event = records.HistoryEvent(
        id=0, at=1.0, service="demo", environment="production", rollout_id=None, kind="step", text="x"
    )
    with store.SqlStore(home / "state.db") as kept:
        for _ in range(3):
            kept.commit(records.Change(events=[event]))
    before = run("verify", "--history")
    chain.heads_file(home / "state.db").unlink()
    gone = run("verify", "--history")
    store.SqlStore(home / "state.db").close()
    after = run("verify", "--history")

    assert (0, 1, 0) == (before.code, gone.code, after.code)
    assert "No hash of a record before" not in before.out
    assert "was taken away" in gone.out
    assert "No hash of a record before 3 was kept: history.heads begins there." in after.out
    assert 3 == run("verify", "--history", "--json").document["unknown_before"]
