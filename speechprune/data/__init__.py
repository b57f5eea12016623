"""Stages 0 and 1: corpora -> Lhotse cuts that keep the contract."""
