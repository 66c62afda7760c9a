"""The sentences of a page: what was tuned, whether it helps, by how much and how surely, and what limits it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mdm_tune.core.messages import listed, quantity
from mdm_tune.core.statistics import Estimate
from mdm_tune.pages.names import large, short_name, time_text
from mdm_tune.pages.run_views import BudgetView, Row, RunView, State, Verdict

__all__ = ["Finding", "best_budget", "findings", "headline", "lead", "value_text", "verdict_text"]

Kind = Literal["good", "bad", "note"]


@dataclass(frozen=True)
class Finding:
    """A sentence beside the headline, and whether it speaks for the result, against it, or neither."""

    kind: Kind
    text: str


def value_text(estimate: Estimate) -> str:
    """A value without its interval, with the decimals that the interval justifies."""
    return estimate.text.split(" ")[0].replace("infinite", "not finite")


def best_budget(view: RunView) -> BudgetView | None:
    """The budget of the headline: the one whose gain is claimed and largest, else whose gain is largest."""
    won = [budget for budget in view.budgets if budget.verdict is Verdict.BETTER] or view.budgets
    return max(won, key=lambda budget: budget.gain.value, default=None)


def headline(view: RunView) -> str:
    """The sentence that a reader remembers."""
    if view.state is not State.FINISHED:
        return _unfinished(view)
    if view.budgets:
        return _of_search(view, view.budgets)
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


def _of_search(view: RunView, budgets: Sequence[BudgetView]) -> str:
    best = best_budget(view)
    assert best is not None
    won = [budget for budget in budgets if budget.verdict is Verdict.BETTER]
    gain, linear = best.gain.text, best.baselines.get("linear")
    at = f"at {quantity(best.steps, 'step')}"
    instead = "" if linear is None else f" instead of {value_text(linear.estimate)}"
    better = f"{view.about.metric} {value_text(best.estimate)}{instead}, a gain of {gain}"
    if len(budgets) == 1 and won:
        return f"The tuned schedule is better than linear {at}: {better}."
    if won:
        where = "at both budgets" if len(won) == len(budgets) == 2 else f"at {len(won)} of {len(budgets)} budgets"
        where = f"at all {len(won)} budgets" if len(won) == len(budgets) > 2 else where
        verb = "schedules are" if len(won) > 1 else "schedule is"
        which = f"Largest gain, {at}" if len(won) > 1 else "There"
        return f"The tuned {verb} better than linear {where}. {which}: {better}."
    verdicts = {budget.verdict for budget in budgets}
    if verdicts == {Verdict.UNTESTED}:
        return "Nothing can be said: there are too few examples for an interval."
    if Verdict.LESS_DIVERSE in verdicts:
        return f"No gain over linear counts: the value is higher by {gain} {at}, but the samples are less diverse."
    if verdicts == {Verdict.WORSE}:
        rejected = best.rejected
        loss = "" if rejected is None else f" ({rejected[2].text} {at})"
        return f"No schedule is better than linear. The one that was chosen is worse{loss}, so linear is returned."
    if Verdict.NOT_CLAIMED in verdicts:
        return f"No gain over linear is claimed: {gain} {at} does not hold for all budgets together."
    return f"No gain over linear is shown: {gain} {at}."


def _of_evaluation(view: RunView) -> str:
    """The schedule with the largest difference from linear whose interval excludes zero."""
    sign, labels = view.about.sign, len({row.label for row in view.rows})
    compared = [row for row in view.rows if row.difference is not None and not row.unequal]
    better = [row for row in compared if _clearly(row, sign)]
    what = f"{labels} schedules were compared at {quantity(len({row.steps for row in view.rows}), 'budget')}"
    if not compared:
        return f"{what}."
    if not better:
        return f"{what}: none is clearly better than linear."
    best = max(better, key=lambda row: sign * row.difference.value if row.difference else 0.0)
    difference = best.difference if sign > 0 else best.difference and best.difference.negated
    text = "" if difference is None else difference.text
    return (
        f"{what}. The largest gain over linear has {short_name(best.label)} at {quantity(best.steps, 'step')}: "
        f"{view.about.metric} {value_text(best.estimate)}, better by {text}."
    )


def _clearly(row: Row, sign: int) -> bool:
    if row.difference is None:
        return False
    ends = row.difference.ci
    return row.difference.exact and sign * row.difference.value > 0 if ends is None else min(sign * e for e in ends) > 0


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


def lead(view: RunView) -> list[tuple[str, str]]:
    """What was tuned, on what, and how surely: names and sentences below the headline."""
    about, budgets = view.about, view.budgets
    parts = []
    if budgets or view.progress is not None:
        steps = [budget.steps for budget in budgets] if view.progress is None else [*view.progress.steps]
        tokens = f" of {quantity(about.length, 'token')}" if about.length else ""
        shown = f"{listed(steps[:-1])} and {steps[-1]}" if len(steps) > 1 else listed(steps)
        of = f" of {shown} steps" if steps else " step"
        parts.append(("Tuned", f"how many tokens each{of} reveals, in sequences{tokens}; the model stays as it is"))
    if about.model:
        parts.append(("Model", about.model + (f", on {about.data}" if about.data else "")))
    if about.sampler:
        parts.append(("Sampler", about.sampler))
    best = "higher" if about.maximize else "lower"
    described = about.metric if about.label == about.metric else f"{about.metric}, the {about.label}"
    parts.append(("Measured", f"{described}; {best} is better"))
    examples = next((budget.examples for budget in budgets), view.evaluated)
    if about.exact:
        parts.append(("How surely", "values are computed exactly and have no sampling error"))
    elif examples:
        together = ", for all budgets together" if len(budgets) > 1 else ""
        parts.append(
            ("How surely", f"95 % intervals{together}, over {quantity(examples, 'example')} that nothing else used")
        )
    if view.cost is not None and budgets:
        rows, _, seconds = view.cost
        same = "no more calls than linear with as many steps" if _costs_no_calls(budgets) else "see the calls below"
        parts.append(("Cost", f"{same}; the search took {large(rows)} denoiser rows, {time_text(seconds)}"))
    return parts


def _costs_no_calls(budgets: Sequence[BudgetView]) -> bool:
    """Whether no tuned schedule takes more calls than linear at its budget."""
    linear = [budget.baselines.get("linear") for budget in budgets]
    return all(
        budget.calls <= (budget.steps if row is None or row.calls is None else row.calls) + 1e-9
        for budget, row in zip(budgets, linear, strict=True)
    )


def findings(view: RunView) -> list[Finding]:
    """What speaks for the result and against it, in this order: savings, losses, limits."""
    return [*_savings(view), *_better_baselines(view), *_diversity(view), *_limits(view)]


def _savings(view: RunView) -> Iterator[Finding]:
    saved = view.headline
    if saved is None:
        return
    margin = "" if view.margin is None else f" (a loss of {100 * view.margin:g} % counts as none)"
    text = (
        f"At {quantity(saved['steps'], 'step')} the tuned schedule is no worse than linear at {saved['linear_steps']}"
        f"{margin}: {saved['ratio']:.1f} times fewer denoiser calls."
    )
    if saved.get("linear_too"):
        text += " Linear at the same number of steps is so too, so the saving is not the schedule's."
    yield Finding("note" if saved.get("linear_too") else "good", text)


def _better_baselines(view: RunView) -> Iterator[Finding]:
    """Hand-made schedules whose value is better than the tuned one's."""
    sign = view.about.sign
    for budget in view.budgets:
        better = [row for row in budget.baselines.values() if sign * (row.estimate.value - budget.estimate.value) > 0]
        if better:
            best = max(better, key=lambda row: sign * row.estimate.value)
            yield Finding(
                "bad",
                f"At {quantity(budget.steps, 'step')} the hand-made schedule {short_name(best.label)} has a better "
                f"value on unseen examples than the tuned one: {best.estimate.text} against {budget.estimate.text}. "
                "It needs no search.",
            )


