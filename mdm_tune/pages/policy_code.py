"""A policy as code for a sampler of one's own: what it reveals at each denoiser call."""

from __future__ import annotations

from contextlib import suppress

from mdm_tune.core.errors import InputError
from mdm_tune.core.numerals import shortest
from mdm_tune.pages.run_views import RunView
from mdm_tune.pages.sampler_code import BLOCK, HEADER, draw_code
from mdm_tune.schedules.adaptive_names import AdaptiveName, parse_adaptive
from mdm_tune.schedules.counts import CountRule, to_counts
from mdm_tune.schedules.curves import parse_schedule
from mdm_tune.schedules.labels import Label

__all__ = ["policy_code"]

CALL = """\
    drawn, sure = draw(model(tokens))  # one denoiser call
    sure = sure.masked_fill(~hidden, -torch.inf)
"""
REVEAL = "    tokens[now] = drawn[now]\n"
AT_LEAST_ONE = "    now[sure.argmax()] = True  # at least one token\n"
LOOP = "while (hidden := tokens == mask).any():\n"

THRESHOLD = "threshold = {value}\n" + LOOP + "{block}" + CALL + "    now = sure >= threshold\n" + AT_LEAST_ONE + REVEAL
BOUND = (
    "bound = {value}  # nats\n"
    + LOOP
    + """\
{block}    drawn, rank = draw(model(tokens))  # one denoiser call
    entropy = -rank
    places = entropy.masked_fill(~hidden, torch.inf).argsort(stable=True)[: int(hidden.sum())]
    before = entropy[places].cumsum(0) - entropy[places]  # the sum of the smaller entropies
    now = places[before <= bound + 1e-9]
"""
    + REVEAL
)
QUOTA = (
    "counts, threshold = {counts}, {value}\n"
    "for count in counts:\n"
    "    hidden = tokens == mask\n"
    "    if not hidden.any():\n"
    "        break\n"
    + CALL
    + """\
    now = sure > threshold
    if now.sum() < count:
        now = torch.zeros_like(hidden)
        now[sure.topk(min(count, int(hidden.sum()))).indices] = True  # at least `count` tokens
"""
    + REVEAL
)
CAP = (
    "counts, threshold, step = {counts}, {value}, 0\n"
    + LOOP
    + CALL
    + """\
    count = min(counts[min(step, len(counts) - 1)], int(hidden.sum()))
    now = torch.zeros_like(hidden)
    now[sure.topk(count).indices] = True  # at most `count` tokens
    now &= (sure > threshold) | (threshold == 0)
"""
    + AT_LEAST_ONE
    + REVEAL
    + "    step += 1\n"
)
KLASS = (
    "kl, threshold = {kl}, {value}\n"
    "last, steady = None, torch.zeros_like(tokens, dtype=torch.bool)\n"
    + LOOP
    + """\
    logits = model(tokens)  # one denoiser call
    drawn, sure = draw(logits)
    sure = sure.masked_fill(~hidden, -torch.inf)
    log_p, before = logits.log_softmax(-1), steady
    if last is not None:
        steady = torch.nan_to_num(log_p.exp() * (log_p - last)).sum(-1) < kl  # how far the prediction moved
    last, now = log_p, (sure > threshold) & steady & before
    if not now.any():
        now[sure.argmax()] = True
"""
    + REVEAL
)
TEMPLATES = {"threshold": THRESHOLD, "entropy-bound": BOUND, "quota": QUOTA, "cap": CAP, "klass": KLASS}
CONFIDENCES = ("confidence", "top-probability", "margin")  # orders that rank positions for a threshold
IN_BLOCKS = ("threshold", "entropy-bound")  # the others keep more than a number from call to call


def policy_code(view: RunView, policy: str, steps: int) -> str:
    """Lines of Python that reveal a sequence as a policy does.

    ``tokens`` (length,) holds ``mask`` where a token is hidden, and ``model`` returns logits (length, vocabulary). The
    numbers of the policy are in the first line.

    Args:
        view: the run.
        policy: the name of the policy, with its value.
        steps: the budget.

    Returns:
        The lines; empty if the name has no value, and for blocks where the policy counts steps or remembers
        predictions.
    """
    label = Label.read(policy)
    with suppress(InputError):
        plan = parse_adaptive(label.name)
        if plan is None or plan.value is None:
            return ""
        return _code(view, plan, label.blocks or _block_length(view, steps), steps)
    return ""


def _block_length(view: RunView, steps: int) -> int | None:
    return next((budget.block_length for budget in view.budgets if budget.steps == steps), None)


def _code(view: RunView, plan: AdaptiveName, size: int | None, steps: int) -> str:
    sampler, length = view.about.section("sampler"), view.about.length
    blocks = size is not None and (length is None or size < length)
    if blocks and plan.kind not in IN_BLOCKS:
        return ""
    counts: list[int] = []
    if plan.schedule is not None:
        if length is None:
            return ""
        rule: CountRule = "cumulative" if sampler.get("counts") == "cumulative" else "one-per-step"
        every = to_counts(parse_schedule(plan.schedule), plan.steps_of_counts(steps), length, rule)
        counts = [count for count in every if count]
    text = TEMPLATES[plan.kind].format(
        value=shortest(plan.value or 0.0),
        kl=None if plan.kl is None else shortest(plan.kl),
        counts=counts,
        block=BLOCK.format(size=size) if blocks else "",
    )
    order = str(sampler.get("order"))
    order = "entropy" if plan.kind == "entropy-bound" else order if order in CONFIDENCES else "confidence"
    first, _, rest = text.rstrip("\n").partition("\n")
    return f"{first}\n\nimport torch\n\n{HEADER}{draw_code(sampler, order)}\n\n{rest}"
