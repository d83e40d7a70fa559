"""
Virtual users: requests through the routes a gateway believes, answered as planned, logged as Envoy would.

The rules are those measured with Envoy: a share of the users, sticky and
salted per rollout, goes to the composite [candidate, stable]; there a bad answer of the candidate is asked again on
stable under the same request id, a try that takes too long is hedged on stable, and overload is neither. A line is
logged when its attempt ends, under the routing epoch its request began with.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import heapq
import itertools
import math
import pathlib
import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from softlaunch.core import attempts, spec
from softlaunch.core import release as release_values
from softlaunch.core.rollout import traffic

EMPLOYEE_EVERY = 20

Place = tuple[str, str]
"""(service, environment)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What a release does with requests. Rates are probabilities per attempt; the rest of the answers are good."""

    error_rate: float = 0.0
    """Answers 500."""
    reset_rate: float = 0.0
    """Ends the connection without an answer."""
    client_error_rate: float = 0.0
    """Answers 422."""
    invalid_rate: float = 0.0
    """Answers NaN: 500, marked invalid."""
    shed_rate: float = 0.0
    """Refuses for overload: 503, marked shed."""
    hang_rate: float = 0.0
    """Never answers."""
    latency_ms: float = 5.0
    """Median of a log-normal distribution."""
    latency_spread: float = 0.3
    """Its sigma; 0.3: the p99 is twice the median."""
    smoke_failure: str | None = None
    """What every smoke request is answered; None: they pass."""


@dataclasses.dataclass(kw_only=True)
class Truth:
    """What really happened, counted where it happened and not where it was read."""

    requests: int = 0
    failed_for_user: int = 0
    """Requests whose last answer was not 200."""
    candidate: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """First attempts under a composite, by release (first twelve digits) of its candidate."""
    candidate_bad: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Bad ones among them."""
    stable: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """First attempts of requests that were not routed to a composite, by release."""


