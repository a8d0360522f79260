import { describe, expect, it } from 'vitest';
import { PathKeeper } from '../../src/play/keeper';
import { Lifetimes, renewAfterMs } from '../../src/play/lifetime';
import { NatProbe, natOfAnswer, type LocalCandidate } from '../../src/play/nat';
import {
  answersAnother,
  RemoteFacts,
  rungOf,
  whyNotBetter,
  withoutRelays,
} from '../../src/play/path';
import { routeOf, toReport } from '../../src/play/route';
import { StageClock, toReport as stagesReport } from '../../src/play/stages';
import type { PathInfo } from '../../src/play/stats';

const candidate = (change: Partial<LocalCandidate>): LocalCandidate => ({
  type: 'srflx',
  protocol: 'udp',
  address: '203.0.113.9',
  port: 4000,
  relatedAddress: '0.0.0.0',
  relatedPort: 0,
  ...change,
});

const path = (change: Partial<PathInfo>): PathInfo => ({
  relayed: false,
  local: 'host',
  remote: 'host',
  protocol: 'udp',
  directPairs: 3,
  directFailed: 3,
  ipv4Pairs: [],
  ...change,
});

const SERVERS = [
  'stun:mtu.example:3478',
  'stun:mtu.example:3479',
  'turn:mtu.example:3478?transport=udp',
  'turns:mtu.example:443?transport=tcp',
];

describe('the NAT here', () => {
  it('is symmetric when two servers see two ports of one address', () => {
    const probe = new NatProbe(SERVERS);
    probe.note(candidate({}));
    expect(probe.report()).toEqual({ udp: true, translated: true });
    probe.note(candidate({ port: 4001 }));
    expect(probe.report().mapping).toBe('address_and_port_dependent');
    expect(probe.publicAddress).toBe('203.0.113.9');
  });

  it('is symmetric when a relay sees another port than the STUN server', () => {
    const probe = new NatProbe(SERVERS);
    probe.note(candidate({}));
    const related = { relatedAddress: '203.0.113.9', relatedPort: 4777 };
    probe.note(
      candidate({ type: 'relay', relayProtocol: 'udp', address: '198.51.100.1', ...related }),
    );
    expect(probe.report().mapping).toBe('address_and_port_dependent');
  });

  it('is steady only when two servers were asked and gathering is over', () => {
    const probe = new NatProbe(SERVERS);
    probe.note(candidate({}));
    expect(probe.report().mapping).toBeUndefined();
    probe.end();
    expect(probe.report().mapping).toBe('endpoint_independent');
    const one = new NatProbe(SERVERS.slice(0, 1));
    one.note(candidate({}));
    one.end();
    expect(one.report().mapping).toBeUndefined();
  });

  it('is unknown when a server of the same network sees a private address', () => {
    for (const address of ['192.168.1.7', '10.0.0.7', '172.31.0.7', '169.254.3.7', '127.0.0.1']) {
      const probe = new NatProbe(SERVERS);
      probe.note(candidate({ address }));
      probe.end();
      expect(probe.report()).toEqual({ udp: true });
      // Two ports of one address are a NAT's wherever that is.
      probe.note(candidate({ address, port: 4001 }));
      expect(probe.report()).toEqual({
        udp: true,
        translated: true,
        mapping: 'address_and_port_dependent',
      });
    }
    for (const address of ['100.64.0.7', '172.32.0.7', '192.169.0.7', '11.0.0.7']) {
      const probe = new NatProbe(SERVERS);
      probe.note(candidate({ address }));
      expect(probe.report().translated).toBe(true);
    }
  });

  it('lets no UDP through when only a relay over TCP or TLS was reached', () => {
    const probe = new NatProbe(SERVERS);
    probe.note(candidate({ type: 'relay', relayProtocol: 'tls', address: '198.51.100.1' }));
    expect(probe.report()).toEqual({});
    probe.end();
    expect(probe.report()).toEqual({ udp: false });
  });
});

