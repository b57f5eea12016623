"""Cuts of rows in SPIRAL's format: from recordings, with a synthesiser, or by the times that a row has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lhotse import MonoCut, Recording, SupervisionSegment
from speechprune.recipes.spiral_rows import Entry, parse_row

from speechprune.alignment import Aligner, supervise
from speechprune.common.names import file_name
from speechprune.data.building import Item, file_state, open_recording, path_inside
from speechprune.tts.transcripts import Synthesis

_SAME = 0.01  # seconds by which a recording's duration may differ from the row's, which then tells its times


@dataclass(frozen=True)
class Maker:
    """Makes the cuts of one set.

    Attributes:
        set_name: cuts are called <set_name>-<id of the row>.
        wavs: folder of the recordings.
        spoken: folder for what a synthesiser speaks.
        hard: ids of the rows that are.
        synthesis: how the transcripts are spoken; None: the recordings are used.
        aligner: finds sentences in recordings.
    """

    set_name: str
    wavs: Path
    spoken: Path
    hard: set[str]
    synthesis: Synthesis | None
    aligner: Aligner

    def item(self, where: str, row: dict) -> Item:
        name = row["metadata"]["id"]
        hard = name in self.hard
        audio = self.synthesis.identity if self.synthesis else [self.aligner.method, self._state(row)]
        return Item(f"{self.set_name}-{name}", where, [row, hard, audio], partial(self.make, row, hard))

    def _state(self, row: dict) -> list | None:
        try:
            return file_state(path_inside(self.wavs, row["audio_data"]["combined"]["audio_files"][0]))
        except (ValueError, OSError, LookupError, TypeError):
            return None  # make says what is wrong

    def make(self, row: dict, hard: bool) -> MonoCut:
        entry, name = parse_row(row), f"{self.set_name}-{row['metadata']['id']}"
        if self.synthesis:
            engine = self.synthesis.engine.name
            method, spoken = f"synthesis ({engine})", {"resynthesised": engine}
            recording, said = self.synthesis.speak(name, entry.sentences, self.spoken / f"{file_name(name)}.wav")
        else:
            spoken = {}
            method, recording, said = self._recorded(entry, name)
        key = [said[k] for k in entry.key if k in said]
        start, end = key[0].start, key[-1].end
        question = {
            "id": f"{name}-q0",
            "question": entry.question,
            "choices": entry.choices,
            "answer": entry.answer,
            "evidence": [{"start": start, "duration": round(end - start, 4)}],
            "evidence_method": method,
        }
        meta = row["metadata"]
        custom = {"questions": [question], "scenario": meta.get("transcript_type"), "topic": meta.get("main_topic")}
        custom |= {"subtopic": meta.get("subtopic"), "hard": hard} | spoken
        return MonoCut(name, 0.0, recording.duration, 0, list(said.values()), recording=recording, custom=custom)

    def _recorded(self, entry: Entry, name: str) -> tuple[str, Recording, dict[int, SupervisionSegment]]:
        """How the sentences were found in the recording, it, and they."""
        wav = path_inside(self.wavs, entry.wav)
        recording = open_recording(wav, name)
        known = entry.synthesis
        if known is not None and abs(recording.duration - known.duration) <= _SAME:
            method, timed = f"synthesis ({known.engine})", known.timed
        else:
            method, timed = self.aligner.method, self.aligner.align(wav, [s.text for s in entry.sentences])
        pairs = enumerate(zip(entry.sentences, timed, strict=True))
        return method, recording, {k: supervise(name, k, sentence, span) for k, (sentence, span) in pairs}
