// A centre with one user and one device for the browser tests: the REST part in memory, the
// signalling passed on to a page that plays the device (pu.html). For tests only.
import { createServer } from 'node:http';
import { readFileSync, existsSync } from 'node:fs';
import { extname, join, normalize } from 'node:path';
import { createHash, randomBytes } from 'node:crypto';
import { WebSocketServer } from 'ws';
import { cloudSpace, cloudSpans, listSegments, serveSegment, STORE } from './cloud.mjs';

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.webmanifest': 'application/manifest+json',
};
const DIST = join(import.meta.dirname, '..', '..', 'dist');
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';

export function base32(bytes) {
  let bits = '';
  for (const byte of bytes) bits += byte.toString(2).padStart(8, '0');
  return (bits.match(/.{1,5}/g) ?? [])
    .map((group) => ALPHABET[parseInt(group.padEnd(5, '0'), 2)])
    .join('');
}

const sha256 = (data) => createHash('sha256').update(data).digest();

/** Starts on a free port; `state` is there for tests to change. */
export async function startMock() {
  const state = {
    code: '123456',
    subscription: 'active',
    isOperator: true,
    deviceKey: undefined,
    pu: undefined,
    secret: base32(randomBytes(10)),
    bound: false,
    extra: [],
    presence: 'online',
    signedIn: false,
    /** What is asked of the recorder, in order; the play requests stand between. */
    asked: [],
    /** Why the recorder does not answer: a problem's type. */
    recorderFails: undefined,
    /** Stretches that are recorded, in microseconds; else parts of whatever is asked for. */
    recorded: undefined,
    /** The same of single cameras, by their ids. */
    recordedBy: {},
    /** Events, as the timeline tells them. */
    marks: [],
    /** Recorders that could not be asked. */
    silent: [],
    /** Segments in the cloud storage (`put` of cloud.mjs). */
    segments: [],
    /** Devices that were released, of which something lies there. */
    released: [],
    /** What was fetched of them. */
    fetched: [],
    /** Nothing can be fetched. */
    storeFails: false,
    plan: firstPlan(),
    /** Encodings that are being recorded. */
    recording: [],
    /** The user's NVRs. */
    nvrs: [],
    /** Changes an answer of the device on its way. */
    tamper: (answer) => answer,
    tokens: new Set(),
    events: new Set(),
  };
  const server = createServer((request, response) => void route(state, request, response));
  const sockets = new WebSocketServer({ noServer: true });
  server.on('upgrade', (request, socket, head) => {
    sockets.handleUpgrade(request, socket, head, (ws) =>
      request.url === '/mock-pu' ? servePu(state, ws) : serveCu(state, ws),
    );
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const origin = `http://localhost:${server.address().port}`;
  return {
    state,
    origin,
    claimCode: () => claimCode(state),
    push: (event) => push(state, event),
    camera: () => camera(state),
    dropSignalling: () => state.cus?.forEach((ws) => ws.terminate()),
    close: () => {
      sockets.clients.forEach((ws) => ws.terminate());
      server.closeAllConnections();
      server.close();
    },
  };
}

function claimCode(state) {
  const body = state.pu + state.secret;
  const check = base32(sha256(`sightline-claim-check-v1\0${body}`).subarray(0, 5)).slice(0, 2);
  return (body + check).match(/.{1,4}/g).join('-');
}

function camera(state) {
  return {
    id: `${state.pu}.0`,
    device: { domain: 'mock', pu: state.pu },
    name: state.name ?? 'Front door',
    presence: state.presence,
    streams: [
      { tier: 'main', codec: 'h264', width: 1280, height: 720, fps: 25 },
      { tier: 'sub', codec: 'h264', width: 640, height: 360, fps: 15 },
    ],
    audio: 'opus',
    device_key: state.deviceKey,
    rights: ['view', 'listen', 'talk', 'ptz', 'playback', 'manage'],
  };
}

/** Until somebody sets another. */
export function firstPlan() {
  const continuous = { id: 'always-main', tier: 'main', trigger: { on: 'continuous' } };
  return { place: 'pu', revision: 1, strategies: [continuous], keep: {} };
}

/** What was recorded in a stretch of time, unless a test says: all but its beginning and a while in
 * the middle. */
function timeline(state, id, query) {
  const from = Date.parse(query.get('from')) * 1000;
  const to = Math.min(Date.parse(query.get('to')), Date.now()) * 1000;
  const part = (a, b) => ({ from: from + (to - from) * a, to: from + (to - from) * b });
  const parts = state.recordedBy[id] ?? state.recorded ?? [part(0.25, 0.5), part(0.625, 1)];
  const causes = { manual: false, schedule: false, continuous: true, event: false };
  const inCloud = id === camera(state).id ? cloudSpans(state) : [];
  const spans = [...parts.map((span) => ({ ...span, source: 0 })), ...inCloud]
    .map((span) => ({ ...span, from: Math.max(span.from, from), to: Math.min(span.to, to) }))
    .filter((span) => span.from < span.to)
    .sort((a, b) => a.from - b.from)
    .map((span) => ({ ...span, causes, time_known: true }));
  const ends = [from, ...spans.map((span) => span.to)];
  const gaps = [...spans.map((span) => span.from), to]
    .map((end, n) => ({ from: ends[n], to: end, reason: n === 0 ? 'not_planned' : 'camera_away' }))
    .filter((gap) => gap.from < gap.to);
  return {
    camera: id,
    from,
    to,
    resolution_us: 1,
    sources: ['pu', 'cs'].map((place) => ({ place, recorder: state.pu, tier: 'main' })),
    spans,
    gaps,
    events: state.marks.filter((mark) => mark.from < to && mark.to >= from),
    ...(state.silent.length > 0 ? { silent: state.silent } : {}),
  };
}

/** The recorder's part: status and body of its answer; none for a path that is not its own. */
function recorder(state, path, query, input) {
  const own = /^(GET|PUT) \/cameras\/[^/]+(\/recordings|\/recordings\/days|\/plans|\/plans\/pu)$/;
  if (!own.test(path)) return undefined;
  state.asked.push(path);
  const status = { not_found: 404, plan_changed: 409, invalid_request: 400 };
  const refuse = (type) => [status[type] ?? 503, { type, detail: `mock: ${type}` }];
  if (state.recorderFails) return refuse(state.recorderFails);
  const id = decodeURIComponent(path.split('/')[2]);
  if (path.endsWith('/recordings')) return [200, timeline(state, id, query)];
  if (path.endsWith('/days')) {
    const { zone, year, month } = Object.fromEntries(query);
    const days = [1, 2, 3, 5];
    return [200, { camera: id, zone, year: +year, month: +month, days }];
  }
  if (path.endsWith('/plans')) {
    const plan = { ...state.plan, camera: camera(state).id };
    return [200, { plans: [{ plan, recording: state.recording }] }];
  }
  // As the CMU (Keep::check) and the device (Recorder::follows) do.
  if ((input.keep?.max_age_s ?? 3_600) < 3_600) return refuse('invalid_request');
  if (input.seen_revision !== state.plan.revision) return refuse('plan_changed');
  const { strategies, keep = {} } = input;
  state.plan = { ...state.plan, revision: input.seen_revision + 1, strategies, keep };
  return [204];
}

function push(state, event) {
  for (const response of state.events) response.write(`data: ${JSON.stringify(event)}\n\n`);
}

async function body(request) {
  let text = '';
  for await (const chunk of request) text += chunk;
  return text === '' ? {} : JSON.parse(text);
}

async function route(state, request, response) {
  const url = new URL(request.url, 'http://localhost');
  if (url.pathname.startsWith(STORE)) return serveSegment(state, url, request, response);
  if (!url.pathname.startsWith('/api/v1')) return serveFile(url.pathname, response);
  const reply = (status, value) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(value === undefined ? '' : JSON.stringify(value));
  };
  const problem = (status, type) => reply(status, { type, detail: `mock: ${type}` });
  const path = `${request.method} ${url.pathname.slice('/api/v1'.length)}`;
  const input = request.method === 'GET' ? {} : await body(request);
  const user = {
    id: 'u1',
    phone_masked: '+•••••••••23',
    subscription: state.subscription,
    is_operator: state.isOperator,
  };
  const signIn = () => {
    const token = randomBytes(16).toString('hex');
    state.tokens.add(token);
    state.signedIn = true;
    return { access_token: token, expires_in_s: 600, user, client: 'c1' };
  };
  if (path === 'GET /info') {
    return reply(200, {
      operator: 'Mock Telecom',
      domain: 'mock',
      version: '0.1.0',
      approval: 'automatic',
    });
  }
  if (path === 'POST /sms-codes') return reply(200, { expires_in_s: 300, retry_after_s: 30 });
  if (path === 'POST /sessions') {
    return input.code === state.code ? reply(200, signIn()) : problem(403, 'wrong_code');
  }
  if (path === 'POST /sessions/refresh') {
    return state.signedIn ? reply(200, signIn()) : problem(401, 'unauthenticated');
  }
  const token = (request.headers.authorization ?? '').replace('Bearer ', '');
  if (!state.tokens.has(token)) return problem(401, 'unauthenticated');
  switch (path) {
    case 'GET /me':
      return reply(200, user);
    case 'GET /cameras':
      return reply(200, { cameras: [...(state.bound ? [camera(state)] : []), ...state.extra] });
    case 'POST /bindings':
      if (input.claim_code !== claimCode(state)) return problem(403, 'wrong_claim_code');
      state.bound = true;
      return reply(200, { device: camera(state).device, cameras: [camera(state)] });
    case 'GET /events':
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"type":"resync"}\n\n');
      state.events.add(response);
      response.on('close', () => state.events.delete(response));
      return;
    case 'GET /cloud':
      return reply(200, cloudSpace(state));
    case 'GET /nvrs':
      return reply(200, { nvrs: state.nvrs });
    case 'GET /operator/subscriptions':
      return reply(200, { subscriptions: state.subscriptions ?? [] });
    case 'GET /operator/networks':
      if (state.statisticsDown) return problem(500, 'internal');
      return reply(200, {
        from: 0,
        networks: state.networks?.[url.searchParams.get('side')] ?? [],
      });
    case 'GET /operator/mtus':
      return reply(200, { mtus: state.mtus ?? [] });
    case 'GET /operator/usage':
      if (state.statisticsDown) return problem(500, 'internal');
      return reply(200, { sessions: state.usage ?? [], mtus: state.shares ?? [] });
    case 'GET /operator/audit':
      return reply(200, { entries: state.audit ?? [] });
    default:
  }
  if (path.endsWith('/play')) {
    state.asked.push(path);
    if (!state.ws) return problem(503, 'device_offline');
    const host = request.headers.host;
    return reply(200, {
      session: base32(randomBytes(16)),
      device: camera(state).device,
      camera: decodeURIComponent(path.split('/')[2]),
      token: randomBytes(24).toString('base64url'),
      expires_at: (Date.now() + 60_000) * 1000,
      device_key: state.playKey ?? state.deviceKey,
      rtsp_urls: [],
      quic: [],
      signal_url: `ws://${host}/cs/v1`,
      ice_servers: [],
    });
  }
  const listed = /^GET \/cameras\/[^/]+\/recordings\/segments$/.test(path);
  if (listed) return reply(200, listSegments(state, url.searchParams));
  const answer = recorder(state, path, url.searchParams, input);
  if (answer) return reply(...answer);
  const relation = /^(PUT|DELETE) \/nvrs\/([^/]+)\/cameras\/(.+)$/.exec(path);
  if (relation) {
    const [, method, pu, of] = relation;
    const nvr = state.nvrs.find(({ device }) => device.pu === pu);
    if (!nvr) return problem(404, 'not_found');
    nvr.records = nvr.records.filter((relation) => relation.camera !== of);
    if (method === 'DELETE') return reply(204);
    nvr.records.push({ camera: of, since: Date.now() * 1000 });
    return reply(200, { nvr_told: true, pu_told: true });
  }
  if (path.startsWith('PATCH /cameras/')) {
    state.name = input.name;
    return reply(200, camera(state));
  }
  if (path.startsWith('DELETE /')) {
    if (path.startsWith('DELETE /sessions')) state.signedIn = false;
    if (path.endsWith('/binding')) state.bound = false;
    if (path.startsWith('DELETE /cloud')) state.released = [];
    return reply(204);
  }
  return problem(404, 'not_found');
}

