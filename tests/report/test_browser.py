"""The page in headless Chromium: it opens without a network or an error, sorts, filters, hovers."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from made_up import HOSTILE, made_importance, made_report

from lagsearch.records.imported_curves import Asked, read_curves
from lagsearch.report.numbers.statistics import statistics
from lagsearch.report.pages.course import course_html
from lagsearch.report.pages.stage import stage_html
from lagsearch.report.pictures.course import draw_courses

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
RULE = {"until": 50, "threshold": 0.8, "margin": 2.0, "left": 0.6}
PATIENCE = 60
"""Seconds that a busy machine may take."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    selenium = pytest.importorskip("selenium", reason="selenium is not installed")
    assert selenium
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(driver))
    yield found
    found.quit()


class Opened:
    """A page in the browser."""

    def __init__(self, browser, path):
        self.browser, self.path = browser, path

    def run(self, script, *arguments):
        return self.browser.execute_script(f"return {script}", *arguments)

    def until(self, script):
        end = time.monotonic() + PATIENCE
        while not (value := self.run(script)):
            assert time.monotonic() < end, script
            time.sleep(0.05)
        return value

    def open(self, width=1400, theme="light"):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        wish = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wish)
        self.browser.get(self.path.as_uri())
        self.until("document.documentElement.dataset.drawn")
        return self

    def names(self):
        cells = "document.querySelectorAll('#table tbody td.name button')"
        return self.run(f"Array.from({cells}, cell => cell.textContent)")

    def press(self, selector):
        self.run("document.querySelector(arguments[0]).click()", selector)

    def errors(self):
        return [each for each in self.browser.get_log("browser") if each["level"] != "INFO"]


@pytest.fixture
def opened(browser, tmp_path):
    def make(report):
        path = tmp_path / "report.html"
        path.write_text(stage_html(report, Path("reports/made-up")), encoding="utf-8")
        browser.get_log("browser")
        browser.get_log("performance")
        return Opened(browser, path)

    return make


@pytest.fixture(scope="module")
def report():
    report = made_report(failed=("broken",), seeds=(0, 1))
    return {**report, "importance": made_importance(), "phase_transition": {**RULE, "step": 5}}


@pytest.mark.parametrize("width", [pytest.param(400, marks=pytest.mark.slow), 1400])
def test_it_opens_at_any_width_with_all_charts_and_no_error(opened, report, width):
    page = opened(report).open(width)
    assert page.errors() == []
    charts = page.run("JSON.parse(document.getElementById('data').textContent).charts.length")
    assert (
        page.run("document.querySelectorAll('.chart .cartesianlayer > .subplot').length") == charts
    )
    assert page.run("document.documentElement.scrollWidth") <= width
    all_charts = "Array.from(document.querySelectorAll('.chart'), "
    assert max(page.run(f"{all_charts}each => each.scrollWidth - each.clientWidth)")) <= 1
    log = page.browser.get_log("performance")
    messages = [json.loads(each["message"])["message"] for each in log]
    asked = [
        each["params"]["request"]["url"]
        for each in messages
        if each["method"] == "Network.requestWillBeSent"
    ]
    assert page.path.as_uri() in asked
    # the browser's own empty tab may still be among them
    own = {"chrome", "chrome-untrusted", "about"}
    assert {each.split(":")[0] for each in asked} <= {"file", "data", *own}


