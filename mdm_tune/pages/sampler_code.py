"""Lines of Python for a sampler of one's own: how tokens are drawn and ranked, and loops over counts and alphas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mdm_tune.core.numerals import shortest

__all__ = ["BLOCK", "HEADER", "ancestral_loop", "counts_loop", "draw_code"]

HEADER = """\
# one sequence: tokens (length,) is what to fill, with mask where hidden;
# model(tokens) returns its logits (length, vocabulary)
"""
BLOCK = """\
    first = int(hidden.nonzero()[0]) // {size} * {size}
    hidden[first + {size} :] = False  # only the lowest block that is not full
"""
COUNTS = """\
assert sum(counts) == int((tokens == mask).sum())  # all hidden tokens
for count in counts:
    hidden = tokens == mask
{block}    drawn, score = draw(model(tokens))  # one denoiser call
    best = score.masked_fill(~hidden, -torch.inf).topk(count).indices
    tokens[best] = drawn[best]  # reveal `count` tokens"""
ANCESTRAL = """\
for before, after in itertools.pairwise(alphas):
    drawn = draw(model(tokens))  # one denoiser call
    chance = (after - before) / (1 - before)  # of each hidden token
    now = (tokens == mask) & (torch.rand(tokens.shape) < chance)
    tokens[now] = drawn[now]"""
RANKS = {  # what a position is ranked by, by the order of the sampler: a line of code, and what it is
    "confidence": ("{p}.gather(-1, drawn[:, None])[:, 0]", "the probability of the drawn token"),
    "top-probability": ("{p}.amax(-1)", "the largest probability"),
    "margin": ("{p}.topk(2).values.diff(dim=-1).abs()[:, 0]", "the margin of the two largest probabilities"),
    "entropy": ("-torch.special.entr({p}).sum(-1)", "minus the entropy in nats"),
    "random": ("torch.rand(len(drawn))", "a random number"),
}
PLAIN: Mapping[str, Any] = {  # settings of the sampler that the lines do not have, and where they do nothing
    "confidence_temperature": 0,
    "guidance": 0,
    "end_drawn": True,
    "end_confident": True,
    "stop_at_end": False,
}


def draw_code(sampler: Mapping[str, Any], order: str | None) -> str:
    """A function that draws a token for each position and ranks the positions, larger first, as the sampler does.

    Confidence temperatures, guidance and rules of end tokens are not in it; a comment names those that the run has.

    Args:
        sampler: the settings of the run's sampler by their names in a config; what is missing has its default.
        order: what ranks positions; None for a function that returns the tokens alone.

    Returns:
        The lines, with a line end; they need ``torch``.
    """
    temperature, top_p = float(sampler.get("temperature", 1.0)), float(sampler.get("top_p", 1.0))
    tempered = sampler.get("tempered_scores") is True
    lines = ["p = logits.softmax(-1)"]
    law = "p"
    if (temperature or tempered) and (temperature not in (0, 1) or top_p < 1):
        law, lines = "q", [*lines, *_tempered(temperature or 1.0, top_p)]
    lines.append(f"drawn = torch.multinomial({law}, 1)[:, 0]" if temperature else "drawn = logits.argmax(-1)")
    left_out = [f"{name} {sampler[name]}" for name, plain in PLAIN.items() if sampler.get(name, plain) != plain]
    head = f"# the run's sampler also has {', '.join(left_out)}, which is not here\n" if left_out else ""
    said = "a token for each position"
    if order is None:
        lines.append("return drawn")
    else:
        rank, words = RANKS.get(order, RANKS["confidence"])
        lines.append(f"return drawn, {rank.format(p=law if tempered else 'p')}")
        said += f", and what ranks it:\n    # {words}"
        if order != "random":
            said += f" at temperature {shortest(temperature or 1.0) if tempered else 1}"
            said += " within top-p" if tempered and top_p < 1 else ""
    unused = order in (None, "random") or tempered
    kept = lines[1:] if law == "q" and unused else lines
    return head + f"def draw(logits):\n    # {said}\n" + "".join(f"    {line}\n" for line in kept)


def _tempered(temperature: float, top_p: float) -> Iterator[str]:
    """Lines that make the law ``q`` from which tokens are drawn. temperature: above 0."""
    at = "" if temperature == 1 else f" / {shortest(temperature)}"
    yield f"q = (logits{at}).softmax(-1)" if at else "q = logits.softmax(-1)"
    if top_p < 1:
        yield "best = q.sort(dim=-1, descending=True, stable=True)"
        yield f"outside = best.values.cumsum(-1) - best.values >= {shortest(top_p)}  # top-p"
        yield "q[torch.zeros_like(outside).scatter(-1, best.indices, outside)] = 0"
        yield "q = q / q.sum(-1, keepdim=True)"


def counts_loop(sampler: Mapping[str, Any], size: int | None = None) -> str:
    """Lines that reveal one sequence by its counts.

    Args:
        sampler: the settings of the run's sampler.
        size: positions of a block, if there are several; the counts of each block sum to it.
    """
    block = "" if size is None else BLOCK.format(size=size)
    order = str(sampler.get("order") or "confidence")
    return f"import torch\n\n{HEADER}{draw_code(sampler, order)}\n\n{COUNTS.format(block=block)}"


def ancestral_loop(sampler: Mapping[str, Any]) -> str:
    """Lines that reveal one sequence by its alphas."""
    return f"import itertools\n\nimport torch\n\n{HEADER}{draw_code(sampler, None)}\n\n{ANCESTRAL}"
