/** Clock of the PU as seen from here, and with it the age of a frame. */

interface Sample {
  offsetUs: number;
  rttUs: number;
}

const WINDOW = 30;

/** Microseconds since 1970, finer than `Date.now()`. */
export function nowUs(atMs = performance.now()): number {
  return Math.round((performance.timeOrigin + atMs) * 1000);
}

/** Offset of the PU's clock: the sample with the shortest round trip of the last 30 is believed. */
export class RemoteClock {
  private samples: Sample[] = [];

  /** A pong: sent and received by our clock, answered by theirs. */
  pong(sentUs: number, puUs: number, receivedUs: number): void {
    const rttUs = receivedUs - sentUs;
    if (rttUs < 0 || rttUs > 10_000_000) return;
    this.samples.push({ rttUs, offsetUs: puUs - (sentUs + receivedUs) / 2 });
    if (this.samples.length > WINDOW) this.samples.shift();
  }

  private get best(): Sample | undefined {
    return this.samples.reduce<Sample | undefined>(
      (best, s) => (!best || s.rttUs < best.rttUs ? s : best),
      undefined,
    );
  }

  /** Their clock minus ours. */
  get offsetUs(): number | undefined {
    return this.best?.offsetUs;
  }

  get rttUs(): number | undefined {
    return this.samples.at(-1)?.rttUs;
  }
}

/** Which moment of the PU's clock an RTP timestamp stands for. */
export class FrameClock {
  private reference: { rtp: number; capturedUs: number } | undefined;

  frameTime(rtp: number, capturedUs: number): void {
    this.reference = { rtp: rtp >>> 0, capturedUs };
  }

  /** When the frame entered the PU; wraps of the 32-bit timestamp are minded (RFC 3550 5.1). */
  capturedUs(rtp: number): number | undefined {
    if (!this.reference) return undefined;
    const ticks = (rtp - this.reference.rtp) | 0;
    return this.reference.capturedUs + (ticks * 1_000_000) / 90_000;
  }
}

/** The last so many values and what statistics say of them. */
export class Window {
  private values: number[] = [];

  constructor(private readonly size: number) {}

  push(value: number): void {
    this.values.push(value);
    if (this.values.length > this.size) this.values.shift();
  }

  clear(): void {
    this.values = [];
  }

  get count(): number {
    return this.values.length;
  }

  /** The value that the fraction `q` does not exceed. */
  quantile(q: number): number | undefined {
    if (this.values.length === 0) return undefined;
    const sorted = [...this.values].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)] ?? sorted[0];
  }
}
