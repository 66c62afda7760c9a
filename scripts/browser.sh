#!/usr/bin/env bash
# The tests that look at pages of runs in Chromium, wide and narrow, light and dark. Without Chromium they are skipped.
# They are no part of scripts/test.sh.
#
#   bash scripts/browser.sh [options of pytest]
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

install_project "[dev]"
cd -- "$root"

export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
export HF_HUB_OFFLINE=1
"$venv/bin/pytest" tests/browser "$@"
