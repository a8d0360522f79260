/**
 * Looks back at several cameras at one time (decision 0111). The page's clock leads: playing begins when every
 * camera has its first picture, or after two seconds; from then on nobody waits for anybody. A gap of one
 * camera takes its time, a gap of all is skipped.
 */

import { signal } from '@preact/signals';
import type { LookbackState, Playback } from '../lookback';
import type { ReplayPictures } from '../replay/messages';
import { StepClock } from './clock';
import type { Part } from './part';

/** So long playing waits for a camera. */
const PATIENCE_MS = 2_000;
/** From the first pictures to playing: what networks and decoders vary by. */
const LEAD_MS = 150;
/** A camera that joins while others play is asked for what is shown after so long. */
const JOIN_MS = 400;
/** One that is farther behind begins anew, */
const LATE_MS = 2_500;
/** but not before it has had so long. */
const AGAIN_MS = 4_000;
/** A shorter gap of all cameras takes its time. */
const SKIP_MS = 1_000;
/** The time is told no more often, in microseconds of the recording. */
const TOLD_US = 200_000;

type Mode =
  | { mode: 'idle' }
  | { mode: 'paused' }
  /** Until all have their first picture, at most till then. */
  | { mode: 'waiting'; untilMs: number }
  | { mode: 'playing' }
  /** The next picture of this one; the others follow it. */
  | { mode: 'stepping'; lead: Part; fromUs: number | undefined; untilMs: number };

export class InStep implements Playback {
  readonly state = signal<LookbackState>({ state: 'paused' });
  readonly atUs = signal<number | undefined>(undefined);
  readonly scale = signal(1);
  readonly pictures = signal<ReplayPictures>('fitting');

  private now: Mode = { mode: 'idle' };

  /** `nowMs`: the page's clock. */
  constructor(
    readonly parts: readonly Part[],
    private readonly clock: StepClock,
    private readonly nowMs: () => number,
  ) {}

  /** Plays from a time on. */
  playFrom(atUs: number, scale = this.scale.peek()): void {
    this.stand(atUs, scale);
    for (const part of this.parts) this.begin(part, atUs);
    this.now = { mode: 'waiting', untilMs: this.nowMs() + PATIENCE_MS };
    this.state.value = { state: 'seeking' };
  }

  /** Goes on, or changes the speed, or which pictures are played. */
  play(scale = this.scale.peek(), pictures = this.pictures.peek()): void {
    this.pictures.value = pictures;
    for (const { player } of this.parts) player.pictures.value = pictures;
    if (this.now.mode === 'idle') return;
    this.playFrom(this.clock.atUs(this.nowMs()), scale);
  }

  pause(): void {
    this.clock.stop(this.nowMs());
    for (const part of this.parts) part.stop();
    this.now = { mode: 'paused' };
    this.state.value = { state: 'paused' };
  }

  /** Shows the pictures of a time. */
  show(atUs: number): void {
    this.stand(atUs, this.scale.peek());
    for (const part of this.parts) this.showOne(part, atUs);
    this.now = { mode: 'paused' };
    this.state.value = { state: 'paused' };
  }

  /** Goes to a time, and plays on if it was playing. */
  seek(atUs: number): void {
    if (this.state.peek().state === 'paused') this.show(atUs);
    else this.playFrom(atUs);
  }

  /** Counts in pictures of the first camera that has any; the others show what they had then. */
  step(backwards: boolean): void {
    this.pause();
    const atUs = this.clock.atUs(this.nowMs());
    const lead = this.parts.find((part) => part.look(atUs).there !== 'absent');
    if (!lead) return;
    const fromUs = lead.player.atUs.peek();
    this.now = { mode: 'stepping', lead, fromUs, untilMs: this.nowMs() + PATIENCE_MS };
    lead.player.step(backwards);
  }

  close(): void {
    for (const { player } of this.parts) player.close();
  }

