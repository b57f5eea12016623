"""report.html in headless Chromium: no error, nothing fetched, filter, keyboard, player, phone width."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from helpers.pages import CHOICES, EVIL
from matplotlib.image import imread
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

PHONES = (360, 390)  # pixels


def test_it_loads_without_errors_and_fetches_nothing(page, url):
    assert page.text("#where").startswith("test-0000-q1")  # Original is wrong, SpeechPrune right
    assert page.address() == ""
    assert len(page.listed()) == 6
    messages = [json.loads(entry["message"])["message"] for entry in page.driver.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert url in asked
    assert [address for address in asked if address != url and not address.startswith("data:")] == []


def test_text_that_tries_to_be_markup_is_shown(page):
    page.ask("test-0000-q0")
    assert page.text("#question") == f"Where is the bag of test-0000? {EVIL}"
    assert [page.text(f"#choices li:nth-child({k}) span") for k in (1, 2, 3, 4)] == CHOICES
    assert EVIL in page.text("#transcript")
    assert EVIL in page.text("#answers")
    assert page.all("#panel img, #list img") == []


def test_the_filter(page):
    assert page.text("#count").startswith("6 of 6 questions")
    page.one("#filter-text").send_keys("the CUP")
    assert page.listed() == ["test-0000-q1", "test-0001-q1", "test-0002-q1"]
    page.one("#filter-text").clear()
    page.one("#filter-text").send_keys("0001-q")
    assert page.listed() == ["test-0001-q0", "test-0001-q1"]
    page.one("#filter-text").send_keys("nowhere")
    assert page.listed() == []
    assert page.text("#count") == "None of the 6 questions passes the filter"
    page.one("#filter-text").clear()
    page.one("#filter-text").send_keys(Keys.SPACE, Keys.BACKSPACE)

    page.one("#filter-wrong").click()
    assert page.listed() == []  # SpeechPrune is right everywhere
    Select(page.one("#filter-system")).select_by_visible_text("RAP 0.4")  # A, A, B, B, C, C; right are A, B, A, B, A, B
    assert page.listed() == ["test-0000-q1", "test-0001-q0", "test-0002-q0", "test-0002-q1"]
    page.one("#filter-wrong").click()
    Select(page.one("#filter-other")).select_by_visible_text("Full")  # always A
    assert page.listed() == ["test-0001-q0", "test-0001-q1", "test-0002-q0", "test-0002-q1"]


def test_questions_by_click_and_by_keyboard(page):
    page.ask("test-0001-q1")
    assert page.shown() == "test-0001-q1"
    assert page.one("#list [aria-current]").text.endswith("test-0001-q1")
    page.press(Keys.ARROW_DOWN)
    assert page.shown() == "test-0002-q0"
    page.press(Keys.HOME)
    assert page.shown() == "test-0000-q0"
    page.press("j", "j", "k")
    assert page.shown() == "test-0000-q1"
    assert page.run("return document.activeElement.closest('#list') !== null")
    page.one("#filter-text").send_keys("jk 123")
    assert page.shown() == "test-0000-q1"  # keys in a field are text


def test_everything_is_reached_with_tab(page):
    page.one("#filter-text").click()
    reached = []
    for _ in range(30):
        page.press(Keys.TAB)
        reached.append(
            page.run("const e = document.activeElement; return e.id || e.name || e.parentNode.id || e.tagName")
        )
        assert page.run("return getComputedStyle(document.activeElement).outlineStyle !== 'none' || "
                        "document.activeElement.type === 'radio'"), reached  # fmt: skip
        if reached[-1] == "SUMMARY":
            break
    steps = ["filter-system", "filter-other", "filter-wrong", "BUTTON", "play", "mode", "wave", "sentences", "lane"]
    assert [name for name in reached if name in steps] == steps


def test_answers_say_what_is_known(page):
    page.ask("test-0001-q0")
    rows = {row.text.split("\n")[0].split("  ")[0]: row for row in page.all("#answers tbody tr")}
    texts = [" ".join(row.get_attribute("textContent").split()) for row in page.all("#answers tbody tr")]
    assert len(rows) == 8
    shares = [f"{100 * w:.0f} %" for w in np.exp([-0.5, -1.5, -2.5, -3.5]) / np.exp([-0.5, -1.5, -2.5, -3.5]).sum()]
    assert f"SpeechPrune 0.4✓ right A{''.join(shares)}40 of 100 50 %".replace(" ", "") == texts[3].replace(" ", "")
    notes = {"Original": "earlier version", "silence": "hears nothing of the recording", "broken": "There is no answer"}
    for title, note in notes.items():
        page.hear(title)
        assert note in page.text("#heard")
    assert any("No answer: out of memory" in text for text in texts)
    assert any("Reply: “I do not know." in text and "no choice can be read from it" in text for text in texts)


def test_rotated_choices(page):
    page.ask("test-0000-q0")
    page.hear("turned")
    Select(page.one("#rotation")).select_by_index(1)
    assert page.text("#choices li:nth-child(1) span") == CHOICES[1]
    assert page.text("#choices li:nth-child(4) .badge") == "✓ right"
    assert page.text("#heard").startswith("turned kept 1 of 100 tokens: 0.0 of 4.0 s in 1 piece")
    assert "✗" in page.one("#lanes .chosen .verdict").text
    Select(page.one("#filter-system")).select_by_visible_text("turned")
    assert page.one("#list li .verdict").text.startswith("1/4")


def test_the_choice_that_the_system_took_is_marked(page):
    badges = (
        "return [...document.querySelectorAll('#choices li')].map(li => li.querySelector('.badge')?.textContent || '')"
    )
    page.ask("test-0000-q1")
    assert page.run(badges) == ["", "✓ right", "", ""]
    page.hear("Original")
    assert page.run(badges) == ["✗ Original", "✓ right", "", ""]
    page.hear("broken")
    assert page.run(badges) == ["", "✓ right", "", ""]
    page.hear("turned")
    Select(page.one("#rotation")).select_by_index(2)  # A is the third choice
    assert page.run(badges) == ["✗ turned", "", "", "✓ right"]


def test_a_link_leads_to_a_question_and_a_system(page, url):
    page.driver.get("about:blank")
    page.driver.get(f"{url}#test-0001-q0/rap_0.4")
    assert page.shown() == "test-0001-q0"
    assert page.text("#heard").startswith("RAP 0.4 kept 50 of 100 tokens")
    assert 0 <= page.run("return find('panel').getBoundingClientRect().top") < 200
    page.ask("test-0002-q1")
    assert page.address() == "#test-0002-q1/rap_0.4"
    page.hear("silence")
    assert page.address() == "#test-0002-q1/silence"
    page.press("k")
    assert page.address() == "#test-0002-q0/silence"
    page.one("nav a[href='#figures']").click()
    page.wait("Math.abs(find('figures').getBoundingClientRect().top) < 200")
    assert (page.address(), page.shown()) == ("#figures", "test-0002-q0")
    page.run("history.back()")  # the address that was replaced, not the one before it
    page.wait("location.hash === '#test-0002-q0/silence'")


def test_a_link_to_nothing_is_ignored(page):
    for address in ("#nowhere/full", "#test-0001-q0/nobody", "#test-0001-q0", "#" + EVIL, "#//", "#%/full"):
        page.run("location.hash = arguments[0]", address)
        page.wait("new Promise(done => setTimeout(() => done(true)))")  # after its hashchange
        assert page.shown() == "test-0000-q1"
    page.driver.refresh()
    assert page.address() == "#%/full"
    assert page.shown() == "test-0000-q1"
    page.ask("test-0001-q0")
    assert page.address() == "#test-0001-q0/speechprune_0.4"


def test_ids_may_hold_anything(page):
    for name in (f"a/b c%2F#é'\"\\ {EVIL}", "..", "figures"):
        page.run("data.questions[3].id = arguments[0]; showList(); chooseQuestion(3)", name)
        address = page.address()
        assert address.count("/") == 1
        page.run("step(-1)")
        assert page.address() != address
        page.run("location.hash = arguments[0]", address)
        page.wait("chosen.question === 3")
        assert page.text("#where").startswith(f"{name} · ")


def test_a_long_name_of_a_system_leaves_its_rate(page):
    lane = "find('lanes').querySelector('.chosen .label')"
    page.run(f"{lane}.querySelector('.name').textContent = 'a_name_that_is_longer_than_its_column'")
    edges = f"return [...{lane}.children].at(-1).getBoundingClientRect().right - {lane}.getBoundingClientRect().right"
    assert page.run(f"return {lane}.lastChild.textContent") == "0.4"
    assert page.run(edges) <= 0
    assert page.run(f"return getComputedStyle({lane}.querySelector('.name')).textOverflow") == "ellipsis"
    assert page.run(f"return {lane}.title") == "SpeechPrune 0.4"


def test_words_are_not_cut(page):
    cases = {"They enhance fish habitats": "They enhance fish…", "x" * 30: "x" * 23 + "…", "short": "short"}
    for text, shown in cases.items():
        assert page.run("return shortened(arguments[0], 24)", text) == shown
    titles = page.run("return [...document.querySelectorAll('#answers .choice')].map(choice => choice.title)")
    assert titles == CHOICES


def edge(page, left: int) -> float:
    """Brightness of the right edge of the first table's last line, scrolled to ``left``; white is 1."""
    page.run("document.querySelector('.scroll').scrollLeft = arguments[0]", left)
    pixels = imread(io.BytesIO(page.one(".scroll").screenshot_as_png))
    return float(pixels[-40:-34, -8:-5, :3].mean())


