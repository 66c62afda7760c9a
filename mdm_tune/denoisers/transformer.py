"""A small bidirectional transformer, and the package's own checkpoint format: safetensors and JSON, no pickle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from mdm_tune.core.errors import InputError, MissingInput
from mdm_tune.core.memory import check_memory
from mdm_tune.core.messages import cut, quantity, shown, shown_path
from mdm_tune.core.reading import CONFIG_BYTES, read_json
from mdm_tune.denoisers.base import LinearHead, Parts, to_device

__all__ = ["Transformer", "TransformerConfig", "load_transformer", "save_transformer"]

FORMAT = "mdm-tune-transformer-1"
WEIGHTS = "model.safetensors"
CONFIG = "config.json"
DIGEST = "sha256_of_weights"  # of the bundled models, whose weights nothing else writes
LARGEST = 65_536  # largest length, width, depth and number of heads; a larger one means a damaged config


@dataclass(frozen=True)
class TransformerConfig:
    """The sizes of a ``Transformer``.

    Attributes:
        symbols: One character per token, in the order of their ids; the mask id is ``len(symbols)``.
        length: Longest sequence, in tokens.
        width: Width of the residual stream, divisible by ``heads``.
        depth: Number of layers.
        heads: Number of attention heads per layer.
        end: The symbol that ends a text; empty if there is none.

    Raises:
        InputError: If a value is out of range, if width is not divisible by heads, or if end is no symbol.
    """

    symbols: str
    length: int
    width: int
    depth: int
    heads: int
    end: str = ""

    def __post_init__(self) -> None:
        for name in ("length", "width", "depth", "heads"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST:
                raise InputError(f"transformer {name} must be a whole number from 1 to {LARGEST}, got {shown(value)}")
        if self.width % self.heads:
            raise InputError(f"transformer width must be a multiple of heads, got {self.width} and {self.heads}")
        if not isinstance(self.symbols, str) or len(set(self.symbols)) != len(self.symbols) or not self.symbols:
            raise InputError(
                f"transformer symbols must be distinct characters, at least one, got {shown(self.symbols)}"
            )
        if not isinstance(self.end, str) or len(self.end) > 1 or self.end not in self.symbols:
            raise InputError(
                f"transformer end must be one of the symbols {shown(self.symbols)}, or empty, got {shown(self.end)}"
            )

    @property
    def weight_bytes(self) -> int:
        """The bytes of the weights in float32."""
        layer = 12 * self.width**2 + 2 * self.width + self.heads * (2 * self.length - 1)
        return 4 * (self.depth * layer + (2 * len(self.symbols) + 2) * self.width + len(self.symbols))

    @property
    def row_bytes(self) -> int:
        """The least bytes that a call takes for one row of full length: those of the attention biases."""
        return self.length**2 * (8 + 2 * 4 * self.heads)


class _Linear(nn.Linear):
    """A linear layer that draws no initial weights. The default would draw from the global generator."""

    # ``torch.nn.utils.skip_init`` does the same by way of the device meta, which loads torch's compiler: 2 s.
    def reset_parameters(self) -> None:
        pass


class _Embedding(nn.Embedding):
    """An embedding that draws no initial weights, as ``_Linear``."""

    def reset_parameters(self) -> None:
        pass


class Block(nn.Module):
    """One pre-norm layer: attention with a learned relative-position bias, then a squared-ReLU feed-forward."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.qkv = _Linear(width, 3 * width, bias=False)
        self.out = _Linear(width, width, bias=False)
        self.up = _Linear(width, 4 * width, bias=False)
        self.down = _Linear(4 * width, width, bias=False)
        self.norm_attention = nn.Parameter(torch.ones(width))
        self.norm_feedforward = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(config.heads, 2 * config.length - 1))

    def forward(self, x: Tensor, offsets: Tensor, padding: Tensor | None) -> Tensor:
        """Apply the layer.

        Args:
            x: (rows, length, width) hidden states.
            offsets: (length, length) int64, indices into the table of relative-position biases.
            padding: (rows, 1, 1, length), added to the attention scores: 0 at tokens, -1e9 at padding; None without
                padding.

        Returns:
            (rows, length, width) hidden states.
        """
        rows, length, width = x.shape
        y = F.rms_norm(x, (width,), self.norm_attention)
        q, k, v = self.qkv(y).view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.bias[:, offsets].to(q.dtype)
        mask = bias.unsqueeze(0) if padding is None else bias + padding.to(q.dtype)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(y.transpose(1, 2).reshape(rows, length, width))
        y = F.rms_norm(x, (width,), self.norm_feedforward)
        change: Tensor = self.down(F.relu(self.up(y)).square())
        return x + change


