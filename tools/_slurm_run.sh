# Sourced by slurm_train.sh and slurm_test.sh: starts a Python script under Slurm.
#
#   slurm_run PARTITION JOB_NAME SCRIPT ARGUMENT...
#
# GPUS (8) processes are started, GPUS_PER_NODE (8, or GPUS if that is less) of them on a
# node, each with CPUS_PER_TASK (5) cores. With GPUS_PER_NODE=0 no GPU is asked for, and
# GPUS processes on CPUs talk by gloo. SRUN_ARGS are further options of srun, PORT is
# where the processes meet, PYTHON names the interpreter.

slurm_run() {
    local partition=$1 job=$2 name value
    shift 2
    GPUS=${GPUS:-8}
    GPUS_PER_NODE=${GPUS_PER_NODE:-$([[ $GPUS =~ ^[1-7]$ ]] && echo "$GPUS" || echo 8)}
    CPUS_PER_TASK=${CPUS_PER_TASK:-5}
    for name in GPUS GPUS_PER_NODE CPUS_PER_TASK; do
        value=${!name}
        # Of these only GPUS_PER_NODE may be 0.
        if ! [[ $value =~ ^[1-9][0-9]*$ || $name$value == GPUS_PER_NODE0 ]]; then
            printf 'error: %s: expected a number, got %s\n' "$name" "$value" >&2
            exit 2
        fi
    done
    if ((GPUS_PER_NODE > GPUS || (GPUS_PER_NODE > 0 && GPUS % GPUS_PER_NODE))); then
        printf 'error: expected GPUS to be a multiple of GPUS_PER_NODE, got %s and %s\n' \
            "$GPUS" "$GPUS_PER_NODE" >&2
        exit 2
    fi
    if ! command -v srun >/dev/null; then
        printf 'error: expected a node of a Slurm cluster, got one without srun\n' >&2
        exit 1
    fi
    local options=(
        --partition="$partition" --job-name="$job" --ntasks="$GPUS"
        --cpus-per-task="$CPUS_PER_TASK" --kill-on-bad-exit=1
    ) further=()
    if ((GPUS_PER_NODE)); then
        options+=(--gres="gpu:$GPUS_PER_NODE" --ntasks-per-node="$GPUS_PER_NODE")
    fi
    read -ra further <<<"${SRUN_ARGS:-}"
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$CPUS_PER_TASK}
    # Another port for each job, as several may run on a node.
    export MASTER_PORT=${PORT:-$((20000 + RANDOM % 20000))}
    exec srun "${options[@]}" ${further[@]+"${further[@]}"} \
        "${PYTHON:-python}" -u "$@" --launcher slurm
}
