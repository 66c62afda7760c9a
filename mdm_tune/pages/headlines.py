"""The sentence that stands first on a page: what the winner gains, what needs no search, and at how many calls."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from mdm_tune.core.interval_text import interval_decimals, interval_text
from mdm_tune.core.messages import quantity
from mdm_tune.core.numerals import significant
from mdm_tune.core.statistics import Estimate
from mdm_tune.pages.names import and_listed, role_of, short_name
from mdm_tune.pages.run_values import GainView, Row
from mdm_tune.pages.run_views import BudgetView, Rivalry, RunView, State, Verdict
from mdm_tune.schedules.equal_cost import MORE_CALLS, equal_cost

__all__ = ["at_steps", "best_budget", "few_differ", "headline", "value_text", "value_texts"]

MOST_TOLD = 4  # budgets, as on the first screen
ROUNDING = 1e-12
AT_NO_MORE = f"At no more calls than linear ({100 * MORE_CALLS:g} % tolerated)"
NEARNESS = (  # of a budget without a claimed gain to one
    *(Verdict.MORE_CALLS, Verdict.LESS_DIVERSE, Verdict.NOT_CLAIMED),
    *(Verdict.NO_GAIN, Verdict.UNTESTED, Verdict.WORSE),
)
WITHOUT = {  # what is said of budgets without a gain beside one with a gain
    Verdict.LESS_DIVERSE: "the gain does not count, because the samples are less diverse",
    Verdict.NOT_CLAIMED: "no gain is claimed",
    Verdict.NO_GAIN: "no gain is shown",
    Verdict.UNTESTED: "there are too few examples for an interval",
    Verdict.WORSE: "what the search chose is worse than linear, which is returned",
}


def value_text(estimate: Estimate) -> str:
    """A value without its interval, with the decimals that the interval justifies."""
    return estimate.text.split(" ")[0].replace("infinite", "not finite")


def value_texts(*estimates: Estimate) -> list[str]:
    """Values without their intervals, all with the decimals that the shortest interval justifies."""
    finite = [each.ci for each in estimates if each.ci is not None and all(map(math.isfinite, each.ci))]
    least = max((interval_decimals(*ends) for ends in finite), default=0)
    return [
        value_text(each) if each.ci is None else interval_text(each.value, each.ci, least=least).split(" ")[0]
        for each in estimates
    ]


def best_budget(view: RunView) -> BudgetView | None:
    """The budget of the headline: the one whose gain is claimed and largest, else whose gain is largest."""
    won = [budget for budget in view.budgets if budget.verdict is Verdict.BETTER] or view.budgets
    return max(won, key=lambda budget: budget.gain.value, default=None)


def at_steps(steps: Sequence[int]) -> str:
    """Budgets at the beginning of a sentence."""
    return f"At {and_listed([str(each) for each in steps])} step{'' if [*steps] == [1] else 's'}"


def few_differ(budget: BudgetView) -> str:
    """How many examples differ where they are too few for a claim; empty if they are enough, or unknown."""
    differing, fewest = budget.gain.differing, budget.gain.fewest
    few = differing is not None and fewest is not None and differing < fewest
    return f"{differing} examples differ, {fewest} must" if few else ""


def headline(view: RunView) -> str:
    """The sentence that a reader remembers, and those below it, in order of importance."""
    if view.state is not State.FINISHED:
        return _unfinished(view)
    if view.budgets:
        return " ".join(_of_search(view))
    if view.rows:
        return _of_evaluation(view)
    return _of_profile(view)


def _unfinished(view: RunView) -> str:
    progress = view.progress
    if progress is None:
        return "This run has no result yet."
    if view.state is State.STOPPED:
        return f"The search was stopped after {100 * progress.share:.0f} % of its work."
    return f"The search is running: {100 * progress.share:.0f} % of its work is done."


def _of_search(view: RunView) -> Iterator[str]:
    """The gain of the winner, what needs no search, and the other budgets; or why there is no gain."""
    best, budgets = best_budget(view), view.budgets
    assert best is not None
    if all(budget.hand_made and budget.kind == "linear" for budget in budgets):
        yield "The search found no schedule better than linear."
        return
    if best.verdict is Verdict.BETTER:
        yield _gained(view, best)
        yield from _beside(best)
        yield from _at_other_budgets(view, best)
        return
    by_verdict = {budget.verdict: budget for budget in sorted(budgets, key=lambda budget: budget.gain.value)}
    if by_verdict.keys() == {Verdict.UNTESTED}:
        yield "Nothing can be said: there are too few examples for an interval."
        return
    nearest = next(by_verdict[verdict] for verdict in NEARNESS if verdict in by_verdict)
    if nearest.verdict is not Verdict.MORE_CALLS:
        yield _without_a_gain(nearest)
        yield from _beside(nearest)
        return
    yield f"{_winner(nearest)} {_gained_at_more_calls(view, nearest)}"
    sure = nearest.call_ratio is None or nearest.call_ratio.surely_more
    yield f"This is {'no' if sure else 'not surely a'} gain at equal calls."
    yield from _at_no_more_calls(budgets)
    others = [budget for budget in budgets if budget is not nearest and budget.verdict is Verdict.MORE_CALLS]
    for budget in others[: MOST_TOLD - 1]:
        yield _another_at_more_calls(view, budget)
    named = {kind.policy for budget in budgets if (kind := budget.equal_beside)}
    if nearest.rival is not None and nearest.rival.label not in named:
        yield from _beside(nearest)


def _gained(view: RunView, budget: BudgetView) -> str:
    """The gain of a winner over linear."""
    at = quantity(budget.steps, "step")
    return f"{_winner(budget)} is better than linear by {budget.gain.text} at {at}: {_values(view, budget)}."


def _winner(budget: BudgetView) -> str:
    """The winner as the first words of the page."""
    return f"The winner, {_named(budget)},"


def _named(budget: BudgetView) -> str:
    return f"hand-made {budget.name}" if budget.hand_made else budget.name


def _values(view: RunView, budget: BudgetView) -> str:
    linear = budget.baselines.get("linear")
    if linear is None:
        return f"{view.about.metric} {value_text(budget.estimate)}"
    own, other = value_texts(budget.estimate, linear.estimate)
    return f"{view.about.metric} {own} instead of {other}"


def _another_at_more_calls(view: RunView, budget: BudgetView) -> str:
    """The sentence of a winner with more calls at another budget than that of the headline."""
    name = _named(budget)
    return f"{name[0].upper() + name[1:] if budget.hand_made else name} {_gained_at_more_calls(view, budget)}"


def _gained_at_more_calls(view: RunView, budget: BudgetView) -> str:
    """How much better a winner is than linear, in one sentence with the calls that it makes more."""
    if budget.call_ratio is not None:
        more = budget.call_ratio.text
    else:
        linear = budget.baselines.get("linear")
        than = significant(budget.steps if linear is None or linear.calls is None else linear.calls, 4)
        more = f"more calls than linear: {significant(budget.calls, 4)} instead of {than}"
    return (
        f"is better than linear by {budget.gain.text} at {quantity(budget.steps, 'step')}, "
        f"{_values(view, budget)}, but makes {more}."
    )


def _at_no_more_calls(budgets: Sequence[BudgetView]) -> Iterator[str]:
    """What gains at no more calls than linear where the winners make more; nothing if kinds were not compared."""
    missed = [budget for budget in budgets if budget.verdict is Verdict.MORE_CALLS and budget.policies]
    found: dict[tuple[str, bool], list[str]] = {}
    for budget in missed:
        kind = budget.equal_beside
        if kind is not None and kind.gain is not None:
            name = short_name(kind.policy or kind.kind), kind.policy in budget.baselines
            found.setdefault(name, []).append(f"{kind.gain.text} at {quantity(budget.steps, 'step')}")
    for (policy, hand_made), gains in found.items():
        free = ", which needs no search," if hand_made else ""
        yield f"{AT_NO_MORE}, {policy}{free} gains {and_listed(gains)}."
    if missed and not found:
        yield f"{AT_NO_MORE}, no gain is shown."


def _beside(budget: BudgetView) -> Iterator[str]:
    """What a hand-made schedule does that needs no search: the winner itself, or else the best one."""
    at = quantity(budget.steps, "step")
    if budget.hand_made and budget.kind != "linear":
        yield f"Hand-made {budget.name} needs no search: the search found no schedule better than it at {at}."
    rival, gain = budget.rival, budget.rival_gain
    if rival is None or budget.is_rival or (gain is None and budget.against_rival is None):
        return
    rank = budget.rival_rank[0].upper() + budget.rival_rank[1:]
    own = f"has {value_text(rival.estimate)}" if gain is None else _own(gain)
    calls, over = _calls_of(budget, rival), _over(budget)
    yield f"{rank}, {short_name(rival.label)}, needs no search and {own}{calls} at {at}{over}."


def _own(gain: GainView) -> str:
    """What a hand-made schedule gains over linear."""
    ends = gain.familywise or gain.own
    high = ends[1] if ends is not None else gain.value if gain.reason == "exact" else 0.0
    if gain.shown:
        return f"gains {gain.text} over linear"
    if high < -ROUNDING:
        turned = None if ends is None else (-ends[1], -ends[0])
        return f"is worse than linear by {interval_text(-gain.value, turned, gain.reason)}"
    if gain.reason == "exact":
        return "is as good as linear"
    return f"is not shown to be better than linear ({gain.text})"


def _calls_of(budget: BudgetView, row: Row) -> str:
    """The calls of a hand-made schedule where they are more than linear's, as for texts that end early."""
    linear = budget.baselines.get("linear")
    if linear is None or not linear.calls or not row.calls or not equal_cost(row.calls, linear.calls).more:
        return ""
    return f", with {significant(row.calls, 4)} calls instead of {significant(linear.calls, 4)},"


