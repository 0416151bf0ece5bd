//! Pages of lists: the SDK's `PageRequest` over a [`Map`]. `key` continues where a page ended; `limit` is bounded.

use trainyard_proto::{
    cosmos::base::query::v1beta1::{PageRequest, PageResponse},
    prost::Message,
};

use crate::{
    error::{Error, SdkError},
    state::{Key, Map, State},
};

/// Entries of a page when none are asked for.
pub const DEFAULT_LIMIT: usize = 100;
/// Most entries of a page.
pub const MAX_LIMIT: usize = 1000;
/// Most entries looked at for one page, however few of them match.
const MAX_SCAN: usize = 20_000;

/// The entries of `map` that `pick` keeps, a page at a time, in key order.
///
/// # Errors
/// The page's `key` is not one of ours, or `reverse` is asked for.
pub fn map<K: Key + Clone, V: Message + Default, T>(
    state: &mut State<'_>,
    map: &Map<K, V>,
    request: Option<&PageRequest>,
    pick: impl FnMut(&K, V) -> Option<T>,
) -> Result<(Vec<T>, Option<PageResponse>), Error> {
    page(request, pick, |start, limit| map.from(state, start, limit))
}

/// The entries of `map` under `part`, the first of its keys' parts, that `pick` keeps, a page at a time, in key order.
///
/// # Errors
/// As [`map`].
pub fn under<P: Key, K: Key, V: Message + Default, T>(
    state: &mut State<'_>,
    map: &Map<K, V>,
    part: &P,
    request: Option<&PageRequest>,
    pick: impl FnMut(&K, V) -> Option<T>,
) -> Result<(Vec<T>, Option<PageResponse>), Error> {
    page(request, pick, |start, limit| match start {
        Some(start) => map.under_from(state, part, start, limit),
        None => map.under(state, part, limit),
    })
}

fn page<K: Key, V, T>(
    request: Option<&PageRequest>,
    mut pick: impl FnMut(&K, V) -> Option<T>,
    read: impl FnOnce(Option<&K>, usize) -> Result<Vec<(K, V)>, Error>,
) -> Result<(Vec<T>, Option<PageResponse>), Error> {
    let request = request.cloned().unwrap_or_default();
    if request.reverse {
        return Err(SdkError::InvalidRequest("pagination in reverse is not supported".into()).into());
    }
    let limit = match usize::try_from(request.limit).unwrap_or(usize::MAX) {
        0 => DEFAULT_LIMIT,
        limit => limit.min(MAX_LIMIT),
    };
    let mut skip = request.offset;
    let start = if request.key.is_empty() {
        None
    } else {
        let mut rest = request.key.as_slice();
        let start = K::read(&mut rest)
            .filter(|_| rest.is_empty())
            .ok_or_else(|| SdkError::InvalidRequest("pagination key is not one that a page ended with".into()))?;
        Some(start)
    };
    let found = read(start.as_ref(), MAX_SCAN + 1)?;
    let mut out = Vec::new();
    let mut next_key = Vec::new();
    for (seen, (key, value)) in found.into_iter().enumerate() {
        if out.len() == limit || seen == MAX_SCAN {
            key.write(&mut next_key);
            break;
        }
        let Some(item) = pick(&key, value) else { continue };
        if skip > 0 {
            skip -= 1;
        } else {
            out.push(item);
        }
    }
    Ok((out, Some(PageResponse { next_key, total: 0 })))
}
