"""Numbers that the page of a run shows: gains, values of schedules and policies, trials, losses of diversity."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mdm_tune.core.interval_text import interval_text
from mdm_tune.core.statistics import Estimate
from mdm_tune.pages.names import short_name

__all__ = [
    "CurveView",
    "GainView",
    "LossView",
    "Point",
    "PolicyView",
    "RevealsView",
    "Row",
    "SharedView",
    "WinsView",
    "baselines_in",
    "stand_ins_in",
]

Record = Mapping[str, Any]
BETA = re.compile(r"beta:[0-9.e-]*[0-9],[0-9.e-]*[0-9]")


@dataclass(frozen=True)
class WinsView:
    """On how many examples the tuned schedule is better than another one, equal to it, and worse."""

    wins: int
    ties: int
    losses: int

    @property
    def examples(self) -> int:
        """All examples."""
        return self.wins + self.ties + self.losses


@dataclass(frozen=True, kw_only=True)
class GainView:
    """A gain over linear. Positive is better.

    Attributes:
        value: the gain.
        own: its own interval; None if there is none.
        familywise: the interval corrected for all budgets; None if there is none.
        reason: why there is no interval; None if there is one.
        shown: whether it may be claimed.
        differing: examples that differ; None for exact values.
        fewest: examples that must differ for a claim.
    """

    value: float
    own: tuple[float, float] | None
    familywise: tuple[float, float] | None
    reason: str | None
    shown: bool
    differing: int | None
    fewest: int | None

    @property
    def text(self) -> str:
        """The gain with the corrected interval."""
        return interval_text(self.value, self.familywise or self.own, self.reason)


@dataclass(frozen=True, kw_only=True)
class LossView:
    """How far the winner lies below others in one figure of diversity, as a share.

    Attributes:
        figure: the name of the figure.
        than: what it is compared with.
        share: the loss; below 0 for a gain.
        ends: of its 95 % interval; None in older records.
        flagged: whether it exceeds the threshold and the noise.
        blocks: whether it forbids the claim of a gain.
        of_linear: the loss of linear at the same budget; None in older records.
    """

    figure: str
    than: str
    share: float
    ends: tuple[float, float] | None
    flagged: bool
    blocks: bool
    of_linear: float | None = None


@dataclass(frozen=True, kw_only=True)
class Point:
    """A trial.

    Attributes:
        number: within its budget.
        a, b: the parameters.
        block_length: positions per block; None if unknown or without blocks.
        value: on the tune split; not finite if it has none.
        examples: that were scored; None if exact, or scored before.
        dropped: whether it was dropped before all examples were scored.
        fresh: whether its counts were scored for the first time.
    """

    number: int
    a: float
    b: float
    block_length: int | None
    value: float
    examples: int | None
    dropped: bool
    fresh: bool


@dataclass(frozen=True, kw_only=True)
class PolicyView:
    """The best of one kind of policy at a budget. What it lacks is None.

    Attributes:
        kind: counts, or the kind of an adaptive policy.
        policy: its name on the command line.
        estimate: the value.
        calls: mean denoiser calls that it made.
        ends: of their interval.
        more: whether it made more calls than linear, so that a gain is no gain at equal cost.
        less_diverse: whether its samples are less diverse, so that a gain does not count.
        gain: over linear, corrected for all budgets and kinds.
        trials: of this kind.
        why: why there is none; empty if there is one.
    """

    kind: str
    policy: str | None
    estimate: Estimate | None
    calls: float | None
    ends: tuple[float, float] | None
    more: bool
    less_diverse: bool
    gain: GainView | None
    trials: int
    why: str


@dataclass(frozen=True, kw_only=True)
class RevealsView:
    """How many tokens each call reveals, over all examples; one that needs no more calls reveals 0.

    Attributes:
        mean: (calls,) tokens.
        low, high: (calls,) what at least a tenth, and at least nine tenths, of the examples do not exceed.
        examples: (calls,) examples that make the call.
    """

    mean: tuple[float, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    examples: tuple[int, ...]

    def most_calls(self, share: float) -> int:
        """The calls that at least this share of the examples do not exceed."""
        over = (1 - share) * max(self.examples, default=0)
        return next((calls for calls, made in enumerate(self.examples) if made <= over), len(self.examples))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One schedule or adaptive policy at one budget.

    Attributes:
        label: as on the command line.
        steps: the budget.
        calls: mean denoiser calls; None if unknown.
        estimate: the value.
        diversity: mean figures by name.
        counts: tokens per step; None for adaptive policies and ancestral reveal.
        difference: the gain over linear at the same budget, positive if better; None if unknown.
        more: whether it makes over 2 % more calls than linear at that budget, as adaptive policies may.
        every: whether it is an adaptive policy that is the same at every budget.
        calls_ends: ends of the interval of the calls; None if there is none.
        policy: what it is at all budgets: the label, or the name of an adaptive policy without the value that was set
            for the budget; empty for the label.
    """

    label: str
    steps: int
    calls: float | None
    estimate: Estimate
    diversity: Mapping[str, float] = field(default_factory=dict)
    counts: tuple[int, ...] | None = None
    difference: Estimate | None = None
    more: bool = False
    every: bool = False
    policy: str = ""
    calls_ends: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """What it is at all budgets."""
        return self.policy or self.label


