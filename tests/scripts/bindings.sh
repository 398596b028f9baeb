#!/usr/bin/env bash
# The Python package and the npm package: their own tests, and the same vectors judged in Rust, Python and WebAssembly, compared line by
# line. usage: bindings.sh [python] [wasm]; both without an argument. A language whose tools are missing is left out and counted as skipped; with
# CI=true it must be there. JSON=FILE writes the figures of the module. The last line counts.
set -euo pipefail
cargo=${CARGO:-cargo}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export CARGO_TARGET_DIR=$target
folder=$target/bindings
wanted=${*:-python wasm}
passed=0 failed=0 skipped=0
mkdir -p "$folder"

run() { # NAME COMMAND ...
    local name=$1
    shift
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "bindings: FAILED: $name" >&2; fi
}

wants() { [[ " $wanted " == *" $1 "* ]]; }

# Whether a language is asked for and its tools are here.
has() { # LANGUAGE TOOL ...
    wants "$1" || return 1
    local tool
    for tool in "${@:2}"; do
        command -v "$tool" >/dev/null && continue
        echo "bindings: $1 left out, $tool is missing" >&2
        if [ "${CI:-}" = true ]; then failed=$((failed + 1)); else skipped=$((skipped + 1)); fi
        return 1
    done
}

has python python3 && python=1 || python=
has wasm node npm clang && wasm=1 || wasm=

# As the tests have built them already.
"$cargo" build --quiet --release --workspace --example attested_server --example verdicts
export ANCHORHOLD_ATTESTED_SERVER=$target/release/examples/attested_server
verdicts=$target/release/examples/verdicts
"$verdicts" inputs tests/vectors/audit/notes.json > "$folder/inputs.jsonl"
"$verdicts" judge "$folder/inputs.jsonl" tests/vectors/rejection > "$folder/rust.txt"

compare() { # LANGUAGE
    cmp "$folder/rust.txt" "$folder/$1.txt" && echo "bindings: $(wc -l < "$folder/$1.txt") verdicts of Rust and $1 are the same"
}

python_verdicts() {
    "$venv/bin/python" tests/scripts/bindings_verdicts.py "$folder/inputs.jsonl" tests/vectors/rejection > "$folder/python.txt" &&
        compare python
}

wasm_verdicts() {
    node tests/scripts/bindings_verdicts.mjs "$folder/npm" "$folder/inputs.jsonl" tests/vectors/rejection > "$folder/wasm.txt" &&
        compare wasm
}

if [ -n "$python" ]; then
    tests/scripts/python.sh "$folder/wheels"
    venv=$folder/venv
    [ -x "$venv/bin/pytest" ] || { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet 'httpx>=0.25' 'openai>=1' pytest; }
    "$venv/bin/pip" install --quiet --force-reinstall --no-deps "$folder"/wheels/*.whl
    run "Python's tests" "$venv/bin/python" -m pytest -q -p no:cacheprovider attestation/python/tests
    run "Python's verdicts" python_verdicts
fi

if [ -n "$wasm" ]; then
    CARGO=$cargo tests/scripts/wasm.sh "$folder/npm"
    # The server's certificate is its own: that nobody has to believe the one who ends TLS is what is tested.
    run "JavaScript's tests" env NODE_TLS_REJECT_UNAUTHORIZED=0 NODE_NO_WARNINGS=1 JSON="${JSON:-}" \
        node tests/scripts/bindings_npm.mjs "$folder/npm" "$ANCHORHOLD_ATTESTED_SERVER"
    run "JavaScript's verdicts" wasm_verdicts
fi

echo "bindings: $passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
