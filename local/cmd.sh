# shellcheck shell=bash
# Chooses what runs the jobs of a stage. Sourced by the driver after its defaults and before the user's options:
# site.sh beside this file, never committed, may set the defaults of one machine, such as nj=16.

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
      # shellcheck disable=SC2154 # the driver declares them
      job_command=("${BASH_SOURCE[0]%/*}/../utils/slurm.py" --die-with-parent --requeue
        --gpu "$gpus" --mem "$mem" --num-threads "$num_threads" --time "$time" --partition "$partition"
        --account "$account" --qos "$qos" --constraint "$constraint"
        --max-jobs-run "$max_jobs_run" --retries "$retries")
      ;;
    *)
      printf -- '--cmd: %q is unknown; the valid ones are: local slurm\n' "$1" >&2
      return 2
      ;;
  esac
}
