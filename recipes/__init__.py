"""Corpora: one file = one corpus, with ``download_<name>`` and ``prepare_<name>``. Found by discovery."""
