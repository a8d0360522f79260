/** Plays recorded sound beside the pictures: G.711 here, the rest by the browser's decoder. */

import type { AudioCodec } from '../../api/types';
import type { ReplayAudio, Unit } from './messages';

const LEAD_S = 0.02;
/** Pieces that lie no farther apart are joined: the page's clock and that of the sound differ. */
const SEAM_S = 0.03;
/** Sound that is off its picture by more is moved; less is not noticed (ITU-R BT.1359). */
const MOVED_MS = 40;
/** A decoder counts on by what it was given: behind a longer gap it begins anew. */
const GAP_US = 300_000;
/** What browsers decode, as they call it (WebCodecs codec registry). */
const CODECS: Partial<Record<AudioCodec, string>> = { opus: 'opus', aac: 'mp4a.40.2' };

/** A piece of sound that was handed to the output. */
interface Piece {
  buffer: AudioBuffer;
  source: AudioBufferSourceNode;
  presentationUs: number;
  /** When it belongs to be heard, by the page's clock as it was then. */
  heardMs: number;
  /** By the context's clock. */
  startS: number;
  endS: number;
}

export class Sound {
  private context: AudioContext | undefined;
  private gain: GainNode | undefined;
  private form: ReplayAudio | undefined;
  private decoder: AudioDecoder | undefined;
  /** Presentation time of what was decoded last. */
  private decodedUs = 0;
  private pieces = new Set<Piece>();
  /** When the last piece ends, by the context's clock. */
  private endS = 0;
  private on = false;
  private used = false;

  /** `heardMs`: when a presentation time is heard, by the page's clock. */
  constructor(private readonly heardMs: (presentationUs: number) => number | undefined) {}

  /** Whether the person wants to hear anything. Has to follow a click of theirs (autoplay). */
  setOn(on: boolean): void {
    this.on = on;
    if (!on) this.silence();
    this.apply();
  }

  /** Whether recordings are played: the live picture has a sound of its own. */
  setUsed(used: boolean): void {
    this.used = used;
    this.apply();
  }

  configure(form: ReplayAudio | undefined): void {
    this.form = form;
    this.closeDecoder();
  }

  push(unit: Unit): void {
    const { form } = this;
    if (!this.on || !form || !this.context) return;
    if (form.codec === 'pcmu' || form.codec === 'pcma') {
      const table = form.codec === 'pcmu' ? MU_LAW : A_LAW;
      this.play(
        Float32Array.from(unit.data, (byte) => (table[byte] ?? 0) / 32_768),
        form.clock_hz,
        unit.presentationUs,
      );
      return;
    }
    const timestamp = unit.presentationUs;
    if (Math.abs(timestamp - this.decodedUs) > GAP_US) this.closeDecoder();
    this.decodedUs = timestamp;
    this.ready(form)?.decode(new EncodedAudioChunk({ type: 'key', timestamp, data: unit.data }));
  }

  /** What was scheduled is not heard any more: a jump, a pause. */
  silence(): void {
    for (const { source } of this.pieces) source.stop();
    this.pieces.clear();
    this.endS = 0;
  }

  close(): void {
    this.silence();
    this.closeDecoder();
    void this.context?.close();
    this.context = undefined;
  }

  /** A context that runs holds the device's sound output, and power: only while it is heard. */
  private apply(): void {
    if (!this.on || !this.used) {
      void this.context?.suspend();
      return;
    }
    if (!this.context) {
      this.context = new AudioContext();
      this.gain = this.context.createGain();
      this.gain.connect(this.context.destination);
    }
    void this.context.resume();
  }

  private closeDecoder(): void {
    if (this.decoder && this.decoder.state !== 'closed') this.decoder.close();
    this.decoder = undefined;
  }