@pytest.mark.parametrize("width", PHONES)
def test_at_phone_width_nothing_is_wider_than_the_screen(page, width):
    metrics = {"width": width, "height": 300, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page.driver.refresh()
        for details in page.all("details"):
            page.run("arguments[0].open = true", details)
        assert page.run("return [innerWidth, document.scrollingElement.scrollWidth]") == [width, width]
        sizes = "return [...document.querySelectorAll('p, li, td')].map(e => parseFloat(getComputedStyle(e).fontSize))"
        assert min(page.run(sizes)) >= 12
        assert page.one("#wave").size["width"] > 0.85 * width
        heights = "return [...document.querySelectorAll('.scroll')].map(box => box.scrollHeight - box.clientHeight)"
        assert set(page.run(heights)) == {0}
        assert page.one("figure img").size["width"] > 0.85 * width
        assert (
            page.run("const frame = document.querySelector('.frame'); return frame.scrollWidth - frame.clientWidth")
            == 0
        )
        assert page.run("return [...document.querySelectorAll('nav a')].at(-1).getBoundingClientRect().right") < width
        assert edge(page, 0) < 0.9  # a shadow: there is more
        assert edge(page, 9999) > 0.97
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(page, scheme):
    """WCAG 2.2, 1.4.3: 4.5 to 1 between each colour of text and each ground that it stands on."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        names = ("ink", "faint-ink", "accent", "right", "wrong", "paper", "card", "shade")
        found = {name: page.run("return colour(arguments[0])", name) for name in names}
    finally:
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    for text in names[:5]:
        for ground in names[5:]:
            low, high = sorted(luminance(found[name]) for name in (text, ground))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)
