"""Watch one sample being unmasked: from the steps of the sampler to text, with one schedule or two side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from torch import Tensor

from mdm_tune.commands.events import Warnings, Watched
from mdm_tune.commands.schedule_notes import other_samplers, same_plans
from mdm_tune.core.errors import InputError
from mdm_tune.core.files import write_text
from mdm_tune.core.interval_text import interval_text
from mdm_tune.core.messages import cut, quantity, shown, shown_path
from mdm_tune.core.text import Codec
from mdm_tune.datasets.splits import Split
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.scores import Cost
from mdm_tune.evaluation.settings import Setting, drawing_of
from mdm_tune.pages.animation import animation
from mdm_tune.pages.unmasking import Kind, ShownToken, Unmasking
from mdm_tune.run.build import Run
from mdm_tune.run.schedule_names import Optimum, names_a_file, settings_of
from mdm_tune.sampling.drawing import Order
from mdm_tune.sampling.unmasking import Step, Unmasked
from mdm_tune.schedules.labels import short_label
from mdm_tune.schedules.schedule_file import load_schedule

__all__ = ["Watch", "Watcher", "described", "token_texts", "wanted", "watcher_of"]

NEARBY = 120  # characters of a prompt that are shown beside the tokens that are filled
LOST = "\ufffd"  # what decoders write for a part of a character
OTHER = {"other-sampler", "other-source", "other-length", "other-blocks"}  # warnings: values in files do not hold here
SCALES: dict[Order, str | None] = {
    "random": None,
    "confidence": "confidence",
    "top-probability": "largest probability",
    "margin": "margin",
    "entropy": "exp(-entropy)",
}


@dataclass(frozen=True)
class Watch:
    """The wish to see how the first sample is unmasked.

    Attributes:
        beside: A second schedule, whose sample is drawn with the same noise; None for none.
        save: Where an animated SVG is written; None for nowhere.
    """

    beside: str | None = None
    save: Path | None = None


def wanted(beside: str | None, save: str | Path | None) -> Watch | None:
    """What is to be watched; checked before the model is loaded.

    Args:
        beside: The second schedule; empty for none, and None if nothing is shown.
        save: The SVG file; None for none.

    Raises:
        InputError: If the name has another ending, or if the system does not let the file be written.
    """
    if beside is None and save is None:
        return None
    return Watch(beside or None, None if save is None else _writable(Path(save)))


def _writable(path: Path) -> Path:
    if path.suffix.lower() != ".svg":
        raise InputError(f"--save writes an animated SVG, so its name must end in .svg, got {shown(str(path))}")
    path = path.expanduser()
    if path.is_dir() or not path.parent.is_dir():
        fault = "is a folder" if path.is_dir() else "lies in a folder that does not exist"
        raise InputError(f"--save must name a file in an existing folder, and {shown_path(path)} {fault}")
    try:
        existed = path.exists()
        with path.open("a"):
            pass
        if not existed:
            path.unlink()
    except OSError as error:
        raise InputError(
            f"--save must name a file that can be written, and {shown_path(path)} cannot ({error.strerror}); "
            "name another folder, or change its rights"
        ) from None
    return path


@dataclass
class Watcher:
    """Follows the rows of one call of the sampler, one for each schedule, or of one call for each.

    Attributes:
        settings: The settings, in the order of the rows.
        names: The name of each, and what is known of its value.
        start: (length,) int64, the row before the first step.
        mask_id: The token id of the mask.
        codec: Decodes the tokens.
        order: The order in which the positions are revealed.
        show: Called before the first step and after each step.
        seconds: The time that ``show`` has taken, which is no time of the sampler.
    """

    settings: Sequence[Setting]
    names: Sequence[tuple[str, str]]
    start: Tensor
    mask_id: int
    codec: Codec
    order: Order
    show: Callable[[tuple[Unmasking, ...]], None]
    seconds: float = 0.0
    _now: tuple[Unmasking, ...] = field(default=(), init=False)
    _when: list[list[int | None]] = field(default_factory=list, init=False)
    _known: dict[int, str] = field(default_factory=dict, init=False)
    _how_sure: list[list[float | None]] = field(default_factory=list, init=False)

    def begin(self) -> None:
        """Show the rows before the first step."""
        size = int((self.start == self.mask_id).sum())
        when = [None if token == self.mask_id else 0 for token in self.start.tolist()]
        self._when = [[*when] for _ in self.settings]
        self._how_sure = [[None] * len(when) for _ in self.settings]
        self._now = tuple(
            Unmasking(
                name=name,
                tokens=(),
                steps=setting.steps if setting.alphas is not None else min(setting.steps, size),
                done=0,
                scale=SCALES[self.order],
                note=note,
                open=setting.adaptive is not None,
            )
            for setting, (name, note) in zip(self.settings, self.names, strict=True)
        )
        self._update([0] * len(self.settings), self.start.repeat(len(self.settings), 1))

    def __call__(self, step: Step) -> None:
        for row in range(len(self.settings)):
            self._reveal(row, step, row)
        rows = zip(self.settings, self._now, strict=True)
        full = [setting.adaptive is not None and not row.open for setting, row in rows]
        dones = [row.done if ended else step.number + 1 for row, ended in zip(self._now, full, strict=True)]
        self._update(dones, step.tokens)

    def follow(self, evaluator: Evaluator, first: Split) -> tuple[Unmasked, Cost]:
        """Fill the rows of all settings and show their steps.

        Settings of one form are filled in one call and shown as it goes. Others are filled one after the other, and
        then shown side by side.

        Args:
            evaluator: Fills them.
            first: The one example.

        Returns:
            The filled rows of the first call, which begin with that of the first setting; and the denoiser rows and
            tokens of all calls, as a cost.
        """
        self.begin()
        if len({setting.form for setting in self.settings}) == 1:
            filled = evaluator.fill(self.settings, first.start, first.seeds, on_step=self)
            return filled, Cost(filled.denoiser_rows, filled.denoiser_tokens)
        steps = [list[Step]() for _ in self.settings]
        results = [
            evaluator.fill([setting], first.start, first.seeds, on_step=heard.append)
            for setting, heard in zip(self.settings, steps, strict=True)
        ]
        tokens = self.start.repeat(len(self.settings), 1)
        for number in range(max(map(len, steps))):
            for row, heard in enumerate(steps):
                if number < len(heard):
                    self._reveal(row, heard[number], 0)
                    tokens[row] = heard[number].tokens[0]
            self._update([min(number + 1, len(heard)) for heard in steps], tokens)
        return results[0], sum((Cost(each.denoiser_rows, each.denoiser_tokens) for each in results), Cost())

    def _reveal(self, row: int, step: Step, at: int) -> None:
        """Note what a step reveals of a row, which is row ``at`` of the step."""
        for place in step.revealed[at].nonzero().flatten().tolist():
            self._when[row][place] = step.number + 1
            if step.confidence is not None:
                self._how_sure[row][place] = _share(self.order, float(step.confidence[at, place]))

    @property
    def last(self) -> tuple[Unmasking, ...]:
        """The rows as they were shown last."""
        return self._now

    def save(self, path: Path) -> None:
        """Write the animated SVG. Raises RunError if the system cannot write it."""
        write_text(path, animation(self._now))

    def _update(self, dones: Sequence[int], tokens: Tensor) -> None:
        """Show the rows (rows, length) after so many steps of each."""
        began = time.monotonic()
        rows = zip(self._now, dones, tokens.tolist(), self._when, self._how_sure, strict=False)
        found = []
        for before, done, row, when, how_sure in rows:
            whole = before.open and None not in when
            found.append(
                Unmasking(
                    name=before.name,
                    tokens=self._shown(row, when, how_sure),
                    steps=done if whole else max(before.steps, done),
                    done=done,
                    scale=before.scale,
                    note=before.note,
                    open=before.open and not whole,
                )
            )
        self._now = tuple(found)
        self.show(self._now)
        self.seconds += time.monotonic() - began

    def _shown(
        self, row: Sequence[int], when: Sequence[int | None], how_sure: Sequence[float | None]
    ) -> tuple[ShownToken, ...]:
        """The tokens of a row with what is visible around them, which is cut if it is long."""
        kept = [place for place, token in enumerate(row) if token >= 0]
        texts = token_texts(self.codec, [None if when[place] is None else row[place] for place in kept], self._known)
        found = []
        for place, own in zip(kept, texts, strict=True):
            if when[place] == 0:
                found.append(ShownToken(text=own, kind="prompt", step=0))
                continue
            special = when[place] is not None and not self._known[row[place]]
            text = f"<{row[place]}>" if special else own
            ended = when[place] is not None and row[place] in self.codec.end_tokens
            kind: Kind = "end" if ended else "text"
            found.append(ShownToken(text=text, kind=kind, step=when[place], confidence=how_sure[place]))
        return tuple(_near(found))


def watcher_of(run: Run, first: Setting, split: Split, *, watch: Watch, warned: Warnings, optimum: Optimum) -> Watcher:
    """The watcher of the first row of a split, which reports each step.

    Args:
        run: The run.
        first: The setting of the samples.
        split: The rows to fill.
        watch: What is wished.
        warned: Gets the events; it has the warnings about schedule files so far.
        optimum: Returns the schedule ``optimum``.

    Raises:
        InputError: If the sampler shows no steps, or if the second schedule is unknown or does not fit the first.
    """
    evaluator = run.evaluator.in_blocks(run.evaluator.block_length)
    if not evaluator.filler.shows_steps:
        raise InputError(
            "--watch and --save show the steps of the sampler, and sampler.type external is your own code, whose "
            "steps cannot be seen; leave them out"
        )
    settings = [first]
    if watch.beside is not None:
        settings.append(_second(evaluator, first, watch.beside, optimum))
        for note in (*other_samplers(run, [watch.beside], warned.notes), *same_plans(settings)):
            warned(note)
    comparable = {note.code for note in warned.notes}.isdisjoint(OTHER)
    return Watcher(
        settings=settings,
        names=described(settings, with_values=comparable),
        start=split.start[0],
        mask_id=evaluator.denoiser.mask_id,
        codec=run.model.codec,
        order=drawing_of(first, evaluator.sampler).order,
        show=lambda rows: warned(Watched(rows)),
    )


def _second(evaluator: Evaluator, first: Setting, name: str, optimum: Optimum) -> Setting:
    """The setting of the second schedule, at the steps and the block length of the first one."""
    try:
        (second,) = settings_of(evaluator, [name], [first.steps], optimum=optimum)
    except InputError as error:
        raise InputError(f"--watch: {error}") from None
    if second.block_length != first.block_length:
        raise InputError(
            f"--watch: both schedules must have the same block length, got {first.block_length} for {cut(first.name)} "
            f"and {second.block_length} for {cut(name)}; name a curve such as linear"
        )
    orders = [drawing_of(setting, evaluator.sampler).order for setting in (first, second)]
    if orders[0] != orders[1]:
        raise InputError(
            f"--watch: both schedules must reveal in the same order, so that their colours mean the same, got "
            f"{orders[0]} for {cut(first.name)} and {orders[1]} for {cut(name)}; set sampler.order to one that both "
            "can use"
        )
    return second


def described(settings: Sequence[Setting], *, with_values: bool) -> list[tuple[str, str]]:
    """The name of each schedule for a reader, and what is known of its value.

    The schedule of a file is called tuned. Its file also has the values of baselines at the same steps.

    Args:
        settings: The settings.
        with_values: Whether the values in files were measured with this sampler, model and data.
    """
    names, found, known = [], {}, {}
    for setting in settings:
        entry: dict[str, Any] = {}
        if names_a_file(setting.name):
            budgets = load_schedule(setting.name).record["budgets"]
            entry = next(each for each in budgets if each["steps"] == setting.steps)
            found[setting.name] = _value(entry, entry)
            baselines = entry.get("baselines")
            for name, values in baselines.items() if isinstance(baselines, dict) else ():
                known[name] = _value(values, entry)
        if entry:
            names.append(f"tuned ({short_label(str(entry.get('policy') or entry['schedule']))})")
        else:
            names.append(short_label(setting.name))
    known |= found
    notes = [known.get(setting.name, "") if with_values else "" for setting in settings]
    return list(zip(names, notes, strict=True))


def _value(values: object, entry: dict[str, Any]) -> str:
    """The value in a file with its interval, in words; empty if the file has none, as when a person has edited it."""
    if not isinstance(values, dict) or not isinstance(entry.get("metric"), str):
        return ""
    value, bounds, size = values.get("value"), values.get("ci"), entry.get("n")
    numbers = [value, *(bounds if isinstance(bounds, list) and len(bounds) == 2 else (None,))]
    if not all(isinstance(each, int | float) for each in numbers):
        return ""
    examples = f" on {quantity(size, 'example')}" if isinstance(size, int) else ""
    return f"{cut(entry['metric'])} {interval_text(value, bounds)}{examples}"


def token_texts(codec: Codec, tokens: Sequence[int | None], known: dict[int, str] | None = None) -> list[str]:
    """The text of each token of a row, with the space that a tokenizer puts before a word; empty for None.

    A character that several tokens make together is given to the first of them. Special tokens have no text.

    Args:
        codec: The model's codec.
        tokens: The ids; None for a hidden token.
        known: The texts of single tokens that are known, to which others are added.
    """
    known = {} if known is None else known
    for token in {*tokens} - {None, *known}:
        assert token is not None
        once, twice = codec.decode([token]), codec.decode([token, token])
        # Some decoders drop the space before the first word, but not before the second.
        known[token] = twice[len(once) :] if once and twice.startswith(once) else once
    texts = ["" if token is None else known[token] for token in tokens]
    if tokens and tokens[0] is not None:
        texts[0] = codec.decode([tokens[0]])
    for broken, run in groupby(range(len(texts)), key=lambda place: LOST in texts[place]):
        places = list(run)
        if broken and len(places) > 1:
            together = codec.decode([token for place in places if (token := tokens[place]) is not None])
            texts[places[0] : places[-1] + 1] = [together, *[""] * (len(places) - 1)]
    return texts


def _share(order: Order, confidence: float) -> float | None:
    """The confidence in [0, 1]; None for an end token that was ranked last and so has none."""
    if math.isinf(confidence):
        return None
    return min(1.0, max(0.0, math.exp(confidence) if order == "entropy" else confidence))


def _near(tokens: Sequence[ShownToken]) -> Iterator[ShownToken]:
    """The tokens without those of the prompt that are far from every other token; an ellipsis stands for them."""
    for prompt, run in groupby(tokens, key=lambda token: token.kind == "prompt"):
        part = list(run)
        if not prompt:
            yield from part
            continue
        first, last = part[0] is tokens[0], part[-1] is tokens[-1]
        before = [] if first else _some(part)
        after = [] if last else _some(part[::-1])[::-1]
        if len(before) + len(after) >= len(part):
            yield from part
        else:
            yield from (*before, ShownToken(text=" \u2026 ", kind="prompt", step=0), *after)


def _some(tokens: Sequence[ShownToken]) -> list[ShownToken]:
    """The first tokens, of ``NEARBY`` characters together at most."""
    found, length = [], 0
    for token in tokens:
        length += len(token.text)
        if length > NEARBY:
            break
        found.append(token)
    return found
