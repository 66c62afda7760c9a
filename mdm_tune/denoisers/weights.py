"""The tensors of a checkpoint against those of its module: none is missing, and none that is needed is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut

__all__ = ["check_weights", "names_in", "other_sizes", "regular_files"]

LISTED = 3  # tensors that a message names
NAME = 120  # characters of each
OPTIONAL = ("contact_head", "pooler", "position_ids", "rotary_emb")  # missing weights that no logits depend on
COMPUTED = ("position_ids", "token_type_ids", "inv_freq", "masked_bias")  # buffers that every model makes by itself
TIED = ("decoder.bias", "lm_head.bias")  # that may hold zeros, and be a copy all the same
ADAPTERS = ("lora_", "adapter", "ia3_", "prompt_encoder", "prompt_embeddings")  # in the names of what changes a layer
HEADS = (  # classes that a library may have beside the one that is asked: what only they hold, that one does not need
    "AutoModel",
    "AutoModelForPreTraining",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoModelForQuestionAnswering",
    "AutoModelForNextSentencePrediction",
    "AutoModelForMultipleChoice",
)


def check_weights(model: Any, report: Mapping[str, Any] | None, folder: Path | None, what: str) -> list[str]:
    """Hold what was loaded to what the module has; returns notes on heads that are left out and that nobody knows.

    report: the loading info of transformers; None where a class of the checkpoint's own gave none. folder: where the
    files are, None where that is not known. what: "model.path: NAME", for messages.

    Left out without a word is what cannot change a prediction: buffers that the module computes, copies of tensors that
    it has, and what the library, with this very config, holds in a class for another purpose (a pooler, the
    next-sentence head). What stands outside the base model beside the module's own head is left out with a note. Raises
    InputError for missing weights and for whatever else is not used: layers, positions, adapters.
    """
    kind = type(model).__name__
    if report is None:
        there, own = set() if folder is None else names_in(folder), set(model.state_dict())
        report = {"unexpected_keys": there - own if own <= there else ()}
    missing = sorted(name for name in report.get("missing_keys", ()) if not any(part in name for part in OPTIONAL))
    if missing:
        raise InputError(
            f"{what}: the weights must be those of {kind}, but {len(missing)} are missing, such as {missing[0]}, and "
            "would be random; give a checkpoint of the whole model with its prediction head, or another class of it"
        )
    if folder is not None and (folder / "adapter_config.json").exists() and not _adapted(model):
        raise InputError(
            f"{what}: the folder has an adapter (adapter_config.json) that was not applied to the model; merge it "
            "(merge_and_unload of peft), save the result, and give that folder"
        )
    unknown: list[str] = []
    needed: list[str] = []
    for name in sorted(report.get("unexpected_keys", ())):
        if _computed(model, name) or _head_of_library(model, name) or _kept_elsewhere(model, name, folder):
            continue
        (unknown if _beside(model, name) else needed).append(name)
    if needed:
        raise InputError(
            f"{what}: {kind} has no place for {len(needed)} tensors of the file, without which it would predict "
            f"something else: {_named(needed)}; {_remedy(model, needed)}"
        )
    if not unknown:
        return []
    return [f"{what}: {kind} does not use {len(unknown)} tensors of other heads: {_named(unknown)}"]


def other_sizes(load: Callable[..., Any]) -> str | None:
    """The tensors of a checkpoint whose sizes are not those of its module; load: as it was loaded before, in vain."""
    try:
        _, report = load(output_loading_info=True, ignore_mismatched_sizes=True)
        found = sorted(report["mismatched_keys"])
        name, stored, wanted = found[0]
    except Exception:  # the reason of the first failure is enough
        return None
    return (
        f"{len(found)} tensors have other sizes than config.json says, such as {cut(name, NAME)}, {tuple(stored)} in "
        f"the file and {tuple(wanted)} by config.json: give the config.json of these weights"
    )


def _named(names: list[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(cut(name, NAME) for name in names[:LISTED]) + (f" and {more:,} more" if more > 0 else "")


def _adapted(model: Any) -> bool:
    return bool(getattr(model, "_hf_peft_config_loaded", False))


def _computed(model: nn.Module, name: str) -> bool:
    """Whether it is a buffer, by its name, that the module fills by itself, or a table of places that it never asks.

    Files of older versions hold absolute positions beside the rotary ones that the model was trained with.
    """
    buffers = [buffer for buffer, _ in model.named_buffers()]
    rotary = str(getattr(getattr(model, "config", None), "position_embedding_type", "")) == "rotary"
    if rotary and name.endswith("embeddings.position_embeddings.weight"):
        return True
    return name.rpartition(".")[2] in COMPUTED or any(_same(buffer, name) for buffer in buffers)


def _same(first: str, second: str) -> bool:
    """Whether two names are one but for the prefix of the base model."""
    return first == second or first.endswith(f".{second}") or second.endswith(f".{first}")


def _head_of_library(model: Any, name: str) -> bool:
    """Whether another class of the library, made from the same config, holds a tensor of that name."""
    if not type(model).__module__.startswith("transformers.models."):
        return False
    return any(_same(name, other) for other in _held_elsewhere(model))


def _held_elsewhere(model: Any) -> set[str]:
    import transformers

    found: set[str] = set()
    for auto in HEADS:
        mapping = getattr(getattr(transformers, auto, None), "_model_mapping", {})
        classes = mapping[type(model.config)] if type(model.config) in mapping else ()  # noqa: SIM401  # no dict
        for each in classes if isinstance(classes, tuple) else (classes,):
            try:
                with torch.device("meta"):
                    found |= each(model.config).state_dict().keys()
            except Exception:  # a class that wants more of a config than this one has
                continue
    return found


def _kept_elsewhere(model: nn.Module, name: str, folder: Path | None) -> bool:
    """Whether the tensor holds no weights but numbers of places, or is equal to one that the module has."""
    tensor = None if folder is None else _tensor(folder, name)
    if tensor is None:
        return False
    if not tensor.is_floating_point():
        return True
    constant = bool((tensor == tensor.flatten()[:1]).all())  # as the norms of many layers are, which are no copies
    if constant and not name.endswith(TIED):
        return False
    own = [other for other in model.state_dict().values() if other.shape == tensor.shape]
    return any(torch.equal(tensor.to(other.dtype), other.cpu()) for other in own)


def _beside(model: Any, name: str) -> bool:
    """Whether it lies outside the base model, and in no layer of the module's own head."""
    prefix = str(getattr(model, "base_model_prefix", ""))
    if not prefix or not hasattr(model, prefix) or name.startswith(f"{prefix}."):
        return False
    if any(part in name for part in ADAPTERS):
        return False
    above, _ = _parent(model, name)
    return above is model or not any(True for _ in above.parameters(recurse=False))


