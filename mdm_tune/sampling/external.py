"""The user's own code instead of the unmasking loop. It gets prompts, counts and seeds, and returns tokens and NFE."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.core.digests import short_digest
from mdm_tune.core.errors import InputError
from mdm_tune.core.guard import RUN_AGAIN, calling, safe_repr
from mdm_tune.core.messages import shown_path
from mdm_tune.core.trust import load_target, options_text
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.sampling.unmasking import CountPlan, Plan, RevealPlan, Unmasked

__all__ = ["ExternalSampler", "Generated", "load_external"]

FIELDS = ("tokens", "nfe", "denoiser_rows")
MAX_COUNT = 2**53  # largest count: floats represent whole numbers exactly up to it


@dataclass(frozen=True)
class Generated:
    """The result of the user's code. An object with these attributes, a dict, or a tuple in this order also works.

    Attributes:
        tokens: (rows, length) int64, the prompts with all masked positions filled; a tensor on any device, or an array.
        nfe: (rows,) integers, denoiser calls that each row waited for; or one integer for all rows.
        denoiser_rows: Sequence forwards of all rows together; None is the sum of ``nfe``.
    """

    tokens: Any
    nfe: Any
    denoiser_rows: int | None = None


class ExternalSampler:
    """The user's code in place of ``sampling.unmask``.

    ``generate(prompts, counts, seeds, **options)`` fills one batch of rows and returns a ``Generated``:

    - prompts: (rows, length) int64, ``mask_id`` at the positions to fill and -1 at padding, which stands before shorter
      rows. All other positions are prompt and must be returned unchanged.
    - counts: (rows, blocks, steps) int64. Step i of block b must reveal ``counts[row, b, i]`` positions. Block b
      consists of the next ``counts[row, b].sum()`` masked positions from the left. A count of 0 is no step; blocks with
      fewer steps than others end in zeros.
    - seeds: (rows,) uint64, a NumPy array. All randomness of a row must come from its seed, so that every schedule has
      the same noise and no row depends on its batch.

    The code also receives ``model`` (the module of a Hugging Face checkpoint), ``denoiser``, ``device`` and
    ``mask_id`` if it has arguments of these names, so that the model of the config is not loaded twice.

    Args:
        generate: The user's code.
        denoiser: The denoiser of the config.
        target: ``FILE.py:NAME``, the place of the code.
        options: Further arguments of the code.
        device: Device of the prompts.
    """

    def __init__(
        self,
        generate: Callable[..., Any],
        denoiser: Denoiser,
        target: str,
        options: Mapping[str, Any],
        device: str = "cpu",
    ) -> None:
        self.generate, self.target = generate, target
        self.vocab_size, self.mask_id = denoiser.vocab_size, denoiser.mask_id
        self.file = Path(target.rpartition(":")[0])
        parameters = _parameters(generate)
        available = {"denoiser": denoiser, "device": device, "mask_id": denoiser.mask_id}
        model_module = getattr(getattr(denoiser, "inner", denoiser), "model", None)
        available |= {} if model_module is None else {"model": model_module}
        self.user_options = dict(options)
        self.options = {name: value for name, value in available.items() if name in parameters} | self.user_options

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits of the file, the name and the options. Other files that the code loads do not count."""
        call = options_text([self.target.rpartition(":")[2], self.user_options])
        return short_digest(self.file.read_bytes(), call)

    def unmask(
        self,
        tokens: Tensor,
        plan: Plan,
        *,
        seeds: NDArray[np.uint64],
        batch: int = 128,
        reference: Tensor | None = None,
    ) -> Unmasked:
        """Fill rows by the user's code, ``batch`` rows at a time.

        The parameters are those of ``sampling.unmask``, without those that the code itself decides.
        ``denoiser_tokens`` counts whole rows, even if the code uses a cache.

        Raises:
            InputError: If there is a reference, the plan has no counts, or the code returns a wrong result.
            RunError: If the code fails.
        """
        if reference is not None:
            raise InputError(
                f"sampler.target: {self.target} returns tokens without their probabilities, and so no likelihood of "
                "references; choose a metric of answers, or set sampler.type to builtin"
            )
        if not isinstance(plan, CountPlan):
            kind = "ancestral reveal" if isinstance(plan, RevealPlan) else f"an adaptive policy ({type(plan).__name__})"
            raise InputError(
                f"sampler.target: {self.target} receives the number of tokens per step in advance, got {kind}, whose "
                "numbers depend on the predictions or the noise; leave it out, or set sampler.type to builtin"
            )
        parts = [
            self._generate_batch(tokens[part], plan.counts[part], seeds[part], part.start)
            for part in (slice(first, first + batch) for first in range(0, len(tokens), batch))
        ]
        return Unmasked(
            tokens=torch.cat([tokens[:0], *(part.tokens for part in parts)]),
            nll=None,
            nfe=torch.cat([torch.zeros(0, dtype=torch.int64, device=tokens.device), *(part.nfe for part in parts)]),
            denoiser_rows=sum(part.denoiser_rows for part in parts),
            denoiser_tokens=sum(part.denoiser_tokens for part in parts),
        )

    def _generate_batch(self, prompts: Tensor, counts: Tensor, seeds: NDArray[np.uint64], first: int) -> Unmasked:
        """Fill one batch and check the result; first: the number of its first row in messages."""
        remedy = f"correct it, or lower sampler.batch where the memory does not suffice, {RUN_AGAIN}"
        place = f"on rows {first} to {first + len(prompts) - 1}"
        with torch.no_grad(), calling(self._where, remedy, file=self.file, place=place):
            output = self.generate(prompts.clone(), counts.clone(), seeds.copy(), **self.options)
            generated = self._parse(output, first)
        tokens = self._checked_tokens(generated.tokens, prompts, first)
        nfe = self._checked_nfe(generated.nfe, prompts, first)
        rows, total_nfe = generated.denoiser_rows, int(nfe.sum())
        if rows is None:
            rows = total_nfe
        elif isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= MAX_COUNT:
            raise self._error("denoiser_rows", "count sequence forwards as a whole number", safe_repr(rows), first)
        positions = int((nfe * (prompts >= 0).sum(1)).sum())
        return Unmasked(
            tokens=tokens,
            nll=None,
            nfe=nfe,
            denoiser_rows=rows,
            denoiser_tokens=round(positions * rows / max(1, total_nfe)),
        )

    @property
    def _where(self) -> str:
        return f"sampler.target: {shown_path(self.target)}"

    def _error(self, check: str, rule: str, received: str, first: int) -> InputError:
        where = f"{self._where}: check {check!r} failed in the batch from row {first} on"
        return InputError(f"{where}: the code must {rule}, got {received}; correct it, {RUN_AGAIN}")

    def _parse(self, output: Any, first: int) -> Generated:
        """The result of the code as ``Generated``, from an object, a dict or a tuple."""
        if isinstance(output, Mapping):
            fields = dict(output)
        elif isinstance(output, tuple) and not hasattr(output, "tokens"):
            fields = dict(zip(FIELDS, output, strict=False)) if len(output) <= len(FIELDS) else {}
        else:
            fields = {name: getattr(output, name) for name in FIELDS if hasattr(output, name)}
        if not {"tokens", "nfe"} <= fields.keys() <= set(FIELDS):
            received = type(output).__name__ + (
                f" of [{', '.join(map(safe_repr, sorted(fields, key=str)))}]" if fields else ""
            )
            raise self._error("answer", "return tokens and nfe, as a tuple, a dict or attributes", received, first)
        return Generated(**fields)

    def _checked_tokens(self, value: Any, prompts: Tensor, first: int) -> Tensor:
        raw_tokens: Any = value
        if isinstance(value, np.ndarray) and value.dtype == np.int64:
            raw_tokens = torch.from_numpy(
                np.ascontiguousarray(value)
            )  # torch cannot share memory with negative strides
        dense = isinstance(raw_tokens, Tensor) and raw_tokens.layout is torch.strided and not raw_tokens.is_meta
        if not dense or raw_tokens.shape != prompts.shape or raw_tokens.dtype != torch.int64:
            has_shape = isinstance(raw_tokens, Tensor | np.ndarray)
            received = f"{tuple(raw_tokens.shape)} {raw_tokens.dtype}" if has_shape else type(raw_tokens).__name__
            received += "" if dense or not isinstance(raw_tokens, Tensor) else ", not dense"
            raise self._error(
                "shape", f"return tokens {tuple(prompts.shape)} torch.int64, as the prompts", received, first
            )
        tokens: Tensor = raw_tokens.to(prompts.device)
        hidden = prompts == self.mask_id
        in_vocabulary = (tokens >= 0) & (tokens < self.vocab_size)
        for check, rule, is_wrong in (
            ("prompt", "leave prompt and padding as they are", ~hidden & (tokens != prompts)),
            ("finished", "leave no position masked", hidden & (tokens == self.mask_id)),
            ("vocabulary", f"draw tokens from 0 to {self.vocab_size - 1}", hidden & ~in_vocabulary),
        ):
            if bool(is_wrong.any()):
                row, position = is_wrong.nonzero()[0].tolist()
                received = f"token {int(tokens[row, position])} at position {position} of row {first + row}"
                raise self._error(check, rule, received, first)
        return tokens

    def _checked_nfe(self, value: Any, prompts: Tensor, first: int) -> Tensor:
        rows = len(prompts)
        try:
            nfe = torch.as_tensor(value).detach().to(prompts.device)
        except Exception:  # text, nested lists, numbers beyond 64 bits, tensors without values
            raise self._error(
                "nfe", f"return nfe as ({rows},) integers, or one for all rows", safe_repr(value), first
            ) from None
        nfe = nfe.expand(rows) if nfe.ndim == 0 else nfe
        if nfe.shape != (rows,) or nfe.dtype not in (torch.int64, torch.int32):
            received = f"{tuple(nfe.shape)} {nfe.dtype}"
            raise self._error("nfe", f"return nfe as ({rows},) integers, or one for all rows", received, first)
        if bool(((nfe < 1) | (nfe > MAX_COUNT // rows)).any()):
            row = int(((nfe < 1) | (nfe > MAX_COUNT // rows)).nonzero()[0, 0])
            raise self._error("nfe", "count one call or more", f"{int(nfe[row])} for row {first + row}", first)
        return nfe.long()


def load_external(
    target: str,
    denoiser: Denoiser,
    *,
    trust_code: bool,
    options: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> ExternalSampler:
    """Load the user's code that replaces the unmasking loop.

    Args:
        target: ``FILE.py:NAME``, the place of the code.
        denoiser: The denoiser of the config.
        trust_code: Whether the user's code may run.
        options: Further arguments of the code.
        device: Device of the prompts.

    Raises:
        InputError: If ``trust_code`` is False, the code cannot be loaded, or does not accept its arguments.
    """
    generate = load_target(target, trust_code, "sampler.target")
    sampler = ExternalSampler(generate, denoiser, target, options or {}, device)
    try:
        inspect.signature(generate).bind(None, None, None, **sampler.options)
    except ValueError:  # raised for code that is not Python
        pass
    except TypeError as error:
        raise InputError(
            f"sampler.target: {shown_path(target)} is called with (prompts, counts, seeds) and sampler.options "
            f"[{', '.join(map(safe_repr, sorted(sampler.user_options)))}], and does not accept them: "
            f"{safe_repr(str(error), 200)}; correct its arguments, or the options"
        ) from None
    return sampler


def _parameters(generate: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return inspect.signature(generate).parameters
    except (TypeError, ValueError):  # raised for code that is not Python
        return {}
