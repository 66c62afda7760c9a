"""The table of docs/text.md: the text model at 4, 8, 16 and 32 steps in two orders, tuned and hand-made schedules.

    python scripts/text_table.py --work build/table --output docs/text-table.md

Each order is one `mdm-tune search configs/text.yaml` over the four budgets. Resumable: the same command goes on where
it was.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from mdm_tune.commands.events import RunEvent
from mdm_tune.commands.search import search
from mdm_tune.config.file import load_config
from mdm_tune.core.statistics import Estimate
from mdm_tune.run.search_records import SearchResult
from mdm_tune.search.events import Comparison, TrialDone

CONFIG = Path(__file__).parent.parent / "configs" / "text.yaml"
STEPS = [4, 8, 16, 32]
ORDERS = ("confidence", "random")
REPORT = 512
BASELINES = ("linear", "squared-sine", "sine", "maskgit-cosine")


def tell(event: RunEvent) -> None:
    """One line per trial on stderr."""
    if isinstance(event, TrialDone):
        text = f"{event.setting.steps} steps, trial {event.number + 1}: {event.value:.4f}, best {event.best:.4f}"
        print(text, file=sys.stderr, flush=True)
    elif isinstance(event, Comparison):
        print(f"{event.setting.steps} steps, {event.use}: {event.setting.label}", file=sys.stderr, flush=True)


def cell(found: Estimate) -> str:
    """A value with its interval."""
    return f"{found.value:.3f} {bracketed(found.ci, '.3f')}"


def bracketed(ci: tuple[float, float] | None, form: str) -> str:
    """An interval, each end in this format."""
    low, high = ci or (math.nan, math.nan)
    return f"[{low:{form}}, {high:{form}}]"


def table(order: str, result: SearchResult) -> list[str]:
    """One order's budgets."""
    names = " | ".join(BASELINES)
    lines = [
        f"**order `{order}`**",
        "",
        f"| steps | {names} | chosen schedule | its value | its gain over linear | token entropy, linear -> chosen |",
        f"|---|{'---|' * len(BASELINES)}---|---|---|---|",
    ]
    for budget in result.budgets:
        quality, schedule = budget.quality, budget.schedule
        named = schedule.type if schedule.a is None else f"({schedule.a:.3g}, {schedule.b:.3g})"
        gain = quality.gain_over_linear
        verdict = "" if quality.beats_linear else " (less diverse)" if gain.shown else " (no gain)"
        entropy = {who: figures["token_entropy"].value for who, figures in (quality.diversity or {}).items()}
        others = " | ".join(cell(quality.baselines[name]) for name in BASELINES)
        lines.append(
            f"| {budget.steps} | {others} | {named} | {cell(quality.estimate)} | "
            f"{gain.value:+.3f} {bracketed(gain.familywise, '+.3f')}{verdict} | "
            f"{entropy['linear']:.3f} -> {entropy['winner']:.3f} |"
        )
    quality = result.budgets[0].quality
    assert quality.data is not None and quality.diversity is not None
    natural = quality.diversity["data"]["token_entropy"].value
    lines += [
        "",
        f"The data itself: {cell(quality.data)}, token entropy {natural:.3f}. "
        f"{result.trials} trials, {result.cost.denoiser_rows:,} denoiser rows, {result.cost.seconds:.0f} s.",
    ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where the two run folders go")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    lines = []
    for order in ORDERS:
        overrides = [
            f"sampler.order={order}",
            f"sampler.steps={STEPS}",
            f"dataset.report={REPORT}",
            f"search.baselines=[{', '.join(BASELINES)}]",
            "search.warm_start=off",  # every budget by itself
        ]
        config = load_config(CONFIG, overrides, seed=args.seed, output=str(args.work / order))
        lines += [*table(order, search(config, resume=True, overwrite=False, notify=tell)), ""]
    data = config.dataset
    if data is None:
        raise SystemExit("configs/text.yaml has lost its data set")
    head = (
        f"The tables show spelling on {REPORT} report examples (window of 64 characters), with seed {args.seed} and "
        "95 % intervals. The intervals of gains are paired and hold for all budgets of an order together. Schedules "
        f"were tuned on {data.tune} examples with at most {config.search.trials} trials ({config.search.strategy}, no "
        f"warm start) and chosen on {data.choose}. `scripts/text_table.py` makes the tables.\n\n"
    )
    args.output.write_text(head + "\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