def _over(budget: BudgetView) -> str:
    """What the winner gains over the best hand-made schedule; empty without a paired comparison."""
    gain, rivalry = budget.over_rival, budget.against_rival
    if gain is None or rivalry is None or budget.rejected is not None:
        return ""
    if rivalry is Rivalry.OPEN and gain.reason == "exact":
        return "; the winner is as good as it"
    return f"; the winner {_than(gain)} it{_doubt(rivalry)}"


def _than(gain: GainView) -> str:
    """What the winner gains over another schedule, or loses against it."""
    if gain.value >= 0:
        return f"gains {gain.text} over"
    ends = gain.familywise or gain.own
    lost = interval_text(-gain.value, None if ends is None else (-ends[1], -ends[0]), gain.reason)
    return f"loses {lost} against"


def _doubt(rivalry: Rivalry) -> str:
    return {Rivalry.OPEN: ", which may be chance", Rivalry.MORE_CALLS: ", at more calls"}.get(rivalry, "")


def _at_other_budgets(view: RunView, best: BudgetView) -> Iterator[str]:
    """What the search shows at the budgets that the headline does not name."""
    others = [budget for budget in view.budgets if budget is not best]
    told = [budget for budget in others if budget.verdict not in WITHOUT]
    told = sorted(sorted(told, key=lambda budget: -budget.gain.value)[: MOST_TOLD - 1], key=lambda each: each.steps)
    for budget in told:
        at_more_calls = budget.verdict is Verdict.MORE_CALLS
        yield _another_at_more_calls(view, budget) if at_more_calls else _also_gained(budget)
    for verdict, words in WITHOUT.items():
        steps = [budget.steps for budget in others if budget.verdict is verdict]
        if steps:
            yield f"{at_steps(steps)} {words}."


