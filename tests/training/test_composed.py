"""A tiny Whisper and a tiny Llama become one speech LLM: every part, killed and taken up, exported and put back."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from helpers.tiny_parts import SECONDS, write_llama, write_whisper
from safetensors.torch import load_file
from transformers import AudioFlamingo3ForConditionalGeneration, AutoProcessor

from speechprune import SpeechLLM
from speechprune.common.files import Shard
from speechprune.training.composed.config import AlignConfig, ComposeConfig, ReadConfig, SpeechConfig, TextConfig
from speechprune.training.composed.delta import compose, quantise, unpack
from speechprune.training.composed.ensemble import Ensemble
from speechprune.training.composed.pair import load_llm, open_llm
from speechprune.training.composed.read import Ears, split_weights
from speechprune.training.composed.speech import Studio
from speechprune.training.composed.states import Store
from speechprune.training.composed.text import read_passages
from speechprune.training.composed.train import Composer
from speechprune.tts.espeak import Espeak

CONFIG = ComposeConfig(
    seed=3,
    note="Random weights.",
    text=TextConfig(llm_words=0, dialogues=0.5),
    speech=SpeechConfig(max_wer=99.0, hours=0.03, dev_hours=0.01),
    align=AlignConfig(passes=0.5, points=(0.5, 1.0), batch=2, crop_seconds=2.0, sampled=40),
    read=ReadConfig(rank=2, steps=3, tokens=200, dev_tasks=2),
)
VOICES = "en-us+m1\nen-us+f2  # a woman\n\nen-us+m5\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a finished composition, with its parts beside it."""
    folder = tmp_path_factory.mktemp("composed")
    write_whisper(folder / "tiny-whisper")
    write_llama(folder / "tiny-llama")
    passages = [
        f"The {a} {b} stood near the {c} house. Nobody had seen it before."
        for a in "abcde"
        for b in "fghij"
        for c in "kl"
    ]
    (folder / "text.txt").write_text("\n\n".join(passages))
    (folder / "voices.txt").write_text(VOICES)
    torch.set_num_threads(1)
    composer(folder).run()
    return folder


def composer(folder, config=CONFIG, out="out", start=None):
    parts = (str(folder / "tiny-whisper"), str(folder / "tiny-llama"))
    return Composer(config, *parts, folder / out, [folder / "text.txt"], folder / "voices.txt", "cpu", start)


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 16_000 * 6).astype(np.float32), 16_000)
    return path


