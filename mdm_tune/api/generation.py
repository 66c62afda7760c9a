"""Texts from a model in memory: prompts in, texts out, with a tuned schedule or any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from tqdm.auto import tqdm

from mdm_tune.config.families import FAMILIES, family_of_type
from mdm_tune.config.sampler import SamplerConfig
from mdm_tune.config.templates import Hole
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity, shown
from mdm_tune.core.seeding import derive_seed
from mdm_tune.core.text import chat_prompt
from mdm_tune.datasets.examples import Example
from mdm_tune.datasets.rows import example_dataset
from mdm_tune.datasets.splits import Dataset
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.denoisers.guidance import Guided
from mdm_tune.denoisers.huggingface import wrap_huggingface
from mdm_tune.denoisers.loaded import LoadedModel
from mdm_tune.evaluation.filling import Rows
from mdm_tune.evaluation.settings import Sampler, Setting
from mdm_tune.sampling.pieces import UnmaskArguments, longest_first
from mdm_tune.sampling.unmasking import unmask
from mdm_tune.schedules.curves import Schedule, begins_with_schedule_name, parse_schedule
from mdm_tune.schedules.loaded import LoadedSchedule, load_schedule

__all__ = ["Prompt", "Texts", "generate"]

Prompt = str | Sequence[Mapping[str, str]]
SAMPLING = (
    *("order", "temperature", "top_p", "confidence_temperature", "tempered_scores", "end_drawn", "end_confident"),
    *("stop_at_end", "guidance", "counts", "block_steps"),
)


class Texts(list[str]):
    """The texts that ``generate`` returns, one for each prompt.

    Attributes:
        tokens: The drawn tokens of each text (length,), with those that end it.
        nfe: Denoiser calls that each text waited for.
        notes: What was not tuned, in sentences.
    """

    tokens: tuple[tuple[int, ...], ...] = ()
    nfe: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    *,
    schedule: LoadedSchedule | Schedule | str | Path = "linear",
    steps: int | None = None,
    length: int | None = None,
    block_length: int | None = None,
    order: str | None = None,
    temperature: float | None = None,
    seed: int = 0,
    batch: int = 128,
    progress: bool | None = None,
    **options: Any,
) -> Texts:
    """Generate a text after each prompt with a masked diffusion model of transformers.

    Order, temperature and the other sampler settings are those that the schedule was tuned for; without them, those of
    the model's family. The tokens are those of ``mdm-tune sample`` with the same prompts, settings and seed.

    Args:
        model: The module, in evaluation mode and on its device.
        tokenizer: Its tokenizer.
        prompts: Texts, or lists of chat messages with ``role`` and ``content``.
        schedule: A loaded schedule, a mask schedule, or the name or the file of one.
        steps: Steps of all blocks together; None for the only budget of a loaded schedule.
        length: Tokens to generate; None for the length of a loaded schedule.
        block_length: Tokens of a block; None for that of the schedule, or for one block.
        order: Ranks the positions to reveal, such as ``confidence``; None as above.
        temperature: Of the drawn tokens, at least 0; None as above.
        seed: All randomness follows from it and from the number of the prompt.
        batch: Most rows per call of the model.
        progress: Whether a bar of the steps is shown on stderr; None for a bar if stderr is a terminal.
        options: Further keys of the sections ``sampler`` (``top_p``, ``stop_at_end``, ..) and ``model``
            (``mask_token_id``, ``family``, ``end_tokens``, ..) of a config.

    Raises:
        InputError: If an argument cannot be used, or the model fails a check.
        RunError: If the model fails.
    """
    if not isinstance(prompts, Sequence) or isinstance(prompts, str) or not prompts:
        raise InputError(f"prompts must be a list of at least one text, got {shown(prompts)}; put a text in brackets")
    chosen = {"order": order, "temperature": temperature, **{n: options.pop(n) for n in SAMPLING if n in options}}
    loaded = wrap_huggingface(model, tokenizer, options)
    curve = _schedule(schedule)
    given = {name: value for name, value in chosen.items() if value is not None}
    if length is None:
        length = curve.length if isinstance(curve, LoadedSchedule) else None
    if length is None:
        raise InputError("length, the tokens to generate, must be given, unless a schedule file has it; give length")
    setting, sampler, notes = _setting(
        curve, steps, length, block_length, _settings(curve, model, options) | given, loaded
    )
    dataset = _dataset(prompts, loaded, length, seed)
    start = dataset.splits["report"].start
    seeds = np.array([derive_seed(seed, "sample", place) for place in range(len(prompts))], dtype=np.uint64)
    denoiser: Denoiser = loaded.denoiser
    if sampler.section.guidance:
        denoiser = Guided(denoiser, sampler.section.guidance, length, dataset.closing)
    arguments = Rows([setting], start, seeds).arguments(sampler, denoiser.mask_id)
    device = next(model.parameters()).device
    tokens, nfe = _fill(denoiser, arguments, batch, setting.steps, device, progress)
    split = dataset.splits["report"]
    texts = Texts(" ".join(filled) for filled in dataset.fillings(tokens, split))
    texts.tokens = tuple(tuple(row[hidden].tolist()) for row, hidden in zip(tokens, split.hidden, strict=True))
    texts.nfe, texts.notes = tuple(nfe.tolist()), notes
    return texts


def _schedule(schedule: LoadedSchedule | Schedule | str | Path) -> LoadedSchedule | Schedule:
    if isinstance(schedule, LoadedSchedule | Schedule):
        return schedule
    name = str(schedule)
    if isinstance(schedule, Path) or (Path(name).exists() and not begins_with_schedule_name(name)):
        return load_schedule(schedule)
    return load_schedule(name) if name.endswith((".yaml", ".yml")) else parse_schedule(name)


def _settings(curve: LoadedSchedule | Schedule, model: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The sampler settings that the schedule was tuned for, or else those of the model's family."""
    if isinstance(curve, LoadedSchedule) and curve.sampler and curve.sampler.get("target") is None:
        return {name: curve.sampler[name] for name in (*SAMPLING, "reveal") if name in curve.sampler}
    model_type = str(getattr(getattr(model, "config", None), "model_type", ""))
    family = FAMILIES[options["family"]] if options.get("family") else family_of_type(model_type)
    return {} if family.sampling is None else asdict(family.sampling)


