"""Training of the mini model: its parts by hand-checked examples, and a short seeded run of the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sentencepiece
import soundfile
import torch
from lhotse import MonoCut, SupervisionSegment
from lhotse.supervision import AlignmentItem
from safetensors.torch import load_file
from speechprune.recipes import mini_sir

from speechprune import SpeechLLM
from speechprune.prompts import format_question
from speechprune.training.mini.config import EncoderConfig, ReaderConfig, TokenizerConfig, TrainConfig
from speechprune.training.mini.contexts import Context, some_sentences, thinned
from speechprune.training.mini.encoder import embedding_table
from speechprune.training.mini.material import Labelled, label_cut
from speechprune.training.mini.reader import Packer, Reader, build_reader
from speechprune.training.mini.tokenizer import SILENCE, build_processor, train_sentencepiece
from speechprune.training.mini.train import MiniTrainer
from speechprune.training.settings import read_settings

CONFIG = TrainConfig(
    seed=3,
    tokenizer=TokenizerConfig(vocab_size=400),
    encoder=EncoderConfig(d_model=16, layers=1, heads=2, ffn=32, steps=6, batch=4),
    reader=ReaderConfig(hidden=32, layers=3, heads=4, ffn=48, simulated_steps=(4, 3), tune_steps=(4, 2)),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The prepared corpus with a few recordings a set."""
    folder = tmp_path_factory.mktemp("mini")
    sizes = {"train": 4, "dev": 2, "train_text": 12}
    with pytest.MonkeyPatch.context() as patch:
        for name, count in sizes.items():
            patch.setitem(mini_sir.SETS, name, replace(mini_sir.SETS[name], recordings=count))
        mini_sir.download_mini_sir(folder / "raw", list(sizes), nj=2)
        mini_sir.prepare_mini_sir(folder / "raw", folder / "data", list(sizes))
    return folder / "data"


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    torch.set_num_threads(1)
    MiniTrainer(CONFIG, data, out).run()
    return out


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    words = "the bag of Anna is red Peter painted his car blue What colour Answer with letter"
    model_file = tmp_path_factory.mktemp("sp") / "tokenizer.model"
    train_sentencepiece([words] * 5, model_file, 400)
    return build_processor(model_file, 80).tokenizer


def _cut(words: list[tuple[str, float, float]], duration: float, **custom) -> MonoCut:
    items = [AlignmentItem(w, a, b - a) for w, a, b in words]
    sentence = SupervisionSegment(
        "s0",
        "r0",
        words[0][1],
        words[-1][2] - words[0][1],
        text=" ".join(w for w, *_ in words),
        alignment={"word": items},
    )
    return MonoCut("r0", 0, duration, 0, supervisions=[sentence], custom={"questions": [], **custom})


def test_short_run_gives_a_model_that_loads_and_answers(trained, data, tmp_path):
    model = SpeechLLM.from_pretrained(trained / "model", device="cpu")
    samples = np.random.default_rng(0).normal(0, 0.1, 16_000 * 3).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    answer = model.ask(
        tmp_path / "a.wav", "What colour is the bag of Anna?", ["red", "blue", "green", "black"], rate=0.95
    )
    assert answer.letter in "ABCD"
    assert answer.total_tokens == 75
    assert answer.tokens == 38
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-4)
    assert {p.name for p in (trained / "model").iterdir()} >= {"model.safetensors", "tokenizer.model", "config.json"}


def test_exported_model_is_the_trained_one(trained, data):
    """The stock class gives what the training's own forward gives, up to float16 weights."""
    from speechprune.audio import load_audio
    from speechprune.data.cuts import read_cuts
    from speechprune.training.mini.encoder import Encoder

    cut = next(iter(read_cuts(data / "dev" / "cuts.jsonl.gz", [])))
    model = SpeechLLM.from_pretrained(trained / "model", device="cpu")
    tokens = model.project(model.encode(load_audio(cut.recording)))
    encoder = Encoder(CONFIG.encoder, CONFIG.reader.hidden).eval()
    encoder.load_state_dict(load_file(trained / "encoder.safetensors"))
    mel = torch.from_numpy(np.load(trained / "features" / "dev" / "mel.npy")[:1]).float()
    with torch.inference_mode():
        expected = encoder(mel)[0]
    torch.testing.assert_close(tokens[:750], expected, atol=0.02, rtol=0.02)
    table = load_file(trained / "table.safetensors")["table"]
    reader = build_reader(CONFIG.reader, table, model._processor.tokenizer)
    reader.load_state_dict(load_file(trained / "reader.safetensors"))
    prompt = model.prompt("What colour is it?", ["red", "blue"])
    with torch.inference_mode():
        inputs = torch.cat([table[list(prompt.before)], tokens[:100], table[list(prompt.after)]])[None]
        hidden = reader(inputs_embeds=inputs).last_hidden_state[0, -1]
        logprobs = (hidden @ table.T).log_softmax(-1)
    letters = model._processor.tokenizer.convert_tokens_to_ids(["A", "B"])
    torch.testing.assert_close(
        model.choice_logprobs([tokens[:100]], [prompt], 2)[0], logprobs[letters], atol=0.02, rtol=0.02
    )


