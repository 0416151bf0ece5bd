//! What governance alone may send: messages whose `authority` is the account of governance, which nobody has a key of. They
//! run when a proposal that holds them has passed.

use trainyard_proto::address::Address;

use crate::{
    bank,
    error::{Error, SdkError},
};

/// The account of governance.
#[must_use]
pub fn authority() -> Address {
    Address::of_module(bank::GOV)
}

/// Refuses every other signer than governance.
///
/// # Errors
/// The signer is another one.
pub fn only_governance(signer: Address) -> Result<(), Error> {
    let authority = authority();
    if signer == authority {
        return Ok(());
    }
    Err(SdkError::Unauthorized(format!("authority is {signer}, expected governance, {authority}")).into())
}

/// The parameters in a message.
///
/// # Errors
/// There are none.
pub(crate) fn given<P>(params: Option<&P>) -> Result<&P, Error> {
    params.ok_or_else(|| SdkError::InvalidRequest("the message has no params; all of them are needed".into()).into())
}

/// A message by which governance replaces a module's parameters: all of them, checked as those of a genesis are.
macro_rules! update_params {
    ($message:ty, $response:ident, $check:path, $params:path) => {
        impl $crate::context::Handler for $message {
            type Response = $response;

            fn signer(&self) -> Result<trainyard_proto::address::Address, $crate::error::Error> {
                Ok(self.authority.parse()?)
            }

            fn validate(&self) -> Result<(), $crate::error::Error> {
                $check($crate::governed::given(self.params.as_ref())?)
            }

            fn execute(&self, ctx: &mut $crate::context::Ctx<'_, '_>) -> Result<$response, $crate::error::Error> {
                $crate::governed::only_governance(self.signer()?)?;
                $params.set(ctx.state, $crate::governed::given(self.params.as_ref())?)?;
                Ok($response {})
            }
        }
    };
}
pub(crate) use update_params;
