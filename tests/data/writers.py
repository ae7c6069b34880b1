"""Random small liquids, and every format that is read, written by hand: nothing here knows the package's readers.

A writer takes a liquid and draws the variant: which columns, in which order, how blanks stand. With ``spoil`` it makes
one mistake that a reader has to refuse; :data:`WRITERS` says which mistakes each can make.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import strategies as st

UNITS, TILT, SIDES, FLAGS, TWICE, ROWS, BOX = (
    "other units", "a tilted box", "a box that is not periodic", "flags of two directions", "an id twice",
    "a row too few", "no box",
)  # fmt: skip
LABELS = [("1", "2"), ("2", "1"), ("A", "B"), ("big", "small"), ("Bq", "A")]
"""What a file may call types A and B; words are words, and 2 may be A."""


@dataclass(frozen=True)
class Frame:
    """One moment: a box with its lower corner, positions folded into it, and by how many boxes each was folded."""

    low: np.ndarray
    edges: np.ndarray
    inside: np.ndarray
    image: np.ndarray
    step: int

    @property
    def unwrapped(self):
        return self.inside + self.image * self.edges


@dataclass(frozen=True)
class Liquid:
    types: np.ndarray  # 0 = A, 1 = B
    ids: np.ndarray
    frames: list[Frame]


@dataclass
class Written:
    """A file, what has to be said beside it, and what has to be read from it."""

    name: str
    content: bytes
    positions: list[np.ndarray]  # of each frame, in the order of the liquid's particles
    type_map: dict | None
    ids: np.ndarray | None = None
    has_step: bool = True
    beside: dict = field(default_factory=dict)
    header: list[int] = field(default_factory=list)  # lines that are no rows of particles
    atol: float = 1e-9
    order: np.ndarray | None = None  # in which particles are read, where ids do not say it


@st.composite
def liquids(draw, most=3, ids=None, least=1, centered=False, fixed_box=False):
    """One to eight particles over several boxes, one to ``most`` moments. Floats are random, all the rest is drawn."""
    n = draw(st.integers(least, 8))
    whole = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 20)
    known = draw(st.lists(whole, min_size=n, max_size=n, unique=True)) if ids is None else ids(n)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = sorted(draw(st.sets(st.integers(0, 10**12), min_size=1, max_size=most)))
    frames, edges = [], rng.uniform(2, 9, 3)
    for step in steps:
        edges = edges if fixed_box else rng.uniform(2, 9, 3)
        low = -edges / 2 if centered else rng.uniform(-20, 20, 3)
        inside = low + rng.uniform(0, 1, (n, 3)) * edges
        frames.append(Frame(low, edges, inside, rng.integers(-3, 4, (n, 3)), step))
    return Liquid(rng.integers(0, 2, n), np.array(known, dtype=np.int64), frames)


def _map(draw, liquid, labels):
    """A type map for these labels, or none where A and B are called so."""
    if set(labels) == {"A", "B"} and labels[0] == "A" and draw(st.booleans()):
        return None
    return {(int(label) if label.isdecimal() else label): k for label, k in zip(labels, "AB", strict=True)}


def _spoil_ids(ids, spoil):
    """The first id again in the last place."""
    return np.array([*ids[:-1], ids[0]]) if spoil == TWICE else ids


def _joined(draw, rows, separators=(" ", "\t", "  ")):
    """Rows of words as lines; between words, and before and behind them, blanks or tabs."""
    apart, edge = draw(st.sampled_from(separators)), draw(st.sampled_from(["", *separators[:1]]))
    return [edge + apart.join(map(str, row)) + edge for row in rows]


def _order(draw, n, shuffled=True):
    return np.array(draw(st.permutations(range(n)))) if shuffled else np.arange(n)


def _content(draw, lines):
    return draw(st.sampled_from(["\n", "\r\n"])).join([*lines, ""]).encode()


def _lost(rows, spoil):
    return rows[:-1] if spoil == ROWS else rows


def _columns_of(frame, ids, labels):
    """Everything that LAMMPS may write of a particle, by the names of its columns."""
    scaled = (frame.inside - frame.low) / frame.edges
    known = {"id": ids.tolist(), "mol": [1] * len(ids), "c_pe": [-1.5] * len(ids), "vx": [0.25] * len(ids)}
    for k, x in enumerate("xyz"):
        known[x], known[f"{x}u"] = frame.inside[:, k].tolist(), frame.unwrapped[:, k].tolist()
        known[f"{x}s"], known[f"{x}su"] = scaled[:, k].tolist(), (scaled + frame.image)[:, k].tolist()
        known[f"i{x}"] = frame.image[:, k].tolist()
    return known | {"type": labels, "typelabel": labels, "element": labels}


def _dumped(draw, liquid, spoil, with_ids=None):
    """What a dump of either style says: columns, labels of types, and which positions these are."""
    form = draw(st.sampled_from(["", "s"] if spoil == FLAGS else ["", "u", "s", "su"]))
    flags = spoil == FLAGS or draw(st.booleans())
    labels = draw(st.sampled_from(LABELS))
    kind = draw(st.sampled_from(["type", "typelabel", "element"]))
    with_ids = spoil == TWICE or draw(st.booleans()) if with_ids is None else with_ids
    columns = [kind, *(f"{x}{form}" for x in "xyz"), *draw(st.sets(st.sampled_from(["mol", "c_pe", "vx"])))]
    columns += ["ix", "iy", "iz"][: 2 if spoil == FLAGS else 3] if flags else []
    columns = list(draw(st.permutations([*columns, "id"] if with_ids else columns)))
    unwrapped = flags or "u" in form
    positions = [f.unwrapped if unwrapped else f.inside for f in liquid.frames]
    return columns, labels, with_ids, positions


def _bounds(frame, spoil):
    """Rows of a box as dumps have it: the tilted one's are those of the box around it."""
    high = frame.low + frame.edges
    if spoil == TILT:
        return [[frame.low[0], high[0] + 0.5, 0.5], [frame.low[1], high[1], 0.0], [frame.low[2], high[2], 0.0]]
    return [[a, b] for a, b in zip(frame.low.tolist(), high.tolist(), strict=True)]


