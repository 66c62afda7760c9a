from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mdm_tune.config.families import FAMILIES
from mdm_tune.core.errors import InputError
from mdm_tune.start.models import ModelFacts
from mdm_tune.start.tasks import Named, describe_task

LLADA = ModelFacts(section={"type": "huggingface"}, family=FAMILIES["llada"], tokens_of=lambda text: len(text.split()))


@pytest.fixture(scope="module")
def library() -> Any:
    return pytest.importorskip("datasets")


def rows(first: int, stop: int) -> list[dict[str, object]]:
    return [{"question": f"what is {n}?", "answer": f"number {n}", "score": 0.1} for n in range(first, stop)]


@pytest.fixture(scope="module")
def sets(library: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders that the library writes, and a cache of its own."""
    root = tmp_path_factory.mktemp("sets")

    def split(first: int, stop: int) -> Any:
        return library.Dataset.from_list(rows(first, stop))

    def saved(name: str, **splits: Any) -> None:
        library.DatasetDict(splits).save_to_disk(str(root / name))

    library.disable_progress_bars()
    saved("three", train=split(0, 300), validation=split(300, 320), test=split(400, 500))
    saved("large", train=split(0, 300), validation=split(300, 520), test=split(600, 700))
    saved("overlap", train=split(0, 300), test=split(290, 400))
    saved("hidden", train=split(0, 300), test=split(400, 500).remove_columns("answer"))
    saved("languages", en=split(0, 60), de=split(100, 130))
    saved(
        "programs", test=library.Dataset.from_list([{"task_id": 11, "text": "a", "code": "b", "test_list": ["c"]}] * 30)
    )
    split(0, 60).save_to_disk(str(root / "one"))
    (root / "files").mkdir()
    split(0, 60).to_parquet(str(root / "files" / "train-0.parquet"))
    split(60, 120).to_parquet(str(root / "files" / "test-0.parquet"))
    for name in ("main", "other"):
        (root / "configurations" / name).mkdir(parents=True)
        split(0, 60).to_json(str(root / "configurations" / name / "train.jsonl"))
    listed = "".join(f"- config_name: {each}\n  data_files: {each}/*.jsonl\n" for each in ("main", "other"))
    (root / "configurations" / "README.md").write_text(f"---\nconfigs:\n{listed}---\n", encoding="utf-8")
    for name in ("empty", "odd", "model"):
        (root / name).mkdir()
    (root / "odd" / "x.bin").write_bytes(b"\0\1\2")
    (root / "model" / "config.json").write_text("{}", encoding="utf-8")
    return root


@pytest.fixture
def cache(library: Any, sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(library.config, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("name", "split", "sizes"),
    [
        ("three", {"tune": "train", "choose": "train", "report": "test"}, (300, 100)),  # validation is too small
        ("large", {"tune": "validation", "choose": "validation", "report": "test"}, (220, 100)),
        ("one", None, (60, None)),
        ("languages", "en", (60, None)),
        ("files", {"tune": "train", "choose": "train", "report": "test"}, (60, 60)),
        ("files/test-0.parquet", None, (60, None)),
    ],
)
def test_splits_are_those_that_the_set_has(cache: Path, sets: Path, name: str, split: object, sizes: object) -> None:
    facts = describe_task(str(sets / name), LLADA)
    assert facts.dataset["type"] == "datasets" and facts.dataset["path"] == str(sets / name)
    assert (facts.dataset["prompt"], facts.dataset["answer"]) == ("question", "answer")
    assert facts.dataset.get("split") == split and (facts.available, facts.reported) == sizes
    assert str(facts.example).startswith("what is ") and facts.metric == "exact_match" and not facts.official
    assert ("which split to use" in str(facts.unknown)) == (name == "languages")


@pytest.mark.parametrize(
    ("name", "reason"), [("overlap", "they share 10 records, 'what is 290?' first"), ("hidden", "lacks the answers")]
)
def test_splits_that_do_not_go_together_are_not_used_together(cache: Path, sets: Path, name: str, reason: str) -> None:
    facts = describe_task(str(sets / name), LLADA)
    assert facts.dataset["split"] == "train" and (facts.available, facts.reported) == (300, None)
    assert reason in str(facts.unknown)


def test_a_configuration_is_chosen_after_a_colon(cache: Path, sets: Path) -> None:
    facts = describe_task(f"{sets / 'configurations'}:other", LLADA)
    assert facts.dataset["name"] == "other" and facts.available == 60
    for name, got in (("", "none"), (":mian", "'mian'")):
        with pytest.raises(InputError, match=f"one of main, other, got {got}; write it after a colon"):
            describe_task(f"{sets / 'configurations'}{name}", LLADA)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("empty", "doesn't contain any data files); give a folder that save_to_disk"),
        ("odd", "cannot be read as a data set"),
        ("model", "the folder of a model (it has config.json); give the model first"),
        ("programs", "holds programs, whose tests have to be run"),
    ],
)
def test_folders_that_are_no_task(cache: Path, sets: Path, name: str, part: str) -> None:
    with pytest.raises(InputError, match=re.escape(part)):
        describe_task(str(sets / name), LLADA)


def test_a_name_that_the_cache_has(library: Any, cache: Path, sets: Path) -> None:
    """A cache as the library leaves it after a download: the set is renamed to that of a name on the Hub."""
    library.load_dataset(str(sets / "files"))
    (cache / "files").rename(cache / "someone___sums")
    for file in cache.glob("someone___sums/*/*/*/*"):
        if file.suffix == ".arrow":
            file.rename(file.with_name(file.name.replace("files-", "sums-")))
        elif file.name == "dataset_info.json":
            file.write_text(json.dumps({**json.loads(file.read_text()), "dataset_name": "sums"}), encoding="utf-8")
    facts = describe_task("someone/sums", LLADA)
    assert facts.dataset["path"] == "someone/sums" and (facts.available, facts.reported) == (60, 60)
    assert facts.dataset["split"] == {"tune": "train", "choose": "train", "report": "test"}


def test_a_name_that_nobody_provides(cache: Path) -> None:
    with pytest.raises(InputError) as caught:
        describe_task("someone/none:main", LLADA)
    message = str(caught.value)
    assert "'someone/none' is no file or folder here" in message
    assert "run datasets.load_dataset('someone/none', 'main').save_to_disk('FOLDER')" in message
    assert "--prompt FIELD and --answer FIELD, or with --text FIELD" in message


def test_a_published_name_is_known_without_its_records(cache: Path) -> None:
    facts = describe_task("openai/gsm8k", LLADA)
    assert facts.dataset["name"] == "main" and facts.metric == "regex" and facts.example is None
    assert (facts.available, facts.reported, facts.tokens) == (7473, 1319, 256)
    assert "whether the data set is still as it was published" in str(facts.unknown)


def test_fields_that_the_user_names_are_enough(cache: Path) -> None:
    facts = describe_task("someone/none", LLADA, Named(prompt="q", answer="a", length=64))
    assert facts.dataset == {"type": "datasets", "path": "someone/none", "prompt": "q", "answer": "a"} | {
        "generation_length": 64
    }
    assert facts.metric == "likelihood" and "the splits of the data set" in str(facts.unknown)
    assert describe_task("someone/none", LLADA, Named(text="t")).dataset["text"] == "t"
    assert describe_task("someone/none", LLADA, Named(prompt="q")).metric == "own answers"
