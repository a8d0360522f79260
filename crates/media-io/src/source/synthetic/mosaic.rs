//! An H.264 encoder for pictures made of flat 4x4 squares.
//!
//! A general encoder searches motion and transforms every pixel; a test pattern needs neither. This
//! one keeps one value per 4x4 block of each plane, skips the macroblocks that did not change, and
//! codes the others as `Intra_16x16` with DC coefficients only: Constrained Baseline profile, CAVLC,
//! deblocking off, so that the reconstruction is known exactly from one value per block.
//!
//! Because no AC coefficient is ever coded, every block's `total_coeff` counts as zero (9.2.1) and
//! one column of the coefficient tables is enough.

use super::{bits::BitWriter, cavlc};

/// QP of every macroblock: squares are off by at most two steps of grey.
const QP: u32 = 26;
/// QP'c for QP 26 (Table 8-15: the same below 30).
const QP_CHROMA: u32 = 26;
/// `normAdjust4x4(m, 0, 0)` (8.5.9) of QP % 6.
const NORM_ADJUST: [i32; 6] = [10, 11, 13, 14, 16, 18];
/// Largest magnitude of a level: far below the 2,063 that Baseline allows.
const MAX_LEVEL: i32 = 1_000;
/// Zig-zag scan of a 4x4 block: (column, row).
const ZIGZAG: [(usize, usize); 16] = [
    (0, 0),
    (1, 0),
    (0, 1),
    (0, 2),
    (1, 1),
    (2, 0),
    (3, 0),
    (2, 1),
    (1, 2),
    (0, 3),
    (1, 3),
    (2, 2),
    (3, 1),
    (3, 2),
    (2, 3),
    (3, 3),
];
const FRAME_NUM_BITS: u32 = 8;

/// One plane, one value per 4x4 block.
#[derive(Clone, PartialEq)]
pub(super) struct Plane {
    /// Blocks per row.
    pub(super) columns: usize,
    /// Rows of blocks.
    pub(super) rows: usize,
    /// Values, row by row.
    pub(super) values: Vec<u8>,
}

impl Plane {
    fn new(columns: usize, rows: usize, value: u8) -> Self {
        Self { columns, rows, values: vec![value; columns * rows] }
    }

    fn at(&self, x: usize, y: usize) -> i32 {
        i32::from(self.values[y * self.columns + x])
    }

    fn set(&mut self, x: usize, y: usize, value: i32) {
        self.values[y * self.columns + x] = value.clamp(0, 255) as u8;
    }
}

/// A picture in 4:2:0, limited range, one value per 4x4 block of each plane.
#[derive(Clone, PartialEq)]
pub(super) struct Picture {
    pub(super) luma: Plane,
    pub(super) cb: Plane,
    pub(super) cr: Plane,
}

impl Picture {
    pub(super) fn new(width: u32, height: u32) -> Self {
        let (mbs_x, mbs_y) = (width.div_ceil(16) as usize, height.div_ceil(16) as usize);
        Self {
            luma: Plane::new(mbs_x * 4, mbs_y * 4, 16),
            cb: Plane::new(mbs_x * 2, mbs_y * 2, 128),
            cr: Plane::new(mbs_x * 2, mbs_y * 2, 128),
        }
    }

    /// Whether macroblock (x, y) looks the same in both.
    fn same_mb(&self, other: &Self, x: usize, y: usize) -> bool {
        let same = |a: &Plane, b: &Plane, n: usize| {
            (0..n).all(|row| {
                let start = (y * n + row) * a.columns + x * n;
                a.values[start..start + n] == b.values[start..start + n]
            })
        };
        same(&self.luma, &other.luma, 4)
            && same(&self.cb, &other.cb, 2)
            && same(&self.cr, &other.cr, 2)
    }
}

/// A coded picture.
pub(super) struct Coded {
    /// Its NAL units; a keyframe has its parameter sets in front.
    pub(super) nals: Vec<Vec<u8>>,
    /// Whether it is an IDR picture.
    pub(super) keyframe: bool,
}

impl Coded {
    /// Its size.
    pub(super) fn bits(&self) -> u64 {
        self.nals.iter().map(|nal| nal.len() as u64 * 8).sum()
    }
}

/// See the module.
pub(super) struct Encoder {
    sps: Vec<u8>,
    pps: Vec<u8>,
    /// What the decoder has.
    decoded: Picture,
    /// What was last asked for.
    asked: Option<Picture>,
    frame_num: u32,
    idr_pic_id: u32,
}

impl Encoder {
    pub(super) fn new(width: u32, height: u32, fps: u32) -> Self {
        Self {
            sps: sps(width, height, fps),
            pps: pps(),
            decoded: Picture::new(width, height),
            asked: None,
            frame_num: 0,
            idr_pic_id: 0,
        }
    }

