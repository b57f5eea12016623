"""Evidence recall of late interaction, as asked, without function words, and for two facts at once: docs/pruners.md."""

from __future__ import annotations

import sys
from collections import defaultdict

import torch

from speechprune import SpeechLLM
from speechprune.decoding.choosing import evidence_mask
from speechprune.features.dump import load_states, read_dump
from speechprune.prompts import content_words
from speechprune.pruners import PruneInputs, get_pruner

ASKED = {
    "as asked": lambda q, _: (q["question"], q["evidence"]),
    "without function words": lambda q, _: (content_words(q["question"]), q["evidence"]),
    "two at once": lambda q, r: (f"{q['question']} {r['question']}", q["evidence"] + r["evidence"]),
}
OPTIONS = [{}, {"weights": "equal"}, {"seconds": 1.0}, {"seconds": 4.0}, {"choices": 0.0}]
METHODS = [("rap", {}), ("speechprune", {}), *(("late_interaction", options) for options in OPTIONS)]

model, kept = SpeechLLM.from_pretrained("mini"), defaultdict(list)
for cut in read_dump(sys.argv[1], []):
    S, questions = model.project(torch.from_numpy(load_states(cut).copy())), cut.custom["questions"]
    for (name, ask), (k, q) in ((a, b) for a in ASKED.items() for b in enumerate(questions)):
        text, evidence = ask(q, questions[(k + 1) % len(questions)])
        T, choices = model.embed_query(text, q["choices"], "question+choices")
        inputs = PruneInputs.single(S, T, first_layer=model.first_layer, choices=choices)
        for method, options in METHODS:
            for index in get_pruner(method, **options).select_each(inputs, (300, 150, 75)):
                said = [evidence_mask([span], len(S), 25) for span in evidence]
                shares = [float(mask[index[0]].sum() / mask.sum()) for mask in said]
                kept[method, str(options), name, index.shape[1]].append((sum(shares) / len(shares), min(shares)))
for row, shares in kept.items():
    print(*row, *(f"{100 * sum(column) / len(column):.1f}" for column in zip(*shares, strict=True)))
