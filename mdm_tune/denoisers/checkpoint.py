"""Hugging Face checkpoints: found, opened without a word on the terminal, and every failure explained."""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from mdm_tune.config.families import AutoClass, Family, refuse, release, version_problem
from mdm_tune.core.consent import without_consent_prompts
from mdm_tune.core.digests import short_digest
from mdm_tune.core.errors import InputError, MissingInput
from mdm_tune.core.guard import ERROR_LENGTH, error_text
from mdm_tune.core.messages import cut, shown, shown_path
from mdm_tune.core.reading import CONFIG_BYTES, read_json
from mdm_tune.core.scratch import use_scratch_for_compiler
from mdm_tune.core.trust import require_trust
from mdm_tune.denoisers.weights import check_weights, other_sizes, regular_files

__all__ = [
    "Checkpoint",
    "fingerprint",
    "import_transformers",
    "load_checkpoint_model",
    "load_tokenizer",
    "mismatch",
    "open_checkpoint",
    "quiet",
]

AUTO_CLASSES: Mapping[AutoClass, str] = {
    "masked-lm": "AutoModelForMaskedLM",
    "causal-lm": "AutoModelForCausalLM",
    "model": "AutoModel",
}
LENGTHS = ("max_position_embeddings", "max_sequence_length", "model_length", "n_positions")
DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
DEEPEST = 10_000
WANTED = ["*.json", "*.py", "*.txt", "*.model", "*.jinja", "*.tiktoken"]
BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
LARGEST = 65_536
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Checkpoint:
    """A folder of weights and the mapping in its config.json.

    name: what the user called it. weight_bytes: of the weights as they are used.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]

    @property
    def model_type(self) -> str:
        return str(self.config.get("model_type", ""))

    def weight_bytes(self, dtype: str) -> int:
        """Bytes that the weights take in ``dtype``; ``auto`` is the type in which they are stored."""
        files = [*self.folder.glob("*.safetensors")] or [*self.folder.glob("*.bin")]
        stored = str(self.config.get("dtype") or self.config.get("torch_dtype") or "float32")
        kept = BYTES.get(stored, 4)
        return sum(file.stat().st_size for file in files) * (kept if dtype == "auto" else BYTES[dtype]) // kept

    def whole(self, name: str) -> int | None:
        """The whole number that config.json holds under a name, None where it holds none."""
        value = self.config.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def longest(self, family: Family) -> int:
        """The longest sequence, in tokens, that the positions reach by config.json."""
        stated = next((found for name in LENGTHS if (found := self.whole(name)) is not None), None)
        if stated is None:
            return LARGEST
        behind = max(0, self.whole("pad_token_id") or 0) + 1 if family.position_offset else 0
        longest = min(LARGEST, stated - behind)
        if longest < 3:
            raise InputError(
                f"model.path: config.json of {self.name} must state how many positions the model has, at least "
                f"{3 + behind}, got {shown(stated)}; correct it there"
            )
        return longest


def import_transformers() -> Any:
    """The module transformers; raises InputError where the extra is not installed."""
    use_scratch_for_compiler()
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            f"model.type: huggingface needs the extra hf, but {error}; install it with pip install 'mdm-tune[hf]'"
        ) from None
    return transformers


def open_checkpoint(name: str, revision: str | None, trust_code: bool) -> Checkpoint:
    """The checkpoint in a local folder or, brought here in whole, on the Hub.

    Raises InputError where there is none, the Hub cannot be reached, config.json cannot be read or is that of no masked
    diffusion model, and where the model is code of its own without ``trust_code``.
    """
    known = import_transformers().models.auto.configuration_auto.CONFIG_MAPPING_NAMES
    folder = Path(name)
    if not folder.is_dir():
        folder = _fetched(name, revision)
    elif revision is not None:
        raise InputError(
            f"model.revision: is one of a name on the Hub, got {revision!r} with the folder {name}; leave it out, and "
            "give a folder of that revision"
        )
    regular_files(folder, f"model.path: {name}")
    remedy = "give the folder that save_pretrained wrote, with config.json, weights and tokenizer"
    try:
        config = read_json(folder / "config.json", CONFIG_BYTES, remedy)
    except InputError as error:
        raise InputError(f"model.path: {error}") from None
    if not isinstance(config, dict):
        raise InputError(
            f"model.path: config.json in {shown_path(folder)} must be a mapping, got {shown(config)}; {remedy}"
        )
    if not isinstance(config.get("auto_map") or {}, dict):
        raise InputError(
            f"model.path: auto_map of config.json in {shown_path(folder)} must be a mapping, got "
            f"{shown(config['auto_map'])}; correct it"
        )
    refuse(config, name)
    for key in DEPTHS:  # modules would be made for hours
        layers = config.get(key)
        if isinstance(layers, int) and layers > DEEPEST:
            raise InputError(
                f"model.path: {key} of config.json in {shown_path(folder)} must be at most {DEEPEST}, got "
                f"{shown(layers)}; correct it"
            )
    if config.get("auto_map") and config.get("model_type") not in known:
        require_trust(trust_code, f"model.path: {name}")
    return Checkpoint(name, folder, config)


def _fetched(name: str, revision: str | None, field: str = "model.path") -> Path:
    """The folder into which the Hub's files of that name were brought; field: the setting that names them.

    The weights are among them unless the field is that of a tokenizer.
    """
    if Path(name).is_absolute():
        raise MissingInput(f"{field}: there is no folder {name}; correct the path: it starts at the config's folder")
    from huggingface_hub import snapshot_download

    tokenizer = field == "model.tokenizer"
    try:
        with quiet():
            # The older form of weights only where there is no other.
            for weights in ([],) if tokenizer else (["*.safetensors"], ["*.safetensors", "pytorch_model*.bin"]):
                patterns = [*WANTED, *weights]
                got = snapshot_download(name, revision=revision, allow_patterns=patterns, ignore_patterns=["*/*"])
                if any(Path(got).glob("*.safetensors")):
                    break
    except Exception as error:  # many kinds: no network, no such name, no permission, offline mode
        files = "the tokenizer's files" if tokenizer else "config.json, *.safetensors, the tokenizer's files"
        raise InputError(
            f"{field}: {name!r} is no folder here, and the Hugging Face Hub did not give it ({first_line(error)}). "
            f"Where the Hub cannot be reached, run `hf download {name} --local-dir FOLDER` on a machine that reaches "
            f"it, place FOLDER here ({files} and the model's own *.py, if it has any), and set {field} to FOLDER"
        ) from None
    return Path(got)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, log lines or warnings of the library: what matters of them is checked."""
    said = import_transformers().utils.logging
    level, bars = said.get_verbosity(), said.is_progress_bar_enabled()
    said.set_verbosity(logging.CRITICAL)
    said.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        said.set_verbosity(level)
        if bars:
            said.enable_progress_bar()


