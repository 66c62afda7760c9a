"""The figures of what each step reveals: counts of schedules, and means of adaptive policies, for each budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity
from mdm_tune.core.numerals import significant
from mdm_tune.pages.charts import Counts, Figure, steps
from mdm_tune.pages.names import large, short_name
from mdm_tune.pages.run_looks import Looks
from mdm_tune.pages.run_views import BudgetView, RunView
from mdm_tune.schedules.counts import CountRule, to_counts
from mdm_tune.schedules.curves import parse_schedule
from mdm_tune.schedules.labels import Label

__all__ = ["named_counts", "step_figures"]

MOST = 64  # numbers of a row in a description


def named_counts(view: RunView, budget: BudgetView, name: str = "linear") -> tuple[int, ...] | None:
    """The counts of a schedule by its name at a budget, also where the winner is a policy.

    Returns:
        The counts; None for ancestral reveal, for blocks that share the steps unequally, for an unknown length, and for
        a name that is no schedule.
    """
    label, length = Label.read(name), _length(view, budget)
    if not length or (blocks := _blocks(view, budget, label)) is None:
        return None
    rule: CountRule = "cumulative" if view.about.section("sampler").get("counts") == "cumulative" else "one-per-step"
    with suppress(InputError):
        steps_each = budget.steps // len(blocks)
        return to_counts(parse_schedule(label.name), steps_each, length // len(blocks), rule) * len(blocks)
    return None


def _length(view: RunView, budget: BudgetView) -> int:
    """The tokens that counts at a budget sum to; 0 for ancestral reveal and where it is unknown."""
    if budget.alphas is not None or view.about.section("sampler").get("reveal") == "bernoulli":
        return 0
    return sum(budget.counts or ()) or view.about.length or 0


def _blocks(view: RunView, budget: BudgetView, label: Label) -> tuple[int, ...] | None:
    """The steps of each block of a schedule at a budget; None if blocks share the steps unequally."""
    length = _length(view, budget)
    number = max(1, length // (label.blocks or budget.block_length or length or 1))
    if budget.steps % number or view.about.section("sampler").get("block_steps") == "tuned":
        return None
    return (budget.steps // number,) * number


def step_figures(view: RunView, looks: Looks) -> Iterator[tuple[str, Figure]]:
    """For each budget the counts of the tuned schedule, or what the tuned adaptive policy reveals, beside others.

    Beside counts stand those of the best hand-made schedule and of linear. Beside an adaptive policy stand linear and,
    where it does not keep to linear's calls, the kind of policy that does. Where a search compares several kinds of
    adaptive policies, another figure shows all of them.
    """
    for budget in view.budgets:
        at, linear = quantity(budget.steps, "step"), budget.baselines.get("linear")
        known = {"linear": ("linear", None if linear is None else linear.calls)}
        kinds = {each.policy: (short_name(each.policy), each.calls) for each in budget.policies if each.policy}
        tuned = {budget.label: (budget.title, budget.calls)}
        if budget.counts:
            rows, title = _counts(view, budget, looks), f"Tokens revealed by each step, {at}"
            yield f"counts-{budget.steps}", steps(rows, title=title, description=f"The counts at {at}. {_said(rows)}.")
        elif budget.label in budget.reveals:
            equal = None if budget.equal_beside is None else budget.equal_beside.policy
            beside = {label: said for label, said in kinds.items() if label == equal}
            title = f"Tokens revealed by each call, at the calls of linear with {at}"
            yield f"counts-{budget.steps}", _means(budget, tuned | beside | known, title, looks)
        if len(kinds.keys() & budget.reveals.keys()) > 1:
            title = f"Tokens revealed by each call of each policy, at the calls of linear with {at}"
            yield f"kinds-{budget.steps}", _means(budget, kinds | known, title, looks)


def _said(rows: list[Counts]) -> str:
    return "; ".join(
        f"{row.name}: {', '.join(f'{count:.3g}' for count in row.counts[:MOST])}"
        f"{' and so on' if len(row.counts) > MOST else ''}"
        for row in rows
    )


def _counts(view: RunView, budget: BudgetView, looks: Looks) -> list[Counts]:
    """The counts of the tuned schedule, of the best hand-made one and of linear."""
    blocks = _blocks(view, budget, Label("", budget.block_length)) or ()
    look = looks.of(budget.label, budget.steps)
    rows = [Counts(budget.title, budget.counts or (), note=_calls(budget.calls), blocks=blocks, look=look)]
    others = [] if budget.rival is None else [(budget.rival.label, budget.rival)]
    for label, row in (*others, ("linear", budget.baselines.get("linear"))):
        counts = named_counts(view, budget, label)
        if counts is not None and label != budget.kind:
            calls = sum(count > 0 for count in counts) if row is None or row.calls is None else row.calls
            look, blocks = looks.of(label), _blocks(view, budget, Label.read(label)) or ()
            rows.append(Counts(short_name(label), counts, note=_calls(calls), blocks=blocks, look=look))
    return rows


def _means(budget: BudgetView, wanted: Mapping[str, tuple[str, float | None]], title: str, looks: Looks) -> Figure:
    """What each call of some policies reveals. wanted: their names and calls by their labels, if that is known."""
    rows = []
    for label, (name, calls) in wanted.items():
        found = budget.reveals.get(label)
        if found is None or not found.mean:
            continue
        examples = max(found.examples)
        rows.append(
            Counts(
                name,
                found.mean,
                note="" if calls is None else _calls(calls),
                look=looks.of(label, budget.steps),
                spread=tuple(zip(found.low, found.high, strict=True)),
                made=tuple(f"{made} of {examples} examples call so often" for made in found.examples),
            )
        )
    examples = max(max(each.examples, default=0) for each in budget.reveals.values())
    return steps(
        rows,
        title=title,
        description=f"Means over the examples, 0 after an example's last call. {_said(rows)}.",
        step="call",
        heading=f"tokens revealed by each call: the mean over {large(examples)} examples, and their middle 80 %",
    )


def _calls(calls: float) -> str:
    return quantity(significant(calls, 4), "call")
