"""Environments become what their branches say, and a rollback wins over the branch; in virtual time."""

from __future__ import annotations

import dataclasses
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import gitops_lab
from gitops_lab import BAD, BETTER, GOOD

from softlaunch import errors
from softlaunch.core import gitops, release
from softlaunch.testing import virtual_traffic

Standing = gitops.Standing


@pytest.fixture
def lab(tmp_path: pathlib.Path) -> gitops_lab.Lab:
    return _lab(tmp_path)


def _lab(directory: pathlib.Path, **how) -> gitops_lab.Lab:
    """Main says GOOD, and production runs it."""
    made = gitops_lab.Lab(directory, **how)
    made.server.signed.add(made.push(GOOD))
    made.begin()
    made.until(Standing.SYNCED)
    made.run(10.0)
    return made


def test_a_push_reaches_the_environment_of_its_branch_and_no_other(lab) -> None:
    lab.push(GOOD, branch="develop")
    lab.until(Standing.SYNCED, environment="integration")
    lab.push(BETTER, branch="develop")

    lab.run(gitops_lab.EVERY_SECONDS + 5.0)
    lab.until(Standing.SYNCED, environment="integration")

    assert (lab.release(BETTER), lab.release(GOOD)) == (lab.live("integration"), lab.live())


def test_a_long_launch_in_production_holds_nobody_up_in_integration(lab) -> None:
    slow = gitops_lab.YAML.replace(b"branch: main", b"branch: main\n    after: integration")
    slow = slow.replace(b"steps: [50%,", b"steps: [{share: 50%, for: 30m},")
    lab.push(BETTER, branch="develop", files={"softlaunch.yaml": slow})
    lab.until(Standing.SYNCED, environment="integration")
    lab.push(BETTER, files={"softlaunch.yaml": slow})
    lab.run(gitops_lab.EVERY_SECONDS + 60.0)
    lab.until(Standing.SHIPPING)

    lab.push(b"best", branch="develop", files={"softlaunch.yaml": slow})
    lab.run(gitops_lab.EVERY_SECONDS + 5.0)
    lab.until(Standing.SYNCED, environment="integration", seconds=120.0)

    assert lab.release(b"best") == lab.live("integration")
    assert Standing.SHIPPING == lab.view()["standing"]


def test_what_somebody_deployed_by_hand_is_shown_and_healed(lab) -> None:
    by_hand = lab.by_hand()

    shown = lab.view()
    lab.run(gitops_lab.EVERY_SECONDS)
    lab.until(Standing.SYNCED)

    assert (True, by_hand.value, "tester") == (shown["drift"], shown["running"]["release"], shown["running"]["by"])
    assert lab.release(GOOD) == lab.live()


@pytest.mark.parametrize("automatic", [True, False], ids=["taken back by its errors", "rolled back by hand"])
def test_what_was_taken_back_is_not_launched_again_in_a_thousand_syncs(lab, automatic) -> None:
    bad = lab.push(BAD if automatic else BETTER)
    if automatic:
        lab.until(Standing.PINNED)
    else:
        lab.run(gitops_lab.EVERY_SECONDS + 2.0)
        lab.until(Standing.SYNCED)
        lab.world.commands.rollback(service="demo", environment="production", to="previous", by="ann", reason="wrong")
        lab.until(Standing.PINNED)
    launched, asked = lab.world.store.load().rollout_id_last, lab.server.look_count

    for _ in range(1_000):
        lab.following.sync()
        lab.following.turn()  # asks
        lab.following.turn()  # settles
        lab.world.clock.advance(gitops_lab.EVERY_SECONDS)

    assert asked + 1_000 <= lab.server.look_count
    assert launched == lab.world.store.load().rollout_id_last
    assert [bad] == lab.shipped()[1:]
    assert lab.release(GOOD) == lab.live()


