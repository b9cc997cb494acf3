#!/usr/bin/env bash
# Test in several processes, one per GPU, or on the CPU where there is none.
#
#   tools/dist_test.sh CONFIG CHECKPOINT NPROC [options of test.py]
#
# On several machines set NNODES, NODE_RANK, MASTER_ADDR and PORT on each of them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/_dist_run.sh"

if (($# < 3)); then
    echo "usage: $0 CONFIG CHECKPOINT NPROC [options of test.py]" >&2
    exit 2
fi
dist_run "$3" "$here/test.py" "$1" "$2" "${@:4}"
