"""Denoisers made of Hugging Face models."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mdm_tune.config.families import FAMILIES, Family, family_of_type, with_fields
from mdm_tune.config.models import HuggingFaceConfig
from mdm_tune.core.errors import InputError
from mdm_tune.core.guard import ForeignFailure, calling, error_text, out_of_memory
from mdm_tune.core.messages import quantity
from mdm_tune.denoisers.checkpoint import (
    fingerprint,
    load_checkpoint_model,
    load_tokenizer,
    mismatch,
    open_checkpoint,
    quiet,
)
from mdm_tune.denoisers.checks import ExaminedDenoiser, check_denoiser
from mdm_tune.denoisers.compiling import compile_denoiser
from mdm_tune.denoisers.loaded import LoadedModel
from mdm_tune.denoisers.outputs import UnusableOutput, checked_logits
from mdm_tune.denoisers.placement import spread
from mdm_tune.denoisers.positions import longest_row
from mdm_tune.denoisers.tokenizer import TokenizerCodec, checked_ends, doubtful_mask, token_ids
from mdm_tune.denoisers.vocabulary import mask_id_of, vocab_size_of

__all__ = ["HuggingFace", "load_huggingface"]

# For errors in a checkpoint's code. It may change within a search, since the fingerprint covers only weights.
REMEDY = "correct it; what was finished is kept: run again, a search with --resume"
PROBE_TOKENS = 12  # tokens of a row for the checks, without its special tokens
TIME_EPS = 1e-3  # of MDLM's log-linear schedule


class HuggingFace:
    """A ``Denoiser`` around a module of transformers.

    Args:
        model: The module.
        family: How the module takes attention masks, positions and time.
        vocab_size: Number of logits per position; further columns of the module are dropped.
        mask_id: Id of the mask.
        forbidden: Ids that are never produced; the mask is added to them.
        pad: Id that the module receives at padding.
        length: Longest row, in tokens.
        where: Name of the model in messages.
    """

    def __init__(
        self,
        model: nn.Module,
        family: Family,
        *,
        vocab_size: int,
        mask_id: int,
        forbidden: Sequence[int] = (),
        pad: int = 0,
        length: int = 65_536,
        where: str = "the model",
    ) -> None:
        self.where = where
        self.model, self.family, self.length, self.pad = model, family, length, pad
        self.vocab_size, self.mask_id = vocab_size, mask_id
        self.device = next(model.parameters()).device  # of the embedding, where the layers lie on several
        excluded = {*forbidden, mask_id}
        self.forbidden = torch.tensor(sorted(token for token in excluded if token < vocab_size), dtype=torch.int64)
        accepted = inspect.signature(model.forward).parameters
        self.takes_cache = "use_cache" in accepted
        self.head: nn.Module | None = None

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Return the logits of the original tokens at the wanted positions.

        Args:
            tokens: (rows, length) int64, ``mask_id`` at hidden positions and -1 at padding.
            wanted: (rows, length) bool, True at the positions to predict.

        Returns:
            (wanted.sum(), vocab_size), row by row, in the module's own float type.

        Raises:
            InputError: If a row is longer than the model allows.
            ForeignFailure: If the module raises, or returns no logits.
        """
        has_wanted = wanted.any(1)
        if not bool(has_wanted.any()):
            return torch.empty(0, self.vocab_size, device=tokens.device)
        rows, column, row = _repadded(tokens[has_wanted], wanted[has_wanted], self.family.padding)
        if rows.shape[1] > self.length:
            raise InputError(f"the model takes at most {quantity(self.length, 'token')}, got a row of {rows.shape[1]}")
        rows, column, row = rows.to(self.device), column.to(self.device), row.to(self.device)
        if self.family.shift_logits:  # the first token of a row has none before it, whatever the padding
            column = torch.where((column > 0) & (rows[row, column - 1] >= 0), column - 1, column)
        with calling(self.where, REMEDY, let_through=lambda error: out_of_memory(error) is not None):
            output = self._logits_at(rows, row, column)[:, : self.vocab_size]
        try:
            logits = checked_logits(output, (len(row), self.vocab_size), output.device)
        except UnusableOutput as error:
            raise ForeignFailure(self.where, f"it must return float logits, {error}", REMEDY) from None
        logits[:, self.forbidden.to(logits.device)] = -math.inf
        return logits.to(tokens.device)

    def _logits_at(self, rows: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """The module's logits (n, columns) at these rows and columns. The head runs only there if it was found."""
        if self.head is None:
            return self.all_logits(rows)[row, column]

        def pick(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            hidden: Tensor = arguments[0]
            return (hidden[row.to(hidden.device), column.to(hidden.device)].unsqueeze(0), *arguments[1:])

        hook = self.head.register_forward_pre_hook(pick)
        try:
            return self.all_logits(rows)[0]
        finally:
            hook.remove()

    def all_logits(self, rows: Tensor) -> Tensor:
        """The module's logits (rows, length, columns) for rows (rows, length) on its device, with -1 at padding."""
        is_token = rows >= 0
        options = dict(self._mask_options(is_token))
        if self.family.time == "sigma":
            share = (rows == self.mask_id).sum(1) / is_token.sum(1).clamp(min=1)
            options["timesteps"] = -torch.log1p(-(1 - TIME_EPS) * share)
        if self.takes_cache:
            options["use_cache"] = False
        output = self.model(rows.masked_fill(~is_token, self.pad), **options)
        if isinstance(output, Tensor):
            return output
        logits: Tensor = output[0] if isinstance(output, tuple) else output.logits
        return logits

    def _mask_options(self, is_token: Tensor) -> Mapping[str, Any]:
        """Attention mask and position ids in the form that the family needs."""
        options: dict[str, Any] = {}
        if self.family.attention_mask == "4d":
            options["attention_mask"] = is_token[:, None, None, :].expand(-1, 1, is_token.shape[1], -1)
        elif self.family.attention_mask == "2d" and not bool(is_token.all()):
            options["attention_mask"] = is_token.long()
        if self.family.position_ids:
            options["position_ids"] = (is_token.cumsum(1) - 1).clamp(min=0)
        return options

    def find_head(self, rows: Tensor) -> bool:
        """Look for the head, the module that maps hidden states to logits, so that it runs at wanted positions only.

        The head is the outermost module that maps (rows, length, width) to the logits, position by position. A
        candidate is accepted only if it gives the same logits for some positions as for all of them.

        Args:
            rows: (rows, length) int64, at least two rows, on the module's device.

        Returns:
            Whether a head was found.
        """
        expected = self.all_logits(rows)
        shape, candidates = expected.shape, []

        def record(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
            first = arguments[0] if arguments else None
            hidden = isinstance(first, Tensor) and first.is_floating_point() and first.shape[:2] == shape[:2]
            if hidden and isinstance(output, Tensor) and output.shape == shape:
                candidates.append(module)

        inner = [module for module in self.model.modules() if module is not self.model]
        hooks = [module.register_forward_hook(record) for module in inner]
        try:
            self.all_logits(rows)
        finally:
            for hook in hooks:
                hook.remove()
        row, column = (rows >= 0).nonzero(as_tuple=True)
        row, column = row[1::2], column[1::2]
        expected_wanted = expected[row, column]
        tolerance = 64 * torch.finfo(expected.dtype).eps * max(1.0, float(expected.abs().max()))
        for module in reversed(candidates):  # an outer module returns after those inside it
            self.head = module
            try:
                output = self._logits_at(rows, row, column)
            except (Exception, SystemExit):  # a foreign module may raise anything for fewer positions
                continue
            if output.shape == expected_wanted.shape and bool(((output - expected_wanted).abs() <= tolerance).all()):
                return True
        self.head = None
        return False


def _repadded(tokens: Tensor, wanted: Tensor, side: str) -> tuple[Tensor, Tensor, Tensor]:
    """Rows with all padding on one side, no wider than needed, and the column and row of each wanted position."""
    is_token = tokens >= 0
    order = is_token.long().sort(dim=1, stable=True, descending=side == "right").indices
    width = int(is_token.sum(1).max())
    order = order[:, :width] if side == "right" else order[:, tokens.shape[1] - width :]
    row, column = wanted.gather(1, order).nonzero(as_tuple=True)
    return tokens.gather(1, order), column, row


def load_huggingface(
    config: HuggingFaceConfig,
    *,
    trust_code: bool,
    device: str = "cpu",
    free: Mapping[str, int] | None = None,
) -> LoadedModel:
    """Load and check the checkpoint that the model section describes.

    Args:
        config: The model section.
        trust_code: Whether the checkpoint's own code may run.
        device: Device of the model.
        free: Free bytes of several devices; the layers are spread over them instead of ``device``.

    Raises:
        InputError: If the checkpoint cannot be loaded, is no masked diffusion model, or fails a check.
    """
    checkpoint = open_checkpoint(config.path, config.revision, trust_code)
    table_family = FAMILIES[config.family] if config.family is not None else family_of_type(checkpoint.model_type)
    family = with_fields(table_family, config.over_family())
    stated = checkpoint.longest(family)
    tokenizer = load_tokenizer(checkpoint, config.tokenizer, family.tokenizer, trust_code)
    model, unused = load_checkpoint_model(checkpoint, family, config.dtype, trust_code)
    model = model.to(device) if free is None else spread(model, free)
    vocab_size = vocab_size_of(checkpoint, model, tokenizer)
    mask_id = mask_id_of(config.mask_token_id, checkpoint, family, tokenizer, vocab_size)
    never = token_ids(tokenizer, family.never, "model.never" if config.never is not None else None)
    ends = token_ids(tokenizer, family.end_tokens, "model.end_tokens" if config.end_tokens is not None else None)
    ends = checked_ends(tokenizer, ends, never, mask_id, vocab_size, family.name)
    codec = TokenizerCodec(tokenizer, vocab_size=vocab_size, hidden=(mask_id,), end_tokens=ends, split=family.split)
    pad, where = checkpoint.whole_number("pad_token_id"), f"model.path: {checkpoint.name}"
    denoiser = HuggingFace(
        model,
        family,
        vocab_size=vocab_size,
        mask_id=mask_id,
        forbidden=[*never, *(set(range(vocab_size)) - codec.ids)],
        pad=pad if pad is not None and 0 <= pad < vocab_size else 0,
        length=stated,
        where=where,
    )
    rows, body = _probe_rows(codec, denoiser, stated)
    _check_first_call(denoiser, rows, where)
    with calling(where, loading=True):
        token = int(rows[0, body.start])
        longest = denoiser.length = longest_row(model, denoiser.all_logits, token, stated, denoiser.device)
    if config.length is not None and config.length > longest:
        raise InputError(f"model.length: must be at most the {longest} tokens of the model, got {config.length}")
    if config.compile:  # before the checks, which then check the compiled layers
        hidden = torch.full_like(rows[:, body], mask_id)
        compile_denoiser(denoiser, model, hidden, where)
    ignored = partial(_padding_is_ignored, denoiser, rows)
    examined = ExaminedDenoiser(denoiser, where)
    checked, notes = check_denoiser(examined, rows, body, padding=ignored, padding_fix=family.mask_fixed_in)
    read = f"{where} is read as family {family.name}, by model type {checkpoint.model_type!r}"
    doubts = [*unused, *doubtful_mask(tokenizer, mask_id)]
    if longest < stated:
        doubts.append(
            f"{where} takes rows of at most {quantity(longest, 'token')}: its positions do not reach {stated}"
        )
    return LoadedModel(
        denoiser=checked,
        codec=codec,
        length=config.length or longest,
        notes=(*([] if config.family else [read]), *doubts, *notes),
        fingerprint=fingerprint(model, checkpoint.config),
        doubts=tuple(doubts),
    )


def _probe_rows(codec: TokenizerCodec, denoiser: HuggingFace, longest: int) -> tuple[Tensor, slice]:
    """Two rows of random tokens between the special tokens of a whole text, and the columns of the random tokens."""
    before, after = codec.framed([])
    size = max(3, min(PROBE_TOKENS, longest - len(before) - len(after)))
    excluded = {*denoiser.forbidden.tolist(), *codec.not_decoded}
    usable = torch.tensor([token for token in range(denoiser.vocab_size) if token not in excluded])
    if len(usable) < 2:
        raise InputError(
            f"model.tokenizer: the model must be able to produce at least two tokens, got {len(usable)} of "
            f"{denoiser.vocab_size}; give the model's own tokenizer, or fewer in model.never"
        )
    drawn = usable[torch.randint(len(usable), (2, size), generator=torch.Generator().manual_seed(0))]
    rows = [[*before, *row, *after] for row in drawn.tolist()]
    return torch.tensor(rows), slice(len(before), len(before) + size)


def _padding_is_ignored(denoiser: HuggingFace, rows: Tensor) -> bool:
    """Whether the id at padding changes no logit, not even in the last bit, in any float type.

    For a family that counts positions from the padding id, the result is True: this test does not apply to it, and
    ``check_denoiser`` compares predictions with and without padding in any case.
    """
    if denoiser.family.position_offset or denoiser.family.attention_mask == "none":
        return denoiser.family.position_offset
    tokens = rows.clone()
    tokens[0, : rows.shape[1] // 2] = -1
    original, other_ids = denoiser.pad, rows[rows != denoiser.pad]
    results = []
    try:
        for pad in (original, int(other_ids[0])):
            denoiser.pad = pad
            with torch.inference_mode():
                results.append(denoiser(tokens, tokens >= 0))
    except Exception:  # the module's own code may raise anything for an attention mask
        return False
    finally:
        denoiser.pad = original
    return torch.equal(*results)


def _check_first_call(denoiser: HuggingFace, rows: Tensor, where: str) -> None:
    """Call the module once, explain an error as InputError, and look for the head."""
    rows_on_device = rows.to(denoiser.device, copy=True)
    try:
        with torch.inference_mode(), quiet():
            output = denoiser.all_logits(rows_on_device)
            if isinstance(output, Tensor) and output.ndim == 3:
                rows_on_device[1, ::2] = denoiser.mask_id  # two different times: MDLM's head depends on them
                denoiser.find_head(rows_on_device)
    except (Exception, SystemExit) as error:  # the module's own code may raise anything
        raise InputError(
            f"{where} fails on its first call ({error_text(error)}); "
            f"{mismatch(denoiser.family) or 'check the fields of its family in the section model'}"
        ) from None
    if not isinstance(output, Tensor) or output.ndim != 3 or output.shape[2] < denoiser.vocab_size:
        received = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"{where} must return logits (rows, length, {denoiser.vocab_size}), got {received}: it has no prediction "
            "head, or another vocabulary; give a checkpoint with its head, or another model.auto_class"
        )