def test_the_table_sorts_by_any_column_also_by_keyboard(opened, report):
    from selenium.webdriver.common.keys import Keys

    page = opened(report).open()
    ranked = [each["name"] for each in report["candidates"]]
    assert page.names() == ranked
    head = "#table th button[data-key=at_0]"
    page.press(head)
    known = [each for each in report["candidates"] if "0" in each["val_loss"]]
    by_loss = [each["name"] for each in sorted(known, key=lambda each: each["val_loss"]["0"])]
    assert page.names() == by_loss
    button = page.browser.find_element("css selector", head)
    button.send_keys(Keys.ENTER)
    assert page.names() == by_loss[::-1]
    sort = "document.querySelector('#table th[aria-sort]')"
    assert page.run(f"{sort}.getAttribute('aria-sort')") == "descending"
    assert page.run("document.activeElement.dataset.key") == "at_0"
    page.press("#table th button[data-key=gap]")
    assert page.names() == ranked  # the failed one has none and stays last
    page.press("#table th button[data-key=gap]")
    assert page.names() == [*ranked[:-1][::-1], ranked[-1]]
    page.press("#table th button[data-key=seed_1]")
    losses = {each["name"]: each["val_loss_by_seed"]["1"].get("10") for each in known}
    assert page.names()[:-1] == sorted(ranked[:-1], key=losses.get)


@pytest.mark.slow
def test_the_table_filters_by_text_and_by_kind(opened, report):
    page = opened(report).open()
    box = page.browser.find_element("css selector", "#filter")
    box.send_keys("IR")
    assert sorted(page.names()) == ["first", "third"]
    box.clear()
    box.send_keys("nan")
    assert page.names() == ["broken"]
    assert "failed: step 6" in page.run("document.querySelector('#table tbody').textContent")
    box.clear()
    box.send_keys(" ")
    for kind, names in (
        ("baselines", ["scratch"]),
        ("failed", ["broken"]),
        (
            "tied",
            [report["winner"]["name"], *report["doubt"]["indistinguishable_from_winner"]],
        ),
    ):
        page.run(
            "(s => { s.value = arguments[0]; s.dispatchEvent(new Event('change')); })"
            "(document.getElementById('kind'))",
            kind,
        )
        assert sorted(page.names()) == sorted(names)


@pytest.mark.slow
def test_a_hover_says_which_candidate_and_how_much(opened, report):
    from selenium.webdriver import ActionChains

    page = opened(report).open()
    chart = page.browser.find_element("css selector", "#chart-early_lag")
    page.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", chart)
    time.sleep(0.3)
    point = page.browser.find_element("css selector", "#chart-early_lag .points path")
    end = time.monotonic() + PATIENCE
    while not (
        text := page.run("document.querySelector('#chart-early_lag .hoverlayer').textContent")
    ):
        assert time.monotonic() < end
        ActionChains(page.browser).move_to_element_with_offset(chart, 1, 1).perform()
        ActionChains(page.browser).move_to_element(point).perform()
        time.sleep(0.3)
    found = [each for each in report["candidates"] if each["name"] in text]
    assert len(found) == 1
    assert f"{found[0]['val_loss']['10']:.4f}" in text
    assert f"{found[0]['val_loss']['50']:.4f}" in text
    assert page.errors() == []


@pytest.mark.slow
def test_dark_and_light_by_wish_and_by_press(opened, report):
    ground = "getComputedStyle(document.body).backgroundColor"
    axis = "getComputedStyle(document.querySelector('#chart-loss .xtick text')).fill"
    page = opened(report).open(theme="light")
    light = [page.run(ground), page.run(axis)]
    page.open(theme="dark")
    dark = [page.run(ground), page.run(axis)]
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    page.press("#theme")
    page.until("document.documentElement.dataset.drawn === 'light'")
    assert [page.run(ground), page.run(axis)] == light
    assert page.errors() == []


@pytest.mark.slow
def test_axes_change_between_log_and_linear(opened, report):
    page = opened(report).open()
    trace = "document.getElementById('chart-loss').data.find(each => each.meta === 'first')"
    assert page.run(f"{trace}.x") == pytest.approx(
        [0, 0.30103, 0.47712, 0.77815, 1.04139, 1.32222, 1.70757], abs=1e-5
    )
    page.press(".axes[data-chart=loss] button:nth-child(1)")
    assert page.run(f"{trace}.x") == [0, 1, 2, 5, 10, 20, 50]
    losses = list(report_losses(report, "first").values())
    assert page.run(f"{trace}.y") == losses
    kind = "document.getElementById('chart-loss').layout.yaxis.type"
    page.press(".axes[data-chart=loss] button:nth-child(2)")
    assert page.run(kind) == "log"
    page.press(".axes[data-chart=loss] button:nth-child(2)")
    assert page.run(f"{kind} ?? null") != "log"


