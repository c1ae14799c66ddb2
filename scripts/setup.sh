#!/usr/bin/env bash
# Makes .venv beside this repository's setup.py: Python 3.11, every package of the lock
# with its hash checked, then Polymodal itself, editable.
#
# A second call reuses the environment; a changed lock brings it up to date; one whose
# installation was cut short, or that was moved from another folder, is made afresh.
# POLYMODAL_LOCK=requirements-gpu.lock installs the GPU variant, and later calls keep to
# it until POLYMODAL_LOCK=requirements.lock.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=".venv"
chosen="$venv/.polymodal-lock"
# Without a choice, the one made before: `make run` does not undo `make setup-gpu`.
lock="${POLYMODAL_LOCK:-$(cat "$chosen" 2>/dev/null || echo requirements.lock)}"
uv_version="0.13.9"
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
is_311() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; }

# An environment that lost its pyvenv.cfg is a bare link to the Python it was made with:
# installing "into" it would replace that Python's own packages.
is_environment() {
    "$venv/bin/python" -c '
import os, sys
own = os.path.realpath(sys.argv[1])
bare = sys.prefix == sys.base_prefix or os.path.realpath(sys.prefix) != own
sys.exit(bare or sys.version_info[:2] != (3, 11))' "$venv" >/dev/null 2>&1
}

# One at a time, held by what is started here as well. The script itself is the lock.
exec 9<scripts/setup.sh
if command -v flock >/dev/null 2>&1 && ! flock --nonblock 9; then
    say "waiting for another setup of this folder"
    flock 9
fi

wanted="$PWD
$(cat "$lock" setup.py scripts/setup.sh | cksum)"

if [ -f "$stamp" ] && [ ! -e "$unfinished" ] && [ "$(cat "$stamp")" = "$wanted" ] &&
    is_environment; then
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
    for candidate in python3.11 python3 python3.13 python3.12 /usr/bin/python3; do
        if works "$candidate" "3, 8"; then any_python="$candidate" && break; fi
    done
    [ -n "$any_python" ] || die "neither uv nor a working Python 3 is on the path" \
        "install Python 3.11 (Debian, Ubuntu: apt-get install python3.11 python3.11-venv;" \
        "pyenv: pyenv install 3.11), or uv (https://docs.astral.sh/uv), then: make setup"
    say "uv $uv_version into .uv/ (with $any_python)"
    rm -rf .uv
    "$any_python" -m venv .uv || die "'$any_python -m venv' failed, see above" \
        "Debian, Ubuntu: apt-get install python3-venv; or put uv on the path; then: make setup"
    .uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$uv_version" ||
        die "pip could not install uv $uv_version, see above" \
            "check the connection to the Python package index, or put uv on the path; then: make setup"
    uv=".uv/bin/uv"
fi

# -- Python 3.11 -----------------------------------------------------------------------
python="python3.11"
if ! is_311 "$python"; then
    say "no working python3.11 on the path: asking uv for one of its own"
    "$uv" python install 3.11 || true
    python="$("$uv" python find --python-preference only-managed 3.11 2>/dev/null)" && is_311 "$python" ||
        die "no Python 3.11: 'python3.11' is not on the path or does not run, and uv could not download one" \
            "install it (pyenv: pyenv install 3.11; Ubuntu: apt-get install python3.11 python3.11-venv;" \
            "conda: conda create -n py311 python=3.11 and activate it), then: make setup" \
            "other versions do not do: TFX 1.16 and TensorFlow IO 0.37 set it (BUILD_NOTES.md)"
fi

# -- the environment -------------------------------------------------------------------
if [ -e "$venv" ]; then
    reason=""
    if [ -e "$unfinished" ]; then
        reason="its installation was cut short"
    elif ! is_environment; then
        reason="it is not a working environment of Python 3.11"
    elif [ -f "$stamp" ] && [ "$(head -n 1 "$stamp")" != "$PWD" ]; then
        # Scripts in bin/ hold the old folder's name.
        reason="it was moved or copied from another folder"
    fi
    if [ -n "$reason" ]; then
        say "removing $venv: $reason"
        # Renamed first: a removal that is cut short must not leave half of it in place.
        mkdir -p build
        rm -rf build/old-venv
        mv "$venv" build/old-venv
        rm -rf build/old-venv
    fi
fi
if [ ! -e "$venv" ]; then
    say "environment $venv ($("$python" --version))"
    "$uv" venv --quiet --python "$python" --no-project "$venv"
fi
touch "$unfinished"
rm -f "$stamp"
is_environment || die "$PWD/$venv is not a virtual environment of Python 3.11 although it was just made" \
    "remove it (rm -rf .venv), then: make setup"

say "packages of $lock (about 300, 3.5 GB; a few minutes on a good line)"
# Compiling costs half a minute once; without it every first import costs ten seconds.
"$uv" pip sync --python "$venv/bin/python" --require-hashes --strict \
    --compile-bytecode "$lock" ||
    die "the packages of $lock could not be installed, see above" \
        "check the connection to the package index and the free disk space (8 GB), then: make setup"

say "polymodal itself, editable"
# Without build isolation nothing outside the lock takes part in the build.
"$uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable . ||
    die "polymodal itself could not be installed from setup.py, see above"

printf '%s' "$lock" >"$chosen"
printf '%s' "$wanted" >"$stamp"
rm -f "$unfinished"
say "ready: $venv/bin/polymodal"
