import { signal } from '@preact/signals';
import { describe, expect, it } from 'vitest';
import type { Camera, RecordingPlace, Timeline } from '../../src/api/types';
import { StepClock } from '../../src/play/in-step/clock';
import { InStep } from '../../src/play/in-step/conductor';
import { Part, type PartPlayer } from '../../src/play/in-step/part';
import { StepQueue } from '../../src/play/in-step/queue';
import type { LookbackState } from '../../src/play/lookback';

const S = 1e6;

function queue(scale = 1) {
  const clock = new StepClock();
  clock.scale = scale;
  const dropped: number[] = [];
  const made = new StepQueue<number>(clock, (frame) => dropped.push(frame));
  /** Times at which pictures were taken, in seconds; that of a picture names it. */
  const push = (command: number, ...walls: number[]) => {
    for (const wall of walls) {
      made.push({ frame: wall, command, wallUs: wall * S, presentationUs: 0, sentUs: 0 });
    }
  };
  return { clock, dropped, queue: made, push };
}

describe('pictures of a camera in step', () => {
  it('are shown when the common clock comes to their time, whenever they came', () => {
    const { clock, queue: q, push } = queue();
    clock.set(10 * S);
    q.play();
    push(1, 10, 10.04, 10.08);
    expect(q.next(0)?.frame).toBe(10);
    expect(q.next(500)).toBeUndefined();
    clock.run(600);
    expect(q.next(639)).toBeUndefined();
    expect(q.next(640)?.frame).toBe(10.04);
    // What is late for its turn is left out.
    push(1, 10.12);
    expect(q.next(800)?.frame).toBe(10.12);
    push(1, 10.1);
    expect(q.length).toBe(0);
  });

  it('go backwards when the clock does, though each group comes forwards', () => {
    const { clock, dropped, queue: q, push } = queue(-2);
    clock.set(10 * S);
    q.play();
    push(1, 9.8, 9.9, 10);
    clock.run(0);
    expect([0, 50, 100].map((ms) => q.next(ms)?.frame)).toEqual([10, 9.9, 9.8]);
    expect(dropped).toEqual([]);
  });

  it('of an earlier wish are not shown, and one of a jump is shown while paused', () => {
    const { clock, dropped, queue: q, push } = queue();
    clock.set(10 * S);
    q.play();
    push(1, 10, 11, 12);
    q.next(0);
    q.pause();
    expect(q.next(60_000)).toBeUndefined();
    q.jump(1);
    expect(q.isReady).toBe(false);
    push(1, 13);
    push(2, 20);
    expect(q.next(0)?.frame).toBe(20);
    push(2, 21);
    expect(q.next(60_000)).toBeUndefined();
    expect(dropped).toEqual([11, 12, 13]);
    // Somebody else counts anew.
    q.reset();
    push(1, 5);
    expect(q.next(0)?.frame).toBe(5);
  });

  it('do not fill the memory when a device sends far ahead', () => {
    const { clock, dropped, queue: q, push } = queue();
    clock.set(0);
    q.play();
    push(1, ...Array.from({ length: 1_000 }, (_, n) => n + 1));
    expect(q.length + dropped.length).toBe(1_000);
    expect(q.length).toBeLessThan(400);
    expect(q.newestUs).toBe(q.length * S);
  });
});

type Wish = [string, ...unknown[]];

/** A camera's player that does as it is told, and what it was told. */
class Player {
  readonly atUs = signal<number | undefined>(undefined);
  readonly state = signal<LookbackState>({ state: 'live' });
  readonly pictures = signal('fitting');
  readonly place = signal<RecordingPlace>('pu');
  readonly source = signal({ device: 'unit' });
  readonly told: Wish[] = [];

  playFrom(atUs: number, scale: number, recorder?: string): void {
    if (recorder !== undefined) this.source.value = { device: recorder };
    this.told.push(['play', atUs / S, scale, recorder]);
  }

  show(atUs: number, recorder?: string): void {
    this.told.push(['show', atUs / S, recorder]);
  }

  step(backwards: boolean): void {
    this.told.push(['step', backwards]);
  }

  pause(): void {
    this.told.push(['pause']);
  }

  close(): void {
    this.told.push(['close']);
  }
}

