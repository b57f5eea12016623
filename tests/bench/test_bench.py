"""``speechprune bench`` with tiny sizes: what is compared is equal, counts are right, what cannot run is said."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from helpers.decoding import make_recordings, tiny_llm
from helpers.shells import ROOT
from helpers.speech_configs import SEVEN_B, TEXT
from transformers import AutoConfig, Qwen2AudioConfig

from speechprune.bench import pruning
from speechprune.bench.measure import FORMATS, TITLES, format_bench, page
from speechprune.bench.pages import BEGIN, SKIPPED, gpu_section, put_section
from speechprune.bench.prefill import Requests, format_prefill, prefill_rows, random_model
from speechprune.bench.pruning import format_pruning, measure_pruning
from speechprune.bench.selection import format_selection, measure_selection
from speechprune.bench.serving import first_tokens, format_first_tokens
from speechprune.bench.sizes import PAPER_MS
from speechprune.bench.sweep import SYSTEMS, format_sweep, measure_sweep
from speechprune.bench.timing import Machine, Times, milliseconds, side_by_side
from speechprune.cli import main
from speechprune.costs.audio_encoder import encoder_cost
from speechprune.costs.count import count_parameters, pruner_flop, true_costs
from speechprune.costs.llm import decoder_shape
from speechprune.costs.published_configs import qwen2_audio_7b
from speechprune.data.cuts import write_cuts
from speechprune.pruners import all_pruners

CPU = torch.device("cpu")
PAGE = ROOT / "docs" / "performance.md"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_llm(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def config() -> Qwen2AudioConfig:
    """A window is 0.4 s and 10 tokens."""
    audio = {"num_mel_bins": 8, "d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 20}
    return Qwen2AudioConfig(
        audio_config=audio | {"model_type": "qwen2_audio_encoder", "max_source_positions": 20},
        text_config=TEXT | {"model_type": "qwen2"},
    )


def run(*args: object) -> str:
    result = CliRunner().invoke(main, ["bench", *map(str, args)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


# How it measures


def test_runs_take_turns():
    order = []
    times = side_by_side({name: lambda name=name: order.append(name) for name in "ab"}, CPU, repeats=3, warm_up=2)
    assert order == list("ab" * 5)
    assert {name: found.repeats for name, found in times.items()} == {"a": 3, "b": 3}
    with pytest.raises(ValueError, match="repeats=1; a spread needs at least 2"):
        side_by_side({}, CPU, repeats=1)


def test_medians_and_quartiles():
    times = Times.of([5.0, 1.0, 2.0, 4.0, 3.0])
    assert times == Times(3.0, 2.0, 4.0, 5)
    assert times.scaled(2) + times == Times(9.0, 6.0, 12.0, 5)
    assert milliseconds(times.as_dict()) == ["3,000", "2,000 to 4,000"]
    assert milliseconds(times.scaled(0.0123).as_dict()) == ["36.9", "24.6 to 49.2"]


def test_machine_is_named():
    machine = Machine.here()
    assert machine.threads == torch.get_num_threads()
    assert f"torch {torch.__version__}" in str(machine)
    assert str(replace(machine, gpu=None, load=None, threads=2)).endswith("threads; GPU: none")
    assert "load" not in str(replace(machine, load=None))


def test_sizes_are_those_of_the_7b():
    ours, known = qwen2_audio_7b(), AutoConfig.for_model(**SEVEN_B)
    assert decoder_shape(ours) == decoder_shape(known)
    assert encoder_cost(ours) == encoder_cost(known)
    assert count_parameters(ours) == count_parameters(known)
    assert round(PAPER_MS[750] / PAPER_MS[150], 2) == 2.80


# The sweep


def test_sweep_gives_the_loops_answers(tmp_path, model):
    result = measure_sweep(model, make_recordings(tmp_path)[2:], progress=False)
    assert (result["recordings"], result["answers"], result["equal"]) == (2, 13 * 3 * 2, 13 * 3 * 2)
    assert result["audio_seconds"] == 6.2
    assert result["engine"]["repeats"] == result["loop"]["repeats"] == 2
    assert result["ratio_low"] <= result["ratio_high"]
    text = format_sweep(json.loads(json.dumps(result)))
    assert "78 answers (13 systems), 78 of them equal" in text
    assert f"**The sweep is {result['ratio']:.3g} times as fast as the loop**" in text


def test_sweep_has_table_ones_systems():
    expected = {"original"} | {
        f"{name}_{rate}" for name in ("speechprune", "rap", "rac") for rate in (0.2, 0.4, 0.6, 0.8)
    }
    assert {system.folder for system in SYSTEMS} == expected


def test_sweep_stops_where_answers_differ(tmp_path, model, monkeypatch):
    cuts, ask = make_recordings(tmp_path)[:2], model.ask

    def wrong_once(*args, **options):
        answer = ask(*args, **options)
        odd = options.get("rate") == 0.6 and options["pruner"].name == "rac" and options["question"] == "How many?"
        return replace(answer, letter="Z") if odd else answer

    monkeypatch.setattr(model, "ask", wrong_once)
    with pytest.raises(ValueError, match=r"test-0000: 1 of 39 answers .* differ: test-0000-q2 rac_0\.6: [ABC] and Z"):
        measure_sweep(model, cuts, progress=False)


def test_sweep_stops_at_an_error(tmp_path, model):
    cuts = make_recordings(tmp_path)[:2]
    with pytest.raises(ValueError, match="1 recordings; a spread needs at least 2"):
        measure_sweep(model, cuts[:1], progress=False)
    cuts[0].custom["questions"][1] |= {"choices": ["a"] * 40, "answer": 0}
    with pytest.raises(ValueError, match=r"test-0000: .* rows without an answer, the first: "):
        measure_sweep(model, cuts, progress=False)


# Pruning's own cost


def test_pruning_is_counted_as_the_formulas_do(config):
    result = measure_pruning(config, CPU, torch.float32, repeats=2, seconds=1.2, lengths=(20, 40))
    phase1, phase2 = pruner_flop(decoder_shape(config), 30, 10, 8)
    assert [row["flop"] for row in result["rows"]] == [phase1, phase1 + phase2, phase1 + phase2]
    assert result["prefill"]["flop"] == true_costs(config, 10, 107).prefill_flop
    assert (result["recording_tokens"], result["window"], result["tokens"]) == (30, 10, 117)
    page = format_pruning(json.loads(json.dumps(result)))
    assert "| SpeechPrune, four rates |" in page
    timed = {row["name"]: row["times"] for row in result["selection"]["rows"]}
    assert {*all_pruners()} < {*timed}
    assert timed["fastv"] == {20: "a first pass", 40: "a first pass"}
    assert timed["divprune"][40]["median_seconds"] > 0
    assert "Late interaction |" in page and "Late interaction takes so many times its own product" in page


def test_prefill_time_is_all_layers_and_one_head(config, monkeypatch):
    seconds = {"layer": 2.0, "lm_head": 0.5}
    fixed = lambda runs, *_: {name: Times(*[seconds.get(name, 0.013)] * 3, 2) for name in runs}  # noqa: E731
    monkeypatch.setattr(pruning, "side_by_side", fixed)
    monkeypatch.setattr(pruning, "measure_selection", lambda *_: {})
    result = measure_pruning(config, CPU, torch.float32, seconds=1.2)
    assert result["prefill"]["time"]["median_seconds"] == 6.5  # three layers
    assert [row["time_share"] for row in result["rows"]] == pytest.approx([0.002] * 3)


def test_selection_says_why_a_pruner_has_no_time(monkeypatch):
    """What refuses the length, or takes seconds: its message, and two rounds of it without the others."""
    monkeypatch.setattr("speechprune.pruners.divprune.check_quadratic", refuse)
    monkeypatch.setattr("speechprune.bench.selection.SLOW", 0.0)
    result = measure_selection(CPU, 3, (30,), 16, 2)
    times = {row["name"]: row["times"][30] for row in result["rows"]}
    assert times["divprune"] == "divprune: too long"
    assert times["rap"]["repeats"] == 2
    assert "divprune: too long" in format_selection(result)
    monkeypatch.setitem(FORMATS, "pruning", lambda measured: format_selection(measured["selection"]))
    found = {"machine": vars(Machine.here()), "lines": {"pruning": {"selection": result}}}
    shown = page(found, "c", PAGE)
    assert "![Time to choose" in shown
    assert shown.index("figures/selection.png") < shown.index("On a GPU")


def refuse(*_):
    raise ValueError("divprune: too long (8 GB of pairs)")


# Prefill


def test_prefill_runs_with_tiny_sizes(config):
    model = random_model(config, CPU, torch.float32)
    rows = list(prefill_rows(model, batches=(1, 3), repeats=2, seconds=1.1))
    assert [(row["batch"], row["rate"], row["tokens"]) for row in rows] == [
        (batch, rate, tokens)
        for batch in (1, 3)
        for rate, tokens in ((None, 117), (0.2, 115), (0.4, 113), (0.6, 111), (0.8, 109))
    ]
    for row in rows:
        assert 0 < row["encoder_share"] < 1
        assert (row["pruning"] is None) == (row["rate"] is None) == (row["pruning_share"] is None)
        assert row["peak_bytes"] is None and row["paper"] is None
    first, last = rows[0], rows[4]
    assert first["ratio"] == first["ratio_with_encoder"] == 1
    assert last["ratio"] == first["time"]["median_seconds"] / last["time"]["median_seconds"]
    assert last["pruning_share"] == last["pruning"]["median_seconds"] / last["time"]["median_seconds"]
    assert last["limit"] == 117 / 109
    assert format_prefill(json.loads(json.dumps(rows))).count("\n|") == 1 + 1 + 10


def test_a_batch_that_does_not_fit_is_named(config, monkeypatch):
    measure, first_token = Requests.measure, Requests.first_token

    def too_large(self, *args):
        if self.batch > 1:
            raise torch.OutOfMemoryError
        return (measure if isinstance(args[0], int) else first_token)(self, *args)

    monkeypatch.setattr(Requests, "measure", too_large)
    monkeypatch.setattr(Requests, "first_token", too_large)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    model = random_model(config, CPU, torch.float32)
    rows = list(prefill_rows(model, batches=(1, 32), repeats=2, seconds=1.2))
    assert len(rows) == 6
    assert rows[-1] == {"batch": 32, "error": "out of memory on cpu"}
    assert "out of memory on cpu" in format_prefill(rows)
    rows = list(first_tokens(model, at_once=(2, 1), repeats=2, seconds=1.2))
    assert [row.get("error") for row in rows] == ["out of memory on cpu", None, None, None]
    assert "out of memory on cpu" in format_first_tokens(rows)


def test_prefill_reads_what_it_kept(config):
    """The decoder sees the tokens that SpeechPrune chose, between the halves of the prompt."""
    model = random_model(config, CPU, torch.float32)
    batch = Requests(model, 2, seconds=1.2)
    seen = []
    hook = lambda _module, _args, options: seen.append(options["inputs_embeds"])  # noqa: E731
    model.get_decoder().register_forward_pre_hook(hook, with_kwargs=True)
    batch.original()
    kept = batch.prune(4)
    batch.prefill(kept)
    assert torch.equal(seen[0][:, 53:63], batch.inputs.S[:, :10])
    assert torch.equal(seen[1][1, 53:57], batch.inputs.S[1, kept[1]])
    assert torch.equal(torch.cat([seen[1][:, :53], seen[1][:, 57:]], dim=1), batch.prompt)


# The command


def test_without_a_gpu_its_line_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = json.loads(run("gpu", "--json"))
    assert result["lines"] == {"gpu": {"skipped": SKIPPED}}
    assert result["machine"]["gpu"] is None
    monkeypatch.setattr(sys, "argv", ["/usr/bin/speechprune", "bench", "gpu", "--out", "a page.md"])
    text = run("gpu", "--out", tmp_path / "page.md")
    assert "**Skipped: no GPU: " in text and "|" not in text
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert page.startswith("# Performance\n\nThis page was written by `speechprune bench gpu --out 'a page.md'`,")
    assert f"## On a GPU\n\n{BEGIN}\n\n{SKIPPED}\n" in page
    put_section(tmp_path / "page.md", "Measured elsewhere.")
    run("gpu", "--out", tmp_path / "page.md")
    assert gpu_section(tmp_path / "page.md") == "Measured elsewhere."


def test_the_command_sweeps_a_prepared_set(tmp_path):
    tiny_llm(tmp_path / "tiny")
    write_cuts(tmp_path / "cuts.jsonl", make_recordings(tmp_path))
    result = json.loads(
        run(
            *("sweep", "--model", tmp_path / "tiny", "--device", "cpu", "--no-progress", "--json"),
            *("--cuts", tmp_path / "cuts.jsonl", "--recordings", 2),
        )
    )
    assert result["lines"]["sweep"]["recordings"] == 2
    assert result["lines"]["sweep"]["device"] == "cpu"
    assert f"## {TITLES['sweep']}" in format_bench(result)


def test_unknown_lines_are_refused():
    result = CliRunner().invoke(main, ["bench", "weather"])
    assert result.exit_code == 2
    assert "'weather' is not one of 'sweep', 'long', 'pruning', 'gpu'" in result.stderr


def test_the_page_was_written_by_the_command():
    text = PAGE.read_text(encoding="utf-8")
    assert text.startswith("# Performance\n\nThis page was written by `speechprune bench ")
    assert "\n\nMachine: " in text
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == list(TITLES.values())
