"""The page of one run: one HTML file that needs nothing else."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.pages.charts import Figure
from mdm_tune.pages.names import large, short_name, short_names, time_text
from mdm_tune.pages.run_figures import figures_of
from mdm_tune.pages.run_views import BudgetView, Drawn, PairView, RunView, State
from mdm_tune.pages.sentences import findings, headline, lead
from mdm_tune.pages.template import MOST_BYTES, rendered
from mdm_tune.schedules.curves import Schedule, parse_schedule
from mdm_tune.schedules.energy import LEAST_ENERGY, path_energy

__all__ = ["Detail", "Section", "page_of", "run_page"]

REFRESH = 10  # seconds between two readings of the page of a running search
CARDS = 4  # budgets that stand on the first screen
WEIGHTS = ("linear", "squared-sine")
SHORT = {
    "use": "Paste",
    "quality": "Quality",
    "landscape": "Landscape",
    "schedule": "Schedules",
    "profile": "Profile",
    "energy": "Energies",
    "samples": "Samples",
    "diversity": "Diversity",
    "cost": "Cost",
    "provenance": "Provenance",
}
WHY = {
    "first": "one of the first two that differ, whatever their values",
    "largest gain": "the largest gain of all examples",
    "largest loss": "the largest loss of all examples",
}


@dataclass(frozen=True)
class Section:
    """A part of the page: its place, its title, and the sentences beside it."""

    id: str
    title: str
    about: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """Its name in the contents."""
        return SHORT.get(self.id, self.title)


@dataclass(frozen=True)
class Detail:
    """How much a page shows, so that it stays small.

    Attributes:
        landscape: points of a map along each axis.
        pairs: of samples, at most.
        characters: of a sample, at most.
        budgets: whose figures are drawn, at most.
    """

    landscape: int
    pairs: int
    characters: int
    budgets: int


DETAILS = (
    Detail(landscape=40, pairs=16, characters=1500, budgets=16),
    Detail(landscape=28, pairs=12, characters=800, budgets=8),
    Detail(landscape=20, pairs=8, characters=400, budgets=4),
    Detail(landscape=14, pairs=4, characters=200, budgets=1),
)


def run_page(view: RunView) -> str:
    """The page of a run. A page that would be larger than 600 kB shows less.

    Args:
        view: the run.
    """
    text = ""
    for detail in DETAILS:
        text = page_of(view, detail)
        if len(text.encode()) <= MOST_BYTES:
            break
    return text


def page_of(view: RunView, detail: Detail) -> str:
    """The page with so much detail."""
    figures = _kept(figures_of(view, detail.landscape), view, detail.budgets)
    pairs = [_shown(pair, detail.characters) for pair in _chosen(view.pairs, detail.pairs)]
    figure_names = list(dict.fromkeys(name for row in view.rows for name in row.diversity))
    return rendered(
        "run.html",
        view=view,
        headline=headline(view),
        lead=lead(view),
        findings=findings(view),
        cards=_cards(view.budgets),
        sections=_sections(view),
        figures=figures,
        pastes=list(_pastes(view)),
        names=short_names(row.label for row in view.rows),
        profile_command=f"mdm-tune profile {shlex.quote(f'{view.path}/config.yaml')} --output {shlex.quote(view.path)}",
        prices=list(_prices(view)),
        energies=_energies(view),
        pairs=pairs,
        figure_rows=[row for row in view.rows if row.diversity],
        figure_names=figure_names,
        has_diversity=bool(figure_names) or any(budget.diversity for budget in view.budgets),
        costs=_costs(view),
        cost_facts=list(_cost_facts(view)),
        repeat=_repeat(view),
        facts=list(_facts(view)),
        config=yaml_text(dict(view.about.config), allow_unicode=True) if view.about.config else "",
        refresh=REFRESH if view.state is State.RUNNING else None,
    )


def _kept(figures: dict[str, Figure], view: RunView, budgets: int) -> dict[str, Figure]:
    """The figures without those of budgets after the first ones."""
    left_out = {f"{kind}-{budget.steps}" for budget in view.budgets[budgets:] for kind in ("landscape", "counts")}
    return {name: figure for name, figure in figures.items() if name not in left_out}


def _cards(budgets: Sequence[BudgetView]) -> list[BudgetView]:
    """The budgets of the first screen: all, or the ones with the largest gains, in ascending order of steps."""
    largest = sorted(budgets, key=lambda budget: -budget.gain.value)[:CARDS]
    return [budget for budget in budgets if budget in largest]


def _sections(view: RunView) -> list[Section]:
    searched, done = bool(view.budgets), view.state is State.FINISHED
    sections = []
    if searched:
        text = "Counts say how many tokens each step reveals. Paste them into the loop of your sampler."
        sections.append(Section("use", "What to paste where", (text,)))
    if searched or view.rows:
        sections.append(Section("quality", "Quality against calls", tuple(_about_quality(view))))
    if searched:
        sections.append(
            Section(
                "landscape",
                "Which schedules are good",
                (
                    "Lighter is better. A dot is a trial. Colours come from a Gaussian process on the trials.",
                    "Schedules inside the outline cannot be told from the winner by the trials: any of them may be as "
                    "good. Far from the trials the outline says only that nothing is known.",
                ),
            )
        )
        sections.append(
            Section(
                "schedule",
                "The schedules",
                ("alpha(t) is the share of revealed tokens at time t. Rounding it gives the counts of the steps.",),
            )
        )
    if searched or view.curves:
        text = (
            "The cross-entropy of a hidden token when some random tokens are visible. Where the curve falls steeply, "
            "few tokens should be revealed at a time."
        )
        sections.append(Section("profile", "Information profile", (text,)))
    if searched:
        text = (
            "The paper's energy of a schedule, for two weights. The least energy is 1. An energy is not a quality: it "
            "does not depend on the model."
        )
        sections.append(Section("energy", "Energies", (text,)))
    if searched or view.rows:
        text = (
            "Both samples of a pair are drawn from the same noise. Tokens that differ are underlined: dotted for the "
            "first schedule, solid for the second."
        )
        sections.append(Section("samples", "Samples side by side", (text,)))
        sections.append(Section("diversity", "Diversity", tuple(_about_diversity(view))))
    if view.cost or view.evaluate_cost:
        text = "A denoiser row is one sequence that the model evaluates once. It does not depend on the machine."
        sections.append(Section("cost", "What it cost", (text,)))
    text = "With the same versions on the same kind of machine the command gives the same numbers." if done else ""
    sections.append(Section("provenance", "Where it comes from", tuple(filter(None, (text,)))))
    return sections


def _about_quality(view: RunView) -> Iterator[str]:
    best = "Higher" if view.about.maximize else "Lower"
    yield f"{best} is better. Schedules are compared at equal numbers of denoiser calls, on the same examples."
    if not view.about.exact:
        yield (
            "Intervals of values overlap more than those of differences, which are paired example by example: trust "
            "the gain, not the overlap."
        )
    if view.rows:
        yield "Differences of the evaluation are not corrected for the choice of the best of several schedules."


def _about_diversity(view: RunView) -> Iterator[str]:
    yield "A schedule can raise a score by making samples alike, so their diversity is measured too."
    threshold = next((budget.threshold for budget in view.budgets if budget.threshold is not None), None)
    if threshold is not None:
        yield f"A loss of more than {100 * threshold:g} % that exceeds the noise is flagged."


@dataclass(frozen=True)
class _Paste:
    """A text to copy."""

    id: str
    title: str
    text: str


def _pastes(view: RunView) -> Iterator[_Paste]:
    if view.state is State.FINISHED:
        budget = view.budgets[0].steps if view.budgets else 0
        yield _Paste(
            "load",
            "In Python, without torch",
            f"import mdm_tune\n\nschedule = mdm_tune.load_schedule({view.path!r})\n"
            + (
                f"counts = schedule.budget({budget}).counts"
                if view.budgets and view.budgets[0].counts
                else f"alphas = schedule.budget({budget}).alphas"
            ),
        )
    for budget_view in view.budgets:
        steps = budget_view.steps
        blocks = ""
        if budget_view.counts and budget_view.block_length and budget_view.block_length < sum(budget_view.counts):
            blocks = f", in blocks of {budget_view.block_length}"
        if budget_view.counts is not None:
            text, what = f"counts = {list(budget_view.counts)}", "tokens to reveal at each"
        else:
            text = f"alphas = [{', '.join(f'{alpha:.6g}' for alpha in budget_view.alphas or ())}]"
            what = "ancestral reveal"
        yield _Paste(f"counts-{steps}", f"{steps} steps{blocks}: {what}", text)
    if view.state is State.FINISHED and view.budgets:
        path = shlex.quote(view.path)
        which = f" --steps {view.budgets[0].steps}" if len(view.budgets) > 1 else ""
        commands = [f"mdm-tune export {path} --to {name}{which}" for name in ("llada", "dream", "json")]
        yield _Paste("export", "For another sampler", "\n".join([*commands, "mdm-tune list exports"]))


def _prices(view: RunView) -> Iterator[dict[str, Any]]:
    for entry in (view.profile or {}).get("budgets") or ():
        beta = entry["beta"]
        numbers = [entry["linear"]["nelbo"], beta["nelbo"], beta["a"], beta["b"], entry["optimum"]["nelbo"]]
        yield {"steps": entry["steps"], "numbers": [math.inf if number is None else number for number in numbers]}


def _energies(view: RunView) -> dict[str, Any]:
    """The energy of the winners and of hand-made schedules, in multiples of the least energy."""
    labels = dict.fromkeys(label for budget in view.budgets for label in (budget.label, *budget.baselines))
    rows = []
    for label in labels:
        try:
            schedule = parse_schedule(label)
        except InputError:
            continue
        rows.append((short_name(label), [_energy(schedule, parse_schedule(weight)) for weight in WEIGHTS]))
    return {"weights": WEIGHTS, "rows": rows}


def _energy(schedule: Schedule, weight: Schedule) -> float:
    return path_energy(schedule, weight) / LEAST_ENERGY


def _chosen(pairs: Sequence[PairView], most: int) -> list[PairView]:
    """At most ``most`` pairs, as many as possible of each budget."""
    by_steps: dict[int, list[PairView]] = {}
    for pair in pairs:
        by_steps.setdefault(pair.steps, []).append(pair)
    each = max(1, most // max(1, len(by_steps)))
    return [pair for steps in sorted(by_steps) for pair in by_steps[steps][:each]][:most]


def _shown(pair: PairView, most: int) -> dict[str, Any]:
    sides = [_side(drawn, most, first=number == 0) for number, drawn in enumerate((pair.first, pair.second))]
    return {"steps": pair.steps, "id": pair.id, "why": WHY.get(pair.chosen, pair.chosen), "sides": sides}


def _side(drawn: Drawn, most: int, *, first: bool) -> dict[str, Any]:
    """One sample, cut after ``most`` characters."""
    pieces, left = [], most
    for text, differs in drawn.pieces:
        if left > 0:
            pieces.append((text[:left], differs))
        left -= len(text)
    return {
        "name": short_name(drawn.label),
        "value": drawn.value,
        "pieces": pieces,
        "more": max(0, -left),
        "first": first,
    }


def _costs(view: RunView) -> list[dict[str, Any]]:
    """The bars of the cost: the search by purpose, and the paper's grid."""
    if view.cost is None:
        return []
    grid = [budget.grid_rows for budget in view.budgets]
    names = {
        "profile": "profile",
        "pilots": "pilots",
        "trials": "trials",
        "comparison": "comparison on unseen examples",
    }
    rows = [(names.get(name, name), int(number), False) for name, number in view.rows_of.items() if number]
    rows.append(("this search, all", view.cost[0], False))
    known = [number for number in grid if number is not None]
    if known and len(known) == len(grid) and sum(known):
        rows.append(("the paper\u2019s grid instead of the trials", sum(known), True))
    most = max((number for _, number, _ in rows), default=1) or 1
    return [
        {"name": name, "rows": number, "share": round(100 * number / most, 2), "other": other}
        for name, number, other in rows
    ]


