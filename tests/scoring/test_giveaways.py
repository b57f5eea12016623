"""What a benchmark gives away, rotations, position and duration: counted by hand on small studies."""

from __future__ import annotations

import json
import math

import pytest
from helpers.fakes import make_cut
from helpers.hypotheses import error_row, row, write_rows

from speechprune.common.intervals import wilson
from speechprune.common.markdown import escape
from speechprune.data.cuts import write_cuts
from speechprune.data.shortcuts import longest_choices, overlapping_choices
from speechprune.decoding.hypotheses import read_hypotheses
from speechprune.scoring import giveaways, tally
from speechprune.scoring.breakdown import Asked, by_duration, by_position, read_asked
from speechprune.scoring.comparison import score
from speechprune.scoring.stage import write_results


def turned(number: int, rotation: int, prediction: str | None, system: str = "full", **changes) -> dict:
    """A row of question ``number``, whose choice 1 of 4 is right."""
    answer = "ABCD"[(1 - rotation) % 4]
    return row(number, system, None, prediction, answer=answer, rotation=rotation, **changes)


def letters_of(choice: int) -> list[str]:
    """The letter of a choice under each rotation."""
    return ["ABCD"[(choice - rotation) % 4] for rotation in range(4)]


def test_rotations_are_averaged_within_questions():
    rows = [turned(0, r, letter) for r, letter in enumerate(letters_of(1))]  # right in all
    rows += [turned(1, r, letter) for r, letter in enumerate(letters_of(3))]  # the same wrong choice in all
    rows += [turned(2, r, "A") for r in range(4)]  # always A: right once
    (system,) = score(rows)
    assert (system.n, system.accuracy) == (3, round((1 + 0 + 0.25) / 3, 6))
    assert system.ci95 == tuple(round(bound, 6) for bound in wilson(1.25, 3))
    assert system.rotations.consistent == round(2 / 3, 6)
    # 12 answers: A 1 + 1 + 4, B, C and D 1 + 1 each, where 3 each show no preference.
    assert system.letters == {"A": 0.5, "B": round(1 / 6, 6), "C": round(1 / 6, 6), "D": round(1 / 6, 6)}
    assert system.rotations.letter_bias == 0.25
    assert system.balanced_accuracy == round((2 / 3 + 1 / 3 * 3) / 4, 6)


def test_a_constant_letter_is_worth_nothing_under_rotations():
    rows = [turned(i, r, "B") for i in range(5) for r in range(4)]
    (system,) = score(rows)
    assert (system.accuracy, system.rotations.consistent, system.rotations.letter_bias) == (0.25, 0.0, 0.75)
    assert tally.constant_letter(rows)["accuracy"] == 0.25
    plain = [row(i, "full", None, "B", answer="B") for i in range(5)]
    assert tally.constant_letter(plain) == {"letter": "B", "accuracy": 1.0}
    assert score(plain)[0].rotations is None


def test_rotated_systems_do_not_hide_the_best_letter_of_plain_ones():
    plain = [row(i, "full", None, "A", answer="BBC"[i]) for i in range(3)]
    rotated = [row(i, "rap", 0.4, "A", answer="ABCD"[(1 - r) % 4], rotation=r) for i in range(2) for r in range(4)]
    rotated += [row(2, "rap", 0.4, "A", answer="ABCD"[(2 - r) % 4], rotation=r) for r in range(4)]
    assert tally.constant_letter(rotated) == {"letter": "A", "accuracy": 0.25}
    assert tally.constant_letter(plain + rotated) == {"letter": "B", "accuracy": round(2 / 3, 6)}
    assert tally.constant_letter(plain[:1] + rotated) == {"letter": "B", "accuracy": round(2 / 3, 6)}


