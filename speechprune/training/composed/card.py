"""What a delta's reader must know: parts, data, results, licences."""

from __future__ import annotations

from collections.abc import Mapping

_CARD = """# {llm} hears through {encoder}

A delta: what was trained to make one speech LLM of two published models, and nothing else. It holds none of their
weights. Put it back onto them:

    speechprune compose OUT --delta THIS_FOLDER --encoder {encoder} --llm {llm}

| part | class | weights seen in training (digest) |
|---|---|---|
| encoder {encoder} | {encoder_type} | {encoder_weights} |
| LLM {llm} | {llm_type} | {llm_weights} |

{note}
Trained: the encoder's last {unfrozen} layer(s), {new_layers} new one(s) of its class, the projector{lora}. Stored in
8 bits, a scale for each row. The model gives 25 audio tokens a second and is an AudioFlamingo3ForConditionalGeneration.

{unread}## Data
{data}

## Results
{results}

## Licences
The delta is Apache-2.0, as speechprune is. Whisper is under the MIT License, Copyright (c) 2022 OpenAI; whoever
passes on a composed folder passes that notice on with it, and the licence of the LLM.
"""

_UNREAD = """**The LLM has not learnt to read audio tokens.** They lie on its own embeddings of what is spoken, several
for each word, as no text ever was: expect answers at chance. Alignment can go on from here (`--from-delta`); reading
(stage 3) is missing.

"""


def write_card(facts: Mapping) -> str:
    """The text of a delta's README.md; ``facts`` as ``delta.json`` holds them."""
    encoder, llm, training = facts["encoder"], facts["llm"], facts["training"]
    return _CARD.format(
        encoder=encoder["name"],
        llm=llm["name"],
        encoder_type=encoder["model_type"],
        encoder_weights=encoder["weights"],
        llm_type=llm["model_type"],
        llm_weights=llm["weights"],
        unfrozen=facts["unfrozen"],
        new_layers=facts["new_layers"],
        lora=f", low-rank updates (LoRA, rank {training['read']['rank']}) of the LLM" if training["read"] else "",
        unread="" if training["read"] else _UNREAD,
        note=f"{training['note']}\n" if training["note"] else "",
        data=_lines(
            training["data"] | ({"went on from a delta of": began} if (began := training["began_with"]) else {})
        ),
        results=_lines(training["align"] | {f"reading: {k}": v for k, v in training["read"].items()}),
    )


def _lines(table: Mapping) -> str:
    return "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in table.items())
