// Drives the built page in Chromium against the mock centre: sign in, bind, watch, recover, refuse
// a substituted certificate. Pictures go to tests/browser/out.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import assert from 'node:assert/strict';
import axe from 'axe-core';
import { chromium } from 'playwright-core';
import encodeQR from 'qr';
import { findChromium } from '../../e2e/chromium.mjs';
import { firstPlan, startMock } from '../mock/server.mjs';
import { lookbackTests } from './lookback.mjs';
import { recordingTests } from './recordings.mjs';

const OUT = join(import.meta.dirname, 'out');
mkdirSync(OUT, { recursive: true });
const only = process.argv.slice(2);

const mock = await startMock();
const browser = await chromium.launch({
  executablePath: findChromium(),
  args: [
    ...'--no-sandbox --disable-gpu --disable-quic --no-first-run'.split(' '),
    ...'--disable-background-networking --disable-component-update --disable-sync'.split(' '),
    '--autoplay-policy=no-user-gesture-required',
    '--use-fake-device-for-media-stream',
    '--use-fake-ui-for-media-stream',
  ],
});

const complaints = [];
/** What a browser says of refusals and of a network that is away; a server's fault is none of them. */
const usual = () => {
  const faults = mock.state.statisticsDown ? '|500' : '';
  const absent = mock.state.recorderFails === 'not_found' ? '|404' : '';
  return new RegExp(`401|403|409|503|ERR_${faults}${absent}`);
};

async function open(options = {}, path = '/', strict = true) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  page.on('console', (m) => {
    if (strict && m.type() === 'error' && !usual().test(m.text())) complaints.push(m.text());
  });
  page.on('pageerror', (e) => strict && complaints.push(String(e)));
  await page.goto(mock.origin + path);
  return page;
}

const get = (page, id) => page.getByTestId(id);
const shot = (page, name) => page.screenshot({ path: join(OUT, `${name}.png`) });
const playing = (page) =>
  page.waitForFunction(() => window.__sightline?.state === 'playing' && window.__sightline.stages);

const SIZES = {
  phone: { width: 360, height: 740 },
  desktop: { width: 1440, height: 900 },
};

async function pu() {
  const page = await open({ viewport: { width: 400, height: 300 } }, '/mock/pu.html', false);
  await page.waitForFunction(() => document.title === 'ready');
  while (!mock.state.pu) await new Promise((resolve) => setTimeout(resolve, 20));
  return page;
}

