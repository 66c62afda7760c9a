"""What the runs of peers' own code share: a small random model, imports of foreign files, counts from masks."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

__all__ = [
    "MASK",
    "PROMPT",
    "ROWS",
    "VOCABULARY",
    "Answer",
    "Missing",
    "RandomModel",
    "Request",
    "counts_of_rows",
    "found",
    "module_of",
    "packages",
    "quota_counts",
    "revealed_counts",
    "stand_in",
    "threshold_counts",
    "wanted_counts",
]

VOCABULARY = 23  # tokens of the random model
MASK = VOCABULARY  # the token id of the mask
PROMPT = 3  # tokens
ROWS = 2
Request = dict[str, Any]
Answer = dict[str, Any]


class Missing(Exception):
    """The folder that the user named does not hold the peer's code; the text says what it lacks."""


class RandomModel:
    """A model whose logits at each position are random and do not depend on the tokens.

    Attributes:
        logits: (1, length, vocabulary + 1); the mask itself has probability 0.
        masks: masked tokens of each row at each call.
        shapes: tokens of a row at each call.
    """

    def __init__(self, length: int) -> None:
        import torch

        generator = torch.Generator().manual_seed(0)
        self.logits = 3 * torch.randn(1, length, VOCABULARY + 1, generator=generator, dtype=torch.float64)
        self.logits[:, :, MASK] = -torch.inf
        self.device = torch.device("cpu")
        self.masks: list[list[int]] = []
        self.shapes: list[int] = []

    def __call__(self, tokens: Any, *_: Any, **__: Any) -> Any:
        self.masks.append((tokens == MASK).sum(1).tolist())
        self.shapes.append(tokens.shape[1])
        end = self.logits.shape[1]  # a part of the sequence is a tail of it, or a block; any logits do for counts
        logits = self.logits[:, end - tokens.shape[1] :].expand(len(tokens), -1, -1).clone()
        return SimpleNamespace(logits=logits, past_key_values=[])


def module_of(file: Path, name: str) -> Any:
    """Import a file as a module of this name, once."""
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(file):
        return known
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None  # the suffix is .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def found(request: Request, *places: str) -> Path:
    """The first of the places, relative to the peer's folder, that exists."""
    for place in places:
        if (path := Path(request["peer"], place)).exists():
            return path
    raise Missing(" or ".join(places))


class _Empty(ModuleType):
    """A module in which every name is an empty class."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)  # libraries ask it whether others are installed

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        setattr(self, name, type(name, (), {}))
        return getattr(self, name)


def stand_in(name: str, always: bool = False) -> None:
    """Put an empty module in place of one that a sampler imports and does not need for its counts.

    Args:
        name: of the module, with dots.
        always: whether it is replaced also if it can be imported.
    """
    if not always:
        try:
            importlib.import_module(name)
            return
        except ImportError:
            pass
    parts = name.split(".")
    for depth in range(1, len(parts)):
        sys.modules.setdefault(".".join(parts[:depth]), _Empty(".".join(parts[:depth])))
    sys.modules[name] = _Empty(name)
    for depth in range(len(parts) - 1, 0, -1):
        above = ".".join(parts[:depth])
        setattr(sys.modules[above], parts[depth], sys.modules[f"{above}.{parts[depth]}"])


def revealed_counts(remaining: Sequence[int], last: int) -> list[int]:
    """Tokens that each call revealed, zeros left out; from the masks before each call and after the last."""
    after = [*remaining[1:], last]
    return [count for count in (before - rest for before, rest in zip(remaining, after, strict=True)) if count]


def counts_of_rows(model: RandomModel, tokens: Any, wanted: list[int]) -> list[int]:
    """Tokens that each call revealed, of the row that does otherwise if one does."""
    last = (tokens == MASK).sum(1).tolist()
    rows = [revealed_counts([masks[row] for masks in model.masks], left) for row, left in enumerate(last)]
    return next((row for row in rows if row != wanted), rows[0])


def wanted_counts(request: Request) -> list[int]:
    """The counts that were exported, zeros left out."""
    return [count for block in request["counts"] for count in block if count]


def threshold_counts(request: Request, logits: Any) -> list[int]:
    """The counts of a threshold if the predictions do not change: those at or above it, then one after the other."""
    confidence = logits.softmax(-1).amax(-1)[0].tolist()
    counts = []
    for start in range(0, request["length"], request["block_length"]):
        block = confidence[start : start + request["block_length"]]
        sure = sum(value >= request["value"] for value in block)
        counts += [sure] * (sure > 0) + [1] * (len(block) - sure)
    return counts


def quota_counts(request: Request, logits: Any) -> list[int]:
    """The counts of a quota if the predictions do not change: all above the threshold, at least the quota."""
    confidence = logits.softmax(-1).amax(-1)[0].tolist()
    counts = []
    for number, quota in enumerate(request["counts"]):
        start = number * request["block_length"]
        block = sorted(confidence[start : start + request["block_length"]])
        for least in (*(count for count in quota if count), *[0] * len(block)):
            above = sum(value > request["value"] for value in block)
            taken = min(len(block), max(least, above))
            if taken:
                counts.append(taken)
                del block[len(block) - taken :]
    return counts


def packages(root: Path, *names: str) -> None:
    """Make packages of folders importable without running their ``__init__``, which may need what is not installed.

    Args:
        root: the folder that holds the outermost package.
        names: of the packages, with dots.
    """
    for name in names:
        if name in sys.modules:
            continue
        module = ModuleType(name)
        module.__path__ = [str(root.joinpath(*name.split(".")))]
        sys.modules[name] = module
