/** Messages of interfaces Cs (crates/protocol/src/cs.rs) and Pc (pc.rs). */

import type { Problem } from '../api/problem';
import type { IceServer, StreamTier, VideoCodec } from '../api/types';
import type { NatReport } from './nat';
import type { Rung } from './path';

export const VERSION = 1;
export const CONTROL_CHANNEL = 'sightline-control/1';
export const KEEP_ALIVE_MS = 10_000;

export interface Envelope<B> {
  v: number;
  traceparent?: string;
  body: B;
}

export interface MediaOffer {
  sdp: string;
  token: string;
  client_key: string;
  signature: string;
  ice_servers: IceServer[];
}

export interface MediaAnswer {
  sdp: string;
  public_key: string;
  signature: string;
}

export interface PathReport {
  transport: 'webrtc';
  relayed: boolean;
  reason: string;
  rung: Rung;
  why_not_better: string[];
}

/** `StageTimes` of cs.rs: the parts add up to the total. */
export interface StageReport {
  play_ms: number;
  signalling_ms: number;
  answer_ms: number;
  path_ms: number;
  secure_ms: number;
  packet_ms: number;
  frame_ms: number;
  total_ms: number;
}

export type CuToScu =
  | {
      type: 'offer';
      session: string;
      device: { domain: string; pu: string };
      offer: MediaOffer;
    }
  | { type: 'candidate'; session: string; candidate: string }
  | { type: 'end'; session: string }
  | {
      type: 'path_report';
      session: string;
      path: PathReport;
      stages?: StageReport;
      nat?: NatReport;
    }
  | { type: 'keep_alive'; cu_time: number };

export type ScuToCu =
  | { type: 'answer'; session: string; answer: MediaAnswer }
  | { type: 'refused'; session: string; problem: Problem }
  | { type: 'candidate'; session: string; candidate: string }
  | { type: 'ended'; session: string; problem: Problem | null }
  | { type: 'keep_alive_ack'; cu_time: number; server_time: number }
  | { type: 'malformed'; problem: Problem };

export type QualityChoice =
  | { mode: 'auto' }
  | { mode: 'tier'; tier: StreamTier }
  | { mode: 'keyframes' }
  | { mode: 'exact'; width: number; height: number; fps: number };

export interface ServedStream {
  tier: StreamTier;
  keyframes_only: boolean;
  transcoded: boolean;
  codec: VideoCodec;
  width: number;
  height: number;
  reason: string;
}

export type CuToPu =
  { type: 'set_quality'; quality: QualityChoice } | { type: 'ping'; cu_time: number };

export type PuToCu =
  | { type: 'serving'; stream: ServedStream }
  | { type: 'camera'; online: boolean; fault?: string | null }
  | { type: 'pong'; cu_time: number; pu_time: number }
  | { type: 'frame_time'; rtp_timestamp_90k: number; captured_at: number }
  | { type: 'path'; estimate_bps?: number | null; sent_bps: number; loss_permille: number }
  | { type: 'ended'; problem: Problem };

/** Writes a message in its envelope; `traceparent` says which trace it belongs to. */
export function encode(body: CuToScu, traceparent?: string): string {
  const envelope: Envelope<CuToScu> = traceparent
    ? { v: VERSION, traceparent, body }
    : { v: VERSION, body };
  return JSON.stringify(envelope);
}

/** Reads an envelope; `undefined` for what this version does not speak. */
export function decode(text: string): ScuToCu | undefined {
  try {
    const envelope = JSON.parse(text) as Envelope<ScuToCu> | null;
    if (envelope?.v !== VERSION) return undefined;
    const body: unknown = envelope.body;
    return typeof body === 'object' && body !== null && 'type' in body
      ? (body as ScuToCu)
      : undefined;
  } catch {
    return undefined;
  }
}
