/**
 * Small pictures of moments, while somebody looks for one on a timeline. One is asked for at a time, and so
 * many in a second; the newest wish wins, and what was seen is not asked for again.
 */

import { signal } from '@preact/signals';
import type { RecordingSource } from '../../api/types';

export interface Peek {
  picture: ImageBitmap;
  /** When it was taken, in microseconds since 1970. */
  wallUs: number;
}

/** Where pictures come from; tests bring their own. */
export interface PeekSource {
  /** The picture of a time, undefined when there is none; rejects when nobody answers. */
  picture: (
    atUs: number,
    source: RecordingSource,
    signal: AbortSignal,
  ) => Promise<Peek | undefined>;
  /** Nobody looks any more: connections end. */
  close: () => void;
}

/** Who only passes by looks for nothing. */
const DWELL_MS = 120;
/** From one question to the next. */
const EVERY_MS = 120;
/** Who did not answer is left alone for so long. */
const SULK_MS = 10_000;
/** So long after the last look connections are kept. */
const REST_MS = 8_000;
/** Pictures that are kept. */
const KEPT = 60;

interface Wish {
  atUs: number;
  grainUs: number;
  source: RecordingSource;
}

interface Known {
  atUs: number;
  peek: Peek | undefined;
}

export class Peeker {
  /** The picture of where somebody looks. */
  readonly shown = signal<Peek | undefined>(undefined);
  /** Who was asked last. */
  asked: RecordingSource | undefined;

  private readonly known: Known[] = [];
  private readonly failedMs = new Map<string, number>();
  /** Where somebody looks. */
  private look: { atUs: number; grainUs: number } | undefined;
  private wish: Wish | undefined;
  private work: AbortController | undefined;
  private notBeforeMs = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private restTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly pictures: PeekSource) {}

  /** Somebody looks at a time; pictures that lie no farther from it than `grainUs` do. `source`: who has it. */
  want(atUs: number, grainUs: number, source: RecordingSource | undefined): void {
    clearTimeout(this.restTimer);
    if (!this.look) this.notBeforeMs = Math.max(this.notBeforeMs, performance.now() + DWELL_MS);
    this.look = { atUs, grainUs };
    const known = this.nearest();
    this.shown.value = known?.peek;
    this.wish = known || !source || this.sulks(source) ? undefined : { atUs, grainUs, source };
    this.next();
  }

  /** Nobody looks any more. */
  rest(): void {
    if (!this.look) return;
    this.look = undefined;
    this.wish = undefined;
    this.shown.value = undefined;
    clearTimeout(this.timer);
    this.timer = undefined;
    clearTimeout(this.restTimer);
    this.restTimer = setTimeout(() => this.hangUp(), REST_MS);
  }

  close(): void {
    this.rest();
    clearTimeout(this.restTimer);
    this.hangUp();
    for (const { peek } of this.known.splice(0)) peek?.picture.close();
  }

  private hangUp(): void {
    this.work?.abort();
    this.asked = undefined;
    this.pictures.close();
  }

  private next(): void {
    if (this.work || this.timer !== undefined || !this.wish) return;
    const waitMs = this.notBeforeMs - performance.now();
    if (waitMs > 0) {
      this.timer = setTimeout(() => {
        this.timer = undefined;
        this.next();
      }, waitMs);
      return;
    }
    const { wish } = this;
    this.wish = undefined;
    void this.ask(wish);
  }

  private async ask({ atUs, source }: Wish): Promise<void> {
    const work = new AbortController();
    this.work = work;
    this.asked = source;
    this.notBeforeMs = performance.now() + EVERY_MS;
    try {
      const peek = await this.pictures.picture(atUs, source, work.signal);
      if (work.signal.aborted) peek?.picture.close();
      else this.keep({ atUs, peek });
    } catch {
      // A look is no reason to complain; what is played says what is wrong.
      if (!work.signal.aborted) this.failedMs.set(nameOf(source), performance.now());
    }
    this.work = undefined;
    this.next();
  }

  private keep(known: Known): void {
    this.known.push(known);
    const nearest = this.look && this.nearest();
    if (nearest) {
      this.shown.value = nearest.peek;
      this.wish = undefined;
    }
    if (this.known.length > KEPT) this.known.shift()?.peek?.picture.close();
  }

  /** What is known of where somebody looks. */
  private nearest(): Known | undefined {
    const { look } = this;
    if (!look) return undefined;
    const distance = ({ atUs }: Known) => Math.abs(atUs - look.atUs);
    return this.known
      .filter((known) => distance(known) <= look.grainUs)
      .sort((a, b) => distance(a) - distance(b))[0];
  }

  private sulks(source: RecordingSource): boolean {
    const failedMs = this.failedMs.get(nameOf(source));
    return failedMs !== undefined && performance.now() - failedMs < SULK_MS;
  }
}

function nameOf({ place, recorder }: RecordingSource): string {
  return `${place} ${recorder}`;
}
