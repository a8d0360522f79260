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
/** So long what a jump shows first is waited for while later pictures are there. */
const FIRST_MS = 3_000;

export class ShowQueue<F> {
  private waiting: Shown<F>[] = [];
  private command = -1;
  /** What was sent for this command or an earlier one is not shown any more. */
  private stale = -1;
  /** Up to which presentation time a picture is the command's first; none: it was shown. */
  private first: { us: number; untilMs: number } | undefined;
  /** Presentation time of what is on the screen. */
  private shownUs = -Infinity;
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

  /** What waits is shown when playing goes on; of a jump, the first picture is shown at once. */
  pause(): void {
    this.paused = true;
    this.baseMs = undefined;
  }

  play(): void {
    this.paused = false;
  }

  /** A jump: what was sent for `command`, or before, is not shown any more. */
  jump(command: number): void {
    this.clear();
    this.stale = Math.max(this.stale, command);
    this.baseMs = undefined;
  }

  /** Somebody else counts commands and time from now on. */
  reset(): void {
    this.clear();
    this.command = -1;
    this.stale = -1;
    this.first = undefined;
    this.shownUs = -Infinity;
    this.baseMs = undefined;
  }

  /** A picture was decoded. */
  push(shown: Shown<F>, nowMs: number): void {
    const { command, presentationUs } = shown;
    // Presentation times rise over all that is shown: what is late for its turn is left out.
    const isLate = presentationUs <= this.shownUs;
    if (command < this.command || command <= this.stale || isLate) {
      this.drop(shown.frame);
      return;
    }
    if (command > this.command) {
      // A jump: what waits is not shown any more.
      this.clear();
      this.command = command;
      this.baseMs = undefined;
      // The device begins to send when the first picture is to be shown; in reverse it comes last.
      this.first = { us: shown.sentUs, untilMs: nowMs + FIRST_MS };
    }
    const at = this.waiting.findIndex((w) => w.presentationUs > presentationUs);
    this.waiting.splice(at < 0 ? this.waiting.length : at, 0, shown);
    if (this.paused) return;
    this.baseMs ??= nowMs + LEAD_MS - shown.sentUs / 1_000;
    const lateMs = nowMs - (this.baseMs + presentationUs / 1_000);
    // Before the first one is there, nothing is late.
    const counts = !this.first || presentationUs <= this.first.us;
    if (counts && lateMs > LATE_MS) this.baseMs += lateMs;
    // A hidden page asks for none: they do not pile up.
    while (this.waiting[1] && this.isDue(this.waiting[1], nowMs)) this.dropFirst();
  }

  /** The picture to be shown now, if it is another one. */
  next(nowMs: number): Shown<F> | undefined {
    const [front] = this.waiting;
    // On after a pause, from what had not been shown.
    if (front && !this.paused) this.baseMs ??= nowMs - front.presentationUs / 1_000;
    let due: Shown<F> | undefined;
    while (this.waiting[0] && this.isDue(this.waiting[0], nowMs)) {
      if (due) this.drop(due.frame);
      due = this.waiting.shift();
      this.first = undefined;
    }
    if (due) this.shownUs = due.presentationUs;
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

  private dropFirst(): void {
    const first = this.waiting.shift();
    if (first) this.drop(first.frame);
  }

  private isDue(shown: Shown<F>, nowMs: number): boolean {
    const { first } = this;
    const isFirst = first !== undefined && shown.presentationUs <= first.us;
    if (this.paused) return isFirst;
    if (first && !isFirst && nowMs < first.untilMs) return false;
    return this.baseMs !== undefined && this.baseMs + shown.presentationUs / 1_000 <= nowMs;
  }
}