describe('NAT64', () => {
  const seen = (probe: NatProbe) => probe.report().onlyNat64;

  it('is before a browser whose IPv6 sockets alone are seen, under an IPv4 address', () => {
    const probe = new NatProbe(SERVERS);
    probe.note(candidate({ type: 'host', address: '5d3e7b1a.local' }));
    expect(seen(probe)).toBeUndefined();
    probe.note(candidate({ relatedAddress: '::' }));
    expect(seen(probe)).toBe(true);
    probe.note(candidate({ port: 4001, relatedAddress: '0.0.0.0' }));
    expect(seen(probe)).toBeUndefined();
  });

  it('is before Chromium, which hides all families, when it pairs nothing with IPv4', () => {
    const probe = new NatProbe(SERVERS);
    probe.noteIpv4Pairs([]);
    expect(seen(probe)).toBeUndefined();
    probe.note(candidate({ relatedAddress: '0.0.0.0', usernameFragment: 'new' }));
    expect(seen(probe)).toBe(true);
    // Of Wi-Fi, before the phone has gone over to mobile data.
    probe.noteIpv4Pairs(['old']);
    expect(seen(probe)).toBe(true);
    probe.noteIpv4Pairs(['old', 'new']);
    expect(seen(probe)).toBeUndefined();
    // The pairs have failed and are gone.
    probe.noteIpv4Pairs([]);
    expect(seen(probe)).toBeUndefined();
  });

  it('is not before a browser that is seen by relays alone', () => {
    const probe = new NatProbe(SERVERS);
    const related = { relatedAddress: '203.0.113.9', relatedPort: 4777 };
    probe.note(candidate({ type: 'relay', relayProtocol: 'udp', ...related }));
    probe.noteIpv4Pairs([]);
    expect(seen(probe)).toBeUndefined();
  });

  it('is not known where IPv6 is seen as it is, or where there is an address of IPv4', () => {
    const six = new NatProbe(SERVERS);
    six.note(candidate({ address: '2001:db8::7', relatedAddress: '::' }));
    expect(seen(six)).toBeUndefined();
    const both = new NatProbe(SERVERS);
    both.note(candidate({ relatedAddress: '::' }));
    both.note(candidate({ type: 'host', address: '192.0.0.4' }));
    expect(seen(both)).toBeUndefined();
  });

  it('is why a camera with IPv4 alone is watched over a relay', () => {
    const facts = new RemoteFacts();
    facts.note('candidate:1 1 udp 1 192.168.1.7 5000 typ host');
    facts.note('candidate:2 1 udp 1 fd00::7 5000 typ host');
    facts.note('candidate:3 1 udp 1 203.0.113.7 5000 typ srflx raddr 0.0.0.0 rport 0');
    facts.note('candidate:4 1 udp 1 2001:db8::9 6000 typ relay raddr 0.0.0.0 rport 0');
    const nat64 = { udp: true, onlyNat64: true };
    const why = () => whyNotBetter('relay_udp', path({}), nat64, facts);
    expect(why()).toEqual(['other_network', 'no_mapping', 'here_nat64']);
    facts.note('candidate:5 1 udp 1 203.0.113.7 5001 typ srflx sl-kind mapped');
    expect(why()).toEqual(['other_network', 'here_nat64']);
    facts.note('candidate:6 1 udp 1 2001:db8::7 5000 typ host');
    expect(why()).toEqual(['other_network', 'mapping_silent', 'no_answer']);
  });

  it('is told to the centre where it is in the way, and nowhere else', () => {
    const facts = new RemoteFacts();
    facts.note('candidate:1 1 udp 1 203.0.113.7 5000 typ srflx raddr 0.0.0.0 rport 0');
    const relay = path({ relayed: true, local: 'relay', relayProtocol: 'udp' });
    const route = () => routeOf(relay, { udp: true, onlyNat64: true }, facts);
    expect(route().why).toContain('here_nat64');
    expect(route().here).toEqual({ udp: true, nat64: true });
    facts.note('candidate:2 1 udp 1 2001:db8::7 5000 typ host');
    expect(route().why).not.toContain('here_nat64');
    expect(route().here).toEqual({ udp: true });
    expect(routeOf(relay, { udp: true }, new RemoteFacts()).here).toEqual({ udp: true });
  });
});

describe('the NAT there', () => {
  it('is read from the answer, whatever else stands there', () => {
    const sdp =
      'v=0\r\na=x-nat:udp=no,mapping=address_dependent,filtering=nonsense,new=1\r\nm=x\r\n';
    expect(natOfAnswer(sdp)).toEqual({ udp: false, mapping: 'address_dependent' });
    expect(natOfAnswer('v=0\r\n')).toEqual({});
  });
});

