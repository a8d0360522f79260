/**
 * Recordings from the cloud storage behind the same door as those of the device: it takes the commands
 * of the replay channel and gives units as the device would (crates/protocol/src/pc/replay.rs). What the
 * device plans for itself is planned here: segments are fetched whole as they are needed, read, and sent
 * at their time.
 */

import type { CloudSegment } from '../../api/types';
import { toProblem } from '../../api/problem';
import type { CuToPuReplay, PuToCuReplay, ReplayPictures } from '../replay/messages';
import type { Film, Picture, SoundPiece } from './mp4';
import { Shelf, type CloudStore } from './shelf';

/** So much is sent before it is to be shown. */
const AHEAD_MS = 400;
/** Faster than this, keyframes only. */
const ALL_PICTURES = 4;
/** Faster than this, the first keyframe of each segment is enough. */
const ALL_KEYFRAMES = 8;
/** Longer interruptions are skipped at once; in microseconds. */
const GAP_US = 500_000;

const FIRST = 1;
const HEAD_LEN = 34;

interface Loaded {
  segment: CloudSegment;
  film: Film;
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
  private scale = 1;
  private pictures: ReplayPictures = 'fitting';
  /** Where the picture that was sent last was taken. */
  private atUs: number | undefined;
  /** Presentation time of what was sent last, in microseconds. */
  private playedUs = 0;
  private form = '';
  private readonly shelf: Shelf;

  constructor(private readonly store: CloudStore) {
    this.shelf = new Shelf(store);
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
        if (command.tier) this.shelf.setTier(command.tier);
        this.pictures = command.pictures ?? 'fitting';
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

  /** Plays from the keyframe at or before `at`; what lies before is only decoded. */
  private async forwards(at: number, goesOn: boolean, signal: AbortSignal): Promise<void> {
    let loaded = await this.load(at, 1, signal);
    let discontinuity = true;
    const clock = this.clock();
    // The picture that was on the screen then comes first.
    let fromUs = loaded ? onScreen(loaded, at) : at;
    let second = -1;
    while (loaded) {
      const { segment, film } = loaded;
      const begin = discontinuity ? lastKeyframe(film, fromUs - segment.from) : 0;
      const pictures = film.pictures.slice(begin);
      const units = this.hasSound ? inTime(pictures, film.sounds) : pictures;
      for (const unit of units) {
        const isPicture = 'keyframe' in unit;
        const wallUs = segment.from + unit.atUs;
        const counts = wallUs >= fromUs && !(goesOn && wallUs <= at);
        // Of a second only its first picture; the others are decoded for it.
        const isNext = !this.eachSecond || secondOf(wallUs) !== second;
        const shown = counts && isNext;
        if (isPicture ? this.onlyKeyframes && !unit.keyframe : !shown) continue;
        if (shown) second = secondOf(wallUs);
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

  private get eachSecond(): boolean {
    return this.pictures === 'each_second';
  }

  private get onlyKeyframes(): boolean {
    return this.scale > ALL_PICTURES || this.pictures === 'keyframes';
  }

  /** Sound goes with pictures that are all shown as they happened. */
  private get hasSound(): boolean {
    return this.scale === 1 && (this.pictures === 'fitting' || this.pictures === 'all');
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
    const found = await this.shelf.find(at, way, signal);
    signal.throwIfAborted();
    if (!found) return undefined;
    const film = await this.shelf.film(found, Math.abs(this.scale) > ALL_KEYFRAMES);
    signal.throwIfAborted();
    if (film) return { segment: found, film };
    this.tell({ type: 'unreadable', from: found.from, to: found.to });
    return this.load(way > 0 ? found.to : found.from - 1, way, signal);
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

function secondOf(wallUs: number): number {
  return Math.floor(wallUs / 1e6);
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
