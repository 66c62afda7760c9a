"""What a reader copies from the page of a run: counts, where they go, exports."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from mdm_tune.core.messages import quantity
from mdm_tune.core.numerals import shortest
from mdm_tune.pages.headlines import best_budget
from mdm_tune.pages.names import and_listed, short_name
from mdm_tune.pages.policy_code import policy_code
from mdm_tune.pages.run_steps import named_counts
from mdm_tune.pages.run_views import BudgetView, RunView, State

__all__ = ["SUITED", "Paste", "pastes_of"]

SUITED = {  # formats that hold each kind of policy; a test compares them with the formats themselves
    "counts": ("llada", "dream", "json"),
    "alphas": ("mdlm", "md4", "json"),
    "threshold": ("fast-dllm", "sglang", "json"),
    "quota": ("dinfer", "vllm", "json"),
}
LOOP = """\
for count in counts:
    logits = model(tokens)  # one denoiser call
    drawn, score = draw(logits)  # for each hidden position: a token, and how it ranks
    best = score.masked_fill(tokens != mask, -torch.inf).topk(count).indices
    tokens[best] = drawn[best]  # reveal `count` tokens"""
ANCESTRAL = """\
for before, after in itertools.pairwise(alphas):
    logits = model(tokens)  # one denoiser call
    now = (tokens == mask) & (torch.rand(tokens.shape) < (after - before) / (1 - before))
    tokens[now] = draw(logits)[now]  # reveal each hidden token with this probability"""


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
    if done and best is not None and (name := "counts" if best.counts else "alphas" if best.alphas else ""):
        text = f"import mdm_tune\n\n{name} = mdm_tune.load_schedule({view.path!r}).budget({best.steps}).{name}"
        yield Paste("load", f"The {_kept(view)} {name} from the file, without torch", text)
    if any(budget.counts for budget in view.budgets):
        yield Paste("loop", "Where the counts go in your sampler", LOOP)
    if any(budget.alphas for budget in view.budgets):
        yield Paste("ancestral", "Where the alphas go in your sampler", ANCESTRAL)
    if done and best is not None:
        yield _exports(view, best)


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


def _following(view: RunView, policy: str, steps: int) -> str:
    """A call or a command that follows an adaptive policy with the run's model."""
    if view.about.of_transformers:
        return f"mdm_tune.generate(model, tokenizer, prompts, schedule={policy!r}, steps={steps})"
    words = ["mdm-tune", "sample", f"{view.path}/config.yaml", "--schedule", policy, "--steps", str(steps)]
    return shlex.join([*words, *view.about.flags])


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
    """What a budget reveals. A hand-made schedule with a better value comes first, then a policy at no more calls."""
    blocks = ""
    if budget.counts and budget.block_length and budget.block_length < sum(budget.counts):
        blocks = f", in blocks of {budget.block_length}"
    rival, sign, at = budget.rival, view.about.sign, quantity(budget.steps, "step")
    ahead = rival is not None and sign * (rival.estimate.value - budget.estimate.value) > 0
    if ahead and rival is not None and (counts := named_counts(view, budget, rival.label)) is not None:
        title = f"{at}{blocks}: {short_name(rival.label)}, hand-made, with a better value"
        yield Paste(f"rival-{budget.steps}", title, f"counts = {list(counts)}")
    equal = budget.equal_beside
    if equal is not None and equal.policy is not None:
        title = f"{at}: {short_name(equal.policy)}, better than linear at no more calls"
        yield Paste(f"equal-{budget.steps}", title, _following(view, equal.policy, budget.steps))
    origin = "hand-made" if budget.hand_made else "tuned" if budget.rejected is None else "returned"
    which = f"{budget.name}, {origin}: {budget.verdict.value}"
    which += f", with a worse value than {short_name(rival.label)}" if ahead and rival is not None else ""
    own = "" if view.shared is None else "own best, "
    title, place = f"{at}{blocks}: {own}{which}", f"counts-{budget.steps}"
    if budget.counts is not None:
        yield Paste(place, title, f"counts = {[*budget.counts]}  # tokens to reveal at each step")
    elif budget.alphas is not None:
        text = f"alphas = [{', '.join(map(shortest, budget.alphas))}]  # for ancestral reveal"
        yield Paste(place, title, text)
    elif budget.policy:
        yield Paste(place, title, _following(view, budget.policy, budget.steps))
    else:
        lines = [f"# {budget.kind}", *(f"# {name} = {value!r}" for name, value in budget.values.items())]
        yield Paste(place, f"{title}, a policy", "\n".join(lines))