def _diversity(view: RunView) -> Iterator[Finding]:
    for budget in view.budgets:
        flagged = [loss for loss in budget.losses if loss.flagged and loss.blocks]
        if flagged:
            named = listed(list(dict.fromkeys(loss.figure.replace("_", " ") for loss in flagged)))
            worst = max(flagged, key=lambda loss: loss.share)
            yield Finding(
                "bad",
                f"At {quantity(budget.steps, 'step')} the samples are less diverse in {named}, by up to "
                f"{100 * worst.share:.1f} %. The gain therefore does not count.",
            )


def _limits(view: RunView) -> Iterator[Finding]:
    for budget in view.budgets:
        if budget.verdict is Verdict.NO_GAIN and budget.detectable is not None:
            yield Finding(
                "note",
                f"At {quantity(budget.steps, 'step')} these examples show gains of {budget.detectable:.2g} and more in "
                "80 % of cases. A smaller gain may exist.",
            )
        if budget.calls < budget.steps and budget.counts is not None:
            yield Finding(
                "note", f"{quantity(budget.steps, 'step')} take {budget.calls:.4g} denoiser calls in the mean."
            )


def verdict_text(budget: BudgetView) -> str:
    """A few words on what the comparison with linear shows."""
    if budget.verdict is not Verdict.NOT_CLAIMED:
        return str(budget.verdict.value)
    differing, fewest = budget.gain.differing, budget.gain.fewest
    if differing is not None and fewest is not None and differing < fewest:
        return f"no gain is claimed: {differing} examples differ, {fewest} must"
    return "no gain is claimed for all budgets together"