def test_a_question_with_a_failed_or_lost_rotation_does_not_count():
    rows = [turned(0, r, letter) for r, letter in enumerate(letters_of(1))]
    rows += [turned(1, r, "A") for r in range(3)]  # one is lost
    failed = [turned(2, r, "A") for r in range(4)]
    failed[2] |= {"error": "no memory", "prediction": None, "choice_logprobs": None}
    (system,) = score(rows + failed)
    assert (system.n, system.errors, system.accuracy) == (1, 1, 1.0)
    assert tally.missing_questions(rows + failed) == {"full": 1}


def test_hard_rotations_are_those_that_original_got_wrong():
    rows = [turned(0, r, "A", "original") for r in range(4)]  # right under rotation 1 alone
    rows += [turned(0, r, letter, "full") for r, letter in enumerate([*letters_of(1)[:2], "D", "D"])]
    systems = {system.system: system for system in score(rows)}
    assert (systems["original"].hard.n, systems["original"].hard.accuracy) == (1, 0.0)
    right = sum(turned(0, r, None)["answer"] == letter for r, letter in ((0, "B"), (2, "D"), (3, "D")))
    assert systems["full"].hard.accuracy == round(right / 3, 6)


def test_systems_are_tested_in_pairs_with_correction():
    # 8 discordant pairs, 7 for the better, as in Fagerland et al. (2013); then a system that equals the other.
    rows = [row(i, "original", None, "A" if i in (0, 8, 9) else "B") for i in range(12)]
    rows += [row(i, "rap", 0.4, "B" if i in (0, 10, 11) else "A") for i in range(10)]
    rows += [row(i, "rac", 0.4, "A" if i in (0, 8, 9) else "B") for i in range(12)] + [error_row(12, "rac", 0.4)]
    systems = {system.system: system for system in score(rows)}
    test = systems["rap"].against
    assert (test.system, test.n, test.better, test.worse, test.p, test.p_holm) == (
        "original",
        10,
        7,
        1,
        0.07031,
        0.1406,
    )
    assert (systems["rac"].against.n, systems["rac"].against.p_holm) == (12, 1.0)
    assert systems["original"].against is None
    other = {system.system: system.against for system in score(rows, against="rap_0.4")}
    assert (other["original"].better, other["original"].worse, other["rap"]) == (1, 7, None)
    with pytest.raises(ValueError, match=r"no system 'rapp' to compare with; choose from: original, rap_0.4, rac_0.4"):
        score(rows, against="rapp")


def test_questions_that_share_a_recording_get_an_interval_by_recording():
    rows = [row(i, "full", None, "A" if i % 3 else "B", recording=f"r{i // 4}") for i in range(40)]
    (system,) = score(rows)
    assert system.ci95_recording[0] < system.accuracy < system.ci95_recording[1]
    assert system.ci95_recording != system.ci95
    without = [{key: value for key, value in item.items() if key != "recording"} for item in rows]
    assert score(without)[0].ci95_recording is None


def test_longest_choices():
    assert longest_choices(["a", "bbb ", "cc", "ddd"]) == [1, 3]
    assert longest_choices(["a", "bb"]) == [1]


def slow_overlap(question: str, choices: list[str], transcript: str) -> list[int]:
    """MCTest's algorithm 1, from the paper's page."""
    passage = [word.strip(".,?").lower() for word in transcript.split()]
    scores = []
    for choice in choices:
        target = {word.strip(".,?").lower() for word in f"{question} {choice}".split()}
        best = 0.0
        for j in range(len(passage)):
            total = 0.0
            for w in range(len(target)):
                if j + w < len(passage) and passage[j + w] in target:
                    total += math.log(1 + 1 / passage.count(passage[j + w]))
            best = max(best, total)
        scores.append(best)
    return [i for i, found in enumerate(scores) if found > max(scores) - 1e-9]


@pytest.mark.parametrize("choices", [["red", "blue", "green"], ["the old one", "a new one", "Ben"], ["x", "y", "z"]])
def test_overlap_is_the_sliding_window_of_mctest(choices):
    question = "What colour is the bag of Anna?"
    transcript = "Ben has a blue coat. The bag of Anna is red, the old one. We saw a green car and a new house."
    assert overlapping_choices(question, choices, transcript) == slow_overlap(question, choices, transcript)


