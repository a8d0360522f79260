/**
 * Recordings from the cloud storage behind the same door as those of the device: it takes the commands
 * of the replay channel and gives units as the device would (crates/protocol/src/pc/replay.rs). What the
 * device plans for itself is planned here: segments are fetched whole as they are needed, read, and sent
 * at their time.
 */

import type { CloudSegment, StreamTier } from '../../api/types';
import { toProblem } from '../../api/problem';
import type { CuToPuReplay, PuToCuReplay } from '../replay/messages';
import { readFilm, type Film, type Picture, type SoundPiece } from './mp4';

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
/** So much is sent before it is to be shown. */
const AHEAD_MS = 400;
/** Faster than this, keyframes only. */
const ALL_PICTURES = 4;
/** Faster than this, the first keyframe of each segment is enough, */
const ALL_KEYFRAMES = 8;
/** which lies within so many bytes, mostly. */
const FIRST_BYTES = 256 << 10;
/** Longer interruptions are skipped at once; in microseconds. */
const GAP_US = 500_000;
/** Segments that are kept once they were read. */
const KEPT = 3;

const FIRST = 1;
const HEAD_LEN = 34;

interface Loaded {
  segment: CloudSegment;
  film: Film;
}

/** Signed addresses work for five minutes. */
const LISTED_MS = 240_000;

interface Listed {
  segments: CloudSegment[];
  /** When it was asked for, by the page's clock. */
  atMs: number;
}

interface Sent {
  unit: Picture | SoundPiece;
  wallUs: number;
  shown: boolean;
  discontinuity: boolean;
  presentationUs: number;
  /** What was to be shown when it is sent. */
  sentUs: number;
}

/** A data channel, as far as looking back uses one. */
export class CloudChannel {
  readyState: RTCDataChannelState = 'connecting';
  binaryType: BinaryType = 'arraybuffer';
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: (() => void) | null = null;

  private work = new AbortController();
  private command = 0;
  private tier: StreamTier = 'main';
  private scale = 1;
  /** Where the picture that was sent last was taken. */
  private atUs: number | undefined;
  /** Presentation time of what was sent last, in microseconds. */
  private playedUs = 0;
  private form = '';
  private readonly windows = new Map<string, Listed>();
  private readonly films = new Map<string, Promise<Film | undefined>>();

  constructor(private readonly store: CloudStore) {
    queueMicrotask(() => {
      if (this.readyState !== 'connecting') return;
      this.readyState = 'open';
      this.onopen?.();
    });
  }

  send(text: string): void {
    const command = JSON.parse(text) as CuToPuReplay;
    this.work.abort();
    this.work = new AbortController();
    const { signal } = this.work;
    void this.obey(command, signal).catch((error: unknown) => {
      if (!signal.aborted) this.tell({ type: 'failed', problem: toProblem(error) });
    });
  }

  close(): void {
    this.readyState = 'closed';
    this.work.abort();
    this.onmessage = null;
  }

  private async obey(command: CuToPuReplay, signal: AbortSignal): Promise<void> {
    switch (command.type) {
      case 'play': {
        const scale = command.scale_permille / 1_000;
        if (command.tier) this.setTier(command.tier);
        if (command.at !== undefined || scale < 0 !== this.scale < 0) this.command += 1;
        this.scale = scale;
        const at = command.at ?? this.atUs;
        if (at === undefined) return;
        const goesOn = command.at === undefined;
        if (scale < 0) await this.backwards(at, signal);
        else await this.forwards(at, goesOn, signal);
        return;
      }
      case 'show':
        this.command += 1;
        await this.show(command.at, signal);
        return;
      case 'step':
        this.command += 1;
        await this.step(command.backwards, command.from ?? this.atUs, signal);
        return;
      case 'pause':
      case 'live':
    }
  }

  private setTier(tier: StreamTier): void {
    if (tier === this.tier) return;
    this.tier = tier;
    this.windows.clear();
    this.films.clear();
  }

  /** Plays from the keyframe at or before `at`; what lies before is only decoded. */
  private async forwards(at: number, goesOn: boolean, signal: AbortSignal): Promise<void> {
    let loaded = await this.load(at, 1, signal);
    let discontinuity = true;
    const clock = this.clock();
    // The picture that was on the screen then comes first.
    let fromUs = loaded ? onScreen(loaded, at) : at;
    while (loaded) {
      const { segment, film } = loaded;
      const begin = discontinuity ? lastKeyframe(film, fromUs - segment.from) : 0;
      const pictures = film.pictures.slice(begin);
      const units = this.scale === 1 ? inTime(pictures, film.sounds) : pictures;
      for (const unit of units) {
        const isPicture = 'keyframe' in unit;
        const wallUs = segment.from + unit.atUs;
        const shown = wallUs >= fromUs && !(goesOn && wallUs <= at);
        if (isPicture ? this.scale > ALL_PICTURES && !unit.keyframe : !shown) continue;
        const passedUs = Math.max(wallUs - fromUs, 0) / this.scale;
        const presentationUs = clock.baseUs + Math.round(passedUs);
        await this.wait(clock, presentationUs, signal);
        this.tellForm(film);
        const sentUs = this.sentUs(clock);
        this.unit({ unit, wallUs, shown, discontinuity, presentationUs, sentUs });
        if (isPicture) discontinuity = false;
      }
      const next: Loaded | undefined = await this.load(segment.to, 1, signal);
      discontinuity = next !== undefined && next.segment.run !== segment.run;
      // What follows a gap follows at once.
      if (next && next.segment.from - segment.to > GAP_US) {
        clock.baseUs += Math.round((segment.to - fromUs) / this.scale);
        fromUs = next.segment.from;
        discontinuity = true;
      }
      loaded = next;
    }
    if (!signal.aborted) this.tell({ type: 'ended' });
  }

