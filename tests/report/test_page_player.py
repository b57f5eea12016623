"""The player and the timeline of report.html in headless Chromium: what is heard, and what is drawn where."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.pages import KEPT, TOKENS, tones
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys


def test_the_player_plays_what_is_asked_for(page):
    lengths = {"full": 4.0, "kept": len(KEPT) * 0.04, "removed": (TOKENS - len(KEPT)) * 0.04}
    for mode, length in lengths.items():
        page.mode(mode)
        assert page.text("#clock").startswith(f"0:00.0 / 0:0{length:.1f}")
        page.one("#play").click()
        page.wait("player.state === 'playing' && player.heard > 0.1")
        assert page.one("#play").text == "Pause"
        assert page.state() == "playing"
        time = page.run("return player.time")
        assert (0.8 < time < 2.4) if mode == "kept" else (0.0 < time < 0.8)
        page.one("#stop").click()
        assert (page.state(), page.one("#play").text) == ("stopped", "Play")
    page.mode("kept")
    page.run("go(2.2)")  # 0.2 s before its end
    page.one("#play").click()
    page.wait("player.state === 'stopped'")
    assert page.text("#clock").startswith("0:00.0 / 0:01.6")


def test_what_plays_is_the_sound_of_the_spans(page):
    script = """
      const [mode, done] = arguments;
      player.stop();
      chooseMode(mode);
      player.play().then(() => {
        const rate = player.joined.sampleRate;
        const samples = player.joined.getChannelData(0);
        done([rate, Array.from(samples.filter((_, i) => i % 3 === 0))]);
      });
    """
    tokens = {"full": range(TOKENS), "kept": KEPT, "removed": [i for i in range(TOKENS) if i not in KEPT]}
    original = tones().reshape(TOKENS, -1)
    for mode, indices in tokens.items():
        rate, found = page.driver.execute_async_script(script, mode)
        expected = original[list(indices)].ravel()
        places = np.arange(len(found)) * 3 / rate * 16000
        heard = np.interp(places, np.arange(len(expected)), expected)
        assert len(found) * 3 / rate == pytest.approx(len(expected) / 16000, abs=0.001)
        assert np.corrcoef(found, heard)[0, 1] > 0.9, mode
        if mode != "full":
            assert abs(found[0]) < 1e-6  # faded in


def test_the_player_by_keyboard(page):
    page.one("#list [aria-current]").click()
    page.press("2", Keys.SPACE)
    page.wait("player.state === 'playing'")
    assert page.one("#modes :checked").get_attribute("value") == "kept"
    page.press(Keys.SPACE)
    assert page.state() == "paused"
    page.press("1")
    page.run("find('wave').focus()")
    page.press(Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert page.place() == pytest.approx(2.0)
    page.press(Keys.ARROW_LEFT)
    assert page.place() == pytest.approx(1.0)
    page.run("find('sentences').children[0].focus()")
    page.press(Keys.ARROW_RIGHT)
    assert page.text("#sentence") == "0:01 ben: The bag is here."
    page.press(Keys.ARROW_RIGHT, Keys.ENTER)
    assert page.place() == pytest.approx(2.0)
    page.run("find('lanes').querySelector(':checked').focus()")
    before = page.text("#heard")
    page.press(Keys.ARROW_UP)
    assert page.text("#heard") != before


def test_nothing_is_drawn_as_kept_where_no_kept_token_is_known(page):
    read = """
      const copy = document.createElement('canvas');
      Object.assign(copy, { width: canvas.width, height: canvas.height });
      const context = copy.getContext('2d', { willReadFrequently: true });
      context.drawImage(canvas, 0, 0);
      const { data: pixels } = context.getImageData(0, 0, copy.width, copy.height);
    """
    blue = f"""
      const canvas = find('wave'); {read}
      const wanted = colour('kept').match(/[0-9a-f]{{2}}/g).map(part => parseInt(part, 16)).join();
      return [...Array(pixels.length / 4).keys()].filter(i => pixels.slice(4 * i, 4 * i + 3).join() === wanted).length;
    """
    written = f"""
      const canvas = find('lanes').querySelector('.chosen canvas'); {read}
      const row = (y) => pixels.slice(4 * y * canvas.width, 4 * (y + 0.2) * canvas.width); // left of all spans
      return [...Array(canvas.height).keys()].filter(y => row(y).some(part => part)).length;
    """
    assert page.run(blue) > 100
    for title, known in {"silence": True, "broken": True, "Original": False}.items():
        page.hear(title)
        assert page.run(blue) == 0
        assert (page.run(written) == 1) == known, title  # a line alone, or words across it
        assert ("is not known" in page.text("#heard")) != known


def test_a_click_on_the_waveform_goes_there(page):
    wave = page.one("#wave")
    ActionChains(page.driver).move_to_element_with_offset(wave, round(wave.size["width"] / 4), 0).click().perform()
    assert page.place() == pytest.approx(3.0, abs=0.05)
    offset = page.run(
        "return find('playhead').getBoundingClientRect().left - find('wave').getBoundingClientRect().left"
    )
    assert offset == pytest.approx(0.75 * wave.size["width"], abs=4)


def test_a_recording_without_sound_says_so(page):
    page.ask("test-0002-q0")
    assert "This recording cannot be read any more" in page.text("#heard")
    assert not page.one("#play").is_enabled()
    page.press(Keys.SPACE)
    assert page.state() == "stopped"


def test_kept_tokens_are_drawn_where_they_are(page):
    script = """
      const canvas = find('lanes').querySelector('.chosen canvas');
      const row = canvas.getContext('2d').getImageData(0, canvas.height >> 1, canvas.width, 1).data;
      return Array.from({length: 100}, (_, i) => row[4 * Math.floor((i + 0.5) * canvas.width / 100) + 3]);
    """
    opaque = [i for i, alpha in enumerate(page.run(script)) if alpha > 250]
    assert opaque == list(KEPT)
