//! The columns of the output as lanes of vectors.

use super::super::affine::{Axis, offsets};

/// Lanes that are cut into panels together, unless the axes have fewer: enough that the last, ragged panel is cheap.
const TEMPLATE: usize = 512;

/// All columns: the panels of a template, once for each group.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    /// Offsets of each group in the lanes' operand and in the output.
    pub(super) groups: Vec<[isize; 2]>,
    pub(super) panels: Vec<Panel>,
}

/// Neighbouring lanes, as many as a tile is wide; fewer at the end.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) count: usize,
    pub(super) source: Source,
    /// Where the lanes go; those in no segment are computed in vain.
    pub(super) segments: Vec<Segment>,
}

/// Offsets of a panel's lanes in their operand.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// From the first, at even distances.
    Even(isize, isize),
    Each(Vec<isize>),
}

/// Lanes whose outputs lie at even distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) lane: usize,
    pub(super) count: usize,
    pub(super) output: isize,
    pub(super) stride: isize,
}

impl Lanes {
    /// Cuts the columns, given by strides in the operand and in the output, into panels of `width` lanes, which are
    /// vectors of `vector` lanes.
    pub(super) fn new(columns: &[Axis<2>], width: usize, vector: usize) -> Self {
        if let Some((groups, lanes)) = gapped(columns, vector) {
            return Self::cut(groups, &lanes, width);
        }
        let mut inner = 1;
        let mut split = columns.len();
        while split > 0 && inner < TEMPLATE {
            split -= 1;
            inner *= columns[split].extent;
        }
        let lanes: Vec<_> = offsets(&columns[split..])
            .into_iter()
            .map(|[operand, output]| (operand, Some(output)))
            .collect();
        Self::cut(&columns[..split], &lanes, width)
    }

    fn cut(groups: &[Axis<2>], lanes: &[(isize, Option<isize>)], width: usize) -> Self {
        Self {
            groups: offsets(groups),
            panels: lanes.chunks(width).map(Panel::new).collect(),
        }
    }
}

/// Where rows of contiguous lanes follow each other at a slightly greater distance, as in a padded image, the lanes
/// between them are computed as well: so vectors need not be put together from two rows. Gives the axes outside of such
/// an image, and its lanes.
#[expect(clippy::type_complexity, reason = "two things that only belong together here")]
fn gapped(columns: &[Axis<2>], vector: usize) -> Option<(&[Axis<2>], Vec<(isize, Option<isize>)>)> {
    let [groups @ .., outer, inner] = columns else {
        return None;
    };
    let pitch = usize::try_from(outer.strides[0]).ok()?;
    if inner.strides[0] != 1 || pitch <= inner.extent {
        return None;
    }
    let count = (outer.extent - 1).checked_mul(pitch)?.checked_add(inner.extent)?;
    let (with, without) = (count.div_ceil(vector), (outer.extent * inner.extent).div_ceil(vector));
    if with * 10 > without * 13 {
        return None;
    }
    let lane = |lane: usize| {
        let (i, j) = ((lane / pitch) as isize, (lane % pitch) as isize);
        let output = i * outer.strides[1] + j * inner.strides[1];
        (lane as isize, (lane % pitch < inner.extent).then_some(output))
    };
    Some((groups, (0..count).map(lane).collect()))
}

impl Panel {
    fn new(lanes: &[(isize, Option<isize>)]) -> Self {
        let stride = lanes.get(1).map_or(1, |lane| lane.0 - lanes[0].0);
        let even = lanes.windows(2).all(|pair| pair[1].0 - pair[0].0 == stride);
        let mut segments: Vec<Segment> = Vec::new();
        for (lane, output) in lanes.iter().enumerate().filter_map(|(i, lane)| Some((i, lane.1?))) {
            match segments.last_mut() {
                Some(last) if last.lane + last.count == lane && last.takes(output) => {
                    last.stride = output - last.output - last.stride * (last.count as isize - 1);
                    last.count += 1;
                }
                _ => segments.push(Segment {
                    lane,
                    count: 1,
                    output,
                    stride: 1,
                }),
            }
        }
        Self {
            count: lanes.len(),
            source: if even {
                Source::Even(lanes[0].0, stride)
            } else {
                Source::Each(lanes.iter().map(|lane| lane.0).collect())
            },
            segments,
        }
    }

    /// The offset in the output of the first lane, if all follow each other there.
    pub(super) fn contiguous(&self) -> Option<isize> {
        match self.segments[..] {
            [
                Segment {
                    count,
                    output,
                    stride: 1,
                    ..
                },
            ] if count == self.count => Some(output),
            _ => None,
        }
    }
}

impl Segment {
    /// Whether the next lane may go to `output`.
    fn takes(&self, output: isize) -> bool {
        self.count == 1 || output == self.output + self.stride * self.count as isize
    }
}
