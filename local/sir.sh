#!/usr/bin/env bash
# The driver that every recipe of Speech Information Retrieval shares: stages 0 to 5, each one `speechprune` command.
# egs/<corpus>/run.sh calls it in its own directory, its own settings first and the user's "$@" last: the later wins.
set -euo pipefail
HERE=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
LAST_STAGE=5

# shellcheck source-path=SCRIPTDIR source=driver.sh
. "$HERE/driver.sh"

declare +x \
  corpus="" \
  corpus_dir="" \
  tts="" \
  voices="" \
  level="" \
  aligner="" \
  sets=test \
  model=mini \
  asr="" \
  config=conf/decode.yaml \
  embedding="" \
  train=false \
  train_sets=train,dev

# What follows from the options. A function, since --help shows it too.
settle() {
  local names name
  corpus_dir=${corpus_dir:-downloads/$corpus}
  prepared_sets=$sets
  if [[ $train == true ]]; then
    model=exp/train_mini/model
    IFS=, read -ra names <<<"$train_sets"
    for name in "${names[@]}"; do
      [[ ,$prepared_sets, == *,$name,* ]] || prepared_sets+=,$name
    done
  fi
  if [[ -z $embedding ]]; then # a node that only draws may not hold a large model
    embedding=$([[ $cmd == local ]] && echo true || echo false)
  fi
  # Options of the corpus, given only if set.
  corpus_options=(${tts:+--tts "$tts"} ${voices:+--voices "$voices"} ${level:+--level "$level"} ${aligner:+--aligner "$aligner"})
  model_name=$(name_of "$model")
}

show_stages() {
  local data dump exp
  data=data/$(braces "$sets")/cuts.jsonl.gz
  dump=dump/$model_name/$(braces "$sets")
  exp=exp/$model_name/$(braces "$sets")
  show_stage 0 download "the net, or a synthesiser -> $corpus_dir (not with --corpus-dir)"
  show_stage 1 prepare "$corpus_dir -> data/$(braces "$prepared_sets")/cuts.jsonl.gz"
  show_stage 2 features "$data, model $model -> $dump/${asr:+, transcripts.jsonl}"
  show_stage 3 decode "$dump/, $config, model $model -> $exp/<system>/hyp.*.jsonl"
  show_stage 4 score "$exp/<system>/hyp.*.jsonl -> $exp/RESULTS.md, score.json, score.csv"
  show_stage 5 report "$exp/, $data, $dump/, model $model -> $exp/report.html, figures/"
  echo "With --train true, stages 0 and 1 make the training sets too, and a model is trained before stage 2:"
  show_stage "" train "data/$(braces "$train_sets")/cuts.jsonl.gz, conf/train.yaml -> exp/train_mini/model"
}

show_own_options() {
  show_options \
    corpus "$corpus" "name of the corpus" \
    corpus-dir "$corpus_dir" "folder of the raw corpus; one that you have is only read" \
    tts "$tts" "engine that speaks the transcripts of a corpus without recordings, such as espeak" \
    voices "$voices" "with --tts: file of the voices that may speak, one a line" \
    level "$level" "with --tts: RMS of every sentence, in dB below full scale" \
    aligner "$aligner" "CTC model that finds the sentences in recordings; without it they are estimated" \
    sets "$sets" "sets to prepare, decode and score, separated by commas" \
    model "$model" "name or folder of a model" \
    asr "$asr" "a Whisper, name or folder, that also writes the recordings down" \
    config "$config" "the systems that stage 3 decodes" \
    embedding "$embedding" "true: stage 5 loads the model to draw its tokens; the default is false with slurm" \
    train "$train" "true: train the mini model and go on with it" \
    train-sets "$train_sets" "the sets it is trained on"
  show_job_options "stages 2 and 3" "stages 2 to 5"
}

