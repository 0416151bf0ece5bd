//! Validators that vote twice, and validators that do not vote.
//!
//! | key | value |
//! |---|---|
//! | `slashing/info/{consensus address}` | [`Info`] of a validator that has missed a block or was jailed |
//! | `slashing/missed/{consensus address}{height mod window}` | a block missed in the last window |
//! | `slashing/slashed/{consensus address}{height}{0 down, 1 double}` | [`Slashed`], kept for good |
//! | `slashing/params` | [`Params`] |
//!
//! Messages: `Unjail`, and `UpdateParams` by governance.
//!
//! **Down.** Each block tells who signed the one before. Whoever missed more than `1 - min_signed_per_window` of the last
//! `signed_blocks_window` heights is slashed by `slash_fraction_downtime`, jailed for `downtime_jail_duration`, and begins
//! anew with a clean window. Nothing is written for a block that is signed as the same one was a window ago. A validator
//! that was out of the set for a while keeps the misses it left with until the window has passed over them.
//!
//! **Double.** Evidence of two votes at one height, or of an attack on light clients, slashes by
//! `slash_fraction_double_sign`, jails for good and buries the key: it never votes again. Once.
//!
//! What is slashed is burned. It is taken from all that stood behind the infraction ([`crate::staking::slash`]): stake that
//! was there when it happened and is on its way back or moved on since, and the validator's tokens.
//!
//! Events: `liveness`, `slash`.

mod block;
mod explain;
mod genesis;
mod msgs;
mod queries;

pub use block::{Evidence, LastCommit, Vote, begin_block};
pub use explain::explain_validator;
pub use genesis::{Genesis, InfoGenesis, default_params, export, init};
pub use queries::{query_params, query_signing_info, query_signing_infos};
use serde::{Deserialize, Serialize};
use trainyard_proto::{address::Address, dec::Dec};

use crate::{
    error::{Error, SdkError, coded},
    state::{Item, Map, State},
};

/// How a validator has voted.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Info {
    /// Height from which on misses count.
    #[prost(uint64, tag = "1")]
    pub start_height: u64,
    /// Blocks missed in the window.
    #[prost(uint64, tag = "2")]
    pub missed: u64,
    /// Unix second until which the validator stays jailed.
    #[prost(uint64, tag = "3")]
    pub jailed_until: u64,
    /// Whether the key is buried: it voted twice.
    #[prost(bool, tag = "4")]
    pub tombstoned: bool,
}

/// A slash, for the history.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slashed {
    /// Height of the block that slashed.
    #[prost(uint64, tag = "1")]
    pub height: u64,
    /// Whether it was for voting twice; otherwise for being down.
    #[prost(bool, tag = "2")]
    pub double_sign: bool,
    /// Height of what it was for.
    #[prost(uint64, tag = "3")]
    pub infraction_height: u64,
    /// Voting power then.
    #[prost(uint64, tag = "4")]
    pub power: u64,
    /// Part of the stake that was due, 0 to 1.
    #[prost(message, required, tag = "5")]
    pub fraction: Dec,
    /// utrain burned.
    #[prost(uint64, tag = "6")]
    pub burned: u64,
}

/// Parameters.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Heights in the window.
    #[prost(uint64, tag = "1")]
    pub signed_blocks_window: u64,
    /// Part of the window that must be signed, 0 to 1.
    #[prost(message, required, tag = "2")]
    pub min_signed_per_window: Dec,
    /// Seconds in jail after downtime.
    #[prost(uint64, tag = "3")]
    pub downtime_jail_seconds: u64,
    /// Part of the stake burned for voting twice, 0 to 1.
    #[prost(message, required, tag = "4")]
    pub slash_fraction_double_sign: Dec,
    /// Part of the stake burned for downtime, 0 to 1.
    #[prost(message, required, tag = "5")]
    pub slash_fraction_downtime: Dec,
}

