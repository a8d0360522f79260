// Segments for the cloud storage of the mock: fragmented MP4 (ISO/IEC 14496-12), as units record it.
import { keyframe, pictureSet, PROFILE, repeated, sequenceSet, SIDE } from './h264.mjs';

const TIMESCALE = 90_000;

const u16 = (value) => [(value >> 8) & 0xff, value & 0xff];
const u32 = (value) => [...u16(value >>> 16), ...u16(value & 0xffff)];
const zeros = (count) => Array(count).fill(0);
const text = (words) => [...Buffer.from(words)];
const box = (type, ...content) => {
  const body = content.flat();
  return [...u32(body.length + 8), ...text(type), ...body];
};
/** The unit matrix. */
const MATRIX = [1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30].flatMap(u32);

function head() {
  const [sps, pps] = [sequenceSet(), pictureSet()];
  const sets = [0xff, 0xe1, ...u16(sps.length), ...sps, 1, ...u16(pps.length), ...pps];
  const configuration = box('avcC', [1, ...PROFILE], sets);
  const size = [...u16(SIDE), ...u16(SIDE)];
  const entry = [...zeros(6), ...u16(1), ...zeros(16), ...size, ...zeros(12), ...u16(1)];
  const form = box('avc1', entry, zeros(32), u16(24), u16(0xffff), configuration);
  const tables = ['stts', 'stsc', 'stco'].map((type) => box(type, zeros(8)));
  const table = box('stbl', box('stsd', u32(0), u32(1), form), box('stsz', zeros(12)), ...tables);
  const here = box('dinf', box('dref', u32(0), u32(1), box('url ', u32(1))));
  const times = box('mdhd', zeros(12), u32(TIMESCALE), zeros(8));
  const handler = box('hdlr', zeros(8), text('vide'), zeros(13));
  const media = box('mdia', times, handler, box('minf', box('vmhd', zeros(12)), here, table));
  const shown = [...u32(SIDE << 16), ...u32(SIDE << 16)];
  const track = box('tkhd', u32(3), zeros(8), u32(1), zeros(24), MATRIX, shown);
  const whole = [...zeros(12), ...u32(1_000), ...u32(0), ...u32(1 << 16), ...zeros(12)];
  const header = box('mvhd', whole, MATRIX, zeros(24), u32(2));
  const defaults = box('mvex', box('trex', u32(0), u32(1), u32(1), zeros(12)));
  const movie = box('moov', header, box('trak', track, media), defaults);
  return [...box('ftyp', text('iso6'), u32(0), text('iso6')), ...movie];
}

/**
 * A segment: `groups` keyframes of a colour (Y, Cb, Cr), each with what follows it.
 * Gives its bytes and the length of its head.
 */
export function segment(colour, { groups = 2, pictures = 25, fps = 25 } = {}) {
  const samples = Array.from({ length: groups * pictures }, (_, n) => {
    const [of, group] = [n % pictures, Math.floor(n / pictures)];
    const nal = of === 0 ? keyframe(colour, group % 2) : repeated(of);
    return { data: [...u32(nal.length), ...nal], flags: of === 0 ? 0x0200_0000 : 0x0101_0000 };
  });
  const lines = samples.flatMap(({ data, flags }) => [
    ...u32(TIMESCALE / fps),
    ...u32(data.length),
    ...u32(flags),
  ]);
  const moof = (offset) =>
    box(
      'moof',
      box('mfhd', u32(0), u32(1)),
      box(
        'traf',
        box('tfhd', u32(0x02_0000), u32(1)),
        box('tfdt', u32(0), u32(0)),
        box('trun', u32(0x701), u32(samples.length), u32(offset), lines),
      ),
    );
  const data = samples.flatMap((sample) => sample.data);
  const begin = head();
  const bytes = [...begin, ...moof(moof(0).length + 8), ...box('mdat', data)];
  return { bytes: Buffer.from(bytes), headBytes: begin.length };
}
