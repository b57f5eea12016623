#!/usr/bin/env bash
# The paper's Tables I and II, from its three corpora and for its two models. `./run.sh --help` explains.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

exec ../../local/paper.sh \
  --corpora spiral,dream_tts,cn_college_listen \
  --qwen2-audio Qwen/Qwen2-Audio-7B-Instruct \
  --diva WillHeld/DiVA-llama-3-v0-8b \
  "$@"
