"""What a reader copies from the page of a run: counts, where they go, exports."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mdm_tune.core.messages import quantity
from mdm_tune.core.numerals import shortest, significant
from mdm_tune.pages.headlines import best_budget
from mdm_tune.pages.names import and_listed, short_name
from mdm_tune.pages.policy_code import policy_code
from mdm_tune.pages.run_steps import named_counts
from mdm_tune.pages.run_views import BudgetView, RunView, State
from mdm_tune.pages.sampler_code import ancestral_loop, counts_loop
from mdm_tune.schedules.labels import Label

__all__ = ["SUITED", "Paste", "pastes_of", "to_use"]

SUITED = {  # formats that hold each kind of policy; a test compares them with the formats themselves
    "counts": ("llada", "dream", "json"),
    "alphas": ("mdlm", "md4", "json"),
    "threshold": ("fast-dllm", "sglang", "json"),
    "quota": ("dinfer", "vllm", "json"),
}


MOST_BUDGETS, MOST_COUNTS = 4, 16  # that are named below the headline


@dataclass(frozen=True)
class Paste:
    """A text to copy."""

    id: str
    title: str
    text: str


def pastes_of(view: RunView) -> Iterator[Paste]:
    """The texts to copy: what each budget reveals, the same from the file, where it goes, and exports."""
    done, best = view.state is State.FINISHED and bool(view.budgets), best_budget(view)
    plans = {} if view.shared is None else view.shared.plans
    for steps, text in plans.items():
        yield Paste(f"shared-{steps}", f"{quantity(steps, 'step')}: the shared schedule", text)
    for budget in view.budgets:
        yield from _of_budget(view, budget)
    yield from _cheapest(view)
    yield from _codes(view)
    if done and best is not None and (best.counts or best.alphas):
        yield _loaded(view, best)
    yield from _loops(view)
    if done and best is not None:
        yield _exports(view, best)


def to_use(view: RunView) -> Iterator[tuple[str, str]]:
    """A row for the facts below the headline: what each budget offers first, where it is not linear and short."""
    if view.state is not State.FINISHED or view.shared is not None:
        return
    texts = []
    for budget in view.budgets[:MOST_BUDGETS]:
        at, ahead, equal = f"at {quantity(budget.steps, 'step')}", _ahead(view, budget), budget.equal_beside
        counts = budget.counts if ahead is None else named_counts(view, budget, ahead)
        if budget.policy and ahead is None:
            beside = f", or {short_name(equal.policy)} at no more calls" if equal and equal.policy else ""
            texts.append(f"{short_name(budget.policy)} {at}{beside}")
        elif counts and len(counts) <= MOST_COUNTS and Label.read(ahead or budget.label).name != "linear":
            texts.append(f"counts = {[*counts]} {at}")
    if texts:
        yield "To use", f"{'; '.join(texts)}. Commands and code are below"


def _ahead(view: RunView, budget: BudgetView) -> str | None:
    """The label of the best hand-made schedule if its value is better than that of the winner."""
    rival, sign = budget.rival, view.about.sign
    ahead = rival is not None and sign * (rival.estimate.value - budget.estimate.value) > 0
    return rival.label if rival is not None and ahead else None


def _loaded(view: RunView, best: BudgetView) -> Paste:
    """Lines that read the schedule file: what was tuned, and counts for another length."""
    lines = ["import mdm_tune", "", f"schedule = mdm_tune.load_schedule({view.path!r})"]
    if best.counts:
        length = sum(best.counts)
        lines += [
            f"counts = schedule.counts(steps={best.steps})  # for {quantity(length, 'token')}, as above",
            f"# counts = schedule.counts(length={2 * length}, steps={best.steps})  # the same curve at another length",
        ]
    else:
        lines.append(f"alphas = schedule.alphas(steps={best.steps})  # for any length")
    what = "counts" if best.counts else "alphas"
    return Paste("load", f"The {_kept(view)} {what} from the file, without torch", "\n".join(lines))


def _loops(view: RunView) -> Iterator[Paste]:
    """Where counts and alphas go: a loop for counts in each block length, and one for alphas."""
    sampler = view.about.section("sampler")
    sizes = {budget.steps: _size(budget) for budget in view.budgets if budget.counts}
    sizes |= {} if sizes else {budget.steps: None for budget in view.budgets if _equal_counts(view, budget)}
    for place, size in enumerate(dict.fromkeys(sizes.values())):
        title = "Where the counts go in a sampler of your own"
        if len({*sizes.values()}) > 1:
            title += f", at {and_listed([str(steps) for steps, own in sizes.items() if own == size])} steps"
        yield Paste(f"loop-{place}" if place else "loop", title, counts_loop(sampler, size))
    if any(budget.alphas for budget in view.budgets):
        yield Paste("ancestral", "Where the alphas go in a sampler of your own", ancestral_loop(sampler))


def _size(budget: BudgetView) -> int | None:
    """The block length of a budget's counts; None for a single block."""
    size = budget.block_length
    return size if size and size < sum(budget.counts or ()) else None


