#!/usr/bin/env bash
# A speech LLM composed of published parts, a Whisper and an LLM. `./run.sh --help` explains.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"

exec ../../local/compose.sh \
  --encoder openai/whisper-tiny.en \
  --llm HuggingFaceTB/SmolLM2-135M-Instruct \
  "$@"
