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

export function dateTime(unixMicros: number): string {
  return new Intl.DateTimeFormat(language.value === 'zh' ? 'zh-CN' : 'en-GB', {
    dateStyle: 'medium',
    timeStyle: 'medium',
  }).format(unixMicros / 1000);
}

/** Bits per second in words. */
export function bitRate(bps: number): string {
  if (bps >= 1_000_000) return `${(bps / 1_000_000).toFixed(2)} Mbit/s`;
  return `${Math.round(bps / 1000)} kbit/s`;
}
