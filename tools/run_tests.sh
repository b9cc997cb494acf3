#!/usr/bin/env bash
# Run the tests, in the active virtual environment or in one made for them.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash tools/run_tests.sh [--stack openmmlab|onedl] [--slow] [PYTEST ARGUMENT...]

  --stack  the packages to test with: those of OpenMMLab (default) or their
           maintained fork; each has an environment of its own, .venv or .venv-onedl
  --slow   run the slow tests too

Runs a process for each core, at most 8; another -n goes before that, and -n 0 runs all
in one process, as -s needs it. Uses the active virtual environment unless it holds the
other stack. A Python for new environments can be named by RIDE_MM_PYTHON.
TEXT
}

stack=''
selection=(-m 'not slow')
while (($#)); do
    case $1 in
        --stack=*) stack=${1#*=} ;;
        --stack)
            stack=${2:-nothing}
            shift $(($# > 1))
            ;;
        --slow) selection=() ;;
        -h | --help)
            usage
            exit
            ;;
        *) break ;;
    esac
    shift
done
if [[ -n $stack && $stack != openmmlab && $stack != onedl ]]; then
    echo "error: --stack expects openmmlab or onedl, got '$stack'" >&2
    exit 2
fi

source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
prepare_environment "$stack" tests

cd "$REPOSITORY"
say "Running the tests on $STACK with $("$PYTHON" --version)"
# A file's tests stay together, for they share what they train.
exec "$PYTHON" -m pytest -n auto --dist loadfile \
    ${selection[@]+"${selection[@]}"} "$@"
