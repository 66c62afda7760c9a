"""The law of what a peer draws above temperature 0 beside ours, by the frequencies of all outcomes; for peer_parity.py.

An outcome is the tokens of a row and the steps at which they were revealed. Vocabulary and length are so small that
every outcome is frequent. Frequencies of two independent samples are compared by Pearson's test of homogeneity.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from peer_calls import Case, Peers, Trace, ours, start
from peer_networks import Network
from scipy.stats import chi2_contingency
from torch import Tensor

FALSE_ALARM = 1e-3  # of the whole table
RARE = 10  # outcomes that occur more rarely in both samples together are counted as one
WARMER = 1.15  # temperature of the control
LAWS = [
    Case("LLaDA", "low_confidence", 3, 3, 2, 4, temperature=1.0),
    Case("LLaDA", "low_confidence", 3, 3, 2, 4, temperature=0.5, seed=1),
    Case("LLaDA", "low_confidence", 4, 2, 4, 3, temperature=1.0, seed=2, guidance=1.0),
    Case("LLaDA", "random", 3, 3, 2, 4, temperature=1.0, seed=3),
    Case("Dream", "maskgit_plus", 3, 3, 3, 4, temperature=0.7, top_p=0.9),
    Case("Dream", "maskgit_plus", 3, 3, 3, 4, temperature=1.0, alg_temp=0.3, seed=1),
    Case("Dream", "topk_margin", 3, 3, 2, 4, temperature=1.0, seed=2),
    Case("Dream", "entropy", 3, 3, 2, 4, temperature=0.5, seed=3),
    Case("Dream", "entropy", 3, 3, 2, 4, temperature=1.0, alg_temp=0.5, seed=4),
    Case("Dream", "origin", 3, 3, 3, 4, temperature=1.0, seed=5),
    Case("dllm", "low_confidence", 3, 3, 2, 4, temperature=1.0),
    Case("dllm", "random", 4, 2, 4, 3, temperature=0.8, seed=1),
    Case("dllm Dream", "maskgit_plus", 3, 3, 2, 4, temperature=1.0, top_p=0.95),
    Case("Fast-dLLM", "threshold", 3, 3, 3, 4, temperature=1.0, threshold=0.5),
    Case("Fast-dLLM", "low_confidence", 4, 2, 4, 3, temperature=1.0, seed=1),
]


def laws_table(peers: Peers, rows: int) -> tuple[str, int]:
    """A table with one line per law, and how many laws are unlike ours at the false-alarm rate of the table.

    Args:
        rows: of each sample; a tenth where the peer takes one row at a time or its time grows with their square.
    """
    cases = [case for case in LAWS if case.peer in peers.callers]
    limit, lines, unlike = FALSE_ALARM / max(len(cases), 1), [], 0
    for case in cases:
        size = rows // 10 if case.peer in ("Fast-dLLM", "dllm Dream") else rows
        network = Network(case.vocabulary + 1, case.vocabulary, seed=case.seed, spread=1.0)
        theirs = outcomes(case, _theirs(peers, case, network, size))
        many = replace(case, rows=size, alike=True)
        mine = outcomes(case, [ours(many, network)])
        warmer = outcomes(case, [ours(replace(many, temperature=WARMER * case.temperature), network)])
        p, number = homogeneous(theirs, mine)
        control, _ = homogeneous(theirs, warmer)
        unlike += p < limit
        blocks = f", blocks of {case.block}" if case.block < case.length else ""
        more = {"top-p": case.top_p % 1, "`alg_temp`": case.alg_temp, "guidance": case.guidance}
        more |= {"threshold": case.threshold}
        drawn = "".join(f", {name} {value:g}" for name, value in more.items() if value)
        named = f"{case.peer} `{case.rule}`, temperature {case.temperature:g}{drawn}{blocks}"
        lines.append(f"| {named} | {size:,} | {number} | {p:.3f} | {control:.0e} |")
    head = "| sampler and rule | rows of each | outcomes | p | p of ours at 1.15 times the temperature |\n"
    return f"{head}|---|---|---|---|---|\n" + "\n".join(lines) + "\n", unlike


def _theirs(peers: Peers, case: Case, network: Network, rows: int) -> list[Trace]:
    torch.manual_seed(case.seed)
    if case.peer == "Fast-dLLM":  # it takes one row
        return [peers.trace(replace(case, alike=True), network, None) for _ in range(rows)]
    return [peers.trace(replace(case, rows=rows, alike=True), network, None)]


def outcomes(case: Case, traces: list[Trace]) -> Tensor:
    """(rows, 2 length): the tokens of the filled positions, then the steps that revealed them."""
    filled = (start(replace(case, alike=True)) == case.mask_id)[0]
    return torch.cat([torch.cat([trace.tokens[:, filled], trace.step_of[:, filled]], dim=1) for trace in traces])


def homogeneous(first: Tensor, second: Tensor) -> tuple[float, int]:
    """Pearson's p of two samples of outcomes, and the number of outcomes that were told apart."""
    _, index = torch.cat([first, second]).unique(dim=0, return_inverse=True)
    number = int(index.max()) + 1
    counts = torch.stack([part.bincount(minlength=number) for part in (index[: len(first)], index[len(first) :])])
    frequent = counts.sum(0) >= RARE
    merged = torch.cat([counts[:, frequent], counts[:, ~frequent].sum(1, keepdim=True)], dim=1)
    merged = merged[:, merged.sum(0) > 0]
    return float(chi2_contingency(merged.numpy(), correction=False).pvalue), merged.shape[1]
