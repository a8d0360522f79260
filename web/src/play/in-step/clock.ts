/** The time that several cameras show together: it stands, or it runs. */
export class StepClock {
  /** How fast it runs, below zero backwards. */
  scale = 1;
  private fromUs = 0;
  /** Since when it runs, by the page's clock; may lie ahead. */
  private sinceMs: number | undefined;

  get runs(): boolean {
    return this.sinceMs !== undefined;
  }

  /** In microseconds since 1970. */
  atUs(nowMs: number): number {
    if (this.sinceMs === undefined) return this.fromUs;
    return this.fromUs + Math.max(nowMs - this.sinceMs, 0) * 1_000 * this.scale;
  }

  /** Stands at a time. */
  set(atUs: number): void {
    this.fromUs = atUs;
    this.sinceMs = undefined;
  }

  run(sinceMs: number): void {
    this.sinceMs = sinceMs;
  }

  stop(nowMs: number): void {
    this.set(this.atUs(nowMs));
  }
}
