"""Generate code of the user's own in place of the unmasking loop: prompts, counts and seeds in, tokens and NFE out."""

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
MOST = 2**53  # of a count: what floating point still tells from its neighbours


@dataclass(frozen=True)
class Generated:
    """What generate code returns; any object with these attributes will do, a dict, or a tuple in this order.

    tokens (rows, length) int64: the prompts with their masked positions filled, a tensor on any device or an array.
    nfe: denoiser calls that each row waited for, (rows,) integers or one for all rows. denoiser_rows: sequence forwards
    of all rows together; without it the sum of nfe.
    """

    tokens: Any
    nfe: Any
    denoiser_rows: int | None = None


class ExternalSampler:
    """Somebody else's code in place of ``sampling.unmask``.

    generate(prompts, counts, seeds, **options) fills one batch of rows and returns a ``Generated``:

    - prompts (rows, length) int64: ``mask_id`` at the positions to fill, -1 at padding, which stands before shorter
      rows; anything else is prompt and must come back unchanged;
    - counts (rows, blocks, steps) int64: step i of block b is to reveal ``counts[row, b, i]`` positions. Block b holds
      the next ``counts[row, b].sum()`` masked positions from the left. A count of 0 is no step: blocks of fewer steps
      than others end in zeros;
    - seeds (rows,) uint64, a NumPy array: all randomness of a row is to come from its seed, so that every schedule
      meets the same noise and no row depends on the batch that it is in.

    It also gets those of ``model`` (the module of a Hugging Face checkpoint), ``denoiser``, ``device`` and ``mask_id``
    that it names as arguments, so that the model of the config is not loaded twice.
    target: ``FILE.py:NAME``, where the code is.
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
        named = _parameters(generate)
        offered = {"denoiser": denoiser, "device": device, "mask_id": denoiser.mask_id}
        module = getattr(getattr(denoiser, "inner", denoiser), "model", None)
        offered |= {} if module is None else {"model": module}
        self.own = dict(options)
        self.options = {name: value for name, value in offered.items() if name in named} | self.own

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits of the file, the name and the options: what the code loads beside them is not seen."""
        told = options_text([self.target.rpartition(":")[2], self.own])
        return short_digest(self.file.read_bytes(), told)

    def unmask(
        self,
        tokens: Tensor,
        plan: Plan,
        *,
        seeds: NDArray[np.uint64],
        batch: int = 128,
        reference: Tensor | None = None,
    ) -> Unmasked:
        """``sampling.unmask`` by this code, ``batch`` rows at a time; how tokens are drawn is the code's own affair.

        ``denoiser_tokens`` counts rows as whole: what a cache saves of one is not seen.

        Raises InputError for a reference, for a plan without counts and for an answer that is none, RunError where the
        code fails.
        """
        if reference is not None:
            raise InputError(
                f"sampler.target: {self.target} returns tokens without their probabilities, and so no likelihood of "
                "given ones; choose a metric of answers, or set sampler.type to builtin"
            )
        if not isinstance(plan, CountPlan):
            kind = "ancestral reveal" if isinstance(plan, RevealPlan) else f"an adaptive plan ({type(plan).__name__})"
            raise InputError(
                f"sampler.target: {self.target} is told how many tokens each step reveals, got {kind}, which knows "
                "that only as it goes; leave it out, or set sampler.type to builtin"
            )
        parts = [
            self._filled(tokens[part], plan.counts[part], seeds[part], part.start)
            for part in (slice(first, first + batch) for first in range(0, len(tokens), batch))
        ]
        return Unmasked(
            tokens=torch.cat([tokens[:0], *(part.tokens for part in parts)]),
            nll=None,
            nfe=torch.cat([torch.zeros(0, dtype=torch.int64, device=tokens.device), *(part.nfe for part in parts)]),
            denoiser_rows=sum(part.denoiser_rows for part in parts),
            denoiser_tokens=sum(part.denoiser_tokens for part in parts),
        )

    def _filled(self, prompts: Tensor, counts: Tensor, seeds: NDArray[np.uint64], first: int) -> Unmasked:
        """One batch, whose first row has the number ``first`` in messages, and its answer checked."""
        remedy = f"correct it, or lower sampler.batch where the memory does not suffice, {RUN_AGAIN}"
        place = f"on rows {first} to {first + len(prompts) - 1}"
        with torch.no_grad(), calling(self._where, remedy, file=self.file, place=place):
            answer = self.generate(prompts.clone(), counts.clone(), seeds.copy(), **self.options)
            found = self._read(answer, first)
        tokens = self._tokens(found.tokens, prompts, first)
        nfe = self._nfe(found.nfe, prompts, first)
        rows, calls = found.denoiser_rows, int(nfe.sum())
        if rows is None:
            rows = calls
        elif isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= MOST:
            raise self._wrong("denoiser_rows", "count sequence forwards as a whole number", safe_repr(rows), first)
        positions = int((nfe * (prompts >= 0).sum(1)).sum())
        return Unmasked(
            tokens=tokens,
            nll=None,
            nfe=nfe,
            denoiser_rows=rows,
            denoiser_tokens=round(positions * rows / max(1, calls)),
        )

    @property
    def _where(self) -> str:
        return f"sampler.target: {shown_path(self.target)}"

    def _wrong(self, check: str, rule: str, got: str, first: int) -> InputError:
        where = f"{self._where}: check {check!r} failed in the batch from row {first} on"
        return InputError(f"{where}: the code must {rule}, got {got}; correct it, {RUN_AGAIN}")

    def _read(self, answer: Any, first: int) -> Generated:
        """The answer, whatever its form."""
        if isinstance(answer, Mapping):
            given = dict(answer)
        elif isinstance(answer, tuple) and not hasattr(answer, "tokens"):
            given = dict(zip(FIELDS, answer, strict=False)) if len(answer) <= len(FIELDS) else {}
        else:
            given = {name: getattr(answer, name) for name in FIELDS if hasattr(answer, name)}
        if not {"tokens", "nfe"} <= given.keys() <= set(FIELDS):
            got = type(answer).__name__ + (
                f" of [{', '.join(map(safe_repr, sorted(given, key=str)))}]" if given else ""
            )
            raise self._wrong("answer", "return tokens and nfe, as a tuple, a dict or attributes", got, first)
        return Generated(**given)

    def _tokens(self, given: Any, prompts: Tensor, first: int) -> Tensor:
        found: Any = given
        if isinstance(given, np.ndarray) and given.dtype == np.int64:
            found = torch.from_numpy(np.ascontiguousarray(given))  # one that runs backwards cannot be shared
        dense = isinstance(found, Tensor) and found.layout is torch.strided and not found.is_meta
        if not dense or found.shape != prompts.shape or found.dtype != torch.int64:
            whole = isinstance(found, Tensor | np.ndarray)
            got = f"{tuple(found.shape)} {found.dtype}" if whole else type(found).__name__
            got += "" if dense or not isinstance(found, Tensor) else ", not dense"
            raise self._wrong("shape", f"return tokens {tuple(prompts.shape)} torch.int64, as the prompts", got, first)
        tokens: Tensor = found.to(prompts.device)
        hidden = prompts == self.mask_id
        known = (tokens >= 0) & (tokens < self.vocab_size)
        for check, rule, wrong in (
            ("prompt", "leave prompt and padding as they are", ~hidden & (tokens != prompts)),
            ("finished", "leave no position masked", hidden & (tokens == self.mask_id)),
            ("vocabulary", f"draw tokens from 0 to {self.vocab_size - 1}", hidden & ~known),
        ):
            if bool(wrong.any()):
                row, place = wrong.nonzero()[0].tolist()
                got = f"token {int(tokens[row, place])} at position {place} of row {first + row}"
                raise self._wrong(check, rule, got, first)
        return tokens

    def _nfe(self, given: Any, prompts: Tensor, first: int) -> Tensor:
        rows = len(prompts)
        try:
            found = torch.as_tensor(given).detach().to(prompts.device)
        except Exception:  # text, a list of lists, a number beyond 64 bits, a tensor without values
            raise self._wrong(
                "nfe", f"return nfe as ({rows},) integers, or one for all rows", safe_repr(given), first
            ) from None
        found = found.expand(rows) if found.ndim == 0 else found
        if found.shape != (rows,) or found.dtype not in (torch.int64, torch.int32):
            got = f"{tuple(found.shape)} {found.dtype}"
            raise self._wrong("nfe", f"return nfe as ({rows},) integers, or one for all rows", got, first)
        if bool(((found < 1) | (found > MOST // rows)).any()):
            row = int(((found < 1) | (found > MOST // rows)).nonzero()[0, 0])
            raise self._wrong("nfe", "count one call or more", f"{int(found[row])} for row {first + row}", first)
        return found.long()


def load_external(
    target: str,
    denoiser: Denoiser,
    *,
    trust_code: bool,
    options: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> ExternalSampler:
    """The code that ``FILE.py:NAME`` names, to fill the rows of a denoiser; options: what else it is called with.

    Raises InputError without ``trust_code``, where the code cannot be loaded, and where it does not take its arguments.
    """
    generate = load_target(target, trust_code, "sampler.target")
    external = ExternalSampler(generate, denoiser, target, options or {}, device)
    try:
        inspect.signature(generate).bind(None, None, None, **external.options)
    except ValueError:  # of code that is not Python
        pass
    except TypeError as error:
        raise InputError(
            f"sampler.target: {shown_path(target)} is called with (prompts, counts, seeds) and sampler.options "
            f"[{', '.join(map(safe_repr, sorted(external.own)))}], and takes no such call: "
            f"{safe_repr(str(error), 200)}; correct its arguments, or the options"
        ) from None
    return external


def _parameters(generate: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return inspect.signature(generate).parameters
    except (TypeError, ValueError):  # of code that is not Python
        return {}
