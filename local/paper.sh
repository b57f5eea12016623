#!/usr/bin/env bash
# The driver of egs/paper, which calls it in its own directory: runs the recipes of the paper's corpora, each in its own
# folder, for one or two models, each at the rates that the paper has of it, and compares what they gave.
set -euo pipefail
HERE=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
LAST_STAGE=6

# shellcheck source-path=SCRIPTDIR source=driver.sh
. "$HERE/driver.sh"

declare +x \
  model="" \
  dry_run=false \
  measured="" \
  qwen2_audio="" \
  diva="" \
  corpora=spiral,dream_tts,cn_college_listen \
  spiral_dir="" \
  dream_tts_dir="" \
  cn_college_listen_dir="" \
  tts="" \
  nj=2 \
  cmd="${SPEECHPRUNE_CMD:-local}" \
  gpus="" \
  out=exp

settle() { # one model alone, asked as the one of the paper that its name says
  if [[ -n $model ]]; then
    qwen2_audio=$model diva=""
    if [[ $(name_of "${model,,}") == *diva* ]]; then
      qwen2_audio="" diva=$model
    fi
  fi
}

show_stages() {
  echo "  0 to 5       of each corpus' recipe, ../{$corpora}/run.sh, which explains them: --help"
  show_stage 6 compare "../{$corpora}/exp/<model>/<set>/ -> $out/RESULTS.md, score.json, costs.md, table1.csv, table2.csv"
}

show_own_options() {
  show_options \
    dry-run "$dry_run" "--dry-run alone, or true: print what it will take, and touch nothing" \
    measured "$measured" "with --dry-run: what \`make gpu\` wrote, for the speed; docs/gpu.json if it is there" \
    model "$model" "one model alone, in place of the next two: a DiVA if its name says so, else a Qwen2-Audio" \
    qwen2-audio "$qwen2_audio" "name or folder of a model that is asked as Qwen2-Audio, conf/paper.yaml and conf/qwen2_audio.yaml; empty: none" \
    diva "$diva" "name or folder of a model that is asked as DiVA, conf/diva.yaml; empty: none" \
    corpora "$corpora" "recipes to run, separated by commas" \
    spiral-dir "$spiral_dir" "folder of SPIRAL as its owners publish it; without it, stage 0 fetches what it can" \
    dream-tts-dir "$dream_tts_dir" "the same of DREAM-TTS" \
    cn-college-listen-dir "$cn_college_listen_dir" "the same of CN-College-Listen" \
    tts "$tts" "engine that speaks SPIRAL and DREAM from their text, such as espeak" \
    nj "$nj" "number of jobs at once" \
    cmd "$cmd" "where the jobs of stages 2 and 3 run: local or slurm" \
    gpus "$gpus" "with slurm, for each job: GPUs; all else about it stands in local/site.sh" \
    out "$out" "folder of the comparison"
}

words=()
for word; do # the only option that may stand without a value
  [[ ${words[*]: -1} != --dry-run || $word != --* ]] || words[-1]=--dry-run=true
  words+=("$word")
done
[[ ${words[*]: -1} != --dry-run ]] || words[-1]=--dry-run=true
read_options "${words[@]}"
settle
require dry-run 'true|false' "true or false"

# absolute NAME: makes the path in the variable NAME absolute, for the recipes run elsewhere. A name of a model stays.
absolute() {
  if [[ -d ${!1} ]]; then
    printf -v "$1" '%s' "$(CDPATH='' cd -- "${!1}" && pwd)"
  elif [[ -n ${!1} && $1 == *_dir ]]; then
    fail "--${1//_/-}: there is no folder '${!1}' in $PWD"
  fi
}

papers='spiral|dream_tts|cn_college_listen'
[[ $corpora =~ ^($papers)(,($papers))*$ ]] || fail "--corpora: '$corpora' is no list of ${papers//|/,} or some of them"
[[ -n $qwen2_audio$diva ]] || fail "--qwen2-audio, --diva: both are empty; name a model"
[[ $(name_of "$qwen2_audio") != "$(name_of "$diva")" ]] ||
  fail "--qwen2-audio, --diva: both are called $(name_of "$diva") and would share folders; leave one empty"
for variable in qwen2_audio diva spiral_dir dream_tts_dir cn_college_listen_dir; do
  absolute "$variable"
done

if [[ $dry_run == true ]]; then
  need_speechprune
  if [[ -z $measured && -f ../../docs/gpu.json ]]; then
    measured=../../docs/gpu.json
  fi
fi
experiments=()
for corpus in ${corpora//,/ }; do
  case $corpus in
    spiral) set=test spoken=$tts corpus_dir=$spiral_dir ;;
    dream_tts) set=test_60s spoken=$tts corpus_dir=$dream_tts_dir ;;
    cn_college_listen) set=test_60s spoken="" corpus_dir=$cn_college_listen_dir ;; # no transcript to speak
  esac
  first=$stage
  for asked in qwen2_audio diva; do
    model=${!asked}
    [[ -n $model ]] || continue
    experiments+=("../$corpus/exp/$(name_of "$model")/$set")
    config=$PWD/conf/$asked.yaml
    [[ $asked != qwen2_audio || $corpus != spiral ]] || config=$PWD/conf/paper.yaml
    if [[ $dry_run == true ]]; then
      speechprune forecast "$corpus" "$set" --data "../$corpus/data" --model "$model" --config "$config" \
        ${measured:+--measured "$measured"}
      echo
      continue
    fi
    last=$((stop_stage < 5 ? stop_stage : 5))
    if ((first <= last)); then
      log "Stages $first to $last of ../$corpus: $model, ${config##*/}"
      tied "../$corpus/run.sh" --stage "$first" --stop-stage "$last" --sets "$set" --model "$model" --config "$config" \
        ${corpus_dir:+--corpus-dir "$corpus_dir"} ${spoken:+--tts "$spoken"} --nj "$nj" --cmd "$cmd" --gpus "$gpus"
    fi
    first=$((stage > 2 ? stage : 2)) # the corpus is prepared for all models
  done
done

if wanted 6 && [[ $dry_run == false ]]; then
  log "Stage 6: compare: ${experiments[*]} -> $out/RESULTS.md"
  need_speechprune
  tied speechprune score "${experiments[@]}" --out "$out"
  if [[ -n $qwen2_audio ]]; then # DiVA's layers are not counted
    measure=()
    if [[ $cmd == local ]]; then # else this node may not hold the model
      measure=(--measure)
    fi
    log "Costs of Table I${measure[*]:+, and the prefill on this machine}: $qwen2_audio -> $out/costs.md"
    tied speechprune profile --model "$qwen2_audio" "${measure[@]}" >"$out/costs.md.tmp"
    mv "$out/costs.md.tmp" "$out/costs.md"
  fi
  sed -n '/^## /,$p' "$out/RESULTS.md" # both tables, and what is reproduced
  for experiment in "${experiments[@]}"; do
    if [[ -d $experiment/figures ]]; then
      echo "Figures (ablation*.png: the paper's Fig. 3; embedding*.png: Fig. 2): $(CDPATH='' cd -- "$experiment/figures" && pwd)"
    fi
  done
  echo "Look at $PWD/$out/RESULTS.md"
fi
