# shellcheck shell=bash
# shellcheck disable=SC2154 # the driver declares the options
# Chooses what runs the jobs of a stage, and runs them. Sourced by the driver after its defaults and before the user's
# options: site.sh beside this file, never committed, may set the defaults of one machine, such as nj=16.

if [[ -f ${BASH_SOURCE[0]%/*}/site.sh ]]; then
  # shellcheck source=/dev/null
  . "${BASH_SOURCE[0]%/*}/site.sh"
fi

# choose_command NAME: fills the array job_command, to be called as `"${job_command[@]}" JOB=1:N LOG COMMAND ...`.
choose_command() {
  case $1 in
    local)
      job_command=("${BASH_SOURCE[0]%/*}/../utils/run.py" --die-with-parent)
      if [[ -t 2 ]]; then
        job_command+=(--echo)
      fi
      ;;
    slurm)
      # Empty values are options not given.
      job_command=("${BASH_SOURCE[0]%/*}/../utils/slurm.py" --requeue
        --gpu "$gpus" --mem "$mem" --num-threads "$num_threads" --time "$time" --partition "$partition"
        --account "$account" --qos "$qos" --constraint "$constraint"
        --max-jobs-run "$max_jobs_run" --retries "$retries")
      if [[ -f conf/slurm.conf ]]; then # this recipe's, never committed
        job_command+=(--config conf/slurm.conf)
      fi
      if [[ $detach == true ]]; then
        job_command+=(--detach)
      else
        job_command+=(--die-with-parent)
      fi
      ;;
    *)
      printf -- '--cmd: %q is unknown; the valid ones are: local slurm\n' "$1" >&2
      return 2
      ;;
  esac
}

# run_jobs LOG STAGE ARGUMENT ...: `speechprune STAGE ARGUMENT ...` runs nj times at once, each on its share.
run_jobs() {
  local log=$1 options=() bar=() threads=$(($(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN) / nj))
  shift
  if [[ $cmd == local ]]; then # the jobs share the cores; elsewhere, those of this machine say nothing
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}
    if [[ -t 2 ]]; then # where the first job's log is shown as it grows
      bar=(--progress)
    fi
  else
    options=(--progress-command "$(quoted speechprune progress "$@")")
  fi
  run "${options[@]}" "JOB=1:$nj" "$log" speechprune "$@" "${bar[@]}" --model "$model" --job "JOB/$nj"
}

# run WORD ...: the job command with these words; detached, its job waits for the one submitted before.
run() {
  if [[ $detach == false ]]; then
    "${job_command[@]}" "$@"
    return
  fi
  after=$("${job_command[@]}" --depend "$after" "$@") || {
    echo "${0##*/}: the rest was not submitted; submitted jobs go on:${submitted:- none}" >&2
    exit 1
  }
  submitted+=" $after"
}

# quoted WORD ...: one text that a POSIX shell, or Python's shlex, splits into these words.
quoted() {
  local word quote="'\\''"
  for word; do
    printf "'%s' " "${word//\'/"$quote"}"
  done
}

# show_status FOLDER ...: the command that tells what has become of the jobs with logs below.
show_status() {
  local folder folders=()
  for folder; do
    if [[ -d $folder ]]; then
      folders+=("$PWD/$folder")
    fi
  done
  printf '%q ' "$(CDPATH='' cd -- "${BASH_SOURCE[0]%/*}/../utils" && pwd)/slurm.py" status "${folders[@]}"
  echo
}
