#!/usr/bin/env bash
# Every check of the project, in the environment that quickstart.sh uses, with the dev extra. Stops at the first failure.
#
#   bash scripts/test.sh [options of pytest]
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

install_project "[dev]"
cd -- "$root"

# One thread in each of two test processes beats two threads in one: the tests' matrices are small.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
"$venv/bin/mypy"
"$venv/bin/pytest" -n 2 --dist worksteal --durations 10 "$@"
