"""The parts of the page of a run: their titles, and the sentences beside them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from mdm_tune.core.messages import listed, quantity
from mdm_tune.pages.headlines import best_budget
from mdm_tune.pages.landscapes import where_trials_are, wins_at_edge
from mdm_tune.pages.names import FIGURES, and_listed, cut_text, figure_name, large, role_of, short_name, short_names
from mdm_tune.pages.run_looks import Looks
from mdm_tune.pages.run_views import BudgetView, RunView, State
from mdm_tune.pages.sentences import asked, filled, most_calls
from mdm_tune.schedules.box import EXACTLY_NAMED, NAMED
from mdm_tune.schedules.equal_cost import MORE_CALLS
from mdm_tune.schedules.labels import Label

__all__ = ["Section", "figures_meant", "origins", "sections_of", "tuned_rows"]

WITH_VALUES = ("beta", "counts", "alphas", "shift")
FEW = 20  # trials of a map that knows little
DOTS = "A dot is a trial; a hollow one was dropped early, and its value is an estimate."
LONGEST = 60  # characters of the name of a schedule in a sentence


@dataclass(frozen=True)
class Section:
    """A part of the page: its place, its title, and the sentences beside it."""

    id: str
    title: str
    about: tuple[str, ...] = ()


def sections_of(view: RunView, looks: Looks, drawn: Collection[str]) -> list[Section]:
    """The parts of the page that the run has data for, in their order.

    Args:
        view: the run.
        looks: of the schedules of the page.
        drawn: the names of the figures of the page.
    """
    searched, done = bool(view.budgets), view.state is State.FINISHED
    sections = []
    if searched:
        sections.append(Section("use", "Paste", (*_about_shared(view), *_about_pasting(view))))
    if searched or view.rows:
        sections.append(Section("quality", "Quality", tuple(_about_quality(view))))
    mapped = any(name.startswith("landscape-") for name in drawn)
    if mapped:
        sections.append(Section("landscape", "Landscape", tuple(_about_maps(view, looks))))
    if searched:
        why = () if mapped else (_without_a_map(view),)
        sections.append(Section("schedule", "Tokens per step", (*_about_steps(view), *why)))
    if view.curves:
        text = (
            "The cross-entropy of a hidden token when some random tokens are visible. Where the curve falls steeply, "
            "few tokens should be revealed at a time."
        )
        sections.append(Section("profile", "Profile", (text,)))
    if searched or view.rows:
        text = f"{_about_noise(view)} Tokens that differ are marked."
        if any(pair.example for pair in view.pairs):
            text += " Above them stands what was asked, with the reference answer in \u27e8 \u27e9."
        sections.append(Section("samples", "Samples", (text,)))
        sections.append(Section("diversity", "Diversity", tuple(_about_diversity(view))))
    if view.cost or view.evaluate_cost:
        text = (
            "A denoiser row is one sequence that the model evaluates once. The number of rows does not depend on the "
            "machine."
        )
        if asked(view):
            text += " Tokens are those of prompt and answer."
        sections.append(Section("cost", "Cost", (text,)))
    text = "With the same versions on the same kind of machine the command gives the same numbers." if done else ""
    sections.append(Section("provenance", "Provenance", tuple(filter(None, (text,)))))
    return sections


def _about_noise(view: RunView) -> str:
    """What the samples of an example share: their noise, where anything is drawn at random."""
    sampler = view.about.section("sampler")
    drawn = sampler.get("order") == "random" or sampler.get("reveal") != "fixed"
    drawn = drawn or sampler.get("temperature") != 0 or bool(sampler.get("confidence_temperature"))
    if sampler.get("type") == "builtin" and not drawn:
        return "Nothing is drawn at random here: samples differ by what each step reveals alone."
    return "All samples of an example are drawn from the same noise."


def _about_quality(view: RunView) -> Iterator[str]:
    best = "Higher" if view.about.maximize else "Lower"
    yield (
        f"{best} is better. At each number of steps all are compared with linear, on the same examples. Schedules make "
        "equally many denoiser calls, unless a column of calls says otherwise."
    )
    if not view.about.exact:
        yield (
            f"Gains are paired example by example.{_about_intervals(view)} Intervals are about other examples, not "
            "about a search with another seed."
        )
    if any(budget.policies for budget in view.budgets):
        yield (
            "Each policy was tuned to make as many calls as linear. The table has those that it made. "
            f"{_about_marks(view)}".rstrip()
        )
        if view.cheapest:
            yield (
                "The intervals of calls in the table hold each by itself. That of the cheapest of all is "
                "corrected for all its tests, so it is wider."
            )
    if view.rows:
        yield (
            "The evaluation is another comparison. Its differences are not corrected for the choice of the best of "
            "several schedules."
        )
        if view.budgets and not tuned_rows(view):
            yield "The schedules that the search found are not among its rows."


def _about_intervals(view: RunView) -> str:
    """For how many comparisons the intervals of gains hold together."""
    hand_made = max(
        (sum(Label.read(name).name != "linear" for name in budget.baselines) for budget in view.budgets), default=0
    )
    if not view.budgets or view.claims * max(1, hand_made) < 2:
        return ""
    texts = [f"those over linear for {quantity(view.claims, 'comparison')}"] if view.claims > 1 else []
    if hand_made:
        texts.append(f"those with hand-made schedules for {view.claims * hand_made}")
    return (
        f" Their intervals are corrected (Bonferroni), so that they hold together at 95 %: {and_listed(texts)}. "
        "Those of values hold each by itself."
    )


def _about_marks(view: RunView) -> str:
    """What the words more and less diverse mean in the table of kinds, where they stand there."""
    kinds, text = [each for budget in view.budgets for each in budget.policies], ""
    if any(each.more for each in kinds):
        text += (
            f"Where these are over {100 * MORE_CALLS:g} % more than linear's, they are marked as more calls, "
            "and the gain is not claimed as one at equal calls. This is so even where their interval includes the "
            "calls of linear. "
        )
    if any(each.less_diverse for each in kinds):
        text += (
            "A gain marked as less diverse does not count: the samples lose more diversity than is allowed, also in "
            "comparison with linear at the same steps."
        )
    return text


def origins(view: RunView) -> list[tuple[str, str]]:
    """Where the schedules of the evaluation come from that are not hand-made: names and sentences."""
    named, own = view.about.section("evaluate").get("schedules") or (), view.path.rstrip("/")
    found, names = {}, short_names(row.name for row in view.rows)
    for label in names:
        values = [row.label for row in view.rows if row.policy == label]
        if values:
            found[label] = f"with the value that meets the calls of linear: {listed([*map(short_name, values)])}"
            continue
        name = Label.read(label).name
        kind = name.partition(":")[0]
        has_values = role_of(label) == "adaptive" or kind in WITH_VALUES
        tuned = [quantity(budget.steps, "step") for budget in view.budgets if budget.label == name]
        if name in (own, f"{own}/schedule.yaml"):
            found[label] = "the schedules that the search of this folder found"
        elif role_of(label) == "tuned":
            found[label] = f"the schedule file {name}"
        elif tuned:
            found[label] = f"found by the search of this folder at {listed(tuned)}"
        elif role_of(label) == "adaptive" and len({row.steps for row in view.rows}) == 1 and name not in named:
            found[label] = "with the value that was given, or with that which meets the calls of linear"
        elif has_values:
            shown = cut_text(name, LONGEST)
            given = f"{shown} in evaluate.schedules" if name in named else f"given to mdm-tune evaluate as {shown}"
            other = "; the search of this folder did not find it" if kind == "beta" and view.budgets else ""
            found[label] = given + other
    return [(names[label], text) for label, text in found.items()]


def _about_pasting(view: RunView) -> Iterator[str]:
    if any(budget.counts for budget in view.budgets):
        yield "Counts say how many tokens each step reveals. Paste them into the loop of your sampler."
    if any(budget.policy for budget in view.budgets):
        how = "mdm_tune.generate follows it" if view.about.of_transformers else "mdm-tune sample follows it"
        yield (
            f"A policy decides at each step how many tokens to reveal; {how}. The number of steps beside it is its "
            "budget: the mean number of calls for which its value was set. It is no limit for one sequence."
        )
        yield f"In a batch the slowest sequence decides how long all wait{_slowest(view)}."
    tokens = filled(view) or "sequences of this length"
    sampler = f", sampled with {view.sampler}" if view.sampler else ""
    yield f"All of this holds for this model and {tokens}{sampler}."
    own = {budget.steps: budget.stand_ins for budget in view.budgets if budget.stand_ins}
    which = "winner" if view.shared is None else "shared schedule"
    texts: dict[str, list[str]] = {}
    for steps, text in (own if view.shared is None else view.shared.stand_ins).items():
        texts.setdefault(text, []).append(str(steps))
    for text, at in texts.items():
        shown = f"{and_listed(at)} step{'' if at == ['1'] else 's'}"
        yield f"In place of the {which} at {shown}: {text}."
    if texts:
        yield _tested(view)


def _tested(view: RunView) -> str:
    """What was compared with a winner pair by pair."""
    tuned = view.shared is not None or any(budget.counts and not budget.hand_made for budget in view.budgets)
    roundings = " and roundings of the a and b of a Beta(a, b)" if tuned else ""
    text = f"Only hand-made schedules{roundings} were tested in its place."
    if any(budget.policies for budget in view.budgets):
        text += " Other policies were not, so that one with nearly its value may be as good."
    return text


def _slowest(view: RunView) -> str:
    """The most calls that a sequence took, where they vary; empty if it is not known."""
    found = most_calls(view.budgets)
    return f": a sequence takes up to {found}" if found else ""


def _about_shared(view: RunView) -> Iterator[str]:
    """The one schedule of all budgets."""
    if view.shared:
        yield f"{view.shared.text} The schedule file holds it."
        if view.shared.plans:
            yield "What it reveals comes first below, then each budget's own best schedule."
        else:
            yield "The counts below are those of each budget's own best schedule."


def _about_steps(view: RunView) -> Iterator[str]:
    if any(not budget.adaptive for budget in view.budgets):
        yield "alpha(t) is the share of revealed tokens at time t. Rounding it gives the counts of the steps."
    adaptive = [budget for budget in view.budgets if budget.adaptive]
    if any(budget.reveals for budget in adaptive):
        yield (
            "A policy decides at each call by the model's predictions. A bar is the mean over the report "
            "examples, with 0 for an example that needs no more calls. The thin line holds their middle 80 %."
        )
    elif adaptive:
        yield "What the policies reveal at each call is not known: an earlier version made this folder."


def _about_maps(view: RunView, looks: Looks) -> Iterator[str]:
    """What is said of the map that stands first, that of the headline; of one of a running search what it is."""
    best = best_budget(view)
    mapped = [budget for budget in view.budgets if budget.points]
    if mapped:
        yield from _about_map(view, best if best in mapped else mapped[0], looks)
    else:
        yield f"Lighter is better. {DOTS} What lies far from the trials is not known."


def _without_a_map(view: RunView) -> str:
    """Why the page has no map over a and b."""
    points = sum(len(budget.points) for budget in view.budgets)
    if points:
        return f"There is no map over a and b: {quantity(points, 'trial')} of Beta(a, b) are too few for one."
    if any(budget.policies or budget.adaptive for budget in view.budgets):
        return "There is no map over a and b: no trial was of Beta(a, b)."
    return "There is no map over a and b: this folder does not list its trials."


def _about_map(view: RunView, budget: BudgetView, looks: Looks) -> Iterator[str]:
    """What the map of a budget shows, what it rests on, and what it does not show."""
    at, sign = f"At {quantity(budget.steps, 'step')}", view.about.sign
    full = [point for point in budget.points if math.isfinite(point.value) and not point.dropped]
    if full:
        best = max(full, key=lambda point: sign * point.value)
        linear = next((point for point in full if (point.a, point.b) == EXACTLY_NAMED["linear"]), None)
        beside = "" if linear is None or linear is best else f", that of linear {linear.value:.3g}"
        equal = sum(point.value == best.value for point in full) - 1
        others = f" {equal} other{' trial has' if equal == 1 else ' trials have'} the same value." if equal else ""
        where = budget.name if (best.a, best.b) == (budget.a, budget.b) else f"Beta({best.a:.3g}, {best.b:.3g})"
        yield (
            f"{at} the best trial is {where}. On the examples of the trials, which are not those of the tables, its "
            f"{view.about.metric} is {best.value:.3g}{beside}.{others}"
        )
    yield "Linear is (0.5, 0.5), squared-sine (1, 1)."
    finalists = " A ring is a finalist, which was compared again on other examples." if budget.choose else ""
    yield (
        f"Lighter is better. {DOTS}{finalists} The colours are a guess from the trials, by a Gaussian process: what "
        "lies far from the trials is not known."
    )
    if budget.adaptive:
        yield (
            f"{at} the winner is a policy, which has no place here. The best schedule in the table was "
            "chosen on other examples, so it may differ from the best trial."
        )
    named = sorted({Label.read(name).name for name in budget.baselines} & (NAMED.keys() - EXACTLY_NAMED.keys()))
    if named:
        won = f"; {budget.name} is the winner" if budget.name in named else ""
        yield f"{and_listed(named)} {'are' if len(named) > 1 else 'is'} no Beta(a, b) and not on the map{won}."
    examples = max((point.examples or 0 for point in budget.points), default=0)
    if examples:
        yield f"{where_trials_are(budget, view.about, looks)} Each had at most {large(examples)} examples."
        if len(budget.points) < FEW:
            yield f"With {quantity(len(budget.points), 'trial')} most of the map is such a guess."
    if any(wins_at_edge(each, view.about, looks) for each in view.budgets):
        yield "A winner lies at the edge of its map: schedules beyond the box of the search may be better."


def tuned_rows(view: RunView) -> dict[tuple[str, int], str]:
    """The rows of the evaluation that the search returned at their budget, by label and steps: tuned or chosen."""
    tuned = {budget.steps: budget for budget in view.budgets}
    return {
        (row.label, row.steps): "chosen" if budget.hand_made else "tuned"
        for row in view.rows
        if (budget := tuned.get(row.steps)) is not None
        and (role_of(row.label) == "tuned" or (row.counts is not None and row.counts == budget.counts))
    }


def _about_diversity(view: RunView) -> Iterator[str]:
    yield "A schedule can raise a score by making samples alike, so their diversity is measured too."
    if figures_meant(view):
        yield "More is more diverse; errors count as diverse too."


def figures_meant(view: RunView) -> list[tuple[str, str]]:
    """What the figures of diversity of a page are: names and meanings."""
    figures = {figure for budget in view.budgets for figure in budget.diversity.get("winner", ())}
    figures |= {figure for row in view.rows for figure in row.diversity}
    return [(figure_name(name), text) for name, text in FIGURES.items() if name in figures]
