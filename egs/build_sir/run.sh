#!/usr/bin/env bash
# A benchmark of your own, built as SPIRAL was, from topics to speech of measured quality. `./run.sh --help` explains.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"

exec ../../local/build_sir.sh \
  --name my_sir \
  --samples 60 \
  --writer grammar \
  --tts espeak \
  "$@"
