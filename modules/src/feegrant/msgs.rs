//! Messages of allowances.

use trainyard_proto::{
    address::Address,
    cosmos::feegrant::v1beta1::{
        MsgGrantAllowance, MsgGrantAllowanceResponse, MsgRevokeAllowance, MsgRevokeAllowanceResponse,
    },
};

use super::{ALLOWANCES, Allowance, FeegrantError, forget, write};
use crate::{
    auth,
    context::{Ctx, Event, Handler},
    error::{Error, SdkError},
};

/// Two accounts that are not the same.
fn parties(granter: &str, grantee: &str) -> Result<(Address, Address), Error> {
    let (granter, grantee) = (granter.parse()?, grantee.parse()?);
    if granter == grantee {
        return Err(SdkError::InvalidAddress(format!("{granter} cannot grant itself an allowance")).into());
    }
    Ok((granter, grantee))
}

impl Handler for MsgGrantAllowance {
    type Response = MsgGrantAllowanceResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.granter.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        parties(&self.granter, &self.grantee)?;
        Allowance::read(self.allowance.as_ref())?.check_new()
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgGrantAllowanceResponse, Error> {
        let (granter, grantee) = parties(&self.granter, &self.grantee)?;
        if ALLOWANCES.get(ctx.state, &(grantee, granter))?.is_some() {
            return Err(FeegrantError::Exists { granter, grantee }.into());
        }
        let mut allowance = Allowance::read(self.allowance.as_ref())?;
        if let Some(end) = allowance.end().filter(|end| *end <= ctx.block.time) {
            return Err(FeegrantError::Expired(end).into());
        }
        allowance.begin(ctx.block.time);
        write(ctx.state, grantee, granter, &allowance)?;
        // Whoever has nothing yet can sign its first transaction with this.
        auth::ensure(ctx.state, grantee)?;
        ctx.emit(
            Event::new("set_feegrant")
                .with("granter", granter)
                .with("grantee", grantee),
        );
        Ok(MsgGrantAllowanceResponse {})
    }
}

impl Handler for MsgRevokeAllowance {
    type Response = MsgRevokeAllowanceResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.granter.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        parties(&self.granter, &self.grantee).map(drop)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgRevokeAllowanceResponse, Error> {
        let (granter, grantee) = parties(&self.granter, &self.grantee)?;
        if !forget(ctx.state, grantee, granter)? {
            return Err(FeegrantError::None { granter, grantee }.into());
        }
        ctx.emit(
            Event::new("revoke_feegrant")
                .with("granter", granter)
                .with("grantee", grantee),
        );
        Ok(MsgRevokeAllowanceResponse {})
    }
}