def test_a_merge_commit_with_the_same_content_does_not_bring_it_back(lab) -> None:
    bad = lab.push(BAD)
    lab.until(Standing.PINNED)

    merge = lab.push(BAD, also=(bad,))
    lab.run(gitops_lab.EVERY_SECONDS)
    found = lab.until(Standing.PINNED)

    assert merge == found["desired"]["commit"]
    assert [bad] == lab.shipped()[1:]


def test_other_files_that_make_the_same_release_do_not_bring_it_back(lab) -> None:
    bad = lab.push(BAD)
    lab.until(Standing.PINNED)
    launched = lab.world.store.load().rollout_id_last

    same = lab.push(BAD, files={"README.md": b"words"})
    lab.run(gitops_lab.EVERY_SECONDS)
    lab.until(Standing.PINNED)
    lab.run(300.0)

    assert [bad, same] == lab.shipped()[1:], "only a build tells that it is the same release"
    assert launched == lab.world.store.load().rollout_id_last


def test_the_commit_that_mends_it_is_launched(lab) -> None:
    lab.push(BAD)
    lab.until(Standing.PINNED)
    lab.push(BETTER)

    lab.run(gitops_lab.EVERY_SECONDS)
    lab.until(Standing.SYNCED)

    assert lab.release(BETTER) == lab.live()


def test_lifting_the_pin_lets_git_launch_it(lab) -> None:
    lab.push(BETTER)
    lab.run(gitops_lab.EVERY_SECONDS + 2.0)
    lab.until(Standing.SYNCED)
    lab.world.commands.rollback(service="demo", environment="production", to="previous", by="ann")
    lab.until(Standing.PINNED)
    lab.world.run(lambda: not lab.world.loop.ledger.rollouts)
    lab.world.commands.lift(
        service="demo",
        environment="production",
        release=lab.release(BETTER).value,
        by="ann",
        reason="it was the feed",
    )

    lab.run(gitops_lab.EVERY_SECONDS)
    lab.until(Standing.SYNCED)

    assert lab.release(BETTER) == lab.live()


@pytest.mark.parametrize("watched", [True, False], ids=["while it was watched", "on its way"])
def test_what_somebody_aborted_is_not_launched_again_before_the_next_commit(lab, watched) -> None:
    lab.push(BETTER)
    lab.run(gitops_lab.EVERY_SECONDS + 1.0)
    if watched:
        lab.until(Standing.SYNCED)
    lab.world.commands.abort(service="demo", environment="production", by="ann")

    lab.until(Standing.ROLLED_BACK)
    for _ in range(20):
        lab.following.sync()
        lab.run(5.0)

    assert (lab.release(GOOD), Standing.ROLLED_BACK) == (lab.live(), lab.view()["standing"])
    lab.push(b"best")
    lab.until(Standing.SYNCED)
    assert lab.release(b"best") == lab.live()


def test_going_back_from_what_was_deployed_by_hand_to_something_older_is_left_alone(lab) -> None:
    lab.push(BETTER)
    lab.until(Standing.SHIPPING)
    lab.until(Standing.SYNCED)
    lab.follow = dataclasses.replace(lab.follow, every_seconds=86_400.0)
    lab.begin()
    lab.run(30.0)
    lab.by_hand()
    lab.run(30.0)
    to = lab.release(GOOD).value
    lab.world.commands.rollback(service="demo", environment="production", to=to, by="ann", reason="the old one")
    lab.run(30.0)
    lab.following.sync()

    assert Standing.ROLLED_BACK == lab.until(Standing.ROLLED_BACK, Standing.SHIPPING)["standing"]
    assert lab.release(GOOD) == lab.live()


def test_a_rollback_writes_a_revert_that_is_what_runs(tmp_path) -> None:
    lab = _lab(tmp_path, on_rollback=gitops.OnRollback.REVERT)
    bad = lab.push(BAD)
    lab.until(Standing.PINNED)

    lab.run(2 * gitops_lab.EVERY_SECONDS)
    found = lab.until(Standing.SYNCED)

    tip = lab.server.tip("main")
    assert tip not in {bad, lab.shipped()[0]}
    assert GOOD == lab.server.files(tip)["model.py"]
    assert (tip, lab.release(GOOD).value) == (found["desired"]["commit"], found["running"]["release"])
    lab.run(100.0)
    assert tip == lab.server.tip("main"), "one revert"
    assert lab.release(GOOD) == lab.live()