def test_same_seed_same_weights_and_finished_parts_are_kept(trained, data, tmp_path):
    torch.set_num_threads(1)
    MiniTrainer(CONFIG, data, tmp_path).run(("tokenizer", "reader"))
    for name in ("table", "reader_simulated0", "reader_simulated1"):
        for key, value in load_file(tmp_path / f"{name}.safetensors").items():
            torch.testing.assert_close(
                value, load_file(trained / f"{name}.safetensors")[key], rtol=0, atol=0, msg=f"{name} {key}"
            )
    before = (trained / "encoder.safetensors").stat().st_mtime_ns
    MiniTrainer(CONFIG, data, trained).run()
    assert (trained / "encoder.safetensors").stat().st_mtime_ns == before


def test_tokenizer_equals_sentencepiece(trained, data):
    processor = build_processor(trained / "tokenizer.model", 80)
    reference = sentencepiece.SentencePieceProcessor(model_file=str(trained / "tokenizer.model"))
    for text in ("The bag of Anna is red.", "Zürich, um, a xylophone?", "painted  twice", "e-mail it's"):
        assert processor.tokenizer.encode(text) == reference.encode(text)


def test_the_adapter_asks_in_the_words_the_reader_was_trained_on(trained):
    """Token for token: the prompt behind the audio is the training's block."""
    model = SpeechLLM.from_pretrained(trained / "model", device="cpu")
    tokenizer = build_processor(trained / "tokenizer.model", 80).tokenizer
    question = _labelled(tokenizer).questions[0]
    block, _, _ = Packer(tokenizer, embedding_table(len(tokenizer), 8, 0, steps=1))._block(question, False)
    prompt = model.prompt(question["question"], question["choices"])
    assert tokenizer.convert_ids_to_tokens(prompt.before) == ["<|audio_bos|>"]
    assert tokenizer.convert_ids_to_tokens(prompt.after) == ["<|audio_eos|>", *tokenizer.convert_ids_to_tokens(block)]


def test_letters_stand_alone_and_keep_their_case(tokenizer):
    tokens = tokenizer.tokenize(format_question("What colour is the bag of Anna?", ["red", "blue"]))
    assert [t.strip() for t in tokens].count("A") == 1
    assert tokenizer.tokenize("A bag")[0] == "A"
    assert "A" not in tokenizer.tokenize("Anna is a car")
    assert tokenizer.decode(tokenizer.encode("the bag of Anna")) == "the bag of anna"


def test_labels_follow_the_alignment(tokenizer):
    """25 tokens a second: a word from 0.20 to 0.40 s labels tokens 5 to 9, and pauses are silence."""
    cut = _cut([("red", 0.2, 0.4), ("bag.", 0.6, 0.72)], 1.0)
    labelled = label_cut(cut, tokenizer)
    silence = tokenizer.convert_tokens_to_ids(SILENCE)
    red, bag = (tokenizer.encode(w, add_special_tokens=False) for w in ("red", "bag"))
    assert len(red) == len(bag) == 1
    assert labelled.pieces.tolist() == [silence] * 5 + red * 5 + [silence] * 5 + bag * 3 + [silence] * 7
    assert labelled.sentences.tolist() == [-1] * 5 + [0] * 5 + [-1] * 5 + [0] * 3 + [-1] * 7


def test_words_of_several_pieces_share_their_time(tokenizer):
    pieces = tokenizer.encode("redcar", add_special_tokens=False)
    assert len(pieces) > 1
    labelled = label_cut(_cut([("redcar", 0.0, 0.48)], 0.6), tokenizer)
    assert sorted(set(labelled.pieces[:12].tolist())) == sorted(set(pieces))


def test_cuts_without_alignment_are_refused(tokenizer):
    cut = MonoCut(
        "r0", 0, 1, 0, supervisions=[SupervisionSegment("s0", "r0", 0, 1, text="red")], custom={"questions": []}
    )
    with pytest.raises(ValueError, match="r0: supervision s0 has no word alignment"):
        label_cut(cut, tokenizer)


