"""What the page shows of a run. Much may be missing, in older folders and while a search runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePath
from typing import Any

from mdm_tune.core.messages import quantity
from mdm_tune.core.statistics import Estimate
from mdm_tune.pages.frontier import FrontierView
from mdm_tune.pages.names import rounded_count, short_name
from mdm_tune.pages.run_values import (
    CurveView,
    GainView,
    LossView,
    Point,
    PolicyView,
    RevealsView,
    Row,
    SharedView,
    WinsView,
    baselines_in,
    stand_ins_in,
)
from mdm_tune.schedules.equal_cost import CallRatio
from mdm_tune.schedules.labels import Label

__all__ = [
    "About",
    "BudgetView",
    "CurveView",
    "Drawn",
    "GainView",
    "LossView",
    "PairView",
    "Point",
    "PolicyView",
    "Progress",
    "RevealsView",
    "Rivalry",
    "Row",
    "RunView",
    "SharedView",
    "State",
    "Verdict",
    "Warned",
    "WinsView",
    "baselines_in",
    "stand_ins_in",
]

Record = Mapping[str, Any]
ROUNDING = 1e-12
BUNDLED, OURS = "package:", "bundled with mdm-tune"  # in a path, and what it means


class State(Enum):
    """How far a run is."""

    FINISHED = "finished"
    RUNNING = "running"
    STOPPED = "stopped"


class Verdict(Enum):
    """What the comparison of a budget's schedule with linear shows."""

    BETTER = "better than linear"
    LESS_DIVERSE = "better, but less diverse"
    MORE_CALLS = "better, but at more calls"
    NOT_CLAIMED = "no gain is claimed"
    NO_GAIN = "no gain is shown"
    WORSE = "worse than linear"
    UNTESTED = "too few examples"


class Rivalry(Enum):
    """What the comparison of a budget's schedule with the best hand-made one shows."""

    BETTER = "better than"
    OPEN = "not shown better than"
    MORE_CALLS = "better at more calls than"
    WORSE = "worse than"


@dataclass(frozen=True, kw_only=True)
class About:
    """What a run is of. Texts are empty, and ``config`` is empty, where a folder does not say it.

    Attributes:
        metric: name of the objective.
        label: the objective in words.
        maximize: whether larger values are better.
        exact: whether values have no sampling error.
        length: tokens to fill; None if unknown.
        sampler: the sampler in words.
        config: the complete config.
        fingerprints: of model, data and code.
        versions: of packages.
        flags: words of a command line that repeat the permissions.
        parameters: of the model; None if unknown.
        vocabulary: tokens that the model knows; None if unknown.
    """

    metric: str
    label: str
    maximize: bool
    exact: bool
    length: int | None
    sampler: str
    config: Record
    fingerprints: Mapping[str, str]
    versions: Mapping[str, str]
    flags: tuple[str, ...] = ()
    parameters: int | None = None
    vocabulary: int | None = None

    @property
    def of_transformers(self) -> bool:
        """Whether the model is one of transformers, as ``mdm_tune.generate`` takes it."""
        return bool((self.config.get("model") or {}).get("type") == "huggingface")

    @property
    def sign(self) -> int:
        """The factor that makes larger values better."""
        return 1 if self.maximize else -1

    def section(self, name: str) -> Record:
        """A section of the config; empty if it is missing."""
        found = self.config.get(name)
        return found if isinstance(found, Mapping) else {}

    @property
    def model(self) -> str:
        """The model in a few words, with its size; empty if unknown."""
        section = self.section("model")
        name = " ".join(str(section[key]) for key in ("type", "path", "target", "name") if section.get(key))
        known = [OURS] if BUNDLED in name else []
        known += [] if self.parameters is None else [f"{rounded_count(self.parameters)} parameters"]
        known += [] if self.vocabulary is None else [f"a vocabulary of {quantity(self.vocabulary, 'token')}"]
        return f"{name} ({', '.join(known)})" if name and known else name

    @property
    def data(self) -> str:
        """The data in a few words; empty if there are none."""
        section = self.section("dataset")
        name = " ".join(_said(section[key]) for key in ("type", "path", "name", "task") if section.get(key))
        return f"{name} ({OURS})" if BUNDLED in name else name