def text_dump(draw, liquid, spoil=None, with_ids=None):
    """LAMMPS's ``dump custom``."""
    columns, labels, with_ids, positions = _dumped(draw, liquid, spoil, with_ids)
    units = "metal" if spoil == UNITS else draw(st.sampled_from([None, "lj"]))
    once, time = draw(st.booleans()), draw(st.booleans())
    periodic = {SIDES: ["pp ff pp", "pp pp fs"]}.get(spoil, ["pp pp pp", ""] if spoil != TILT else ["pp pp pp"])
    sides = draw(st.sampled_from(periodic))
    order = _order(draw, len(liquid.ids), with_ids)
    lines, header = [], []
    for number, frame in enumerate(liquid.frames):
        ids = _spoil_ids(liquid.ids, spoil)
        known = _columns_of(frame, ids, [labels[t] for t in liquid.types])
        before = ["ITEM: UNITS", units] if units and not (once and number) else []
        before += ["ITEM: TIME", "0.5"] if time else []
        box = [" ".join(map(repr, map(float, row))) for row in _bounds(frame, spoil)]
        tilt = "xy xz yz " if spoil == TILT else ""
        before += ["ITEM: TIMESTEP", str(frame.step), "ITEM: NUMBER OF ATOMS", str(len(ids))]
        before += [f"ITEM: BOX BOUNDS {tilt}{sides}", *box, f"ITEM: ATOMS {' '.join(columns)}"]
        header += range(len(lines), len(lines) + len(before))
        rows = [[known[name][k] for name in columns] for k in order]
        lines += before + _lost(_joined(draw, rows), spoil)
    return Written(
        "liquid.dump", _content(draw, lines), positions, _map(draw, liquid, labels),
        liquid.ids if with_ids else None, header=header,
    )  # fmt: skip


