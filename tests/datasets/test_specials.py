"""What a tokenizer reads as a mask or another special token: meant in a template, text in the user's data."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from mdm_tune.benchmarks.code_tasks import load_code_task
from mdm_tune.benchmarks.task_benchmark import load_harness_benchmark
from mdm_tune.cli import app
from mdm_tune.config.file import load_config
from mdm_tune.config.tasks import LmEvalDatasetConfig, MbppDatasetConfig
from mdm_tune.config.templates import Hole
from mdm_tune.core.errors import InputError
from mdm_tune.datasets.examples import Example
from mdm_tune.datasets.notes import dataset_notes
from mdm_tune.datasets.rows import example_dataset
from mdm_tune.datasets.specials import data_specials, plain_places
from mdm_tune.denoisers.tokenizer import TokenizerCodec
from mdm_tune.run.build import build
from tests.support.code_problems import problem
from tests.support.local_tasks import settings, sums, write
from tests.support.tiny_models import SPECIAL, bert, transformers, word_tokenizer

WORDS = ["what", "is", "1", "plus", "2", "?", "3", "[", "]", "mask", "sep", "unk", "end", "paris", "the", "capital"]
VOCABULARY = [*SPECIAL, *WORDS]
ID = {word: number for number, word in enumerate(VOCABULARY)}
MASK = ID["[MASK]"]
CHAT = "{% for m in messages %}[CLS] {{ m.content }} [SEP]{% endfor %}"
CHATTY_WORDS = ["<unk>", "<s>", "</s>", "<mask>", "<pad>", "<end>", "the", "cat", "user:", "assistant:"]
SIZES = {"tune": 8, "choose": 8, "report": 8}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of a few words with a chat template."""
    folder = tmp_path_factory.mktemp("special")
    bert(folder / "bert", vocab_size=len(VOCABULARY))
    (folder / "bert" / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "bert")
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder / "bert")
    return folder


@pytest.fixture(scope="module")
def codec(place: Path) -> TokenizerCodec:
    tokenizer = transformers.AutoTokenizer.from_pretrained(place / "bert")
    return TokenizerCodec(tokenizer, vocab_size=len(VOCABULARY), hidden=(MASK,))


def config(place: Path, tmp_path: Path, records: list[dict[str, Any]], **dataset: Any) -> Path:
    """Questions q with answers a, the given ones on the last lines of the file."""
    usual = [{"q": f"what is {n} ?", "a": "3", "n": n} for n in range(40 - len(records))]
    lines = [json.dumps(record) for record in [*usual, *({"n": 99, **each} for each in records)]]
    (tmp_path / "qa.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sections = {
        "model": {"type": "huggingface", "path": str(place / "bert"), "dtype": "float32"},
        "dataset": {"type": "jsonl", "path": "qa.jsonl", "id": "{n}-{q}", **SIZES, "report": "all", **dataset},
        "sampler": {"order": "random", "steps": [1], "batch": 16},
        "objective": {"metric": "nelbo"},
        "output": str(tmp_path / "run"),
    }
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(sections), encoding="utf-8")
    return file


QA = {"prompt": "q", "answer": "a"}


def row_of(file: Path, question: str) -> tuple[list[int], list[int]]:
    """What the sampler is given and the reference of one example, without padding."""
    dataset = build(load_config(file)).dataset
    assert dataset is not None
    for split in dataset.splits.values():
        for number, example in enumerate(split.examples):
            if example.record["q"] == question:
                start = split.start[number]
                return start[start >= 0].tolist(), split.originals[number][start >= 0].tolist()
    raise AssertionError(question)


def ids(text: str) -> list[int]:
    return [ID[word] for word in text.split()]


# --- records --------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["[MASK]", "[SEP]", "[PAD]", "[CLS]", "[UNK]"])
@pytest.mark.parametrize(
    ("field", "dataset"),
    [
        ("q", QA),
        ("a", QA),
        ("q", {"text": "q"}),
        ("q", {"template": "{q} [[a]]"}),
        ("a", {"template": "{q} [[a]]"}),
        ("q", {**QA, "chat": True}),
    ],
)
def test_a_special_token_in_a_field_is_refused_with_its_line(
    place: Path, tmp_path: Path, token: str, field: str, dataset: dict[str, Any]
) -> None:
    record = {"q": "what is 1 plus 2 ?", "a": "3"} | {field: f"is 1{token}plus"}
    file = config(place, tmp_path, [record], **dataset)
    with pytest.raises(InputError) as raised:
        build(load_config(file))
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'qa.jsonl'}, line 40: field '{field}' holds '{token}', which the model's")
    assert "dataset.special_tokens to text" in message