def report_losses(report, name):
    return next(each for each in report["candidates"] if each["name"] == name)["val_loss"]


@pytest.mark.slow
def test_a_press_on_a_name_shows_its_curve(opened, report):
    page = opened(report).open()
    last = "document.getElementById('chart-loss').data.at(-1)"
    name = page.names()[3]
    page.press("#table tbody tr:nth-child(4) td.name button")
    assert page.run(f"{last}.meta") == name
    assert page.run(f"{last}.line.width") == 3
    page.press("#table tbody tr:nth-child(4) td.name button")
    assert page.run(f"{last}.meta") == report["winner"]["name"]


def test_hostile_names_do_nothing(opened):
    report = made_report((*HOSTILE, "plain"), failed=("</style><svg onload=alert(3)>",))
    report["name"] = HOSTILE[0]
    report["importance"] = made_importance((*HOSTILE, "plain"))
    page = opened(report).open()
    assert page.errors() == []
    assert page.run("document.title") == HOSTILE[0]
    assert page.run("document.querySelectorAll('img, main script, .hoverlayer a').length") == 0
    ranked = [each["name"] for each in report["candidates"]]
    assert page.names() == ranked
    legend = page.run("document.querySelector('#chart-loss .legend').textContent")
    assert report["winner"]["name"].replace("\n", " ") in legend.replace("\n", " ")


@pytest.mark.slow
def test_many_candidates_are_paged_and_all_can_be_shown(opened):
    names = [f"made-{number}" for number in range(1500)]
    report = made_report(names, oracle=False, baseline=None)
    page = opened(report).open()
    assert len(page.names()) == 50
    assert page.run("document.getElementById('count').textContent") == "1,500 candidates, 50 shown"
    page.press("#more button:last-child")
    assert len(page.names()) == 1500
    assert page.run("document.getElementById('more').childElementCount") == 0
    page.press("#table th button[data-key=at_0]")
    losses = {each["name"]: each["val_loss"]["0"] for each in report["candidates"]}
    assert page.names() == sorted(names, key=losses.get)


@pytest.mark.slow
def test_curves_of_another_trainer_open_without_what_they_have_not(opened, tmp_path):
    names, steps = ["<i>one</i>", "two", "three"], (1, 10, 100)
    rows = [
        f"{name},{step},{3 - place / step}" for place, name in enumerate(names) for step in steps
    ]
    path = tmp_path / "curves.csv"
    path.write_text("candidate,step,val_loss\n" + "\n".join(rows) + "\n")
    report = statistics(read_curves(path, Asked(lag=10))) | {"curves": str(path)}
    page = opened(report).open()
    assert page.errors() == []
    assert page.names() == ["three", "two", "<i>one</i>"]
    heads = "document.querySelectorAll('#table th button')"
    assert page.run(f"Array.from({heads}, head => head.dataset.key)") == [
        *("rank", "name", "at_0", "at_lag", "gap", "end")
    ]
    page.press("#table th button[data-key=end]")
    page.press("#table tbody tr:nth-child(2) td.name button")
    assert page.errors() == []
    axis = "document.querySelector('#chart-loss .xtitle').textContent"
    assert page.run(axis) == "step"
    assert page.run("document.querySelectorAll('.winner-map, #legend > *').length") == 0


REPORTS = Path(__file__).parents[2] / "reports"
STAGED = REPORTS / "adaptive-decoder-laptop"


@pytest.fixture
def staged(browser, tmp_path):
    report = json.loads((STAGED / "report.json").read_text())
    figures = draw_courses(report, tmp_path / "figures", 6.75)
    path = tmp_path / "report.html"
    path.write_text(course_html(report, figures, tmp_path / "figures"), encoding="utf-8")
    browser.get_log("browser")
    return report, Opened(browser, path)


