"""What a composition is made of, by hand-checked examples and against the stock classes."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.shells import ROOT
from helpers.tiny_parts import SECONDS, write_llama, write_tokenizer, write_whisper
from transformers import (
    AudioFlamingo3Encoder,
    AutoModelForCausalLM,
    AutoTokenizer,
    WhisperFeatureExtractor,
    WhisperModel,
)

from speechprune.training.composed.align import Table
from speechprune.training.composed.config import ComposeConfig, ReadConfig
from speechprune.training.composed.export import merge_lora
from speechprune.training.composed.labels import Labeller
from speechprune.training.composed.prompting import Prompter, with_audio_token
from speechprune.training.composed.read import Reader, add_lora, draw_tasks
from speechprune.training.composed.states import Listener, Row, Window
from speechprune.training.composed.tasks import Task, TaskMaker, Turn, thin
from speechprune.training.composed.text import RandomWords, read_passages, sentences
from speechprune.training.composed.tower import Upper, build_tower
from speechprune.training.optimisation import schedule
from speechprune.training.settings import read_settings

CONFIGURATIONS = ROOT / "egs/compose/conf"


@pytest.fixture
def exact(monkeypatch):
    """No bfloat16."""
    monkeypatch.setattr("speechprune.training.optimisation.quick_dtype", lambda device: torch.float32)


@pytest.fixture
def tokenizer(tmp_path):
    return write_tokenizer(tmp_path, ["of the bag of Anna"] * 9 + [" unread"], size=400)


def test_each_token_is_labelled_by_what_is_spoken_in_its_middle(tokenizer):
    """ "the" in tokens 1 and 2; " bag" too short for a middle, and still in token 4; silence elsewhere."""
    labeller = Labeller(tokenizer)
    the, bag = (tokenizer.encode(text, add_special_tokens=False) for text in (" the", " bag"))
    assert len(the) == len(bag) == 1
    words = [("the", 0.05, 0.12, 0), ("bag.", 0.165, 0.175, 0), ("beyond", 9.0, 9.5, 0)]
    assert labeller.frames(words, 6).tolist() == [labeller.silence, *the * 2, labeller.silence, *bag, labeller.silence]
    assert labeller.frames([], 2).tolist() == [labeller.silence] * 2
    assert labeller.frames([("...", 0.0, 1.0, 0)], 2).tolist() == [labeller.silence] * 2


def test_a_word_is_spread_over_its_pieces_by_their_letters(tokenizer):
    labeller = Labeller(tokenizer)
    ids, cuts = labeller.pieces("Annabag,")
    names = [tokenizer.decode([i]).strip() for i in ids]
    assert "".join(names) == "Annabag"
    np.testing.assert_allclose(np.diff(cuts), [len(name) / 7 for name in names])
    frames = labeller.frames([("Annabag,", 0.0, 0.28 * len(ids), 0)], 7 * len(ids))
    assert [i for i, after in zip(frames, [*frames[1:], -1], strict=True) if i != after] == ids


def test_lower_and_upper_states_are_those_of_the_stock_encoder(tmp_path, exact):
    """Whole windows, and a short last one whose padding the stock encoder masks."""
    write_whisper(tmp_path)
    torch.manual_seed(1)
    tower, extractor = build_tower(tmp_path, 1), WhisperFeatureExtractor.from_pretrained(tmp_path)
    for parameter in tower.layers[-1].parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    upper = Upper(tower, 1, 24)
    samples = np.random.default_rng(0).normal(0, 0.1, int(16_000 * SECONDS * 1.3)).astype(np.float32)
    ours = [
        upper(torch.from_numpy(s.astype(np.float32))[None])[0] for s in Listener(tower, extractor, 1).states(samples)
    ]
    assert [len(x) for x in ours] == [25 * SECONDS, round(25 * SECONDS * 0.3)]
    for window, found in zip((samples[: 16_000 * SECONDS], samples[16_000 * SECONDS :]), ours, strict=True):
        inputs = extractor(window, sampling_rate=16_000, return_attention_mask=True, return_tensors="pt")
        stock: AudioFlamingo3Encoder = tower
        states = stock(inputs.input_features, input_features_mask=inputs.attention_mask).last_hidden_state
        wanted = upper.linear_2(torch.nn.functional.gelu(upper.linear_1(states)))[0, : len(found)]
        torch.testing.assert_close(found, wanted, atol=5e-3, rtol=5e-3)  # stored in float16


def test_new_layers_begin_as_the_identity(tmp_path):
    write_whisper(tmp_path)
    mel = torch.randn(1, 80, 100 * SECONDS)
    whisper = WhisperModel.from_pretrained(tmp_path).encoder(mel).last_hidden_state
    tower = build_tower(tmp_path, 2)(mel, torch.ones(1, 100 * SECONDS)).last_hidden_state
    pooled = torch.nn.functional.avg_pool1d(whisper.transpose(1, 2), 2).transpose(1, 2)
    assert tower.shape == pooled.shape
    # Whisper norms before, Audio Flamingo behind the pooling: compared by direction.
    assert torch.nn.functional.cosine_similarity(tower, pooled, dim=-1).mean() > 0.9


def test_cosines_are_taken_from_the_mean_of_the_table():
    embeddings = torch.randn(9, 4) + 5
    table = Table(embeddings)
    tokens = torch.randn(3, 4) + 5
    for i, token in enumerate(tokens):
        for j, embedding in enumerate(embeddings):
            a, b = token - embeddings.mean(0), embedding - embeddings.mean(0)
            torch.testing.assert_close(table.cosines(tokens)[i, j], a @ b / a.norm() / b.norm())
    torch.testing.assert_close(table.cosines(tokens, torch.tensor([7, 2])), table.cosines(tokens)[:, [7, 2]])


def test_merged_updates_give_the_logits_of_the_adapter(tmp_path):
    write_llama(tmp_path)
    ids = torch.arange(5)[None]
    llm = add_lora(AutoModelForCausalLM.from_pretrained(tmp_path), 2)
    updates = {name: p.detach() for name, p in llm.named_parameters() if p.requires_grad}
    for parameter in updates.values():
        torch.nn.init.normal_(parameter, std=0.3)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    before = plain(ids).logits
    merge_lora(plain, updates)
    torch.testing.assert_close(plain(ids).logits, llm(ids).logits, atol=1e-5, rtol=1e-4)
    assert (plain(ids).logits - before).abs().max() > 1e-2


def test_only_what_can_be_spoken_as_written_is_kept():
    text = "Anna: Well, that is \u201cfine\u201d. It costs 5 dollars. Don\u2019t worry about it!\nToo short. And no end"
    assert sentences(text) == ["Don't worry about it!"]
    assert sentences("**Ben Carter:** We went home, finally.") == ["We went home, finally."]


def test_passages_for_development_are_none_of_those_for_training(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("\n\n".join(f"The {a}{b} was\nvery nice." for a in "abcdefghij" for b in "klmnopqrst"))
    train, dev = (read_passages([file], dev) for dev in (False, True))
    assert len(train) + len(dev) == 100
    assert 0 < len(dev) < 15
    assert not {tuple(p) for p in train} & {tuple(p) for p in dev}
    file.write_text("no sentence in here")
    with pytest.raises(ValueError, match=r"a\.txt: no training sentence"):
        read_passages([file], False)


def test_random_words_are_seeded_and_exchanged_words_keep_their_punctuation():
    words = RandomWords(2000)
    said = words.utterance(random.Random(1))
    assert said == words.utterance(random.Random(1)) != words.utterance(random.Random(2))
    assert said[0].isupper()
    assert said.endswith(".")
    sentence = "First of all, we went home."
    assert words.exchange(random.Random(1), sentence, 0) == sentence
    changed = words.exchange(random.Random(1), sentence, 1).split()
    assert changed[0] == "First"
    assert changed[2].endswith(",")
    assert changed[-1].endswith(".")


def _row() -> Row:
    words = [(f"w{k}", 0.5 * k, 0.5 * k + 0.4, k // 5) for k in range(80)]
    asked = [
        {"question": f"What is {k}?", "choices": [f"{k}{letter}" for letter in "abcd"], "answer": 2, "utterance": k}
        for k in (4, 10, 12)
    ]
    return Row(0, 40.0, words, asked, (Window("x", "0", 1000, 0.0), Window("x", "1", 1000, 20.0)))


def test_tasks_ask_for_what_is_heard():
    maker, row = TaskMaker([_row()]), _row()
    several: dict[str, int] = {}
    for seed in range(90):
        rng = random.Random(seed)
        task = maker.draw(rng, rng.choice([2.0, 6.0, 30.0]))
        if task is None:
            continue
        several[task.kind] = max(several.get(task.kind, 0), len(task.turns))
        heard = [word for word, start, end, _ in row.words if task.start <= start and end <= task.end]
        assert task.words.split() == heard
        for turn in task.turns:
            if task.kind == "copy":
                assert turn.answer.split() == heard
            elif task.kind == "cloze":
                context = turn.request.split('"')[1].split()
                place = heard.index(context[0])
                assert heard[place : place + len(context)] == context
                assert heard[place + len(context) :][: len(turn.answer.split())] == turn.answer.split()
            else:  # the key sentence, five words, is in what is heard
                key = int(turn.request.split()[2].split("?")[0])
                assert set(heard) >= {f"w{k}" for k in range(5 * key, 5 * key + 5)}
                letter = next((x for x in turn.request.splitlines() if x.startswith(f"{turn.answer}. ")), turn.answer)
                assert turn.letter == (letter != turn.answer)
                assert letter.endswith(f"{key}c")
    assert several == {"copy": 1, "cloze": 3, "question": 3}


def test_evaluation_asks_once():
    maker = TaskMaker([_row()])
    tasks = [
        maker.draw(random.Random(seed), 30.0, kind, turns=1) for kind in ("cloze", "question") for seed in range(9)
    ]
    assert all(len(task.turns) == 1 for task in tasks if task)


@pytest.mark.parametrize("textual", [False, True])
def test_every_answer_is_due_one_place_after_what_comes_before_it(tmp_path, textual):
    """A sequence of two requests, written out: what stands at each place and what is due there."""
    write_llama(tmp_path)
    tokenizer = with_audio_token(AutoTokenizer.from_pretrained(tmp_path))
    llm = AutoModelForCausalLM.from_pretrained(tmp_path)

    class Silent(torch.nn.Module):
        def hear(self, row, start, end):
            return torch.zeros(int((end - start) * 25), 24)

    reader = Reader(llm, Prompter(tokenizer), Silent(), 2)
    turns = (Turn("What is it?", "red"), Turn("A or B?", "B", letter=True))
    batch = reader.batch([(Task("question", _row(), 0.0, 2.0, "of the bag", turns), 1.0, textual)], random.Random(0))
    ids = tokenizer(
        f"Audio:{' of the bag' if textual else '<|audio|>' * 50}\n\nWhat is it?\nAnswer: red<|end|>"
        "\n\nA or B?\nAnswer:B<|end|>"
    )["input_ids"]
    due = [p for p in range(len(ids)) if batch.targets.shape[1] > p and batch.targets[0, p] >= 0]
    assert [int(batch.targets[0, p]) for p in due] == [ids[p + 1] for p in due]
    assert tokenizer.decode([ids[p + 1] for p in due]) == " red<|end|>B<|end|>"
    assert batch.inputs.shape == (1, len(ids) - 1, 24)
    table = llm.get_input_embeddings().weight
    heard = torch.tensor([token == tokenizer.convert_tokens_to_ids("<|audio|>") for token in ids[:-1]])
    assert (batch.inputs[0][heard] == 0).all()
    known = torch.tensor(ids[:-1])[~heard]
    torch.testing.assert_close(batch.inputs[0][~heard], table[known].detach())


def test_long_sequences_come_early_enough_to_be_learnt():
    """From two fifths of the steps on, each length is as likely as any other."""
    long = Row(0, 200.0, [(f"w{k}", 0.5 * k, 0.5 * k + 0.4, k // 5) for k in range(399)], [], ())
    drawn = {
        progress: {
            round(task.end - task.start)
            for seed in range(60)
            for task, _, _ in draw_tasks(TaskMaker([long]), ReadConfig(thinned=0), random.Random(seed), progress)
        }
        for progress in (0.0, 0.4, 0.9)
    }
    assert drawn == {0.0: {4, 8}, 0.4: {4, 8, 16, 32, 64, 96}, 0.9: {4, 8, 16, 32, 64, 96}}


def test_thinned_tokens_stay_in_order():
    tokens = torch.arange(50)[:, None]
    kept = thin(tokens, random.Random(0), 20)[:, 0].tolist()
    assert kept == sorted(set(kept))
    assert len(kept) == 20


def test_prompts_are_those_of_the_chat_template(tmp_path):
    write_llama(tmp_path)
    tokenizer = with_audio_token(AutoTokenizer.from_pretrained(tmp_path))
    prompter = Prompter(tokenizer)
    frame = prompter.frame("What is said?")
    assert tokenizer.decode(frame.before) == "Audio:"
    assert tokenizer.decode(frame.after) == "\n\nWhat is said?\nAnswer:"
    assert tokenizer.decode(prompter.again("Who?")) == "\n\nWho?\nAnswer:"
    assert tokenizer.decode(prompter.answer("red")) == " red<|end|>"
    assert tokenizer.decode(prompter.answer("B", blank=False)) == "B<|end|>"


def test_schedule_rises_stays_and_falls():
    rates = [schedule(step, 1000, 100) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[99] == rates[200] == 1
    assert rates[615] == pytest.approx(0.5, abs=0.01)
    assert rates[-1] == 0.02


def test_shipped_configurations_say_what_their_names_say():
    found = {path.stem: read_settings(ComposeConfig, path) for path in CONFIGURATIONS.glob("*.yaml")}
    assert found.keys() == {"compose", "measure", "natural", "two_cores", "without_alignment"}
    assert (found["measure"].align.passes, found["measure"].read.steps) == (0, 0)
    unaligned, usual = found["without_alignment"], found["two_cores"]
    assert unaligned.align.passes == 0
    assert replace(unaligned.read, encoder_lr=usual.read.encoder_lr) == usual.read
    assert replace(unaligned, align=usual.align, read=usual.read) == usual
