/** Plays recorded sound beside the pictures: G.711 here, the rest by the browser's decoder. */

import type { AudioCodec } from '../../api/types';
import type { ReplayAudio, Unit } from './messages';

const LEAD_S = 0.02;
/** Pieces that lie no farther apart are joined: the page's clock and that of the sound differ. */
const SEAM_S = 0.03;
/** A decoder counts on by what it was given: behind a longer gap it begins anew. */
const GAP_US = 300_000;
/** What browsers decode, as they call it (WebCodecs codec registry). */
const CODECS: Partial<Record<AudioCodec, string>> = { opus: 'opus', aac: 'mp4a.40.2' };

export class Sound {
  private context: AudioContext | undefined;
  private gain: GainNode | undefined;
  private form: ReplayAudio | undefined;
  private decoder: AudioDecoder | undefined;
  /** Presentation time of what was decoded last. */
  private decodedUs = 0;
  private sources = new Set<AudioBufferSourceNode>();
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
    for (const source of this.sources) source.stop();
    this.sources.clear();
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
    const { context, gain } = this;
    const heardMs = this.heardMs(presentationUs);
    if (!context || !gain || heardMs === undefined || samples.length === 0) return;
    const inS = (heardMs - performance.now()) / 1_000 + LEAD_S;
    if (inS < 0 || inS > 5) return;
    const buffer = context.createBuffer(1, samples.length, rateHz);
    buffer.copyToChannel(samples, 0);
    const source = context.createBufferSource();
    source.buffer = buffer;
    source.connect(gain);
    source.onended = () => this.sources.delete(source);
    this.sources.add(source);
    let at = context.currentTime + inS;
    if (Math.abs(at - this.endS) < SEAM_S) at = this.endS;
    this.endS = at + buffer.duration;
    source.start(at);
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
