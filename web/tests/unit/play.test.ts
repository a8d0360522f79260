import { describe, expect, it } from 'vitest';
import { SseParser } from '../../src/api/events';
import { parseProblem } from '../../src/api/problem';
import { newTrace } from '../../src/api/trace';
import { FrameClock, RemoteClock, Window } from '../../src/play/clock';
import { decode, encode } from '../../src/play/messages';
import { fileName, pictureName } from '../../src/play/recorder';
import { StageClock, STAGES } from '../../src/play/stages';
import { StatsReader } from '../../src/play/stats';
import { parseRoute } from '../../src/router';
import { choiceOf, nameOf } from '../../src/ui/quality';

describe('stages', () => {
  it('add up to the total, also when events overlap or are missing', () => {
    const clock = new StageClock(100);
    clock.mark('play', 150);
    clock.mark('answer', 140);
    clock.mark('ice', 180);
    clock.mark('packet', 175);
    clock.mark('frame', 200);
    clock.mark('frame', 999);
    const { total, ...parts } = clock.times();
    expect(total).toBe(100);
    expect(STAGES.reduce((sum, name) => sum + parts[name], 0)).toBe(100);
    expect(parts).toEqual({
      play: 50,
      signalling: 0,
      answer: 0,
      ice: 30,
      dtls: 0,
      packet: 0,
      frame: 20,
    });
  });
});

describe('clocks', () => {
  it('believe the shortest round trip', () => {
    const clock = new RemoteClock();
    clock.pong(1_000, 501_900, 3_000);
    clock.pong(10_000, 560_000, 90_000);
    expect(clock.offsetUs).toBe(499_900);
    expect(clock.rttUs).toBe(80_000);
    clock.pong(5, 5, 4);
    expect(clock.rttUs).toBe(80_000);
  });

  it('mind the wrap of RTP timestamps', () => {
    const clock = new FrameClock();
    expect(clock.capturedUs(1)).toBeUndefined();
    clock.frameTime(0xffff_ff00, 1_000_000);
    expect(clock.capturedUs(0xffff_ff00)).toBe(1_000_000);
    expect(clock.capturedUs(90_000 - 256)).toBe(2_000_000);
    expect(clock.capturedUs(0xffff_ff00 - 90_000)).toBe(0);
  });

  it('give quantiles of the last values only', () => {
    const window = new Window(4);
    expect(window.quantile(0.5)).toBeUndefined();
    for (const value of [100, 4, 3, 2, 1]) window.push(value);
    expect([window.quantile(0.5), window.quantile(0.95), window.quantile(1)]).toEqual([2, 4, 4]);
  });
});

describe('statistics', () => {
  const rows = (packets: number, lost: number, bytes: number, frames: number) => [
    {
      id: 'v',
      type: 'inbound-rtp',
      kind: 'video',
      packetsReceived: packets,
      packetsLost: lost,
      bytesReceived: bytes,
      framesDecoded: frames,
    },
    { id: 't', type: 'transport', selectedCandidatePairId: 'p' },
    { id: 'p', type: 'candidate-pair', localCandidateId: 'l', remoteCandidateId: 'r' },
    { id: 'q', type: 'candidate-pair', localCandidateId: 'h', remoteCandidateId: 'r' },
    { id: 'l', type: 'local-candidate', candidateType: 'relay', relayProtocol: 'tcp' },
    { id: 'h', type: 'local-candidate', candidateType: 'host' },
    { id: 'r', type: 'remote-candidate', candidateType: 'srflx' },
  ];

  it('are rates between two readings, and tell a relay', () => {
    const reader = new StatsReader();
    reader.read(rows(100, 0, 1000, 10), 1000);
    const stats = reader.read(rows(190, 10, 126_000, 60), 3000);
    expect(stats.fps).toBe(25);
    expect(stats.videoBps).toBe(500_000);
    expect(stats.lossPercent).toBe(10);
    expect(stats.path).toMatchObject({
      relayed: true,
      relayProtocol: 'tcp',
      directPairs: 1,
      directFailed: 1,
    });
  });

  it('tell the direct pairs of IPv4, and those of no other family', () => {
    const ends = (here: string, there: string) => [
      { id: 'h', type: 'local-candidate', candidateType: 'host', usernameFragment: here },
      { id: 'r', type: 'remote-candidate', candidateType: 'host', address: there },
    ];
    const pairs = (here: string, there: string) =>
      new StatsReader().read([...rows(1, 0, 1, 1), ...ends(here, there)], 1000).path?.ipv4Pairs;
    expect(pairs('a1', '192.168.1.7')).toEqual(['a1']);
    expect(pairs('', '192.168.1.7')).toEqual(['']);
    expect(pairs('a1', 'fd00::7')).toEqual([]);
  });

  it('tell a relay whose address the other end sees differently', () => {
    const seen = { id: 'l', type: 'local-candidate', candidateType: 'prflx', relayProtocol: 'udp' };
    const stats = new StatsReader().read([...rows(1, 0, 1, 1), seen], 1000);
    expect(stats.path).toMatchObject({ relayed: true, local: 'relay', directPairs: 1 });
  });
});

