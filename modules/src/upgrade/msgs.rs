//! Messages of governance that plan upgrades.

use trainyard_proto::{
    address::Address,
    cosmos::upgrade::v1beta1::{
        MsgCancelUpgrade, MsgCancelUpgradeResponse, MsgSoftwareUpgrade, MsgSoftwareUpgradeResponse, Plan,
    },
};

use super::{APPLIED, PLAN, UpgradeError, plan};
use crate::{
    context::{Ctx, Event, Handler},
    error::Error,
    governed::only_governance,
};

/// Longest name, bytes: cosmovisor makes a folder of it.
const MAX_NAME: usize = 100;
/// Longest info, bytes: where to find the program.
const MAX_INFO: usize = 4096;

fn given(plan: Option<&Plan>) -> Result<&Plan, Error> {
    plan.ok_or_else(|| UpgradeError::Plan("there is none in the message".into()).into())
}

#[allow(deprecated)] // The deprecated fields must be empty.
fn check_plan(plan: &Plan) -> Result<(), Error> {
    let wrong = |log: String| Err(UpgradeError::Plan(log).into());
    let Plan {
        name,
        time,
        height,
        info,
        upgraded_client_state,
    } = plan;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) || name.starts_with('.') {
        let shown: String = name.chars().take(MAX_NAME).collect();
        return wrong(format!(
            "name {shown:?} is not 1 to {MAX_NAME} letters, digits, dots, dashes and underscores, a dot never first"
        ));
    }
    if time.is_some() || upgraded_client_state.is_some() {
        return wrong("time and upgraded_client_state are not supported; give a height".into());
    }
    if *height <= 0 {
        return wrong(format!("height is {height}, expected at least 1"));
    }
    if info.len() > MAX_INFO {
        return wrong(format!("info has {} bytes, at most {MAX_INFO}", info.len()));
    }
    Ok(())
}

impl Handler for MsgSoftwareUpgrade {
    type Response = MsgSoftwareUpgradeResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.authority.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        check_plan(given(self.plan.as_ref())?)
    }

    /// Plans an upgrade, in place of any other.
    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgSoftwareUpgradeResponse, Error> {
        only_governance(self.signer()?)?;
        let plan = given(self.plan.as_ref())?;
        let (found, now) = (plan.height, ctx.block.height);
        if super::height(plan) <= now {
            return Err(UpgradeError::Past { found, now }.into());
        }
        if let Some(height) = APPLIED.get(ctx.state, &plan.name)? {
            let name = plan.name.clone();
            return Err(UpgradeError::Applied { name, height }.into());
        }
        PLAN.set(ctx.state, plan)?;
        ctx.emit(
            Event::new("upgrade_planned")
                .with("name", &plan.name)
                .with("height", plan.height),
        );
        Ok(MsgSoftwareUpgradeResponse {})
    }
}

impl Handler for MsgCancelUpgrade {
    type Response = MsgCancelUpgradeResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.authority.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        Ok(())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgCancelUpgradeResponse, Error> {
        only_governance(self.signer()?)?;
        let plan = plan(ctx.state)?.ok_or(UpgradeError::NoPlan)?;
        PLAN.set(ctx.state, &Plan::default())?;
        ctx.emit(Event::new("upgrade_cancelled").with("name", &plan.name));
        Ok(MsgCancelUpgradeResponse {})
    }
}
