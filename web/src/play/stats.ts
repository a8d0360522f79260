/** What `getStats` says, in the words of the panel. */

export interface PathInfo {
  relayed: boolean;
  /** Candidate types, local and remote. */
  local: string;
  remote: string;
  /** Address and port of the other end, where the browser says it. */
  remoteAddress?: string;
  protocol: string;
  /** How the relay is reached, when we use one ourselves. */
  relayProtocol?: string;
  /** Direct pairs that were tried; says why a relay is in use. */
  directPairs: number;
  directFailed: number;
  /** Of direct pairs with an IPv4 address there: the fragment of the user name here, if it is told. */
  ipv4Pairs: string[];
  rttMs?: number;
}

export interface LiveStats {
  width: number;
  height: number;
  fps: number;
  videoBps: number;
  audioBps: number;
  lossPercent: number;
  jitterBufferMs?: number;
  framesDecoded: number;
  packets: number;
  codec: string;
  path?: PathInfo;
}

type Row = Record<string, unknown> & { id: string; type: string };

const num = (value: unknown): number => (typeof value === 'number' ? value : 0);
const text = (value: unknown): string => (typeof value === 'string' ? value : '');

interface Totals {
  atMs: number;
  videoBytes: number;
  audioBytes: number;
  lost: number;
  received: number;
  frames: number;
  delayS: number;
  emitted: number;
}

/** Turns running totals into rates between two readings. */
export class StatsReader {
  private last: Totals | undefined;

  read(rows: Iterable<Row>, atMs: number): LiveStats {
    const all = [...rows];
    const byId = new Map(all.map((r) => [r.id, r]));
    const video = all.find((r) => r.type === 'inbound-rtp' && r['kind'] === 'video');
    const audio = all.find((r) => r.type === 'inbound-rtp' && r['kind'] === 'audio');
    const now = totals(atMs, video, audio);
    const before = this.last ?? { ...now, atMs: atMs - 1000 };
    this.last = now;
    const seconds = Math.max((now.atMs - before.atMs) / 1000, 0.001);
    const received = now.received - before.received;
    const lost = Math.max(0, now.lost - before.lost);
    const emitted = now.emitted - before.emitted;
    const path = pathOf(all, byId);
    return {
      width: num(video?.['frameWidth']),
      height: num(video?.['frameHeight']),
      fps: (now.frames - before.frames) / seconds,
      videoBps: ((now.videoBytes - before.videoBytes) * 8) / seconds,
      audioBps: ((now.audioBytes - before.audioBytes) * 8) / seconds,
      lossPercent: received + lost > 0 ? (100 * lost) / (received + lost) : 0,
      ...(emitted > 0 ? { jitterBufferMs: ((now.delayS - before.delayS) / emitted) * 1000 } : {}),
      framesDecoded: now.frames,
      packets: now.received + num(audio?.['packetsReceived']),
      codec: text(byId.get(text(video?.['codecId']))?.['mimeType']).replace('video/', ''),
      ...(path ? { path } : {}),
    };
  }
}

function totals(atMs: number, video: Row | undefined, audio: Row | undefined): Totals {
  return {
    atMs,
    videoBytes: num(video?.['bytesReceived']),
    audioBytes: num(audio?.['bytesReceived']),
    lost: num(video?.['packetsLost']),
    received: num(video?.['packetsReceived']),
    frames: num(video?.['framesDecoded']),
    delayS: num(video?.['jitterBufferDelay']),
    emitted: num(video?.['jitterBufferEmittedCount']),
  };
}

function pathOf(all: Row[], byId: Map<string, Row>): PathInfo | undefined {
  const pairs = all.filter((r) => r.type === 'candidate-pair');
  const transport = all.find((r) => r.type === 'transport');
  const chosen =
    byId.get(text(transport?.['selectedCandidatePairId'])) ??
    pairs.find((p) => p['nominated'] === true && p['state'] === 'succeeded');
  if (!chosen) return undefined;
  const kinds = (pair: Row) => [
    byId.get(text(pair['localCandidateId'])),
    byId.get(text(pair['remoteCandidateId'])),
  ];
  const isRelay = (pair: Row) => kinds(pair).some((c) => typeOf(c) === 'relay');
  const [local, remote] = kinds(chosen);
  const direct = pairs.filter((p) => !isRelay(p));
  const ends = direct.map(kinds);
  const ipv4 = ends.filter(([, there]) => /^\d+(\.\d+){3}$/.test(addressOf(there)));
  const rtt = chosen['currentRoundTripTime'];
  const relayProtocol = text(local?.['relayProtocol']);
  const remoteAddress = `${addressOf(remote)}:${num(remote?.['port'])}`;
  return {
    relayed: isRelay(chosen),
    local: typeOf(local),
    remote: typeOf(remote),
    ...(remoteAddress.startsWith(':') ? {} : { remoteAddress }),
    protocol: text(local?.['protocol']),
    ...(relayProtocol ? { relayProtocol } : {}),
    directPairs: direct.length,
    directFailed: direct.filter((p) => p['state'] !== 'succeeded').length,
    ipv4Pairs: ipv4.map(([here]) => text(here?.['usernameFragment'])),
    ...(typeof rtt === 'number' ? { rttMs: rtt * 1000 } : {}),
  };
}

function addressOf(candidate: Row | undefined): string {
  return text(candidate?.['address']) || text(candidate?.['ip']);
}

/**
 * What the other end sees of our relay may be another address than the relay told (a NAT64 there):
 * such a candidate is peer-reflexive, and a place at the relay all the same. Only those have the
 * protocol to one (W3C webrtc-stats, `relayProtocol`).
 */
function typeOf(candidate: Row | undefined): string {
  return text(candidate?.['relayProtocol']) ? 'relay' : text(candidate?.['candidateType']);
}
