"""Texts from a model in memory: prompts in, texts out, with a tuned schedule, another one, or an adaptive policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from pydantic import ValidationError
from tqdm.auto import tqdm

from mdm_tune.config.families import FAMILIES, family_of_type
from mdm_tune.config.models import OVER_FAMILY
from mdm_tune.config.sampler import SamplerConfig, fitting_sampling
from mdm_tune.config.templates import Hole
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, quantity, shown
from mdm_tune.core.numerals import given_whole
from mdm_tune.core.other_names import setting_of
from mdm_tune.core.seeding import derive_seed
from mdm_tune.core.text import chat_prompt
from mdm_tune.datasets.examples import Example
from mdm_tune.datasets.rows import example_dataset
from mdm_tune.datasets.splits import Dataset, Split
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.denoisers.guidance import Guided
from mdm_tune.denoisers.huggingface import wrap_huggingface
from mdm_tune.denoisers.loaded import LoadedModel
from mdm_tune.evaluation.adaptive import PILOT, miss, value_at_cost
from mdm_tune.evaluation.filling import Rows
from mdm_tune.evaluation.settings import Sampler, Setting, calls_in_advance, drawing_of
from mdm_tune.run.schedule_names import names_a_file
from mdm_tune.sampling.pieces import longest_first
from mdm_tune.sampling.unmasking import Unmasked, unmask
from mdm_tune.schedules.adaptive_names import AdaptiveName
from mdm_tune.schedules.curves import Counts, Linear, Schedule
from mdm_tune.schedules.derived import budget_at, kept_counts, policy_notes
from mdm_tune.schedules.loaded import LoadedSchedule, load_schedule
from mdm_tune.schedules.policy_names import parse_policy
from mdm_tune.schedules.schedule_file import ScheduleBudget

if TYPE_CHECKING:
    from mdm_tune.commands.events import Note

__all__ = ["Prompt", "Texts", "generate"]

Prompt = str | Sequence[Mapping[str, str]]
Fill = Callable[[Rows, str], Unmasked]  # of rows, with the label of the progress bar
SETTINGS = (  # of the sampler that may be given; the other keys of its section are arguments, or mean nothing here
    *("order", "reveal", "temperature", "top_p", "confidence_temperature", "tempered_scores", "end_drawn"),
    *("end_confident", "stop_at_end", "guidance", "counts", "block_steps"),
)
RANKING = ("order", "confidence_temperature")
ARGUMENTS = ("schedule", "steps", "length", "block_length", "seed", "batch", "progress", "on_event")
MODEL_FIELDS = {"family", *OVER_FAMILY}


class Texts(list[str]):
    """The texts that ``generate`` returns, one for each prompt.

    Attributes:
        tokens: The drawn tokens of each text (length,), with those that end it.
        nfe: Denoiser calls that each text waited for.
        denoiser_rows: Sequences that the model was evaluated on, for all texts together. Those of a calibration count.
        schedule: Name of the schedule or the adaptive policy, with the value that was found for it.
        notes: What was not tuned, and doubts about the model, in sentences.
    """

    tokens: tuple[tuple[int, ...], ...] = ()
    nfe: tuple[int, ...] = ()
    denoiser_rows: int = 0
    schedule: str = ""
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
    on_event: Callable[[Note], None] | None = None,
    **options: Any,
) -> Texts:
    """Generate a text after each prompt with a masked diffusion model of transformers.

    Order, temperature and the other sampler settings are those that the schedule was tuned for; without them, those of
    the model's family. The tokens are those of ``mdm-tune sample`` with the same prompts, settings and seed. A text
    ends before its first end token. The model keeps its device, its float type and its mode (training or evaluation).

    Args:
        model: The module, on its device.
        tokenizer: Its tokenizer. Its padding side does not matter.
        prompts: Texts, or chats: lists of messages with ``role`` and ``content``, which the tokenizer's chat template
            renders up to the beginning of the answer.
        schedule: A loaded schedule, a mask schedule, the name of one or of an adaptive policy, a schedule file or a run
            folder. An adaptive policy without a value (``threshold``) gets the one at which the first 64 prompts cost
            what they cost with linear at ``steps``; finding it tries at most 24 values on the first 16 of them and 10
            on all, as a rule 6 and 3. A budget of a file may hold a policy with its value.
        steps: Steps of all blocks together; None for the only budget of a schedule. ``threshold:0.9``,
            ``entropy-bound:0.1``, ``quota:linear#32@0.9`` and ``klass:0.01@0.9`` need none.
        length: Tokens to generate; None for the length of a loaded schedule or of explicit counts.
        block_length: Tokens of a block; None for that of the schedule, or for one block.
        order: Ranks the positions to reveal, such as ``confidence``; None as above.
        temperature: Of the drawn tokens, at least 0; None as above.
        seed: All randomness follows from it and from the number of the prompt.
        batch: Most rows per call of the model.
        progress: Whether a bar of the revealed tokens is shown on stderr; None for a bar if stderr is a terminal.
        on_event: Called with each note of the result, before the first token is drawn.
        options: Further keys of the sections ``sampler`` (``top_p``, ``stop_at_end``, ..) and ``model``
            (``mask_token_id``, ``family``, ``end_tokens``, ..) of a config.

    Raises:
        InputError: If an argument cannot be used, or the model fails a check.
        RunError: If the model fails.
    """
    _check_options(options)
    chosen = {"order": order, "temperature": temperature, **options}
    given = {name: chosen[name] for name in SETTINGS if chosen.get(name) is not None}
    fields = {name: value for name, value in options.items() if name in MODEL_FIELDS}
    texts, seed = _checked_prompts(prompts, tokenizer), given_whole("seed", seed, least=0)
    with _evaluating(model):
        loaded = wrap_huggingface(model, tokenizer, fields)
        policy = _policy(schedule)
        wanted = _wanted(policy, steps, length, block_length, given | {"batch": batch}, loaded, _family(model, fields))
        notes = (*loaded.doubts, *wanted.notes)
        _tell(notes, on_event)
        dataset = _dataset(texts, loaded, wanted.setting.length, seed)
        denoiser: Denoiser = loaded.denoiser
        if wanted.sampler.section.guidance:
            scale = wanted.sampler.section.guidance
            denoiser = Guided(denoiser, scale, wanted.setting.length, dataset.closing)
        device = next(model.parameters()).device
        fill = partial(_fill, denoiser, wanted.sampler, device, progress)
        return _texts(wanted, dataset, fill, notes, on_event)


@dataclass(frozen=True)
class _Wanted:
    """How rows are filled.

    Attributes:
        setting: The counts or alphas; of an adaptive policy the blocks and, for a quota or a cap, the counts.
        adaptive: The adaptive policy, perhaps without its value; None for a schedule.
        sampler: How tokens are revealed.
        ranking: What the user said of the order; an adaptive policy must fit it.
        notes: What was not tuned.
    """

    setting: Setting
    adaptive: AdaptiveName | None
    sampler: Sampler
    ranking: tuple[str, ...]
    notes: tuple[str, ...]


def _check_options(options: Mapping[str, Any]) -> None:
    for name in options:
        if name in SETTINGS or name in MODEL_FIELDS:
            continue
        here = (setting_of(name) or "").rpartition(".")[2].replace("generation_length", "length")
        known = here in (*SETTINGS, *ARGUMENTS, *MODEL_FIELDS)
        hint = f"its name here is {here}" if known else "correct or remove it"
        raise InputError(f"{shown(name)[1:-1]}: generate has no such option, got {shown(options[name])}; {hint}")


def _checked_prompts(prompts: object, tokenizer: object) -> Sequence[Prompt]:
    """The prompts. Raises InputError if they are no list of texts and chats, or chats without a template."""
    if not isinstance(prompts, Sequence) or isinstance(prompts, str | bytes) or not prompts:
        raise InputError(f"prompts must be a list of at least one text, got {shown(prompts)}; put a text in brackets")
    if all(isinstance(prompt, Mapping) for prompt in prompts):
        raise InputError(
            f"prompts must be a list of chats, and a chat is a list of messages, got {shown([*prompts])}; put the "
            "messages in brackets once more"
        )
    for place, prompt in enumerate(prompts):
        if isinstance(prompt, str):
            continue
        whole = isinstance(prompt, Sequence) and not isinstance(prompt, bytes) and len(prompt) > 0
        for message in prompt if whole else [prompt]:
            good = isinstance(message, Mapping) and {"role", "content"} <= message.keys()
            if not good or not isinstance(message["role"], str) or not isinstance(message["content"], str):
                got = dict(message) if isinstance(message, Mapping) else message
                raise InputError(
                    f"prompt {place} must be a text, or a list of messages with the texts role and content, got "
                    f"{shown([got])[1:-1]}; correct it"
                )
        if not getattr(tokenizer, "chat_template", None):
            raise InputError(
                f"prompt {place} is a chat, which needs a chat template, got a tokenizer without one; give a text, or "
                "set tokenizer.chat_template"
            )
    return cast(Sequence[Prompt], prompts)


@contextmanager
def _evaluating(model: object) -> Iterator[None]:
    """The module in evaluation mode, and afterwards in the mode in which it was found, each of its parts by itself."""
    parts = [*model.modules()] if isinstance(model, torch.nn.Module) else []
    training = [part for part in parts if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _policy(schedule: object) -> LoadedSchedule | Schedule | AdaptiveName:
    if isinstance(schedule, LoadedSchedule | Schedule):
        return schedule
    if isinstance(schedule, Path):
        return load_schedule(schedule)
    if not isinstance(schedule, str):
        raise InputError(
            f"schedule must be a schedule, its name or its file, got {shown(schedule)}; give one such as 'linear'"
        )
    return load_schedule(schedule) if names_a_file(schedule) else parse_policy(schedule)


def _family(model: Any, fields: Mapping[str, Any]) -> str:
    """The name of the model's family."""
    model_type = str(getattr(getattr(model, "config", None), "model_type", ""))
    return str(fields.get("family") or family_of_type(model_type).name)


