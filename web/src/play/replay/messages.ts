/** Messages of the data channel of replay (crates/protocol/src/pc/replay.rs). */

import type { Problem } from '../../api/problem';
import type { AudioCodec, StreamTier, VideoCodec } from '../../api/types';

export const REPLAY_CHANNEL = 'sightline-replay/1';

export type ReplayPictures = 'fitting' | 'all' | 'keyframes' | 'each_second';

export type CuToPuReplay =
  | {
      type: 'play';
      at?: number;
      until?: number;
      scale_permille: number;
      pictures?: ReplayPictures;
      tier?: StreamTier;
    }
  | { type: 'pause' }
  | { type: 'show'; at: number }
  | { type: 'step'; backwards: boolean; from?: number }
  | { type: 'live' };

export interface ReplayVideo {
  codec: VideoCodec;
  codecs: string;
  width: number;
  height: number;
}

export interface ReplayAudio {
  codec: AudioCodec;
  clock_hz: number;
  channels: number;
  config: string;
}

export type PuToCuReplay =
  | { type: 'stream'; video?: ReplayVideo | null; audio?: ReplayAudio | null }
  | { type: 'unreadable'; from: number; to: number }
  | { type: 'caught_up' }
  | { type: 'ended' }
  | { type: 'failed'; problem: Problem };

/** What stands before a unit's bytes. */
export interface UnitHead {
  sound: boolean;
  keyframe: boolean;
  shown: boolean;
  discontinuity: boolean;
  sectionEnd: boolean;
  last: boolean;
  command: number;
  /** When it was taken, in microseconds since 1970. */
  wallUs: number;
  /** When it is to be shown, in microseconds of playing. */
  presentationUs: number;
  /** What was to be shown when it was sent. */
  sentUs: number;
}

export interface Unit extends UnitHead {
  data: Uint8Array<ArrayBuffer>;
}

const FIRST = 1;
const NEXT = 2;
const HEAD_LEN = 34;
/** No picture is longer. */
const MAX_UNIT = 16 << 20;

/** Joins the messages of units. What does not fit together is left out. */
export class UnitReader {
  private head: UnitHead | undefined;
  private data: Uint8Array<ArrayBuffer> | undefined;
  private filled = 0;

  /** Takes a message; gives the unit that it completes. */
  take(message: ArrayBuffer): Unit | undefined {
    const body = this.begin(new DataView(message));
    const { head, data } = this;
    if (!body || !head || !data || this.filled + body.length > data.length) {
      this.drop();
      return undefined;
    }
    data.set(body, this.filled);
    this.filled += body.length;
    if (this.filled < data.length) return undefined;
    this.drop();
    return { ...head, data };
  }

  /** What of a message belongs to the unit's bytes. */
  private begin(view: DataView<ArrayBuffer>): Uint8Array | undefined {
    const kind = view.byteLength > 0 ? view.getUint8(0) : 0;
    if (kind === NEXT) return new Uint8Array(view.buffer, 1);
    if (kind !== FIRST || view.byteLength < HEAD_LEN) return undefined;
    const length = view.getUint32(30);
    if (length > MAX_UNIT) return undefined;
    this.head = readHead(view);
    this.data = new Uint8Array(length);
    this.filled = 0;
    return new Uint8Array(view.buffer, HEAD_LEN);
  }

  private drop(): void {
    this.head = undefined;
    this.data = undefined;
  }
}

function readHead(view: DataView): UnitHead {
  const flags = view.getUint8(1);
  const flag = (bit: number) => (flags & (1 << bit)) !== 0;
  return {
    sound: flag(0),
    keyframe: flag(1),
    shown: flag(2),
    discontinuity: flag(3),
    sectionEnd: flag(4),
    last: flag(5),
    command: view.getUint32(2),
    wallUs: Number(view.getBigInt64(6)),
    presentationUs: Number(view.getBigInt64(14)),
    sentUs: Number(view.getBigInt64(22)),
  };
}

export function readMessage(text: string): PuToCuReplay | undefined {
  try {
    const message = JSON.parse(text) as PuToCuReplay | null;
    return typeof message?.type === 'string' ? message : undefined;
  } catch {
    return undefined;
  }
}
