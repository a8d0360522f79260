/**
 * Which decoded picture is on the screen when. The device says of each when it is to be shown, in
 * microseconds of playing; here that clock is tied to the page's.
 *
 * Up to the speed of life every picture is shown: for a page that cannot do that in time the clock
 * waits, and goes a little faster afterwards. At higher speeds pictures that are late are left out.
 */

export interface Shown<F> {
  frame: F;
  command: number;
  wallUs: number;
  presentationUs: number;
  /** What was to be shown when it was sent. */
  sentUs: number;
}

/** Decoded pictures, until each is shown. */
export interface PictureQueue<F> {
  readonly length: number;
  /** What waits is shown when playing goes on; of a jump, the first picture is shown at once. */
  pause: () => void;
  play: (scale?: number) => void;
  /** A jump: what was sent for `command`, or before, is not shown any more. */
  jump: (command: number) => void;
  /** Somebody else counts commands and time from now on. */
  reset: () => void;
  /** A picture was decoded. */
  push: (shown: Shown<F>, nowMs: number) => void;
  /** The picture to be shown now, if it is another one. */
  next: (nowMs: number) => Shown<F> | undefined;
  /** The clock waits for a page that shows pictures late, if it waits for anybody. */
  keepUp: (nowMs: number) => void;
  /** Goes on with what is due by now: nobody has looked. */
  skip: (nowMs: number) => void;
  /** When sound that belongs to a presentation time is heard, by the page's clock. */
  heardMs: (presentationUs: number) => number | undefined;
}

/** Whether a picture of a command that is to be shown between two times is still being decoded. */
export type Comes = (command: number, afterUs: number, beforeUs: number) => boolean;

/** So much is held before the first picture of a jump is shown while playing: what the network and the
 * decoder vary by. */
const LEAD_MS = 120;
/** Pictures that came later than this move the clock: a slow network plays slower, not in jerks. */
const LATE_MS = 40;
/** So long what is to be shown earlier is waited for while later pictures are there. */
const MISSING_MS = 3_000;
/** A page that is later than this was away: it goes on with what is due by now. */
const AWAY_MS = 1_000;
/** Farther behind the device than this, pictures only fill the memory: the clock goes faster, by so
 * small a part that nobody sees it. */
const EASY_MS = 400;
const HASTE = 0.03;
/** Farther behind, the clock waits for no page that is slow. */
const SLOWEST_MS = 2_000;
/** Behind a stall of the network the rest of a group comes at once, and is shown. What makes a page
 * later than that was no network, but a page that stood. */
const MOST_BEHIND_MS = 5_000;

export class ShowQueue<F> implements PictureQueue<F> {
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
  /** How far the device was with sending, against the page's clock, by what came last. */
  private sentAheadMs: number | undefined;
  private paused = true;
  /** At most as fast as it happened: every picture is wanted. */
  private slow = true;

  constructor(
    private readonly drop: (frame: F) => void,
    private readonly comes: Comes = () => false,
  ) {}

  get length(): number {
    return this.waiting.length;
  }

  /** What waits is shown when playing goes on; of a jump, the first picture is shown at once. */
  pause(): void {
    this.paused = true;
    this.baseMs = undefined;
    this.sentAheadMs = undefined;
  }

  play(scale = 1): void {
    this.paused = false;
    this.slow = Math.abs(scale) <= 1;
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
    this.sentAheadMs = undefined;
  }

