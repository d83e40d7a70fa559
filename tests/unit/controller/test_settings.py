"""Changed settings of an environment are launched, judged and taken back as a changed model is."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import pytest

from softlaunch import errors
from softlaunch.controller import commands, explain, history, views
from softlaunch.core import release, secret_references, spec
from softlaunch.ports import store
from softlaunch.testing import simulator, virtual_traffic

BAD = virtual_traffic.Behaviour(error_rate=0.3)
PLACE = {"service": simulator.SERVICE, "environment": "production"}


def with_env(environment: spec.EnvironmentSpec, **env: str) -> spec.EnvironmentSpec:
    return dataclasses.replace(environment, env=env)


def settings_of(world: simulator.Simulator) -> dict[str, dict[str, str]]:
    """What runs with which settings, by arm."""
    return {found.name.split("/")[2]: dict(found.env) for found in world.fleet.specs()}


def texts(world: simulator.Simulator) -> str:
    """All that anybody is told."""
    events = views.events(list(world.store.events()))
    rollouts = [views.rollout(world.loop, each) for each in world.store.rollouts()]
    explained = [explain.lines(each) for each in rollouts]
    return json.dumps([events, rollouts, explained, views.status(world.loop)])


def built(world: simulator.Simulator, digest: release.Digest, commit: str) -> None:
    """The release is what another commit is built to as well."""
    lineage = release.Lineage(
        commit=commit, branch=None, tags=(), author="ann", committed_at="", built_at="", tests="none"
    )
    world.registry.attach(digest, lineage)


@pytest.fixture
def world(tmp_path: pathlib.Path) -> simulator.Simulator:
    """Little traffic: what is judged here is who runs with what."""
    return simulator.Simulator(tmp_path, request_rate=100.0, tick_seconds=0.25)


@pytest.fixture
def production(production: spec.EnvironmentSpec) -> spec.EnvironmentSpec:
    strategy = dataclasses.replace(production.strategy, steps=spec.shares(5_000, 10_000), watch_seconds=1.0)
    return dataclasses.replace(production, strategy=strategy)


@pytest.fixture
def old(production: spec.EnvironmentSpec) -> spec.EnvironmentSpec:
    return with_env(production, LEVEL="value-info", GONE="value-1")


@pytest.fixture
def new(production: spec.EnvironmentSpec) -> spec.EnvironmentSpec:
    return with_env(production, LEVEL="value-debug", MORE="value-2")


@pytest.fixture
def live(world: simulator.Simulator, old: spec.EnvironmentSpec) -> release.Digest:
    digest = world.release("model", commit="a" * 40)
    assert world.launch(digest, old)["outcome"] == "promoted"
    world.step(10)
    return digest


@pytest.fixture
def arm(live: release.Digest) -> release.Digest:
    """The live release with the next settings it never had."""
    return release.arm(live, 1)


def test_new_settings_run_beside_the_old_ones_until_they_are_promoted(world, live, arm, old, new) -> None:
    number = world.deploy(live, new).rollout_id
    assert number is not None
    world.reach(number, "stepping")

    assert {live.short: old.env, arm.short: new.env} == settings_of(world)
    assert "promoted" == world.end(number)["outcome"]
    assert (arm, live) == (world.serving(), arm.release)
    assert {arm.short: new.env} == settings_of(world)


def test_settings_that_break_the_release_are_taken_back_and_the_release_stays(world, live, arm, old, new) -> None:
    world.behave(arm, BAD)

    view = world.launch(live, new)

    assert "rolled_back" == view["outcome"]
    assert live == world.serving()
    assert {live.short: old.env} == settings_of(world)
    (pin,) = world.store.pins()
    assert (arm, live) == (pin.release, pin.release.release)
    with pytest.raises(errors.ConfigError, match="with these settings is pinned") as refused:
        world.deploy(live, new)
    assert f"unpin {arm.short} " in refused.value.remedy
    assert world.deploy(live, old).rollout_id is None, "it is live, and was not to blame"
    assert "promoted" == world.launch(live, with_env(new, LEVEL="another"))["outcome"]


def test_a_pin_of_settings_is_lifted_by_its_name_or_by_the_release_s(world, live, arm, new) -> None:
    world.behave(arm, BAD)
    for name in (arm.short, live.short):
        assert "rolled_back" == world.launch(live, new)["outcome"]
        world.commands.lift(**PLACE, release=name, by="ann", reason="the database is back")
    world.behave(arm, virtual_traffic.Behaviour())

    assert "promoted" == world.launch(live, new)["outcome"]


def test_settings_that_began_with_the_release_are_pinned_alone_as_well(world, live, arm, old, new) -> None:
    world.launch(live, new)
    world.behave(live, BAD)
    world.behave(arm, virtual_traffic.Behaviour())

    assert "rolled_back" == world.launch(live, old)["outcome"]
    (pin,) = world.store.pins()
    assert release.exactly(live) == pin.release
    with pytest.raises(errors.ConfigError, match="with these settings"):
        world.deploy(live, old)
    assert world.deploy(live, new).rollout_id is None


def test_what_fails_with_new_code_and_new_settings_is_pinned_whatever_its_settings(world, live, old, new) -> None:
    bad = world.release("bad", BAD)

    assert "rolled_back" == world.launch(bad, new)["outcome"]

    (pin,) = world.store.pins()
    assert bad == pin.release
    with pytest.raises(errors.ConfigError, match="is pinned"):
        world.deploy(bad, old)


def test_the_same_settings_are_the_same_arm_however_often_they_come_back(world, live, arm, old, new) -> None:
    for environment, expected in ((new, arm), (old, live), (new, arm)):
        assert "promoted" == world.launch(live, environment)["outcome"]
        assert expected == world.serving()
    assert "already live" in world.deploy(live, new).text


def test_going_back_by_hand_goes_back_to_the_old_settings_at_once(world, live, arm, old, new) -> None:
    warm = dataclasses.replace(new, strategy=dataclasses.replace(new.strategy, warm_seconds=600.0))
    world.launch(live, warm)
    began = len(world.fleet.started)

    done = world.commands.rollback(**PLACE, to="previous", by="ann", reason="too chatty")
    at = world.clock.now()
    world.run(lambda: world.serving() == live)

    assert world.clock.now() - at < 1.0
    assert began == len(world.fleet.started), "it was kept warm"
    assert done.rollout_id is not None
    world.end(done.rollout_id)
    assert old.env == world.loop.ledger.lives["demo", "production"].spec.env
    (pin,) = world.store.pins()
    assert arm == pin.release
    assert world.deploy(live, old).rollout_id is None


@pytest.mark.parametrize("change_code", [True, False])
def test_what_is_gone_back_to_starts_again_with_the_settings_it_had(world, live, old, new, change_code) -> None:
    world.launch(world.release("other") if change_code else live, new)

    done = world.commands.rollback(**PLACE, to="previous", by="ann")
    world.end(done.rollout_id)

    assert {live.short: old.env} == settings_of(world)


@pytest.mark.parametrize("by_commit", [True, False])
def test_an_arm_that_was_live_is_gone_back_to_by_its_name_or_its_commit(world, live, new, by_commit) -> None:
    arm = release.arm(live, 1)
    for commit, environment in (("b" * 40, new), ("c" * 40, with_env(new, LEVEL="third"))):
        built(world, live, commit)
        asked = commands.DeployRequest(
            service="demo", environment=environment, release=live, ref="main", commit=commit, by="ann"
        )
        world.end(world.commands.deploy(asked).rollout_id)

    done = world.commands.rollback(**PLACE, to="b" * 12 if by_commit else arm.short, by="ann")

    world.end(done.rollout_id)
    assert ["c" * 40] == [pin.commit for pin in world.store.pins()]
    assert (arm, new.env) == (world.serving(), world.loop.ledger.lives["demo", "production"].spec.env)
    with pytest.raises(errors.ConfigError, match="never live"):
        world.commands.rollback(**PLACE, to=f"{live.short}_7", by="ann")
    assert world.commands.rollback(**PLACE, to=live.short, by="ann").rollout_id is None, "it is live"


def test_a_secret_kept_elsewhere_is_a_changed_setting_and_one_written_otherwise_is_none(world, live, old) -> None:
    secret = {"LEVEL": secret_references.SecretReference(kind=secret_references.SecretKind.FILE, target="/run/level")}
    moved = dataclasses.replace(old, env={"GONE": old.env["GONE"]}, secrets=secret)

    view = world.launch(live, moved)

    assert {"changed": ["LEVEL"]} == view["settings_changed"]
    shadowed = dataclasses.replace(moved, env=old.env)
    assert world.deploy(live, shadowed).rollout_id is None, "a secret wins over the text of that name"


def test_what_reaches_no_replica_s_environment_is_no_launch(world, live, old) -> None:
    wider = dataclasses.replace(old, fallback_body=b"{}", request_timeout_seconds=3.0)

    assert world.deploy(live, wider).rollout_id is None
    assert wider == world.loop.ledger.lives["demo", "production"].spec


def test_names_of_variables_are_told_and_values_never(world, live, arm, old, new) -> None:
    view = world.launch(live, new)

    assert {"added": ["MORE"], "changed": ["LEVEL"], "removed": ["GONE"]} == view["settings_changed"]
    assert (live.value, live.value) == (view["candidate"], view["stable"])
    assert (arm.short, live.short) == (view["candidate_arm"], view["stable_arm"])
    told = "MORE added; LEVEL changed; GONE removed"
    assert f"The same release with other settings: {told}." in explain.lines(view)
    assert any(f"Settings: {told}." in each.text for each in world.store.events(rollout_id=view["id"]))
    assert "value-" not in texts(world)


def test_the_history_knows_which_settings_were_live_when(world, live, arm, new) -> None:
    before = world.clock.now()
    world.launch(live, new)

    def at(moment: float) -> dict:
        (place,) = history.at(world.store, moment, now=world.clock.now())
        return place.document()

    then, now = at(before), at(world.clock.now())
    assert (live.value, live.short, arm.short) == (
        then["live"]["release"],
        then["live"]["arm"],
        then["live"]["left_for_arm"],
    )
    assert (live.value, arm.short, ["LEVEL"]) == (
        now["live"]["release"],
        now["live"]["arm"],
        now["live"]["launch"]["settings_changed"]["changed"],
    )
    assert {arm.text: 100.0} == now["serves"]


def test_other_settings_take_the_place_of_a_launch_that_runs(world, live, arm, new) -> None:
    first = world.deploy(live, new).rollout_id
    assert first is not None
    assert first == world.deploy(live, new).rollout_id
    third = with_env(new, LEVEL="third")

    asked = world.deploy(live, third)

    assert first == asked.after
    assert "promoted" == world.end(asked.rollout_id)["outcome"]
    assert release.arm(live, 2) == world.serving()


def test_a_launch_of_settings_that_cannot_be_written_down_leaves_nothing(world, live, arm, new) -> None:
    world.store.fail()
    with pytest.raises(errors.UnavailableError):
        world.deploy(live, new)
    world.store.fail(None)
    world.step(20)

    assert live == world.serving()
    assert "promoted" == world.launch(live, new)["outcome"]
    assert arm == world.serving()


@pytest.mark.parametrize("outcome", ["promoted", "rolled_back"])
def test_a_restart_at_every_tick_leaves_every_arm_its_settings(world, live, old, new, outcome) -> None:
    arm = release.arm(live, 1)
    world.behave(arm, BAD if outcome == "rolled_back" else virtual_traffic.Behaviour())
    number = world.deploy(live, new).rollout_id
    allowed = {live.short: old.env, arm.short: new.env}
    while world.store.rollout(number).finished_at is None:
        world.step()
        world.restart()
        assert settings_of(world).items() <= allowed.items()

    assert outcome == world.view(number)["outcome"]


def test_a_replica_that_dies_comes_back_with_the_settings_of_its_arm(world, live, arm, old, new) -> None:
    number = world.deploy(live, new).rollout_id
    world.reach(number, "watching")
    world.fleet.crash(f"demo/production/{live.short}/0", "it fell over")
    world.fleet.crash(f"demo/production/{arm.short}/0", "it fell over")
    world.step(20)

    assert {live.short: old.env, arm.short: new.env} == settings_of(world)
    assert 4 == sum(each.phase == "ready" for each in world.loop.statuses.values())


@pytest.mark.parametrize("kind", [spec.StrategyKind.BLUE_GREEN, spec.StrategyKind.RECREATE])
def test_every_strategy_launches_settings(world, live, arm, new, kind) -> None:
    steps = spec.shares(10_000)
    changed = dataclasses.replace(new, strategy=dataclasses.replace(new.strategy, kind=kind, steps=steps))

    assert "promoted" == world.launch(live, changed)["outcome"]
    assert {arm.short: new.env} == settings_of(world)


def test_settings_of_what_somebody_else_runs_are_none_of_ours(world, production) -> None:
    attached = dataclasses.replace(production, attach=spec.AttachSpec(stable="http://127.0.0.1:9000"))
    digest = world.release("attached")
    world.launch(digest, attached)

    assert world.deploy(digest, with_env(attached, LEVEL="debug")).rollout_id is None


def test_a_release_passed_with_whatever_settings(world, live, new, production) -> None:
    after = dataclasses.replace(production, name="next", after="production")
    world.launch(live, new)

    assert "promoted" == world.launch(live, after)["outcome"]


def test_who_tries_again_tries_the_same_settings(world, live, arm, new) -> None:
    world.behave(arm, BAD)
    world.launch(live, new)
    world.behave(arm, virtual_traffic.Behaviour())

    done = world.commands.retry(**PLACE, by="ann", lift_reason="the database is back")

    assert "promoted" == world.end(done.rollout_id)["outcome"]
    assert {arm.short: new.env} == settings_of(world)


def test_a_home_of_before_keeps_its_names(world, live, arm, old, new) -> None:
    """Rollouts of one plain digest with two settings, as older versions wrote them; the later ones are what it has."""
    world.launch(world.release("other"), old)
    before = dataclasses.replace(world.loop.ledger.lives["demo", "production"], previous_spec=None)
    again = dataclasses.replace(world.store.rollout(1), id=100, spec=new)
    world.store.commit(store.Change(lives=[before], rollouts=[again]))
    world.restart()
    started = list(world.fleet.started)
    world.step(20)

    assert started == world.fleet.started, "nothing restarts"
    assert "promoted" == world.launch(live, new)["outcome"]
    assert live == world.serving()
    assert "promoted" == world.launch(live, old)["outcome"]
    assert arm == world.serving()
