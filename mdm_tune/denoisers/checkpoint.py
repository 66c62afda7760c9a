"""Open Hugging Face checkpoints without output on the terminal, and explain every failure."""

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

from mdm_tune.config.families import AutoClass, Family, base_version, refuse_unsupported, version_problem
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
MOST_LAYERS = 10_000
FILE_PATTERNS = ["*.json", "*.py", "*.txt", "*.model", "*.jinja", "*.tiktoken"]
DTYPE_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
LARGEST = 65_536
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk.

    Attributes:
        name: The name or path that the user gave.
        folder: The folder with the files.
        config: The mapping in config.json.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]

    @property
    def model_type(self) -> str:
        return str(self.config.get("model_type", ""))

    def weight_bytes(self, dtype: str) -> int:
        """The bytes of the weights in ``dtype``; ``auto`` is the type in which they are stored."""
        files = [*self.folder.glob("*.safetensors")] or [*self.folder.glob("*.bin")]
        stored_dtype = str(self.config.get("dtype") or self.config.get("torch_dtype") or "float32")
        stored_bytes = DTYPE_BYTES.get(stored_dtype, 4)
        used_bytes = stored_bytes if dtype == "auto" else DTYPE_BYTES[dtype]
        return sum(file.stat().st_size for file in files) * used_bytes // stored_bytes

    def whole_number(self, name: str) -> int | None:
        """The whole number under a key of config.json; None if there is none."""
        value = self.config.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def longest(self, family: Family) -> int:
        """The longest sequence in tokens, according to config.json. Raises InputError if it is below 3."""
        stated = next((length for name in LENGTHS if (length := self.whole_number(name)) is not None), None)
        if stated is None:
            return LARGEST
        skipped = max(0, self.whole_number("pad_token_id") or 0) + 1 if family.position_offset else 0
        longest = min(LARGEST, stated - skipped)
        if longest < 3:
            raise InputError(
                f"model.path: config.json of {self.name} must state how many positions the model has, at least "
                f"{3 + skipped}, got {shown(stated)}; correct it there"
            )
        return longest


def import_transformers() -> Any:
    """Import transformers. Raises InputError if the extra is not installed."""
    use_scratch_for_compiler()
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            f"model.type: huggingface needs the extra hf, but {error}; install it with pip install 'mdm-tune[hf]'"
        ) from None
    return transformers


