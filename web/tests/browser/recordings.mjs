// Steps of run.mjs: what is recorded, on the strip, in the calendar and in the plan.
import assert from 'node:assert/strict';
import { firstPlan } from '../mock/server.mjs';

const SECOND = 1_000_000;
const MINUTE = 60 * SECOND;
const CAUSES = { manual: false, schedule: false, continuous: true, event: false };

/** `device`: the page that plays the device. */
export function recordingTests({ mock, open, get, playing, device }) {
  const opened = async () => {
    const page = await open({}, `/#/camera/${mock.state.pu}.0`);
    await playing(page);
    return page;
  };
  const openCard = (page, id) => get(page, id).locator('summary').click();
  const says = (page, id, text) => get(page, id).filter({ hasText: text }).waitFor();
  const isSilent = (page, id) =>
    page.waitForFunction(
      (name) => document.querySelector(`[data-testid=${name}]`).innerText === '',
      id,
    );
  /** The newest time that the page has asked the device for. */
  const wanted = () => device.evaluate(() => window.replays.at(-1)?.wanted.at(-1)?.at);
  const isWanted = (at) =>
    device.waitForFunction((us) => window.replays.at(-1)?.wanted.at(-1)?.at === us, at);
  const count = () =>
    device.evaluate(() => window.replays.reduce((sum, { wanted }) => sum + wanted.length, 0));

  return {
    async asksForRecordingsBehindTheFirstPicture() {
      const page = await open();
      await page.locator('[data-testid=thumbnail][data-shown=true]').waitFor();
      await page.evaluate(() => {
        const note = (event) => (window.__clickedMs = event.timeStamp);
        window.addEventListener('click', note, { capture: true });
      });
      mock.state.asked = [];
      await get(page, 'camera-card').click();
      await playing(page);
      await get(page, 'timeline-summary').waitFor();
      const { asked, shown } = await page.evaluate(() => {
        const requests = performance.getEntriesByType('resource');
        const mine = requests.filter(({ name }) => new URL(name).pathname.endsWith('/recordings'));
        const asked = Math.min(...mine.map(({ startTime }) => startTime));
        return { asked, shown: window.__clickedMs + window.__sightline.stages.total };
      });
      assert.ok(asked >= shown, `asked at ${asked} ms, the first picture was there at ${shown} ms`);
      const early = mock.state.asked.filter((path) => /\/(plans|days)$/.test(path));
      assert.deepEqual(early, [], 'asked for what nobody has opened');
      await page.context().close();
    },

    async setsWhatIsRecorded() {
      mock.state.plan = { ...firstPlan(), keep: { max_age_s: 129_600 } };
      const page = await opened();
      const mode = get(page, 'plan-mode');
      const save = async (revision) => {
        await get(page, 'plan-save').click();
        await until(() => mock.state.plan.revision === revision);
        await page.locator('[data-testid=plan-save]:not([disabled])').waitFor();
      };
      await openCard(page, 'plan');
      await says(page, 'plan-now', 'Nothing is being recorded now.');
      mock.state.recording = [{ tier: 'main', causes: CAUSES }];
      await says(page, 'plan-now', 'It is being recorded now.');
      const age = get(page, 'plan-keep').locator('option:checked');
      assert.equal(await age.textContent(), '36 h at most');
      await mode.selectOption('nothing');
      await save(2);
      assert.deepEqual(mock.state.plan.strategies, []);
      assert.equal(mock.state.plan.keep.max_age_s, 129_600, 'what nobody changed');

      await mode.selectOption('main');
      const small = { id: 'small', tier: 'sub', trigger: { on: 'continuous' } };
      mock.state.plan = { ...mock.state.plan, revision: 3, strategies: [small] };
      await get(page, 'plan-save').click();
      await says(page, 'plan-error', 'changed this plan meanwhile');
      assert.equal(await mode.inputValue(), 'sub', 'it shows the plan that holds');
      await mode.selectOption('main');
      await get(page, 'plan-keep').selectOption('86400');
      await save(4);
      assert.equal(mock.state.plan.strategies[0].tier, 'main');
      assert.equal(mock.state.plan.keep.max_age_s, 86_400);
      await isSilent(page, 'plan-error');

      mock.state.recorderFails = 'device_offline';
      await says(page, 'plan-error', 'cannot be reached');
      assert.equal(await mode.inputValue(), 'main', 'what was shown stays');
      await get(page, 'plan-retry').waitFor();
      mock.state.recorderFails = undefined;
      await isSilent(page, 'plan-error');
      await page.context().close();
    },

    async showsTheDaysThatAreRecorded() {
      const page = await opened();
      const label = (day) => get(page, `day-${day}`).getAttribute('aria-label');
      mock.state.recorderFails = 'device_offline';
      await openCard(page, 'calendar');
      await says(page, 'calendar-error', 'cannot be reached');
      assert.match(await label(1), /not known yet/);
      assert.equal(await page.locator('.calendar .weekday').count(), 7);
      mock.push({ type: 'camera', camera: { ...mock.camera(), presence: 'offline' } });
      await page.locator('[data-presence=offline]').waitFor();
      mock.state.recorderFails = undefined;
      mock.push({ type: 'camera', camera: mock.camera() });
      await page.locator('[data-testid=day-1].has').waitFor();
      assert.match(await label(4), /nothing recorded/);
      await isSilent(page, 'calendar-error');
      await get(page, 'day-1').click();
      const today = new Date();
      const first = new Date(today.getFullYear(), today.getMonth(), 1).getTime() * 1000;
      await page.waitForFunction((us) => {
        const range = document.querySelector('[data-testid=timeline-range]');
        return Number(range.dataset.from) === us;
      }, first);

      mock.state.recorderFails = 'storage_away';
      await get(page, 'calendar-earlier').click();
      await says(page, 'calendar-error', 'card or disk');
      assert.match(await label(2), /not known yet/);
      mock.state.recorderFails = undefined;
      await get(page, 'calendar-retry').click();
      await page.locator('[data-testid=day-2].has').waitFor();
      await page.context().close();
    },

    async movesOnTheStrip() {
      const { long, short } = twoRecordings();
      const page = await opened();
      await get(page, 'timeline-summary').waitFor();
      await device.evaluate(() => (window.replays = []));
      const strip = get(page, 'timeline-strip');
      await strip.focus();
      for (const [key, at] of [
        ['ArrowLeft', short.to - 10 * SECOND],
        ['PageDown', long.to - 10 * SECOND],
        ['Home', long.from],
        ['End', short.to - 10 * SECOND],
        ['ArrowUp', short.to - SECOND],
      ]) {
        await page.keyboard.press(key);
        await isWanted(at);
      }
      const { width } = await strip.boundingBox();
      const ago = (minutes) => ({ x: (1 - minutes / 60) * width, y: 20 });
      const before = await count();
      await strip.click({ button: 'right', position: ago(15) });
      await strip.click({ button: 'middle', position: ago(15) });
      await strip.click({ position: ago(7) });
      await isWanted(short.from);
      assert.equal(await count(), before + 1, 'other buttons move nothing');

      await device.evaluate(() => window.replays.at(-1).channel.close());
      await device.waitForFunction(() => window.replays.length === 2);
      await isWanted(short.from);
      await device.evaluate(() => window.replays.at(-1).channel.close());
      await page.waitForFunction(() => window.__sightline.lookback.state === 'failed');
      await get(page, 'go-live').click();
      await page.waitForFunction(() => window.__sightline.lookback.state === 'live');
      const focus = await page.evaluate(() => document.activeElement.dataset.testid);
      assert.equal(focus, 'timeline-strip');
      await page.context().close();
    },

    async judgesNoTimeByAnotherWindow() {
      twoRecordings();
      const page = await opened();
      await page.locator('[data-testid=timeline-strip] .span').first().waitFor();
      await device.evaluate(() => (window.replays = []));
      mock.state.recorderFails = 'storage_away';
      for (let n = 0; n < 2; n += 1) await get(page, 'timeline-earlier').click();
      await says(page, 'timeline-error', 'card or disk');
      assert.equal(await page.locator('[data-testid=timeline-strip] .span').count(), 0);
      assert.equal(await get(page, 'timeline-summary').count(), 0);
      await get(page, 'timeline-strip').click();
      await device.waitForFunction(() => window.replays.at(-1)?.wanted.length > 0);
      const at = await wanted();
      const { from, to } = await get(page, 'timeline-range').evaluate((range) => ({
        from: Number(range.dataset.from),
        to: Number(range.dataset.to),
      }));
      const middle = (from + to) / 2;
      assert.ok(Math.abs(at - middle) < MINUTE, `the middle is ${middle}, asked for was ${at}`);
      mock.state.recorderFails = undefined;
      await page.waitForFunction(() => !document.querySelector('[data-testid=timeline-error]'));
      await page.context().close();
    },

    async offersNothingWhereNothingRecords() {
      mock.state.recorderFails = 'not_found';
      const page = await opened();
      for (const id of ['timeline', 'calendar', 'plan']) {
        await get(page, id).waitFor({ state: 'detached' });
      }
      await page.context().close();
    },
  };

  /** Long ago and just now, with a gap between and behind them. */
  function twoRecordings() {
    const now = Date.now() * 1000;
    const part = (from, to) => ({ from: now - from * MINUTE, to: now - to * MINUTE });
    const [long, short] = [part(20, 10), part(4, 1)];
    mock.state.recorded = [long, short];
    return { long, short };
  }
}

async function until(condition) {
  const untilMs = Date.now() + 30_000;
  while (!condition()) {
    assert.ok(Date.now() < untilMs, `never: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
