"""Generate code of the user's own in place of the unmasking loop: prompts, counts and seeds in, tokens and NFE out."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.denoisers.base import Denoiser
from mdm_tune.drawing import PLAIN, Drawing
from mdm_tune.errors import InputError, MdmTuneError, RunError
from mdm_tune.sampling import CountPlan, Plan, RevealPlan, Unmasked
from mdm_tune.trust import described, load_target

__all__ = ["External", "Generated", "load_external"]

FORM = "(tokens, nfe), a dict of these names or an object with these attributes"
OFFERED = ("denoiser", "device", "mask_id")


@dataclass(frozen=True)
class Generated:
    """What generate code returns; any object with these attributes does, or a dict, or a tuple in this order.

    tokens (rows, length) int64: the prompts with their masked positions filled, on any device. nfe: denoiser calls that
    each row waited for, (rows,) integers or one for all rows. denoiser_rows: sequence forwards of all rows together;
    without it the sum of nfe.
    """

    tokens: Any
    nfe: Any
    denoiser_rows: int | None = None


class External:
    """A denoiser whose rows are filled by somebody else's code: ``unmask`` has the shape of ``sampling.unmask``.

    generate(prompts, counts, seeds, **options) fills one batch of rows and returns a ``Generated``:

    - prompts (rows, length) int64: ``mask_id`` at the positions to fill, -1 at padding (before the first token of
      shorter rows), anything else is prompt and must come back unchanged;
    - counts (rows, blocks, steps) int64: step i of block b reveals ``counts[row, b, i]`` positions. Block b holds the
      next ``counts[row, b].sum()`` masked positions from the left; a count of 0 is no step, and blocks with fewer steps
      end in zeros;
    - seeds (rows,) uint64, a NumPy array: all randomness of a row is to come from its seed, so that schedules meet the
      same noise and a row does not depend on the batch that it is in.

    It is also given those of ``denoiser``, ``device`` and ``mask_id`` that it has an argument for: the model of the
    config, so that it need not be loaded twice (``denoiser.model`` is the module of a Hugging Face checkpoint).
    where: what the code is, for messages. Called like a denoiser, it is the denoiser.
    """

    def __init__(
        self,
        generate: Callable[..., Any],
        denoiser: Denoiser,
        where: str,
        options: Mapping[str, Any] | None = None,
        device: str = "cpu",
    ) -> None:
        self.generate, self.denoiser, self.where = generate, denoiser, where
        wanted = inspect.signature(generate).parameters
        offered = {"denoiser": denoiser, "device": device, "mask_id": denoiser.mask_id}
        self.options = {name: value for name, value in offered.items() if name in wanted} | dict(options or {})

    @property
    def vocab_size(self) -> int:
        return self.denoiser.vocab_size

    @property
    def mask_id(self) -> int:
        return self.denoiser.mask_id

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """What the denoiser itself predicts."""
        return self.denoiser(tokens, wanted)

    def unmask(
        self,
        tokens: Tensor,
        plan: Plan,
        *,
        seeds: NDArray[np.uint64],
        drawing: Drawing = PLAIN,
        blocks: Tensor | None = None,
        batch: int = 128,
        reference: Tensor | None = None,
        first_row: int = 0,
    ) -> Unmasked:
        """``sampling.unmask``, ``batch`` rows per call of the code at most; drawing and blocks are the code's own affair.

        ``denoiser_tokens`` counts whole rows: what a cache saves is not seen.

        Raises InputError for a reference, for plans without counts and for an answer that is none, RunError where the
        code fails.
        """
        if reference is not None:
            raise InputError(
                f"{self.where} returns tokens and no probabilities, so that the likelihood of a reference cannot be "
                "had from it; choose a metric of answers, or set sampler.type to builtin"
            )
        if not isinstance(plan, CountPlan):
            kind = "ancestral reveal" if isinstance(plan, RevealPlan) else f"{type(plan).__name__}, an adaptive plan"
            raise InputError(
                f"{self.where} is told how many tokens each step reveals, got {kind}, which has no such counts; leave "
                "it out, or set sampler.type to builtin"
            )
        found = [
            self._filled(tokens[part], plan.counts[part], seeds[part], first_row + part.start)
            for part in (slice(first, first + batch) for first in range(0, max(1, len(tokens)), batch))
        ]
        filled, nfe = (torch.cat(parts) for parts in zip(*((each.tokens, each.nfe) for each in found), strict=True))
        spent = sum(each.denoiser_rows for each in found), sum(each.denoiser_tokens for each in found)
        return Unmasked(filled, None, nfe, *spent)

    def _filled(self, prompts: Tensor, counts: Tensor, seeds: NDArray[np.uint64], first_row: int) -> Unmasked:
        """One batch, its answer checked."""
        rows = f"rows {first_row} to {first_row + len(prompts) - 1}"
        if len(prompts) == 0:
            return Unmasked(prompts, None, torch.zeros(0, dtype=torch.int64), 0, 0)
        try:
            answer = self.generate(prompts.clone(), counts.clone(), seeds.copy(), **self.options)
        except MdmTuneError:
            raise
        except Exception as error:  # whatever somebody else's code raises
            raise RunError(
                f"{self.where} failed on {rows}: {described(error, self.file)}; what was finished is kept: correct it, "
                "or lower sampler.batch where the memory does not suffice, and run again"
            ) from error
        made = self._read(answer, rows)
        tokens = self._tokens(made.tokens, prompts, rows)
        nfe = self._nfe(made.nfe, prompts, rows)
        total = int(nfe.sum())
        asked = total if made.denoiser_rows is None else made.denoiser_rows
        if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
            raise self._wrong("denoiser_rows", "be a whole number of at least 1, or None", repr(asked), rows)
        sizes = (prompts >= 0).sum(1).to(nfe.device)
        return Unmasked(tokens, None, nfe, asked, round(int((nfe * sizes).sum()) * asked / max(1, total)))

    @property
    def file(self) -> Path:
        """Where the code is."""
        return Path(inspect.getsourcefile(inspect.unwrap(self.generate)) or "")

    def _wrong(self, check: str, rule: str, got: str, rows: str) -> InputError:
        return InputError(f"{self.where}: check {check!r} failed on {rows}: it must {rule}, got {got}; correct it")

    def _read(self, answer: Any, rows: str) -> Generated:
        if isinstance(answer, tuple) and not hasattr(answer, "tokens") and 2 <= len(answer) <= 3:
            return Generated(*answer)
        given = answer if isinstance(answer, Mapping) else {
            name: getattr(answer, name) for name in ("tokens", "nfe", "denoiser_rows") if hasattr(answer, name)
        }  # fmt: skip
        if not {"tokens", "nfe"} <= given.keys() or not given.keys() <= {"tokens", "nfe", "denoiser_rows"}:
            got = f"a dict of {sorted(map(str, given))}" if isinstance(answer, Mapping) else type(answer).__name__
            raise self._wrong("answer", f"return {FORM}, and denoiser_rows if it likes", got, rows)
        return Generated(**given)

    def _tokens(self, given: Any, prompts: Tensor, rows: str) -> Tensor:
        found = torch.from_numpy(given) if isinstance(given, np.ndarray) else given
        if not isinstance(found, Tensor) or found.shape != prompts.shape or found.dtype != torch.int64:
            got = f"{tuple(found.shape)} {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
            raise self._wrong("shape", f"return tokens {tuple(prompts.shape)} int64, as the prompts", got, rows)
        found = found.to(prompts.device)
        hidden = prompts == self.mask_id
        changed = ~hidden & (found != prompts)
        if bool(changed.any()):
            row, place = changed.nonzero()[0].tolist()
            got = f"{int(found[row, place])} for {int(prompts[row, place])} at position {place} of row {row}"
            raise self._wrong("prompt", "leave prompt and padding as they are", got, rows)
        left = (hidden & (found == self.mask_id)).sum(1)
        if bool(left.any()):
            row = int(left.nonzero()[0, 0])
            raise self._wrong("finished", "fill every masked position", f"{int(left[row])} masks in row {row}", rows)
        unknown = hidden & ((found < 0) | (found >= self.vocab_size))
        if bool(unknown.any()):
            got = str(int(found[unknown][0]))
            raise self._wrong("vocabulary", f"draw tokens from 0 to {self.vocab_size - 1}", got, rows)
        return found

    def _nfe(self, given: Any, prompts: Tensor, rows: str) -> Tensor:
        found = torch.as_tensor(given).to("cpu")
        if found.ndim == 0:
            found = found.expand(len(prompts))
        whole = not (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool)
        if found.shape != (len(prompts),) or not whole:
            rule = f"return nfe as ({len(prompts)},) integers, or one for all rows"
            raise self._wrong("nfe", rule, f"{tuple(found.shape)} {found.dtype}", rows)
        needed = (prompts == self.mask_id).any(1).to(found.device)
        if bool((found < needed).any()):
            raise self._wrong("nfe", "count at least one call for each row", str(int(found.min())), rows)
        return found.to(torch.int64)

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits of the file and the options: what the code loads beside them is not seen."""
        given = {name: value for name, value in self.options.items() if name not in OFFERED}
        told = json.dumps([self.generate.__name__, given], sort_keys=True, default=str)
        return hashlib.sha256(self.file.read_bytes() + told.encode()).hexdigest()[:16]


def load_external(
    target: str,
    denoiser: Denoiser,
    *,
    trust_code: bool,
    options: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> External:
    """The code that ``FILE.py:NAME`` names, which fills rows for a denoiser; options: what it is called with besides.

    Raises InputError without ``trust_code``, where the code cannot be loaded, and where it cannot be called so.
    """
    generate = load_target(target, trust_code, "sampler.target")
    where = f"sampler.target: {target}"
    external = External(generate, denoiser, where, options, device)
    try:
        inspect.signature(generate).bind(None, None, None, **external.options)
    except TypeError as error:
        raise InputError(
            f"{where} is called with (prompts, counts, seeds) and the options {sorted(options or {})}, which it does not "
            f"take: {error}; correct its arguments or sampler.options"
        ) from None
    return external
