"""The key `environments:` of softlaunch.yaml."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from softlaunch.config import (
    attach_section,
    cohorts_section,
    evidence_section,
    fallback_section,
    fields,
    keys,
    notify_section,
    problems,
    recording_section,
    secrets_section,
    strategy_section,
    verify_section,
    yaml_tree,
)
from softlaunch.core import evidence_policy, spec
from softlaunch.core.rollout import plan

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_BRANCH = re.compile(r"(?![-/])(?!.*(?:\.\.|//|@\{|\.lock$|[/.]$))[^\x00-\x20\x7f~^:?*\[\\]{1,244}")
"""What git check-ref-format accepts, and nothing that looks like an option."""
_REPLICAS_MAX = 64
"""One machine; a guess."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Common:
    """What the file says once for all of its environments."""

    cohorts: tuple[spec.CohortSpec, ...] = ()
    notify: Mapping[str, str] = dataclasses.field(default_factory=dict)
    app: spec.ModelSpec | None = None
    """Somebody's own HTTP code: softlaunch knows none of its paths."""
    predict_paths: tuple[str, ...] = ()

    @property
    def compared_paths(self) -> tuple[str, ...]:
        """Where the answers of an app are checked, they are compared: times and ids beside may differ."""
        return tuple(found.path for found in self.app.answers) if self.app is not None else ()


def read(field: fields.Field, common: Common) -> tuple[spec.EnvironmentSpec, ...]:
    """The environments, in the order of the file: a mapping, or a list of names that take every default."""
    found: list[tuple[fields.Field, spec.EnvironmentSpec]] = []
    if isinstance(field.node, yaml_tree.Sequence):
        for item in field.items("a mapping or a list of names", example="[production]"):
            name = _name(item)
            if any(name == other.name for _, other in found):
                item.wrong(f"'{problems.show(name)}' stands here twice.", "Keep one of them.")
            found.append((item, _bare(name, common)))
    else:
        for key, value in field.entries("a mapping or a list of names", example="[production]"):
            name = _name(key)
            found.append((key, _bare(name, common) if value.is_null else _environment(name, value, common)))
        if isinstance(field.node, yaml_tree.Mapping) and not found:
            field.wrong("There is no environment.", "For example: [production]")
    _check_order(field, found)
    verify_section.check_sources(found)
    return tuple(environment for _, environment in found)


def _name(field: fields.Field) -> str:
    text = field.text("the name of an environment", example="production")
    if text and not _NAME.fullmatch(text):
        field.wrong(
            f"'{problems.show(text)}' cannot name an environment.", "Use lower-case letters, digits and hyphens."
        )
    return text


def _bare(name: str, common: Common) -> spec.EnvironmentSpec:
    strategy = plan.strategy(spec.StrategyKind.CANARY)
    return spec.EnvironmentSpec(
        name=name,
        strategy=strategy,
        cohorts=common.cohorts,
        notify=common.notify,
        predict_paths=common.predict_paths,
        standard_paths=common.app is None,
        compared_paths=common.compared_paths,
    )


