// Real H.264 for tests, made without an encoder, here and in a page. A keyframe is one flat colour,
// uncompressed (I_PCM); what follows it repeats it (all macroblocks skipped). So the colour of a picture
// tells which it is.

/** Width and height, in pixels. */
export const SIDE = 64;
const BLOCKS = (SIDE / 16) ** 2;

/** Writes bits, most significant first. */
class Bits {
  bytes = [];
  free = 0;

  u(count, value) {
    for (let bit = count - 1; bit >= 0; bit -= 1) {
      if (this.free === 0) {
        this.bytes.push(0);
        this.free = 8;
      }
      this.free -= 1;
      this.bytes[this.bytes.length - 1] |= ((value >> bit) & 1) << this.free;
    }
    return this;
  }

  /** Exp-Golomb (ITU-T H.264, 9.1). */
  ue(...values) {
    for (const value of values) {
      const length = Math.floor(Math.log2(value + 1));
      this.u(length, 0).u(length + 1, value + 1);
    }
    return this;
  }

  align() {
    this.free = 0;
    return this;
  }

  push(bytes) {
    this.bytes.push(...bytes);
    return this;
  }

  /** With the trailing bits, and nothing in it that looks like a start code. */
  nal(head) {
    this.u(1, 1).align();
    const out = [head];
    let zeros = 0;
    for (const byte of this.bytes) {
      if (zeros >= 2 && byte <= 3) {
        out.push(3);
        zeros = 0;
      }
      out.push(byte);
      zeros = byte === 0 ? zeros + 1 : 0;
    }
    return out;
  }
}

/** Profile, constraints, level; `CODECS` is the same as decoders are asked for it. */
export const PROFILE = [66, 0xc0, 10];
export const CODECS = 'avc1.42c00a';

/** Baseline, 64 × 64; pictures come in the order in which they are decoded. */
export function sequenceSet() {
  const bits = new Bits().push(PROFILE);
  // Id, length of frame_num, kind of order, reference pictures.
  bits.ue(0, 0, 2, 1).u(1, 0);
  bits.ue(SIDE / 16 - 1, SIDE / 16 - 1);
  // Frames only, direct_8x8, no cropping, no VUI.
  return bits.u(1, 1).u(1, 1).u(1, 0).u(1, 0).nal(0x67);
}

export function pictureSet() {
  const bits = new Bits().ue(0, 0).u(1, 0).u(1, 0).ue(0, 0, 0).u(1, 0).u(2, 0);
  // Quantizers as they are by default, and the filter is told in each slice.
  return bits.ue(0, 0, 0).u(1, 1).u(1, 0).u(1, 0).nal(0x68);
}

/** A picture of one colour. `id`: another one than that of the keyframe before. */
export function keyframe([y, cb, cr], id) {
  const bits = new Bits().ue(0, 7, 0).u(4, 0).ue(id).u(1, 0).u(1, 0).ue(0, 1);
  for (let block = 0; block < BLOCKS; block += 1) {
    bits.ue(25).align();
    bits.push(Array(256).fill(y)).push(Array(64).fill(cb)).push(Array(64).fill(cr));
  }
  return bits.nal(0x65);
}

/** The `n`th picture behind its keyframe. */
export function repeated(n) {
  const bits = new Bits().ue(0, 5, 0).u(4, n % 16).u(1, 0).u(1, 0).u(1, 0).ue(0, 1);
  return bits.ue(BLOCKS).nal(0x41);
}
