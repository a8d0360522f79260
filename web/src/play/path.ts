/** Which rung of the connection ladder a pair of candidates stands on, and why on none better. */

import type { IceServer } from '../api/types';
import { isSymmetric, natOfAnswer, type NatReport } from './nat';
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
  private readonly mapped = new Set<string>();
  private readonly relays = new Map<string, string>();

  /** A `candidate:` line of the device; `sl-kind` and `sl-via` are extensions (RFC 8839 5.1). */
  note(line: string): void {
    const words = line.trim().replace(/^a=/, '').split(/\s+/);
    const address = endpoint(words[4], words[5]);
    const value = (name: string) => words[words.indexOf(name, 6) + 1] ?? '';
    if (!address || !words.includes('typ')) return;
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

  /** Over what the device reaches its own relay. */
  relayProtocol(address: string | undefined): string {
    return (address !== undefined && this.relays.get(address)) || 'udp';
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
 * A server-reflexive candidate proves a NAT. A peer-reflexive one may also be an address of the
 * same network that nobody had told yet; it counts where a NAT is known on its side.
 */
function throughNat({ local, remote }: PathInfo, here: NatReport, facts: RemoteFacts): boolean {
  if (local === 'srflx' || remote === 'srflx') return true;
  return (
    (local === 'prflx' && here.translated === true) || (remote === 'prflx' && facts.translated)
  );
}

/** For each better rung why it is not the one, best rung first, nothing twice. */
export function whyNotBetter(
  rung: Rung,
  path: PathInfo,
  here: NatReport,
  facts: RemoteFacts,
): Why[] {
  const at = RUNGS.indexOf(rung);
  const why: Why[] = [];
  if (at > RUNGS.indexOf('host')) why.push('other_network');
  if (at > RUNGS.indexOf('mapped')) why.push(facts.hasMapped ? 'mapping_silent' : 'no_mapping');
  if (at > RUNGS.indexOf('punched')) why.push(whyNotPunched(path, here, facts.nat));
  if (at > RUNGS.indexOf('probed') && (isSymmetric(here) || isSymmetric(facts.nat)))
    why.push('no_probing');
  if (rung === 'relay_tcp') why.push('relay_no_udp');
  if (rung === 'relay_tls') why.push('relay_only_tls');
  return why;
}

function whyNotPunched(path: PathInfo, here: NatReport, there: NatReport): Why {
  if (here.udp === false) return 'here_blocked';
  if (there.udp === false) return 'there_blocked';
  if (isSymmetric(here) && isSymmetric(there)) return 'both_symmetric';
  if (isSymmetric(here)) return 'here_symmetric';
  if (isSymmetric(there)) return 'there_symmetric';
  return path.directFailed < path.directPairs ? 'still_trying' : 'no_answer';
}
