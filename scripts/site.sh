#!/usr/bin/env bash
# The documentation as a site, in build/site: open build/site/index.html. Warnings are errors.
#
#   bash scripts/site.sh            # build it
#   bash scripts/site.sh --serve    # show it at http://127.0.0.1:8000, and build it again after each change
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

install_project "[docs]"
cd -- "$root"
export NO_MKDOCS_2_WARNING=1 # the theme's advertisement of its successor
if [ "${1:-}" = --serve ]; then
    exec "$venv/bin/mkdocs" serve --strict
fi
"$venv/bin/mkdocs" build --strict --quiet
say "Open $root/build/site/index.html"