def _labelled(tokenizer) -> Labelled:
    silence = tokenizer.convert_tokens_to_ids(SILENCE)
    words = [
        [tokenizer.encode(w)[0] for w in s.split()] for s in ("the bag of Anna is red", "the car of Peter is blue")
    ]
    pieces = np.array([*words[0], silence, *words[1]], np.int32)
    sentences = np.array([0] * 6 + [-1] + [1] * 6, np.int32)
    questions = tuple(
        {
            "question": f"What colour is the {n} of {p}?",
            "choices": ["blue", "red"],
            "answer": a,
            "keywords": [n, p],
            "sentence": s,
        }
        for n, p, a, s in (("bag", "Anna", 1, 0), ("car", "Peter", 0, 1))
    )
    return Labelled(pieces, sentences, questions)


def _batch(tokenizer, table, contexts=1):
    labelled = _labelled(tokenizer)
    context = Context(labelled, table[torch.from_numpy(labelled.pieces).long()])
    return Packer(tokenizer, table).pack([context] * contexts, np.random.default_rng(0), gap=0)


def test_questions_of_one_context_do_not_see_each_other(tokenizer):
    """The packed batch answers each question as if it stood alone behind the audio."""
    torch.manual_seed(0)
    table = embedding_table(len(tokenizer), 32, 0, steps=5)
    reader = Reader(build_reader(CONFIG.reader, table, tokenizer)).eval()
    batch = _batch(tokenizer, table, contexts=2)
    packed = reader(batch)
    assert len(packed) == 4
    for (row, last), logits in zip(batch.rows, packed, strict=True):
        block = batch.positions[row]
        visible = batch.mask[row, 0, last]
        alone = reader.model(inputs_embeds=batch.inputs[row, visible][None], position_ids=block[visible][None])
        expected = alone.last_hidden_state[0, -1] @ table.T
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_attention_is_led_to_the_words_that_matter(tokenizer):
    table = embedding_table(len(tokenizer), 32, 0, steps=5)
    batch = _batch(tokenizer, table)
    pieces = _labelled(tokenizer).pieces
    red, blue = (tokenizer.encode(w)[0] for w in ("red", "blue"))
    answers = {last: set() for _, last in batch.rows}
    for layer, _, _, position, to in batch.looks:
        if layer == 1:
            answers[position] |= {int(pieces[i - 1]) for i in to}
    assert sorted(map(tuple, answers.values())) == sorted([(red,), (blue,)])


def test_a_question_without_its_words_is_not_asked(tokenizer):
    table = embedding_table(len(tokenizer), 32, 0, steps=5)
    labelled = _labelled(tokenizer)
    keep = np.arange(7, 13)
    half = replace(labelled, pieces=labelled.pieces[keep], sentences=labelled.sentences[keep])
    context = Context(half, table[torch.from_numpy(half.pieces).long()])
    assert [q["sentence"] for q in Packer(tokenizer, table).answerable(context)] == [1]


def test_simulated_contexts_hold_a_question_and_thin_as_told(tokenizer):
    rng = np.random.default_rng(0)
    labelled = _labelled(tokenizer)
    for _ in range(20):
        short = some_sentences(labelled, 1, rng)
        assert set(short.sentences.tolist()) & {q["sentence"] for q in labelled.questions}
    shares = [len(thinned(2000, 0.3, rng)) / 2000 for _ in range(200)]
    assert np.mean(shares) == pytest.approx(0.33, abs=0.06)


def test_embedding_table_is_spread_out():
    table = embedding_table(60, 32, seed=1)
    cosines = table @ table.T - torch.eye(60)
    torch.testing.assert_close(table.norm(dim=1), torch.ones(60))
    random = torch.nn.functional.normalize(torch.randn(60, 32, generator=torch.Generator().manual_seed(1)), dim=1)
    assert cosines.abs().max() < 0.6 * (random @ random.T - torch.eye(60)).abs().max()


def test_configuration_errors_name_the_key(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("encoder: {d_modle: 5}\n")
    with pytest.raises(ValueError, match=r"train.yaml: encoder: unknown option 'd_modle'; choose from: mel_bins"):
        read_settings(TrainConfig, path)
    path.write_text("encoder: {\n")
    with pytest.raises(ValueError, match=r"train.yaml is not YAML"):
        read_settings(TrainConfig, path)
    path.write_text("encoder: 7\n")
    with pytest.raises(ValueError, match="encoder: 7 is no mapping"):
        read_settings(TrainConfig, path)
    path.write_text("seed: 5\nencoder: {d_model: 16}\n")
    config = read_settings(TrainConfig, path)
    assert (config.seed, config.encoder.d_model, config.reader) == (5, 16, ReaderConfig())