def _cost_facts(view: RunView) -> Iterator[tuple[str, str]]:
    if view.cost is not None:
        rows, tokens, seconds = view.cost
        yield "search", f"{large(view.trials)} trials, {large(rows)} rows, {large(tokens)} tokens, {time_text(seconds)}"
        trials = view.rows_of.get("trials", 0) + view.rows_of.get("pilots", 0) + view.rows_of.get("profile", 0)
        grid = sum(budget.grid_rows or 0 for budget in view.budgets)
        if grid and trials:
            yield (
                "against the paper\u2019s grid",
                f"finding the candidates took {100 * trials / grid:.2g} % of the rows of scoring the grid of 10 x 10 "
                "schedules on the same examples; the comparison on unseen examples comes on top in both cases",
            )
    if view.evaluate_cost is not None:
        rows, tokens, seconds = view.evaluate_cost
        yield "evaluation", f"{large(rows)} rows, {large(tokens)} tokens, {time_text(seconds)}"


def _repeat(view: RunView) -> str:
    if not view.about.config:
        return ""
    command = "search" if view.budgets or view.progress else "evaluate" if view.rows else "profile"
    words = ["mdm-tune", command, f"{view.path}/config.yaml", "--output", f"{view.path}-again", *view.about.flags]
    return shlex.join(words)


def _facts(view: RunView) -> Iterator[tuple[str, str]]:
    about = view.about
    yield from ((name, text) for name, text in (("model", about.model), ("data", about.data)) if text)
    if about.sampler:
        yield "sampler", about.sampler
    if "seed" in about.config:
        yield "seed", str(about.config["seed"])
    if about.fingerprints:
        yield "fingerprints", ", ".join(f"{name} {digits}" for name, digits in about.fingerprints.items())
    if about.versions:
        yield "versions", ", ".join(f"{name} {version}" for name, version in about.versions.items())
    yield "run folder", view.path
