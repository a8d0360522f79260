/**
 * What a browser can tell of the NAT in front of it: only what its own candidates show. Two servers
 * that see two ports of one address stand before a symmetric NAT (RFC 4787 section 4.1).
 */

export type NatDependence =
  'endpoint_independent' | 'address_dependent' | 'address_and_port_dependent';

/** `NatReport` of crates/model/src/path.rs; what is absent is unknown. */
export interface NatReport {
  udp?: boolean;
  translated?: boolean;
  mapping?: NatDependence;
  filtering?: NatDependence;
  mapping_lifetime_ms?: number;
  /** Whether it is NAT64 that keeps this page from the camera, which has IPv4 alone. */
  nat64?: boolean;
}

/** What the candidates here show beyond what the centre is told. */
export interface OwnNat extends NatReport {
  /** Whether IPv4 is reached through NAT64 only (RFC 6146), for all that is known. */
  onlyNat64?: boolean;
}

/** The part of an `RTCIceCandidate` that matters here. */
export interface LocalCandidate {
  type: string | null;
  protocol: string | null;
  address: string | null;
  port: number | null;
  relatedAddress: string | null;
  relatedPort: number | null;
  relayProtocol?: string | null;
  url?: string | null;
  usernameFragment?: string | null;
}

interface Seen {
  address: string;
  port: number;
}

/** Collects the candidates of one gathering. */
export class NatProbe {
  private readonly seen: Seen[] = [];
  /** Destinations that told how they see us, as far as the browser names them. */
  private readonly tellers = new Set<string>();
  private readonly relays = new Set<string>();
  /**
   * Whether a socket with IPv6 is seen under an IPv4 address; whether one with IPv4 exists; whether
   * one is seen under an IPv4 address that may be either.
   */
  private readonly own = { nat64: false, ipv4: false, either: false };
  /** Whether sockets here were paired with addresses of a device that has IPv4 alone. */
  private pairsIpv4: boolean | undefined;
  /** Of the user name with which the candidates are (RFC 8445 section 5.3). */
  private fragment: string | undefined;
  private complete = false;

  /** `urls` are those that the browser was given. */
  constructor(private readonly urls: readonly string[] = []) {}

  note(candidate: LocalCandidate): void {
    this.fragment ??= candidate.usernameFragment ?? undefined;
    if (candidate.type === 'host') {
      this.own.ipv4 ||= isIpv4(candidate.address);
    } else if (candidate.type === 'srflx' && candidate.protocol === 'udp') {
      this.sawThrough(candidate);
      this.saw(candidate.address, candidate.port, candidate.url);
    } else if (candidate.type === 'relay') {
      const over = candidate.relayProtocol ?? '';
      this.relays.add(over);
      // The related address of a relayed candidate is ours as the relay sees it (RFC 8839 5.1).
      if (over === 'udp') this.saw(candidate.relatedAddress, candidate.relatedPort, candidate.url);
    }
  }

  /** The pairs of a socket here with an IPv4 address there, relays aside, by our user name. */
  noteIpv4Pairs(fragments: readonly string[]): void {
    // Those of an earlier gathering were perhaps of another network.
    const own = fragments.filter((fragment) => !fragment || fragment === this.fragment);
    // Those that failed go after a while.
    if (own.length > 0) this.pairsIpv4 = true;
    else this.pairsIpv4 ??= false;
  }

  /** The browser has no further candidates. */
  end(): void {
    this.complete = true;
  }

  get isComplete(): boolean {
    return this.complete;
  }

  /** Our address as it is seen from outside, if it is. */
  get publicAddress(): string | undefined {
    return this.seen[0]?.address;
  }

  report(): OwnNat {
    const report: OwnNat = {};
    const throughUdp = this.seen.length > 0 || this.relays.has('udp');
    const offeredUdp = this.urls.some((url) => url.startsWith('turn:') && !url.includes('=tcp'));
    if (throughUdp) report.udp = true;
    else if (this.complete && offeredUdp && this.relays.size > 0) report.udp = false;
    const mapping = this.mapping();
    if (mapping) report.mapping = mapping;
    if (mapping || this.seen.some(({ address }) => !isPrivate(address))) report.translated = true;
    if (this.hasOnlyNat64()) report.onlyNat64 = true;
    return report;
  }

