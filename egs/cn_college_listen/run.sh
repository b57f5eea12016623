#!/usr/bin/env bash
# CN-College-Listen: listening tests, the part above 60 s that the paper takes. `./run.sh --help` explains.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"

exec ../../local/sir.sh \
  --corpus cn_college_listen \
  --sets test_60s \
  --model mini \
  "$@"