def _exports(view: RunView, best: BudgetView) -> Paste:
    """The commands that export the best budget, and one of each kind that only other budgets hold."""
    of_kinds: dict[str, BudgetView] = {}
    for budget in (best, *view.budgets):
        of_kinds.setdefault(_held(budget), budget)
    commands = [
        f"mdm-tune export {shlex.quote(view.path)} --to {name} --steps {budget.steps}"
        for kind, budget in of_kinds.items()
        for name in SUITED.get(kind, ("json",))
    ]
    others = [str(budget.steps) for budget in view.budgets if budget not in of_kinds.values()]
    also = f"; also with --steps {and_listed(others)}" if others else ""
    text = "\n".join([*dict.fromkeys(commands), "mdm-tune list exports  # all formats"])
    return Paste("export", f"The {_kept(view)} one for another sampler{also}", text)


def _kept(view: RunView) -> str:
    """What the schedule file holds: the tuned or chosen schedules, or the shared one."""
    return view.word if view.shared is None else "shared"


def _held(budget: BudgetView) -> str:
    """What an export of a budget holds: counts, alphas, or the kind of its policy."""
    return "counts" if budget.counts else "alphas" if budget.alphas else budget.kind


def _command(view: RunView, schedule: str, steps: int) -> str:
    """The command that draws samples of the run with a schedule or a policy."""
    words = ["mdm-tune", "sample", f"{view.path}/config.yaml", "--schedule", schedule, "--steps", str(steps)]
    return shlex.join([*words, *view.about.flags])


def _following(view: RunView, policy: str, steps: int) -> str:
    """A call or a command that follows an adaptive policy with the run's model."""
    if view.about.of_transformers:
        return f"mdm_tune.generate(model, tokenizer, prompts, schedule={policy!r}, steps={steps})"
    return _command(view, policy, steps)


def _codes(view: RunView) -> Iterator[Paste]:
    """Each policy that is offered, as code for another sampler; those that differ by a number share the code."""
    offered: dict[str, int] = {}
    for budget in view.budgets:
        equal = budget.equal_beside
        for policy in (equal and equal.policy, budget.policy):
            if policy:
                offered.setdefault(policy, budget.steps)
    if view.budgets and view.cheapest_policy is not None:
        offered.setdefault(*view.cheapest_policy)
    values: dict[str, dict[str, str]] = {}  # first lines with what they are of, by the lines that follow
    for policy, steps in offered.items():
        first, _, rest = policy_code(view, policy, steps).partition("\n")
        if rest:
            values.setdefault(rest, {})[first] = f"{quantity(steps, 'step')}: {short_name(policy)}"
    for place, (rest, firsts) in enumerate(values.items()):
        (first, name), *others = firsts.items()
        beside = "".join(f"# {other.partition(':')[0]}: {line.partition('  #')[0]}\n" for line, other in others)
        title = f"In a sampler of your own, {name}"
        yield Paste(f"policy-{place}", title, f"{first}\n{beside}{rest}")


def _cheapest(view: RunView) -> Iterator[Paste]:
    """The cheapest policy that is as good as one token per step, where no budget offers it."""
    if not view.budgets or view.cheapest_policy is None:
        return
    policy, steps = view.cheapest_policy
    offered = {
        name
        for each in view.budgets
        for name in (each.policy, each.label, each.equal_beside and each.equal_beside.policy)
    }
    if policy not in offered:
        title = f"{quantity(steps, 'step')}: {short_name(policy)}, the cheapest that is as good as one token per step"
        yield Paste("cheapest", title, _following(view, policy, steps))


