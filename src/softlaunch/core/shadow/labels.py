"""
Which of the two was right, once the truth is known: paired tests over the same rows.

Classes: McNemar's exact test over the rows on which exactly one was right. Numbers: the sign test over the rows on
which one was closer, and Wilcoxon's signed-rank test over how much closer. All are two-sided: they ask whether the
releases differ; the counts say in whose favour.

Source:
    McNemar (1947), Psychometrika 12; the exact form is the binomial test of the discordant pairs.
    Wilcoxon (1945), Biometrics Bulletin 1; ties share ranks, zeros are left out, variance corrected for ties.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scipy import special

from softlaunch.core import predictions
from softlaunch.core.shadow import agreement, answer_rows

_EXACT_COUNT_MAX = 50
"""So many differences are counted out exactly, when none are tied; above, the normal law is good to three digits."""


class LabelKind(enum.StrEnum):
    CLASSES = "classes"
    NUMBERS = "numbers"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelReport:
    """Who was right. Probabilities are two-sided; None: nothing tells the two apart, and `reason` says why."""

    kind: LabelKind
    row_count: int
    """Rows with a label and an answer of both."""
    stable_count: int
    """Rows on which only stable was right, or on which it was closer."""
    candidate_count: int
    tied_count: int
    stable_score: float | None
    """Classes: share of right answers. Numbers: mean absolute error."""
    candidate_score: float | None
    counts_p: float | None
    """McNemar's exact test, or the sign test."""
    sizes_p: float | None
    """Numbers: Wilcoxon's test of how much closer; None for classes."""
    reason: str


def judge(labels: Mapping[str, Any], answers: Iterable[tuple[str, bytes, bytes]]) -> LabelReport:
    """
    Compares both sides' answers with the truth.

    Args:
        labels: The truth by `REQUEST_ID:ROW`, rows counted from 0; a text or bool is a class, as is a whole number
            where the answers have a label; any other number is a target.
        answers: (request id, stable's body, the candidate's body), both successful; rows without a label are left out.
    """
    hits: list[tuple[bool, bool]] = []
    misses: list[tuple[float, float]] = []
    for request_id, stable, candidate in answers:
        rows_stable, rows_candidate = answer_rows.rows(stable), answer_rows.rows(candidate)
        for number, (left, right) in enumerate(zip(rows_stable or (), rows_candidate or (), strict=False)):
            label = labels.get(f"{request_id}:{number}")
            if label is None:
                continue
            if isinstance(label, str | bool) or predictions.LABEL in left:
                hits.append((_is(label, left), _is(label, right)))
            else:
                one, other = _number(left), _number(right)
                if one is not None and other is not None:
                    misses.append((abs(one - float(label)), abs(other - float(label))))
    return _classes(hits) if hits or not misses else _numbers(misses)


def binomial_p(successes: int, trials: int) -> float:
    """Probability, under a fair coin, of a split at least as uneven as this one, on either side."""
    fewer = min(successes, trials - successes)
    return 1.0 if 2 * fewer >= trials else min(1.0, 2.0 * float(special.bdtr(fewer, trials, 0.5)))


def wilcoxon_p(differences: Sequence[float]) -> float | None:
    """
    Probability, when differences are symmetric around zero, of a rank sum at least as uneven; None when all are zero.
    """
    found = [each for each in differences if each != 0.0]
    count = len(found)
    if not count:
        return None
    sizes = collections.Counter(abs(each) for each in found)
    ranks: dict[float, float] = {}
    below = 0
    for size in sorted(sizes):
        ranks[size] = below + (sizes[size] + 1) / 2.0
        below += sizes[size]
    positive = sum(ranks[abs(each)] for each in found if each > 0.0)
    if count <= _EXACT_COUNT_MAX and len(sizes) == count:
        return _exact_rank_p(int(positive), count)
    mean = count * (count + 1) / 4.0
    ties = sum(size**3 - size for size in sizes.values())
    variance = count * (count + 1) * (2 * count + 1) / 24.0 - ties / 48.0
    return 2.0 * float(special.ndtr(-abs(positive - mean) / math.sqrt(variance)))


def _exact_rank_p(positive: int, count: int) -> float:
    # ways[s]: in how many of the 2^count assignments of signs the positive ranks sum to s.
    total = count * (count + 1) // 2
    ways = [1] + [0] * total
    for rank in range(1, count + 1):
        for place in range(total, rank - 1, -1):
            ways[place] += ways[place - rank]
    fewer = min(positive, total - positive)
    return min(1.0, float(2 * sum(ways[: fewer + 1]) / 2**count))


def _classes(hits: Sequence[tuple[bool, bool]]) -> LabelReport:
    only_stable = sum(left and not right for left, right in hits)
    only_candidate = sum(right and not left for left, right in hits)
    discordant = only_stable + only_candidate
    if not hits:
        reason = "No row has both a label and two answers."
    elif not discordant:
        reason = f"Both were right, or both wrong, on each of {len(hits)} rows."
    else:
        reason = f"Of {len(hits)} rows only stable was right on {only_stable}, only the candidate on {only_candidate}."
    return LabelReport(
        kind=LabelKind.CLASSES,
        row_count=len(hits),
        stable_count=only_stable,
        candidate_count=only_candidate,
        tied_count=len(hits) - discordant,
        stable_score=sum(left for left, _ in hits) / len(hits) if hits else None,
        candidate_score=sum(right for _, right in hits) / len(hits) if hits else None,
        counts_p=binomial_p(only_stable, discordant) if discordant else None,
        sizes_p=None,
        reason=reason,
    )


def _numbers(misses: Sequence[tuple[float, float]]) -> LabelReport:
    closer_stable = sum(left < right for left, right in misses)
    closer_candidate = sum(right < left for left, right in misses)
    uneven = closer_stable + closer_candidate
    reason = f"Of {len(misses)} rows stable was closer on {closer_stable}, the candidate on {closer_candidate}."
    return LabelReport(
        kind=LabelKind.NUMBERS,
        row_count=len(misses),
        stable_count=closer_stable,
        candidate_count=closer_candidate,
        tied_count=len(misses) - uneven,
        stable_score=math.fsum(left for left, _ in misses) / len(misses),
        candidate_score=math.fsum(right for _, right in misses) / len(misses),
        counts_p=binomial_p(closer_stable, uneven) if uneven else None,
        sizes_p=wilcoxon_p([left - right for left, right in misses]),
        reason=reason if uneven else f"Both were equally close on each of {len(misses)} rows.",
    )


def _is(label: Any, row: answer_rows.AnswerRow) -> bool:
    said = agreement.top_class(row)
    # JSON and tables write classes differently (1, 1.0, "1", true): the text decides, whole numbers without their .0.
    return said is not None and _text(said) == _text(label)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _number(row: answer_rows.AnswerRow) -> float | None:
    for value in row.values():
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return None
