"""Configs that tests write to a file and load, and the problems that loading one names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mdm_tune.config.file import Config, load_config
from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_text

SPLITS = {"tune": 8, "choose": 9, "report": 10}
LAW = {"type": "law", **SPLITS}
TEXT = {"type": "text", "path": "package:text", **SPLITS}
TRANSFORMER = {"type": "transformer", "path": "package:text"}
MARKOV = {"type": "markov", "length": 4, "symbols": 3, "flip": 0.25}


def whole(**sections: Any) -> dict[str, Any]:
    """A complete good config in which the given sections replace or extend the usual ones; None removes one."""
    usual = {"model": MARKOV, "sampler": {"steps": [2, 4]}, "objective": {"metric": "kl"}}
    return {key: value for key, value in {**usual, **sections}.items() if value is not None}


def load(folder: Path, content: dict[str, Any] | str | bytes, *overrides: str, **flags: Any) -> Config:
    path = folder / "run.yaml"
    text = yaml_text(content) if isinstance(content, dict) else content
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_config(path, overrides, **flags)


def problems(folder: Path, content: dict[str, Any] | str | bytes, *overrides: str, **flags: Any) -> list[str]:
    """The lines of the error, which is expected, without the header that counts them."""
    with pytest.raises(InputError) as caught:
        load(folder, content, *overrides, **flags)
    header, *lines = str(caught.value).split("\n")
    assert header == f"{folder / 'run.yaml'}: {len(lines)} problem{'s' * (len(lines) > 1)} in the config"
    return [line.removeprefix("  ") for line in lines]
