"""Run every hostile program of the tests under every protection that this machine has, and say which were not held.

    python scripts/hostile_programs.py [--user nobody] [--only all,landlock+seccomp] [--part forged] [--json]

--user: as whom, where root runs this. Needs the project's test extra. Exit code 1: a program was not held.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mdm_tune.benchmarks.execution_probe import protection  # noqa: E402
from tests.support.hostile import running  # noqa: E402


def as_user(name: str, words: list[str]) -> int:
    """This script again, as another user, by a Python that this user may run."""
    python = running.python_for(name)
    if python is None:
        print(f"there is no Python 3.11 or newer that {name} may run; skipped")
        return 0
    return subprocess.run([python, __file__, *words], **running.as_(name), check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--user")
    parser.add_argument("--only", default=",".join(running.MODES))
    parser.add_argument("--part", default="forged,escaped,ended_otherwise")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.user:
        words = ["--only", given.only, "--part", given.part, *(["--json"] if given.json else [])]
        return as_user(given.user, words)
    record: dict[str, dict[str, object]] = {}
    for name in given.only.split(","):
        layers = running.MODES[name]
        found = protection(layers)
        if found.layers != layers:
            missing = [layer for layer in layers if layer not in found.layers]
            record[name] = {"skipped": f"this machine has no {', '.join(missing)} for user {os.getuid()}"}
            continue
        record[name] = {"lost": list(found.lost)}
        for part in given.part.split(","):
            since = time.monotonic()
            record[name][part] = running.PARTS[part](layers, found.lost)
            if not given.json:
                print(
                    f"{name}, {part}: {record[name][part] or 'all held'} in {time.monotonic() - since:.0f} s",
                    flush=True,
                )
        if found.lost and not given.json:
            print(f"{name}: no limit on {', '.join(found.lost)}")
    if given.json:
        print(json.dumps(record))
    else:
        print(
            f"{running.COUNT} programs; "
            + "; ".join(f"{n}: {r['skipped']}" for n, r in record.items() if "skipped" in r)
        )
    return int(any(each.get(part) for each in record.values() for part in running.PARTS))


if __name__ == "__main__":
    sys.exit(main())
