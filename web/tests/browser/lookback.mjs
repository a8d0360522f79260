// Steps of run.mjs: what a recording looks like, from the device and from the cloud storage, of one camera
// and of several in step.
import assert from 'node:assert/strict';
import { put } from '../mock/cloud.mjs';
import { greyAt } from '../mock/replay.mjs';

const SECOND = 1_000_000;
const MINUTE = 60 * SECOND;
const PHONES = [360, 412];

/** `device`: the page that plays the device. */
export function lookbackTests({ mock, open, get, playing, device, audit, fitsTheWindow }) {
  const opened = async (options = {}) => {
    const page = await open(options, `/#/camera/${mock.state.pu}.0`);
    await playing(page);
    await page.locator('[data-testid=timeline-strip] .span').first().waitFor();
    return page;
  };
  const playsBack = (plays) => device.evaluate((value) => (window.playsBack = value), plays);
  const asked = () => device.evaluate(() => window.replays.flatMap(({ wanted }) => wanted));
  const lookback = (page) =>
    page.evaluate(() => JSON.parse(JSON.stringify(window.__sightline.lookback)));
  /** A time in the strip's hour, as a place on it. */
  const onStrip = async (page, ago) => {
    const { width } = await get(page, 'timeline-strip').boundingBox();
    return { x: (1 - ago / 60) * width, y: 20 };
  };
  /** The grey in the middle of a picture: luma of the limited range, as colour. */
  const greyOf = (page, selector) =>
    page.evaluate((which) => {
      const canvas = document.querySelector(which);
      const { data } = canvas
        .getContext('2d')
        .getImageData(canvas.width >> 1, canvas.height >> 1, 1, 1);
      return data[0];
    }, selector);
  const isGrey = (found, luma, what) => {
    const expected = ((luma - 16) * 255) / 219;
    assert.ok(Math.abs(found - expected) < 8, `${what}: ${found} in place of ${expected}`);
  };

  return {
    async playsTheCloudStorage() {
      const from = Math.floor(Date.now() / 1000 - 600) * SECOND;
      mock.state.recorded = [];
      put(mock.state, from, 15, (n) => [60 + 10 * n, 128, 128]);
      const luma = (wallUs) => 60 + 10 * Math.floor((wallUs - from) / (2 * SECOND));
      await device.evaluate(() => (window.replays = []));
      const page = await opened();
      const storage = get(page, 'timeline-places').filter({ hasText: 'the cloud storage' });
      await storage.waitFor();
      const shows = async (what) => {
        const { atUs } = await lookback(page);
        isGrey(await greyOf(page, '[data-testid=recorded]'), luma(atUs), what);
        return atUs;
      };
      const walls = (least) =>
        page
          .waitForFunction((n) => window.__sightline.lookback.shown.length > n, least)
          .then(() => page.evaluate(() => window.__sightline.lookback.shown.map((s) => s.wallUs)));

      await page.evaluate((us) => window.__sightline.lookback.playFrom(us), from + 5.2 * SECOND);
      const forwards = await walls(20);
      const steps = forwards.slice(1).map((wall, n) => wall - forwards[n]);
      assert.ok(
        steps.every((step) => step === 40_000),
        `pictures lie ${steps} apart`,
      );
      assert.equal(forwards[0], from + 5.2 * SECOND);
      await get(page, 'play-pause').click();
      await page.waitForFunction(() => window.__sightline.lookback.state === 'paused');
      const before = await shows('paused');
      await get(page, 'step-back').click();
      await page.waitForFunction((us) => window.__sightline.lookback.atUs === us, before - 40_000);
      await page.evaluate((us) => window.__sightline.lookback.show(us), from + 21 * SECOND);
      await page.waitForFunction(
        (us) => window.__sightline.lookback.atUs === us,
        from + 21 * SECOND,
      );
      await shows('a jump');
      const { seekMs } = await lookback(page);
      assert.ok(seekMs < 500, `a jump took ${seekMs} ms`);

      const count = (await walls(0)).length;
      await page.evaluate(
        (us) => window.__sightline.lookback.playFrom(us, -2),
        from + 19 * SECOND,
      );
      const backwards = (await walls(count + 20)).slice(count);
      assert.ok(
        backwards.slice(1).every((wall, n) => wall < backwards[n]),
        `not backwards: ${backwards}`,
      );
      await shows('in reverse');
      assert.deepEqual(await asked(), [], 'the device was asked for what it does not have');
      assert.ok(mock.state.fetched.length > 0);
      for (const { shown, isSigned } of mock.state.fetched) {
        assert.equal(shown, undefined, 'the store was shown who asks');
        assert.equal(isSigned, true);
      }

      mock.state.storeFails = true;
      await page.evaluate((us) => window.__sightline.lookback.show(us), from + 29 * SECOND);
      await page.waitForFunction(() => window.__sightline.lookback.state === 'failed');
      assert.equal((await lookback(page)).problem.type, 'storage_away');
      mock.state.storeFails = false;
      await page.evaluate((us) => window.__sightline.lookback.show(us), from + 29 * SECOND);
      await page.waitForFunction(
        (us) => window.__sightline.lookback.atUs === us,
        from + 29 * SECOND,
      );
      await page.context().close();
    },

    async showsOnePictureOfEverySecond() {
      const from = Math.floor(Date.now() / 1000 - 600) * SECOND;
      mock.state.recorded = [];
      put(mock.state, from, 15, () => [100, 128, 128]);
      const page = await opened();
      await get(page, 'timeline-places').waitFor();
      await page.evaluate((us) => window.__sightline.lookback.playFrom(us), from + 2 * SECOND);
      await page.waitForFunction(() => window.__sightline.lookback.state === 'playing');
      await get(page, 'speed').selectOption('each_second');
      const count = await page.evaluate(() => window.__sightline.lookback.shown.length);
      await page.waitForFunction((n) => window.__sightline.lookback.shown.length > n + 3, count);
      const shown = await page.evaluate(
        (n) => window.__sightline.lookback.shown.slice(n),
        count + 1,
      );
      for (const [n, { wallUs, atMs }] of shown.slice(1).entries()) {
        assert.equal(wallUs - shown[n].wallUs, SECOND);
        assert.ok(Math.abs(atMs - shown[n].atMs - 1_000) < 300, `after ${atMs - shown[n].atMs} ms`);
      }
      assert.equal(await get(page, 'speed').inputValue(), 'each_second');
      await page.context().close();
    },

    async showsSmallPicturesOfWhereSomebodyLooks() {
      const now = Date.now() * 1000;
      mock.state.recorded = [{ from: now - 30 * MINUTE, to: now - 10 * MINUTE }];
      put(mock.state, Math.floor(now / SECOND - 3_000) * SECOND, 60, () => [200, 128, 128]);
      await playsBack(true);
      const page = await opened();
      await device.evaluate(() => (window.replays = []));
      const strip = get(page, 'timeline-strip');
      const pictured = page.locator('[data-testid=look][data-pictured]');
      const frames = await page.evaluate(() => window.__sightline.video.currentTime);
      await strip.hover({ position: await onStrip(page, 20) });
      await pictured.waitFor();
      const wallUs = Number(await pictured.getAttribute('data-pictured'));
      const at = Number(await pictured.getAttribute('data-at'));
      assert.ok(at - wallUs >= 0 && at - wallUs < 2 * SECOND, `${at - wallUs} us before it`);
      isGrey(await greyOf(page, '[data-testid=look] canvas'), greyAt(wallUs), 'the small picture');
      const [question] = await asked();
      assert.deepEqual(
        [question.pictures, question.until - question.at],
        ['keyframes', 1],
        'more was asked for than a keyframe',
      );
      // What was on the screen goes on.
      await page.waitForFunction((t) => window.__sightline.video.currentTime > t + 0.5, frames);
      assert.equal((await lookback(page)).state, 'live');

      for (let ago = 29; ago > 11; ago -= 0.25) {
        await strip.hover({ position: await onStrip(page, ago) });
      }
      await pictured.waitFor();
      const many = (await asked()).length;
      assert.ok(many > 1 && many < 40, `${many} questions on one way along the strip`);
      // From the cloud storage where nobody else has it, and no more than the beginning of a segment.
      await strip.hover({ position: await onStrip(page, 49.5) });
      await pictured.waitFor();
      isGrey(await greyOf(page, '[data-testid=look] canvas'), 200, 'the picture from the cloud');
      const ranges = mock.state.fetched.map(({ range }) => range);
      assert.ok(ranges.length > 0 && ranges.every((range) => /^bytes=0-/.test(range)), `${ranges}`);
      // Nothing is recorded there: nothing is asked for, and it is said why.
      const [before, fetched] = [(await asked()).length, mock.state.fetched.length];
      await strip.hover({ position: await onStrip(page, 5) });
      await page.locator('[data-testid=look]:not([data-pictured])').waitFor();
      await page.locator('[data-testid=look]', { hasText: 'the camera gave no picture' }).waitFor();
      assert.deepEqual([(await asked()).length, mock.state.fetched.length], [before, fetched]);

      await get(page, 'player').hover();
      await get(page, 'look').waitFor({ state: 'detached' });
      // The session for it ends.
      await device.waitForFunction(() => window.sessions.size === 1, undefined, {
        timeout: 20_000,
      });
      await page.context().close();
    },

    async looksForATimeWithAFinger() {
      const now = Date.now() * 1000;
      mock.state.recorded = [{ from: now - 50 * MINUTE, to: now - MINUTE }];
      await playsBack(true);
      const page = await opened({ viewport: { width: 360, height: 740 }, hasTouch: true });
      const strip = get(page, 'timeline-strip');
      await strip.scrollIntoViewIfNeeded();
      let box = await strip.boundingBox();
      const touch = await page.context().newCDPSession(page);
      const send = (type, part, down) => {
        const point = { x: box.x + part * box.width, y: box.y + down };
        const touchPoints = part === undefined ? [] : [point];
        return touch.send('Input.dispatchTouchEvent', { type, touchPoints });
      };
      await send('touchStart', 0.3, 15);
      for (let part = 0.3; part < 0.6; part += 0.02) await send('touchMove', part, 15);
      await page.locator('[data-testid=look][data-pictured]').waitFor();
      const at = Number(await get(page, 'look').getAttribute('data-at'));
      await send('touchEnd');
      await get(page, 'look').waitFor({ state: 'detached' });
      await page.waitForFunction(
        (us) => Math.abs(window.__sightline.lookback.atUs - us) < 60_000_000,
        at,
      );
      // The ruler is dragged, and what is played stays.
      await strip.scrollIntoViewIfNeeded();
      box = await strip.boundingBox();
      const ruler = box.height - 10;
      const range = () => get(page, 'timeline-range').getAttribute('data-from').then(Number);
      const from = await range();
      const { length } = (await asked()).filter(({ pictures }) => pictures === undefined);
      await send('touchStart', 0.3, ruler);
      for (let part = 0.3; part < 0.6; part += 0.05) await send('touchMove', part, ruler);
      await send('touchEnd');
      await page.waitForFunction(
        (us) => Number(document.querySelector('[data-testid=timeline-range]').dataset.from) < us,
        from - 10 * MINUTE,
      );
      const plays = (await asked()).filter(({ pictures }) => pictures === undefined);
      assert.equal(plays.length, length, 'the ruler was taken for a jump');
      await page.context().close();
    },

    async namesRecordersThatAreAway() {
      const pu = 'n'.repeat(26);
      mock.state.silent = [{ place: 'nvr', recorder: pu, reason: 'offline' }];
      const page = await opened();
      const note = get(page, 'timeline-silent');
      await note.filter({ hasText: 'The recorder in the house cannot be reached now.' }).waitFor();
      await get(page, 'calendar').locator('summary').click();
      await page.locator('[data-testid=day-1].has').waitFor();
      mock.state.silent = [];
      await note.first().waitFor({ state: 'detached', timeout: 15_000 });
      await page.context().close();
    },

    async deletesWhatReleasedDevicesHaveLeft() {
      const at = Date.now() * 1000;
      const left = { bound: false, segments: 9, bytes: 2_000_000, from: at - MINUTE, to: at };
      mock.state.released = [{ device: 'r'.repeat(26), ...left }];
      const page = await open({}, '/#/settings');
      await get(page, 'cloud-device').filter({ hasText: '2.0 MB' }).waitFor();
      await get(page, 'cloud-erase').click();
      assert.equal(mock.state.released.length, 1, 'nobody was sure yet');
      await get(page, 'cloud-erase').click();
      await get(page, 'cloud-released').waitFor({ state: 'detached' });
      assert.equal(mock.state.released.length, 0);
      await page.context().close();
    },

    async marksEvents() {
      const now = Date.now() * 1000;
      mock.state.recorded = [{ from: now - 50 * MINUTE, to: now - MINUTE }];
      const at = Math.round(now - 20 * MINUTE);
      mock.state.marks = [
        { from: at, to: at, kind: 'motion', count: 3 },
        { from: at + 5 * MINUTE, to: at + 6 * MINUTE, kind: 'sound', count: 1 },
      ];
      const page = await opened();
      assert.equal(await page.locator('[data-testid=timeline-strip] .mark').count(), 2);
      await get(page, 'timeline-events').filter({ hasText: 'motion 3 · sound 1' }).waitFor();
      await page.locator('[data-testid=timeline-strip] .mark.motion').hover({ force: true });
      await page.locator('[data-testid=look]', { hasText: 'motion' }).waitFor();
      await get(page, 'timeline-events').locator('summary').click();
      await device.evaluate(() => (window.replays = []));
      await get(page, 'timeline-event').first().click();
      await device.waitForFunction(
        (us) => window.replays.some(({ wanted }) => wanted.at(-1)?.at === us),
        at,
      );
      await page.context().close();
    },

    async hasOneRowOfControlsOnAPhone() {
      const now = Date.now() * 1000;
      mock.state.recorded = [{ from: now - 50 * MINUTE, to: now - MINUTE }];
      await playsBack(true);
      for (const width of PHONES) {
        for (const locale of ['en-GB', 'zh-CN']) {
          const page = await opened({ viewport: { width, height: 740 }, locale });
          await page.evaluate(
            (us) => window.__sightline.lookback.playFrom(us),
            now - 20 * MINUTE,
          );
          await page.waitForFunction(() => window.__sightline.lookback.state === 'playing');
          for (const row of ['.lookback-controls', '.timeline-tools']) {
            const boxes = await page.evaluate((which) => {
              const parts = `${which} :is(button, select, .wall, .range)`;
              return [...document.querySelectorAll(parts)].map((part) => {
                const { top, bottom, left, right } = part.getBoundingClientRect();
                return { top, bottom, left, right, isTarget: !part.matches('.wall, .range') };
              });
            }, row);
            const what = `${row} at ${width} px, ${locale}: ${JSON.stringify(boxes)}`;
            assert.ok(boxes.length >= 5, what);
            const middles = boxes.map(({ top, bottom }) => (top + bottom) / 2);
            assert.ok(Math.max(...middles) - Math.min(...middles) < 3, what);
            boxes.forEach(({ left, right }, n) => {
              assert.ok(left >= 0 && right <= width, what);
              assert.ok(n === 0 || left >= boxes[n - 1].right - 0.5, `they overlap: ${what}`);
            });
            for (const { top, bottom, left, right } of boxes.filter(({ isTarget }) => isTarget)) {
              assert.ok(bottom - top >= 44 && right - left >= 44, what);
            }
          }
          await fitsTheWindow(page, `looking back at ${width} px, ${locale}`);
          await page.context().close();
        }
      }
    },

    async looksBackAtSeveralCameras() {
      const now = Date.now() * 1000;
      const at = Math.round(now - 20 * MINUTE);
      const other = `${mock.state.pu}.1`;
      mock.state.extra = [{ ...mock.camera(), id: other, name: 'Garden' }];
      mock.state.recorded = [{ from: at - 10 * MINUTE, to: at + 10 * MINUTE }];
      // A gap of the second, four seconds from where it begins and five long.
      mock.state.recordedBy[other] = [
        { from: at - 10 * MINUTE, to: at + 4 * SECOND },
        { from: at + 9 * SECOND, to: at + 10 * MINUTE },
      ];
      await playsBack(true);
      const page = await open({}, '/');
      await get(page, 'nav-together').click();
      await get(page, 'together-hint').waitFor();
      const camera = (id) => page.locator(`[data-testid=together-camera][data-camera="${id}"]`);
      await camera(other).check();
      await camera(`${mock.state.pu}.0`).check();
      const together = () => page.evaluate(() => JSON.parse(JSON.stringify(window.__together)));
      await page.waitForFunction(() => window.__together?.parts.length === 2);
      await page.locator('[data-testid=timeline-strip] .lane .span').nth(2).waitFor();
      await page.evaluate((us) => window.__together.playFrom(us), at);
      await page.waitForFunction((us) => window.__together.atUs > us, at + 2 * SECOND);
      const { parts } = await together();
      const apart = Math.abs(parts[0].atUs - parts[1].atUs);
      assert.ok(apart < 300_000, `two cameras are ${apart} us apart`);
      for (const tile of await get(page, 'tile').all()) {
        assert.equal(await tile.getAttribute('data-absence'), null);
      }

      const gone = page.locator(`[data-testid=tile][data-camera="${other}"][data-absence]`);
      await gone.waitFor({ timeout: 10_000 });
      await gone.filter({ hasText: 'the camera gave no picture' }).waitFor();
      const first = () =>
        together().then((view) => view.parts.find(({ camera: id }) => id !== other).atUs);
      const before = await first();
      await page.waitForFunction((us) => window.__together.atUs > us, before + 1.5 * SECOND);
      assert.ok((await first()) > before + SECOND, 'the other goes on');
      await gone.waitFor({ state: 'detached', timeout: 10_000 });
      await page.waitForFunction(
        ([id, us]) => window.__together.parts.find(({ camera }) => camera === id).atUs > us,
        [other, at + 9.5 * SECOND],
      );
      const later = await together();
      const [a, b] = later.parts.map((part) => part.atUs);
      assert.ok(Math.abs(a - b) < 400_000, `behind the gap they are ${Math.abs(a - b)} us apart`);

      await get(page, 'play-pause').click();
      await page.waitForFunction(() => window.__together.state === 'paused');
      const stepped = await page.evaluate(() => window.__together.atUs);
      await get(page, 'step').click();
      await page.waitForFunction((us) => window.__together.atUs !== us, stepped);
      await page.waitForFunction(() => {
        const [one, two] = window.__together.parts;
        return one.atUs === two.atUs && one.atUs === window.__together.atUs;
      });
      await get(page, 'speed').selectOption('-2');
      const turned = await page.evaluate(() => window.__together.atUs);
      await page.waitForFunction((us) => window.__together.atUs < us - 1_000_000, turned);

      await get(page, 'timeline-strip').focus();
      await page.keyboard.press('PageDown');
      await page.waitForFunction((us) => window.__together.atUs < us, turned - 4 * MINUTE);
      await audit(page, 'several cameras');
      await page.setViewportSize({ width: 360, height: 740 });
      await fitsTheWindow(page, 'several cameras on a phone');
      // One is taken away: the other is left, and the time is kept.
      await camera(other).uncheck();
      await get(page, 'together-hint').waitFor();
      await device.waitForFunction(() => window.sessions.size === 0, undefined, {
        timeout: 20_000,
      });
      await page.context().close();
    },
  };
}
