"""The view of particles in three dimensions: what the page holds, and what it does in a browser."""

import base64
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import glasslit as gl
from glasslit import viewer
from glasslit.liquid.periodic import wrap
from glasslit.testing import BROKEN, predictions_when_turned
from tests.common import ROOT

TURNS = np.arange(0, 360, 15)
AXES = ("the network", "the broken network")


@pytest.fixture(scope="module")
def liquid():
    return gl.load("starter", T=0.44, split="test")[0]


@pytest.fixture(scope="module")
def network():
    return gl.load_model(ROOT / "book" / "runs" / "T0.44" / "model.pt")


@pytest.fixture(scope="module")
def predictions(liquid, network):
    networks = dict(zip(AXES, (network, BROKEN["swapped_axes"](network)), strict=True))
    return {name: predictions_when_turned(net, liquid, TURNS) for name, net in networks.items()}


@pytest.fixture(scope="module")
def page(liquid, network, predictions):
    return viewer.particles(
        wrap(liquid.positions, liquid.box),
        liquid.box,
        liquid.types,
        simulated=liquid.propensity,
        predictions=predictions,
        times=network.times,
        turns=TURNS,
        show="predicted",
        alt='The "liquid", twice.',
    )


def opened(browser, page, folder, width=1000, **settings):
    """A page in a browser, with what its scripts complained about and what it asked the network for."""
    path = folder / "page.html"
    path.write_text(f'<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">{page}')
    tab, errors = browser.new_page(viewport={"width": width, "height": 900}, **settings), []
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("request", lambda asked: asked.url.startswith("http") and errors.append(asked.url))
    tab.goto(path.as_uri())
    tab.wait_for_timeout(100)
    return tab, errors


@pytest.fixture
def tab(browser, page, tmp_path):
    tab, errors = opened(browser, page, tmp_path)
    yield tab
    tab.close()
    assert errors == []


STATE = "document.querySelector('.glasslit-view').view.state"


def picture(tab, panel=0):
    """What a canvas shows, after the next frame."""
    tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    url = tab.evaluate("panel => document.querySelectorAll('canvas')[panel].toDataURL()", panel)
    return url


def numbers(tab, mode, panel=0):
    """What the page takes for the numbers of all particles."""
    tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    call = "([panel, mode, n]) => { const v = document.querySelector('.glasslit-view').view; "
    return np.array(
        tab.evaluate(call + "return [...Array(n).keys()].map(i => v.value(panel, i, mode)) }", [panel, mode, 1000])
    )


def put(tab, slider, value):
    tab.evaluate(
        "([s, v]) => { const e = document.querySelector(s); e.value = v; e.dispatchEvent(new Event('input')) }",
        [slider, value],
    )


def test_a_page_has_at_most_300_kilobytes_and_no_address(page):
    assert len(page.encode()) < 300_000
    assert not re.search(r"https?://", page)
    assert page.count("</script>") == 1
    assert 'alt="The &quot;liquid&quot;, twice."' in page


@pytest.mark.browser
def test_numbers_on_the_page_are_those_of_python(tab, liquid, predictions):
    for time in (0, 3, 6):
        put(tab, ".glv-time", time)
        known = np.stack([liquid.propensity[time], *(p[0, time] for p in predictions.values())])
        half = (known.max() - known.min()) / 255 / 2 * 1.001
        change = {name: p[:, time] - p[0, time] for name, p in predictions.items()}
        half_change = max(np.abs(c).max() for c in change.values()) / 127 / 2 * 1.001
        assert np.abs(numbers(tab, "simulated") - liquid.propensity[time]).max() <= half
        for turn in (0, 5, 6):
            put(tab, ".glv-turn", turn)
            for panel, (name, values) in enumerate(predictions.items()):
                assert np.abs(numbers(tab, "change", panel) - change[name][turn]).max() <= half_change
                shown = numbers(tab, "predicted", panel)
                assert np.abs(shown - values[turn, time]).max() <= half + half_change
                error = values[turn, time] - liquid.propensity[time]
                assert np.abs(numbers(tab, "error", panel) - error).max() <= 2 * half + half_change
    assert half < 0.01 * np.ptp(known)
    assert half_change < 0.01 * np.abs(change[AXES[1]]).max()


def test_positions_are_kept_to_sixteen_bits(page, liquid):
    found = re.search(r'"positions":"([^"]*)"', page)[1]
    kept = np.frombuffer(base64.b64decode(found), "<u2").reshape(-1, 3) / 65535 * liquid.box
    assert np.abs(kept - wrap(liquid.positions, liquid.box)).max() <= liquid.box.max() / 65535 / 2 * 1.001


