"""How long a row may be: what a module's table of positions reaches, measured on short rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["reached"]

NAMES = ("pos", "wpe")  # in the name of a table of positions
LONG, SHORT = 16, 8  # tokens of the two rows
WORK = 1 << 33  # weights times tokens of the one long row that is tried: a second of one core, or less
TRIED = 2048  # tokens that it has at most, since attention takes their square


def reached(model: nn.Module, ask: Callable[[Tensor], Any], token: int, stated: int, device: torch.device) -> int:
    """The longest row, at most ``stated``, that the module's positions reach.

    ask: answers rows (rows, length). token: any of the vocabulary.

    The places that two short rows look up in a table of positions say where positions start, and so how many are left
    beyond; a table that counts from the padding id, as those of RoBERTa and MPNet do, has fewer places than its config
    says. Without such a table one row of the stated length is tried where that is cheap and an error does no harm (on
    the CPU), and shorter ones only if it fails.
    """
    long = min(LONG, stated)
    short = min(SHORT, long - 1)
    if short < 1:
        return stated

    def row(length: int) -> Tensor:
        return torch.full((1, length), token, device=device)

    seen = [_places(model, partial(ask, row(length))) for length in (short, long)]
    limits = []
    for table, (low, high) in seen[1].items():
        before = seen[0].get(table)
        if before is not None and high - before[1] == long - short:  # one place more for each token
            limits.append(long + int(table.num_embeddings) - 1 - high)  # type: ignore[arg-type]
        if before is not None and before[0] - low == long - short:  # and downwards, where distances are looked up
            limits.append(long + low)
    if limits:
        return max(1, min(stated, *limits))
    size = sum(weight.numel() for weight in model.parameters())
    costly = stated > TRIED or size * stated > WORK
    if device.type != "cpu" or costly or _answers(ask, row(stated)):
        return stated
    works, fails = long, stated
    while fails - works > 1:
        middle = (works + fails) // 2
        works, fails = (middle, fails) if _answers(ask, row(middle)) else (works, middle)
    return works


def _places(model: nn.Module, call: Callable[[], Any]) -> dict[nn.Module, tuple[int, int]]:
    """The lowest and highest place that a call looks up in each table of positions."""
    found: dict[nn.Module, tuple[int, int]] = {}

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        place = given[0] if given else None
        if isinstance(place, Tensor) and not place.is_floating_point() and place.numel():
            low, high = int(place.min()), int(place.max())
            before = found.get(module, (low, high))
            found[module] = min(low, before[0]), max(high, before[1])

    tables = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and any(part in name.rpartition(".")[2].lower() for part in NAMES)
    ]
    hooks = [table.register_forward_pre_hook(note) for table in tables]
    try:
        with torch.inference_mode():
            call()
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _answers(ask: Callable[[Tensor], Any], row: Tensor) -> bool:
    try:
        with torch.inference_mode():
            ask(row)
    except (Exception, SystemExit):  # whatever a program of the module's authors makes of a long row
        return False
    return True
