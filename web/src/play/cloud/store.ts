/** Segments from the portal's cloud storage. */

import { api } from '../../api/client';
import { problemError } from '../../api/problem';
import { pause } from '../../api/events';
import type { CloudSegment, StreamTier } from '../../api/types';
import type { CloudStore } from './shelf';

/** Longest wait for one segment. */
const PATIENCE_MS = 30_000;

export function cloudStore(camera: string): CloudStore {
  return {
    list: (...span) => list(camera, ...span),
    fetch: fetchSegment,
    nowMs: () => performance.now(),
    sleep: (ms, signal) => pause(ms, signal),
  };
}

async function list(
  camera: string,
  fromUs: number,
  toUs: number,
  tier: StreamTier,
  some: boolean,
): Promise<CloudSegment[]> {
  const found: CloudSegment[] = [];
  let after: string | undefined;
  do {
    const page = await api.cloudSegments(camera, fromUs, toUs, tier, after);
    found.push(...page.segments);
    after = page.next ?? undefined;
  } while (after !== undefined && !some);
  return found;
}

/** The address is leave enough: the store must not be shown who we are. */
async function fetchSegment({ url }: CloudSegment, most?: number): Promise<ArrayBuffer> {
  const response = await fetch(url, {
    headers: most === undefined ? {} : { range: `bytes=0-${most - 1}` },
    credentials: 'omit',
    referrerPolicy: 'no-referrer',
    signal: AbortSignal.timeout(PATIENCE_MS),
  }).catch((error: unknown) => {
    throw problemError('network', error instanceof Error ? error.message : '');
  });
  if (!response.ok) throw problemError('storage_away', '');
  return response.arrayBuffer();
}
