"""What all clusters of these tests have in common."""

from __future__ import annotations

import os

# Ray starts its workers with the lowest priority but four. On a busy machine they would not be there within the two
# minutes that a command waits for replicas.
os.environ.setdefault("RAY_worker_niceness", "0")
