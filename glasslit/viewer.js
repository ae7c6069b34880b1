// A view of particles in three dimensions: spheres drawn from far to near on a two-dimensional canvas, which every
// browser has, with and without a graphics card. Nothing moves unless the reader moves it.
(name, data) => {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const root = document.querySelector(`[data-glasslit-view="${name}"]:not([data-started])`);
  if (!root) return;
  root.dataset.started = "yes";
  const all = (selector) => [...root.querySelectorAll(selector)];
  const one = (selector) => root.querySelector(selector);

  const { n, box, times, turns, panels, bars } = data;
  const raw = new Uint16Array(bytes(data.positions).buffer); // little-endian, as all machines of readers are
  const types = bytes(data.types);
  const place = Float32Array.from(raw, (v, i) => (v / 65535 - 0.5) * box[i % 3]);
  const simulated = data.simulated && bytes(data.simulated);
  const first = panels.map((p) => p.first && bytes(p.first));
  const changes = panels.map((p) => p.changes && new Int8Array(bytes(p.changes).buffer));
  const steps = turns ? turns.length : 1;
  const state = { mode: data.mode, time: Math.max(times.length - 1, 0), angle: 0, tilt: 20, zoom: 1, cut: false };

  const nearest = () => {
    if (!turns) return 0;
    const away = turns.map((t) => Math.abs(((state.angle - t + 540) % 360) - 180));
    return away.indexOf(Math.min(...away));
  };
  const inUnits = (byte) => data.low[state.time] + (byte / 255) * (data.high[state.time] - data.low[state.time]);
  // The number that particle i has in a panel, in the units of the arrays that Python was given.
  const value = (panel, i, mode = state.mode, turn = nearest()) => {
    const at = state.time * n + i;
    if (mode === "type") return types[i];
    if (mode === "simulated") return inUnits(simulated[at]);
    let change = 0;
    if (changes[panel] && turns) {
      const row = panels[panel].rows[turn * Math.max(times.length, 1) + state.time];
      change = (changes[panel][row * n + i] / 127) * data.change[state.time];
    }
    if (mode === "change") return change;
    const predicted = inUnits(first[panel][at]) + change;
    return mode === "error" ? predicted - inUnits(simulated[at]) : predicted;
  };

  // Spheres of every color, at four distances, painted once for each theme.
  const LEVELS = 64, FAR = 4, CELL = 48;
  const parse = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
  const mix = (a, b, x) => a.map((v, k) => v + (b[k] - v) * x);
  const css = (c) => `rgb(${c.map(Math.round).join(" ")})`;
  const shade = (colors, x) => {
    const at = Math.min(Math.max(x, 0), 1) * (colors.length - 1), k = Math.min(Math.floor(at), colors.length - 2);
    return mix(parse(colors[k]), parse(colors[k + 1]), at - k);
  };
  const sheets = {};
  const paint = () => {
    const back = (getComputedStyle(root).backgroundColor.match(/[\d.]+/g) || [255, 255, 255]).slice(0, 3).map(Number);
    for (const [kind, colors] of Object.entries(data.colors)) {
      const sheet = document.createElement("canvas");
      [sheet.width, sheet.height] = [LEVELS * CELL, FAR * CELL];
      const pen = sheet.getContext("2d");
      for (let level = 0; level < LEVELS; level++)
        for (let far = 0; far < FAR; far++) {
          const color = mix(shade(colors, level / (LEVELS - 1)), back, (0.35 * far) / (FAR - 1));
          const [x, y, r] = [(level + 0.5) * CELL, (far + 0.5) * CELL, CELL / 2 - 1];
          const glow = pen.createRadialGradient(x - r / 3, y - r / 3, r / 8, x, y, r);
          glow.addColorStop(0, css(mix(color, [255, 255, 255], 0.4)));
          glow.addColorStop(0.45, css(color));
          glow.addColorStop(0.88, css(mix(color, [0, 0, 0], 0.18)));
          glow.addColorStop(1, css(mix(color, [0, 0, 0], 0.5)));
          pen.fillStyle = glow;
          pen.beginPath();
          pen.arc(x, y, r, 0, 2 * Math.PI);
          pen.fill();
        }
      sheets[kind] = sheet;
    }
  };

  const canvases = all("canvas");
  const [across, up, away, deep] = [0, 0, 0, 0].map(() => new Float32Array(n));
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  const eye = 3.5 * Math.max(...box); // distance of the eye from the middle of the box
  // Across the screen, up, away from the eye, and away from the eye if it were level with the middle.
  const projection = () => {
    const [a, t] = [(state.angle * Math.PI) / 180, (state.tilt * Math.PI) / 180];
    const [ca, sa, ct, st] = [Math.cos(a), Math.sin(a), Math.cos(t), Math.sin(t)];
    return (x, y, z) => {
      const d = x * sa + y * ca;
      return [x * ca - y * sa, d * st + z * ct, d * ct - z * st, d];
    };
  };
  const corners = [...Array(8).keys()].map((k) => box.map((edge, axis) => ((k >> axis) & 1 ? 0.5 : -0.5) * edge));
  const edges = corners.flatMap((_, k) => [1, 2, 4].filter((bit) => !(k & bit)).map((bit) => [k, k | bit]));

  // How far up the middle of the box is moved, to have as much of it above as below the middle of the picture.
  const lift = () => {
    const t = (state.tilt * Math.PI) / 180, [c, s] = [Math.cos(t), Math.sin(t)];
    const ends = [-0.5, 0.5].flatMap((up) =>
      [-0.5, 0.5].map((away) => {
        const [h, d] = [up * box[2], away * Math.hypot(box[0], box[1])];
        return ((d * s + h * c) * eye) / (eye + d * c - h * s);
      }),
    );
    return -(Math.max(...ends) + Math.min(...ends)) / 2;
  };

  const draw = () => {
    const bar = bars[state.mode], half = 0.45 * Math.hypot(...box), raised = lift();
    const project = projection(), turn = nearest();
    for (let i = 0; i < n; i++)
      [across[i], up[i], away[i], deep[i]] = project(place[3 * i], place[3 * i + 1], place[3 * i + 2]);
    order.sort((i, j) => away[j] - away[i]);
    const frame = corners.map((c) => project(...c));
    const front = frame.reduce((best, c, k) => (c[2] < frame[best][2] ? k : best), 0);
    const ends = bar.ends[state.time] || bar.ends[0];
    canvases.forEach((canvas, panel) => {
      const pen = canvas.getContext("2d"), size = canvas.width, scale = (state.zoom * size) / (2 * half);
      const sheet = sheets[bar.colors];
      const at = (x, y, z) => [size / 2 + (x * scale * eye) / (eye + z), size / 2 - ((y * eye) / (eye + z) + raised) * scale];
      const lines = (chosen) => {
        pen.strokeStyle = getComputedStyle(root).color;
        pen.globalAlpha = 0.45;
        pen.lineWidth = Math.max(1, size / 450);
        pen.beginPath();
        for (const [k, l] of edges.filter(chosen)) {
          pen.moveTo(...at(...frame[k]));
          pen.lineTo(...at(...frame[l]));
        }
        pen.stroke();
        pen.globalAlpha = 1;
      };
      pen.clearRect(0, 0, size, size);
      lines(([k, l]) => k !== front && l !== front);
      const depth = Math.hypot(...box);
      for (const i of order) {
        if (state.cut && deep[i] < 0) continue;
        const z = away[i], near = eye / (eye + z);
        const [low, high] = ends[types[i] % ends.length];
        const r = data.radius[types[i]] * scale * near;
        const level = Math.round(Math.min(Math.max((value(panel, i, state.mode, turn) - low) / (high - low), 0), 1) * (LEVELS - 1));
        const far = Math.min(Math.max(Math.round((z / depth + 0.5) * (FAR - 1)), 0), FAR - 1);
        const [x, y] = at(across[i], up[i], z);
        pen.drawImage(sheet, level * CELL, far * CELL, CELL, CELL, x - r, y - r, 2 * r, 2 * r);
      }
      if (!state.cut) lines(([k, l]) => k === front || l === front);
    });
  };

  // What stands beside the pictures: titles, the color bar, what the turn changed.
  const subscript = (text) => Object.assign(document.createElement("sub"), { textContent: text });
  const number = (x) => String(Number(x.toPrecision(3)));
  const tell = () => {
    const bar = bars[state.mode], turn = nearest();
    all(".glv-title").forEach((e, k) => {
      const name = panels[k].name, mode = state.mode;
      if (!name || ["simulated", "type"].includes(mode)) e.textContent = bar.name;
      else e.textContent = mode === "predicted" ? name : `${name}: ${mode}`;
    });
    one(".glv-bar").style.background = `linear-gradient(to right, ${bar.fill})`;
    one(".glv-bar-name").replaceChildren(...bar.unit.split(/_(\w+)/).map((part, k) => (k % 2 ? subscript(part) : part)));
    const ends = bar.ends[state.time] || bar.ends[0];
    const rows = ends.map(([low, high], k) => {
      const kind = ends.length > 1 ? "AB"[k] + " " : "";
      return [`${kind}≤ ${number(low)}`, number((low + high) / 2), `${kind}≥ ${number(high)}`];
    });
    all(".glv-ticks").forEach((e, k) => {
      e.hidden = k >= rows.length;
      if (!e.hidden) [...e.children].forEach((tick, l) => (tick.textContent = (bar.ticks || rows[k])[l]));
    });
    const set = (kind, at, text) => {
      const slider = one(`.glv-${kind}`);
      if (!slider) return;
      slider.value = at;
      slider.setAttribute("aria-valuetext", text);
      one(`.glv-${kind}-said`).textContent = text;
    };
    set("time", state.time, times.length ? `${number(times[state.time])} (${state.time + 1} of ${times.length})` : "");
    const angle = turns ? turns[turn] : Math.round(((state.angle % 360) + 360) % 360);
    set("turn", turns ? turn : angle, `${number(angle)}°`);
    all(".glv-said").forEach((e, k) => {
      const said = panels[k].said ? panels[k].said[turn] : "";
      if (e.textContent !== said) e.textContent = said;
    });
  };
  let waiting = false;
  const show = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      tell();
      draw();
    });
  };

  const bounded = (x, low, high) => Math.min(Math.max(x, low), high);
  const move = (turned, tilted) => {
    state.angle = (((state.angle + turned) % 360) + 360) % 360;
    state.tilt = bounded(state.tilt + tilted, -85, 85);
    show();
  };
  const zoom = (factor) => {
    const before = state.zoom;
    state.zoom = bounded(state.zoom * factor, 0.5, 6);
    show();
    return state.zoom !== before;
  };
  const reset = () => {
    Object.assign(state, { angle: 0, tilt: 20, zoom: 1 });
    show();
  };
  const stage = one(".glv-stage"), held = new Map();
  const spread = () => {
    const [a, b] = [...held.values()];
    return Math.hypot(a[0] - b[0], a[1] - b[1]);
  };
  stage.addEventListener("pointerdown", (e) => {
    if (e.button) return;
    held.set(e.pointerId, [e.clientX, e.clientY]);
    stage.setPointerCapture(e.pointerId);
  });
  stage.addEventListener("pointermove", (e) => {
    const before = held.get(e.pointerId);
    if (!before) return;
    const apart = held.size === 2 ? spread() : 0;
    held.set(e.pointerId, [e.clientX, e.clientY]);
    if (held.size === 2) zoom(spread() / Math.max(apart, 1));
    else if (held.size === 1) {
      const degrees = 180 / canvases[0].getBoundingClientRect().width;
      move((e.clientX - before[0]) * degrees, (e.clientY - before[1]) * degrees);
    }
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"])
    stage.addEventListener(end, (e) => held.delete(e.pointerId));
  stage.addEventListener(
    "wheel",
    (e) => {
      // The page scrolls as ever, unless the view was chosen by a click or with the keyboard.
      if ((e.ctrlKey || document.activeElement === stage) && zoom(Math.exp(-e.deltaY / 500))) e.preventDefault();
    },
    { passive: false },
  );
  const step = turns && steps > 1 ? Math.abs(turns[1] - turns[0]) : 15;
  const keys = {
    ArrowLeft: () => move(-step, 0),
    ArrowRight: () => move(step, 0),
    ArrowUp: () => move(0, -10),
    ArrowDown: () => move(0, 10),
    "+": () => zoom(1.2),
    "=": () => zoom(1.2),
    "-": () => zoom(1 / 1.2),
    Home: reset,
  };
  stage.addEventListener("keydown", (e) => {
    if (!keys[e.key] || e.ctrlKey || e.metaKey || e.altKey) return;
    keys[e.key]();
    e.preventDefault();
    e.stopPropagation(); // of Jupyter, which has keys of its own
  });
  const on = (selector, event, act) =>
    all(selector).forEach((e) => e.addEventListener(event, () => (act(e), show())));
  on(".glv-time", "input", (e) => (state.time = Number(e.value)));
  on(".glv-turn", "input", (e) => (state.angle = turns ? turns[e.value] : Number(e.value)));
  on(".glv-mode", "change", (e) => (state.mode = e.value));
  on(".glv-cut", "change", (e) => (state.cut = e.checked));
  on(".glv-reset", "click", reset);

  all(`.glv-controls, .glv-legend, .glv-help${turns ? ", .glv-said" : ""}`).forEach((e) => (e.hidden = false));
  all(".glv-still").forEach((e) => (e.hidden = true));
  canvases.forEach((c) => (c.hidden = false));
  stage.tabIndex = 0;
  const fit = () => {
    const sharp = Math.min(window.devicePixelRatio || 1, 3);
    canvases.forEach((c) => (c.width = c.height = Math.max(1, Math.round(c.clientWidth * sharp))));
    show();
  };
  const again = () => (paint(), show());
  paint();
  new ResizeObserver(fit).observe(stage);
  new MutationObserver(again).observe(document.documentElement, { attributeFilter: ["data-theme", "class"] });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  root.view = { state, value, turn: nearest, show };
  fit();
}
