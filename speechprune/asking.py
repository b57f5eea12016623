"""One question about one recording: encode, prune, answer.

Stands above models and pruners. ``ask`` becomes a method of every ``SpeechLLM`` as soon as somebody imports that class
from ``speechprune``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import soundfile
import torch
from scipy.signal import resample_poly
from torch import Tensor

from speechprune.audio import load_windows
from speechprune.common.defaults import ASK_MODES, PRUNER, QUERY, RATE, SEED
from speechprune.common.meter import Meter
from speechprune.common.tensors import join
from speechprune.features.signals import Listener, check_signals
from speechprune.models.base import Prompt, SpeechLLM
from speechprune.models.batching import check_length
from speechprune.prompts import LETTERS, letters
from speechprune.pruners import PAD, PruneInputs, Pruner, get_pruner

QUICK = 8  # windows that are heard before anybody asks how far it is


@dataclass(frozen=True)
class Answer:
    """What ``SpeechLLM.ask`` found out.

    Attributes:
        letter, choice, index: the likeliest choice.
        probabilities: {choice: probability}, which sum to 1: a softmax over the choices' letters; with mode "cloze",
            over what the audio adds to the log-probability of each choice.
        kept: the seconds of audio that the LLM read, as (start, end), in time order; neighbouring tokens are one span.
        tokens, total_tokens: audio tokens that the LLM read, and that the recording has; of a recording that was not
            heard to its end (Original), what its seconds have at the model's frame rate.
        pruner: the pruner's name.
        rate: share of the model's ordinary input that was removed; None where the pruner takes no rate.
        mode: how the choices were compared.
    """

    letter: str
    choice: str
    index: int
    probabilities: dict[str, float]
    kept: list[tuple[float, float]]
    tokens: int
    total_tokens: int
    pruner: str
    rate: float | None
    mode: str = ASK_MODES[0]

    def __str__(self) -> str:
        lines = [f"{self.letter}. {self.choice}", ""]
        for letter, (choice, probability) in zip(LETTERS, self.probabilities.items(), strict=False):
            lines.append(f"  {letter}  {probability:6.1%}  {choice}")
        system = self.pruner if self.rate is None else f"{self.pruner}, rate {self.rate:g}"
        system += "" if self.mode == ASK_MODES[0] else f", {self.mode}"
        seconds = sum(end - start for start, end in self.kept)
        longest = sorted(sorted(self.kept, key=lambda span: span[0] - span[1])[:5])
        spans = ", ".join(f"{start:.2f}-{end:.2f} s" for start, end in longest)
        lines += ["", f"read {self.tokens} of {self.total_tokens} audio tokens ({system})"]
        lines.append(
            f"kept {seconds:.2f} s in {len(self.kept)} span{'' if len(self.kept) == 1 else 's'}"
            + (f", longest: {spans}" if spans else "")
        )
        return "\n".join(lines)


def ask(
    model: SpeechLLM,
    audio: str | Path | tuple[np.ndarray, int],
    question: str,
    choices: Sequence[str],
    pruner: str | Pruner = PRUNER,
    rate: float = RATE,
    query: str = QUERY,
    seed: int = SEED,
    progress: bool | None = False,
    mode: str = ASK_MODES[0],
) -> Answer:
    """Answer a multiple-choice question about one recording of any length.

    Args:
        model: the Speech LLM; as its method, ``model.ask(audio, ..)``.
        audio: a file, or ((T,) mono samples, sampling rate).
        question, choices: 2 to 10 different choices.
        pruner: a name ("speechprune", "rap", "full", ..) or a ``Pruner``.
        rate: share of the model's ordinary input (``window`` tokens) to remove, in [0, 1).
        query: the text that the pruner compares the audio with, one of ``prompts.QUERIES``.
        seed: of pruners that draw at random.
        progress: show on stderr how much of a long recording has been heard: True for a bar, None for a bar in a
            terminal and log lines elsewhere.
        mode: "logprob" compares the letters of the choices, which the prompt shows; "cloze" the choices themselves,
            unshown, each less what it is without the audio (PMI: Holtzman et al. 2021, arXiv 2104.08315), as small
            models that know no letters need it.
    Raises:
        AudioError: the audio cannot be read (a ValueError).
        ValueError: an argument out of its range, or a prompt longer than ``max_positions``; before any audio is read.
            Log-probabilities that are not finite.
    """
    if mode not in ASK_MODES:
        raise ValueError(f"unknown mode {mode!r}; choose from: {', '.join(ASK_MODES)}")
    keep = model.budget(rate)
    chosen = get_pruner(pruner) if isinstance(pruner, str) else pruner
    prompt = model.prompt(question, choices)  # refuses choices that cannot be asked, in both modes
    answers: tuple[tuple[int, ...], ...] = ()
    if mode == "cloze":
        prompt = model.prompt(question, None)
        answers = model.continuations(prompt, choices)
    recording = Recording.open(audio, model)
    query_of = model.embed_query(question, choices, query)
    behind = max(map(len, answers), default=1) - 1
    read = listen(model, recording, chosen, keep, prompt, query_of, seed, progress, behind)
    if mode == "cloze":
        heard, unheard = model.cloze_logprobs([read.tokens, read.tokens[:0]], [prompt] * 2, [answers] * 2)
        logprobs = torch.tensor(heard) - torch.tensor(unheard)
    else:
        logprobs = model.choice_logprobs([read.tokens], [prompt], len(choices))[0]
    if not logprobs.isfinite().all():
        raise ValueError(f"{model.name} gave log-probabilities of {logprobs.tolist()}; use --dtype float32")
    probabilities = logprobs.softmax(-1).tolist()
    partly = chosen.first_window_only and recording.seconds > model.window_seconds
    total = round(recording.seconds * model.frame_rate) if partly else read.total
    best = max(range(len(choices)), key=probabilities.__getitem__)
    return Answer(
        letter=letters(len(choices))[best],
        choice=choices[best],
        index=best,
        probabilities=dict(zip(choices, probabilities, strict=True)),
        kept=spans(read.sources, model.frame_rate),
        tokens=len(read.indices),
        total_tokens=total,
        pruner=chosen.name,
        rate=rate if chosen.has_budget else None,
        mode=mode,
    )


@dataclass(frozen=True, eq=False)
class Read:
    """What is left of a recording for the LLM.

    Attributes:
        tokens: (k, D) float32.
        indices: (k,) int64, where they stand; sources: (m,) int64, which tokens are heard in them.
        total: audio tokens of what was heard.
    """

    tokens: Tensor
    indices: Tensor
    sources: Tensor
    total: int


def listen(
    model: SpeechLLM,
    recording: Recording,
    pruner: Pruner,
    keep: int,
    prompt: Prompt,
    query: tuple[Tensor, Tensor],
    seed: int = SEED,
    progress: bool | None = False,
    behind: int = 0,
) -> Read:
    """Encode a recording and prune it.

    Args:
        prompt: behind which, or around which, the tokens are to stand.
        query: embeddings (L, D) and parts (L,), as ``SpeechLLM.embed_query`` gives them.
        seed, progress: as ``ask``.
        behind: tokens that the LLM reads behind the prompt, as part of the answer.
    Raises:
        ValueError: a pruner that needs what the model does not tell; a row longer than ``max_positions``, known
            before any audio is read.
    """
    check_signals(pruner, model)
    full_windows = int(recording.seconds // model.window_seconds)
    check_length(
        model.name,
        pruner.left(full_windows * model.window, keep, model.window),
        len(prompt.before) + len(prompt.after) + behind,
        model.max_positions,
    )
    heard = recording.hear(model, pruner.first_window_only, progress)
    listener = Listener(model)
    tokens = join(map(model.project, listener.encode_parts(heard))).to(model.device)
    signals = listener.signals(len(tokens)) if pruner.needs else {}
    inputs = PruneInputs.single(
        tokens,
        query[0],
        frame_rate=model.frame_rate,
        window=model.window,
        first_layer=model.first_layer,
        seed=seed,
        choices=query[1],
        signals={name: torch.from_numpy(values) for name, values in signals.items()},
        first_pass=model.first_pass([prompt]) if "first_pass" in pruner.needs else None,
    )
    return Read(*_pruned(pruner, inputs, keep), len(tokens))


def _pruned(pruner: Pruner, inputs: PruneInputs, keep: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the LLM reads (k, D), where that stands (k,), and which tokens are heard in it (m,), of one recording."""
    if pruner.merges:
        (merged,) = pruner.merge_each(inputs, [keep])
        indices = merged.index[0][merged.index[0] != PAD]
        return merged.tokens(inputs.S)[0, : len(indices)], indices, torch.nonzero(merged.into[0] != PAD)[:, 0]
    indices = pruner.select(inputs, keep)[0]
    indices = indices[indices != PAD]
    return inputs.S[0, indices], indices, indices


