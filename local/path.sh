# shellcheck shell=bash
# Puts the `speechprune` command on the PATH: one that is found already stays, else the checkout's own .venv is used.

if ! command -v speechprune >/dev/null; then
  PATH="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)/.venv/bin:$PATH"
fi