  /** A picture was decoded. */
  push(shown: Shown<F>, nowMs: number): void {
    const { command, presentationUs, sentUs } = shown;
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
      this.first = { us: sentUs, untilMs: nowMs + MISSING_MS };
    }
    const at = this.waiting.findIndex((w) => w.presentationUs > presentationUs);
    this.waiting.splice(at < 0 ? this.waiting.length : at, 0, shown);
    if (this.paused) return;
    this.baseMs ??= nowMs + LEAD_MS - sentUs / 1_000;
    // What a network held up was sent late itself: the device is no farther with sending than that.
    this.sentAheadMs = Math.min(sentUs, presentationUs) / 1_000 - nowMs;
    const lateMs = this.lateMs(shown, nowMs);
    // Before the first one is there, nothing is late.
    const counts = !this.first || presentationUs <= this.first.us;
    if (counts && lateMs > LATE_MS) this.baseMs += lateMs;
    this.trim(nowMs);
  }

  /** The picture to be shown now, if it is another one. */
  next(nowMs: number): Shown<F> | undefined {
    const [front] = this.waiting;
    // On after a pause, from what had not been shown.
    if (front && !this.paused) this.baseMs ??= nowMs - front.presentationUs / 1_000;
    const isInTime = this.overdueMs(nowMs) <= 0;
    this.keepUp(nowMs);
    let due: Shown<F> | undefined;
    while (this.waiting[0] && this.isDue(this.waiting[0], nowMs)) {
      if (due) this.drop(due.frame);
      due = this.waiting.shift();
      this.first = undefined;
      if (this.slow) break;
    }
    if (!due) return undefined;
    if (isInTime) this.hurry((due.presentationUs - this.shownUs) / 1_000);
    this.shownUs = due.presentationUs;
    return due;
  }

  /** The clock waits for a page that shows pictures late: none is left out. */
  keepUp(nowMs: number): void {
    const lateMs = this.overdueMs(nowMs);
    if (!this.slow || this.baseMs === undefined || lateMs <= 0) return;
    if (lateMs > AWAY_MS) {
      this.skip(nowMs);
      return;
    }
    // A page that is too slow for them all the time leaves out single ones in the end.
    const roomMs = Math.max(SLOWEST_MS - this.behindMs, 0);
    this.baseMs += Math.min(lateMs, roomMs);
    if (lateMs > roomMs) this.leaveOut(nowMs);
  }

  /** Goes on with what is due by now, as near to the device as at first: nobody has looked. */
  skip(nowMs: number): void {
    if (this.baseMs === undefined) return;
    this.baseMs -= Math.max(this.behindMs - LEAD_MS, 0);
    this.leaveOut(nowMs);
  }

  clear(): void {
    for (const { frame } of this.waiting) this.drop(frame);
    this.waiting = [];
  }

  /** When sound that belongs to a presentation time is heard, by the page's clock. */
  heardMs(presentationUs: number): number | undefined {
    return this.baseMs === undefined ? undefined : this.baseMs + presentationUs / 1_000;
  }

  /** A page that shows nothing asks for nothing: pictures do not pile up. */
  private trim(nowMs: number): void {
    if (!this.slow) this.leaveOut(nowMs);
    else if (this.overdueMs(nowMs) > AWAY_MS || this.behindMs > MOST_BEHIND_MS) this.skip(nowMs);
  }

  /** `playedMs`: so much of playing was shown since the picture before. */
  private hurry(playedMs: number): void {
    const byMs = Math.min(this.behindMs - EASY_MS, HASTE * Math.min(playedMs, AWAY_MS));
    if (this.slow && this.baseMs !== undefined && byMs > 0) this.baseMs -= byMs;
  }

  /** Leaves out what is due before something that is due as well. */
  private leaveOut(nowMs: number): void {
    while (this.waiting[1] && this.isDue(this.waiting[1], nowMs)) {
      const first = this.waiting.shift();
      if (first) this.drop(first.frame);
    }
  }

  /** How far playing is behind what the device has sent. */
  private get behindMs(): number {
    const { baseMs, sentAheadMs } = this;
    return baseMs === undefined || sentAheadMs === undefined ? LEAD_MS : baseMs + sentAheadMs;
  }

  /** How late the one behind the next picture is: both would have been shown by now. */
  private overdueMs(nowMs: number): number {
    const [, second] = this.waiting;
    if (this.paused || !second || !this.isDue(second, nowMs)) return 0;
    return this.lateMs(second, nowMs);
  }

  /** Below zero when its time has not come. */
  private lateMs({ presentationUs }: Shown<F>, nowMs: number): number {
    return this.baseMs === undefined ? -Infinity : nowMs - (this.baseMs + presentationUs / 1_000);
  }

  private isDue(shown: Shown<F>, nowMs: number): boolean {
    const { first } = this;
    const isFirst = first !== undefined && shown.presentationUs <= first.us;
    if (this.paused) return isFirst;
    if (first && !isFirst && nowMs < first.untilMs) return false;
    const lateMs = this.lateMs(shown, nowMs);
    return lateMs >= 0 && !this.waits(shown, lateMs);
  }

  /** In reverse a group is decoded from its far end, which must not be shown instead of what comes
   * before it. */
  private waits({ command, presentationUs }: Shown<F>, lateMs: number): boolean {
    return this.slow && lateMs < MISSING_MS && this.comes(command, this.shownUs, presentationUs);
  }
}
