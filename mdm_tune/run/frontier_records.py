"""The records of the frontier of ``evaluate``: quality against calls, tokens per forward, and the cheapest policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mdm_tune.core.interval_text import interval_text
from mdm_tune.core.json_record import Beside, JsonRecord
from mdm_tune.core.messages import listed, quantity
from mdm_tune.core.numerals import shortest
from mdm_tune.core.statistics import CONFIDENCE, Estimate, corrected_confidence
from mdm_tune.core.types import Direction
from mdm_tune.evaluation.parallelism import Measured, areas, pareto_front
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.record_parts import CallsRecord
from mdm_tune.schedules.adaptive_names import KL
from mdm_tune.schedules.labels import Label
from mdm_tune.search.cheapest import Cheapest, Tested, cheapest_of
from mdm_tune.search.gains import Loss

__all__ = ["CheapestRecord", "CurveRecord", "Point", "PointRecord", "PolicyFrontierRecord", "policy_of"]


@dataclass(frozen=True)
class Point:
    """A policy at a budget as it was measured.

    Attributes:
        measured: Its scores, and the tokens that were filled.
        spent: The cost of measuring it, without that of finding its value.
        policy: The name of the policy; None for that of ``policy_of``.
        losses: The losses of diversity against one token per step that exceed the threshold and the noise.
    """

    measured: Measured
    spent: Cost
    policy: str | None = None
    losses: tuple[Loss, ...] = ()

    @property
    def scores(self) -> Scores:
        """The scores."""
        return self.measured.scores


@dataclass(frozen=True, kw_only=True)
class PointRecord(JsonRecord):
    """A policy at a budget.

    Attributes:
        policy: The policy, see ``policy_of``.
        schedule: Label of the schedule or policy, as in ``rows``.
        steps: The budget.
        estimate: Value of the metric.
        calls: Denoiser calls that were made.
        tpf: Tokens per forward: tokens that were filled over denoiser calls.
        on_front: Whether no other point has as few calls and a better value, or fewer calls and as good a value.
        difference: Value minus that of one token per step; positive is better.
        bound: Its one-sided lower bound at ``level``; None if not tested, for exact values, and for too few examples.
        level: The level of the point's test; None if it was not tested.
        no_worse: Whether the point is shown to be no worse than one token per step, up to the margin; None if untested.
            A point is not tested if it makes no fewer calls than one token per step.
        tokens_per_second: Filled tokens over the seconds of the measurement on this machine, scoring included; None for
            exact values.
        losses: Losses of diversity against one token per step that exceed ``search.diversity_loss`` and the noise.
    """

    policy: str
    schedule: str
    steps: int
    estimate: Beside[Estimate]
    calls: Beside[CallsRecord]
    tpf: Estimate
    on_front: bool
    difference: float | None
    bound: float | None
    level: float | None
    no_worse: bool | None
    tokens_per_second: float | None
    losses: tuple[Loss, ...] = ()

    @classmethod
    def of(cls, point: Point, policy: str, *, on_front: bool, tested: Tested | None = None) -> PointRecord:
        """The record of a point. tested: its comparison with one token per step; None for that itself."""
        scores, test = point.scores, None if tested is None else tested.test
        exact = scores.values is None or not point.spent.seconds
        return cls(
            policy=policy,
            schedule=scores.setting.label,
            steps=scores.setting.steps,
            estimate=scores.estimate,
            calls=CallsRecord.of(scores),
            tpf=point.measured.tpf,
            on_front=on_front,
            difference=None if test is None else test.difference,
            bound=None if test is None else test.bound,
            level=None if tested is None else tested.level,
            no_worse=None if test is None else test.holds,
            tokens_per_second=None if exact else float(point.measured.filled.sum()) / point.spent.seconds,
            losses=point.losses,
        )


@dataclass(frozen=True, kw_only=True)
class CurveRecord(JsonRecord):
    """All points of a policy together.

    Attributes:
        policy: The policy.
        aup: Area under accuracy and parallelism; None if the metric is no share that is maximised.
        steps: The budget of its cheapest point that is shown to be no worse than one token per step; None if there is
            none.
        calls: The calls of that point.
    """

    policy: str
    aup: Estimate | None
    steps: int | None
    calls: CallsRecord | None

    @classmethod
    def of(cls, policy: str, found: Cheapest, aup: Estimate | None) -> CurveRecord:
        """The record of a policy."""
        best = found.best_of(policy)
        if best is None:
            return cls(policy=policy, aup=aup, steps=None, calls=None)
        return cls(policy=policy, aup=aup, steps=best.scores.setting.steps, calls=CallsRecord.of(best.scores))


@dataclass(frozen=True, kw_only=True)
class CheapestRecord(JsonRecord):
    """The cheapest policy that is shown to be no worse than one token per step.

    Attributes:
        policy: The policy.
        schedule: Label of the schedule or policy.
        steps: The budget.
        calls: Its calls, with an interval that holds for all tested points together.
        ratio: Calls of one token per step over its calls.
        linear: Calls of linear's cheapest point that is shown too; None if there is none.
        losses: Its losses of diversity, as in ``points``.
    """

    policy: str
    schedule: str
    steps: int
    calls: Beside[CallsRecord]
    ratio: float
    linear: float | None
    losses: tuple[Loss, ...] = ()

    @classmethod
    def of(cls, found: Cheapest, linear: str, losses: Mapping[int, tuple[Loss, ...]]) -> CheapestRecord | None:
        """The record of the cheapest policy; None if no point is shown.

        Args:
            found: The tested points.
            linear: The name of linear as a policy.
            losses: Losses of diversity, by the ``id`` of a point's scores.
        """
        best, of_linear = found.best, found.best_of(linear)
        if best is None:
            return None
        return cls(
            policy=best.policy,
            schedule=best.scores.setting.label,
            steps=best.scores.setting.steps,
            calls=CallsRecord.of(best.scores, corrected_confidence(max(1, found.tests))),
            ratio=found.reference.nfe / best.scores.nfe,
            linear=None if of_linear is None else of_linear.scores.nfe,
            losses=losses[id(best.scores)],
        )


@dataclass(frozen=True, kw_only=True)
class PolicyFrontierRecord(JsonRecord):
    """Quality against calls and against tokens per forward, over the policies and budgets of an evaluation.

    Attributes:
        margin: The share of the absolute value of one token per step that counts as no loss.
        confidence: Of the sentence: of all tests together.
        tests: Points that may be tested.
        sentence: The cheapest policy in one sentence.
        cheapest: The same as numbers; None if no policy is shown to be as good.
        reference: Linear at one token per step.
        policies: One record per policy.
        points: Every policy at every budget; measurements that repeat are left out.
        equal_calls: Whether all denoiser calls cost about the same, so that calls can be compared as cost.
        hint: What was not measured and may be cheaper than the named policy; empty if there is nothing to say.
    """

    margin: float
    confidence: float
    tests: int
    sentence: str
    cheapest: CheapestRecord | None
    reference: PointRecord
    policies: tuple[CurveRecord, ...]
    points: tuple[PointRecord, ...]
    equal_calls: bool
    hint: str = ""

    @classmethod
    def of(
        cls, points: Sequence[Point], reference: Point, direction: Direction, margin: float, *, equal_calls: bool
    ) -> PolicyFrontierRecord:
        """The frontier of measured points.

        Args:
            points: Every policy at every budget, on the same examples.
            reference: Linear at one token per step on the same examples.
            direction: The metric's direction.
            margin: The share of the absolute value of one token per step that counts as no loss.
            equal_calls: Whether the filler's calls cost the same by design.
        """
        by_policy = _by_policy(points)
        found = cheapest_of(
            [(name, [point.scores for point in own]) for name, own in by_policy.items()],
            reference.scores,
            direction,
            margin,
        )
        of_scores = {id(point.scores): point for point in points}
        kept = [(tested, of_scores[id(tested.scores)]) for tested in found.points]
        everyone = [*(point for _, point in kept), reference]
        front = pareto_front(
            [point.scores.nfe for point in everyone], [point.scores.estimate.value for point in everyone], direction
        )
        aups = None if direction == "minimize" else areas(_curves(by_policy, kept), reference.measured)
        linear = policy_of(reference.scores.setting)
        best = CheapestRecord.of(found, linear, {id(point.scores): point.losses for point in points})
        on_front = dict(zip(map(id, everyone), front, strict=True))
        return cls(
            margin=margin,
            confidence=CONFIDENCE,
            tests=found.tests,
            sentence=_sentence(found, best),
            cheapest=best,
            reference=PointRecord.of(reference, linear, on_front=on_front[id(reference)]),
            policies=tuple(
                CurveRecord.of(name, found, None if aups is None else aups[place])
                for place, name in enumerate(by_policy)
            ),
            points=tuple(
                PointRecord.of(point, tested.policy, on_front=on_front[id(point)], tested=tested)
                for tested, point in kept
            ),
            equal_calls=equal_calls,
            hint="" if found.best is None else _hint(found, found.best, points),
        )


def policy_of(setting: Setting) -> str:
    """The policy to which a setting belongs: an adaptive policy without its value, or a schedule, and its block length.

    Adaptive policies of one kind that differ in their value are one policy, as counts of one schedule at other budgets
    are. A ``klass`` with another KL divergence than its default is another policy.
    """
    plan = setting.adaptive
    if plan is None or setting.name != plan.name:  # a schedule file is one policy, whatever its budgets hold
        return setting.label
    name: str = plan.kind if plan.schedule is None else f"{plan.kind}:{plan.schedule}"
    name += f":{shortest(plan.kl)}" if plan.kl is not None and plan.kl != KL else ""
    return str(Label(name, setting.block_length if setting.says_blocks else None))


def _by_policy(points: Sequence[Point]) -> Mapping[str, list[Point]]:
    """The points of each policy, from most planned calls to fewest. The order does not depend on what was measured."""
    found: dict[str, list[Point]] = {}
    for point in points:
        found.setdefault(point.policy or policy_of(point.scores.setting), []).append(point)
    return {name: sorted(own, key=_planned) for name, own in found.items()}


def _planned(point: Point) -> tuple[int, float]:
    """Sorts the points of a policy: by budget, and at one budget from the most cautious value to the boldest."""
    plan = point.scores.setting.adaptive
    value = 0.0 if plan is None or plan.value is None else plan.value
    return -point.scores.setting.steps, value if plan is not None and plan.kind == "entropy-bound" else -value


def _curves(by_policy: Mapping[str, Sequence[Point]], kept: Sequence[tuple[Tested, Point]]) -> list[list[Measured]]:
    """The points of each policy without one token per step, with which every curve begins."""
    return [
        [point.measured for tested, point in kept if tested.policy == name and not tested.same] for name in by_policy
    ]


def _sentence(found: Cheapest, best: CheapestRecord | None) -> str:
    """The sentence about the cheapest policy."""
    reference = found.reference
    within = f"within {100 * found.margin:g} % of one token per step"
    calls = f"{reference.nfe:.4g} calls"
    exact = reference.values is None
    how = "computed exactly" if exact else f"{100 * CONFIDENCE:g} % sure, corrected for {quantity(found.tests, 'test')}"
    if best is not None:
        at = interval_text(best.calls.nfe, best.calls.nfe_ci) if best.calls.nfe_ci else f"{best.calls.nfe:.4g}"
        linear = (
            ""
            if best.linear is None or best.policy == policy_of(reference.setting)
            else (f"; linear needs {best.linear:.4g}")
        )
        return (
            f"{_measured(found)}, the cheapest schedule or policy whose quality is {within}: {best.schedule}, "
            f"{at} calls in place of {reference.nfe:.4g}{linear} "
            f"({how.replace(',', ', also of the calls,')}){_less_diverse(best.losses)}"
        )
    if not found.tests:
        return f"nothing makes fewer calls than one token per step ({calls})"
    if found.untested:
        return f"untested, too few examples: whether a schedule or policy is {within} ({calls})"
    return f"no schedule or policy is shown to be {within} ({calls}; {how})"


def _measured(found: Cheapest) -> str:
    """Among how many points the cheapest is looked for."""
    points = {(point.scores.setting.label, point.scores.setting.steps) for point in found.points if not point.same}
    *steps, last = (str(each) for each in sorted({steps for _, steps in points}))
    return f"of {quantity(len(points), 'point')} measured at {f'{listed(steps)} and ' if steps else ''}{last} steps"


def _hint(found: Cheapest, best: Tested, points: Sequence[Point]) -> str:
    """What was not measured between the cheapest point and what is not good enough; empty if nothing lies between."""
    setting = best.scores.setting
    budgets = {point.scores.setting.steps for point in points}
    own = {point.scores.setting.steps for point in points if point.scores.setting.label == setting.label}
    if setting.adaptive is not None and len(own) > 1:  # it has the same value at all budgets
        calls = [point.scores.nfe for point in found.points if point.policy == best.policy]
        below = max((each for each in calls if each < best.scores.nfe), default=None)
        where = "below" if below is None else f"between {below:.3g} and"
        return (
            f"no value of {best.policy} was measured {where} {best.scores.nfe:.3g} calls, and fewer may do: try others"
        )
    below = max((steps for steps in budgets if steps < setting.steps), default=0)
    if setting.steps - below < 2:
        return ""
    where = f"between {below} and {setting.steps}" if below else f"below {setting.steps}"
    middle = (below + setting.steps) // 2
    return (
        f"no budget {where} steps was measured, where fewer calls may do: try others, such as {middle} (sampler.steps)"
    )


def _less_diverse(losses: Sequence[Loss]) -> str:
    """The end of the sentence, if the policy's samples are less diverse than those of one token per step."""
    named = [f"{loss.figure.replace('_', ' ')} by {100 * loss.share:.1f} %" for loss in losses]
    return f"; but its samples are less diverse: {listed(named)}" if named else ""
