# Sourced by dist_train.sh and dist_test.sh: starts a Python script in several processes.
#
#   dist_run NPROC SCRIPT ARGUMENT...
#
# NNODES, NODE_RANK, MASTER_ADDR and PORT are those of torchrun. On a single machine
# without PORT a free port is chosen. PYTHON names the interpreter.

dist_run() {
    local nproc=$1 cores
    shift
    if ! [[ $nproc =~ ^[1-9][0-9]*$ ]]; then
        printf 'error: expected a number of processes, got %s\n' "$nproc" >&2
        exit 2
    fi
    cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo "$nproc")
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > nproc ? cores / nproc : 1))}
    local rendezvous=(--standalone)
    if [[ ${NNODES:-1} != 1 || -n ${PORT:-} ]]; then
        rendezvous=(
            --nnodes "${NNODES:-1}" --node-rank "${NODE_RANK:-0}"
            --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${PORT:-29500}"
        )
    fi
    exec "${PYTHON:-python}" -m torch.distributed.run "${rendezvous[@]}" \
        --nproc-per-node "$nproc" "$@" --launcher pytorch
}
