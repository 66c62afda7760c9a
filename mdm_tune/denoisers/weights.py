"""Compare the tensors of a checkpoint with those of its module: none may be missing, and none may stay unused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut

__all__ = ["check_weights", "names_in", "other_sizes", "regular_files"]

MOST_NAMED = 3  # most tensors that a message names
NAME_LENGTH = 120  # most characters of a name
OPTIONAL = ("contact_head", "pooler", "position_ids", "rotary_emb")  # may be missing: no logits depend on them
COMPUTED = ("position_ids", "token_type_ids", "inv_freq", "masked_bias")  # buffers that every model computes itself
TIED = ("decoder.bias", "lm_head.bias")  # may be copies even if all their numbers are equal
ADAPTERS = ("lora_", "adapter", "ia3_", "prompt_encoder", "prompt_embeddings")  # parts of the names of adapters
HEADS = (  # classes for other purposes: tensors that only they have are not needed
    "AutoModel",
    "AutoModelForPreTraining",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoModelForQuestionAnswering",
    "AutoModelForNextSentencePrediction",
    "AutoModelForMultipleChoice",
)


def check_weights(model: Any, report: Mapping[str, Any] | None, folder: Path | None, what: str) -> list[str]:
    """Check that no tensor is missing, and that no tensor of the files is unused.

    Some tensors may be unused, because they cannot change a prediction: buffers that the module computes, copies of
    tensors that it has, and tensors that only other classes of the library have for the same config (a pooler, the
    next-sentence head). Tensors of unknown heads, outside the base model and the module's own head, give a note.

    Args:
        model: The module.
        report: The loading info of transformers; None if the checkpoint's own class returned none.
        folder: The folder with the files; None if it is not known.
        what: "model.path: NAME", for messages.

    Returns:
        Notes for the user.

    Raises:
        InputError: If weights are missing, or other tensors are unused: layers, positions, adapters.
    """
    class_name = type(model).__name__
    if report is None:
        names_in_files, names_in_module = set() if folder is None else names_in(folder), set(model.state_dict())
        report = {"unexpected_keys": names_in_files - names_in_module if names_in_module <= names_in_files else ()}
    missing = sorted(name for name in report.get("missing_keys", ()) if not any(part in name for part in OPTIONAL))
    if missing:
        raise InputError(
            f"{what}: the weights must be those of {class_name}, but {len(missing)} are missing, such as "
            f"{missing[0]}, and would be random; give a checkpoint of the whole model with its prediction head, or "
            "another class of it"
        )
    if folder is not None and (folder / "adapter_config.json").exists() and not _has_adapter(model):
        raise InputError(
            f"{what}: the folder has an adapter (adapter_config.json) that was not applied to the model; merge it "
            "(merge_and_unload of peft), save the result, and give that folder"
        )
    other_heads: list[str] = []
    unused: list[str] = []
    for name in sorted(report.get("unexpected_keys", ())):
        if _is_computed(model, name) or _belongs_to_library_head(model, name) or _is_redundant(model, name, folder):
            continue
        (other_heads if _in_other_head(model, name) else unused).append(name)
    if unused:
        raise InputError(
            f"{what}: {class_name} does not use {len(unused)} tensors of the file, without which its predictions are "
            f"wrong: {_listed(unused)}; {_unused_remedy(model, unused)}"
        )
    if not other_heads:
        return []
    return [f"{what}: {class_name} does not use {len(other_heads)} tensors of other heads: {_listed(other_heads)}"]


def other_sizes(load: Callable[..., Any]) -> str | None:
    """Describe the tensors of a checkpoint whose sizes differ from the module's; None if they cannot be found.

    load: the call that failed to load the checkpoint.
    """
    try:
        _, report = load(output_loading_info=True, ignore_mismatched_sizes=True)
        mismatched = sorted(report["mismatched_keys"])
        name, stored, expected = mismatched[0]
    except Exception:  # the first failure is reported in any case
        return None
    return (
        f"{len(mismatched)} tensors have other sizes than config.json says, such as {cut(name, NAME_LENGTH)}, "
        f"{tuple(stored)} in the file and {tuple(expected)} by config.json: give the config.json of these weights"
    )


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    named = ", ".join(cut(name, NAME_LENGTH) for name in names[:MOST_NAMED])
    return named + (f" and {more:,} more" if more > 0 else "")


def _has_adapter(model: Any) -> bool:
    return bool(getattr(model, "_hf_peft_config_loaded", False))


def _is_computed(model: nn.Module, name: str) -> bool:
    """Whether the name is that of a buffer that the module computes, or of an unused position table.

    Older files hold a table of absolute positions, although the model was trained with rotary positions.
    """
    buffers = [buffer for buffer, _ in model.named_buffers()]
    rotary = str(getattr(getattr(model, "config", None), "position_embedding_type", "")) == "rotary"
    if rotary and name.endswith("embeddings.position_embeddings.weight"):
        return True
    return name.rpartition(".")[2] in COMPUTED or any(_same_tensor(buffer, name) for buffer in buffers)


def _same_tensor(first: str, second: str) -> bool:
    """Whether two names are equal, apart from the prefix of the base model."""
    return first == second or first.endswith(f".{second}") or second.endswith(f".{first}")


def _belongs_to_library_head(model: Any, name: str) -> bool:
    """Whether another class of the library has a tensor of that name for the same config."""
    if not type(model).__module__.startswith("transformers.models."):
        return False
    return any(_same_tensor(name, other) for other in _tensors_of_other_heads(model))


def _tensors_of_other_heads(model: Any) -> set[str]:
    import transformers

    names: set[str] = set()
    for class_name in HEADS:
        by_config = getattr(getattr(transformers, class_name, None), "_model_mapping", {})
        classes = by_config[type(model.config)] if type(model.config) in by_config else ()  # noqa: SIM401  # no dict
        for model_class in classes if isinstance(classes, tuple) else (classes,):
            try:
                with torch.device("meta"):
                    names |= model_class(model.config).state_dict().keys()
            except Exception:  # some classes need settings that this config lacks
                continue
    return names


def _is_redundant(model: nn.Module, name: str, folder: Path | None) -> bool:
    """Whether the tensor holds indices instead of weights, or equals a tensor of the module."""
    tensor = None if folder is None else _read_tensor(folder, name)
    if tensor is None:
        return False
    if not tensor.is_floating_point():
        return True
    # The norms of many layers may be constant and equal without being copies.
    constant = bool((tensor == tensor.flatten()[:1]).all())
    if constant and not name.endswith(TIED):
        return False
    same_shape = [other for other in model.state_dict().values() if other.shape == tensor.shape]
    return any(torch.equal(tensor.to(other.dtype), other.cpu()) for other in same_shape)


def _in_other_head(model: Any, name: str) -> bool:
    """Whether the tensor lies outside the base model and outside the module's own head."""
    prefix = str(getattr(model, "base_model_prefix", ""))
    if not prefix or not hasattr(model, prefix) or name.startswith(f"{prefix}."):
        return False
    if any(part in name for part in ADAPTERS):
        return False
    parent, _ = _innermost_module(model, name)
    return parent is model or not any(True for _ in parent.parameters(recurse=False))


