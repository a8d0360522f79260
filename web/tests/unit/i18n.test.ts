import { describe, expect, it } from 'vitest';
import { LOCAL_KINDS, PROBLEM_KINDS } from '../../src/api/problem';
import { dateTimeRange, weekdayNames } from '../../src/i18n';
import { en } from '../../src/i18n/en';
import { zh } from '../../src/i18n/zh';
import { STAGES } from '../../src/play/stages';

const names = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((m) => m[1]).sort();

describe('dictionaries', () => {
  it('have the same keys, none of them empty, with the same places to fill', () => {
    expect(Object.keys(zh).sort()).toEqual(Object.keys(en).sort());
    for (const [key, text] of Object.entries(en)) {
      const other = zh[key as keyof typeof zh];
      expect(other.trim(), key).not.toBe('');
      expect(names(other), key).toEqual(names(text));
    }
  });

  it('have words for every problem and every stage', () => {
    for (const kind of [...PROBLEM_KINDS, ...LOCAL_KINDS])
      expect(en).toHaveProperty([`problem.${kind}`]);
    for (const stage of STAGES) expect(en).toHaveProperty([`stage.${stage}`]);
  });

  it('are Chinese where they say so', () => {
    const same = Object.keys(en).filter(
      (key) => en[key as keyof typeof en] === zh[key as keyof typeof zh],
    );
    expect(same.sort()).toEqual(
      ['app.name', 'quality.720p', 'quality.cif', 'quality.d1', 'stage.dtls', 'stage.ice'].sort(),
    );
  });
});

describe('times', () => {
  it('of a stretch name the day of its end where that is another', () => {
    const us = (day: number, hour: number) => new Date(2026, 10, day, hour).getTime() * 1_000;
    const days = (from: number, to: number) => dateTimeRange({ from, to }).match(/Nov/g)?.length;
    expect(days(us(12, 8), us(12, 9))).toBe(1);
    expect(days(us(12, 8), us(19, 8))).toBe(2);
  });

  it('of a week begin on Monday', () => {
    expect(weekdayNames()).toEqual(['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun']);
  });
});
