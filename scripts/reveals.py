"""What adaptive policies reveal at each call: the table and the figure of docs/policies.md, from the folder of a run.

    mdm-tune search configs/arithmetic.yaml --output runs/kinds --set sampler.steps=[4,8] --set search.finalists=6 \\
        --set search.policies=[counts,threshold,quota,cap,entropy-bound,klass]
    python scripts/reveals.py runs/kinds --steps 8 --page docs/policies.md --output docs/reveals.svg

The numbers of the table and the figure are ``reveals`` of the budget in ``search.json``. What the first call of the
winner reveals is looked at anew, on the first 64 report examples, and printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from pages import commit, write_part

from mdm_tune.config.file import load_config
from mdm_tune.pages.charts import Figure
from mdm_tune.pages.run_figures import figures_of
from mdm_tune.pages.run_reading import RunRecords, read_run
from mdm_tune.run.build import open_run
from mdm_tune.sampling.unmasking import Step
from mdm_tune.schedules.adaptive_names import parse_adaptive

SHOWN = 6  # calls of the table
FIRST = 64  # report examples whose first call is looked at


def drawn(record: dict[str, Any], steps: int) -> Figure:
    """The figure of all kinds at one budget, as the page of the search has it."""
    return figures_of(read_run(RunRecords(name="", path="", search=record)))[f"kinds-{steps}"]


def table(record: dict[str, Any], steps: int) -> str:
    """The mean tokens of the first calls, and the share of the examples that make more than as many as the budget."""
    (budget,) = (each for each in record["budgets"] if each["steps"] == steps)
    rows = ["| policy | " + " | ".join(f"call {call + 1}" for call in range(SHOWN)) + f" | more than {steps} calls |"]
    rows.append("|---" * (SHOWN + 2) + "|")
    for name, found in budget["reveals"].items():
        means = [f"{mean:.1f}" for mean in found["mean"][:SHOWN]]
        more = found["examples"][steps] if len(found["examples"]) > steps else 0
        share = f"{100 * more / max(found['examples']):.0f} %"
        rows.append(f"| `{name}` | {' | '.join([*means, *[''] * (SHOWN - len(means))])} | {share} |")
    return "\n".join(rows)


def first_call(run_folder: Path, policy: str, steps: int) -> str:
    """The mean end-of-text tokens, spaces and digits of an answer, and those that a policy's first call reveals."""
    plan = parse_adaptive(policy)
    assert plan is not None
    seen: list[Step] = []
    with open_run(load_config(run_folder / "config.yaml")) as run:
        split = run.evaluator.split("report").first(FIRST)
        setting = run.evaluator.adaptive_setting(plan, steps, None)
        run.evaluator.fill([setting], split.start, split.seeds, on_step=seen.append)
        assert run.dataset is not None
        symbols, (end,) = run.dataset.codec.symbols, run.dataset.codec.end_tokens  # type: ignore[attr-defined]
        hidden = split.start == run.evaluator.denoiser.mask_id
        whole, first = split.originals[hidden], seen[0].tokens[seen[0].revealed]
    space = symbols.index(" ")
    said = []
    for tokens in (whole, first):
        ends, spaces = int((tokens == end).sum()), int((tokens == space).sum())
        said.append(
            f"{ends / FIRST:.1f} end, {spaces / FIRST:.1f} spaces, {(len(tokens) - ends - spaces) / FIRST:.1f} digits"
        )
    return f"of an answer: {said[0]}; in the first call of {policy}: {said[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--commit", default=commit(), help="of the code that searched")
    parser.add_argument("--page", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    record = json.loads((arguments.run / "search.json").read_text("utf-8"))
    sizes = record["description"]["config"]["dataset"]
    said = (
        f"Mean tokens of each call over {sizes['report']} report examples of 32 tokens, at the calls of linear with "
        f"{arguments.steps} steps, seed {record['description']['config']['seed']}. Code at commit {arguments.commit}."
    )
    write_part(arguments.page, "reveals", f"{table(record, arguments.steps)}\n\n{said}")
    (budget,) = (each for each in record["budgets"] if each["steps"] == arguments.steps)
    print(first_call(arguments.run, budget["policy"], arguments.steps))
    arguments.output.write_text(drawn(record, arguments.steps).svg("system"), "utf-8")


if __name__ == "__main__":
    main()
