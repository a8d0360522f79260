/** What lies in the cloud storage of one camera: which segments there are, and what is in them. */

import type { CloudSegment, StreamTier } from '../../api/types';
import { readFilm, type Film } from './mp4';

/** Where segments come from; tests bring their own. */
export interface CloudStore {
  /** Segments of a camera that reach into a span, in their order; `some`: the first ones are enough. */
  list: (fromUs: number, toUs: number, tier: StreamTier, some: boolean) => Promise<CloudSegment[]>;
  /** A segment's bytes; `most`: so many of its first ones are enough. */
  fetch: (segment: CloudSegment, most?: number) => Promise<ArrayBuffer>;
  /** The page's clock, and a pause that ends early when it is aborted. */
  nowMs: () => number;
  sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** What lies in the cloud is looked up in windows of so long; in microseconds. */
const WINDOW_US = 600e6;
/** Behind an empty one the next is twice as long: nothing is looked for farther away than a fortnight. */
const MOST_WINDOWS = 11;
/** The first keyframe of a segment lies within so many bytes, mostly. */
const FIRST_BYTES = 256 << 10;
/** Segments that are kept once they were read. */
const KEPT = 3;
/** Signed addresses work for five minutes. */
const LISTED_MS = 240_000;

interface Listed {
  segments: CloudSegment[];
  /** When it was asked for, by the page's clock. */
  atMs: number;
}

export class Shelf {
  private tier: StreamTier = 'main';
  private readonly windows = new Map<string, Listed>();
  private readonly films = new Map<string, Promise<Film | undefined>>();

  constructor(private readonly store: CloudStore) {}

  setTier(tier: StreamTier): void {
    if (tier === this.tier) return;
    this.tier = tier;
    this.windows.clear();
    this.films.clear();
  }

  /** The segment at a time, else the next one in this direction. */
  async find(at: number, way: 1 | -1, signal: AbortSignal): Promise<CloudSegment | undefined> {
    return (await this.near(at, way)) ?? (await this.beyond(at, way, signal));
  }

  /** In the window of a time. */
  async near(at: number, way: 1 | -1): Promise<CloudSegment | undefined> {
    const segments = await this.list(windowOf(at));
    return way > 0
      ? segments.find((segment) => segment.to > at)
      : segments.findLast((segment) => segment.from <= at);
  }

  /** What is in a segment; `isFast`: its first pictures are enough. Undefined when it cannot be read. */
  film(segment: CloudSegment, isFast: boolean): Promise<Film | undefined> {
    const isPart = isFast && segment.bytes > FIRST_BYTES;
    const name = isPart ? `first of ${segment.sha256}` : segment.sha256;
    let film = this.films.get(name);
    if (!film) {
      film = isPart ? this.firstOf(segment) : this.wholeOf(segment);
      // What could not be fetched is asked for again, with a new address.
      film.catch(() => {
        this.films.delete(name);
        this.windows.clear();
      });
      this.films.set(name, film);
      const [oldest] = this.films.keys();
      if (this.films.size > KEPT && oldest !== undefined) this.films.delete(oldest);
    }
    return film;
  }

  /** Outside of its window. */
  private async beyond(
    at: number,
    way: 1 | -1,
    signal: AbortSignal,
  ): Promise<CloudSegment | undefined> {
    let edge = windowOf(at) + (way > 0 ? WINDOW_US : 0);
    let length = WINDOW_US;
    for (let round = 0; round < MOST_WINDOWS; round += 1) {
      // Of what is to come nothing is recorded.
      if (way > 0 && edge > Date.now() * 1_000) return undefined;
      const [from, to] = way > 0 ? [edge, edge + length] : [edge - length, edge];
      const segments = await this.store.list(from, to, this.tier, way > 0);
      signal.throwIfAborted();
      const found = way > 0 ? segments[0] : segments.at(-1);
      if (found) return found;
      edge += way * length;
      length *= 2;
    }
    return undefined;
  }

  private async list(from: number): Promise<CloudSegment[]> {
    const name = `${this.tier} ${from}`;
    const known = this.windows.get(name);
    const atMs = this.store.nowMs();
    // The present grows.
    const isPast = from + 2 * WINDOW_US < Date.now() * 1_000;
    if (known && isPast && atMs - known.atMs < LISTED_MS) return known.segments;
    const segments = await this.store.list(from, from + WINDOW_US, this.tier, false);
    this.windows.set(name, { segments, atMs });
    return segments;
  }

  private async wholeOf(segment: CloudSegment): Promise<Film | undefined> {
    return readFilm(await this.store.fetch(segment));
  }

  /** Its first pictures, for a fraction of its bytes. */
  private async firstOf(segment: CloudSegment): Promise<Film | undefined> {
    const first = readFilm(await this.store.fetch(segment, FIRST_BYTES), true);
    return first ?? this.wholeOf(segment);
  }
}

function windowOf(at: number): number {
  return Math.floor(at / WINDOW_US) * WINDOW_US;
}
