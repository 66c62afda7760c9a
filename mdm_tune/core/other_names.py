"""Hints for keys of a config that are names of other systems, or that stand in the wrong section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["hint_for", "section_of", "setting_of"]

Location = tuple[int | str, ...]

BUDGETS = "a list of step budgets, such as [32]"
TOKENS = "the number of tokens to fill in"
# The names that other samplers and harnesses use, with the setting here and what it holds.
OTHER_NAMES: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(
        (
            *("num_steps", "num_inference_steps", "num_sampling_steps", "sampling_steps", "inference_steps"),
            *("denoising_steps", "denoise_steps", "max_denoising_steps", "num_denoising_steps"),
            *("diffusion_steps", "num_diffusion_steps", "num_timesteps", "timesteps", "step", "nfe"),
        ),
        ("sampler.steps", BUDGETS),
    ),
    "steps_per_block": ("sampler.steps", "a list of step budgets of all blocks together, such as [64]"),
    **dict.fromkeys(
        ("gen_length", "gen_len", "generation_len", "max_new_tokens", "max_gen_toks", "max_tokens", "answer_length"),
        ("dataset.generation_length", TOKENS),
    ),
    **dict.fromkeys(
        ("block_size", "block_len", "blocksize", "diffusion_block_length"), ("sampler.block_length", "tokens")
    ),
    **dict.fromkeys(
        ("alg", "remasking", "remasking_strategy", "decoding_strategy", "unmasking"),
        ("sampler.order", "such as confidence, margin, entropy or random"),
    ),
    **dict.fromkeys(("alg_temp", "choice_temperature"), ("sampler.confidence_temperature", "at least 0")),
    **dict.fromkeys(("cfg", "cfg_scale", "guidance_scale"), ("sampler.guidance", "0 for none")),
    "logits_eos_inf": ("sampler.end_drawn", "false for logits_eos_inf: true"),
    "confidence_eos_eot_inf": ("sampler.end_confident", "false for confidence_eos_eot_inf: true"),
    "batch_size": ("sampler.batch", "rows of a denoiser call"),
    **dict.fromkeys(("mask_id", "mask_token", "mask_index"), ("model.mask_token_id", "a token id")),
    **dict.fromkeys(("right_shift_logits", "logits_shift"), ("model.shift_logits", "true or false")),
    **dict.fromkeys(("pretrained", "model_name_or_path", "checkpoint"), ("model.path", "a folder or a Hub name")),
    "torch_dtype": ("model.dtype", "such as bfloat16"),
    "num_fewshot": ("dataset.shots", "a number of solved examples"),
    "limit": ("dataset.report", "a number of examples, or all"),
    "n_trials": ("search.trials", "a number of trials per budget"),
}


def hint_for(key: object, here: Location, keys: Mapping[Location, Sequence[str]]) -> str:
    """What an unknown key of a section is called here, or where it belongs; empty if neither is known.

    Args:
        key: the unknown key.
        here: the location of its section.
        keys: the legal keys of every section, by location.
    """
    if not isinstance(key, str):
        return ""
    if setting := setting_of(key):
        return f"its name here is {setting}, {OTHER_NAMES[_plain(key)][1]}; "
    section = section_of(key, here, keys)
    if section is None:
        return ""
    return f"it belongs {f'in the section {section}' if section else 'to the top level, outside of every section'}; "


def setting_of(name: str) -> str | None:
    """The setting that another system calls by this name, such as ``sampler.steps``; None for an unknown name."""
    return OTHER_NAMES.get(_plain(name), (None, ""))[0]


def section_of(key: str, here: Location, keys: Mapping[Location, Sequence[str]]) -> str | None:
    """The section with this key: empty for the top level, None if there is none, or if there are several.

    The types of ``model`` and of ``dataset`` are one section each.

    Args:
        key: the key.
        here: the location of the section in which it stands.
        keys: the legal keys of every section, by location.
    """
    own = _name(here)
    found = {_name(location) for location, names in keys.items() if key in names} - {own}
    if key == "steps" and "sampler" in found:  # those of evaluate are meant less often
        return "sampler"
    return found.pop() if len(found) == 1 else None


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_")


def _name(location: Location) -> str:
    """The dotted name of a section, without the type's name in model and dataset."""
    parts = location[:1] if location[:1] in (("model",), ("dataset",)) else location
    return ".".join(map(str, parts))