impl Params {
    /// Whether these can be the chain's.
    ///
    /// # Errors
    /// What is out of its bounds.
    pub fn check(&self) -> Result<(), Error> {
        let Self {
            signed_blocks_window,
            min_signed_per_window,
            downtime_jail_seconds,
            slash_fraction_double_sign,
            slash_fraction_downtime,
        } = self;
        let bad = |log: String| Err(SdkError::InvalidRequest(log).into());
        if !(1..=100_000).contains(signed_blocks_window) {
            return bad(format!(
                "slashing signed_blocks_window is {signed_blocks_window}, expected 1 to 100000"
            ));
        }
        if *downtime_jail_seconds > MAX_JAIL {
            return bad(format!(
                "slashing downtime_jail_seconds is {downtime_jail_seconds}, expected at most {MAX_JAIL}"
            ));
        }
        for (name, part) in [
            ("min_signed_per_window", min_signed_per_window),
            ("slash_fraction_double_sign", slash_fraction_double_sign),
            ("slash_fraction_downtime", slash_fraction_downtime),
        ] {
            if *part > Dec::ONE {
                return bad(format!("slashing {name} is {part}, expected 0 to 1"));
            }
        }
        Ok(())
    }

    /// Blocks of a window that may be missed.
    fn allowed(&self) -> u64 {
        let window = Dec::whole(self.signed_blocks_window);
        let signed = window.mul_up(self.min_signed_per_window).and_then(Dec::floor);
        self.signed_blocks_window.saturating_sub(signed.unwrap_or(0))
    }
}

/// Longest time in jail for downtime: a year, seconds.
const MAX_JAIL: u64 = 365 * 24 * 3600;

/// How validators have voted, by consensus address.
pub const INFOS: Map<Address, Info> = Map::new("slashing/info/");
/// Blocks missed, by consensus address and height modulo the window.
pub const MISSED: Map<(Address, u64), bool> = Map::new("slashing/missed/");
/// Slashes by consensus address, height and kind: 0 for being down, 1 for voting twice.
pub const SLASHED: Map<(Address, u64, u32), Slashed> = Map::new("slashing/slashed/");
/// Parameters.
pub const PARAMS: Item<Params> = Item::new("slashing/params");

/// Errors of slashing, with the SDK's codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SlashingError {
    #[error("validator {0} does not exist")]
    NoValidator(String),
    #[error("validator {validator} stays jailed until {until}, it is {now}")]
    StillJailed { validator: String, until: u64, now: u64 },
    #[error("validator {0} is not jailed")]
    NotJailed(String),
    #[error("validator {validator} has delegated {own}utrain to itself, its min_self_delegation is {least}utrain")]
    SelfDelegationTooLow { validator: String, own: u64, least: u64 },
    #[error("validator {0} has voted twice and stays jailed for good")]
    Tombstoned(String),
}

coded!(SlashingError, "slashing", |error| match error {
    SlashingError::NoValidator(_) => 2,
    SlashingError::StillJailed { .. } => 4,
    SlashingError::NotJailed(_) => 5,
    SlashingError::SelfDelegationTooLow { .. } => 7,
    SlashingError::Tombstoned(_) => 9,
});

/// Forgets the misses of a window.
fn clear_window(state: &mut State<'_>, consensus: &Address) -> Result<(), Error> {
    for (key, _) in MISSED.under(state, consensus, usize::MAX)? {
        MISSED.remove(state, &key)?;
    }
    Ok(())
}

/// A validator's count of misses is that of its window, all of whose places are inside it.
///
/// # Errors
/// What does not hold; or the store failed.
pub fn invariant(state: &mut State<'_>) -> Result<(), Error> {
    let window = PARAMS.get(state)?.signed_blocks_window;
    let mut counted = 0;
    for (consensus, info) in INFOS.all(state)? {
        let missed = MISSED.under(state, &consensus, usize::MAX)?;
        counted += missed.len();
        if missed.len() as u64 != info.missed || missed.iter().any(|((_, place), _)| *place >= window) {
            let (places, count) = (missed.len(), info.missed);
            let log = format!(
                "{} missed {count} blocks, {places} in a window of {window}",
                consensus.consensus()
            );
            return Err(Error::fatal(log));
        }
    }
    let all = MISSED.all(state)?.len();
    if all != counted {
        return Err(Error::fatal(format!(
            "{all} missed blocks, {counted} of known validators"
        )));
    }
    Ok(())
}
