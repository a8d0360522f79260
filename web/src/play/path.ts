/** Which rung of the connection ladder a pair of candidates stands on, and why on none better. */

import type { IceServer } from '../api/types';
import { isLoopback, isSymmetric, natOfAnswer, type NatReport, type OwnNat } from './nat';
import type { PathInfo } from './stats';

/** `Rung` of crates/model/src/path.rs, best first. */
export const RUNGS = [
  'host',
  'mapped',
  'punched',
  'probed',
  'relay_udp',
  'relay_tcp',
  'relay_tls',
] as const;
export type Rung = (typeof RUNGS)[number];

/** Why a better rung is not the one; each has its words in the dictionary under `why.`. */
export type Why =
  | 'other_network'
  | 'no_mapping'
  | 'mapping_silent'
  | 'both_symmetric'
  | 'here_symmetric'
  | 'there_symmetric'
  | 'here_blocked'
  | 'there_blocked'
  | 'here_nat64'
  | 'no_answer'
  | 'still_trying'
  | 'no_probing'
  | 'relay_no_udp'
  | 'relay_only_tls';

/** What the device said of its candidates, beyond what the browser keeps of them. */
export class RemoteFacts {
  nat: NatReport = {};
  /** Whether a server sees the device under another address than its own. */
  translated = false;
  /** How long its router had mapped its address when it answered; absent where it does not know. */
  mappedForMs: number | undefined;
  /** Families of the addresses at which the Internet may reach the device without a relay. */
  private readonly families = new Set<4 | 6>();
  private readonly mapped = new Set<string>();
  private readonly relays = new Map<string, string>();

  /** A `candidate:` line of the device; `sl-kind` and `sl-via` are extensions (RFC 8839 5.1). */
  note(line: string): void {
    const words = line.trim().replace(/^a=/, '').split(/\s+/);
    const host = words[4] ?? '';
    const address = endpoint(host, words[5]);
    const value = (name: string) => words[words.indexOf(name, 6) + 1] ?? '';
    if (!address || !words.includes('typ')) return;
    if (value('typ') !== 'relay') this.noteFamily(host);
    if (words.includes('sl-kind') && value('sl-kind') === 'mapped') this.mapped.add(address);
    else if (value('typ') === 'srflx') this.translated = true;
    else if (value('typ') === 'relay') {
      if (words.includes('sl-via')) this.relays.set(address, value('sl-via'));
    }
  }

  /** All candidate lines of an answer. */
  noteAnswer(sdp: string): void {
    this.nat = natOfAnswer(sdp);
    const mappedFor = /^a=x-mapped-for:(\d{1,12})\s*$/m.exec(sdp)?.[1];
    this.mappedForMs = mappedFor === undefined ? undefined : Number(mappedFor);
    for (const line of sdp.split(/\r?\n/)) if (line.startsWith('a=candidate:')) this.note(line);
  }

  isMapped(address: string | undefined): boolean {
    return address !== undefined && this.mapped.has(address);
  }

  get hasMapped(): boolean {
    return this.mapped.size > 0;
  }

  get hasOnlyIpv4(): boolean {
    return this.families.has(4) && !this.families.has(6);
  }

  /** Over what the device reaches its own relay. */
  relayProtocol(address: string | undefined): string {
    return (address !== undefined && this.relays.get(address)) || 'udp';
  }

  /** Of IPv6, only global unicast addresses count (RFC 4291 section 2.4: 2000::/3 so far). */
  private noteFamily(host: string): void {
    if (/^\d+(\.\d+){3}$/.test(host)) this.families.add(4);
    else if (/^[23][0-9a-f]{3}:/i.test(host)) this.families.add(6);
  }
}

/** The same servers for finding our own address, without places at relays. */
export function withoutRelays(servers: readonly IceServer[]): IceServer[] {
  const direct = (server: IceServer) => server.urls.filter((url) => url.startsWith('stun:'));
  const telling = servers
    .map((server) => ({ ...server, urls: direct(server) }))
    .filter(({ urls }) => urls.length > 0);
  // Relays tell it, too, where nothing else does.
  return telling.length > 0 ? telling : [...servers];
}

