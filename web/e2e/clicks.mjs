// Click to first frame, for `cargo xtask bench live`: the portal's player, and WHEP pages of other
// servers with the same stream, one after the other in turn, in one browser. Prints one JSON line.
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { findChromium } from './chromium.mjs';

const { values: opt } = parseArgs({
  options: {
    portal: { type: 'string' },
    phone: { type: 'string' },
    'claim-code': { type: 'string' },
    'sms-log': { type: 'string' },
    clicks: { type: 'string', default: '50' },
    /** NAME=URL of a WHEP endpoint (repeatable). */
    whep: { type: 'string', multiple: true, default: [] },
    /** Where a screenshot goes when it fails. */
    out: { type: 'string', default: join(import.meta.dirname, 'out') },
    chromium: { type: 'string', default: findChromium() },
  },
});
const CLICK_LIMIT_MS = 15_000;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const browser = await chromium.launch({
  executablePath: opt.chromium,
  args: [
    ...'--no-sandbox --disable-gpu --disable-quic --no-first-run'.split(' '),
    ...'--disable-background-networking --disable-component-update --disable-sync'.split(' '),
  ],
});
const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
context.setDefaultTimeout(30_000);
const page = await context.newPage();
const get = (id) => page.getByTestId(id);

const result = { sightline: [] };
try {
  await signIn();
  await bind();
  const peers = [];
  for (const pair of opt.whep) {
    const [name, url] = [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)];
    peers.push({ name, page: await whepPage(url) });
    result[name] = [];
  }
  for (let i = 0; i < Number(opt.clicks); i += 1) {
    result.sightline.push(await portalClick());
    for (const peer of peers) result[peer.name].push(await whepClick(peer.page));
  }
  console.log(JSON.stringify(result));
} catch (error) {
  mkdirSync(opt.out, { recursive: true });
  await page.screenshot({ path: join(opt.out, 'clicks-failure.png') }).catch(() => undefined);
  console.error('clicks failed:', error);
  process.exitCode = 1;
}
await browser.close();

async function signIn() {
  await page.goto(opt.portal);
  const before = messages().length;
  await get('phone').fill(opt.phone);
  await get('send-code').click();
  await get('code').waitFor();
  await get('code').fill(await codeFromSms(before));
  await get('sign-in').click();
  await get('home').waitFor();
}

function messages() {
  try {
    return readFileSync(opt['sms-log'], 'utf8').split('\n').filter(Boolean);
  } catch {
    return [];
  }
}

async function codeFromSms(before) {
  for (let tries = 0; tries < 100; tries += 1) {
    const mine = messages()
      .slice(before)
      .filter((line) => line.includes(opt.phone))
      .pop();
    const code = mine && /\b\d{6}\b/.exec(mine.slice(mine.indexOf(opt.phone) + opt.phone.length));
    if (code) return code[0];
    await pause(100);
  }
  throw new Error(`no SMS in ${opt['sms-log']}`);
}

async function bind() {
  await get('nav-bind').click();
  await get('claim-code').fill(opt['claim-code']);
  await get('bind').click();
  await page.waitForURL(/#\/(camera\/.*)?$/);
}

/** From the grid to the picture; the stages of the portal's own clock, in milliseconds. */
async function portalClick() {
  await page.bringToFront();
  await get('home').click();
  await page.locator('[data-testid=thumbnail][data-shown=true]').first().waitFor();
  await pause(300);
  const online = page.locator('[data-presence=online], [data-presence=active]').first();
  await online.locator('xpath=ancestor::a').click();
  await page.waitForFunction(
    () => window.__sightline?.state === 'playing' && window.__sightline.stages,
  );
  const stages = await page.evaluate(() => window.__sightline.stages);
  await get('home').click();
  return stages;
}

/**
 * A page of the server's own origin with the shortest code that plays WHEP. It does what the portal
 * does ahead of a click too (a certificate made before), and waits for no candidates.
 */
async function whepPage(url) {
  const tab = await context.newPage();
  const address = new URL('/bench-page', url).href;
  await tab.route(address, (route) =>
    route.fulfill({
      contentType: 'text/html',
      body: '<button id=play>Play</button><video id=video autoplay muted playsinline></video>',
    }),
  );
  await tab.goto(address);
  await tab.evaluate(prepareWhep, url);
  return tab;
}

async function whepClick(tab) {
  await tab.bringToFront();
  await tab.locator('#play').click();
  const total = await tab.evaluate(
    (limit) =>
      Promise.race([
        window.firstFrame,
        new Promise((_, reject) => setTimeout(() => reject(new Error('no frame')), limit)),
      ]),
    CLICK_LIMIT_MS,
  );
  await tab.evaluate(() => window.stop());
  await pause(300);
  return { total };
}

/** Runs in the page. */
async function prepareWhep(url) {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const certificates = [await RTCPeerConnection.generateCertificate(algorithm)];
  const video = document.getElementById('video');
  let connection;
  let resource;
  document.getElementById('play').onclick = () => {
    const clicked = performance.now();
    window.firstFrame = (async () => {
      connection = new RTCPeerConnection({ certificates });
      const stream = new MediaStream();
      connection.ontrack = ({ track }) => stream.addTrack(track);
      for (const kind of ['video', 'audio']) {
        connection.addTransceiver(kind, { direction: 'recvonly' });
      }
      video.srcObject = stream;
      const frame = new Promise((resolve) => {
        video.requestVideoFrameCallback((_, { presentationTime }) => {
          resolve(Math.min(presentationTime, performance.now()) - clicked);
        });
      });
      await connection.setLocalDescription();
      const answer = await fetch(url, {
        method: 'POST',
        headers: { 'Content-Type': 'application/sdp' },
        body: connection.localDescription.sdp,
      });
      if (!answer.ok) throw new Error(`WHEP: ${answer.status}`);
      const location = answer.headers.get('Location');
      resource = location && new URL(location, url).href;
      await connection.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
      return frame;
    })();
  };
  window.stop = async () => {
    connection.close();
    video.srcObject = null;
    if (resource) await fetch(resource, { method: 'DELETE' }).catch(() => undefined);
  };
}
