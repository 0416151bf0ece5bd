//! Queries of the bank.

use trainyard_proto::{
    address::Address,
    coin::{DENOM, utrain},
    cosmos::{
        bank::v1beta1::{
            DenomOwner, DenomUnit, Metadata, Params, QueryAllBalancesRequest, QueryAllBalancesResponse,
            QueryBalanceRequest, QueryBalanceResponse, QueryDenomMetadataByQueryStringRequest,
            QueryDenomMetadataByQueryStringResponse, QueryDenomMetadataRequest, QueryDenomMetadataResponse,
            QueryDenomOwnersByQueryRequest, QueryDenomOwnersByQueryResponse, QueryDenomOwnersRequest,
            QueryDenomOwnersResponse, QueryDenomsMetadataRequest, QueryDenomsMetadataResponse, QueryParamsRequest,
            QueryParamsResponse, QuerySendEnabledRequest, QuerySendEnabledResponse,
            QuerySpendableBalanceByDenomRequest, QuerySpendableBalanceByDenomResponse, QuerySpendableBalancesRequest,
            QuerySpendableBalancesResponse, QuerySupplyOfRequest, QuerySupplyOfResponse, QueryTotalSupplyRequest,
            QueryTotalSupplyResponse,
        },
        base::{
            query::v1beta1::{PageRequest, PageResponse},
            v1beta1::Coin,
        },
    },
};

use super::{BALANCES, SUPPLY, balance};
use crate::{
    error::{Error, SdkError},
    page,
    state::State,
};

/// `/cosmos.bank.v1beta1.Query/Balance`: zero of any denomination that an account does not hold.
///
/// # Errors
/// The address is none.
pub fn query_balance(state: &mut State<'_>, request: QueryBalanceRequest) -> Result<QueryBalanceResponse, Error> {
    let owner: Address = request.address.parse()?;
    let amount = BALANCES.get(state, &(owner, request.denom.clone()))?.unwrap_or(0);
    Ok(QueryBalanceResponse {
        balance: Some(Coin {
            denom: request.denom,
            amount: amount.to_string(),
        }),
    })
}

/// `/cosmos.bank.v1beta1.Query/AllBalances`.
///
/// # Errors
/// The address is none.
pub fn query_all_balances(
    state: &mut State<'_>,
    request: QueryAllBalancesRequest,
) -> Result<QueryAllBalancesResponse, Error> {
    let amount = balance(state, &request.address.parse()?)?;
    let balances = if amount == 0 { Vec::new() } else { vec![utrain(amount)] };
    Ok(QueryAllBalancesResponse {
        balances,
        pagination: Some(Default::default()),
    })
}

/// `/cosmos.bank.v1beta1.Query/SupplyOf`.
///
/// # Errors
/// The store failed.
pub fn query_supply_of(state: &mut State<'_>, request: QuerySupplyOfRequest) -> Result<QuerySupplyOfResponse, Error> {
    let amount = SUPPLY.get(state, &request.denom)?.unwrap_or(0);
    Ok(QuerySupplyOfResponse {
        amount: Some(Coin {
            denom: request.denom,
            amount: amount.to_string(),
        }),
    })
}

/// `/cosmos.bank.v1beta1.Query/TotalSupply`.
///
/// # Errors
/// The store failed.
pub fn query_total_supply(
    state: &mut State<'_>,
    _: QueryTotalSupplyRequest,
) -> Result<QueryTotalSupplyResponse, Error> {
    let supply = SUPPLY.get(state, &DENOM.to_string())?.unwrap_or(0);
    Ok(QueryTotalSupplyResponse {
        supply: vec![utrain(supply)],
        pagination: Some(Default::default()),
    })
}

/// `/cosmos.bank.v1beta1.Query/SpendableBalances`: nothing that an account holds is locked.
///
/// # Errors
/// The address is none.
pub fn query_spendable(
    state: &mut State<'_>,
    request: QuerySpendableBalancesRequest,
) -> Result<QuerySpendableBalancesResponse, Error> {
    let QueryAllBalancesResponse { balances, pagination } = query_all_balances(
        state,
        QueryAllBalancesRequest {
            address: request.address,
            pagination: request.pagination,
            ..QueryAllBalancesRequest::default()
        },
    )?;
    Ok(QuerySpendableBalancesResponse { balances, pagination })
}

/// `/cosmos.bank.v1beta1.Query/SpendableBalanceByDenom`.
///
/// # Errors
/// The address is none.
pub fn query_spendable_of(
    state: &mut State<'_>,
    request: QuerySpendableBalanceByDenomRequest,
) -> Result<QuerySpendableBalanceByDenomResponse, Error> {
    let QuerySpendableBalanceByDenomRequest { address, denom } = request;
    let QueryBalanceResponse { balance } = query_balance(state, QueryBalanceRequest { address, denom })?;
    Ok(QuerySpendableBalanceByDenomResponse { balance })
}