def test_a_turn_changes_the_broken_network_and_not_the_network(predictions, page):
    """The numbers that stand on the page; the second is the negative control."""
    largest = {name: np.abs(p - p[0]).max() / np.abs(p[0]).max() for name, p in predictions.items()}
    assert largest[AXES[0]] < 1e-6
    assert largest[AXES[1]] > 0.05
    said = re.findall(r"Largest change of all 24 turns: ([^<]*)<", page)
    assert said == [viewer._share(largest[name]) for name in AXES]
    assert re.fullmatch(r"\d\.\d\u00a0×\u00a010⁻⁷", said[0])
    assert said[1].endswith("%")


def test_turned_vectors_are_those_of_the_turned_liquid(liquid, network):
    """At a quarter turn the periodic cube lies on itself, and its positions can be turned."""
    broken = BROKEN["swapped_axes"](network)
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    expected = broken.predict(liquid.replace(positions=liquid.positions @ quarter.T))
    found = predictions_when_turned(broken, liquid, [0, 90])
    assert np.abs(found[1] - expected).max() < 1e-5
    assert np.abs(found[0] - expected).max() > 0.01
    assert np.abs(found[0] - broken.predict(liquid)).max() < 1e-6


@pytest.mark.browser
def test_dragging_turns_the_liquid(tab):
    before = picture(tab)
    assert picture(tab) == before, "nothing moves by itself"
    box = tab.locator("canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + box["width"] / 4, y, steps=4)
    tab.mouse.up()
    assert tab.evaluate(f"{STATE}.angle") == pytest.approx(45)
    assert tab.evaluate(f"{STATE}.tilt") == 20
    assert picture(tab) != before
    tab.mouse.move(x + 100, y + 100)
    assert tab.evaluate(f"{STATE}.angle") == pytest.approx(45), "the button was let go"
    assert tab.locator(".glv-turn-said").text_content() == "45°"
    tab.locator(".glv-reset").click()
    assert picture(tab) == before


@pytest.mark.browser
def test_the_front_goes_where_the_hand_goes_and_turns_are_counterclockwise_seen_from_above(browser, tmp_path):
    """One particle in front, dragged to the right, is seen on the right, at 90 degrees: it went from -y to +x."""
    one = viewer.particles(np.array([[5.0, 0.0, 5.0]]), np.full(3, 10.0), np.array([0]), show="type")
    tab, errors = opened(browser, one, tmp_path)
    middle = """() => {
        const c = document.querySelector('canvas'), w = c.width;
        const d = c.getContext('2d').getImageData(0, 0, w, w).data;
        let [n, x] = [0, 0];
        for (let k = 0; k < d.length; k += 4)
            if (d[k + 2] > d[k] + 60 && d[k + 3] > 200) { n++; x += (k / 4) % w }
        return x / n / w
    }"""
    picture(tab)
    assert tab.evaluate(middle) == pytest.approx(0.5, abs=0.02)
    put(tab, ".glv-turn", 90)
    picture(tab)
    assert tab.evaluate(middle) > 0.75
    put(tab, ".glv-turn", 0)
    box = tab.locator("canvas").first.bounding_box()
    tab.mouse.move(box["x"] + 100, box["y"] + 100)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 140, box["y"] + 100)
    picture(tab)
    assert tab.evaluate(middle) > 0.52
    assert errors == []


@pytest.mark.browser
def test_time_mode_and_cut_change_the_picture(tab):
    pictures = {"predicted": picture(tab)}
    put(tab, ".glv-time", 0)
    pictures["early"] = picture(tab)
    assert tab.locator(".glv-time").get_attribute("aria-valuetext") == "0.13 (1 of 7)"
    for mode in ("simulated", "error", "type"):
        tab.check(f"input[value={mode}]")
        pictures[mode] = picture(tab)
        told = tab.locator(".glv-title").all_text_contents()
        assert told == ([mode] * 2 if mode != "error" else [f"{name}: error" for name in AXES])
    tab.check(".glv-cut")
    pictures["cut"] = picture(tab)
    assert len(set(pictures.values())) == len(pictures)


@pytest.mark.browser
def test_only_the_broken_network_changes_its_colors_under_a_turn(tab):
    tab.check("input[value=change]")
    flat = [picture(tab, panel) for panel in (0, 1)]
    assert flat[0] == flat[1], "nothing was turned yet"
    put(tab, ".glv-turn", 6)
    assert picture(tab, 0) != picture(tab, 1)
    assert np.abs(numbers(tab, "change", 0)).max() == 0
    assert np.abs(numbers(tab, "change", 1)).max() > 0.05
    said = tab.locator(".glv-said").all_text_contents()
    assert re.fullmatch(r"Changed by at most \d\.\d\s×\s10⁻⁷", said[0])
    assert re.fullmatch(r"Changed by at most [\d.]+\s%", said[1])


