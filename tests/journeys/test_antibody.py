"""What configs/antibody.yaml stands on: its data, the weights that a script unpacks, and the judge of its samples."""

from __future__ import annotations

import io
import itertools
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mdm_tune.config.data import JsonlDatasetConfig
from mdm_tune.config.file import load_config
from mdm_tune.config.models import HuggingFaceConfig
from scripts.antibody_judge import Domain, identity, nearest, numbered
from scripts.fetch_antiberty import CHECKPOINT, MODELS, TIED, check_wheel, write
from tests.support.tiny_models import RESIDUES, SPECIAL, bert, load, transformers

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "antibody.yaml"
USES = ("tune", "choose", "report")
COUNTS = {"": (73, 28, 82), "reads": (128, 60, 128)}  # as configs/antibody/README.md says
HEAVY = {"": (44, 17, 49), "reads": (128, 60, 128)}
# Trastuzumab's heavy and light variable domains, as published with the structure 1N8Z.
TRASTUZUMAB = (
    "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKG"
    "RFTISADTSKNTAYLQMNSLRAEDTAVYYCSRWGGDGFYAMDYWGQGTLVTVSS"
)
TRASTUZUMAB_LIGHT = (
    "DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPSRFSGSRSGTDFTLTISSLQPEDFATYYCQQHYTTPPTFGQGTKVEIK"
)


