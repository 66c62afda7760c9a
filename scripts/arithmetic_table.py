"""The table of docs/arithmetic.md: the task model at 4 to 32 calls, by linear and adaptive policies of as many calls.

    python scripts/arithmetic_table.py --work build/arithmetic-table --output docs/arithmetic.md

It is one `mdm-tune evaluate configs/arithmetic.yaml` over the four budgets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pages import commit, show_part

import mdm_tune
from mdm_tune.core.interval_text import interval_text
from mdm_tune.core.messages import quantity
from mdm_tune.core.statistics import Estimate
from mdm_tune.run.evaluate_records import EvaluateResult

CONFIG = Path(__file__).parent.parent / "configs" / "arithmetic.yaml"
STEPS = (4, 8, 16, 32)
PLANS = ("linear", "threshold", "entropy-bound")


def cell(found: Estimate, form: str = ".3f") -> str:
    """A value with its interval."""
    assert found.ci is not None  # there are more than enough examples
    return f"{found.value:{form}} [{found.ci[0]:{form}}, {found.ci[1]:{form}}]"


def table(result: EvaluateResult) -> str:
    """The rows of the result, and what they cost."""
    lines = ["| budget | policy | calls | exact match | minus linear |", "|---|---|---|---|---|"]
    for row in result.rows:
        calls = f"{row.calls.nfe:.0f}" if row.calls.nfe_ci is None else interval_text(row.calls.nfe, row.calls.nfe_ci)
        difference = result.minus_reference.get((row.steps, row.schedule))
        beside = "" if difference is None else cell(difference, "+.3f")
        lines.append(f"| {row.steps} | `{row.schedule}` | {calls} | {cell(row.estimate)} | {beside} |")
    examples, rows = result.rows[0].n, result.cost.denoiser_rows
    lines += ["", f"{examples} report problems, {quantity(rows, 'denoiser row')}, code at commit {commit()}."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="the run folder")
    parser.add_argument("--output", type=Path, help="the page; the table is printed without it")
    parser.add_argument("--report", type=int, default=512, help="report problems")
    args = parser.parse_args()
    config = mdm_tune.load_config(CONFIG, [f"dataset.report={args.report}"], output=str(args.work))
    show_part(args.output, "table", table(mdm_tune.evaluate(config, PLANS, STEPS)))


if __name__ == "__main__":
    main()