def _setting(
    curve: LoadedSchedule | Schedule,
    steps: int | None,
    length: int,
    block_length: int | None,
    settings: Mapping[str, Any],
    loaded: LoadedModel,
) -> tuple[Setting, Sampler, tuple[str, ...]]:
    """The counts or alphas of the schedule, the sampler, and what was not tuned."""
    if isinstance(curve, LoadedSchedule):
        ancestral = settings.get("reveal") == "bernoulli"
        steps = next(iter(curve.budgets)) if steps is None and len(curve.budgets) == 1 else steps
        notes = curve.notes(length, steps, block_length=block_length)
    else:
        ancestral, notes = False, ()
    if steps is None:
        raise InputError("steps must be given, unless a schedule file has a single budget; give steps")
    try:
        section = SamplerConfig(steps=(steps,), **settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{'.'.join(map(str, first['loc'])) or 'sampler'}: {first['msg']}; correct it") from None
    sampler = Sampler(section, loaded.codec.end_tokens)
    if isinstance(curve, LoadedSchedule) and ancestral:
        return Setting("file", steps, length, alphas=curve.alphas(steps)), sampler, notes
    if isinstance(curve, LoadedSchedule):
        plan = curve.plan(length, steps, block_length=block_length)
        setting = Setting(
            name=plan.schedule, steps=steps, length=length, counts=plan.counts, block_length=plan.block_length
        )
        return setting.checked(), sampler, notes
    if steps > length:
        raise InputError(
            f"steps must be at most the length, {quantity(length, 'token')}, because each step reveals at least one "
            f"token, got {steps}; give fewer steps"
        )
    if block_length is not None and (block_length < 1 or length % block_length):
        raise InputError(f"block_length must divide the length {length}, got {shown(block_length)}; give a divisor")
    return Setting.of(curve, steps, length, sampler, block_length=block_length or 0), sampler, notes


def _dataset(prompts: Sequence[Prompt], loaded: LoadedModel, length: int, seed: int) -> Dataset:
    """The prompts as rows of tokens, each with ``length`` masked positions after it."""
    examples = []
    for place, prompt in enumerate(prompts):
        text = prompt if isinstance(prompt, str) else chat_prompt(loaded.codec, prompt)
        pieces = (text, Hole(None)) if text else (Hole(None, length),)
        examples.append(Example(str(place), pieces))
    return example_dataset(
        {"report": examples},
        loaded.codec,
        loaded.denoiser.mask_id,
        seed,
        generation_length=length,
        longest=loaded.length,
    )


def _fill(
    denoiser: Denoiser, arguments: UnmaskArguments, batch: int, steps: int, device: torch.device, progress: bool | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The filled rows and their calls, in the order of the arguments. The longest rows are filled first."""
    order = longest_first(arguments.tokens)
    parts = [*order.split(batch)]
    tokens, nfe = torch.empty_like(arguments.tokens), torch.empty(len(order), dtype=torch.int64)
    hidden = None if progress is None else not progress  # None: hidden unless stderr is a terminal
    with tqdm(total=len(parts) * steps, desc="unmasking", unit="step", disable=hidden) as bar:
        for part in parts:
            rows = arguments.reordered(part)
            filled = unmask(
                denoiser,
                rows.tokens,
                rows.plan,
                seeds=rows.seeds,
                drawing=rows.drawing,
                blocks=rows.blocks,
                batch=batch,
                names=rows.names,
                device=device,
                on_step=lambda step: bar.update(),
            )
            tokens[part], nfe[part] = filled.tokens, filled.nfe
    return tokens, nfe
