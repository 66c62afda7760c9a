#!/usr/bin/env bash
# The tests that start clusters of Ray, on this machine: replicas on nodes that come and go, and commands that are killed.
# They take minutes and much memory, and are no part of scripts/test.sh.
#
#   bash scripts/ray.sh [options of pytest]
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

install_project "[dev]"
cd -- "$root"

export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
export HF_HUB_OFFLINE=1
"$venv/bin/pytest" tests/ray "$@"
