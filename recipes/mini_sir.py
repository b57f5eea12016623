"""mini_sir: SIR dialogues of our own, written by a grammar and spoken by a speech synthesiser.

Lectures, conversations and meetings of 60 to 130 s (test: 61 to 119) with hesitations and small talk. Facts come in
threes (same noun for another person, another noun for the same person), so that every question has near-miss
distractors in its recording.
Splits share no fact (kind, noun, person, value) and no voice. The same seed writes the same bytes.

Source: generated here, Apache-2.0 like the code, by ``speechprune.construction.grammar``. Speech: espeak-ng.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from lhotse import CutSet, MonoCut, SupervisionSegment
from lhotse.supervision import AlignmentItem
from scipy.signal import resample_poly

from speechprune.audio import is_whole_wav, open_recording, write_wav
from speechprune.common.files import Problem, atomic_write
from speechprune.common.meter import Meter
from speechprune.common.reading import read_json
from speechprune.common.workers import in_processes
from speechprune.construction import grammar
from speechprune.data.building import report_problems
from speechprune.data.cuts import validate_cut, write_cuts
from speechprune.tts import get_engine

SAMPLING_RATE = 16_000
QUESTIONS_PER_RECORDING = 5

_TRAIN_VOICES = """m1 m2 m3 m4 m6 m7 m8 f1 f2 f3 f4 linda Andy Andrea edward steph Alicia Annie adam david paul rob
    john max caleb mike2 zac travis victor ian quincy robert shelby"""
_DEV_VOICES = "benjamin aunty boris steph2 norbert"
_TEST_VOICES = "m5 f5 belinda Michael Reed anika"


@dataclass(frozen=True)
class Split:
    """A set: how many recordings, whose voices, which hundredths of the facts, spoken or text alone."""

    recordings: int
    voices: str
    facts: range
    spoken: bool = True


SETS = {
    "test": Split(80, _TEST_VOICES, range(80, 100)),
    "dev": Split(40, _DEV_VOICES, range(65, 80)),
    "train": Split(800, _TRAIN_VOICES, range(65)),
    "train_text": Split(4000, _TRAIN_VOICES, range(65), spoken=False),
}


def in_split(split: Split, *fact: str) -> bool:
    """Whether the fact (kind, noun, person, value) belongs to the split: a hash decides, so splits are disjoint."""
    return zlib.crc32("/".join(fact).encode()) % 100 in split.facts


def write_script(set_name: str, index: int, seed: int = 0) -> dict:
    """What is said in one recording, by whom, and what is asked about it; no sound yet.

    Returns:
        {"id", "scenario", "speakers": [{name, voice, rate, pitch, gain}], "turns": [{speaker, text, fact}],
        "questions": [{question, choices, answer, keywords, fact, distractors}], "noise"}; ``fact`` numbers the key
        sentence, ``distractors`` the others of its kind.
    """
    split = SETS[set_name]
    rng = random.Random(f"{seed}/{set_name}/{index}")
    scenario = rng.choice(sorted(grammar.SPEAKERS))
    target = rng.uniform(74, 124)  # estimated seconds; spoken, that is 60 to 130
    speakers = [
        {
            "name": f"spk_{i + 1}",
            "voice": f"en-us+{voice}",
            "rate": rng.randint(150, 190),
            "pitch": rng.randint(35, 65),
            "gain": round(rng.uniform(0.4, 0.9), 3),
        }
        for i, voice in enumerate(rng.sample(split.voices.split(), rng.randint(*grammar.SPEAKERS[scenario])))
    ]
    dialogue = grammar.write_dialogue(
        rng, scenario, target, len(speakers), 3 if target < 90 else 4, lambda *fact: in_split(split, *fact)
    )

    def place(k: int) -> int:
        """Every four questions in a row use each letter once."""
        number = index * QUESTIONS_PER_RECORDING + k
        return random.Random(f"{seed}/{set_name}/letters/{number // 4}").sample(range(4), 4)[number % 4]

    questions = []
    for question in grammar.ask(rng, dialogue, QUESTIONS_PER_RECORDING, place):
        fact = dialogue.facts[question.fact]
        questions.append(
            {
                "question": question.text,
                "choices": question.choices,
                "answer": question.answer,
                "keywords": list(fact.keywords),
                "kind": fact.kind,
                "fact": question.fact,
                "distractors": question.distractors,
            }
        )
    return {
        "id": f"{set_name}-{index:04d}",
        "scenario": scenario,
        "speakers": speakers,
        "turns": [asdict(turn) for turn in dialogue.turns],
        "questions": questions,
        "noise": round(rng.uniform(-4, -2.3), 3),
        "pauses": rng.randrange(2**31),
    }


def _time_words(script: dict, engine) -> tuple[list[list[tuple[str, float, float]]], np.ndarray | None]:
    """Each turn's words with times in seconds from the recording's start; and the waveform, if there is an engine."""
    rng = random.Random(script["pauses"])
    chunks, timed, now = [np.zeros(0, np.float32)], [], 0
    for turn, after in zip(script["turns"], [*script["turns"][1:], None], strict=True):
        speaker = script["speakers"][turn["speaker"]]
        pause = int(
            SAMPLING_RATE
            * rng.uniform(*((0.15, 0.6) if after and after["speaker"] != turn["speaker"] else (0.05, 0.35)))
        )
        if engine:
            said = engine.speak(turn["text"], speaker["voice"], speaker["rate"], speaker["pitch"])
            wave = resample_poly(said.samples, SAMPLING_RATE, said.sampling_rate).astype(np.float32)
            chunks += [wave * speaker["gain"], np.zeros(pause, np.float32)]
            spans = [(w.text, w.start, w.end) for w in said.words]
        else:
            wave = np.zeros(int(SAMPLING_RATE * grammar.estimate_seconds(turn["text"])), np.float32)
            lengths = [0.05 + 0.04 * len(w) * rng.uniform(0.7, 1.25) for w in turn["text"].split()]
            ends = np.cumsum(lengths) * (len(wave) / SAMPLING_RATE - 0.1) / sum(lengths)
            spans = list(zip(turn["text"].split(), [0.0, *ends[:-1]], ends, strict=True))
        start = now / SAMPLING_RATE
        timed.append([(w, round(start + float(a), 4), round(start + float(b), 4)) for w, a, b in spans])
        now += len(wave) + pause
    if not engine:
        return timed, None
    samples = np.concatenate(chunks)
    noise = np.random.default_rng(script["pauses"]).standard_normal(len(samples)).astype(np.float32)
    return timed, np.clip(samples + noise * 10 ** script["noise"], -1, 1)


def _make(set_name: str, index: int, seed: int, tts: str, folder: Path) -> None:
    """Speak one script; its JSON appears last and marks it done, as long as its recording is there and whole."""
    script = write_script(set_name, index, seed)
    done, wav = (folder / part / f"{script['id']}.{end}" for part, end in (("scripts", "json"), ("wav", "wav")))
    if done.is_file() and (is_whole_wav(wav) or not SETS[set_name].spoken):
        return
    script["words"], samples = _time_words(script, get_engine(tts) if SETS[set_name].spoken else None)
    if samples is not None:
        write_wav(wav, samples, SAMPLING_RATE)
    with atomic_write(done) as handle:
        json.dump(script, handle)


def download_mini_sir(
    target_dir: Path, sets: Sequence[str] = ("test",), nj: int = 1, tts: str = "espeak", seed: int = 0
) -> Path:
    """Synthesise the corpus (there is nothing to download).

    Args:
        target_dir: gets ``<set>/wav/<id>.wav`` (16 kHz, mono, 16 bit) and ``<set>/scripts/<id>.json``.
        sets: of test (80 recordings), dev (40), train (800) and train_text (4,000, text and estimated times alone).
        nj: processes; the result does not depend on it.
        tts: engine of ``speechprune.tts``.
        seed: the same seed writes the same bytes.
    Returns:
        ``target_dir``. Finished recordings are kept, so a killed run goes on where it was; one that is missing or cut
        short is made again.
    Raises:
        ValueError: an unknown set. WriteError: the disk is full, ... OSError: a process was killed.
    """
    target_dir = Path(target_dir)
    for name in sets:
        if name not in SETS:
            raise ValueError(f"mini_sir has no set {name!r}; choose from: {', '.join(SETS)}")
        folder, count = target_dir / name, SETS[name].recordings
        made = in_processes(_make, [(name, i, seed, tts, folder) for i in range(count)], nj)
        for _ in Meter(made, f"synthesise {name}", "recordings", total=count):
            pass
    return target_dir


def _cut(script: dict, folder: Path) -> MonoCut:
    wav = folder / "wav" / f"{script['id']}.wav"
    recording = open_recording(wav, script["id"]) if wav.is_file() else None
    duration = recording.duration if recording else round(script["words"][-1][-1][2] + 0.1, 4)
    supervisions = []
    for k, (turn, spans) in enumerate(zip(script["turns"], script["words"], strict=True)):
        speaker = script["speakers"][turn["speaker"]]
        items = [AlignmentItem(word, start, round(end - start, 4)) for word, start, end in spans]
        supervisions.append(
            SupervisionSegment(
                id=f"{script['id']}-s{k:02d}",
                recording_id=script["id"],
                start=spans[0][1],
                duration=round(spans[-1][2] - spans[0][1], 4),
                text=turn["text"],
                language="English",
                speaker=f"{script['id']}-{speaker['name']}",
                gender=_gender(speaker["voice"]),
                alignment={"word": items},
                custom={"voice": speaker["voice"]},
            )
        )
    key = {turn["fact"]: s for turn, s in zip(script["turns"], supervisions, strict=True) if turn["fact"] is not None}

    def span(fact: int) -> dict:
        return {"start": key[fact].start, "duration": key[fact].duration}

    questions = [
        {
            "id": f"{script['id']}-q{k}",
            "question": q["question"],
            "choices": q["choices"],
            "answer": q["answer"],
            "evidence": [span(q["fact"])],
            "distractors": [span(fact) for fact in q["distractors"]],
            "keywords": q["keywords"],
            "kind": q["kind"],
        }
        for k, q in enumerate(script["questions"])
    ]
    return MonoCut(
        id=script["id"],
        start=0.0,
        duration=duration,
        channel=0,
        recording=recording,
        supervisions=supervisions,
        custom={"corpus": "mini_sir", "scenario": script["scenario"], "questions": questions},
    )


@cache
def _gender(voice: str) -> str:
    return {v.name: v.gender for v in get_engine("espeak").voices()}[voice]


def prepare_mini_sir(corpus_dir: Path, output_dir: Path, sets: Sequence[str] = ("test",)) -> dict[str, CutSet]:
    """Turn the synthesised corpus into validated cuts.

    Args:
        corpus_dir: what ``download_mini_sir`` wrote.
        output_dir: gets ``<set>/cuts.jsonl.gz``.
        sets: which sets.
    Returns:
        {set: CutSet}. Recordings that cannot be used are left out, logged and listed in ``<set>/problems.txt``.
    Raises:
        FileNotFoundError: a set was not synthesised yet. ValueError: an unknown set, or not one usable recording.
    """
    prepared = {}
    for name in sets:
        if name not in SETS:
            raise ValueError(f"mini_sir has no set {name!r}; choose from: {', '.join(SETS)}")
        folder, out = Path(corpus_dir) / name, Path(output_dir) / name
        scripts = sorted((folder / "scripts").glob("*.json"))
        if not scripts:
            raise FileNotFoundError(f"{folder}/scripts holds no script; synthesise the set first (stage 0)")
        problems: list[Problem] = []
        cuts = [cut for path in scripts for cut in _usable(path, folder, problems)]
        if len(scripts) != SETS[name].recordings:
            problems.append(Problem(name, "recordings", str(len(scripts)), f"{SETS[name].recordings}; run stage 0"))
        report_problems(out, len(cuts), problems)
        write_cuts(out / "cuts.jsonl.gz", cuts)
        prepared[name] = CutSet.from_cuts(cuts)
    return prepared


def _usable(path: Path, folder: Path, problems: list[Problem]) -> list[MonoCut]:
    """The cut of a script, or none where script or recording cannot be used."""
    where, spoken = f"{folder.name}/scripts/{path.name}", SETS[folder.name].spoken
    wav = folder / "wav" / f"{path.stem}.wav"
    try:
        script = read_json(path)
        if script["id"] != path.stem:
            raise ValueError(f"the script of {script['id']}")
        if spoken and not is_whole_wav(wav):
            problems.append(Problem(where, "recording", f"{wav} is missing or cut short", "a whole one; run stage 0"))
            return []
        cut = _cut(script, folder)
    except (ValueError, TypeError, AttributeError, LookupError, OSError) as error:
        value = f"not as stage 0 writes it ({type(error).__name__}: {error})"
        problems.append(Problem(where, "script", value, "one of mini_sir; remove it and run stage 0"))
        return []
    # A text-only set has no recording to promise anything about; all else holds for it too.
    broken = [problem for problem in validate_cut(cut) if spoken or problem.field != "recording"]
    problems += broken
    return [] if broken else [cut]
