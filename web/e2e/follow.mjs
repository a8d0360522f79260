// What the player shows while time passes: a time line of sizes and frames, and the menu's sizes.

/** Keeps count, inside the page, of what comes to the screen. Its text is what travels. */
export function countFrames() {
  const video = window.__sightline.video;
  const first = performance.now();
  const seen = { frames: 0, last: first, gap: 0, from: undefined, video };
  window.__frames = seen;
  const next = (now, { presentedFrames, rtpTimestamp }) => {
    if (window.__frames !== seen) return;
    video.requestVideoFrameCallback(next);
    if (seen.from) seen.gap = Math.max(seen.gap, now - seen.last);
    seen.from ??= { frames: presentedFrames, rtp: rtpTimestamp };
    // Frames that were shown between two calls count too.
    seen.frames = presentedFrames - seen.from.frames;
    seen.last = now;
    seen.rtp = rtpTimestamp;
  };
  video.requestVideoFrameCallback(next);
}

/** One line of the time line; the gap that is still open counts as well. */
function sample() {
  const seen = window.__frames;
  const now = performance.now();
  const { video, state, serving, stats, attempts, iceRestarts } = window.__sightline;
  const gap = Math.max(seen.gap, now - seen.last);
  seen.gap = 0;
  return {
    t_ms: Math.round(performance.timeOrigin + now),
    width: video.videoWidth,
    height: video.videoHeight,
    frames: seen.frames,
    longest_gap_ms: Math.round(gap),
    tier: serving?.tier,
    reason: serving?.reason,
    video_bps: Math.round(stats?.videoBps ?? 0),
    state,
    attempts,
    ice_restarts: iceRestarts,
  };
}

/** Prints a JSON line every 250 ms; gives the longest gap between two pictures. */
export async function timeLine(page, seconds) {
  await page.evaluate(countFrames);
  console.log(JSON.stringify({ event: 'playing' }));
  const started = Date.now();
  let longest = 0;
  while (Date.now() - started < seconds * 1000) {
    await page.waitForTimeout(250);
    const now = await page.evaluate(sample);
    longest = Math.max(longest, now.longest_gap_ms);
    console.log(JSON.stringify(now));
  }
  return longest;
}

const SIZES = { cif: [352, 288], d1: [704, 576], '720p': [1280, 720] };
const RATES = [25, 5, 1];

/** Sizes and rates of A6.1.3: what is decoded must follow the menu. */
export async function qualities(page, check) {
  const get = (id) => page.getByTestId(id);
  const results = [];
  for (const fps of RATES) {
    for (const [name, size] of Object.entries(SIZES)) {
      await get('quality').selectOption(name);
      await get('fps').selectOption(String(fps));
      const started = Date.now();
      const right = await becomes(page, size);
      const took_ms = Date.now() - started;
      const rate = await settledRate(page, fps);
      const what = `${name} at ${fps} fps`;
      check(right, `${what}: not decoded as ${size.join('x')}`);
      check(Math.abs(rate - fps) <= Math.max(0.3, fps * 0.1), `${what}: ${rate} were shown`);
      results.push({ name, fps, took_ms, measured_fps: Math.round(rate * 10) / 10, right });
    }
  }
  await get('quality').selectOption('auto');
  return results;
}

async function becomes(page, size) {
  const has = ([w, h]) => {
    const { videoWidth, videoHeight } = window.__sightline.video;
    return videoWidth === w && videoHeight === h;
  };
  const waiting = page.waitForFunction(has, size, { timeout: 10_000 });
  return waiting.then(
    () => true,
    () => false,
  );
}

/** Frames per second, between the first and the last frame of a while, after a change. */
async function settledRate(page, fps) {
  await page.waitForTimeout(fps === 1 ? 2_500 : 1_500);
  await page.evaluate(countFrames);
  await page.waitForTimeout(fps === 1 ? 5_500 : 3_000);
  return page.evaluate(() => {
    const { frames, rtp, from } = window.__frames;
    window.__frames = undefined;
    // By the pictures' own clock of 90 kHz: a busy machine shows some of them late. What comes twice
    // or in a burst still counts, since it has hardly any time of its own.
    const ticks = from && (rtp - from.rtp) >>> 0;
    return ticks ? (90_000 * frames) / ticks : 0;
  });
}
