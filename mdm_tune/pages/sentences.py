"""The sentences below the headline of a page: what was tuned, how surely, what is saved, and what limits it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mdm_tune.core.messages import listed, quantity
from mdm_tune.core.numerals import significant
from mdm_tune.pages.diversity_sentences import diversity_texts
from mdm_tune.pages.headlines import at_steps, few_differ, value_text, value_texts
from mdm_tune.pages.names import and_listed, figure_name, large, short_name, time_text
from mdm_tune.pages.run_views import BudgetView, GainView, RunView, Verdict
from mdm_tune.pages.savings import beside_linear, calls_saved
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.equal_cost import MORE_CALLS
from mdm_tune.schedules.labels import Label

__all__ = ["Finding", "asked", "caveat", "filled", "findings", "lead", "most_calls", "verdict_text"]

Kind = Literal["good", "bad", "note"]
METHOD = " (Student's, widened for skew and few examples)"  # as docs/intervals.md says
ROWS = "denoiser rows (sequences through the model)"


@dataclass(frozen=True)
class Finding:
    """A sentence beside the headline, and whether it speaks for the result, against it, or neither."""

    kind: Kind
    text: str


def caveat(view: RunView) -> str:
    """What the headline does not say of gains of adaptive policies; empty if there is nothing."""
    adaptive = any(budget.adaptive and budget.verdict is Verdict.BETTER for budget in view.budgets)
    if not adaptive or any(_untuned(view, Label.read(row.label).name) for row in view.rows):
        return ""
    return (
        "No policy without tuning, such as threshold:0.9, was measured, so the part of tuning in these gains "
        "is not known."
    )


def lead(view: RunView) -> list[tuple[str, str]]:
    """What was tuned, on what, and how surely: names and sentences below the headline."""
    about, budgets = view.about, view.budgets
    parts = []
    if budgets or view.progress is not None:
        steps = [budget.steps for budget in budgets] if view.progress is None else [*view.progress.steps]
        within = f", in {found}" if (found := filled(view)) else ""
        shown = f"{listed(steps[:-1])} and {steps[-1]}" if len(steps) > 1 else listed(steps)
        of = f" of {shown} steps" if steps else " step"
        what = f"how many tokens each{of} reveals{within}"
        if any(budget.policies for budget in budgets):
            what = (
                f"the policy that decides how many tokens a call reveals, to make as many calls in the mean as linear "
                f"at {shown} steps{within}"
            )
        parts.append(("Tuned", f"{what}; the model stays as it is"))
    if any("linear" in budget.baselines for budget in budgets):
        names = {Label.read(name).name: None for budget in budgets for name in budget.baselines}
        others = and_listed([short_name(name) for name in names if name != "linear"])
        beside = f", and hand-made {others}" if others else ""
        parts.append(("Against", f"linear, which reveals equally many tokens at each step{beside}"))
    if about.model:
        parts.append(("Model", about.model + (f", on {about.data}" if about.data else "")))
    if about.sampler:
        parts.append(("Sampler", view.sampler))
    best = "higher" if about.maximize else "lower"
    described = about.metric if about.label == about.metric else f"{about.metric}, the {about.label}"
    parts.append(("Measured", f"{described}; {best} is better"))
    examples = next((budget.examples for budget in budgets), view.evaluated)
    if about.exact:
        parts.append(("How surely", "values are computed exactly and have no sampling error"))
    elif examples:
        parts.append(("How surely", _how_surely(view, examples)))
    if budgets:
        parts.append(("Cost in use", _cost_in_use(budgets)))
    if view.cost is not None and budgets:
        rows, _, seconds = view.cost
        compared = view.rows_of.get("comparison", 0)
        share = f", {large(compared)} of them to compare the best trials on unseen examples" if compared else ""
        parts.append(("Cost of the search", f"{time_text(seconds)} and {large(rows)} {ROWS}{share}"))
    return parts


def _how_surely(view: RunView, examples: int) -> str:
    """The method of the intervals, for how many comparisons they hold together, and on what they rest."""
    together = f", corrected for {view.claims} comparisons with linear (Bonferroni)" if view.claims > 1 else ""
    used = "that took no part in choosing the winners " if view.budgets else ""
    if any(budget.rejected for budget in view.budgets):
        used = "that took no part in choosing the winners, but let linear replace a worse one "
    split = "(the report split)"
    return f"95 % intervals{METHOD}{together}, over {quantity(examples, 'example')} {used}{split}"


def asked(view: RunView) -> bool:
    """Whether answers follow prompts."""
    data = view.about.section("dataset")
    return bool(data.get("prompt") or data.get("task"))


def filled(view: RunView) -> str:
    """What the sampler fills, in words; empty if its length is not known."""
    if not view.about.length:
        return ""
    tokens = quantity(view.about.length, "token")
    return f"answers of {tokens} after a prompt" if asked(view) else f"sequences of {tokens}"


def most_calls(budgets: Sequence[BudgetView]) -> str:
    """The most calls that one sequence took with each adaptive winner, in words; empty if it is not known."""
    found = [(each.steps, each.reveals[each.label].most_calls(1)) for each in budgets if each.label in each.reveals]
    return and_listed([f"{quantity(calls, 'call')} at {quantity(steps, 'step')}" for steps, calls in found])


def _cost_in_use(budgets: Sequence[BudgetView]) -> str:
    text = _more_calls(budgets)
    if not any(budget.adaptive for budget in budgets):
        return text
    found = most_calls(budgets)
    slowest = f", which took up to {found}" if found else ""
    return f"{text} in the mean; a batch waits for its slowest sequence{slowest}"


def _more_calls(budgets: Sequence[BudgetView]) -> str:
    """How many more calls than linear at its budget a tuned schedule takes at most."""
    linear = [budget.baselines.get("linear") for budget in budgets]
    more = max(
        budget.calls / (budget.steps if row is None or row.calls is None else row.calls) - 1
        for budget, row in zip(budgets, linear, strict=True)
    )
    if more <= 1e-9:
        return "no more calls than linear with as many steps"
    return f"up to {100 * more:.2g} % more calls than linear with as many steps"


def findings(view: RunView) -> list[Finding]:
    """What speaks for the result and against it, in this order: savings, losses, limits."""
    return [
        *_savings(view),
        *_of_the_headline(view),
        *_best_found(view),
        *_better_baselines(view),
        *_diversity(view),
        *_beyond_the_data(view),
        *_limits(view),
    ]


def _savings(view: RunView) -> Iterator[Finding]:
    if view.cheapest:
        told = [f"{text[0].upper()}{text[1:].rstrip('.')}." for text in (view.cheapest, view.hint) if text]
        yield Finding("note", " ".join(told))
    saved = view.headline
    if saved is None:
        return
    margin = (
        "" if view.margin is None or saved.get("better") else f" (a loss of {100 * view.margin:g} % counts as none)"
    )
    budgets = {budget.steps: budget for budget in view.budgets}
    budget, at, linear_steps = budgets.get(saved["steps"]), quantity(saved["steps"], "step"), saved["linear_steps"]
    last = linear_steps >= max(budgets, default=0)
    subject = "the tuned schedule" if budget is None else budget.subject
    made = None if budget is None or budget.calls == budget.steps else significant(budget.calls, 4)
    calls = "" if made is None else f", with {made} calls in the mean,"
    values = _values_beside(budget, budgets.get(linear_steps))
    text = (
        f"At {at} {subject}{calls} {beside_linear(saved)} linear at {linear_steps}{values}{margin}: "
        f"{calls_saved(saved)}."
    )
    if last:
        caught = ", so it is not known where it catches up" if saved.get("better") else ""
        text += f" Linear was not scored at more than {quantity(linear_steps, 'step')}{caught}."
    if saved.get("linear_too"):
        text += f" So is linear at {at}: the saving is not that of the search."
    yield Finding("note" if saved.get("linear_too") else "good", text)


def _values_beside(budget: BudgetView | None, larger: BudgetView | None) -> str:
    """The value of a budget and that of linear at a larger one; empty if that is not known."""
    linear = None if larger is None else larger.baselines.get("linear")
    if budget is None or linear is None:
        return ""
    own, other = value_texts(budget.estimate, linear.estimate)
    return f", {own} against {other}"


def _of_the_headline(view: RunView) -> Iterator[Finding]:
    """How sure the gains at no more calls are, and what a gain of adaptive policies is due to."""
    equal = [(budget, kind) for budget in view.budgets if (kind := budget.equal_beside) is not None]
    if equal:
        text = (
            f"What gains at no more calls was picked on the report split, among the schedules and policies that make "
            f"at most {100 * MORE_CALLS:g} % more calls than linear and whose samples are not less diverse. The "
            "intervals allow for that: they are corrected for all of them at all budgets."
        )
        for budget, kind in equal:
            if budget.rival is not None and kind.estimate is not None and kind.policy != budget.rival.label:
                text += (
                    f" At {quantity(budget.steps, 'step')} {short_name(kind.policy or kind.kind)} has "
                    f"{value_text(kind.estimate)}, and hand-made {short_name(budget.rival.label)} "
                    f"{value_text(budget.rival.estimate)}; they were not compared in pairs."
                )
        yield Finding("note", text)
    adaptive = [budget for budget in view.budgets if budget.adaptive and budget.verdict is Verdict.BETTER]
    if adaptive:
        best = max(adaptive, key=lambda budget: budget.gain.value)
        fixed = next((each for each in best.policies if each.kind == "counts" and each.gain is not None), None)
        told = best.rival is not None and fixed is not None and fixed.policy == best.rival.label
        if fixed is not None and fixed.gain is not None and not told:
            yield Finding("note", _of_counts(fixed.policy or "counts", fixed.gain, best.steps))


def _best_found(view: RunView) -> Iterator[Finding]:
    """The best schedule that the search found where it chose a hand-made one, on the examples by which it chose."""
    for budget in view.budgets:
        values = dict(budget.choose)
        chosen = values.get(budget.label)
        found = [each for each in budget.choose if each[0] not in budget.baselines]
        if not budget.hand_made or chosen is None or not found:
            continue
        label, best = max(found, key=lambda each: view.about.sign * each[1].value)
        other_side = "more" if best.value < chosen.value else "less"
        yield Finding(
            "note",
            f"The best schedule that the search found at {quantity(budget.steps, 'step')} is {short_name(label)}: "
            f"{best.text} on the {quantity(best.count or 0, 'example')} by which schedules are chosen, where "
            f"{budget.name} has {chosen.text}, {abs(best.value - chosen.value):.2g} {other_side}.",
        )


def _untuned(view: RunView, name: str) -> bool:
    """Whether a policy of the evaluation is an adaptive policy whose value was neither searched nor set by a budget."""
    plan = parse_adaptive(name)
    tuned = {each.policy for budget in view.budgets for each in budget.policies}
    tuned |= {budget.policy for budget in view.budgets}
    return plan is not None and plan.value is not None and name not in tuned


def _of_counts(policy: str, gain: GainView, steps: int) -> str:
    """What fixed counts gain, by those that a search over counts alone returns."""
    at = f"At {quantity(steps, 'step')}"
    if policy == "linear":
        return f"{at} a search over schedules alone returns linear too."
    what = "gains" if gain.value >= 0 else "has a gain below zero,"
    return f"{at} the best schedule, {short_name(policy)}, {what} {gain.text} over linear."


def _better_baselines(view: RunView) -> Iterator[Finding]:
    """Hand-made schedules that the tuned one is not better than, where there is no paired comparison to say so."""
    sign = view.about.sign
    for budget in view.budgets:
        rival = budget.rival
        if rival is None or budget.is_rival or budget.against_rival is not None:
            continue
        if sign * (rival.estimate.value - budget.estimate.value) > 0:
            yield Finding(
                "bad",
                f"At {quantity(budget.steps, 'step')} the hand-made schedule {short_name(rival.label)} has a better "
                f"value on unseen examples than {budget.subject}: {rival.estimate.text} against "
                f"{budget.estimate.text}. It needs no search.",
            )


def _diversity(view: RunView) -> Iterator[Finding]:
    found: dict[str, dict[int, float]] = {}  # the largest loss of each budget, by the figures that are lost
    for budget in view.budgets:
        flagged = [loss for loss in budget.losses if loss.flagged and loss.blocks]
        if flagged:
            named = listed(list(dict.fromkeys(figure_name(loss.figure) for loss in flagged)))
            found.setdefault(named, {})[budget.steps] = max(loss.share for loss in flagged)
    for named, shares in found.items():
        gains = "gains therefore do" if len(shares) > 1 else "gain therefore does"
        yield Finding(
            "bad",
            f"{at_steps([*shares])} the samples are less diverse in {named}, by up to "
            f"{100 * max(shares.values()):.1f} %. The {gains} not count.",
        )
    yield from (Finding("note", text) for text in diversity_texts(view.budgets))


def _beyond_the_data(view: RunView) -> Iterator[Finding]:
    """Schedules whose value is better than that of the data itself."""
    sign, data = view.about.sign, view.data or next((b.data for b in view.budgets if b.data is not None), None)
    if data is None:
        return
    values = [(f"{b.subject} at {quantity(b.steps, 'step')}", b.estimate) for b in view.budgets]
    values += [(f"{short_name(row.label)} at {quantity(row.steps, 'step')}", row.estimate) for row in view.rows]
    beyond = [name for name, estimate in values if sign * (estimate.value - data.value) > 0]
    if beyond:
        yield Finding(
            "note",
            f"The data itself has {view.about.metric} {data.text}. A better value than that is no better text: look at "
            f"the diversity of {listed(beyond, 3)}.",
        )


def _limits(view: RunView) -> Iterator[Finding]:
    for budget in view.budgets:
        if budget.same:
            names = listed([short_name(label) for label in budget.same])
            yield Finding("note", f"At {quantity(budget.steps, 'step')} {budget.name} has the same counts as {names}.")
        if budget.calls < budget.steps and budget.counts is not None:
            yield Finding(
                "note",
                f"{quantity(budget.steps, 'step')} take {significant(budget.calls, 4)} denoiser calls in the mean.",
            )
    power = {b.steps: b.detectable for b in view.budgets if b.verdict is Verdict.NO_GAIN and b.detectable is not None}
    if power:
        gains = "gains smaller than" if len(power) > 1 else "a gain smaller than"
        yield Finding(
            "note",
            f"{at_steps([*power])} no gain is shown. With these examples {gains} "
            f"{and_listed([f'{gain:.2g}' for gain in power.values()])} would be missed in over 20 % of cases.",
        )


def verdict_text(budget: BudgetView) -> str:
    """A few words on what the comparison with linear shows."""
    if budget.verdict is not Verdict.NOT_CLAIMED:
        return str(budget.verdict.value)
    if few := few_differ(budget):
        return f"no gain is claimed: {few}"
    return "no gain is claimed: the interval that is corrected for all budgets contains 0"