/** Whether an answer says that it belongs to another offer than this one. */
export function answersAnother(answer: string, offer: string): boolean {
  const named = /^a=x-offer:(.*)$/m.exec(answer)?.[1]?.trim();
  const own = /^a=ice-ufrag:(.*)$/m.exec(offer)?.[1]?.trim();
  return named !== undefined && own !== undefined && named !== own;
}

function endpoint(address: string | undefined, port: string | undefined): string | undefined {
  return address && port ? `${address}:${port}` : undefined;
}

function relayRung(protocol: string): Rung {
  if (protocol === 'tls') return 'relay_tls';
  return protocol === 'tcp' ? 'relay_tcp' : 'relay_udp';
}

export function rungOf(path: PathInfo, here: NatReport, facts: RemoteFacts): Rung {
  if (path.relayed) {
    const legs: Rung[] = [];
    if (path.local === 'relay') legs.push(relayRung(path.relayProtocol ?? 'udp'));
    if (path.remote === 'relay') legs.push(relayRung(facts.relayProtocol(path.remoteAddress)));
    return legs.sort((a, b) => RUNGS.indexOf(b) - RUNGS.indexOf(a))[0] ?? 'relay_udp';
  }
  if (facts.isMapped(path.remoteAddress)) return 'mapped';
  return throughNat(path, here, facts) ? 'punched' : 'host';
}

/**
 * A server-reflexive candidate proves a NAT. So does a peer-reflexive one here, unless it is known
 * that there is none: a browser knows the addresses of its own sockets, and the device saw another
 * (RFC 8445 section 7.2.5.3.1). One of the device may also be an address of the same network that
 * it had not told yet; it counts where a NAT is known there. What goes to this very machine leaves
 * it through no NAT: the browser's socket is then seen under the loopback address.
 */
function throughNat(path: PathInfo, here: NatReport, facts: RemoteFacts): boolean {
  const { local, remote } = path;
  if (path.remoteAddress !== undefined && isLoopback(path.remoteAddress)) return false;
  if (local === 'srflx' || remote === 'srflx') return true;
  return (
    (local === 'prflx' && here.translated !== false) || (remote === 'prflx' && facts.translated)
  );
}

/** For each better rung why it is not the one, best rung first, nothing twice. */
export function whyNotBetter(rung: Rung, path: PathInfo, here: OwnNat, facts: RemoteFacts): Why[] {
  const at = RUNGS.indexOf(rung);
  const why: Why[] = [];
  // Then no mapped port was tried either.
  const untried = here.onlyNat64 === true && facts.hasOnlyIpv4;
  if (at > RUNGS.indexOf('host')) why.push('other_network');
  if (at > RUNGS.indexOf('mapped') && !facts.hasMapped) why.push('no_mapping');
  else if (at > RUNGS.indexOf('mapped') && !untried) why.push('mapping_silent');
  if (at > RUNGS.indexOf('punched')) why.push(whyNotPunched(path, here, facts));
  if (at > RUNGS.indexOf('probed') && (isSymmetric(here) || isSymmetric(facts.nat)))
    why.push('no_probing');
  if (rung === 'relay_tcp') why.push('relay_no_udp');
  if (rung === 'relay_tls') why.push('relay_only_tls');
  return why;
}

function whyNotPunched(path: PathInfo, here: OwnNat, facts: RemoteFacts): Why {
  const there = facts.nat;
  if (here.udp === false) return 'here_blocked';
  if (there.udp === false) return 'there_blocked';
  // A browser pairs addresses of one family only (RFC 8445 section 6.1.2.2), and makes no IPv6
  // addresses out of IPv4 ones (RFC 6052).
  if (here.onlyNat64 === true && facts.hasOnlyIpv4) return 'here_nat64';
  if (isSymmetric(here) && isSymmetric(there)) return 'both_symmetric';
  if (isSymmetric(here)) return 'here_symmetric';
  if (isSymmetric(there)) return 'there_symmetric';
  return path.directFailed < path.directPairs ? 'still_trying' : 'no_answer';
}