  /** Pairs are of one family (RFC 8445 section 6.1.2.2): a browser with IPv4 would have some. */
  private hasOnlyNat64(): boolean {
    const { nat64, ipv4, either } = this.own;
    if (ipv4) return false;
    return either ? this.pairsIpv4 === false : nat64;
  }

  /**
   * Browsers hide the base of a candidate. Where they do, `::` is one of IPv6; `0.0.0.0` is one of
   * IPv4, or any whose outside is: libwebrtc goes by the candidate's own address.
   */
  private sawThrough({ address, relatedAddress }: LocalCandidate): void {
    if (relatedAddress === '0.0.0.0') this.own.either ||= isIpv4(address);
    else if (isIpv4(relatedAddress)) this.own.ipv4 = true;
    else if (isIpv4(address) && relatedAddress?.includes(':')) this.own.nat64 = true;
  }

  private saw(address: string | null, port: number | null, url: string | null | undefined): void {
    if (!address || !port || address === '0.0.0.0' || address === '::' || address.includes(':'))
      return;
    this.tellers.add(destination(url));
    if (!this.seen.some((s) => s.address === address && s.port === port)) {
      this.seen.push({ address, port });
    }
  }

  private mapping(): NatDependence | undefined {
    const ports = new Map<string, number>();
    for (const { address } of this.seen) ports.set(address, (ports.get(address) ?? 0) + 1);
    if ([...ports.values()].some((count) => count > 1)) return 'address_and_port_dependent';
    // A second server that sees the same makes no second candidate (RFC 8445 5.1.3), so that it
    // was asked and that gathering is over has to suffice.
    const servers = new Set(this.urls.filter((url) => url.startsWith('stun:')).map(destination));
    const asked = Math.max(servers.size, this.tellers.size);
    // Browsers may hide their own address: the private one that a server of the same network sees
    // may be it, and nothing translated.
    const [only, another] = this.seen;
    const isOne = only !== undefined && !another && !isPrivate(only.address);
    return this.complete && isOne && asked > 1 ? 'endpoint_independent' : undefined;
  }
}

function isIpv4(address: string | null): boolean {
  return /^\d+(\.\d+){3}$/.test(address ?? '');
}

/** An address of this very machine, alone or before a port (RFC 1122 3.2.1.3, RFC 4291 2.5.3). */
export function isLoopback(address: string): boolean {
  return /^(127\.|\[?::1(\]|:\d+$|$))/.test(address);
}

/** Of the networks that each home may use for itself (RFC 1918, RFC 3927), or of this machine. */
function isPrivate(address: string): boolean {
  return isLoopback(address) || /^(10|192\.168|169\.254|172\.(1[6-9]|2\d|3[01]))\./.test(address);
}

/** Host and port of a STUN or TURN URL (RFC 7064, 7065). */
function destination(url: string | null | undefined): string {
  return (url ?? '').replace(/^[a-z]+:/, '').replace(/\?.*$/, '');
}

const DEPENDENCE = ['endpoint_independent', 'address_dependent', 'address_and_port_dependent'];

/** The device's NAT as its answer states it: `a=x-nat:udp=yes,mapping=..,filtering=..`. */
export function natOfAnswer(sdp: string): NatReport {
  const report: NatReport = {};
  const line = /^a=x-nat:(.*)$/m.exec(sdp)?.[1] ?? '';
  for (const part of line.trim().split(',')) {
    const [name, value = ''] = part.split('=');
    if (name === 'udp') report.udp = value === 'yes';
    else if (name === 'translated') report.translated = value === 'yes';
    else if ((name === 'mapping' || name === 'filtering') && DEPENDENCE.includes(value))
      report[name] = value as NatDependence;
  }
  return report;
}

export function isSymmetric(nat: NatReport): boolean {
  return nat.mapping === 'address_dependent' || nat.mapping === 'address_and_port_dependent';
}
