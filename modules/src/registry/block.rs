//! Bonds that come home.

use trainyard_proto::address::Address;

use super::UNBONDING;
use crate::{
    bank::{self, transfer},
    context::{Ctx, Event},
    error::Error,
};

/// Returns of one block, at most; what is left over goes in the next.
const MAX_RETURNS: usize = 200;

/// Returns bonds whose unbonding is over.
///
/// # Errors
/// The store failed.
pub fn end_block(ctx: &mut Ctx<'_, '_>) -> Result<(), Error> {
    for (key, amount) in UNBONDING.before(ctx.state, &(ctx.block.height + 1), MAX_RETURNS)? {
        UNBONDING.remove(ctx.state, &key)?;
        transfer(ctx, Address::of_module(bank::NODE_BONDS), key.1, amount)?;
        ctx.emit(
            Event::new("bond_returned")
                .with("owner", key.1)
                .with("amount", format!("{amount}utrain")),
        );
    }
    Ok(())
}
