/** Figures of the operator's page, from what the centre tells. */

import type {
  MtuRow,
  MtuShare,
  NetworkRow,
  RelayCause,
  Rung,
  StageFigures,
  UsageRow,
} from '../api/types';

const RELAYED: readonly Rung[] = ['relay_udp', 'relay_tcp', 'relay_tls'];

/** The part of a network's sessions that no relay carries, 0 to 1; `undefined` without sessions. */
export function directShare({ rungs }: Pick<NetworkRow, 'rungs'>): number | undefined {
  const sum = (rows: NetworkRow['rungs']) => rows.reduce((n, row) => n + row.sessions, 0);
  const all = sum(rungs);
  return all === 0 ? undefined : sum(rungs.filter((row) => !RELAYED.includes(row.rung))) / all;
}

/** From the click to the first frame. */
export function firstFrame({ stages }: Pick<NetworkRow, 'stages'>): StageFigures | undefined {
  return stages.find(({ stage }) => stage === 'total');
}

/** A relay that runs, or one that has relayed before. */
export interface Relay {
  mtu: string;
  now: MtuRow | undefined;
  /** `undefined` as long as it is not known. */
  bytes: number | undefined;
}

/** Those that run, then those that have relayed and are not heard of now. */
export function relays(running: readonly MtuRow[], shares?: readonly MtuShare[]): Relay[] {
  if (!shares) return running.map((now) => ({ mtu: now.mtu, now, bytes: undefined }));
  const bytes = new Map(shares.map((share) => [share.mtu, share.bytes]));
  const known = new Set(running.map(({ mtu }) => mtu));
  return [
    ...running.map((now) => ({ mtu: now.mtu, now, bytes: bytes.get(now.mtu) ?? 0 })),
    ...shares.filter(({ mtu }) => !known.has(mtu)).map((gone) => ({ ...gone, now: undefined })),
  ];
}

/** What one user had relayed. */
export interface UserUsage {
  /** `undefined`: sessions of which it was not known whose they are. */
  user: string | undefined;
  sessions: number;
  bytes: number;
  allocatedS: number;
  /** Until when the last of them counts, microseconds since 1970. */
  last: number;
}

/** By user, those with the most bytes first. */
export function usageByUser(rows: readonly UsageRow[]): UserUsage[] {
  const users = new Map<string | undefined, UserUsage>();
  for (const { user: of, bytes, allocated_s, to } of rows) {
    const user = of ?? undefined;
    const before = users.get(user) ?? { user, sessions: 0, bytes: 0, allocatedS: 0, last: 0 };
    users.set(user, {
      user,
      sessions: before.sessions + 1,
      bytes: before.bytes + bytes,
      allocatedS: before.allocatedS + allocated_s,
      last: Math.max(before.last, to),
    });
  }
  return [...users.values()].sort((a, b) => b.bytes - a.bytes);
}

/** Bytes in words, in powers of ten. */
export function byteCount(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let at = 0;
  let value = bytes;
  while (value >= 999.5 && at < units.length - 1) {
    value /= 1000;
    at += 1;
  }
  const digits = at === 0 || value >= 99.5 ? 0 : 1;
  return `${value.toFixed(digits)} ${units[at]}`;
}

/** Share in words. */
export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

export const RELAY_CAUSES: readonly RelayCause[] = [
  'viewer_udp_blocked',
  'pu_udp_blocked',
  'both_symmetric',
  'viewer_symmetric',
  'pu_symmetric',
  'viewer_nat64',
  'no_answer',
  'unknown',
];
