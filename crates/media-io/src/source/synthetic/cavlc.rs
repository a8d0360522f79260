//! Residual blocks in CAVLC (ITU-T H.264, 9.2), for blocks whose neighbours have no coefficients.

use super::bits::BitWriter;

/// A code word: its value and its length in bits.
type Code = (u8, u8);

/// `coeff_token` for 0 <= nC < 2, by number of coefficients and trailing ones (Table 9-5).
#[rustfmt::skip]
const COEFF_TOKEN: [[Code; 4]; 17] = [
    [(1, 1), (0, 0), (0, 0), (0, 0)],
    [(5, 6), (1, 2), (0, 0), (0, 0)],
    [(7, 8), (4, 6), (1, 3), (0, 0)],
    [(7, 9), (6, 8), (5, 7), (3, 5)],
    [(7, 10), (6, 9), (5, 8), (3, 6)],
    [(7, 11), (6, 10), (5, 9), (4, 7)],
    [(15, 13), (6, 11), (5, 10), (4, 8)],
    [(11, 13), (14, 13), (5, 11), (4, 9)],
    [(8, 13), (10, 13), (13, 13), (4, 10)],
    [(15, 14), (14, 14), (9, 13), (4, 11)],
    [(11, 14), (10, 14), (13, 14), (12, 13)],
    [(15, 15), (14, 15), (9, 14), (12, 14)],
    [(11, 15), (10, 15), (13, 15), (8, 14)],
    [(15, 16), (1, 15), (9, 15), (12, 15)],
    [(11, 16), (14, 16), (13, 16), (8, 15)],
    [(7, 16), (10, 16), (9, 16), (12, 16)],
    [(4, 16), (6, 16), (5, 16), (8, 16)],
];

/// `coeff_token` of chroma DC, nC = -1 (Table 9-5).
#[rustfmt::skip]
const COEFF_TOKEN_CHROMA_DC: [[Code; 4]; 5] = [
    [(1, 2), (0, 0), (0, 0), (0, 0)],
    [(7, 6), (1, 1), (0, 0), (0, 0)],
    [(4, 6), (6, 6), (1, 3), (0, 0)],
    [(3, 6), (3, 7), (2, 7), (5, 6)],
    [(2, 6), (3, 8), (2, 8), (0, 7)],
];

