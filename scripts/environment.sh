# shellcheck shell=bash
# Sourced by quickstart.sh and test.sh: the virtual environment .venv beside the project, with the versions that
# constraints.txt names; another one where the caller sets $venv and $constraints afterwards. It needs a shell and Python
# 3.11 or newer with venv and pip; PYTHON=... picks the Python.

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
constraints=constraints.txt

say() {
    printf '%s\n' "$*" >&2 # stdout is the tool's own
}

# The first Python that will do; a pyenv or Windows stub of that name that does not run is passed over.
find_python() {
    local candidate recent=
    local candidates=(python3.13 python3.12 python3.11 python3 python)
    if [ -n "${PYTHON:-}" ]; then
        candidates=("$PYTHON")
    fi
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            recent=$candidate
            if "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
                printf '%s\n' "$candidate"
                return
            fi
        fi
    done
    if [ -n "$recent" ]; then
        say "$recent has no venv module, which the environment is made with. Install it (on Debian and Ubuntu the" \
            "package python3-venv) and run this again."
    else
        say "Python 3.11 or newer is needed, and none of these is one: ${candidates[*]}. Install it, or name yours with" \
            "PYTHON=/path/to/python, and run this again."
    fi
    exit 2
}

# install_project EXTRA: make the environment if there is none, and install the project with EXTRA ("" or "[dev]") unless
# that was done before with the same requirements.
install_project() {
    local base wanted stamp="$venv/installed$1"
    if [ ! -e "$venv" ]; then
        base=$(find_python)
        say "Making the environment $venv with $("$base" --version) ..."
        "$base" -m venv "$venv"
    fi
    if ! "$venv/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        say "The environment $venv is not complete or has no Python 3.11 or newer. Remove that folder and run this again."
        exit 2
    fi
    wanted=$(printf '%s\n' "$root" && cat -- "$root/pyproject.toml" "$root/$constraints")
    if [ -f "$stamp" ] && [ "$(cat -- "$stamp")" = "$wanted" ]; then
        return
    fi
    say "Installing mdm-tune$1 into it; torch is large, so the first time takes some minutes ..."
    (cd -- "$root" && "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$constraints" -e ".$1") >&2
    printf '%s\n' "$wanted" >"$stamp"
    printf '%s\n' "$wanted" >"$venv/installed" # an extra brings the rest with it
}