def records(kind: str, use: str) -> list[dict[str, str]]:
    lines = (CONFIG.parent / "antibody" / kind / f"{use}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("kind", ["", "reads"])
def test_the_antibodies_are_as_many_as_said_and_in_one_use_each(kind: str) -> None:
    uses = [records(kind, use) for use in USES]
    assert tuple(map(len, uses)) == COUNTS[kind]
    assert tuple(sum(each["chain"] == "heavy" for each in use) for use in uses) == HEAVY[kind]
    everything = list(itertools.chain(*uses))
    assert all(set(each["sequence"]) <= set(RESIDUES) for each in everything)
    for field in ("name", "sequence"):
        assert len({each[field] for each in everything}) == len(everything)


def test_domains_of_different_uses_differ_at_a_fifth_of_their_positions() -> None:
    """Of the domains that the config names: as the numbering program sees them, each whole by itself."""
    uses = [[(each["chain"], numbered(each["sequence"])) for each in records("", use)] for use in USES]
    for chain, domain in itertools.chain(*uses):
        assert domain is not None and domain.whole() and domain.chain == chain
    for first, second in itertools.combinations(uses, 2):
        assert max(identity(one, other) for _, one in first for _, other in second if one and other) < 0.8


def test_the_config_takes_all_of_them() -> None:
    config = load_config(CONFIG)
    assert isinstance(config.model, HuggingFaceConfig) and isinstance(config.dataset, JsonlDatasetConfig)
    assert Path(config.model.path) == ROOT / "configs" / ".." / "models" / "antiberty"
    assert (config.dataset.tune, config.dataset.choose) == COUNTS[""][:2] and config.dataset.report == "all"
    assert config.sampler.order == "random" and config.objective.metric == "nelbo"


def test_the_numbers_of_the_summary_stand_in_the_tables() -> None:
    page = (ROOT / "docs" / "antibody.md").read_text(encoding="utf-8")
    section = page.partition("## In short")[2].partition("## Results")[0]
    tables = page.partition("<!-- tables -->")[2]
    numbers = re.findall(r"\d+\.\d+", section.replace("+", ""))
    assert len(numbers) > 10
    assert all(number in tables for number in numbers)


def test_the_judge_knows_a_published_antibody() -> None:
    heavy, light = numbered(TRASTUZUMAB), numbered(TRASTUZUMAB_LIGHT)
    assert heavy is not None and light is not None
    assert (heavy.chain, light.chain) == ("heavy", "light")
    assert heavy.whole() and light.whole()
    assert heavy.sequence == TRASTUZUMAB and light.sequence == TRASTUZUMAB_LIGHT
    assert (heavy.residues["23"], heavy.residues["41"], heavy.residues["104"]) == ("C", "W", "C")
    # Kabat's H22 and H92 are the places of the cysteines in the sequence, counted by hand.
    assert [at + 1 for at, acid in enumerate(TRASTUZUMAB) if acid == "C"] == [22, 96]
    assert 0.75 < heavy.germline < 0.9  # humanised: loops of a mouse in human frameworks
    assert heavy.score > 150


def test_the_judge_misses_what_is_broken() -> None:
    without = numbered(TRASTUZUMAB.replace("YYC", "YYS"))
    assert without is not None and not without.conserved and not without.whole()
    headless = numbered(TRASTUZUMAB[20:])
    assert headless is not None and not headless.whole()
    shuffled = "".join(TRASTUZUMAB[at] for at in torch.randperm(120, generator=torch.Generator().manual_seed(0)))
    assert numbered(shuffled) is None


def test_identity_counts_the_positions_of_either() -> None:
    def domain(**residues: str) -> Domain:
        return Domain("heavy", 0.0, 0.0, {name[1:]: acid for name, acid in residues.items()})

    one, other = domain(p1="A", p2="C", p3="D"), domain(p1="A", p2="E", p4="F")
    assert identity(one, other) == 1 / 4
    assert nearest(one, [other, domain(p1="A", p2="C")]) == 2 / 3


def wheel(folder: Path, **changed: Any) -> tuple[Path, Any]:
    """A wheel of AntiBERTy's form with a tiny network, and the network."""
    model = bert(folder / "tiny")
    weights = dict(model.state_dict()) | {
        "cls.species.weight": torch.zeros(6, 32),
        "bert.embeddings.position_ids": torch.arange(64)[None],
        **changed,
    }
    config = {**model.config.to_dict(), "architectures": ["AntiBERTy"], "_name_or_path": "/somewhere"}
    path, saved = folder / "tiny.whl", io.BytesIO()
    torch.save(weights, saved)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{CHECKPOINT}/config.json", json.dumps(config))
        archive.writestr(f"{CHECKPOINT}/pytorch_model.bin", saved.getvalue())
        archive.writestr(f"{MODELS}/vocab.txt", "\n".join([*SPECIAL, *RESIDUES]))
    return path, model


def test_the_weights_of_a_wheel_become_a_folder_that_loads(tmp_path: Path) -> None:
    path, model = wheel(tmp_path)
    assert write(path, tmp_path / "out") == ["cls.species.weight"]
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == model.state_dict().keys() - TIED.keys()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer("E V")["input_ids"] == [2, 5 + RESIDUES.index("E"), 5 + RESIDUES.index("V"), 3]
    loaded = load(tmp_path / "out", family="bert", split="characters", never=SPECIAL[:4])
    tokens = torch.tensor([[2, *loaded.codec.encode("EVQLV"), 3]])
    tokens[0, 2:4] = loaded.denoiser.mask_id
    with torch.inference_mode():
        expected = model(tokens).logits[0, 2:4]
        found = loaded.denoiser(tokens, tokens == loaded.denoiser.mask_id)
    torch.testing.assert_close(found[:, 5:], expected[:, 5:])
    assert torch.isinf(found[:, :5]).all()  # none of the special tokens is ever drawn
    assert loaded.codec.framed([]) == ([2], [3])


def test_weights_that_should_be_tied_and_are_not_are_refused(tmp_path: Path) -> None:
    path, _ = wheel(tmp_path, **{"cls.predictions.decoder.bias": torch.ones(25)})
    with pytest.raises(SystemExit, match=r"decoder\.bias must equal cls\.predictions\.bias"):
        write(path, tmp_path / "out")


def test_another_wheel_than_the_reviewed_one_is_refused(tmp_path: Path) -> None:
    path, _ = wheel(tmp_path)
    with pytest.raises(SystemExit, match="with SHA-256 0000, got"):
        check_wheel(path, "0000")
    with pytest.raises(SystemExit, match="there is no file"):
        check_wheel(tmp_path / "none.whl", "0000")