def _also_gained(budget: BudgetView) -> str:
    """The gain at another budget than that of the headline, over linear and over the best hand-made schedule."""
    at, gain = f"{at_steps([budget.steps])}", f"gains {budget.gain.text} over linear"
    if budget.hand_made:
        return f"{at} the search found no schedule better than hand-made {budget.name}, which {gain}."
    if budget.rival is None or budget.over_rival is None or budget.against_rival is None:
        return f"{at} {budget.name} {gain}."
    name = f"hand-made {short_name(budget.rival.label)}"
    if budget.against_rival is Rivalry.OPEN and budget.over_rival.reason == "exact":
        return f"{at} {budget.name} {gain} and is as good as {name}."
    words, doubt = _than(budget.over_rival), _doubt(budget.against_rival)
    return f"{at} {budget.name} {gain} and {words.removeprefix('gains ')} {name}{doubt}."


def _without_a_gain(budget: BudgetView) -> str:
    """The sentence of a search whose gains are not claimed: of the budget that comes nearest to a gain."""
    gain, at = budget.gain.text, f"at {quantity(budget.steps, 'step')}"
    if budget.hand_made and budget.kind == "linear":
        return f"The search found no schedule better than linear {at}."
    if budget.verdict is not Verdict.WORSE:
        at = f"with {_named(budget)} {at}"
    if budget.verdict is Verdict.LESS_DIVERSE:
        return f"No gain over linear counts: the value is better by {gain} {at}, but the samples are less diverse."
    if budget.verdict is Verdict.NOT_CLAIMED:
        few = few_differ(budget)
        why = f", but only {few}" if few else " does not hold after correction for all budgets"
        return f"No gain over linear is claimed: {gain} {at}{why}."
    if budget.verdict is Verdict.WORSE:
        name, loss = ("The winner", "") if budget.rejected is None else _rejected(budget.rejected)
        return f"{name} is worse than linear {at}{loss}, so linear is returned."
    return f"No gain over linear is shown: {gain} {at}."


