/** Single keyframes, from a device or from the cloud storage, as small as they are recorded. */

import type { RecordingSource, StreamTier } from '../../api/types';
import { problemError } from '../../api/problem';
import { readFilm } from '../cloud/mp4';
import { Shelf, type CloudStore } from '../cloud/shelf';
import {
  readMessage,
  REPLAY_CHANNEL,
  UnitReader,
  type CuToPuReplay,
  type ReplayVideo,
  type Unit,
} from '../replay/messages';
import type { Watch } from '../watch';
import type { Peek, PeekSource } from './peeker';

/** A coded picture that needs no other. */
export interface Still {
  form: ReplayVideo;
  /** As a byte stream (Annex B). */
  data: Uint8Array<ArrayBuffer>;
  /** When it was taken, in microseconds since 1970. */
  wallUs: number;
}

/** Longest wait for a connection with a picture over it. */
const PATIENCE_MS = 5_000;
/** A segment's first keyframe lies within so many bytes behind its head: tried in this order. */
const FIRST_BYTES = [48 << 10, 256 << 10];

/**
 * Asks a device, over a session of its own: a session plays one recording at a time, and what is on the
 * screen goes on. `connect` begins a session with a recorder.
 */
export class DeviceStills {
  private watch: Watch | undefined;
  private channel: RTCDataChannel | undefined;

  constructor(private readonly connect: (recorder: string) => Watch) {}

  async still(
    atUs: number,
    recorder: string,
    tier: StreamTier,
    signal: AbortSignal,
  ): Promise<Still | undefined> {
    const end = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]);
    try {
      const watch = this.sessionWith(recorder);
      const channel = await this.open(await connected(watch, end), end);
      const at = Math.floor(atUs);
      return await answer(channel, watch, { at, tier }, end);
    } catch (error) {
      // What is still on its way must not be taken for the answer to the next question.
      this.closeChannel();
      throw error;
    }
  }

  close(): void {
    this.closeChannel();
    this.watch?.close();
    this.watch = undefined;
  }

  private sessionWith(recorder: string): Watch {
    if (this.watch?.device === recorder) return this.watch;
    this.close();
    this.watch = this.connect(recorder);
    // No live picture is missed.
    this.watch.looksBack = true;
    return this.watch;
  }

  private async open(pc: RTCPeerConnection, end: AbortSignal): Promise<RTCDataChannel> {
    let { channel } = this;
    if (channel?.readyState === 'closing' || channel?.readyState === 'closed') channel = undefined;
    if (!channel) {
      channel = pc.createDataChannel(REPLAY_CHANNEL);
      channel.binaryType = 'arraybuffer';
      this.channel = channel;
    }
    if (channel.readyState !== 'open') await event(channel, 'open', end);
    return channel;
  }

  private closeChannel(): void {
    this.channel?.close();
    this.channel = undefined;
  }
}

/** The keyframe at or before a time, and nothing else. */
function question(at: number, tier: StreamTier): CuToPuReplay {
  return { type: 'play', at, until: at + 1, scale_permille: 1_000, pictures: 'keyframes', tier };
}

/** What the device says to one question: a picture and its form, then that this is all. */
function answer(
  channel: RTCDataChannel,
  watch: Watch,
  { at, tier }: { at: number; tier: StreamTier },
  end: AbortSignal,
): Promise<Still | undefined> {
  const reader = new UnitReader();
  let unit: Unit | undefined;
  return new Promise((resolve, reject) => {
    const over = () => reject(problemError('timeout', ''));
    end.addEventListener('abort', over, { once: true });
    channel.onclose = over;
    channel.onmessage = ({ data }: MessageEvent<unknown>) => {
      watch.heard();
      if (data instanceof ArrayBuffer) {
        unit = reader.take(data) ?? unit;
        return;
      }
      const message = readMessage(String(data));
      if (message?.type === 'stream' && message.video) forms.set(channel, message.video);
      if (message?.type === 'failed') reject(problemError('storage_away', ''));
      if (message?.type === 'caught_up') {
        // Nothing yet; what is recorded next must not be taken for the answer to another question.
        resolve(undefined);
        channel.close();
      }
      if (message?.type !== 'ended') return;
      end.removeEventListener('abort', over);
      const form = forms.get(channel);
      const isStill = unit?.keyframe === true && !unit.sound;
      resolve(form && unit && isStill ? { form, data: unit.data, wallUs: unit.wallUs } : undefined);
    };
    if (end.aborted) over();
    else channel.send(JSON.stringify(question(at, tier)));
  });
}

