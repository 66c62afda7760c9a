"""What can be known of a model before it is loaded: its section of a config, its family, its lengths."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdm_tune.config.families import FAMILIES, Family, family_of_name, family_of_type, refuse_unsupported
from mdm_tune.config.models import HUB_NAME
from mdm_tune.core.errors import InputError
from mdm_tune.core.files import bundled
from mdm_tune.core.messages import listed, shown, shown_path
from mdm_tune.core.reading import CONFIG_BYTES, expanded, read_json, read_text
from mdm_tune.core.text import Symbols

__all__ = ["ModelFacts", "describe_model"]

OWN_FORMAT = "mdm-tune-transformer"
INSTRUCT = ("instruct", "chat", "llada-1.5")  # in the name of a checkpoint that takes chats
LONGEST_UNKNOWN = 65_536


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known of a model.

    Attributes:
        section: The model section of a config; paths are absolute.
        family: The family of a Hugging Face checkpoint; None for other models.
        folder: The folder of the checkpoint; None if it is not here.
        length: The longest sequence in tokens; None if it is unknown.
        vocabulary: The number of tokens; None if it is unknown.
        chat: Whether prompts are messages of a chat.
        tokens_of: Counts the tokens of a text; None if the tokenizer is not here.
        frame: Tokens that it puts around a text.
        end: The symbol that ends a text, of a checkpoint of this package; empty if there is none.
        unknown: What could not be known, as sentences.
    """

    section: dict[str, Any]
    family: Family | None = None
    folder: Path | None = None
    length: int | None = None
    vocabulary: int | None = None
    chat: bool = False
    tokens_of: Callable[[str], int] | None = None
    frame: int = 0
    end: str = ""
    unknown: tuple[str, ...] = ()

    @property
    def writes_ends(self) -> bool:
        """Whether the model is known to write tokens that end a text."""
        return bool(self.end) or (self.family is not None and bool(self.family.end_tokens))


def describe_model(model: str, family: str | None = None, trust_code: bool = False) -> ModelFacts:
    """Describe a model without loading its weights.

    Args:
        model: A folder, a name on the Hub, ``package:NAME``, or ``FILE.py:FUNCTION``.
        family: The name of the family; None to recognise it.
        trust_code: Whether foreign code may run.

    Raises:
        InputError: If there is no such model, if its config.json cannot be used, or if the family is unknown.
    """
    if family is not None and family not in FAMILIES:
        raise InputError(f"--family must be one of {', '.join(FAMILIES)}, got {shown(family)}; choose one of them")
    if not model.strip():
        raise InputError(
            f"MODEL must name a model, got {shown(model)}; give a folder, a name on the Hub or FILE.py:FUNCTION"
        )
    if model.rpartition(":")[0].endswith(".py"):
        return _custom(model, trust_code)
    folder = bundled(model) if model.startswith("package:") else Path(expanded(model))
    if folder.is_dir():
        return _checkpoint(model, folder, family, trust_code)
    if folder.exists() or folder.is_absolute() or not HUB_NAME.fullmatch(model):
        raise InputError(
            f"MODEL must be a folder with config.json, a name on the Hub such as GSAI-ML/LLaDA-8B-Instruct, "
            f"package:text, or FILE.py:FUNCTION, got {shown(model)}, which is none; correct it"
            f"{', or swap the two: MODEL is first, then TASK' if folder.is_file() else ''}"
        )
    return _hub(model, family, trust_code)


def _custom(model: str, trust_code: bool) -> ModelFacts:
    file, _, name = model.rpartition(":")
    path = Path(expanded(file)).absolute()
    try:
        tree = ast.parse(read_text(path, remedy="give the file that builds the model"))
    except SyntaxError as error:
        raise InputError(f"{shown_path(path)}, line {error.lineno}: not Python: {error.msg}; correct it") from None
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    if name not in functions:
        raise InputError(
            f"{shown_path(path)} must define {shown(name)}, it defines {listed(functions) or 'nothing'}; name one"
        )
    section: dict[str, Any] = {"type": "custom", "target": f"{path}:{name}"}
    unknown = []
    if needed := _required_arguments(functions[name]):
        section["options"] = dict.fromkeys(needed)
        unknown.append(f"the values of model.options ({', '.join(needed)}), which {name} requires: fill them in")
    if needed or not trust_code:
        unknown.append("the model's length and symbols: its code was not run (give --trust-code to run it)")
        return ModelFacts(section=section, unknown=tuple(unknown))
    from mdm_tune.config.models import CustomConfig
    from mdm_tune.denoisers.custom import load_custom

    loaded = load_custom(CustomConfig.model_validate(section), trust_code=trust_code)
    return ModelFacts(
        section=section,
        length=loaded.length,
        vocabulary=loaded.denoiser.vocab_size,
        tokens_of=lambda text: len(loaded.codec.encode(text)),
    )


def _required_arguments(function: ast.FunctionDef | ast.ClassDef) -> list[str]:
    """The arguments of a function that have no default value, without the device."""
    if isinstance(function, ast.ClassDef):
        return []
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    names = [each.arg for each in positional[: len(positional) - len(arguments.defaults)]]
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    names += [each.arg for each, default in pairs if default is None]
    return [name for name in names if name != "device"]


