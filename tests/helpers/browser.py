"""Chromium without a screen, and report.html in it."""

from __future__ import annotations

import os
import shutil

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio", "--window-size=1280,1000")
FLAGS = (*OPTIONS, "--autoplay-policy=no-user-gesture-required", "--force-prefers-reduced-motion")


def open_browser() -> webdriver.Chrome | None:
    """The browser, its console and its network logged; None where it is not installed."""
    browser, service = next(filter(None, map(shutil.which, BROWSERS)), None), shutil.which("chromedriver")
    if browser is None or service is None:
        return None
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(service))
    driver.set_script_timeout(10)
    return driver


class View:
    """The page in the browser, as a reader meets it."""

    def __init__(self, driver):
        self.driver = driver

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector) -> str:
        return self.driver.execute_script("return document.querySelector(arguments[0]).textContent", selector)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, script) -> None:
        WebDriverWait(self.driver, 8, 0.05).until(lambda driver: driver.execute_script(f"return {script}"))

    def press(self, *keys) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def listed(self) -> list[str]:
        return self.run("return [...document.querySelectorAll('#list .id')].map(id => id.textContent)")

    def shown(self) -> str:
        return self.text("#where").split(" ")[0]

    def state(self) -> str:
        return self.one("#panel").get_attribute("data-state")

    def place(self) -> float:
        return float(self.one("#wave").get_attribute("aria-valuenow"))

    def address(self) -> str:
        return self.run("return location.hash")

    def ask(self, name: str) -> None:
        """Click the question."""
        self.one(f"#list li:nth-child({1 + self.listed().index(name)}) button").click()

    def hear(self, title: str) -> None:
        """Choose the system."""
        next(label for label in self.all("#lanes .label") if label.get_attribute("title") == title).click()

    def mode(self, name: str) -> None:
        self.one(f"#modes input[value={name}]").click()

    def severe(self) -> list[dict]:
        return [entry for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
