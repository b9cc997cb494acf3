#!/usr/bin/env bash
# Train a plain network and RIDE on long-tailed digits and compare them. The arguments
# go to tools/quickstart.py; a repeated call continues or reuses what is there.
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
prepare_environment '' quickstart

exec "$PYTHON" "$REPOSITORY/tools/quickstart.py" "$@"
