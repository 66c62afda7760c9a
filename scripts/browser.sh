#!/usr/bin/env bash
# The tests that look at pages of runs in Chromium, wide and narrow, light and dark. As root on Debian or Ubuntu it
# installs Chromium if there is none; where that fails the tests are skipped. They are no part of scripts/test.sh.
#
#   bash scripts/browser.sh [options of pytest]
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

have_chromium() {
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null
}

if ! have_chromium && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "Installing Chromium ..."
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        chromium fonts-dejavu-core fonts-liberation) >&2 || say "Chromium could not be installed, so its tests are skipped."
fi

install_project "[dev]"
cd -- "$root"

export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
export HF_HUB_OFFLINE=1
"$venv/bin/pytest" tests/browser "$@"