def test_a_server_that_protects_the_branch_gets_the_revert_beside_it(tmp_path) -> None:
    lab = _lab(tmp_path, on_rollback=gitops.OnRollback.REVERT)
    bad = lab.push(BAD)
    lab.server.protected = frozenset({"main"})
    lab.until(Standing.PINNED)

    lab.run(3.0)
    found = lab.view()

    assert ("offered", f"softlaunch/revert-{bad[:12]}") == (found["revert"]["state"], found["revert"]["branch"])
    assert "refuses a push to main" in found["revert"]["text"]
    assert bad == lab.server.tip("main")
    lab.server.protected = frozenset()
    lab.server.point("main", lab.server.tip(found["revert"]["branch"]))
    lab.run(gitops_lab.EVERY_SECONDS)
    lab.until(Standing.SYNCED)
    assert lab.release(GOOD) == lab.live()


def test_a_merge_request_touches_no_branch_of_people(tmp_path) -> None:
    lab = _lab(tmp_path, on_rollback=gitops.OnRollback.MERGE_REQUEST)
    bad = lab.push(BAD)
    lab.until(Standing.PINNED)
    lab.run(3.0)

    assert bad == lab.server.tip("main")
    assert GOOD == lab.server.files(lab.server.tip(f"softlaunch/revert-{bad[:12]}"))["model.py"]


def test_with_the_server_down_a_rollback_works_and_the_revert_follows_later(tmp_path) -> None:
    lab = _lab(tmp_path, on_rollback=gitops.OnRollback.REVERT)
    lab.push(BETTER)
    lab.run(gitops_lab.EVERY_SECONDS + 2.0)
    lab.until(Standing.SYNCED)
    lab.server.reachable = False
    lab.run(gitops_lab.EVERY_SECONDS + 2.0)
    down_since = lab.whole()["unreachable_since"]
    assert down_since is not None

    lab.world.commands.rollback(service="demo", environment="production", to="previous", by="ann")
    lab.until(Standing.PINNED)
    lab.run(100.0)

    assert lab.release(GOOD) == lab.live()
    assert (down_since, "cannot be reached") == (lab.whole()["unreachable_since"], lab.whole()["trouble"][15:32])
    lab.server.reachable = True
    lab.run(2 * gitops_lab.EVERY_SECONDS)
    lab.until(Standing.SYNCED)
    assert lab.whole()["unreachable_since"] is None
    assert GOOD == lab.server.files(lab.server.tip("main"))["model.py"]


def test_drift_is_healed_with_the_server_down(lab) -> None:
    lab.server.reachable = False
    lab.by_hand()

    lab.run(gitops_lab.EVERY_SECONDS)
    lab.until(Standing.SYNCED)

    assert lab.release(GOOD) == lab.live()


def test_a_rewritten_branch_is_held_until_somebody_accepts_it(lab) -> None:
    other = lab.push(BETTER, new=False)

    held = lab.until(Standing.HELD)
    lab.run(100.0)

    assert "main was rewritten" in held["reason"]
    assert lab.release(GOOD) == lab.live()
    lab.following.sync("demo", accept=other[:10])
    lab.until(Standing.SYNCED)
    assert lab.release(BETTER) == lab.live()


def test_an_unsigned_commit_is_held_where_signatures_are_required(tmp_path) -> None:
    lab = _lab(tmp_path, require_signed=True)
    lab.push(BETTER)
    held = lab.until(Standing.HELD)

    assert "has no good signature" in held["reason"]
    lab.server.signed.add(lab.push(BETTER))
    lab.run(gitops_lab.EVERY_SECONDS)
    lab.until(Standing.SYNCED)
    assert lab.release(BETTER) == lab.live()


