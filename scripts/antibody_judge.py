"""What a sequence is as an antibody, by anarcism (`pip install anarcism==1.0.1`), which knows no language model.

anarcism (Apache-2.0) aligns a sequence to profiles of germline genes as ANARCI does (Dunbar and Deane, Bioinformatics
2016), numbers it by IMGT's scheme and finds the germline V gene that it is most like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["CONSERVED", "LAST", "RECOGNISED", "Domain", "identity", "nearest", "numbered"]

CONSERVED = {"23": "C", "41": "W", "104": "C"}  # by IMGT position: what holds every variable domain together
LAST = 127  # IMGT position by which a domain has its whole fourth framework; 128 is often left out
RECOGNISED = 80.0  # bits from which ANARCI takes a hit for a domain


@dataclass(frozen=True)
class Domain:
    """A variable domain: amino acids by IMGT position such as 111A, in their order.

    chain: heavy or light. score: bits of the best profile. germline: share of the nearest V gene's amino acids that it
    has. start, stop: where it lies in the sequence that was given.
    """

    chain: str
    score: float
    germline: float
    residues: Mapping[str, str]
    start: int = 0
    stop: int = 0

    @property
    def sequence(self) -> str:
        return "".join(self.residues.values())

    @property
    def ends(self) -> tuple[int, int]:
        """The first and the last IMGT position."""
        places = [int("".join(filter(str.isdigit, place))) for place in self.residues]
        return places[0], places[-1]

    @property
    def conserved(self) -> bool:
        """Whether it has both cysteines and the tryptophan."""
        return all(self.residues.get(place) == acid for place, acid in CONSERVED.items())

    def whole(self, start: int = 1) -> bool:
        """Whether it begins by IMGT position ``start``, ends where domains end, and has the conserved amino acids."""
        first, last = self.ends
        return first <= start and last >= LAST and self.conserved


def numbered(sequence: str, least: float = RECOGNISED) -> Domain | None:
    """The best domain of an antibody in a sequence; None where the program finds none of at least so many bits."""
    import anarcism

    hits = anarcism.number_sequence(
        sequence, allowed_chains=["H", "K", "L"], min_bit_score=least, assign_germline=True
    ).domains
    if not hits:
        return None
    best = max(hits, key=lambda hit: hit.bit_score)
    residues = {
        f"{place.position}{place.insertion_code.strip()}": place.amino_acid
        for place in best.numbering
        if place.amino_acid != "-"
    }
    germline = best.germline.v_identity if best.germline is not None else None
    return Domain(
        chain="heavy" if best.chain_type == "H" else "light",
        score=best.bit_score,
        germline=germline or 0.0,
        residues=residues,
        start=best.start,
        stop=best.end,
    )


def identity(one: Domain, other: Domain) -> float:
    """Share of the IMGT positions of either at which both have the same amino acid."""
    places = one.residues.keys() | other.residues.keys()
    return sum(one.residues.get(place) == other.residues.get(place) for place in places) / len(places)


def nearest(domain: Domain, others: Sequence[Domain]) -> float:
    """The largest identity to one of the others."""
    return max(identity(domain, other) for other in others)