def _said(value: object) -> str:
    """A value of a config in words; files of several splits by their names."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {PurePath(str(each)).name}" for name, each in value.items())
    return str(value)


@dataclass(frozen=True, kw_only=True)
class BudgetView:
    """The result of one budget.

    Attributes:
        steps: the budget.
        kind: type of the schedule: beta, the name of a hand-made one, or of another policy.
        a, b: the parameters; None if it has none.
        values: the parameters of another policy than a schedule, by name.
        counts: tokens per step; None for ancestral reveal.
        alphas: alpha at the ends of the steps, for ancestral reveal.
        block_length: positions per block.
        calls: mean denoiser calls.
        estimate: the value on the report split.
        examples: of the report split; None if exact.
        baselines: values and calls by name.
        gain: the gain over linear.
        verdict: what it shows.
        rejected: the schedule that was worse than linear and is not returned, with its value and gain; None if none.
        data: the value of the data itself; None if unknown.
        diversity: figures by source (winner, linear, rival, reference, data) and name.
        samples: on which each of these figures is computed; None if unknown.
        losses: losses of diversity.
        reference_steps: steps of linear at many steps.
        threshold: the share of diversity that may be lost.
        detectable: the smallest gain that is shown with 80 % power; None if unknown.
        trials: finished trials.
        dropped: trials that were dropped early.
        ended: why trials ended early; empty if they did not.
        points: the trials.
        choose: labels and values on the choose split.
        grid_rows: denoiser rows of the paper's grid; None if unknown.
        same: other schedules with the same counts.
        rival: the hand-made schedule other than linear with the best value; None if there is none.
        rival_gain: its own gain over linear; None in older records.
        over_rival: the gain over it; None in older records, and if the tuned schedule is that schedule.
        linear_above_rival: whether linear has a better value than the rival.
        over: the gain over each hand-made schedule, by label; only that over linear in older records.
        wins: examples on which it is better, equal and worse, by label; empty for exact values and in older records.
        stand_ins: what may stand in for the winner, in words; empty if nothing is known.
        replaced_by: the labels of the hand-made schedules among them.
        policy: the name of another policy on the command line, with its value; empty for a schedule.
        policies: the best of each kind of policy; empty if one kind is tuned.
        reveals: what each call of adaptive policies and of linear reveals, by label; empty if unknown.
        call_ratio: the calls compared with those of linear; None in older records.
        brief: the label of Beta(a, b) with as many digits as give the counts; empty if it is not of the family.
        unreachable: policies of trials that cannot make the calls of the budget, each with the reason.
    """

    steps: int
    kind: str
    a: float | None
    b: float | None
    values: Mapping[str, float]
    counts: tuple[int, ...] | None
    alphas: tuple[float, ...] | None
    block_length: int | None
    calls: float
    estimate: Estimate
    examples: int | None
    baselines: Mapping[str, Row]
    gain: GainView
    verdict: Verdict
    rejected: tuple[str, Estimate, GainView] | None
    data: Estimate | None
    diversity: Mapping[str, Mapping[str, Estimate]]
    samples: int | None
    losses: tuple[LossView, ...]
    reference_steps: int | None
    threshold: float | None
    detectable: float | None
    trials: int
    dropped: int
    ended: str
    points: tuple[Point, ...]
    choose: tuple[tuple[str, Estimate], ...]
    grid_rows: int | None
    same: tuple[str, ...]
    rival: Row | None = None
    rival_gain: GainView | None = None
    over_rival: GainView | None = None
    linear_above_rival: bool = False
    over: Mapping[str, GainView] = field(default_factory=dict)
    wins: Mapping[str, WinsView] = field(default_factory=dict)
    stand_ins: str = ""
    replaced_by: tuple[str, ...] = ()
    policy: str = ""
    policies: tuple[PolicyView, ...] = ()
    reveals: Mapping[str, RevealsView] = field(default_factory=dict)
    call_ratio: CallRatio | None = None
    unreachable: tuple[str, ...] = ()
    brief: str = ""

    @property
    def against_rival(self) -> Rivalry | None:
        """What the comparison with the rival shows; None if there is no rival or no paired comparison."""
        gain = self.over_rival
        if gain is None or self.rival is None:
            return None
        if gain.shown:
            return Rivalry.MORE_CALLS if self.verdict is Verdict.MORE_CALLS else Rivalry.BETTER
        high = gain.value if gain.own is None else (gain.familywise or gain.own)[1]
        tested = gain.own is not None or gain.reason == "exact"
        return Rivalry.WORSE if tested and high < -ROUNDING else Rivalry.OPEN

    @property
    def is_rival(self) -> bool:
        """Whether the tuned schedule is the best hand-made one."""
        return self.rival is not None and not self.policy and Label.read(self.rival.label).name == self.kind

    @property
    def hand_made(self) -> bool:
        """Whether the search chose a hand-made schedule, since it found none that is better."""
        named = {Label.read(name).name for name in self.baselines}
        return self.rejected is None and not self.adaptive and not self.of_the_family and self.kind in named

    @property
    def title(self) -> str:
        """The schedule with what it is: tuned, hand-made, or returned instead of a worse one."""
        if self.hand_made:
            return f"chosen: {self.name} (hand-made)"
        return f"{'tuned' if self.rejected is None else 'returned'}: {self.name}"

    @property
    def subject(self) -> str:
        """The schedule as the subject of a sentence."""
        return f"hand-made {self.name}" if self.hand_made else f"the tuned {'policy' if self.adaptive else 'schedule'}"

    def is_itself(self, row: Row) -> bool:
        """Whether a row of a hand-made schedule is that of the winner, so that it need not be shown twice."""
        same = (row.estimate.value, row.estimate.ci) == (self.estimate.value, self.estimate.ci)
        return same and not self.policy and Label.read(row.label).name == self.kind

    @property
    def adaptive(self) -> bool:
        """Whether it is a policy that is more than a schedule."""
        return bool(self.policy or self.values)

    @property
    def rival_rank(self) -> str:
        """What the rival is among the hand-made schedules."""
        return f"the best hand-made schedule{' after linear' if self.linear_above_rival else ''}"

    @property
    def equal(self) -> PolicyView | None:
        """The kind of policy with the largest gain that counts, at no more calls than linear; None if there is none."""
        counted = [each for each in self.policies if not each.more and not each.less_diverse]
        shown = [each for each in counted if each.gain is not None and each.gain.shown]
        return max(shown, key=lambda each: each.gain.value if each.gain else 0.0, default=None)

    @property
    def equal_beside(self) -> PolicyView | None:
        """That kind of policy where the gain of the winner itself is at more calls; None elsewhere."""
        return self.equal if self.verdict is Verdict.MORE_CALLS else None

    @property
    def of_the_family(self) -> bool:
        """Whether it is a schedule Beta(a, b)."""
        return self.a is not None and self.b is not None and not self.values and not self.policy

    @property
    def name(self) -> str:
        """The schedule in a few words."""
        if self.policy:
            return short_name(self.policy)
        if self.values:
            return f"{self.kind} ({', '.join(f'{name} {value:.3g}' for name, value in self.values.items())})"
        return short_name(self.brief or self.label)

    @property
    def label(self) -> str:
        """The schedule as on the command line."""
        if self.policy:
            return self.policy
        return f"beta:{self.a!r},{self.b!r}" if self.of_the_family else self.kind


@dataclass(frozen=True)
class Drawn:
    """A sample in pieces, each with whether its tokens differ from those of the other sample of the pair."""

    label: str
    value: float
    pieces: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, kw_only=True)
class PairView:
    """Samples of one example from the same noise.

    Attributes:
        steps: the budget.
        id: of the example.
        chosen: why it is shown.
        first, second: the samples of linear and of the tuned schedule.
        third: that of the best hand-made schedule, in comparison with the second one; None if there is none.
        example: what was asked, with references in angle brackets; empty for free text and in older records.
    """

    steps: int
    id: str
    chosen: str
    first: Drawn
    second: Drawn
    third: Drawn | None = None
    example: str = ""


@dataclass(frozen=True)
class Warned:
    """A warning about a result."""

    code: str
    text: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a search is.

    Attributes:
        stage: what it does now, in words.
        done: finished trials and comparisons.
        total: those of the whole search, at most.
        updated: when this was written, as ISO text.
        steps: all budgets.
        current: the budget at work; None before the first.
        best: the best value of the budget at work so far.
        resume: the command that continues a search that was stopped.
        seconds_left: about how long it will still take; None without an estimate.
        points: trials of the budget at work.
    """

    stage: str
    done: int
    total: int
    updated: str
    steps: tuple[int, ...]
    current: int | None
    best: float | None
    resume: str = ""
    seconds_left: float | None = None
    points: tuple[Point, ...] = ()

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class RunView:
    """All that a page shows of one run.

    Attributes:
        name: name of the folder.
        path: the folder.
        state: how far it is.
        about: what it is of.
        budgets: the results of a search, in ascending order of steps.
        headline: the comparison with linear at larger budgets that saves most calls; None if none is shown.
        margin: the share of linear's value that counts as no loss.
        cheapest_policy: the name and the budget of the cheapest policy; None if there is none.
        hint: what was not measured and may be cheaper; empty if there is nothing to say.
        rows: the rows of an evaluation, in its order.
        frontier: of the search, or else of the evaluation; None if neither has one.
        data: the value of the data itself in the evaluation.
        reference: the label of linear in the evaluation.
        evaluated: examples of the evaluation; None if exact or if there is none.
        profile: ``profile.json`` as it is.
        curves: the information profiles.
        pairs: pairs of samples.
        rows_of: denoiser rows of the search by what they were spent on.
        cost: denoiser rows, tokens and seconds of the search; None if there is none.
        evaluate_cost: the same of the evaluation.
        trials: finished trials.
        warnings: about the results.
        progress: of a search without a result.
        cheapest: the cheapest policy that is as good as one token per step, in words; empty if it was not looked for.
        shared: the one schedule of all budgets; None if each budget has its own.
        claims: comparisons with linear for which the gains are corrected.
    """

    name: str
    path: str
    state: State
    about: About
    budgets: tuple[BudgetView, ...] = ()
    headline: Record | None = None
    margin: float | None = None
    cheapest_policy: tuple[str, int] | None = None
    hint: str = ""
    rows: tuple[Row, ...] = ()
    frontier: FrontierView | None = None
    data: Estimate | None = None
    reference: str = "linear"
    evaluated: int | None = None
    profile: Record | None = None
    curves: tuple[CurveView, ...] = ()
    pairs: tuple[PairView, ...] = ()
    rows_of: Mapping[str, int] = field(default_factory=dict)
    cost: tuple[int, int, float] | None = None
    evaluate_cost: tuple[int, int, float] | None = None
    trials: int = 0
    warnings: tuple[Warned, ...] = ()
    progress: Progress | None = None
    shared: SharedView | None = None
    cheapest: str = ""
    claims: int = 1

    @property
    def sampler(self) -> str:
        """The sampler in words, without the setting that only schedules follow where a winner is another policy."""
        adaptive = any(budget.adaptive for budget in self.budgets)
        return self.about.sampler.replace(", reveal fixed", "") if adaptive else self.about.sampler

    @property
    def word(self) -> str:
        """What its schedules are called together: tuned, or chosen where a hand-made one is among them."""
        return "chosen" if any(budget.hand_made for budget in self.budgets) else "tuned"
