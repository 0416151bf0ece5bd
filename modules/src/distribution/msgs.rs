//! Messages of distribution.

use trainyard_proto::{
    address::Address,
    coin::{self, utrain},
    cosmos::distribution::v1beta1::{
        MsgFundCommunityPool, MsgFundCommunityPoolResponse, MsgSetWithdrawAddress, MsgSetWithdrawAddressResponse,
        MsgWithdrawValidatorCommission, MsgWithdrawValidatorCommissionResponse,
    },
    dec::Dec,
};

use super::{DistributionError, PARAMS, REWARDS, WITHDRAW, pay, sound};
use crate::{
    bank::{self, transfer},
    context::{Ctx, Event, Handler, Value},
    error::{Error, SdkError},
};

impl Handler for MsgWithdrawValidatorCommission {
    type Response = MsgWithdrawValidatorCommissionResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(Address::parse_operator(&self.validator_address)?)
    }

    fn validate(&self) -> Result<(), Error> {
        Ok(())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgWithdrawValidatorCommissionResponse, Error> {
        let operator = self.signer()?;
        let none = || DistributionError::NoCommission(self.validator_address.clone());
        let mut rewards = REWARDS.get(ctx.state, &operator)?.ok_or_else(none)?;
        let whole = sound(rewards.commission.floor(), "a commission")?;
        if whole == 0 {
            return Err(none().into());
        }
        let paid = Dec::whole(whole);
        rewards.commission = rewards.commission.saturating_sub(paid);
        rewards.outstanding = sound(
            rewards.outstanding.checked_sub(paid),
            "a validator's outstanding rewards",
        )?;
        REWARDS.set(ctx.state, &operator, &rewards)?;
        pay(ctx, operator, paid)?;
        ctx.emit(
            Event::new("withdraw_commission")
                .with("amount", Value::Utrain(whole))
                .with("validator", &self.validator_address),
        );
        Ok(MsgWithdrawValidatorCommissionResponse {
            amount: vec![utrain(whole)],
        })
    }
}

impl Handler for MsgSetWithdrawAddress {
    type Response = MsgSetWithdrawAddressResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.delegator_address.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        self.withdraw_address.parse::<Address>()?;
        Ok(())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgSetWithdrawAddressResponse, Error> {
        if !PARAMS.get(ctx.state)?.withdraw_addr_enabled {
            return Err(DistributionError::WithdrawAddressDisabled.into());
        }
        let (delegator, to) = (self.signer()?, self.withdraw_address.parse::<Address>()?);
        if bank::is_module(&to) {
            return Err(SdkError::Unauthorized(format!("{to} is not allowed to receive funds")).into());
        }
        if to == delegator {
            WITHDRAW.remove(ctx.state, &delegator)?;
        } else {
            WITHDRAW.set(ctx.state, &delegator, &to.0.to_vec())?;
        }
        ctx.emit(Event::new("set_withdraw_address").with("withdraw_address", to));
        Ok(MsgSetWithdrawAddressResponse {})
    }
}

impl Handler for MsgFundCommunityPool {
    type Response = MsgFundCommunityPoolResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.depositor.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        if coin::parse_utrain_list(&self.amount)? == 0 {
            return Err(SdkError::InvalidCoins("the amount to give is zero".into()).into());
        }
        Ok(())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgFundCommunityPoolResponse, Error> {
        let amount = coin::parse_utrain_list(&self.amount)?;
        transfer(ctx, self.signer()?, Address::of_module(bank::TREASURY), amount)?;
        Ok(MsgFundCommunityPoolResponse {})
    }
}
