//! Allowances at genesis.

use serde::{Deserialize, Serialize};
use trainyard_proto::cosmos::feegrant::v1beta1::Grant;

use super::{ALLOWANCES, Allowance, write};
use crate::{error::Error, state::State};

/// Allowances.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Genesis {
    /// With both parties.
    pub allowances: Vec<Grant>,
}

/// Writes the allowances.
///
/// # Errors
/// An address or allowance that is not valid.
pub fn init(state: &mut State<'_>, genesis: &Genesis) -> Result<(), Error> {
    for grant in &genesis.allowances {
        let allowance = Allowance::read(grant.allowance.as_ref())?;
        write(state, grant.grantee.parse()?, grant.granter.parse()?, &allowance)?;
    }
    Ok(())
}

/// The inverse of [`init`].
///
/// # Errors
/// The store failed.
pub fn export(state: &mut State<'_>) -> Result<Genesis, Error> {
    Ok(Genesis {
        allowances: ALLOWANCES.all(state)?.into_iter().map(|(_, grant)| grant).collect(),
    })
}
