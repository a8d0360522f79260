import { describe, expect, it } from 'vitest';
import type { PlanState, Strategy } from '../../src/api/types';
import { ageText, changeOf, takeOver, viewOf, type PlanForm } from '../../src/plan';

const HOUR_S = 3_600;
const yard: Strategy = { id: 'yard', tier: 'main', trigger: { on: 'continuous' } };

function state(revision: number, strategies: Strategy[], ageS: number | null = null): PlanState {
  const keep = { max_age_s: ageS, max_bytes: 5_000_000 };
  return { plan: { camera: 'c.0', place: 'pu', revision, strategies, keep }, recording: [] };
}

function changed(found: PlanState, by: Partial<PlanForm>) {
  const view = viewOf(found);
  return { ...view, form: { ...view.form, ...by } };
}

describe('the plan card', () => {
  it('lengthens no time that nobody has changed', () => {
    const found = state(7, [yard], 36 * HOUR_S);
    const change = changeOf(changed(found, { mode: 'nothing' }));
    expect(change).toEqual({ seen_revision: 7, strategies: [], keep: found.plan.keep });
    expect(changeOf(viewOf(state(7, [yard]))).keep).toEqual({
      max_age_s: null,
      max_bytes: 5_000_000,
    });
  });

  it('writes the time that was picked, and leaves the rest as it was', () => {
    const found = state(7, [yard], 36 * HOUR_S);
    const change = changeOf(changed(found, { ageS: 24 * HOUR_S }));
    expect(change.keep).toEqual({ max_age_s: 24 * HOUR_S, max_bytes: 5_000_000 });
    expect(change.strategies).toEqual([yard]);
    expect(changeOf(changed(found, { ageS: 0 })).keep?.max_age_s).toBeNull();
  });

  it('says times below a day in hours', () => {
    expect(ageText(12 * HOUR_S)).toBe('12 h at most');
    expect(ageText(1.5 * HOUR_S)).toBe('1.5 h at most');
    expect(ageText(36 * HOUR_S)).toBe('36 h at most');
    expect(ageText(72 * HOUR_S)).toBe('3 days at most');
    expect(ageText(0)).toBe('Until the space is needed');
  });

  it('takes over what others have set, unless the person has begun to change it', () => {
    const recording = [
      {
        tier: 'main' as const,
        causes: { manual: false, schedule: false, continuous: true, event: false },
      },
    ];
    const newer = { ...state(8, []), recording };
    expect(takeOver(viewOf(state(7, [yard])), newer)).toEqual(viewOf(newer));
    const touched = changed(state(7, [yard]), { mode: 'sub' });
    const after = takeOver(touched, newer);
    expect(after.form).toEqual(touched.form);
    expect(after.seen.plan.revision).toBe(7);
    expect(after.seen.recording).toEqual(recording);
  });

  it('lets no answer that was late undo what was saved', () => {
    const saved = viewOf(state(8, []));
    expect(takeOver(saved, state(7, [yard]))).toBe(saved);
  });
});
