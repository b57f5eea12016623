# shellcheck shell=bash
# `log MESSAGE` prints one line with the time, the file, the line and the function that called it (ESPnet's form).

log() {
  printf '%(%Y-%m-%dT%H:%M:%S)T (%s:%d:%s) %s\n' -1 "${BASH_SOURCE[1]##*/}" "${BASH_LINENO[0]}" "${FUNCNAME[1]}" "$*"
}
