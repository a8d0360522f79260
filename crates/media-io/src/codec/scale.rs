//! Pictures of another size.

/// A picture in planar 4:2:0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct I420 {
    /// Width in pixels, even.
    pub width: usize,
    /// Height in pixels, even.
    pub height: usize,
    /// Luma, `width` bytes per row.
    pub y: Vec<u8>,
    /// Blue difference, half of `width` bytes per row.
    pub u: Vec<u8>,
    /// Red difference, half of `width` bytes per row.
    pub v: Vec<u8>,
}

impl I420 {
    /// A black picture.
    #[must_use]
    pub fn new(width: usize, height: usize) -> Self {
        let chroma = width.div_ceil(2) * height.div_ceil(2);
        Self {
            width,
            height,
            y: vec![16; width * height],
            u: vec![128; chroma],
            v: vec![128; chroma],
        }
    }
}

impl openh264::formats::YUVSource for I420 {
    fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }
    fn strides(&self) -> (usize, usize, usize) {
        (self.width, self.width.div_ceil(2), self.width.div_ceil(2))
    }
    fn y(&self) -> &[u8] {
        &self.y
    }
    fn u(&self) -> &[u8] {
        &self.u
    }
    fn v(&self) -> &[u8] {
        &self.v
    }
}

/// One plane to read from.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) data: &'a [u8],
    pub(super) stride: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// Scales planes; shrinking takes the mean of what a pixel covers, so that nothing flickers.
#[derive(Default)]
pub struct Scaler {
    columns: Taps,
    rows: Taps,
    line: Vec<u32>,
}

impl Scaler {
    /// Scales the three planes of a 4:2:0 picture to the size of `to`, shape not kept.
    pub(super) fn scale(&mut self, planes: [View<'_>; 3], to: &mut I420) {
        let (width, height) = (to.width, to.height);
        let chroma = (width.div_ceil(2), height.div_ceil(2));
        self.plane(planes[0], &mut to.y, (width, height));
        self.plane(planes[1], &mut to.u, chroma);
        self.plane(planes[2], &mut to.v, chroma);
    }

    fn plane(&mut self, from: View<'_>, to: &mut [u8], (width, height): (usize, usize)) {
        if from.width == 0 || from.height == 0 {
            return;
        }
        if (from.width, from.height) == (width, height) {
            for (row, out) in to.chunks_exact_mut(width).enumerate() {
                out.copy_from_slice(&from.data[row * from.stride..][..width]);
            }
            return;
        }
        self.columns.fit(from.width, width);
        self.rows.fit(from.height, height);
        self.line.resize(from.width, 0);
        for (row, out) in to.chunks_exact_mut(width).enumerate() {
            // Down first: source rows are read in order, and the sums stay in the cache.
            self.line.fill(0);
            for (y, weight) in self.rows.of(row) {
                let source = &from.data[y * from.stride..][..from.width];
                for (sum, value) in self.line.iter_mut().zip(source) {
                    *sum += u32::from(*value) * weight;
                }
            }
            for (column, value) in out.iter_mut().enumerate() {
                let sum: u32 =
                    self.columns.of(column).map(|(x, weight)| (self.line[x] >> 4) * weight).sum();
                *value = ((sum + (1 << (2 * SHIFT - 5))) >> (2 * SHIFT - 4)).min(255) as u8;
            }
        }
    }
}

/// Weights are fractions of 2^SHIFT.
const SHIFT: u32 = 12;

/// Which source positions make each position, and how much of each.
#[derive(Default)]
struct Taps {
    from: usize,
    to: usize,
    /// Per position: first source position, and where its weights start.
    starts: Vec<(usize, usize)>,
    weights: Vec<u32>,
}

impl Taps {
    fn fit(&mut self, from: usize, to: usize) {
        if (self.from, self.to) == (from, to) {
            return;
        }
        (self.from, self.to) = (from, to);
        self.starts.clear();
        self.weights.clear();
        let scale = from as f64 / to as f64;
        // Shrinking: the span that the position covers. Growing: a span of one, that is, linear.
        let span = scale.max(1.0);
        for i in 0..to {
            let middle = (i as f64 + 0.5) * scale;
            let begin = (middle - span / 2.0).max(0.0);
            let end = (middle + span / 2.0).min(from as f64);
            let (first, last) = (begin as usize, (end.ceil() as usize).clamp(1, from));
            self.starts.push((first, self.weights.len()));
            let share = |x: usize| (end.min(x as f64 + 1.0) - begin.max(x as f64)).max(0.0);
            let total = (1 << SHIFT) as f64 / (end - begin);
            let start = self.weights.len();
            self.weights.extend((first..last).map(|x| (share(x) * total).round() as u32));
            // Rounding must not change the brightness.
            let sum: u32 = self.weights[start..].iter().sum();
            self.weights[start] = (self.weights[start] + (1 << SHIFT)).saturating_sub(sum);
        }
    }

    fn of(&self, i: usize) -> impl Iterator<Item = (usize, u32)> {
        let (first, start) = self.starts[i];
        let end = self.starts.get(i + 1).map_or(self.weights.len(), |(_, end)| *end);
        (first..).zip(self.weights[start..end].iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(from: &[u8], size: (usize, usize), to: (usize, usize)) -> Vec<u8> {
        let mut out = vec![0; to.0 * to.1];
        let view = View { data: from, stride: size.0, width: size.0, height: size.1 };
        Scaler::default().plane(view, &mut out, to);
        out
    }

    #[test]
    fn brightness_is_kept() {
        for value in [0, 1, 128, 254, 255] {
            for to in [(352, 288), (704, 576), (17, 9), (1920, 1080), (640, 360)] {
                let out = scale(&vec![value; 640 * 360], (640, 360), to);
                assert!(out.iter().all(|v| v.abs_diff(value) <= 1), "{value} at {to:?}");
            }
        }
    }

    #[test]
    fn shrinking_takes_the_mean_and_growing_the_neighbours() {
        assert_eq!(scale(&[0, 100, 200, 100], (2, 2), (1, 1)), [100]);
        assert_eq!(scale(&[10, 20, 30, 40], (4, 1), (2, 1)), [15, 35]);
        let grown = scale(&[0, 200], (2, 1), (4, 1));
        assert!(grown.is_sorted() && grown[0] == 0 && grown[3] == 200, "{grown:?}");
    }
}