def test_overlap_finds_the_choice_that_is_said_beside_the_question():
    transcript = "Ben has a blue coat and a hat. The bag of Anna is red. Yes, we once saw a green car."
    question = "What colour is the bag of Anna?"
    assert overlapping_choices(question, ["blue", "red", "green"], transcript) == [1]
    assert overlapping_choices("", ["x"], "") == [0]


def ask(**changes) -> Asked:
    values = {"question": "Who?", "choices": ("a", "bbb"), "answer": 1, "transcript": "bbb", "position": 0.5}
    return Asked(**values | {"duration": 40.0} | changes)


def test_text_guesses_share_ties():
    asked = {"x": ask(), "y": ask(answer=0), "z": ask(choices=("aaa", "bbb"), transcript="")}
    found = {guess.name: (guess.n, guess.accuracy) for guess in giveaways.text_guesses(asked)}
    assert found == {
        "Longest choice, ties shared": (3, 0.5),
        "Longest choice, where one is longest": (2, 0.5),
        "Word overlap with the transcript": (2, 0.5),
    }


def test_the_letter_prior_of_a_model_that_hears_nothing():
    rows = [row(i, "quiet", None, "AB"[i == 0], choice_logprobs=[math.log(0.3), math.log(0.1)]) for i in range(4)]
    (prior,) = giveaways.letter_priors([*rows, row(0, "full")], {"quiet": "silence"})
    assert (prior.system, prior.audio, prior.predicted) == ("quiet", "silence", {"A": 0.75, "B": 0.25})
    assert prior.probability == {"A": 0.75, "B": 0.25}


def test_accuracy_by_position_and_duration():
    asked = {f"test-{i:04d}-q0": ask(position=i / 10, duration=30.0 * i) for i in range(11)}
    asked["test-0003-q0"] = ask(position=None, duration=95.0)
    rows = [row(i, "full", None, "A" if i < 5 else "B") for i in range(11)] + [error_row(4, "rap", 0.4)]
    full, rap = by_position(rows, asked)
    assert [(b.low, b.high, b.n, b.accuracy) for b in full.bins] == [
        (0.0, 0.2, 2, 1.0), (0.2, 0.4, 1, 1.0), (0.4, 0.6, 2, 0.5), (0.6, 0.8, 2, 0.0), (0.8, 1.0, 3, 0.0),
    ]  # fmt: skip
    assert full.bins[2].ci95 == tuple(round(bound, 6) for bound in wilson(1, 2))
    assert rap.bins == []
    durations = [(b.low, b.high, b.n) for b in by_duration(rows, asked)[0].bins]
    assert durations == [
        (0.0, 30.0, 1),
        (30.0, 60.0, 1),
        (60.0, 90.0, 1),
        (90.0, 120.0, 1),
        (120.0, 180.0, 2),
        (180.0, None, 5),
    ]
    assert by_position(rows, {}) == []


def study(folder) -> None:
    write_rows(folder / "test", [row(i, "full", None, "AB"[i]) for i in range(2)])
    write_rows(folder / "test", [row(i, "quiet", None, "B") for i in range(2)])
    for name, audio in (("full", "recording"), ("quiet", "silence")):
        config = {"name": name, "rate": None, "audio": audio}
        (folder / "test" / name / "config.json").write_text(json.dumps(config))
    write_cuts(folder / "cuts.jsonl", [make_cut(f"test-{i:04d}", f"{i}.wav") for i in range(2)])