  /** Groups newest first, each forwards; what is shown goes backwards. */
  private async backwards(at: number, signal: AbortSignal): Promise<void> {
    const speed = -this.scale;
    const clock = this.clock();
    let loaded = await this.load(at, -1, signal);
    let fromUs = loaded ? onScreen(loaded, at) : at;
    while (loaded) {
      const { segment, film } = loaded;
      if (fromUs - segment.to > GAP_US) {
        clock.baseUs = this.playedUs + 1;
        fromUs = onScreen(loaded, segment.to);
      }
      for (const group of groups(film).reverse()) {
        const wanted = group.filter((picture) => segment.from + picture.atUs <= fromUs);
        const pictures = speed > ALL_PICTURES ? wanted.slice(0, 1) : wanted;
        const newest = pictures.at(-1);
        if (!newest) continue;
        const presented = (picture: Picture) =>
          clock.baseUs + Math.round((fromUs - segment.from - picture.atUs) / speed);
        await this.wait(clock, presented(newest), signal);
        this.tellForm(film);
        const sentUs = this.sentUs(clock);
        for (const picture of pictures) {
          const wallUs = segment.from + picture.atUs;
          const presentationUs = presented(picture);
          const discontinuity = picture.keyframe;
          this.unit({ unit: picture, wallUs, shown: true, discontinuity, presentationUs, sentUs });
        }
      }
      loaded = await this.load(segment.from - 1, -1, signal);
    }
    if (!signal.aborted) this.tell({ type: 'ended' });
  }

  /** The picture that was on the screen at a time. */
  private async show(at: number, signal: AbortSignal): Promise<void> {
    const loaded = (await this.load(at, 1, signal)) ?? (await this.load(at, -1, signal));
    if (!loaded || signal.aborted) {
      if (!signal.aborted) this.tell({ type: 'ended' });
      return;
    }
    const { segment, film } = loaded;
    const until = Math.max(at - segment.from, 0);
    const shown = film.pictures.findLastIndex((picture) => picture.atUs <= until);
    this.only(loaded, Math.max(shown, 0));
  }

  private async step(
    backwards: boolean,
    from: number | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    if (from === undefined) return;
    const way = backwards ? -1 : 1;
    let loaded = await this.load(from, way, signal);
    for (let segments = 0; loaded && segments < 2; segments += 1) {
      const { segment, film } = loaded;
      const walls = film.pictures.map((picture) => segment.from + picture.atUs);
      const found = backwards
        ? walls.findLastIndex((wall) => wall < from)
        : walls.findIndex((wall) => wall > from);
      if (found >= 0) {
        this.only(loaded, found);
        return;
      }
      loaded = await this.load(backwards ? segment.from - 1 : segment.to, way, signal);
    }
    if (!signal.aborted) this.tell({ type: 'ended' });
  }

  /** Sends one picture to be shown, and what it is decoded from. */
  private only({ segment, film }: Loaded, index: number): void {
    const target = film.pictures[index];
    if (!target) return;
    this.tellForm(film);
    const presentationUs = this.playedUs + 1;
    const begin = lastKeyframe(film, target.atUs);
    film.pictures.slice(begin, index + 1).forEach((picture, n) => {
      const wallUs = segment.from + picture.atUs;
      const shown = picture === target;
      const discontinuity = n === 0;
      const sentUs = presentationUs;
      this.unit({ unit: picture, wallUs, shown, discontinuity, presentationUs, sentUs });
    });
  }

  /** When this playing began, by the page's clock and in presentation time. */
  private clock(): { startMs: number; startUs: number; baseUs: number } {
    const startUs = this.playedUs + 1;
    return { startMs: this.store.nowMs(), startUs, baseUs: startUs };
  }

  /** What is to be shown now. */
  private sentUs({ startMs, startUs }: { startMs: number; startUs: number }): number {
    return startUs + Math.max(this.store.nowMs() - startMs, 0) * 1_000;
  }

