"""
Populations of a service: who is routed by which share, and how a user stays where it put them.

Cohorts come in their order, then everybody else. They all share one salt: a user's place between 0 and 9,999 is the
same in each, and as long as a cohort's share is at least everybody's, nobody who leaves it or joins it moves back.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from softlaunch.adapters.envoy import names
from softlaunch.core import spec
from softlaunch.core.rollout import traffic

VALUES_MAX = 2000
"""Values of a cohort in one expression: RE2 gives each 8 MiB, and longer lists become several routes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Population:
    """Requests that are routed by the same shares and compared with one another."""

    matches: list[dict[str, Any]]
    weight: int
    epoch: int


def of_route(route: traffic.RouteSpec) -> list[Population]:
    """Cohorts in order, then everybody else."""
    found = [
        Population(matches=[match], weight=cohort.weight, epoch=cohort.epoch)
        for cohort in route.cohorts
        for match in _members(cohort.cohort)
    ]
    found.append(Population(matches=[], weight=route.candidate_weight, epoch=route.epoch))
    if route.candidate is None:
        found = [dataclasses.replace(population, weight=0) for population in found]
    return found


def _members(cohort: spec.CohortSpec) -> list[dict[str, Any]]:
    """Header matches, one of which a request of the cohort passes."""
    if not cohort.values:
        if not cohort.pattern:
            return [{"name": cohort.header, "present_match": True}]
        return [{"name": cohort.header, "string_match": {"safe_regex": {"regex": cohort.pattern}}}]
    # Escaped by RE2's rule: a backslash before whatever is no letter, digit or underscore stands for itself.
    values = [re.sub(r"([^A-Za-z0-9_\x80-\U0010ffff])", r"\\\1", value.strip(" \t")) for value in cohort.values]
    parts = [values[start : start + VALUES_MAX] for start in range(0, len(values), VALUES_MAX)]
    return [{"name": cohort.header, "string_match": {"safe_regex": {"regex": "|".join(part)}}} for part in parts]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stickiness:
    """One way to stay on an arm: which requests it is for, what is hashed, what is added to the route."""

    matches: list[dict[str, Any]]
    hash_policy: list[dict[str, Any]]
    entry: dict[str, Any]


def stickiness(route: traffic.RouteSpec, population: Population) -> list[Stickiness]:
    """
    By the key header, else by a cookie; the first request without either is given the cookie.

    Envoy's own cookie generation does not run for the choice among weighted clusters (seen with 1.40: no Set-Cookie and
    every request random). The new cookie's value is the request's id, so that this request is already on the arm on
    which the cookie will keep the client.
    """
    if population.weight == 0:
        return [Stickiness(matches=[], hash_policy=[], entry={})]
    salt = names.salt(route)
    cookie = f"softlaunch-{salt}"
    newcomer: list[dict[str, Any]] = [
        {
            "name": "cookie",
            "string_match": {"contains": f"{cookie}="},
            "treat_missing_header_as_empty": True,
            "invert_match": True,
        }
    ]
    known: list[dict[str, Any]] = [{"cookie": {"name": cookie}}]
    if route.key_header is not None:
        newcomer.append({"name": route.key_header, "present_match": True, "invert_match": True})
        # Salted, or the same users would meet every new release; terminal, or the cookie would be mixed in.
        salted = {"pattern": {"regex": "^(.*)$"}, "substitution": rf"\1:{salt}"}
        known.insert(0, {"header": {"header_name": route.key_header, "regex_rewrite": salted}, "terminal": True})
    value = f"{cookie}=%REQ(X-REQUEST-ID)%; Max-Age=86400; Path=/; HttpOnly; SameSite=Lax"
    return [
        Stickiness(
            matches=newcomer,
            hash_policy=[{"header": {"header_name": "x-request-id"}, "terminal": True}],
            entry={"response_headers_to_add": [{"header": {"key": "set-cookie", "value": value}}]},
        ),
        Stickiness(matches=[], hash_policy=known, entry={}),
    ]
