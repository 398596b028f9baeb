#!/usr/bin/env bash
# Other people's clients and scanners drive the demonstration's server. Each script in tests/clients prints a line for each part and ends
# with "NAME: N checks"; the last line here counts them all. Exit 1 when one failed.
# With the argument bench it measures instead what connections, streams and overload cost; JSON names a file for the results.
# CLIENTS_DIR is where the pinned packages are installed and kept for the next run (target/clients), ONLY a list of scripts.
set -euo pipefail
cd "$(dirname "$0")/../.."
programs=$(realpath "${CARGO_TARGET_DIR:-target}")/release
installed=${CLIENTS_DIR:-target/clients}
clients=tests/clients
mkdir -p "$installed"
installed=$(realpath "$installed")

# Each set of pins has an environment of its own; the copy of the pins, written last, says that it is whole.
environment() { # NAME
    local pins=$clients/pins/$1.txt home=$installed/$1
    cmp -s "$pins" "$home/pins.txt" && return
    echo "clients: installing $1" >&2
    rm -rf "$home"
    python3 -m venv "$home"
    "$home/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r "$pins"
    cp "$pins" "$home/pins.txt"
}

# Packages are fetched by the machine's own certificates, not by the demonstration's.
fetching=(env -u SSL_CERT_FILE -u NODE_EXTRA_CA_CERTS)
for name in SSL_CERT_FILE NODE_EXTRA_CA_CERTS; do
    [ -z "${!name:-}" ] || fetching+=("$name=${!name}")
done

node_modules() {
    local lock=$clients/package-lock.json home=$installed/node
    cmp -s "$lock" "$home/whole.json" && [ -d "$home/node_modules" ] && return
    echo "clients: installing for node" >&2
    rm -rf "$home"
    mkdir -p "$home"
    cp "$clients/package.json" "$lock" "$home"
    "${fetching[@]}" npm ci --prefix "$home" --loglevel error --fetch-retries 5 --ignore-scripts --no-audit --no-fund
    cp "$lock" "$home/whole.json"
}

work=$(mktemp -d)
demo=
finish() {
    if [ -n "$demo" ]; then
        kill "$demo" 2>/dev/null || true
        wait "$demo" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT

start_server() {
    "$programs/anchorhold-demo" --stay --listen 127.0.0.1:0 --access "$work/access.json" >"$work/demo.log" 2>&1 &
    demo=$!
    until [ -e "$work/access.json" ]; do
        if ! kill -0 "$demo" 2>/dev/null; then
            cat "$work/demo.log" >&2
            exit 1
        fi
        sleep 0.2
    done
    access() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/access.json" "$1"; }
    url=$(access url)
    SSL_CERT_FILE=$(access certificate)
    export SSL_CERT_FILE NODE_EXTRA_CA_CERTS=$SSL_CERT_FILE CLIENT_ACCESS=$work/access.json CLIENT_MODULES=$installed/node
    # What a client does with a key of OpenAI's or a proxy in the environment is not tried here.
    unset OPENAI_API_KEY OPENAI_BASE_URL HTTPS_PROXY HTTP_PROXY ALL_PROXY https_proxy http_proxy all_proxy
    curl --silent --fail --output /dev/null --cacert "$SSL_CERT_FILE" "$url/readyz"
}

failed=()
client() { # ENVIRONMENT SCRIPT
    [ -z "${ONLY:-}" ] || [[ " $ONLY " == *" ${2%.*} "* ]] || return 0
    local run=("$installed/$1/bin/python")
    if [ "$1" = node ]; then
        node_modules
        run=(node)
    elif [ "$1" = system ]; then
        run=(python3)
    else
        environment "$1"
    fi
    "${run[@]}" "$clients/$2" 2>&1 | tee -a "$work/told" || failed+=("$1 $2")
}

if [ "${1:-}" = bench ]; then
    # What hold.py holds at a time.
    export ANCHORHOLD_GATEWAY_LIMITS__MAX_IN_FLIGHT=200 ANCHORHOLD_GATEWAY_LIMITS__MAX_IN_FLIGHT_PER_TENANT=200
    start_server
    environment probes
    "$installed/probes/bin/python" "$clients/hold.py"
    exit
fi

start_server
client openai-2 openai_python.py
client openai-2 openai_tools.py
client openai-3 openai_python.py
client openai-3 openai_tools.py
client node openai_node.mjs
client frameworks langchain_client.py
client frameworks litellm_client.py
client frameworks llama_index_client.py
client system tls.py
client probes http2.py
client schema schema.py
client system browser.py
curl --silent --fail --output /dev/null --cacert "$SSL_CERT_FILE" "$url/readyz" || failed+=("the server is not ready afterwards")

[ "${#failed[@]}" -eq 0 ] || printf 'failed: %s\n' "${failed[@]}"
awk -v failed="${#failed[@]}" '/^[^ ].*: [0-9]+ checks$/ { scripts += 1; checks += $(NF - 1) }
    END { printf "clients: %d checks by %d scripts, %d failed\n", checks, scripts, failed; exit (failed > 0 || checks == 0) }' "$work/told"