class Transformer(nn.Module):
    """A bidirectional transformer with relative-position biases; it is a ``Denoiser``.

    Args:
        config: The sizes. Initial weights are those of seed 0.

    Attributes:
        config: The sizes.
        vocab_size: Number of tokens that can be predicted.
        mask_id: Id of the mask, equal to ``vocab_size``.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = len(config.symbols)
        self.mask_id = len(config.symbols)
        self.embed = _Embedding(self.vocab_size + 1, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.Parameter(torch.ones(config.width))
        self.head = _Linear(config.width, self.vocab_size)
        self.reset_parameters(0)

    @property
    def length(self) -> int:
        """The longest sequence that the model accepts, in tokens."""
        return self.config.length

    @property
    def symbols(self) -> str:
        """One character per token."""
        return self.config.symbols

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """The id of the token that ends a text; empty if there is none."""
        return (self.config.symbols.index(self.config.end),) if self.config.end else ()

    def reset_parameters(self, seed: int) -> None:
        """Draw initial weights from ``seed``.

        Layers start as the identity. The bias of head h falls by 2^-h per token of distance, and alternate heads avoid
        one side, so that heads attend near, far, left and right. Without this start a masked model spends its first
        thousand steps on letter frequencies, because no head attends to neighbours.

        Args:
            seed: Seed of a generator of its own.
        """
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if name.endswith(("out.weight", "down.weight", "bias")):
                nn.init.zeros_(weight)
            elif weight.ndim == 2:
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5, generator=generator)
            else:
                nn.init.ones_(weight)
        offset = torch.arange(2 * self.config.length - 1) - self.config.length + 1.0
        head = torch.arange(self.config.heads)[:, None]
        side = torch.where(head % 2 == 0, offset, -offset) > 0
        with torch.no_grad():
            for block in self.blocks:
                block.get_parameter("bias").copy_(-offset.abs() * 0.5**head - 4.0 * side)

    def forward(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Return the logits of the original tokens at the wanted positions.

        Args:
            tokens: (rows, length) int64, ``mask_id`` at hidden positions and -1 at padding.
            wanted: (rows, length) bool, True at the positions to predict.

        Returns:
            (wanted.sum(), vocab_size), row by row.

        Raises:
            InputError: If a row is longer than the model allows.
        """
        row, column = wanted.cpu().nonzero(as_tuple=True)
        logits: Tensor = self.head(self.states(tokens.cpu(), row, column))
        return logits

    @property
    def parts(self) -> Parts:
        """The trunk and the head, see ``Parts``."""
        return self

    @property
    def linear(self) -> LinearHead:
        """The head, as one linear map."""
        return LinearHead(self.head.weight, self.head.bias)

    def states(self, tokens: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Return the hidden states (n, width) of the wanted positions, see ``Parts``.

        Raises:
            InputError: If a row is longer than the model allows.
        """
        length, device = tokens.shape[1], self.norm.device
        if length > self.config.length:
            raise InputError(f"the model takes at most {quantity(self.config.length, 'token')}, got a row of {length}")
        padding = None
        if bool((tokens < 0).any()):  # columns before the first token of all rows, and after the last one, are left out
            used = (tokens >= 0).any(0).nonzero().flatten().tolist() or [0]
            tokens, column = tokens[:, used[0] : used[-1] + 1], column - used[0]
            scores = torch.zeros(tokens.shape).masked_fill(tokens < 0, -1e9)
            padding = to_device(scores[:, None, None, :], device)
        visible, row, column = (to_device(tensor, device) for tensor in (tokens.clamp(min=0), row, column))
        return self.trunk(visible, row, column, padding)

    def trunk(self, tokens: Tensor, row: Tensor, column: Tensor, padding: Tensor | None) -> Tensor:
        """The hidden states (n, width) at row (n,) and column (n,) of tokens (rows, length), all on the device.

        padding: as for ``Block``.
        """
        index = torch.arange(tokens.shape[1], device=tokens.device)
        offsets = index[None, :] - index[:, None] + self.config.length - 1
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x, offsets, padding)
        return F.rms_norm(x[row, column], (self.config.width,), self.norm)


def save_transformer(model: Transformer, folder: str | Path, card: dict[str, Any] | None = None) -> None:
    """Write ``config.json`` and ``model.safetensors`` for ``load_transformer``.

    Args:
        model: The model; its weights are stored in float32.
        folder: The folder to write to; it is created if necessary.
        card: Facts about the training (data, sizes, curve), stored under ``training`` in ``config.json``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in model.named_parameters()}
    new = folder / f"{WEIGHTS}.new"  # replace the old file instead of writing to it: running models have it mapped
    save_file(weights, new)
    new.chmod(0o644)  # as readable as config.json
    new.replace(folder / WEIGHTS)
    record = {"format": FORMAT, **asdict(model.config), "training": card or {}}
    (folder / CONFIG).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _config_problem(error: Exception) -> str:
    """The problem of a config: a missing key, or an error's text."""
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _check_digest(file: Path, known: object) -> None:
    """Raise InputError if a file does not have its SHA-256, in hex digits; None if that is not known."""
    if known is None:
        return
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != known:
        raise InputError(
            f"{shown_path(file)} is damaged or was changed: its SHA-256 must be that of {CONFIG}, {shown(known)}, got "
            f"{found!r}; install the package again, or remove {DIGEST} from {CONFIG} if the change was meant"
        )