def test_the_revert_needs_no_signature_but_softlaunch_s_word(tmp_path) -> None:
    lab = _lab(tmp_path, require_signed=True, on_rollback=gitops.OnRollback.REVERT)
    lab.server.signed.add(lab.push(BAD))
    lab.until(Standing.PINNED)

    lab.run(2 * gitops_lab.EVERY_SECONDS)
    lab.until(Standing.SYNCED)

    assert GOOD == lab.server.files(lab.server.tip("main"))["model.py"]


def test_a_missing_branch_and_a_broken_file_are_said_and_change_nothing(lab) -> None:
    assert "no branch 'develop'" in lab.view("integration")["reason"]

    lab.server.commit({"softlaunch.yaml": b"service: [", "model.py": BETTER}, branch="main")
    lab.run(gitops_lab.EVERY_SECONDS + 2.0)

    assert "softlaunch.yaml" in lab.whole()["trouble"]
    assert lab.release(GOOD) == lab.live()


def test_an_environment_follows_a_branch_only_when_that_branch_says_so(lab) -> None:
    claims = gitops_lab.YAML.replace(b"branch: develop", b"branch: elsewhere")
    lab.push(GOOD, branch="develop", files={"softlaunch.yaml": claims})

    found = lab.until(Standing.HELD, environment="integration")

    lab.run(gitops_lab.EVERY_SECONDS + 2.0)
    found = lab.view("integration")
    assert "follows 'elsewhere'" in found["reason"]
    assert [] == lab.shipped("integration")


def test_a_commit_that_fails_waits_for_the_next_or_for_somebody(lab) -> None:
    lab.exit_code = 1
    lab.push(BETTER)
    lab.until(Standing.FAILED)
    lab.run(100.0)
    assert 2 == len(lab.shipped())

    lab.exit_code = None
    lab.following.sync("demo")
    lab.run(2.0)
    lab.until(Standing.SYNCED)

    assert lab.release(BETTER) == lab.live()


def test_a_new_control_plane_goes_on_where_the_old_one_was_killed(lab) -> None:
    bad = lab.push(BAD)
    lab.until(Standing.PINNED)
    lab.restart()
    lab.server.reachable = False
    lab.run(30.0)

    assert (Standing.PINNED, bad) == (lab.view()["standing"], lab.view()["desired"]["commit"])
    lab.server.reachable = True
    lab.push(BETTER, new=False)
    lab.run(gitops_lab.EVERY_SECONDS)
    assert Standing.HELD == lab.until(Standing.HELD)["standing"], "what was accepted stays accepted over a restart"


def test_a_pipeline_that_was_cut_off_is_started_again(lab) -> None:
    lab.push(BETTER)
    lab.until(Standing.SHIPPING)
    lab.restart()

    lab.until(Standing.SYNCED)

    assert lab.release(BETTER) == lab.live()


def test_who_follows_nothing_more_is_left_alone(lab) -> None:
    lab.following.remove("demo")
    lab.push(BETTER)
    lab.run(50.0)

    assert lab.release(GOOD) == lab.world.serving()
    with pytest.raises(errors.ConfigError, match="follows no repository"):
        lab.following.remove("demo")


def test_the_history_says_what_git_met(lab) -> None:
    lab.push(BAD)
    lab.until(Standing.PINNED)
    lab.run(2.0)

    texts = [event.text for event in lab.world.store.events(service="demo") if event.kind == "git"]

    assert any(text.startswith("Git, pinned: ") for text in texts), texts


# ------------------------------------------------------------------------------------------------ changed settings


def _yaml(level: str) -> dict[str, bytes]:
    return {
        "softlaunch.yaml": gitops_lab.YAML.replace(
            b"    branch: main", b"    branch: main\n    env: {LEVEL: %s}" % level.encode()
        )
    }


def _level(lab) -> str | None:
    return lab.world.loop.ledger.lives["demo", "production"].spec.env.get("LEVEL")


