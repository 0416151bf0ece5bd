//! Accounts: numbers, public keys, sequences. The checks of a transaction that read them stand in [`crate::machine::ante`].
//!
//! | key | value |
//! |---|---|
//! | `auth/account/{address}` | [`BaseAccount`] |
//! | `auth/next_number` | number of the next account |

mod queries;

pub use queries::{
    query_account_info, query_accounts, query_address_by_number, query_address_bytes, query_address_string,
    query_bech32_prefix,
};
use serde::{Deserialize, Serialize};
use trainyard_proto::{address::Address, cosmos::auth::v1beta1::BaseAccount};

use crate::{
    error::{Error, SdkError},
    state::{Item, Map, State},
};

/// Accounts by address.
pub const ACCOUNTS: Map<Address, BaseAccount> = Map::new("auth/account/");
/// Number of the next account.
pub const NEXT_NUMBER: Item<u64> = Item::new("auth/next_number");

/// The account of an address, made when it has none yet.
///
/// # Errors
/// Out of gas, or the store failed.
pub fn ensure(state: &mut State<'_>, address: Address) -> Result<BaseAccount, Error> {
    if let Some(account) = ACCOUNTS.get(state, &address)? {
        return Ok(account);
    }
    let account_number = NEXT_NUMBER.get(state)?;
    NEXT_NUMBER.set(state, &(account_number + 1))?;
    let account = BaseAccount {
        address: address.to_string(),
        pub_key: None,
        account_number,
        sequence: 0,
    };
    ACCOUNTS.set(state, &address, &account)?;
    Ok(account)
}

/// The account of an address.
///
/// # Errors
/// There is none: the text CosmJS takes for "does not exist".
pub fn find(state: &mut State<'_>, address: &Address) -> Result<BaseAccount, Error> {
    let account = ACCOUNTS.get(state, address)?;
    Ok(account.ok_or_else(|| SdkError::NotFound(format!("account {address} not found")))?)
}

/// Accounts at genesis.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Genesis {
    /// Accounts with their numbers.
    pub accounts: Vec<BaseAccount>,
}

/// Writes the accounts.
///
/// # Errors
/// An address or number that is not valid, or stands twice.
pub fn init(state: &mut State<'_>, genesis: &Genesis) -> Result<(), Error> {
    let mut next = 0;
    for account in &genesis.accounts {
        let address: Address = account.address.parse()?;
        if ACCOUNTS.get(state, &address)?.is_some() {
            return Err(SdkError::InvalidRequest(format!("genesis lists account {address} twice")).into());
        }
        ACCOUNTS.set(state, &address, account)?;
        next = next.max(account.account_number.saturating_add(1));
    }
    NEXT_NUMBER.set(state, &next)
}

/// The inverse of [`init`].
///
/// # Errors
/// The store failed.
pub fn export(state: &mut State<'_>) -> Result<Genesis, Error> {
    Ok(Genesis {
        accounts: ACCOUNTS.all(state)?.into_iter().map(|(_, account)| account).collect(),
    })
}
