#!/usr/bin/env bash
# Programs that some tests run and pip does not have: promtool (Debian's prometheus),
# h2load (nghttp2-client), a browser with its driver, and a font with Chinese. Does
# nothing where they are there.
#
#   scripts/install_tools.sh            all that is missing
#   scripts/install_tools.sh promtool   only that one
#
# Exit status: 0 all are there; 3 some are missing and this machine cannot install them
# (no root, or no apt-get); 1 the installation failed.
set -euo pipefail

say() { printf '\033[1m[tools]\033[0m %s\n' "$*"; }

# program or file that shows that it is there -> Debian package
declare -A packages=(
    [promtool]=prometheus
    [prometheus]=prometheus
    [h2load]=nghttp2-client
    [chromium]=chromium
    [chromedriver]=chromium-driver
    [/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc]=fonts-noto-cjk
)

there() { case "$1" in /*) [ -e "$1" ] ;; *) command -v "$1" >/dev/null 2>&1 ;; esac }

missing=()
for one in "${@:-${!packages[@]}}"; do
    if [ -z "${packages[$one]:-}" ]; then
        printf '[tools] error: unknown tool %s; known: %s\n' "$one" "${!packages[*]}" >&2
        exit 2
    fi
    there "$one" || missing+=("${packages[$one]}")
done
[ ${#missing[@]} -gt 0 ] || exit 0
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)

if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" -ne 0 ]; then
    say "missing: ${missing[*]}; as root: apt-get install ${missing[*]}"
    exit 3
fi

say "apt-get install ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# Installing prometheus must not start it: tests start what they need.
export RUNLEVEL=1
install() {
    apt-get install --yes --quiet --no-install-recommends \
        -o DPkg::Lock::Timeout=120 "${missing[@]}" >/dev/null
}
# The lists of packages may be missing or old: then once more with new ones.
install 2>/dev/null || { apt-get update --quiet >/dev/null && install; }

for one in "${@:-${!packages[@]}}"; do
    there "$one" || { printf '[tools] error: %s is still missing\n' "$one" >&2; exit 1; }
done
