#!/usr/bin/env bash
# DREAM-TTS: spoken dialogues, the part above 60 s. From the text alone: --tts espeak. `./run.sh --help` explains.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"

exec ../../local/sir.sh \
  --corpus dream_tts \
  --sets test_60s \
  --model mini \
  "$@"
