"""Which samples change with the instructions of the processor: the table of docs/search.md.

    python scripts/processor.py

Each problem is sampled twice, in processes that let torch use other vector instructions (AVX2, AVX-512). Their float32
logits differ in the last digits. A sample differs only where such a digit decides a draw or a rank. Needs a processor
with AVX-512.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from mdm_tune.config.file import load_config
from mdm_tune.core.interval_text import interval_text
from mdm_tune.core.statistics import estimate
from mdm_tune.run.build import build
from mdm_tune.schedules.curves import parse_schedule

ROOT = Path(__file__).resolve().parents[1]
INSTRUCTIONS = ("avx2", "avx512")
STEPS = 8
PROBLEMS = {
    "text model, order `random`, temperature 1": ("text.yaml", "sampler.order=random", "objective.metric=spelling"),
    "text model, order `confidence`, temperature 1": ("text.yaml",),
    "task model, order `confidence`, temperature 0": ("arithmetic.yaml",),
}
HEAD = """\
| 8 steps, linear | rows that differ | tokens that differ | mean with AVX2 | mean with AVX-512 | difference |
|---|---|---|---|---|---|
"""


def sampled(problem: str, examples: int) -> dict[str, Any]:
    """The tokens and values of the report split in this process."""
    file, *settings = PROBLEMS[problem]
    sizes = [f"dataset.report={examples}", "dataset.tune=10", "dataset.choose=10"]
    run = build(load_config(ROOT / "configs" / file, [*settings, *sizes]))
    scores = run.evaluator.score(run.evaluator.setting(parse_schedule("linear"), STEPS), "report")
    assert scores.tokens is not None and scores.values is not None
    used = torch.backends.cpu.get_cpu_capability()
    return {"tokens": scores.tokens.tolist(), "values": scores.values.tolist(), "used": used}


def compared(problem: str, found: list[dict[str, Any]]) -> str:
    """The line of a problem."""
    first, second = (np.array(each["tokens"]) for each in found)
    values = [np.array(each["values"]) for each in found]
    differ = first != second
    difference = estimate(values[1] - values[0])
    return (
        f"| {problem} | {differ.any(1).sum()} of {len(differ)} | {100 * differ.mean():.2f} % | {values[0].mean():.4f} "
        f"| {values[1].mean():.4f} | {interval_text(difference.value, difference.ci, difference.no_interval)} |\n"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--one", nargs=2, metavar=("PROBLEM", "FILE"), help="used by the script itself")
    asked = parser.parse_args()
    if asked.one:
        Path(asked.one[1]).write_text(json.dumps(sampled(asked.one[0], asked.examples)))
        return
    lines = []
    with TemporaryDirectory() as folder:
        for problem in PROBLEMS:
            found = []
            for instructions in INSTRUCTIONS:
                file = Path(folder) / f"{instructions}.json"
                command = [sys.executable, __file__, "--examples", str(asked.examples), "--one", problem, str(file)]
                subprocess.run(command, env=os.environ | {"ATEN_CPU_CAPABILITY": instructions}, check=True)
                found.append(json.loads(file.read_text()))
                if found[-1]["used"] != instructions.upper():
                    parser.exit(1, f"this processor has no {instructions}: torch uses {found[-1]['used']}\n")
            lines.append(compared(problem, found))
    print(HEAD + "".join(lines), end="")


if __name__ == "__main__":
    main()
