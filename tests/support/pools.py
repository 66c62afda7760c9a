"""What replicas in tests are made of, and programs that use them. Every replica imports this, so it imports little."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mdm_tune.core.files import bundled
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.denoisers.guidance import Guided
from mdm_tune.denoisers.transformer import Transformer, load_transformer
from mdm_tune.sampling.pieces import fill_rows
from mdm_tune.sampling.replicas import Replicas
from mdm_tune.sampling.unmasking import CountPlan

TWO = ("cpu", "cpu")
NAN, ERROR, ODD, DIE, FINE = range(5)


def chain(device: str) -> MarkovChain:
    return MarkovChain.sticky(3, 0.2, 12)


def guided_chain(device: str) -> Guided:
    return Guided(chain(device), 1.0, 9)


def text(device: str) -> Transformer:
    return load_transformer(bundled("package:text"))


def faulty(device: str) -> Faulty:
    return Faulty()


def absent(folder: Path, device: str) -> Transformer:
    return load_transformer(folder)


class OddError(Exception):
    """Cannot be unpickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


class Faulty:
    """Uniform predictions, unless the first token of a row asks for something else."""

    vocab_size = mask_id = 6

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        asked = set(tokens[:, 0].tolist())
        if ERROR in asked:
            raise ValueError(f"{torch.get_num_threads()} threads")
        if ODD in asked:
            raise OddError("very", "odd")
        if DIE in asked:
            os.kill(os.getpid(), signal.SIGKILL)
        bad = (tokens[:, 0] == NAN)[wanted.nonzero()[:, 0]]
        return torch.where(bad[:, None], torch.nan, torch.zeros(len(bad), 6))


def asking_for(*first: int) -> Tensor:
    """Rows of four tokens, three of them hidden."""
    return torch.tensor([[token, 6, 6, 6] for token in first])


def lose_a_replica() -> None:
    """A program in which one of two replicas dies at work."""
    with Replicas(faulty, TWO) as pool:
        victim = next(iter(pool.run_on_each(pid)))
        os.kill(victim, signal.SIGKILL)
        tokens = asking_for(*[FINE] * 6)
        plan = CountPlan(torch.full((6, 1, 1), 3))
        found = fill_rows(pool, tokens, plan, seeds=np.arange(6, dtype=np.uint64), batch=1)
    print("done" if found.nfe.tolist() == [1] * 6 else found)


def pid(denoiser: object, device: str) -> int:
    return os.getpid()


def leave(denoiser: object, device: str, *, folder: Path, number: int) -> int:
    """A task that leaves a file behind."""
    (folder / str(number)).touch()
    return number


def meet(denoiser: object, device: str, *, folder: Path, own: str, other: str) -> bool:
    """A task that leaves a file behind and ends when another one's is there; whether it came within a minute."""
    (folder / own).touch()
    end = time.monotonic() + 60
    while not (folder / other).exists() and time.monotonic() < end:
        time.sleep(0.01)
    return (folder / other).exists()
