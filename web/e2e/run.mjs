// A new user in a real browser: signs up, reads the code from the SMS log, binds the camera,
// watches it; prints figures as one JSON line. `node e2e/run.mjs --help` tells the options.
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { qualities, timeLine } from './follow.mjs';
import { installBarcode, measureTone, watchBarcode } from './in-page.mjs';
import { lookBack } from './lookback.mjs';
import { keepJournal } from './journal.mjs';
import { options } from './options.mjs';

const PHONE = { width: 360, height: 740 };
const DESKTOP = { width: 1440, height: 900 };

const opt = options(process.argv.slice(2));
const out = opt.out ?? join(import.meta.dirname, 'out');
mkdirSync(out, { recursive: true });
const note = (text) => console.error(`e2e: ${text}`);
const failures = [];
const check = (ok, text) => {
  if (!ok) failures.push(text);
};

const browser = await chromium.launch({
  executablePath: opt.chromium,
  headless: !opt.headed,
  args: [
    ...'--no-sandbox --disable-gpu --disable-quic --no-first-run'.split(' '),
    ...'--disable-background-networking --disable-component-update --disable-sync'.split(' '),
  ],
});
const context = await browser.newContext({ viewport: DESKTOP, ignoreHTTPSErrors: true });
const page = await context.newPage();
const journal = await keepJournal(context, page);
const pageErrors = [];
page.on('pageerror', (error) => pageErrors.push(String(error)));
const get = (id) => page.getByTestId(id);
const shot = (name) => page.screenshot({ path: join(out, `${name}.png`) });
const sight = (read) => page.evaluate(read);

try {
  await signUp();
  await bind();
  const report = opt.each ? { cameras: await each() } : await watched();
  report.page_errors = pageErrors;
  check(pageErrors.length === 0, `errors in the page: ${pageErrors.join('; ')}`);
  report.failures = failures;
  console.log(JSON.stringify(report));
} catch (error) {
  await shot('failure').catch(() => undefined);
  console.error(`${await journal()}\ne2e failed:`, error);
  failures.push(String(error));
}
await browser.close();
process.exit(failures.length > 0 ? 1 : 0);

async function watched() {
  const report = await watch(await firstPicture());
  if (opt.outage) report.outage = await outage();
  if (opt.lookback) {
    const with_ = { check, shot, note, seconds: opt.lookback };
    report.lookback = await lookBack(page, with_);
  }
  await pictures();
  return report;
}

async function signUp() {
  await page.goto(opt.portal);
  await get('phone').waitFor();
  await shot('signin-desktop');
  const before = messages().length;
  await get('phone').fill(opt.phone);
  await get('send-code').click();
  await Promise.race([get('code').waitFor(), refusal()]);
  await get('code').fill(await codeFromSms(before));
  await get('sign-in').click();
  await Promise.race([get('home').waitFor(), refusal()]);
  note('signed in');
}

async function refusal() {
  const alert = page.locator('.alert');
  await alert.waitFor({ timeout: 60_000 });
  throw new Error(`refused: ${await alert.innerText()}`);
}

function messages() {
  try {
    return readFileSync(opt.smsLog, 'utf8').split('\n').filter(Boolean);
  } catch {
    return [];
  }
}

/** The code of a message that came after the first `before`. */
async function codeFromSms(before) {
  const number = opt.phone.replace(/[^+\d]/g, '');
  for (let tries = 0; tries < 100; tries += 1) {
    const mine = messages()
      .slice(before)
      .filter((line) => line.includes(number))
      .pop();
    const code = mine && /\b\d{4,8}\b/.exec(mine.slice(mine.indexOf(number) + number.length));
    if (code) return code[0];
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`no SMS for this number in ${opt.smsLog}`);
}

