"""CN-College-Listen: listening tests of Chinese schools and colleges, recorded in English, with three or four choices.

Two sources, for research under their owners' terms:
- AudioBench, https://huggingface.co/datasets/AudioLLMs/cn_college_listen_mcq_test: 2,271 rows, the paper's.
- WavLLM's gaokao set, https://github.com/microsoft/SpeechT5/tree/main/WavLLM: ``gaokao.tsv`` (2,000 rows) and a folder
  of wavs, which the table names relative to itself, ``gaokao_audio/short_conv_1.wav``.
``test_60s`` is the subset of recordings longer than 60 s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lhotse import CutSet
from speechprune.recipes.audiobench import LONG, Clip, build_sets, find_parquet, hub_download, question_of, read_clips

from speechprune.common.files import Problem, shown
from speechprune.data.building import path_inside, split_subset, text_lines
from speechprune.data.choices import split_choices

AUDIOBENCH_ROWS = 2271
GAOKAO_ROWS = 2000
REPO = "AudioLLMs/cn_college_listen_mcq_test"
_COLUMNS = ["id", "audio", "n_frames", "prompt", "tgt_text", "with_speech"]
_BY_HAND = """Fetch one of its two sources by hand (their pages state the terms; accept them there if they ask):
  hf download --repo-type dataset {repo} --local-dir {folder}
so that {folder}/data/ holds test-*.parquet; or WavLLM's gaokao.tsv and gaokao_audio/ from
https://github.com/microsoft/SpeechT5/tree/main/WavLLM into {folder}. Then run this again."""


def download_cn_college_listen(target_dir: Path, sets: Sequence[str] = ("test",), nj: int = 1) -> Path:
    """Fetch AudioBench's parquet files into ``target_dir/data``, unless one of the two sources is there.

    Args:
        target_dir: where the corpus goes.
        sets, nj: make no difference.
    Raises:
        ValueError: it could not be fetched; the message says what to do by hand.
    """
    target_dir = Path(target_dir)
    split_subset(sets, ("test",), LONG, "cn_college_listen")
    if (target_dir / "gaokao.tsv").is_file():
        return target_dir
    return hub_download(REPO, target_dir, _BY_HAND.format(repo=REPO, folder=target_dir))


def prepare_cn_college_listen(corpus_dir: Path, output_dir: Path, sets: Sequence[str] = ("test",)) -> dict[str, CutSet]:
    """Turn CN-College-Listen into validated cuts.

    Args:
        corpus_dir: holds parquet files (in it or in ``data/``), or else ``gaokao.tsv`` with the wavs that it names.
        output_dir: gets ``<set>/cuts.jsonl.gz``, and ``test/wav/`` from parquet.
        sets: of test and test_60s.
    Returns:
        {set: CutSet}. Rows that cannot be used are left out, logged and listed in ``test/problems.txt``.
    Raises:
        ValueError: an unknown set, or not one usable row. FileNotFoundError: neither source is there.
    """
    corpus_dir, output_dir = Path(corpus_dir), Path(output_dir)
    wanted = split_subset(sets, ("test",), LONG, "cn_college_listen")["test"]
    problems: list[Problem] = []
    table = corpus_dir / "gaokao.tsv"
    if files := find_parquet(corpus_dir):
        published, clips = AUDIOBENCH_ROWS, read_clips(files, "test", output_dir / "test" / "wav", problems)
    elif table.is_file():
        published, clips = GAOKAO_ROWS, list(_read_table(table, problems))
    else:
        raise FileNotFoundError(
            f"neither parquet files nor gaokao.tsv in {corpus_dir}.\n{_BY_HAND.format(repo=REPO, folder=corpus_dir)}"
        )
    found = sum(len(clip.questions) for clip in clips)
    if found != published:
        problems.append(Problem(corpus_dir.name, "questions", str(found), f"{published}, as published"))
    return build_sets("cn_college_listen", clips, wanted, output_dir, problems)


def _read_table(table: Path, problems: list[Problem]) -> Iterator[Clip]:
    """The recordings of gaokao.tsv in its order, each with all its questions."""
    clips: dict[str, Clip] = {}
    rows: set[str] = set()
    lines = text_lines(table, problems)
    header = next(lines, (1, ""))[1].split("\t")
    if header != _COLUMNS:
        raise ValueError(f"{table}: columns {shown(header)}, expected {', '.join(_COLUMNS)}")
    for number, line in lines:
        where = f"{table.name}:{number}"
        try:
            fields = line.split("\t")
            if len(fields) != len(_COLUMNS):
                raise ValueError(f"{len(fields)} fields, expected {len(_COLUMNS)} separated by tabs")
            name, audio, _, prompt, answer, _ = fields
            if name in rows:
                raise ValueError(f"id {shown(name)!r} stands twice")
            text, choices = split_choices(prompt)
            question = question_of(where, text, choices, answer)
            path = path_inside(table.parent, audio)
            rows.add(name)
            stem = "".join(c if c.isascii() and c.isalnum() else "_" for c in Path(audio).stem)
            clips.setdefault(audio, Clip(f"test-{stem}", where, path)).questions.append(question)
        except (ValueError, OSError) as error:
            problems.append(Problem(where, "row", str(error), ""))
    yield from clips.values()
