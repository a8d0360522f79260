// Command line of the end-to-end script.
import { parseArgs } from 'node:util';
import { findChromium } from './chromium.mjs';

export const USAGE = `npm run e2e -- --portal URL --sms-log FILE --phone NUMBER --claim-code CODE
  --seconds N      how long to watch (default 10)
  --out DIR        where screenshots go (default e2e/out)
  --tone HZ        pitch to expect; 0: do not check (default 440)
  --repeat N       reopen the player N times for time-to-first-frame figures (default 0)
  --max-latency MS exit 1 when the picture's age exceeds this at any time (default 500)
  --timeline       while watching, print {"event":"playing"}, then every 250 ms a line of what is
                   shown; sessions that had to be renewed are no failure
  --quality        also pick CIF, D1, 720p and frame rates, and check what is decoded
  --no-barcode     the camera is not the synthetic one: do not read the time from the picture
  --outage         then print {"event":"take_away"}, expect the page to say that the camera is
                   away, print {"event":"gone"}, and expect the picture to come back by itself:
                   {"event":"back"}. Whoever starts this script takes the camera away and back
  --lookback N     then look back at what is recorded, once the page is N seconds old (default: not)
  --each           instead open each camera in turn, and tell what it shows: size, rate, pitch,
                   or the refusal in words
  --chromium PATH  (default: TEST_CHROMIUM, or what is installed)
  --headed         show the browser`;

export function options(argv) {
  const { values } = parseArgs({
    args: argv,
    options: {
      portal: { type: 'string' },
      'sms-log': { type: 'string' },
      phone: { type: 'string' },
      'claim-code': { type: 'string' },
      seconds: { type: 'string', default: '10' },
      out: { type: 'string' },
      tone: { type: 'string', default: '440' },
      repeat: { type: 'string', default: '0' },
      'max-latency': { type: 'string', default: '500' },
      timeline: { type: 'boolean', default: false },
      quality: { type: 'boolean', default: false },
      'no-barcode': { type: 'boolean', default: false },
      outage: { type: 'boolean', default: false },
      lookback: { type: 'string', default: '0' },
      each: { type: 'boolean', default: false },
      chromium: { type: 'string', default: findChromium() },
      headed: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const missing = ['portal', 'sms-log', 'phone', 'claim-code'].filter((name) => !values[name]);
  if (values.help || missing.length > 0) {
    console.error(missing.length > 0 ? `missing: --${missing.join(', --')}\n${USAGE}` : USAGE);
    process.exit(values.help ? 0 : 2);
  }
  const number = (name) => {
    const value = Number(values[name]);
    if (Number.isFinite(value) && value >= 0) return value;
    console.error(`--${name} must be a number\n${USAGE}`);
    return process.exit(2);
  };
  return {
    ...values,
    smsLog: values['sms-log'],
    claimCode: values['claim-code'],
    seconds: number('seconds'),
    tone: number('tone'),
    repeat: number('repeat'),
    lookback: number('lookback'),
    maxLatencyMs: number('max-latency'),
    barcode: !values['no-barcode'],
  };
}
