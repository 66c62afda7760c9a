"""Small transformers in the form that the samplers of other projects call, for scripts/peer_parity.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mdm_tune.core.files import bundled

PROMPT = 5  # tokens before those that are drawn
LONGEST = 96  # positions of a network
LENGTH = 24  # masked positions that it is trained on


class Network(nn.Module):
    """A bidirectional transformer that leaves padding (-1) out and can be called with kept keys and values.

    Args:
        words: ids that can stand in a row.
        columns: ids that can be predicted.
        layers: of attention.
        seed: of the weights.
        spread: standard deviation of the logits.
    """

    def __init__(self, words: int, columns: int, *, layers: int = 2, seed: int = 0, spread: float = 3.0) -> None:
        super().__init__()
        generator, width = torch.Generator().manual_seed(seed), 32

        def weight(rows: int, size: int, scale: float) -> nn.Parameter:
            return nn.Parameter(scale * torch.randn(rows, size, generator=generator))

        small = width**-0.5
        self.width, self.heads = width, 4
        self.words, self.places = weight(words, width, 1.0), weight(LONGEST, width, 0.5)
        self.layers: Iterable[Any] = nn.ModuleList(
            nn.ParameterDict(
                {
                    "qkv": weight(3 * width, width, 1.5 * small),
                    "out": weight(width, width, small),
                    "up": weight(2 * width, width, small),
                    "down": weight(width, 2 * width, small),
                }
            )
            for _ in range(layers)
        )
        self.head = weight(columns, width, spread * small)
        self.kept: list[tuple[Tensor, Tensor]] = []

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        past: list[tuple[Tensor, Tensor]] | None = None,
        replaced: Tensor | None = None,
    ) -> Tensor:
        """Logits (rows, length, columns); ``kept`` becomes the keys and values of every layer.

        past: keys and values of other positions: before these tokens, or with some that are ``replaced`` (length,).
        """
        rows, length = tokens.shape
        x = self.words[tokens.clamp(min=0)] + self.places[positions]
        hidden = torch.where(tokens < 0, -torch.inf, 0.0)[:, None, None] if past is None else None
        self.kept = []
        for number, layer in enumerate(self.layers):
            qkv = F.linear(F.layer_norm(x, (self.width,)), layer["qkv"])
            q, k, v = qkv.view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            if past is not None and replaced is not None:
                k, v = (old.index_copy(2, positions, new) for old, new in zip(past[number], (k, v), strict=True))
            elif past is not None:
                k, v = (torch.cat([old, new], dim=2) for old, new in zip(past[number], (k, v), strict=True))
            self.kept.append((k, v))
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=hidden)
            x = x + F.linear(y.transpose(1, 2).reshape(rows, length, self.width), layer["out"])
            inner = F.linear(F.layer_norm(x, (self.width,)), layer["up"])
            x = x + F.linear(F.gelu(inner), layer["down"])
        return F.linear(F.layer_norm(x, (self.width,)), self.head)


def train(network: Network, mask_id: int, steps: int, seed: int) -> None:
    """Predict the characters behind masks, as these models are trained: the mask itself is never a target."""
    file = next(file for file in sorted(bundled("package:text").parent.rglob("*.txt")))
    letters = [max(ord(c) - 96, 0) for c in file.read_text("utf-8").lower() if c == " " or "a" <= c <= "z"]
    text = torch.tensor(letters)
    text = text + (text >= mask_id).long()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    size = PROMPT + LENGTH
    for _ in range(steps):
        first = torch.randint(len(text) - size, (64,), generator=generator)
        rows = text[first[:, None] + torch.arange(size)]
        share = torch.rand(64, 1, generator=generator)
        masked = torch.rand(rows.shape, generator=generator) < share
        logits = network(rows.masked_fill(masked, mask_id), torch.arange(size))
        loss = torch.nn.functional.cross_entropy(logits[masked], rows[masked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