function serveFile(path, response) {
  const name = path === '/' ? '/index.html' : path;
  const base = name.startsWith('/mock/') ? import.meta.dirname : DIST;
  const file = join(base, normalize(name.replace(/^\/mock/, '')));
  if (!file.startsWith(base) || !existsSync(file)) {
    response.writeHead(404);
    return response.end();
  }
  response.writeHead(200, {
    'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
    'content-security-policy':
      "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' blob:; media-src 'self' " +
      "blob: mediastream:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
  });
  response.end(readFileSync(file));
}

/** The page that plays the device: `{hello: key}` first, then PU messages. */
function servePu(state, ws) {
  state.ws = ws;
  state.routes ??= new Map();
  ws.on('close', () => {
    if (state.ws === ws) state.ws = undefined;
  });
  ws.on('message', (data) => {
    const message = JSON.parse(data.toString());
    if (message.hello) {
      state.deviceKey = message.hello;
      state.pu = base32(sha256(Buffer.from(message.hello, 'base64url')).subarray(0, 16));
      return;
    }
    if (message.type === 'answer') message.answer = state.tamper(message.answer);
    state.routes.get(message.session)?.send(JSON.stringify({ v: 1, body: message }));
  });
}

function serveCu(state, ws) {
  state.routes ??= new Map();
  state.cus ??= new Set();
  state.cus.add(ws);
  ws.on('close', () => state.cus.delete(ws));
  ws.on('message', (data) => {
    const { v, body: message } = JSON.parse(data.toString());
    if (v !== 1) return;
    if (message.type === 'keep_alive') {
      const ack = {
        type: 'keep_alive_ack',
        cu_time: message.cu_time,
        server_time: Date.now() * 1000,
      };
      ws.send(JSON.stringify({ v: 1, body: ack }));
      return;
    }
    state.routes.set(message.session, ws);
    if (state.ws) state.ws.send(JSON.stringify(message));
    else if (message.type === 'offer') {
      const refused = {
        type: 'refused',
        session: message.session,
        problem: { type: 'device_offline', detail: 'mock' },
      };
      ws.send(JSON.stringify({ v: 1, body: refused }));
    }
  });
}