def yaml_dump(draw, liquid, spoil=None, with_ids=None):
    """LAMMPS's ``dump yaml``."""
    columns, labels, with_ids, positions = _dumped(draw, liquid, spoil, with_ids)
    units = "real" if spoil == UNITS else draw(st.sampled_from([None, "lj"]))
    sides = draw(st.sampled_from(["p, p, f, f, p, p", "p, p, p, p, s, p"])) if spoil == SIDES else "p, p, p, p, p, p"
    order, end = _order(draw, len(liquid.ids), with_ids), draw(st.booleans())
    close = draw(st.sampled_from([", ]", "]", " ]"]))
    lines, header = [], []
    for frame in liquid.frames:
        ids = _spoil_ids(liquid.ids, spoil)
        known = _columns_of(frame, ids, [labels[t] for t in liquid.types])
        box = [row[:2] for row in _bounds(frame, spoil)] + ([[0.5, 0.0, 0.0]] if spoil == TILT else [])
        before = ["---", "creator: LAMMPS", f"timestep: {frame.step}", *([f"units: {units}"] if units else [])]
        before += [f"natoms: {len(ids)}", f"boundary: [ {sides}, ]", "box:"]
        before += [f"  - [ {', '.join(repr(float(v)) for v in row)} ]" for row in box]
        before += [f"keywords: [ {', '.join(columns)}, ]", "data:"]
        header += range(len(lines), len(lines) + len(before))
        rows = [f"  - [ {', '.join(str(known[name][k]) for name in columns)}{close}" for k in order]
        lines += before + _lost(rows, spoil)
        if end:
            header.append(len(lines))
            lines.append("...")
    return Written(
        "liquid.yaml", _content(draw, lines), positions, _map(draw, liquid, labels),
        liquid.ids if with_ids else None, header=header,
    )  # fmt: skip


ATOM_STYLES = {
    "atomic": "id type x y z",
    "charge": "id type q x y z",
    "bond": "id mol type x y z",
    "angle": "id mol type x y z",
    "molecular": "id mol type x y z",
    "full": "id mol type q x y z",
    "sphere": "id type d rho x y z",
    "bpm/sphere": "id mol type d rho x y z",
    "ellipsoid": "id type flag rho x y z",
    "dipole": "id type q x y z mux muy muz",
    "dpd": "id type theta x y z",
}


def data_file(draw, liquid, spoil=None, with_ids=True):
    """LAMMPS's ``write_data``; one frame."""
    (frame,) = liquid.frames
    style, flags, labels = (
        draw(st.sampled_from(sorted(ATOM_STYLES))),
        draw(st.booleans()),
        draw(st.sampled_from(LABELS)),
    )
    beside, flags = draw(st.booleans()), spoil == FLAGS or draw(st.booleans())
    columns = ATOM_STYLES[style].split() + (["ix", "iy", "iz"][: 2 if spoil == FLAGS else 3] if flags else [])
    ids = _spoil_ids(liquid.ids, spoil)
    known = _columns_of(frame, ids, [labels[t] for t in liquid.types])
    words = [[known.get(name, [7 + c] * len(ids))[k] for c, name in enumerate(columns)] for k in range(len(ids))]
    order, gap = _order(draw, len(ids)), draw(st.sampled_from([" ", "   ", "\t"]))
    units = "metal" if spoil == UNITS else draw(st.sampled_from([None, "lj"]))
    written = draw(st.booleans()) or units is not None
    told = f", timestep = {frame.step}" + (f", units = {units}" if units else "") if written else ""
    lines = [f"LAMMPS data file{told}", "", f"{len(ids)}{gap}atoms", f"2{gap}atom{gap}types", ""]
    for x, (low, high) in zip("xyz", _bounds(replace(frame), None), strict=True):
        lines += [f"{low!r} {high!r}{gap}{x}lo{gap}{x}hi"] if spoil != BOX else []
    lines += [f"0.5 0 0{gap}xy{gap}xz{gap}yz"] if spoil == TILT else []
    if not labels[0].isdecimal():
        lines += ["", "Atom Type Labels", "", f"1 {labels[0]}", f"2 {labels[1]}"]
    lines += ["", "Masses", "", "1 1.0", "2 1.0"] if draw(st.booleans()) else []
    lines += ["", "Atoms" if beside else f"Atoms{gap}# {style}", ""]
    begin = len(lines)
    lines += _lost(_joined(draw, [words[k] for k in order]), spoil)
    end = len(lines)
    lines += ["", "Velocities", "", *(f"{i} 0.5 0 0" for i in ids.tolist())] if draw(st.booleans()) else []
    return Written(
        "liquid.data", _content(draw, lines), [frame.unwrapped if flags else frame.inside],
        _map(draw, liquid, labels), liquid.ids, written, {"atom_style": style} if beside else {},
        header=[k for k in range(len(lines)) if not begin <= k < end],
    )  # fmt: skip