/** What is recorded, in seconds, by whom: 0 is the unit, 1 an NVR. */
function timeline(...spans: [from: number, to: number, source?: number][]): Timeline {
  const causes = { manual: false, schedule: false, continuous: true, event: false };
  const ends = [0, ...spans.map(([, to]) => to)];
  const gaps = [...spans.map(([from]) => from), 1_000].map((to, n) => ({
    from: (ends[n] ?? 0) * S,
    to: to * S,
    reason: 'camera_away' as const,
  }));
  return {
    camera: 'c',
    from: 0,
    to: 1_000 * S,
    resolution_us: 1,
    sources: [
      { place: 'pu', recorder: 'unit', tier: 'main' },
      { place: 'nvr', recorder: 'nvr', tier: 'main' },
    ],
    spans: spans.map(([from, to, source = 0]) => ({
      from: from * S,
      to: to * S,
      source,
      causes,
      time_known: true,
    })),
    gaps: gaps.filter(({ from, to }) => from < to),
    events: [],
  };
}

function several(...recorded: (Timeline | undefined)[]) {
  const clock = new StepClock();
  let nowMs = 0;
  const cameras = recorded.map((known, n) => {
    const player = new Player();
    const pictures = { isReady: false, newestUs: undefined as number | undefined };
    const camera = { id: String(n) } as unknown as Camera;
    const part = new Part(camera, player as unknown as PartPlayer, pictures);
    const window = { from: 0, to: 1_000 * S };
    if (known) part.note({ window, timeline: known }, undefined);
    return { part, player, pictures };
  });
  const inStep = new InStep(
    cameras.map(({ part }) => part),
    clock,
    () => nowMs,
  );
  /** Lets time pass in ticks; cameras that play show what the clock says. */
  const pass = (ms: number) => {
    for (const until = nowMs + ms; nowMs < until; ) {
      nowMs += 50;
      for (const { part, pictures } of cameras) {
        if (part.plays && pictures.isReady) pictures.newestUs = clock.atUs(nowMs);
      }
      inStep.tick();
    }
  };
  const told = () => cameras.map(({ player }) => player.told.splice(0));
  const at = () => Math.round((clock.atUs(nowMs) / S) * 100) / 100;
  return { inStep, cameras, pass, told, at };
}

