from __future__ import annotations

import json
from pathlib import Path

import pytest

from mdm_tune.config.families import PUBLISHED, family_of_name
from mdm_tune.core.errors import InputError
from mdm_tune.start.models import describe_model


def checkpoint(folder: Path, **config: object) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize(
    ("config", "family", "length"),
    [
        ({"model_type": "llada", "max_sequence_length": 4096, "vocab_size": 126464}, "llada", 4096),
        ({"model_type": "Dream", "max_position_embeddings": 131072}, "dream", None),
        ({"model_type": "esm", "max_position_embeddings": 1026, "pad_token_id": 1}, "esm", 1024),
        ({"model_type": "esm", "_name_or_path": "airkingbd/dplm_150m"}, "dplm", None),
        ({"model_type": "new"}, "generic", None),
    ],
)
def test_family_and_length_of_a_folder(
    tmp_path: Path, config: dict[str, object], family: str, length: int | None
) -> None:
    facts = describe_model(checkpoint(tmp_path / "m", **config))
    assert facts.section["family"] == family and facts.length == length
    assert "the tokenizer cannot be loaded here" in str(facts.unknown)


def test_the_family_that_the_user_names(tmp_path: Path) -> None:
    facts = describe_model(checkpoint(tmp_path / "m", model_type="new"), "diffullama")
    assert facts.section["family"] == "diffullama" and facts.writes_ends


def test_a_chat_model_has_a_template_and_its_name_says_so(tmp_path: Path) -> None:
    for name, chat in (("tiny-Instruct", True), ("tiny-Base", False), ("LLaDA-1.5", True), ("other-1.5B", False)):
        folder = checkpoint(tmp_path / name, model_type="llada")
        (Path(folder) / "chat_template.jinja").write_text("x", encoding="utf-8")
        facts = describe_model(folder)
        assert facts.chat == chat
        assert ("whether prompts are chats" in str(facts.unknown)) != chat


def test_published_names() -> None:
    assert family_of_name("GSAI-ML/LLaDA-1.5") == "llada-1.5"
    assert family_of_name("GSAI-ML/LLaDA-8B-Base") == "llada"
    assert family_of_name("x/y") is None
    begins = list(PUBLISHED)
    assert not any(b.startswith(a) for i, a in enumerate(begins) for b in begins[i + 1 :])


def test_a_model_without_a_mask_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="uniform corruption"):
        describe_model(checkpoint(tmp_path / "m", model_type="duo"))


def test_a_damaged_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(InputError, match="must be a mapping, got"):
        describe_model(str(tmp_path))
