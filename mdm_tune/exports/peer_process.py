"""A process of its own for a peer's code, so that its modules and its failures stay outside this one."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.messages import cut, shown_path
from mdm_tune.exports.base import Realised
from mdm_tune.exports.policy import Policy

__all__ = ["request_of", "run_peer"]

LIMIT = 900  # seconds; a run with a small random model takes a few
ROOT = Path(__file__).resolve().parents[2]  # the folder that holds this package
CODE = f"import sys; sys.path.append({str(ROOT)!r}); from mdm_tune.exports.peer_runs import main; main(*sys.argv[1:])"


def request_of(name: str, policy: Policy, exported: Path, peer: Path) -> dict[str, Any]:
    """What a function of ``peer_runs.RUNS`` receives. The arguments are those of ``run_peer``."""
    return {
        "name": name,
        "file": str(exported.resolve()),
        "peer": str(peer.resolve()),
        "kind": policy.kind,
        "length": policy.length,
        "block_length": policy.block_length,
        "steps": policy.most_steps * policy.blocks if policy.counts is not None else policy.steps,
        "counts": [list(block) for block in policy.counts or ()],
        "alphas": None if policy.alphas is None else list(policy.alphas),
        "value": policy.value,
    }


def run_peer(name: str, policy: Policy, exported: Path, peer: Path) -> Realised:
    """Run the peer's code on an exported file.

    Args:
        name: of the function in ``peer_runs.RUNS``.
        policy: what was exported.
        exported: the exported file.
        peer: the folder of the peer's code. The caller has the user's consent to run it.

    Raises:
        InputError: the folder does not hold the peer's code.
        RunError: the peer's code fails or does not end.
    """
    if not peer.is_dir():
        raise InputError(f"--verify: there is no folder {shown_path(peer)}; give the folder of the peer's code")
    request = request_of(name, policy, exported, peer)
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "request.json"), Path(folder, "answer.json")
        asked.write_text(json.dumps(request), encoding="utf-8")
        try:
            code, errors = _ended(asked, answered)
        except subprocess.TimeoutExpired:
            raise RunError(
                f"--verify: the code in {shown_path(peer)} ran for more than {LIMIT} s; look for a loop in it"
            ) from None
        if not answered.exists():
            lines = errors.strip().splitlines()
            reason = cut(lines[-1], 300) if lines else f"it ended with exit code {code}"
            raise RunError(
                f"--verify: the code in {shown_path(peer)} failed: {reason}; correct it, or leave --verify out"
            )
        answer = json.loads(answered.read_text("utf-8"))
    if "missing" in answer:
        raise InputError(f"--verify: {shown_path(peer)} does not hold {answer['missing']}; give the folder that does")
    return Realised(
        wanted=tuple(answer["wanted"]),
        realised=tuple(answer["realised"]),
        ran=answer["ran"],
        tolerance=answer.get("tolerance", 0.0),
    )


def _ended(asked: Path, answered: Path) -> tuple[int, str]:
    """Answer a request in another process. Return its exit code and what it wrote to stderr."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", CODE, str(asked), str(answered)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=LIMIT,
        check=False,
    )
    return done.returncode, done.stderr.decode("utf-8", "replace")
