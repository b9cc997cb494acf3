#!/usr/bin/env bash
# Train in several processes, one per GPU, or on the CPU where there is none.
#
#   tools/dist_train.sh CONFIG NPROC [options of train.py]
#
# On several machines set NNODES, NODE_RANK, MASTER_ADDR and PORT on each of them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/_dist_run.sh"

if (($# < 2)); then
    echo "usage: $0 CONFIG NPROC [options of train.py]" >&2
    exit 2
fi
dist_run "$2" "$here/train.py" "$1" "${@:3}"
