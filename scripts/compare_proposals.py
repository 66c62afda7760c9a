"""What a search loses by proposals that cost less: its regret against that with Optuna's own sampler.

    python scripts/compare_proposals.py --record proposals.jsonl --seeds 0 30     # goes on with what is in the file
    python scripts/compare_proposals.py --record proposals.jsonl                  # the table

*Optuna* is its ``GPSampler``, which follows gradients to the best point by its acquisition function. *Ours* has the
same process and acquisition function, and looks at points without gradients (``mdm_tune.search.improvement``).

Searches of 60 trials are simulated on objectives that are known exactly: the KL of a Markov chain, and of the paper's
two toys. They have no noise and propose one trial at a time, or have values with a standard deviation of 5 % of
linear's and propose four at a time. Regret is the best exact value among the trials minus that of all searches, in
percent of that of linear. Optuna and ours begin with the same points and have the same noise.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from mdm_tune.config.file import SearchConfig, load_config
from mdm_tune.core.seeding import derive_seed
from mdm_tune.core.statistics import estimate
from mdm_tune.evaluation.settings import Policy
from mdm_tune.run.build import build
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.proposals import BetaSpace

Record = dict[str, Any]

CONFIGS = Path(__file__).parent.parent / "configs"
PROBLEMS = {"markov": 8, "toy-extremes": 3, "toy-middle": 3}  # steps
TRIALS, LOOKS, NOISE = 60, (20, 40, 60), 0.05
KINDS = ("Optuna", "ours")


def objective(name: str, steps: int) -> Callable[[Policy], float]:
    """The exact value of a schedule."""
    evaluator = build(load_config(CONFIGS / f"{name}.yaml", [f"sampler.steps=[{steps}]"])).evaluator
    known: dict[Any, float] = {}

    def value(policy: Policy) -> float:
        setting = evaluator.setting(policy, steps)
        if setting.key not in known:
            known[setting.key] = evaluator.score(setting, "tune").estimate.value
        return known[setting.key]

    return value


def by_optuna(space: BetaSpace, numbers: range, known: Sequence[tuple[Policy, float]], *, exact: bool) -> list[Policy]:
    """The proposals of Optuna's own sampler. It takes account of those that run."""
    ranges = {name: optuna.distributions.FloatDistribution(*ends, log=True) for name, ends in space.ranges.items()}
    seed = derive_seed(space.seed, space.stream, space.steps, numbers.start) % 2**32
    sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=1, deterministic_objective=exact)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    for policy, value in known:
        study.add_trial(optuna.trial.create_trial(value=value, params=space.point(policy), distributions=dict(ranges)))
    return [Beta(**study.ask(dict(ranges)).params) for _ in numbers]


def search(space: BetaSpace, value: Callable[[Policy], float], kind: str, *, noisy: bool) -> Record:
    """The best exact value after each of ``LOOKS`` trials, and the CPU milliseconds of a proposal."""
    policies = list(space.given(()))
    values, spent, first = [value(policy) for policy in policies], 0.0, len(policies)
    noise = np.random.default_rng(derive_seed(space.seed, "noise")).normal(0, NOISE * values[0] * noisy, TRIALS)
    together = 4 if noisy else 1
    while len(policies) < TRIALS:
        numbers = range(len(policies), min(len(policies) + together, TRIALS))
        known = list(zip(policies, (values + noise[: len(values)]).tolist(), strict=True))
        began = time.process_time()
        if kind == "ours":
            new = space.propose(numbers, known, [], "minimize", exact=not noisy)
        else:
            new = by_optuna(space, numbers, known, exact=not noisy)
        spent += time.process_time() - began
        policies += new
        values += [value(policy) for policy in new]
    return {"best": [min(values[:look]) for look in LOOKS], "linear": values[0], "ms": 1e3 * spent / (TRIALS - first)}


def run(path: Path, seeds: range) -> None:
    """Add the searches that the file lacks."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    done = {(each["problem"], each["noisy"], each["kind"], each["seed"]) for each in read(path)}
    values = {name: objective(name, steps) for name, steps in PROBLEMS.items()}
    for seed in seeds:
        for name, steps in PROBLEMS.items():
            for noisy in (False, True):
                for kind in KINDS:
                    if (name, noisy, kind, seed) in done:
                        continue
                    space = BetaSpace(SearchConfig(trials=TRIALS), steps, seed)
                    found = search(space, values[name], kind, noisy=noisy)
                    record = {"problem": name, "noisy": noisy, "kind": kind, "seed": seed, **found}
                    with path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(record) + "\n")


def read(path: Path) -> list[Record]:
    """The searches in the file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def regrets(records: Sequence[Record], kind: str, look: int) -> dict[tuple[str, bool, int], float]:
    """The regret of each search of a kind, in percent of that of linear, by problem, noise and seed."""
    least = {name: min(each["best"][-1] for each in records if each["problem"] == name) for name in PROBLEMS}
    return {
        (each["problem"], each["noisy"], each["seed"]): 100
        * (each["best"][look] - least[each["problem"]])
        / (each["linear"] - least[each["problem"]])
        for each in records
        if each["kind"] == kind
    }


def table(records: Sequence[Record]) -> str:
    """Mean regrets and their paired differences with 95 % intervals, by problem and noise, and over all."""
    head = ["problem", "trials", "seeds", "Optuna", "ours", "ours - Optuna", "ms of a proposal, Optuna", "ours"]
    rows = [head, ["---"] * len(head)]
    groups = [((name,), (noisy,)) for name in PROBLEMS for noisy in (False, True)]
    for names, kinds in [*groups, (tuple(PROBLEMS), (False, True))]:
        for look, trials in enumerate(LOOKS):
            theirs, ours = (regrets(records, kind, look) for kind in KINDS)
            keys = [key for key in theirs.keys() & ours.keys() if key[0] in names and key[1] in kinds]
            some = estimate(np.array([ours[key] - theirs[key] for key in keys]))
            means = [float(np.mean([each[key] for key in keys])) for each in (theirs, ours)]
            times = [
                np.median(
                    [
                        each["ms"]
                        for each in records
                        if each["kind"] == kind and (each["problem"] in names) and each["noisy"] in kinds
                    ]
                )
                for kind in KINDS
            ]
            name = "all" if len(names) > 1 else names[0] + (", noise, four together" if kinds[0] else "")
            interval = "" if some.ci is None else f" [{some.ci[0]:+.2f}, {some.ci[1]:+.2f}]"
            rows.append(
                [
                    name,
                    f"{trials}",
                    f"{len({key[2] for key in keys})}",
                    *(f"{mean:.2f} %" for mean in means),
                    f"{some.value:+.2f}{interval}",
                    *(f"{each:.0f}" for each in times),
                ]
            )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 0))
    options = parser.parse_args()
    run(options.record, range(*options.seeds))
    print(table(read(options.record)))


if __name__ == "__main__":
    main()