def _rejected(rejected: tuple[str, Estimate, GainView]) -> tuple[str, str]:
    return f"{short_name(rejected[0])}, which the search found best,", f" ({rejected[2].text})"


def _of_evaluation(view: RunView) -> str:
    """The schedule with the largest gain over linear whose interval excludes zero, at equal calls."""
    labels = len({row.name for row in view.rows})
    adaptive = any(role_of(row.label) == "adaptive" for row in view.rows)
    kinds = ("policy", "schedules and policies") if adaptive else ("schedule", "schedules")
    compared = [row for row in view.rows if row.difference is not None and not row.more]
    better = [row for row in compared if _clearly(row)]
    what = f"1 {kinds[0]} was compared at " if labels == 1 else f"{labels} {kinds[1]} were compared at "
    what += quantity(len({row.steps for row in view.rows}), "budget")
    if not compared:
        return f"{what}."
    if not better:
        return f"{what}: none is clearly better than linear."
    best = max(better, key=lambda row: row.difference.value if row.difference else 0.0)
    gain = "" if best.difference is None else best.difference.text
    return (
        f"{what}. The largest gain over linear has {short_name(best.label)} at {quantity(best.steps, 'step')}: "
        f"{view.about.metric} {value_text(best.estimate)}, better by {gain}."
    )


def _clearly(row: Row) -> bool:
    if row.difference is None:
        return False
    ends = row.difference.ci
    return row.difference.exact and row.difference.value > 0 if ends is None else ends[0] > 0


def _of_profile(view: RunView) -> str:
    budgets = (view.profile or {}).get("budgets") or ()
    gains = [(entry["linear"]["nelbo"] - entry["beta"]["nelbo"], entry) for entry in budgets]
    if not gains:
        return "The information profile of the model was measured."
    _, entry = max(gains, key=lambda pair: float(pair[0]))
    beta, linear = entry["beta"], entry["linear"]
    return (
        f"By the information profile, Beta({beta['a']:.3g}, {beta['b']:.3g}) has a NELBO of {beta['nelbo']:.4g} nats "
        f"at {quantity(entry['steps'], 'step')}, and linear has {linear['nelbo']:.4g}."
    )