def load_tokenizer(checkpoint: Checkpoint, given: str | None, usual: str | None, trust_code: bool) -> Any:
    """The tokenizer that ``given`` names, else the one in the folder, else the family's usual one.

    Raises InputError where there is none.
    """
    name = given or (None if _has_tokenizer(checkpoint.folder) else usual)
    place = str(checkpoint.folder)
    if name is not None:
        place = name if Path(name).is_dir() else str(_fetched(name, None, "model.tokenizer"))
    regular_files(Path(place), f"model.tokenizer: {place}")
    try:
        with quiet(), without_consent_prompts(trust_code, "model.tokenizer"):
            return import_transformers().AutoTokenizer.from_pretrained(place, trust_remote_code=trust_code)
    except (Exception, SystemExit) as error:
        raise _explained(error, f"model.tokenizer: no tokenizer can be loaded from {place}") from None


def _has_tokenizer(folder: Path) -> bool:
    return any(file.stem.startswith(("tokenizer", "vocab", "spiece")) for file in folder.iterdir())


def load_checkpoint_model(
    checkpoint: Checkpoint, family: Family, dtype: Literal["auto", "float32", "bfloat16", "float16"], trust_code: bool
) -> tuple[Any, list[str]]:
    """The module with its weights on the CPU, in evaluation mode and without gradients, and what a user should know.

    Raises InputError where it is no masked model, needs code without ``trust_code``, fails to load, lacks weights or
    has more than it uses.
    """
    import torch

    transformers = import_transformers()
    auto = getattr(transformers, AUTO_CLASSES[family.auto_class or _auto_class(checkpoint, family, trust_code)])
    keyword = "dtype" if release(transformers.__version__).major >= 5 else "torch_dtype"
    load = partial(
        auto.from_pretrained,
        str(checkpoint.folder),
        trust_remote_code=trust_code,
        **{keyword: dtype if dtype == "auto" else getattr(torch, dtype)},
    )
    try:
        with quiet(), without_consent_prompts(trust_code, "model.path"):
            try:
                model, report = load(output_loading_info=True)
            except (AttributeError, TypeError):  # a from_pretrained of the checkpoint's own that returns no report
                model, report = load(), None
    except (Exception, SystemExit) as error:
        problem = mismatch(family)
        if "ignore_mismatched_sizes" in str(error):  # which says no more than that it has logged them
            with quiet(), without_consent_prompts(trust_code, "model.path"):
                problem = other_sizes(load)
            problem = problem or "tensors have other sizes than config.json says: give that of these weights"
        raise _explained(error, f"model.path: {shown_path(checkpoint.name)} cannot be loaded", problem) from None
    notes = check_weights(model, report, checkpoint.folder, f"model.path: {checkpoint.name}")
    _check_arguments(model, family)
    return model.eval().requires_grad_(False), notes


