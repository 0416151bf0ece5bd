//! Allowances: an account pays the fees of another's transactions.
//!
//! | key | value |
//! |---|---|
//! | `feegrant/allowance/{grantee}{granter}` | [`Grant`] |
//! | `feegrant/given/{granter}{grantee}` | index of the same by granter |
//! | `feegrant/expiry/{time}{grantee}{granter}` | when an allowance ends |
//!
//! Messages of the granter: `GrantAllowance` (once per grantee), `RevokeAllowance`. A transaction whose fee names a granter
//! is paid by it, inside what the allowance allows ([`spend`]); `allowance.rs` has the kinds. Expired and used-up allowances
//! are forgotten by themselves, so the SDK's `PruneAllowances` has nothing to do here.
//!
//! Events as the SDK's: `set_feegrant`, `revoke_feegrant`, `use_feegrant`.

mod allowance;
mod genesis;
mod msgs;
mod queries;

use std::collections::BTreeSet;

use allowance::Allowance;
pub use genesis::{Genesis, export, init};
pub use queries::{query_allowance, query_allowances, query_allowances_by_granter};
use trainyard_proto::{address::Address, any::Any, cosmos::feegrant::v1beta1::Grant};

use crate::{
    context::{Ctx, Event},
    error::{Error, coded},
    state::{Map, State},
};

/// Allowances by grantee and granter.
pub const ALLOWANCES: Map<(Address, Address), Grant> = Map::new("feegrant/allowance/");
/// Allowances by granter and grantee.
pub const GIVEN: Map<(Address, Address), bool> = Map::new("feegrant/given/");
/// Allowances by their end in Unix seconds, grantee and granter.
pub const EXPIRY: Map<(u64, (Address, Address)), bool> = Map::new("feegrant/expiry/");

/// Allowances that end in one block, at most; what is left over ends in the next, and is void until then.
const MAX_ENDS: usize = 200;

/// Errors of allowances, with the SDK's codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum FeegrantError {
    #[error("the fee is {need}utrain, the allowance has {have}utrain left: fee limit exceeded")]
    Exceeded { have: u64, need: u64 },
    #[error("the allowance ended at {0}: fee allowance expired")]
    Expired(u64),
    #[error("the period of an allowance is {0} s, expected at least 1: invalid duration")]
    Period(i64),
    #[error("{granter} pays no fees of {grantee}: no allowance")]
    None { granter: Address, grantee: Address },
    #[error("an allowance for no messages: allowed messages are empty")]
    NoMessages,
    #[error("{0} is not among the messages of the allowance: message not allowed")]
    NotAllowed(String),
    #[error("allowance: {0}")]
    Allowance(String),
    #[error("{granter} pays fees of {grantee} already; revoke that allowance first")]
    Exists { granter: Address, grantee: Address },
}

coded!(FeegrantError, "feegrant", |error| match error {
    FeegrantError::Exceeded { .. } => 2,
    FeegrantError::Expired(_) => 3,
    FeegrantError::Period(_) => 4,
    FeegrantError::None { .. } => 5,
    FeegrantError::NoMessages => 6,
    FeegrantError::NotAllowed(_) => 7,
    FeegrantError::Allowance(_) => 8,
    FeegrantError::Exists { .. } => 9,
});

fn write(state: &mut State<'_>, grantee: Address, granter: Address, allowance: &Allowance) -> Result<(), Error> {
    let grant = Grant {
        granter: granter.to_string(),
        grantee: grantee.to_string(),
        allowance: Some(allowance.pack()),
    };
    ALLOWANCES.set(state, &(grantee, granter), &grant)?;
    GIVEN.set(state, &(granter, grantee), &true)?;
    if let Some(end) = allowance.end() {
        EXPIRY.set(state, &(end, (grantee, granter)), &true)?;
    }
    Ok(())
}

fn read(state: &mut State<'_>, grantee: Address, granter: Address) -> Result<Option<Allowance>, Error> {
    let Some(grant) = ALLOWANCES.get(state, &(grantee, granter))? else {
        return Ok(None);
    };
    let allowance = Allowance::read(grant.allowance.as_ref()).map_err(|e| Error::fatal(e.log))?;
    Ok(Some(allowance))
}

/// Forgets an allowance, if there is one, and says whether there was.
fn forget(state: &mut State<'_>, grantee: Address, granter: Address) -> Result<bool, Error> {
    let Some(allowance) = read(state, grantee, granter)? else {
        return Ok(false);
    };
    ALLOWANCES.remove(state, &(grantee, granter))?;
    GIVEN.remove(state, &(granter, grantee))?;
    if let Some(end) = allowance.end() {
        EXPIRY.remove(state, &(end, (grantee, granter)))?;
    }
    Ok(true)
}

/// Takes a fee for `messages` of `grantee` off the allowance that `granter` gave it. The money itself is the caller's to move.
///
/// # Errors
/// There is no allowance, or it does not allow this.
pub fn spend(
    ctx: &mut Ctx<'_, '_>,
    granter: Address,
    grantee: Address,
    fee: u64,
    messages: &[Any],
) -> Result<(), Error> {
    let none = FeegrantError::None { granter, grantee };
    let mut allowance = read(ctx.state, grantee, granter)?.ok_or(none)?;
    if allowance.spend(fee, ctx.block.time, messages)? {
        write(ctx.state, grantee, granter, &allowance)?;
    } else {
        forget(ctx.state, grantee, granter)?;
    }
    ctx.emit(
        Event::new("use_feegrant")
            .with("granter", granter)
            .with("grantee", grantee),
    );
    Ok(())
}

/// Forgets allowances whose end has come.
///
/// # Errors
/// The store failed.
pub fn end_block(ctx: &mut Ctx<'_, '_>) -> Result<(), Error> {
    for ((_, (grantee, granter)), _) in EXPIRY.before(ctx.state, &ctx.block.time.saturating_add(1), MAX_ENDS)? {
        forget(ctx.state, grantee, granter)?;
    }
    Ok(())
}

/// Every allowance is listed with its granter, and under its end where it has one; nothing else is.
///
/// # Errors
/// What does not hold; or the store failed.
pub fn invariant(state: &mut State<'_>) -> Result<(), Error> {
    let (mut given, mut ends) = (BTreeSet::new(), BTreeSet::new());
    for ((grantee, granter), _) in ALLOWANCES.all(state)? {
        let allowance = read(state, grantee, granter)?;
        ends.extend(allowance.and_then(|a| a.end()).map(|end| (end, (grantee, granter))));
        given.insert((granter, grantee));
    }
    let listed: BTreeSet<_> = GIVEN.all(state)?.into_iter().map(|(key, _)| key).collect();
    let queued: BTreeSet<_> = EXPIRY.all(state)?.into_iter().map(|(key, _)| key).collect();
    if given != listed || ends != queued {
        return Err(Error::fatal("allowances are not listed as they are given"));
    }
    Ok(())
}