    pub(super) fn parameter_sets(&self) -> (&[u8], &[u8]) {
        (&self.sps, &self.pps)
    }

    /// Codes a picture, as an IDR picture if wanted or if it is the first.
    pub(super) fn encode(&mut self, picture: &Picture, keyframe: bool) -> Coded {
        let before = self.asked.take();
        let keyframe = keyframe || before.is_none();
        let nals = match before {
            Some(before) if !keyframe => {
                self.frame_num = (self.frame_num + 1) % (1 << FRAME_NUM_BITS);
                vec![self.p_slice(picture, &before)]
            }
            _ => {
                self.frame_num = 0;
                self.idr_pic_id ^= 1;
                vec![self.sps.clone(), self.pps.clone(), self.idr_slice(picture)]
            }
        };
        self.asked = Some(picture.clone());
        Coded { nals, keyframe }
    }

    fn idr_slice(&mut self, picture: &Picture) -> Vec<u8> {
        let mut out = BitWriter::default();
        // slice_type 7: all slices of the picture are I.
        self.slice_header(&mut out, 7, true);
        for y in 0..picture.luma.rows / 4 {
            for x in 0..picture.luma.columns / 4 {
                self.macroblock(&mut out, picture, (x, y), 0);
            }
        }
        out.into_nal(0x65)
    }

    fn p_slice(&mut self, picture: &Picture, before: &Picture) -> Vec<u8> {
        let mut out = BitWriter::default();
        // slice_type 5: all slices of the picture are P.
        self.slice_header(&mut out, 5, false);
        let mut skipped = 0;
        for y in 0..picture.luma.rows / 4 {
            for x in 0..picture.luma.columns / 4 {
                if picture.same_mb(before, x, y) {
                    // P_Skip: its motion vector is zero, since no macroblock ever has another.
                    skipped += 1;
                    continue;
                }
                out.ue(skipped);
                skipped = 0;
                self.macroblock(&mut out, picture, (x, y), 5);
            }
        }
        if skipped > 0 {
            out.ue(skipped);
        }
        out.into_nal(0x61)
    }

    /// 7.3.3.
    fn slice_header(&self, out: &mut BitWriter, slice_type: u32, idr: bool) {
        out.ue(0); // first_mb_in_slice
        out.ue(slice_type);
        out.ue(0); // pic_parameter_set_id
        out.bits(self.frame_num, FRAME_NUM_BITS);
        if idr {
            out.ue(self.idr_pic_id);
            out.flag(false); // no_output_of_prior_pics_flag
            out.flag(false); // long_term_reference_flag
        } else {
            out.flag(false); // num_ref_idx_active_override_flag
            out.flag(false); // ref_pic_list_modification_flag_l0
            out.flag(false); // adaptive_ref_pic_marking_mode_flag
        }
        out.se_zero(); // slice_qp_delta
        out.ue(1); // disable_deblocking_filter_idc
    }

    /// An `Intra_16x16` macroblock without AC coefficients (7.3.5).
    fn macroblock(
        &mut self,
        out: &mut BitWriter,
        picture: &Picture,
        (x, y): (usize, usize),
        mb_type_offset: u32,
    ) {
        const DC_PREDICTION: u32 = 2;
        let luma = code_luma(&mut self.decoded.luma, &picture.luma, x, y);
        let cb = code_chroma(&mut self.decoded.cb, &picture.cb, x, y);
        let cr = code_chroma(&mut self.decoded.cr, &picture.cr, x, y);
        let chroma = cb != [0; 4] || cr != [0; 4];
        out.ue(mb_type_offset + 1 + DC_PREDICTION + 4 * u32::from(chroma));
        out.ue(0); // intra_chroma_pred_mode: DC
        out.se_zero(); // mb_qp_delta
        cavlc::luma_dc(out, &luma);
        if chroma {
            cavlc::chroma_dc(out, &cb);
            cavlc::chroma_dc(out, &cr);
        }
    }
}

