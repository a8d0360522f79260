/**
 * Some carriers' NATs forget a mapping after a fixed time, however much it is used. The page learns
 * that time from the first death and then looks for a new way shortly before the next one.
 */

const STORED = 'sightline.mapping_lifetimes';
/** Shorter than any NAT that could carry video, longer than anything worth avoiding. */
const LEAST_MS = 5_000;
const MOST_MS = 20 * 60_000;
const KEPT_MS = 24 * 3_600_000;
const NETWORKS = 16;

interface Entry {
  lifetimeMs: number;
  learnedAt: number;
  /** An early death that was put down to chance; the next one is believed. */
  doubted?: boolean;
}

/** Names a network pair without writing anybody's address down. */
export function networkKey(publicAddress: string | undefined, device: string): string {
  let hash = 0x811c9dc5;
  for (const char of `${publicAddress ?? 'unknown'}|${device}`) {
    hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 0x01000193);
  }
  return (hash >>> 0).toString(16);
}

export class Lifetimes {
  constructor(
    private readonly storage: Pick<Storage, 'getItem' | 'setItem'> = localStorage,
    private readonly now: () => number = Date.now,
  ) {}

  get(network: string): number | undefined {
    const entry = this.read()[network];
    return entry && this.now() - entry.learnedAt < KEPT_MS ? entry.lifetimeMs : undefined;
  }

  /** A mapping of this age has died. One that is much earlier than known is believed if repeated. */
  died(network: string, ageMs: number): void {
    if (ageMs < LEAST_MS || ageMs > MOST_MS) return;
    const all = this.read();
    const known = this.get(network);
    const doubtful = known !== undefined && ageMs < known * 0.6 && !all[network]?.doubted;
    all[network] = doubtful
      ? { lifetimeMs: known, learnedAt: this.now(), doubted: true }
      : { lifetimeMs: Math.round(Math.min(known ?? ageMs, ageMs)), learnedAt: this.now() };
    const newest = Object.entries(all).sort((a, b) => b[1].learnedAt - a[1].learnedAt);
    this.storage.setItem(STORED, JSON.stringify(Object.fromEntries(newest.slice(0, NETWORKS))));
  }

  private read(): Record<string, Entry> {
    try {
      const all: unknown = JSON.parse(this.storage.getItem(STORED) ?? '{}');
      return typeof all === 'object' && all !== null ? (all as Record<string, Entry>) : {};
    } catch {
      return {};
    }
  }
}

/** At what age of a mapping a new one is made: a try that fails leaves time for another. */
export function renewAfterMs(lifetimeMs: number): number {
  const margin = Math.min(Math.max(lifetimeMs * 0.15, 6_500), 15_000);
  return Math.max(lifetimeMs - margin, lifetimeMs / 2);
}
