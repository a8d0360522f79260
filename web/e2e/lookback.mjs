// Looks back at the synthetic camera in the player that is open: jumps, speeds, single pictures; what is
// in each picture must be what the page says.
import { installBarcode, watchRecorded } from './in-page.mjs';

/** The page's time of a picture and the time in it differ by less than a picture. */
const TOLERANCE_MS = 60;

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
  report.fast = await playing(4, nowUs() - 16_000_000, 2_500);
  report.reverse = await playing(-1, nowUs() - 2_000_000, 4_000);
  report.reverse_fast = await playing(-4, nowUs() - 1_000_000, 2_500);
  report.slow = await playing(0.5, nowUs() - 12_000_000, 3_000);
  report.steps = await steps();
  report.seek_ms = await seeks();
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
    await sight(watchRecorded);
    await sight(([at, speed]) => window.__sightline.lookback.playFrom(at, speed), [fromUs, scale]);
    await page.waitForFunction(() => window.__recorded.pictures.length > 0, undefined, {
      timeout: 20_000,
    });
    await page.waitForTimeout(ms);
    const { pictures, unreadable, state } = await sight(() => {
      window.__recorded.stop = true;
      const { pictures, unreadable } = window.__recorded;
      return { pictures, unreadable, state: window.__sightline.lookback.state };
    });
    const off = Math.max(...pictures.map((p) => Math.abs(p.said - p.read)));
    check(off <= TOLERANCE_MS, `at ${scale}: a picture is ${off} ms off its time`);
    check(unreadable <= pictures.length * 0.05, `at ${scale}: ${unreadable} were unreadable`);
    // What was on the screen before the jump does not count.
    const shown = pictures.slice(1);
    const steps = shown.slice(1).map((p, i) => (p.read - shown[i].read) * Math.sign(scale));
    check(
      steps.every((step) => step > 0),
      `at ${scale}: not monotonic: ${steps.join(' ')}`,
    );
    const span = shown.length > 1 ? shown.at(-1).read - shown[0].read : 0;
    const took = shown.length > 1 ? shown.at(-1).at - shown[0].at : 1;
    const speed = span / took;
    check(
      Math.abs(speed - scale) < Math.abs(scale) * 0.25,
      `at ${scale}: it was played at ${speed.toFixed(2)}`,
    );
    return { pictures: pictures.length, speed: Math.round(speed * 100) / 100, off, state };
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

  /** From the click to the picture. */
  async function seeks() {
    const times = [];
    for (let n = 0; n < 12; n += 1) {
      // The newest segment is whole only after some seconds.
      const at = nowUs() - (7 + ((n * 7) % 12)) * 1_000_000;
      await sight((us) => window.__sightline.lookback.show(us), at);
      await page.waitForFunction(
        (us) => Math.abs(window.__sightline.lookback.atUs - us) < 100_000,
        at,
        { timeout: 10_000 },
      );
      times.push(await sight(() => window.__sightline.lookback.seekMs));
    }
    times.sort((a, b) => a - b);
    const [p50, max] = [times[Math.floor(times.length / 2)], times.at(-1)].map(Math.round);
    check(p50 < 500, `a jump took ${p50} ms`);
    return { p50, max };
  }
}
