"""The page of one run: one HTML file that needs nothing else."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import listed, quantity
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.core.statistics import Estimate
from mdm_tune.pages.charts import Figure
from mdm_tune.pages.headlines import best_budget, headline
from mdm_tune.pages.names import RULES, short_name, short_names
from mdm_tune.pages.run_costs import cost_facts, costs_of
from mdm_tune.pages.run_figures import figures_of
from mdm_tune.pages.run_looks import Looks
from mdm_tune.pages.run_pastes import pastes_of, to_use
from mdm_tune.pages.run_sections import figures_meant, origins, sections_of, tuned_rows
from mdm_tune.pages.run_tables import decimals_of, diversity_table, own_calls, values_of_data
from mdm_tune.pages.run_views import BudgetView, Drawn, PairView, RunView, State
from mdm_tune.pages.sentences import caveat, findings, lead
from mdm_tune.pages.template import MOST_BYTES, rendered
from mdm_tune.schedules.curves import Schedule, parse_schedule
from mdm_tune.schedules.energy import LEAST_ENERGY, path_energy

__all__ = ["Detail", "page_of", "run_page"]

REFRESH = 10  # seconds between two readings of the page of a running search
CARDS = 4  # budgets that stand on the first screen
WEIGHTS = ("linear", "squared-sine")
WHY = {
    "first": "one of the first two that differ, not picked by their values",
    "largest gain": "the largest gain of all examples",
    "largest loss": "the largest loss of all examples",
}


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
    looks = Looks(view)
    figures = _kept(figures_of(view, detail.landscape), view, detail.budgets)
    pastes = list(pastes_of(view))
    paste_ids = {paste.id for paste in pastes}
    steps, first = [budget.steps for budget in view.budgets], best_budget(view)
    ordered = steps if first is None else [first.steps, *(each for each in steps if each != first.steps)]
    maps = [name for each in ordered if (name := f"landscape-{each}") in figures]
    maps += [name for name in figures if name.startswith("landscape-") and name not in maps]
    pairs = [_shown(pair, detail.characters, looks) for pair in _chosen(view.pairs, detail.pairs, ordered)]
    figure_names = list(dict.fromkeys(name for row in view.rows for name in row.diversity))
    return rendered(
        "run.html",
        view=view,
        headline=_first_sentence(headline(view)),
        caveat=caveat(view),
        lead=[*lead(view), *to_use(view)],
        findings=findings(view),
        cards=_cards(view.budgets),
        sections=sections_of(view, looks, figures.keys()),
        figures=figures,
        pastes=pastes,
        budget_paste={each: _first_paste(each, paste_ids) for each in steps},
        maps=maps,
        kind_figures=[name for each in ordered if (name := f"kinds-{each}") in figures],
        step_figures=[name for each in ordered if (name := f"counts-{each}") in figures],
        names=short_names(row.label for row in view.rows),
        tuned_rows=tuned_rows(view),
        origins=origins(view),
        key=looks.key,
        prices=list(_prices(view)),
        energies=_energies(view),
        pairs=pairs,
        open_pairs=sum(pair["steps"] == pairs[0]["steps"] for pair in pairs) if pairs else 0,
        figure_rows=[row for row in view.rows if row.diversity],
        figure_names=figure_names,
        diversity=diversity_table(view),
        meanings=figures_meant(view),
        data_values=values_of_data(view),
        own_calls=own_calls(view),
        places=decimals_of(view),
        rules={
            kind: RULES[kind] for budget in view.budgets for each in budget.policies if (kind := each.kind) in RULES
        },
        costs=costs_of(view),
        cost_facts=list(cost_facts(view)),
        repeat=_repeat(view),
        facts=list(_facts(view)),
        config=yaml_text(dict(view.about.config), allow_unicode=True) if view.about.config else "",
        refresh=REFRESH if view.state is State.RUNNING else None,
    )


def _first_sentence(text: str) -> tuple[str, str]:
    """The first sentence, which stands large, and the rest."""
    first, _, rest = text.partition(". ")
    return (f"{first}.", rest) if rest else (text, "")


def _kept(figures: dict[str, Figure], view: RunView, budgets: int) -> dict[str, Figure]:
    """The figures without those of budgets after the first ones."""
    left_out = {
        f"{kind}-{budget.steps}" for budget in view.budgets[budgets:] for kind in ("landscape", "counts", "kinds")
    }
    return {name: figure for name, figure in figures.items() if name not in left_out}


def _first_paste(steps: int, ids: set[str]) -> str:
    """The text to copy that a budget's card leads to: of what is best at equal calls."""
    kinds = ("rival", "equal", "counts", "run")
    return next((name for kind in kinds if (name := f"{kind}-{steps}") in ids), f"counts-{steps}")