def _checkpoint(model: str, folder: Path, family: str | None, trust_code: bool) -> ModelFacts:
    """A checkpoint in a folder."""
    remedy = "give the folder that save_pretrained wrote, with config.json, weights and tokenizer"
    if not (folder / "config.json").is_file():
        raise InputError(f"MODEL: there is no config.json in {shown_path(folder)}; {remedy}")
    config = read_json(folder / "config.json", CONFIG_BYTES, remedy)
    if not isinstance(config, dict):
        raise InputError(f"MODEL: config.json in {shown_path(folder)} must be a mapping, got {shown(config)}; {remedy}")
    if str(config.get("format", "")).startswith(OWN_FORMAT):
        path = model if model.startswith("package:") else str(folder.absolute())
        symbols = str(config.get("symbols", ""))
        return ModelFacts(
            section={"type": "transformer", "path": path},
            folder=folder,
            length=config.get("length"),
            vocabulary=len(symbols) + 1,
            tokens_of=lambda text: len(Symbols(symbols).encode(text)),
            end=str(config.get("end", "")),
        )
    return _hugging_face(str(folder.absolute()), folder, config, family, trust_code)


def _hub(name: str, family: str | None, trust_code: bool) -> ModelFacts:
    """A checkpoint on the Hub, whose config.json is read if the Hub or its cache provides it."""
    from mdm_tune.denoisers.checkpoint import first_line, import_transformers, quiet

    import_transformers()
    from huggingface_hub import hf_hub_download

    try:
        with quiet():
            file = Path(hf_hub_download(name, "config.json", etag_timeout=10))
            for other in ("tokenizer_config.json", "tokenizer.json"):
                with suppress(Exception):  # the model may have none
                    hf_hub_download(name, other, etag_timeout=10)
        return _hugging_face(name, file.parent, read_json(file, CONFIG_BYTES), family, trust_code)
    except InputError:
        raise
    except Exception as error:  # no network, no such name, no permission, offline mode
        reason = first_line(error)
    known = family or family_of_name(name)
    if known is None:
        raise InputError(
            f"MODEL: {name!r} is no local folder, and the Hugging Face Hub did not provide its config.json ({reason}); "
            f"correct the name, or name its family with --family, or run `hf download {name} --local-dir FOLDER` on a "
            "machine that reaches the Hub, place FOLDER here and give FOLDER"
        )
    missing = f"config.json of {name}, because the Hub did not provide it: its length, its dtype and its tokenizer"
    return ModelFacts(
        section={"type": "huggingface", "path": name, "family": known},
        family=FAMILIES[known],
        chat=_is_instruct(name),
        unknown=(missing, *([] if family else [f"whether the family is {known}: it follows from the name alone"])),
    )


def _hugging_face(
    path: str, folder: Path, config: Mapping[str, Any], family: str | None, trust_code: bool
) -> ModelFacts:
    refuse_unsupported(config, path)
    from mdm_tune.denoisers.checkpoint import Checkpoint

    checkpoint = Checkpoint(path, folder, config)
    by_name = family_of_name(str(config.get("_name_or_path", ""))) or family_of_name(path)
    found = FAMILIES[family or by_name or family_of_type(checkpoint.model_type).name]
    unknown = []
    if found.name == "generic":
        unknown.append(
            f"the family of model type {shown(checkpoint.model_type)}: check its mask, logits and attention mask "
            "(docs/models.md)"
        )
    tokens_of = _tokenizer(checkpoint, found, trust_code)
    if tokens_of is None:
        unknown.append("the tokens of a text: the tokenizer cannot be loaded here")
    longest = checkpoint.longest(found)
    template = (folder / "chat_template.jinja").is_file()
    if (settings := folder / "tokenizer_config.json").is_file():
        template = template or '"chat_template"' in read_text(settings)
    if template and not _is_instruct(path):
        unknown.append("whether prompts are chats: there is a chat template (set dataset.chat to true to use it)")
    return ModelFacts(
        section={"type": "huggingface", "path": path, "family": found.name},
        family=found,
        folder=folder,
        length=None if longest == LONGEST_UNKNOWN else longest,
        vocabulary=checkpoint.whole_number("vocab_size"),
        chat=template and _is_instruct(path),
        tokens_of=tokens_of,
        frame=0 if tokens_of is None else tokens_of(""),
        unknown=tuple(unknown),
    )


def _is_instruct(name: str) -> bool:
    return any(word in Path(name).name.lower() for word in INSTRUCT)


def _tokenizer(checkpoint: Any, family: Family, trust_code: bool) -> Callable[[str], int] | None:
    """A function that counts tokens, special ones around the text included; None if there is no tokenizer here."""
    from mdm_tune.denoisers.checkpoint import load_tokenizer

    try:
        tokenizer = load_tokenizer(checkpoint, None, None, trust_code)
    except InputError:
        return None
    if family.split == "characters":
        return lambda text: len(text) + 2
    if len(tokenizer("text")["input_ids"]) <= len(tokenizer("")["input_ids"]):
        return None  # transformers makes a tokenizer without words where its files are missing
    return lambda text: len(tokenizer(text)["input_ids"])
