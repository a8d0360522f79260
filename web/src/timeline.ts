/** What a stretch of a recording's timeline looks like on the screen; no browser needed. */

import type {
  EventKind,
  EventMark,
  RecordingPlace,
  RecordingSource,
  Timeline,
  TimelineGap,
  TimelineSpan,
} from './api/types';

/** A stretch of time, in microseconds since 1970; the end is not included. */
export interface Stretch {
  from: number;
  to: number;
}

/** Why there is nothing to see at a time. */
export type Absence = TimelineGap['reason'];

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

/** Events at a time, no farther from it than `slack`; the latest begun first. */
export function eventsAt(timeline: Timeline, at: number, slack: number): EventMark[] {
  const isThere = ({ from, to }: EventMark) => from - slack <= at && at <= to + slack;
  return timeline.events.filter(isThere).reverse();
}

/** How often what has happened in a stretch of time, as far as it is marked. */
export function countEvents(timeline: Timeline, window: Stretch): Map<EventKind, number> {
  const counts = new Map<EventKind, number>();
  for (const { from, to, kind, count } of timeline.events) {
    // An event may have no length.
    if (from >= window.to || to < window.from) continue;
    counts.set(kind, (counts.get(kind) ?? 0) + count);
  }
  return counts;
}

/** Numbers of the sources that have a span, the best first. */
function sourcesOf(span: TimelineSpan): number[] {
  return [span.source, ...(span.others ?? [])];
}

/** Who has what was recorded at a time, the best first. */
export function sourcesAt(timeline: Timeline, at: number): RecordingSource[] {
  const found = lookUp(timeline, at);
  if (!found || !('span' in found)) return [];
  return sourcesOf(found.span).flatMap((number) => timeline.sources[number] ?? []);
}

/** Who plays what was recorded at a time, of those that have it the best. */
export function recorderAt(timeline: Timeline, at: number): string | undefined {
  return sourcesAt(timeline, at).find(({ place }) => answers(place))?.recorder;
}

/** From where a small picture of a time is fetched: where the small encoding is, and better from who answers viewers
 * than from the cloud storage, which costs traffic. Of equals `last` goes on: another one costs a connection.
 * `smallOnly`: the small encoding, or none. */
export function peekSource(
  timeline: Timeline,
  at: number,
  last: RecordingSource | undefined,
  smallOnly: boolean,
): RecordingSource | undefined {
  const cost = ({ place, recorder, tier }: RecordingSource) =>
    (tier === 'sub' ? 0 : 4) +
    (answers(place) ? 0 : 2) +
    (place === last?.place && recorder === last.recorder ? 0 : 1);
  return sourcesAt(timeline, at)
    .filter(({ tier }) => tier === 'sub' || !smallOnly)
    .sort((a, b) => cost(a) - cost(b))[0];
}

/** Where recordings go on after a time (`backwards`: end before it); undefined: nowhere that is known. */
export function nextRecorded(
  timeline: Timeline,
  at: number,
  backwards: boolean,
): number | undefined {
  return backwards
    ? timeline.spans.findLast((span) => span.to <= at)?.to
    : timeline.spans.find((span) => span.from > at)?.from;
}

/** Whether who has recorded there also answers viewers. */
function answers(place: RecordingPlace): boolean {
  return place === 'pu' || place === 'nvr';
}

/** Where recordings of a stretch of time lie. */
export function placesIn(timeline: Timeline, window: Stretch): RecordingPlace[] {
  const numbers = timeline.spans.filter((span) => overlaps(span, window)).flatMap(sourcesOf);
  const found = new Set(numbers.map((number) => timeline.sources[number]?.place));
  return (['pu', 'nvr', 'cs'] as const).filter((place) => found.has(place));
}

/** Where another recorder goes on: what `playing`, the cloud storage when it is undefined, has left out
 * between two times that it has shown one after the other, if another has at least `leastUs` of it. */
export function handover(
  timeline: Timeline,
  playing: string | undefined,
  left: Stretch,
  leastUs: number,
): { at: number; recorder: string } | undefined {
  for (const span of timeline.spans) {
    const from = Math.max(span.from, left.from);
    if (Math.min(span.to, left.to) - from < leastUs) continue;
    const having = sourcesOf(span).flatMap((number) => timeline.sources[number] ?? []);
    const plays = ({ place, recorder }: RecordingSource) =>
      playing === undefined ? place === 'cs' : answers(place) && recorder === playing;
    const other = having.some(plays) ? undefined : having.find(({ place }) => answers(place));
    if (other) return { at: from, recorder: other.recorder };
  }
  return undefined;
}

/** From where a time is best played; undefined when nothing is known of it. The cloud storage comes behind
 * all who answer viewers: it costs traffic. */
export function placeAt(timeline: Timeline, at: number): RecordingPlace | undefined {
  const having = sourcesAt(timeline, at);
  return (having.find(({ place }) => answers(place)) ?? having[0])?.place;
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
