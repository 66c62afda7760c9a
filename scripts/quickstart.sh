#!/usr/bin/env bash
# From a fresh machine to a tuned schedule: makes .venv beside the project, installs mdm-tune there and tunes the bundled
# text model. A second run shows the same result again.
#
#   bash scripts/quickstart.sh [more options of "mdm-tune search"]
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

install_project ""

case " $* " in
    *" --overwrite "*) ;; # the opposite of --resume
    *) set -- --resume "$@" ;;
esac
config=$root/configs/text.yaml
config=${config#"$PWD"/}
say "mdm-tune search $config $*"
status=0
"$venv/bin/mdm-tune" search "$config" "$@" || status=$?

say ""
say "To use mdm-tune in this shell: source $(printf '%q' "${venv#"$PWD"/}/bin/activate")"
exit "$status"
