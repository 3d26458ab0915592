// Strips drawn pixel by pixel: fast enough to follow a drag, and the same in every browser.

const palette = facts.palette; // expressions, people, heat: hex colours
const ink = {}; // colours of the theme, as [red, green, blue]
const spans = { key: "", low: new Int32Array(0), high: new Int32Array(0) };

function readInk() {
  for (const name of ["strip", "hatch", "line", "faint", "strong", "tick"]) ink[name] = rgb(css(`--${name}`));
  ink.expressions = new Map(EXPRESSIONS.map((name) => [name, rgb(palette.expressions[name])]));
  ink.heat = heatTable(palette.heat.map(rgb));
}

/** 256 colours between the given ones. */
function heatTable(colours) {
  return Array.from({ length: 256 }, (_, k) => {
    const at = (k / 255) * (colours.length - 1);
    const [low, high] = [colours[Math.floor(at)], colours[Math.ceil(at)]];
    return packed(low.map((value, j) => value + (high[j] - value) * (at % 1)));
  });
}

function packed([red, green, blue]) {
  return 0xff000000 | (Math.round(blue) << 16) | (Math.round(green) << 8) | Math.round(red);
}

/** The frames of each pixel column of the part that is shown: from low[c] to high[c], high below low for none. */
function columnSpans(width) {
  const key = `${shown.from} ${shown.to} ${width} ${shown.times.length}`;
  if (spans.key === key) return spans;
  Object.assign(spans, { key, low: new Int32Array(width), high: new Int32Array(width) });
  const { times } = shown;
  const each = (shown.to - shown.from) / width;
  let next = rowAt(shown.from);
  for (let c = 0; c < width; c++) {
    const [begins, ends] = [shown.from + c * each, shown.from + (c + 1) * each];
    const held = next;
    while (next + 1 < times.length && times[next + 1] < ends) next++;
    if (next > held) [spans.low[c], spans.high[c]] = [held + 1, next];
    else if (held >= 0 && begins < times[held] + holds(held)) [spans.low[c], spans.high[c]] = [held, held];
    else [spans.low[c], spans.high[c]] = [0, -1];
  }
  return spans;
}

/** The pixels of a canvas, cleared; kept from one drawing to the next. */
function pixelsOf(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  if (canvas.width !== width || canvas.height !== height || !canvas.pixels) {
    [canvas.width, canvas.height] = [width, height];
    const image = new ImageData(width, height);
    canvas.pixels = { image, width, height, ratio, words: new Uint32Array(image.data.buffer), bytes: image.data };
  }
  canvas.pixels.words.fill(packed(ink.strip));
  return canvas.pixels;
}

function put(canvas) {
  const context = canvas.getContext("2d");
  context.putImageData(canvas.pixels.image, 0, 0);
  return context;
}

/** Where nothing is known: diagonal lines over a whole column. */
function hatch(pixels, column, top = 0, bottom = pixels.height) {
  const colour = packed(ink.hatch);
  const every = Math.round(6 * pixels.ratio);
  for (let y = top; y < bottom; y++) {
    if ((column + y) % every < pixels.ratio) pixels.words[y * pixels.width + column] = colour;
  }
}

/** Colour a part of a column, from ``top`` to ``bottom`` in fractions of pixels, over what is there. */
function blend(pixels, column, top, bottom, colour, opacity = 1) {
  const from = Math.max(Math.floor(top), 0);
  const to = Math.min(Math.ceil(bottom), pixels.height);
  const { width, words, bytes } = pixels;
  const word = opacity === 1 ? packed(colour) : 0;
  for (let y = from; y < to; y++) {
    if (word && top <= y && y + 1 <= bottom) {
      words[y * width + column] = word;
      continue;
    }
    const share = opacity * (Math.min(bottom, y + 1) - Math.max(top, y));
    const at = 4 * (y * width + column);
    bytes[at] += (colour[0] - bytes[at]) * share;
    bytes[at + 1] += (colour[1] - bytes[at + 1]) * share;
    bytes[at + 2] += (colour[2] - bytes[at + 2]) * share;
  }
}

