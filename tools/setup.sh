#!/bin/sh
# Makes the virtual environment $1 from what the system has. What the build needs and the system lacks (Python 3.11 or
# later with venv and headers, a C compiler, OpenSSL 3 with headers) is installed with apt-get where this user may do
# that; otherwise one line says what is missing and how to get it, exit 69.
set -eu
venv=${1:?usage: tools/setup.sh VENV}
compiler=${CC:-cc}

fit() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if command -v "$name" >/dev/null 2>&1 && fit "$name"; then
            command -v "$name"
            return
        fi
    done
}

has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

has_headers() {
    "$1" -c 'import os, sysconfig as s; raise SystemExit(not os.path.exists(s.get_path("include") + "/Python.h"))'
}

has_compiler() {
    printf '#include <stdio.h>\nint main(void) { return 0; }\n' | $compiler -x c - -o /dev/null 2>/dev/null
}

has_openssl() {
    printf '#include <openssl/ssl.h>\n#if OPENSSL_VERSION_MAJOR < 3\n#error old\n#endif\nint main(void) { return SSL_is_server(0); }\n' |
        $compiler -x c - -o /dev/null -lssl -lcrypto 2>/dev/null
}

# Debian 12 and Ubuntu 24.04 have it as python3, Ubuntu 22.04 beside its own 3.10.
package_of_python() {
    case $(apt-cache policy python3 2>/dev/null | sed -n 's/^ *Candidate: //p') in
        3.[0-9].* | 3.10.*) echo python3.11 ;;
        *) echo python3 ;;
    esac
}

# Two lists side by side: what is lacking in words, and the Debian packages that have it.
lacking= packages=
look() {
    lacking= packages=
    python=$(find_python)
    if [ -z "$python" ]; then
        name=$(package_of_python)
        lacking="Python 3.11 or later with venv and headers" packages="$name $name-venv $name-dev"
    else
        name=$("$python" -c 'import sys; print("python3" if sys.executable == "/usr/bin/python3" else
            "python%d.%d" % sys.version_info[:2])')
        has_venv "$python" || lacking="$lacking, Python's venv" packages="$packages $name-venv"
        has_headers "$python" || lacking="$lacking, Python's headers" packages="$packages $name-dev"
    fi
    has_compiler || lacking="$lacking, a C compiler" packages="$packages gcc libc6-dev"
    has_openssl || lacking="$lacking, OpenSSL 3's headers" packages="$packages libssl-dev"
    lacking=${lacking#, } packages=${packages# }
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null || return 1
    echo "fastmesh: installing $lacking: apt-get install $packages" >&2
    as_root env DEBIAN_FRONTEND=noninteractive sh -c "apt-get update -q && apt-get install -qy --no-install-recommends $packages" >&2
}

look
if [ -n "$packages" ]; then
    # A fresh image has no package lists: without them the name of Python's package is a guess
    if [ -z "$(find_python)" ] && command -v apt-get >/dev/null 2>&1; then
        as_root apt-get update -q >/dev/null 2>&1 || true
        look
    fi
    install || true
    look
fi
if [ -n "$packages" ]; then
    echo "fastmesh: the build lacks $lacking; on Debian or Ubuntu: apt-get install $packages" >&2
    exit 69
fi
exec "$python" -m venv "$venv"