describe('server-sent events', () => {
  it('come out whole, however they were cut', () => {
    const text = ': hi\n\ndata: {"a":1}\n\r\nevent: x\r\ndata: b\r\ndata:c\r\n\r\n';
    for (const size of [1, 2, 3, 7, 100]) {
      const parser = new SseParser();
      const events: string[] = [];
      for (let i = 0; i < text.length; i += size)
        events.push(...parser.push(text.slice(i, i + size)));
      expect(events).toEqual(['{"a":1}', 'b\nc']);
    }
  });
});

describe('messages', () => {
  it('travel in an envelope, whose unknown versions are refused', () => {
    expect(encode({ type: 'end', session: 's' })).toBe(
      '{"v":1,"body":{"type":"end","session":"s"}}',
    );
    expect(encode({ type: 'end', session: 's' }, '00-x')).toBe(
      '{"v":1,"traceparent":"00-x","body":{"type":"end","session":"s"}}',
    );
    expect(decode('{"v":1,"body":{"type":"ended","session":"s","problem":null}}')).toEqual({
      type: 'ended',
      session: 's',
      problem: null,
    });
    for (const bad of [
      '',
      '{',
      'null',
      '3',
      '{"v":2,"body":{"type":"x"}}',
      '{"v":1}',
      '{"v":1,"body":3}',
    ]) {
      expect(decode(bad)).toBeUndefined();
    }
  });

  it('belong to traces, each of its own and none of zeros', () => {
    const traces = Array.from({ length: 50 }, newTrace);
    expect(new Set(traces).size).toBe(50);
    for (const trace of traces) {
      expect(trace).toMatch(/^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01$/);
    }
  });

  it('of refusals are read from anything', () => {
    expect(parseProblem({ type: 'wrong_code', detail: 'x' }).type).toBe('wrong_code');
    for (const bad of [undefined, null, 3, 'x', {}, { type: 7 }, { type: 'new_kind' }]) {
      expect(parseProblem(bad).type).toBe('internal');
    }
  });
});

describe('menu and addresses', () => {
  it('match choices with what is sent', () => {
    expect(choiceOf('auto', 25)).toEqual({ mode: 'auto' });
    expect(choiceOf('sub', 25)).toEqual({ mode: 'tier', tier: 'sub' });
    expect(choiceOf('cif', 5)).toEqual({ mode: 'exact', width: 352, height: 288, fps: 5 });
    expect(nameOf(choiceOf('720p', 15))).toEqual({ name: '720p', fps: 15 });
  });

  it('lead to pages', () => {
    expect(parseRoute('')).toEqual({ page: 'grid' });
    expect(parseRoute('#/bind?code=ab-cd')).toEqual({ page: 'bind', code: 'ab-cd' });
    expect(parseRoute('#/camera/x.0')).toEqual({ page: 'camera', id: 'x.0' });
    expect(parseRoute('#/camera/%E0%A4%A')).toEqual({ page: 'camera', id: '%E0%A4%A' });
    expect(parseRoute('#/nothing')).toEqual({ page: 'unknown' });
  });

  it('make file names from any camera name', () => {
    const at = new Date(2026, 0, 2, 3, 4, 5);
    expect(fileName('Yard / ../ 门', 'png', at)).toBe('Yard-门_2026-01-02_030405.png');
    expect(fileName('///', 'mp4', at)).toBe('camera_2026-01-02_030405.mp4');
    expect(pictureName('Yard', at.getTime() * 1_000)).toBe('Yard_2026-01-02_030405.png');
    expect(pictureName('Yard', undefined)).not.toContain('2026-01-02_030405');
  });
});