@pytest.mark.draws
@pytest.mark.parametrize("width", [pytest.param(400, marks=pytest.mark.slow), 1400])
def test_a_run_of_stages_opens_with_its_courses_and_growth_points(staged, width):
    report, page = staged
    page.open(width)
    assert page.errors() == []
    assert page.run("document.documentElement.scrollWidth") <= width
    lines = "document.getElementById('chart-loss').data.filter(each => each.text)"
    found = dict(page.run(f"{lines}.map(each => [each.text, each.y.at(-1)])"))
    means = {row["course"]: row["val_loss"]["value"] for row in report["table"]}
    assert found == {name: pytest.approx(value) for name, value in means.items()}
    lasts = page.run(f"{lines}.map(each => each.x.at(-1))")
    assert set(lasts) == {report["steps"]}  # steps are linear at first
    others = "document.getElementById('chart-difference').data"
    away = dict(page.run(f"{others}.map(each => [each.text, each.y.at(-1)])"))
    behind = {row["course"]: row["behind"]["value"] for row in report["table"] if "behind" in row}
    assert away == {name: pytest.approx(value) for name, value in behind.items()}
    shapes = page.run("document.getElementById('chart-loss').layout.shapes.map(each => each.x0)")
    adaptive = next(each for each in report["courses"] if each["name"] == "adaptive")
    assert shapes == [each["begins"] for each in adaptive["stages"]][1:]
    page.press("#theme")
    page.until("document.documentElement.dataset.drawn === 'dark'")
    assert page.errors() == []


def test_where_a_table_goes_on_behind_an_edge_there_is_a_shadow(opened):
    page = opened(made_report()).open(width=390)
    box = "document.querySelector('#table').closest('.scroll')"
    assert page.run(f"{box}.scrollWidth > {box}.clientWidth")
    assert page.run(f"getComputedStyle({box}).backgroundImage").count("linear-gradient") == 4
    kinds = "local, local, scroll, scroll"
    assert page.run(f"getComputedStyle({box}).backgroundAttachment") == kinds


SHOWN = ("quickstart-oracle", "evidence-shakespeare", "adaptive-decoder-laptop")
"""One search with a baseline beside, one of three seeds, one of four stages."""
LOOKS = [(width, theme) for width in (390, 800, 1400) for theme in ("light", "dark")]
CLIPPED = """(() => {
  const found = [];
  for (const chart of document.querySelectorAll(".chart")) {
    const whole = chart.getBoundingClientRect();
    const texts = [...chart.querySelectorAll(
      ".xtick text, .ytick text, .g-xtitle text, .g-ytitle text, .legendtext, " +
      ".annotation-text, .cbaxis text"
    )].filter((each) => each.textContent.trim());
    const boxes = texts.map((each) => [each.textContent, each.getBoundingClientRect()]);
    const slack = 1;
    for (const [text, box] of boxes) {
      if (box.left < whole.left - slack || box.right > whole.right + slack ||
          box.top < whole.top - slack || box.bottom > whole.bottom + slack) {
        found.push(`${chart.id}: "${text}" is cut`);
      }
    }
    boxes.forEach(([one, a], place) => {
      for (const [other, b] of boxes.slice(place + 1)) {
        const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (across > slack && down > slack) found.push(`${chart.id}: "${one}" lies on "${other}"`);
      }
    });
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Return the pages of committed reports, as today's code makes them, with their drawings."""
    folder, paths = tmp_path_factory.mktemp("pages"), {}
    for name in SHOWN:
        report = json.loads((REPORTS / name / "report.json").read_text())
        paths[name] = folder / f"{name}.html"
        if report.get("kind") == "stages":
            figures = draw_courses(report, folder / name, 6.75)
            page = course_html(report, figures, folder / name)
        else:
            page = stage_html(report, Path("reports") / name)
        paths[name].write_text(page, encoding="utf-8")
    return paths


@pytest.fixture
def shown(browser, pages):
    def show(name):
        browser.get_log("browser")
        return Opened(browser, pages[name])

    return show


