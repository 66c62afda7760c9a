"""The sentences of a page: what was tuned, whether it helps, by how much and how surely, and what limits it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mdm_tune.core.messages import listed, quantity
from mdm_tune.core.numerals import significant
from mdm_tune.core.statistics import Estimate
from mdm_tune.pages.diversity_sentences import diversity_texts
from mdm_tune.pages.names import and_listed, figure_name, large, role_of, short_name, time_text
from mdm_tune.pages.run_views import BudgetView, GainView, PolicyView, Rivalry, Row, RunView, State, Verdict
from mdm_tune.pages.savings import beside_linear, calls_saved
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.equal_cost import MORE_CALLS
from mdm_tune.schedules.labels import Label

__all__ = ["Finding", "best_budget", "caveat", "findings", "headline", "lead", "value_text", "verdict_text"]

Kind = Literal["good", "bad", "note"]
ROWS = "denoiser rows (sequences through the model)"
TURNED = {Rivalry.WORSE: "better", Rivalry.OPEN: "not shown worse", Rivalry.BETTER: "worse"}  # said of the rival

NEARNESS = (  # of a budget without a claimed gain to one
    *(Verdict.MORE_CALLS, Verdict.LESS_DIVERSE, Verdict.NOT_CLAIMED),
    *(Verdict.NO_GAIN, Verdict.UNTESTED, Verdict.WORSE),
)


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
    found = _nothing_better(budgets)
    rivals = _rivals(won, said=bool(found))
    if len(budgets) == 1 and won:
        instead = "" if linear is None else f" instead of {value_text(linear.estimate)}"
        value = f"{view.about.metric} {value_text(best.estimate)}{instead}"
        what = best.name if found else f"The tuned {'policy' if best.adaptive else 'schedule'}"
        return f"{found}{what} is better than linear {at}: {value}, a gain of {gain}.{rivals}"
    if won:
        where = "at both budgets" if len(won) == len(budgets) == 2 else f"at {len(won)} of {len(budgets)} budgets"
        where = f"at all {len(won)} budgets" if len(won) == len(budgets) > 2 else where
        verb = "schedules are" if len(won) > 1 else "schedule is"
        if any(budget.adaptive for budget in won):
            both = any(not budget.adaptive for budget in won)
            verb = "policy is" if len(won) == 1 else "schedules and policies are" if both else "policies are"
        most = f"by up to {gain} in {view.about.metric}" if len(won) > 1 else f"by {gain} in {view.about.metric} {at}"
        what = f"{best.name} is" if found else f"The {view.word} {verb}"
        return f"{found}{what} better than linear {where}, {most}.{rivals}"
    return found.strip() if found and best.kind == "linear" else f"{found}{_without_a_gain(view.budgets)}"


def _nothing_better(budgets: Sequence[BudgetView]) -> str:
    """The sentence of a search that chose the same hand-made schedule at every budget; empty for other ones."""
    names = {budget.name if budget.hand_made else "" for budget in budgets}
    name = names.pop() if len(names) == 1 else ""
    what = name if name == "linear" else f"the hand-made {name}"
    return f"The search found no schedule better than {what}. " if name else ""


def _without_a_gain(budgets: Sequence[BudgetView]) -> str:
    """The sentence of a search whose gains are not claimed: of the budget that comes nearest to a gain."""
    by_verdict = {budget.verdict: budget for budget in sorted(budgets, key=lambda budget: budget.gain.value)}
    if by_verdict.keys() == {Verdict.UNTESTED}:
        return "Nothing can be said: there are too few examples for an interval."
    verdict, best = next((verdict, by_verdict[verdict]) for verdict in NEARNESS if verdict in by_verdict)
    gain, at = best.gain.text, f"at {quantity(best.steps, 'step')}"
    if verdict is Verdict.MORE_CALLS:
        found = _best_equal(budgets)
        linear = best.baselines.get("linear")
        than = significant(best.steps if linear is None or linear.calls is None else linear.calls, 4)
        calls = significant(best.calls, 4)
        if found is not None:
            larger, kind, steps = found[0], found[1], found[2].steps
            return (
                f"At no more calls than linear ({100 * MORE_CALLS:g} % tolerated), "
                f"{short_name(kind.policy or kind.kind)} is better by {larger.text} at "
                f"{quantity(steps, 'step')}. The winner of the search, {best.name}, makes {calls} calls {at} "
                f"instead of {than}, which is more{_ratio(best)}."
            )
        unsure = best.call_ratio is not None and not best.call_ratio.surely_more
        what = "A gain over linear at equal calls is not sure" if unsure else "No gain over linear at equal calls"
        return (
            f"{what}: the value is higher by {gain} {at}, but at {calls} denoiser calls instead of "
            f"{than}{_ratio(best)}."
        )
    if verdict is Verdict.LESS_DIVERSE:
        return f"No gain over linear counts: the value is higher by {gain} {at}, but the samples are less diverse."
    if verdict is Verdict.NOT_CLAIMED:
        few = _few_differ(best)
        why = f", but only {few}" if few else " does not hold after correction for all budgets"
        return f"No gain over linear is claimed: {gain} {at}{why}."
    if verdict is Verdict.WORSE:
        loss = "" if best.rejected is None else f" ({best.rejected[2].text} {at})"
        return f"No schedule is better than linear. The one that was chosen is worse{loss}, so linear is returned."
    return f"No gain over linear is shown: {gain} {at}."


def _ratio(budget: BudgetView) -> str:
    """How many more calls than linear the winner made, with the interval; empty in older records."""
    return "" if budget.call_ratio is None else f" ({budget.call_ratio.text})"


def _best_equal(budgets: Sequence[BudgetView]) -> tuple[GainView, PolicyView, BudgetView] | None:
    """The largest gain that counts of any kind of policy, at no more calls than linear; None if there is none."""
    found = [(kind.gain, kind, budget) for budget in budgets if (kind := budget.equal) and kind.gain]
    return max(found, key=lambda each: each[0].value, default=None)


def _rivals(won: Sequence[BudgetView], *, said: bool) -> str:
    """What the paired comparison with the best hand-made schedule of each budget shows; empty if there is none.

    said: whether the headline has said that a hand-made schedule was chosen.
    """
    by_name: dict[str, dict[Rivalry, list[str]]] = {}
    for budget in won:
        if budget.against_rival is not None and budget.rival is not None:
            results = by_name.setdefault(short_name(budget.rival.label), {})
            results.setdefault(budget.against_rival, []).append(str(budget.steps))
    itself = [budget for budget in won if budget.hand_made]
    if by_name and not itself and {rivalry for results in by_name.values() for rivalry in results} == {Rivalry.BETTER}:
        counts = " (with counts known in advance)" if any(budget.adaptive for budget in won) else ""
        return f" Also better than every hand-made schedule{counts}."
    text = ""
    for name, results in by_name.items():
        parts = [
            f"{words} at {' and '.join(results[rivalry]) if len(results[rivalry]) < 3 else listed(results[rivalry])}"
            for rivalry, words in TURNED.items()
            if rivalry in results
        ]
        text += f" Hand-made {name}, which needs no search, is {' and '.join(parts)} steps."
    for kind in () if said else dict.fromkeys(budget.kind for budget in itself):
        steps = [budget.steps for budget in itself if budget.kind == kind]
        text += f" {_at(steps)} the search found no schedule better than the hand-made {kind}, which is chosen."
    return text


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
        tokens = f" of {quantity(about.length, 'token')}" if about.length else ""
        shown = f"{listed(steps[:-1])} and {steps[-1]}" if len(steps) > 1 else listed(steps)
        of = f" of {shown} steps" if steps else " step"
        what = f"how many tokens each{of} reveals, in sequences{tokens}"
        if any(budget.policies for budget in budgets):
            what = (
                f"the policy that decides how many tokens a call reveals, with as many calls in the mean as linear at "
                f"{shown} steps, in sequences{tokens}"
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
        together = ", for all budgets together" if len(budgets) > 1 else ""
        parts.append(
            (
                "How surely",
                f"95 % intervals{together}, over {quantity(examples, 'example')} that nothing else used "
                "(the report split)",
            )
        )
    if view.cost is not None and budgets:
        rows, _, seconds = view.cost
        parts.append(("Cost", f"{_more_calls(budgets)}; the search took {time_text(seconds)} and {large(rows)} {ROWS}"))
    return parts


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
    values = _values_beside(budget, budgets.get(linear_steps))
    text = (
        f"At {at} {subject} {beside_linear(saved)} linear at {linear_steps}{values}{margin}: "
        f"{'at least ' if last else ''}{calls_saved(saved)}."
    )
    if last:
        text += f" Linear was not scored at more than {quantity(linear_steps, 'step')}."
    if saved.get("linear_too"):
        text += f" Linear at {at} is so too, so the saving is not that of the search."
    yield Finding("note" if saved.get("linear_too") else "good", text)


def _values_beside(budget: BudgetView | None, larger: BudgetView | None) -> str:
    """The value of a budget and that of linear at a larger one; empty if that is not known."""
    linear = None if larger is None else larger.baselines.get("linear")
    return (
        ""
        if budget is None or linear is None
        else f", {value_text(budget.estimate)} against {value_text(linear.estimate)}"
    )


def _of_the_headline(view: RunView) -> Iterator[Finding]:
    """Which policy the headline names where it is not the winner, and what a gain of adaptive policies is due to."""
    won = [budget for budget in view.budgets if budget.verdict is Verdict.BETTER]
    found = None if won or best_budget(view) is None else _best_equal(view.budgets)
    if found is not None and any(budget.verdict is Verdict.MORE_CALLS for budget in view.budgets):
        _, kind, budget = found
        text = (
            f"{short_name(kind.policy or kind.kind)} has the largest gain at {quantity(budget.steps, 'step')} among "
            f"the schedules and policies that make at most {100 * MORE_CALLS:g} % more calls than linear and lose no "
            "diversity that forbids a claim. Its interval is corrected for all of them and all budgets, "
            "so that it holds although it was picked on the same examples."
        )
        if budget.rival is not None and kind.estimate is not None and kind.policy != budget.rival.label:
            values = f"{value_text(kind.estimate)} against {value_text(budget.rival.estimate)}"
            text += f" It was not compared in pairs with hand-made {short_name(budget.rival.label)}: {values}."
        yield Finding("note", text)
    adaptive = [budget for budget in won if budget.adaptive]
    if adaptive:
        best = max(adaptive, key=lambda budget: budget.gain.value)
        fixed = next((each for each in best.policies if each.kind == "counts" and each.gain is not None), None)
        if fixed is not None and fixed.gain is not None:
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
            f"{value_text(best)} on the {quantity(best.count or 0, 'example')} by which schedules are chosen, where "
            f"{budget.name} has {value_text(chosen)}, {abs(best.value - chosen.value):.2g} {other_side}.",
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
            f"{_at(list(shares))} the samples are less diverse in {named}, by up to "
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
            f"{_at(list(power))} no gain is shown. With these examples {gains} "
            f"{and_listed([f'{gain:.2g}' for gain in power.values()])} would be missed in over 20 % of cases.",
        )


def _at(steps: Sequence[int]) -> str:
    """Budgets at the beginning of a sentence."""
    return f"At {and_listed([str(each) for each in steps])} step{'' if [*steps] == [1] else 's'}"


def verdict_text(budget: BudgetView) -> str:
    """A few words on what the comparison with linear shows."""
    if budget.verdict is not Verdict.NOT_CLAIMED:
        return str(budget.verdict.value)
    if few := _few_differ(budget):
        return f"no gain is claimed: {few}"
    return "no gain is claimed: the interval that is corrected for all budgets contains 0"


def _few_differ(budget: BudgetView) -> str:
    """How many examples differ where they are too few for a claim; empty if they are enough, or unknown."""
    differing, fewest = budget.gain.differing, budget.gain.fewest
    few = differing is not None and fewest is not None and differing < fewest
    return f"{differing} examples differ, {fewest} must" if few else ""