const tests = {
  async signsInBindsAndWatches() {
    mock.state.signedIn = false;
    mock.state.bound = false;
    const page = await open();
    await get(page, 'phone').fill('0044 7700 900123');
    await get(page, 'send-code').click();
    assert.match(await page.locator('.field.bad .hint').innerText(), /never starts with 0/);
    await get(page, 'phone').fill('+44 7700 900123');
    await get(page, 'send-code').click();
    await get(page, 'code').fill('999999');
    await get(page, 'sign-in').click();
    await page.locator('.alert').waitFor();
    assert.equal(await get(page, 'resend').isDisabled(), true);
    await get(page, 'code').fill(mock.state.code);
    await get(page, 'sign-in').click();
    await get(page, 'no-cameras').waitFor();
    await get(page, 'nav-bind').click();
    const code = mock.claimCode();
    await get(page, 'claim-code').pressSequentially(
      code.slice(0, 12).replaceAll('-', '').toUpperCase(),
    );
    assert.equal(await get(page, 'claim-code').inputValue(), code.slice(0, 12).replace(/-$/, ''));
    const wrong = code.slice(0, -1) + (code.endsWith('a') ? 'b' : 'a');
    await get(page, 'claim-code').fill(wrong);
    await page.getByText('check characters do not match').waitFor();
    await get(page, 'claim-code').fill(code);
    await get(page, 'bind').click();
    await playing(page);
    const { stages } = await page.evaluate(() => ({ stages: window.__sightline.stages }));
    const { total, ...parts } = stages;
    const sum = Object.values(parts).reduce((a, b) => a + b, 0);
    assert.ok(Math.abs(sum - total) < 0.001, 'the stages add up to the total');
    assert.equal(await get(page, 'pin').getAttribute('data-pin'), 'code');
    console.log('  time to first frame', JSON.stringify(stages));
    await page.waitForFunction(() => window.__sightline.stats?.path);
    assert.equal(await get(page, 'path').getAttribute('data-path'), 'direct');
    await get(page, 'quality').selectOption('cif');
    await get(page, 'fps').selectOption('5');
    await page.waitForFunction(() => window.__sightline.serving?.width === 352);
    await recordsAndSaves(page);
    await page.context().close();
  },

  async showsThumbnailsAndPresence() {
    const page = await open();
    await page.locator('[data-testid=thumbnail][data-shown=true]').waitFor();
    mock.push({ type: 'camera', camera: { ...mock.camera(), presence: 'offline' } });
    await page.locator('[data-presence=offline]').waitFor();
    mock.push({ type: 'camera', camera: mock.camera() });
    await page.locator('[data-presence=online]').waitFor();
    await get(page, 'camera-card').click();
    await playing(page);
    const { stages } = await page.evaluate(() => ({ stages: window.__sightline.stages }));
    console.log('  from the grid', JSON.stringify(stages));
    assert.ok(stages.signalling < 5, 'the WebSocket was open already');
    await page.context().close();
  },

  async picturesComeBackByThemselves() {
    const page = await open({}, `/#/camera/${mock.state.pu}.0`);
    await playing(page);
    await device.evaluate(() => [...window.sessions.values()].forEach((pc) => pc.close()));
    await page.waitForFunction(() => window.__sightline.state !== 'playing', undefined, {
      timeout: 15_000,
    });
    await device.evaluate(() => window.sessions.clear());
    await page.waitForFunction(
      () => window.__sightline.state === 'playing' && window.__sightline.iceRestarts > 0,
      undefined,
      { timeout: 20_000 },
    );
    await page.context().close();
  },

  async refusesASubstitutedCertificate() {
    const fake = Array.from({ length: 32 }, (_, i) => (i * 7).toString(16).padStart(2, '0'))
      .join(':')
      .toUpperCase();
    mock.state.tamper = (answer) => ({
      ...answer,
      sdp: answer.sdp.replace(/(a=fingerprint:sha-256 )\S+/g, `$1${fake}`),
    });
    const page = await open({}, `/#/camera/${mock.state.pu}.0`);
    await get(page, 'security-alert').waitFor();
    const seen = await page.evaluate(() => ({
      width: window.__sightline.video.videoWidth,
      attempts: window.__sightline.attempts,
    }));
    assert.deepEqual(seen, { width: 0, attempts: 1 });
    await shot(page, 'security-desktop');
    mock.state.tamper = (answer) => answer;
    await page.context().close();
  },

  async refusesAnotherDevicesKey() {
    mock.state.playKey = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA';
    const page = await open({}, `/#/camera/${mock.state.pu}.0`);
    await get(page, 'security-alert').waitFor();
    mock.state.playKey = undefined;
    await page.context().close();
  },

  async scansAQrCode() {
    mock.state.bound = false;
    for (const text of [`${mock.origin}/#/bind?code=${mock.claimCode()}`, mock.claimCode()]) {
      const page = await open({}, '/#/bind');
      await page.evaluate(showToCamera, encodeQR(text, 'raw'));
      await get(page, 'scan').click();
      await page.getByText('The code is complete.').waitFor();
      assert.equal(await get(page, 'claim-code').inputValue(), mock.claimCode());
      assert.equal(await get(page, 'scanner').count(), 0);
      await page.context().close();
    }
  },

  async followsALinkAndForgetsItsCode() {
    mock.state.bound = false;
    const page = await open({}, `/#/bind?code=${mock.claimCode()}`);
    await page.getByText('The code is complete.').waitFor();
    assert.ok(!page.url().includes('code='), 'the code stays in the address');
    await page.context().close();
  },

  async showsTheOperatorNetworksAndRelays() {
    const page = await open({}, '/#/operator');
    await get(page, 'networks-table-empty').waitFor();
    await get(page, 'mtus-table-empty').waitFor();
    await get(page, 'usage-table-empty').waitFor();
    fillForPictures();
    await get(page, 'refresh').click();
    const row = page.locator('[data-network="203.0.113.0/24"]');
    await row.waitFor();
    const text = await row.innerText();
    for (const part of ['940', '87 %', '180 / 420 ms', '8.3 GB', 'Both routers symmetric 100']) {
      assert.ok(text.includes(part), `${part} is missing in: ${text}`);
    }
    const used = await get(page, 'usage-table').innerText();
    assert.match(used, /\+•+23\s+2\s+1\.3 GB\s+3 h 0 min/);
    assert.match(used, /Not known/);
    assert.match(await page.locator('[data-mtu=mtu-0]').innerText(), /Not running[^]*900 MB/);
    await get(page, 'networks-side').selectOption('pu');
    await page.locator('[data-network="198.51.100.0/24"]').waitFor();
    mock.state.statisticsDown = true;
    await get(page, 'refresh').click();
    await get(page, 'networks-error').locator('.alert').waitFor();
    await get(page, 'usage-error').locator('.alert').waitFor();
    assert.equal(await get(page, 'networks-table').count(), 0);
    assert.equal(await get(page, 'subscriptions').count(), 1, 'the rest of the page stays');
    mock.state.statisticsDown = false;
    await page.context().close();
  },

  async waitsForApproval() {
    mock.state.subscription = 'pending';
    const page = await open();
    await get(page, 'subscription-pending').waitFor();
    await shot(page, 'pending-desktop');
    mock.state.subscription = 'active';
    mock.push({ type: 'subscription', subscription: 'active' });
    await get(page, 'camera-grid').waitFor();
    await page.context().close();
  },

  async installsAndStartsWithoutANetwork() {
    const page = await open();
    await get(page, 'camera-grid').waitFor();
    await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
    await page.reload();
    await get(page, 'camera-grid').waitFor();
    await page.context().setOffline(true);
    await page.reload();
    await get(page, 'retry').waitFor();
    await page.context().setOffline(false);
    await get(page, 'retry').click();
    await get(page, 'camera-grid').waitFor();
    await page.context().close();
  },

  async canBeUsedByKeyboardAndScreenReader() {
    fillForPictures();
    for (const colorScheme of ['light', 'dark']) {
      mock.state.signedIn = false;
      const page = await open({ colorScheme });
      await get(page, 'phone').waitFor();
      await audit(page, `sign-in, ${colorScheme}`);
      mock.state.signedIn = true;
      await page.reload();
      await page.locator('[data-testid=thumbnail][data-shown=true]').waitFor();
      await audit(page, `grid, ${colorScheme}`);
      for (const name of ['bind', 'operator', 'settings']) {
        await get(page, `nav-${name}`).click();
        await page.locator('h1').waitFor();
        await page.waitForTimeout(200);
        await audit(page, `${name}, ${colorScheme}`);
      }
      await get(page, 'home').focus();
      await page.keyboard.press('Enter');
      await page.locator('[data-testid=camera-card].online').focus();
      await page.keyboard.press('Enter');
      await playing(page);
      await page.waitForFunction(() => window.__sightline.stats?.path);
      for (const id of ['calendar', 'plan']) await get(page, id).locator('summary').click();
      await page.locator('[data-testid=day-1].has').waitFor();
      await get(page, 'plan-mode').waitFor();
      await audit(page, `player, ${colorScheme}`);
      await get(page, 'sound').focus();
      await page.keyboard.press('Space');
      assert.equal(await page.evaluate(() => window.__sightline.video.muted), false);
      await page.context().close();
    }
  },

  async looksRight() {
    fillForPictures();
    for (const [size, viewport] of Object.entries(SIZES)) {
      for (const colorScheme of ['light', 'dark']) {
        const options = { viewport, colorScheme, deviceScaleFactor: size === 'phone' ? 2 : 1 };
        await takePictures(options, `${size}-${colorScheme}`);
      }
    }
    await takePictures({ viewport: SIZES.phone, locale: 'zh-CN' }, 'phone-zh');
    await takePictures({ viewport: { width: 3840, height: 2160 } }, '4k');
  },
};