  /** Time has passed. To be called some times a second. */
  tick(): void {
    const nowMs = this.nowMs();
    const { now } = this;
    switch (now.mode) {
      case 'idle':
        return;
      case 'paused':
        break;
      case 'waiting':
        if (this.parts.every((part) => part.isSettled) || nowMs > now.untilMs) {
          this.clock.run(nowMs + LEAD_MS);
          this.now = { mode: 'playing' };
          this.state.value = { state: 'playing' };
        }
        break;
      case 'playing':
        this.keepInStep(nowMs);
        break;
      case 'stepping':
        this.follow(now, nowMs);
        break;
    }
    const atUs = this.clock.atUs(nowMs);
    for (const part of this.parts) {
      const look = part.look(atUs);
      part.absence.value = look.there === 'absent' ? look.why : undefined;
    }
    this.tell(atUs);
  }

  private stand(atUs: number, scale: number): void {
    this.clock.set(atUs);
    this.clock.scale = scale;
    this.scale.value = scale;
    this.atUs.value = atUs;
  }

  private tell(atUs: number): void {
    const told = this.atUs.peek();
    if (told === undefined || Math.abs(atUs - told) >= TOLD_US) this.atUs.value = atUs;
  }

  /** One camera plays from a time, if it has anything of it. */
  private begin(part: Part, atUs: number): void {
    const look = part.look(atUs);
    if (look.there === 'absent') {
      part.stop();
      return;
    }
    part.plays = true;
    part.askedMs = this.nowMs();
    const recorder = look.there === 'recorded' ? look.recorder : undefined;
    part.player.playFrom(atUs, this.clock.scale, recorder);
  }

  private showOne(part: Part, atUs: number): void {
    const look = part.look(atUs);
    if (look.there === 'absent') {
      part.stop();
      return;
    }
    part.plays = false;
    part.player.show(atUs, look.there === 'recorded' ? look.recorder : undefined);
  }

  private keepInStep(nowMs: number): void {
    const atUs = this.clock.atUs(nowMs);
    // What it is asked for now is shown by then.
    const joinUs = this.clock.atUs(nowMs + JOIN_MS);
    for (const part of this.parts) {
      const [here, soon] = [part.look(atUs), part.look(joinUs)];
      if (here.there === 'absent' && soon.there === 'absent') part.stop();
      else if (soon.there !== 'absent' && this.hasLost(part, joinUs, nowMs)) {
        this.begin(part, joinUs);
      }
    }
    if (this.parts.every((part) => part.look(atUs).there === 'absent')) this.skip(atUs);
  }

  /** Whether a camera that has something of a time has to be told to play it. */
  private hasLost(part: Part, joinUs: number, nowMs: number): boolean {
    if (!part.plays) return true;
    const waitedMs = nowMs - part.askedMs;
    const look = part.look(joinUs);
    if (look.there === 'recorded' && !part.isAt(look.sources)) return waitedMs > JOIN_MS;
    if (waitedMs < AGAIN_MS) return false;
    const { newestUs } = part.queue;
    if (newestUs === undefined) return true;
    const { scale } = this.clock;
    return (this.clock.atUs(nowMs) - newestUs) / scale / 1_000 > LATE_MS;
  }

  /** Nobody has anything here. */
  private skip(atUs: number): void {
    const backwards = this.clock.scale < 0;
    const ways = this.parts.flatMap((part) => part.next(atUs, backwards) ?? []);
    if (ways.length === 0) {
      this.clock.stop(this.nowMs());
      this.now = { mode: 'paused' };
      this.state.value = { state: 'ended' };
      return;
    }
    // The end of a recording is not in it.
    const nextUs = backwards ? Math.max(...ways) - 1 : Math.min(...ways);
    const awayMs = (nextUs - atUs) / this.clock.scale / 1_000;
    if (awayMs > SKIP_MS) this.playFrom(nextUs);
  }

  private follow({ lead, fromUs, untilMs }: Mode & { mode: 'stepping' }, nowMs: number): void {
    const atUs = lead.player.atUs.peek();
    if (atUs === undefined || atUs === fromUs) {
      if (nowMs > untilMs) this.now = { mode: 'paused' };
      return;
    }
    this.stand(atUs, this.scale.peek());
    for (const part of this.parts) if (part !== lead) this.showOne(part, atUs);
    this.now = { mode: 'paused' };
  }
}
