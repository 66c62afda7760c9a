"""How long a row may be: the reach of a module's position table, measured on short rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["longest_row"]

NAMES = ("pos", "wpe")  # a position table has one of these in its name
LONG, SHORT = 16, 8  # tokens of the two rows
WORK = 1 << 33  # most weights times tokens of a long row that is tried: a second of one core, or less
TRIED = 2048  # most tokens of such a row, since attention takes their square


def longest_row(model: nn.Module, call: Callable[[Tensor], Any], token: int, stated: int, device: torch.device) -> int:
    """Find the longest row, at most ``stated``, that the module's positions reach.

    The indices that two short rows look up in a position table show where positions start, and so how many remain. A
    table that counts from the padding id, as in RoBERTa and MPNet, reaches less far than its config says. Without such
    a table, one row of the stated length is tried if that is cheap and an error does no harm (on the CPU), and shorter
    rows only if it fails.

    Args:
        model: The module.
        call: Runs the module on rows (rows, length) int64.
        token: Any token of the vocabulary.
        stated: Length by config.json.
        device: Device of the module's inputs.

    Returns:
        Length in tokens, from 1 to ``stated``.
    """
    long = min(LONG, stated)
    short = min(SHORT, long - 1)
    if short < 1:
        return stated

    def row(length: int) -> Tensor:
        return torch.full((1, length), token, device=device)

    lookups = [_table_range(model, partial(call, row(length))) for length in (short, long)]
    limits = []
    for table, (low, high) in lookups[1].items():
        short_range = lookups[0].get(table)
        if short_range is not None and high - short_range[1] == long - short:  # one more index per token
            limits.append(long + int(table.num_embeddings) - 1 - high)  # type: ignore[arg-type]
        if short_range is not None and short_range[0] - low == long - short:  # also downwards, in a table of distances
            limits.append(long + low)
    if limits:
        return max(1, min(stated, *limits))
    size = sum(weight.numel() for weight in model.parameters())
    costly = stated > TRIED or size * stated > WORK
    if device.type != "cpu" or costly or _accepts(call, row(stated)):
        return stated
    accepted, refused = long, stated
    while refused - accepted > 1:
        middle = (accepted + refused) // 2
        accepted, refused = (middle, refused) if _accepts(call, row(middle)) else (accepted, middle)
    return accepted


def _table_range(model: nn.Module, call: Callable[[], Any]) -> dict[nn.Module, tuple[int, int]]:
    """The lowest and highest index that a call looks up in each position table."""
    ranges: dict[nn.Module, tuple[int, int]] = {}

    def record(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        index = arguments[0] if arguments else None
        if isinstance(index, Tensor) and not index.is_floating_point() and index.numel():
            low, high = int(index.min()), int(index.max())
            previous = ranges.get(module, (low, high))
            ranges[module] = min(low, previous[0]), max(high, previous[1])

    tables = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and any(part in name.rpartition(".")[2].lower() for part in NAMES)
    ]
    hooks = [table.register_forward_pre_hook(record) for table in tables]
    try:
        with torch.inference_mode():
            call()
    finally:
        for hook in hooks:
            hook.remove()
    return ranges


def _accepts(call: Callable[[Tensor], Any], row: Tensor) -> bool:
    try:
        with torch.inference_mode():
            call(row)
    except (Exception, SystemExit):  # the module's own code may raise anything for a long row
        return False
    return True
