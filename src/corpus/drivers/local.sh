#!/bin/sh
# Runs the sweep on this machine with some workers (two when not said) and merges it. Run again, it does what is missing.
#   local.sh [WORKERS]
set -u
dir=$(cd "$(dirname "$0")/.." && pwd)
program=${MECHSCOPE:-@PROGRAM@}
workers=${1:-2}

# The cores are shared out; a worker that had all of them would wait for the others.
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
RAYON_NUM_THREADS=${RAYON_NUM_THREADS:-$(((cores + workers - 1) / workers))}
export RAYON_NUM_THREADS

pids=
worker=0
while [ "$worker" -lt "$workers" ]; do
    "$program" sweep run "$dir" --shards "$worker/$workers" &
    pids="$pids $!"
    worker=$((worker + 1))
done
failed=0
for pid in $pids; do
    wait "$pid" || failed=$((failed + 1))
done

# What a worker left when it was killed, one more does.
if [ "$failed" -gt 0 ]; then
    echo "$failed of $workers workers ended before their shards were done; what is missing is run again" >&2
    "$program" sweep run "$dir" || exit 1
fi
exec "$program" sweep merge "$dir" --whole