  private ready(form: ReplayAudio): AudioDecoder | undefined {
    if (this.decoder?.state === 'configured') return this.decoder;
    const codec = CODECS[form.codec];
    if (!codec || typeof AudioDecoder === 'undefined') return undefined;
    const decoder = new AudioDecoder({
      output: (data) => this.decoded(data),
      error: () => this.closeDecoder(),
    });
    decoder.configure({
      codec,
      sampleRate: form.clock_hz,
      numberOfChannels: form.channels,
      ...(form.config === '' ? {} : { description: fromHex(form.config) }),
    });
    this.decoder = decoder;
    return decoder;
  }

  private decoded(data: AudioData): void {
    const samples = new Float32Array(data.numberOfFrames);
    data.copyTo(samples, { planeIndex: 0, format: 'f32-planar' });
    this.play(samples, data.sampleRate, data.timestamp);
    data.close();
  }

  private play(samples: Float32Array<ArrayBuffer>, rateHz: number, presentationUs: number): void {
    const { context } = this;
    if (!context || samples.length === 0) return;
    this.follow(context);
    const buffer = context.createBuffer(1, samples.length, rateHz);
    buffer.copyToChannel(samples, 0);
    this.place(context, buffer, presentationUs);
  }

  /** Where the clock of the pictures was moved, what is not heard yet moves with them. */
  private follow(context: AudioContext): void {
    const waiting = [...this.pieces].filter(({ startS }) => startS > context.currentTime);
    if (!waiting.some((piece) => this.isOff(piece))) return;
    for (const piece of waiting) {
      piece.source.stop();
      this.pieces.delete(piece);
    }
    // What has begun is heard to its end.
    this.endS = Math.max(0, ...[...this.pieces].map(({ endS }) => endS));
    for (const { buffer, presentationUs } of waiting) this.place(context, buffer, presentationUs);
  }

  private isOff(piece: Piece): boolean {
    const heardMs = this.heardMs(piece.presentationUs);
    return heardMs !== undefined && Math.abs(heardMs - piece.heardMs) > MOVED_MS;
  }

  private place(context: AudioContext, buffer: AudioBuffer, presentationUs: number): void {
    const { gain } = this;
    const heardMs = this.heardMs(presentationUs);
    if (!gain || heardMs === undefined) return;
    const inS = (heardMs - performance.now()) / 1_000 + LEAD_S;
    if (inS < 0 || inS > 5) return;
    let at = context.currentTime + inS;
    if (Math.abs(at - this.endS) < SEAM_S) at = this.endS;
    // Nothing is heard over what came before it: so much of its beginning is left out.
    const cutS = Math.max(this.endS - at, 0);
    if (cutS >= buffer.duration) return;
    const source = context.createBufferSource();
    source.buffer = buffer;
    source.connect(gain);
    const startS = at + cutS;
    this.endS = at + buffer.duration;
    const piece: Piece = { buffer, source, presentationUs, heardMs, startS, endS: this.endS };
    source.onended = () => this.pieces.delete(piece);
    this.pieces.add(piece);
    source.start(startS, cutS);
  }
}

function fromHex(text: string): Uint8Array<ArrayBuffer> {
  const pairs = text.match(/../g) ?? [];
  return Uint8Array.from(pairs, (pair) => parseInt(pair, 16));
}

/** ITU-T G.711. */
const MU_LAW = Int16Array.from({ length: 256 }, (_, byte) => {
  const u = ~byte & 0xff;
  const magnitude = ((((u & 0x0f) << 3) + 0x84) << ((u & 0x70) >> 4)) - 0x84;
  return u & 0x80 ? -magnitude : magnitude;
});

const A_LAW = Int16Array.from({ length: 256 }, (_, byte) => {
  const a = byte ^ 0x55;
  const exponent = (a & 0x70) >> 4;
  const mantissa = (a & 0x0f) << 4;
  const magnitude = exponent === 0 ? mantissa + 8 : (mantissa + 0x108) << (exponent - 1);
  return a & 0x80 ? magnitude : -magnitude;
});
