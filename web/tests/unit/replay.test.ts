import { describe, expect, it } from 'vitest';
import { UnitReader } from '../../src/play/replay/messages';
import { ShowQueue, type Comes } from '../../src/play/replay/queue';

function message(first: boolean, body: number[], length = 0): ArrayBuffer {
  const head = first ? 34 : 1;
  const bytes = new Uint8Array(head + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, first ? 1 : 2);
  if (first) {
    view.setUint8(1, 0b00_0110);
    view.setUint32(2, 7);
    view.setBigInt64(6, 1_763_740_800_000_001n);
    view.setBigInt64(14, -5n);
    view.setBigInt64(22, 6n);
    view.setUint32(30, length);
  }
  bytes.set(body, head);
  return bytes.buffer;
}

describe('units in messages', () => {
  it('are whole again when joined', () => {
    const reader = new UnitReader();
    expect(reader.take(message(true, [1, 2], 5))).toBeUndefined();
    expect(reader.take(message(false, [3]))).toBeUndefined();
    const unit = reader.take(message(false, [4, 5]));
    expect(unit?.data).toEqual(Uint8Array.from([1, 2, 3, 4, 5]));
    expect(unit).toMatchObject({
      keyframe: true,
      shown: true,
      sound: false,
      command: 7,
      wallUs: 1_763_740_800_000_001,
      presentationUs: -5,
      sentUs: 6,
    });
  });

  it('that do not fit together are left out, and the next one is read', () => {
    const reader = new UnitReader();
    expect(reader.take(message(false, [1]))).toBeUndefined();
    expect(reader.take(new ArrayBuffer(0))).toBeUndefined();
    expect(reader.take(message(true, [1], 2))).toBeUndefined();
    expect(reader.take(message(false, [2, 3]))).toBeUndefined();
    expect(reader.take(message(true, [1], 2 ** 31))).toBeUndefined();
    expect(reader.take(message(true, [9], 1))?.data).toEqual(Uint8Array.from([9]));
  });
});

