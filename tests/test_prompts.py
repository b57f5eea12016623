"""The wording of prompts, character by character, and what replies are read as."""

from __future__ import annotations

import pytest

from speechprune.prompts import format_question, letters, parse_choice, query_text

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


def test_unknown_query_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"unknown query 'all'; choose from: question, question\+choices"):
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
        (QUESTION, ["red"], "1 choices .* give 2 to 10"),
        (QUESTION, [str(n) for n in range(11)], "11 choices .* give 2 to 10"),
        (QUESTION, ["red", " "], "choice B .* is empty"),
        (QUESTION, ["red", "blue", "red"], "choice C .* repeats 'red'"),
    ],
)
def test_questions_that_cannot_be_asked(question, choices, message):
    with pytest.raises(ValueError, match=message):
        format_question(question, choices)


@pytest.mark.parametrize(
    "reply",
    [
        "B",
        "b",
        " B\n",
        "B.",
        "B)",
        "(B)",
        "(b)",
        "**B**",
        '"B"',
        "B:",
        "B. blue",
        "B. Blue.",
        "B) blue",
        "(B) blue",
        "(b) blue",
        "B blue",
        "B: blue, as Anna says.",
        "B\nAnna says so.",
        "B, because Anna says so.",
        "B is correct.",
        "The answer is B",
        "The answer is B.",
        "the correct answer is: (B) blue",
        "Answer: B",
        "The best choice is **B. blue**",
        "So, the answer is B.",
        "Option B",
        "The right answer is option B.",
        "I would choose B.",
        "blue",
        "Blue.",
        "The answer is blue.",
        "The correct answer is **blue**.",
    ],
)
def test_reply_styles(reply):
    assert parse_choice(reply, CHOICES) == 1


@pytest.mark.parametrize(
    "reply",
    [
        "",
        " \n",
        "?",
        "A or B",
        "A, B",
        "A. or B.",
        "A and C",
        "B. red",  # letter and text disagree
        "The answer is A. blue",
        "B. blue or A. red",
        "E",  # no such choice
        "(E) blue",
        "A man walked in with a bag.",  # an article
        "I do not know.",
        "Nobody says it.",
        "red or blue",
        "It is not blue.",
        "Blueberry",
        "Because",
    ],
)
def test_unclear_replies_are_not_guessed(reply):
    assert parse_choice(reply, CHOICES) is None


def test_reply_among_awkward_choices():
    assert parse_choice("A. red wine", ["red", "red wine"]) is None  # the longer text counts, and it is B's
    assert parse_choice("B. red wine", ["red", "red wine"]) == 1
    assert parse_choice("A", ["B", "A"]) is None  # letter of the first, text of the second
    assert parse_choice("A man came in", ["a dog came in", "A man came in"]) == 1
    assert parse_choice("B. Vitamin C", ["Vitamin A", "Vitamin C", "iron"]) == 1
    assert parse_choice("The answer is no.", ["yes", "The answer is no"]) == 1
    assert parse_choice("C. 3:30 p.m.", ["3:00 p.m.", "3:15 p.m.", "3:30 p.m."]) == 2
    assert parse_choice("B. -5", ["5", "-5", "5%"]) == 1
    assert parse_choice("5%", ["5", "-5", "5%"]) == 2
    assert parse_choice("A. ?", ["?", "!"]) == 0
    assert parse_choice("J", [str(n) for n in range(10)]) == 9
