// Looks back at the synthetic camera in the player that is open: jumps, speeds, single pictures; what is
// in each picture must be what the page says.
import { installBarcode, playRecorded } from './in-page.mjs';

/** The page's time of a picture is that of the media clock; the camera drew the time into it when its
 * turn came. Nearly always they differ by less than a picture and a half. */
const TOLERANCE_MS = 60;
/** A camera on a machine that is busy draws late at times, but never another moment. */
const MOST_OFF_MS = 500;
/** From picture to picture. */
const PICTURE_MS = 40;
/** So long a picture of a jump may take to come. */
const PATIENCE_MS = 10_000;
/** A small picture may be so far off: what lies between keyframes, and what is not worth another question. */
const LOOK_MS = 12_000;
/** As in run.mjs. */
const PHONE = { width: 360, height: 740 };

export async function lookBack(page, { check, shot, note, seconds }) {
  const get = (id) => page.getByTestId(id);
  const sight = (read, value) => page.evaluate(read, value);
  await sight(installBarcode);
  // Something to look back at.
  await page.waitForFunction(
    (least) => {
      const range = document.querySelector('[data-testid=timeline-summary]');
      const spans = document.querySelectorAll('[data-testid=timeline-strip] .span');
      return range && spans.length > 0 && performance.now() > least;
    },
    seconds * 1000,
    { timeout: 90_000 },
  );
  await shot('timeline-desktop');
  const report = {};
  const nowUs = () => Date.now() * 1000;
  report.forwards = await playing(1, nowUs() - 12_000_000, 4_000);
  await shot('lookback-desktop');
  await onPhone();
  report.fast = await playing(4, nowUs() - 16_000_000, 2_500);
  report.reverse = await playing(-1, nowUs() - 2_000_000, 4_000);
  report.reverse_fast = await playing(-4, nowUs() - 1_000_000, 2_500);
  report.slow = await playing(0.5, nowUs() - 12_000_000, 3_000);
  report.steps = await steps();
  report.seek_ms = await seeks();
  report.looks = await looks();
  await get('go-live').click();
  await page.waitForFunction(() => window.__sightline.lookback.state === 'live');
  const frames = await sight(() => window.__sightline.stats?.framesDecoded ?? 0);
  await page.waitForFunction((n) => window.__sightline.stats?.framesDecoded > n + 10, frames, {
    timeout: 20_000,
  });
  note('looked back');
  return report;

  /** Plays for a while; every picture in it must be the one that the page says. */
  async function playing(scale, fromUs, ms) {
    await sight(playRecorded, [fromUs, scale]);
    await page.waitForFunction(() => window.__recorded.pictures.length > 0, undefined, {
      timeout: 20_000,
    });
    await page.waitForTimeout(ms);
    const { pictures, walls, unreadable, state } = await sight(() => {
      window.__recorded.stop = true;
      const { pictures, walls, unreadable } = window.__recorded;
      return { pictures, walls, unreadable, state: window.__sightline.lookback.state };
    });
    const distances = pictures.map((p) => Math.abs(p.said - p.read)).sort((a, b) => a - b);
    const off = distances[Math.ceil(0.95 * distances.length) - 1];
    const most_off = distances.at(-1);
    check(off <= TOLERANCE_MS, `at ${scale}: one of 20 pictures is ${off} ms off its time`);
    check(most_off <= MOST_OFF_MS, `at ${scale}: a picture is ${most_off} ms off its time`);
    check(unreadable <= pictures.length * 0.05, `at ${scale}: ${unreadable} were unreadable`);
    const steps = pictures.slice(1).map((p, i) => (p.read - pictures[i].read) * Math.sign(scale));
    check(
      steps.every((step) => step > 0),
      `at ${scale}: not monotonic: ${steps.join(' ')}`,
    );
    const span = steps.length > 0 ? pictures.at(-1).read - pictures[0].read : 0;
    const took = steps.length > 0 ? pictures.at(-1).at - pictures[0].at : 1;
    const speed = span / took;
    // A machine that cannot decode four times as many pictures in time plays slower, not in jerks.
    const [least, most] = Math.abs(scale) > 1 ? [1 / 3, 1.25] : [0.6, 1.4];
    check(
      speed / scale > least && speed / scale < most,
      `at ${scale}: it was played at ${speed.toFixed(2)}`,
    );
    // Faster, not all of them are wanted.
    const left_out = Math.abs(scale) <= 1 ? leftOut(walls) : undefined;
    if (left_out !== undefined) {
      const most = (pictures.length + left_out) * 0.1;
      check(left_out <= most, `at ${scale}: ${left_out} pictures were left out`);
    }
    const figures = { pictures: pictures.length, speed: Math.round(speed * 100) / 100, state };
    return { ...figures, off, most_off, left_out };
  }

  /** The same on a phone. */
  async function onPhone() {
    const desktop = page.viewportSize();
    const resize = async (size) => {
      await page.setViewportSize(size);
      await page.waitForFunction((width) => window.innerWidth === width, size.width);
    };
    await resize(PHONE);
    await shot('lookback-phone');
    await get('timeline').scrollIntoViewIfNeeded();
    await shot('timeline-phone');
    await resize(desktop);
  }

  /** Pause, then single pictures forth and back. */
  async function steps() {
    await get('play-pause').click();
    await page.waitForFunction(() => window.__sightline.lookback.state === 'paused');
    const at = () => sight(() => window.__sightline.lookback.atUs);
    const walk = [await at()];
    for (const button of ['step', 'step', 'step-back']) {
      const before = walk.at(-1);
      await get(button).click();
      await page.waitForFunction((us) => window.__sightline.lookback.atUs !== us, before, {
        timeout: 10_000,
      });
      walk.push(await at());
    }
    const [first, second, third, back] = walk;
    check(first < second && second < third, `steps forth: ${walk}`);
    check(back === second, `the step back shows another picture: ${walk}`);
    return walk.map((us) => Math.round((us - first) / 1000));
  }

  /** Small pictures of where the pointer is: each must be of the time that the page says, and nearly that. */
  async function looks() {
    await get('timeline-closer').click();
    const box = await get('timeline-strip').boundingBox();
    const offs = [];
    for (const ago of [16, 12, 8]) {
      const at = nowUs() - ago * 1_000_000;
      const { from, to } = await get('timeline-range').evaluate(({ dataset }) => ({
        from: Number(dataset.from),
        to: Number(dataset.to),
      }));
      const x = box.x + ((at - from) / (to - from)) * box.width;
      await page.mouse.move(x, box.y + 15);
      await page.locator('[data-testid=look][data-pictured]').waitFor({ timeout: PATIENCE_MS });
      const { said, asked, read } = await sight(() => {
        const look = document.querySelector('[data-testid=look]');
        const canvas = look.querySelector('canvas');
        const read = window.__readBarcode(canvas, canvas.width, canvas.height);
        const { pictured, at } = look.dataset;
        return { said: Number(pictured) / 1000, asked: Number(at) / 1000, read: read?.unixMs };
      });
      offs.push(Math.round(asked - said));
      if (read === undefined) continue;
      const off = Math.abs(said - read);
      check(off <= MOST_OFF_MS, `a small picture is ${off} ms off its time`);
    }
    // A keyframe, from before it mostly; pictures that lie close together stand for each other.
    const most = Math.max(...offs.map(Math.abs));
    check(most <= LOOK_MS, `small pictures are ${offs} ms off what was looked at`);
    await page.mouse.move(box.x, box.y - 300);
    await get('look').waitFor({ state: 'detached' });
    return offs;
  }

  /** From the click to the picture, which must be the one of that time. */
  async function seeks() {
    const times = [];
    const offs = [];
    let unreadable = 0;
    for (let n = 0; n < 12; n += 1) {
      // The newest segment is whole only after some seconds.
      const at = nowUs() - (7 + ((n * 7) % 12)) * 1_000_000;
      await sight((us) => window.__sightline.lookback.show(us), at);
      await page.waitForFunction(
        (us) => Math.abs(window.__sightline.lookback.atUs - us) < 1_000_000,
        at,
        { timeout: PATIENCE_MS },
      );
      const { atUs, seekMs, read } = await sight(() => {
        const canvas = document.querySelector('[data-testid=recorded]');
        const { atUs, seekMs } = window.__sightline.lookback;
        const read = window.__readBarcode(canvas, canvas.width, canvas.height);
        return { atUs, seekMs, read: read?.unixMs };
      });
      times.push(seekMs);
      offs.push(Math.abs(atUs - at) / 1000);
      if (read === undefined) unreadable += 1;
      else {
        const off = Math.abs(atUs / 1000 - read);
        check(off <= MOST_OFF_MS, `a jump shows a picture that is ${off} ms off its time`);
      }
    }
    times.sort((a, b) => a - b);
    offs.sort((a, b) => a - b);
    const middle = Math.floor(times.length / 2);
    const [p50, max] = [times[middle], times.at(-1)].map(Math.round);
    const [off, most_off] = [offs[middle], offs.at(-1)].map(Math.round);
    check(p50 > 0 && max <= PATIENCE_MS, `jumps took ${times.map(Math.round).join(' ')} ms`);
    // The last picture that was taken by then is asked for, not the keyframe before it. On a busy
    // machine some pictures lie farther apart.
    check(off <= 2 * PICTURE_MS, `half of the jumps show pictures ${off} ms off what was asked`);
    check(most_off <= MOST_OFF_MS, `a jump shows a picture ${most_off} ms off what was asked`);
    check(unreadable <= 1, `${unreadable} of ${times.length} pictures of jumps were unreadable`);
    return { p50, max, off, most_off };
  }
}

/** How many of the times at which the camera takes a picture were left out, between the first picture
 * that was shown and the last. */
function leftOut(walls) {
  const steps = walls.slice(1).map((wall, i) => Math.abs(wall - walls[i]));
  const wide = steps.filter((step) => step > 1.5 * PICTURE_MS);
  return wide.reduce((sum, step) => sum + Math.round(step / PICTURE_MS) - 1, 0);
}
