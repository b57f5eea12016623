#!/usr/bin/env bash
# The driver that every recipe of Speech Information Retrieval shares: stages 0 to 5, each one `speechprune` command.
# egs/<corpus>/run.sh calls it in its own directory, its own settings first and the user's "$@" last: the later wins.
set -euo pipefail
HERE=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

# shellcheck source-path=SCRIPTDIR source=../utils/log.sh
. "$HERE/../utils/log.sh"

declare +x \
  stage=0 \
  stop_stage=5 \
  corpus="" \
  corpus_dir="" \
  tts="" \
  aligner="" \
  sets=test \
  model=mini \
  config=conf/decode.yaml \
  nj=2 \
  cmd="${SPEECHPRUNE_CMD:-local}" \
  gpus="" \
  mem="" \
  num_threads="" \
  time="" \
  partition="" \
  account="" \
  qos="" \
  constraint="" \
  max_jobs_run="" \
  retries="" \
  detach=false \
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
  corpus_options=(${tts:+--tts "$tts"} ${aligner:+--aligner "$aligner"})
  model_name=${model%"${model##*[!/]}"} # without trailing slashes
  model_name=${model_name##*/}
}

# braces LIST: several sets as a path would hold them, "test,dev" as "{test,dev}".
braces() {
  if [[ $1 == *,* ]]; then echo "{$1}"; else echo "$1"; fi
}

