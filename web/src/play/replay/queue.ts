/**
 * Which decoded picture is on the screen when. The device says of each when it is to be shown, in
 * microseconds of playing; here that clock is tied to the page's.
 */

export interface Shown<F> {
  frame: F;
  command: number;
  wallUs: number;
  presentationUs: number;
  /** What was to be shown when it was sent. */
  sentUs: number;
}

/** So much is held before the first picture of a jump is shown while playing: what the network and the
 * decoder vary by. */
const LEAD_MS = 120;
/** Pictures that came later than this move the clock: a slow network plays slower, not in jerks. */
const LATE_MS = 40;

export class ShowQueue<F> {
  private waiting: Shown<F>[] = [];
  private command = -1;
  /** What of the page's clock a presentation time of zero is. */
  private baseMs: number | undefined;
  private paused = true;
  private readonly drop: (frame: F) => void;

  constructor(drop: (frame: F) => void) {
    this.drop = drop;
  }

  get length(): number {
    return this.waiting.length;
  }

  /** Pictures that come from now on are shown at once. */
  pause(): void {
    this.paused = true;
    this.baseMs = undefined;
  }

  play(): void {
    this.paused = false;
    this.baseMs = undefined;
  }

  /** A picture was decoded. */
  push(shown: Shown<F>, nowMs: number): void {
    if (shown.command < this.command) {
      this.drop(shown.frame);
      return;
    }
    if (shown.command > this.command) {
      // A jump: what waits is not shown any more.
      this.clear();
      this.command = shown.command;
      this.baseMs = undefined;
    }
    const at = this.waiting.findIndex((w) => w.presentationUs > shown.presentationUs);
    this.waiting.splice(at < 0 ? this.waiting.length : at, 0, shown);
    if (this.paused) return;
    const presentationMs = shown.presentationUs / 1_000;
    const isFirst = this.baseMs === undefined;
    this.baseMs ??= nowMs + LEAD_MS - shown.sentUs / 1_000;
    const lateMs = nowMs - (this.baseMs + presentationMs);
    if (!isFirst && lateMs > LATE_MS) this.baseMs += lateMs;
  }

  /** The picture to be shown now, if it is another one. */
  next(nowMs: number): Shown<F> | undefined {
    let due: Shown<F> | undefined;
    while (this.waiting[0] && this.isDue(this.waiting[0], nowMs)) {
      if (due) this.drop(due.frame);
      due = this.waiting.shift();
      // Paused: one is shown at a time, the newest.
    }
    return due;
  }

  clear(): void {
    for (const { frame } of this.waiting) this.drop(frame);
    this.waiting = [];
  }

  /** When sound that belongs to a presentation time is heard, by the page's clock. */
  heardMs(presentationUs: number): number | undefined {
    return this.baseMs === undefined ? undefined : this.baseMs + presentationUs / 1_000;
  }

  private isDue(shown: Shown<F>, nowMs: number): boolean {
    if (this.paused || this.baseMs === undefined) return true;
    return this.baseMs + shown.presentationUs / 1_000 <= nowMs;
  }
}