def test_it_can_be_read_letter_by_letter(place: Path, tmp_path: Path) -> None:
    question = "what is 1 plus 2 is [MASK] ?"
    file = config(place, tmp_path, [{"q": question, "a": "[SEP]"}], **QA, special_tokens="text")
    start, told = row_of(file, question)
    visible = ids("[CLS] what is 1 plus 2 is [ mask ] ?")
    assert start == [*visible, MASK, MASK, MASK, ID["[SEP]"]]
    assert told == [*visible, *ids("[ sep ]"), ID["[SEP]"]]
    run = build(load_config(file))
    assert run.dataset is not None
    ((note, code, _),) = [each for each in dataset_notes(run.dataset) if each[1] != "no-interval"]
    assert code == "special-tokens"
    assert re.search(
        r"1 of 40 examples hold text that .* letter by letter, as in example .*line 40\): '\[MASK\] \?'", note
    )
    assert run.evaluator.length == 1


def test_what_the_configs_own_templates_say_is_meant(place: Path, tmp_path: Path) -> None:
    file = config(place, tmp_path, [{"q": "2", "a": "3"}], prompt="what is {q} [SEP]", answer="a")
    assert row_of(file, "2")[0] == [*ids("[CLS] what is 2 [SEP]"), MASK, ID["[SEP]"]]
    masked = config(place, tmp_path, [], prompt="what is {q} [MASK]", answer="a")
    with pytest.raises(InputError, match=r"qa\.jsonl, line \d+\): its text has the mask, token 4, as its token number"):
        build(load_config(masked))


def test_what_the_chat_template_says_is_meant(place: Path, tmp_path: Path) -> None:
    question = "is [SEP] what"
    file = config(place, tmp_path, [{"q": question, "a": "3"}], **QA, chat=True, special_tokens="text")
    assert row_of(file, question)[0] == [*ids("[CLS] is [ sep ] what [SEP]"), MASK, ID["[SEP]"]]


