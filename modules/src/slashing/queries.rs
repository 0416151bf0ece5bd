//! Queries of slashing, under the SDK's names.

use trainyard_proto::{
    address::Address,
    cosmos::slashing::v1beta1::{
        QueryParamsRequest, QueryParamsResponse, QuerySigningInfoRequest, QuerySigningInfoResponse,
        QuerySigningInfosRequest, QuerySigningInfosResponse, ValidatorSigningInfo,
    },
};

use super::{INFOS, Info, PARAMS};
use crate::{
    context::timestamp,
    error::{Error, SdkError},
    page,
    staking::BY_CONSENSUS,
    state::State,
};

/// The last second of the year 9999, which the SDK's timestamps end at.
const FOR_GOOD: u64 = 253_402_300_799;

/// `/cosmos.slashing.v1beta1.Query/Params`.
///
/// # Errors
/// The store failed.
pub fn query_params(state: &mut State<'_>, _: QueryParamsRequest) -> Result<QueryParamsResponse, Error> {
    Ok(QueryParamsResponse {
        params: Some(PARAMS.get(state)?.into()),
    })
}

/// `height` is the last block's: the SDK counts up since the start what follows from it here.
fn shown(consensus: &Address, info: &Info, height: u64) -> ValidatorSigningInfo {
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    ValidatorSigningInfo {
        address: consensus.consensus(),
        start_height: signed(info.start_height),
        index_offset: signed(height.saturating_sub(info.start_height)),
        jailed_until: Some(timestamp(info.jailed_until.min(FOR_GOOD))),
        tombstoned: info.tombstoned,
        missed_blocks_counter: signed(info.missed),
    }
}

/// `/cosmos.slashing.v1beta1.Query/SigningInfo`: a clean one of a validator that never missed a block; `height` is that of the state.
///
/// # Errors
/// No validator has this consensus address.
pub fn query_signing_info(
    state: &mut State<'_>,
    height: u64,
    request: QuerySigningInfoRequest,
) -> Result<QuerySigningInfoResponse, Error> {
    let consensus = Address::parse_consensus(&request.cons_address)?;
    let info = match INFOS.get(state, &consensus)? {
        Some(info) => info,
        None if BY_CONSENSUS.get(state, &consensus)?.is_some() => Info::default(),
        None => {
            let log = format!("no validator has the consensus address {}", consensus.consensus());
            return Err(SdkError::NotFound(log).into());
        }
    };
    Ok(QuerySigningInfoResponse {
        val_signing_info: Some(shown(&consensus, &info, height)),
    })
}

/// `/cosmos.slashing.v1beta1.Query/SigningInfos`: of all validators, with clean ones of those that never missed a block;
/// `height` is that of the state.
///
/// # Errors
/// The page is not valid.
pub fn query_signing_infos(
    state: &mut State<'_>,
    height: u64,
    request: QuerySigningInfosRequest,
) -> Result<QuerySigningInfosResponse, Error> {
    let (info, pagination) = page::load_all(
        state,
        &BY_CONSENSUS,
        request.pagination.as_ref(),
        |state, consensus, _| {
            let info = INFOS.get(state, consensus)?.unwrap_or_default();
            Ok(Some(shown(consensus, &info, height)))
        },
    )?;
    Ok(QuerySigningInfosResponse { info, pagination })
}
