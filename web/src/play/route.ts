/** The way of the media as the panel shows it and the centre is told it. */

import { en } from '../i18n/en';
import type { PathReport } from './messages';
import type { NatReport, OwnNat } from './nat';
import { rungOf, whyNotBetter, type RemoteFacts, type Rung, type Why } from './path';
import type { PathInfo } from './stats';

export interface Route {
  rung: Rung;
  /** For each better rung why it is not that one, best first. */
  why: Why[];
  here: NatReport;
  there: NatReport;
}

export function routeOf(path: PathInfo, own: OwnNat, remote: RemoteFacts): Route {
  const rung = rungOf(path, own, remote);
  const why = whyNotBetter(rung, path, own, remote);
  // The centre is told no more than a `NatReport` has: NAT64 only where it is in the way.
  const here = { ...own };
  delete here.onlyNat64;
  if (own.onlyNat64 === true && remote.hasOnlyIpv4) here.nat64 = true;
  return { rung, why, here, there: { ...remote.nat } };
}

export function isRelayed(rung: Rung): boolean {
  return rung.startsWith('relay_');
}

export function sameRoute(a: Route, b: Route): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** In English: the operator's statistics count equal words together. */
export function toReport({ rung, why }: Route): PathReport {
  return {
    transport: 'webrtc',
    relayed: isRelayed(rung),
    reason: en[`rung.${rung}`],
    rung,
    why_not_better: why.map((reason) => en[`why.${reason}`]),
  };
}
