"""Sphinx extension: the directive ``liquid-view``, a liquid to turn on a page without code.

    ```{liquid-view} runs/T0.44
    :alt: What there is to see.
    ```

The argument is a run's folder, beside the page, with the network ``model.pt``. Shown is the first configuration of the
starter set's test part at the network's temperature, which the network did not learn from; beside the network stands
the same one with two axes exchanged. Predictions are computed when the book is built, and kept in ``_build`` until the
network, the package or the data changes. Formats without scripts get the alternative text.
"""

import hashlib
import json
from pathlib import Path
from types import MappingProxyType

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

from glasslit import provenance

PACKAGE = Path(provenance.__file__).parent
TURNS = range(0, 360, 15)
"""Degrees."""


def page(run, alt):
    """HTML of the view."""
    import glasslit as gl
    from glasslit.liquid.periodic import wrap

    net = gl.load_model(run / "model.pt")
    temperature = json.loads((run / "card.json").read_text())["parameters"]["T"]
    liquid = gl.load("starter", T=temperature, split="test")[0]
    networks = {
        "the network": net,
        "the broken network": gl.testing.BROKEN["swapped_axes"](net),
    }
    return gl.viewer.particles(
        wrap(liquid.positions, liquid.box),
        liquid.box,
        liquid.types,
        simulated=liquid.propensity,
        predictions={
            name: gl.testing.predictions_when_turned(network, liquid, TURNS)
            for name, network in networks.items()
        },
        times=net.times,
        turns=TURNS,
        show="predicted",
        alt=alt,
    )


class LiquidView(SphinxDirective):
    required_arguments = 1
    option_spec = MappingProxyType({"alt": directives.unchanged_required})

    def run(self):
        alt = self.options.get("alt", "")
        if len(alt) < 30:
            raise self.error(
                f"liquid-view: alt is {alt!r}; expected a sentence that says what there is to see"
            )
        run = Path(self.env.doc2path(self.env.docname)).parent.joinpath(
            self.arguments[0]
        )
        if not (run / "model.pt").is_file():
            raise self.error(
                f"liquid-view: found no {run / 'model.pt'}; expected a run's folder, beside the page"
            )
        digest = hashlib.sha256(
            (run / "model.pt").read_bytes()
            + provenance.source_hash().encode()
            + alt.encode()
            + b"".join(
                file.read_bytes()
                for file in (Path(__file__), *PACKAGE.glob("viewer.*"))
            )
        ).hexdigest()
        kept = Path(self.env.app.outdir).parent / "liquid_views"
        path = kept / f"{digest[:16]}.html"
        if not path.is_file():
            kept.mkdir(parents=True, exist_ok=True)
            path.write_text(page(run, alt))
        for file in (run / "model.pt", __file__):
            self.env.note_dependency(str(file))
        shown = nodes.raw("", path.read_text(), format="html")
        instead = nodes.paragraph("", alt, classes=["liquid-view-alt"])
        self.set_source_info(shown)
        return [shown, addnodes.only("", instead, expr="not html")]


def setup(app):
    app.add_directive("liquid-view", LiquidView)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