usage() {
  settle
  local data dump exp
  data=data/$(braces "$sets")/cuts.jsonl.gz
  dump=dump/$model_name/$(braces "$sets")
  exp=exp/$model_name/$(braces "$sets")
  cat <<END
Usage: ./run.sh [--NAME VALUE | --NAME=VALUE] ...

Stages, chosen by --stage FIRST --stop-stage LAST:
  0  download  the net, a synthesiser, or what you have -> $corpus_dir
  1  prepare   $corpus_dir -> data/$(braces "$prepared_sets")/cuts.jsonl.gz
  2  features  $data, model $model -> $dump/
  3  decode    $dump/, $config, model $model -> $exp/<system>/hyp.*.jsonl
  4  score     $exp/<system>/hyp.*.jsonl -> $exp/RESULTS.md, score.json, score.csv
  5  report    $exp/, $data, $dump/, model $model -> $exp/report.html, figures/
With --train true, stages 0 and 1 make the training sets too, and a model is trained before stage 2:
     train     data/$(braces "$train_sets")/cuts.jsonl.gz, conf/train.yaml -> exp/train_mini/model

Options and what they are set to (relative paths are counted from the recipe's directory):
END
  printf '  --%-12s %-22s %s\n' \
    stage "$stage" "first stage to run" \
    stop-stage "$stop_stage" "last stage to run" \
    corpus "$corpus" "name of the corpus" \
    corpus-dir "$corpus_dir" "folder of the raw corpus, which may be one that you have" \
    tts "$tts" "engine that speaks the transcripts of a corpus without recordings, such as espeak" \
    aligner "$aligner" "CTC model that finds the sentences in recordings; without it they are estimated" \
    sets "$sets" "sets to prepare, decode and score, separated by commas" \
    model "$model" "name or folder of a model" \
    config "$config" "the systems that stage 3 decodes" \
    nj "$nj" "number of jobs at once" \
    cmd "$cmd" "where the jobs of stages 2 and 3 run: local or slurm" \
    gpus "$gpus" "with slurm, for each job: GPUs" \
    mem "$mem" "with slurm, for each job: memory, such as 8G" \
    num-threads "$num_threads" "with slurm, for each job: cores" \
    time "$time" "with slurm, for each job: limit, such as 4:00:00" \
    partition "$partition" "with slurm, as are account, qos and constraint: where" \
    account "$account" "" \
    qos "$qos" "" \
    constraint "$constraint" "" \
    max-jobs-run "$max_jobs_run" "with slurm: jobs of an array that run at once" \
    retries "$retries" "with slurm: times that a failed job is tried again" \
    detach "$detach" "true, with slurm: submit stages 2 to 5 as jobs that wait for one another, and leave" \
    embedding "$embedding" "true: stage 5 loads the model to draw its tokens; the default is false with slurm" \
    train "$train" "true: train the mini model and go on with it" \
    train-sets "$train_sets" "the sets it is trained on"
}

# shellcheck source-path=SCRIPTDIR source=cmd.sh
. "$HERE/cmd.sh"
# shellcheck source-path=SCRIPTDIR source=../utils/parse_options.sh
. "$HERE/../utils/parse_options.sh"
arguments=("$@")

# require OPTION REGEX WISH: the option's value must match the whole of REGEX.
require() {
  local variable=${1//-/_}
  [[ ${!variable} =~ ^($2)$ ]] || fail "--$1: '${!variable}' is not $3"
}

fail() {
  echo "${0##*/}: $1" >&2
  exit 2
}

list='[[:alnum:]][[:alnum:]_.-]*(,[[:alnum:]][[:alnum:]_.-]*)*'
require stage '[0-5]' "a stage: give a whole number from 0 to 5"
require stop-stage '[0-5]' "a stage: give a whole number from 0 to 5"
((stop_stage >= stage)) || fail "--stop-stage: $stop_stage comes before --stage $stage; give $stage or more"
require nj '[1-9][0-9]{0,3}' "a number of jobs: give a whole number from 1 to 9999"
require corpus '[A-Za-z0-9_-]+' "the name of a corpus, such as mini_sir"
require sets "$list" "a list of sets, such as test or test,dev"
require train-sets "$list" "a list of sets, such as train,dev"
require train 'true|false' "true or false"
require detach 'true|false' "true or false"
[[ $detach == false || $cmd != local ]] || fail "--detach: jobs of this machine end with the driver; give --cmd slurm"
[[ $detach == false || -z $retries ]] || fail "--retries: after --detach nobody is there to try again; leave one out"
settle
require embedding 'true|false' "true or false"
[[ -n $model_name && $model_name != . && $model_name != .. ]] || fail "--model: '$model' is not a model's name or folder"
((stop_stage < 3 || stage > 3)) || [[ -f $config ]] || fail "--config: there is no file '$config' in $PWD"
choose_command "$cmd"

# shellcheck source-path=SCRIPTDIR source=path.sh
. "$HERE/path.sh"
command -v speechprune >/dev/null || fail "the command speechprune is not installed; type: make env"

wanted() {
  ((stage <= $1 && $1 <= stop_stage))
}

if wanted 0; then
  log "Stage 0: download: $corpus, sets $prepared_sets -> $corpus_dir"
  speechprune download "$corpus" "$corpus_dir" --sets "$prepared_sets" --nj "$nj" "${corpus_options[@]}"
fi

if wanted 1; then
  log "Stage 1: prepare: $corpus_dir -> data/$(braces "$prepared_sets")"
  speechprune prepare "$corpus" "$corpus_dir" data --sets "$prepared_sets" "${corpus_options[@]}"
fi

if [[ $train == true ]] && ((stage <= 2 && stop_stage >= 2)); then
  log "Training: data/$(braces "$train_sets") -> $model"
  "$HERE/train_mini.sh" data exp/train_mini
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

submitted=""
for set in ${sets//,/ }; do
  dump=dump/$model_name/$set
  exp=exp/$model_name/$set
  after=""

  if wanted 2; then
    log "Stage 2: features: data/$set -> $dump"
    run_jobs "$dump/log/features.JOB.log" features "data/$set/cuts.jsonl.gz" "$dump"
  fi

  if wanted 3; then
    log "Stage 3: decode: $dump -> $exp"
    run_jobs "$exp/log/decode.JOB.log" decode "$dump" "$exp" --config "$config"
  fi

  if [[ $detach == true ]] && ((stop_stage >= 4)); then
    log "Stages 4 to $stop_stage: one job, without a GPU: $exp -> $exp"
    run --gpu 0 "$exp/log/score.log" "$HERE/sir.sh" "${arguments[@]}" --stage $((stage > 4 ? stage : 4)) \
      --sets "$set" --cmd local --detach false --embedding "$embedding"
    continue
  fi

  if wanted 4; then
    log "Stage 4: score: $exp -> $exp/RESULTS.md"
    speechprune score "$exp" --cuts "data/$set/cuts.jsonl.gz" --model "$model"
    sed '/^## /,$d' "$exp/RESULTS.md" # title, main table and its notes
  fi

  if wanted 5; then
    log "Stage 5: report: $exp, data/$set, $dump -> $exp/report.html"
    tokens=()
    if [[ $embedding == true ]]; then
      tokens=(--dump "$dump" --model "$model")
    fi
    speechprune report "$exp" --cuts "data/$set/cuts.jsonl.gz" "${tokens[@]}"
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