def _parent(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The innermost module that there is on the way to a name, and the part of the name that it lacks."""
    at, parts = model, name.split(".")
    for part in parts:
        child = at._modules.get(part)
        if child is None:
            return at, part
        at = child
    return at, parts[-1]


def _remedy(model: Any, needed: Iterable[str]) -> str:
    names = list(needed)
    if any(part in name for name in names for part in ADAPTERS):
        return "merge the adapter into the weights (merge_and_unload of peft), save the result, and give that folder"
    if any(_parent(model, name)[1].isdigit() for name in names):
        return "correct the number of layers in config.json, or give the folder that save_pretrained wrote"
    written = getattr(model.config, "transformers_version", None) if hasattr(model, "config") else None
    version = f" ({cut(written)})" if written else ""
    return (
        f"correct config.json, install the version of transformers that wrote it{version}, or, where they are of no "
        "use, save the model anew by save_pretrained"
    )


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))


def names_in(folder: Path) -> set[str]:
    """The names of all tensors in a folder's files."""
    return {name for file in _files(folder) for name, _ in _tensors(file)}


def _tensor(folder: Path, name: str) -> Tensor | None:
    """The tensor of that name; None where no file has it under this name, or one with another prefix."""
    for file in _files(folder):
        for other, read in _tensors(file):
            if _same(name, other):
                found: Tensor = read()
                return found
    return None


def _tensors(file: Path) -> Iterator[tuple[str, Any]]:
    """Each name of a file with the function that reads its tensor."""
    if file.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  # it is no mapping
                yield name, lambda name=name: opened.get_tensor(name)
        return
    found = torch.load(file, map_location="cpu", weights_only=True)
    for name, tensor in found.items() if isinstance(found, Mapping) else ():
        if isinstance(tensor, Tensor):
            yield str(name), lambda tensor=tensor: tensor


def regular_files(folder: Path, what: str) -> None:
    """Raise InputError where a file of a checkpoint is none that can be read to its end, such as a named pipe."""
    for path in sorted(folder.iterdir()):
        if not (path.is_file() or path.is_dir()):
            broken = "a link to nothing" if path.is_symlink() and not path.exists() else "no regular file"
            raise InputError(f"{what}: {cut(path.name)} in {folder} is {broken}; copy the checkpoint again")
