"""report.html of a small experiment in headless Chromium, for the tests that use it as a reader does."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.browser import View, open_browser
from helpers.pages import example
from matplotlib.image import imsave

from speechprune.report.page.write import write_page


@pytest.fixture(scope="module")
def driver():
    found = open_browser()
    if found is None:
        pytest.skip("needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    yield found
    found.quit()


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    exp, cuts = example(tmp_path_factory.mktemp("browser"))
    (exp / "figures").mkdir()
    imsave(exp / "figures" / "accuracy.png", np.ones((40, 90, 3)))
    return write_page(exp, cuts).as_uri()


@pytest.fixture
def page(driver, url):
    driver.get_log("browser")
    driver.get_log("performance")
    driver.get(url)
    view = View(driver)
    yield view
    assert view.severe() == []
    assert driver.title == "test, mini: results"  # no text of the corpus was run as a script
