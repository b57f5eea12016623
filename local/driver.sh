# shellcheck shell=bash
# What the stage drivers in this folder share: options, --help, checks, and the words of the stages. A driver is
#
#   set -euo pipefail
#   HERE=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
#   LAST_STAGE=1
#   . "$HERE/driver.sh"
#   declare +x corpus="" sets=test              # its options: lower case, and nothing else is until they are read
#   settle() { corpus_dir=downloads/$corpus; }  # what follows from the options
#   show_stages() { show_stage 0 download "the net -> $corpus_dir"; ...; }
#   show_own_options() { show_options corpus "$corpus" "name of the corpus" ...; }
#   . "$HERE/cmd.sh"                            # if it runs jobs: see there
#   read_options "$@"
#   require corpus '[a-z_]+' "the name of a corpus"
#   need_speechprune
#   if wanted 0; then
#     log "Stage 0: download: $corpus -> $corpus_dir"
#     tied speechprune download "$corpus" "$corpus_dir"
#   fi
#
# sir.sh is one. A recipe's run.sh calls it in its own directory, its own settings first and the user's "$@" last.

# Before anything that an older bash cannot do: an empty array is an unbound variable to it.
if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  echo "run.sh: bash 4.4 or later is needed, and this is $BASH_VERSION; put a newer one first in the PATH" \
    "(macOS, whose own is 3.2: brew install bash)" >&2
  exit 2
fi

# What the user typed: messages begin with it.
declare -r PROGRAM=run.sh

# shellcheck source-path=SCRIPTDIR source=../utils/log.sh
. "${BASH_SOURCE[0]%/*}/../utils/log.sh"

declare +x stage=0 stop_stage="$LAST_STAGE"

# read_options WORD ...: the user's options into the variables, --help answered, the range of stages checked.
read_options() {
  # shellcheck source-path=SCRIPTDIR source=../utils/parse_options.sh
  . "${BASH_SOURCE[0]%/*}/../utils/parse_options.sh"
  require stage "[0-$LAST_STAGE]" "a stage: give a whole number from 0 to $LAST_STAGE"
  require stop-stage "[0-$LAST_STAGE]" "a stage: give a whole number from 0 to $LAST_STAGE"
  ((stop_stage >= stage)) || fail "--stop-stage: $stop_stage comes before --stage $stage; give $stage or more"
}

usage() {
  settle
  cat <<END
Usage: ./$PROGRAM [--NAME VALUE | --NAME=VALUE] ...

Stages, chosen by --stage FIRST --stop-stage LAST:
END
  show_stages
  cat <<END

Options and what they are set to (relative paths are counted from the recipe's directory):
END
  {
    show_options \
      stage "$stage" "first stage to run" \
      stop-stage "$stop_stage" "last stage to run"
    show_own_options
  } | in_columns
}

# show_stage NUMBER NAME FLOW: a line of the table. The number of what is no stage of its own is "".
show_stage() {
  printf '  %1s  %-9s %s\n' "$@"
}

# show_options NAME VALUE MEANING ...: lines of the list of options.
show_options() {
  printf '%s\x1f%s\x1f%s\n' "$@"
}

# in_columns: what show_options writes, in columns as wide as it needs.
in_columns() {
  local name value meaning names=12 values=22 rows=()
  while IFS=$'\x1f' read -r name value meaning; do
    rows+=("$name" "$value" "$meaning")
    names=$((${#name} > names ? ${#name} : names))
    values=$((${#value} > values ? ${#value} : values))
  done
  printf "  --%-${names}s %-${values}s %s\n" "${rows[@]}"
}

# require OPTION REGEX WISH: the option's value must match the whole of REGEX.
require() {
  local variable=${1//-/_}
  [[ ${!variable} =~ ^($2)$ ]] || fail "--$1: '${!variable}' is not $3"
}

fail() {
  echo "$PROGRAM: $1" >&2
  exit 2
}

# What a list of names has to match.
# shellcheck disable=SC2034 # for the drivers
declare -r NAMES='[[:alnum:]][[:alnum:]_.-]*(,[[:alnum:]][[:alnum:]_.-]*)*'

# braces LIST: several names as a path would hold them, "test,dev" as "{test,dev}".
braces() {
  if [[ $1 == *,* ]]; then echo "{$1}"; else echo "$1"; fi
}

# name_of MODEL: what folders are called after a model: the last part of its hub name or folder.
name_of() {
  local name=${1%"${1##*[!/]}"} # without trailing slashes
  echo "${name##*/}"
}

need_speechprune() {
  # shellcheck source-path=SCRIPTDIR source=path.sh
  . "${BASH_SOURCE[0]%/*}/path.sh"
  command -v speechprune >/dev/null || fail "the command speechprune is not installed; type: make env"
}

# wanted STAGE: whether the user wants it.
wanted() {
  ((stage <= $1 && $1 <= stop_stage))
}

# tied COMMAND ...: one that ends when this script does, even by SIGKILL, with all that it has started.
tied() {
  "${BASH_SOURCE[0]%/*}/../utils/tied.py" "$@"
}
