from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kstest

from mdm_tune.core import seeding
from mdm_tune.core.seeding import StepNoise, derive_seed, noise, splitmix64

GOLDEN = 0x9E3779B97F4A7C15
WORD = 1 << 64
# Published outputs of SplitMix64 started at 1234567 (Rosetta Code, "Pseudo-random numbers/Splitmix64").
REFERENCE = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]


def mix(state: int) -> int:
    """SplitMix64's output function in Python integers."""
    z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
    return z ^ (z >> 31)


def unshift(value: int, shift: int) -> int:
    """The x with x ^ (x >> shift) == value."""
    x = value
    for _ in range(64 // shift):
        x = value ^ (x >> shift)
    return x


def unmix(output: int) -> int:
    """The state that ``mix`` turns into output."""
    z = unshift(output, 31) * pow(0x94D049BB133111EB, -1, WORD) % WORD
    z = unshift(z, 27) * pow(0xBF58476D1CE4E5B9, -1, WORD) % WORD
    return unshift(z, 30)


def seed_with_start(start: int, purpose: str) -> NDArray[np.uint64]:
    """The one seed whose stream for this purpose is SplitMix64 started at ``start``."""
    return np.array([unmix(start) ^ derive_seed(0, purpose)], dtype=np.uint64)


def centred(bits: int) -> float:
    """The middle of the cell of width 2^-52 that the upper 52 bits name."""
    return ((bits >> 12) + 0.5) / 2**52


def test_inverse_of_the_mixer_is_its_inverse() -> None:
    for value in [0, 1, 1234567, GOLDEN, WORD - 1]:
        assert mix(unmix(value)) == value
        assert unmix(mix(value)) == value


def test_splitmix64_gives_the_published_outputs() -> None:
    states = np.array([(1234567 + GOLDEN * k) % WORD for k in range(1, 6)], dtype=np.uint64)
    assert splitmix64(states).tolist() == REFERENCE


def test_positions_of_one_step_are_the_published_stream() -> None:
    found = noise(seed_with_start(1234567, "token"), "token", 0, 5)
    assert found.tolist() == [[centred(bits) for bits in REFERENCE]]


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_a_step_starts_two_to_the_32_outputs_later(step: int) -> None:
    found = noise(seed_with_start(1234567, "position"), "position", step, 3)
    states = [(1234567 + GOLDEN * (step * 2**32 + k)) % WORD for k in range(1, 4)]
    assert found.tolist() == [[centred(mix(state)) for state in states]]


def test_derived_seeds_never_change() -> None:
    assert derive_seed(0, "a", "bc") == 9744003262850960889
    assert derive_seed(7, "tune", 3) == 4454742864770412905
    text = b"7\x1ftune\x1f3"
    assert derive_seed(7, "tune", 3) == int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def test_derived_seeds_tell_names_roots_and_their_order_apart() -> None:
    found = [
        derive_seed(0),
        derive_seed(1),
        derive_seed(0, "a"),
        derive_seed(1, "a"),
        derive_seed(0, "a", "bc"),
        derive_seed(0, "ab", "c"),
        derive_seed(0, "bc", "a"),
        derive_seed(0, "abc"),
        derive_seed(0, "a", 1),
        derive_seed(0, "a", 11),
        derive_seed(0, "a", 1, 1),
        derive_seed(-1, "a"),
    ]
    assert len(set(found)) == len(found)
    assert all(0 <= seed < WORD for seed in found)


def test_a_row_does_not_depend_on_the_other_rows_or_on_the_length() -> None:
    seeds = np.array([5, 0, 2**64 - 1, 17, 5], dtype=np.uint64)
    steps = np.array([3, 0, 9, 3, 4])
    together = noise(seeds, "token", steps, 40)
    for row, (seed, step) in enumerate(zip(seeds, steps, strict=True)):
        alone = noise(np.array([seed], dtype=np.uint64), "token", int(step), 25)
        assert np.array_equal(together[row, :25], alone[0])
    assert np.array_equal(noise(seeds, "token", 3, 40)[[0, 3]], together[[0, 3]])
    assert noise(seeds[:0], "token", 0, 4).shape == (0, 4)


@pytest.mark.parametrize("together", [1, 30, 1000])
def test_numbers_of_several_steps_at_a_time_are_those_of_each_step(together: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(seeding, "TOGETHER", together)
    seeds = np.array([5, 0, 2**64 - 1], dtype=np.uint64)
    kept = StepNoise(seeds, "token", 4)
    for steps in ([0, 0, 0], [1, 0, 1], [2, 0, 2], [3, 1, 2], [3, 2, 3], [90, 3, 4], [91, 3, 200], [91, 300, 200]):
        found = kept.at(np.array(steps))
        assert np.array_equal(found, noise(seeds, "token", np.array(steps), 4))
    assert StepNoise(seeds[:0], "token", 4).at(np.array([], dtype=np.int64)).shape == (0, 4)
    assert StepNoise(seeds, "token", 0).at(np.array([0, 0, 0])).shape == (3, 0)


def test_steps_that_follow_each_other_are_made_together(monkeypatch: Any) -> None:
    made = []

    def counted(seeds: NDArray[np.uint64], *address: Any) -> NDArray[np.float64]:
        made.append(len(seeds))
        return noise(seeds, *address)

    monkeypatch.setattr(seeding, "noise", counted)
    kept = StepNoise(np.arange(2, dtype=np.uint64), "token", 64)
    for step in range(40):
        kept.at(np.full(2, step))
    assert made == [64, 64]  # 2 rows of 64 positions at 32 steps are 4,096 numbers


def test_extreme_bit_patterns_stay_inside_the_open_interval() -> None:
    for bits, expected in [(0, 2.0**-53), (WORD - 1, 1 - 2.0**-53), (2**63, 0.5 + 2.0**-53)]:
        start = (unmix(bits) - GOLDEN) % WORD
        value = noise(seed_with_start(start, "token"), "token", 0, 1)[0, 0]
        assert value == expected
        assert 0.0 < value < 1.0


def test_no_two_addresses_share_a_number() -> None:
    # 160,000 numbers of 52 bits: two are equal with probability 3e-6.
    rows = np.arange(20, dtype=np.uint64)
    values = [noise(rows, purpose, step, 1000) for purpose in ("token", "position") for step in range(4)]
    flat = np.concatenate(values).ravel()
    assert len(np.unique(flat)) == flat.size == 160_000


def test_neighbouring_seeds_are_not_shifted_copies() -> None:
    # If a seed were used as a counter without mixing it, the seed GOLDEN further on would repeat the stream one later.
    key = derive_seed(0, "token")
    shifted = np.array([((12345 ^ key) + GOLDEN) % WORD ^ key], dtype=np.uint64)
    first, second = noise(np.array([12345], dtype=np.uint64), "token", 0, 9), noise(shifted, "token", 0, 9)
    assert not np.isin(second, first).any()


# The tests below reject at p < 1e-6 each: a sound generator fails any of the 12 with probability 1.2e-5.


@pytest.mark.parametrize("across", ["seeds", "positions", "steps", "purposes"])
def test_uniform_along_every_coordinate(across: str) -> None:
    assert kstest(series(across), "uniform").pvalue > 1e-6


@pytest.mark.parametrize("across", ["seeds", "positions", "steps", "purposes"])
@pytest.mark.parametrize("lag", [1, 2])
def test_neighbours_are_uncorrelated_along_every_coordinate(across: str, lag: int) -> None:
    values = series(across) - 0.5
    z = 12 * float(np.sum(values[lag:] * values[:-lag])) / np.sqrt(len(values) - lag)
    assert abs(z) < 4.892  # normal: p = 1e-6


def series(across: str) -> NDArray[np.float64]:
    """20,000 numbers whose addresses differ from neighbour to neighbour in one coordinate by the smallest amount."""
    one, count = np.array([11], dtype=np.uint64), 20_000
    if across == "seeds":
        return noise(np.arange(count, dtype=np.uint64), "token", 0, 1)[:, 0]
    if across == "positions":
        return noise(one, "token", 0, count).ravel()
    if across == "steps":
        return noise(np.full(count, 11, dtype=np.uint64), "token", np.arange(count), 1)[:, 0]
    return np.concatenate([noise(one, f"purpose {i}", 0, 1)[0] for i in range(count)])
