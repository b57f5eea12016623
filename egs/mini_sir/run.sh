#!/usr/bin/env bash
# mini_sir: dialogues of our own, spoken by a synthesiser, with the mini model that ships. `./run.sh --help` explains.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"

exec ../../local/sir.sh \
  --corpus mini_sir \
  --sets test \
  --train-sets train,train_text,dev \
  --model mini \
  "$@"