def _check_arguments(model: Any, family: Family) -> None:
    """Raise InputError where the module has no argument for what the family passes: **kwargs would swallow it."""
    named = [each.name for each in inspect.signature(model.forward).parameters.values() if each.kind not in VARIADIC]
    passed = {"time": family.time == "sigma" and "timesteps", "position_ids": family.position_ids and "position_ids"}
    for field, argument in passed.items():
        if argument and named and argument not in named:
            raise InputError(
                f"model.{field}: is passed as {argument}, which {type(model).__name__} does not take; leave it out, or "
                f"give another model.family than {family.name}"
            )


def mismatch(family: Family) -> str | None:
    """Why checkpoints of the family may fail in this environment, and what to install."""
    return version_problem(family, metadata.version("transformers"))


def _auto_class(checkpoint: Checkpoint, family: Family, trust_code: bool) -> AutoClass:
    """Which of the classes the checkpoint's config.json leads to."""
    known = import_transformers().models.auto.modeling_auto
    kind, brought = checkpoint.model_type, checkpoint.config.get("auto_map") or {}
    named: AutoClass
    for named, auto in AUTO_CLASSES.items():
        if auto in brought and trust_code:
            return named
    if kind in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "masked-lm"
    if kind in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        if family.attention_mask != "4d":
            raise InputError(
                f"model.path: must be a masked diffusion model, got {checkpoint.name} of type {kind!r}, a decoder-only "
                "model that predicts each token from those before it; give another model, or, if it was trained to "
                "fill masks, model.family: diffullama or model.attention_mask: 4d"
            )
        return "causal-lm"
    return "model"


def _explained(error: BaseException, what: str, problem: str | None = None) -> InputError:
    """The reason that a user can act on: an untrusted model's code, a version, or else the library's own words."""
    if "trust_remote_code" in str(error):
        return InputError(f"{what} without running code that it brings; read that code, and give --trust-code")
    said = error_text(error)
    if isinstance(error, ImportError):
        return InputError(f"{what}: {said}; install what it names")
    return InputError(f"{what}: {said}; {problem or 'check the files and the section model'}")


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return cut(str(error).strip().partition("\n")[0] or type(error).__name__, ERROR_LENGTH)


def fingerprint(model: Any, config: Mapping[str, Any]) -> str:
    """Sixteen hex digits of a module: its configuration and up to 4096 numbers, evenly spaced, of every tensor."""
    import torch

    parts: list[str | bytes] = [json.dumps(config, sort_keys=True, default=str)]
    for name, weight in sorted(model.state_dict().items()):
        flat = weight.detach().flatten()
        some = flat[:: max(1, len(flat) // 4096)].contiguous().cpu()
        parts += [f"{name} {tuple(weight.shape)} {weight.dtype}", some.view(torch.uint8).numpy().tobytes()]
    return short_digest(*parts)