/// `/cosmos.bank.v1beta1.Query/Params`: what exists can be sent.
///
/// # Errors
/// None.
pub fn query_params(_: &mut State<'_>, _: QueryParamsRequest) -> Result<QueryParamsResponse, Error> {
    Ok(QueryParamsResponse {
        params: Some(Params {
            default_send_enabled: true,
            ..Params::default()
        }),
    })
}

/// `/cosmos.bank.v1beta1.Query/SendEnabled`: no denomination is an exception from the parameters.
///
/// # Errors
/// None.
pub fn query_send_enabled(_: &mut State<'_>, _: QuerySendEnabledRequest) -> Result<QuerySendEnabledResponse, Error> {
    Ok(QuerySendEnabledResponse {
        send_enabled: Vec::new(),
        pagination: Some(PageResponse::default()),
    })
}

/// What wallets show in place of `utrain`.
fn metadata() -> Metadata {
    let unit = |denom: &str, exponent, aliases: &[&str]| DenomUnit {
        denom: denom.into(),
        exponent,
        aliases: aliases.iter().map(|&alias| alias.into()).collect(),
    };
    Metadata {
        description: "The native token of Trainyard: pays for training, fees and stake.".into(),
        denom_units: vec![unit(DENOM, 0, &["microtrain"]), unit("train", 6, &[])],
        base: DENOM.into(),
        display: "train".into(),
        name: "Train".into(),
        symbol: "TRAIN".into(),
        ..Metadata::default()
    }
}

fn metadata_of(denom: &str) -> Result<Metadata, Error> {
    if denom != DENOM {
        let shown: String = denom.chars().take(100).collect();
        return Err(SdkError::NotFound(format!("client metadata for denom {shown}")).into());
    }
    Ok(metadata())
}

/// `/cosmos.bank.v1beta1.Query/DenomMetadata`.
///
/// # Errors
/// No such denomination.
pub fn query_metadata(
    _: &mut State<'_>,
    request: QueryDenomMetadataRequest,
) -> Result<QueryDenomMetadataResponse, Error> {
    let metadata = Some(metadata_of(&request.denom)?);
    Ok(QueryDenomMetadataResponse { metadata })
}

/// `/cosmos.bank.v1beta1.Query/DenomMetadataByQueryString`.
///
/// # Errors
/// No such denomination.
pub fn query_metadata_by_query(
    _: &mut State<'_>,
    request: QueryDenomMetadataByQueryStringRequest,
) -> Result<QueryDenomMetadataByQueryStringResponse, Error> {
    let metadata = Some(metadata_of(&request.denom)?);
    Ok(QueryDenomMetadataByQueryStringResponse { metadata })
}

/// `/cosmos.bank.v1beta1.Query/DenomsMetadata`.
///
/// # Errors
/// None.
pub fn query_metadata_list(
    _: &mut State<'_>,
    _: QueryDenomsMetadataRequest,
) -> Result<QueryDenomsMetadataResponse, Error> {
    Ok(QueryDenomsMetadataResponse {
        metadatas: vec![metadata()],
        pagination: Some(PageResponse::default()),
    })
}

/// Holders of a denomination, a page at a time, in the order of their addresses.
fn owners(
    state: &mut State<'_>,
    denom: &str,
    request: Option<&PageRequest>,
) -> Result<(Vec<DenomOwner>, Option<PageResponse>), Error> {
    page::map(state, &BALANCES, request, |(owner, held), amount| {
        (held == denom).then(|| DenomOwner {
            address: owner.to_string(),
            balance: Some(Coin {
                denom: denom.into(),
                amount: amount.to_string(),
            }),
        })
    })
}

/// `/cosmos.bank.v1beta1.Query/DenomOwners`.
///
/// # Errors
/// The page is not valid.
pub fn query_owners(
    state: &mut State<'_>,
    request: QueryDenomOwnersRequest,
) -> Result<QueryDenomOwnersResponse, Error> {
    let (denom_owners, pagination) = owners(state, &request.denom, request.pagination.as_ref())?;
    Ok(QueryDenomOwnersResponse {
        denom_owners,
        pagination,
    })
}

/// `/cosmos.bank.v1beta1.Query/DenomOwnersByQuery`.
///
/// # Errors
/// The page is not valid.
pub fn query_owners_by_query(
    state: &mut State<'_>,
    request: QueryDenomOwnersByQueryRequest,
) -> Result<QueryDenomOwnersByQueryResponse, Error> {
    let (denom_owners, pagination) = owners(state, &request.denom, request.pagination.as_ref())?;
    Ok(QueryDenomOwnersByQueryResponse {
        denom_owners,
        pagination,
    })
}