@pytest.mark.browser
def test_keys_turn_tilt_and_zoom(tab):
    before = picture(tab)
    tab.locator(".glv-stage").focus()
    for key, name, value in (
        ("ArrowRight", "angle", 15),
        ("ArrowLeft", "angle", 0),
        ("ArrowLeft", "angle", 345),
        ("ArrowDown", "tilt", 30),
        ("ArrowUp", "tilt", 20),
        ("+", "zoom", 1.2),
        ("-", "zoom", 1),
        ("-", "zoom", 1 / 1.2),
    ):
        tab.keyboard.press(key)
        assert tab.evaluate(f"{STATE}.{name}") == pytest.approx(value), key
    assert picture(tab) != before
    tab.keyboard.press("Home")
    assert picture(tab) == before
    tab.locator(".glv-turn").focus()
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate(f"{STATE}.angle") == 15


@pytest.mark.browser
def test_the_wheel_scrolls_the_page_until_the_view_is_chosen(tab):
    box = tab.locator("canvas").first.bounding_box()
    tab.mouse.move(box["x"] + 50, box["y"] + 50)
    tab.mouse.wheel(0, -100)
    tab.wait_for_timeout(50)
    assert tab.evaluate(f"{STATE}.zoom") == 1
    tab.mouse.click(box["x"] + 50, box["y"] + 50)
    tab.mouse.wheel(0, -100)
    tab.wait_for_timeout(50)
    assert tab.evaluate(f"{STATE}.zoom") > 1.1


