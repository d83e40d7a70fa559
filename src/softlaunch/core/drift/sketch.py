"""
How many distinct values there were, from a sketch of fixed size: HyperLogLog with 1,024 registers of six bits.

A register keeps the longest run of leading zeros among the hashes that fell to it, so merging is the maximum of each
register: the order and the grouping of what is merged make no difference to a single bit. The standard error is
1.04 / sqrt(1024), or 3.3 %.

Sources:
    Flajolet, Fusy, Gandouet and Meunier (2007), HyperLogLog. The estimator is Ertl's (2017, arXiv 1702.01284,
    algorithm 6), which needs neither tables nor thresholds between ranges.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np

INDEX_BITS = 10
REGISTER_COUNT = 1 << INDEX_BITS
RANK_MAX = 54
"""54 bits are left beside the index; the last one is not looked at, so that the others fit a float exactly."""
PACKED_BYTES = REGISTER_COUNT * 6 // 8
_REST = np.uint64((1 << (64 - INDEX_BITS)) - 1)
_DISTINCT_MAX = 2.0**64
"""Every register is full: there are no more hashes."""
_ALPHA = 0.5 / math.log(2)

Array: TypeAlias = np.ndarray[Any, Any]


def empty() -> Array:
    """Registers that have seen nothing; uint8, shape [REGISTER_COUNT]."""
    return np.zeros(REGISTER_COUNT, dtype=np.uint8)


def hash_numbers(values: Array) -> Array:
    """Hashes of float64 values, shape [N]; equal numbers have equal ones, -0.0 and 0.0 too."""
    # SplitMix64's finaliser, as in profile.counting_half: one to one, so that distinct numbers never collide.
    mixed = (values + 0.0).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    hashed: Array = mixed ^ (mixed >> np.uint64(31))
    return hashed


def hash_texts(values: Iterable[str]) -> Array:
    """Hashes of texts, shape [N]; lone surrogates are texts like others."""
    digests = [hashlib.blake2b(value.encode(errors="surrogatepass"), digest_size=8).digest() for value in values]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def add(registers: Array, hashes: Array) -> None:
    """Takes values, by their hashes, into `registers`."""
    places = (hashes >> np.uint64(64 - INDEX_BITS)).astype(np.intp)
    # frexp tells the place of the highest bit that is set; 53 bits are exact in a float64.
    _, exponents = np.frexp(((hashes & _REST) >> np.uint64(1)).astype(np.float64))
    np.maximum.at(registers, places, (RANK_MAX - exponents).astype(np.uint8))


def estimate(registers: Array) -> float:
    """About how many distinct values were added; 0.0 exactly for none."""
    tally = np.bincount(registers, minlength=RANK_MAX + 1)
    if tally[0] == REGISTER_COUNT:
        return 0.0
    total = REGISTER_COUNT * _tau(1.0 - tally[RANK_MAX] / REGISTER_COUNT)
    for rank in range(RANK_MAX - 1, 0, -1):
        total = 0.5 * (total + float(tally[rank]))
    total += REGISTER_COUNT * _sigma(tally[0] / REGISTER_COUNT)
    return _ALPHA * REGISTER_COUNT * REGISTER_COUNT / total if total else _DISTINCT_MAX


def pack(registers: Array) -> bytes:
    """Six bits a register, the first one lowest."""
    bits = np.unpackbits(registers[:, None], axis=1, bitorder="little")[:, :6]
    return np.packbits(bits.ravel(), bitorder="little").tobytes()


def unpack(raw: bytes) -> Array:
    """What `pack` wrote."""
    bits = np.unpackbits(np.frombuffer(raw, dtype=np.uint8), bitorder="little").reshape(REGISTER_COUNT, 6)
    return np.packbits(bits, axis=1, bitorder="little")[:, 0]


def _sigma(share: float) -> float:
    power, total, last = 1.0, share, -1.0
    while total != last:
        share *= share
        last = total
        total += share * power
        power += power
    return total


def _tau(share: float) -> float:
    if share in {0.0, 1.0}:
        return 0.0
    power, total, last = 1.0, 1.0 - share, -1.0
    while total != last:
        share = math.sqrt(share)
        last = total
        power *= 0.5
        total -= (1.0 - share) ** 2 * power
    return total / 3.0