def _wanted(
    policy: LoadedSchedule | Schedule | AdaptiveName,
    steps: int | None,
    length: int | None,
    block_length: int | None,
    given: Mapping[str, Any],
    loaded: LoadedModel,
    family: str,
) -> _Wanted:
    """The setting, the sampler, and what was not tuned. given: the keys of the sampler section that the user gave."""
    adaptive = policy if isinstance(policy, AdaptiveName) else None
    base = policy if not isinstance(policy, AdaptiveName) else _policy(policy.schedule or Linear())
    assert not isinstance(base, AdaptiveName)  # the schedule of a quota or a cap is no adaptive policy
    file = base if isinstance(base, LoadedSchedule) else None
    length = _given_length(base) if length is None else given_whole("length", length)
    if length is None:
        raise InputError("length, the tokens to generate, must be given, unless a schedule file has it; give length")
    steps = _given_steps(base) if steps is None else given_whole("steps", steps)
    if steps is None and adaptive is not None and adaptive.same_at_every_budget:
        steps = adaptive.counts_steps or length  # without counts it is not used
    if steps is None:
        raise InputError(
            "steps must be given, unless a schedule has a single budget or an adaptive policy its value; give steps"
        )
    notes: tuple[str, ...] = ()
    if adaptive is None and file is not None and (held := budget_at(file, steps)).policy is not None:
        adaptive, base, block_length, notes = _held(file, held, held.policy, length, block_length)
    free = adaptive is not None and adaptive.schedule is None
    tuned = {} if file is None else _tuned_settings(file)
    settings = {**(tuned or fitting_sampling(FAMILIES[family], given)), **given}
    try:
        section = SamplerConfig(steps=(steps,), **settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != 0) or "sampler"
        raise InputError(f"{where}: {first['msg']}, got {shown(first['input'])}; correct it") from None
    sampler = Sampler(section, loaded.codec.end_tokens)
    if adaptive is not None and sampler.bernoulli:
        raise InputError(
            f"{adaptive.name} decides how many positions each step reveals, and so does ancestral (bernoulli) reveal; "
            "leave reveal out"
        )
    if free:
        setting = Setting("", steps, length, block_length=_divisor(block_length, length))
    else:
        own = steps if adaptive is None else adaptive.steps_of_counts(steps)
        setting, notes = _setting(base, own, length, block_length, sampler)
    if file is not None:
        notes += tuple(_changed(file, tuned, section))
    ranking = tuple(name for name in RANKING if name in given)
    return _Wanted(setting=setting, adaptive=adaptive, sampler=sampler, ranking=ranking, notes=notes)