def _environment(name: str, field: fields.Field, common: Common) -> spec.EnvironmentSpec:
    section = fields.Section(field, keys.ENVIRONMENT)
    branch, after, strategy = section.get("branch"), section.get("after"), section.get("strategy")
    replicas, verify, fallback = section.get("replicas"), section.get("verify"), section.get("fallback")
    env, timeout, own = section.get("env"), section.get("request_timeout"), section.get("cohorts")
    capture, replay, notify = section.get("capture"), section.get("replay"), section.get("notify")
    paths, secrets, evidence = section.get("predict_paths"), section.get("secrets"), section.get("evidence")
    cohorts = cohorts_section.merged(cohorts_section.read(own) if own is not None else (), common.cohorts)
    found_strategy = (
        strategy_section.read(strategy, tuple(cohort.name for cohort in cohorts)) if strategy is not None else None
    )
    if verify is not None and found_strategy is not None:
        assert strategy is not None
        _check_traffic(strategy, found_strategy)
    if found_strategy is None:
        found_strategy = plan.without_traffic() if verify is not None else plan.strategy(spec.StrategyKind.CANARY)
    found_capture = recording_section.capture(capture) if capture is not None else spec.CaptureSpec()
    if found_capture is None:
        _check_recorded(strategy, found_strategy, replay)
    found_paths = recording_section.predict_paths(paths) if paths is not None else common.predict_paths
    if common.app is not None:
        _check_app(common.app, verify, strategy, found_strategy, found_paths)
    found_env, found_secrets = secrets_section.read(env, secrets)
    attach = section.get("attach")
    if attach is not None:
        attach_section.check(
            attach,
            found_strategy,
            (
                ("replicas", replicas),
                ("verify", verify),
                ("capture", capture),
                ("replay", replay),
                ("env", env),
                ("secrets", secrets),
                ("evidence", evidence),
            ),
        )
        found_capture = None
    fallbacks, body = fallback_section.read(fallback) if fallback is not None else ((), None)
    minimum = 1 if verify is not None else 2
    return spec.EnvironmentSpec(
        name=name,
        branch=_branch(branch) if branch is not None else None,
        after=after.text("the name of an environment", example="integration") if after is not None else None,
        strategy=found_strategy,
        replica_count=(
            replicas.integer(minimum=minimum, maximum=_REPLICAS_MAX, stand_in=2)
            if replicas is not None
            else 2
            if attach is None
            else 1
        ),
        attach=attach_section.read(attach) if attach is not None else None,
        verify=verify_section.read(verify) if verify is not None else None,
        fallback_body=body,
        fallbacks=fallbacks,
        cohorts=cohorts,
        predict_paths=found_paths,
        standard_paths=common.app is None,
        compared_paths=common.compared_paths,
        capture=found_capture,
        replay=recording_section.replay(replay) if replay is not None else None,
        notify={**common.notify, **(notify_section.read(notify) if notify is not None else {})},
        env=found_env,
        secrets=found_secrets,
        evidence=evidence_section.read(evidence) if evidence is not None else evidence_policy.EvidenceSpec(),
        request_timeout_seconds=(
            timeout.duration_seconds(minimum=0.05, maximum=600, stand_in=5) if timeout is not None else 5.0
        ),
    )


def _check_traffic(field: fields.Field, found: spec.StrategySpec) -> None:
    judged = found.kind in {spec.StrategyKind.CANARY, spec.StrategyKind.SHADOW}
    if judged or any(step.kind in {spec.StepKind.COHORT, spec.StepKind.SHADOW} for step in found.steps):
        kind = found.kind.value if judged else "step for a cohort or a shadow"
        field.wrong(f"A {kind} is judged by traffic, and `verify` says that there is none.", "Remove one of the two.")


def _check_app(
    app: spec.ModelSpec,
    verify: fields.Field | None,
    strategy: fields.Field | None,
    found: spec.StrategySpec,
    predict_paths: tuple[str, ...],
) -> None:
    if verify is not None:
        verify_section.check_app(app, verify)
    if strategy is not None and not predict_paths and any(step.kind is spec.StepKind.SHADOW for step in found.steps):
        strategy.wrong(
            "A shadow gets copies of predictions, and nothing says which requests are any.",
            "Add predict_paths: [/score] here or under `model`.",
        )


def _check_recorded(strategy: fields.Field | None, found: spec.StrategySpec, replay: fields.Field | None) -> None:
    if strategy is not None and any(step.kind is spec.StepKind.SHADOW for step in found.steps):
        strategy.wrong("A shadow is compared by recorded answers, and `capture` is off.", "Remove `capture: off`.")
    if replay is not None:
        replay.wrong("There is nothing to replay: `capture` is off.", "Remove one of the two.")


def _branch(field: fields.Field) -> str:
    text = field.text("a branch name", example="main")
    if text and not _BRANCH.fullmatch(text):
        field.wrong(f"'{problems.show(text)}' cannot be a branch.", "For example: main")
    return text


def _check_order(field: fields.Field, found: list[tuple[fields.Field, spec.EnvironmentSpec]]) -> None:
    after = {environment.name: environment.after for _, environment in found}
    others = tuple(after)
    for key, environment in found:
        previous = environment.after
        if not previous:
            continue
        place = _after_field(field, environment.name) or key
        if previous not in after:
            allowed = tuple(name for name in others if name != environment.name)
            remedy = problems.choose(previous, allowed) if allowed else "Add it above."
            place.wrong(f"There is no environment '{problems.show(previous)}'.", remedy)
            continue
        chain = [environment.name]
        while previous and previous not in chain:
            chain.append(previous)
            previous = after.get(previous)
        if previous == environment.name:
            place.wrong(
                f"The environments wait for one another: {' after '.join([*chain, previous])}.", "Remove one `after`."
            )


def _after_field(field: fields.Field, name: str) -> fields.Field | None:
    environments = field.node.entries if isinstance(field.node, yaml_tree.Mapping) else ()
    for key, value in environments:
        if key.text == name and isinstance(value, yaml_tree.Mapping):
            for inner, after in value.entries:
                if inner.text == "after":
                    return field.below(name, value).below("after", after)
    return None
