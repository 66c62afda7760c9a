"""What a reader copies from the page of a run: counts, where they go, exports."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from mdm_tune.pages.names import short_name
from mdm_tune.pages.run_figures import named_counts
from mdm_tune.pages.run_views import BudgetView, RunView, State, Verdict

__all__ = ["SUITED", "Paste", "pastes_of"]

SUITED = {  # formats that hold each kind of policy; a test compares them with the formats themselves
    "counts": ("llada", "dream", "json"),
    "alphas": ("mdlm", "md4", "json"),
    "threshold": ("fast-dllm", "sglang", "json"),
    "quota": ("dinfer", "vllm", "json"),
}
EXPORTED = 4  # budgets whose exports are listed
LOOP = """\
for count in counts:
    logits = model(tokens)  # one denoiser call
    drawn, score = draw(logits)  # a token for each hidden position, and what ranks the positions
    best = score.masked_fill(tokens != mask, -inf).topk(count).indices
    tokens[best] = drawn[best]  # reveal `count` tokens"""


@dataclass(frozen=True)
class Paste:
    """A text to copy."""

    id: str
    title: str
    text: str


def pastes_of(view: RunView) -> Iterator[Paste]:
    """The texts to copy: the file, the counts of each budget, a loop, exports."""
    done, path = view.state is State.FINISHED, shlex.quote(view.path)
    if done and view.budgets:
        first = view.budgets[0]
        what = f"counts = schedule.budget({first.steps}).counts"
        if first.policy:
            what = f"policy = schedule.policy({first.steps})"
        elif not first.counts:
            what = f"alphas = schedule.budget({first.steps}).alphas"
        text = f"import mdm_tune\n\nschedule = mdm_tune.load_schedule({view.path!r})\n"
        yield Paste("load", "In Python, without torch", text + what)
    for budget in view.budgets:
        yield from _counts_of(view, budget)
    if any(budget.counts for budget in view.budgets):
        yield Paste("loop", "Where the counts go", LOOP)
    if done and view.budgets:
        commands = [
            f"mdm-tune export {path} --to {name} --steps {budget.steps}"
            for budget in view.budgets[:EXPORTED]
            for name in SUITED.get(_held(budget), ("json",))
        ]
        yield Paste("export", "The tuned one for another sampler", "\n".join([*commands, "mdm-tune list exports"]))


def _held(budget: BudgetView) -> str:
    """What an export of a budget holds: counts, alphas, or the kind of its policy."""
    return "counts" if budget.counts else "alphas" if budget.alphas else budget.kind


def _counts_of(view: RunView, budget: BudgetView) -> Iterator[Paste]:
    """The counts of a budget. A hand-made schedule with a better value comes first."""
    blocks = ""
    if budget.counts and budget.block_length and budget.block_length < sum(budget.counts):
        blocks = f", in blocks of {budget.block_length}"
    rival, sign = budget.rival, view.about.sign
    ahead = rival is not None and sign * (rival.estimate.value - budget.estimate.value) > 0
    if ahead and rival is not None and (counts := named_counts(view, budget, rival.label)) is not None:
        title = f"{budget.steps} steps{blocks}: {short_name(rival.label)}, hand-made, with a better value"
        yield Paste(f"rival-{budget.steps}", title, f"counts = {list(counts)}")
    if (
        budget.verdict is Verdict.MORE_CALLS
        and budget.equal is not None
        and (policy := budget.equal.policy) is not None
    ):
        title = f"{budget.steps} steps: {short_name(policy)}, better than linear at no more calls"
        text = f"mdm_tune.generate(model, tokenizer, prompts, schedule={policy!r}, steps={budget.steps})"
        yield Paste(f"equal-{budget.steps}", title, text)
    which = f"{budget.name}, tuned" if budget.rejected is None else f"{budget.name}, returned"
    which += f", with a worse value than {short_name(rival.label)}" if ahead and rival is not None else ""
    title = f"{budget.steps} steps{blocks}: {which}"
    place = f"counts-{budget.steps}"
    if budget.counts is not None:
        yield Paste(place, f"{title}, tokens to reveal at each step", f"counts = {[*budget.counts]}")
    elif budget.alphas is not None:
        text = f"alphas = [{', '.join(f'{alpha:.6g}' for alpha in budget.alphas)}]"
        yield Paste(place, f"{title}, for ancestral reveal", text)
    else:
        lines = [f"# {budget.kind}", *(f"{name} = {value!r}" for name, value in budget.values.items())]
        if budget.policy:
            call = f"mdm_tune.generate(model, tokenizer, prompts, schedule={view.path!r}, steps={budget.steps})"
            lines = [f"# {budget.policy}", call]
        yield Paste(place, f"{title}, a policy without fixed counts", "\n".join(lines))
