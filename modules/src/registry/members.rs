//! Membership: who may work while it is allow-listed.

use std::collections::BTreeSet;

use trainyard_proto::{
    address::Address,
    registry::{MsgUpdateMembers, MsgUpdateMembersResponse, MsgUpdateParams, MsgUpdateParamsResponse},
};

use super::{MEMBERS, PARAMS, RegistryError, genesis::check_params};
use crate::{
    context::{Ctx, Event, Handler},
    error::{Error, SdkError},
    governed::{only_governance, update_params},
    state::State,
};

/// Accounts of one message, at most.
const MAX_ACCOUNTS: usize = 1_000;

/// Refuses an account that may not work.
///
/// # Errors
/// Membership is allow-listed and `owner` is no member.
pub fn admitted(state: &mut State<'_>, owner: &Address) -> Result<(), Error> {
    if PARAMS.get(state)?.allow_listed && MEMBERS.get(state, owner)?.is_none() {
        return Err(RegistryError::NotAdmitted(*owner).into());
    }
    Ok(())
}

impl Handler for MsgUpdateMembers {
    type Response = MsgUpdateMembersResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.authority.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        let found = self.admit.len() + self.dismiss.len();
        if !(1..=MAX_ACCOUNTS).contains(&found) {
            let log = format!("{found} accounts are admitted or dismissed, expected 1 to {MAX_ACCOUNTS}");
            return Err(SdkError::InvalidRequest(log).into());
        }
        let mut seen = BTreeSet::new();
        for text in self.admit.iter().chain(&self.dismiss) {
            if !seen.insert(text.parse::<Address>()?) {
                return Err(SdkError::InvalidRequest(format!("{text} stands twice in the message")).into());
            }
        }
        Ok(())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgUpdateMembersResponse, Error> {
        only_governance(self.signer()?)?;
        for text in &self.admit {
            MEMBERS.set(ctx.state, &text.parse()?, &true)?;
            ctx.emit(Event::new("member_admitted").with("owner", text));
        }
        for text in &self.dismiss {
            MEMBERS.remove(ctx.state, &text.parse()?)?;
            ctx.emit(Event::new("member_dismissed").with("owner", text));
        }
        Ok(MsgUpdateMembersResponse {})
    }
}

update_params!(MsgUpdateParams, MsgUpdateParamsResponse, check_params, PARAMS);