def load_transformer(folder: str | Path) -> Transformer:
    """Load a model that ``save_transformer`` wrote, in float32 on the CPU and in evaluation mode.

    Float32 weights stay in the file, which is mapped into memory, so that the processes of one machine share them. The
    file may be replaced by another one while the model is in use, but not written to.

    Args:
        folder: The folder with ``config.json`` and ``model.safetensors``.

    Returns:
        The model, without gradients.

    Raises:
        InputError: If a file is missing, is damaged, does not fit the sizes in ``config.json``, or does not have the
            SHA-256 that ``config.json`` may state.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise MissingInput(
                f"no checkpoint at {folder}: {name} is missing; give a folder written by mdm_tune.save_transformer"
            )
    record = read_json(folder / CONFIG, CONFIG_BYTES, "save the model again")
    try:
        if not isinstance(record, dict):
            raise InputError(f"it must be an object, got {shown(record)}")
        sizes = {name: record[name] for name in TransformerConfig.__dataclass_fields__ if name != "end"}
        config = TransformerConfig(**sizes, end=record.get("end", ""))  # older files have no end
    except (ValueError, KeyError, TypeError, InputError) as error:
        problem = cut(_config_problem(error), 300)
        raise InputError(
            f"{shown_path(folder / CONFIG)} is not a checkpoint description: {problem}; save the model again"
        ) from None
    if record.get("format") != FORMAT:
        raise InputError(
            f"{folder / CONFIG}: format must be {FORMAT!r}, got {shown(record.get('format'))}; save it again"
        )
    try:
        weights = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{folder / WEIGHTS} is truncated or not a safetensors file ({error}); copy it again"
        ) from None
    _check_digest(folder / WEIGHTS, record.get(DIGEST))
    weight_bytes, file_bytes = config.weight_bytes, (folder / WEIGHTS).stat().st_size
    if weight_bytes > 8 * file_bytes + 4096:  # the file may store smaller types than float32
        raise InputError(
            f"{folder / WEIGHTS} does not fit {CONFIG}: the sizes {sizes} are those of {weight_bytes:,} bytes, got "
            f"{file_bytes:,}; both files must come from one save"
        )
    check_memory(
        weight_bytes + config.row_bytes,
        f"{folder}: a transformer of {quantity(config.length, 'position')}",
        "use a smaller one",
    )
    try:
        model = Transformer(config)
    except (RuntimeError, MemoryError):
        raise InputError(
            f"{folder / CONFIG}: the sizes {sizes} need more memory than there is; copy it again"
        ) from None
    expected = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if differing := sorted(name for name in expected.keys() | shapes.keys() if expected.get(name) != shapes.get(name)):
        name = differing[0]
        raise InputError(
            f"{folder / WEIGHTS} does not fit {CONFIG}: {len(differing)} tensors differ, the first is {name} "
            f"(expected {expected.get(name)}, got {shapes.get(name)}); both files must come from one save"
        )
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
    return model.eval().requires_grad_(False)
