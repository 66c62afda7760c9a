"""What a result keeps for its page: trials as points, the profile's curve, pairs of samples, the cost of the grid."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import Tensor

from mdm_tune.core.json_record import JsonRecord
from mdm_tune.core.statistics import Estimate
from mdm_tune.core.types import Direction, Use, sign_of
from mdm_tune.datasets.examples import Example
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.scores import Reveals, Scores
from mdm_tune.evaluation.settings import Key
from mdm_tune.metrics.quality import ExactMetric
from mdm_tune.run.build import Run
from mdm_tune.run.profiles import Profiles
from mdm_tune.run.record_parts import CallsRecord
from mdm_tune.schedules.adaptive_names import AdaptiveName
from mdm_tune.schedules.curves import Beta
from mdm_tune.schedules.labels import Label
from mdm_tune.search.confirmation import Budget
from mdm_tune.search.finalists import Trial
from mdm_tune.search.gains import Gain, figure_estimate, gain_of
from mdm_tune.search.space import GRID

__all__ = [
    "BudgetDetails",
    "DrawnPieces",
    "GridCost",
    "ProfileCurve",
    "SamplePair",
    "TrialPoint",
    "WinsRecord",
    "best_baseline",
    "gains_over_baselines",
    "profile_curves",
    "sample_pairs",
]

FIRST = 2  # pairs per budget that are the first of the split, whatever their values
MOST_ASKED = 600  # characters of an example
Chosen = Literal["first", "largest gain", "largest loss"]


@dataclass(frozen=True, kw_only=True)
class TrialPoint(JsonRecord):
    """One trial of a budget.

    Attributes:
        number: The trial's number within its budget, kind of policy and block length, from 0.
        a, b: The parameters of its schedule; None for an adaptive policy.
        block_length: Positions per block; None for ancestral reveal.
        value: Its value on the tune split; None if it is not finite.
        examples: The examples that were scored; None if the value is exact or was scored before.
        fresh: Whether its counts were scored for the first time.
        dropped: Whether it was dropped before all examples were scored.
        cut: Whether it was dropped for lack of rows or time.
        policy: The adaptive policy with its value; None for a schedule.
        kind: The kind of policy.
        calls: Mean denoiser calls of an adaptive policy on the scored tune examples; None for a schedule.
        unreachable: Why a policy cannot make the calls of the budget; None if it can.
    """

    number: int
    a: float | None
    b: float | None
    block_length: int | None
    value: float | None
    examples: int | None
    fresh: bool
    dropped: bool
    cut: bool
    policy: str | None = None
    kind: str = "counts"
    calls: float | None = None
    unreachable: str | None = None

    @classmethod
    def of(cls, trial: Trial, block_length: int | None) -> TrialPoint:
        """The point of a trial."""
        beta = trial.policy if isinstance(trial.policy, Beta) else None
        adaptive = trial.policy if isinstance(trial.policy, AdaptiveName) else None
        return cls(
            number=trial.number,
            a=None if beta is None else beta.a,
            b=None if beta is None else beta.b,
            policy=None if adaptive is None else adaptive.name,
            kind="counts" if adaptive is None else adaptive.kind,
            calls=trial.calls,
            unreachable=trial.unreachable,
            block_length=block_length,
            value=trial.value,
            examples=trial.examples,
            fresh=trial.fresh,
            dropped=trial.dropped,
            cut=trial.cut,
        )


@dataclass(frozen=True, kw_only=True)
class GridCost(JsonRecord):
    """What the grid of the paper would cost at one budget: a and b in 0.1, 0.2, .., 1.0, on all tune examples.

    Source: the experiments of arXiv:2509.13866.

    Attributes:
        points: Schedules of the grid.
        settings: Those that the sampler distinguishes, in all block lengths.
        denoiser_rows: Rows of scoring each of these once on all tune examples; 0 if values are exact. Where all rows
            start alike, the first call counts once a batch, as in the search. Texts that end early take fewer.
    """

    points: int
    settings: int
    denoiser_rows: int

    @classmethod
    def of(cls, evaluator: Evaluator, steps: int) -> GridCost:
        """The cost of the grid at one budget."""
        found: dict[Key, float] = {}
        for size in evaluator.block_lengths:
            at_size = evaluator.in_blocks(size)
            for a, b in itertools.product(GRID, GRID):
                setting = at_size.setting(Beta(a, b), steps)
                found[setting.key] = setting.nfe
        rows = 0.0
        if not evaluator.exact:
            rows = sum(found.values()) * len(evaluator.split("tune").ids)
            rows -= len(found) * evaluator.saved_by_equal_starts("tune")
        forwards = int(getattr(evaluator.denoiser, "forwards", 1))  # guidance makes two
        return cls(points=len(GRID) ** 2, settings=len(found), denoiser_rows=round(rows) * forwards)


@dataclass(frozen=True, kw_only=True)
class WinsRecord(JsonRecord):
    """On how many examples one policy has a better, an equal and a worse value than another.

    Attributes:
        wins: Examples with a better value.
        ties: Examples with an equal value.
        losses: Examples with a worse value.
    """

    wins: int
    ties: int
    losses: int

    @classmethod
    def of(cls, scores: Scores, other: Scores, direction: Direction) -> WinsRecord | None:
        """The counts for two policies on the same examples; None for exact values."""
        if scores.values is None or other.values is None:
            return None
        signs = np.sign(sign_of(direction) * (scores.values - other.values))
        wins, losses = int((signs > 0).sum()), int((signs < 0).sum())
        return cls(wins=wins, ties=len(signs) - wins - losses, losses=losses)


@dataclass(frozen=True, kw_only=True)
class BudgetDetails(JsonRecord):
    """What the page of a run shows of one budget beside its result.

    Attributes:
        trial_points: The trials, in all block lengths.
        baseline_calls: Denoiser calls of the baselines, by name.
        paper_grid: The cost of the paper's grid; None in older records.
        gains_over_baselines: The winner's gain over each other hand-made schedule on the report split, by name. It is
            corrected for all budgets and all these schedules together.
        gains_of_baselines: The gain of each of these schedules over linear on the report split, by name, with the same
            correction; {} in older records.
        wins_over_baselines: The examples of the report split on which the winner is better than each baseline, equal
            and worse, by name; {} for exact values.
        baseline_diversity: Diversity figures of the best hand-made schedule other than linear, by its name and that of
            the figure, on as many examples as ``diversity``; {} if there are none.
        reveals: How many tokens each call of an adaptive policy and of linear reveals on the report split, by name:
            those of the winner and of the best of each kind; {} if all policies have fixed counts, in older records,
            and where the sampler does not say it.
    """

    trial_points: tuple[TrialPoint, ...] = ()
    baseline_calls: dict[str, CallsRecord] = field(default_factory=dict)
    paper_grid: GridCost | None = None
    gains_over_baselines: dict[str, Gain] = field(default_factory=dict)
    gains_of_baselines: dict[str, Gain] = field(default_factory=dict)
    wins_over_baselines: dict[str, WinsRecord] = field(default_factory=dict)
    baseline_diversity: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    reveals: dict[str, Reveals] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run, budget: Budget) -> BudgetDetails:
        """The details of a budget."""
        direction = run.evaluator.metric.direction
        wins = {name: WinsRecord.of(budget.winner, scores, direction) for name, scores in budget.baselines.items()}
        return cls(
            trial_points=tuple(
                TrialPoint.of(trial, None if run.evaluator.sampler.bernoulli else study.block_length)
                for study in budget.studies
                for trial in study.trials
            ),
            baseline_calls={name: CallsRecord.of(scores) for name, scores in budget.baselines.items()},
            paper_grid=GridCost.of(run.evaluator, budget.steps),
            gains_over_baselines=gains_over_baselines(budget, direction),
            gains_of_baselines=_gains_of_baselines(budget, direction),
            wins_over_baselines={name: record for name, record in wins.items() if record is not None},
            baseline_diversity=_diversity(run, budget),
            reveals=_reveals(budget),
        )


def _reveals(budget: Budget) -> dict[str, Reveals]:
    """How many tokens each call of adaptive policies and of linear reveals, by name; {} without an adaptive policy."""
    best = [(outcome.best.policy, outcome.best.scores) for outcome in budget.policies if outcome.best is not None]
    adaptive = [
        (policy.name, scores)
        for policy, scores in ((budget.policy, budget.winner), *best)
        if isinstance(policy, AdaptiveName)
    ]
    named = [*adaptive, ("linear", budget.baselines["linear"])] if adaptive else []
    return {name: scores.reveals for name, scores in named if scores.reveals is not None}


def best_baseline(budget: Budget, direction: Direction) -> tuple[str, Scores] | None:
    """The hand-made schedule other than linear with the best value on the report split; None if there is none."""
    sign, others = sign_of(direction), _others(budget)
    return max(others.items(), key=lambda item: sign * item[1].estimate.value, default=None)


def _others(budget: Budget) -> dict[str, Scores]:
    """The baselines other than linear, by name."""
    return {name: scores for name, scores in budget.baselines.items() if Label.read(name).name != "linear"}


def _diversity(run: Run, budget: Budget) -> dict[str, dict[str, Estimate]]:
    """The diversity figures of the best hand-made schedule, on the examples of the other figures of the budget."""
    best, metric = best_baseline(budget, run.evaluator.metric.direction), run.evaluator.metric
    if budget.diversity is None or best is None or isinstance(metric, ExactMetric) or best[1].tokens is None:
        return {}
    name, tokens = best[0], best[1].tokens[: budget.diversity.examples]
    split = run.evaluator.split("report").first(len(tokens))
    figures = metric.diversity(tokens, split)
    return {name: {figure: figure_estimate(values, split.shared) for figure, values in figures.items()}}


def gains_over_baselines(budget: Budget, direction: Direction) -> dict[str, Gain]:
    """The winner's gains over the baselines other than linear."""
    others = _others(budget)
    claims = budget.claims * max(1, len(others))
    return {name: gain_of(budget.winner, scores, direction, claims) for name, scores in others.items()}