def _cards(budgets: Sequence[BudgetView]) -> list[BudgetView]:
    """The budgets of the first screen: all, or the ones with the largest gains, in ascending order of steps."""
    largest = sorted(budgets, key=lambda budget: -budget.gain.value)[:CARDS]
    return [budget for budget in budgets if budget in largest]


def _prices(view: RunView) -> Iterator[dict[str, Any]]:
    for entry in (view.profile or {}).get("budgets") or ():
        beta = entry["beta"]
        numbers = [entry["linear"]["nelbo"], beta["nelbo"], beta["a"], beta["b"], entry["optimum"]["nelbo"]]
        minus = beta.get("minus_linear")  # older records do not have it
        yield {
            "steps": entry["steps"],
            "numbers": [math.inf if number is None else number for number in numbers],
            "minus": None if minus is None else Estimate.from_json({**minus, "value": minus["nelbo"]}),
        }


def _energies(view: RunView) -> dict[str, Any]:
    """The energy of the winners and of hand-made schedules, in multiples of the least energy."""
    names: dict[str, list[str]] = {}
    for budget in view.budgets:
        names.setdefault(budget.brief or budget.label, []).append(quantity(budget.steps, "step"))
    labels = dict.fromkeys([*names, *(label for budget in view.budgets for label in budget.baselines)])
    rows = []
    for label in labels:
        with suppress(InputError):
            schedule = parse_schedule(label)
            at = names.get(label)
            tuned = f", {view.word} for {listed(at)}" if at else ""
            energies = [_energy(schedule, parse_schedule(weight)) for weight in WEIGHTS]
            rows.append((label, f"{short_name(label)}{tuned}", energies))
    return {"weights": WEIGHTS, "rows": rows}


def _energy(schedule: Schedule, weight: Schedule) -> float:
    return path_energy(schedule, weight) / LEAST_ENERGY


def _chosen(pairs: Sequence[PairView], most: int, ordered: Sequence[int]) -> list[PairView]:
    """At most ``most`` pairs, as many as possible of each budget. ordered: the budgets, the first one first."""
    by_steps: dict[int, list[PairView]] = {}
    for pair in pairs:
        by_steps.setdefault(pair.steps, []).append(pair)
    each = max(1, most // max(1, len(by_steps)))
    places = [*(steps for steps in ordered if steps in by_steps), *sorted(by_steps.keys() - set(ordered))]
    return [pair for steps in places for pair in by_steps[steps][:each]][:most]


def _shown(pair: PairView, most: int, looks: Looks) -> dict[str, Any]:
    drawn = [each for each in (pair.first, pair.second, pair.third) if each is not None]
    return {
        "steps": pair.steps,
        "id": pair.id,
        "example": pair.example,
        "why": WHY.get(pair.chosen, pair.chosen),
        "sides": [_side(each, most, looks, pair.steps) for each in drawn],
    }


def _side(drawn: Drawn, most: int, looks: Looks, steps: int) -> dict[str, Any]:
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
        "key": looks.key(drawn.label, steps),
        "colour": looks.colour(drawn.label, steps),
    }


def _repeat(view: RunView) -> str:
    if not view.about.config:
        return ""
    command = "search" if view.budgets or view.progress else "evaluate" if view.rows else "profile"
    words = ["mdm-tune", command, f"{view.path}/config.yaml", "--output", f"{view.path}-again", *view.about.flags]
    return shlex.join(words)


def _facts(view: RunView) -> Iterator[tuple[str, str]]:
    about = view.about
    if "seed" in about.config:
        yield "seed", str(about.config["seed"])
    if about.fingerprints:
        yield "fingerprints", ", ".join(f"{name} {digits}" for name, digits in about.fingerprints.items())
    if about.versions:
        yield "versions", ", ".join(f"{name} {version}" for name, version in about.versions.items())
    yield "run folder", view.path
