//! Permissions at genesis.

use serde::{Deserialize, Serialize};
use trainyard_proto::cosmos::authz::v1beta1::{Grant, GrantAuthorization};

use super::{Authorization, GRANTS, write};
use crate::{error::Error, state::State};

/// Grants.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Genesis {
    /// With both parties.
    pub grants: Vec<GrantAuthorization>,
}

/// Writes the grants.
///
/// # Errors
/// An address or authorization that is not valid.
pub fn init(state: &mut State<'_>, genesis: &Genesis) -> Result<(), Error> {
    for GrantAuthorization {
        granter,
        grantee,
        authorization,
        expiration,
    } in &genesis.grants
    {
        let message = Authorization::read(authorization.as_ref())?.message();
        let grant = Grant {
            authorization: authorization.clone(),
            expiration: *expiration,
        };
        write(state, &(granter.parse()?, grantee.parse()?, message), &grant)?;
    }
    Ok(())
}

/// The inverse of [`init`].
///
/// # Errors
/// The store failed.
pub fn export(state: &mut State<'_>) -> Result<Genesis, Error> {
    let grants = GRANTS.all(state)?.into_iter();
    Ok(Genesis {
        grants: grants
            .map(|((granter, grantee, _), grant)| GrantAuthorization {
                granter: granter.to_string(),
                grantee: grantee.to_string(),
                authorization: grant.authorization,
                expiration: grant.expiration,
            })
            .collect(),
    })
}