describe('the rung', () => {
  const facts = new RemoteFacts();
  facts.note('candidate:1 1 udp 1 192.168.1.7 5000 typ host');
  facts.note('candidate:2 1 udp 1 203.0.113.7 5000 typ srflx raddr 0.0.0.0 rport 0 sl-kind mapped');
  facts.note('candidate:3 1 udp 1 198.51.100.1 6000 typ relay raddr 0.0.0.0 rport 0 sl-via tls');

  it('follows from the pair and from what the device said of its candidates', () => {
    expect(rungOf(path({}), {}, facts)).toBe('host');
    expect(rungOf(path({ remoteAddress: '203.0.113.7:5000' }), {}, facts)).toBe('mapped');
    expect(rungOf(path({ local: 'srflx' }), {}, facts)).toBe('punched');
    // The device saw another address than this browser's sockets have: a NAT, unless known better.
    expect(rungOf(path({ local: 'prflx' }), {}, facts)).toBe('punched');
    expect(rungOf(path({ local: 'prflx' }), { translated: true }, facts)).toBe('punched');
    expect(rungOf(path({ local: 'prflx' }), { translated: false }, facts)).toBe('host');
    for (const here of ['127.0.0.1:8556', '::1:8556', '[::1]:8556']) {
      expect(rungOf(path({ local: 'prflx', remoteAddress: here }), {}, facts)).toBe('host');
    }
    for (const there of ['12.7.0.1:8556', '::11:8556', '2001:db8::1:5:8556']) {
      expect(rungOf(path({ local: 'prflx', remoteAddress: there }), {}, facts)).toBe('punched');
    }
    // The device's may be one of this network that it had not told yet.
    expect(rungOf(path({ remote: 'prflx' }), {}, facts)).toBe('host');
    const relay = { relayed: true, local: 'relay', relayProtocol: 'tcp' };
    expect(rungOf(path(relay), {}, facts)).toBe('relay_tcp');
    const both = { ...relay, remote: 'relay', remoteAddress: '198.51.100.1:6000' };
    expect(rungOf(path(both), {}, facts)).toBe('relay_tls');
    expect(rungOf(path({ relayed: true, remote: 'relay' }), {}, facts)).toBe('relay_udp');
  });

  it('says why it is none better', () => {
    expect(whyNotBetter('host', path({}), {}, facts)).toEqual([]);
    const bare = new RemoteFacts();
    expect(whyNotBetter('punched', path({}), {}, bare)).toEqual(['other_network', 'no_mapping']);
    const symmetric = { mapping: 'address_and_port_dependent' } as const;
    bare.nat = symmetric;
    expect(whyNotBetter('relay_udp', path({}), symmetric, bare)).toEqual([
      'other_network',
      'no_mapping',
      'both_symmetric',
      'no_probing',
    ]);
    expect(whyNotBetter('relay_tls', path({}), { udp: false }, facts)).toEqual([
      'other_network',
      'mapping_silent',
      'here_blocked',
      'relay_only_tls',
    ]);
  });

  it('is reported in plain English', () => {
    const report = toReport(routeOf(path({ local: 'srflx' }), {}, new RemoteFacts()));
    expect(report).toMatchObject({ transport: 'webrtc', relayed: false, rung: 'punched' });
    expect(report.why_not_better).toContain('Camera and viewer are in different networks.');
  });
});

describe('stages for the centre', () => {
  it('are whole milliseconds that still add up', () => {
    const clock = new StageClock(0.4);
    ['play', 'signalling', 'answer', 'ice', 'dtls', 'packet', 'frame'].forEach((name, i) =>
      clock.mark(name as 'play', 0.4 + (i + 1) * 10.49),
    );
    const { total_ms, ...parts } = stagesReport(clock.times());
    expect(total_ms).toBe(73);
    expect(Object.values(parts).reduce((a, b) => a + b, 0)).toBe(73);
  });
});

function memory(): Pick<Storage, 'getItem' | 'setItem'> {
  const kept = new Map<string, string>();
  return { getItem: (k) => kept.get(k) ?? null, setItem: (k, v) => void kept.set(k, v) };
}

