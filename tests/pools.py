"""What replicas in tests are made of, and programs that use them. Every replica imports this, so it imports little."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mdm_tune.datasets.splits import bundled
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.denoisers.guidance import Guided
from mdm_tune.denoisers.transformer import Transformer, load_transformer
from mdm_tune.sampling.replicas import Replicas
from mdm_tune.sampling.unmasking import CountPlan

TWO = ("cpu", "cpu")
NAN, ERROR, ODD, DIE, SLEEP, FINE = range(6)


def chain(device: str) -> MarkovChain:
    return MarkovChain.sticky(3, 0.2, 12)


def guided_chain(device: str) -> Guided:
    return Guided(chain(device), 1.0, 9)


def text(device: str) -> Transformer:
    return load_transformer(bundled("package:text"))


def faulty(device: str) -> Faulty:
    return Faulty()


def tight(device: str) -> Tight:
    return Tight()


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
        if SLEEP in asked:
            os.write(1, b"busy\n")  # at one go, since two processes say so
            time.sleep(60)
        bad = (tokens[:, 0] == NAN)[wanted.nonzero()[:, 0]]
        return torch.where(bad[:, None], torch.nan, torch.zeros(len(bad), 6))


class Tight:
    """Uniform predictions, and memory for two rows."""

    vocab_size = mask_id = 6

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        if len(tokens) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return torch.zeros(int(wanted.sum()), 6)


def asking_for(*first: int) -> Tensor:
    """Rows of four tokens, three of them hidden."""
    return torch.tensor([[token, 6, 6, 6] for token in first])


def keep_busy() -> None:
    """Both replicas say "busy" and sleep."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
    tokens = asking_for(SLEEP, SLEEP)
    with Replicas(faulty, TWO) as pool:
        pool.unmask(tokens, CountPlan(torch.full((2, 1, 1), 3)), seeds=np.arange(2, dtype=np.uint64))


HELD: list[Replicas] = []


def forget_to_stop() -> None:
    """End with a replica that was never stopped."""
    HELD.append(Replicas(faulty, ("cpu",)).__enter__())
