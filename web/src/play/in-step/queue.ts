/**
 * Pictures of one of several cameras: each is shown when the clock that all have in common comes to the time
 * at which it was taken. Nobody waits for anybody: what is late for its turn is left out.
 */

import type { PictureQueue, Shown } from '../replay/queue';
import type { StepClock } from './clock';

/** A device sends no longer group in reverse. */
const MOST = 320;

export class StepQueue<F> implements PictureQueue<F> {
  /** When the picture on the screen was taken; undefined: none has come since the last jump. */
  shownUs: number | undefined;

  /** In the order in which they are shown. */
  private waiting: Shown<F>[] = [];
  private command = -1;
  /** What was sent for this command or an earlier one is not shown any more. */
  private stale = -1;
  private paused = true;

  constructor(
    private readonly clock: StepClock,
    private readonly drop: (frame: F) => void,
  ) {}

  get length(): number {
    return this.waiting.length;
  }

  /** Whether there is something to be shown since the last jump. */
  get isReady(): boolean {
    return this.shownUs !== undefined || this.waiting.length > 0;
  }

  /** The farthest that it has come. */
  get newestUs(): number | undefined {
    return this.waiting.at(-1)?.wallUs ?? this.shownUs;
  }

  pause(): void {
    this.paused = true;
  }

  play(): void {
    this.paused = false;
  }

  jump(command: number): void {
    this.clear();
    this.stale = Math.max(this.stale, command);
  }

  reset(): void {
    this.clear();
    this.command = -1;
    this.stale = -1;
  }

  push(shown: Shown<F>): void {
    const { command, wallUs } = shown;
    if (command < this.command || command <= this.stale) {
      this.drop(shown.frame);
      return;
    }
    if (command > this.command) {
      this.clear();
      this.command = command;
    }
    const isLate = this.shownUs !== undefined && !this.comesBefore(this.shownUs, wallUs);
    if (isLate) {
      this.drop(shown.frame);
      return;
    }
    const at = this.waiting.findIndex((other) => this.comesBefore(wallUs, other.wallUs));
    this.waiting.splice(at < 0 ? this.waiting.length : at, 0, shown);
    if (this.waiting.length > MOST) this.dropOne(this.waiting.pop());
  }

  next(nowMs: number): Shown<F> | undefined {
    let due: Shown<F> | undefined;
    while (this.waiting[0] && this.isDue(this.waiting[0], nowMs)) {
      this.dropOne(due);
      due = this.waiting.shift();
      this.shownUs = due?.wallUs;
    }
    return due;
  }

  keepUp(): void {
    // Its clock waits for nobody.
  }

  skip(nowMs: number): void {
    while (this.waiting[1] && this.isDue(this.waiting[1], nowMs)) {
      this.dropOne(this.waiting.shift());
    }
  }

  heardMs(): undefined {
    // Of several cameras none is heard.
  }

  private clear(): void {
    for (const { frame } of this.waiting.splice(0)) this.drop(frame);
    this.shownUs = undefined;
  }

  private dropOne(shown: Shown<F> | undefined): void {
    if (shown) this.drop(shown.frame);
  }

  private isDue({ wallUs }: Shown<F>, nowMs: number): boolean {
    // Paused, only the picture of a jump is shown.
    if (this.paused) return this.shownUs === undefined;
    return !this.comesBefore(this.clock.atUs(nowMs), wallUs);
  }

  private comesBefore(a: number, b: number): boolean {
    return this.clock.scale < 0 ? a > b : a < b;
  }
}