def _gains_of_baselines(budget: Budget, direction: Direction) -> dict[str, Gain]:
    """The gains of the baselines other than linear over linear."""
    others, linear = _others(budget), budget.baselines["linear"]
    claims = budget.claims * max(1, len(others))
    return {name: gain_of(scores, linear, direction, claims) for name, scores in others.items()}


@dataclass(frozen=True, kw_only=True)
class ProfileCurve(JsonRecord):
    """The information profile at one block length.

    Attributes:
        block_length: Tokens of a block.
        length: Tokens of the curve.
        vocab_size: Symbols of the vocabulary.
        exact: Whether it is computed from a law, without examples.
        examples: Examples that were measured; None if exact.
        revealed: (nodes,) numbers of visible tokens.
        cross_entropy: (nodes,) nats per token.
        stderr: (nodes,) standard error of ``cross_entropy``.
        cross_entropy_ci: (nodes,) intervals; None if there are none.
        pricing_curve: (length,) the curve on which schedules are chosen, scaled to the mean length of the examples.
    """

    block_length: int
    length: int
    vocab_size: int
    exact: bool
    examples: int | None
    revealed: tuple[int, ...]
    cross_entropy: tuple[float, ...]
    stderr: tuple[float, ...]
    cross_entropy_ci: tuple[tuple[float, float], ...] | None
    pricing_curve: tuple[float, ...]

    @classmethod
    def of(cls, profiles: Profiles) -> ProfileCurve:
        """The curve of a profile that was used."""
        profile, intervals = profiles.profile, profiles.profile.intervals
        return cls(
            block_length=profile.block_length,
            length=profile.length,
            vocab_size=profile.vocab_size,
            exact=profile.exact,
            examples=None if profile.exact else len(profile.values),
            revealed=tuple(profile.revealed.tolist()),
            cross_entropy=tuple(profile.mean.tolist()),
            stderr=tuple(profile.stderr.tolist()),
            cross_entropy_ci=None if intervals is None else tuple((low, high) for low, high in intervals.tolist()),
            pricing_curve=tuple(profiles.pricer.curve.tolist()),
        )


