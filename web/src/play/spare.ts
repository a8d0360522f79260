/**
 * Peer connections made ready before anybody clicks: making one with its offer takes tens of
 * milliseconds of the page's only thread. Nothing is gathered and nothing is sent until it is used.
 */

import { CONTROL_CHANNEL } from './messages';
import { certificate, codecPreferences } from './rtc';

export interface Prepared {
  pc: RTCPeerConnection;
  channel: RTCDataChannel;
  offer: RTCSessionDescriptionInit;
}

// A description that lies about for long may be outdated by then (devices, codecs).
const MAX_AGE_MS = 60_000;

let spare: { audio: boolean; madeMs: number; prepared: Promise<Prepared> } | undefined;

/** Makes one ready for the next `takePrepared` with the same `audio`. */
export function keepSpare(audio: boolean): void {
  if (spare?.audio === audio && performance.now() - spare.madeMs < MAX_AGE_MS) return;
  dropSpare();
  const prepared = prepare(audio);
  prepared.catch(() => undefined);
  spare = { audio, madeMs: performance.now(), prepared };
}

export function dropSpare(): void {
  const old = spare;
  spare = undefined;
  old?.prepared.then(({ pc }) => pc.close()).catch(() => undefined);
}

/** The spare one, else a new one. */
export async function takePrepared(audio: boolean): Promise<Prepared> {
  const kept = spare;
  if (kept?.audio === audio && performance.now() - kept.madeMs < MAX_AGE_MS) {
    spare = undefined;
    try {
      return await kept.prepared;
    } catch {
      // Made anew below, and its error is then the caller's.
    }
  }
  return prepare(audio);
}

async function prepare(audio: boolean): Promise<Prepared> {
  const certificates = [await certificate()];
  const pc = new RTCPeerConnection({ certificates, bundlePolicy: 'max-bundle' });
  const video = pc.addTransceiver('video', { direction: 'recvonly' });
  codecPreferences(video);
  const receivers = [video.receiver];
  if (audio) receivers.push(pc.addTransceiver('audio', { direction: 'recvonly' }).receiver);
  for (const receiver of receivers) lowLatency(receiver);
  const channel = pc.createDataChannel(CONTROL_CHANNEL);
  channel.binaryType = 'arraybuffer';
  return { pc, channel, offer: await pc.createOffer() };
}

function lowLatency(receiver: RTCRtpReceiver): void {
  const tuned = receiver as RTCRtpReceiver & {
    jitterBufferTarget?: number | null;
    playoutDelayHint?: number | null;
  };
  if ('jitterBufferTarget' in tuned) tuned.jitterBufferTarget = 0;
  if ('playoutDelayHint' in tuned) tuned.playoutDelayHint = 0;
}
