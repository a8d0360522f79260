/** Plays recorded sound beside the pictures: G.711 here, the rest by the browser's decoder. */

import type { ReplayAudio, Unit } from './messages';

const LEAD_S = 0.02;

export class Sound {
  private context: AudioContext | undefined;
  private gain: GainNode | undefined;
  private form: ReplayAudio | undefined;
  private decoder: AudioDecoder | undefined;
  private metas = new Map<number, number>();
  private next = 0;
  private sources = new Set<AudioBufferSourceNode>();
  private on = false;

  /** `heardMs`: when a presentation time is heard, by the page's clock. */
  constructor(private readonly heardMs: (presentationUs: number) => number | undefined) {}

  /** Has to follow a click of the person (autoplay). */
  setOn(on: boolean): void {
    this.on = on;
    if (!on) this.silence();
    else if (!this.context) {
      this.context = new AudioContext();
      this.gain = this.context.createGain();
      this.gain.connect(this.context.destination);
    }
    void this.context?.resume();
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
    const decoder = this.ready(form);
    if (!decoder) return;
    const timestamp = this.next++;
    this.metas.set(timestamp, unit.presentationUs);
    decoder.decode(new EncodedAudioChunk({ type: 'key', timestamp, data: unit.data }));
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

  private closeDecoder(): void {
    if (this.decoder && this.decoder.state !== 'closed') this.decoder.close();
    this.decoder = undefined;
    this.metas.clear();
  }

  private ready(form: ReplayAudio): AudioDecoder | undefined {
    if (this.decoder?.state === 'configured') return this.decoder;
    const codec = { opus: 'opus', aac: 'mp4a.40.2' }[form.codec as string];
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
    const at = this.metas.get(data.timestamp);
    this.metas.delete(data.timestamp);
    if (at !== undefined) {
      const samples = new Float32Array(data.numberOfFrames);
      data.copyTo(samples, { planeIndex: 0, format: 'f32-planar' });
      this.play(samples, data.sampleRate, at);
    }
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
    source.start(context.currentTime + inS);
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
