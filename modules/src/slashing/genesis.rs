//! Votes at genesis.

use serde::{Deserialize, Serialize};
use trainyard_proto::{address::Address, dec::Dec};

use super::{INFOS, Info, MISSED, PARAMS, Params, SLASHED, Slashed};
use crate::{error::Error, staking, state::State};

/// How a validator has voted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfoGenesis {
    /// Its consensus address.
    pub validator: String,
    /// The record.
    pub info: Info,
    /// Places of missed blocks in the window: height modulo window.
    pub missed: Vec<u64>,
    /// What it was slashed.
    #[serde(default)]
    pub slashed: Vec<Slashed>,
}

/// Votes at genesis; new chains leave the list empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Genesis {
    /// Parameters.
    pub params: Params,
    /// By validator.
    pub infos: Vec<InfoGenesis>,
}

impl Default for Genesis {
    fn default() -> Self {
        Self {
            params: default_params(),
            infos: Vec::new(),
        }
    }
}

/// Half of the last 100 blocks, or 1 % and ten minutes; 5 % for voting twice.
#[must_use]
pub fn default_params() -> Params {
    let percent = |n| Dec::ratio(n, 100).unwrap_or_default();
    Params {
        signed_blocks_window: 100,
        min_signed_per_window: percent(50),
        downtime_jail_seconds: 600,
        slash_fraction_double_sign: percent(5),
        slash_fraction_downtime: percent(1),
    }
}

/// Writes parameters and records.
///
/// # Errors
/// What is not valid. Counts are checked by the invariants.
pub fn init(state: &mut State<'_>, genesis: &Genesis) -> Result<(), Error> {
    genesis.params.check()?;
    PARAMS.set(state, &genesis.params)?;
    for InfoGenesis {
        validator,
        info,
        missed,
        slashed,
    } in &genesis.infos
    {
        let consensus = Address::parse_consensus(validator)?;
        INFOS.set(state, &consensus, info)?;
        if info.tombstoned {
            staking::bar(state, &consensus)?;
        }
        for place in missed {
            MISSED.set(state, &(consensus, *place), &true)?;
        }
        for slashed in slashed {
            SLASHED.set(state, &(consensus, slashed.height, slashed.double_sign.into()), slashed)?;
        }
    }
    Ok(())
}

/// The inverse of [`init`].
///
/// # Errors
/// The store failed.
pub fn export(state: &mut State<'_>) -> Result<Genesis, Error> {
    let mut infos = Vec::new();
    for (consensus, info) in INFOS.all(state)? {
        let missed = MISSED.under(state, &consensus, usize::MAX)?;
        let slashed = SLASHED.under(state, &consensus, usize::MAX)?;
        infos.push(InfoGenesis {
            validator: consensus.consensus(),
            info,
            missed: missed.into_iter().map(|((_, place), _)| place).collect(),
            slashed: slashed.into_iter().map(|(_, slashed)| slashed).collect(),
        });
    }
    let params = PARAMS.get(state)?;
    Ok(Genesis { params, infos })
}
