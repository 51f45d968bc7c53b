#!/usr/bin/env bash
# Ray from its package runs the driver that `sweep plan` writes: two worker processes, of which one is killed.
#   ray.sh PROGRAM
set -euo pipefail
program=$(realpath "$1")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT
# shellcheck source=common.sh
. "$here/common.sh"

python=
for candidate in python3.13 python3.12 python3.11 python3.10 python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || not_tested "Ray needs a Python with venv"
"$python" -m venv "$run/env"
timeout 150 "$run/env/bin/pip" install --quiet --disable-pip-version-check 'ray>=2.40,<3' >"$run/pip.log" 2>&1 ||
    not_tested "Ray could not be fetched (no network, or no package for this Python): $(tail -n 1 "$run/pip.log")"

spec
plan
killed_once
export MECHSCOPE=$run/mechscope RAY_USAGE_STATS_ENABLED=0 RAY_DEDUP_LOGS=0
"$run/env/bin/python" "$run/sweep/drivers/ray.py" 2 2>&1 | tail -n 40
test -d "$run/killed"
same_bytes