  private async wait(
    { startMs, startUs }: { startMs: number; startUs: number },
    presentationUs: number,
    signal: AbortSignal,
  ): Promise<void> {
    const dueMs = startMs + (presentationUs - startUs) / 1_000 - AHEAD_MS;
    const waitMs = dueMs - this.store.nowMs();
    if (waitMs > 0) await this.store.sleep(waitMs, signal);
    signal.throwIfAborted();
  }

  /** The segment at a time, else the next one in this direction. */
  private async load(at: number, way: 1 | -1, signal: AbortSignal): Promise<Loaded | undefined> {
    const found = (await this.near(at, way)) ?? (await this.beyond(at, way, signal));
    signal.throwIfAborted();
    if (!found) return undefined;
    const film = await this.film(found);
    signal.throwIfAborted();
    if (film) return { segment: found, film };
    this.tell({ type: 'unreadable', from: found.from, to: found.to });
    return this.load(way > 0 ? found.to : found.from - 1, way, signal);
  }

  /** In the window of a time. */
  private async near(at: number, way: 1 | -1): Promise<CloudSegment | undefined> {
    const segments = await this.list(windowOf(at));
    return way > 0
      ? segments.find((segment) => segment.to > at)
      : segments.findLast((segment) => segment.from <= at);
  }

  /** Outside of it. */
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

  private film(segment: CloudSegment): Promise<Film | undefined> {
    const isFast = Math.abs(this.scale) > ALL_KEYFRAMES && segment.bytes > FIRST_BYTES;
    const name = isFast ? `first of ${segment.sha256}` : segment.sha256;
    let film = this.films.get(name);
    if (!film) {
      film = isFast ? this.firstOf(segment) : this.wholeOf(segment);
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

  private async wholeOf(segment: CloudSegment): Promise<Film | undefined> {
    return readFilm(await this.store.fetch(segment));
  }

  /** Its first pictures, for a fraction of its bytes. */
  private async firstOf(segment: CloudSegment): Promise<Film | undefined> {
    const first = readFilm(await this.store.fetch(segment, FIRST_BYTES), true);
    return first ?? this.wholeOf(segment);
  }

  private tellForm({ video, audio }: Film): void {
    const form = JSON.stringify([video, audio]);
    if (form === this.form) return;
    this.form = form;
    this.tell({ type: 'stream', video, audio });
  }

  private tell(message: PuToCuReplay): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  private unit(sent: Sent): void {
    const { unit, wallUs, shown, discontinuity, presentationUs, sentUs } = sent;
    const { data } = unit;
    const sound = !('keyframe' in unit);
    const keyframe = sound || unit.keyframe;
    const message = new Uint8Array(HEAD_LEN + data.length);
    const view = new DataView(message.buffer);
    const flags = [sound, keyframe, shown, discontinuity && keyframe, false, false];
    view.setUint8(0, FIRST);
    view.setUint8(
      1,
      flags.reduce((bits, flag, bit) => bits | (flag ? 1 << bit : 0), 0),
    );
    view.setUint32(2, this.command);
    view.setBigInt64(6, BigInt(Math.round(wallUs)));
    view.setBigInt64(14, BigInt(Math.round(presentationUs)));
    view.setBigInt64(22, BigInt(Math.round(sentUs)));
    view.setUint32(30, data.length);
    message.set(data, HEAD_LEN);
    if (shown && !sound) {
      this.atUs = wallUs;
      this.playedUs = Math.max(this.playedUs, presentationUs);
    }
    this.onmessage?.({ data: message.buffer });
  }
}

/** When the picture was taken that was on the screen at a time. */
function onScreen({ segment, film }: Loaded, at: number): number {
  const taken = film.pictures.filter((picture) => segment.from + picture.atUs <= at);
  return segment.from + Math.max(0, ...taken.map((picture) => picture.atUs));
}

function windowOf(at: number): number {
  return Math.floor(at / WINDOW_US) * WINDOW_US;
}

function lastKeyframe(film: Film, atUs: number): number {
  const found = film.pictures.findLastIndex((one) => one.keyframe && one.atUs <= atUs);
  return Math.max(found, 0);
}

/** Pictures in the order of decoding, and each sound before the first that is later. */
function inTime(pictures: Picture[], sounds: SoundPiece[]): (Picture | SoundPiece)[] {
  const units: (Picture | SoundPiece)[] = [];
  let next = 0;
  const takeUntil = (atUs: number) => {
    for (let sound = sounds[next]; sound && sound.atUs < atUs; sound = sounds[next]) {
      units.push(sound);
      next += 1;
    }
  };
  for (const picture of pictures) {
    takeUntil(picture.atUs);
    units.push(picture);
  }
  takeUntil(Infinity);
  return units;
}

/** Keyframes with what depends on them. */
function groups(film: Film): Picture[][] {
  const found: Picture[][] = [];
  for (const picture of film.pictures) {
    const last = found.at(-1);
    if (picture.keyframe || !last) found.push([picture]);
    else last.push(picture);
  }
  return found;
}
