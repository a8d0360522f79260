//! What the synthetic camera sees: colour bars, a clock for people, one for programs, and snow.
//!
//! From the top, in eighteenths of the height: bars (4), clock (5), label (2), snow (3), the
//! [`barcode`] (2), a running marker (2).

use super::{
    barcode::{self, Reading},
    font,
    mosaic::{Picture, Plane},
};

/// A colour in limited-range YCbCr (BT.709).
type Colour = (u8, u8, u8);

const BLACK: Colour = (16, 128, 128);
const WHITE: Colour = (235, 128, 128);
const DARK: Colour = (40, 128, 128);
/// 75 % bars: white, yellow, cyan, green, magenta, red, blue, black.
const BARS: [Colour; 8] = [
    (180, 128, 128),
    (168, 44, 136),
    (145, 147, 44),
    (133, 63, 52),
    (63, 193, 204),
    (51, 109, 212),
    (28, 212, 120),
    BLACK,
];
/// Dots across the picture: the clock's characters are 7 dots high.
const CLOCK_DOTS: usize = 80;
/// Dots across the picture for the label.
const LABEL_DOTS: usize = 160;

/// A rectangle in fractions of the picture.
#[derive(Clone, Copy)]
struct Area {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

/// Draws the picture; what does not change is drawn once.
pub(super) struct Painter {
    width: f64,
    height: f64,
    camera: u16,
    picture: Picture,
    clock: String,
    /// Macroblocks with snow.
    snow: Vec<(usize, usize)>,
    next_snow: usize,
    random: u64,
}

impl Painter {
    pub(super) fn new(width: u32, height: u32, label: &str) -> Self {
        let mut painter = Self {
            width: f64::from(width),
            height: f64::from(height),
            camera: barcode::camera_number(label),
            picture: Picture::new(width, height),
            clock: String::new(),
            snow: snow_area(width, height),
            next_snow: 0,
            random: 0x9e37_79b9_7f4a_7c15,
        };
        for (i, colour) in (0_u8..).zip(BARS) {
            painter.fill(
                Area { left: f64::from(i) / 8.0, top: 0.0, width: 0.125, height: 4.0 / 18.0 },
                colour,
            );
        }
        let rows = |top: f64, rows: f64| Area {
            left: 0.0,
            top: top / 18.0,
            width: 1.0,
            height: rows / 18.0,
        };
        painter.fill(rows(4.0, 5.0), BLACK);
        painter.fill(rows(9.0, 9.0), DARK);
        painter.fill(rows(16.0, 2.0), BLACK);
        painter.label(label);
        let all = painter.snow.len();
        painter.snow(all);
        painter
    }

    /// The picture of the moment, with `snow` macroblocks of new snow.
    pub(super) fn paint(&mut self, unix_ms: u64, snow: usize) -> &Picture {
        self.clock(unix_ms);
        self.barcode(unix_ms);
        self.marker(unix_ms);
        self.snow(snow);
        &self.picture
    }

    /// How many macroblocks can have snow.
    pub(super) const fn snow_capacity(&self) -> usize {
        self.snow.len()
    }

    fn label(&mut self, label: &str) {
        let shown: Vec<char> = label.chars().take(LABEL_DOTS / font::ADVANCE - 1).collect();
        let start = (LABEL_DOTS - shown.len() * font::ADVANCE) / 2;
        for (i, character) in shown.into_iter().enumerate() {
            self.character(character, start + i * font::ADVANCE, LABEL_DOTS, 10.0 / 18.0, DARK);
        }
    }

    fn clock(&mut self, unix_ms: u64) {
        let (seconds, ms) = (unix_ms / 1_000 % 86_400, unix_ms % 1_000);
        let (h, m, s) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        let clock = format!("{h:02}:{m:02}:{s:02}.{ms:03}");
        let before = std::mem::replace(&mut self.clock, clock.clone());
        let start = (CLOCK_DOTS - clock.len() * font::ADVANCE) / 2;
        let mut before = before.chars();
        for (i, character) in clock.chars().enumerate() {
            if before.next() != Some(character) {
                let dot = start + i * font::ADVANCE;
                self.character(character, dot, CLOCK_DOTS, 6.5 / 18.0, BLACK);
            }
        }
    }