/** In the page: the camera sees this QR code from now on. */
function showToCamera(modules) {
  const canvas = document.createElement('canvas');
  canvas.width = 640;
  canvas.height = 480;
  const context = canvas.getContext('2d');
  const size = 400 / modules.length;
  const draw = () => {
    context.fillStyle = '#fff';
    context.fillRect(0, 0, 640, 480);
    context.fillStyle = '#000';
    modules.forEach((row, y) =>
      row.forEach((dark, x) => dark && context.fillRect(120 + x * size, 40 + y * size, size, size)),
    );
  };
  setInterval(draw, 50);
  navigator.mediaDevices.getUserMedia = () => Promise.resolve(canvas.captureStream(20));
}

/** No violation of WCAG 2.2 A and AA that a program can find. */
async function audit(page, name) {
  await page.evaluate(axe.source);
  const found = await page.evaluate(() =>
    window.axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }),
  );
  const violations = found.violations.map(
    (v) => `${v.id}: ${v.nodes.map((n) => `${n.target} ${n.failureSummary}`).join('; ')}`,
  );
  assert.deepEqual(violations, [], name);
}

async function recordsAndSaves(page) {
  await page.evaluate(() => delete window.showSaveFilePicker);
  await page.evaluate(() => {
    window.showSaveFilePicker = undefined;
  });
  const picture = page.waitForEvent('download');
  await page.getByTestId('snapshot').click();
  assert.match((await picture).suggestedFilename(), /^Front-door_.*\.png$/);
  await page.getByTestId('record').click();
  await page.getByTestId('recording').waitFor();
  const recording = page.waitForEvent('download');
  await page.waitForTimeout(1500);
  await page.getByTestId('record').click();
  assert.match((await recording).suggestedFilename(), /\.(mp4|webm)$/);
}

