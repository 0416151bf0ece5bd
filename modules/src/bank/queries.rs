//! Queries of the bank.

use trainyard_proto::{
    address::Address,
    coin::{DENOM, utrain},
    cosmos::{
        bank::v1beta1::{
            QueryAllBalancesRequest, QueryAllBalancesResponse, QueryBalanceRequest, QueryBalanceResponse,
            QuerySupplyOfRequest, QuerySupplyOfResponse, QueryTotalSupplyRequest, QueryTotalSupplyResponse,
        },
        base::v1beta1::Coin,
    },
};

use super::{BALANCES, SUPPLY, balance};
use crate::{error::Error, state::State};

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