describe('lifetimes of mappings', () => {
  const gathered = (address: string, gatheredMs: number) => {
    const nat = new NatProbe(SERVERS);
    nat.note(candidate({ address }));
    return { nat, gatheredMs };
  };

  it('are learned from the first death and renewed before the next', () => {
    const keeper = new PathKeeper('pu', new Lifetimes(memory()));
    const first = gathered('203.0.113.9', 1_000);
    expect(keeper.isDue(first, 1e9)).toBe(false);
    keeper.silent(first, 51_000);
    keeper.settle(first);
    const second = gathered('203.0.113.9', 52_000);
    keeper.recovered();
    keeper.settle(second);
    expect(keeper.lifetimeMs(second)).toBe(50_000);
    expect(keeper.isDue(second, 52_000 + 42_000)).toBe(false);
    expect(keeper.isDue(second, 52_000 + 43_000)).toBe(true);
    expect(keeper.isDue(gathered('198.51.100.4', 0), 1e6)).toBe(false);
  });

  it('count from the birth of the older mapping', () => {
    const keeper = new PathKeeper('pu', new Lifetimes(memory()));
    const first = { ...gathered('203.0.113.9', 40_000), mappedThereMs: 1_000 };
    keeper.silent(first, 51_000);
    keeper.recovered();
    keeper.settle(gathered('203.0.113.9', 52_000));
    const second = { ...gathered('203.0.113.9', 60_000), mappedThereMs: 55_000 };
    expect(keeper.lifetimeMs(second)).toBe(50_000);
    expect(keeper.isDue(second, 55_000 + 42_000)).toBe(false);
    expect(keeper.isDue(second, 55_000 + 43_000)).toBe(true);
    const lasting = { ...second, mappedThereMs: -1e6 };
    expect(keeper.isDue(lasting, 60_000 + 42_000)).toBe(false);
    expect(keeper.isDue(lasting, 60_000 + 43_000)).toBe(true);
  });

  it('are learned from our own mapping where the one of the device is far older', () => {
    for (const mappedThereMs of [-1e6, -300_000, -1e9]) {
      const keeper = new PathKeeper('pu', new Lifetimes(memory()));
      const first = { ...gathered('203.0.113.9', 1_000), mappedThereMs };
      keeper.silent(first, 51_000);
      keeper.recovered();
      const second = { ...gathered('203.0.113.9', 52_000), mappedThereMs: 52_000 };
      keeper.settle(second);
      expect(keeper.lifetimeMs(second)).toBe(50_000);
      expect(keeper.isDue(second, 52_000 + 42_000)).toBe(false);
      expect(keeper.isDue(second, 52_000 + 43_000)).toBe(true);
    }
  });

  it('are renewed again beside a far older mapping of the device', () => {
    const keeper = new PathKeeper('pu', new Lifetimes(memory()));
    const older = (bornMs: number) => ({ ...gathered('203.0.113.9', bornMs), mappedThereMs: -1e6 });
    keeper.silent(gathered('203.0.113.9', 0), 50_000);
    keeper.recovered();
    keeper.settle(older(0));
    keeper.carried('old');
    expect(keeper.isDue(older(0), 43_000)).toBe(true);
    keeper.renewing(older(0), 43_000);
    expect(keeper.isDue(older(43_000), 44_900)).toBe(false);
    expect(keeper.isDue(older(43_000), 45_000)).toBe(true);
  });

  it('are renewed again when the renewal shows no other pair', () => {
    const keeper = new PathKeeper('pu', new Lifetimes(memory()));
    const way = gathered('203.0.113.9', 0);
    keeper.silent(way, 50_000);
    keeper.recovered();
    keeper.settle(way);
    keeper.carried('old');
    expect(keeper.isDue(way, 43_000)).toBe(true);
    keeper.renewing(way, 43_000);
    const second = gathered('203.0.113.9', 43_000);
    keeper.carried('old');
    expect(keeper.isDue(second, 44_900)).toBe(false);
    expect(keeper.isDue(second, 45_000)).toBe(true);
    keeper.renewing(second, 45_000);
    const third = gathered('203.0.113.9', 45_000);
    expect(keeper.isDue(third, 48_900)).toBe(false);
    expect(keeper.isDue(third, 49_000)).toBe(true);
    keeper.carried('new');
    expect(keeper.isDue(third, 49_000)).toBe(false);
    expect(keeper.isDue(third, 45_000 + 43_000)).toBe(true);
    expect(keeper.renewed).toBe(2);
  });

  it('are trusted to be renewed where the browser does not tell the pair', () => {
    const keeper = new PathKeeper('pu', new Lifetimes(memory()));
    const way = gathered('203.0.113.9', 0);
    keeper.silent(way, 50_000);
    keeper.recovered();
    keeper.settle(way);
    for (let born = 0; born < 600_000; born += 43_000) {
      const now = gathered('203.0.113.9', born);
      expect(keeper.isDue(now, born + 42_000)).toBe(false);
      expect(keeper.isDue(now, born + 43_000)).toBe(true);
      keeper.renewing(now, born + 43_000);
    }
  });

  it('count from the old mapping when it dies before a renewal shows another pair', () => {
    const keeper = new PathKeeper('pu', new Lifetimes(memory()));
    keeper.carried('old');
    keeper.renewing(gathered('203.0.113.9', 0), 30_000);
    keeper.silent(gathered('203.0.113.9', 30_000), 40_000);
    keeper.recovered();
    const next = gathered('203.0.113.9', 41_000);
    keeper.settle(next);
    expect(keeper.lifetimeMs(next)).toBe(40_000);
  });

  it('are not learned from a change of network', () => {
    const keeper = new PathKeeper('pu', new Lifetimes(memory()));
    keeper.silent(gathered('203.0.113.9', 0), 51_000);
    keeper.recovered();
    keeper.settle(gathered('198.51.100.4', 52_000));
    expect(keeper.lifetimeMs(gathered('203.0.113.9', 0))).toBeUndefined();
    keeper.silent(gathered('203.0.113.9', 0), 51_000);
    keeper.networkChanged();
    keeper.recovered();
    keeper.settle(gathered('203.0.113.9', 52_000));
    expect(keeper.lifetimeMs(gathered('203.0.113.9', 0))).toBeUndefined();
  });

  it('doubt one early death, believe the second, and are forgotten after a day', () => {
    let now = 0;
    const lifetimes = new Lifetimes(memory(), () => now);
    lifetimes.died('n', 4_000);
    expect(lifetimes.get('n')).toBeUndefined();
    lifetimes.died('n', 50_000);
    lifetimes.died('n', 15_000);
    expect(lifetimes.get('n')).toBe(50_000);
    lifetimes.died('n', 14_000);
    expect(lifetimes.get('n')).toBe(14_000);
    now = 25 * 3_600_000;
    expect(lifetimes.get('n')).toBeUndefined();
    expect(renewAfterMs(50_000)).toBe(42_500);
    expect(renewAfterMs(20_000)).toBe(13_500);
    expect(renewAfterMs(12_000)).toBe(6_000);
    expect(renewAfterMs(600_000)).toBe(585_000);
  });
});

