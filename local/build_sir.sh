#!/usr/bin/env bash
# The driver of recipes that build a benchmark like SPIRAL: stages 0 to 5, each one `speechprune` command.
# egs/build_sir/run.sh calls it, its own settings first and the user's "$@" last: the later wins.
set -euo pipefail
HERE=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
LAST_STAGE=5

# shellcheck source-path=SCRIPTDIR source=driver.sh
. "$HERE/driver.sh"

declare +x \
  name="" \
  out="" \
  samples="" \
  topics="" \
  seconds="" \
  splits=test=1 \
  seed=0 \
  writer=grammar \
  attempts="" \
  llm="" \
  base_url="" \
  price="" \
  max_cost="" \
  requests_per_minute="" \
  concurrent="" \
  licence="" \
  answerable=false \
  allow_skew=false \
  balance=false \
  tts=espeak \
  voices="" \
  level="" \
  nj=2 \
  asr="" \
  max_wer="" \
  min_mos="" \
  sheet=20

# What follows from the options. A function, since --help shows it too.
settle() {
  out=${out:-exp/$name}
  kept=$out/spoken/cuts.jsonl.gz
  if [[ -n $max_wer || -n $min_mos ]]; then
    kept=$out/quality/$name/cuts.jsonl.gz
  fi
}

show_stages() {
  show_stage 0 topics "${topics:-our topics} -> plan.jsonl, prompts/"
  show_stage 1 write "plan.jsonl, prompts/, writer $writer -> samples.jsonl, failed.jsonl"
  show_stage 2 check "samples.jsonl -> checked.jsonl, left_out.jsonl"
  show_stage 3 speak "checked.jsonl, $tts -> spoken/cuts.jsonl.gz, spoken/wav/"
  show_stage 4 quality "spoken/ -> quality/QUALITY.md; with --max-wer or --min-mos, cuts without those that fail"
  show_stage 5 publish "${kept#"$out/"}, checked.jsonl -> $name/: data.jsonl, wavs/, README.md, sheet.html"
  echo "What they write is in $out/."
}

show_own_options() {
  show_options \
    name "$name" "name of the corpus that is built" \
    out "$out" "folder for everything that is made" \
    samples "$samples" "recordings, with a question each" \
    topics "$topics" "YAML: scenario -> topic -> subtopics; ours if not given" \
    seconds "$seconds" "least and most of a recording, as in 60,120" \
    splits "$splits" "shares, as in train=0.8,dev=0.1,test=0.1; no topic is in two" \
    seed "$seed" "the same seed builds the same benchmark" \
    writer "$writer" "grammar, offline; or endpoint: an LLM, whose key is read from OPENAI_API_KEY" \
    attempts "$attempts" "drafts of a sample, at most" \
    llm "$llm" "endpoint: name of the model" \
    base-url "$base_url" "endpoint: its address, if it is not OpenAI's" \
    price "$price" "endpoint: dollars for a million tokens, in and out, where they are not known" \
    max-cost "$max_cost" "endpoint: dollars that all runs together may spend" \
    requests-per-minute "$requests_per_minute" "endpoint: at most" \
    concurrent "$concurrent" "endpoint: calls at once" \
    licence "$licence" "endpoint: of what the model writes, for the card" \
    answerable "$answerable" "true: drop what the endpoint can answer without the recording" \
    balance "$balance" "true: leave out what counting words finds, beyond one in four" \
    allow-skew "$allow_skew" "true: go on although answers can be found without listening" \
    tts "$tts" "engine that speaks: espeak, kokoro, kokoro:FOLDER, ..." \
    voices "$voices" "file of the voices that may speak, one a line" \
    level "$level" "RMS of every sentence, dB below full scale" \
    nj "$nj" "processes that speak" \
    asr "$asr" "Whisper that the quality is measured by: hub name or folder" \
    max-wer "$max_wer" "drop recordings with a higher word error rate" \
    min-mos "$min_mos" "drop recordings with a lower DNSMOS" \
    sheet "$sheet" "samples on the page for checking by hand"
}

read_options "$@"
require name '[A-Za-z0-9][A-Za-z0-9_-]*' "the name of a corpus, such as my_lectures"
require samples '[1-9][0-9]{0,6}' "a number of samples: give a whole number from 1"
require nj '[1-9][0-9]{0,3}' "a number of processes: give a whole number from 1 to 9999"
require answerable 'true|false' "true or false"
require balance 'true|false' "true or false"
require allow-skew 'true|false' "true or false"
settle
((stage <= 4 || stop_stage < 5)) || [[ -f $kept ]] ||
  fail "--stage: there is no '$kept' to publish; run stage $([[ $kept == */quality/* ]] && echo 4 || echo 3) first"
need_speechprune

plan=(speechprune plan "$out" --samples "$samples" --splits "$splits" --seed "$seed")
plan+=(${topics:+--topics "$topics"} ${seconds:+--seconds "$seconds"})
endpoint=(${llm:+--model "$llm"} ${base_url:+--base-url "$base_url"} ${price:+--price "$price"})
endpoint+=(${max_cost:+--max-cost "$max_cost"} ${requests_per_minute:+--requests-per-minute "$requests_per_minute"})
endpoint+=(${concurrent:+--concurrent "$concurrent"})
write=(speechprune write "$out" --writer "$writer" ${attempts:+--attempts "$attempts"})
write+=(${licence:+--licence "$licence"} "${endpoint[@]}")
check=(speechprune check "$out" --seed "$seed")
if [[ $allow_skew == true ]]; then check+=(--allow-skew); fi
if [[ $balance == true ]]; then check+=(--balance); fi
if [[ $answerable == true ]]; then check+=(--answerable "${endpoint[@]}"); fi
speak=(speechprune speak "$out" --tts "$tts" ${voices:+--voices "$voices"} ${level:+--level "$level"})
quality=(speechprune quality "$name=$out/spoken/cuts.jsonl.gz" "$out/quality" ${asr:+--asr "$asr"})
quality+=(${max_wer:+--max-wer "$max_wer"} ${min_mos:+--min-mos "$min_mos"})

if wanted 0; then
  log "Stage 0: topics: ${topics:-our topics} -> $out/plan.jsonl"
  tied "${plan[@]}"
fi

if wanted 1; then
  log "Stage 1: write: $out/plan.jsonl -> $out/samples.jsonl"
  tied "${write[@]}"
fi

if wanted 2; then
  log "Stage 2: check: $out/samples.jsonl -> $out/checked.jsonl"
  tied "${check[@]}"
fi

if wanted 3; then
  log "Stage 3: speak: $out/checked.jsonl -> $out/spoken"
  tied "${speak[@]}" --nj "$nj"
fi

if wanted 4; then
  log "Stage 4: quality: $out/spoken -> $out/quality"
  tied "${quality[@]}"
  cat "$out/quality/QUALITY.md"
fi

if wanted 5; then
  log "Stage 5: publish: $kept -> $out/$name"
  made_by=("${plan[*]}" "${write[*]}" "${check[*]}" "${speak[*]}" "${quality[*]}")
  tied speechprune publish "$out" --name "$name" --cuts "$kept" --sheet "$sheet" --seed "$seed" \
    "${made_by[@]/#/--made-by=}"
  log "The benchmark: $PWD/$out/$name. To decode it, in $PWD/$out:"
  printf '%q ' "$HERE/sir.sh" --corpus benchmark --corpus-dir "$name" --config "$PWD/conf/decode.yaml"
  echo
fi
