//! Shapes up to the batch size. Every function returns the reason in words when shapes do not fit.

use super::value::{Item, integer};
use super::{Dim, Window};

/// `(N, 3, 28)`.
pub(super) fn show(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("({})", dims.join(", "))
}

/// Elements of one sample: the product of the fixed dimensions.
pub(super) fn elements(shape: &[Dim]) -> Result<u64, String> {
    shape
        .iter()
        .try_fold(1u64, |product, dim| match dim {
            Dim::Batch => Some(product),
            Dim::Fixed(size) => product.checked_mul(*size as u64),
        })
        .ok_or_else(|| format!("shape {} has more than 2^64 elements", show(shape)))
}

/// Numpy's rule: aligned at the last dimension, equal or 1.
pub(super) fn broadcast(a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, String> {
    let rank = a.len().max(b.len());
    let at = |shape: &[Dim], i: usize| (i + shape.len()).checked_sub(rank).map_or(Dim::Fixed(1), |i| shape[i]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (left, right) if left == right => Ok(left),
            (Dim::Fixed(1), dim) | (dim, Dim::Fixed(1)) => Ok(dim),
            _ => Err(format!("shapes {} and {} do not broadcast", show(a), show(b))),
        })
        .collect()
}

/// The shape that `target` asks for: 0 copies the operand's dimension (unless `allow_zero`), one −1 is deduced. The batch
/// must stay a dimension of its own. `fixed_batch` is the number an export without a dynamic batch has in its place.
pub(super) fn reshape(
    from: &[Dim],
    target: &[Item],
    allow_zero: bool,
    fixed_batch: Option<i64>,
) -> Result<Vec<Dim>, String> {
    let fail = |why: &str| {
        let target: Vec<String> = target.iter().map(ToString::to_string).collect();
        Err(format!(
            "cannot reshape {} to ({}): {why}",
            show(from),
            target.join(", ")
        ))
    };
    let has_batch = from.contains(&Dim::Batch);
    let mut shape = Vec::with_capacity(target.len());
    let mut deduced = None;
    for (i, item) in target.iter().enumerate() {
        let Item::Number(size) = item else {
            shape.push(Dim::Batch);
            continue;
        };
        shape.push(match integer(*size) {
            0 if !allow_zero => match from.get(i) {
                Some(dim) => *dim,
                None => return fail("a 0 copies a dimension that does not exist"),
            },
            -1 if deduced.is_some() => return fail("more than one dimension is -1"),
            -1 => {
                deduced = Some(i);
                Dim::Fixed(1)
            }
            size => match usize::try_from(size) {
                Ok(size) if size > 0 => Dim::Fixed(size),
                _ => return fail("dimensions must be positive"),
            },
        });
    }
    let elements_from = elements(from)?;
    if has_batch && !shape.contains(&Dim::Batch) {
        let rest = elements(&shape)?;
        if deduced.is_some() && rest == elements_from {
            if let Some(i) = deduced.take() {
                shape[i] = Dim::Batch;
            }
        } else if let (Some(batch), Some(Item::Number(first))) = (fixed_batch, target.first())
            && batch == integer(*first)
        {
            shape[0] = Dim::Batch;
        }
    }
    if shape.iter().filter(|dim| **dim == Dim::Batch).count() != usize::from(has_batch) {
        return fail("the batch must stay a dimension of its own");
    }
    let rest = elements(&shape)?;
    let before = |dims: &[Dim]| dims.split(|dim| *dim == Dim::Batch).next().map_or(Ok(1), elements);
    if has_batch && before(from)? != before(&shape)? {
        return fail("the batch must stay where it is");
    }
    if let Some(i) = deduced {
        if !elements_from.is_multiple_of(rest) {
            return fail("the number of elements differs");
        }
        let Ok(size) = usize::try_from(elements_from / rest) else {
            return fail("a dimension is too large");
        };
        shape[i] = Dim::Fixed(size);
    } else if rest != elements_from {
        return fail("the number of elements differs");
    }
    Ok(shape)
}

