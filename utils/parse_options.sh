# shellcheck shell=bash
# Stores `--name value` and `--name=value` in the caller's variables. Source it after the defaults:
#
#   declare +x stage=0 stop_stage=5
#   usage() { echo "Usage: ..."; }
#   . utils/parse_options.sh
#
# The options are the lower-case variables that the caller has set; dashes stand for underscores. Exported and
# read-only variables are none: they came from the environment or are not to be changed. `declare +x` above keeps an
# option an option where the user's environment happens to hold the same name.
# Values are stored as they are, never evaluated. A later option wins. --help and -h call `usage` once all options are
# read, so that it can show them. Anything wrong is one line on stderr and exit status 2; it begins with PROGRAM where
# that is set, as by a script that another calls for the user, else with the script's name.

_parse_options() {
  local _name _known="" _valid="" _argument _option _value _help=false _leftover=""

  while read -r _name; do
    if [[ $_name =~ ^[[:lower:]][[:lower:][:digit:]_]*$ && $(declare -p "$_name") == "declare -- "* ]]; then
      _known+=" $_name "
      _valid+=" --${_name//_/-}"
    fi
  done < <(compgen -v)

  while (($# > 0)); do
    _argument=$1
    shift
    case $_argument in
      -h | --help)
        _help=true
        continue
        ;;
      -?*) ;;
      *)
        printf -v _leftover '%s %q' "$_leftover" "$_argument"
        continue
        ;;
    esac

    _option=${_argument%%=*}
    _name=${_option#--}
    _name=${_name//-/_}
    if [[ $_option != --* || -z $_name || $_known != *" $_name "* ]]; then
      printf -v _option '%q' "$_option"
      _option_error "unknown option $_option; the valid ones are:$_valid --help"
    fi

    if [[ $_argument == *=* ]]; then
      _value=${_argument#*=}
    elif (($# == 0)) || [[ $1 == --* ]]; then
      _option_error "option $_option has no value; give it as $_option VALUE or $_option=VALUE"
    else
      _value=$1
      shift
    fi
    printf -v "$_name" '%s' "$_value"
  done

  if [[ -n $_leftover ]]; then
    _option_error "unexpected argument:$_leftover; options are written --name VALUE or --name=VALUE"
  fi
  if [[ $_help == true ]]; then
    usage
    exit 0
  fi
}

_option_error() {
  printf '%s: %s\n' "${PROGRAM:-${0##*/}}" "$1" >&2
  exit 2
}

_parse_options "$@"
unset -f _parse_options _option_error
