#!/usr/bin/env bash
# Installs what the build, the demonstration and the tests need beyond Rust, where it is missing and we may.
set -euo pipefail

missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
command -v c++ >/dev/null || missing+=(g++)
command -v make >/dev/null || missing+=(make)
# For what ring has in C, as WebAssembly.
command -v clang >/dev/null || missing+=(clang)
command -v python3 >/dev/null || missing+=(python3)
# Another implementation of OCSP, for the tests of the software attester's.
command -v openssl >/dev/null || missing+=(openssl)
# A software HSM, for the tests of the key broker's PKCS#11 backend.
command -v softhsm2-util >/dev/null || missing+=(softhsm2)
# Fails the system calls of a program one by one, for the tests of the audit log.
command -v strace >/dev/null || missing+=(strace)
# An emulated TPM, for the tests of the TPM client.
command -v swtpm >/dev/null || missing+=(swtpm)
# A PostgreSQL server, for the tests of several brokers on one database. They start their own; none is left running.
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing+=(postgresql)
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
# For other people's clients (make test-clients): an environment each, Node, a scanner of TLS, a client that loads HTTP/2.
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
command -v curl >/dev/null || missing+=(curl)
command -v sslscan >/dev/null || missing+=(sslscan)
command -v h2load >/dev/null || missing+=(nghttp2-client)
command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || missing+=(chromium-headless-shell)
command -v cargo >/dev/null || { echo "setup: Rust is missing: install it with rustup" >&2; exit 1; }

if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "setup: please install: ${missing[*]}" >&2
        exit 1
    fi
    echo "setup: installing ${missing[*]}" >&2
    if [[ " ${missing[*]} " == *" postgresql "* ]] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        mkdir -p /etc/postgresql-common
        echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-confold \
        "${missing[@]}" >/dev/null
fi
