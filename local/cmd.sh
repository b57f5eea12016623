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
      echo "--cmd slurm: Slurm is not supported yet; use --cmd local" >&2
      return 2
      ;;
    *)
      printf -- '--cmd: %q is unknown; the valid ones are: local\n' "$1" >&2
      return 2
      ;;
  esac
}
