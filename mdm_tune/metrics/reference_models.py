"""A causal language model of ``transformers`` that texts are judged by: its loss on them, and how it embeds them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from mdm_tune.core.consent import without_consent_prompts
from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.guard import calling, error_text
from mdm_tune.core.messages import shown_path
from mdm_tune.core.scratch import use_scratch_for_compiler
from mdm_tune.core.trust import require_trust
from mdm_tune.core.types import Dtype
from mdm_tune.denoisers.checkpoint import quiet
from mdm_tune.denoisers.weights import check_weights, regular_files

__all__ = ["Dtype", "ReferenceModel", "load_reference"]

Values = NDArray[np.float64]
LONGEST = 65_536  # tokens of a row where the model names no limit


@dataclass(frozen=True)
class ReferenceModel:
    """A causal language model with its tokenizer; batch: texts in one call at most.

    A row longer than the model's context loses what it can from the left of the given text, then from the right of the
    other one.
    """

    model: Any
    tokenizer: Any
    batch: int

    @property
    def vocab_size(self) -> int:
        """Tokens that the model knows."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    def nll(self, texts: Sequence[tuple[str, str]]) -> Values:
        """Mean -log probability (n,) of a token of each text, in nats, for n pairs of a given text and the one scored.

        The model's own start token, or for want of one its end token, stands before each row; a model with neither
        scores no first token. A text without a token to score has the loss of a uniform guess, log(vocab_size), so that
        saying nothing is no way to a small loss.

        Raises RunError for a loss that is not finite.
        """
        rows = [self._row(given, text) for given, text in texts]
        found = np.full(len(rows), math.log(self.vocab_size))
        places = [place for place, (_, scored) in enumerate(rows) if scored]
        for place, tokens, logits in self._run([rows[place][0] for place in places], "logits"):
            scored = rows[places[place]][1]
            found[places[place]] = float(cross_entropy(logits[-scored - 1 : -1].float(), tokens[-scored:]))
        if not np.isfinite(found).all():
            text = texts[int(np.flatnonzero(~np.isfinite(found))[0])][1]
            raise RunError(f"the reference model gives no finite loss for {text[:60]!r}; try dtype: float32")
        return found

    def embeddings(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The last hidden state of each text's last token, (n, width); an empty text is the start token alone.

        Source: arXiv:2102.01454, section 3 (no start token before other texts, as the authors' package has it).
        """
        rows = [self._encoded(text)[: self._window] or self._start or [0] for text in texts]
        found = {place: states[-1].float().cpu() for place, _, states in self._run(rows, "states")}
        return torch.stack([found[place] for place in range(len(rows))]).numpy()

    @property
    def _start(self) -> list[int]:
        known = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        return [token for token in known if token is not None][:1]

    @property
    def _window(self) -> int:
        return int(getattr(self.model.config, "max_position_embeddings", None) or LONGEST)

    def _encoded(self, text: str) -> list[int]:
        tokens: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return tokens

    def _row(self, given: str, text: str) -> tuple[list[int], int]:
        """A row's tokens, and how many of them, from the right, are scored."""
        if not text:
            return [], 0
        whole = self._encoded(given + text)  # as one, since a tokenizer may treat the start of a text in its own way
        first = max(0, min(len(self._encoded(given)), len(whole) - 1))
        visible, scored = self._start + whole[:first], whole[first:]
        if not visible:
            visible, scored = scored[:1], scored[1:]
        scored = scored[: self._window - 1]
        return visible[-(self._window - len(scored)) :] + scored, len(scored)

    def _run(
        self, rows: Sequence[list[int]], wanted: Literal["logits", "states"]
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Each row's place, its tokens (length,) and its logits or last hidden states (length, width)."""
        device = self.model.get_input_embeddings().weight.device
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]), reverse=True)
        for first in range(0, len(rows), self.batch):
            chunk = order[first : first + self.batch]
            tokens = [torch.tensor(rows[place], device=device) for place in chunk]
            padded = pad_sequence(tokens, batch_first=True)
            mask = pad_sequence([torch.ones_like(row) for row in tokens], batch_first=True)
            with torch.inference_mode(), calling("the reference model", "check the files and metrics.*.batch"):
                output = self.model(
                    input_ids=padded, attention_mask=mask, use_cache=False, output_hidden_states=wanted == "states"
                )
            answers = output.logits if wanted == "logits" else output.hidden_states[-1]
            for place, row, answer in zip(chunk, tokens, answers, strict=True):
                yield place, row, answer[: len(row)]


def load_reference(
    name: str,
    *,
    field: str,
    revision: str | None = None,
    dtype: Dtype = "float32",
    device: str = "auto",
    batch: int = 8,
    trust_code: bool = False,
) -> ReferenceModel:
    """The causal language model in a local folder or on the Hub; device ``auto`` is the first GPU, if there is one.

    field: the path of the setting, for messages. trust_code: whether code that the checkpoint brings may run.

    Raises InputError where it cannot be loaded, lacks weights or has more than it uses, or looks at later tokens.
    """
    use_scratch_for_compiler()
    try:
        import transformers
    except ImportError:
        raise InputError(
            f"{field}: needs the library transformers, which is not installed; pip install 'mdm-tune[hf]'"
        ) from None
    library: Any = transformers
    folder = Path(name) if Path(name).is_dir() else None
    if folder is not None:
        regular_files(folder, f"{field}: {name}")
    try:
        with quiet(), without_consent_prompts(trust_code, field):
            tokenizer = library.AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=trust_code)
            model, report = library.AutoModelForCausalLM.from_pretrained(
                name, revision=revision, trust_remote_code=trust_code, output_loading_info=True
            )
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        model = model.to(dtype=getattr(torch, dtype), device=chosen).eval().requires_grad_(False)
    except (Exception, SystemExit) as error:  # whatever the library, its network code and a checkpoint's own raise
        if "trust_remote_code" in str(error):
            require_trust(False, f"{field}: {name}")
        elsewhere = (
            f"where the Hub cannot be reached, run `hf download {name} --local-dir FOLDER` on a machine that reaches "
            f"it, place FOLDER here and set {field} to it"
        )
        remedy = "check the files and the settings" if folder is not None else elsewhere
        remedy = "install what it names" if isinstance(error, ImportError) else remedy
        raise InputError(f"{field}: {shown_path(name)} cannot be loaded ({error_text(error)}); {remedy}") from None
    check_weights(model, report, folder, f"{field}: {name}")
    found = ReferenceModel(model, tokenizer, batch)
    with calling(f"{field}: {shown_path(name)}", "give a causal language model such as gpt2", loading=True):
        _check_causal(found, f"{field}: {name}")
    return found


def _check_causal(reference: ReferenceModel, what: str) -> None:
    """Rows that differ in the last token alone must have the same answers before it."""
    first, second = (answers[:-1] for _, _, answers in reference._run([[1, 0, 0], [1, 0, 1]], "logits"))
    if not torch.allclose(first.float(), second.float(), rtol=1e-3, atol=1e-4):
        raise InputError(f"{what} must be a causal language model, but it looks at later tokens; give one such as gpt2")