# shellcheck source-path=SCRIPTDIR source=cmd.sh
. "$HERE/cmd.sh"
read_options "$@"
arguments=("$@")
require corpus '[A-Za-z0-9_-]+' "the name of a corpus, such as mini_sir"
require sets "$NAMES" "a list of sets, such as test or test,dev"
require train-sets "$NAMES" "a list of sets, such as train,dev"
require train 'true|false' "true or false"
their_corpus=$corpus_dir # given by the user: read, and never written to
settle
require embedding 'true|false' "true or false"
[[ -n $model_name && $model_name != . && $model_name != .. ]] || fail "--model: '$model' is not a model's name or folder"
((stop_stage < 3 || stage > 3)) || [[ -f $config ]] || fail "--config: there is no file '$config' in $PWD"
check_job_options
need_speechprune

if wanted 0 && [[ -n $their_corpus ]]; then
  log "Stage 0: nothing to do: $corpus is yours, in $corpus_dir, and only read"
elif wanted 0; then
  log "Stage 0: download: $corpus, sets $prepared_sets -> $corpus_dir"
  tied speechprune download "$corpus" "$corpus_dir" --sets "$prepared_sets" --nj "$nj" "${corpus_options[@]}"
fi

if wanted 1; then
  log "Stage 1: prepare: $corpus_dir -> data/$(braces "$prepared_sets")"
  tied speechprune prepare "$corpus" "$corpus_dir" data --sets "$prepared_sets" --nj "$nj" "${corpus_options[@]}"
fi

if [[ $train == true ]] && ((stage <= 2 && stop_stage >= 2)); then
  log "Training: data/$(braces "$train_sets") -> $model"
  tied "$HERE/train_mini.sh" data exp/train_mini
fi

# look_at EXP: names what the stages that ran have written for people, wherever they stand.
look_at() {
  set -- "$PWD/$1"
  if wanted 4 && wanted 5; then
    echo "Look at $1/report.html; tables: $1/RESULTS.md"
  elif wanted 5; then
    echo "Look at $1/report.html"
  elif wanted 4; then
    echo "Look at $1/RESULTS.md"
  fi
}

for set in ${sets//,/ }; do
  dump=dump/$model_name/$set
  exp=exp/$model_name/$set
  after=""

  if wanted 2; then
    log "Stage 2: features: data/$set -> $dump"
    run_jobs "$dump/log/features" features "data/$set/cuts.jsonl.gz" "$dump" -- --model "$model"
    if [[ -n $asr ]]; then
      log "Stage 2: transcripts by $asr: data/$set -> $dump/transcripts.jsonl"
      run_jobs "$dump/log/transcribe" transcribe "data/$set/cuts.jsonl.gz" "$dump/transcripts.jsonl" --asr "$asr"
    fi
  fi

  if wanted 3; then
    log "Stage 3: decode: $dump -> $exp"
    run_jobs "$exp/log/decode" decode "$dump" "$exp" --config "$config" -- --model "$model"
  fi

  if [[ $detach == true ]] && ((stop_stage >= 4)); then
    log "Stages 4 to $stop_stage: one job, without a GPU: $exp -> $exp"
    run --gpu 0 "$exp/log/score.log" "$HERE/sir.sh" "${arguments[@]}" --stage $((stage > 4 ? stage : 4)) \
      --sets "$set" --cmd local --detach false --embedding "$embedding"
    continue
  fi

  if wanted 4; then
    log "Stage 4: score: $exp -> $exp/RESULTS.md"
    tied speechprune score "$exp" --cuts "data/$set/cuts.jsonl.gz" --model "$model"
    sed '/^## /,$d' "$exp/RESULTS.md" # title, main table and its notes
  fi

  if wanted 5; then
    log "Stage 5: report: $exp, data/$set, $dump -> $exp/report.html"
    tokens=()
    if [[ $embedding == true ]]; then
      tokens=(--dump "$dump" --model "$model")
    fi
    tied speechprune report "$exp" --cuts "data/$set/cuts.jsonl.gz" "${tokens[@]}"
  fi
done

if [[ -n $submitted ]]; then
  log "Stages $stage to $stop_stage of $corpus: submitted:$submitted. What becomes of them, from any shell:"
  show_status "dump/$model_name" "exp/$model_name"
else
  log "Stages $stage to $stop_stage of $corpus: done in $SECONDS s"
  for set in ${sets//,/ }; do
    look_at "exp/$model_name/$set"
  done
fi
