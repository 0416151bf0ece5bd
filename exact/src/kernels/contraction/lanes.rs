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
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Panel {
    pub(in super::super) count: usize,
    /// Where the lanes come from: together they are all lanes, in order.
    pub(in super::super) sources: Vec<Segment>,
    /// Where they go; those in no segment are computed in vain.
    pub(in super::super) outputs: Vec<Segment>,
}

/// Lanes at even distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Segment {
    pub(in super::super) lane: usize,
    pub(in super::super) count: usize,
    /// Where the first lane is, and how far it is from one to the next.
    pub(in super::super) offset: isize,
    pub(in super::super) stride: isize,
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
    // Up to a third in vain is cheaper than packing.
    if with * 3 > without * 4 {
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
        Self {
            count: lanes.len(),
            sources: segments(lanes.iter().map(|lane| Some(lane.0))),
            outputs: segments(lanes.iter().map(|lane| lane.1)),
        }
    }

    /// The offset of the first lane, if all follow each other in their operand.
    pub(in super::super) fn contiguous_source(&self) -> Option<isize> {
        self.contiguous(&self.sources)
    }

    /// The same for the output.
    pub(super) fn contiguous_output(&self) -> Option<isize> {
        self.contiguous(&self.outputs)
    }

    fn contiguous(&self, segments: &[Segment]) -> Option<isize> {
        match segments {
            [segment] if segment.count == self.count && (segment.stride == 1 || self.count == 1) => {
                Some(segment.offset)
            }
            _ => None,
        }
    }
}

/// As few segments as lanes with these offsets make up, one after the other.
fn segments(offsets: impl Iterator<Item = Option<isize>>) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for (lane, offset) in offsets.enumerate().filter_map(|(lane, offset)| Some((lane, offset?))) {
        match segments.last_mut() {
            Some(last) if last.lane + last.count == lane && last.takes(offset) => {
                last.stride = offset - last.offset - last.stride * (last.count as isize - 1);
                last.count += 1;
            }
            _ => segments.push(Segment {
                lane,
                count: 1,
                offset,
                stride: 1,
            }),
        }
    }
    segments
}

impl Segment {
    /// Whether the next lane may lie at `offset`.
    fn takes(&self, offset: isize) -> bool {
        self.count == 1 || offset == self.offset + self.stride * self.count as isize
    }
}
