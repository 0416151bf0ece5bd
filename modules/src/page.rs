//! Pages of lists: the SDK's `PageRequest` over a [`Map`]. `key` continues where a page ended; `limit` is bounded. A total is told
//! where the SDK tells it: when it is asked for, or no limit is; it is 0 where counting would take too long.

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

/// Entries read at once.
const CHUNK: usize = 100;

/// The entries of `map` that `pick` keeps, a page at a time, in key order.
///
/// # Errors
/// The page's `key` is not one of ours.
pub fn map<K: Key + Clone, V: Message + Default, T>(
    state: &mut State<'_>,
    map: &Map<K, V>,
    request: Option<&PageRequest>,
    mut pick: impl FnMut(&K, V) -> Option<T>,
) -> Result<(Vec<T>, Option<PageResponse>), Error> {
    load_all(state, map, request, |_, key, value| Ok(pick(key, value)))
}

/// As [`map`], for an index: `pick` reads what an entry stands for.
///
/// # Errors
/// As [`map`], and those of `pick`.
pub fn load_all<K: Key, V: Message + Default, T>(
    state: &mut State<'_>,
    map: &Map<K, V>,
    request: Option<&PageRequest>,
    pick: impl FnMut(&mut State<'_>, &K, V) -> Result<Option<T>, Error>,
) -> Result<(Vec<T>, Option<PageResponse>), Error> {
    let reverse = request.is_some_and(|request| request.reverse);
    page(state, request, pick, |state, start| {
        if reverse {
            map.down_from(state, start, CHUNK + 1)
        } else {
            map.from(state, start, CHUNK + 1)
        }
    })
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
    mut pick: impl FnMut(&K, V) -> Option<T>,
) -> Result<(Vec<T>, Option<PageResponse>), Error> {
    load(state, map, part, request, |_, key, value| Ok(pick(key, value)))
}

/// As [`under`], for an index: `pick` reads what an entry stands for.
///
/// # Errors
/// As [`map`], and those of `pick`.
pub fn load<P: Key, K: Key, V: Message + Default, T>(
    state: &mut State<'_>,
    map: &Map<K, V>,
    part: &P,
    request: Option<&PageRequest>,
    pick: impl FnMut(&mut State<'_>, &K, V) -> Result<Option<T>, Error>,
) -> Result<(Vec<T>, Option<PageResponse>), Error> {
    let reverse = request.is_some_and(|request| request.reverse);
    page(state, request, pick, |state, start| match start {
        start if reverse => map.under_down(state, part, start, CHUNK + 1),
        Some(start) => map.under_from(state, part, start, CHUNK + 1),
        None => map.under(state, part, CHUNK + 1),
    })
}

/// `read` gives the entries from a key on, [`CHUNK`] and the one after them.
fn page<K: Key, V, T>(
    state: &mut State<'_>,
    request: Option<&PageRequest>,
    mut pick: impl FnMut(&mut State<'_>, &K, V) -> Result<Option<T>, Error>,
    mut read: impl FnMut(&mut State<'_>, Option<&K>) -> Result<Vec<(K, V)>, Error>,
) -> Result<(Vec<T>, Option<PageResponse>), Error> {
    let request = request.cloned().unwrap_or_default();
    // Who goes on from a key has the total already.
    let count = (request.count_total || request.limit == 0) && request.key.is_empty();
    let limit = match usize::try_from(request.limit).unwrap_or(usize::MAX) {
        0 => DEFAULT_LIMIT,
        limit => limit.min(MAX_LIMIT),
    };
    let mut skip = request.offset;
    let mut start = if request.key.is_empty() {
        None
    } else {
        let mut rest = request.key.as_slice();
        let start = K::read(&mut rest)
            .filter(|_| rest.is_empty())
            .ok_or_else(|| SdkError::InvalidRequest("pagination key is not one that a page ended with".into()))?;
        Some(start)
    };
    let (mut out, mut seen, mut matched) = (Vec::new(), 0, 0);
    let (mut next_key, mut total) = (Vec::new(), 0);
    'pages: loop {
        let mut found = read(state, start.as_ref())?;
        let last = found.len() <= CHUNK;
        start = if last { None } else { found.pop().map(|(key, _)| key) };
        for (key, value) in found {
            if next_key.is_empty() && (out.len() == limit || seen == MAX_SCAN) {
                key.write(&mut next_key);
            }
            if seen == MAX_SCAN || !(next_key.is_empty() || count) {
                break 'pages;
            }
            seen += 1;
            let Some(item) = pick(state, &key, value)? else {
                continue;
            };
            matched += 1;
            if skip > 0 {
                skip -= 1;
            } else if next_key.is_empty() {
                out.push(item);
            }
        }
        if last {
            total = if count { matched } else { 0 };
        }
        let Some(next) = &start else { break };
        if !count && (out.len() == limit || seen == MAX_SCAN) {
            next.write(&mut next_key);
            break;
        }
    }
    Ok((out, Some(PageResponse { next_key, total })))
}
