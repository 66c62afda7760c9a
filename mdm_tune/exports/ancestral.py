"""What the formats of ancestral samplers share: the steps that reveal something, as times and as probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from mdm_tune.exports.base import sampling_arguments
from mdm_tune.exports.policy import Policy

__all__ = [
    "kept_alphas",
    "lines",
    "masked_shares",
    "masked_shares_of",
    "reveal_probabilities",
    "settings_lost",
    "skipped",
]


def kept_alphas(alphas: Sequence[float]) -> tuple[float, ...]:
    """The alphas without the steps that reveal nothing, (steps kept + 1,), strictly increasing from 0 to 1.

    Ancestral sampling does not change a token in such a step, so that what is drawn has the same distribution.

    Args:
        alphas: (steps + 1,), from 0 to 1.
    """
    kept = [0.0]
    for alpha in alphas:
        if alpha > kept[-1]:
            kept.append(alpha)
    return tuple(kept)


def masked_shares_of(alphas: Sequence[float]) -> tuple[float, ...]:
    """The expected masked shares at the ends of the steps that reveal something, from 1 to 0."""
    return tuple(1 - alpha for alpha in kept_alphas(alphas))


def masked_shares(policy: Policy) -> tuple[float, ...]:
    """The expected masked shares at the ends of the steps that reveal something, from 1 to 0.

    They are the times of samplers with log-linear noise: from t to s they reveal with probability (t - s) / t, whatever
    the eps of the noise is, because 1 - alpha(t) is proportional to t.
    """
    assert policy.alphas is not None
    return masked_shares_of(policy.alphas)


def reveal_probabilities(alphas: Sequence[float]) -> tuple[float, ...]:
    """The probability that a masked token is revealed, of the steps that reveal something; the last is 1."""
    return tuple((after - before) / (1 - before) for before, after in pairwise(kept_alphas(alphas)))


def skipped(policy: Policy) -> str:
    """A phrase on the steps that are left out, for the comments of a file; empty if there are none."""
    left_out = policy.steps + 1 - len(masked_shares(policy))
    return f"; {left_out} of the schedule's steps reveal nothing and are left out" if left_out else ""


def settings_lost(policy: Policy, *known: str) -> tuple[str, ...]:
    """Sentences on the sampling settings that the policy was tuned for and the target lacks.

    Args:
        policy: what is exported.
        known: the settings that the instructions give, by their names in a config.
    """
    sampler = dict(policy.sampler)
    sampler.pop("confidence_temperature", None)  # ancestral sampling has no order by confidence
    if sampler.get("temperature") == 1:  # the only temperature that these targets have
        del sampler["temperature"]
    return sampling_arguments(replace(policy, sampler=sampler), {name: name for name in known})[1]


def lines(values: Iterable[float]) -> str:
    """The entries of a tuple in an exported file."""
    return "\n".join(f"    {value!r}," for value in values)
