#!/usr/bin/env bash
# Train the small model that comes with the package: RIDE with routers on digits-LT.
#
#   bash tools/train_packaged_model.sh [FOLDER]
#
# Trains both stages for a minute or two, seed 0 and the last epoch of each, and writes
# FOLDER/ride_r20_digitslt_small_router-HASH.pth and FOLDER/result.json, what
# tools/test.py measures on that file (default: work_dirs/packaged_model). The file in
# ride_mm/weights was made so; HASH differs between runs, for a checkpoint has its date.
# PYTHON names the interpreter.
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-work_dirs/packaged_model}
python=${PYTHON:-python}
one=ride_r20_digitslt_small
two=ride_r20_digitslt_small_router
export OMP_NUM_THREADS=1 # More do not pay here, and sum in another order.

"$python" "$tools/train.py" "$one" --work-dir "$folder/$one" --no-validate
"$python" "$tools/train.py" "$two" --work-dir "$folder/$two" --no-validate \
    --cfg-options load_from="$folder/$one/epoch_40.pth"
"$python" "$tools/model_converters/publish_model.py" "$folder/$two/epoch_10.pth" \
    "$folder/$two.pth" --dtype float16
"$python" "$tools/test.py" "$two" "$folder/$two"-????????.pth \
    --work-dir "$folder/test" --json "$folder/result.json"
