"""Random schedules in the code of a peer itself: how many are not realised as they were exported.

    python scripts/verify_exports.py --to llada --peer LLADA --policies 3000

PEER is a checkout of the peer, as for mdm-tune export --verify. Its code is run in this process, on a small random
model. Nothing is fetched.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
from pathlib import Path

import torch

from mdm_tune.exports.peer_process import request_of
from mdm_tune.exports.peer_runs import RUNS
from mdm_tune.exports.registry import FORMATS
from tests.support.exports import count_policies


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    can = sorted(name for name in RUNS if "counts" in FORMATS[name].kinds)
    parser.add_argument("--to", choices=can, required=True)
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--policies", type=int, default=3000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    known, mismatches = FORMATS[given.to], 0
    with tempfile.TemporaryDirectory() as folder:
        for number, policy in enumerate(count_policies(known.blocks, number=given.policies, longest=64, seed=11)):
            files = {Path(folder, str(number), name): text for name, text in known.export(policy).files.items()}
            for path, text in files.items():
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
            file = next(iter(files))
            with contextlib.redirect_stdout(io.StringIO()):  # some peers print
                answer = RUNS[given.to](request_of(given.to, policy, file, given.peer))
            file.unlink()
            if answer["wanted"] != answer["realised"]:
                mismatches += 1
                print(f"{policy.counts}: realised {answer['realised']}")
    print(f"{given.to}: {given.policies} schedules, {mismatches} mismatches")
    return int(mismatches > 0)


if __name__ == "__main__":
    sys.exit(main())
