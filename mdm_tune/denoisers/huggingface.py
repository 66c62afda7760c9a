"""Denoisers made of Hugging Face models."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from mdm_tune.config.families import FAMILIES, Family, family_of_type, refuse_unsupported, with_fields
from mdm_tune.config.models import HuggingFaceConfig
from mdm_tune.core.errors import InputError
from mdm_tune.core.guard import ForeignFailure, calling, error_text, out_of_memory
from mdm_tune.core.messages import quantity, shown
from mdm_tune.denoisers.base import LinearHead, Parts, to_device
from mdm_tune.denoisers.checkpoint import (
    Checkpoint,
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

__all__ = ["HuggingFace", "load_huggingface", "wrap_huggingface"]

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
        self.head_module: nn.Module | None = None
        self.head_is_last = False

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
        has_wanted = wanted.any(1).cpu()
        if not bool(has_wanted.any()):
            return torch.empty(0, self.vocab_size, device=tokens.device)
        row, column = wanted.cpu()[has_wanted].nonzero(as_tuple=True)
        places = self._places(tokens.cpu()[has_wanted], row, column)
        with self._calling():
            output = self._logits_at(*places)[:, : self.vocab_size]
        return self._allowed(output, len(row)).to(tokens.device)

    @property
    def parts(self) -> Parts | None:
        """The model up to its head, and the head; None if no head was found, or if more than a head follows."""
        return self if self.head_is_last else None

    def states(self, tokens: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Return the hidden states (n, width) before the head, see ``Parts``. Raises as the call does."""
        with self._calling():
            return self._states_at(*self._places(tokens, row, column))

    def head(self, states: Tensor) -> Tensor:
        """Return the logits (n, vocab_size) of hidden states (n, width). Raises as the call does."""
        assert self.head_module is not None
        with self._calling():
            output = self.head_module(states.unsqueeze(0))[0, :, : self.vocab_size]
        return self._allowed(output, len(states))

    @property
    def linear(self) -> LinearHead | None:
        """The head as one linear map on the CPU; None if it is another module, or if something changes what it does."""
        module = self.head_module
        if type(module) is not nn.Linear or not module.weight.is_cpu:  # before anything waits for another device
            return None
        if "forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks:  # accelerate sets forward
            return None
        bias = None if module.bias is None else module.bias[: self.vocab_size]
        return LinearHead(module.weight[: self.vocab_size], bias, self.forbidden.cpu())

    def _calling(self) -> AbstractContextManager[None]:
        return calling(self.where, REMEDY, let_through=lambda error: out_of_memory(error) is not None)

    def _places(self, tokens: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The rows as the module receives them, on its device, and where in its output the positions are."""
        rows, column = _repadded(tokens, row, column, self.family.padding)
        if rows.shape[1] > self.length:
            raise InputError(f"the model takes at most {quantity(self.length, 'token')}, got a row of {rows.shape[1]}")
        if self.family.shift_logits:  # the first token of a row has none before it, whatever the padding
            column = torch.where((column > 0) & (rows[row, column - 1] >= 0), column - 1, column)
        return rows, row, column

    def _allowed(self, output: Any, positions: int) -> Tensor:
        """The module's output (positions, vocab_size) as logits, -inf where a token is never produced."""
        try:
            logits = checked_logits(output, (positions, self.vocab_size), output.device)
        except UnusableOutput as error:
            raise ForeignFailure(self.where, f"it must return float logits, {error}", REMEDY) from None
        if self.forbidden.device != logits.device:
            self.forbidden = self.forbidden.to(logits.device)
        return logits.index_fill_(1, self.forbidden, -math.inf)

    def _logits_at(self, rows: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """The module's logits (n, columns) at these rows and columns. The head runs only there if it was found."""
        if self.head_module is None:
            return self.all_logits(rows)[to_device(row, self.device), to_device(column, self.device)]
        return self._with_head_of(lambda hidden: _at(hidden, row, column).unsqueeze(0), rows)[0]

    def _states_at(self, rows: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """What the head receives (n, width) at these rows and columns. The head itself runs at one position only."""
        found: list[Tensor] = []

        def pick(hidden: Tensor) -> Tensor:
            found.append(_at(hidden, row, column))
            return hidden[:1, :1]

        self._with_head_of(pick, rows)
        return found[0]

    def _with_head_of(self, pick: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """The module's logits for rows whose hidden states are changed before the head."""
        assert self.head_module is not None

        def change(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            return (pick(arguments[0]), *arguments[1:])

        hook = self.head_module.register_forward_pre_hook(change)
        try:
            return self.all_logits(rows)
        finally:
            hook.remove()

    def all_logits(self, rows: Tensor) -> Tensor:
        """The module's logits (rows, length, columns) for rows (rows, length) on the CPU, with -1 at padding."""
        is_token = rows >= 0
        options = dict(self._mask_options(is_token))
        if self.family.time == "sigma":
            share = (rows == self.mask_id).sum(1) / is_token.sum(1).clamp(min=1)
            options["timesteps"] = to_device(-torch.log1p(-(1 - TIME_EPS) * share), self.device)
        if self.takes_cache:
            options["use_cache"] = False
        output = self.model(to_device(rows.masked_fill(~is_token, self.pad), self.device), **options)
        if isinstance(output, Tensor):
            return output
        logits: Tensor = output[0] if isinstance(output, tuple) else output.logits
        return logits

    def _mask_options(self, is_token: Tensor) -> Mapping[str, Any]:
        """Attention mask and position ids in the form that the family needs."""
        options: dict[str, Any] = {}
        if self.family.attention_mask == "4d":
            keys = to_device(is_token[:, None, None, :], self.device)
            options["attention_mask"] = keys.expand(-1, 1, is_token.shape[1], -1)
        elif self.family.attention_mask == "2d" and not bool(is_token.all()):
            options["attention_mask"] = to_device(is_token.long(), self.device)
        if self.family.position_ids:
            options["position_ids"] = to_device((is_token.cumsum(1) - 1).clamp(min=0), self.device)
        return options

    def find_head(self, rows: Tensor) -> bool:
        """Look for the head, the module that maps hidden states to logits, so that it runs at wanted positions only.

        The head is the outermost module that maps (rows, length, width) to the logits, position by position. A
        candidate is accepted only if it gives the same logits for some positions as for all of them.

        Args:
            rows: (rows, length) int64, at least two rows, on the CPU.

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
        expected_wanted = _at(expected, row, column)
        tolerance = 64 * torch.finfo(expected.dtype).eps * max(1.0, float(expected.abs().max()))

        def equal(separately: bool) -> bool:
            try:
                if separately and self.head_module is not None:
                    output = self.head_module(self._states_at(rows, row, column).unsqueeze(0))[0]
                else:
                    output = self._logits_at(rows, row, column)
            except (Exception, SystemExit):  # a foreign module may raise anything for fewer positions
                return False
            if output.shape != expected_wanted.shape:
                return False
            return bool(((output.to(expected.device) - expected_wanted).abs() <= tolerance).all())

        for module in reversed(candidates):  # an outer module returns after those inside it
            self.head_module = module
            if equal(separately=False):
                # Some models change the logits after their head, for example by a scale or a cap.
                self.head_is_last = equal(separately=True)
                return True
        self.head_module = None
        return False


def _at(values: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """values (rows, length, ...) at these rows (n,) and columns (n,), which lie on the CPU."""
    return values[to_device(row, values.device), to_device(column, values.device)]


def _repadded(tokens: Tensor, row: Tensor, column: Tensor, side: str) -> tuple[Tensor, Tensor]:
    """Rows with all padding on one side, no wider than needed, and the column of each position (n,) there."""
    is_token = tokens >= 0
    if bool(is_token.all()):
        return tokens, column
    order = is_token.long().sort(dim=1, stable=True, descending=side == "right").indices
    new_column = order.argsort(dim=1)[row, column]
    width = int(is_token.sum(1).max())
    first = 0 if side == "right" else tokens.shape[1] - width
    return tokens.gather(1, order[:, first : first + width]), new_column - first


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
    where = f"model.path: {checkpoint.name}"
    return _checked(config, checkpoint, family, model, tokenizer, where=where, unused=unused, stated=stated)


def wrap_huggingface(model: Any, tokenizer: Any, fields: Mapping[str, Any] | None = None) -> LoadedModel:
    """Check a module and a tokenizer that are in memory, as ``load_huggingface`` does. The module is not changed.

    Args:
        model: The module of transformers, in evaluation mode and on its device.
        tokenizer: Its tokenizer.
        fields: Keys of the model section, such as ``family`` and ``mask_token_id``.

    Raises:
        InputError: If the module or the tokenizer cannot be used, or a key is wrong.
    """
    name = type(model).__name__
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a module of transformers, got {name}; load it with from_pretrained")
    if model.training:
        raise InputError("model must be in evaluation mode, got one in training mode; call model.eval()")
    if not callable(getattr(tokenizer, "get_vocab", None)):
        raise InputError(f"tokenizer must be the model's tokenizer, got {type(tokenizer).__name__}; give it")
    try:
        config = HuggingFaceConfig(type="huggingface", path="model", **(fields or {}))
    except ValidationError as error:
        first = error.errors()[0]
        key, got = ".".join(map(str, first["loc"])), shown(first["input"])
        raise InputError(f"{key}: {first['msg']}, got {got}; correct or remove it") from None
    described = getattr(model, "config", None)
    values = {} if described is None or not hasattr(described, "to_dict") else described.to_dict()
    checkpoint = Checkpoint(name, Path(), values)
    table_family = FAMILIES[config.family] if config.family is not None else family_of_type(checkpoint.model_type)
    family = with_fields(table_family, config.over_family())
    refuse_unsupported(values, name)
    where, stated = f"the model {name}", checkpoint.longest(family)
    return _checked(config, checkpoint, family, model, tokenizer, where=where, stated=stated)


def _checked(
    config: HuggingFaceConfig,
    checkpoint: Checkpoint,
    family: Family,
    model: Any,
    tokenizer: Any,
    *,
    where: str,
    stated: int,
    unused: Sequence[str] = (),
) -> LoadedModel:
    """The module as a denoiser, after all checks. stated: the longest row by config.json; unused: doubts about it."""
    vocab_size = vocab_size_of(checkpoint, model, tokenizer)
    mask_id = mask_id_of(config.mask_token_id, checkpoint, family, tokenizer, vocab_size)
    never = token_ids(tokenizer, family.never, "model.never" if config.never is not None else None)
    ends = token_ids(tokenizer, family.end_tokens, "model.end_tokens" if config.end_tokens is not None else None)
    ends = checked_ends(tokenizer, ends, never, mask_id, vocab_size, family.name)
    codec = TokenizerCodec(tokenizer, vocab_size=vocab_size, hidden=(mask_id,), end_tokens=ends, split=family.split)
    pad = checkpoint.whole_number("pad_token_id")
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
    half_masked = rows.clone()
    half_masked[1, ::2] = denoiser.mask_id  # two different times: MDLM's head depends on them
    try:
        with torch.inference_mode(), quiet():
            output = denoiser.all_logits(rows)
            if isinstance(output, Tensor) and output.ndim == 3:
                denoiser.find_head(half_masked)
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
