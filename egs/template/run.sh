#!/usr/bin/env bash
# template: one line about the corpus. `./run.sh --help` explains.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"

exec ../../local/sir.sh \
  --corpus template \
  --sets test \
  --model mini \
  "$@"
