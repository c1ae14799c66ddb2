#!/usr/bin/env bash
# Makes .venv beside this repository's setup.py: Python 3.10, every package of the lock
# with its hash checked, then Polymodal itself, editable.
#
# A second call reuses the environment; a changed lock brings it up to date; one whose
# installation was cut short, or that was moved from another folder, is made afresh.
# POLYMODAL_LOCK=requirements-gpu.lock installs the GPU variant.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

lock="${POLYMODAL_LOCK:-requirements.lock}"
uv_version="0.13.9"
venv=".venv"
stamp="$venv/.polymodal-ready"
unfinished="$venv/.polymodal-unfinished"

say() { printf '\033[1m[setup]\033[0m %s\n' "$*"; }
die() {
    printf '[setup] error: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '        %s\n' "$@" >&2
    exit 1
}

[ -f "$lock" ] || die "the lock file '$lock' does not exist in $PWD" \
    "expected requirements.lock or requirements-gpu.lock; set POLYMODAL_LOCK to one of them"

# Only programs that answer count: a pyenv shim is on the path for versions that are
# not installed, and then fails when it is called.
works() { "$1" -c "import sys; sys.exit(sys.version_info[:2] < ($2))" >/dev/null 2>&1; }
is_310() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' >/dev/null 2>&1; }

wanted="$PWD
$(cat "$lock" setup.py scripts/setup.sh | cksum)"

if [ -f "$stamp" ] && [ ! -e "$unfinished" ] && [ "$(cat "$stamp")" = "$wanted" ] &&
    is_310 "$venv/bin/python"; then
    exit 0
fi

# -- uv, which does the installing -----------------------------------------------------
find_uv() {
    local candidate
    for candidate in uv .uv/bin/uv; do
        if "$candidate" --version >/dev/null 2>&1; then
            printf '%s' "$candidate"
            return
        fi
    done
    return 1
}

if ! uv="$(find_uv)"; then
    any_python=""
    for candidate in python3.10 python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if works "$candidate" "3, 8"; then any_python="$candidate" && break; fi
    done
    [ -n "$any_python" ] || die "neither uv nor a working Python 3 is on the path" \
        "install Python 3.10 (Debian, Ubuntu: apt-get install python3.10 python3.10-venv;" \
        "pyenv: pyenv install 3.10), or uv (https://docs.astral.sh/uv), then: make setup"
    say "uv $uv_version into .uv/ (with $any_python)"
    rm -rf .uv
    "$any_python" -m venv .uv || die "'$any_python -m venv' failed, see above" \
        "Debian, Ubuntu: apt-get install python3-venv; or put uv on the path; then: make setup"
    .uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$uv_version" ||
        die "pip could not install uv $uv_version, see above" \
            "check the connection to the Python package index, or put uv on the path; then: make setup"
    uv=".uv/bin/uv"
fi

# -- Python 3.10 -----------------------------------------------------------------------
python="python3.10"
if ! is_310 "$python"; then
    say "no working python3.10 on the path: asking uv for one of its own"
    "$uv" python install 3.10 || true
    python="$("$uv" python find --managed-python 3.10 2>/dev/null)" && is_310 "$python" ||
        die "no Python 3.10: 'python3.10' is not on the path or does not run, and uv could not download one" \
            "install it (pyenv: pyenv install 3.10; Ubuntu: apt-get install python3.10 python3.10-venv;" \
            "conda: conda create -n py310 python=3.10 and activate it), then: make setup" \
            "other versions do not do: TFX 1.16 and TensorFlow IO 0.37 set it (BUILD_NOTES.md)"
fi

# -- the environment -------------------------------------------------------------------
if [ -e "$venv" ]; then
    reason=""
    if [ -e "$unfinished" ]; then
        reason="its installation was cut short"
    elif ! is_310 "$venv/bin/python"; then
        reason="its Python is not a working 3.10"
    elif [ -f "$stamp" ] && [ "$(head -n 1 "$stamp")" != "$PWD" ]; then
        # Scripts in bin/ hold the old folder's name.
        reason="it was moved or copied from another folder"
    fi
    if [ -n "$reason" ]; then
        say "removing $venv: $reason"
        rm -rf "$venv"
    fi
fi
if [ ! -e "$venv" ]; then
    say "environment $venv ($("$python" --version))"
    "$uv" venv --quiet --python "$python" --no-project "$venv"
fi
touch "$unfinished"
rm -f "$stamp"

say "packages of $lock (about 300, 3.5 GB; a minute or two on a good line)"
"$uv" pip sync --python "$venv/bin/python" --require-hashes --strict "$lock" ||
    die "the packages of $lock could not be installed, see above" \
        "check the connection to the package index and the free disk space (8 GB), then: make setup"

say "polymodal itself, editable"
# Without build isolation nothing outside the lock takes part in the build.
"$uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable . ||
    die "polymodal itself could not be installed from setup.py, see above"

printf '%s' "$wanted" >"$stamp"
rm -f "$unfinished"
say "ready: $venv/bin/polymodal"
