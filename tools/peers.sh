#!/usr/bin/env bash
# Gets the programs of others that the tests speak with: Debian packages where apt-get may be used, h2spec with Go, and
# Envoy in a venv of its own. What cannot be had is said here, and again by the tests that are skipped for want of it.
# Use: peers.sh PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."

have() { PATH="$PATH:/usr/sbin:$HOME/go/bin" command -v "$1" >/dev/null 2>&1; }

root=()
[[ $(id -u) == 0 ]] || root=(sudo -n)
# RUNLEVEL=1: a server that is installed is not started
get() {
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qy --no-install-recommends "$@" >/dev/null 2>&1
}

packages=()
for pair in curl:curl nginx:nginx haproxy:haproxy openssl:openssl nghttp:nghttp2-client nghttpd:nghttp2-server \
    sslscan:sslscan redis-server:redis-server promtool:prometheus; do
    have "${pair%%:*}" || packages+=("${pair#*:}")
done
if ((${#packages[@]})); then
    have apt-get && "${root[@]}" apt-get update -q >/dev/null 2>&1 || true
    get "${packages[@]}" || for package in "${packages[@]}"; do # one that this system has not keeps out no other
        get "$package" || echo "could not install: $package" >&2
    done
fi
if have go && ! have h2spec; then
    go install github.com/summerwind/h2spec/cmd/h2spec@af83a65f >/dev/null 2>&1 ||
        go install github.com/summerwind/h2spec/cmd/h2spec@latest >/dev/null 2>&1 ||
        echo "could not install: h2spec" >&2
fi
"${1:-python3}" -m bench.macro.install
