#!/usr/bin/env bash
# Gets the programs that tests/interop speaks with: Debian packages where apt-get may be used, and Envoy in a venv of
# its own. What cannot be had is said here, and again by the tests that are skipped for want of it. Use: peers.sh PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."

have() { PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null 2>&1; }

packages=()
for pair in curl:curl nginx:nginx haproxy:haproxy openssl:openssl nghttp:nghttp2-client nghttpd:nghttp2-server \
    sslscan:sslscan; do
    have "${pair%%:*}" || packages+=("${pair#*:}")
done
if ((${#packages[@]})); then
    root=()
    [[ $(id -u) == 0 ]] || root=(sudo -n)
    # RUNLEVEL=1: a server that is installed is not started
    have apt-get && "${root[@]}" apt-get update -q >/dev/null 2>&1 &&
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
            apt-get install -qy --no-install-recommends "${packages[@]}" >/dev/null 2>&1 ||
        echo "could not install: ${packages[*]}" >&2
fi
"${1:-python3}" -m bench.macro.install