def _held(
    file: LoadedSchedule, budget: ScheduleBudget, policy: AdaptiveName, length: int, block_length: int | None
) -> tuple[AdaptiveName, LoadedSchedule, int | None, tuple[str, ...]]:
    """The policy of a file's budget: it, the counts that it keeps, its block length, and what was not tuned."""
    if policy.schedule is not None:
        kept = kept_counts(file, budget)
        return policy, LoadedSchedule(kept.length, kept.budgets, kept.record), block_length, ()  # as for any counts
    own = budget.block_length if budget.block_length != file.length else None
    size = own if block_length is None else block_length
    return policy, file, size, policy_notes(file, budget, length, _divisor(size, length) or length)


def _given_length(base: LoadedSchedule | Schedule) -> int | None:
    if isinstance(base, LoadedSchedule):
        return base.length
    return sum(base.counts) if isinstance(base, Counts) else None


def _given_steps(base: LoadedSchedule | Schedule) -> int | None:
    if isinstance(base, LoadedSchedule):
        return next(iter(base.budgets)) if len(base.budgets) == 1 else None
    return len(base.counts) if isinstance(base, Counts) else None


def _tuned_settings(schedule: LoadedSchedule) -> dict[str, Any]:
    """The sampler settings that a schedule was tuned for; empty if they are unknown, or those of a user's own code."""
    known = schedule.sampler
    return {} if known.get("target") is not None else {name: known[name] for name in SETTINGS if name in known}