def extended_xyz(draw, liquid, spoil=None, with_ids=None):
    """Extended XYZ, as OVITO, ASE and LAMMPS write it."""
    with_ids = spoil == TWICE or draw(st.booleans()) if with_ids is None else with_ids
    shifts, labels = draw(st.booleans()), draw(st.sampled_from(LABELS))
    kind = draw(st.sampled_from(["species:S:1", "element:S:1", "type:S:1"]))
    outside = draw(st.booleans())  # positions may lie outside of the box
    properties = [kind, "pos:R:3", *draw(st.sets(st.sampled_from(["velo:R:3", "mass:R:1"])))]
    properties += ["id:I:1"] * with_ids + ["map_shift:I:3"] * shifts
    properties = draw(st.permutations(properties))
    step, order = draw(st.sampled_from([None, "step", "Timestep"])), _order(draw, len(liquid.ids), with_ids)
    pbc = {SIDES: ['pbc="T F T"', 'pbc="F F F"']}.get(spoil, ["", 'pbc="T T T"'])
    pbc, n = draw(st.sampled_from(pbc)), len(liquid.ids)
    ids, lines, header, positions = _spoil_ids(liquid.ids, spoil), [], [], []
    for frame in liquid.frames:
        place = frame.inside if shifts or not outside else frame.unwrapped
        positions.append(frame.unwrapped if shifts or outside else frame.inside)
        known = {"pos": place.tolist(), "velo": [[0.5, 0, 0]] * n, "mass": [[1.0]] * n, "id": ids[:, None].tolist()}
        known |= {"map_shift": frame.image.tolist(), kind[:-4]: [[labels[t]] for t in liquid.types]}
        cell = np.diag(frame.edges) + (0.5 * np.eye(3, k=-1) if spoil == TILT else 0)
        words = [f'Lattice="{" ".join(map(repr, cell.ravel().tolist()))}"', f"Properties={':'.join(properties)}", pbc]
        words = words[1:] if spoil == BOX else words
        words += [f"{step}={frame.step}"] if step else []
        header += [len(lines), len(lines) + 1]
        rows = [[word for p in properties for word in known[p.split(":")[0]][k]] for k in order]
        comment = " ".join(draw(st.permutations([word for word in words if word])))
        lines += [str(n), comment, *_lost(_joined(draw, rows), spoil)]
    return Written(
        "liquid.extxyz", _content(draw, lines), positions, _map(draw, liquid, labels),
        liquid.ids if with_ids else None, step is not None, header=header,
    )  # fmt: skip


def atooms_xyz(draw, liquid, spoil=None, with_ids=False):
    """The XYZ of atooms, which has no ids."""
    labels, unfolded, gap = draw(st.sampled_from(LABELS)), draw(st.booleans()), draw(st.sampled_from([":", "="]))
    columns = draw(st.permutations(["species", "position", *(["position_unfolded"] if unfolded else []), "radius"]))
    lines, header = [], []
    for frame in liquid.frames:
        known = {"species": [[labels[t]] for t in liquid.types], "radius": [[0.5]] * len(liquid.ids)}
        known |= {"position": frame.inside.tolist(), "position_unfolded": frame.unwrapped.tolist()}
        cell = ",".join(map(repr, frame.edges.tolist()[: 2 if spoil == SIDES else 3]))
        comment = f"step{gap}{frame.step} columns{gap}{','.join(columns)} dt{gap}0.005"
        header += [len(lines), len(lines) + 1]
        rows = [[word for name in columns for word in known[name][k]] for k in range(len(liquid.ids))]
        lines += [str(len(liquid.ids)), comment + ("" if spoil == BOX else f" cell{gap}{cell}")]
        lines += _lost(_joined(draw, rows), spoil)
    positions = [f.unwrapped if unfolded else f.inside for f in liquid.frames]
    return Written("liquid.xyz", _content(draw, lines), positions, _map(draw, liquid, labels), header=header)


