# What the tests of drivers share: a corpus, a plan, and a worker that is killed once. Sourced with $program and $run (a scratch folder) set.

# Ends with 77 where something could not be fetched: that is not a failure of ours.
not_tested() {
    echo "NOT TESTED: $*" >&2
    exit 77
}

# Needs no engine: 65 where it fails. The corpus, its plan in $run/sweep with six shards, and the index that one worker alone makes of it.
plan() {
    for n in $(seq 1 600); do
        echo "The train number $n from Houston to the river leaves at $((n * 7 % 24)) and is late."
    done >"$run/corpus.txt"
    "$program" sweep plan "$run/corpus.txt" --documents line -o "$run/sweep" --spec "$run/sweep.toml" --shards 6 || exit 65
    "$program" sweep local "$run/corpus.txt" --documents line -o "$run/alone" --spec "$run/sweep.toml" --shards 1 || exit 65
}

# Small blocks, so that there is something to deal out.
spec() {
    printf 'corpus = ["corpus.txt"]\nblock = 4096\ntop = 4\nsketch = 8\n' >"$run/sweep.toml"
}

# A worker that is killed in mid-run: the first time that it has the shards of worker 0 it does one of them, and then is no more.
killed_once() {
    cat >"$run/mechscope" <<END
#!/bin/sh
case "\$*" in
*"--shards 0/"*)
    if mkdir "$run/killed" 2>/dev/null; then
        "$program" sweep run "$run/sweep" --shard 0
        echo "worker 0 is killed"
        kill -9 \$\$
    fi
    ;;
esac
# Task 1 of an array waits, the first time, to be taken away.
case "\${SLURM_ARRAY_TASK_ID:-} \$*" in
"1 sweep run "*) mkdir "$run/waits" 2>/dev/null && sleep 60 ;;
esac
exec "$program" "\$@"
END
    chmod +x "$run/mechscope"
}

# Ends with 65 where the index is another: that is a failure of ours.
same_bytes() {
    cmp "$run/sweep/index.safetensors" "$run/alone/index.safetensors" || exit 65
    echo "the index has the bytes of a single worker's: $(stat -c %s "$run/sweep/index.safetensors")"
}

# Waits for a command to hold; fails after so many seconds.
until_holds() {
    local left=$(($1 * 5))
    shift
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 0.2
    done
}