def _innermost_module(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The innermost module on the path of a name that exists, and the first part of the name that it lacks."""
    module, parts = model, name.split(".")
    for part in parts:
        child = module._modules.get(part)
        if child is None:
            return module, part
        module = child
    return module, parts[-1]


def _unused_remedy(model: Any, unused: Iterable[str]) -> str:
    names = list(unused)
    if any(part in name for name in names for part in ADAPTERS):
        return "merge the adapter into the weights (merge_and_unload of peft), save the result, and give that folder"
    if any(_innermost_module(model, name)[1].isdigit() for name in names):
        return "correct the number of layers in config.json, or give the folder that save_pretrained wrote"
    written = getattr(model.config, "transformers_version", None) if hasattr(model, "config") else None
    version = f" ({cut(written)})" if written else ""
    return (
        f"correct config.json, install the version of transformers that wrote it{version}, or, where they are of no "
        "use, save the model anew by save_pretrained"
    )


def _weight_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))


def names_in(folder: Path) -> set[str]:
    """The names of all tensors in the weight files of a folder."""
    return {name for file in _weight_files(folder) for name, _ in _tensor_readers(file)}


def _read_tensor(folder: Path, name: str) -> Tensor | None:
    """The tensor of that name, with or without the prefix of the base model; None if no file has it."""
    for file in _weight_files(folder):
        for other, read in _tensor_readers(file):
            if _same_tensor(name, other):
                tensor: Tensor = read()
                return tensor
    return None


def _tensor_readers(file: Path) -> Iterator[tuple[str, Any]]:
    """Yield each name in a file with a function that reads its tensor."""
    if file.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(file, framework="pt") as archive:
            for name in archive.keys():  # noqa: SIM118  # not a mapping
                yield name, lambda name=name: archive.get_tensor(name)
        return
    tensors = torch.load(file, map_location="cpu", weights_only=True)
    for name, tensor in tensors.items() if isinstance(tensors, Mapping) else ():
        if isinstance(tensor, Tensor):
            yield str(name), lambda tensor=tensor: tensor


def regular_files(folder: Path, what: str) -> None:
    """Raise InputError if a file of a checkpoint is no regular file, such as a named pipe."""
    for path in sorted(folder.iterdir()):
        if not (path.is_file() or path.is_dir()):
            broken = "a link to nothing" if path.is_symlink() and not path.exists() else "no regular file"
            raise InputError(f"{what}: {cut(path.name)} in {folder} is {broken}; copy the checkpoint again")