async function bind() {
  await get('nav-bind').click();
  await get('claim-code').fill(opt.claimCode);
  await shot('bind-desktop');
  await get('bind').click();
  await Promise.race([page.waitForURL(/#\/(camera\/.*)?$/), refusal()]);
  note('bound');
}

/** From the grid, as a person who comes back does. */
async function firstPicture() {
  await page.goto(`${new URL(opt.portal).origin}/#/`);
  await page.locator('[data-testid=thumbnail][data-shown=true]').first().waitFor();
  await shot('grid-desktop');
  await openPlayer();
  note('playing');
  return sight(() => ({ stages: window.__sightline.stages, state: window.__sightline.state }));
}

/** Every camera of the grid in turn, one by one. */
async function each() {
  const grid = () => page.goto(`${new URL(opt.portal).origin}/#/`);
  await grid();
  const cards = page.getByTestId('camera-card');
  await cards.first().waitFor();
  await page.waitForFunction(() =>
    [...document.querySelectorAll('[data-testid=camera-card] [data-presence]')].every((badge) =>
      ['online', 'active'].includes(badge.getAttribute('data-presence')),
    ),
  );
  const seen = [];
  for (const name of await cards.locator('.camera-name').allInnerTexts()) {
    await grid();
    await cards.filter({ has: page.getByText(name, { exact: true }) }).click();
    seen.push({ name, ...(await shown()) });
  }
  return seen;
}

/** What the player shows of the camera that was just opened. */
async function shown() {
  await page.waitForFunction(() => {
    const { state, stats } = window.__sightline ?? {};
    return state === 'failed' || (state === 'playing' && stats?.framesDecoded > 0);
  });
  const problem = await sight(() => window.__sightline.problem);
  if (problem) return { problem: problem.type, text: await get('play-state').innerText() };
  const hasSound = await get('sound').isEnabled();
  if (hasSound) await get('sound').click();
  const [before, at] = [await sight(() => window.__sightline.stats.framesDecoded), Date.now()];
  const tone = hasSound ? await sight(measureTone) : undefined;
  await page.waitForTimeout(Math.max(0, at + opt.seconds * 1000 - Date.now()));
  const { stats, serving, attempts } = await sight(() => {
    const { stats, serving, attempts } = window.__sightline;
    return { stats, serving, attempts };
  });
  const fps = (stats.framesDecoded - before) / ((Date.now() - at) / 1000);
  const { width, height, codec } = stats;
  const tone_hz = tone && Math.round(tone.hz * 10) / 10;
  return { width, height, codec, fps: Math.round(fps * 10) / 10, tone_hz, serving, attempts };
}

/** The camera goes away and comes back, without anybody touching the page. */
async function outage() {
  const say = (event, more) => console.log(JSON.stringify({ event, ...more }));
  const decoded = () => sight(() => window.__sightline.stats.framesDecoded);
  const inState = (state, timeout) =>
    page.waitForFunction((s) => window.__sightline?.state === s, state, { timeout });
  const attempts = await sight(() => {
    window.__untouched = true;
    return window.__sightline.attempts;
  });
  say('take_away');
  await inState('no_camera', 20_000);
  const text = await get('play-state').innerText();
  await shot('outage-desktop');
  say('gone', { text });
  await inState('playing', 60_000);
  say('back');
  const before = await decoded();
  await page.waitForFunction((n) => window.__sightline.stats.framesDecoded > n, before + 25);
  const after = await sight(() => ({
    untouched: window.__untouched === true,
    attempts: window.__sightline.attempts,
  }));
  check(after.untouched, 'the page was loaded anew');
  return { text, new_sessions: after.attempts - attempts, frames: (await decoded()) - before };
}

async function openPlayer() {
  const card = page
    .locator('[data-presence=online], [data-presence=active]')
    .first()
    .locator('xpath=ancestor::a');
  await card.click();
  await page.waitForFunction(
    () => window.__sightline?.state === 'playing' && window.__sightline.stages,
  );
}

async function watch(first) {
  await page.waitForFunction(() => window.__sightline.stats?.path);
  if (opt.tone > 0) await get('sound').click();
  const tone = opt.tone > 0 ? await sight(measureTone) : { hz: 0 };
  if (opt.tone > 0) {
    check(Math.abs(tone.hz - opt.tone) < opt.tone * 0.02, `the tone has ${tone.hz} Hz`);
  }
  if (opt.barcode) {
    await sight(installBarcode);
    await sight(watchBarcode);
  }
  const started = Date.now();
  const longestGapMs = opt.timeline ? await timeLine(page, opt.seconds) : undefined;
  while (Date.now() - started < opt.seconds * 1000) await page.waitForTimeout(250);
  const seen = await sight(() => {
    if (window.__barcode) window.__barcode.stop = true;
    const { stats, latency, state, attempts, iceRestarts, serving } = window.__sightline;
    return { barcode: window.__barcode, stats, latency, state, attempts, iceRestarts, serving };
  });
  check(seen.state === 'playing', `the state at the end is ${seen.state}`);
  check(opt.timeline || seen.attempts === 1, `${seen.attempts} sessions were needed`);
  const age = opt.barcode ? ageFigures(seen.barcode) : undefined;
  const report = {
    ttff_ms: first.stages,
    latency_ms: age,
    panel_latency_ms: seen.latency,
    jitter_buffer_ms: Math.round(seen.stats.jitterBufferMs ?? 0),
    tone_hz: Math.round(tone.hz * 10) / 10,
    width: seen.stats.width,
    height: seen.stats.height,
    fps: Math.round(seen.stats.fps * 10) / 10,
    bitrate_bps: Math.round(seen.stats.videoBps),
    loss_percent: seen.stats.lossPercent,
    path: seen.stats.path,
    serving: seen.serving,
    ice_restarts: seen.iceRestarts,
    attempts: seen.attempts,
    longest_gap_ms: longestGapMs,
  };
  if (opt.repeat > 0) report.ttff_repeated = await repeated();
  if (opt.quality) report.quality = await qualities(page, check);
  return report;
}

function ageFigures({ ages, at, cameras, unreadable, frames }) {
  const sorted = [...ages].sort((a, b) => a - b);
  const quantile = (q) => sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)];
  const gaps = at.slice(1).map((t, i) => t - at[i]);
  const figures = {
    p50: quantile(0.5),
    p95: quantile(0.95),
    max: sorted.at(-1),
    frames,
    unreadable,
    camera_ids: Object.keys(cameras).map(Number),
    longest_gap_ms: Math.max(0, ...gaps),
  };
  check(ages.length > 0, 'no time could be read from the picture');
  check(unreadable <= frames * 0.01, `${unreadable} of ${frames} frames were unreadable`);
  check(figures.camera_ids.length === 1, `camera ids read: ${figures.camera_ids}`);
  check(figures.max <= opt.maxLatencyMs, `the picture was ${figures.max} ms old`);
  return figures;
}

/** Time to first frame from a click on the grid, again and again. */
async function repeated() {
  const totals = [];
  const stages = [];
  for (let i = 0; i < opt.repeat; i += 1) {
    await get('home').click();
    await page.locator('[data-testid=thumbnail][data-shown=true]').first().waitFor();
    await page.waitForTimeout(300);
    await openPlayer();
    const times = await sight(() => window.__sightline.stages);
    totals.push(times.total);
    stages.push(times);
  }
  const quantile = (values, q) => {
    const sorted = [...values].sort((a, b) => a - b);
    return Math.round(sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] * 10) / 10;
  };
  const by_stage = {};
  for (const name of Object.keys(stages[0])) {
    by_stage[name] = quantile(
      stages.map((s) => s[name]),
      0.5,
    );
  }
  return { n: opt.repeat, p50: quantile(totals, 0.5), p95: quantile(totals, 0.95), by_stage };
}

/** Of the grid's first picture: the brightest red, green or blue, 0 to 255. */
function brightest() {
  return page.evaluate(() => {
    const canvas = document.querySelector('[data-testid=thumbnail] canvas');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return data.reduce((most, value, at) => (at % 4 === 3 ? most : Math.max(most, value)), 0);
  });
}

async function pictures() {
  await get('player').hover();
  await page.waitForTimeout(400);
  await shot('player-desktop');
  await page.setViewportSize(PHONE);
  await page.waitForTimeout(300);
  await shot('player-phone');
  await page.screenshot({ path: join(out, 'player-phone-full.png'), fullPage: true });
  await get('home').click();
  await page.locator('[data-testid=thumbnail][data-shown=true]').first().waitFor();
  check((await brightest()) > 60, 'the grid shows a black picture of a camera that was watched');
  await shot('grid-phone');
  await page.setViewportSize(DESKTOP);
}