@pytest.mark.slow
@pytest.mark.draws
@pytest.mark.parametrize(("width", "theme"), LOOKS)
@pytest.mark.parametrize("name", SHOWN)
def test_nothing_is_cut_or_lies_on_another(shown, name, width, theme):
    page = shown(name).open(width, theme)
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run(CLIPPED) == []
    assert page.errors() == []


@pytest.mark.slow
@pytest.mark.draws
def test_drawings_are_dark_by_night(shown):
    page = shown("adaptive-decoder-laptop").open(theme="dark")
    patch = "document.querySelector('figure > svg #patch_1 path')"
    ground = page.run(f"getComputedStyle({patch}).fill")
    assert ground == page.run("getComputedStyle(document.querySelector('section')).backgroundColor")
    ink = page.run("getComputedStyle(document.querySelector('figure > svg text')).fill")
    assert ink == page.run("getComputedStyle(document.body).color")


@pytest.mark.slow
@pytest.mark.draws
@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1400, "light"), (1400, "dark")])
@pytest.mark.parametrize("name", SHOWN)
def test_it_can_be_used_without_seeing_it(shown, name, width, theme):
    """axe-core finds nothing serious; LAGSEARCH_AXE names its axe.min.js (npm pack axe-core)."""
    path = os.environ.get("LAGSEARCH_AXE")
    if path is None:
        pytest.skip("LAGSEARCH_AXE does not name axe-core's axe.min.js")
    page = shown(name).open(width, theme)
    script = {"expression": Path(path).read_text(encoding="utf-8")}
    page.browser.execute_cdp_cmd("Runtime.evaluate", script)
    found = page.browser.execute_async_script(
        "const done = arguments[0];"
        "axe.run(document, {resultTypes: ['violations']}).then(({violations}) => done("
        "violations.map(each => [each.impact, each.id, each.nodes[0].html.slice(0, 200)])))"
    )
    assert [each for each in found if each[0] in ("serious", "critical")] == []


@pytest.mark.slow
@pytest.mark.draws
@pytest.mark.parametrize("name", SHOWN)
def test_it_prints_whole_and_light(shown, name):
    page = shown(name).open(1400, "dark")
    before = page.run("document.getElementById('chart-loss').clientWidth")
    page.run("dispatchEvent(new Event('beforeprint'))")
    width = page.run("document.body.clientWidth")
    assert width == 680  # letter and A4 less their margins are as wide
    charts = "Array.from(document.querySelectorAll('.chart .main-svg'), each => each.clientWidth)"
    assert max(page.run(charts)) <= width
    assert page.run("document.documentElement.dataset.theme") == "light"
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    scrolled = "Array.from(document.querySelectorAll('.scroll'), each => each.scrollWidth)"
    assert max(page.run(scrolled)) <= width
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    page.run("dispatchEvent(new Event('afterprint'))")
    assert page.run("document.getElementById('chart-loss').clientWidth") == before
    assert page.run("document.documentElement.dataset.theme ?? null") is None


@pytest.mark.slow
@pytest.mark.draws
def test_all_of_it_is_on_paper(pages, tmp_path):
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None or shutil.which("pdftotext") is None:
        pytest.skip("chromium and pdftotext are not installed")
    path = tmp_path / "report.pdf"
    flags = [*FLAGS, f"--user-data-dir={tmp_path}/profile", f"--print-to-pdf={path}"]
    page = pages["evidence-shakespeare"].as_uri()
    subprocess.run([program, *flags, page], check=True, capture_output=True, timeout=200)
    told = subprocess.run(["pdftotext", "-layout", path, "-"], capture_output=True, text=True)
    report = json.loads((REPORTS / "evidence-shakespeare" / "report.json").read_text())
    words = told.stdout
    for each in report["candidates"]:
        assert f"{each['val_loss']['800']:.4f}" in words
        assert f"{each['parameters']:,}" in words
    assert "Relative regret by step" in words
    assert "Sources and files" in words
