#!/usr/bin/env bash
# Trains the mini model from nothing on the training sets in DATA; a training that was stopped is taken up again.
# Runs in a recipe's directory, which holds conf/train.yaml. The model is written to OUT/model.
set -euo pipefail

if (($# != 2)); then
  echo "Usage: ${0##*/} DATA OUT, such as: ${0##*/} data exp/train_mini" >&2
  exit 2
fi

# shellcheck source-path=SCRIPTDIR source=path.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/path.sh"
exec speechprune train-mini "$1" "$2" --config conf/train.yaml
