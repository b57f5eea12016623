# shellcheck shell=bash
# Jobs, for drivers that run some: their options, what runs them, and where. Sourced by the driver after its defaults and
# before the user's options. Two files, never committed, may set the defaults of one machine, such as nj=16: site.sh beside
# this file, and conf/site.sh of the folder that is run.

declare +x \
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
  detach=false

if [[ -f ${BASH_SOURCE[0]%/*}/site.sh ]]; then
  # shellcheck source=/dev/null
  . "${BASH_SOURCE[0]%/*}/site.sh"
fi
if [[ -f conf/site.sh ]]; then
  # shellcheck source=/dev/null
  . conf/site.sh
fi

# show_job_options STAGES DETACHED: for --help; which stages run as jobs, and which after --detach.
show_job_options() {
  show_options \
    nj "$nj" "number of jobs at once" \
    cmd "$cmd" "where the jobs of $1 run: local or slurm" \
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
    detach "$detach" "true, with slurm: submit $2 as jobs that wait for one another, and leave"
}

# check_job_options: to be called when the options are read and before the first job.
check_job_options() {
  require nj '[1-9][0-9]{0,3}' "a number of jobs: give a whole number from 1 to 9999"
  require detach 'true|false' "true or false"
  [[ $detach == false || $cmd != local ]] ||
    fail "--detach: jobs of this machine end with the driver; give --cmd slurm"
  [[ $detach == false || -z $retries ]] ||
    fail "--retries: after --detach nobody is there to try again; leave one out"
  choose_command "$cmd"
  submitted="" # ids of detached jobs, and ...
  after=""     # ... of the last one, which the next waits for; "" begins a new row of them
}

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
      fail "--cmd: '$1' is unknown; the valid ones are: local slurm"
      ;;
  esac
}

# run_jobs LOG STAGE ARGUMENT ... [-- WORD ...]: `speechprune STAGE ARGUMENT ... WORD ...` runs nj times at once, each on
# its share, with logs LOG.<job>.log; `speechprune progress STAGE ARGUMENT ...` says how far they are. Where this machine
# has GPUs, no more jobs than those: each has one to itself.
run_jobs() {
  local log=$1 job jobs=$nj cores ids names options=() bar=() words=()
  shift
  while (($#)) && [[ $1 != -- ]]; do
    words+=("$1")
    shift
  done
  options+=(--progress-command "$(quoted speechprune progress "${words[@]}")")
  words+=("${@:2}")
  job=$(unused "$log" "${words[@]}")
  if [[ $cmd == local ]]; then
    [[ ! -t 2 ]] || bar=(--progress) # where the first job's log is shown as it grows
    ids=$("${BASH_SOURCE[0]%/*}/../utils/gpus.py")
    if [[ -n $ids ]]; then
      options+=(--gpus "$ids")
      IFS=, read -ra names <<<"$ids"
      if ((jobs > ${#names[@]})); then
        jobs=${#names[@]}
        log "This machine has GPUs for $jobs of the $nj jobs that --nj asks for: $jobs run, each on a GPU of its own"
      fi
    fi
    # The jobs share the cores; elsewhere, those of this machine say nothing.
    cores=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
    local -x OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > jobs ? cores / jobs : 1))}
  fi
  run "${options[@]}" "$job=1:$jobs" "$log.$job.log" \
    speechprune "${words[@]}" "${bar[@]}" --job "$job/$jobs"
}

# unused WORD ...: a name for the job's number that stands in none of the words, since it is replaced wherever it does.
unused() {
  local name=JOB
  while [[ $* == *"$name"* ]]; do
    name+=_
  done
  echo "$name"
}

# run WORD ...: the job command with these words; detached, its job waits for the one submitted before.
run() {
  if [[ $detach == false ]]; then
    "${job_command[@]}" "$@"
    return
  fi
  after=$("${job_command[@]}" --depend "$after" "$@") || {
    echo "$PROGRAM: the rest was not submitted; submitted jobs go on:${submitted:- none}" >&2
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
