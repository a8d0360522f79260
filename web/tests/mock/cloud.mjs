// The cloud storage of the mock centre: what the CMU lists, and the store that gives it (interfaces Cm, Cc').
import { createHash, randomBytes } from 'node:crypto';
import { segment } from './film.mjs';

/** Where the store is, apart from the API: it must not be shown who asks. */
export const STORE = '/mock-cs/';
const LENGTH_US = 2_000_000;
const SIGNED_US = 300_000_000;
/** So many segments the centre names at once. */
const PAGE = 50;

/** Puts segments of two seconds into the store, from a time on; each has the colour that `colourOf` says. */
export function put(state, fromUs, count, colourOf) {
  for (let n = 0; n < count; n += 1) {
    const { bytes, headBytes } = segment(colourOf(n));
    const from = fromUs + n * LENGTH_US;
    const signature = randomBytes(12).toString('hex');
    state.segments.push({ from, to: from + LENGTH_US, bytes, headBytes, signature });
  }
}

/** What of the timeline lies in the cloud: the second source of the mock's. */
export function cloudSpans(state) {
  const spans = [];
  for (const { from, to } of state.segments) {
    const last = spans.at(-1);
    if (last?.to === from) last.to = to;
    else spans.push({ from, to, source: 1 });
  }
  return spans;
}

export function cloudSpace(state) {
  const used_bytes = state.segments.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const devices = state.released.length > 0 ? { devices: state.released } : {};
  return { available: true, free_bytes: 1e9, quota_bytes: 1e9, used_bytes, ...devices };
}

/** `GET /cameras/{id}/recordings/segments`. */
export function listSegments(state, query) {
  const [from, to] = ['from', 'to'].map((name) => Date.parse(query.get(name)) * 1_000);
  const after = Number(query.get('after') ?? -1);
  const found = state.segments
    .map((one, sequence) => ({ ...one, sequence }))
    .filter((one) => one.from < to && one.to > from && one.sequence > after)
    .filter(() => query.get('tier') !== 'sub');
  const page = found.slice(0, PAGE);
  return {
    segments: page.map((one) => ({
      chain: '0'.repeat(32),
      sequence: one.sequence,
      run: 1,
      tier: 'main',
      from: one.from,
      to: one.to,
      time_known: true,
      causes: { manual: false, schedule: false, continuous: true, event: false },
      locked: false,
      bytes: one.bytes.length,
      head_bytes: one.headBytes,
      sha256: createHash('sha256').update(one.bytes).update(String(one.from)).digest('hex'),
      url: `${STORE}${one.sequence}.mp4?signature=${one.signature}`,
    })),
    ...(found.length > PAGE ? { next: String(page.at(-1).sequence) } : {}),
    expires_at: Date.now() * 1_000 + SIGNED_US,
  };
}

/** One object, whole or the range that is asked for; to whoever has its address, and shows nothing else. */
export function serveSegment(state, url, request, response) {
  const sequence = Number.parseInt(url.pathname.slice(STORE.length), 10);
  const found = state.segments[sequence];
  const shown = request.headers.authorization ?? request.headers.cookie ?? request.headers.referer;
  const isSigned = found?.signature === url.searchParams.get('signature');
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
  state.fetched.push({ sequence, range: request.headers.range, shown, isSigned });
  if (state.storeFails || !isSigned) {
    response.writeHead(state.storeFails ? 503 : 403);
    return response.end();
  }
  const bytes = range ? found.bytes.subarray(Number(range[1]), Number(range[2]) + 1) : found.bytes;
  response.writeHead(range ? 206 : 200, { 'content-type': 'video/mp4' });
  return response.end(bytes);
}