describe('an answer', () => {
  it('belongs to the offer that it names', () => {
    const offer = 'v=0\r\nm=video 9 X 1\r\na=ice-ufrag:aB3/\r\n';
    expect(answersAnother('v=0\r\na=x-offer:aB3/\r\n', offer)).toBe(false);
    expect(answersAnother('v=0\r\na=x-offer:other\r\n', offer)).toBe(true);
    expect(answersAnother('v=0\r\n', offer)).toBe(false);
  });

  it('tells how long the device has been mapped', () => {
    const facts = new RemoteFacts();
    facts.noteAnswer('v=0\r\na=x-mapped-for:7000\r\n');
    expect(facts.mappedForMs).toBe(7_000);
    facts.noteAnswer('v=0\r\na=x-mapped-for:soon\r\n');
    expect(facts.mappedForMs).toBeUndefined();
  });
});

describe('servers without relays', () => {
  it('still tell our own address', () => {
    const servers = [
      { urls: ['stun:a.example:3478', 'turn:a.example:3478?transport=udp'], username: 'u' },
      { urls: ['turns:a.example:443?transport=tcp'], username: 'u' },
    ];
    expect(withoutRelays(servers)).toEqual([{ urls: ['stun:a.example:3478'], username: 'u' }]);
    const relays = servers.slice(1);
    expect(withoutRelays(relays)).toEqual(relays);
  });
});
