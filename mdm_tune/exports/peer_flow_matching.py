"""A run of flow_matching's solver on an exported scheduler."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from mdm_tune.exports.ancestral import reveal_probabilities
from mdm_tune.exports.peer_dream import TOLERANCE
from mdm_tune.exports.peer_tools import MASK, ROWS, VOCABULARY, Answer, Request, found, module_of, packages

__all__ = ["flow_matching"]


def flow_matching(request: Request) -> Answer:
    """``MixtureDiscreteEulerSolver.sample``, with uniform numbers that record the probabilities and reveal nothing."""
    import torch

    file = found(request, "flow_matching/solver/discrete_solver.py")
    sys.path.insert(0, request["peer"])
    packages(Path(request["peer"]), "flow_matching", "flow_matching.solver")
    peer = importlib.import_module("flow_matching.solver.discrete_solver")
    path = importlib.import_module("flow_matching.path")
    exported = module_of(Path(request["file"]), "exported")
    logits = torch.randn(ROWS, request["length"], VOCABULARY + 1, generator=torch.Generator().manual_seed(0))
    logits[..., MASK] = -torch.inf
    prediction = logits.softmax(-1)
    solver = peer.MixtureDiscreteEulerSolver(
        model=lambda x, t: prediction,
        path=path.MixtureDiscreteProbPath(scheduler=exported.MdmTuneScheduler()),
        vocabulary_size=VOCABULARY + 1,
    )
    chances: list[float] = []
    setattr(torch, "rand", lambda *_, size=(), **__: _Uniform(size, chances))  # noqa: B010 - mypy knows its type
    tokens = solver.sample(
        x_init=torch.full((ROWS, request["length"]), MASK), step_size=None, time_grid=exported.time_grid()
    )
    last = float((tokens != MASK).double().mean())  # the last step has no probability of its own
    return {
        "wanted": list(reveal_probabilities(request["alphas"])),
        "realised": [*chances, last],
        "ran": f"MixtureDiscreteEulerSolver.sample() of {file.relative_to(request['peer'])}",
        "tolerance": TOLERANCE,
    }


class _Uniform:
    """Uniform numbers that record what they are compared with, and are above it."""

    def __init__(self, shape: Any, chances: list[float]) -> None:
        self.shape, self.chances = shape, chances

    def __lt__(self, chance: Any) -> Any:
        import torch

        self.chances.append(float(chance.max()))
        return torch.zeros(tuple(self.shape), dtype=torch.bool)
