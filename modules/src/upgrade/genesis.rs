//! Upgrades at genesis. Versions of modules are those of the program: a genesis is read in its form.

use serde::{Deserialize, Serialize};
use trainyard_proto::cosmos::upgrade::v1beta1::Plan;

use super::{APPLIED, Binary, LAST, PLAN, VERSIONS};
use crate::{error::Error, state::State};

/// An upgrade that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppliedGenesis {
    /// Of its plan.
    pub name: String,
    /// At which it was carried out.
    pub height: u64,
}

/// The plan and what was carried out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Genesis {
    /// The plan.
    pub plan: Option<Plan>,
    /// Upgrades that were carried out.
    pub applied: Vec<AppliedGenesis>,
    /// Name of the last one; empty before the first.
    pub last: String,
}

/// Writes the plan, what was carried out, and the versions of the program.
///
/// # Errors
/// Out of gas.
pub fn init(state: &mut State<'_>, genesis: &Genesis, binary: &Binary) -> Result<(), Error> {
    PLAN.set(state, &genesis.plan.clone().unwrap_or_default())?;
    for AppliedGenesis { name, height } in &genesis.applied {
        APPLIED.set(state, name, height)?;
    }
    LAST.set(state, &genesis.last)?;
    for (module, version) in binary.versions {
        VERSIONS.set(state, &(*module).to_string(), version)?;
    }
    Ok(())
}

/// The inverse of [`init`].
///
/// # Errors
/// The store failed.
pub fn export(state: &mut State<'_>) -> Result<Genesis, Error> {
    let applied = APPLIED.all(state)?.into_iter();
    Ok(Genesis {
        plan: super::plan(state)?,
        applied: applied.map(|(name, height)| AppliedGenesis { name, height }).collect(),
        last: LAST.get(state)?,
    })
}
