// One person watches one camera from wherever this runs (tests/nat): prints what the player shows
// as JSON lines, until it is told to end by SIGTERM. The profile keeps the person signed in.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { findChromium } from './chromium.mjs';
import { countFrames } from './follow.mjs';

const { values: opt } = parseArgs({
  options: {
    portal: { type: 'string' },
    phone: { type: 'string' },
    'sms-log': { type: 'string' },
    camera: { type: 'string' },
    profile: { type: 'string' },
    chromium: { type: 'string', default: findChromium() },
  },
});
const say = (line) => console.log(JSON.stringify(line));

const context = await chromium.launchPersistentContext(opt.profile, {
  executablePath: opt.chromium,
  headless: true,
  ignoreHTTPSErrors: true,
  handleSIGTERM: false,
  args: [
    ...'--no-sandbox --disable-gpu --disable-quic --no-first-run'.split(' '),
    ...'--disable-background-networking --disable-component-update --disable-sync'.split(' '),
    // Relays over TLS have the lab's certificate, too.
    '--ignore-certificate-errors',
    // Documentation addresses of IPv6 count as somebody's local network.
    '--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets,LocalNetworkAccessChecksWebRTC',
  ],
});
const page = context.pages()[0] ?? (await context.newPage());
page.setDefaultTimeout(60_000);
page.on('pageerror', (error) => console.error(String(error)));
if (process.env.TEST_CONSOLE) {
  page.on('console', (message) => console.error(message.text()));
  await page.addInitScript(tellCandidates);
}
const get = (id) => page.getByTestId(id);

let ending = false;
process.on('SIGTERM', () => {
  ending = true;
  void context.close().finally(() => process.exit(0));
});

try {
  await page.goto(opt.portal);
  await get('phone').or(get('home')).first().waitFor();
  if (await get('phone').isVisible()) await signIn();
  const at = `${new URL(opt.portal).origin}/#/camera/${encodeURIComponent(opt.camera)}`;
  say({ event: 'asking' });
  await page.goto(at);
  await page.waitForFunction(() => window.__sightline?.video);
  await follow();
} catch (error) {
  if (!ending) {
    console.error(String(error));
    await context.close();
    process.exit(1);
  }
}

/** Candidates of both ends and the pairs made of them, for whoever looks for a cause. */
function tellCandidates() {
  const Original = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Original {
    constructor(...options) {
      super(...options);
      console.log('servers', JSON.stringify(options[0]?.iceServers?.map((s) => s.urls)));
      this.addEventListener('icecandidate', ({ candidate }) =>
        console.log('own', candidate?.candidate),
      );
      this.addEventListener('icecandidateerror', (error) =>
        console.log('error', error.url, error.errorCode, error.errorText),
      );
      setInterval(() => void this.tell(), 4_000);
    }
    setRemoteDescription(description) {
      const lines = description.sdp.split('\n').filter((line) => line.startsWith('a=cand'));
      console.log('theirs', lines.join('; '));
      return super.setRemoteDescription(description);
    }
    addIceCandidate(candidate) {
      console.log('theirs', candidate?.candidate);
      return super.addIceCandidate(candidate);
    }
    async tell() {
      const rows = new Map(await this.getStats());
      const at = (id) => {
        const { candidateType, address, port } = rows.get(id) ?? {};
        return `${candidateType} ${address}:${port}`;
      };
      for (const row of rows.values()) {
        if (row.type !== 'candidate-pair') continue;
        const { state, nominated, requestsSent, responsesReceived, requestsReceived } = row;
        const ends = `${at(row.localCandidateId)} > ${at(row.remoteCandidateId)}`;
        const counts = `${requestsSent} asked, ${responsesReceived} answered, ${requestsReceived} heard`;
        console.log('pair', ends, state, nominated ? 'nominated' : '', counts);
      }
    }
  };
}

async function signIn() {
  const before = codes().length;
  await get('phone').fill(opt.phone);
  await get('send-code').click();
  await get('code').waitFor();
  for (let tries = 0; tries < 200 && codes().length === before; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await get('code').fill(codes().pop() ?? '');
  await get('sign-in').click();
  await get('home').waitFor();
}

/** All codes that were sent to this person so far. */
function codes() {
  const lines = readFileSync(opt['sms-log'], 'utf8').split('\n');
  const mine = lines.filter((line) => line.includes(opt.phone));
  const code = (line) => /\b\d{6}\b/.exec(line.slice(line.indexOf(opt.phone) + opt.phone.length));
  return mine.map(code).flatMap((found) => (found ? [found[0]] : []));
}

/** What the player shows, every 200 ms. */
async function follow() {
  let counted;
  while (!ending) {
    const now = await page.evaluate(sample);
    // A new attempt may bring another video element, and with it another count.
    if (now.playing && (!counted || now.uncounted)) {
      await page.evaluate(countFrames);
      counted = true;
    }
    say(now);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function sample() {
  const view = window.__sightline;
  if (!view) return { state: 'gone' };
  const seen = window.__frames;
  const now = performance.now();
  const { state, problem, stages, route, stats, attempts, iceRestarts, renewals } = view;
  const line = {
    t_ms: Math.round(performance.timeOrigin + now),
    state,
    problem,
    stages,
    route,
    path: stats?.path,
    video_bps: Math.round(stats?.videoBps ?? 0),
    attempts,
    ice_restarts: iceRestarts,
    renewals,
    playing: state === 'playing',
    uncounted: seen?.video !== view.video,
    frames: seen?.frames ?? 0,
  };
  if (seen) {
    line.longest_gap_ms = Math.round(Math.max(seen.gap, now - seen.last));
    seen.gap = 0;
  }
  return line;
}
