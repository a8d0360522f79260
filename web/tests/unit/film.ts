/** Small segments for tests: their pictures cannot be decoded, their form is right. */

function u16(value: number): number[] {
  return [(value >> 8) & 0xff, value & 0xff];
}

function u32(value: number): number[] {
  return [...u16(value >>> 16), ...u16(value & 0xffff)];
}

export function zeros(count: number): number[] {
  return Array.from({ length: count }, () => 0);
}

function box(type: string, ...content: number[][]): number[] {
  const body = content.flat();
  return [...u32(body.length + 8), ...Array.from(type, (c) => c.charCodeAt(0)), ...body];
}

export const SPS = [0x67, 0x64, 0, 0x1f];
export const PPS = [0x68, 1];

function trak(id: number, timescale: number, entry: number[]): number[] {
  const described = box('stsd', u32(0), u32(1), entry);
  const media = box('mdhd', u32(0), u32(0), u32(0), u32(timescale), u32(0), u32(0));
  const tables = box('minf', box('stbl', described));
  const header = box('tkhd', u32(0), u32(0), u32(0), u32(id), zeros(68));
  return box('trak', header, box('mdia', media, tables));
}

function run(id: number, time: number, offset: number, samples: [number, number, number][]) {
  const lines = samples.flatMap(([duration, size, flags]) => [
    ...u32(duration),
    ...u32(size),
    ...u32(flags),
  ]);
  return box(
    'traf',
    box('tfhd', u32(0x02_0000), u32(id)),
    box('tfdt', u32(0), u32(time)),
    box('trun', u32(0x701), u32(samples.length), u32(offset), lines),
  );
}

/** Four pictures, half a second each, two of them keyframes, and two pieces of sound. */
export function film(mark: number): ArrayBuffer {
  const avc = box('avcC', [1, 0x64, 0, 0x1f, 0xff, 0xe1], u16(4), SPS, [1], u16(2), PPS);
  const picture = box('avc1', zeros(24), u16(640), u16(360), zeros(50), avc);
  const sound = box('alaw', zeros(16), u16(1), u16(16), zeros(4), u16(8_000), u16(0));
  const moov = box('moov', trak(1, 1_000, picture), trak(2, 8_000, sound));
  const sync = 0x0200_0000;
  const after = 0x0101_0000;
  const pictures: [number, number, number][] = [sync, after, sync, after].map((flags) => [
    500,
    6,
    flags,
  ]);
  const sounds: [number, number, number][] = [
    [8_000, 3, 0],
    [8_000, 3, 0],
  ];
  const moof = (offset: number) =>
    box('moof', run(1, 1_000, offset, pictures), run(2, 8_000, offset + 24, sounds));
  const length = moof(0).length;
  const data = [0x65, 0x41, 0x65, 0x41].flatMap((kind) => [0, 0, 0, 2, kind, mark]);
  const bytes = [...moov, ...moof(length + 8), ...box('mdat', data, [1, 2, 3], [4, 5, 6])];
  return Uint8Array.from(bytes).buffer;
}
