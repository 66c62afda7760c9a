"""Whether two checkouts answer alike: the JSON of every command on the shipped configurations, and a search's files.

    python scripts/same_json.py keep before.json               # of this checkout
    python scripts/same_json.py compare before.json            # later, of the changed one
    python scripts/same_json.py keep other.json --checkout ../other

Compared is all but what depends on the moment or the machine: seconds, memory, versions, fingerprints of code. The text
and the chains run in small sizes, so that all of it takes about a minute. Configurations that need weights from
elsewhere are checked by the tests.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
VOLATILE = ("seconds", "memory", "versions", "version", "host")  # in a key, or the key itself
SMALL = ["dataset.tune=24", "dataset.choose=24", "dataset.report=32", "sampler.steps=[8]", "search.trials=5"]
CHAIN = ["search.trials=6"]
RUNS: dict[str, tuple[str, list[str], list[list[str]]]] = {
    name: (config, sets, [["search"], ["evaluate", "--schedule", "linear", "--schedule", "sine"], *more])
    for name, config, sets, more in (
        ("markov", "markov.yaml", CHAIN, [["sample"], ["profile"], ["search", "--dry-run"]]),
        ("toy-extremes", "toy-extremes.yaml", CHAIN, [["sample"]]),
        ("toy-middle", "toy-middle.yaml", CHAIN, [["sample"]]),
        ("text", "text.yaml", SMALL, [["sample"], ["search", "--dry-run"]]),
        (
            "text in random order",
            "text.yaml",
            [*SMALL, "sampler.order=random", "objective.metric=nelbo", "profile.examples=16"],
            [["profile"], ["evaluate", "--schedule", "optimum"]],
        ),
        (
            "text in blocks",
            "text.yaml",
            [*SMALL, "sampler.block_length=[32,64]", "search.trials=3"],
            [["evaluate", "--schedule", "quota:sine", "--set", "dataset.report=12"], ["sample"]],
        ),
    )
}


def answers(checkout: Path) -> dict[str, Any]:
    """The JSON of each command and the files of each run, by name."""
    found: dict[str, Any] = {}
    for name, (config, sets, commands) in RUNS.items():
        with tempfile.TemporaryDirectory(prefix="mdm-tune-same-") as folder:
            for words in commands:
                label = f"{name}: {' '.join(words)}"
                print(label, file=sys.stderr)
                options = [part for text in sets for part in ("--set", text)]
                command, *flags = words
                given = [
                    command,
                    str(checkout / "configs" / config),
                    *flags,
                    *options,
                    "--output",
                    "run",
                    "--json",
                    "--quiet",
                ]
                done = subprocess.run(
                    [sys.executable, "-m", "mdm_tune", *given],
                    cwd=folder,
                    env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                found[label] = {
                    "exit code": done.returncode,
                    "stdout": steady(json.loads(done.stdout)) if done.stdout else done.stderr.strip(),
                }
            for file in sorted(Path(folder, "run").iterdir()):
                if file.suffix in {".json", ".yaml", ".csv", ".jsonl"}:
                    found[f"{name}: {file.name}"] = of_file(file)
    return found


def of_file(file: Path) -> Any:
    """What a file holds, without what depends on the moment."""
    text = file.read_text(encoding="utf-8")
    match file.suffix:
        case ".json":
            return steady(json.loads(text))
        case ".yaml":
            return steady(yaml.safe_load(text))
        case ".jsonl":
            return [steady(json.loads(line)) for line in text.splitlines()]
    header, *rows = [line.split(",") for line in text.splitlines()]
    return [steady(dict(zip(header, row, strict=False))) for row in rows]


def steady(value: Any) -> Any:
    """Without the keys that depend on the moment or the machine."""
    if isinstance(value, dict):
        return {key: steady(each) for key, each in value.items() if not any(part in key for part in VOLATILE)}
    return [steady(each) for each in value] if isinstance(value, list) else value


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Where two values differ, a line each."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            if key in old and key in new:
                yield from differences(old[key], new[key], f"{path} / {key}")
            else:
                yield f"{path} / {key}: only {'before' if key in old else 'now'}"
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, pair in enumerate(zip(old, new, strict=True)):
            yield from differences(*pair, f"{path} / {place}")
    elif old != new:
        yield f"{path}: was {str(old)[:200]}, is {str(new)[:200]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["keep", "compare"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--checkout", type=Path, default=ROOT)
    options = parser.parse_args()
    found = answers(options.checkout.resolve())
    if options.action == "keep":
        options.file.write_text(json.dumps(found, indent=1), encoding="utf-8")
        return
    lines = list(differences(json.loads(options.file.read_text(encoding="utf-8")), found))
    print(*lines[:100], sep="\n")
    print(f"{len(found)} answers, {len(lines)} differences")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
