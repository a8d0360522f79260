// What a page did, kept for the report of a failure: requests to the centre, signalling, and what
// the peer connections and videos look like at the end.

const KEPT = 400;

/** Begins to keep; gives a function that tells what was kept. To be called before the first page. */
export async function keepJournal(context, page) {
  const began = Date.now();
  const lines = [];
  const note = (text) => {
    lines.push(`${((Date.now() - began) / 1000).toFixed(3)} ${text}`);
    if (lines.length > KEPT) lines.splice(0, lines.length - KEPT);
  };
  await context.addInitScript(keepConnections);
  page.on('console', (message) => note(`console: ${message.text().slice(0, 300)}`));
  page.on('response', (answer) => {
    const path = new URL(answer.url()).pathname;
    if (path.startsWith('/api/')) note(`${answer.request().method()} ${path} ${answer.status()}`);
  });
  page.on('requestfailed', (request) => {
    note(`${request.method()} ${new URL(request.url()).pathname} ${request.failure()?.errorText}`);
  });
  page.on('websocket', (socket) => {
    const path = new URL(socket.url()).pathname;
    note(`${path} opens`);
    socket.on('framesent', ({ payload }) => note(`${path} -> ${kind(payload)}`));
    socket.on('framereceived', ({ payload }) => note(`${path} <- ${kind(payload)}`));
    socket.on('close', () => note(`${path} closed`));
  });
  return async () => {
    const now = await page.evaluate(sight).catch((error) => String(error));
    return [...lines, JSON.stringify(now, undefined, 1)].join('\n');
  };
}

/** Type and session of a message; its content may be a token. */
function kind(payload) {
  try {
    const message = JSON.parse(String(payload));
    const body = message.body ?? message;
    return `${body.type ?? Object.keys(message)} ${String(body.session ?? '').slice(-6)} ${body.candidate ?? ''}`;
  } catch {
    return `${String(payload).length} bytes`;
  }
}

/** In the page: peer connections can be found afterwards. */
function keepConnections() {
  const connections = (window.__connections = []);
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...args) {
      super(...args);
      connections.push(this);
    }
  };
}

/** In the page: what there is to be seen now. */
async function sight() {
  const rows = async (pc) =>
    [...(await pc.getStats()).values()].filter((row) =>
      ['inbound-rtp', 'candidate-pair', 'data-channel', 'transport'].includes(row.type),
    );
  const connections = (window.__connections ?? []).slice(-4).map(async (pc) => ({
    signaling: pc.signalingState,
    ice: pc.iceConnectionState,
    state: pc.connectionState,
    stats: pc.connectionState === 'closed' ? [] : await rows(pc),
  }));
  const videos = [...document.querySelectorAll('video')].map((video) => ({
    ready: video.readyState,
    paused: video.paused,
    size: [video.videoWidth, video.videoHeight],
    at: video.currentTime,
    tracks: video.srcObject?.getTracks().map((t) => `${t.kind} ${t.readyState} muted=${t.muted}`),
  }));
  const { state, problem } = window.__sightline ?? {};
  return {
    state,
    problem,
    hidden: document.hidden,
    videos,
    connections: await Promise.all(connections),
  };
}