def _changed(schedule: LoadedSchedule, tuned: Mapping[str, Any], section: SamplerConfig) -> Iterator[str]:
    """Sentences on settings that are not those for which the schedule was tuned."""
    if (code := schedule.sampler.get("target")) is not None:
        yield f"The schedule was tuned for the code {cut(code)}, and is used with the sampler of this package."
    for name, value in tuned.items():
        if getattr(section, name) != value:
            yield f"The schedule was tuned for {name} {value}, and is used with {name} {getattr(section, name)}."


def _setting(
    base: LoadedSchedule | Schedule, steps: int, length: int, block_length: int | None, sampler: Sampler
) -> tuple[Setting, tuple[str, ...]]:
    """The counts or alphas of a schedule, and what was not tuned."""
    if isinstance(base, LoadedSchedule):
        notes = base.notes(length, steps, block_length=block_length)
        if sampler.bernoulli:
            name = budget_at(base, steps).curve.name
            return Setting(name, steps, length, alphas=base.alphas(steps)), notes
        plan = base.plan(length, steps, block_length=block_length)
        setting = Setting(
            name=plan.schedule, steps=steps, length=length, counts=plan.counts, block_length=plan.block_length
        )
        return setting.checked(), notes
    size = _divisor(block_length, length)
    if sampler.bernoulli and size not in (0, length):
        raise InputError(f"ancestral (bernoulli) reveal has no blocks, got block_length {size}; leave it out")
    if steps > length and not sampler.bernoulli:
        raise InputError(
            f"steps must be at most the length, {quantity(length, 'token')}, because each step reveals at least one "
            f"token, got {steps}; give fewer steps"
        )
    even = sampler.section.block_steps == "tuned" and size not in (0, length)
    notes = ("block_steps tuned needs a profile, which a name has not: the blocks share the steps evenly.",)
    return Setting.of(base, steps, length, sampler, block_length=size), notes if even else ()


def _divisor(block_length: int | None, length: int) -> int:
    """The block length, 0 for one block. Raises InputError if the blocks do not divide the length."""
    if block_length is not None and length % given_whole("block_length", block_length):
        raise InputError(f"block_length must divide the length {length}, got {shown(block_length)}; give a divisor")
    return block_length or 0


def _dataset(prompts: Sequence[Prompt], loaded: LoadedModel, length: int, seed: int) -> Dataset:
    """The prompts as rows of tokens, each with ``length`` masked positions after it and the seed of its number."""
    examples = []
    for place, prompt in enumerate(prompts):
        try:
            text = prompt if isinstance(prompt, str) else chat_prompt(loaded.codec, prompt)
        except InputError as error:
            raise InputError(f"prompt {place}: {str(error).removeprefix('dataset.chat: ')}") from None
        pieces = (text, Hole(None)) if text else (Hole(None, length),)
        examples.append(Example(str(place), pieces))
    dataset = example_dataset(
        {"report": examples}, loaded.codec, loaded.denoiser.mask_id, seed, generation_length=length
    )
    sizes = (dataset.splits["report"].start >= 0).sum(1)
    if (longest := int(sizes.max())) > loaded.length:
        raise InputError(
            f"prompt {int(sizes.argmax())} and its text have {quantity(longest, 'token')}, and the model takes "
            f"{loaded.length}; shorten the prompt, or give a smaller length"
        )
    seeds = np.array([derive_seed(seed, "sample", place) for place in range(len(prompts))], dtype=np.uint64)
    return replace(dataset, splits={"report": replace(dataset.splits["report"], seeds=seeds)})


def _tell(notes: Sequence[str], on_event: Callable[[Note], object] | None) -> None:
    """Report notes, if anyone listens."""
    if on_event is not None:
        from mdm_tune.commands.events import Note  # it imports much, which texts do not need

        for note in notes:
            on_event(Note(note))


