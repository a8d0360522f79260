//! The clock that programs read: time and camera number as black and white blocks.
//!
//! Geometry, in fractions of the picture so that scaling keeps it: two rows of [`COLUMNS`] blocks
//! across the whole width; the first from [`TOP`] down, each [`ROW_HEIGHT`] high. At 1280x720 a
//! block is 32x40 pixels, at 640x360 16x20. White is 1. Read row by row, left to right, the bits
//! are, most significant first:
//!
//! | bits | meaning |
//! |---|---|
//! | 8 | [`SYNC`] |
//! | 48 | Unix time in milliseconds |
//! | 16 | camera number: [`camera_number`] of its label |
//! | 8 | CRC-8 (polynomial 0x07, initially 0) over the 8 bytes of time and camera number |
//!
//! To read: take the mean luma of the middle of every block (from a quarter to three quarters each
//! way), split at the middle between the darkest and the brightest block, compare sync and CRC.

/// Blocks per row.
pub const COLUMNS: usize = 40;
/// Rows of blocks.
pub const ROWS: usize = 2;
/// Top of the first row, in heights of the picture.
pub const TOP: f64 = 14.0 / 18.0;
/// Height of a row, in heights of the picture.
pub const ROW_HEIGHT: f64 = 1.0 / 18.0;
/// First byte of the code.
pub const SYNC: u8 = 0b1011_0010;
/// Least difference in luma between black and white.
const MIN_CONTRAST: f64 = 60.0;

/// What the code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// When the picture was drawn, in milliseconds since 1970-01-01 UTC.
    pub unix_ms: u64,
    /// The camera's number.
    pub camera: u16,
}

/// Number of a camera from its label: the 32-bit FNV-1a hash of its UTF-8, halves combined by XOR.
#[must_use]
pub fn camera_number(label: &str) -> u16 {
    let hash = label
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 16) as u16 ^ hash as u16
}

/// The ten bytes of the code.
#[must_use]
pub fn encode(reading: Reading) -> [u8; COLUMNS * ROWS / 8] {
    let mut code = [0; 10];
    code[0] = SYNC;
    code[1..7].copy_from_slice(&reading.unix_ms.to_be_bytes()[2..]);
    code[7..9].copy_from_slice(&reading.camera.to_be_bytes());
    code[9] = crc8(&code[1..9]);
    code
}

/// Reads the code from the luma plane of a decoded picture, or from any 8-bit grey picture.
#[must_use]
pub fn decode_luma(luma: &[u8], stride: usize, width: usize, height: usize) -> Option<Reading> {
    decode_with(width, height, |x, y| luma.get(y * stride + x).copied().map(f64::from))
}

/// Reads the code from packed 8-bit RGB, `bytes_per_pixel` being 3 or 4 (RGBA, as of a canvas).
#[must_use]
pub fn decode_rgb(
    rgb: &[u8],
    bytes_per_pixel: usize,
    width: usize,
    height: usize,
) -> Option<Reading> {
    decode_with(width, height, |x, y| {
        let start = (y * width + x) * bytes_per_pixel;
        let pixel = rgb.get(start..start + 3)?;
        Some(pixel.iter().map(|value| f64::from(*value)).sum::<f64>() / 3.0)
    })
}

fn decode_with(
    width: usize,
    height: usize,
    sample: impl Fn(usize, usize) -> Option<f64>,
) -> Option<Reading> {
    let mut means = [0.0; COLUMNS * ROWS];
    for (i, mean) in means.iter_mut().enumerate() {
        *mean = block_mean(width, height, i, &sample)?;
    }
    let darkest = means.iter().copied().fold(f64::MAX, f64::min);
    let brightest = means.iter().copied().fold(f64::MIN, f64::max);
    if brightest - darkest < MIN_CONTRAST {
        return None;
    }
    let middle = f64::midpoint(darkest, brightest);
    let mut code = [0_u8; COLUMNS * ROWS / 8];
    for (i, mean) in means.iter().enumerate() {
        code[i / 8] |= u8::from(*mean > middle) << (7 - i % 8);
    }
    if code[0] != SYNC || code[9] != crc8(&code[1..9]) {
        return None;
    }
    let unix_ms = code[1..7].iter().fold(0, |ms, byte| ms << 8 | u64::from(*byte));
    Some(Reading { unix_ms, camera: u16::from_be_bytes([code[7], code[8]]) })
}

fn block_mean(
    width: usize,
    height: usize,
    block: usize,
    sample: &impl Fn(usize, usize) -> Option<f64>,
) -> Option<f64> {
    let (column, row) = ((block % COLUMNS) as f64, (block / COLUMNS) as f64);
    let along = |quarter: f64| ((column + quarter) / COLUMNS as f64 * width as f64) as usize;
    let down = |quarter: f64| ((TOP + (row + quarter) * ROW_HEIGHT) * height as f64) as usize;
    let (mut sum, mut count) = (0.0, 0.0);
    for y in down(0.25)..=down(0.75) {
        for x in along(0.25)..=along(0.75) {
            sum += sample(x, y)?;
            count += 1.0;
        }
    }
    (count > 0.0).then(|| sum / count)
}

fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 != 0 { crc << 1 ^ 0x07 } else { crc << 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(reading: Reading, width: usize, height: usize) -> Vec<u8> {
        let code = encode(reading);
        let mut luma = vec![128; width * height];
        for (i, value) in luma.iter_mut().enumerate() {
            let (x, y) = ((i % width) as f64 + 0.5, (i / width) as f64 + 0.5);
            let row = (y / height as f64 - TOP) / ROW_HEIGHT;
            if (0.0..ROWS as f64).contains(&row) {
                let bit = row as usize * COLUMNS + (x / width as f64 * COLUMNS as f64) as usize;
                *value = if code[bit / 8] >> (7 - bit % 8) & 1 == 1 { 220 } else { 30 };
            }
        }
        luma
    }

    #[test]
    fn is_read_back_at_any_size() {
        let reading = Reading { unix_ms: 1_763_700_000_123, camera: camera_number("Yard") };
        for (width, height) in [(1280, 720), (640, 360), (352, 288), (704, 576), (160, 90)] {
            let luma = grey(reading, width, height);
            assert_eq!(decode_luma(&luma, width, width, height), Some(reading), "{width}x{height}");
        }
    }

    #[test]
    fn a_wrong_bit_or_no_code_is_refused() {
        let (width, height) = (640, 360);
        let mut luma = grey(Reading { unix_ms: 5, camera: 6 }, width, height);
        for row in 285..295 {
            for value in &mut luma[row * width + 16 * 20..row * width + 16 * 21] {
                *value = 250 - *value;
            }
        }
        assert_eq!(decode_luma(&luma, width, width, height), None);
        assert_eq!(decode_luma(&vec![90; width * height], width, width, height), None);
        assert_eq!(decode_luma(&[], width, width, height), None);
    }
}
