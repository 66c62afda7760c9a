"""Runs of the schedulers of diffusers on exported files."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mdm_tune.exports.peer_tools import (
    MASK,
    PROMPT,
    ROWS,
    Answer,
    RandomModel,
    Request,
    counts_of_rows,
    found,
    module_of,
    quota_counts,
    revealed_counts,
    threshold_counts,
    wanted_counts,
)

__all__ = ["diffusers"]


def diffusers(request: Request) -> Answer:
    """The pipeline for LLaDA2 and, for counts of one block, the steps of AMUSEd."""
    file = found(
        request,
        "src/diffusers/schedulers/scheduling_block_refinement.py",
        "diffusers/schedulers/scheduling_block_refinement.py",
    )
    sys.path.insert(0, str(file.parents[2]))
    wanted, realised = _blocks(request)
    ran = "LLaDA2Pipeline"
    amused = Path(request["file"]).with_name("mdm_tune_amused.py")
    if request["kind"] == "counts" and len(request["counts"]) == 1 and amused.exists():
        counts = _amused(amused, request["length"], wanted)
        realised = counts if counts != wanted else realised
        ran += " and AmusedScheduler.step()"
    return {"wanted": wanted, "realised": realised, "ran": f"{ran} of {file.parents[2].name}"}


def _blocks(request: Request) -> tuple[list[int], list[int]]:
    """Counts wanted, and realised by the whole pipeline on a random model behind a prompt of one block."""
    import torch

    pipeline = importlib.import_module("diffusers").LLaDA2Pipeline
    exported = module_of(Path(request["file"]), "exported")
    size = request["block_length"]
    model = RandomModel(size + request["length"])
    pipe = pipeline(_named(model), exported.MdmTuneBlockRefinementScheduler())
    pipe.set_progress_bar_config(disable=True)
    tokens = pipe(
        input_ids=torch.zeros(ROWS, size, dtype=torch.long),
        gen_length=request["length"],
        block_length=size,
        num_inference_steps=exported.STEPS,
        threshold=exported.THRESHOLD,
        editing_threshold=None,
        mask_token_id=MASK,
        output_type="seq",
    ).sequences
    logits = model.logits[:, size:]
    if request["kind"] == "counts":
        wanted = wanted_counts(request)
    else:
        wanted = (quota_counts if request["kind"] == "quota" else threshold_counts)(request, logits)
    # A call sees the masks up to the end of its block. Those of the next block appear when it begins.
    left = [[masks[row] for masks in model.masks] for row in range(ROWS)]
    rows = [_of_blocks(row, model.shapes, int((tokens[place] == MASK).sum())) for place, row in enumerate(left)]
    return wanted, next((row for row in rows if row != wanted), rows[0])


def _of_blocks(masks: list[int], shapes: list[int], last: int) -> list[int]:
    """Tokens that each call revealed. Calls on a longer sequence begin a block."""
    counts: list[int] = []
    for shape in sorted(set(shapes)):
        block = [left for left, width in zip(masks, shapes, strict=True) if width == shape]
        counts += revealed_counts(block, last if shape == max(shapes) else 0)
    return counts


def _named(model: RandomModel) -> Any:
    """The model as a module of torch, which the pipeline asks for its device."""
    import torch

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config, self.device = SimpleNamespace(), torch.device("cpu")

        def forward(self, tokens: Any, **_: Any) -> Any:
            model(tokens)  # it records the masks; its logits are those of a tail, and this is a beginning
            logits = model.logits[:, : tokens.shape[1]].expand(len(tokens), -1, -1)
            return SimpleNamespace(logits=logits.float().clamp(min=-1e30))

    return Model()


def _amused(file: Path, length: int, wanted: list[int]) -> list[int]:
    """The counts that the steps of AMUSEd realise, of the row that differs if one does."""
    import torch

    exported = module_of(file, "exported_amused")
    scheduler = exported.MdmTuneAmusedScheduler(mask_token_id=MASK)
    scheduler.set_timesteps(exported.STEPS, temperature=(0.0, 0.0))
    generator = torch.Generator().manual_seed(0)
    model = RandomModel(PROMPT + length)
    sample = torch.full((ROWS, PROMPT + length), MASK)
    sample[:, :PROMPT] = 0
    for timestep in scheduler.timesteps:
        logits = model(sample).logits.float()
        sample = scheduler.step(logits, timestep, sample, generator=generator).prev_sample
    return counts_of_rows(model, sample, wanted)
