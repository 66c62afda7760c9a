"""A policy at a step budget as the sampler gets it: counts per step, alphas, or an adaptive policy; plans of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mdm_tune.config.sampler import SamplerConfig
from mdm_tune.core.errors import InputError
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.plans import (
    AdaptivePlan,
    CapPlan,
    CountPlan,
    EntropyBoundPlan,
    KlassPlan,
    Plan,
    QuotaPlan,
    RevealPlan,
    ThresholdPlan,
)
from mdm_tune.schedules.adaptive_names import AdaptiveName
from mdm_tune.schedules.blocks import ShareRule, equal_shares, even_shares
from mdm_tune.schedules.counts import CountRule, alpha_grid, to_counts
from mdm_tune.schedules.curves import Alphas, Counts, Linear, Schedule
from mdm_tune.schedules.labels import Label

__all__ = ["Key", "Policy", "Sampler", "Setting", "calls_in_advance", "calls_of", "drawing_of", "plan_of"]

Key = tuple[float | str, ...]
Policy = Schedule | AdaptiveName


@dataclass(frozen=True)
class Sampler:
    """How tokens are revealed, apart from the policy and its blocks.

    Attributes:
        section: The section ``sampler`` of the config.
        end_tokens: The model's token ids that end a text.

    Raises:
        InputError: If values of the section contradict each other.
    """

    section: SamplerConfig
    end_tokens: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _ = self.drawing  # it checks values against each other

    @cached_property
    def drawing(self) -> Drawing:
        """Which positions go first, and how their tokens are drawn."""
        names = [field.name for field in fields(Drawing) if field.name != "end_tokens"]
        return Drawing(end_tokens=self.end_tokens, **{name: getattr(self.section, name) for name in names})

    @property
    def bernoulli(self) -> bool:
        """Whether reveal is ancestral; otherwise each step reveals a fixed count."""
        return self.section.reveal == "bernoulli"

    @property
    def share(self) -> ShareRule:
        """How steps are divided among blocks, unless a profile decides it."""
        return even_shares if self.section.block_steps == "tuned" else equal_shares


@dataclass(frozen=True)
class Setting:
    """One policy at one step budget. Exactly one of ``counts``, ``alphas`` and ``adaptive`` is set.

    Attributes:
        name: The string that names the policy on the command line.
        steps: The step budget. An adaptive policy is meant to make as many denoiser calls on average.
        length: Positions to fill.
        counts: Tokens revealed at each step; None for ancestral reveal.
        alphas: (steps + 1,) revealed share of tokens, from the first step's start to the last step's end; None for
            fixed counts.
        block_length: Positions per block; blocks are filled from left to right. 0 becomes ``length``, one block.
        says_blocks: Whether the label names the block length, because several are compared.
        adaptive: An adaptive policy with its value.
        base: The setting whose counts an adaptive policy keeps (quota) or does not exceed (cap); None for
            other policies.
    """

    name: str
    steps: int
    length: int
    counts: tuple[int, ...] | None = None
    alphas: tuple[float, ...] | None = None
    block_length: int = 0
    says_blocks: bool = False
    adaptive: AdaptiveName | None = None
    base: Setting | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "block_length", self.block_length or self.length)

    @property
    def form(self) -> str:
        """The form of the plan. Rows whose settings have equal forms can be filled in one call."""
        if self.adaptive is not None:
            return self.adaptive.kind
        return "alphas" if self.counts is None else "counts"

    @property
    def one_block(self) -> bool:
        """Whether all positions are one block, even in a row with more positions than ``length``."""
        return self.block_length >= self.length

    @property
    def label(self) -> str:
        """The text that distinguishes the policy from those that it is compared with."""
        return str(Label(self.name, self.block_length if self.says_blocks else None))

    @property
    def key(self) -> Key:
        """Equal for settings that the sampler treats alike; steps that reveal no token do not count."""
        if self.adaptive is not None:
            base = () if self.base is None else self.base.key
            return (self.adaptive.kind, float(self.block_length), *self.adaptive.numbers, *base)
        if self.counts is not None:
            return self.key_of(self.counts, self.steps, self.length, self.block_length)
        return self.alphas or ()

    @staticmethod
    def key_of(counts: Sequence[int], steps: int, length: int, block_length: int) -> Key:
        """The key of a setting with these counts.

        It begins with a negative block length if there are several blocks. The steps belong to it if they are more
        than the tokens, since rows with more tokens use them.
        """
        blocks = (-float(block_length),) if block_length < length else ()
        extra_steps = (0.0, float(steps)) if len(counts) < steps else ()
        return (*blocks, *extra_steps, *(count for count in counts if count))

    @property
    def revealed(self) -> tuple[float, ...]:
        """The (expected) share of tokens that are visible after each step."""
        if self.counts is not None:
            return tuple((np.cumsum(self.counts) / self.length).tolist())
        return (self.alphas or ())[1:]

    @property
    def nfe(self) -> float:
        """Denoiser calls for one sequence: steps that reveal a token; for ancestral reveal their expected number.

        For an adaptive policy, the number of calls that it is meant to make.
        """
        if self.adaptive is not None:
            return float(min(self.steps, self.length))
        if self.counts is not None:
            return sum(count > 0 for count in self.counts)
        return float((1 - (1 - np.diff(self.alphas or (0.0, 1.0))) ** self.length).sum())

    def counts_for(self, size: int, rule: CountRule) -> tuple[int, ...]:
        """The counts of a row with ``size`` positions to fill: min(steps, size) numbers.

        If the steps exceed the setting's length, every schedule reveals one token per step. These counts have no shape
        that a longer row could follow, so the row gets those of linear at all steps.
        """
        assert self.counts is not None  # ancestral reveal does not depend on the length
        if size == self.length:
            return self.counts
        if len(self.counts) < self.steps:
            return to_counts(Linear(), self.steps, size, rule)
        revealed = np.cumsum((0, *self.counts)) / self.length
        return to_counts(Alphas(tuple(revealed.tolist())), len(self.counts), size, rule)

    def calls_for(self, size: int, rule: CountRule) -> float:
        """Denoiser calls for a row with ``size`` positions to fill; for ancestral reveal their expected number."""
        return replace(
            self,
            length=size,
            counts=None if self.counts is None else self.counts_for(size, rule),
        ).nfe

    def checked(self) -> Setting:
        """Return the setting itself. Raises InputError if a step reveals tokens of two blocks."""
        size = self.block_length
        if missing := set(range(size, self.length, size)) - set(np.cumsum(self.counts or ()).tolist()):
            raise InputError(
                f"{self.label} reveals tokens of two blocks in one step: with blocks of {size} a step must end "
                f"after {min(missing)} tokens; split it there"
            )
        return self

    @classmethod
    def of_adaptive(
        cls,
        plan: AdaptiveName,
        steps: int,
        length: int,
        base: Setting | None = None,
        block_length: int = 0,
        *,
        says_blocks: bool = False,
    ) -> Setting:
        """Build the setting of an adaptive policy.

        Args:
            plan: The policy, with its value.
            steps: The number of denoiser calls that it is meant to make on average.
            length: Positions to fill.
            base: The setting whose counts it follows; its blocks then count.
            block_length: Positions per block; 0 for one block.
            says_blocks: As the attribute.
        """
        assert plan.value is not None
        size = block_length if base is None else base.block_length
        return cls(
            name=plan.name,
            steps=steps,
            length=length,
            block_length=size,
            says_blocks=says_blocks,
            adaptive=plan,
            base=base,
        )

    @classmethod
    def of(
        cls,
        schedule: Schedule,
        steps: int,
        length: int,
        sampler: Sampler,
        name: str | None = None,
        share: ShareRule | None = None,
        block_length: int = 0,
    ) -> Setting:
        """Build the setting of a schedule.

        With several blocks the schedule applies inside each block. Explicit counts cover all blocks, and a step must
        end where a block ends.

        Args:
            schedule: The schedule.
            steps: The step budget of all blocks together.
            length: Positions to fill.
            sampler: How tokens are revealed.
            name: The setting's name; the schedule's own if None.
            share: How steps are divided among blocks; the sampler's rule if None.
            block_length: Positions per block; 0 for one block.

        Returns:
            The setting, with alphas for ancestral reveal and counts otherwise.

        Raises:
            InputError: If explicit counts or the number of steps do not fit.
        """
        name = name or schedule.name
        if sampler.bernoulli and isinstance(schedule, Linear) and schedule.counts_of != "ours":
            raise InputError(
                f"{name} means counts, and ancestral (bernoulli) reveal has none, got reveal bernoulli; use linear"
            )
        if sampler.bernoulli:
            return cls(name, steps, length, alphas=tuple(alpha_grid(schedule, steps).tolist()))
        size = block_length or length
        if isinstance(schedule, Counts):
            counts = to_counts(schedule, steps, length, sampler.section.counts)
            return cls(name=name, steps=steps, length=length, counts=counts, block_length=size).checked()
        shares = (share or sampler.share)(steps, length, size)
        block_counts = {part: to_counts(schedule, part, size, sampler.section.counts) for part in set(shares)}
        counts = tuple(count for part in shares for count in block_counts[part])
        return cls(name=name, steps=steps, length=length, counts=counts, block_length=size)


def calls_of(setting: Setting, sizes: Tensor, rule: CountRule) -> float:
    """The denoiser calls of a setting, summed over rows with so many positions to fill; sizes (rows,) int64."""
    return sum(number * setting.calls_for(size, rule) for size, number in Counter(sizes.tolist()).items())


def calls_in_advance(setting: Setting, sizes: Tensor, sampler: Sampler) -> NDArray[np.float64] | None:
    """The denoiser calls of each row of fixed counts; None if answers may end early, which the predictions decide.

    Args:
        setting: The setting, with counts.
        sizes: (rows,) int64, the positions to fill in each row.
        sampler: How tokens are revealed.
    """
    plan = plan_of([setting], sizes, sampler)
    assert isinstance(plan, CountPlan)
    return None if sampler.section.stop_at_end else (plan.counts > 0).sum((1, 2)).double().numpy()


def plan_of(settings: Sequence[Setting], sizes: Tensor, sampler: Sampler) -> Plan:
    """The plan of many rows: all rows with the first setting, then all rows with the next.

    A row whose size differs from the setting's length gets the counts closest to the same curve. Counts are split
    where blocks end.

    Args:
        settings: The settings, all with the same block length and ``form``.
        sizes: (rows,) int64, the positions to fill in each row.
        sampler: How tokens are revealed.
    """
    if settings[0].adaptive is not None:
        return _adaptive_plan(settings, sizes, sampler)
    if settings[0].counts is None:
        alphas = torch.tensor([setting.alphas for setting in settings], dtype=torch.float64)
        return RevealPlan(alphas.repeat_interleave(len(sizes), dim=0))
    rows: list[list[Tensor]] = []
    for setting in settings:
        by_size = {size: _counts_by_block(setting, size, sampler.section.counts) for size in set(sizes.tolist())}
        rows += [by_size[size] for size in sizes.tolist()]
    blocks = max(map(len, rows))
    empty = torch.zeros(0, dtype=torch.int64)  # for a block that a shorter row does not have
    padded = pad_sequence([part for row in rows for part in (*row, *[empty] * (blocks - len(row)))], batch_first=True)
    return CountPlan(padded.view(len(rows), blocks, -1))  # (rows, blocks, most steps of any block)


def _adaptive_plan(settings: Sequence[Setting], sizes: Tensor, sampler: Sampler) -> AdaptivePlan:
    """The plan of many rows whose settings have one kind of adaptive policy."""
    kind = settings[0].form
    plans = [setting.adaptive for setting in settings if setting.adaptive is not None]
    values = torch.tensor([plan.value for plan in plans], dtype=torch.float64).repeat_interleave(len(sizes))
    if kind in ("quota", "cap"):
        counts = plan_of([setting.base for setting in settings if setting.base is not None], sizes, sampler)
        assert isinstance(counts, CountPlan)  # ancestral reveal has no adaptive policies
        return (QuotaPlan if kind == "quota" else CapPlan)(counts.counts, values)
    if kind == "klass":
        kls = torch.tensor([plan.kl for plan in plans], dtype=torch.float64).repeat_interleave(len(sizes))
        return KlassPlan(values, kls)
    return ThresholdPlan(values) if kind == "threshold" else EntropyBoundPlan(values)


def drawing_of(setting: Setting, sampler: Sampler) -> Drawing:
    """How tokens are drawn with a setting: as the sampler says, in an order that fits an adaptive policy."""
    drawing = sampler.drawing
    if setting.adaptive is None:
        return drawing
    if setting.adaptive.kind == "entropy-bound":
        return replace(drawing, order="entropy", confidence_temperature=0.0)
    ranks = drawing.order in ("confidence", "top-probability", "margin")
    return replace(drawing, order=drawing.order if ranks else "confidence", confidence_temperature=0.0)


def _counts_by_block(setting: Setting, size: int, rule: CountRule) -> list[Tensor]:
    """The counts (steps,) of each block of a row with ``size`` positions to fill.

    A step that reaches beyond a block is split at its end; this occurs only if ``size`` is not the setting's length.
    """
    length = size if setting.one_block else setting.block_length
    ends = torch.tensor(setting.counts_for(size, rule)).cumsum(0)
    inner = torch.tensor([*range(length, size, length)], dtype=torch.int64)
    ends = torch.cat([ends, inner[~torch.isin(inner, ends)]]).sort().values
    counts, block = ends.diff(prepend=ends.new_zeros(1)), (ends - 1).clamp(min=0) // length
    return [counts[block == number] for number in range(int(block[-1]) + 1)]