def _texts(
    wanted: _Wanted,
    dataset: Dataset,
    fill: Fill,
    notes: tuple[str, ...],
    on_event: Callable[[Note], object] | None,
) -> Texts:
    """Fill the rows of the data set, for an adaptive policy without a value after it is found."""
    split, setting, spent = dataset.splits["report"], wanted.setting, 0
    if (plan := wanted.adaptive) is not None:
        value, spent, missed = _value(plan, wanted, dataset, fill)
        setting, notes = _adaptive(plan, wanted, value), (*notes, *missed)
        _tell(missed, on_event)
    rows = _rows(setting, wanted, split)
    filled = fill(rows, "unmasking")
    texts = Texts(" ".join(holes) for holes in dataset.fillings(filled.tokens, split))
    drawn = zip(filled.tokens, split.hidden, strict=True)
    texts.tokens = tuple(tuple(row[hidden].tolist()) for row, hidden in drawn)
    texts.nfe, texts.denoiser_rows = tuple(filled.nfe.tolist()), spent + filled.denoiser_rows
    texts.schedule, texts.notes = setting.name, notes
    return texts


def _adaptive(policy: AdaptiveName, wanted: _Wanted, value: float) -> Setting:
    """The setting of an adaptive policy at this value, unless it has one."""
    (steps,) = wanted.sampler.section.steps
    blocks, keeps = wanted.setting, policy.schedule is not None
    return Setting.of_adaptive(
        policy.at(value, steps), steps, blocks.length, blocks if keeps else None, block_length=blocks.block_length
    )


def _rows(setting: Setting, wanted: _Wanted, split: Split) -> Rows:
    """The rows of a split, ranked as the user said, which an adaptive policy may refuse."""
    said = {name: getattr(wanted.sampler.section, name) for name in wanted.ranking}
    drawing = replace(drawing_of(setting, wanted.sampler), **said)
    return Rows([setting], split.start, split.seeds, drawing=drawing)


def _value(policy: AdaptiveName, wanted: _Wanted, dataset: Dataset, fill: Fill) -> tuple[float, int, tuple[str, ...]]:
    """The value of an adaptive policy, the denoiser rows that finding it took, and a sentence if its calls are off."""
    if policy.value is not None:
        return policy.value, 0, ()
    setting, (steps,) = wanted.setting, wanted.sampler.section.steps
    linear = Setting.of(Linear(), steps, setting.length, wanted.sampler, block_length=setting.block_length)
    split, spent = dataset.splits["report"].first(PILOT), 0
    sweep = value_at_cost(
        Rows([linear], split.start, split.seeds),
        calls_in_advance(linear, split.hidden.sum(1), wanted.sampler),
        lambda value: _rows(_adaptive(policy, wanted, value), wanted, split),
        policy,
    )
    rows, _ = next(sweep)
    while True:
        result = fill(rows, "calibrating")
        spent += result.denoiser_rows
        try:
            rows, _ = sweep.send(result.nfe.double().numpy())
        except StopIteration as end:
            missed = miss(end.value, policy, steps, len(split.ids))
            return end.value.value, spent, () if missed is None else (missed,)


def _fill(
    denoiser: Denoiser, sampler: Sampler, device: torch.device, progress: bool | None, rows: Rows, label: str
) -> Unmasked:
    """The filled rows, in their order. The longest are filled first, so that those of a call have little padding."""
    arguments = rows.arguments(sampler, denoiser.mask_id)
    order = longest_first(arguments.tokens)
    tokens, nfe = torch.empty_like(arguments.tokens), torch.empty(len(order), dtype=torch.int64)
    spent = seen = 0
    hidden = None if progress is None else not progress  # None: hidden unless stderr is a terminal
    total = int((arguments.tokens == denoiser.mask_id).sum())
    with tqdm(total=total, desc=label, unit="token", disable=hidden) as bar:
        for part in order.split(arguments.batch):
            piece = arguments.reordered(part)
            filled = unmask(
                denoiser,
                piece.tokens,
                piece.plan,
                seeds=piece.seeds,
                drawing=piece.drawing,
                blocks=piece.blocks,
                batch=piece.batch,
                names=piece.names,
                device=device,
                most_calls=piece.most_calls,
                on_step=lambda step: bar.update(int(step.revealed.sum())),
            )
            tokens[part], nfe[part] = filled.tokens, filled.nfe
            spent, seen = spent + filled.denoiser_rows, seen + filled.denoiser_tokens
    return Unmasked(tokens=tokens, nll=None, nfe=nfe, denoiser_rows=spent, denoiser_tokens=seen)
