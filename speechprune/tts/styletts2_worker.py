"""What the other interpreter of ``styletts2.py`` runs, which has the package styletts2 and nothing of this toolkit.

A line of JSON in: text, reference, out (a wav to write), seed, diffusion_steps, embedding_scale. A line out: {} or
{"error": ..}. It ends when its input does.
"""

from __future__ import annotations

import json
import os
import random
import sys


def main() -> None:
    here = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120
    sys.path[:] = [
        place for place in sys.path if os.path.realpath(place) != here
    ]  # its styletts2.py is not the package
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the package prints
    engine = None
    for line in sys.stdin:
        try:
            request = json.loads(line)
            if engine is None:
                from styletts2.tts import StyleTTS2

                engine = StyleTTS2()
            speak(engine, **request)
            reply = {}
        except Exception as error:  # one sentence must not end the engine
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def speak(engine, text: str, reference: str, out: str, seed: int, diffusion_steps: int, embedding_scale: float) -> None:
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    engine.inference(
        text,
        target_voice_path=reference,
        output_wav_file=out,
        diffusion_steps=diffusion_steps,
        embedding_scale=embedding_scale,
    )


if __name__ == "__main__":
    main()