    /// Draws a character `dot` dots from the left, its middle at `middle`.
    fn character(&mut self, character: char, dot: usize, dots: usize, middle: f64, ground: Colour) {
        let width = 1.0 / dots as f64;
        let height = width * self.width / self.height;
        // On the grid of blocks, so that all rows of dots get the same height.
        let rows = self.height / 4.0;
        let top = ((middle - height * font::HEIGHT as f64 / 2.0) * rows).round() / rows;
        for (y, row) in font::glyph(character).iter().enumerate() {
            for x in 0..font::ADVANCE {
                let lit = x < 5 && row >> (4 - x) & 1 == 1;
                let area = Area {
                    left: (dot + x) as f64 * width,
                    top: top + y as f64 * height,
                    width,
                    height,
                };
                self.fill(area, if lit { WHITE } else { ground });
            }
        }
    }

    fn barcode(&mut self, unix_ms: u64) {
        let code = barcode::encode(Reading { unix_ms, camera: self.camera });
        let width = 1.0 / barcode::COLUMNS as f64;
        for bit in 0..barcode::COLUMNS * barcode::ROWS {
            let (x, y) = ((bit % barcode::COLUMNS) as f64, (bit / barcode::COLUMNS) as f64);
            let area = Area {
                left: x * width,
                top: barcode::TOP + y * barcode::ROW_HEIGHT,
                width,
                height: barcode::ROW_HEIGHT,
            };
            let white = code[bit / 8] >> (7 - bit % 8) & 1 == 1;
            self.fill(area, if white { WHITE } else { BLACK });
        }
    }

    /// A block that crosses the picture once a second, by which the eye sees every freeze.
    fn marker(&mut self, unix_ms: u64) {
        let area =
            |left: f64, width: f64| Area { left, top: 16.5 / 18.0, width, height: 1.0 / 18.0 };
        self.fill(area(0.0, 1.0), BLACK);
        self.fill(area((unix_ms % 1_000) as f64 / 1_000.0 * 0.95, 0.05), BARS[1]);
    }

    fn snow(&mut self, count: usize) {
        for _ in 0..count.min(self.snow.len()) {
            let (x, y) = self.snow[self.next_snow];
            self.next_snow = (self.next_snow + 1) % self.snow.len();
            for i in 0..16 {
                let value = 60 + (self.draw() % 140) as u8;
                put(&mut self.picture.luma, x * 4 + i % 4, y * 4 + i / 4, value);
            }
            for i in 0..4 {
                let (cb, cr) = (108 + (self.draw() % 40) as u8, 108 + (self.draw() % 40) as u8);
                put(&mut self.picture.cb, x * 2 + i % 2, y * 2 + i / 2, cb);
                put(&mut self.picture.cr, x * 2 + i % 2, y * 2 + i / 2, cr);
            }
        }
    }

    /// Xorshift: the snow has to look random, nothing more.
    const fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 33
    }

    fn fill(&mut self, area: Area, (y, cb, cr): Colour) {
        let (width, height) = (self.width, self.height);
        fill_plane(&mut self.picture.luma, area, (width / 4.0, height / 4.0), y);
        fill_plane(&mut self.picture.cb, area, (width / 8.0, height / 8.0), cb);
        fill_plane(&mut self.picture.cr, area, (width / 8.0, height / 8.0), cr);
    }
}

/// Fills the blocks whose middle lies in `area`; `size` is the picture's size in blocks.
fn fill_plane(plane: &mut Plane, area: Area, size: (f64, f64), value: u8) {
    let range = |start: f64, length: f64, size: f64, most: usize| {
        let first = (start * size - 0.5).ceil().max(0.0) as usize;
        let end = ((start + length) * size - 0.5).ceil().max(0.0) as usize;
        first.min(most)..end.min(most)
    };
    let columns = range(area.left, area.width, size.0, plane.columns);
    for row in range(area.top, area.height, size.1, plane.rows) {
        let start = row * plane.columns;
        plane.values[start + columns.start..start + columns.end].fill(value);
    }
}

fn put(plane: &mut Plane, x: usize, y: usize, value: u8) {
    plane.values[y * plane.columns + x] = value;
}

/// The macroblocks that lie whole in the rows of snow.
fn snow_area(width: u32, height: u32) -> Vec<(usize, usize)> {
    let first = (height as usize * 11).div_ceil(18 * 16);
    let end = height as usize * 14 / (18 * 16);
    (first..end).flat_map(|y| (0..width as usize / 16).map(move |x| (x, y))).collect()
}