function fillForPictures() {
  const more = (name, presence, n) => ({
    ...mock.camera(),
    id: `${'abcdefghijklmnopqrstuvwxyz'.slice(n)}${'a'.repeat(n)}.0`,
    device: { domain: 'mock', pu: 'a'.repeat(26) },
    name,
    presence,
  });
  mock.state.extra = [
    more('Back yard with a rather long name', 'offline', 1),
    more('Garage', 'inactive', 2),
  ];
  const at = (minutes) => (Date.now() - minutes * 60_000) * 1000;
  mock.state.subscriptions = [
    { user: 'u2', phone_masked: '+•••••••••••17', subscription: 'pending', since: at(3) },
    { user: 'u1', phone_masked: '+•••••••••••23', subscription: 'active', since: at(600) },
  ];
  mock.state.networks = { viewer: [network('203.0.113.0/24', 1), network('2001:db8:5a::/48', 3)] };
  mock.state.networks.viewer.push({
    ...network('other', 470),
    rungs: [{ rung: 'relay_tls', sessions: 2 }],
    relay_causes: [{ cause: 'viewer_udp_blocked', sessions: 2 }],
    stages: [],
  });
  mock.state.networks.pu = [{ ...network('198.51.100.0/24', 1), relay_causes: [] }];
  mock.state.mtus = [
    relay('mtu-1', { load: 0.34 }),
    relay('mtu-2', { draining: true, load: 0.02 }),
  ];
  mock.state.mtus.push(relay('mtu-3', { accepting: false, load: 1, capacity_bps: undefined }));
  mock.state.shares = [
    { mtu: 'mtu-0', bytes: 900_000_000 },
    { mtu: 'mtu-1', bytes: 400_000_000 },
  ];
  mock.state.usage = [
    { ...usage('u1', 1_234_000_000), to: at(5) },
    { ...usage('u1', 66_000_000), to: at(900) },
    { ...usage('u2', 7_400_000), to: at(60) },
    { ...usage(null, 12_000), to: at(4000) },
  ];
  mock.state.audit = [
    { at: at(1), user: 'u1', action: 'binding.create', target: mock.state.pu, outcome: 'ok' },
    { at: at(2), user: null, action: 'session.create', target: 'sms', outcome: 'wrong_code' },
  ];
}

