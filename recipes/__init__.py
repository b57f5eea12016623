"""Corpora: one file = one corpus, with ``download_<name>`` and ``prepare_<name>``. Found by discovery."""

from speechprune.common.rooms import beside_run_sh

__path__ += beside_run_sh(__name__)
