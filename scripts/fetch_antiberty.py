"""Write the weights of AntiBERTy, a language model of antibodies, as a folder that configs/antibody.yaml loads.

    python scripts/fetch_antiberty.py                          # pip downloads the wheel, 96 MB
    python scripts/fetch_antiberty.py --wheel antiberty-0.1.3-py3-none-any.whl

The folder holds config.json, model.safetensors, vocab.txt and tokenizer_config.json;
``transformers.BertForMaskedLM.from_pretrained`` reads it as it is. The heads that guess species and chain are left out.

AntiBERTy (MIT licence, copyright (c) 2023 Jeffrey Ruffolo): 26 M parameters, a BERT trained to fill masks in 558 M
antibody sequences. Source: Ruffolo, Gray and Sulam, arXiv:2112.07782.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

REQUIREMENT = "antiberty==0.1.3"
SHA256 = "30d910992b190013871bac49cdc032e01a19339f7d2b958ab99b0eb44638352a"
MODELS = "antiberty/trained_models"
CHECKPOINT = f"{MODELS}/AntiBERTy_md_smooth"
KEPT = ("bert.embeddings.", "bert.encoder.", "cls.predictions.")  # what BertForMaskedLM is made of
COMPUTED = ("bert.embeddings.position_ids",)
TIED = {  # stored twice; transformers ties the second to the first
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
TOKENIZER = {
    "tokenizer_class": "BertTokenizer",
    "do_lower_case": False,
    "model_max_length": 512,
    **{f"{name}_token": f"[{name.upper()}]" for name in ("cls", "mask", "pad", "sep", "unk")},
}
HERE = Path(__file__).parent.parent


def download(folder: Path) -> Path:
    """The wheel, fetched by pip from wherever pip is set up to look."""
    command = [sys.executable, "-m", "pip", "download", REQUIREMENT, "--no-deps", "--only-binary", ":all:"]
    if subprocess.run([*command, "--quiet", "--dest", str(folder)], check=False).returncode:
        raise SystemExit(f"pip cannot download {REQUIREMENT}; bring the wheel here and give it with --wheel")
    return next(folder.glob("*.whl"))


def check_wheel(wheel: Path, expected: str) -> None:
    """Raise SystemExit unless the file has the SHA-256 that was reviewed."""
    if not wheel.is_file():
        raise SystemExit(f"there is no file {wheel}; give the wheel of {REQUIREMENT}")
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise SystemExit(f"{wheel} must be the wheel of {REQUIREMENT} with SHA-256 {expected}, got {found}")


def masked_lm(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The weights of BertForMaskedLM, each once, and the names of those that it has no place for."""
    for copy, original in TIED.items():
        if copy in weights and not torch.equal(weights[copy], weights[original]):
            raise SystemExit(f"{copy} must equal {original}, to which transformers ties it, and does not")
    kept = {
        name: weight.contiguous()
        for name, weight in weights.items()
        if name.startswith(KEPT) and name not in TIED and name not in COMPUTED
    }
    return kept, sorted(weights.keys() - kept.keys() - TIED.keys() - set(COMPUTED))


def write(wheel: Path, output: Path) -> list[str]:
    """Convert what the wheel holds; returns the names of the weights that were left out.

    The checkpoint is unpickled with ``weights_only``, so that it can run no code.
    """
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as scratch:
        config: dict[str, Any] = json.loads(archive.read(f"{CHECKPOINT}/config.json"))
        vocabulary = archive.read(f"{MODELS}/vocab.txt")
        weights = torch.load(
            archive.extract(f"{CHECKPOINT}/pytorch_model.bin", scratch), map_location="cpu", weights_only=True
        )
    kept, dropped = masked_lm(weights)
    config = {key: value for key, value in config.items() if key not in ("_name_or_path", "transformers_version")}
    output.mkdir(parents=True, exist_ok=True)
    (output / "vocab.txt").write_bytes(vocabulary)
    (output / "tokenizer_config.json").write_text(json.dumps(TOKENIZER, indent=2) + "\n", encoding="utf-8")
    save_file(kept, output / "model.safetensors", metadata={"format": "pt"})
    written = {**config, "architectures": ["BertForMaskedLM"]}
    (output / "config.json").write_text(json.dumps(written, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return dropped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help="the wheel, where pip cannot download it")
    parser.add_argument("--output", type=Path, default=HERE / "models" / "antiberty")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = options.wheel or download(Path(folder))
        check_wheel(wheel, SHA256)
        dropped = write(wheel, options.output)
    print(f"{options.output} is ready for BertForMaskedLM; left out, because it has no place for them:")
    print("\n".join(f"  {name}" for name in dropped))


if __name__ == "__main__":
    main()