class _Asked(NamedTuple):
    """A user's request."""

    name: str
    user: str
    at: float
    epoch: int
    """Of the population it was routed with."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Try:
    """One attempt as it went, before it is a line."""

    release: str
    socket: str
    status: int
    seconds: float
    """Until it was over."""
    flags: str = "-"
    invalid: bool = False
    shed: bool = False
    answered: bool = True

    @property
    def bad(self) -> bool:
        return self.status != 200 and not self.shed


class VirtualTraffic:
    """
    Open-loop traffic of sticky users.

    Args:
        seed: Of everything random here.
        user_count: How many users take turns, each as busy as the others.
        behaviours: What releases (or arms) do, by Digest.short; looked up at every attempt.
        alive: Whether the replica behind a socket answers.
        ejected: Sockets the gateway's fuse keeps out.
    """

    def __init__(
        self,
        *,
        seed: int,
        user_count: int,
        behaviours: Mapping[str, Behaviour],
        alive: Callable[[str], bool],
        ejected: Callable[[], frozenset[str]],
    ) -> None:
        self._chance = random.Random(seed)
        self._users = [f"user-{number}" for number in range(user_count)]
        self._behaviours = behaviours
        self._alive = alive
        self._ejected = ejected
        self._numbers = itertools.count(1)
        self._unended: list[tuple[float, int, attempts.Attempt]] = []
        self._lines = itertools.count()
        self._owed: collections.Counter[Place] = collections.Counter()
        self.truth: dict[Place, Truth] = collections.defaultdict(Truth)
        """By place."""

    def during(
        self, snapshot: traffic.RoutingSnapshot | None, rates: Mapping[Place, float], *, begin: float, end: float
    ) -> list[attempts.Attempt]:
        """
        Makes the requests of a stretch of time; returns every attempt that ended in it, in that order.

        Args:
            snapshot: What the gateway believes all the while; None: nothing listens.
            rates: Requests per second by place.
            begin: Unix seconds.
            end: Unix seconds.
        """
        for route in snapshot.routes if snapshot is not None else ():
            place = (route.service, route.environment)
            self._owed[place] += rates.get(place, 0.0) * (end - begin)  # type: ignore[assignment]
            count = int(self._owed[place])
            self._owed[place] -= count
            for index in range(count):
                self._request(route, begin + (end - begin) * index / count)
        return list(self._ended(end))

    def _ended(self, end: float) -> Iterator[attempts.Attempt]:
        while self._unended and self._unended[0][0] <= end:
            yield heapq.heappop(self._unended)[2]

    def _request(self, route: traffic.RouteSpec, at: float) -> None:
        truth = self.truth[route.service, route.environment]
        truth.requests += 1
        user = self._chance.choice(self._users)
        weight, epoch = _population(route, user)
        asked = _Asked(f"request-{next(self._numbers)}", user, at, epoch)
        if route.candidate is not None and _slot(route.salt, asked.user) < weight:
            ok = self._composite(route, route.candidate, asked, truth)
        else:
            ok = self._direct(route, asked, truth)
        truth.failed_for_user += not ok

    def _direct(self, route: traffic.RouteSpec, asked: _Asked, truth: Truth) -> bool:
        """A request to stable alone; a failure is asked again on another replica of it."""
        first = self._try(route.stable)
        truth.stable[first.release] += 1
        self._log(route, first, asked, number=1, composite=False)
        if not first.bad or first.status in range(400, 500):
            return not first.bad
        others = tuple(replica for replica in route.stable.replicas if replica.socket != first.socket)
        again = self._try(dataclasses.replace(route.stable, replicas=others or route.stable.replicas))
        self._log(route, again, asked, after=first.seconds, number=2, composite=False)
        return not again.bad

    def _composite(self, route: traffic.RouteSpec, candidate: traffic.ArmRoute, asked: _Asked, truth: Truth) -> bool:
        out = self._ejected()
        usable = tuple(replica for replica in candidate.replicas if replica.socket not in out)
        if not usable:
            only = self._try(route.stable)
            self._log(route, only, asked, number=1, composite=True)
            return not only.bad
        first = self._try(traffic.ArmRoute(release=candidate.release, replicas=usable))
        truth.candidate[first.release] += 1
        if first.seconds > route.try_timeout_seconds:
            return self._hedged(route, first, asked, truth)
        truth.candidate_bad[first.release] += first.bad
        self._log(route, first, asked, number=1, composite=True)
        if not first.bad:
            return True
        again = self._try(route.stable)
        self._log(route, again, asked, after=first.seconds, number=2, composite=True)
        return not again.bad

    def _hedged(self, route: traffic.RouteSpec, first: _Try, asked: _Asked, truth: Truth) -> bool:
        """The try timeout has passed: stable is asked as well, and whoever answers first has answered."""
        truth.candidate_bad[first.release] += 1
        wait = route.try_timeout_seconds
        other = self._try(route.stable)
        if first.seconds <= wait + other.seconds and not first.bad:
            won = dataclasses.replace(first, flags="UT")
            lost = dataclasses.replace(other, status=0, seconds=first.seconds - wait, answered=False)
            self._log(route, won, asked, number=2, composite=True)
            self._log(route, lost, asked, after=wait, number=2, composite=True)
            return True
        late = dataclasses.replace(first, status=0, flags="UT", seconds=wait + other.seconds, answered=False)
        self._log(route, late, asked, number=2, composite=True)
        self._log(route, other, asked, after=wait, number=2, composite=True)
        return not other.bad

    def _try(self, arm: traffic.ArmRoute) -> _Try:
        if not arm.replicas:
            return _Try(release="", socket="", status=503, flags="UH", seconds=0.0, answered=False)
        replica = self._chance.choice(arm.replicas)
        short = pathlib.PurePath(replica.socket).name.split(".", 1)[0]
        if not self._alive(replica.socket):
            return _Try(release=short, socket=replica.socket, status=503, flags="UF", seconds=0.0005, answered=False)
        release, _ = release_values.split_number(short)  # settings change nothing where nothing is said of them
        found = self._behaviours.get(short, self._behaviours.get(release, Behaviour()))
        seconds = found.latency_ms / 1000 * math.exp(self._chance.gauss(0.0, found.latency_spread))
        left = self._chance.random()
        for rate, outcome in (
            (found.error_rate, _Try(release=short, socket=replica.socket, status=500, seconds=seconds)),
            (
                found.reset_rate,
                _Try(release=short, socket=replica.socket, status=0, flags="UC", seconds=seconds, answered=False),
            ),
            (found.client_error_rate, _Try(release=short, socket=replica.socket, status=422, seconds=seconds)),
            (found.invalid_rate, _Try(release=short, socket=replica.socket, status=500, seconds=seconds, invalid=True)),
            (found.shed_rate, _Try(release=short, socket=replica.socket, status=503, seconds=seconds, shed=True)),
            (
                found.hang_rate,
                _Try(release=short, socket=replica.socket, status=0, flags="UT", seconds=math.inf, answered=False),
            ),
        ):
            left -= rate
            if left < 0:
                return outcome
        return _Try(release=short, socket=replica.socket, status=200, seconds=seconds)

    def _log(
        self, route: traffic.RouteSpec, found: _Try, asked: _Asked, *, number: int, composite: bool, after: float = 0.0
    ) -> None:
        seconds = min(found.seconds, route.request_timeout_seconds)
        line = attempts.Attempt(
            started_at=asked.at + after,
            request_id=asked.name,
            service=route.service,
            environment=route.environment,
            epoch=asked.epoch,
            release=found.release,
            composite=composite,
            number=number,
            status=found.status,
            flags=found.flags,
            latency_us=round(seconds * 1e6) if found.answered else None,
            key=asked.user,
            invalid=found.invalid,
            shed=found.shed,
        )
        heapq.heappush(self._unended, (asked.at + after + seconds, next(self._lines), line))


def headers(user: str) -> dict[str, str]:
    """What a virtual user's requests carry: a name, and for one in twenty the mark of an employee."""
    found = {"x-user-id": user}
    if int(user.rpartition("-")[2]) % EMPLOYEE_EVERY == 0:
        found["x-employee"] = "yes"
    return found


def _population(route: traffic.RouteSpec, user: str) -> tuple[int, int]:
    """(the candidate's share, the epoch) of the first cohort that matches, else of everybody."""
    known = headers(user)
    for found in route.cohorts:
        value = known.get(found.cohort.header)
        if value is not None and _matches(found.cohort, value):
            return found.weight, found.epoch
    return route.candidate_weight, route.epoch


def _matches(cohort: spec.CohortSpec, value: str) -> bool:
    if cohort.values:
        return value in cohort.values
    return not cohort.pattern or re.fullmatch(cohort.pattern, value) is not None


def _slot(salt: str, user: str) -> int:
    """Where a user stands between 0 and WEIGHT_FULL, the same for the whole rollout."""
    digest = hashlib.blake2b(f"{salt}/{user}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % spec.WEIGHT_FULL
