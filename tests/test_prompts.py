"""The wording of prompts, character by character."""

from __future__ import annotations

import pytest

from speechprune.prompts import format_question, letters, query_text

QUESTION = "What colour is the bag of Anna?"
CHOICES = ["red", "blue", "dark green", "black"]


def test_question_snapshot():
    assert format_question(QUESTION, CHOICES) == (
        "What colour is the bag of Anna?\nA. red\nB. blue\nC. dark green\nD. black\nAnswer with the letter."
    )
    assert format_question("Is it?", ["yes", "no"]) == "Is it?\nA. yes\nB. no\nAnswer with the letter."


def test_query_snapshot():
    assert query_text(QUESTION, CHOICES, "question") == "What colour is the bag of Anna?"
    assert query_text(QUESTION, CHOICES, "question+choices") == (
        "What colour is the bag of Anna? red blue dark green black"
    )
    assert query_text(QUESTION, CHOICES, "content") == "colour bag Anna?"
    assert query_text(QUESTION, CHOICES, "content+choices") == "colour bag Anna? red blue dark green black"
    assert query_text("Who is it, and where?", CHOICES, "content") == "Who is it, and where?"  # nothing else is there
    assert query_text('(What?) THE "Bag".', CHOICES, "content") == '"Bag".'


def test_unknown_query_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"unknown query 'all'; choose from: question, question\+choices, content"):
        query_text(QUESTION, CHOICES, "all")


def test_letters():
    assert letters(4) == "ABCD"
    assert letters(10) == "ABCDEFGHIJ"
    for n in (0, 11):
        with pytest.raises(ValueError, match=f"{n} choices"):
            letters(n)


@pytest.mark.parametrize(
    ("question", "choices", "message"),
    [
        ("  ", CHOICES, "the question is empty"),
        (QUESTION, [], "0 choices .* give 2 to 10"),
        (QUESTION, ["red"], "1 choice for .* give 2 to 10"),
        (QUESTION, [str(n) for n in range(11)], "11 choices .* give 2 to 10"),
        (QUESTION, ["red", " "], "choice B .* is empty"),
        (QUESTION, ["red", "blue", "red"], "choice C .* repeats 'red'"),
    ],
)
def test_questions_that_cannot_be_asked(question, choices, message):
    with pytest.raises(ValueError, match=message):
        format_question(question, choices)
