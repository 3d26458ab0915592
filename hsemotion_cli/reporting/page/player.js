// The video and the cursor in step. The frame that is shown decides which row is shown, by the table's time stamps.

const video = $("video");
const source = facts.video; // null, or {address or tile, shift, width, height}
let ticking = null; // without a video: when and where playing began
let aimed = null; // time that was asked for while the video was still on its way to another

function showTime(time) {
  shown.time = time;
  shown.row = analysedAt(time);
  changed("cursor");
}

/** Go to a time in seconds of the table. */
function seek(time) {
  const at = inside(time, shown.first, shown.last);
  showTime(at);
  if (!canPlay()) {
    if (ticking) ticking = { began: performance.now(), from: at };
    return;
  }
  if (video.seeking) aimed = at;
  else go(at);
}

/** Into the middle of a frame, since players round its beginning to either side. */
function go(time) {
  const row = rowAt(time + 5e-4);
  const within = row >= 0 && time < shown.times[row] + holds(row);
  const into = within ? shown.times[row] + Math.min(holds(row) / 2, 0.004) : time;
  video.currentTime = Math.max(into - source.shift, 0);
}

function seekRow(row) {
  seek(shown.times[inside(row, 0, shown.times.length - 1)]);
}

function canPlay() {
  return source !== null && !video.hidden && video.readyState >= 1;
}

function paused() {
  return canPlay() ? video.paused : !ticking;
}

function togglePlay() {
  if (canPlay()) {
    if (video.paused) video.play().catch((error) => noVideo(`The video cannot be played (${error.message}).`));
    else video.pause();
  } else {
    ticking = ticking ? null : { began: performance.now(), from: shown.time };
    if (ticking) requestAnimationFrame(tick);
    showPlaying();
  }
}

/** Without a video the cursor moves by the clock. */
function tick(now) {
  if (!ticking) return;
  const time = ticking.from + ((now - ticking.began) / 1000) * Number($("speed").value);
  if (time >= shown.last) ticking = null;
  showTime(Math.min(time, shown.last));
  follow();
  if (ticking) requestAnimationFrame(tick);
  else showPlaying();
}

/** Keep the cursor in the part that is shown while it plays. */
function follow() {
  if (shown.time > shown.to || shown.time < shown.from) {
    const width = shown.to - shown.from;
    show(shown.time - 0.05 * width, shown.time + 0.95 * width);
  }
}

function showPlaying() {
  $("play").textContent = paused() ? "Play" : "Pause";
}

/** A frame came to the screen: ``mediaTime`` is its own time stamp. */
function onFrame(now, { mediaTime }) {
  if (aimed === null) {
    showTime(mediaTime + source.shift);
    if (video.paused) drawStill();
    else follow();
  }
  video.requestVideoFrameCallback(onFrame);
}

/** For browsers that do not say which frame they show. */
function onClock() {
  if (!video.seeking && aimed === null) showTime(video.currentTime + source.shift);
  if (!video.paused) {
    follow();
    requestAnimationFrame(onClock);
  }
}

function noVideo(sentence) {
  video.hidden = true;
  $("no-video").hidden = false;
  $("no-video").textContent = sentence;
  showPlaying();
}

async function prepareVideo() {
  $("play").addEventListener("click", togglePlay);
  $("back").addEventListener("click", () => stepFrames(-1));
  $("on").addEventListener("click", () => stepFrames(1));
  $("speed").addEventListener("change", () => (video.playbackRate = Number($("speed").value)));
  if (!source) return noVideo(facts.no_video);
  video.addEventListener("error", () =>
    noVideo(`The video ${facts.video_name} is not where the page expects it, or this browser cannot play it.`),
  );
  for (const name of ["play", "pause", "ended"]) video.addEventListener(name, showPlaying);
  video.addEventListener("pause", drawStill);
  video.addEventListener("seeked", () => {
    if (aimed === null) return;
    const time = aimed;
    aimed = null;
    go(time);
  });
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(onFrame);
  else for (const name of ["play", "seeked"]) video.addEventListener(name, onClock);
  video.addEventListener("loadedmetadata", () => {
    fitBoxes();
    if (Number.isFinite(shown.time) && shown.time > shown.first) go(shown.time);
  }, { once: true });
  if (source.tile) {
    const bytes = bytesOfText($(`tile-${source.tile}`).textContent);
    $(`tile-${source.tile}`).textContent = "";
    video.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
  } else video.src = source.address;
}

/** The arrow keys: by frames of the table; from a stretch that was not analysed to the next frame that was. */
function stepFrames(count) {
  if (!paused()) togglePlay();
  const row = rowAt(shown.time + 5e-4);
  seekRow(shown.row < 0 && count < 0 ? row : Math.max(row, count > 0 ? -1 : 0) + count);
}

// --- boxes over the video --------------------------------------------------------------------------------------

const boxes = $("boxes");

function fitBoxes() {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  boxes.width = Math.max(1, Math.round(boxes.clientWidth * ratio));
  boxes.height = Math.max(1, Math.round(boxes.clientHeight * ratio));
  drawBoxes();
}

/** The picture inside the video element, which keeps its proportions: scale, left and top in pixels of the canvas. */
function pictureArea() {
  const [width, height] = [facts.width || video.videoWidth || 16, facts.height || video.videoHeight || 9];
  const scale = Math.min(boxes.width / width, boxes.height / height);
  return { scale, left: (boxes.width - scale * width) / 2, top: (boxes.height - scale * height) / 2 };
}

function drawBoxes() {
  const context = boxes.getContext("2d");
  context.clearRect(0, 0, boxes.width, boxes.height);
  if (!$("with-boxes").checked || shown.row < 0 || video.hidden) return;
  const { scale, left, top } = pictureArea();
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  context.font = `600 ${Math.round(12 * ratio)}px system-ui, sans-serif`;
  context.textBaseline = "top";
  for (const person of visiblePeople()) {
    const k = person.track.at(shown.row);
    const [x, y, w, h] = ["x", "y", "w", "h"].map((name) => person.track.value(name, shown.row));
    if (k < 0 || !Number.isFinite(x + y + w + h)) continue;
    const at = [left + x * scale, top + y * scale, w * scale, h * scale];
    context.setLineDash(person.track.state[k] === 2 ? [6 * ratio, 4 * ratio] : []);
    context.lineWidth = 4 * ratio;
    context.strokeStyle = "#000a";
    context.strokeRect(...at);
    context.lineWidth = 2 * ratio;
    context.strokeStyle = person.colour;
    context.strokeRect(...at);
    const text = `${title(person)} · ${person.track.expression(shown.row) || "–"}`.slice(0, 60);
    const [wide, high] = [context.measureText(text).width + 8 * ratio, 17 * ratio];
    const beside = inside(at[0] - ratio, 0, Math.max(boxes.width - wide, 0));
    const above = at[1] - high - 2 * ratio >= 0 ? at[1] - high - 2 * ratio : Math.min(at[1] + at[3] + 2 * ratio, boxes.height - high);
    context.fillStyle = person.colour;
    context.fillRect(beside, above, wide, high);
    const [red, green, blue] = rgb(person.colour);
    context.fillStyle = 0.3 * red + 0.59 * green + 0.11 * blue > 115 ? "#000" : "#fff";
    context.fillText(text, beside + 4 * ratio, above + 2.5 * ratio);
  }
}

/** A copy of the frame at which the video rests, since browsers print nothing where a video is. */
function drawStill() {
  const still = $("still");
  [still.width, still.height] = [video.videoWidth || 1, video.videoHeight || 1];
  if (canPlay()) still.getContext("2d").drawImage(video, 0, 0);
}
