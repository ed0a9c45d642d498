"""The chat page in a real browser, against the real server and a real model."""
import json
import os
import shutil
import subprocess
import time

import pytest

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not CHROMIUM or not DRIVER, reason="needs the packages chromium and chromium-driver")

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--window-size=1100,800"]


@pytest.fixture
def browser(tmp_path):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS + [f"--user-data-dir={tmp_path}/profile"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def wait(browser, condition, seconds=60):
    return WebDriverWait(browser, seconds, 0.05).until(condition)


def ask(browser, text):
    box = browser.find_element(By.ID, "input")
    box.send_keys(text)
    box.send_keys(Keys.ENTER)


def answers(browser):
    return browser.find_elements(By.CSS_SELECTOR, ".msg.assistant")


def finished(browser, n=1):
    """True when n answers stand and the last has its line of figures."""
    return lambda _: len(answers(browser)) == n and answers(browser)[-1].find_elements(By.CSS_SELECTOR, ".meta .stats")


def open_page(browser, server):
    browser.get(server.url + "/")
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#model option"))


def limit_answers(browser, tokens, temperature="0"):
    browser.find_element(By.ID, "settings-open").click()
    for name, value in (("set-max", tokens), ("set-temperature", temperature)):
        field = browser.find_element(By.ID, name)
        field.clear()
        field.send_keys(str(value))
    browser.find_element(By.CSS_SELECTOR, "#settings .primary").click()


def no_errors(browser):
    assert [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")] == []


def test_an_answer_streams_and_shows_its_speed(browser, server):
    open_page(browser, server)
    limit_answers(browser, 60)
    ask(browser, "Write two sentences about the sea.")
    seen = set()
    wait(browser, answers)
    while not finished(browser)(None):
        seen.add(browser.execute_script("return document.querySelector('.msg.assistant').innerText"))
    assert len(seen) > 3, "the answer came in one piece"
    stats = answers(browser)[-1].find_element(By.CSS_SELECTOR, ".stats").text
    assert "tokens" in stats and "tokens/s" in stats
    assert len(answers(browser)[-1].find_element(By.CSS_SELECTOR, ".body").text) > 10
    no_errors(browser)


def test_stop_ends_the_answer_and_the_next_one_works(browser, server):
    open_page(browser, server)
    limit_answers(browser, 2000)
    ask(browser, "Write a long story about a dragon.")
    wait(browser, lambda b: answers(b) and len(answers(b)[-1].text) > 5)
    browser.find_element(By.ID, "stop").click()
    wait(browser, finished(browser), 5)
    assert "stopped by you" in answers(browser)[-1].text
    limit_answers(browser, 8)
    ask(browser, "Say hello.")
    wait(browser, finished(browser, 2))
    no_errors(browser)


def test_a_reload_loses_nothing(browser, server):
    open_page(browser, server)
    limit_answers(browser, 8)
    ask(browser, "Remember this line.")
    wait(browser, finished(browser))
    before = browser.find_element(By.ID, "thread").text
    browser.refresh()
    wait(browser, lambda b: "Remember this line." in b.find_element(By.ID, "thread").text)
    assert browser.find_element(By.ID, "thread").text == before
    browser.find_element(By.ID, "new").click()
    assert browser.find_element(By.ID, "thread").text == ""
    browser.find_element(By.ID, "restore").click()
    assert browser.find_element(By.ID, "thread").text == before


def test_the_model_can_be_chosen(browser, server):
    open_page(browser, server)
    choice = Select(browser.find_element(By.ID, "model"))
    names = [o.text for o in choice.options]
    assert choice.first_selected_option.text in names
    choice.select_by_visible_text(names[-1])
    limit_answers(browser, 4)
    ask(browser, "Hi")
    wait(browser, finished(browser))
    assert names[-1] in answers(browser)[-1].text
    browser.refresh()
    open_page(browser, server)
    assert Select(browser.find_element(By.ID, "model")).first_selected_option.text == names[-1]


def test_the_model_in_memory_is_the_first_choice(browser, hearth_bin, launch, tmp_path, smollm2_path, gemma3_path):
    env = dict(os.environ, HEARTH_MODELS=str(tmp_path / "library"), HEARTH_CACHE_DIR=str(tmp_path / "cache"))
    for path in (gemma3_path, smollm2_path):
        subprocess.run([hearth_bin, "pull", path], env=env, check=True, capture_output=True)
    names = subprocess.run([hearth_bin, "list"], env=env, check=True, capture_output=True, text=True).stdout.split()
    smol = next(name for name in names if name.startswith("smollm2"))
    open_page(browser, launch(model=smol))
    choice = Select(browser.find_element(By.ID, "model"))
    assert len(choice.options) == 2 and choice.first_selected_option.text == smol


def render(browser, lines):
    return browser.execute_async_script("""
        const [text, done] = arguments;
        import("/assets/markdown.js").then(({ markdown }) => {
            const box = document.createElement("div");
            box.append(...markdown(text));
            done(box.innerHTML);
        });""", "\n".join(lines))


def test_markdown_is_rendered_and_markup_is_not_run(browser, server):
    open_page(browser, server)
    html = render(browser, [
        "# Title", "", "Some **bold** and `code` <img src=x onerror=alert(1)> [x](javascript:alert(1))", "",
        "- a", "  - b", "", "```c", "int x = 1 < 2;", "```", "", "| A | B |", "|---|--:|", "| 1 | 2 |"])
    assert "<h1>Title</h1>" in html and "<strong>bold</strong>" in html and "<code>code</code>" in html
    assert "<img" not in html and "&lt;img" in html and "href" not in html
    assert html.count("<ul>") == 2 and html.count("<li>") == 2
    assert '<td class="right">2</td>' in html and "int x = 1 &lt; 2;" in html
    assert render(browser, ["a snake_case_name and 2 * 3 * 4"]) == "<p>a snake_case_name and 2 * 3 * 4</p>"
    assert 'href="https://example.org/"' in render(browser, ["see https://example.org/."])


HOSTILE = ["*" * 50000, "[" * 20000, "`" * 20000, "> " * 5000 + "x", "- " * 5000, "**a" * 6000, "_a " * 6000,
           "[a](" * 5000, "|a" * 9000 + "\n|-", "~~a" * 6000, "a\n" * 20000, "1. x\n" * 5000]


def test_no_answer_hangs_the_page(browser, server):
    open_page(browser, server)
    for text in HOSTILE:
        start = time.monotonic()
        assert render(browser, [text])
        assert time.monotonic() - start < 20, f"the page hangs on {text[:6]!r}..., which a model may write"


def test_nothing_is_asked_of_another_origin(browser, server):
    open_page(browser, server)
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert len([u for u in urls if u.startswith(server.url)]) >= 4
    assert [u for u in urls if u.startswith(("http", "ws")) and not u.startswith(server.url)] == []


def test_it_fits_a_phone(browser, server):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                            {"width": 360, "height": 640, "deviceScaleFactor": 2, "mobile": True})
    open_page(browser, server)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    assert browser.find_element(By.ID, "send").is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(browser, server, scheme):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia",
                            {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    open_page(browser, server)
    contrast, ground = browser.execute_script("""
        const lum = (c) => { const v = c.match(/[\\d.]+/g).slice(0, 3).map((x) => { x /= 255;
            return x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4; });
            return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
        const s = getComputedStyle(document.body), a = lum(s.color), b = lum(s.backgroundColor);
        return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), b];""")
    assert contrast > 7
    assert (ground > 0.5) == (scheme == "light")
