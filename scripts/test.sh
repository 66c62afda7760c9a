#!/usr/bin/env bash
# Every check of the project, in the environment that quickstart.sh uses, with the dev extra. Stops at the first failure.
#
#   bash scripts/test.sh [options of pytest]
#   bash scripts/test.sh --transformers4 [options of pytest]
#
# The second runs the tests that concern transformers in an environment of its own, .venv-transformers4, with the version
# that the published code of LLaDA and Dream was written for.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

# One thread in each of two test processes beats two threads in one: the tests' matrices are small.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# No test needs the Hugging Face Hub, and none may wait for it.
export HF_HUB_OFFLINE=1

if [ "${1:-}" = --transformers4 ]; then
    shift
    venv=$root/.venv-transformers4
    constraints=constraints-transformers4.txt
    install_project "[hf,lm-eval,test]"
    cd -- "$root"
    exec "$venv/bin/pytest" -n 2 --dist worksteal --durations 5 "$@" \
        tests/config/test_families.py \
        tests/denoisers/test_{checkpoint,codecs,custom,huggingface,huggingface_code,loading,placement,tokenizer}.py \
        tests/metrics/test_{answers,reference_models,reported}.py \
        tests/journeys/real_runs tests/journeys/test_{peers,rehearsal}.py
fi

install_project "[dev]"
cd -- "$root"

"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
"$venv/bin/mypy"
"$venv/bin/pytest" -n 2 --dist worksteal --durations 10 "$@"
