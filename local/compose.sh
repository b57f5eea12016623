#!/usr/bin/env bash
# The driver of recipes that compose a speech LLM of a Whisper and an LLM: stages 0 to 4, each a part of
# `speechprune train-composed`. egs/compose/run.sh calls it, its own settings first and the user's "$@" last.
set -euo pipefail
HERE=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
LAST_STAGE=4

# shellcheck source-path=SCRIPTDIR source=driver.sh
. "$HERE/driver.sh"

declare +x \
  encoder="" \
  llm="" \
  out="" \
  text="" \
  voices="" \
  from_delta="" \
  config=conf/compose.yaml \
  device=auto

# What follows from the options. A function, since --help shows it too.
settle() {
  out=${out:-exp/$(name_of "$encoder")_$(name_of "$llm")}
}

show_stages() {
  show_stage 0 text "voices that $(name_of "$encoder") hears well, sentences by $(name_of "$llm") -> voices.json, text/"
  show_stage 1 speech "random words, text/${text:+, $text}, dialogues, voices.json -> speech/: states of the encoder"
  show_stage 2 align "speech/ -> align/: new layers and projector, accuracy.md"
  show_stage 3 read "speech/, align/ -> read.safetensors: updates of the LLM, the encoder after them"
  show_stage 4 export "align/, read.safetensors -> delta/, model/"
  echo "What they write is in $out/."
}

show_own_options() {
  show_options \
    encoder "$encoder" "a Whisper: hub name or folder" \
    llm "$llm" "a causal LLM: hub name or folder" \
    out "$out" "folder for everything that is made" \
    text "$text" "file of sentences to speak as well" \
    voices "$voices" "file with the names of the voices to choose from, one a line" \
    from-delta "$from_delta" "folder of a delta of these parts that alignment and reading go on from" \
    config "$config" "how much of what, and how it is trained" \
    device "$device" "auto, cpu, cuda, ..."
  show_job_options "stage 1" "stage 1"
}

# shellcheck source-path=SCRIPTDIR source=cmd.sh
. "$HERE/cmd.sh"
read_options "$@"
[[ -n $encoder ]] || fail "--encoder: give a Whisper, such as openai/whisper-tiny.en"
[[ -n $llm ]] || fail "--llm: give a causal LLM, such as HuggingFaceTB/SmolLM2-135M-Instruct"
[[ -f $config ]] || fail "--config: there is no file '$config' in $PWD"
settle
check_job_options
[[ $detach == false || $stop_stage == 1 ]] || fail "--detach: give --stop-stage 1; what follows waits for the speech"
need_speechprune

composed=(speechprune train-composed "$out" --encoder "$encoder" --llm "$llm" --config "$config" --device "$device")
composed+=(${text:+--text "$text"} ${voices:+--voices "$voices"} ${from_delta:+--from-delta "$from_delta"})

if wanted 0; then
  log "Stage 0: text: $encoder, $llm -> $out/voices.json, $out/text"
  tied "${composed[@]}" --part text
fi

if wanted 1; then
  log "Stage 1: speech: $out/text -> $out/speech"
  job=$(unused "${composed[@]}")
  after=""
  run "$job=1:$nj" "$out/log/speech.$job.log" "${composed[@]}" --part speech --job "$job/$nj"
fi

if wanted 2; then
  log "Stage 2: align: $out/speech -> $out/align"
  tied "${composed[@]}" --part align
  cat "$out/align/accuracy.md"
fi

if wanted 3; then
  log "Stage 3: read: $out/speech, $out/align -> $out/read.safetensors"
  tied "${composed[@]}" --part read
fi

if wanted 4; then
  log "Stage 4: export: $out/align, $out/read.safetensors -> $out/delta, $out/model"
  tied "${composed[@]}" --part export
  log "The model: $PWD/$out/model; what was trained, and its card: $PWD/$out/delta"
fi
