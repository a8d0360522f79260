/** Texts in the language of choice. Chinese is fetched only when it is used. */

import { signal } from '@preact/signals';
import { ProblemError, toProblem, type Problem } from '../api/problem';
import { en, type Key } from './en';

export type { Key };
export type Language = 'en' | 'zh';
type Dictionary = Record<Key, string>;

const STORED = 'sightline.language';
const dictionary = signal<Dictionary>(en);
export const language = signal<Language>('en');

/** The language kept from before, else the browser's. */
export function preferredLanguage(): Language {
  const kept = localStorage.getItem(STORED);
  if (kept === 'en' || kept === 'zh') return kept;
  return navigator.languages.find((l) => /^(en|zh)/i.test(l))?.startsWith('zh') ? 'zh' : 'en';
}

export async function setLanguage(wanted: Language, keep = true): Promise<void> {
  dictionary.value = wanted === 'zh' ? (await import('./zh')).zh : en;
  language.value = wanted;
  document.documentElement.lang = wanted === 'zh' ? 'zh-Hans' : 'en';
  if (keep) localStorage.setItem(STORED, wanted);
}

/** The text of a key; `{name}` is replaced by the value of that name. */
export function t(key: Key, values?: Record<string, string | number>): string {
  const text = dictionary.value[key];
  if (!values) return text;
  return text.replace(/\{(\w+)\}/g, (whole, name: string) =>
    name in values ? String(values[name]) : whole,
  );
}

/** A problem in words, with what to do about it. */
export function problemText(error: unknown): string {
  const problem: Problem = isProblem(error) ? error : toProblem(error);
  if (error instanceof ProblemError && problem.type === 'rate_limited' && error.retryAfterS) {
    return t('problem.rate_limited_for', { seconds: Math.ceil(error.retryAfterS) });
  }
  return t(`problem.${problem.type}`);
}

function isProblem(value: unknown): value is Problem {
  return (
    typeof value === 'object' && value !== null && 'type' in value && !(value instanceof Error)
  );
}

function locale(): string {
  return language.value === 'zh' ? 'zh-CN' : 'en-GB';
}

/** Date and time of the person's own clock, as finely as asked for. */
export function dateTime(unixMicros: number, fine: 'second' | 'minute' | 'day' = 'second'): string {
  const style: Intl.DateTimeFormatOptions =
    fine === 'day'
      ? { weekday: 'short', day: 'numeric', month: 'short' }
      : { dateStyle: 'medium', timeStyle: fine === 'second' ? 'medium' : 'short' };
  return new Intl.DateTimeFormat(locale(), style).format(unixMicros / 1000);
}

/** A day of the person's own clock, with its year. */
export function dateOf(unixMicros: number): string {
  return new Intl.DateTimeFormat(locale(), { dateStyle: 'medium' }).format(unixMicros / 1000);
}

export function timeOfDay(unixMicros: number, fine: 'second' | 'minute' = 'second'): string {
  const timeStyle = fine === 'second' ? 'medium' : 'short';
  return new Intl.DateTimeFormat(locale(), { timeStyle }).format(unixMicros / 1000);
}

/** A stretch of the person's own clock; its end has a date of its own when that is another day. */
export function dateTimeRange(
  stretch: { from: number; to: number },
  fine: 'second' | 'minute' = 'second',
): string {
  const timeStyle = fine === 'second' ? 'medium' : 'short';
  const format = new Intl.DateTimeFormat(locale(), { dateStyle: 'medium', timeStyle });
  return format.formatRange(stretch.from / 1000, stretch.to / 1000);
}

/** The names of the days of a week, Monday first (ISO 8601). */
export function weekdayNames(): string[] {
  const format = new Intl.DateTimeFormat(locale(), { weekday: 'short' });
  // A week that began on the first of its month.
  return Array.from({ length: 7 }, (_, n) => format.format(new Date(2024, 0, 1 + n)));
}

export function monthName(date: Date): string {
  return new Intl.DateTimeFormat(locale(), { month: 'long', year: 'numeric' }).format(date);
}

/** A number of bytes in words. */
export function byteSize(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let size = bytes;
  let unit = 0;
  for (; size >= 1_000 && unit < units.length - 1; unit += 1) size /= 1_000;
  return `${size.toFixed(size < 10 && unit > 0 ? 1 : 0)} ${units[unit] ?? ''}`;
}

/** Bits per second in words. */
export function bitRate(bps: number): string {
  if (bps >= 1_000_000) return `${(bps / 1_000_000).toFixed(2)} Mbit/s`;
  return `${Math.round(bps / 1000)} kbit/s`;
}
