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
from mdm_tune.pages.landscapes import reaches_edge
from mdm_tune.pages.names import large, role_of, short_name, short_names, time_text
from mdm_tune.pages.run_figures import figures_of, named_counts
from mdm_tune.pages.run_views import BudgetView, Drawn, PairView, RunView, State
from mdm_tune.pages.sentences import diversity_text, findings, headline, lead
from mdm_tune.pages.template import MOST_BYTES, rendered
from mdm_tune.schedules.curves import Schedule, parse_schedule
from mdm_tune.schedules.energy import LEAST_ENERGY, path_energy

__all__ = ["Detail", "Section", "page_of", "run_page"]

LOOP = """\
for count in counts:
    logits = model(tokens)  # one denoiser call
    drawn, score = draw(logits)  # a token for each hidden position, and what ranks the positions
    best = score.masked_fill(tokens != mask, -inf).topk(count).indices
    tokens[best] = drawn[best]  # reveal `count` tokens"""
REFRESH = 10  # seconds between two readings of the page of a running search
PURPOSES = {"comparison": "comparison on unseen examples"}
KINDS = {PURPOSES["comparison"]: "comparison", "profile": "profile", "pilots": "pilots"}
CARDS = 4  # budgets that stand on the first screen
WEIGHTS = ("linear", "squared-sine")
FIGURES = {
    "token_entropy": "the entropy of the tokens of a batch, in nats",
    "distinct_tokens": "the share of distinct runs of three tokens",
    "answer_length": "the characters of a sample",
    "distinct_words": "the share of distinct words among the known words",
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
        tuned_rows=_tuned_rows(view),
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
        sections.append(Section("use", "Paste", tuple(_about_pasting(view))))
    if searched or view.rows:
        sections.append(Section("quality", "Quality", tuple(_about_quality(view))))
    if searched:
        sections.append(
            Section(
                "landscape",
                "Landscape",
                (
                    "Lighter is better. A dot is a trial. Colours come from a Gaussian process on the trials.",
                    "Schedules inside the outline cannot be told from the winner by the trials. Far from the trials "
                    "the outline says only that nothing is known.",
                    *_about_maps(view),
                ),
            )
        )
        sections.append(
            Section(
                "schedule",
                "Schedules",
                ("alpha(t) is the share of revealed tokens at time t. Rounding it gives the counts of the steps.",),
            )
        )
    if view.curves:
        text = (
            "The cross-entropy of a hidden token when some random tokens are visible. Where the curve falls steeply, "
            "few tokens should be revealed at a time."
        )
        sections.append(Section("profile", "Profile", (text,)))
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
        sections.append(Section("samples", "Samples", (text,)))
        sections.append(Section("diversity", "Diversity", tuple(_about_diversity(view))))
    if view.cost or view.evaluate_cost:
        text = "A denoiser row is one sequence that the model evaluates once. It does not depend on the machine."
        sections.append(Section("cost", "Cost", (text,)))
    text = "With the same versions on the same kind of machine the command gives the same numbers." if done else ""
    sections.append(Section("provenance", "Provenance", tuple(filter(None, (text,)))))
    return sections


def _about_quality(view: RunView) -> Iterator[str]:
    best = "Higher" if view.about.maximize else "Lower"
    yield f"{best} is better. Schedules are compared at equal numbers of denoiser calls, on the same examples."
    if not view.about.exact:
        yield (
            "Gains are paired example by example. Their intervals hold for all budgets of the search together; those "
            "of single values hold each by itself. They are about other examples, not about a search with another "
            "seed."
        )
    if view.rows:
        yield (
            "The evaluation is another comparison. Its differences are not corrected for the choice of the best of "
            "several schedules."
        )
        if view.budgets and not _tuned_rows(view):
            yield "The schedule that the search found is not among its rows."


def _about_pasting(view: RunView) -> Iterator[str]:
    yield "Counts say how many tokens each step reveals. Paste them into the loop of your sampler."
    tokens = f"sequences of {view.about.length} tokens" if view.about.length else "sequences of this length"
    sampler = f", sampled with {view.about.sampler}" if view.about.sampler else ""
    yield f"They are valid for this model and {tokens}{sampler}. For other lengths use load_schedule."


def _about_maps(view: RunView) -> Iterator[str]:
    """What the maps rest on, and what they do not show."""
    tuned = max((point.examples or 0 for budget in view.budgets for point in budget.points), default=0)
    report = next((budget.examples for budget in view.budgets if budget.examples), 0)
    if tuned and report:
        yield (
            f"A map rests on {large(tuned)} examples of the trials. The comparison on {large(report)} unseen examples "
            "is sharper: it can tell linear from the winner even where linear lies inside the outline."
        )
    names = {name for budget in view.budgets for name in budget.baselines} & {"sine", "maskgit-cosine"}
    if names:
        yield f"{' and '.join(sorted(names))} {'are' if len(names) > 1 else 'is'} no Beta(a, b) and not on the map."
    if not view.curves:
        yield "There is no information profile to compare with; mdm-tune profile measures one."
    if any(reaches_edge(budget, view.about) for budget in view.budgets):
        yield "An outline reaches the edge of a map: schedules beyond the box of the search may be as good."


def _tuned_rows(view: RunView) -> set[tuple[str, int]]:
    """The rows of the evaluation that are the tuned schedule of their budget, by label and steps."""
    tuned = {budget.steps: budget for budget in view.budgets}
    return {
        (row.label, row.steps)
        for row in view.rows
        if (budget := tuned.get(row.steps)) is not None
        and (role_of(row.label) == "tuned" or (row.counts is not None and row.counts == budget.counts))
    }


def _about_diversity(view: RunView) -> Iterator[str]:
    yield from filter(None, map(diversity_text, view.budgets))
    yield "A schedule can raise a score by making samples alike, so their diversity is measured too."
    figures = {figure for budget in view.budgets for figure in budget.diversity.get("winner", ())}
    said = [f"{name.replace('_', ' ')} is {text}" for name, text in FIGURES.items() if name in figures]
    if said:
        yield f"More is more diverse: {'; '.join(said)}."
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
    """The texts to copy: the file, the counts of each budget, a loop, exports."""
    done, path = view.state is State.FINISHED, shlex.quote(view.path)
    if done and view.budgets:
        first = view.budgets[0]
        what = "counts" if first.counts else "alphas"
        text = f"import mdm_tune\n\nschedule = mdm_tune.load_schedule({view.path!r})\n"
        yield _Paste("load", "In Python, without torch", f"{text}{what} = schedule.budget({first.steps}).{what}")
    for budget in view.budgets:
        yield from _counts_of(view, budget)
    if any(budget.counts for budget in view.budgets):
        yield _Paste("loop", "Where the counts go", LOOP)
    if done and view.budgets:
        commands = [
            f"mdm-tune export {path} --to {name} --steps {budget.steps}"
            for name in ("llada", "dream", "json")
            for budget in view.budgets[:CARDS]
        ]
        yield _Paste("export", "The tuned one for another sampler", "\n".join([*commands, "mdm-tune list exports"]))


def _counts_of(view: RunView, budget: BudgetView) -> Iterator[_Paste]:
    """The counts of a budget. A hand-made schedule with a better value comes first."""
    blocks = ""
    if budget.counts and budget.block_length and budget.block_length < sum(budget.counts):
        blocks = f", in blocks of {budget.block_length}"
    rival, sign = budget.rival, view.about.sign
    ahead = rival is not None and sign * (rival.estimate.value - budget.estimate.value) > 0
    if ahead and rival is not None and (counts := named_counts(view, budget, rival.label)) is not None:
        title = f"{budget.steps} steps{blocks}: {short_name(rival.label)}, hand-made, with a better value"
        yield _Paste(f"rival-{budget.steps}", title, f"counts = {list(counts)}")
    which = f"{budget.name}, tuned" if budget.rejected is None else f"{budget.name}, returned"
    which += f", with a worse value than {short_name(rival.label)}" if ahead and rival is not None else ""
    title = f"{budget.steps} steps{blocks}: {which}"
    if budget.counts is not None:
        yield _Paste(
            f"counts-{budget.steps}", f"{title}, tokens to reveal at each step", f"counts = {[*budget.counts]}"
        )
    else:
        text = f"alphas = [{', '.join(f'{alpha:.6g}' for alpha in budget.alphas or ())}]"
        yield _Paste(f"counts-{budget.steps}", f"{title}, for ancestral reveal", text)


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
    """Two bars in parts: the rows of the search by purpose, and those of the paper's grid with the same comparison."""
    if view.cost is None or not view.cost[0]:
        return []
    names = {
        "profile": "profile",
        "pilots": "pilots",
        "trials": "trials",
        "comparison": "comparison on unseen examples",
    }
    own = [(names.get(name, name), int(number)) for name, number in view.rows_of.items() if number]
    bars = [("this search", own or [("all", view.cost[0])])]
    grid = [budget.grid_rows for budget in view.budgets]
    known = sum(number for number in grid if number is not None)
    if known and None not in grid and own:
        comparison = [part for part in own if part[0] == PURPOSES["comparison"]]
        bars.append(("the paper\u2019s grid", [("its 10 x 10 schedules", known), *comparison]))
    most = max(sum(number for _, number in parts) for _, parts in bars)
    return [
        {
            "name": name,
            "rows": sum(number for _, number in parts),
            "parts": [
                {
                    "name": part,
                    "rows": number,
                    "share": round(100 * number / most, 2),
                    "kind": KINDS.get(part, "trials"),
                }
                for part, number in parts
            ],
        }
        for name, parts in bars
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
    if "seed" in about.config:
        yield "seed", str(about.config["seed"])
    if about.fingerprints:
        yield "fingerprints", ", ".join(f"{name} {digits}" for name, digits in about.fingerprints.items())
    if about.versions:
        yield "versions", ", ".join(f"{name} {version}" for name, version in about.versions.items())
    yield "run folder", view.path
