"""``python -m mdm_tune`` is ``mdm-tune``."""

from __future__ import annotations

from mdm_tune.cli import main

if __name__ == "__main__":
    main()
