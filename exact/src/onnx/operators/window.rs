//! Convolution and pooling, over one or two spatial dimensions. One is two with a height of 1.

use super::super::attributes::Operands;
use super::super::decode::Decoder;
use super::super::shapes::{self, show};
use super::super::value::{Type, Value};
use super::super::{Dim, Op, Window};
use super::{fixed_dim, reshaped};

/// A value with the dimensions (batch, channels, height, width).
struct Image {
    value: Value,
    batch: Dim,
    channels: Dim,
    size: [usize; 2],
    /// Whether there is no height.
    flat: bool,
}

impl Image {
    fn new(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Self, String> {
        let shape = cx.shape(0)?;
        let (batch, channels, size) = match shape[..] {
            [batch, channels, Dim::Fixed(width)] => (batch, channels, [1, width]),
            [batch, channels, Dim::Fixed(height), Dim::Fixed(width)] => (batch, channels, [height, width]),
            _ => {
                return Err(format!(
                    "its input has shape {}, expected (N, channels, height, width) or (N, channels, width)",
                    show(&shape)
                ));
            }
        };
        fixed_dim(channels, "the number of channels")?;
        let planar = vec![batch, channels, Dim::Fixed(size[0]), Dim::Fixed(size[1])];
        Ok(Self {
            value: reshaped(graph, cx.value(0)?, planar)?,
            batch,
            channels,
            size,
            flat: shape.len() == 3,
        })
    }

    fn spatial(&self) -> usize {
        if self.flat { 1 } else { 2 }
    }

    /// Sizes for each spatial dimension, with `absent` where there is no height.
    fn sizes(&self, cx: &Operands<'_>, name: &str, absent: usize) -> Result<Option<[usize; 2]>, String> {
        Ok(cx.sizes(name, self.spatial())?.and_then(|sizes| match sizes[..] {
            [width] => Some([absent, width]),
            [height, width] => Some([height, width]),
            _ => None,
        }))
    }

    /// The window of that size, as the attributes say it slides, and the size of the result.
    fn window(&self, cx: &Operands<'_>, kernel: [usize; 2], ceil: bool) -> Result<(Window, [usize; 2]), String> {
        let strides = self.sizes(cx, "strides", 1)?.unwrap_or([1; 2]);
        let dilations = self.sizes(cx, "dilations", 1)?.unwrap_or([1; 2]);
        if kernel.contains(&0) || strides.contains(&0) || dilations.contains(&0) {
            return Err(format!(
                "kernel {kernel:?}, strides {strides:?} and dilations {dilations:?} must be at least 1"
            ));
        }
        let pads = cx.sizes("pads", 2 * self.spatial())?;
        let (pads_begin, pads_end) = match pads.as_deref() {
            Some([left, right]) => ([0, *left], [0, *right]),
            Some([top, left, bottom, right]) => ([*top, *left], [*bottom, *right]),
            _ => ([0; 2], [0; 2]),
        };
        let mut window = Window {
            kernel,
            strides,
            pads_begin,
            pads_end,
            dilations,
        };
        match cx.string("auto_pad")? {
            None | Some("" | "NOTSET") => {}
            Some("VALID") => (window.pads_begin, window.pads_end) = ([0; 2], [0; 2]),
            Some(same @ ("SAME_UPPER" | "SAME_LOWER")) => {
                shapes::pad_same(self.size, &mut window, same == "SAME_UPPER")?;
            }
            Some(other) => return Err(format!("auto_pad {other:?} is not known")),
        }
        let size = shapes::slide(self.size, &mut window, ceil)?;
        Ok((window, size))
    }

    /// Adds zeros around it.
    fn pad(&mut self, graph: &mut Decoder<'_>, begin: [usize; 2], end: [usize; 2]) -> Result<(), String> {
        if begin == [0; 2] && end == [0; 2] {
            return Ok(());
        }
        // They were added without overflow when the window was slid.
        let [height, width] = [0, 1].map(|axis| begin[axis] + self.size[axis] + end[axis]);
        let op = Op::Pad {
            starts: vec![0, 0, begin[0], begin[1]],
            value: 0.0,
        };
        let shape = vec![self.batch, self.channels, Dim::Fixed(height), Dim::Fixed(width)];
        self.value = graph.emit(op, &[&self.value], shape, Type::Float)?;
        self.size = [height, width];
        Ok(())
    }

    fn emit(
        &self,
        graph: &mut Decoder<'_>,
        op: Op,
        rest: &[&Value],
        channels: Dim,
        [height, width]: [usize; 2],
    ) -> Result<Value, String> {
        let inputs = [&[&self.value], rest].concat();
        let shape = vec![self.batch, channels, Dim::Fixed(height), Dim::Fixed(width)];
        let result = graph.emit(op, &inputs, shape.clone(), Type::Float)?;
        let shape = if self.flat {
            [&shape[..2], &shape[3..]].concat()
        } else {
            shape
        };
        reshaped(graph, &result, shape)
    }
}

pub(super) fn conv(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(3)?;
    let image = Image::new(graph, cx)?;
    let filters = cx.shape(1)?;
    let (out, depth, kernel) = match filters[..] {
        [Dim::Fixed(out), Dim::Fixed(depth), Dim::Fixed(width)] if image.flat => (out, depth, [1, width]),
        [
            Dim::Fixed(out),
            Dim::Fixed(depth),
            Dim::Fixed(height),
            Dim::Fixed(width),
        ] if !image.flat => (out, depth, [height, width]),
        _ => {
            return Err(format!(
                "its weight has shape {}, expected {} fixed dimensions",
                show(&filters),
                image.spatial() + 2
            ));
        }
    };
    if let Some(stated) = image.sizes(cx, "kernel_shape", 1)?
        && stated != kernel
    {
        return Err(format!("kernel_shape {stated:?} differs from its weight's, {kernel:?}"));
    }
    let group = cx.int("group", 1)?;
    let group = usize::try_from(group)
        .ok()
        .filter(|group| *group > 0)
        .ok_or_else(|| format!("group is {group}"))?;
    if depth.checked_mul(group).map(Dim::Fixed) != Some(image.channels) || out % group != 0 {
        let (channels, weight) = (image.channels, show(&filters));
        return Err(format!(
            "its input has {channels} channels, its weight has shape {weight}, with {group} groups"
        ));
    }
    if cx.present(2) && cx.shape(2)? != [Dim::Fixed(out)] {
        return Err(format!("its bias has shape {}, expected ({out})", show(&cx.shape(2)?)));
    }
    let (window, size) = image.window(cx, kernel, false)?;
    let planar = [out, depth, kernel[0], kernel[1]].map(Dim::Fixed).to_vec();
    let filters = reshaped(graph, cx.value(1)?, planar)?;
    let mut rest = vec![&filters];
    if cx.present(2) {
        rest.push(cx.value(2)?);
    }
    image.emit(graph, Op::Conv { window, group }, &rest, Dim::Fixed(out), size)
}

fn pool(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<(Image, Window, [usize; 2]), String> {
    cx.at_most(1)?;
    let image = Image::new(graph, cx)?;
    let kernel = image.sizes(cx, "kernel_shape", 1)?.ok_or("it has no kernel_shape")?;
    let (window, size) = image.window(cx, kernel, cx.flag("ceil_mode", false)?)?;
    if !shapes::covers(image.size, &window) {
        return Err(format!(
            "with the padding {:?} and {:?} a window of {kernel:?} holds nothing else",
            window.pads_begin, window.pads_end
        ));
    }
    Ok((image, window, size))
}

pub(super) fn max_pool(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    let (image, window, size) = pool(graph, cx)?;
    // The order of the indices, which are the second output.
    cx.int("storage_order", 0)?;
    image.emit(graph, Op::MaxPool(window), &[], image.channels, size)
}

pub(super) fn average_pool(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    let (mut image, mut window, size) = pool(graph, cx)?;
    if window.dilations != [1; 2] {
        return Err(format!("dilations {:?} are not supported", window.dilations));
    }
    let mut count_include_pad = cx.flag("count_include_pad", false)?;
    let (stated, _) = image.window(cx, window.kernel, false)?;
    if count_include_pad && window != stated {
        // What `ceil_mode` adds never counts: the padding that does becomes part of the image.
        image.pad(graph, stated.pads_begin, stated.pads_end)?;
        window.pads_end = [0, 1].map(|axis| window.pads_end[axis] - stated.pads_end[axis]);
        window.pads_begin = [0; 2];
        count_include_pad = false;
    }
    let op = Op::AveragePool {
        window,
        count_include_pad,
    };
    image.emit(graph, op, &[], image.channels, size)
}
