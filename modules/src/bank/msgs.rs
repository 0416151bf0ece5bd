//! Messages of the bank.

use trainyard_proto::{
    address::Address,
    coin,
    cosmos::bank::v1beta1::{MsgSend, MsgSendResponse},
};

use super::{is_module, transfer};
use crate::{
    context::{Ctx, Handler},
    error::{Error, SdkError},
};

impl Handler for MsgSend {
    type Response = MsgSendResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.from_address.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        self.to_address.parse::<Address>()?;
        if coin::parse_utrain_list(&self.amount)? == 0 {
            return Err(SdkError::InvalidCoins("the amount to send is zero".into()).into());
        }
        Ok(())
    }

    fn receiver(&self) -> Option<Address> {
        self.to_address.parse().ok()
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgSendResponse, Error> {
        let to = self.to_address.parse()?;
        // Money sent there by hand would break the modules' own sums.
        if is_module(&to) {
            return Err(SdkError::Unauthorized(format!("{to} is not allowed to receive funds")).into());
        }
        transfer(ctx, self.signer()?, to, coin::parse_utrain_list(&self.amount)?)?;
        Ok(MsgSendResponse {})
    }
}
