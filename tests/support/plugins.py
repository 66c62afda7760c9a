"""A small package with one plugin of each kind, installed into a folder by hand."""

from __future__ import annotations

from pathlib import Path

CODE = '''
import torch
from dataclasses import dataclass

from mdm_tune.exports.base import Exported, check_expressible


class Alike:
    """Letters of a row tend to be alike: a logit grows with the number of visible equal letters."""

    symbols, mask_id = "abcd", 4
    vocab_size = 4

    def __init__(self, length=8, pull=0.5):
        self.length, self.pull = length, pull

    def __call__(self, tokens, wanted):
        seen = torch.stack([(tokens == letter).sum(1) for letter in range(4)], 1).float()
        return (self.pull * seen).unsqueeze(1).expand(*tokens.shape, 4)[wanted]


def vowels(answer, record):
    return sum(letter == "a" for letter in answer) / max(len(answer), 1)


vowels.direction = "maximize"
vowels.bounds = (0.0, 1.0)
vowels.label = "share of a"


def words(count=64):
    rows = ("abcd"[i % 4] + "abcd"[i // 4 % 4] + "abcd"[i // 16 % 4] for i in range(count))
    return [{"q": row, "a": row[0]} for row in rows]


@dataclass(frozen=True)
class Lines:
    name: str = "lines"
    target: str = "a program that reads numbers, one a line"
    verified: str = ""
    exact: bool = True
    kinds: frozenset = frozenset({"counts"})
    blocks: str = "any"

    def export(self, policy):
        check_expressible(self, policy)
        head = "".join(f"# {line}\\n" for line in policy.provenance(self.name))
        text = head + "".join(f"{count}\\n" for count in policy.flat_counts)
        return Exported(files={"counts.txt": text}, where=("Read counts.txt.",))
'''
POINTS = {
    "denoisers": {"alike": "tiny_plugins:Alike"},
    "metrics": {"vowels": "tiny_plugins:vowels"},
    "datasets": {"words": "tiny_plugins:words"},
    "exports": {"lines": "tiny_plugins:Lines"},
}
RUN = """
model: {type: alike, options: {length: 8}}
dataset: {type: words, prompt: q, answer: a, tune: 16, choose: 16, report: 16, generation_length: 4}
sampler: {steps: [2]}
objective: {metric: vowels}
"""


def install(
    folder: Path,
    points: dict[str, dict[str, str]] | None = None,
    *,
    code: str = CODE,
    package: str = "tiny-plugins",
    version: str = "1.2",
) -> Path:
    """Write a package and its metadata into a folder, as an installer does, and return the folder.

    Args:
        folder: The folder, which then belongs on the module search path.
        points: The targets of the entry points, by kind and name; ``POINTS`` if not given.
        code: Of its module.
        package: Its name; that of its module is the same with underscores.
        version: Its version.
    """
    module = package.replace("-", "_")
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    metadata = folder / f"{module}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n", "utf-8")
    groups = [
        f"[mdm_tune.{kind}]\n" + "".join(f"{name} = {target}\n" for name, target in named.items())
        for kind, named in (POINTS if points is None else points).items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(groups), encoding="utf-8")
    return folder
