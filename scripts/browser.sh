#!/usr/bin/env bash
# The tests that look at pages of runs in Chromium and in Firefox, wide and narrow, light and dark. As root on Debian it
# installs the browser that is missing; where that fails, the tests in it are skipped. They are no part of
# scripts/test.sh.
#
#   bash scripts/browser.sh [options of pytest]
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

# install PACKAGE: install a browser, and fonts for it.
install() {
    say "Installing $1 ..."
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "$1" fonts-dejavu-core fonts-liberation) >&2 || say "$1 could not be installed, so the tests in it are skipped."
}

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null || install chromium
    command -v firefox-esr firefox >/dev/null || install firefox-esr
fi

install_project "[dev]"
cd -- "$root"

export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
export HF_HUB_OFFLINE=1
"$venv/bin/pytest" tests/browser "$@"