/// Predicts, quantizes and reconstructs the luma of a macroblock; the levels in zig-zag order.
fn code_luma(decoded: &mut Plane, wanted: &Plane, mb_x: usize, mb_y: usize) -> [i32; 16] {
    let (x0, y0) = (mb_x * 4, mb_y * 4);
    let prediction = luma_prediction(decoded, x0, y0);
    // The DC coefficient of a flat 4x4 block of difference d is 16 d.
    let mut dc = [[0; 4]; 4];
    for (row, line) in dc.iter_mut().enumerate() {
        for (column, value) in line.iter_mut().enumerate() {
            *value = 16 * (wanted.at(x0 + column, y0 + row) - prediction);
        }
    }
    let norm = NORM_ADJUST[(QP % 6) as usize];
    let mut levels = hadamard4(&dc);
    for value in levels.iter_mut().flatten() {
        // A difference d in all 16 blocks makes 256 d here, and the decoder makes
        // level * norm * 2^(QP / 6 - 8) of it (8.5.10, 8.5.12).
        *value = quantize(*value, norm << (QP / 6));
    }
    let back = hadamard4(&levels);
    for (row, line) in back.iter().enumerate() {
        for (column, value) in line.iter().enumerate() {
            // QP < 36: dcY = (f * LevelScale + 2^(5 - QP / 6)) >> (6 - QP / 6).
            let dc = (value * norm * 16 + (1 << (5 - QP / 6))) >> (6 - QP / 6);
            decoded.set(x0 + column, y0 + row, prediction + ((dc + 32) >> 6));
        }
    }
    ZIGZAG.map(|(column, row)| levels[row][column])
}

/// `Intra_16x16_DC` (8.3.3.3), every neighbour being four equal samples.
fn luma_prediction(decoded: &Plane, x0: usize, y0: usize) -> i32 {
    let above = (y0 > 0).then(|| (0..4).map(|i| 4 * decoded.at(x0 + i, y0 - 1)).sum::<i32>());
    let left = (x0 > 0).then(|| (0..4).map(|i| 4 * decoded.at(x0 - 1, y0 + i)).sum::<i32>());
    match (above, left) {
        (Some(above), Some(left)) => (above + left + 16) >> 5,
        (Some(one), None) | (None, Some(one)) => (one + 8) >> 4,
        (None, None) => 128,
    }
}

/// The same for one chroma plane: `ChromaDCLevel` in raster order.
fn code_chroma(decoded: &mut Plane, wanted: &Plane, mb_x: usize, mb_y: usize) -> [i32; 4] {
    let (x0, y0) = (mb_x * 2, mb_y * 2);
    let prediction = chroma_prediction(decoded, x0, y0);
    let mut dc = [0; 4];
    for (i, value) in dc.iter_mut().enumerate() {
        *value = 16 * (wanted.at(x0 + i % 2, y0 + i / 2) - prediction[i]);
    }
    let norm = NORM_ADJUST[(QP_CHROMA % 6) as usize];
    // A difference d in all 4 blocks makes 64 d here, and the decoder makes
    // level * norm * 2^(QP / 6 - 7) of it (8.5.11, 8.5.12).
    let levels = hadamard2(&dc).map(|value| quantize(value, norm << (QP_CHROMA / 6 - 1)));
    let back = hadamard2(&levels);
    for (i, value) in back.iter().enumerate() {
        let dc = ((value * norm * 16) << (QP_CHROMA / 6)) >> 5;
        decoded.set(x0 + i % 2, y0 + i / 2, prediction[i] + ((dc + 32) >> 6));
    }
    levels
}

/// `Intra_Chroma_DC` (8.3.4.1 to 8.3.4.3), by 4x4 block in raster order.
fn chroma_prediction(decoded: &Plane, x0: usize, y0: usize) -> [i32; 4] {
    std::array::from_fn(|i| {
        let (column, row) = (i % 2, i / 2);
        let above = (y0 > 0).then(|| decoded.at(x0 + column, y0 - 1));
        let left = (x0 > 0).then(|| decoded.at(x0 - 1, y0 + row));
        let only = match i {
            1 => above.or(left),
            2 => left.or(above),
            _ => match (above, left) {
                (Some(above), Some(left)) => Some((4 * above + 4 * left + 4) >> 3),
                (one, other) => one.or(other),
            },
        };
        only.unwrap_or(128)
    })
}

fn quantize(value: i32, step: i32) -> i32 {
    let level = (value.abs() + step / 2) / step;
    level.min(MAX_LEVEL) * value.signum()
}

fn hadamard4(block: &[[i32; 4]; 4]) -> [[i32; 4]; 4] {
    let one = |v: [i32; 4]| {
        let (a, b, c, d) = (v[0] + v[1], v[0] - v[1], v[2] + v[3], v[2] - v[3]);
        // Rows of the matrix of 8.5.10: ++++, ++--, +--+, +-+-.
        [a + c, a - c, b - d, b + d]
    };
    let rows = block.map(one);
    let columns: [[i32; 4]; 4] = std::array::from_fn(|x| one(std::array::from_fn(|y| rows[y][x])));
    std::array::from_fn(|y| std::array::from_fn(|x| columns[x][y]))
}

const fn hadamard2(b: &[i32; 4]) -> [i32; 4] {
    [
        b[0] + b[1] + b[2] + b[3],
        b[0] - b[1] + b[2] - b[3],
        b[0] + b[1] - b[2] - b[3],
        b[0] - b[1] - b[2] + b[3],
    ]
}

