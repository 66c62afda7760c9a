"""Final numbers by lm-evaluation-harness itself, with our sampler and any schedules.

    python scripts/lm_eval_numbers.py configs/llada/gsm8k.yaml --trust-code
    python scripts/lm_eval_numbers.py CONFIG --schedule linear --schedule runs/gsm8k --steps 32 --json
    python scripts/lm_eval_numbers.py CONFIG --task lambada_openai --limit 200

Prompts, filters, metrics and the table are the harness's; model, sampler, length of answers and seeds are those of the
config, so that a document gets the very answer that ``mdm-tune evaluate`` draws for it. Without --schedule it compares
linear with the run's own schedule file, at the file's budgets. Needs the extra lm-eval.

Writes numbers.json (the harness's tables, paired differences with 95 % intervals, schedules, costs, fingerprints,
versions) and numbers-scores.jsonl (a line per document) to the run folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from mdm_tune.cli import ConfigFile, OnDevices, Output, Overrides, Schedules, Seed, TrustCode
from mdm_tune.cli_start import AsJson, Quiet
from mdm_tune.core.permissions import Permissions
from mdm_tune.terminal.console import Screen
from mdm_tune.terminal.exit_codes import exit_codes


def main(
    config: ConfigFile,
    schedule: Schedules = None,
    steps: Annotated[list[int] | None, typer.Option("--steps", help="A step budget; may be repeated.")] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="Another task than the config's, its own shots and metric.", show_default=False),
    ] = None,
    include_path: Annotated[
        str | None, typer.Option("--include-path", help="A folder that holds --task.", show_default=False)
    ] = None,
    shots: Annotated[int | None, typer.Option("--shots", help="Shots of --task.", show_default=False)] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Only the first so many documents of each task.", show_default=False)
    ] = None,
    draws: Annotated[int, typer.Option("--draws", help="Random paths that a likelihood is averaged over.")] = 16,
    overrides: Overrides = None,
    seed: Seed = None,
    output: Output = None,
    devices: OnDevices = None,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate schedules on a task by lm-evaluation-harness itself."""
    os.environ["TQDM_DISABLE"] = "1"  # the harness's bars, before it is imported
    screen = Screen(quiet=quiet, as_json=as_json)
    with exit_codes(screen):
        screen.say(f"lm_eval_numbers {config}: loading")
        from mdm_tune.commands.harness import harness_numbers
        from mdm_tune.config.file import load_config
        from mdm_tune.sampling.devices import devices_for

        loaded = load_config(config, overrides or (), seed=seed, output=output)
        result = harness_numbers(
            loaded,
            schedule or (),
            steps or (),
            task=task,
            include_path=include_path,
            shots=shots,
            limit=limit,
            draws=draws,
            notify=screen.on_event,
            devices=devices_for(loaded.model, devices),
            allow=Permissions(trust_code),
        )
        if as_json:
            screen.json(result)
            return
        for row in result.rows:
            screen.out(f"{row.schedule}, {row.steps} steps, as lm-evaluation-harness reports it")
            for line in told(row.harness):
                screen.out(f"  {line}")
        screen.evaluate_result(result)


def told(harness: Mapping[str, Any]) -> Iterator[str]:
    """Each task, group, metric and filter with the harness's own standard error; its make_table loses its headings."""
    for name, values in (harness["results"] | harness.get("groups", {})).items():
        for key, value in values.items():
            metric, _, kept = key.partition(",")
            if kept and not metric.endswith("_stderr") and value is not None:
                error = values.get(f"{metric}_stderr,{kept}")
                spread = f" ± {error:.4f}" if isinstance(error, float) else ""
                yield f"{name}  {metric}  {kept}  {value:.4f}{spread}"


if __name__ == "__main__":
    typer.run(main)
