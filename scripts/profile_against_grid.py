"""The text model in random order at 16 steps: the profile's (a, b) against that of the paper's grid, found by sampling.

    python scripts/profile_against_grid.py --work build/grid --output docs/profile-against-grid.md

The grid is `mdm-tune search` with `search.strategy=grid` on 512 tune examples: each distinct count vector of the 100
points is sampled once and judged by its spelling. The profile is `mdm-tune profile` on examples of the same split. Both
winners, linear and the optimum over all counts then meet on the report split. About 830,000 denoiser rows; goes on
where it was.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mdm_tune.commands.evaluate import evaluate
from mdm_tune.commands.events import RunEvent
from mdm_tune.commands.profile import profile
from mdm_tune.commands.search import search
from mdm_tune.config.file import Config, load_config
from mdm_tune.core.statistics import Estimate
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.events import TrialDone
from mdm_tune.search.ledger import Ledger
from mdm_tune.search.storage import open_storage

CONFIG = Path(__file__).parent.parent / "configs" / "text.yaml"
STEPS = 16
COMMON = (
    *("sampler.order=random", "dataset.tune=512", "search.strategy=grid", "search.trials=100", "search.finalists=1"),
    *("search.racing=false", "search.together=1", "search.auto_stop=false"),  # every point on every example
)


def tell(event: RunEvent) -> None:
    """One line per trial on stderr."""
    if isinstance(event, TrialDone):
        print(f"trial {event.number + 1}: {event.value:.4f}, best {event.best:.4f}", file=sys.stderr, flush=True)


def config(folder: Path, *more: str) -> Config:
    return load_config(CONFIG, [*COMMON, *more], output=str(folder))


def by_grid(folder: Path) -> tuple[str, int, int, float]:
    """The grid's best point by its tune value, the distinct count vectors, their rows and seconds."""
    if not (folder / "search.json").is_file():
        search(config(folder), resume=True, overwrite=False, notify=tell)
    storage = open_storage(folder / "study.journal")
    trials = Ledger(storage, f"search/steps-{STEPS}", "maximize").finished().values()
    best = max(trials, key=lambda trial: trial.value)
    fresh = [trial.record["cost"] for trial in trials if trial.record["fresh"]]
    # The first examples of linear and squared-sine were scored before their trials.
    costs = [*fresh, Ledger(storage, "search/made").finished()[f"pilot {STEPS}"].record["made"]["cost"]]
    return Beta(**best.params).name, len(fresh), sum(cost[0] for cost in costs), sum(cost[2] for cost in costs)


def scores(
    folder: Path, metric: str, names: list[str]
) -> tuple[dict[str, Estimate], dict[str, tuple[float, float, float] | None]]:
    """Per schedule its row of `evaluate`, and its difference to the grid's winner."""
    found = evaluate(
        config(folder, f"objective.metric={metric}"), names, [STEPS], differences=False, notify=lambda event: None
    )
    rows = {row.schedule: row.estimate for row in found.rows}
    against: dict[str, tuple[float, float, float] | None] = {names[0]: None}
    for pair in found.comparisons:
        if (more := pair.minus(names[0])) is not None and more[1].ci is not None:
            against[more[0]] = (more[1].value, *more[1].ci)
    return rows, against


def cell(interval: tuple[float, float, float], digits: int, sign: str = "") -> str:
    """A value with the ends of its interval."""
    value, low, high = interval
    return f"{value:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for the runs")
    parser.add_argument("--output", type=Path, required=True, help="the Markdown file to write")
    options = parser.parse_args()
    grid, distinct, grid_rows, grid_seconds = by_grid(options.work / "grid")
    priced = profile(config(options.work / "profile"), [STEPS], notify=tell)
    own = priced.profiles[0].budgets[0].beta.schedule.name
    names = list(dict.fromkeys([grid, own, "linear", "optimum"]))
    folder = options.work / "profile"
    spelling, more_spelling = scores(folder, "spelling", names)
    nelbo, more_nelbo = scores(folder, "nelbo", names)
    labels = {
        grid: f"grid by sampling ({distinct} distinct count vectors)",
        own: "profile, best Beta",
        "optimum": "profile, optimum over all counts",
    }
    measured = priced.profiles[0].measured  # now or when the folder's profile was made
    costs = {grid: (grid_rows, grid_seconds), own: (measured.denoiser_rows, measured.seconds)}
    costs["optimum"] = costs[own]
    lines = [
        "| chosen by | schedule | denoiser rows | seconds | spelling | minus the grid's | NELBO, nats "
        "| minus the grid's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        rows, seconds = costs.get(name, (0, 0.0))
        shown = name if not name.startswith("beta:") else "({:.3g}, {:.3g})".format(*map(float, name[5:].split(",")))
        cells = [labels.get(name, "nobody"), shown, f"{rows:,}", f"{seconds:,.0f}"]
        for found, against, digits in ((spelling, more_spelling, 3), (nelbo, more_nelbo, 2)):
            estimate, other = found[name], against[name]
            assert estimate.ci is not None  # both metrics score examples
            cells.append(cell((estimate.value, *estimate.ci), digits))
            cells.append("" if other is None else cell(other, digits, "+") if any(other) else "same counts")
        lines.append("| " + " | ".join(cells) + " |")
    options.output.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
