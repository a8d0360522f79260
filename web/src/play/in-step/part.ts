/** One of several cameras that are looked back at together, and what is known of its recordings. */

import { signal } from '@preact/signals';
import type { Camera, RecordingPlace, RecordingSource } from '../../api/types';
import {
  contains,
  lookUp,
  nextRecorded,
  placeAt,
  recorderAt,
  sourcesAt,
  type Absence,
  type Answer,
} from '../../timeline';
import type { Lookback } from '../lookback';
import type { StepQueue } from './queue';

/** What a camera needs to be in step. */
export type PartPlayer = Pick<
  Lookback,
  | 'atUs'
  | 'close'
  | 'pause'
  | 'pictures'
  | 'place'
  | 'playFrom'
  | 'show'
  | 'source'
  | 'state'
  | 'step'
>;

/** What there is of a time. */
export type Look =
  | { there: 'unknown' }
  | { there: 'recorded'; recorder: string | undefined; sources: RecordingSource[] }
  | { there: 'absent'; why: Absence };

export class Part {
  /** Why it has nothing to show at the common time. */
  readonly absence = signal<Absence | undefined>(undefined);
  private answer: Answer | undefined;
  /** It was told to play, and not to stop. */
  plays = false;
  /** When it was told so last, by the page's clock. */
  askedMs = -Infinity;

  constructor(
    readonly camera: Camera,
    readonly player: PartPlayer,
    readonly queue: Pick<StepQueue<unknown>, 'isReady' | 'newestUs'>,
  ) {}

  /** What is known of a window; of the time that is shown nothing is forgotten for it. */
  note(answer: Answer | undefined, atUs: number | undefined): void {
    const tells = (one: Answer | undefined) =>
      one !== undefined && atUs !== undefined && contains(one.window, atUs);
    if (answer && (tells(answer) || !tells(this.answer))) this.answer = answer;
  }

  look(atUs: number): Look {
    const { answer } = this;
    if (!answer || !contains(answer.window, atUs)) return { there: 'unknown' };
    const found = lookUp(answer.timeline, atUs);
    if (!found || 'gap' in found) return { there: 'absent', why: found?.gap.reason ?? 'unknown' };
    const { timeline } = answer;
    const recorder = recorderAt(timeline, atUs);
    return { there: 'recorded', recorder, sources: sourcesAt(timeline, atUs) };
  }

  /** From where a time is best played, as far as is known. */
  place(atUs: number): RecordingPlace | undefined {
    return this.answer && placeAt(this.answer.timeline, atUs);
  }

  /** Where it goes on behind a time, as far as is known. */
  next(atUs: number, backwards: boolean): number | undefined {
    return this.answer && nextRecorded(this.answer.timeline, atUs, backwards);
  }

  /** Whether it shows, or is about to show, what one of these has. */
  isAt(sources: RecordingSource[]): boolean {
    const inCloud = this.player.place.peek() === 'cs';
    const { device } = this.player.source.peek();
    return sources.some(({ place, recorder }) =>
      inCloud ? place === 'cs' : place !== 'cs' && recorder === device,
    );
  }

  /** Nothing more of it is waited for. */
  get isSettled(): boolean {
    const { state } = this.player.state.peek();
    return !this.plays || this.queue.isReady || state === 'ended' || state === 'failed';
  }

  stop(): void {
    if (this.plays) this.player.pause();
    this.plays = false;
  }
}