def test_shots_are_data_too(place: Path, tmp_path: Path) -> None:
    file = config(place, tmp_path, [], **QA, shots=1)
    lines = (tmp_path / "qa.jsonl").read_text(encoding="utf-8").splitlines()
    lines[0] = json.dumps({"q": "what is [MASK] ?", "a": "2", "n": 0})
    (tmp_path / "qa.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"qa\.jsonl, line 1: field 'q' holds '\[MASK\]'"):
        build(load_config(file))
    text = file.read_text(encoding="utf-8").replace("shots: 1", "shots: 1\n  special_tokens: text")
    file.write_text(text, encoding="utf-8")
    start, _ = row_of(file, "what is 7 ?")
    assert start.count(MASK) == 1 and start[1:8] == ids("what is [ mask ] ? 2")


def test_unknown_words_are_text(place: Path, tmp_path: Path) -> None:
    file = config(place, tmp_path, [{"q": "what is unicorn ?", "a": "3"}], **QA)
    assert row_of(file, "what is unicorn ?")[0][1:5] == ids("what is [UNK] ?")


def test_the_command_says_it_before_anything_is_paid_for(place: Path, tmp_path: Path) -> None:
    file = config(place, tmp_path, [{"q": "what is [MASK] ?", "a": "3"}], **QA)
    for command in ("search", "profile", "evaluate", "sample"):
        result = CliRunner().invoke(app, [command, str(file)])
        assert result.exit_code == 2 and "Traceback" not in result.output
        assert "line 40: field 'q' holds '[MASK]'" in re.sub(r"\s+", " ", result.stderr)
    assert not (tmp_path / "run").exists()


# --- codecs ---------------------------------------------------------------------------------------


def words(tmp_path: Path, **special: str) -> Any:
    word_tokenizer(tmp_path, CHATTY_WORDS, ("<s>", "</s>"), unk_token="<unk>", **special)
    return transformers.AutoTokenizer.from_pretrained(tmp_path)


def test_ends_padding_and_a_mask_that_only_the_config_knows(tmp_path: Path) -> None:
    """Neither the mask nor the end is special to the tokenizer: they are words of its vocabulary."""
    found = TokenizerCodec(
        words(tmp_path, pad_token="<pad>"), vocab_size=10, hidden=(3,), end_tokens=(5, CHATTY_WORDS.index("cat"))
    )
    text = "the <mask> cat <end> <pad> dog <unk>"
    assert found.specials(text) == [(4, "<mask>"), (15, "<end>"), (21, "<pad>"), (31, "<unk>")]
    assert found.specials("the cat dog") == []  # an end that is a word, and a word that is unknown
    with pytest.raises(InputError, match="must not hold a special token, got '<mask>'"):
        found.encode(text, [4])


def test_a_tokenizer_that_does_not_say_where_its_tokens_stand(tmp_path: Path) -> None:
    class Slow:
        is_fast = False

        def __init__(self, tokenizer: Any) -> None:
            self.tokenizer = tokenizer

        def __getattr__(self, name: str) -> Any:
            return getattr(self.tokenizer, name)

        def __call__(self, *args: Any, **options: Any) -> Any:
            assert not options.get("return_offsets_mapping")
            return self.tokenizer(*args, **options)

    found = TokenizerCodec(Slow(words(tmp_path, mask_token="<mask>", eos_token="</s>")), vocab_size=10, hidden=(3,))
    assert found.specials("the <mask> dog </s> <unk> <mask>") == [
        (4, "<mask>"),
        (15, "</s>"),
        (20, "<unk>"),
        (26, "<mask>"),
    ]


def test_every_character_a_token(tmp_path: Path) -> None:
    word_tokenizer(tmp_path, ["<unk>", "a", "b", "_"], unk_token="<unk>")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    found = TokenizerCodec(tokenizer, vocab_size=4, hidden=(3,), split="characters")
    assert found.specials("ab_a_") == [(2, "_"), (4, "_")] and found.encode("ab") == [1, 2]
    with pytest.raises(InputError, match="must not hold a special token"):
        found.encode("ab_a", [2])


def test_only_what_stands_in_a_field_is_data(codec: TokenizerCodec) -> None:
    rendered = "[CLS] is [SEP] what [SEP] 1 plus [SEP]"
    (found,) = data_specials(codec, rendered, [{"x": {"y": ["  is [SEP] what "]}, "n": 3}])
    assert (found.place, found.text, found.field) == (9, "[SEP]", "x")
    assert data_specials(codec, rendered, [{"x": "plus [SEP] 2"}]) == []
    assert plain_places(codec, (rendered, Hole("3")), [{"x": "[SEP] what [SEP] 1"}]) == ((9, 20), ())
    assert plain_places(codec, ("is", Hole("[SEP]")), [{"x": "[CLS]"}]) == ()


def test_text_of_a_profile_or_of_a_codec_without_special_tokens_never_hides_a_position() -> None:
    """Whatever the codec: a visible mask is refused."""
    from mdm_tune.core.text import Symbols

    with pytest.raises(InputError, match="example 1: its reference has the mask, token 2"):
        example_dataset({"tune": [Example("1", ("ab", Hole("c")))]}, Symbols("abc"), 2, 0)


# --- benchmarks -----------------------------------------------------------------------------------


def test_documents_of_the_harness_are_read_as_text(codec: TokenizerCodec, tmp_path: Path) -> None:
    asked = [{**each, "a": f"{('[MASK]', '[SEP]')[n % 2]} {each['a']}"} for n, each in enumerate(sums(range(80)))]
    task = settings("plus", num_fewshot=1, fewshot_split="train", doc_to_text="[CLS] {{a}} plus {{b}}")
    task["doc_to_target"] = "3"
    write(tmp_path, "marked", {"train": asked[:60], "test": asked[60:]}, **task)
    chosen = {"type": "lm-eval", "task": "marked", "tune": 8, "choose": 8, "generation_length": 4}
    loaded = load_harness_benchmark(
        LmEvalDatasetConfig.model_validate({**chosen, "include_path": str(tmp_path), "prefix": "[SEP]"}), codec, 0, True
    )
    dataset = example_dataset({"report": loaded.examples("report")}, codec, MASK, 0, generation_length=4)
    split = dataset.splits["report"]
    assert len(split.ids) == 20 and torch.equal(split.hidden.sum(1), torch.full((20,), 4))
    for row, example in zip(split.start, split.examples, strict=True):
        visible = row[(row >= 0) & (row != MASK)].tolist()
        assert visible.count(ID["[CLS]"]) == 3  # the frame's, and that of the task's own text, twice
        assert visible.count(ID["[SEP]"]) == 2 and visible.count(ID["["]) == 2  # prefix and frame; shot and question
        assert example.prompt.count("[MASK]") + example.prompt.count("[SEP]") == 3


def test_programs_are_read_as_text(codec: TokenizerCodec, tmp_path: Path) -> None:
    numbers = [*range(1, 11), *range(11, 27), *range(511, 515), *range(601, 625)]
    problems = [{**problem(number), "text": f"what is [MASK] {number} [SEP] ?"} for number in numbers]
    (tmp_path / "mbpp.jsonl").write_text("\n".join(map(json.dumps, problems)) + "\n", encoding="utf-8")
    given = {"type": "mbpp", "path": str(tmp_path / "mbpp.jsonl"), "tune": 8, "choose": 8, "generation_length": 4}
    for chat in (False, True):
        chosen = MbppDatasetConfig.model_validate({**given, "chat": chat, "prefix": "[CLS]"})
        task = load_code_task(chosen, codec, 0, True)
        examples = task.examples("report")
        split = example_dataset({"report": examples}, codec, MASK, 0, generation_length=4).splits["report"]
        assert bool((split.hidden.sum(1) == 4).all())
        turns = 7 if chat else 0  # three solved problems and one question, each closed by the template's own token
        for row in split.start:
            assert row.tolist().count(ID["[SEP]"]) == turns + 1
        assert examples[0].source.startswith(f"{tmp_path / 'mbpp.jsonl'}, line ")
