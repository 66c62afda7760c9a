"""The scores and the model card of the bundled task model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from arithmetic import FEWEST, GENERATION, MOST, PROMPT, SYMBOLS, answer_of, prompt_of
from torch import Tensor

from mdm_tune.core.statistics import estimate
from mdm_tune.denoisers.transformer import Transformer

BUDGETS = (4, 8, 16, 32)


@torch.inference_mode()
def fill(model: Transformer, rows: Tensor, steps: int) -> Tensor:
    """Decode rows (n, length) in order of confidence at temperature 0, with equal counts at each step."""
    rows = rows.clone()
    for step in range(steps):
        hidden = rows == model.mask_id
        left = GENERATION * (steps - step - 1) // steps
        best, tokens = model(rows, hidden).softmax(-1).max(-1)
        confidence = torch.full(rows.shape, -1.0).masked_scatter(hidden, best)
        proposed = torch.zeros_like(rows).masked_scatter(hidden, tokens)
        chosen = confidence.topk(int(hidden[0].sum()) - left, dim=1).indices
        rows.scatter_(1, chosen, proposed.gather(1, chosen))
    return rows


def scores(model: Transformer, pairs: Sequence[tuple[str, str]], budgets: Sequence[int]) -> dict[int, list[bool]]:
    """Whether the answer to each problem is right, with its end, for each number of steps."""
    end = model.config.end
    prompts = torch.tensor([[SYMBOLS.index(character) for character in prompt] for prompt, _ in pairs])
    start = torch.cat([prompts, torch.full((len(pairs), GENERATION), model.mask_id)], dim=1)
    wanted = [answer.ljust(GENERATION, end) for _, answer in pairs]
    found: dict[int, list[bool]] = {}
    for steps in budgets:
        filled = fill(model, start, steps)[:, -GENERATION:].tolist()
        texts = ["".join(SYMBOLS[token] for token in row) for row in filled]
        found[steps] = [text == right for text, right in zip(texts, wanted, strict=True)]
    return found


def model_card(model: Transformer, card: dict[str, Any], report: Sequence[tuple[str, str]]) -> str:
    """The page beside the checkpoint: what the model is, how it was trained, and its scores on report problems."""
    config = model.config
    lines = []
    for steps, right in scores(model, report, BUDGETS).items():
        found = estimate(np.array(right, dtype=np.float64), bounds=(0.0, 1.0))
        assert found.ci is not None  # there are enough problems
        lines.append(f"| {steps} | {found.value:.3f} | [{found.ci[0]:.3f}, {found.ci[1]:.3f}] |")
    curve = [
        f"| {step:,} | {loss:.3f} | {' | '.join(f'{value:.2f}' for value in values)} |"
        for step, loss, *values in card["curve_step_loss_and_exact_match_at_4_8_16_and_32_steps"]
    ]
    return f"""\
# The bundled task model

A masked diffusion transformer that calculates from left to right and writes the last digit of each result. It is small
enough to ship, and it is for experiments with mask schedules and adaptive policies: prompt in, worked answer out, as
with LLaDA.

    prompt  "{prompt_of("3+5*7-9")}"
    answer  "{answer_of("3+5*7-9")}"

- **Task**: {FEWEST} to {MOST} digits with `+`, `-` and `*` between them. Each result is that of the one before, modulo
  10, without precedence. The prompt is padded to {PROMPT} characters, and end-of-text tokens follow the answer up to
  {GENERATION} tokens. Each result stands {PROMPT} characters after its number. Spaces and the end are easy at once, and
  so is a result after `*0`. Every other result needs the one before it.
- **Symbols**: digits, `+`, `-`, `*`, `=` and space; `$` ends a text. One token per character.
- **Network**: {config.depth} layers of width {config.width}, {config.heads} heads, learned relative-position bias,
  squared ReLU, {card["parameters"]:,} parameters, float32. No time input: the number of masks says it.
- **Data**: made by `scripts/arithmetic.py`. A digest of the prompt says to which use a problem belongs: one part of
  sixteen each for tune, choose and report, the rest for training. No held-out problem is ever drawn for training.
- **Training**: {card["steps"]:,} steps of {card["batch"]} new problems, mean cross-entropy over the masked positions of
  the answer, float32, Muon for the matrices inside the layers and AdamW for the rest, a moving average of the weights;
  {card["seconds"] / 60:.0f} minutes of one core of a busy machine. A third of the rows each has masks at random places,
  looks like decoding in order of confidence, or hides every second result. The first 750 steps had the first two kinds
  only, one half each, and all masked positions counted. `scripts/train_arithmetic.py` is the command.
- **Repeatable**: the script seeds the initial weights, and the problems and masks of every step. A run of it from the
  beginning with `--steps 1250` took 307 s and had an exact match of 0.06, 0.28, 1.00 and 1.00 on 64 tune problems at 4,
  8, 16 and 32 steps. That is the behaviour of these weights, but not these exact weights, since their first 750 steps
  had other masks.
- **Licence**: that of the package, for weights and problems.
- **Not for** anything but showing and testing schedules and policies. It knows one layout and these three operations.

Exact match on {len(report):,} report problems, in order of confidence at temperature 0, with equal counts at each step
(the schedule linear), and 95 % intervals:

| steps | exact match | interval |
|---|---|---|
{chr(10).join(lines)}

Other tasks were tried first, with this network, and 64 to 128 problems. True running sums of 4 to 10 numbers are too
easy: after 2,000 steps the network adds in parallel (exact match 0.19 in one step, 0.54 in 4, 0.99 in 6). Running sums
modulo 10 were given up after 133 steps, at 0.01 in 32 steps, where true sums had 0.10 after 270 and 0.98 after 500.

While training: the loss of the last step, and exact match on 64 tune problems (averaged weights), by steps of decoding:

| step | loss | 4 steps | 8 steps | 16 steps | 32 steps |
|---|---|---|---|---|---|
{chr(10).join(curve)}
"""
