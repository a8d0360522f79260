/** Refusals (RFC 9457, crates/protocol/src/problem.rs) and the faults of the way to the centre. */

import type { CentreProblemKind } from './types';

export const PROBLEM_KINDS = [
  'invalid_request',
  'unauthenticated',
  'forbidden',
  'not_found',
  'not_approved',
  'wrong_code',
  'wrong_claim_code',
  'already_bound',
  'rate_limited',
  'wrong_key',
  'unknown_device',
  'stale_lease',
  'invalid_token',
  'token_expired',
  'token_in_use',
  'token_revoked',
  'device_offline',
  'camera_offline',
  'storage_away',
  'not_decodable',
  'busy',
  'timeout',
  'plan_changed',
  'internal',
] as const satisfies readonly CentreProblemKind[];

/** What only this page can find out. */
export const LOCAL_KINDS = [
  'network', // the centre cannot be reached
  'signalling', // the WebSocket broke
  'no_path', // ICE found no way to the camera
  'security', // the camera's identity is not what was pinned
  'unsupported', // the browser lacks something
  'no_decoder', // the browser shows live pictures, but no recordings
] as const;

export type ProblemKind = CentreProblemKind | (typeof LOCAL_KINDS)[number];

export interface Problem {
  type: ProblemKind;
  detail: string;
}

/** A refusal as an exception. */
export class ProblemError extends Error {
  constructor(
    readonly problem: Problem,
    readonly retryAfterS?: number,
  ) {
    super(problem.detail);
    this.name = 'ProblemError';
  }
}

export function problemError(type: ProblemKind, detail: string): ProblemError {
  return new ProblemError({ type, detail });
}

/** Reads a problem from untrusted JSON; an unknown type counts as our own fault. */
export function parseProblem(value: unknown, fallback: ProblemKind = 'internal'): Problem {
  const raw = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  const word = typeof raw['type'] === 'string' ? raw['type'].split(/[/#:]/).pop() : undefined;
  const kind = PROBLEM_KINDS.find((k) => k === word) ?? fallback;
  const detail = typeof raw['detail'] === 'string' ? raw['detail'] : '';
  return { type: kind, detail };
}

/** Any exception as a problem. */
export function toProblem(error: unknown): Problem {
  if (error instanceof ProblemError) return error.problem;
  return { type: 'internal', detail: error instanceof Error ? error.message : String(error) };
}

/** Refusals that trying again cannot mend. */
export function isFinal(kind: ProblemKind): boolean {
  return FINAL.has(kind);
}

const FINAL = new Set<ProblemKind>([
  'security',
  'forbidden',
  'not_found',
  'not_approved',
  'not_decodable',
  'token_revoked',
  'unsupported',
  'wrong_key',
]);
