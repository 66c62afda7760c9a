#!/usr/bin/env bash
# The tests that need a PostgreSQL server, on a temporary one that is removed afterwards. It listens on the loopback only,
# with a password made up for the occasion. PostgreSQL must be installed; as root on Debian or Ubuntu it is.
#
#   bash scripts/postgres.sh [options of pytest]
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

# The folder of initdb and pg_ctl: on the PATH, or the newest version where Debian and Red Hat keep them.
find_postgres() {
    local folder
    if folder=$(command -v initdb); then
        dirname -- "$folder"
        return
    fi
    for folder in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
        if [ -x "$folder/initdb" ]; then
            printf '%s\n' "$folder"
        fi
    done | sort -V | tail -n 1
}

install_postgres() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "PostgreSQL's initdb was found neither on the PATH nor in /usr/lib/postgresql. Install it (on Debian and Ubuntu" \
            "as root: apt-get install postgresql) and run this again."
        exit 2
    fi
    say "Installing PostgreSQL ..."
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql) >&2
}

# The server refuses to run as root, so root lends it an unprivileged user.
unprivileged() {
    if [ -n "$owner" ]; then
        (cd -- "$cluster" && runuser -u "$owner" -- "$@")
    else
        (cd -- "$cluster" && "$@")
    fi
}

remove_cluster() {
    if [ -e "$cluster/data/postmaster.pid" ]; then
        unprivileged "$postgres/pg_ctl" -D "$cluster/data" -m immediate -w stop >/dev/null || true
    fi
    rm -rf -- "$cluster"
}

postgres=$(find_postgres)
if [ -z "$postgres" ]; then
    install_postgres
    postgres=$(find_postgres)
fi
install_project "[dev,postgres]"
cd -- "$root"

owner=
if [ "$(id -u)" = 0 ]; then
    owner=nobody
    if id postgres >/dev/null 2>&1; then
        owner=postgres
    fi
fi
cluster=$(mktemp -d "${TMPDIR:-/tmp}/mdm-tune-postgres.XXXXXX")
trap remove_cluster EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

password=$("$venv/bin/python" -c 'import secrets; print(secrets.token_hex(16))')
port=$("$venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf '%s\n' "$password" >"$cluster/password"
if [ -n "$owner" ]; then
    chown -R "$owner" "$cluster"
fi
unprivileged "$postgres/initdb" -D "$cluster/data" -U tester --auth=scram-sha-256 --pwfile="$cluster/password" \
    --encoding=UTF8 --no-sync >/dev/null
options="-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories= -c fsync=off"
if ! unprivileged "$postgres/pg_ctl" -D "$cluster/data" -l "$cluster/log" -o "$options" -w start >/dev/null; then
    cat -- "$cluster/log" >&2
    exit 1
fi

export MDM_TUNE_POSTGRES="postgresql://tester:$password@127.0.0.1:$port/postgres"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
"$venv/bin/pytest" tests/postgres "$@"