@dataclass(frozen=True)
class Recording:
    """What is asked about: how long it is, and the model's windows of it, read lazily."""

    seconds: float
    windows: Iterator[np.ndarray]

    @classmethod
    def open(cls, audio: str | Path | tuple[np.ndarray, int], model: SpeechLLM) -> Recording:
        if not isinstance(audio, tuple):
            windows = load_windows(audio, model.window_seconds, model.sampling_rate)
            first = next(windows)  # opens the file, which must be audio
            return cls(soundfile.info(str(audio)).duration, chain([first], windows))
        samples, rate = np.asarray(audio[0]), int(audio[1])
        if samples.ndim != 1:
            raise ValueError(f"the samples have shape {samples.shape}; expected (T,), one channel")
        if samples.dtype.kind != "f":  # as files of sound hold them: a model would hear them far too loud
            raise ValueError(f"the samples are {samples.dtype}; expected floats in [-1, 1], such as int16 / 32768")
        if rate != audio[1] or rate < 1:
            raise ValueError(f"sampling rate {audio[1]!r}; expected a whole number of Hz")
        samples = samples.astype(np.float32)
        if rate != model.sampling_rate:
            divisor = math.gcd(rate, model.sampling_rate)
            samples = resample_poly(samples, model.sampling_rate // divisor, rate // divisor)
        size = round(model.window_seconds * model.sampling_rate)
        starts = range(0, len(samples), size)
        return cls(len(samples) / model.sampling_rate, (samples[start : start + size] for start in starts))

    def hear(self, model: SpeechLLM, first_only: bool, progress: bool | None) -> Iterator[np.ndarray]:
        """The windows that the pruner may choose from; ``progress`` as ``Meter`` has it, where it takes a while."""
        if first_only:
            return islice(self.windows, 1)
        count = math.ceil(self.seconds / model.window_seconds)
        return iter(Meter(self.windows, "hear", "windows", progress if count > QUICK else False, count))


def spans(indices: Tensor, frame_rate: float) -> list[tuple[float, float]]:
    """(start, end) seconds of every run of consecutive tokens among ascending indices (k,)."""
    kept = indices.cpu().numpy()
    runs = np.split(kept, np.flatnonzero(np.diff(kept) != 1) + 1)
    return [(float(run[0] / frame_rate), float((run[-1] + 1) / frame_rate)) for run in runs]


SpeechLLM.ask = ask
