// Functions that run inside the page. Each must be whole in itself: its text is what travels.

/**
 * Makes `window.__readBarcode`, which reads the time barcode of the synthetic camera from a picture
 * (geometry: crates/media-io/src/source/synthetic/barcode.rs).
 */
export function installBarcode() {
  const COLUMNS = 40;
  const ROWS = 2;
  const TOP = 14 / 18;
  const ROW_HEIGHT = 1 / 18;
  const SYNC = 0b1011_0010;
  const canvas = document.createElement('canvas');
  const context = canvas.getContext('2d', { willReadFrequently: true });

  const crc8 = (bytes) =>
    bytes.reduce((crc, byte) => {
      let next = crc ^ byte;
      for (let i = 0; i < 8; i += 1) next = (next & 0x80 ? (next << 1) ^ 0x07 : next << 1) & 0xff;
      return next;
    }, 0);

  window.__readBarcode = (source, width, height) => {
    if (width === 0) return undefined;
    const top = Math.floor(TOP * height);
    const rows = Math.ceil(ROWS * ROW_HEIGHT * height);
    canvas.width = width;
    canvas.height = rows;
    context.drawImage(source, 0, top, width, rows, 0, 0, width, rows);
    const { data } = context.getImageData(0, 0, width, rows);
    const means = [];
    for (let block = 0; block < COLUMNS * ROWS; block += 1) {
      const column = block % COLUMNS;
      const row = Math.floor(block / COLUMNS);
      const along = (quarter) => Math.floor(((column + quarter) / COLUMNS) * width);
      const down = (quarter) =>
        Math.min(rows - 1, Math.floor((TOP + (row + quarter) * ROW_HEIGHT) * height) - top);
      let sum = 0;
      let count = 0;
      for (let y = down(0.25); y <= down(0.75); y += 1) {
        for (let x = along(0.25); x <= along(0.75); x += 1) {
          const at = 4 * (y * width + x);
          sum += (data[at] + data[at + 1] + data[at + 2]) / 3;
          count += 1;
        }
      }
      means.push(sum / count);
    }
    const darkest = Math.min(...means);
    const brightest = Math.max(...means);
    if (brightest - darkest < 60) return undefined;
    const middle = (darkest + brightest) / 2;
    const code = new Array(10).fill(0);
    means.forEach((mean, i) => {
      if (mean > middle) code[i >> 3] |= 1 << (7 - (i % 8));
    });
    if (code[0] !== SYNC || code[9] !== crc8(code.slice(1, 9))) return undefined;
    const unixMs = code.slice(1, 7).reduce((ms, byte) => ms * 256 + byte, 0);
    return { unixMs, camera: code[7] * 256 + code[8] };
  };
}

/** Reads it from every live frame that comes to the screen; results in `window.__barcode`. */
export function watchBarcode() {
  const video = window.__sightline.video;
  const result = { ages: [], cameras: {}, unreadable: 0, frames: 0, at: [], stop: false };
  window.__barcode = result;
  const read = () => window.__readBarcode(video, video.videoWidth, video.videoHeight);
  const next = (now) => {
    if (result.stop) return;
    video.requestVideoFrameCallback(next);
    result.frames += 1;
    const seenMs = performance.timeOrigin + now;
    const reading = read();
    if (!reading) {
      result.unreadable += 1;
      return;
    }
    result.ages.push(Math.max(seenMs, Date.now()) - reading.unixMs);
    result.at.push(seenMs);
    result.cameras[reading.camera] = (result.cameras[reading.camera] ?? 0) + 1;
  };
  video.requestVideoFrameCallback(next);
}

/**
 * Reads it from every recorded picture that is drawn: the time that the page says, and the one that
 * is in the picture, in milliseconds; results in `window.__recorded`. `walls` is what the page says of
 * all of them, the ones that cannot be read included.
 */
export function playRecorded([fromUs, scale]) {
  const canvas = document.querySelector('[data-testid=recorded]');
  const result = { pictures: [], walls: [], unreadable: 0, stop: false };
  window.__recorded = result;
  // What was played before is not shown any more from here on.
  window.__sightline.lookback.playFrom(fromUs, scale);
  let seen = window.__sightline.lookback.shown.at(-1);
  const look = () => {
    if (result.stop) return;
    requestAnimationFrame(look);
    const newest = window.__sightline.lookback.shown.at(-1);
    if (!newest || newest === seen) return;
    seen = newest;
    result.walls.push(newest.wallUs / 1000);
    const read = window.__readBarcode(canvas, canvas.width, canvas.height);
    if (!read) result.unreadable += 1;
    else {
      result.pictures.push({ said: newest.wallUs / 1000, read: read.unixMs, at: newest.atMs });
    }
  };
  requestAnimationFrame(look);
}

/** Pitch of the sound that comes out, in Hz, by the strongest bin of a long FFT. */
export async function measureTone() {
  const stream = window.__sightline.video.srcObject;
  if (stream.getAudioTracks().length === 0) return { hz: 0, why: 'no sound track' };
  const context = new AudioContext();
  await context.resume();
  const analyser = context.createAnalyser();
  analyser.fftSize = 32768;
  analyser.smoothingTimeConstant = 0;
  context.createMediaStreamSource(stream).connect(analyser);
  // The analyser must be filled with sound only, not with the silence before it.
  await new Promise((resolve) =>
    setTimeout(resolve, (2500 * analyser.fftSize) / context.sampleRate),
  );
  const bins = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(bins);
  let best = 1;
  for (let i = 2; i < bins.length - 1; i += 1) if (bins[i] > bins[best]) best = i;
  // Parabola through the three highest points: finer than a bin.
  const [a, b, c] = [bins[best - 1], bins[best], bins[best + 1]];
  const shift = (a - c) / (2 * (a - 2 * b + c));
  const hz = ((best + shift) * context.sampleRate) / analyser.fftSize;
  await context.close();
  return { hz, db: b };
}
