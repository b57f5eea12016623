"""Topics, plans, the offline writer and the checks of samples."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from click.testing import CliRunner

from speechprune.cli import main
from speechprune.construction.checking import check_samples, giveaways, read_samples
from speechprune.construction.checks import faults, near_duplicates
from speechprune.construction.drafts import NAME, Draft, Written, parse_draft, read_drafts, write_drafts
from speechprune.construction.plan import Brief, make_plan, read_plan, write_plan
from speechprune.construction.topics import read_topics
from speechprune.construction.writers import writer_class
from speechprune.construction.writers.templated import Templated
from speechprune.construction.writing import write_samples
from speechprune.data.shortcuts import longest_choices, overlapping_choices


def test_our_topics_are_many_and_in_balance():
    topics = read_topics()
    assert len(topics) >= 40
    assert sum(len(topic.subtopics) for topic in topics) >= 200
    counts = Counter(topic.scenario for topic in topics)
    assert set(counts) == {"lecture", "meeting", "conversation"}
    assert max(counts.values()) == min(counts.values())
    subtopics = [name for topic in topics for name in topic.subtopics]
    assert len(set(subtopics)) == len(subtopics)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("interview: {Art: [a]}", "interview is no scenario; choose from: lecture"),
        ("lecture: [Art]", "expected topics with their subtopics"),
        ("lecture: {Art: x}", "lecture: Art: x, expected a list of subtopics"),
        ("lecture: {Art: [a, a]}", "a subtopic stands twice"),
        ("lecture: {Art: [a, 7]}", "7, expected a text of one line"),
        ('lecture: {Art: ["a\\nb"]}', "expected a text of one line"),
        ("{}", "no topics"),
    ],
)
def test_topics_of_a_user_are_checked(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    result = CliRunner().invoke(
        main, ["plan", str(tmp_path), "--samples", "1", "--topics", str(tmp_path / "mine.yaml")]
    )
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "plan.jsonl").exists()


def test_splits_share_no_topic_and_everything_is_in_balance(tmp_path):
    briefs = make_plan(read_topics(), 200, (60.0, 120.0), {"train": 0.6, "dev": 0.2, "test": 0.2}, 1)
    assert Counter(brief.split for brief in briefs) == {"train": 120, "dev": 40, "test": 40}
    topics = {split: {b.topic for b in briefs if b.split == split} for split in ("train", "dev", "test")}
    assert not topics["train"] & topics["dev"] and not (topics["train"] | topics["dev"]) & topics["test"]
    assert len({brief.id for brief in briefs}) == 200
    for trait in ("longest", "overlap"):
        assert Counter(getattr(brief, trait) for brief in briefs) == {True: 50, False: 150}
    for brief in briefs:
        sexes = Counter(brief.speakers.values())
        assert abs(sexes["F"] - sexes["M"]) <= 1
        assert len(brief.speakers) == {"lecture": 1, "conversation": 2}.get(brief.scenario, len(brief.speakers))
    write_plan(tmp_path, briefs)
    assert read_plan(tmp_path) == briefs
    assert make_plan(read_topics(), 200, (60.0, 120.0), {"train": 0.6, "dev": 0.2, "test": 0.2}, 2) != briefs


@pytest.mark.parametrize(
    ("splits", "samples", "message"),
    [
        ({"test": 0.5}, 9, "sum to 0.5; expected 1"),
        ({"final": 1.0}, 9, "split final=1"),
        ({"train": 0.9, "test": 0.1}, 3, "3 samples leave none for test"),
    ],
)
def test_plans_that_cannot_be(splits, samples, message):
    with pytest.raises(ValueError, match=message):
        make_plan(read_topics(), samples, (60.0, 120.0), splits, 0)


def test_the_offline_writer_keeps_every_brief():
    briefs = make_plan(read_topics(), 40, (30.0, 90.0), {"test": 1.0}, 3)
    writer = writer_class("grammar")()
    for brief in briefs:
        drafts = [writer.draft(brief, attempt, []) for attempt in range(3)]
        draft = next(draft for draft in drafts if not faults(draft, brief))
        assert (longest_choices(draft.choices) == [0]) == brief.longest
        assert (overlapping_choices(draft.question, draft.choices, draft.transcript) == [0]) == brief.overlap
        assert sum(other.spoken for other in draft.distractors) == brief.spoken
        assert brief.subtopic in draft.sentences[0]
        assert draft == writer.draft(brief, drafts.index(draft), [])
    with pytest.raises(ValueError, match="unknown writer 'gpt'; choose from: endpoint, grammar"):
        writer_class("gpt")


BRIEF = Brief("meeting_0", "test", "meeting", "Art", "glue", {"spk_1": "F", "spk_2": "M"}, 13.5, 2, False, True, "x")
DRAFT = {
    "turns": [
        {"speaker": "spk_1", "sentences": ["Shall we meet on Monday?", "It is about glue, as you know."]},
        {"speaker": "spk_2", "sentences": ["No, Monday is full, and so is Sunday.", "Let us take Friday."]},
        {"speaker": "spk_1", "sentences": ["Good, I will tell everybody about it."]},
    ],
    "key_sentence": "Let us take Friday.",
    "question": "When will they meet?",
    "answer": "Friday",
    "distractors": [
        {"text": "Monday", "spoken": True},
        {"text": "Sunday", "spoken": True},
        {"text": "Tuesday", "spoken": False},
    ],
}


def test_a_good_draft_has_no_faults():
    assert faults(Draft.model_validate(DRAFT), BRIEF) == []


def distractors(*texts: str, spoken: int = 2) -> list[dict]:
    return [{"text": text, "spoken": k < spoken} for k, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key_sentence": "Let us take friday."}, "the key sentence stands 0 times"),
        ({"answer": "on Friday"}, "'on Friday' does not stand in the key sentence"),
        ({"question": "When?\n"}, "not one line"),
        ({"question": "Tell me when they meet."}, "ends in a question mark"),
        ({"question": "Is it Friday?"}, "'Friday' stands in the question"),
        ({"distractors": distractors("Monday", "Sunday")}, "there are 2 wrong choices; expected 3"),
        ({"distractors": distractors("Monday", "Sunday", "friday")}, "stands in another choice"),
        ({"distractors": distractors("Monday", "Sunday", "Let us")}, "'Let us' stands in the key sentence"),
        ({"distractors": distractors("Monday", "Sunday", "Tuesday", spoken=3)}, "'Tuesday' is not said in the turns"),
        ({"distractors": distractors("Tuesday", "Sunday", "Monday")}, "'Monday' is said in the turns"),
        (
            {"distractors": distractors("Monday", "Sunday", "Tuesday", spoken=1)},
            "1 wrong choices are said in the turns",
        ),
        ({"distractors": distractors("Monday", "Sunday", "a day that is far away")}, "6 to 22 characters"),
        (
            {"distractors": distractors("Monday", "Sunday", "today")},
            "'Friday' and 'Monday' and 'Sunday' is the longest",
        ),
        (
            {"turns": [*DRAFT["turns"], {"speaker": "spk_3", "sentences": ["Friday it is, then."]}]},
            "said outside of the key",
        ),
        ({"distractors": distractors("Monday", "Sunday", "B. Tuesday")}, "have letters or full stops of their own"),
        ({"turns": DRAFT["turns"][:1]}, "the speakers are spk_1; expected each of spk_1, spk_2"),
        ({"turns": [*DRAFT["turns"], {"speaker": "spk_1", "sentences": ["[laughs]"]}]}, "'[laughs]' is not a sentence"),
        ({"turns": [*DRAFT["turns"], {"speaker": "spk_1", "sentences": ["so on"] * 9}]}, "49 words; expected 22 to 38"),
    ],
)
def test_each_fault_is_named(changes, message):
    assert message in "\n".join(faults(Draft.model_validate(DRAFT | changes), BRIEF))


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, json.dumps(DRAFT | {"more": 1}), '{"turns": NaN}'])
def test_what_is_no_draft(text):
    with pytest.raises(ValueError, match="the reply is"):
        parse_draft(text)


def test_near_duplicates_keep_the_first():
    texts = ["the cat sat on the mat", "a dog barks at night", "The cat sat on the mat!", "the cat sat on a mat"]
    assert near_duplicates(texts) == {2: 0, 3: 0}
    assert near_duplicates([]) == {}


@pytest.fixture
def build(tmp_path):
    write_plan(tmp_path, make_plan(read_topics(), 24, (20.0, 40.0), {"test": 0.5, "dev": 0.5}, 0))
    write_samples(tmp_path, Templated(), 4)
    return tmp_path


def test_letters_are_in_balance_and_nothing_is_given_away(build):
    samples, left = check_samples(build, 0, allow_skew=False)
    assert (len(samples), left) == (24, {})
    assert samples == read_samples(build)
    for split in ("test", "dev"):
        assert Counter(s.answer for s in samples if s.split == split) == {0: 3, 1: 3, 2: 3, 3: 3}
    assert not any(entry.beats_chance for entries in giveaways(samples).values() for entry in entries)
    for sample, row in zip(samples, read_drafts(build, []), strict=True):
        assert sample.choices[sample.answer] == row.draft.answer
        assert sample.sentences[sample.key][1] == row.draft.key_sentence
        assert sorted(sample.choices) == sorted(row.draft.choices)


def test_samples_that_fail_are_listed_and_the_rest_is_in_balance(build):
    rows = read_drafts(build, [])
    broken = rows[0].draft.model_copy(update={"key_sentence": "x"})
    rows[0] = Written(rows[0].brief, broken, rows[0].writer, 1)
    rows[3] = Written(rows[3].brief, rows[1].draft, rows[3].writer, 1)  # of another sample, with other speakers
    write_drafts(build / NAME, rows)
    samples, left = check_samples(build, 0, allow_skew=True)
    assert left.keys() == {rows[0].brief.id, rows[3].brief.id}
    assert "the key sentence stands 0 times" in left[rows[0].brief.id]
    assert [json.loads(line)["id"] for line in (build / "left_out.jsonl").read_text().splitlines()] == list(left)
    counts = Counter(s.answer for s in samples if s.split == "test")
    assert max(counts.values()) - min(counts.values()) <= 1


def test_what_counting_words_finds_is_left_out_on_demand(build):
    plan = [Brief(**vars(brief) | {"overlap": k % 2 == 0}) for k, brief in enumerate(read_plan(build))]
    write_plan(build, plan)
    write_samples(build, Templated(), 4)
    before, _ = check_samples(build, 0, allow_skew=True)
    samples, left = check_samples(build, 0, allow_skew=False, balance=True)
    assert set(left.values()) == {"counting words finds the answer, as in too many others"}
    assert len(samples) + len(left) == len(before) == 24
    for split in ("test", "dev"):
        texts = [sample.as_text() for sample in samples if sample.split == split]
        found = [t.answer in overlapping_choices(t.question, t.choices, t.transcript) for t in texts]
        assert (sum(found), len(found)) == (2, 8)


def test_a_benchmark_that_can_be_guessed_is_refused(build):
    rows = read_drafts(build, [])
    for k, row in enumerate(rows):
        brief = Brief(**vars(row.brief) | {"longest": True, "spoken": 0})
        drafts = row.draft.model_dump()
        drafts["distractors"] = [{"text": f"no{j}", "spoken": False} for j in range(3)]
        drafts["answer"] = max(row.draft.key_sentence.split(), key=len).strip(".,")
        rows[k] = Written(brief, Draft.model_validate(drafts), row.writer, 1)
    write_drafts(build / NAME, rows)
    with pytest.raises(ValueError, match=r"without listening:\n  test: Longest choice(.|\n)*--allow-skew"):
        check_samples(build, 0, allow_skew=False)
    assert not (build / "checked.jsonl").exists()
    assert check_samples(build, 0, allow_skew=True)[0]
    assert (build / "checked.jsonl").exists()
