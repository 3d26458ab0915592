// A track: the rows of one person, of one face id or of several that were merged, with a pyramid for each series.

const STEP = 4; // rows that a level of the pyramid joins into one

class Track {
  constructor(rows) {
    Object.assign(this, rows);
    this.readers = new Map();
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

  /** What reads a series for pixels; null if the track does not have it. */
  reader(name) {
    if (!this.series.has(name)) return null;
    if (!this.readers.has(name)) this.readers.set(name, new Reader(this.series.get(name), this.start, this.count));
    return this.readers.get(name);
  }

  /** Which states (1 detected, 2 interpolated) occur in rows of the recording, and presence of action units, as bits. */
  states(first, last) {
    const from = Math.max(first - this.start, 0);
    const to = Math.min(last - this.start, this.count - 1);
    const stride = Math.max(1, (to - from) >> 6); // at most 64 looks for a pixel
    let state = 0;
    let units = 0;
    let missing = from > to || last - first > to - from ? 1 : 0;
    for (let k = from; k <= to; k += stride) {
      state |= this.state[k];
      units |= this.units[k];
      if (!this.state[k]) missing = 1;
    }
    found.state = state;
    found.units = units;
    found.missing = missing;
  }
}

/** One series with its pyramid: level k holds minimum, maximum and mean code of STEP^(k+1) rows, 0 where all are missing. */
class Reader {
  constructor(codes, start, count) {
    [this.start, this.count] = [start, count];
    this.least = [codes];
    this.most = [codes];
    this.mean = [codes];
    while (this.least.at(-1).length > 2 * STEP) {
      const next = joined(this.least.at(-1), this.most.at(-1), this.mean.at(-1));
      this.least.push(next.least);
      this.most.push(next.most);
      this.mean.push(next.mean);
    }
  }

  /** Codes of the rows from ``first`` to ``last`` of the recording: sets ``found`` to minimum, maximum, mean; 0: none. */
  read(first, last) {
    let from = first < this.start ? 0 : first - this.start;
    let to = last - this.start < this.count ? last - this.start : this.count - 1;
    found.least = found.most = found.mean = 0;
    if (from > to) return;
    let level = 0;
    while (level + 1 < this.least.length && to - from + 1 >= 2 * STEP) {
      level++;
      from = (from / STEP) | 0;
      to = (to / STEP) | 0;
    }
    const least = this.least[level];
    const most = this.most[level];
    const mean = this.mean[level];
    let sum = 0;
    let count = 0;
    let low = 65535;
    let high = 0;
    for (let k = from; k <= to; k++) {
      if (!least[k]) continue;
      if (least[k] < low) low = least[k];
      if (most[k] > high) high = most[k];
      sum += mean[k];
      count++;
    }
    if (!count) return;
    found.least = low;
    found.most = high;
    found.mean = sum / count;
  }
}

const found = { least: 0, most: 0, mean: 0, state: 0, units: 0, missing: 0 }; // what the last look gave

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
