import { describe, expect, it } from 'vitest';
import type { Timeline } from '../../src/api/types';
import {
  around,
  bar,
  countEvents,
  eventsAt,
  handover,
  keyTarget,
  lookUp,
  nextRecorded,
  overlaps,
  peekSource,
  place,
  placeAt,
  placesIn,
  playable,
  recorderAt,
  seekTarget,
  ticks,
  timeAt,
} from '../../src/timeline';

describe('the timeline', () => {
  const window = { from: 1_000, to: 2_000 };
  const span = (from: number, to: number) => ({
    from,
    to,
    source: 0,
    causes: { manual: false, schedule: false, continuous: true, event: false },
    time_known: true,
  });
  const timeline: Timeline = {
    camera: 'c',
    ...window,
    resolution_us: 1,
    sources: [],
    spans: [span(1_100, 1_200), span(1_400, 1_500)],
    gaps: [{ from: 1_200, to: 1_400, reason: 'camera_away' }],
    events: [],
  };

  it('places times and parts', () => {
    expect(place(1_250, window)).toBe(0.25);
    expect(timeAt(0.25, window)).toBe(1_250);
    expect(bar({ from: 900, to: 1_500 }, window)).toEqual({ left: 0, width: 50 });
    expect(bar({ from: 2_000, to: 2_100 }, window)).toBeUndefined();
    expect(around(5_000, 100, 5_010)).toEqual({ from: 4_910, to: 5_010 });
  });

  it('knows who has what, and who goes on where another has nothing', () => {
    const two: Timeline = {
      ...timeline,
      sources: [
        { place: 'pu', recorder: 'unit', tier: 'main' },
        { place: 'nvr', recorder: 'nvr', tier: 'main' },
        { place: 'cs', recorder: 'unit', tier: 'main' },
      ],
      spans: [
        { ...span(1_000, 1_200), others: [1] },
        { ...span(1_200, 1_400), source: 2, others: [1] },
        span(1_400, 1_500),
        { ...span(1_600, 1_700), source: 2 },
      ],
    };
    expect([1_100, 1_300, 1_450, 1_550, 1_650].map((at) => recorderAt(two, at))).toEqual([
      'unit',
      'nvr',
      'unit',
      undefined,
      undefined,
    ]);
    expect(placesIn(two, { from: 1_000, to: 1_100 })).toEqual(['pu', 'nvr']);
    expect(placesIn(two, { from: 1_600, to: 1_700 })).toEqual(['cs']);
    const jump = { from: 1_190, to: 1_410 };
    // What lies in the cloud is none that the unit plays.
    expect(handover(two, 'unit', jump, 50)).toEqual({ at: 1_200, recorder: 'nvr' });
    const gap = { ...two, spans: [span(1_000, 1_200), { ...span(1_250, 1_400), source: 1 }] };
    expect(handover(gap, 'unit', jump, 50)).toEqual({ at: 1_250, recorder: 'nvr' });
    expect(handover(gap, 'unit', jump, 200)).toBeUndefined();
    expect(handover(gap, 'nvr', { from: 1_260, to: 1_300 }, 10)).toBeUndefined();
    expect(handover(gap, 'unit', { from: 1_200, to: Infinity }, 50)).toMatchObject({ at: 1_250 });
    // From the cloud it goes to the first who answers, where the cloud has nothing itself.
    const left = { from: 1_350, to: 1_500 };
    expect(handover(two, undefined, left, 50)).toEqual({ at: 1_400, recorder: 'unit' });
    expect(handover(two, undefined, { from: 1_250, to: 1_300 }, 10)).toBeUndefined();
    expect([1_100, 1_300, 1_550, 1_650].map((at) => placeAt(two, at))).toEqual([
      'pu',
      'nvr',
      undefined,
      'cs',
    ]);
  });

  it('takes a small picture from where it costs the least', () => {
    const source = (place: 'pu' | 'nvr' | 'cs', recorder: string, tier: 'main' | 'sub') => ({
      place,
      recorder,
      tier,
    });
    const sources = [
      source('pu', 'unit', 'main'),
      source('nvr', 'nvr', 'sub'),
      source('cs', 'unit', 'sub'),
      source('pu', 'unit', 'sub'),
    ];
    const spans = [
      { ...span(1_000, 1_100), others: [1, 2, 3] },
      { ...span(1_100, 1_200), others: [2] },
      span(1_200, 1_300),
    ];
    const many: Timeline = { ...timeline, sources, spans };
    const [main, nvr, cloud, sub] = sources;
    expect(peekSource(many, 1_050, undefined, false)).toBe(nvr);
    // A session that is there is used on.
    expect(peekSource(many, 1_050, main, false)).toBe(sub);
    expect(peekSource(many, 1_150, main, false)).toBe(cloud);
    expect(peekSource(many, 1_250, nvr, false)).toBe(main);
    // Where bytes cost something, a large picture is too much.
    expect(peekSource(many, 1_250, nvr, true)).toBeUndefined();
    expect(peekSource(many, 1_150, undefined, true)).toBe(cloud);
    expect(peekSource(many, 1_350, nvr, false)).toBeUndefined();
  });

  it('knows what comes next in either direction', () => {
    expect([1_050, 1_150, 1_300, 1_500].map((at) => nextRecorded(timeline, at, false))).toEqual([
      1_100,
      1_400,
      1_400,
      undefined,
    ]);
    expect([1_050, 1_150, 1_300, 1_500].map((at) => nextRecorded(timeline, at, true))).toEqual([
      undefined,
      undefined,
      1_200,
      1_500,
    ]);
  });

  it('counts events of a window, those without a length as well', () => {
    const mark = (from: number, to: number, kind: 'motion' | 'sound', count = 1) => ({
      from,
      to,
      kind,
      count,
    });
    const events = [
      mark(900, 1_000, 'motion'),
      mark(1_100, 1_150, 'motion', 3),
      mark(1_140, 1_140, 'sound'),
      mark(2_000, 2_010, 'sound'),
    ];
    const marked: Timeline = { ...timeline, events };
    expect([...countEvents(marked, window)]).toEqual([
      ['motion', 4],
      ['sound', 1],
    ]);
    expect(eventsAt(marked, 1_141, 2).map(({ kind }) => kind)).toEqual(['sound', 'motion']);
    expect(eventsAt(marked, 1_160, 2)).toEqual([]);
  });

  it('knows what can be played', () => {
    expect(lookUp(timeline, 1_150)).toMatchObject({ span: { from: 1_100 } });
    expect(lookUp(timeline, 1_300)).toMatchObject({ gap: { reason: 'camera_away' } });
    expect(lookUp(timeline, 1_900)).toBeUndefined();
    expect(playable(timeline, 1_300)).toBe(1_400);
    expect(playable(timeline, 1_150)).toBe(1_150);
    expect(playable({ ...timeline, spans: [] }, 1_300)).toBeUndefined();
  });

  it('goes back over a gap, and far enough not to be carried over it again at once', () => {
    const s = 1e6;
    const spans = [span(100 * s, 200 * s), span(400 * s, 500 * s), span(600 * s, 604 * s)];
    const long = { ...timeline, spans };
    expect(playable(long, 390 * s)).toBe(400 * s);
    expect(playable(long, 390 * s, true)).toBe(190 * s);
    expect(playable(long, 450 * s, true)).toBe(450 * s);
    expect(playable(long, 700 * s, true)).toBe(600 * s);
    expect(playable(long, 700 * s)).toBe(603 * s);
    expect(playable(long, 50 * s, true)).toBe(100 * s);
  });

  it('judges a wish only by what was said of its own time', () => {
    const answer = { window, timeline };
    expect(seekTarget(answer, 1_300, false)).toBe(1_400);
    expect(seekTarget(answer, 1_300, true)).toBe(1_100);
    expect(seekTarget(answer, 5_000, false)).toBe(5_000);
    expect(seekTarget(answer, 500, true)).toBe(500);
    expect(seekTarget(answer, 2_000, false)).toBe(2_000);
    expect(seekTarget(undefined, 1_300, false)).toBe(1_300);
    const empty = { window, timeline: { ...timeline, spans: [] } };
    expect(seekTarget(empty, 1_300, false)).toBeUndefined();
    expect(overlaps(window, { from: 1_999, to: 3_000 })).toBe(true);
    expect(overlaps(window, { from: 2_000, to: 3_000 })).toBe(false);
  });

  it('moves by keys, not beyond the present', () => {
    const s = 1e6;
    const view = { from: 1_000 * s, to: 5_000 * s };
    const target = (key: string) => keyTarget(key, 4_900 * s, view, 4_905 * s);
    expect(target('ArrowLeft')).toEqual({ at: 4_890 * s, backwards: true });
    expect(target('ArrowDown')).toEqual(target('ArrowLeft'));
    expect(target('PageDown')).toEqual({ at: 4_600 * s, backwards: true });
    expect(target('ArrowRight')).toEqual({ at: 4_905 * s, backwards: false });
    expect(target('ArrowUp')).toEqual(target('ArrowRight'));
    expect(target('Home')).toEqual({ at: 1_000 * s, backwards: false });
    expect(target('End')).toEqual({ at: 4_905 * s, backwards: true });
    expect(target('Tab')).toBeUndefined();
    // The device's clock may be ahead of ours.
    expect(keyTarget('ArrowRight', 4_920 * s, view, 4_905 * s)?.at).toBe(4_920 * s);
  });

  it('names full hours of the person, whatever the zone', () => {
    const hour = 3_600e6;
    // Five and a half hours ahead of UTC.
    const found = ticks({ from: 0, to: 6 * hour }, 6, () => -330);
    expect(found).toEqual([0.5, 1.5, 2.5, 3.5, 4.5, 5.5].map((n) => n * hour));
    expect(ticks({ from: 0, to: 7 * 24 * hour }, 6, () => 0).length).toBeLessThan(7);
  });
});
