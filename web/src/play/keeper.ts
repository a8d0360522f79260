/** Decides when a session looks for a new way before its old one dies. */

import type { Attempt } from './attempt';
import { Lifetimes, networkKey, renewAfterMs } from './lifetime';

type Gathered = Pick<Attempt, 'nat' | 'gatheredMs'>;

export class PathKeeper {
  /** A death whose network is still to be compared with the one after it. */
  private death: { network: string; ageMs: number } | undefined;
  private cameBack = false;
  private renewals = 0;

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
    return lifetime !== undefined && nowMs - attempt.gatheredMs >= renewAfterMs(lifetime);
  }

  renewing(): void {
    this.renewals += 1;
  }

  /** The way has been silent since `aliveMs`; to be told before a new one is sought. */
  silent(attempt: Gathered, aliveMs: number): void {
    this.cameBack = false;
    this.death = { network: this.network(attempt), ageMs: aliveMs - attempt.gatheredMs };
  }

  /** The machine itself has changed its network: that was no NAT. */
  networkChanged(): void {
    this.death = undefined;
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

  private network(attempt: Gathered): string {
    return networkKey(attempt.nat.publicAddress, this.device);
  }
}