def _of_budget(view: RunView, budget: BudgetView) -> Iterator[Paste]:
    """What draws samples at a budget, and what it reveals.

    A hand-made schedule with a better value comes first, then what keeps to linear's calls where the winner does not,
    then the winner. Hand-made schedules that may take its place come last, with the best of them in any case.
    """
    blocks = "" if (size := _size(budget)) is None else f", in blocks of {size}"
    rival, ahead, at = budget.rival, _ahead(view, budget), quantity(budget.steps, "step")
    given = set()
    if ahead is not None and (counts := named_counts(view, budget, ahead)) is not None:
        given.add(ahead)
        title = f"{at}{blocks}: {short_name(ahead)}, hand-made, with a better value"
        yield Paste(f"rival-{budget.steps}", title, _line_of(counts))
    equal = budget.equal_beside
    if equal is not None and equal.policy is not None:
        title = f"{at}: {short_name(equal.policy)}, better than linear at no more calls"
        yield Paste(f"equal-{budget.steps}", title, _following(view, equal.policy, budget.steps))
        if (found := _equal_counts(view, budget)) is not None:
            given.add(equal.policy)
            name = f"equal-counts-{budget.steps}"
            yield Paste(name, f"{at}: the counts of {short_name(equal.policy)}", _line_of(found))
    yield from _of_winner(view, budget, f"{at}{blocks}", ahead=ahead or "")
    which = "winner" if view.shared is None else "shared schedule"
    others = dict.fromkeys(_stand_ins(view, budget), f"hand-made, which may take the place of the {which}")
    if rival is not None and not budget.is_rival and not budget.linear_above_rival:
        others.setdefault(rival.label, "the best hand-made schedule")
    for label, words in others.items():
        if label not in given and (counts := named_counts(view, budget, label)) is not None:
            name = f"instead-{budget.steps}-{Label.read(label).name}"
            yield Paste(name, f"{at}{blocks}: {short_name(label)}, {words}", _line_of(counts))


def _of_winner(view: RunView, budget: BudgetView, at: str, *, ahead: str) -> Iterator[Paste]:
    """The command that follows the winner, and what it reveals. ahead: a hand-made schedule with a better value."""
    origin = "hand-made" if budget.hand_made else "tuned" if budget.rejected is None else "returned"
    which = f"{budget.name}, {origin}: {budget.verdict.value}"
    which += f", with a worse value than {short_name(ahead)}" if ahead else ""
    own = "" if view.shared is None else "own best, "
    title, place = f"{at}: {own}{which}", f"counts-{budget.steps}"
    if schedule := _given(view, budget):
        text = _command(view, schedule, budget.steps)
        if budget.policy:
            text += f"\n# {budget.steps} is the budget that its number was set for, and no limit: it makes "
            text += f"{quantity(significant(budget.calls, 4), 'call')} in the mean"
        yield Paste(f"run-{budget.steps}", title, text)
        title = f"{at}: what {budget.name} reveals"
    if budget.counts is not None:
        yield Paste(place, title, _line_of(budget.counts))
    elif budget.alphas is not None:
        text = f"alphas = [{', '.join(map(shortest, budget.alphas))}]  # for ancestral reveal"
        yield Paste(place, title, text)
    elif not budget.policy:
        lines = [f"# {budget.kind}", *(f"# {name} = {value!r}" for name, value in budget.values.items())]
        yield Paste(place, f"{title}, a policy", "\n".join(lines))
    elif view.about.of_transformers:
        yield Paste(
            place, f"{at}: {budget.name} with a model of transformers", _following(view, budget.policy, budget.steps)
        )


def _given(view: RunView, budget: BudgetView) -> str:
    """What stands after --schedule for a winner: the folder, or a name where that holds another one; empty if none."""
    if not (budget.policy or budget.counts or budget.alphas):
        return ""
    if view.state is State.FINISHED and view.shared is None:
        return view.path
    size = _size(budget)
    return (budget.brief or budget.label) if size in (None, view.about.section("sampler").get("block_length")) else ""


def _line_of(counts: Sequence[int]) -> str:
    return f"counts = {[*counts]}  # tokens per step, {sum(counts)} in all"


def _equal_counts(view: RunView, budget: BudgetView) -> tuple[int, ...] | None:
    """The counts of what keeps to linear's calls, where that is a schedule."""
    equal = budget.equal_beside
    return None if equal is None or equal.policy is None else named_counts(view, budget, equal.policy)


def _stand_ins(view: RunView, budget: BudgetView) -> Sequence[str]:
    """The hand-made schedules that may take the place of what the schedule file holds at a budget."""
    return budget.replaced_by if view.shared is None else view.shared.replaced_by.get(budget.steps, ())