@dataclass(frozen=True, kw_only=True)
class DrawnPieces(JsonRecord):
    """One sample of a pair, as text in pieces.

    Attributes:
        schedule: Label of the policy.
        value: Value of the objective.
        pieces: The text in order, each piece with whether its tokens differ from those of the other sample.
    """

    schedule: str
    value: float
    pieces: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, kw_only=True)
class SamplePair(JsonRecord):
    """The samples of two policies for one example, drawn from the same noise.

    Attributes:
        steps: The budget.
        id: The example's id.
        chosen: Why it is shown: it is one of the first that differ, or the one whose value differs most.
        first: The sample of linear.
        second: The sample of the other policy.
        third: The sample of the best hand-made schedule other than linear, in comparison with ``second``; None if there
            is none, or if it is one of the two.
        example: What was asked, with references in angle brackets, at most its last characters; empty for free text
            and in older records.
    """

    steps: int
    id: str
    chosen: Chosen
    first: DrawnPieces
    second: DrawnPieces
    third: DrawnPieces | None = None
    example: str = ""


def sample_pairs(run: Run, linear: Scores, other: Scores, beside: Scores | None = None) -> Iterator[SamplePair]:
    """Yield pairs of samples of linear and another policy at one budget: the first, and those that differ most.

    There are none without samples of both, or if all samples are equal.

    Args:
        run: The run.
        linear: The scores of linear.
        other: Those of the other policy.
        beside: Those of a third policy on the same examples; None if there is none.
    """
    if linear.tokens is None or other.tokens is None or linear.values is None or other.values is None:
        return
    if run.dataset is None or linear.use is None or linear.tokens.shape != other.tokens.shape:
        return
    differing = np.flatnonzero((linear.tokens != other.tokens).any(dim=1).numpy())
    if not len(differing):
        return
    gains = sign_of(run.evaluator.metric.direction) * (other.values - linear.values)
    wanted: dict[int, Chosen] = {int(row): "first" for row in differing[:FIRST]}
    best, worst = (int(differing[place]) for place in (gains[differing].argmax(), gains[differing].argmin()))
    if gains[best] > 0:
        wanted.setdefault(best, "largest gain")
    if gains[worst] < 0:
        wanted.setdefault(worst, "largest loss")
    for row, chosen in wanted.items():
        first, second = _drawn(run, row, linear, other)
        third = None
        if beside is not None and beside.setting.key not in (linear.setting.key, other.setting.key):
            third = next(_drawn(run, row, beside, other), None)
        split = run.evaluator.split(linear.use)
        yield SamplePair(
            steps=other.setting.steps,
            id=split.ids[row],
            chosen=chosen,
            first=first,
            second=second,
            third=third,
            example=_asked(split.examples[row]) if split.examples else "",
        )


