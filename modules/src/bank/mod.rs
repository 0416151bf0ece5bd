//! Money: balances, transfers, supply. Other modules move money only through [`transfer`].
//!
//! | key | value |
//! |---|---|
//! | `bank/balance/{address}{denom}` | amount (u64); no entry is zero |
//! | `bank/supply/{denom}` | amount (u64) |
//!
//! Events: `transfer`, `coin_spent`, `coin_received`, `burn`, as the SDK's. Only `utrain` exists so far; keys carry the
//! denomination so that tokens of other chains can arrive beside it.

mod accounts;
mod genesis;
mod msgs;
mod queries;

use std::sync::LazyLock;

pub use accounts::{query_account, query_module_account, query_module_accounts};
pub use genesis::{Balance, Genesis, export, init};
pub use queries::{
    query_all_balances, query_balance, query_metadata, query_metadata_by_query, query_metadata_list, query_owners,
    query_owners_by_query, query_params, query_send_enabled, query_spendable, query_spendable_of, query_supply_of,
    query_total_supply,
};
use trainyard_proto::{address::Address, coin::DENOM};

use crate::{
    auth,
    context::{Ctx, Event, Value},
    error::{Error, SdkError},
    state::{Map, State},
};

/// Balances by owner and denomination.
pub const BALANCES: Map<(Address, String), u64> = Map::new("bank/balance/");
/// Supply by denomination.
pub const SUPPLY: Map<String, u64> = Map::new("bank/supply/");

/// Accounts that belong to modules; nobody holds their keys.
pub const MODULE_ACCOUNTS: &[&str] = &[
    FEE_COLLECTOR,
    TREASURY,
    DISTRIBUTION,
    BONDED_POOL,
    NOT_BONDED_POOL,
    NODE_BONDS,
    ESCROW,
    GOV,
    GOV_DEPOSITS,
];
/// Holds gas and posting fees until the epoch ends.
pub const FEE_COLLECTOR: &str = "fee_collector";
/// The community's money.
pub const TREASURY: &str = "treasury";
/// Holds rewards until they are withdrawn.
pub const DISTRIBUTION: &str = "distribution";
/// Holds delegated stake.
pub const BONDED_POOL: &str = "bonded_tokens_pool";
/// Holds stake on its way back.
pub const NOT_BONDED_POOL: &str = "not_bonded_tokens_pool";
/// Holds bonds of workers and evaluators.
pub const NODE_BONDS: &str = "registry";
/// Holds budgets and stakes of jobs.
pub const ESCROW: &str = "job_escrow";

/// Signs the messages of proposals that passed; holds nothing.
pub const GOV: &str = "gov";
/// Holds the deposits of open proposals.
pub const GOV_DEPOSITS: &str = "gov_deposits";

/// utrain of an account.
///
/// # Errors
/// Out of gas, or the store failed.
pub fn balance(state: &mut State<'_>, owner: &Address) -> Result<u64, Error> {
    Ok(BALANCES.get(state, &(*owner, DENOM.to_string()))?.unwrap_or(0))
}

fn set_balance(state: &mut State<'_>, owner: &Address, amount: u64) -> Result<(), Error> {
    let key = (*owner, DENOM.to_string());
    if amount == 0 {
        BALANCES.remove(state, &key)
    } else {
        BALANCES.set(state, &key, &amount)
    }
}

/// Moves `amount` utrain. A new recipient gets an account, unless it is a module's.
///
/// # Errors
/// Insufficient funds, with what is there and what is needed; nothing has moved then.
pub fn transfer(ctx: &mut Ctx<'_, '_>, from: Address, to: Address, amount: u64) -> Result<(), Error> {
    if amount == 0 {
        return Ok(());
    }
    let have = balance(ctx.state, &from)?;
    let left = have
        .checked_sub(amount)
        .ok_or(SdkError::InsufficientFunds { have, need: amount })?;
    set_balance(ctx.state, &from, left)?;
    let there = balance(ctx.state, &to)?;
    // The supply is at most i64::MAX, so a sum of balances cannot overflow unless the state is broken.
    let sum = there
        .checked_add(amount)
        .ok_or_else(|| Error::fatal(format!("balance of {to} overflows")))?;
    set_balance(ctx.state, &to, sum)?;
    if !is_module(&to) {
        auth::ensure(ctx.state, to)?;
    }
    let coin = || Value::Utrain(amount);
    ctx.emit(Event::new("coin_spent").with("spender", from).with("amount", coin()));
    ctx.emit(Event::new("coin_received").with("receiver", to).with("amount", coin()));
    ctx.emit(
        Event::new("transfer")
            .with("recipient", to)
            .with("sender", from)
            .with("amount", coin()),
    );
    Ok(())
}

/// Destroys `amount` utrain of an account; the supply falls by as much.
///
/// # Errors
/// Insufficient funds, with what is there and what is needed; nothing has changed then.
pub fn burn(ctx: &mut Ctx<'_, '_>, from: Address, amount: u64) -> Result<(), Error> {
    if amount == 0 {
        return Ok(());
    }
    let have = balance(ctx.state, &from)?;
    let left = have
        .checked_sub(amount)
        .ok_or(SdkError::InsufficientFunds { have, need: amount })?;
    let supply = SUPPLY.get(ctx.state, &DENOM.to_string())?.unwrap_or(0);
    let supply = supply
        .checked_sub(amount)
        .ok_or_else(|| Error::fatal(format!("supply of {supply}utrain is below a balance of {have}utrain")))?;
    set_balance(ctx.state, &from, left)?;
    SUPPLY.set(ctx.state, &DENOM.to_string(), &supply)?;
    let coin = || Value::Utrain(amount);
    ctx.emit(Event::new("coin_spent").with("spender", from).with("amount", coin()));
    ctx.emit(Event::new("burn").with("burner", from).with("amount", coin()));
    Ok(())
}

/// Whether an address is a module's account.
#[must_use]
pub fn is_module(address: &Address) -> bool {
    // Hashed once: every transfer asks.
    static ADDRESSES: LazyLock<Vec<Address>> =
        LazyLock::new(|| MODULE_ACCOUNTS.iter().map(|name| Address::of_module(name)).collect());
    ADDRESSES.contains(address)
}

/// The sum of all balances is the supply.
///
/// # Errors
/// The two sums, when they differ; or the store failed.
pub fn invariant(state: &mut State<'_>) -> Result<(), Error> {
    let sum: u128 = BALANCES.all(state)?.iter().map(|(_, amount)| u128::from(*amount)).sum();
    let supply = SUPPLY.get(state, &DENOM.to_string())?.unwrap_or(0);
    if sum != u128::from(supply) {
        return Err(Error::fatal(format!(
            "balances sum to {sum}utrain, the supply is {supply}utrain"
        )));
    }
    Ok(())
}