describe('several cameras in step', () => {
  it('begin together when each has its first picture', () => {
    const { inStep, cameras, pass, told, at } = several(timeline([0, 500]), undefined);
    inStep.playFrom(100 * S, 2);
    expect(told()).toEqual([[['play', 100, 2, 'unit']], [['play', 100, 2, undefined]]]);
    pass(500);
    expect([at(), inStep.state.value.state]).toEqual([100, 'seeking']);
    for (const { pictures } of cameras) pictures.isReady = true;
    pass(50);
    expect(inStep.state.value.state).toBe('playing');
    // A little later, at the speed that was asked for.
    pass(1_150);
    expect(at()).toBe(102);
    expect(told()).toEqual([[], []]);
  });

  it('do not wait for one that does not come, and it joins later', () => {
    const { inStep, cameras, pass, told, at } = several(timeline([0, 500]), timeline([0, 500]));
    inStep.playFrom(100 * S);
    const [first, second] = cameras;
    if (first) first.pictures.isReady = true;
    pass(2_050);
    expect([at(), inStep.state.value.state]).toEqual([100, 'playing']);
    told();
    pass(4_000);
    const [, again] = told();
    // Asked anew for what is shown when it comes.
    expect(again).toEqual([['play', 102.2, 1, 'unit']]);
    if (second) second.pictures.isReady = true;
    pass(10_000);
    expect(told()).toEqual([[], []]);
  });

  it('tell of the gap of one, while the others go on', () => {
    const { inStep, cameras, pass, told, at } = several(
      timeline([0, 500]),
      timeline([0, 105], [110, 500]),
    );
    for (const { pictures } of cameras) pictures.isReady = true;
    inStep.playFrom(100 * S);
    pass(200);
    told();
    pass(5_500);
    const gap = cameras[1]?.part.absence;
    expect(gap?.value).toBe('camera_away');
    expect(told()).toEqual([[], [['pause']]]);
    pass(4_300);
    expect(at()).toBeLessThan(110);
    // Before its recording goes on, so that its pictures are there in time.
    expect(told()).toEqual([[], [['play', 110, 1, 'unit']]]);
    pass(1_000);
    expect(gap?.value).toBeUndefined();
    expect(told()).toEqual([[], []]);
  });

  it('pass over a gap of all, and end where nobody has more', () => {
    const { inStep, cameras, pass, told, at } = several(
      timeline([0, 101], [300, 302]),
      timeline([0, 101], [400, 401]),
    );
    for (const { pictures } of cameras) pictures.isReady = true;
    inStep.playFrom(100 * S);
    told();
    pass(1_500);
    expect(at()).toBeGreaterThanOrEqual(300);
    expect(told()[0]).toContainEqual(['play', 300, 1, 'unit']);
    pass(6_000);
    expect(inStep.state.value.state).toBe('ended');
    expect(at()).toBeGreaterThanOrEqual(401);
    // Backwards as well: to the end of what lies before.
    inStep.playFrom(390 * S, -1);
    pass(300);
    expect(Math.round(at())).toBe(302);
  });

  it('go over to the recorder who has it', () => {
    const { inStep, cameras, pass, told } = several(timeline([0, 105], [105, 200, 1]));
    for (const { pictures } of cameras) pictures.isReady = true;
    inStep.playFrom(100 * S);
    told();
    pass(4_500);
    expect(told()).toEqual([[]]);
    pass(1_500);
    expect(told()[0]?.map(([what, , , recorder]) => [what, recorder])).toEqual([['play', 'nvr']]);
  });

  it('begin one anew that is far behind, but not again and again', () => {
    const { inStep, cameras, pass, told } = several(timeline([0, 500]), timeline([0, 500]));
    for (const { pictures } of cameras) pictures.isReady = true;
    inStep.playFrom(100 * S);
    pass(1_000);
    told();
    const [, second] = cameras;
    if (second) {
      second.pictures.isReady = false;
      second.pictures.newestUs = 100.5 * S;
    }
    pass(9_000);
    const [none, anew] = told();
    expect(none).toEqual([]);
    expect(anew?.length).toBe(2);
  });

  it('stop, show one moment, and step by the pictures of the first', () => {
    const { inStep, cameras, pass, told, at } = several(
      timeline([0, 50]),
      timeline([0, 500]),
      timeline([0, 500]),
    );
    inStep.playFrom(100 * S);
    inStep.pause();
    expect(told().map((wishes) => wishes.at(-1)?.[0])).toEqual([undefined, 'pause', 'pause']);
    inStep.seek(120 * S);
    expect(told()).toEqual([[], [['show', 120, 'unit']], [['show', 120, 'unit']]]);
    const [, lead] = cameras;
    if (lead) lead.player.atUs.value = 119.98 * S;
    inStep.step(false);
    pass(100);
    expect(told()).toEqual([[], [['step', false]], []]);
    if (lead) lead.player.atUs.value = 120.02 * S;
    pass(100);
    expect(told()).toEqual([[], [], [['show', 120.02, 'unit']]]);
    expect([at(), inStep.atUs.value]).toEqual([120.02, 120.02 * S]);
    inStep.play(0.5, 'each_second');
    const which = cameras.map(({ player }) => player.pictures.value);
    expect(which).toEqual(['each_second', 'each_second', 'each_second']);
    expect(told()[1]).toEqual([['play', 120.02, 0.5, 'unit']]);
    inStep.close();
    expect(told().map((wishes) => wishes.at(-1))).toEqual([['close'], ['close'], ['close']]);
  });

  it('forget nothing of the time that is shown when somebody looks elsewhere', () => {
    const { inStep, cameras, pass } = several(timeline([0, 500]), timeline([0, 90], [300, 400]));
    inStep.playFrom(100 * S);
    const [, second] = cameras;
    const elsewhere = { from: 2_000 * S, to: 3_000 * S };
    second?.part.note({ window: elsewhere, timeline: timeline() }, inStep.atUs.peek());
    second?.part.note(undefined, inStep.atUs.peek());
    pass(100);
    expect(second?.part.absence.value).toBe('camera_away');
  });
});