def test_a_merge_that_changes_only_settings_goes_live_by_itself(lab) -> None:
    changed = lab.push(GOOD, files=_yaml("debug"))
    lab.run(gitops_lab.EVERY_SECONDS)
    found = lab.until(Standing.SYNCED)

    assert (changed, lab.release(GOOD).value) == (found["running"]["commit"], found["running"]["release"])
    assert f"{lab.release(GOOD).short}_1" == found["running"]["arm"]
    lab.run(30.0)
    assert "debug" == _level(lab)
    assert [changed] == lab.shipped()[1:]


def test_settings_that_were_taken_back_are_not_brought_back_and_the_next_ones_are(lab) -> None:
    good = lab.release(GOOD)
    lab.world.behave(release.arm(good, 1), virtual_traffic.Behaviour(error_rate=0.5))
    bad = lab.push(GOOD, files=_yaml("broken"))
    lab.run(gitops_lab.EVERY_SECONDS)
    found = lab.until(Standing.PINNED)
    launched = lab.world.store.load().rollout_id_last

    for _ in range(20):
        lab.following.sync()
        lab.run(5.0)
    same = lab.push(GOOD, files={**_yaml("broken"), "README.md": b"words"})
    lab.run(gitops_lab.EVERY_SECONDS)
    lab.until(Standing.PINNED)
    lab.run(120.0)

    assert (True, good.short) == (found["drift"], found["running"]["arm"])
    assert [bad, same] == lab.shipped()[1:], "only a build tells that it is the same release"
    assert launched == lab.world.store.load().rollout_id_last
    lab.push(GOOD, files=_yaml("debug"))
    lab.run(gitops_lab.EVERY_SECONDS)
    lab.until(Standing.SYNCED)
    lab.run(30.0)
    assert "debug" == _level(lab)


def test_settings_that_were_taken_back_are_taken_out_of_the_branch(tmp_path) -> None:
    lab = _lab(tmp_path, on_rollback=gitops.OnRollback.REVERT)
    lab.world.behave(release.arm(lab.release(GOOD), 1), virtual_traffic.Behaviour(error_rate=0.5))
    lab.push(GOOD, files=_yaml("broken"))
    lab.run(gitops_lab.EVERY_SECONDS)
    lab.until(Standing.PINNED)

    lab.run(gitops_lab.EVERY_SECONDS)
    found = lab.until(Standing.SYNCED)

    tip = found["desired"]["commit"]
    assert gitops_lab.YAML == lab.server.read(tip, "softlaunch.yaml")
    assert (lab.release(GOOD), None) == (lab.live(), _level(lab))


def test_settings_somebody_went_back_from_come_again_when_their_pin_is_lifted(lab) -> None:
    changed = lab.push(GOOD, files=_yaml("debug"))
    lab.run(gitops_lab.EVERY_SECONDS)
    lab.until(Standing.SYNCED)
    place = {"service": "demo", "environment": "production", "by": "ann", "reason": "too chatty"}
    lab.world.commands.rollback(**place, to="previous")
    found = lab.until(Standing.PINNED)
    lab.run(120.0)
    gone_back = _level(lab)

    lab.world.commands.lift(**place, release=lab.release(GOOD).short)
    lab.following.sync()
    lab.until(Standing.SYNCED)
    lab.run(30.0)

    assert (changed, None) == (found["desired"]["commit"], gone_back)
    assert "debug" == _level(lab)


def test_settings_that_somebody_deployed_by_hand_are_shown_and_healed(lab) -> None:
    live = lab.world.loop.ledger.lives["demo", "production"].spec
    number = lab.world.deploy(lab.release(GOOD), dataclasses.replace(live, env={"LEVEL": "mine"})).rollout_id
    lab.world.rates = {("demo", "production"): gitops_lab.BUSY_RATE}
    lab.world.reach(number, "watching")

    shown = lab.view()
    lab.run(gitops_lab.EVERY_SECONDS)
    lab.until(Standing.SYNCED)
    lab.run(30.0)

    assert (True, "tester") == (shown["drift"], shown["running"]["by"])
    assert _level(lab) is None
