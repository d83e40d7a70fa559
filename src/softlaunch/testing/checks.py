"""Checks in memory; see ports.checks.Checks. It answers what it was told to, by the target with its names in it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from softlaunch.core import check_targets, spec
from softlaunch.ports import checks


class MemoryChecks:
    """See ports.checks.Checks."""

    def __init__(self) -> None:
        self.answers: dict[str, checks.Answer] = {}
        """By target; a target that is not here is unavailable."""
        self.asked: list[str] = []
        """Targets, in order."""

    def ask(self, check: spec.CheckSpec, names: Mapping[str, str]) -> checks.Answer:
        """See ports.checks.Checks.ask."""
        if check.kind is spec.CheckKind.EXPRESSION:
            return checks.Unavailable(reason="expressions are judged over attempts, nobody is asked")
        filled = check_targets.promql if check.kind is spec.CheckKind.PROMQL else check_targets.url
        try:
            target = filled(check.target, names)
        except KeyError as error:
            return checks.Unavailable(reason=f"{{{error.args[0]}}} is not known here")
        self.asked.append(target)
        answer = self.answers.get(target, checks.Unavailable(reason="no answer"))
        if isinstance(answer, checks.Value) and math.isnan(answer.value):
            return checks.Unavailable(reason="the value is NaN")
        return answer