/** Probabilities of the expressions as areas, from the first at the bottom to the last at the top. */
function drawRibbon(canvas, track) {
  const pixels = pixelsOf(canvas);
  const { low, high } = columnSpans(pixels.width);
  const there = EXPRESSIONS.filter((name) => track.series.has(`p_${name}`));
  const readers = there.map((name) => track.reader(`p_${name}`));
  const colours = there.map((name) => packed(ink.expressions.get(name)));
  const parts = new Float64Array(there.length);
  for (let c = 0; c < pixels.width; c++) {
    let sum = 0;
    for (let k = 0; k < there.length; k++) {
      readers[k].read(low[c], high[c]);
      parts[k] = Math.max(found.mean - 1, 0);
      sum += parts[k];
    }
    if (!sum) {
      hatch(pixels, c);
      continue;
    }
    let [below, done] = [0, pixels.height];
    for (let k = 0; k < there.length; k++) {
      below += parts[k];
      const top = Math.round(pixels.height * (1 - below / sum));
      for (let y = top; y < done; y++) pixels.words[y * pixels.width + c] = colours[k];
      done = top;
    }
  }
  put(canvas);
}

/** The expression of each moment as a band, with its name where there is room for it. */
function drawLabels(canvas, track) {
  const pixels = pixelsOf(canvas);
  const { low, high } = columnSpans(pixels.width);
  const runs = [];
  for (let c = 0; c < pixels.width; c++) {
    const name = high[c] < low[c] ? "" : commonest(track, low[c], high[c]);
    if (runs.length && runs.at(-1).name === name) runs.at(-1).to = c + 1;
    else runs.push({ name, from: c, to: c + 1 });
    if (!name) hatch(pixels, c);
    else {
      const colour = packed(ink.expressions.get(name));
      for (let y = 0; y < pixels.height; y++) pixels.words[y * pixels.width + c] = colour;
    }
  }
  const context = put(canvas);
  context.font = `600 ${Math.round(10.5 * pixels.ratio)}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  for (const { name, from, to } of runs) {
    if (!name || context.measureText(name).width > to - from - 6 * pixels.ratio) continue;
    const [red, green, blue] = ink.expressions.get(name);
    context.fillStyle = 0.3 * red + 0.59 * green + 0.11 * blue > 115 ? "#000" : "#fff";
    context.fillText(name, from + 4 * pixels.ratio, pixels.height / 2 + pixels.ratio / 2);
  }
}

const counts = new Int32Array(EXPRESSIONS.length + 1);

/** The expression of most frames from ``first`` to ``last``, "" if nobody is there. At most 64 frames are looked at. */
function commonest(track, first, last) {
  counts.fill(0);
  const stride = Math.max(1, (last - first) >> 6);
  for (let row = first; row <= last; row += stride) {
    const k = row - track.start;
    if (k >= 0 && k < track.count && track.state[k]) counts[track.labels[k]]++;
  }
  let best = 0;
  for (let k = 1; k < counts.length; k++) if (counts[k] > (best ? counts[best] : 0)) best = k;
  return best ? EXPRESSIONS[best - 1] : "";
}

/** Horizontal lines of a strip, at shares of its height. */
function rules(pixels, shares) {
  for (const share of shares) {
    const y = inside(Math.round(share * (pixels.height - 1)), 0, pixels.height - 1);
    pixels.words.fill(packed(ink.line), y * pixels.width, (y + 1) * pixels.width);
  }
}

/** Draws series over one another; each has name, colour, thickness in CSS pixels, opacity, and how: "line" or "band". */
function drawLines(canvas, track, series, range, shares) {
  const pixels = pixelsOf(canvas);
  const { low, high } = columnSpans(pixels.width);
  rules(pixels, shares);
  const place = (value) => (1 - (value - range[0]) / (range[1] - range[0])) * (pixels.height - 2) + 1;
  const readers = series.map(({ name }) => track.reader(name)).filter(Boolean);
  for (let c = 0; c < pixels.width; c++) {
    if (!readers.some((reader) => known(reader, low[c], high[c]))) hatch(pixels, c);
  }
  for (const one of series) {
    if (one.band) drawBand(pixels, track, one, place);
    else drawLine(pixels, track, one, place);
  }
  put(canvas);
}

function known(reader, low, high) {
  reader.read(low, high);
  return found.most > 0;
}

function drawBand(pixels, track, { name, band, colour, opacity }, place) {
  const [least, most] = [track.reader(name), track.reader(band)];
  if (!least || !most) return;
  for (let c = 0; c < pixels.width; c++) {
    least.read(spans.low[c], spans.high[c]);
    const bottom = found.mean && place(valueOf(name, found.mean));
    most.read(spans.low[c], spans.high[c]);
    if (found.mean && bottom) blend(pixels, c, place(valueOf(band, found.mean)), bottom, colour, opacity);
  }
}

function drawLine(pixels, track, { name, colour, thick, opacity, mean, dash }, place) {
  const reader = track.reader(name);
  if (!reader) return;
  const half = (thick * pixels.ratio) / 2;
  let before = NaN;
  for (let c = 0; c < pixels.width; c++) {
    reader.read(spans.low[c], spans.high[c]);
    if (!found.most) {
      before = NaN;
      continue;
    }
    let [top, bottom] = mean
      ? [place(valueOf(name, found.mean)), place(valueOf(name, found.mean))]
      : [place(valueOf(name, found.most)), place(valueOf(name, found.least))];
    const now = (top + bottom) / 2;
    if (Number.isFinite(before)) [top, bottom] = [Math.min(top, before), Math.max(bottom, before)];
    before = now;
    if (dash && (c / pixels.ratio) % (2 * dash) > dash) continue;
    blend(pixels, c, top - half, bottom + half, colour, opacity);
  }
}

/** Probabilities as colours, one row for each action unit, with a tick below where it is present. */
function drawHeat(canvas, track, units) {
  const pixels = pixelsOf(canvas);
  const { low, high } = columnSpans(pixels.width);
  const tick = packed(ink.tick);
  const readers = units.map((unit) => track.reader(`${unit}_p`));
  const bits = units.map((unit) => 1 << UNITS.indexOf(unit));
  const top = units.map((_, k) => Math.round((k * pixels.height) / units.length));
  top.push(pixels.height);
  const depth = Math.max(1, Math.round(2 * pixels.ratio));
  for (let c = 0; c < pixels.width; c++) {
    track.states(low[c], high[c]);
    const present = found.units;
    for (let k = 0; k < units.length; k++) {
      readers[k].read(low[c], high[c]);
      const end = top[k + 1] - 1; // a line between two units stays free
      if (!found.most) {
        hatch(pixels, c, top[k], end);
        continue;
      }
      const colour = ink.heat[Math.round((255 * (found.most - 1)) / (LEVELS - 1))];
      const marked = present & bits[k] ? end - depth : end;
      for (let y = top[k]; y < marked; y++) pixels.words[y * pixels.width + c] = colour;
      for (let y = marked; y < end; y++) pixels.words[y * pixels.width + c] = tick;
    }
  }
  put(canvas);
}

/** Seen: full height. Interpolated: lower half. Analysed without this face: a thin line. Not analysed: nothing. */
function drawCoverage(canvas, track) {
  const pixels = pixelsOf(canvas);
  const { low, high } = columnSpans(pixels.width);
  const { height } = pixels;
  for (let c = 0; c < pixels.width; c++) {
    if (high[c] < low[c]) {
      hatch(pixels, c);
      continue;
    }
    track.states(low[c], high[c]);
    if (found.state & 1) blend(pixels, c, found.missing || found.state & 2 ? height / 4 : 0, height, ink.strong, 0.85);
    else if (found.state & 2) blend(pixels, c, height / 2, height, ink.strong, c % 4 < 2 ? 0.9 : 0.3);
    else blend(pixels, c, height - Math.max(2, pixels.ratio), height, ink.faint);
  }
  put(canvas);
}

/** Why a track has no row at a frame, or at a time that was not analysed; "" if it was seen. */
function reason(track, row, time) {
  if (row < 0) {
    const failed = facts.failed_at.some((at) => Math.abs(at - time) < 2 * shown.step);
    return failed ? "not decoded" : "not analysed";
  }
  const k = row - track.start;
  const state = k >= 0 && k < track.count ? track.state[k] : 0;
  return ["no face found", "", "interpolated"][state];
}
