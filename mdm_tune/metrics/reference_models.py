"""A causal language model of ``transformers`` as a reference: its loss on texts, and its embeddings of texts."""

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
LONGEST = 65_536  # most tokens of a row if the model's config has no limit


@dataclass(frozen=True)
class ReferenceModel:
    """A causal language model with its tokenizer.

    A row that is longer than the model's context is cut: first the prompt from the left, then the text from the right.

    Attributes:
        model: The causal language model.
        tokenizer: Its tokenizer.
        batch: Most texts per call.
    """

    model: Any
    tokenizer: Any
    batch: int

    @property
    def vocab_size(self) -> int:
        """Number of tokens of the model."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    def nll(self, texts: Sequence[tuple[str, str]]) -> Values:
        """Compute the mean -log probability per token of each text.

        Each row begins with the model's start token, or with its end token if it has no start token. Without either,
        the first token of a row is not scored. A text without a scored token has the loss of a uniform guess,
        log(vocab_size), so that an empty answer does not have a small loss.

        Args:
            texts: n pairs of a prompt and the text that is scored after it; the prompt may be empty.

        Returns:
            (n,) float64, in nats.

        Raises:
            RunError: If a loss is not finite.
        """
        rows = [self._row(prompt, text) for prompt, text in texts]
        losses = np.full(len(rows), math.log(self.vocab_size))
        scored_rows = [row for row, (_, scored) in enumerate(rows) if scored]
        for index, tokens, logits in self._run([rows[row][0] for row in scored_rows], "logits"):
            row = scored_rows[index]
            scored = rows[row][1]
            losses[row] = float(cross_entropy(logits[-scored - 1 : -1].float(), tokens[-scored:]))
        if not np.isfinite(losses).all():
            text = texts[int(np.flatnonzero(~np.isfinite(losses))[0])][1]
            raise RunError(f"the reference model gives no finite loss for {text[:60]!r}; try dtype: float32")
        return losses

    def embeddings(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the last hidden state (n, width) of the last token of each text.

        An empty text is embedded as the start token. Other texts have no start token, as in the authors' package.

        Source: arXiv:2102.01454, section 3.
        """
        rows = [self._encoded(text)[: self._window] or self._start or [0] for text in texts]
        embedding_of = {row: states[-1].float().cpu() for row, _, states in self._run(rows, "states")}
        return torch.stack([embedding_of[row] for row in range(len(rows))]).numpy()

    @property
    def _start(self) -> list[int]:
        """The start token, or the end token without one; empty if the tokenizer has neither."""
        candidates = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        return [token for token in candidates if token is not None][:1]

    @property
    def _window(self) -> int:
        return int(getattr(self.model.config, "max_position_embeddings", None) or LONGEST)

    def _encoded(self, text: str) -> list[int]:
        tokens: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return tokens

    def _row(self, prompt: str, text: str) -> tuple[list[int], int]:
        """The tokens of a row, and how many of the last ones are scored."""
        if not text:
            return [], 0
        whole = self._encoded(prompt + text)  # encoded together: some tokenizers treat the start of a text differently
        first = max(0, min(len(self._encoded(prompt)), len(whole) - 1))
        visible, scored = self._start + whole[:first], whole[first:]
        if not visible:
            visible, scored = scored[:1], scored[1:]
        scored = scored[: self._window - 1]
        return visible[-(self._window - len(scored)) :] + scored, len(scored)

    def _run(
        self, rows: Sequence[list[int]], wanted: Literal["logits", "states"]
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield each row's index, its tokens (length,), and its logits or last hidden states (length, width)."""
        device = self.model.get_input_embeddings().weight.device
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]), reverse=True)
        for first in range(0, len(rows), self.batch):
            chunk = order[first : first + self.batch]
            tokens = [torch.tensor(rows[index], device=device) for index in chunk]
            padded = pad_sequence(tokens, batch_first=True)
            mask = pad_sequence([torch.ones_like(row) for row in tokens], batch_first=True)
            with torch.inference_mode(), calling("the reference model", "check the files and metrics.*.batch"):
                output = self.model(
                    input_ids=padded, attention_mask=mask, use_cache=False, output_hidden_states=wanted == "states"
                )
            outputs = output.logits if wanted == "logits" else output.hidden_states[-1]
            for index, row, padded_output in zip(chunk, tokens, outputs, strict=True):
                yield index, row, padded_output[: len(row)]


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
    """Load a causal language model from a local folder or from the Hub.

    Args:
        name: The folder, or the name on the Hub.
        field: Path of the setting in the config, for messages.
        revision: Branch, tag or commit on the Hub; None is the default branch.
        dtype: Type of the weights.
        device: A device of PyTorch; ``auto`` is the first GPU, or the CPU without one.
        batch: Most texts per call.
        trust_code: Whether code of the checkpoint may run.

    Raises:
        InputError: If the model cannot be loaded, if weights are missing or unused, or if its predictions depend on
            later tokens.
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
    except (Exception, SystemExit) as error:  # the library, its network code and a checkpoint may raise anything
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
    reference = ReferenceModel(model, tokenizer, batch)
    with calling(f"{field}: {shown_path(name)}", "give a causal language model such as gpt2", loading=True):
        _check_causal(reference, f"{field}: {name}")
    return reference


def _check_causal(reference: ReferenceModel, what: str) -> None:
    """Raise InputError if two rows that differ in the last token alone have different logits before it."""
    first, second = (logits[:-1] for _, _, logits in reference._run([[1, 0, 0], [1, 0, 1]], "logits"))
    if not torch.allclose(first.float(), second.float(), rtol=1e-3, atol=1e-4):
        raise InputError(f"{what} must be a causal language model, but it looks at later tokens; give one such as gpt2")