def open_checkpoint(name: str, revision: str | None, trust_code: bool) -> Checkpoint:
    """Open a checkpoint in a local folder, or download it from the Hub.

    Args:
        name: A folder, or a name on the Hub.
        revision: Revision on the Hub; None is the newest.
        trust_code: Whether the checkpoint's own code may run.

    Raises:
        InputError: If there is no such checkpoint, the Hub cannot be reached, config.json cannot be read or describes
            no masked diffusion model, or the model needs its own code and ``trust_code`` is False.
    """
    known_types = import_transformers().models.auto.configuration_auto.CONFIG_MAPPING_NAMES
    folder = Path(name)
    if not folder.is_dir():
        folder = _download(name, revision)
    elif revision is not None:
        raise InputError(
            f"model.revision: applies only to a name on the Hub, got {revision!r} with the folder {name}; leave it "
            "out, and give a folder of that revision"
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
    refuse_unsupported(config, name)
    for key in DEPTHS:  # modules would be made for hours
        layers = config.get(key)
        if isinstance(layers, int) and layers > MOST_LAYERS:
            raise InputError(
                f"model.path: {key} of config.json in {shown_path(folder)} must be at most {MOST_LAYERS}, got "
                f"{shown(layers)}; correct it"
            )
    if config.get("auto_map") and config.get("model_type") not in known_types:
        require_trust(trust_code, f"model.path: {name}")
    return Checkpoint(name, folder, config)


def _download(name: str, revision: str | None, field: str = "model.path") -> Path:
    """Download the files of a name on the Hub, and return their folder.

    field: the setting that has the name. Weights are left out for ``model.tokenizer``.
    """
    if Path(name).is_absolute():
        raise MissingInput(f"{field}: there is no folder {name}; correct the path: it starts at the config's folder")
    from huggingface_hub import snapshot_download

    tokenizer = field == "model.tokenizer"
    try:
        with quiet():
            # Weights in the older format only if there are no others.
            for weights in ([],) if tokenizer else (["*.safetensors"], ["*.safetensors", "pytorch_model*.bin"]):
                patterns = [*FILE_PATTERNS, *weights]
                folder = snapshot_download(name, revision=revision, allow_patterns=patterns, ignore_patterns=["*/*"])
                if any(Path(folder).glob("*.safetensors")):
                    break
    except Exception as error:  # many kinds: no network, no such name, no permission, offline mode
        files = "the tokenizer's files" if tokenizer else "config.json, *.safetensors, the tokenizer's files"
        raise InputError(
            f"{field}: {name!r} is no local folder, and the Hugging Face Hub did not provide it ({first_line(error)}). "
            f"Where the Hub cannot be reached, run `hf download {name} --local-dir FOLDER` on a machine that reaches "
            f"it, place FOLDER here ({files} and the model's own *.py, if it has any), and set {field} to FOLDER"
        ) from None
    return Path(folder)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the library's progress bars, log lines and warnings. What they would report is checked elsewhere."""
    log = import_transformers().utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(logging.CRITICAL)
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def load_tokenizer(checkpoint: Checkpoint, requested: str | None, default: str | None, trust_code: bool) -> Any:
    """Load the tokenizer of a checkpoint.

    Args:
        checkpoint: The checkpoint, whose own tokenizer is used if none is requested.
        requested: Folder or name on the Hub from the config.
        default: The family's tokenizer, used if the checkpoint has none.
        trust_code: Whether the tokenizer's own code may run.

    Raises:
        InputError: If no tokenizer can be loaded.
    """
    name = requested or (None if _has_tokenizer(checkpoint.folder) else default)
    place = str(checkpoint.folder)
    if name is not None:
        place = name if Path(name).is_dir() else str(_download(name, None, "model.tokenizer"))
    regular_files(Path(place), f"model.tokenizer: {place}")
    try:
        with quiet(), without_consent_prompts(trust_code, "model.tokenizer"):
            return import_transformers().AutoTokenizer.from_pretrained(place, trust_remote_code=trust_code)
    except (Exception, SystemExit) as error:
        raise _load_error(error, f"model.tokenizer: no tokenizer can be loaded from {place}") from None


def _has_tokenizer(folder: Path) -> bool:
    return any(file.stem.startswith(("tokenizer", "vocab", "spiece")) for file in folder.iterdir())


def load_checkpoint_model(
    checkpoint: Checkpoint, family: Family, dtype: Literal["auto", "float32", "bfloat16", "float16"], trust_code: bool
) -> tuple[Any, list[str]]:
    """Load the module of a checkpoint on the CPU, in evaluation mode and without gradients.

    Args:
        checkpoint: The checkpoint.
        family: Its family.
        dtype: Type of the weights; ``auto`` is the type in which they are stored.
        trust_code: Whether the checkpoint's own code may run.

    Returns:
        The module, and notes for the user.

    Raises:
        InputError: If the model is no masked model, needs code that may not run, fails to load, lacks weights, or
            leaves weights of its files unused.
    """
    import torch

    transformers = import_transformers()
    auto = getattr(transformers, AUTO_CLASSES[family.auto_class or _auto_class(checkpoint, family, trust_code)])
    keyword = "dtype" if base_version(transformers.__version__).major >= 5 else "torch_dtype"
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
            except (AttributeError, TypeError):  # a checkpoint's own from_pretrained may return no report
                model, report = load(), None
    except (Exception, SystemExit) as error:
        problem = mismatch(family)
        if "ignore_mismatched_sizes" in str(error):  # the error itself does not name the tensors
            with quiet(), without_consent_prompts(trust_code, "model.path"):
                problem = other_sizes(load)
            problem = problem or "tensors have other sizes than config.json says: give that of these weights"
        raise _load_error(error, f"model.path: {shown_path(checkpoint.name)} cannot be loaded", problem) from None
    notes = check_weights(model, report, checkpoint.folder, f"model.path: {checkpoint.name}")
    _check_arguments(model, family)
    return model.eval().requires_grad_(False), notes


def _check_arguments(model: Any, family: Family) -> None:
    """Raise InputError if the module lacks an argument that the family passes; **kwargs would swallow it."""
    signature = inspect.signature(model.forward)
    parameters = [parameter.name for parameter in signature.parameters.values() if parameter.kind not in VARIADIC]
    arguments = {"time": family.time == "sigma" and "timesteps", "position_ids": family.position_ids and "position_ids"}
    for field, argument in arguments.items():
        if argument and parameters and argument not in parameters:
            raise InputError(
                f"model.{field}: is passed as {argument}, which {type(model).__name__} does not accept; leave it "
                f"out, or give another model.family than {family.name}"
            )


def mismatch(family: Family) -> str | None:
    """Why checkpoints of the family may fail with the installed transformers, and what to install; None if nothing."""
    return version_problem(family, metadata.version("transformers"))


def _auto_class(checkpoint: Checkpoint, family: Family, trust_code: bool) -> AutoClass:
    """The auto class that the checkpoint's config.json calls for. Raises InputError for a decoder-only model."""
    auto_models = import_transformers().models.auto.modeling_auto
    model_type, auto_map = checkpoint.model_type, checkpoint.config.get("auto_map") or {}
    name: AutoClass
    for name, auto in AUTO_CLASSES.items():
        if auto in auto_map and trust_code:
            return name
    if model_type in auto_models.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "masked-lm"
    if model_type in auto_models.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        if family.attention_mask != "4d":
            raise InputError(
                f"model.path: must be a masked diffusion model, got {checkpoint.name} of type {model_type!r}, a "
                "decoder-only model that predicts each token from those before it; give another model, or, if it was "
                "trained to fill masks, model.family: diffullama or model.attention_mask: 4d"
            )
        return "causal-lm"
    return "model"


def _load_error(error: BaseException, what: str, problem: str | None = None) -> InputError:
    """The failure as a message that a user can act on; ``problem`` is the remedy if the error shows none."""
    if "trust_remote_code" in str(error):
        return InputError(f"{what} without running its own code; read that code, and give --trust-code")
    text = error_text(error)
    if isinstance(error, ImportError):
        return InputError(f"{what}: {text}; install what it names")
    return InputError(f"{what}: {text}; {problem or 'check the files and the section model'}")


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or the name of its class if it has no text."""
    return cut(str(error).strip().partition("\n")[0] or type(error).__name__, ERROR_LENGTH)


def fingerprint(model: Any, config: Mapping[str, Any]) -> str:
    """Sixteen hex digits of a module: of its configuration and of about 4096 evenly spaced numbers of every tensor."""
    import torch

    parts: list[str | bytes] = [json.dumps(config, sort_keys=True, default=str)]
    for name, weight in sorted(model.state_dict().items()):
        flat = weight.detach().flatten()
        sample = flat[:: max(1, len(flat) // 4096)].contiguous().cpu()
        parts += [f"{name} {tuple(weight.shape)} {weight.dtype}", sample.view(torch.uint8).numpy().tobytes()]
    return short_digest(*parts)
