"""Our tokens, steps and calls beside those of other samplers, at many settings on small networks.

    python scripts/peer_parity.py --llada LLADA --dream DREAM --dllm DLLM --fast-dllm FAST --klass KLASS

LLADA is a checkout of LLaDA; DREAM a folder that holds Dream's generation_utils.py; DLLM a checkout of dllm; FAST one
of Fast-dLLM; KLASS one of KLASS. Each may be left out. Nothing is downloaded. ``--quick`` runs every seventh setting,
``--laws N`` compares the laws of N rows at temperatures above 0 too. The exit status is 1 if a difference has no known
reason.

A difference has a known reason if the peer was given the mask's own logit (``mask``), if its keys and values are those
of earlier tokens (``cached``), if the scores that decided it are equal in float64 (``tie``), or if they have the peer's
order once they are computed in its number format (``rounding``).
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import torch
from pages import show_part
from peer_calls import Case, Peers, Trace, denoiser_of, drawing_of, ours, start
from peer_klass import klass_callers, klass_cases
from peer_laws import laws_table
from peer_networks import Network, train
from torch import Tensor

SEEDS = range(3)
VOCABULARIES = [(27, False), (28, True), (300, True), (2500, True), (2500, False)]  # columns; whether one is the mask's
SHAPES = [  # generated tokens, block length, steps
    (24, 24, 6),
    (24, 24, 7),
    (24, 24, 24),
    (24, 8, 9),
    (24, 8, 15),
    (30, 10, 12),
    (16, 16, 20),
    (32, 8, 12),
    (20, 5, 8),
    (7, 7, 3),
    (1, 1, 1),
    (64, 16, 20),
]
DREAM_SHAPES = [(24, 5), (24, 7), (32, 8), (16, 24), (40, 13), (30, 30), (1, 1)]
UNEVEN = [(20, 8, 10), (24, 8, 10), (30, 16, 7), (21, 10, 50)]  # that dllm alone accepts
THRESHOLDS = (0.05, 0.3, 0.6, 0.9)
ROWS = (1, 3, 8)
PART = 7  # the tables of reasons, and all with --quick, take every seventh setting
MASKED = [(28, 0), (28, 100), (28, 1000), (300, 0), (2500, 0)]  # columns, and steps of training
Results = list[tuple[Case, "Compared"]]


def llada_cases() -> Iterator[Case]:
    for (number, shape), (size, inside), guidance, seed in itertools.product(
        enumerate(SHAPES), VOCABULARIES, (0.0, 0.5, 2.0), SEEDS
    ):
        rows = ROWS[(number + seed) % 3]
        yield Case("LLaDA", "low_confidence", *shape, size, inside, seed=seed, rows=rows, guidance=guidance)
    for shape, (size, inside), seed in itertools.product(SHAPES, VOCABULARIES, SEEDS):
        yield Case("LLaDA", "random", *shape, size, inside, seed=seed, rows=3)
        yield Case("LLaDA", "low_confidence", *shape, size, inside, seed=seed, rows=3, padded=True)


def dream_cases() -> Iterator[Case]:
    ranked = ("maskgit_plus", "topk_margin", "entropy")
    for (number, (length, steps)), rule, (size, inside), top_p, seed in itertools.product(
        enumerate(DREAM_SHAPES), ranked, VOCABULARIES[:4], (1.0, 0.9), SEEDS
    ):
        rows = ROWS[(number + seed) % 3]
        yield Case("Dream", rule, length, length, steps, size, inside, seed=seed, rows=rows, top_p=top_p)
    for (length, steps), (size, inside), seed in itertools.product(DREAM_SHAPES, VOCABULARIES, SEEDS):
        yield Case("Dream", "origin", length, length, steps, size, inside, seed=seed, rows=3)
    for (length, steps), (size, inside), rule, (temperature, top_p), seed in itertools.product(
        DREAM_SHAPES, VOCABULARIES[:4], ranked[1:], ((0.1, 0.9), (0.7, 1.0), (1.0, 0.95)), SEEDS
    ):
        case = Case("Dream", rule, length, length, steps, size, inside, seed=seed, rows=3)
        yield replace(case, temperature=temperature, top_p=top_p)


def dllm_cases() -> Iterator[Case]:
    for (number, shape), (size, inside), guidance, seed in itertools.product(
        enumerate([*SHAPES, *UNEVEN]), VOCABULARIES, (0.0, 1.5), SEEDS
    ):
        rows = ROWS[(number + seed) % 3]
        yield Case("dllm", "low_confidence", *shape, size, inside, seed=seed, rows=rows, guidance=guidance)
    for shape, (size, inside), seed in itertools.product([*SHAPES, *UNEVEN], VOCABULARIES, SEEDS):
        yield Case("dllm", "random", *shape, size, inside, seed=seed, rows=3)
        yield Case("dllm", "low_confidence", *shape, size, inside, seed=seed, rows=3, padded=True)
    for (length, steps), rule, (size, inside), top_p, seed in itertools.product(
        DREAM_SHAPES, ("maskgit_plus", "topk_margin", "entropy"), VOCABULARIES[:4], (1.0, 0.9), SEEDS
    ):
        yield Case("dllm Dream", rule, length, length, steps, size, inside, seed=seed, rows=3, top_p=top_p)


def fast_cases() -> Iterator[Case]:
    for shape, (size, inside), seed in itertools.product(SHAPES, VOCABULARIES, SEEDS):
        yield Case("Fast-dLLM", "low_confidence", *shape, size, inside, seed=seed)
        for threshold in THRESHOLDS:
            yield Case("Fast-dLLM", "threshold", *shape, size, inside, seed=seed, threshold=threshold)


def cached_cases(layers: int) -> Iterator[Case]:
    """Their caches. With one layer keys and values depend on their own token alone, so that keeping them is exact."""
    for shape, (size, inside), kind, seed in itertools.product(SHAPES, VOCABULARIES[:3], ("prefix", "dual"), range(2)):
        case = Case("Fast-dLLM", "low_confidence", *shape, size, inside, seed=seed, cache=kind, layers=layers)
        length, block, steps = shape
        if block < length and steps * block > length:  # with one step per block their cached loops fail
            yield case
        for threshold in THRESHOLDS[1::2]:
            yield replace(case, rule="threshold", threshold=threshold)


@dataclass
class Compared:
    """How far two samplers agree on one case.

    Attributes:
        same: (rows, length) bool, at the positions to fill: the token is the same.
        timed: (rows, length) bool: and it was revealed at the same step of its row.
        counts: (rows,) bool: every step revealed as many positions.
        reasons: why rows differ, with how many.
    """

    same: Tensor
    timed: Tensor
    counts: Tensor
    theirs: Trace
    mine: Trace
    reasons: Counter[str] = field(default_factory=Counter)


def compared(peers: Peers, case: Case) -> Compared:
    """Run both samplers."""
    network = network_of(case.vocabulary, case.inside, case.layers, case.seed, case.trained)
    if case.replayed:  # the order, given the tokens that the peer drew
        torch.manual_seed(case.seed)
        theirs = peers.trace(case, network, None)
        mine = ours(case, network, theirs.tokens)
    else:
        mine = ours(case, network)
        theirs = peers.trace(case, network, mine)
    hidden = start(case) == case.mask_id
    shape = (case.rows, case.length)
    same = (theirs.tokens == mine.tokens)[hidden].view(shape)
    timed = same & (theirs.step_of == mine.step_of)[hidden].view(shape)
    pairs = zip(theirs.step_of, mine.step_of, strict=True)
    counts = torch.tensor([torch.equal(*(x[x >= 0].bincount() for x in pair)) for pair in pairs])
    result = Compared(same, timed, counts, theirs, mine)
    for row in (~timed).any(1).nonzero().squeeze(1).tolist():
        result.reasons[reason(case, network, theirs, mine, row)] += 1
    return result


def reason(case: Case, network: Network, theirs: Trace, mine: Trace, row: int) -> str:
    """Why a row differs, from the scores at its first step that differs."""
    if not theirs.ended:
        return "endless"
    if case.cache and case.layers > 1:
        return "cached"
    other = "mask" if case.inside and case.counted else "unexplained"
    hidden = start(case)[row] == case.mask_id
    if bool((theirs.tokens[row] == case.mask_id).any()):
        return other
    unlike = hidden & ((theirs.step_of[row] != mine.step_of[row]) | (theirs.tokens[row] != mine.tokens[row]))
    step = int(torch.minimum(theirs.step_of[row], mine.step_of[row])[unlike].min())
    before = torch.where(hidden & (mine.step_of[row] >= step), case.mask_id, mine.tokens[row])  # -1 at padding
    now = [trace.step_of[row] == step for trace in (theirs, mine)]
    asked = now[0] | now[1]
    logits = denoiser_of(case, network)(before[None], asked[None]).double()
    tokens = torch.where(now[0], theirs.tokens[row], mine.tokens[row])[asked]
    slack = 4 * torch.finfo(case.dtype).eps
    behind = logits.amax(1) - logits.gather(1, tokens[:, None]).squeeze(1)
    if case.temperature == 0 and bool((behind > slack * logits.abs().amax(1)).any()):
        return other
    scores = scores_of(case, logits, tokens)
    chosen = [(one & ~two)[asked] for one, two in (now, now[::-1])]  # by the peer alone, and by ours alone
    if case.rule == "threshold":
        near = scores[chosen[0] | chosen[1]] - case.threshold
        return "rounding" if bool((near.abs() < slack).all()) else other
    if int(now[0].sum()) != int(now[1].sum()):
        return other
    disputed = scores[chosen[0] | chosen[1]]
    if len(disputed) == 0 or float(disputed.max() - disputed.min()) < 1e-12:
        return "tie"  # without a disputed position two tokens tie
    rounded = scores_of(case, logits.to(case.dtype), tokens)
    return "rounding" if bool(rounded[chosen[0]].min() >= rounded[chosen[1]].max()) else other


def scores_of(case: Case, logits: Tensor, tokens: Tensor) -> Tensor:
    """What the peer ranks positions by, in the format of the logits (n, vocabulary); tokens (n,) are those drawn."""
    logits = logits / (case.temperature or 1.0)
    if case.top_p < 1:
        ranked, order = logits.sort(dim=1, descending=True)
        reached = ranked.softmax(1).cumsum(1).roll(1, dims=1)
        reached[:, 0] = 0.0
        logits = logits.masked_fill((reached > case.top_p).gather(1, order.argsort(1)), -torch.inf)
    p = logits.softmax(1)
    if case.rule == "entropy":
        return (p * (p + 1e-10).log()).sum(1)
    if case.rule == "topk_margin":
        best = p.topk(2, dim=1).values
        return best[:, 0] - best[:, 1]
    drawn: Tensor = p.gather(1, tokens[:, None]).squeeze(1)
    return drawn


@cache
def network_of(vocabulary: int, inside: bool, layers: int, seed: int, trained: int) -> Network:
    """A network with random weights; ``trained``: after so many steps on the plays that the package contains."""
    network = Network(vocabulary + (not inside), vocabulary, layers=layers, seed=seed)
    if trained:
        train(network, 2 * vocabulary // 3, trained, seed)
    network.requires_grad_(False)
    return network


def row_of(name: str, results: Results) -> str:
    """A line of the table: what is equal, why the rest differs, and the calls of both."""
    found, why = [result for _, result in results], reasons_of(results)
    cells = [
        name,
        f"{len(found):,}",
        f"{sum(len(result.same) for result in found):,}",
        f"{sum(int(result.same.sum()) for result in found):,} of {sum(result.same.numel() for result in found):,}",
        f"{sum(int(result.timed.sum()) for result in found):,}",
        f"{sum(int(result.counts.sum()) for result in found):,}",
        ", ".join(f"{number:,} {name}" for name, number in sorted(why.items())) or "0",
        f"{sum(result.theirs.calls for result in found):,}",
        f"{sum(result.theirs.empty for result in found):,}",
        f"{sum(result.mine.calls for result in found):,}",
    ]
    return f"| {' | '.join(cells)} |"


HEAD = (
    "| sampler and rule | settings | rows | tokens equal | and at the same step | rows with equal counts | rows that "
    "differ | calls: theirs | of them revealing nothing | calls: ours |\n|---|---|---|---|---|---|---|---|---|---|\n"
)


def described(case: Case) -> str:
    """The group of a case in the table."""
    drawn = ", temperature 0.1 to 1, order only" if case.temperature else ""
    kinds = {"": "", "prefix": " with prefix cache", "dual": " with dual cache"}
    layers = f", {'one layer' if case.layers == 1 else 'two layers'}" if case.cache else ""
    return f"{case.peer} `{case.rule}`{drawn}{kinds[case.cache]}{layers}"


def table(results: Results) -> str:
    groups: dict[str, Results] = {}
    for case, result in results:
        groups.setdefault(described(case), []).append((case, result))
    return HEAD + "\n".join(row_of(name, group) for name, group in groups.items()) + "\n"


def rows_differ(results: Results) -> str:
    rows = sum(len(result.same) for _, result in results)
    return f"{sum(int((~result.timed).any(1).sum()) for _, result in results):,} of {rows:,}"


def mask_table(peers: Peers, groups: dict[str, list[Case]]) -> tuple[str, Results]:
    """The same settings where peers see the mask's own logit, on random weights and after training."""
    lines, everything = [], []
    for (peer, cases), (vocabulary, trained) in itertools.product(groups.items(), MASKED):
        chosen = [case for case in cases if case.inside and case.vocabulary == vocabulary]
        results = run(peers, [replace(case, counted=True, trained=trained) for case in chosen[::PART]])
        everything += results
        shares = [result.theirs.mask_share for _, result in results]
        left = sum(int((result.theirs.tokens == case.mask_id).sum()) for case, result in results)
        cells = [
            peer,
            f"{vocabulary - 1:,}",
            f"trained for {trained:,} steps" if trained else "random",
            f"{sum(shares) / max(len(shares), 1):.0e}",
            shares_of(results, "same"),
            rows_differ(results),
            f"{reasons_of(results)['mask'] + reasons_of(results)['endless']:,}",
            f"{left:,}",
            f"{sum(not result.theirs.ended for _, result in results):,} of {len(results):,}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    head = (
        "| sampler | vocabulary | weights | mean probability of the mask | tokens equal | rows that differ | of them "
        "for the mask's logit | masks left at the end | settings that hang or fail |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(lines) + "\n", everything


def half_table(peers: Peers, groups: dict[str, list[Case]]) -> tuple[str, Results]:
    """The same settings with logits in bfloat16."""
    lines, everything = [], []
    for peer, cases in groups.items():
        chosen = [replace(case, dtype=torch.bfloat16) for case in cases if not case.guidance]
        results = run(peers, chosen[::PART])
        everything += results
        why = reasons_of(results)
        lines.append(
            f"| {peer} | {shares_of(results, 'same')} | {shares_of(results, 'timed')} | {rows_differ(results)} | "
            f"{why['tie']:,} | {why['rounding']:,} |"
        )
    head = "| sampler | tokens equal | and at the same step | rows that differ | by a tie | by rounding |\n"
    return f"{head}|---|---|---|---|---|---|\n" + "\n".join(lines) + "\n", everything


def shares_of(results: Results, name: str) -> str:
    """How many tokens are ``same`` or ``timed``."""
    whole = sum(result.same.numel() for _, result in results)
    part = sum(int(getattr(result, name).sum()) for _, result in results)
    return f"{part:,} of {whole:,} ({100 * part / max(whole, 1):.2f} %)"


def run(peers: Peers, cases: Iterable[Case]) -> Results:
    return [(case, compared(peers, case)) for case in cases]


def reasons_of(results: Results) -> Counter[str]:
    return sum((result.reasons for _, result in results), Counter())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llada", type=Path, help="holds generate.py")
    parser.add_argument("--dream", type=Path, help="holds generation_utils.py")
    parser.add_argument("--dllm", type=Path, help="holds the folder dllm")
    parser.add_argument("--fast-dllm", type=Path, help="holds llada/generate.py")
    parser.add_argument("--klass", type=Path, help="holds src/model/llada_klass.py and dream_klass.py")
    parser.add_argument("--quick", action="store_true", help="every seventh setting")
    parser.add_argument("--laws", type=int, default=0, metavar="N", help="rows per law above temperature 0")
    parser.add_argument("--page", type=Path, help="page with the parts that are written; printed without it")
    given = parser.parse_args()
    torch.set_num_threads(1)
    peers = Peers(given.llada, given.dream, given.dllm, given.fast_dllm)
    makers = {"LLaDA": llada_cases(), "Dream": dream_cases(), "dllm": dllm_cases(), "Fast-dLLM": fast_cases()}
    groups = {name: [*cases] for name, cases in makers.items() if name in peers.callers}
    part = slice(None, None, PART if given.quick else 1)
    plain = run(peers, itertools.chain.from_iterable(cases[part] for cases in groups.values()))
    show_part(given.page, "parity", table(plain))
    tied = run(peers, [replace(case, stable=True) for case, result in plain if result.reasons["tie"]])
    show_part(given.page, "ties", table(tied))
    every = [*plain, *tied]
    if "Fast-dLLM" in groups:
        cached = run(peers, [case for layers in (1, 2) for case in cached_cases(layers)][part])
        show_part(given.page, "parity of caches", table(cached))
        every += cached
    if given.klass is not None:
        peers.callers |= klass_callers(given.klass)
        stable = run(peers, [*klass_cases(VOCABULARIES, SEEDS)][part])
        show_part(given.page, "klass", table(stable))
        every += stable
    text, counted = mask_table(peers, deterministic(groups))
    show_part(given.page, "the mask", text)
    text, half = half_table(peers, deterministic(groups))
    show_part(given.page, "bfloat16", text)
    for name, results in (("float32", every), ("with the mask's logit", counted), ("bfloat16", half)):
        print(name, dict(reasons_of(results)))
    failed = reasons_of([*every, *counted, *half])["unexplained"]
    if given.laws:
        text, unlike = laws_table(peers, given.laws)
        show_part(given.page, "laws", text)
        failed += unlike
    return 1 if failed else 0


def deterministic(groups: dict[str, list[Case]]) -> dict[str, list[Case]]:
    """The settings at temperature 0 whose positions are not random."""
    return {
        name: [case for case in cases if not case.replayed and drawing_of(case).order != "random"]
        for name, cases in groups.items()
    }


if __name__ == "__main__":
    sys.exit(main())
