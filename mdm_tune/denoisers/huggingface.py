"""Models of the Hugging Face libraries as denoisers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mdm_tune.config.families import FAMILIES, Family, merged, recognised
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
from mdm_tune.denoisers.checks import Examined, check_denoiser
from mdm_tune.denoisers.loaded import LoadedModel
from mdm_tune.denoisers.outputs import UnusableOutput, checked_logits
from mdm_tune.denoisers.placement import spread
from mdm_tune.denoisers.positions import reached
from mdm_tune.denoisers.tokenizer import TokenizerCodec, checked_ends, doubtful_mask, token_ids
from mdm_tune.denoisers.vocabulary import mask_id_of, vocab_size_of

__all__ = ["HuggingFace", "load_huggingface"]

# Of its code: a checkpoint is fingerprinted by its numbers.
KEPT = "correct it; what was finished is kept: run again, a search with --resume"
PROBE = 12  # tokens of a checking row, its frame not counted
TIME_EPS = 1e-3  # of MDLM's log-linear schedule


class HuggingFace:
    """A ``Denoiser`` over a module of transformers.

    vocab_size: logits that are returned; a module's columns beyond them are cut off. mask_id: the hidden token.
    forbidden: ids that are never produced, the mask among them. pad: the id at padding. length: the longest row.
    where: what messages call it.
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
        out = {*forbidden, mask_id}
        self.forbidden = torch.tensor(sorted(token for token in out if token < vocab_size), dtype=torch.int64)
        accepted = inspect.signature(model.forward).parameters
        self.takes_cache = "use_cache" in accepted
        self.head: nn.Module | None = None

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Logits of the original tokens at the wanted positions, in the module's own float type.

        tokens (rows, length) int64, ``mask_id`` where hidden and -1 at padding; wanted (rows, length) bool.
        Returns (wanted.sum(), vocab_size), row by row. Raises InputError when a row is longer than the model, and
        ForeignFailure for what the module raises and for an answer that is no logits.
        """
        asked = wanted.any(1)
        if not bool(asked.any()):
            return torch.empty(0, self.vocab_size, device=tokens.device)
        packed, at, row = _packed(tokens[asked], wanted[asked], self.family.padding)
        if packed.shape[1] > self.length:
            raise InputError(
                f"the model takes at most {quantity(self.length, 'token')}, got a row of {packed.shape[1]}"
            )
        packed, at, row = packed.to(self.device), at.to(self.device), row.to(self.device)
        if self.family.shift_logits:  # the first token of a row has none before it, whatever the padding
            at = torch.where((at > 0) & (packed[row, at - 1] >= 0), at - 1, at)
        with calling(self.where, KEPT, let_through=lambda error: out_of_memory(error) is not None):
            answer = self._logits(packed, row, at)[:, : self.vocab_size]
        try:
            logits = checked_logits(answer, (len(row), self.vocab_size), answer.device)
        except UnusableOutput as error:
            raise ForeignFailure(self.where, f"it must answer with float logits, {error}", KEPT) from None
        logits[:, self.forbidden.to(logits.device)] = -math.inf
        return logits.to(tokens.device)

    def _logits(self, packed: Tensor, row: Tensor, at: Tensor) -> Tensor:
        """The module's own logits (n, columns) at these places; only their hidden states enter the head, if it can."""
        if self.head is None:
            return self.whole(packed)[row, at]

        def pick(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            hidden: Tensor = given[0]
            return (hidden[row.to(hidden.device), at.to(hidden.device)].unsqueeze(0), *given[1:])

        hook = self.head.register_forward_pre_hook(pick)
        try:
            return self.whole(packed)[0]
        finally:
            hook.remove()

    def whole(self, packed: Tensor) -> Tensor:
        """The module's answer (rows, length, columns) to rows (rows, length) on its own device, -1 at padding."""
        real = packed >= 0
        options = dict(self._masks(real))
        if self.family.time == "sigma":
            share = (packed == self.mask_id).sum(1) / real.sum(1).clamp(min=1)
            options["timesteps"] = -torch.log1p(-(1 - TIME_EPS) * share)
        if self.takes_cache:
            options["use_cache"] = False
        answer = self.model(packed.masked_fill(~real, self.pad), **options)
        if isinstance(answer, Tensor):
            return answer
        logits: Tensor = answer[0] if isinstance(answer, tuple) else answer.logits
        return logits

    def _masks(self, real: Tensor) -> Mapping[str, Any]:
        """Attention mask and position ids, in the form that the family takes them."""
        options: dict[str, Any] = {}
        if self.family.attention_mask == "4d":
            options["attention_mask"] = real[:, None, None, :].expand(-1, 1, real.shape[1], -1)
        elif self.family.attention_mask == "2d" and not bool(real.all()):
            options["attention_mask"] = real.long()
        if self.family.position_ids:
            options["position_ids"] = (real.cumsum(1) - 1).clamp(min=0)
        return options

    def find_head(self, packed: Tensor) -> bool:
        """Look for the module through which hidden states become logits, so that only the wanted ones go there.

        It is the outermost that maps (rows, length, width) to logits position by position: tried on ``packed``, at
        least two rows, and taken only where the answer stays the same.
        """
        expected = self.whole(packed)
        shape, found = expected.shape, []

        def note(module: nn.Module, given: tuple[Any, ...], answer: Any) -> None:
            first = given[0] if given else None
            hidden = isinstance(first, Tensor) and first.is_floating_point() and first.shape[:2] == shape[:2]
            if hidden and isinstance(answer, Tensor) and answer.shape == shape:
                found.append(module)

        inner = [module for module in self.model.modules() if module is not self.model]
        hooks = [module.register_forward_hook(note) for module in inner]
        try:
            self.whole(packed)
        finally:
            for hook in hooks:
                hook.remove()
        row, at = (packed >= 0).nonzero(as_tuple=True)
        row, at = row[1::2], at[1::2]
        told = expected[row, at]
        tolerance = 64 * torch.finfo(expected.dtype).eps * max(1.0, float(expected.abs().max()))
        for module in reversed(found):  # an outer module ends after those in it
            self.head = module
            try:
                answer = self._logits(packed, row, at)
            except (Exception, SystemExit):  # whatever this module of somebody else's makes of fewer rows
                continue
            if answer.shape == told.shape and bool(((answer - told).abs() <= tolerance).all()):
                return True
        self.head = None
        return False


def _packed(tokens: Tensor, wanted: Tensor, side: str) -> tuple[Tensor, Tensor, Tensor]:
    """Rows with all padding on one side, no wider than needed, and the column and row of each wanted position."""
    real = tokens >= 0
    order = real.long().sort(dim=1, stable=True, descending=side == "right").indices
    width = int(real.sum(1).max())
    order = order[:, :width] if side == "right" else order[:, tokens.shape[1] - width :]
    row, at = wanted.gather(1, order).nonzero(as_tuple=True)
    return tokens.gather(1, order), at, row


def load_huggingface(
    config: HuggingFaceConfig,
    *,
    trust_code: bool,
    device: str = "cpu",
    free: Mapping[str, int] | None = None,
) -> LoadedModel:
    """The checkpoint that the model section describes, loaded and checked.

    trust_code: whether code that the checkpoint brings may run. device: where the model and its answers lie. free: the
    devices, with their free bytes, that its layers are laid over where it fits on none alone.

    Raises InputError for whatever cannot be loaded, is no masked diffusion model, or fails a check.
    """
    checkpoint = open_checkpoint(config.path, config.revision, trust_code)
    known = FAMILIES[config.family] if config.family is not None else recognised(checkpoint.model_type)
    family = merged(known, config.over_family())
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
    pad, where = checkpoint.whole("pad_token_id"), f"model.path: {checkpoint.name}"
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
    rows, body = _probe(codec, denoiser, stated)
    _first_call(denoiser, rows, where)
    with calling(where, loading=True):
        longest = denoiser.length = reached(model, denoiser.whole, int(rows[0, body.start]), stated, denoiser.device)
    if config.length is not None and config.length > longest:
        raise InputError(f"model.length: must be at most the {longest} tokens of the model, got {config.length}")
    unseen = partial(_padding_is_unseen, denoiser, rows)
    found, notes = check_denoiser(Examined(denoiser, where), rows, body, padding=unseen, mended=family.mended)
    read = f"{where} is read as family {family.name}, by model type {checkpoint.model_type!r}"
    doubts = [*unused, *doubtful_mask(tokenizer, mask_id)]
    if longest < stated:
        doubts.append(
            f"{where} takes rows of at most {quantity(longest, 'token')}: its positions do not reach {stated}"
        )
    said, digits = [*([] if config.family else [read]), *doubts, *notes], fingerprint(model, checkpoint.config)
    return LoadedModel(
        denoiser=found,
        codec=codec,
        length=config.length or longest,
        notes=tuple(said),
        fingerprint=digits,
        doubts=tuple(doubts),
    )


def _probe(codec: TokenizerCodec, denoiser: HuggingFace, longest: int) -> tuple[Tensor, slice]:
    """Two rows of random tokens in the frame of a whole text, and where in them the tokens are."""
    before, after = codec.framed([])
    size = max(3, min(PROBE, longest - len(before) - len(after)))
    out = {*denoiser.forbidden.tolist(), *codec.silent}
    plain = torch.tensor([token for token in range(denoiser.vocab_size) if token not in out])
    if len(plain) < 2:
        raise InputError(
            f"model.tokenizer: at least two tokens must be left that can be produced, got {len(plain)} of "
            f"{denoiser.vocab_size}; give the model's own tokenizer, or fewer in model.never"
        )
    drawn = plain[torch.randint(len(plain), (2, size), generator=torch.Generator().manual_seed(0))]
    rows = [[*before, *row, *after] for row in drawn.tolist()]
    return torch.tensor(rows), slice(len(before), len(before) + size)


def _padding_is_unseen(denoiser: HuggingFace, rows: Tensor) -> bool:
    """Whether what lies at padding changes no answer, not by a bit: rounding cannot hide it, in any float type.

    Where the id at padding decides the positions of the others, it is True: answers are compared anyway.
    """
    if denoiser.family.position_offset or denoiser.family.attention_mask == "none":
        return denoiser.family.position_offset
    tokens = rows.clone()
    tokens[0, : rows.shape[1] // 2] = -1
    own, others = denoiser.pad, rows[rows != denoiser.pad]
    answers = []
    try:
        for pad in (own, int(others[0])):
            denoiser.pad = pad
            with torch.inference_mode():
                answers.append(denoiser(tokens, tokens >= 0))
    except Exception:  # whatever the module, a program of its authors, makes of an attention mask
        return False
    finally:
        denoiser.pad = own
    return torch.equal(*answers)


def _first_call(denoiser: HuggingFace, rows: Tensor, where: str) -> None:
    """Ask once, explain what fails, and look for the head."""
    packed = rows.to(denoiser.device, copy=True)
    try:
        with torch.inference_mode(), quiet():
            answer = denoiser.whole(packed)
            if isinstance(answer, Tensor) and answer.ndim == 3:
                packed[1, ::2] = denoiser.mask_id  # other times in the two rows: a head may depend on them (MDLM's)
                denoiser.find_head(packed)
    except (Exception, SystemExit) as error:  # whatever the module, a program of its authors, raises
        raise InputError(
            f"{where} fails on its first call ({error_text(error)}); "
            f"{mismatch(denoiser.family) or 'check the fields of its family in the section model'}"
        ) from None
    if not isinstance(answer, Tensor) or answer.ndim != 3 or answer.shape[2] < denoiser.vocab_size:
        got = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise InputError(
            f"{where} must answer with logits (rows, length, {denoiser.vocab_size}), got {got}: it has no prediction "
            "head, or another vocabulary; give a checkpoint with its head, or another model.auto_class"
        )