@dataclass(frozen=True, kw_only=True)
class CurveView:
    """The information profile at one block length.

    Attributes:
        length: tokens of the curve.
        block_length: tokens of a block.
        vocabulary: symbols; None if unknown.
        exact: whether it has no sampling error.
        examples: that were measured.
        revealed: numbers of visible tokens.
        mean: nats per token.
        low, high: ends of the intervals; None if there are none.
        pricing: the curve on which schedules are chosen, (length,); empty if unknown.
    """

    length: int
    block_length: int
    vocabulary: int | None
    exact: bool
    examples: int | None
    revealed: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...] | None
    high: tuple[float, ...] | None
    pricing: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class SharedView:
    """The one schedule of all budgets.

    Attributes:
        text: what it is and what it loses, in words.
        plans: a line to copy with its counts or alphas, by budget; {} if unknown.
        stand_ins: what may stand in for it, in words, by budget; without those at which nothing is known.
        replaced_by: the labels of the hand-made schedules among them, by budget.
    """

    text: str
    plans: Mapping[int, str] = field(default_factory=dict)
    stand_ins: Mapping[int, str] = field(default_factory=dict)
    replaced_by: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Record) -> SharedView:
        """The view of ``shared`` in the result of a search."""
        budgets = sorted((each for each in record["budgets"] if each.get("plan")), key=lambda each: int(each["steps"]))
        return cls(
            text=str(record["text"]),
            plans={int(each["steps"]): _line(each["plan"]) for each in budgets},
            stand_ins={int(each["steps"]): text for each in budgets if (text := stand_ins_in(each))},
            replaced_by={int(each["steps"]): baselines_in(each) for each in budgets},
        )


def stand_ins_in(record: Record) -> str:
    """What may stand in for a winner, in words; empty if the record does not say it."""
    text = str((record.get("stand_ins") or {}).get("text") or "")
    text = BETA.sub(lambda match: short_name(match[0]), text)
    return text.replace("each baseline", "no other baseline, as each")  # of earlier versions


def baselines_in(record: Record) -> tuple[str, ...]:
    """The hand-made schedules that may stand in for a winner."""
    return tuple(map(str, (record.get("stand_ins") or {}).get("baselines") or ()))


def _line(plan: Record) -> str:
    """Counts or alphas as a line to copy."""
    counts, size = plan.get("counts"), plan.get("block_length")
    if counts is not None:
        blocks = f", in blocks of {size}" if size and size < sum(counts) else ""
        return f"counts = {[*map(int, counts)]}  # tokens to reveal at each step{blocks}"
    return f"alphas = [{', '.join(f'{alpha:.6g}' for alpha in plan['alphas'])}]  # for ancestral reveal"
