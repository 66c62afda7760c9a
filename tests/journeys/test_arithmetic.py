"""The bundled task model: its problems are right and kept apart, it solves them, and damaged files are told."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import mdm_tune
from mdm_tune.config.file import load_config
from mdm_tune.core import files
from mdm_tune.core.errors import InputError
from mdm_tune.run.build import build
from scripts.arithmetic import HELD_OUT, USES, draw, problems, prompt_of, use_of, write_splits

ROOT = Path(__file__).parent.parent.parent
CONFIG = ROOT / "configs" / "arithmetic.yaml"
BUNDLE = ROOT / "mdm_tune" / "data" / "arithmetic"
LARGEST = 6_000_000  # bytes of a bundled model with its data
SMALL = ["dataset.tune=8", "dataset.choose=8", "dataset.report=64"]


def bundled_records(use: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (BUNDLE / f"{use}.jsonl").read_text("utf-8").splitlines()]


def test_every_answer_is_right() -> None:
    """The results are computed anew, over whole numbers of any size, from the text of the prompt."""
    for use in USES:
        for record in bundled_records(use):
            problem = re.fullmatch(r"(\d([-+*]\d){3,14})= *", record["prompt"])
            assert problem is not None and len(record["prompt"]) == 32
            shown = []
            for stop in range(1, len(problem[1]) + 1, 2):
                value, rest = int(problem[1][0]), problem[1][1:stop]
                for place in range(0, len(rest), 2):
                    number = int(rest[place + 1])
                    value = value * number if rest[place] == "*" else value + number * (1 if rest[place] == "+" else -1)
                shown.append(str(value % 10))
            assert record["answer"] == " ".join(shown) and record["results"] == len(shown)


def test_the_splits_share_no_problem_and_training_draws_none_of_theirs() -> None:
    prompts = {use: [record["prompt"] for record in bundled_records(use)] for use in USES}
    assert (
        {use: len(found) for use, found in prompts.items()} == HELD_OUT == {"tune": 512, "choose": 512, "report": 1024}
    )
    together = [prompt for found in prompts.values() for prompt in found]
    assert len(set(together)) == len(together)
    assert all(use_of(prompt) == use for use, found in prompts.items() for prompt in found)
    drawn = problems("train", 0)
    assert all(use_of(next(drawn)[0]) == "train" for _ in range(500))
    rng = random.Random(0)  # the parts are as large as they should be
    uses = [use_of(prompt_of(draw(rng))) for _ in range(2000)]
    assert uses.count("train") / len(uses) == pytest.approx(13 / 16, abs=0.04)


def test_the_bundled_files_are_those_of_the_script(tmp_path: Path) -> None:
    write_splits(tmp_path)
    for use in USES:
        assert (tmp_path / f"{use}.jsonl").read_bytes() == (BUNDLE / f"{use}.jsonl").read_bytes()


def test_the_bundle_is_small_and_has_a_card() -> None:
    assert sum(path.stat().st_size for path in BUNDLE.iterdir()) < LARGEST
    card = (BUNDLE / "README.md").read_text("utf-8")
    assert all(part in card for part in ("**Training**", "**Licence**", "**Not for**", "interval"))


def test_the_model_solves_its_task_at_one_token_per_step_only(tmp_path: Path) -> None:
    config = load_config(CONFIG, SMALL, output=str(tmp_path / "run"))
    found = mdm_tune.evaluate(config, ["linear"], [4, 32])
    few, whole = (row.estimate.value for row in found.rows)
    assert whole >= 0.9 and few <= whole - 0.3
    assert {row.metric for row in found.rows} == {"exact_match"}


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the bundle that ``package:arithmetic`` names."""
    shutil.copytree(BUNDLE, tmp_path / "data" / "arithmetic")
    monkeypatch.setattr(files.resources, "files", lambda name: tmp_path)
    return tmp_path / "data" / "arithmetic"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", b"\x00" * 40, r"model\.safetensors is truncated or not a safetensors file"),
        ("config.json", b"{", r"config\.json is not JSON: .*; save the model again$"),
        ("choose.jsonl", b'{"prompt": "1+', r"choose\.jsonl, line 1: not JSON"),
        ("choose.jsonl", b'{"prompt": "1= "}\n', r"choose\.jsonl, line 1: .*answer"),
        ("choose.jsonl", b"", r"choose\.jsonl holds no record"),
        ("model.safetensors", None, r"no checkpoint at .*: model\.safetensors is missing"),
        (
            "report.jsonl",
            None,
            r"package:arithmetic has no file report\.jsonl, it has choose\.jsonl, tune\.jsonl; install",
        ),
    ],
)
def test_a_damaged_bundle_is_told_in_one_message(copied: Path, name: str, content: bytes | None, message: str) -> None:
    if content is None:
        (copied / name).unlink()
    else:
        (copied / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        build(load_config(CONFIG, SMALL))
    assert "\n" not in str(caught.value)


def test_a_bundle_is_read_by_the_type_of_its_files() -> None:
    for change, message in (
        ("dataset.path=package:text", r"package:text has no file tune\.jsonl, it has text; text is read by dataset"),
        (
            "dataset.type=csv",
            "package:arithmetic is read by the types jsonl and text, got csv; set dataset.type to jsonl",
        ),
        ("dataset.path=package:arithmetix", "no bundled data called 'arithmetix'; the package ships arithmetic, text"),
    ):
        with pytest.raises(InputError, match=message):
            build(load_config(CONFIG, [*SMALL, change]))