def test_plain_transformers_loads_the_folder_and_generates(made, wav):
    model = AudioFlamingo3ForConditionalGeneration.from_pretrained(made / "out/model", dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(made / "out/model")
    samples, _ = soundfile.read(wav, dtype="float32")
    conversation = [{"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "What is said?"}]}]
    text = processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
    assert text == "Audio:<|audio|>\n\nWhat is said?\nAnswer:"
    inputs = processor(text=[text], audio=[samples], sampling_rate=16_000)
    assert (inputs["input_ids"] == model.config.audio_token_id).sum() == 6 * 25
    out = model.generate(**inputs, max_new_tokens=3)
    assert out.shape[1] > inputs["input_ids"].shape[1]


def test_the_generic_adapter_loads_the_folder_and_answers(made, wav):
    model = SpeechLLM.from_pretrained(str(made / "out/model"), device="cpu")
    assert model.frame_rate == 25
    answer = model.ask(wav, "What is it?", ["this", "that"], rate=0.5)
    assert answer.letter in "AB"


def test_audio_tokens_of_the_folder_are_those_that_were_trained(made):
    """Stored lower states through the trained upper part, against the exported model on the same sound."""
    made_by = composer(made)
    row = next(row for row in made_by._rows("train") if row.duration > SECONDS)
    cast = Ensemble(CONFIG.speech, made / "out/voices.json").casts["espeak"]
    studio = Studio("train", Espeak(), cast.train, read_passages([made / "text.txt"], False), CONFIG.text, CONFIG.seed)
    samples = studio.record(row.number).samples[: 16_000 * SECONDS]
    upper = made_by._new_upper(24)
    aligned, (_, learnt) = load_file(made / "out/align/1.safetensors"), split_weights(made / "out/read.safetensors")
    assert learnt.keys() == aligned.keys()  # reading trains the encoder too ...
    assert all(not torch.equal(aligned[name], learnt[name]) for name in ("linear_1.weight", "layers.1.fc2.weight"))
    upper.load_state_dict(learnt)
    heard = Ears(upper, Store(made / "out/speech")).hear(row, 0, SECONDS)
    model = SpeechLLM.from_pretrained(str(made / "out/model"), device="cpu")
    exported = model.project(model._encode([samples], 0))
    assert heard.shape == exported.shape == (25 * SECONDS, 24)
    assert torch.nn.functional.cosine_similarity(heard, exported).min() > 0.98  # bfloat16, 8 bits


def test_reading_leaves_the_encoder_as_it_is_if_asked_to(made):
    frozen = replace(CONFIG, read=replace(CONFIG.read, encoder_lr=0.0, steps=1))
    out = made / "frozen"
    shutil.copytree(made / "out", out, ignore=shutil.ignore_patterns("model", "delta", "read.*", "export.*"))
    composer(made, frozen, out.name).run(["read", "export"])
    updates, learnt = split_weights(out / "read.safetensors")
    assert updates
    assert not learnt


def test_delta_goes_back_onto_its_parts_as_it_was(made, tmp_path):
    """Composed once more from the delta, every tensor is the same; the delta itself is small and names no folder."""
    compose(made / "out/delta", str(made / "tiny-whisper"), str(made / "tiny-llama"), tmp_path / "again")
    first, again = (load_file(folder / "model.safetensors") for folder in (made / "out/model", tmp_path / "again"))
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    card = (made / "out/delta/README.md").read_text() + (made / "out/delta/delta.json").read_text()
    assert str(made) not in card
    assert "Random weights." in card
    assert "has not learnt to read" not in card


def test_training_goes_on_from_a_delta(made):
    """Not trained any more, it is the delta's; layers and ranks that do not fit are named."""
    out = made / "further"
    out.mkdir()
    (out / "speech").symlink_to(made / "out/speech")
    still = replace(CONFIG, align=replace(CONFIG.align, points=(1.0,), passes=0.0))
    still = replace(still, read=replace(CONFIG.read, steps=0, encoder_lr=0.0))  # conf/measure.yaml
    composer(made, still, out.name, made / "out/delta").run(["align", "read"])
    updates, learnt = (split_weights(folder / "read.safetensors") for folder in (out, made / "out"))
    for name, tensor in learnt[0].items():
        torch.testing.assert_close(updates[0][name], tensor, atol=0.02, rtol=0.02)
    ours = load_file(out / "align/1.safetensors")
    for name, tensor in learnt[1].items():
        torch.testing.assert_close(ours[name], tensor, atol=0.02, rtol=0.02)  # 8 bits
    wide = replace(CONFIG, align=replace(CONFIG.align, new_layers=2))
    with pytest.raises(ValueError, match=r"delta: its layers are {'new_layers': 1}, the configuration says"):
        composer(made, wide, "wide", made / "out/delta")._go_on(
            made / "out/delta", None, *load_llm(open_llm(made / "tiny-llama"))
        )
    (out / "read.safetensors").unlink()
    with pytest.raises(ValueError, match=r"delta: its updates have rank 2, the configuration says 3; set read.rank"):
        composer(made, replace(still, read=ReadConfig(rank=3)), out.name, made / "out/delta")._read()


def test_eight_bits_cost_half_a_step_of_the_largest_weight_of_a_row():
    tensors = {"a": torch.randn(5, 7) * torch.logspace(-3, 1, 5)[:, None], "b": torch.randn(4)}
    back = unpack(quantise(tensors))
    step = tensors["a"].abs().amax(1, keepdim=True) / 127
    assert ((back["a"] - tensors["a"]).abs() <= 0.51 * step + 127 * step * 2**-11).all()
    torch.testing.assert_close(back["b"], tensors["b"], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("option", "folder", "message"),
    [
        ("--encoder", "wide-whisper", r"--encoder wide-whisper: its d_model is 32; .*tiny-whisper, where it is 16"),
        ("--llm", "wide-llama", r"--llm wide-llama: its hidden_size is 32; .*tiny-llama, where it is 24"),
        ("--llm", "other-words", r"--llm other-words: its (vocab_size|tokenizer) is .*tiny-llama"),
        ("--encoder", "tiny-llama", r"--encoder .*tiny-llama: its model_type is 'llama'.*expected a Whisper"),
        ("--llm", "tiny-whisper", r"--llm .*tiny-whisper: .*expected a causal LLM"),
    ],
)
def test_wrong_parts_are_refused_by_name(made, tmp_path, option, folder, message):
    if folder == "wide-whisper":
        write_whisper(made / folder, d_model=32)
    elif folder == "wide-llama":
        write_llama(made / folder, hidden=32)
    elif folder == "other-words":
        write_llama(made / folder, texts=("wholly different merges " * 9,))
    parts = {"--encoder": "tiny-whisper", "--llm": "tiny-llama"} | {option: folder}
    with pytest.raises(ValueError, match=message):
        compose(made / "out/delta", str(made / parts["--encoder"]), str(made / parts["--llm"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_weights_are_taken_with_a_warning(made, tmp_path, caplog):
    write_llama(made / "rounded-llama", seed=1)
    compose(made / "out/delta", str(made / "tiny-whisper"), str(made / "rounded-llama"), tmp_path / "out")
    assert "--llm rounded-llama: its weights are not those the delta was trained on" in caplog.text
    assert "--encoder" not in caplog.text


def _run_part(folder, part, out):
    torch.set_num_threads(1)
    at_once = replace(
        CONFIG, align=replace(CONFIG.align, checkpoint_minutes=0), read=replace(CONFIG.read, checkpoint_minutes=0)
    )
    composer(folder, at_once, out).run([part])


@pytest.mark.parametrize(
    ("part", "appears", "result"),
    [
        ("speech", "speech/train.1.jsonl", "speech/train.1.jsonl"),
        ("align", "align/0.5.safetensors.checkpoint", "align/1.safetensors"),
        ("read", "read.safetensors.checkpoint", "read.safetensors"),
    ],
)
def test_a_part_that_was_killed_goes_on_and_ends_as_if_it_had_not_been(made, part, appears, result):
    out = made / f"killed-{part}"
    shutil.copytree(made / "out", out, ignore=shutil.ignore_patterns("model", "delta", "*.done", "*.settings.json"))
    names = {"speech": ["speech"], "align": ["align"], "read": ["read.safetensors"]}[part]
    for name in names:
        shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
    process = multiprocessing.get_context("spawn").Process(target=_run_part, args=(made, part, out.name))
    process.start()
    deadline = time.monotonic() + 120
    while not ((out / appears).is_file() and (out / appears).stat().st_size):
        assert process.is_alive(), "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    _run_part(made, part, out.name)
    if result.endswith(".jsonl"):
        lines = [[json.loads(line) for line in (folder / result).open()] for folder in (made / "out", out)]
        for row in (row for rows in lines for row in rows):
            row["windows"] = [[archive, count] for archive, _, count in row["windows"]]  # offsets may skip a torn entry
        assert lines[0] == lines[1]
    else:
        whole, resumed = (load_file(folder / result) for folder in (made / "out", out))
        for name, tensor in whole.items():
            torch.testing.assert_close(resumed[name], tensor)


def test_jobs_share_the_speech_and_resume_their_own(made):
    out = made / "two-jobs"
    out.mkdir()
    shutil.copy(made / "out/voices.json", out)
    for job in (1, 2):
        composer(made, out=out.name).run(["speech"], Shard(job, 2))
    numbers = [row.number for row in composer(made, out=out.name)._rows("train")]
    assert len(set(numbers)) == len(numbers) >= 2
    whole = {row.number: row.words for row in composer(made)._rows("train")}
    shared = {row.number: row.words for row in composer(made, out=out.name)._rows("train")}
    assert all(shared[number] == whole[number] for number in whole.keys() & shared.keys())


def test_what_was_made_with_other_settings_is_not_taken_up(made):
    other = replace(CONFIG, align=replace(CONFIG.align, lr=7.0))
    with pytest.raises(ValueError, match=r"align.settings.json: what is there was made with align .*; give another"):
        composer(made, other).run(["align"])
    with pytest.raises(ValueError, match=r"speech.settings.json: .* made with seed 3, now it is 4"):
        composer(made, replace(CONFIG, seed=4)).run(["speech"])


def test_accuracy_against_hours_is_written(made):
    points = json.loads((made / "out/align/accuracy.json").read_text())
    assert [set(point) for point in points] == [{"hours", "steps", "speech", "silence", "tokens"}] * 2
    assert points[0]["steps"] < points[1]["steps"]
    assert (made / "out/align/accuracy.md").read_text().count("\n|") == 4