/// Lowest level (Table A-1) for the size and rate, by macroblocks per picture and per second.
fn level_idc(mbs: u32, fps: u32) -> u32 {
    const LEVELS: [(u32, u32, u32); 10] = [
        (13, 396, 11_880),
        (21, 792, 19_800),
        (30, 1_620, 40_500),
        (31, 3_600, 108_000),
        (32, 5_120, 216_000),
        (40, 8_192, 245_760),
        (42, 8_704, 522_240),
        (50, 22_080, 589_824),
        (51, 36_864, 983_040),
        (52, 36_864, 2_073_600),
    ];
    LEVELS
        .iter()
        .find(|(_, size, rate)| mbs <= *size && mbs * fps <= *rate)
        .map_or(52, |(level, ..)| *level)
}

/// 7.3.2.1.1, with the VUI (E.1.1) that tells decoders not to wait for reordered pictures.
fn sps(width: u32, height: u32, fps: u32) -> Vec<u8> {
    let (mbs_x, mbs_y) = (width.div_ceil(16), height.div_ceil(16));
    let mut out = BitWriter::default();
    out.bits(66, 8); // Baseline
    out.bits(0xe0, 8); // which is also Constrained Baseline, Main and Extended
    out.bits(level_idc(mbs_x * mbs_y, fps), 8);
    out.ue(0); // seq_parameter_set_id
    out.ue(FRAME_NUM_BITS - 4);
    out.ue(2); // pic_order_cnt_type
    out.ue(1); // max_num_ref_frames
    out.flag(false); // gaps_in_frame_num_value_allowed_flag
    out.ue(mbs_x - 1);
    out.ue(mbs_y - 1);
    out.flag(true); // frame_mbs_only_flag
    out.flag(true); // direct_8x8_inference_flag
    let (crop_x, crop_y) = ((mbs_x * 16 - width) / 2, (mbs_y * 16 - height) / 2);
    out.flag(crop_x + crop_y > 0);
    if crop_x + crop_y > 0 {
        for value in [0, crop_x, 0, crop_y] {
            out.ue(value);
        }
    }
    out.flag(true); // vui_parameters_present_flag
    vui(&mut out, fps);
    out.into_nal(0x67)
}

fn vui(out: &mut BitWriter, fps: u32) {
    out.flag(false); // aspect_ratio_info_present_flag
    out.flag(false); // overscan_info_present_flag
    out.flag(true); // video_signal_type_present_flag
    out.bits(5, 3); // video_format: unspecified
    out.flag(false); // video_full_range_flag
    out.flag(true); // colour_description_present_flag
    for _ in 0..3 {
        out.bits(1, 8); // BT.709
    }
    out.flag(false); // chroma_loc_info_present_flag
    out.flag(true); // timing_info_present_flag
    out.bits(1, 32); // num_units_in_tick
    out.bits(fps * 2, 32); // time_scale, in fields
    out.flag(false); // fixed_frame_rate_flag: pictures are left out when the machine is late
    out.flag(false); // nal_hrd_parameters_present_flag
    out.flag(false); // vcl_hrd_parameters_present_flag
    out.flag(false); // pic_struct_present_flag
    out.flag(true); // bitstream_restriction_flag
    out.flag(true); // motion_vectors_over_pic_boundaries_flag
    out.ue(0); // max_bytes_per_pic_denom: no limit
    out.ue(0); // max_bits_per_mb_denom: no limit
    out.ue(10); // log2_max_mv_length_horizontal
    out.ue(10); // log2_max_mv_length_vertical
    out.ue(0); // max_num_reorder_frames
    out.ue(1); // max_dec_frame_buffering
}

/// 7.3.2.2.
fn pps() -> Vec<u8> {
    let mut out = BitWriter::default();
    out.ue(0); // pic_parameter_set_id
    out.ue(0); // seq_parameter_set_id
    out.flag(false); // entropy_coding_mode_flag: CAVLC
    out.flag(false); // bottom_field_pic_order_in_frame_present_flag
    out.ue(0); // num_slice_groups_minus1
    out.ue(0); // num_ref_idx_l0_default_active_minus1
    out.ue(0); // num_ref_idx_l1_default_active_minus1
    out.flag(false); // weighted_pred_flag
    out.bits(0, 2); // weighted_bipred_idc
    out.se_zero(); // pic_init_qp_minus26
    out.se_zero(); // pic_init_qs_minus26
    out.se_zero(); // chroma_qp_index_offset
    out.flag(true); // deblocking_filter_control_present_flag
    out.flag(false); // constrained_intra_pred_flag
    out.flag(false); // redundant_pic_cnt_present_flag
    out.into_nal(0x68)
}