def rumd_xyz(draw, liquid, spoil=None, with_ids=False):
    """RUMD's XYZ, both of its versions: no ids, types counted from 0, positions about the box's center."""
    version, images = draw(st.sampled_from([1, 2])), spoil == FLAGS or draw(st.booleans())
    names = ["type", "x", "y", "z", *(["imx", "imy", "imz"][: 2 if spoil == FLAGS else 3] if images else []), "pe"]
    kind = "LeesEdwardsSimulationBox" if spoil == TILT else "RectangularSimulationBox"
    version = 2 if spoil == TILT else version
    lines, header, positions = [], [], []
    for frame in liquid.frames:
        middle = frame.inside - frame.low - frame.edges / 2
        positions.append(middle + (frame.image * frame.edges if images else 0))
        edges = ",".join(map(repr, frame.edges.tolist()))
        box = f"boxLengths={edges}" if version == 1 else f"sim_box={kind},{edges}"
        known = dict(zip("xyz", middle.T.tolist(), strict=True)) | {"type": liquid.types.tolist(), "pe": [-5.5] * 9}
        known |= dict(zip(("imx", "imy", "imz"), frame.image.T.tolist(), strict=True))
        header += [len(lines), len(lines) + 1]
        rows = [[known[name][k] for name in names] for k in range(len(liquid.ids))]
        comment = f"ioformat={version} timeStepIndex={frame.step} {'' if spoil == BOX else box} numTypes=2 "
        lines += [str(len(liquid.ids)), f"{comment} columns={','.join(names)}", *_lost(_joined(draw, rows), spoil)]
    return Written("liquid.xyz", _content(draw, lines), positions, {0: "A", 1: "B"}, header=header)


def bare_xyz(draw, liquid, spoil=None, with_ids=False):
    """XYZ that says nothing; the box of all frames is said beside it."""
    labels, unwrapped = draw(st.sampled_from(LABELS)), draw(st.booleans())
    comment = draw(st.sampled_from(["Atoms. Timestep: {}", "{}", "", "step={} E=-1.5"]))
    positions = [f.unwrapped if unwrapped else f.inside for f in liquid.frames]
    lines, header = [], []
    for frame, place in zip(liquid.frames, positions, strict=True):
        header += [len(lines), len(lines) + 1]
        rows = [[labels[t], *p] for t, p in zip(liquid.types, place.tolist(), strict=True)]
        lines += [str(len(rows)), comment.format(frame.step), *_lost(_joined(draw, rows), spoil)]
    return Written(
        "liquid.xyz", _content(draw, lines), positions, _map(draw, liquid, labels), has_step="tep" in comment,
        beside={} if spoil == BOX else {"box": liquid.frames[0].edges}, header=header,
    )  # fmt: skip


WRITERS = {
    "text dump": (text_dump, (UNITS, TILT, SIDES, FLAGS, TWICE, ROWS)),
    "yaml dump": (yaml_dump, (UNITS, TILT, SIDES, FLAGS, TWICE, ROWS)),
    "data file": (data_file, (UNITS, TILT, FLAGS, TWICE, ROWS, BOX)),
    "extended XYZ": (extended_xyz, (TILT, SIDES, TWICE, ROWS, BOX)),
    "atooms": (atooms_xyz, (SIDES, ROWS, BOX)),
    "RUMD": (rumd_xyz, (TILT, FLAGS, ROWS, BOX)),
    "bare XYZ": (bare_xyz, (ROWS, BOX)),
}
"""Text formats: their writer, and the mistakes that it can make."""


def gsd_file(draw, liquid, path):
    """HOOMD-blue's GSD, in single precision, positions about the box's center; ids are 0, 1, 2, ..."""
    import gsd.hoomd

    images, labels = draw(st.booleans()), draw(st.sampled_from(LABELS))
    positions = []
    with gsd.hoomd.open(str(path), "w") as out:
        for frame in liquid.frames:
            middle = frame.inside - frame.low - frame.edges / 2
            positions.append(middle + (frame.image * frame.edges if images else 0))
            made = gsd.hoomd.Frame()
            made.configuration.step, made.configuration.box = frame.step, [*frame.edges, 0, 0, 0]
            made.particles.N, made.particles.position = len(middle), middle
            made.particles.types, made.particles.typeid = list(labels), liquid.types
            made.particles.image = frame.image if images else None
            out.append(made)
    return Written(
        path.name, path.read_bytes(), positions, _map(draw, liquid, labels), np.arange(len(liquid.ids)), atol=1e-4
    )