/// `total_zeros`, by number of coefficients (Tables 9-7 and 9-8); row 0 is not used.
#[rustfmt::skip]
const TOTAL_ZEROS: [[Code; 16]; 16] = [
    [(0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
    [(1, 1), (3, 3), (2, 3), (3, 4), (2, 4), (3, 5), (2, 5), (3, 6), (2, 6), (3, 7), (2, 7), (3, 8), (2, 8), (3, 9), (2, 9), (1, 9)],
    [(7, 3), (6, 3), (5, 3), (4, 3), (3, 3), (5, 4), (4, 4), (3, 4), (2, 4), (3, 5), (2, 5), (3, 6), (2, 6), (1, 6), (0, 6), (0, 0)],
    [(5, 4), (7, 3), (6, 3), (5, 3), (4, 4), (3, 4), (4, 3), (3, 3), (2, 4), (3, 5), (2, 5), (1, 6), (1, 5), (0, 6), (0, 0), (0, 0)],
    [(3, 5), (7, 3), (5, 4), (4, 4), (6, 3), (5, 3), (4, 3), (3, 4), (3, 3), (2, 4), (2, 5), (1, 5), (0, 5), (0, 0), (0, 0), (0, 0)],
    [(5, 4), (4, 4), (3, 4), (7, 3), (6, 3), (5, 3), (4, 3), (3, 3), (2, 4), (1, 5), (1, 4), (0, 5), (0, 0), (0, 0), (0, 0), (0, 0)],
    [(1, 6), (1, 5), (7, 3), (6, 3), (5, 3), (4, 3), (3, 3), (2, 3), (1, 4), (1, 3), (0, 6), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
    [(1, 6), (1, 5), (5, 3), (4, 3), (3, 3), (3, 2), (2, 3), (1, 4), (1, 3), (0, 6), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
    [(1, 6), (1, 4), (1, 5), (3, 3), (3, 2), (2, 2), (2, 3), (1, 3), (0, 6), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
    [(1, 6), (0, 6), (1, 4), (3, 2), (2, 2), (1, 3), (1, 2), (1, 5), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
    [(1, 5), (0, 5), (1, 3), (3, 2), (2, 2), (1, 2), (1, 4), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
    [(0, 4), (1, 4), (1, 3), (2, 3), (1, 1), (3, 3), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
    [(0, 4), (1, 4), (1, 2), (1, 1), (1, 3), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
    [(0, 3), (1, 3), (1, 1), (1, 2), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
    [(0, 2), (1, 2), (1, 1), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
    [(0, 1), (1, 1), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
];

/// `total_zeros` of chroma DC, by number of coefficients (Table 9-9 a); row 0 is not used.
#[rustfmt::skip]
const TOTAL_ZEROS_CHROMA_DC: [[Code; 4]; 4] = [
    [(0, 0), (0, 0), (0, 0), (0, 0)],
    [(1, 1), (1, 2), (1, 3), (0, 3)],
    [(1, 1), (1, 2), (0, 2), (0, 0)],
    [(1, 1), (0, 1), (0, 0), (0, 0)],
];

/// `run_before`, by zeros left, 7 standing for more than 6 (Table 9-10); row 0 is not used.
#[rustfmt::skip]
const RUN_BEFORE: [[Code; 15]; 8] = [
    [(0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
    [(1, 1), (0, 1), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
    [(1, 1), (1, 2), (0, 2), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
    [(3, 2), (2, 2), (1, 2), (0, 2), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
    [(3, 2), (2, 2), (1, 2), (1, 3), (0, 3), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
    [(3, 2), (2, 2), (3, 3), (2, 3), (1, 3), (0, 3), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
    [(3, 2), (0, 3), (1, 3), (3, 3), (2, 3), (5, 3), (4, 3), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
    [(7, 3), (6, 3), (5, 3), (4, 3), (3, 3), (2, 3), (1, 3), (1, 4), (1, 5), (1, 6), (1, 7), (1, 8), (1, 9), (1, 10), (1, 11)],
];

/// Writes the 16 levels of an `Intra16x16DCLevel` block, in zig-zag order.
pub(super) fn luma_dc(out: &mut BitWriter, levels: &[i32; 16]) {
    let scan = Scan::of(levels);
    put(out, COEFF_TOKEN[scan.count][scan.trailing_ones]);
    let zeros = TOTAL_ZEROS[scan.count.min(15)][scan.total_zeros.min(15)];
    scan.write(out, 16, zeros);
}

/// Writes the 4 levels of a `ChromaDCLevel` block.
pub(super) fn chroma_dc(out: &mut BitWriter, levels: &[i32; 4]) {
    let scan = Scan::of(levels);
    put(out, COEFF_TOKEN_CHROMA_DC[scan.count][scan.trailing_ones]);
    let zeros = TOTAL_ZEROS_CHROMA_DC[scan.count.min(3)][scan.total_zeros.min(3)];
    scan.write(out, 4, zeros);
}

fn put(out: &mut BitWriter, (value, length): Code) {
    out.bits(u32::from(value), u32::from(length));
}

/// The non-zero levels of a block, highest frequency first, and the zeros before each.
struct Scan {
    levels: [i32; 16],
    runs: [usize; 16],
    count: usize,
    trailing_ones: usize,
    total_zeros: usize,
}

impl Scan {
    fn of(block: &[i32]) -> Self {
        let mut scan =
            Self { levels: [0; 16], runs: [0; 16], count: 0, trailing_ones: 0, total_zeros: 0 };
        for level in block.iter().rev() {
            if *level != 0 {
                scan.levels[scan.count] = *level;
                scan.count += 1;
            } else if scan.count > 0 {
                scan.runs[scan.count - 1] += 1;
                scan.total_zeros += 1;
            }
        }
        scan.trailing_ones =
            scan.levels[..scan.count].iter().take(3).take_while(|l| l.abs() == 1).count();
        scan
    }

    fn write(&self, out: &mut BitWriter, most: usize, total_zeros: Code) {
        if self.count == 0 {
            return;
        }
        for level in &self.levels[..self.trailing_ones] {
            out.bits(u32::from(*level < 0), 1);
        }
        self.write_levels(out);
        if self.count < most {
            put(out, total_zeros);
        }
        let mut zeros_left = self.total_zeros;
        for run in &self.runs[..self.count - 1] {
            if zeros_left == 0 {
                break;
            }
            put(out, RUN_BEFORE[zeros_left.min(7)][*run]);
            zeros_left -= run;
        }
    }

    /// 9.2.2.1 and 9.2.2.2, turned round.
    fn write_levels(&self, out: &mut BitWriter) {
        let mut suffix_length = u32::from(self.count > 10 && self.trailing_ones < 3);
        for (i, level) in self.levels[..self.count].iter().enumerate().skip(self.trailing_ones) {
            let mut code = if *level > 0 {
                2 * level.unsigned_abs() - 2
            } else {
                2 * level.unsigned_abs() - 1
            };
            if i == self.trailing_ones && self.trailing_ones < 3 {
                code -= 2;
            }
            write_level(out, code, suffix_length);
            suffix_length = suffix_length.max(1);
            if level.unsigned_abs() > 3 << (suffix_length - 1) && suffix_length < 6 {
                suffix_length += 1;
            }
        }
    }
}

fn write_level(out: &mut BitWriter, code: u32, suffix_length: u32) {
    let (prefix, suffix, size) = if suffix_length == 0 && (14..30).contains(&code) {
        (14, code - 14, 4)
    } else if suffix_length == 0 && code >= 30 {
        (15, code - 30, 12)
    } else if code >> suffix_length >= 15 {
        (15, code - (15 << suffix_length), 12)
    } else {
        (code >> suffix_length, code & ((1 << suffix_length) - 1), suffix_length)
    };
    out.bits(1, prefix + 1);
    // Twelve bits hold every level that the quantizer makes (see `mosaic::MAX_LEVEL`).
    out.bits(suffix.min((1 << size) - 1), size);
}