/// How many elements a window spans along an axis.
fn extent(window: &Window, axis: usize) -> Option<usize> {
    (window.kernel[axis] - 1)
        .checked_mul(window.dilations[axis])?
        .checked_add(1)
}

/// Padding such that a window with stride 1 would keep the image's size, and others divide it, rounding up; an odd one goes to
/// the end if `upper`.
pub(super) fn pad_same(size: [usize; 2], window: &mut Window, upper: bool) -> Result<(), String> {
    for axis in 0..2 {
        let steps = size[axis].div_ceil(window.strides[axis]).saturating_sub(1);
        let needed =
            extent(window, axis).and_then(|extent| steps.checked_mul(window.strides[axis])?.checked_add(extent));
        let Some(needed) = needed else {
            return Err(misfit(size, window));
        };
        let total = needed.saturating_sub(size[axis]);
        let (less, more) = (total / 2, total - total / 2);
        (window.pads_begin[axis], window.pads_end[axis]) = if upper { (less, more) } else { (more, less) };
    }
    Ok(())
}

/// Height and width after sliding `window` over an image of `size`. With `ceil` a last window may stick out, as long as it
/// starts inside; the padding at the end is enlarged to hold it.
pub(super) fn slide(size: [usize; 2], window: &mut Window, ceil: bool) -> Result<[usize; 2], String> {
    let mut out = [0; 2];
    for axis in 0..2 {
        let begun = window.pads_begin[axis].checked_add(size[axis]);
        let padded = begun.and_then(|begun| begun.checked_add(window.pads_end[axis]));
        let (Some(begun), Some(padded), Some(extent)) = (begun, padded, extent(window, axis)) else {
            return Err(misfit(size, window));
        };
        if extent > padded {
            return Err(misfit(size, window));
        }
        let stride = window.strides[axis];
        out[axis] = (padded - extent) / stride + 1;
        let next = out[axis].checked_mul(stride).filter(|next| ceil && *next < begun);
        if let Some(next) = next.filter(|_| !(padded - extent).is_multiple_of(stride)) {
            window.pads_end[axis] += next - (padded - extent);
            out[axis] += 1;
        }
    }
    Ok(out)
}

/// Whether every window holds at least one element that is no padding.
pub(super) fn covers(size: [usize; 2], window: &Window) -> bool {
    (0..2).all(|axis| {
        let most = window.pads_begin[axis].max(window.pads_end[axis]);
        most == 0 || (size[axis] >= window.dilations[axis] && extent(window, axis).is_some_and(|extent| most < extent))
    })
}

fn misfit(size: [usize; 2], window: &Window) -> String {
    format!(
        "a window of {:?} (dilations {:?}) does not fit an image of {size:?} with padding {:?} and {:?}",
        window.kernel, window.dilations, window.pads_begin, window.pads_end
    )
}

/// A dimension's index from ONNX's, where negative ones count from the end.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let absolute = if axis < 0 {
        axis.checked_add_unsigned(rank as u64)
    } else {
        Some(axis)
    };
    match absolute.map(usize::try_from) {
        Some(Ok(index)) if index < rank => Ok(index),
        _ => Err(format!("axis {axis} is outside the {rank} dimensions")),
    }
}

/// Several dimensions' indices, ascending, without repetition.
pub(super) fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let mut result = list.iter().map(|one| axis(*one, rank)).collect::<Result<Vec<_>, _>>()?;
    result.sort_unstable();
    match result.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("axis {} is named twice", pair[0])),
        None => Ok(result),
    }
}

/// A permutation of `rank` dimensions, which are numbered from `first`.
pub(super) fn permutation(list: &[i64], first: usize, rank: usize) -> Result<Vec<usize>, String> {
    let index = |axis: &i64| usize::try_from(*axis).ok()?.checked_sub(first);
    let perm: Vec<usize> = list.iter().filter_map(index).collect();
    if list.len() != rank || (0..rank).any(|axis| !perm.contains(&axis)) {
        return Err(format!("perm {list:?} is no permutation of {rank} dimensions"));
    }
    Ok(perm)
}
