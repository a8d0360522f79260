//! A bit string with the codes of ITU-T H.264, clause 9.1.

/// Writes a raw byte sequence payload (RBSP).
#[derive(Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    held: u64,
    held_bits: u32,
}

impl BitWriter {
    /// Appends the low `count` bits (at most 32) of `value`.
    pub(super) fn bits(&mut self, value: u32, count: u32) {
        let mask = (1_u64 << count) - 1;
        self.held = self.held << count | u64::from(value) & mask;
        self.held_bits += count;
        while self.held_bits >= 8 {
            self.held_bits -= 8;
            self.bytes.push((self.held >> self.held_bits) as u8);
        }
    }

    /// `u(1)`.
    pub(super) fn flag(&mut self, value: bool) {
        self.bits(u32::from(value), 1);
    }

    /// `ue(v)`.
    pub(super) fn ue(&mut self, value: u32) {
        let code = value + 1;
        let length = 32 - code.leading_zeros();
        self.bits(0, length - 1);
        self.bits(code, length);
    }

    /// `se(v)` of zero, the only value that is needed.
    pub(super) fn se_zero(&mut self) {
        self.ue(0);
    }

    /// Ends the RBSP and gives the NAL unit: header, and emulation prevention (7.4.1).
    pub(super) fn into_nal(mut self, header: u8) -> Vec<u8> {
        self.bits(1, 1);
        let padding = (8 - self.held_bits % 8) % 8;
        self.bits(0, padding);
        let mut nal = Vec::with_capacity(self.bytes.len() + self.bytes.len() / 64 + 8);
        nal.push(header);
        let mut zeros = 0;
        for byte in self.bytes {
            if zeros >= 2 && byte <= 3 {
                nal.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            nal.push(byte);
        }
        nal
    }
}