def test_the_page_shows_what_the_benchmark_gives_away(tmp_path):
    study(tmp_path)
    write_results(tmp_path / "test", "speechprune score x", cuts=tmp_path / "cuts.jsonl")
    document = json.loads((tmp_path / "test/score.json").read_text())
    # The choices of make_cut are red, blue, green, black; "red" is right, and said: "The bag of Anna is red."
    names = {guess["name"]: guess["accuracy"] for guess in document["benchmark"]}
    assert names["Longest choice, ties shared"] == 0.0
    assert names["Word overlap with the transcript"] == 1.0
    assert document["letter_prior"][0]["predicted"] == {"B": 1.0}
    assert document["by_position"][0]["bins"][0] | {"ci95": 0} == {
        "low": 0.2, "high": 0.4, "n": 2, "accuracy": 0.5, "ci95": 0,
    }  # fmt: skip
    page = (tmp_path / "test/RESULTS.md").read_text()
    for heading in ("What the benchmark alone gives away", "Accuracy by position of the evidence", "by duration"):
        assert heading in page
    assert "| quiet (silence as audio) | 2 | 0.00 |" in page
    assert "20 to 40 % of the recording" in page
    assert "0 to 30 s" in page


def test_chance_is_known_of_generated_replies_with_the_cuts(tmp_path):
    write_rows(tmp_path / "test", [row(i, "full", choice_logprobs=None, reply="A") for i in range(2)])
    write_cuts(tmp_path / "cuts.jsonl", [make_cut(f"test-{i:04d}", f"{i}.wav") for i in range(2)])
    write_results(tmp_path / "test", "speechprune score x", cuts=tmp_path / "cuts.jsonl")
    assert json.loads((tmp_path / "test/score.json").read_text())["chance"] == 0.25


def test_questions_without_any_row_are_warned_of(tmp_path, caplog):
    study(tmp_path)
    cuts = [make_cut(f"test-{i:04d}", f"{i}.wav") for i in range(5)]
    cuts[4].custom["questions"][0] = {"id": None}  # broken: decode writes a row with an error
    write_cuts(tmp_path / "cuts.jsonl", cuts)
    write_results(tmp_path / "test", "speechprune score x", cuts=tmp_path / "cuts.jsonl")
    warning = f"3 of the 5 questions of {tmp_path}/cuts.jsonl have no row of any system: decode is not finished"
    assert f"{warning}; run stage 3 again" in caplog.messages
    page = (tmp_path / "test/RESULTS.md").read_text()
    assert f"**Warning:** {escape(warning)}" in page
    assert "all questions" not in page
    write_rows(tmp_path / "test", [row(i, "full") for i in (2, 3)])
    write_rows(tmp_path / "test", [error_row(4, "full")])
    caplog.clear()
    write_results(tmp_path / "test", "speechprune score x", cuts=tmp_path / "cuts.jsonl")
    assert not any("decode is not finished" in message for message in caplog.messages)
    page = (tmp_path / "test/RESULTS.md").read_text()
    assert "n is 5 (all questions)" in page
    document = json.loads((tmp_path / "test/score.json").read_text())
    assert document["expected"] == {"cuts": f"{tmp_path}/cuts.jsonl", "questions": 5, "undecoded": 0}


def test_questions_that_the_cuts_lack_or_contradict_are_named(tmp_path):
    study(tmp_path)
    write_rows(tmp_path / "test", [row(7, "full"), row(1, "late", answer="C")])
    cuts = [make_cut(f"test-{i:04d}", f"{i}.wav") for i in range(2)]
    cuts[1].custom["questions"][0]["answer"] = 3
    write_cuts(tmp_path / "cuts.jsonl", cuts)
    problems = []
    asked = read_asked(tmp_path / "cuts.jsonl", read_hypotheses(tmp_path / "test", []).rows, problems)
    assert list(asked) == ["test-0000-q0"]
    assert asked["test-0000-q0"].transcript == "The bag of Anna is red."
    assert asked["test-0000-q0"].position == pytest.approx(1.25 / 5)
    text = "\n".join(map(str, problems))
    assert "test-0001-q0: answer" in text and "D as in" in text
    assert "2 questions of the hypotheses, such as test-0001-q0, are absent" in text
    with pytest.raises(FileNotFoundError):
        read_asked(tmp_path / "none.jsonl", [], [])