/** A device tells the form of its pictures once for each channel, and when it changes. */
const forms = new WeakMap<RTCDataChannel, ReplayVideo>();

function connected(watch: Watch, end: AbortSignal): Promise<RTCPeerConnection> {
  return new Promise((resolve, reject) => {
    const stops: (() => void)[] = [];
    const settle = (act: () => void) => {
      act();
      // Not before both are there: a signal calls at once.
      queueMicrotask(() => stops.forEach((stop) => stop()));
    };
    const over = () => settle(() => reject(problemError('timeout', '')));
    end.addEventListener('abort', over, { once: true });
    stops.push(() => end.removeEventListener('abort', over));
    stops.push(watch.connection.subscribe((pc) => pc && settle(() => resolve(pc))));
    stops.push(watch.state.subscribe(({ state }) => state === 'failed' && over()));
    if (end.aborted) over();
  });
}

function event(channel: RTCDataChannel, name: 'open', end: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const over = () => reject(problemError('timeout', ''));
    channel.addEventListener(name, () => resolve(), { once: true });
    end.addEventListener('abort', over, { once: true });
    if (end.aborted) over();
  });
}

/** Fetches a segment's first bytes. */
export class CloudStills {
  private readonly shelf: Shelf;

  constructor(private readonly store: CloudStore) {
    this.shelf = new Shelf(store);
  }

  async still(atUs: number, tier: StreamTier): Promise<Still | undefined> {
    this.shelf.setTier(tier);
    const segment = await this.shelf.near(atUs, 1);
    if (!segment || segment.from > atUs) return undefined;
    for (const first of FIRST_BYTES) {
      const bytes = Math.min(segment.head_bytes + first, segment.bytes);
      const film = readFilm(await this.store.fetch(segment, bytes), true);
      const picture = film?.pictures.find(({ keyframe }) => keyframe);
      if (film && picture) {
        const wallUs = segment.from + picture.atUs;
        return { form: film.video, data: picture.data, wallUs };
      }
      if (bytes === segment.bytes) return undefined;
    }
    return undefined;
  }
}

/** Width of a small picture, in pixels of the screen's own. */
const WIDTH_PX = 320;

/** Pictures of a camera, from wherever they lie. */
export class Stills implements PeekSource {
  private decoder: VideoDecoder | undefined;
  private form: ReplayVideo | undefined;
  private readonly frames: VideoFrame[] = [];

  constructor(
    private readonly devices: DeviceStills,
    private readonly cloud: CloudStills,
  ) {}

  async picture(
    atUs: number,
    { place, recorder, tier }: RecordingSource,
    signal: AbortSignal,
  ): Promise<Peek | undefined> {
    const still =
      place === 'cs'
        ? await this.cloud.still(atUs, tier)
        : await this.devices.still(atUs, recorder, tier, signal);
    signal.throwIfAborted();
    if (!still) return undefined;
    const picture = await this.decoded(still);
    return picture && { picture, wallUs: still.wallUs };
  }

  close(): void {
    this.devices.close();
    this.reset();
  }

  /** Undefined when the browser cannot decode it. */
  private async decoded({ form, data }: Still): Promise<ImageBitmap | undefined> {
    if (typeof VideoDecoder === 'undefined') return undefined;
    try {
      const decoder = this.ready(form);
      decoder.decode(new EncodedVideoChunk({ type: 'key', timestamp: 0, data }));
      await decoder.flush();
      const frame = this.frames.at(-1);
      if (!frame) return undefined;
      const resizeHeight = Math.round((WIDTH_PX * frame.displayHeight) / frame.displayWidth);
      return await createImageBitmap(frame, { resizeWidth: WIDTH_PX, resizeHeight });
    } catch {
      this.reset();
      return undefined;
    } finally {
      for (const frame of this.frames.splice(0)) frame.close();
    }
  }

  private ready(form: ReplayVideo): VideoDecoder {
    const same = this.form?.codecs === form.codecs && this.form.width === form.width;
    if (same && this.decoder?.state === 'configured') return this.decoder;
    this.reset();
    const decoder = new VideoDecoder({
      output: (frame) => this.frames.push(frame),
      error: () => this.reset(),
    });
    decoder.configure({ codec: form.codecs, codedWidth: form.width, codedHeight: form.height });
    this.decoder = decoder;
    this.form = form;
    return decoder;
  }

  private reset(): void {
    if (this.decoder && this.decoder.state !== 'closed') this.decoder.close();
    this.decoder = undefined;
  }
}
