// Tiles of the page -> typed arrays. See reporting/page_data.py for what writes them.

const facts = JSON.parse(document.getElementById("facts").textContent);
const LEVELS = facts.data.levels;
const EXPRESSIONS = facts.data.expressions;
const UNITS = facts.data.units;
const RANGES = new Map(facts.data.series.map((each) => [each.name, each]));

/** Bytes of base64 text. */
function bytesOfText(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const packed = atob(text);
  const bytes = new Uint8Array(packed.length);
  for (let k = 0; k < packed.length; k++) bytes[k] = packed.charCodeAt(k);
  return bytes;
}

/** The content of a tile, inflated. */
async function tile(name) {
  const element = document.getElementById(`tile-${name}`);
  const stream = new Blob([bytesOfText(element.textContent)]).stream();
  const inflated = stream.pipeThrough(new DecompressionStream("deflate-raw"));
  element.textContent = ""; // the text is twice the memory of its bytes
  return new Uint8Array(await new Response(inflated).arrayBuffer());
}

/** Whole numbers that rise: (count) float64. */
async function numbers(about, count) {
  const bytes = await tile(about.tile);
  if (!about.steps) return new Float64Array(bytes.buffer);
  const steps = new Int32Array(bytes.buffer);
  const values = new Float64Array(count);
  values[0] = about.first;
  for (let k = 1; k < count; k++) values[k] = values[k - 1] + steps[k - 1];
  return values;
}

/** Differences in two planes of bytes -> (count) uint16. */
function fromPlanes(bytes, offset, count) {
  const values = new Uint16Array(count);
  let value = 0;
  for (let k = 0; k < count; k++) {
    value = (value + bytes[offset + k] + (bytes[offset + count + k] << 8)) & 0xffff;
    values[k] = value;
  }
  return values;
}

/** The rows of one face id, over the frames from its first to its last one. */
async function faceRows(about) {
  const bytes = await tile(about.tile);
  const { start, count } = about;
  let offset = 4 * count;
  const series = new Map();
  for (const name of about.series) {
    series.set(name, fromPlanes(bytes, offset, count));
    offset += 2 * count;
  }
  const state = bytes.slice(0, count);
  const labels = bytes.slice(count, 2 * count);
  return { start, count, state, labels, units: fromPlanes(bytes, 2 * count, count), series };
}

/** The value that a code of a series stands for; NaN for 0, which stands for nothing. */
function valueOf(name, code) {
  const { low, high } = RANGES.get(name);
  return code ? low + ((code - 1) / (LEVELS - 1)) * (high - low) : NaN;
}
