"""Replies that name a choice, in the styles of real models, and those that do not."""

from __future__ import annotations

import pytest

from speechprune.decoding.replies import parse_choice

CHOICES = ["red", "blue", "green", "black"]


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
        "[B]",
        "'B'",
        "B - blue",
        "B—blue",
        "Letter B",
        "It is B.",
        "It's blue.",
        "I'd go with (B).",
        "I think the answer is B.",
        "Final answer: B",
        "**Answer:** B",
        "The answer is:\n\nB",
        "Sure! The answer is B.",
        "Based on the audio, the answer is B.",
        "Based on the recording, the correct answer is: **B. blue**",
        "The speaker says that her bag is blue, so the answer is B.",
        "The answer to the question is B.",
        "B. blue\n\nExplanation: Speaker A says that her bag is blue.",
        "B.\n\nSpeaker A mentions it.",
        "The correct answer is B, not C.",
        "A is incorrect. The answer is B.",
        "Option A is wrong.\nOption B is correct.",
        "B is the right answer.",
        "A is wrong, since B is. Thus, the answer is B.",
        "Let me think. The red bag is Ben's. Therefore, the answer is B.",
        "\\boxed{B}",
        "A is Ben's, so $\\boxed{\\text{B}}$",
        "<think>A? No.</think><answer>B</answer>",
        "B。",
        "（B）",
        "Ｂ．",
        "答案是B。",
        "正确答案是 B。",
        "答案：B",
        "选B",
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
        "The answer is not B.",
        "The answer is either A or B.",
        "The bag of Anna is blue, I believe.",  # mentioned, not given as the answer
        "A. red\nB. blue\nC. green\nD. black",  # the choices, repeated
        "The answer is A. No, the answer is B.",
        "B. blue\nThe answer is C.",
        "<answer>A</answer> or <answer>B</answer>",
        "<answer>I do not know</answer> B",
        "None of the above",
        "All of the above: A, B, C and D",
        "It is a blue bag.",
        "A is incorrect.",
        "A is not correct.",
        "A) is wrong.",
        "A is not mentioned in the audio.",
        "C is ruled out.",
        "D is a distractor.",
        "The answer is D is incorrect",
        "It is not B.\nA is close.",
        "It is not B.",
        "I choose a bag.",
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
