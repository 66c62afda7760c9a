"""What the formats of other samplers share: they check a policy first, and their target can be run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from mdm_tune.exports.base import BlockRule, Exported, Realised, check_expressible
from mdm_tune.exports.peer_process import run_peer
from mdm_tune.exports.policy import Kind, Policy

__all__ = ["PeerFormat"]


class PeerFormat(ABC):
    """An ``ExportFormat`` and ``Verifiable`` for the code of a peer. Its attributes are those of ``ExportFormat``.

    Attributes:
        file: the exported file that the peer's code is run on.
    """

    name: str
    target: str
    verified: str
    file: str
    kinds: frozenset[Kind]
    exact: bool = True
    blocks: BlockRule = "none"

    @abstractmethod
    def made(self, policy: Policy) -> Exported:
        """The files of a policy that the target can express."""

    def export(self, policy: Policy) -> Exported:
        """See ``ExportFormat``."""
        check_expressible(self, policy)
        return self.made(policy)

    def verify(self, policy: Policy, exported: Path, peer: Path) -> Realised:
        """See ``Verifiable``. The function of ``peer_runs.RUNS`` with the format's name runs."""
        return run_peer(self.name, policy, exported / self.file, peer)
