#!/usr/bin/env bash
# SPIRAL: lectures, conversations, meetings of about 90 s. Without its wavs: --tts espeak. `./run.sh --help` explains.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"

exec ../../local/sir.sh \
  --corpus spiral \
  --sets test \
  --model mini \
  "$@"
