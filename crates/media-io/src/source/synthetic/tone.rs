//! A sine tone in G.711.

use std::f64::consts::TAU;

/// Samples per second of G.711.
pub(super) const RATE_HZ: u32 = 8_000;
/// Samples in a packet of 20 ms.
pub(super) const PACKET: u64 = 160;
/// A quarter of full scale.
const AMPLITUDE: f64 = 8_000.0;

/// Samples of the packet with this number. The phase follows from the sample's number, so the
/// tone has no seam and its pitch is exact however long it runs.
pub(super) fn packet(number: u64, tone_hz: f32) -> impl Iterator<Item = i16> {
    let tone_hz = f64::from(tone_hz);
    (number * PACKET..(number + 1) * PACKET).map(move |sample| {
        let turns = (tone_hz * sample as f64 / f64::from(RATE_HZ)).fract();
        ((turns * TAU).sin() * AMPLITUDE) as i16
    })
}

/// ITU-T G.711 µ-law.
pub(super) fn mu_law(sample: i16) -> u8 {
    const BIAS: i32 = 0x84;
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(32_635) + BIAS;
    let exponent = 31 - 7 - (magnitude as u32).leading_zeros();
    let mantissa = magnitude >> (exponent + 3) & 0x0f;
    !(sign | (exponent << 4) as u8 | mantissa as u8)
}

/// ITU-T G.711 A-law.
pub(super) fn a_law(sample: i16) -> u8 {
    let sign = if sample >= 0 { 0x80 } else { 0 };
    let magnitude = (i32::from(if sample < 0 { !sample } else { sample }) >> 3).min(0xfff);
    let exponent = (32 - (magnitude as u32 >> 5).leading_zeros()).min(7);
    let mantissa = if exponent < 2 { magnitude >> 1 } else { magnitude >> exponent } & 0x0f;
    (sign | (exponent << 4) as u8 | mantissa as u8) ^ 0x55
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points of the tables of G.711.
    #[test]
    fn laws_match_the_tables() {
        assert_eq!([0, 32_635, -32_635, 1_000, -1_000].map(mu_law), [0xff, 0x80, 0x00, 0xce, 0x4e]);
        assert_eq!([0, 32_635, -32_635, 1_000].map(a_law), [0xd5, 0xaa, 0x2a, 0xfa]);
    }
}
