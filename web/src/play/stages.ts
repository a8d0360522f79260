/** Time to first frame, split so that the parts add up to the whole. */

import type { StageReport } from './messages';

export const STAGES = ['play', 'signalling', 'answer', 'ice', 'dtls', 'packet', 'frame'] as const;
export type Stage = (typeof STAGES)[number];

export type StageTimes = Record<Stage, number> & { total: number };

/** Marks when each stage ended; stages run one after the other from the start. */
export class StageClock {
  private readonly ends = new Map<Stage, number>();

  constructor(private readonly startMs: number) {}

  /** The end of a stage; only the first mark counts. */
  mark(stage: Stage, atMs: number): void {
    if (!this.ends.has(stage)) this.ends.set(stage, atMs);
  }

  get done(): boolean {
    return this.ends.has('frame');
  }

  /**
   * Milliseconds of each stage. Some events overlap or are reported late (a packet before the
   * "connected" event): a stage that had ended before its predecessor took 0 ms, and what is
   * missing counts to the next one, so the sum is always the total.
   */
  times(): StageTimes {
    const out: Partial<Record<Stage, number>> = {};
    const last = this.ends.get('frame') ?? Math.max(this.startMs, ...this.ends.values());
    let before = this.startMs;
    for (const stage of STAGES) {
      const end = Math.min(Math.max(this.ends.get(stage) ?? before, before), last);
      out[stage] = end - before;
      before = end;
    }
    return { ...(out as Record<Stage, number>), total: last - this.startMs };
  }
}

/** The same in whole milliseconds for the centre: ends are rounded, so that parts still add up. */
export function toReport(times: StageTimes): StageReport {
  let end = 0;
  let before = 0;
  const parts = STAGES.map((stage) => {
    end += times[stage];
    const part = Math.round(end) - before;
    before = Math.round(end);
    return part;
  });
  const [play_ms = 0, signalling_ms = 0, answer_ms = 0, path_ms = 0] = parts;
  const [secure_ms = 0, packet_ms = 0, frame_ms = 0] = parts.slice(4);
  return {
    play_ms,
    signalling_ms,
    answer_ms,
    path_ms,
    secure_ms,
    packet_ms,
    frame_ms,
    total_ms: before,
  };
}