function network(name, part) {
  return {
    network: name,
    sessions: Math.round(940 / part),
    rungs: [
      { rung: 'host', sessions: Math.round(120 / part) },
      { rung: 'mapped', sessions: Math.round(200 / part) },
      { rung: 'punched', sessions: Math.round(500 / part) },
      { rung: 'relay_udp', sessions: Math.round(100 / part) },
      { rung: 'relay_tcp', sessions: Math.round(20 / part) },
    ],
    relayed_bytes: Math.round(8_300_000_000 / part),
    relay_causes: [
      { cause: 'both_symmetric', sessions: Math.round(100 / part) },
      { cause: 'viewer_udp_blocked', sessions: Math.round(20 / part) },
    ],
    stages: [
      { stage: 'play', p50_ms: 40, p95_ms: 80 },
      { stage: 'total', p50_ms: 180 * part, p95_ms: 420 * part },
    ],
  };
}

function relay(mtu, change) {
  return {
    mtu,
    load: 0,
    accepting: !change.draining,
    draining: false,
    capacity_bps: 1_000_000_000,
    relayed_bps: 84_000_000,
    allocations: 41,
    heard_at: Date.now() * 1000,
    ...change,
  };
}

function usage(user, bytes) {
  const counts = { mtus: 1, bytes, packets: Math.round(bytes / 1000), allocated_s: 5400 };
  return { user, session: `s${bytes}`, from: 0, to: 0, ...counts };
}

async function takePictures(options, name) {
  mock.state.signedIn = false;
  let page = await open(options);
  await get(page, 'phone').waitFor();
  await shot(page, `signin-${name}`);
  mock.state.signedIn = true;
  await page.reload();
  await page.locator('[data-testid=thumbnail][data-shown=true]').waitFor();
  await shot(page, `grid-${name}`);
  await get(page, 'nav-bind').click();
  await get(page, 'claim-code').fill(mock.claimCode().slice(0, 30));
  await shot(page, `bind-${name}`);
  await get(page, 'nav-operator').click();
  await get(page, 'audit').waitFor();
  await get(page, 'networks-table').waitFor();
  await get(page, 'usage-table').waitFor();
  await page.screenshot({ path: join(OUT, `operator-${name}.png`), fullPage: true });
  await fitsTheWindow(page, `operator-${name}`);
  await get(page, 'nav-settings').click();
  await shot(page, `settings-${name}`);
  await page.goto(`${mock.origin}/#/camera/${mock.state.pu}.0`);
  await playing(page);
  await page.waitForFunction(() => window.__sightline.stats?.path);
  await get(page, 'player').hover();
  await page.waitForTimeout(400);
  await shot(page, `player-${name}`);
  if (name.startsWith('phone')) {
    await page.screenshot({ path: join(OUT, `player-full-${name}.png`), fullPage: true });
  }
  await fitsTheWindow(page, name);
  await page.context().close();
}

async function fitsTheWindow(page, name) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(wide <= 0, `${name}: the page is ${wide} px wider than the window`);
}

const device = await pu();
const helpers = { mock, open, get, playing, device, audit, fitsTheWindow };
Object.assign(tests, recordingTests(helpers), lookbackTests(helpers));
let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  if (only.length > 0 && !only.includes(name)) continue;
  console.log(name);
  mock.state.signedIn = true;
  mock.state.bound = true;
  mock.state.extra = [];
  mock.state.recorderFails = undefined;
  mock.state.recorded = undefined;
  mock.state.recordedBy = {};
  mock.state.marks = [];
  mock.state.silent = [];
  mock.state.segments = [];
  mock.state.released = [];
  mock.state.fetched = [];
  mock.state.storeFails = false;
  await device.evaluate(() => {
    window.playsBack = false;
    window.replays = [];
    window.sessions.forEach((pc) => pc.close());
    window.sessions.clear();
  });
  mock.state.recording = [];
  mock.state.nvrs = [];
  mock.state.plan = firstPlan();
  try {
    await test();
  } catch (error) {
    failed += 1;
    console.error(`  FAILED ${name}:`, error);
  }
}
if (complaints.length > 0) {
  failed += 1;
  console.error('errors in the page:', complaints);
}
await browser.close();
mock.close();
process.exit(failed > 0 ? 1 : 0);