describe('the queue of pictures', () => {
  const picture = (presentationMs: number, command = 1, sentMs = presentationMs) => ({
    frame: presentationMs,
    command,
    wallUs: presentationMs * 1_000,
    presentationUs: presentationMs * 1_000,
    sentUs: sentMs * 1_000,
  });
  const queue = (comes?: Comes) => {
    const dropped: number[] = [];
    return { dropped, queue: new ShowQueue<number>((frame) => dropped.push(frame), comes) };
  };
  /** A picture every 40 ms, each sent when it is to be shown: what is seen of them, and when. */
  const watch = (q: ShowQueue<number>, untilMs: number, isFrame: (now: number) => boolean) => {
    const seen: { frame: number; now: number }[] = [];
    for (let now = 0; now < untilMs; now += 1) {
      if (now % 40 === 0) q.push(picture(now), now);
      const next = isFrame(now) ? q.next(now) : undefined;
      if (next) seen.push({ frame: next.frame, now });
    }
    const steps = new Set(seen.slice(1).map(({ frame }, n) => frame - (seen[n]?.frame ?? 0)));
    const last = seen.at(-1);
    return { steps: [...steps].sort((a, b) => a - b), late: last ? last.now - last.frame : 0 };
  };

  /** A screen that shows nothing for a while. */
  const stands = (fromMs: number, untilMs: number) => {
    return (now: number) => now % 16 === 0 && (now < fromMs || now > untilMs);
  };

  it('shows each when its time has come, in the order of showing', () => {
    const { queue: q } = queue();
    q.play();
    // In reverse they are sent and decoded the other way round.
    for (const ms of [3_000, 2_000, 1_000]) q.push(picture(ms, 1, 1_000), 0);
    const shown: [number, number][] = [];
    for (let now = 0; now < 3_000; now += 10) {
      const next = q.next(now);
      if (next) shown.push([next.frame, now]);
    }
    expect(shown).toEqual([
      [1_000, 120],
      [2_000, 1_120],
      [3_000, 2_120],
    ]);
  });

  it('forgets what was sent for an earlier jump', () => {
    const { queue: q, dropped } = queue();
    q.play();
    q.push(picture(0, 1), 0);
    q.push(picture(40, 1), 0);
    q.push(picture(5_000, 2), 10);
    expect(dropped).toEqual([0, 40]);
    q.push(picture(80, 1), 20);
    expect(dropped).toEqual([0, 40, 80]);
    expect(q.next(10 + 120)?.frame).toBe(5_000);
  });

  it('plays slower when the network is late, and never stops for it', () => {
    const { queue: q } = queue();
    q.play();
    q.push(picture(0), 0);
    expect(q.next(120)?.frame).toBe(0);
    q.push(picture(40), 600);
    expect(q.next(600)?.frame).toBe(40);
    q.push(picture(80), 610);
    expect(q.next(620)).toBeUndefined();
    expect(q.next(640)?.frame).toBe(80);
  });

  it('waits in reverse for what is shown first, however long it takes to be decoded', () => {
    const { queue: q } = queue();
    q.play();
    for (const [ms, now] of [
      [300, 0],
      [200, 200],
      [100, 400],
      [0, 600],
    ] as const) {
      q.push(picture(ms, 1, 0), now);
      if (ms > 0) expect(q.next(now + 190)).toBeUndefined();
    }
    expect([600, 700, 800, 900].map((now) => q.next(now)?.frame)).toEqual([0, 100, 200, 300]);
  });

  it('leaves out what comes when something later is shown', () => {
    const { queue: q, dropped } = queue();
    q.play();
    q.push(picture(0), 0);
    expect(q.next(120)?.frame).toBe(0);
    q.push(picture(80), 130);
    expect(q.next(200)?.frame).toBe(80);
    q.push(picture(40), 210);
    expect(dropped).toEqual([40]);
  });

  it('stands while paused, and goes on with what waits', () => {
    const { queue: q } = queue();
    q.play();
    for (const ms of [0, 40, 80]) q.push(picture(ms), ms);
    expect(q.next(120)?.frame).toBe(0);
    q.pause();
    q.push(picture(120), 130);
    expect(q.next(5_000)).toBeUndefined();
    q.play();
    expect([6_000, 6_010, 6_040, 6_080].map((now) => q.next(now)?.frame)).toEqual([
      40,
      undefined,
      80,
      120,
    ]);
  });

  it('shows nothing of before a jump, and only its first picture while paused', () => {
    const { queue: q, dropped } = queue();
    q.play();
    q.push(picture(0, 1), 0);
    q.jump(1);
    q.push(picture(40, 1), 10);
    expect(dropped).toEqual([0, 40]);
    q.pause();
    q.push(picture(1_000, 2, 1_000), 20);
    q.push(picture(1_040, 2, 1_000), 20);
    expect(q.next(20)?.frame).toBe(1_000);
    expect(q.next(900)).toBeUndefined();
  });

  it('does not pile up while nobody looks', () => {
    const { queue: q } = queue();
    q.play();
    for (let ms = 0; ms < 60_000; ms += 40) q.push(picture(ms), ms);
    expect(q.length).toBeLessThan(80);
    q.reset();
    expect(q.length).toBe(0);
  });

  it('shows every picture of a page that stood for a moment, and is later by that moment', () => {
    const { queue: q, dropped } = queue();
    q.play(-1);
    const { steps, late } = watch(q, 3_000, stands(1_000, 1_300));
    expect(dropped).toEqual([]);
    expect(steps).toEqual([40]);
    expect(late).toBeGreaterThan(350);
    expect(late).toBeLessThan(420);
  });

  it('comes nearer to the device again, without leaving anything out', () => {
    const { queue: q, dropped } = queue();
    q.play(0.5);
    const { steps, late } = watch(q, 30_000, stands(1_000, 1_900));
    expect(dropped).toEqual([]);
    expect(steps).toEqual([40]);
    expect(late).toBeGreaterThan(390);
    expect(late).toBeLessThan(420);
  });

  it('plays slower on a slow screen, and leaves out single pictures when it is far behind', () => {
    const { queue: q, dropped } = queue();
    q.play();
    expect(watch(q, 5_000, (now) => now % 50 === 0).steps).toEqual([40]);
    expect(dropped).toEqual([]);

    const { queue: another } = queue();
    another.play();
    const { steps, late } = watch(another, 60_000, (now) => now % 50 === 0);
    expect(steps).toEqual([40, 80]);
    expect(late).toBeLessThan(2_200);
    expect(another.length).toBeLessThan(70);
  });

  it('goes on with what is due by now when the page was away', () => {
    const { queue: q, dropped } = queue();
    q.play(-1);
    for (let ms = 0; ms < 4_000; ms += 40) q.push(picture(ms, 1, 0), 0);
    expect(q.next(120)?.frame).toBe(0);
    expect(q.next(3_500)?.frame).toBe(3_360);
    expect(dropped).toHaveLength(83);
    expect(q.next(3_520)?.frame).toBe(3_400);
  });

  it('is as near to the device as at first when the page is seen again', () => {
    const { queue: q } = queue();
    q.play();
    expect(watch(q, 2_000, stands(1_000, 1_500)).late).toBeGreaterThan(500);
    q.skip(2_001);
    expect(q.next(2_001)?.frame).toBe(1_880);
    expect(q.length).toBeLessThan(4);
  });

  it('keeps no more than some seconds of what comes to a page that stood', () => {
    const { queue: q } = queue();
    q.play();
    expect(watch(q, 1_000, (now) => now % 16 === 0).steps).toEqual([40]);
    // It was sent in time, but nobody took it for half a minute.
    for (let ms = 1_000; ms < 31_000; ms += 40) q.push(picture(ms), 31_000);
    expect(q.length).toBeLessThan(130);
  });

  it('shows nothing before what is still being decoded, up to the speed of life', () => {
    let coming = [40, 80];
    const { queue: q, dropped } = queue((_, afterUs, beforeUs) =>
      coming.some((ms) => ms * 1_000 > afterUs && ms * 1_000 < beforeUs),
    );
    q.play(-1);
    q.push(picture(0, 1, 0), 0);
    expect(q.next(120)?.frame).toBe(0);
    q.push(picture(120, 1, 0), 200);
    expect(q.next(260)).toBeUndefined();
    coming = [40];
    q.push(picture(80, 1, 0), 300);
    expect(q.next(300)).toBeUndefined();
    coming = [];
    q.push(picture(40, 1, 0), 320);
    expect([320, 360, 400].map((now) => q.next(now)?.frame)).toEqual([40, 80, 120]);
    expect(dropped).toEqual([]);
  });

  it('does not wait for ever for what is never decoded', () => {
    const { queue: q, dropped } = queue((_, afterUs) => afterUs >= 0);
    q.play(-1);
    q.push(picture(0, 1, 0), 0);
    expect(q.next(120)?.frame).toBe(0);
    q.push(picture(120, 1, 0), 200);
    expect(q.next(3_239)).toBeUndefined();
    expect(q.next(3_240)?.frame).toBe(120);
    q.push(picture(40, 1, 0), 3_250);
    expect(dropped).toEqual([40]);
  });

  it('leaves out what is late at higher speeds', () => {
    const { queue: q, dropped } = queue(() => true);
    q.play(4);
    for (const ms of [0, 10, 20]) q.push(picture(ms, 1, 0), 0);
    expect(q.next(145)?.frame).toBe(20);
    expect(dropped).toEqual([0, 10]);
  });

  it('shows single pictures at once while paused', () => {
    const { queue: q } = queue();
    q.pause();
    q.push(picture(99_000, 3), 0);
    expect(q.next(0)?.frame).toBe(99_000);
  });
});