def _asked(example: Example) -> str:
    """An example with its references, cut at its beginning; empty for free text, which asks nothing."""
    text = example.shown if example.conditional else ""
    return text if len(text) <= MOST_ASKED else f"\u2026{text[1 - MOST_ASKED :]}"


def _drawn(run: Run, row: int, *both: Scores) -> Iterator[DrawnPieces]:
    """The samples of two policies for one example; none if a policy has no samples."""
    tokens = [scores.tokens for scores in both if scores.tokens is not None and scores.values is not None]
    if len(tokens) < 2 or both[0].use is None:
        return
    for scores, pieces in zip(both, _pieces(run, both[0].use, row, tokens), strict=True):
        assert scores.values is not None
        yield DrawnPieces(schedule=scores.setting.label, value=float(scores.values[row]), pieces=pieces)


def _pieces(run: Run, use: Use, row: int, both: Sequence[Tensor]) -> list[tuple[tuple[str, bool], ...]]:
    """The texts of two samples of an example, in pieces of equal or of different tokens at the same positions."""
    assert run.dataset is not None
    split = run.dataset.splits[use].take([row])
    answers = [run.dataset.answers(tokens[row : row + 1], split)[0] for tokens in both]
    texts = [run.dataset.completions(tokens[row : row + 1], split)[0] for tokens in both]
    pieces: list[list[tuple[str, bool]]] = [[], []]
    for place, holes in enumerate(zip(*answers, strict=True)):
        for own, (hole, other) in enumerate((holes, holes[::-1])):
            if place:
                pieces[own].append((" ", False))  # as ``completions`` joins them
            differs = [at >= len(other) or token != other[at] for at, token in enumerate(hole)]
            for differing, run_of in itertools.groupby(range(len(hole)), key=differs.__getitem__):
                at = [*run_of]
                pieces[own].append((_part(run.dataset.codec.decode, hole, at[0], at[-1] + 1), differing))
    return [tuple(_cut(own, text)) for own, text in zip(pieces, texts, strict=True)]


def _part(decode: Callable[[Sequence[int]], str], tokens: Sequence[int], start: int, stop: int) -> str:
    """What some of the tokens add to the text of those before them: a space between two words belongs to no token."""
    before, text = decode(tokens[:start]), decode(tokens[:stop])
    return text[len(before) :] if text.startswith(before) else decode(tokens[start:stop])


def _cut(pieces: Sequence[tuple[str, bool]], text: str) -> Iterator[tuple[str, bool]]:
    """The pieces up to the length of the text, which a stop text may have cut."""
    left = len(text) if "".join(piece for piece, _ in pieces).startswith(text) else None
    for piece, differs in pieces:
        shown = piece if left is None else piece[:left]
        left = None if left is None else left - len(shown)
        if shown:
            yield shown, differs


def profile_curves(profiles: Mapping[int, Profiles]) -> tuple[ProfileCurve, ...]:
    """The curves of the profiles that were used."""
    return tuple(ProfileCurve.of(profile) for profile in profiles.values() if profile.used)
