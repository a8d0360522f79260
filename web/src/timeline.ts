/** What a stretch of a recording's timeline looks like on the screen; no browser needed. */

import type { Timeline, TimelineGap, TimelineSpan } from './api/types';

/** A stretch of time, in microseconds since 1970; the end is not included. */
export interface Stretch {
  from: number;
  to: number;
}

/** What the recorder has said of a window. */
export interface Answer {
  window: Stretch;
  timeline: Timeline;
}

export const HOUR_US = 3_600_000_000;
/** What can be looked at at once. */
export const ZOOMS_US = [
  HOUR_US / 6,
  HOUR_US,
  6 * HOUR_US,
  24 * HOUR_US,
  7 * 24 * HOUR_US,
] as const;

export function contains(window: Stretch, at: number): boolean {
  return window.from <= at && at < window.to;
}

export function overlaps(a: Stretch, b: Stretch): boolean {
  return a.from < b.to && b.from < a.to;
}

/** Where a time lies in a window, from 0 to 1. */
export function place(at: number, window: Stretch): number {
  return (at - window.from) / (window.to - window.from);
}

/** The time at a place of a window. */
export function timeAt(fraction: number, window: Stretch): number {
  return Math.round(window.from + fraction * (window.to - window.from));
}

/** The same length of time around another middle, not in the future. */
export function around(middle: number, length: number, now: number): Stretch {
  const to = Math.min(middle + length / 2, now);
  return { from: to - length, to };
}

/** A part of a window in per cent, cut to it; undefined when it lies outside. */
export function bar(part: Stretch, window: Stretch): { left: number; width: number } | undefined {
  const left = Math.max(place(part.from, window), 0);
  const right = Math.min(place(part.to, window), 1);
  return right > left ? { left: left * 100, width: (right - left) * 100 } : undefined;
}

const TICKS_US = [
  60e6, 300e6, 600e6, 1_800e6, 3_600e6, 7_200e6, 10_800e6, 21_600e6, 43_200e6, 86_400e6, 172_800e6,
];

/** Times that a ruler names: at most so many, at full hours of the person's own clock. */
export function ticks(
  window: Stretch,
  most: number,
  offsetMinutes: (at: number) => number,
): number[] {
  const length = window.to - window.from;
  const step = TICKS_US.find((us) => length / us <= most) ?? 7 * 86_400e6;
  // So that days begin at the person's midnight.
  const shift = -offsetMinutes(window.from) * 60e6;
  const first = Math.ceil((window.from + shift) / step) * step;
  const found = [];
  for (let at = first; at - shift < window.to; at += step) found.push(at - shift);
  return found;
}

/** What is recorded at a time, and else why not. */
export function lookUp(
  timeline: Timeline,
  at: number,
): { span: TimelineSpan } | { gap: TimelineGap } | undefined {
  const span = timeline.spans.find((s) => s.from <= at && at < s.to);
  if (span) return { span };
  const gap = timeline.gaps.find((g) => g.from <= at && at < g.to);
  return gap && { gap };
}

/** So much is played of a recording that nothing follows. */
const LAST_US = 1_000_000;
/** So much of what lies before a gap is played when somebody goes back over it: with less, playing
 * would be behind the gap again before the next step back. */
const BACK_US = 10_000_000;

/** The nearest time that can be played: `at` itself, else the beginning of the next recording, or,
 * backwards, the end of the one before. Where there is none on that side, the one on the other. */
export function playable(timeline: Timeline, at: number, backwards = false): number | undefined {
  const here = timeline.spans.find((s) => s.to > at);
  if (here && here.from <= at) return at;
  const before = timeline.spans.filter((s) => s.to <= at).at(-1);
  if (!before || (here && !backwards)) return here?.from;
  return Math.max(before.from, before.to - (backwards ? BACK_US : LAST_US));
}

/** Where a wish to see `at` leads; nowhere when nothing is recorded around it. What was said of
 * another window says nothing of `at`: then the recorder itself finds what is next to it. */
export function seekTarget(
  answer: Answer | undefined,
  at: number,
  backwards: boolean,
): number | undefined {
  if (!answer || !contains(answer.window, at)) return at;
  return playable(answer.timeline, at, backwards);
}

/** How far keys move, in microseconds. */
const STEPS_US: Partial<Record<string, number>> = {
  ArrowLeft: -10e6,
  ArrowDown: -10e6,
  ArrowRight: 10e6,
  ArrowUp: 10e6,
  PageDown: -300e6,
  PageUp: 300e6,
};

/** Where a key of the strip leads, and from which side; undefined for a key that is none. */
export function keyTarget(
  key: string,
  value: number,
  view: Stretch,
  now: number,
): { at: number; backwards: boolean } | undefined {
  if (key === 'Home') return { at: view.from, backwards: false };
  // Of what is to come nothing is recorded; the device's clock may be ahead of ours.
  const newest = Math.max(now, value);
  if (key === 'End') return { at: Math.min(view.to, newest), backwards: true };
  const step = STEPS_US[key];
  if (step === undefined) return undefined;
  return { at: Math.min(value + step, newest), backwards: step < 0 };
}
