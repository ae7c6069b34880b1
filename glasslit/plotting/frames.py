"""Figures behind each other, with a slider: kernel-free, offline."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

_SLIDER = """\
<figure class="glasslit-slider" id="{name}">
<img src="{first}" alt="{alt}" width="{width}">
<p><button type="button">play</button>
<input type="range" min="0" max="{last}" value="0" aria-label="frame"> <output>{label}</output></p>
<script>(() => {{
const frames = {frames}, labels = {labels};
const [image, button, range, output] = ["img", "button", "input", "output"].map(
  (tag) => document.querySelector("#{name} " + tag));
const show = (k) => {{ range.value = k; image.src = frames[k]; output.value = labels[k]; }};
range.oninput = () => show(+range.value);
let playing = null;
button.onclick = () => {{
  playing = playing ? clearInterval(playing) : setInterval(() => show((+range.value + 1) % frames.length), {pause});
  button.textContent = playing ? "stop" : "play";
}};
}})();</script>
</figure>"""


def slider(figures: Iterable[Figure], labels: Sequence[str], alt: str, pause: float = 0.15) -> str:
    """Figures behind each other, with a slider and a button that plays them; needs no kernel and no network.

    Parameters
    ----------
    figures : the frames, all of one size, shown at this size (96 pixels an inch) where there is room; each is closed
        before the next is asked for. A telephone shows 350 pixels: up to 4.8 inches, words of 10 points can be read
    labels : one for each, shown beside the slider
    alt : what there is to see, for those who cannot; without scripts the first frame stands
    pause : seconds between frames

    Returns
    -------
    HTML, for ``IPython.display.HTML``.

    Raises
    ------
    ValueError
        If there is no figure, or not a label for each.
    """
    frames: list[str] = []
    width = 0.0
    for figure in figures:
        width = figure.get_figwidth()
        picture = io.BytesIO()
        figure.savefig(picture, format="webp", bbox_inches=None, pil_kwargs={"quality": 80})  # a quarter of a PNG
        plt.close(figure)
        frames.append("data:image/webp;base64," + base64.b64encode(picture.getvalue()).decode())
    if not frames or len(frames) != len(labels):
        raise ValueError(f"{len(frames)} figures and {len(labels)} labels; expected a label for each, and at least one")
    return _SLIDER.format(
        name="slider-" + hashlib.sha256("".join(frames).encode()).hexdigest()[:12],
        first=frames[0],
        last=len(frames) - 1,
        alt=html.escape(alt),
        width=round(96 * width),
        label=html.escape(labels[0]),
        frames=json.dumps(frames),
        labels=json.dumps(list(labels)).replace("</", "<\\/"),
        pause=round(1000 * pause),
    )
