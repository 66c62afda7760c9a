"""A schedule at a budget, as the sampler gets it: integer counts per step, or alphas, and the plan of many rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mdm_tune.config.sampler import SamplerConfig
from mdm_tune.core.errors import InputError
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.unmasking import CountPlan, Plan, RevealPlan
from mdm_tune.schedules.blocks import ShareRule, equal_shares, even_shares
from mdm_tune.schedules.counts import CountRule, alpha_grid, to_counts
from mdm_tune.schedules.curves import Alphas, Counts, Linear, Schedule
from mdm_tune.schedules.labels import Label

__all__ = ["Sampler", "Setting", "plan_of"]


@dataclass(frozen=True)
class Sampler:
    """How tokens are revealed, schedule and blocks aside: a config's section, and what that does not say.

    end_tokens: the model's ids that end a text.

    Raises InputError for values of the section that have no meaning together.
    """

    section: SamplerConfig
    end_tokens: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _ = self.drawing  # which refuses what has no meaning together

    @cached_property
    def drawing(self) -> Drawing:
        """Which positions go first, and how their tokens are drawn."""
        names = [field.name for field in fields(Drawing) if field.name != "end_tokens"]
        return Drawing(end_tokens=self.end_tokens, **{name: getattr(self.section, name) for name in names})

    @property
    def bernoulli(self) -> bool:
        """Whether reveal is ancestral; else there are fixed counts."""
        return self.section.reveal == "bernoulli"

    @property
    def share(self) -> ShareRule:
        """How steps are shared out among blocks, as long as no profile says so."""
        return even_shares if self.section.block_steps == "tuned" else equal_shares


@dataclass(frozen=True)
class Setting:
    """One schedule at one budget, as the sampler gets it.

    name: the string that names the schedule on the command line. Exactly one of counts (tokens revealed at each step)
    and alphas (revealed probability at each step's start and end) is set. block_length: blocks of so many positions are
    filled from left to right; where it is left out (0) it is the length, which is one block. says_blocks: whether the
    label does, because the schedule is compared in blocks of several lengths.
    """

    name: str
    steps: int
    length: int
    counts: tuple[int, ...] | None = None
    alphas: tuple[float, ...] | None = None
    block_length: int = 0
    says_blocks: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "block_length", self.block_length or self.length)

    @property
    def one_block(self) -> bool:
        """Whether all positions are one block, also those of a row that is longer than the length."""
        return self.block_length >= self.length

    @property
    def label(self) -> str:
        """What tells the schedule from the others that it is compared with."""
        return str(Label(self.name, self.block_length if self.says_blocks else None))

    @property
    def key(self) -> tuple[float, ...]:
        """Equal for settings that the sampler cannot tell apart: a step without tokens changes nothing."""
        if self.counts is not None:
            return self.key_of(self.counts, self.steps, self.length, self.block_length)
        return self.alphas or ()

    @staticmethod
    def key_of(counts: Sequence[int], steps: int, length: int, block_length: int) -> tuple[float, ...]:
        """The key of counts, which begins with what no count can be where there are several blocks.

        Where there are more steps than tokens, longer rows see how many.
        """
        blocks = (-float(block_length),) if block_length < length else ()
        more = (0.0, float(steps)) if len(counts) < steps else ()
        return (*blocks, *more, *(count for count in counts if count))

    @property
    def revealed(self) -> tuple[float, ...]:
        """The (expected) share of tokens that are visible after each step."""
        if self.counts is not None:
            return tuple((np.cumsum(self.counts) / self.length).tolist())
        return (self.alphas or ())[1:]

    @property
    def nfe(self) -> float:
        """Denoiser calls that a sequence waits for: steps that reveal anything, in expectation for ancestral reveal."""
        if self.counts is not None:
            return sum(count > 0 for count in self.counts)
        return float((1 - (1 - np.diff(self.alphas or (0.0, 1.0))) ** self.length).sum())

    def counts_for(self, size: int, rule: CountRule) -> tuple[int, ...]:
        """The counts of a row with ``size`` positions to fill: (steps,), or that many ones where steps are more.

        Where there are more steps than the length has tokens, all schedules are one token a step, which says nothing of
        a longer row: it takes all the steps, as linear does.
        """
        assert self.counts is not None  # ancestral reveal knows no length
        if size == self.length:
            return self.counts
        if len(self.counts) < self.steps:
            return to_counts(Linear(), self.steps, size, rule)
        revealed = np.cumsum((0, *self.counts)) / self.length
        return to_counts(Alphas(tuple(revealed.tolist())), len(self.counts), size, rule)

    def calls_for(self, size: int, rule: CountRule) -> float:
        """Denoiser calls that a row with ``size`` positions to fill waits for, in expectation for ancestral reveal."""
        return replace(
            self,
            length=size,
            counts=None if self.counts is None else self.counts_for(size, rule),
        ).nfe

    def checked(self) -> Setting:
        """The setting itself; raises InputError where a step reveals tokens of two blocks."""
        size = self.block_length
        if missing := set(range(size, self.length, size)) - set(np.cumsum(self.counts or ()).tolist()):
            raise InputError(
                f"{self.label} reveals tokens of two blocks in one step: with blocks of {size} a step must end "
                f"after {min(missing)} tokens; split it there"
            )
        return self

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
        """The setting of a schedule; raises InputError where explicit counts or the number of steps do not fit.

        With blocks the steps are those of all blocks together, and the schedule holds inside each; explicit counts go
        over all blocks and end a step where a block ends. share: how many steps each block gets; None for the
        sampler's own. block_length: as in ``Setting``.
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
        inside = {each: to_counts(schedule, each, size, sampler.section.counts) for each in set(shares)}
        counts = tuple(count for each in shares for count in inside[each])
        return cls(name=name, steps=steps, length=length, counts=counts, block_length=size)


def plan_of(settings: Sequence[Setting], sizes: Tensor, sampler: Sampler) -> Plan:
    """The rows of the first setting, then as many of the next; counts are cut where blocks end.

    All settings have the same blocks. sizes (rows,) int64: the positions that each row has to fill. A row of another
    size than the setting's gets the counts that are closest to the same curve.
    """
    if settings[0].counts is None:
        alphas = torch.tensor([setting.alphas for setting in settings], dtype=torch.float64)
        return RevealPlan(alphas.repeat_interleave(len(sizes), dim=0))
    rows: list[list[Tensor]] = []
    for setting in settings:
        by_size = {size: _in_blocks(setting, size, sampler.section.counts) for size in set(sizes.tolist())}
        rows += [by_size[size] for size in sizes.tolist()]
    most = max(map(len, rows))
    none = torch.zeros(0, dtype=torch.int64)  # of a block that a shorter row does not have
    padded = pad_sequence([part for row in rows for part in (*row, *[none] * (most - len(row)))], batch_first=True)
    return CountPlan(padded.view(len(rows), most, -1))  # (rows, blocks, most steps of any block)


def _in_blocks(setting: Setting, size: int, rule: CountRule) -> list[Tensor]:
    """The counts (steps,) of each block of a row with so many positions; a step across the end of one is split there.

    Only a row of another size than the setting's has such steps.
    """
    length = size if setting.one_block else setting.block_length
    ends = torch.tensor(setting.counts_for(size, rule)).cumsum(0)
    inner = torch.tensor([*range(length, size, length)], dtype=torch.int64)
    ends = torch.cat([ends, inner[~torch.isin(inner, ends)]]).sort().values
    counts, block = ends.diff(prepend=ends.new_zeros(1)), (ends - 1).clamp(min=0) // length
    return [counts[block == number] for number in range(int(block[-1]) + 1)]