@pytest.mark.browser
def test_on_a_telephone_a_finger_turns_and_two_zoom(browser, page, tmp_path):
    tab, errors = opened(browser, page, tmp_path, 390, has_touch=True, is_mobile=True, device_scale_factor=3)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    sharp = tab.evaluate("(() => { const c = document.querySelector('canvas'); return c.width / c.clientWidth })()")
    assert sharp == pytest.approx(3, abs=0.05)
    box = tab.locator("canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = tab.context.new_cdp_session(tab)

    def touch(kind, *points):
        places = [{"x": px, "y": y, "id": k} for k, px in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", x)
    for k in range(1, 6):
        touch("touchMove", x + 8 * k)
    touch("touchEnd")
    tab.wait_for_timeout(50)
    assert 10 < tab.evaluate(f"{STATE}.angle") < 60
    assert tab.evaluate(f"{STATE}.zoom") == 1
    touch("touchStart", x - 20, x + 20)
    for k in range(1, 6):
        touch("touchMove", x - 20 - 4 * k, x + 20 + 4 * k)
    touch("touchEnd")
    tab.wait_for_timeout(50)
    assert tab.evaluate(f"{STATE}.zoom") > 1.3
    assert errors == []


@pytest.mark.browser
def test_without_scripts_a_still_picture_stands_and_looks_like_the_view(browser, page, tab, tmp_path):
    still, errors = opened(browser, page, tmp_path, java_script_enabled=False)
    pictures = still.locator(".glv-still")
    assert pictures.count() == 2
    assert pictures.first.is_visible()
    assert not any(c.is_visible() for c in still.locator("canvas, .glv-controls, .glv-legend").all())
    assert "Largest change of all 24 turns" in still.locator(".glv-stage").text_content()
    assert errors == []
    assert not tab.locator(".glv-still").first.is_visible()
    shots = []
    for one, selector in ((still, ".glv-still"), (tab, "canvas")):
        path = tmp_path / "shot.png"
        one.locator(selector).first.screenshot(path=path)
        shot = np.asarray(Image.open(path).convert("RGB").resize((30, 30), Image.Resampling.BOX), dtype=float)
        shots.append(shot[..., 0] - shot[..., 2])  # yellow against blue
    alike = np.corrcoef(shots[0].ravel(), shots[1].ravel())[0, 1]
    assert alike > 0.9
    assert np.corrcoef(shots[0][:, ::-1].ravel(), shots[1].ravel())[0, 1] < 0.75, "a mirrored picture would be seen"


@pytest.mark.browser
def test_two_views_on_a_page_are_apart_and_colors_follow_the_theme(browser, tmp_path, liquid):
    one = viewer.particles(wrap(liquid.positions, liquid.box), liquid.box, liquid.types)
    style = "<style>[data-theme=dark] { --pst-color-background: #101010; --pst-color-text-base: #ddd }</style>"
    tab, errors = opened(browser, style + one + one, tmp_path)
    before = picture(tab, 0)
    assert picture(tab, 1) == before
    tab.locator(".glv-stage").nth(1).focus()
    tab.keyboard.press("ArrowRight")
    assert picture(tab, 1) != before
    assert picture(tab, 0) == before
    tab.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert picture(tab, 0) != before
    assert errors == []


def test_numbers_without_times_and_turns_are_taken_too(liquid):
    place = wrap(liquid.positions, liquid.box)
    plain = viewer.particles(place, liquid.box, liquid.types)
    assert "glv-mode" not in plain.split("<script>")[0].split("</style>")[1]
    energy = viewer.particles(
        place, liquid.box, liquid.types, predictions={"<E>": liquid.potential_energy_inherent}, label="energy / ε_AA"
    )
    assert "<E>" not in energy.split("<script>")[0]
    assert 'class="glv-time"' not in energy
    constant = viewer.particles(place, liquid.box, liquid.types, simulated=np.ones(1000))
    assert "NaN" not in constant.split("<script>")[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": np.zeros((4, 2))}, r"positions of shape \(4, 2\); expected \(4, 3\)"),
        ({"positions": np.full((4, 3), 9.0)}, "outside the box"),
        ({"positions": np.full((4, 3), np.nan)}, "12 numbers that are not finite"),
        ({"box": np.ones(2)}, r"box of shape \(2,\)"),
        ({"types": np.array([0, 1, 2, 0])}, "each of them 0"),
        ({"simulated": np.zeros((3, 4))}, r"simulated of shape \(3, 4\); expected \(2, 4\)"),
        ({"predictions": {"net": np.zeros((2, 4))}}, r"predictions\['net'\] of shape \(2, 4\); expected \(2, 2, 4\)"),
        ({"turns": [15, 30]}, "expected degrees that begin with 0"),
        ({"predictions": None}, "turns without predictions"),
        ({"show": "errors"}, "show='errors'; expected one of 'simulated', 'predicted', 'error', 'change', 'type'"),
        ({"simulated": None, "show": "error"}, "show='error'; expected one of 'predicted', 'change', 'type'"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    good = {
        "positions": np.ones((4, 3)),
        "box": np.full(3, 2.0),
        "types": np.array([0, 1, 1, 0]),
        "simulated": np.zeros((2, 4)),
        "predictions": {"net": np.zeros((2, 2, 4))},
        "times": [1, 10],
        "turns": [0, 90],
    }
    assert viewer.particles(**good)
    with pytest.raises(ValueError, match=message):
        viewer.particles(**good | change)


DIRECTIVE = (
    "# P\n\n```{liquid-view} runs/T0.44\n:alt: A cube of particles, twice, colored by predicted mobility.\n```\n"
)


def built(folder, text, *words):
    (folder / "index.md").write_text(text)
    (folder / "conf.py").write_text(
        f"import sys; sys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})\n"
        "extensions = ['myst_parser', 'liquid_view']\nhtml_theme = 'basic'\nexclude_patterns = ['runs', 'out']\n"
    )
    if not (folder / "runs").exists():
        shutil.copytree(ROOT / "book" / "runs" / "T0.44", folder / "runs" / "T0.44")
    command = [sys.executable, "-m", "sphinx", "-E", "-W", "-q", *words, folder, folder / "out" / "made"]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_directive_computes_once_and_is_plain_text_elsewhere(tmp_path, page):
    assert built(tmp_path, DIRECTIVE).stderr == ""
    (kept,) = (tmp_path / "out" / "liquid_views").iterdir()
    text = (tmp_path / "out" / "made" / "index.html").read_text()
    assert kept.read_text() in text
    assert re.findall(r"Largest change[^<]*", text) == re.findall(r"Largest change[^<]*", page)
    assert len(text) < 300_000
    kept.write_text("<p>kept</p>")
    assert built(tmp_path, DIRECTIVE).stderr == ""
    assert "<p>kept</p>" in (tmp_path / "out" / "made" / "index.html").read_text()
    assert built(tmp_path, DIRECTIVE, "-b", "text").stderr == ""
    assert "A cube of particles, twice" in (tmp_path / "out" / "made" / "index.txt").read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("runs/T0.44", "runs/T0.45", "expected a run's folder"),
        (" A cube of particles, twice,", "", "expected a sentence"),
    ],
)
def test_the_directive_refuses_what_it_cannot_show(tmp_path, old, new, message):
    text = DIRECTIVE.replace(old, new)
    if "sentence" in message:
        text = text.replace(" colored by predicted mobility.", " x")
    done = built(tmp_path, text)
    assert done.returncode
    assert message in done.stderr
    assert "index.md:3" in done.stderr
