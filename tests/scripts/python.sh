#!/usr/bin/env bash
# The Python wheel, for CPython 3.9 and later. usage: python.sh [OUTPUT FOLDER]. maturin comes from PyPI, into a virtual environment
# below the target folder.
set -euo pipefail
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export CARGO_TARGET_DIR=$target
venv=$target/tools/python
output=${1:-$target/wheels}

if [ ! -x "$venv/bin/maturin" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'maturin>=1.9,<2'
fi
rm -rf "$output"
PATH=$venv/bin:$PATH "$venv/bin/maturin" build --quiet --release --manifest-path attestation/python/Cargo.toml \
    --out "$output" --interpreter "$venv/bin/python" >&2
wheel=$(ls "$output"/*.whl)
echo "Python wheel: $wheel, $(($(stat -c %s "$wheel") / 1024)) KiB"
