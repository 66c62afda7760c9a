"""Runs of peers' own code on exported files, with a small random model. Each happens in a process of its own."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

__all__ = ["RUNS", "RandomModel", "main"]

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


def main(asked: str, answered: str) -> None:
    """Answer a request. Both arguments are paths of JSON files.

    The answer has ``wanted``, ``realised`` and ``ran``, or only ``missing``.
    """
    request = json.loads(Path(asked).read_text("utf-8"))
    try:
        answer = RUNS[request["name"]](request)
    except Missing as error:
        answer = {"missing": str(error)}
    Path(answered).write_text(json.dumps(answer), encoding="utf-8")


def module_of(file: Path, name: str) -> Any:
    """Import a file as a module of this name."""
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


def stand_in(name: str, *attributes: str, always: bool = False) -> None:
    """Put an empty module in place of one that a sampler imports and does not need for its counts.

    Args:
        name: of the module, with dots.
        attributes: names that are imported from it.
        always: whether it is replaced also if it can be imported.
    """
    if not always:
        try:
            importlib.import_module(name)
            return
        except ImportError:
            pass
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        above = ".".join(parts[:depth])
        if always or above not in sys.modules:
            sys.modules.setdefault(above, ModuleType(above)).__path__ = []
    for attribute in attributes:
        setattr(sys.modules[name], attribute, type(attribute, (), {}))


def revealed_counts(remaining: Sequence[int], last: int) -> list[int]:
    """Tokens that each call revealed, zeros left out; from the masks before each call and after the last."""
    after = [*remaining[1:], last]
    return [count for count in (before - rest for before, rest in zip(remaining, after, strict=True)) if count]


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


def llada(request: Request) -> Answer:
    """``generate`` of LLaDA, with the replaced function."""
    import torch

    file = found(request, "generate.py")
    stand_in("transformers", "AutoTokenizer", "AutoModel")
    sys.path.insert(0, str(file.parent))
    peer, exported = module_of(file, "generate"), module_of(Path(request["file"]), "exported")
    exported.install(peer)
    model = RandomModel(PROMPT + request["length"])
    tokens = peer.generate(
        model,
        torch.zeros(ROWS, PROMPT, dtype=torch.long),
        steps=request["steps"],
        gen_length=request["length"],
        block_length=request["block_length"],
        mask_id=MASK,
    )
    rows = [
        revealed_counts([masks[row] for masks in model.masks], int((tokens[row] == MASK).sum())) for row in range(ROWS)
    ]
    worst = next((row for row in rows if row != wanted_counts(request)), rows[0])
    return {"wanted": wanted_counts(request), "realised": worst, "ran": "generate() of generate.py"}


def fast_dllm(request: Request) -> Answer:
    """The three ``generate`` functions of Fast-dLLM for LLaDA."""
    import torch

    file = found(request, "llada/generate.py", "generate.py")
    stand_in("transformers", "AutoTokenizer", "AutoModel")
    stand_in("model.modeling_llada", "LLaDAModelLM", always=True)
    sys.path.insert(0, str(file.parent))
    peer, exported = module_of(file, "generate"), module_of(Path(request["file"]), "exported")
    if request["kind"] == "threshold":
        return _fast_dllm_threshold(request, peer, exported)
    exported.install(peer)
    wanted, realised = wanted_counts(request), []
    names = ("generate", "generate_with_prefix_cache", "generate_with_dual_cache")
    for name in names:
        exported.restart()
        model = RandomModel(PROMPT + request["length"])
        tokens, _ = getattr(peer, name)(
            model,
            torch.zeros(1, PROMPT, dtype=torch.long),
            steps=request["steps"],
            gen_length=request["length"],
            block_length=request["block_length"],
            mask_id=MASK,
        )
        realised = revealed_counts(_all_masks(request, model, name), int((tokens == MASK).sum()))
        if realised != wanted:
            return {"wanted": wanted, "realised": realised, "ran": f"{name}() of {file.name}"}
    return {"wanted": wanted, "realised": realised, "ran": f"{'(), '.join(names)}() of {file.name}"}


def _fast_dllm_threshold(request: Request, peer: Any, exported: Any) -> Answer:
    import torch

    model = RandomModel(PROMPT + request["length"])
    prompt = torch.zeros(1, PROMPT, dtype=torch.long)
    tokens, _ = peer.generate(model, prompt, mask_id=MASK, **exported.SETTINGS)
    masks = [row[0] for row in model.masks]
    return {
        "wanted": threshold_counts(request, model.logits[:, PROMPT:]),
        "realised": revealed_counts(masks, int((tokens == MASK).sum())),
        "ran": "generate() of generate.py",
    }


def _all_masks(request: Request, model: RandomModel, name: str) -> list[int]:
    """Masked tokens of the sequence at each call, also where a call gets one block alone."""
    whole, block, found_masks = PROMPT + request["length"], -1, []
    for (masks, *_), tokens in zip(model.masks, model.shapes, strict=True):
        block += tokens == whole if name != "generate" else 0
        alone = name == "generate_with_dual_cache" and tokens != whole
        later = request["length"] - (block + 1) * request["block_length"] if alone else 0
        found_masks.append(masks + later)
    return found_masks


RUNS: dict[str, Callable[[Request], Answer]] = {"llada": llada, "fast-dllm": fast_dllm}
