from __future__ import annotations

from hypothesis import settings

# The same examples on every run, here and in CI; no deadline, because a shared machine's speed is not a property.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
