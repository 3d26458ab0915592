// A track: the rows of one person, of one face id or of several that were merged, with a pyramid for each series.

const STEP = 4; // rows that a level of the pyramid joins into one

class Track {
  constructor(rows) {
    Object.assign(this, rows);
    this.pyramids = new Map();
  }

  /** Position in this track's arrays of a frame of the recording, or -1 if the track has no row there. */
  at(row) {
    const k = row - this.start;
    return k >= 0 && k < this.count && this.state[k] ? k : -1;
  }

  value(name, row) {
    const k = this.at(row);
    const codes = this.series.get(name);
    return k < 0 || !codes ? NaN : valueOf(name, codes[k]);
  }

  expression(row) {
    const k = this.at(row);
    return k < 0 || !this.labels[k] ? "" : EXPRESSIONS[this.labels[k] - 1];
  }

  present(row, unit) {
    const k = this.at(row);
    return k >= 0 && (this.units[k] >> UNITS.indexOf(unit)) & 1;
  }

  /** Levels of one series: minimum, maximum and mean code of STEP, STEP^2, ... rows; 0 where all are missing. */
  pyramid(name) {
    let levels = this.pyramids.get(name);
    if (levels) return levels;
    levels = [];
    const codes = this.series.get(name);
    let [least, most, mean] = [codes, codes, codes];
    while (least.length > 2 * STEP) {
      const next = joined(least, most, mean);
      levels.push(next);
      ({ least, most, mean } = next);
    }
    this.pyramids.set(name, levels);
    return levels;
  }

  /** Codes of the rows from ``first`` to ``last`` of the recording: fills ``into`` with minimum, maximum, mean; 0: none. */
  query(name, first, last, into) {
    let from = Math.max(first - this.start, 0);
    let to = Math.min(last - this.start, this.count - 1);
    into.least = into.most = into.mean = 0;
    if (from > to) return;
    let [least, most, mean] = Array(3).fill(this.series.get(name));
    const levels = this.pyramid(name);
    let level = -1;
    while (level + 1 < levels.length && to - from + 1 >= 2 * STEP) {
      level++;
      from = (from / STEP) | 0;
      to = (to / STEP) | 0;
    }
    if (level >= 0) ({ least, most, mean } = levels[level]);
    let [sum, count, low, high] = [0, 0, 65535, 0];
    for (let k = from; k <= to; k++) {
      if (!least[k]) continue;
      if (least[k] < low) low = least[k];
      if (most[k] > high) high = most[k];
      sum += mean[k];
      count++;
    }
    if (!count) return;
    into.least = low;
    into.most = high;
    into.mean = sum / count;
  }

  /** Which states (1 detected, 2 interpolated) occur in rows of the recording, and presence of action units, as bits. */
  states(first, last, into) {
    const from = Math.max(first - this.start, 0);
    const to = Math.min(last - this.start, this.count - 1);
    const stride = Math.max(1, (to - from) >> 6); // at most 64 looks for a pixel
    let [state, units, missing] = [0, 0, from > to || last - first > to - from ? 1 : 0];
    for (let k = from; k <= to; k += stride) {
      state |= this.state[k];
      units |= this.units[k];
      if (!this.state[k]) missing = 1;
    }
    into.state = state;
    into.units = units;
    into.missing = missing;
  }
}

function joined(least, most, mean) {
  const count = Math.ceil(least.length / STEP);
  const next = { least: new Uint16Array(count), most: new Uint16Array(count), mean: new Uint16Array(count) };
  for (let k = 0; k < count; k++) {
    let [low, high, sum, there] = [65535, 0, 0, 0];
    for (let j = k * STEP; j < Math.min((k + 1) * STEP, least.length); j++) {
      if (!least[j]) continue;
      if (least[j] < low) low = least[j];
      if (most[j] > high) high = most[j];
      sum += mean[j];
      there++;
    }
    if (there) [next.least[k], next.most[k], next.mean[k]] = [low, high, Math.round(sum / there)];
  }
  return next;
}

/** One track of several: in a frame that more than one has, the first of them counts. */
function merged(tracks) {
  if (tracks.length === 1) return tracks[0];
  const start = Math.min(...tracks.map((t) => t.start));
  const end = Math.max(...tracks.map((t) => t.start + t.count));
  const count = end - start;
  const rows = { start, count, state: new Uint8Array(count), labels: new Uint8Array(count), units: new Uint16Array(count) };
  rows.series = new Map();
  for (const track of tracks) {
    for (const name of track.series.keys()) if (!rows.series.has(name)) rows.series.set(name, new Uint16Array(count));
  }
  let together = 0;
  for (const track of tracks) {
    for (let k = 0; k < track.count; k++) {
      const to = k + track.start - start;
      if (!track.state[k]) continue;
      if (rows.state[to]) {
        together++;
        continue;
      }
      rows.state[to] = track.state[k];
      rows.labels[to] = track.labels[k];
      rows.units[to] = track.units[k];
      for (const [name, codes] of track.series) rows.series.get(name)[to] = codes[k];
    }
  }
  const track = new Track(rows);
  track.together = together;
  return track;
}
