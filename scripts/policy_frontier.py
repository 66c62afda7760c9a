"""The measured section of docs/policies.md: fixed counts and adaptive policies at equal calls, and what a search costs.

The task model at six budgets:

    mdm-tune search configs/arithmetic.yaml --output build/policies/task \\
      --set 'search.policies=[counts,threshold,quota,cap,entropy-bound,klass]' --set search.trials=26 \\
      --set search.finalists=8 --set search.frontier=true --set 'sampler.steps=[4,6,8,12,16,32]' \\
      --set dataset.report=1024

The text model and AntiBERTy, whose data scripts/text_prompts.py and scripts/antibody_holes.py write; and pairs of
searches that compare the cost:

    mdm-tune search build/text-prompts/config.yaml --trust-code --output build/policies/text
    mdm-tune search build/antibody-holes/config.yaml --trust-code --output build/policies/antibody
    for seed in 0 1 2; do for kinds in counts counts,threshold,quota,entropy-bound,klass; do
      mdm-tune search configs/arithmetic.yaml --seed $seed --output build/policies/cost-$seed-$kinds \\
        --set "search.policies=[$kinds]" --set search.trials=20 --set 'sampler.steps=[8,16]' \\
        --set dataset.choose=64 --set dataset.report=128
    done; done

The page:

    python scripts/policy_frontier.py build/policies/task build/policies/text build/policies/antibody \\
      --cost build/policies/cost-* --page docs/policies.md
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pages import commit, show_part

from mdm_tune.core.statistics import Estimate
from mdm_tune.run.frontier_records import PolicyFrontierRecord
from mdm_tune.run.policy_records import PolicyRecord
from mdm_tune.search.gains import Gain

Result = dict[str, Any]  # search.json
NAMES = {"counts": "tuned counts", "quota": "tuned `quota`", "cap": "tuned `cap`", "klass": "tuned `klass`"}
MODELS = {
    "package:arithmetic": "The task model",
    "package:text": "The text model with prompts",
    "antiberty": "AntiBERTy, antibodies with a hole",
}


def result_of(run: Path) -> Result:
    """The result of a finished search."""
    path = run / "search.json"
    if not path.exists():
        raise SystemExit(f"{run} has no finished search (search.json)")
    found: Result = json.loads(path.read_text("utf-8"))
    return found


def policies_of(budget: Result) -> list[PolicyRecord]:
    """The best of each kind at a budget."""
    return [PolicyRecord.from_json(record) for record in budget["policies"]]


def of_kind(budget: Result, kind: str) -> PolicyRecord:
    """The best of one kind at a budget."""
    return next(record for record in policies_of(budget) if record.kind == kind)


def name_of(kind: str) -> str:
    """A kind as the tables name it."""
    return NAMES.get(kind, f"`{kind}`")


def table(result: Result, corner: str, rows: Sequence[tuple[str, Callable[[Result], str]]]) -> list[str]:
    """A table with a column per budget. rows: the name of each row, and its cell at a budget."""
    budgets = result["budgets"]
    lines = [
        f"| {corner} | {' | '.join(str(budget['steps']) for budget in budgets)} |",
        "|---" * (len(budgets) + 1) + "|",
    ]
    return lines + [f"| {name} | {' | '.join(map(cell, budgets))} |" for name, cell in rows]


def best_given(budget: Result) -> tuple[str, Estimate]:
    """The hand-made schedule with the best value on the report split, apart from linear."""
    found = {name: Estimate.from_json(value) for name, value in budget["baselines"].items() if name != "linear"}
    sign = -1 if budget["direction"] == "minimize" else 1
    name = max(found, key=lambda each: sign * found[each].value)
    return name, found[name]


def values(result: Result) -> list[str]:
    """The value of each policy at each budget, with the calls of adaptive policies."""

    def cell(kind: str) -> Callable[[Result], str]:
        def show(budget: Result) -> str:
            record = of_kind(budget, kind)
            if record.value is None or record.calls is None:
                return "cannot reach it"
            calls = "" if record.calls.nfe_ci is None else f" ({record.calls.nfe:.2f} calls)"
            return f"{record.value.text}{calls}"

        return show

    def given(budget: Result) -> str:
        name, value = best_given(budget)
        return f"{value.text} (`{name}`)"

    kinds = [(name_of(record.kind), cell(record.kind)) for record in policies_of(result["budgets"][0])]
    linear = ("linear", lambda budget: Estimate.from_json(budget["baselines"]["linear"]).text)
    return table(result, "budget, calls", [linear, ("best hand-made", given), *kinds])


def gains(result: Result) -> list[str]:
    """The gain of each policy over linear, with the interval that holds for all of them together."""

    def cell(kind: str) -> Callable[[Result], str]:
        def show(budget: Result) -> str:
            record = of_kind(budget, kind)
            if record.gain_over_linear is None:
                return "none"
            gain = record.gain_over_linear
            notes = [] if gain.shown else ["a loss" if _below(gain) else "not shown"]
            if record.more_calls and record.calls_of_linear is not None:
                notes.append(f"more calls: {record.calls_of_linear:.3f} times linear's")
            return gain.corrected_text + (f" ({'; '.join(notes)})" if notes else "")

        return show

    kinds = [record.kind for record in policies_of(result["budgets"][0])]
    return table(result, "gain over linear", [(name_of(kind), cell(kind)) for kind in kinds])


def _below(gain: Gain) -> bool:
    """Whether the whole interval that holds for all gains lies below 0."""
    return gain.familywise is not None and gain.familywise[1] < 0


def found_values(result: Result) -> list[str]:
    """The policies that were found, as they are given on a command line."""
    kinds = [record.kind for record in policies_of(result["budgets"][0])]

    def cell(kind: str) -> Callable[[Result], str]:
        def show(budget: Result) -> str:
            policy = of_kind(budget, kind).policy
            if policy is not None and policy.startswith("beta:"):
                policy = f"beta:{','.join(f'{float(number):.3g}' for number in policy[5:].split(','))}"
            return "none" if policy is None else f"`{policy}`"

        return show

    return table(result, "found", [(name_of(kind), cell(kind)) for kind in kinds])


def frontier(result: Result) -> list[str]:
    """The sentence of the frontier, and the fewest calls and the area of each policy."""
    if result.get("policy_frontier") is None:
        return []
    found = PolicyFrontierRecord.from_json(result["policy_frontier"])
    areas = any(policy.aup is not None for policy in found.policies)
    margin = f"{100 * found.margin:g} %"
    lines = [f"> {found.sentence}", "", f"| policy | fewest calls within {margin} |{' AUP |' if areas else ''}"]
    lines.append("|---|---|---|" if areas else "|---|---|")
    for policy in found.policies:
        calls = "none shown" if policy.calls is None else policy.calls.text
        lines.append(f"| {policy.policy} | {calls} |{'' if policy.aup is None else f' {policy.aup.text} |'}")
    return lines


def reasons(result: Result) -> list[str]:
    """Why policies are missing at a budget."""
    found = [
        f"- At {budget['steps']} calls {name_of(record.kind)} is missing: {record.why}."
        for budget in result["budgets"]
        for record in policies_of(budget)
        if record.why is not None
    ]
    return [*found, ""] if found else []


def spaces(result: Result, run: Path) -> list[str]:
    """The share of spaces in the report answers of the text model: a policy may agree by writing hardly anything."""
    if result["description"]["config"]["model"]["path"] != "package:text":
        return []
    found: dict[tuple[int, str], list[float]] = {}
    for line in (run / "search-scores.jsonl").read_text("utf-8").splitlines():
        answer = json.loads(line)
        if answer["split"] == "report":
            share = answer["text"].count(" ") / len(answer["text"])
            found.setdefault((answer["steps"], answer["schedule"]), []).append(share)

    def cell(kind: str | None) -> Callable[[Result], str]:
        def show(budget: Result) -> str:
            policy = "linear" if kind is None else of_kind(budget, kind).policy
            own = None if policy is None else found[budget["steps"], policy]
            return "none" if own is None else f"{sum(own) / len(own):.2f}"

        return show

    kinds = [record.kind for record in policies_of(result["budgets"][0])]
    rows = [("linear", cell(None)), *((name_of(kind), cell(kind)) for kind in kinds)]
    return table(result, "share of spaces in the answers", rows)


def conditions(result: Result, code: str) -> str:
    """What was run, on what, and what it cost."""
    config, rows = result["description"]["config"], result["denoiser_rows_of"]
    data, claims = config["dataset"], sum(len(budget["policies"]) for budget in result["budgets"])
    spent = ", ".join(f"{number:,} for {name.replace('_', ' ')}" for name, number in rows.items() if number)
    return (
        f"{result['description']['label'].capitalize()}. {data['tune']} tune, {data['choose']} choose and "
        f"{data['report']} report examples, {config['search']['trials']} trials of each budget, seed {config['seed']}. "
        f"The first table has 95 % intervals; those of the {claims} gains hold at 95 % together. The search took "
        f"{result['denoiser_rows']:,} denoiser rows: {spent}. Code at commit {code}."
    )


def section(result: Result, run: Path, code: str) -> list[str]:
    """All tables of a search."""
    model = Path(result["description"]["config"]["model"]["path"]).name
    parts = (
        [conditions(result, code)],
        values(result),
        gains(result),
        spaces(result, run),
        found_values(result),
        frontier(result),
    )
    lines = [f"### {MODELS.get(model, model)}", ""]
    for part in parts:
        lines += [*part, ""] if part else []
    return lines + reasons(result)


def cost(results: Sequence[Result], code: str) -> list[str]:
    """Rows of searches over several kinds, as multiples of those over counts with the same seed."""
    seeds = sorted({result["description"]["config"]["seed"] for result in results})
    pairs, kinds = [], list[str]()
    for seed in seeds:
        own = [result for result in results if result["description"]["config"]["seed"] == seed]
        own.sort(key=lambda result: len(result["description"]["config"]["search"]["policies"]))
        if len(own) != 2 or own[0]["description"]["config"]["search"]["policies"] != ["counts"]:
            raise SystemExit(f"--cost: seed {seed} needs one search over counts and one over several kinds")
        pairs.append((own[0], own[1]))
        kinds = own[1]["description"]["config"]["search"]["policies"]
    first = pairs[0][0]["description"]["config"]
    budgets = " and ".join(str(steps) for steps in first["sampler"]["steps"])
    data = first["dataset"]
    lines = [
        "### What the search costs",
        "",
        f"Denoiser rows of a search over {', '.join(f'`{kind}`' for kind in kinds)}, as a multiple of one over "
        f"`counts` with the same number of trials ({first['search']['trials']} of each budget). The task model at "
        f"{budgets} calls, {data['tune']} tune, {data['choose']} choose and {data['report']} report examples, seeds "
        f"{', '.join(map(str, seeds))}. Code at commit {code}.",
        "",
        "| rows | `counts`, mean | all kinds, mean | ratio, mean | range over seeds |",
        "|---|---|---|---|---|",
    ]

    def row(name: str, rows: Callable[[Result], int]) -> str:
        found = [(rows(counts), rows(several)) for counts, several in pairs]
        ratios = [several / counts for counts, several in found]
        means = (sum(column) / len(found) for column in zip(*found, strict=True))
        counts, several = (f"{mean:,.0f}" for mean in means)
        span = f"{min(ratios):.2f} to {max(ratios):.2f}"
        return f"| {name} | {counts} | {several} | {sum(ratios) / len(ratios):.2f} | {span} |"

    lines.append(row("of the trials alone", lambda result: result["denoiser_rows_of"]["trials"]))
    lines.append(row("of the comparison", lambda result: result["denoiser_rows_of"]["comparison"]))
    lines.append(row("in all", lambda result: result["denoiser_rows"]))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of finished searches over policies")
    parser.add_argument("--cost", type=Path, nargs="+", default=[], help="folders of pairs of searches, one per seed")
    parser.add_argument("--page", type=Path, help="the page; the tables are printed without it")
    parser.add_argument("--commit", nargs="+", help="the code that ran the searches: of each RUN, then of the pairs")
    args = parser.parse_args()
    commits = args.commit or [commit()] * (len(args.runs) + 1)
    lines = [line for run, code in zip(args.runs, commits, strict=False) for line in section(result_of(run), run, code)]
    lines += cost([result_of(run) for run in args.cost], commits[-1]) if args.cost else []
    show_part(args.page, "results", "\n".join(lines))


if __name__ == "__main__":
    main()
