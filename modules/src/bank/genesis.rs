//! Money at genesis.

use serde::{Deserialize, Serialize};
use trainyard_proto::{
    address::Address,
    coin::{DENOM, MAX_SUPPLY},
};

use super::{BALANCES, SUPPLY, is_module, set_balance};
use crate::{
    auth,
    error::{Error, SdkError},
    state::State,
};

/// utrain of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Balance {
    /// Owner.
    pub address: String,
    /// utrain.
    pub amount: u64,
}

/// Balances; the supply is their sum.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Genesis {
    /// Balances by owner.
    pub balances: Vec<Balance>,
}

/// Writes balances and supply; owners without an account get one.
///
/// # Errors
/// An address that is none or stands twice, or more than [`MAX_SUPPLY`] in all.
pub fn init(state: &mut State<'_>, genesis: &Genesis) -> Result<(), Error> {
    let mut supply: u64 = 0;
    for Balance { address, amount } in &genesis.balances {
        let owner: Address = address.parse()?;
        if BALANCES.get(state, &(owner, DENOM.to_string()))?.is_some() {
            return Err(SdkError::InvalidRequest(format!("genesis lists the balance of {owner} twice")).into());
        }
        supply = supply
            .checked_add(*amount)
            .filter(|sum| *sum <= MAX_SUPPLY)
            .ok_or_else(|| SdkError::InvalidCoins(format!("genesis balances exceed {MAX_SUPPLY}utrain at {owner}")))?;
        set_balance(state, &owner, *amount)?;
        if !is_module(&owner) {
            auth::ensure(state, owner)?;
        }
    }
    SUPPLY.set(state, &DENOM.to_string(), &supply)
}

/// The inverse of [`init`].
///
/// # Errors
/// The store failed.
pub fn export(state: &mut State<'_>) -> Result<Genesis, Error> {
    let balances = BALANCES.all(state)?;
    Ok(Genesis {
        balances: balances
            .into_iter()
            .map(|((owner, _), amount)| Balance {
                address: owner.to_string(),
                amount,
            })
            .collect(),
    })
}
