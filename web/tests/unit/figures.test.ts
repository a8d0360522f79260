import { describe, expect, it } from 'vitest';
import type { MtuRow, UsageRow } from '../../src/api/types';
import { en } from '../../src/i18n/en';
import { RUNGS } from '../../src/play/path';
import {
  byteCount,
  directShare,
  firstFrame,
  percent,
  relays,
  RELAY_CAUSES,
  usageByUser,
} from '../../src/ui/figures';

const usage = (user: string | null, bytes: number, to: number): UsageRow => ({
  user,
  session: `s${to}`,
  mtus: 1,
  bytes,
  packets: bytes / 1000,
  allocated_s: 60,
  from: to - 60_000_000,
  to,
});

describe("the operator's figures", () => {
  it('count every relay as no direct way', () => {
    const rungs = [
      { rung: 'punched', sessions: 6 },
      { rung: 'relay_udp', sessions: 1 },
      { rung: 'relay_tls', sessions: 1 },
    ] as const;
    expect(directShare({ rungs: [...rungs] })).toBe(0.75);
    expect(directShare({ rungs: [] })).toBeUndefined();
    expect(percent(0.75)).toBe('75 %');
  });

  it('take the first frame from the total', () => {
    const stages = [
      { stage: 'play', p50_ms: 20, p95_ms: 40 },
      { stage: 'total', p50_ms: 180, p95_ms: 256 },
    ];
    expect(firstFrame({ stages })).toEqual({ stage: 'total', p50_ms: 180, p95_ms: 256 });
    expect(firstFrame({ stages: [] })).toBeUndefined();
  });

  it('add up usage by user, with those that nobody is known for by themselves', () => {
    const rows = [usage('a', 10, 5), usage('b', 100, 7), usage('a', 20, 3), usage(null, 1, 9)];
    expect(usageByUser(rows)).toEqual([
      { user: 'b', sessions: 1, bytes: 100, allocatedS: 60, last: 7 },
      { user: 'a', sessions: 2, bytes: 30, allocatedS: 120, last: 5 },
      { user: undefined, sessions: 1, bytes: 1, allocatedS: 60, last: 9 },
    ]);
    expect(usageByUser([])).toEqual([]);
  });

  it('show relays that run before those that have only relayed', () => {
    const running: MtuRow = {
      mtu: 'b',
      load: 0,
      accepting: true,
      draining: false,
      relayed_bps: 0,
      allocations: 0,
      heard_at: 1,
    };
    const shares = [
      { mtu: 'a', bytes: 9 },
      { mtu: 'b', bytes: 5 },
    ];
    expect(relays([running], shares)).toEqual([
      { mtu: 'b', now: running, bytes: 5 },
      { mtu: 'a', now: undefined, bytes: 9 },
    ]);
    expect(relays([running])).toEqual([{ mtu: 'b', now: running, bytes: undefined }]);
    expect(relays([running], [])).toEqual([{ mtu: 'b', now: running, bytes: 0 }]);
  });

  it('say bytes in three digits', () => {
    const words = [0, 999, 1000, 12_345, 999_499, 999_500, 120_000_000, 5e15].map(byteCount);
    expect(words).toEqual([
      '0 B',
      '999 B',
      '1.0 kB',
      '12.3 kB',
      '999 kB',
      '1.0 MB',
      '120 MB',
      '5000 TB',
    ]);
  });

  it('have words for every rung and every cause', () => {
    for (const rung of RUNGS) expect(en).toHaveProperty([`rung_short.${rung}`]);
    for (const cause of RELAY_CAUSES) expect(en).toHaveProperty([`cause.${cause}`]);
  });
});
