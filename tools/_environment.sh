# Sourced by the scripts beside it: finds or makes the virtual environment they run in.
#
#   prepare_environment STACK EXTRA...
#
# STACK is openmmlab, onedl or empty (what the active environment holds, else
# openmmlab). Sets PYTHON to the interpreter to use. Installs nothing a second time
# unless the repository moved or its requirements changed.

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '==> %s\n' "$*"; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Prints which stack an interpreter holds: openmmlab, onedl or nothing.
held_stack() {
    "$1" -c '
from importlib.metadata import distributions
names = {(d.metadata["Name"] or "").lower().replace("_", "-") for d in distributions()}
if any(name.startswith("onedl-mm") for name in names):
    print("onedl")
elif names & {"mmengine", "mmcv", "mmcv-lite", "mmcv-full", "mmpretrain"}:
    print("openmmlab")
'
}

# Succeeds for a Python that is new enough and can make a virtual environment.
suits() {
    "$1" -c "
import sys, venv, ensurepip
sys.exit(not ($2))
" >/dev/null 2>&1
}

# Prints the interpreter to make an environment with; the tested versions come first.
choose_python() {
    local name
    if [[ -n ${RIDE_MM_PYTHON:-} ]]; then
        suits "$RIDE_MM_PYTHON" 'sys.version_info >= (3, 11)' || fail \
            "RIDE_MM_PYTHON=$RIDE_MM_PYTHON must be Python 3.11 or newer with venv"
        printf '%s\n' "$RIDE_MM_PYTHON"
        return
    fi
    local names=(python3 python python3.12 python3.11 python3.13)
    for name in "${names[@]}"; do
        if suits "$name" 'sys.version_info[:2] in ((3, 11), (3, 12))'; then
            printf '%s\n' "$name"
            return
        fi
    done
    for name in "${names[@]}"; do
        if suits "$name" 'sys.version_info >= (3, 11)'; then
            printf '%s\n' "$name"
            return
        fi
    done
    fail "no suitable Python: expected 3.11 or newer with the modules" \
        "venv and ensurepip, got $(python3 --version 2>/dev/null || echo 'no python3')." \
        "On Debian and Ubuntu: apt install python3-venv. A Python elsewhere can be" \
        "named: RIDE_MM_PYTHON=/path/to/python3.11"
}

# Sets PYTHON to the active environment if it suits the stack, else to one of our own.
find_environment() {
    local stack=$1 active held='' folder
    if [[ -n ${VIRTUAL_ENV:-} && -x $VIRTUAL_ENV/bin/python ]]; then
        active=$VIRTUAL_ENV/bin/python
        "$active" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail \
            "the active environment $VIRTUAL_ENV has $("$active" --version 2>&1)," \
            "but ride_mm needs Python 3.11 or newer; deactivate it, then repeat"
        held=$(held_stack "$active")
        STACK=${stack:-${held:-openmmlab}}
        if [[ $held == "$STACK" || -z $held && $STACK == openmmlab ]]; then
            say "Using the active environment $VIRTUAL_ENV"
            PYTHON=$active
            return
        fi
        say "The active environment holds ${held:-neither stack}: leaving it alone"
    fi
    STACK=${stack:-openmmlab}
    folder=$REPOSITORY/.venv
    [[ $STACK == openmmlab ]] || folder=$REPOSITORY/.venv-$STACK
    PYTHON=$folder/bin/python
    if "$PYTHON" -m pip --version >/dev/null 2>&1; then
        say "Using the environment $folder"
        return
    fi
    local base
    base=$(choose_python) || exit 1
    say "Making the environment $folder with $("$base" --version)"
    "$base" -m venv --clear "$folder" || fail "could not make $folder"
}

# Prints what the installation depends on.
fingerprint() {
    "$PYTHON" - "$REPOSITORY" "$@" <<'PYTHON_CODE'
import hashlib
import pathlib
import sys

root = pathlib.Path(sys.argv[1])
digest = hashlib.sha256(repr(sys.argv[1:]).encode())
for name in ('setup.py', 'pyproject.toml', 'ride_mm/utils/stacks.py'):
    digest.update((root / name).read_bytes())
print(digest.hexdigest())
PYTHON_CODE
}

# Succeeds if each requirement of ride_mm and its extras is met.
is_satisfied() {
    "$PYTHON" - "$@" >/dev/null 2>&1 <<'PYTHON_CODE'
import sys
from importlib.metadata import requires, version

from packaging.requirements import Requirement

for line in requires('ride_mm'):
    need = Requirement(line)
    if need.marker is None or any(
        need.marker.evaluate({'extra': extra}) for extra in sys.argv[1:]
    ):
        if not need.specifier.contains(version(need.name), prereleases=True):
            sys.exit(1)
PYTHON_CODE
}

prepare_environment() {
    local stack=$1 stamp now
    shift
    find_environment "$stack"
    local extras=("$STACK" "$@")
    stamp=$("$PYTHON" -c 'import sys; print(sys.prefix)')/ride_mm-$(
        IFS=-
        printf '%s' "${extras[*]}"
    ).stamp
    now=$(fingerprint "${extras[@]}")
    if [[ -f $stamp && $(<"$stamp") == "$now" ]] && is_satisfied "${extras[@]}"; then
        say 'Requirements are installed'
        return
    fi
    local wanted
    wanted=$(
        IFS=,
        printf '%s' "${extras[*]}"
    )
    say "Installing ride_mm[$wanted]: the first time this takes a few minutes"
    (cd "$REPOSITORY" && "$PYTHON" -m pip install --editable ".[$wanted]") || fail \
        'pip could not install the requirements; the reason stands above.' \
        'Repeat the command to try again'
    printf '%s\n' "$now" >"$stamp"
}
