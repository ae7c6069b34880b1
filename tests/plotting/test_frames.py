import base64
import json
import re

import matplotlib.pyplot as plt
import pytest

from glasslit.plotting import slider


def frames(n):
    for k in range(n):
        figure, axis = plt.subplots(figsize=(1, 1), dpi=20)
        axis.plot([0, k])
        yield figure


def test_a_slider_holds_all_frames_and_closes_their_figures():
    page = slider(frames(3), ["0°", "15°", "</script>"], alt='an "arrow" that turns')
    (urls,) = re.findall(r"frames = (\[.*?\]), labels", page)
    pictures = [base64.b64decode(url.split(",")[1]) for url in json.loads(urls)]
    assert len(set(pictures)) == 3
    assert all(p.startswith(b"RIFF") and p[8:12] == b"WEBP" for p in pictures)
    assert page.count("</script>") == 1, "a label must not end the script"
    assert 'alt="an &quot;arrow&quot; that turns"' in page
    assert f'src="{json.loads(urls)[0]}"' in page, "without scripts the first frame stands"
    assert 'max="2"' in page
    assert 'width="96"' in page, "an inch of the figure is an inch on the page"
    assert not plt.get_fignums()


@pytest.mark.parametrize(("n", "labels"), [(0, []), (2, ["one"])])
def test_a_slider_needs_a_label_for_each_frame(n, labels):
    with pytest.raises(ValueError, match=f"{n} figures and {len(labels)} labels; expected a label for each"):
        slider(frames(n), labels, alt="")
