"""The losses and embeddings of a small reference model, by the library itself."""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np
import torch

from mdm_tune.metrics.reference_models import ReferenceModel

LETTERS = " " + string.digits + string.ascii_letters + ".,$-+#=:?!"
WINDOW = 20  # of the reference model


def ids(model: ReferenceModel, text: str) -> list[int]:
    found: list[int] = model.tokenizer(text)["input_ids"]
    return found


def direct(model: ReferenceModel, visible: Sequence[int], scored: Sequence[int]) -> float:
    """The library's own loss of one row, whose visible tokens are labelled as not to be scored."""
    tokens, labels = torch.tensor([[*visible, *scored]]), torch.tensor([[*(-100 for _ in visible), *scored]])
    with torch.no_grad():
        return float(model.model(input_ids=tokens, labels=labels).loss)


def embedded(model: ReferenceModel, texts: Sequence[str]) -> np.ndarray:
    """The last hidden state of each text's last token, text by text."""
    with torch.no_grad():
        rows = [model.model.transformer(torch.tensor([ids(model, text)])).last_hidden_state[0, -1] for text in texts]
    return torch.stack(rows).numpy()
