/** Decides when a session looks for a new way before its old one dies. */

import type { Attempt } from './attempt';
import { Lifetimes, networkKey, renewAfterMs } from './lifetime';

type Gathered = Pick<Attempt, 'nat' | 'gatheredMs'> & Partial<Pick<Attempt, 'mappedThereMs'>>;

/** How long a new way may take to carry the picture; after that another is sought, ever less often. */
const RENEWAL_MS = 2_000;
const MOST_DOUBLINGS = 5;
/**
 * A NAT that has kept a mapping for so long is none of those that end them early: RFC 4787 (REQ-5)
 * allows no NAT to end one sooner. The age that a device tells may be that of its program.
 */
const LASTING_MS = 2 * 60_000;

export class PathKeeper {
  /** A death whose network is still to be compared with the one after it. */
  private death: { network: string; ageMs: number } | undefined;
  private cameBack = false;
  private renewals = 0;
  /** The pair of candidates that carries the picture. */
  private pair: string | undefined;
  /** A renewal that has not shown another pair yet: the old way still counts. */
  private renewal: { pair: string; bornMs: number; atMs: number; tries: number } | undefined;

  constructor(
    private readonly device: string,
    private readonly lifetimes = new Lifetimes(),
  ) {}

  /** How long mappings live here, if that has been learned. */
  lifetimeMs(attempt: Gathered): number | undefined {
    return this.lifetimes.get(this.network(attempt));
  }

  /** New ways that were sought before the old one died. */
  get renewed(): number {
    return this.renewals;
  }

  /** Whether it is time for a new way, while the old one still works. */
  isDue(attempt: Gathered, nowMs: number): boolean {
    const lifetime = this.lifetimeMs(attempt);
    if (lifetime === undefined || nowMs < this.nextTryMs()) return false;
    const age = nowMs - this.bornMs(attempt);
    // A mapping that has outlived the others is none of those that die.
    const judged = age < lifetime ? age : nowMs - attempt.gatheredMs;
    return judged >= renewAfterMs(lifetime);
  }

  /** A new way is sought while the old one works; to be told before. */
  renewing(attempt: Gathered, nowMs: number): void {
    this.renewals += 1;
    const { pair } = this;
    // A browser that does not tell the pair is trusted to have found another.
    if (pair === undefined) return;
    const tries = (this.renewal?.tries ?? 0) + 1;
    this.renewal = { pair, bornMs: this.bornMs(attempt), atMs: nowMs, tries };
  }

  /** Which pair carries the picture now. */
  carried(pair: string): void {
    this.pair = pair;
    if (this.renewal && this.renewal.pair !== pair) this.renewal = undefined;
  }

  /** The way has been silent since `aliveMs`; to be told before a new one is sought. */
  silent(attempt: Gathered, aliveMs: number): void {
    this.cameBack = false;
    this.death = { network: this.network(attempt), ageMs: aliveMs - this.bornMs(attempt) };
    this.renewal = undefined;
  }

  /** The machine itself has changed its network: that was no NAT. */
  networkChanged(): void {
    this.death = undefined;
    this.renewal = undefined;
  }

  recovered(): void {
    this.cameBack = true;
  }

  /** Learns, once it is known that the network is the same as before. */
  settle(attempt: Gathered): void {
    const { death } = this;
    if (!death || !this.cameBack) return;
    if (attempt.nat.publicAddress === undefined && !attempt.nat.isComplete) return;
    this.death = undefined;
    const network = this.network(attempt);
    if (network === death.network) this.lifetimes.died(network, death.ageMs);
  }

  private nextTryMs(): number {
    if (!this.renewal) return 0;
    const { atMs, tries } = this.renewal;
    return atMs + RENEWAL_MS * 2 ** Math.min(tries - 1, MOST_DOUBLINGS);
  }

  /**
   * Since when the older of both ends' mappings exists, as far as it is known. One of the device's
   * that had outlived the others when ours was made does not count: ours will be the first to die.
   */
  private bornMs(attempt: Gathered): number {
    if (this.renewal) return this.renewal.bornMs;
    const { gatheredMs, mappedThereMs } = attempt;
    const lasting = this.lifetimeMs(attempt) ?? LASTING_MS;
    if (mappedThereMs === undefined || gatheredMs - mappedThereMs >= lasting) return gatheredMs;
    return Math.min(gatheredMs, mappedThereMs);
  }

  private network(attempt: Gathered): string {
    return networkKey(attempt.nat.publicAddress, this.device);
  }
}
