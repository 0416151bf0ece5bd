//! Permission to move stake: in one kind of message, with the validators that it lists or all but those, up to an amount.

use trainyard_proto::{
    address::Address,
    any::{self, Any},
    coin,
    cosmos::{
        base::v1beta1::Coin,
        staking::v1beta1::{
            AuthorizationType, MsgBeginRedelegate, MsgCancelUnbondingDelegation, MsgDelegate, MsgUndelegate,
            StakeAuthorization, stake_authorization::Policy,
        },
    },
    prost::Message,
};

use super::{MAX_ALLOWED, wrong};
use crate::error::{Error, SdkError};

/// Checks what needs no state.
pub(super) fn check(stake: &StakeAuthorization) -> Result<(), Error> {
    if stake.authorization_type() == AuthorizationType::Unspecified {
        let found = stake.authorization_type;
        return Err(wrong(format!(
            "is of type {found}, expected 1 to 4 (delegate, undelegate, redelegate, cancel)"
        )));
    }
    if let Some(most) = &stake.max_tokens
        && coin::parse_utrain(Some(most))? == 0
    {
        return Err(wrong("has a limit of zero"));
    }
    let (Some(Policy::AllowList(list)) | Some(Policy::DenyList(list))) = &stake.validators else {
        return Ok(());
    };
    let found = list.address.len();
    if !(1..=MAX_ALLOWED).contains(&found) {
        return Err(wrong(format!("lists {found} validators, expected 1 to {MAX_ALLOWED}")));
    }
    for (index, text) in list.address.iter().enumerate() {
        Address::parse_operator(text)?;
        if list.address[..index].contains(text) {
            return Err(wrong(format!("lists {text} twice")));
        }
    }
    Ok(())
}

/// Type URL of the messages it is for.
pub(super) fn message(stake: &StakeAuthorization) -> String {
    match stake.authorization_type() {
        AuthorizationType::Delegate => any::type_url::<MsgDelegate>(),
        AuthorizationType::Undelegate => any::type_url::<MsgUndelegate>(),
        AuthorizationType::Redelegate => any::type_url::<MsgBeginRedelegate>(),
        AuthorizationType::CancelUnbondingDelegation => any::type_url::<MsgCancelUnbondingDelegation>(),
        AuthorizationType::Unspecified => String::new(),
    }
}

/// The validator whose stake a message changes, which for a redelegation is the one that gets it, and by how much.
fn asked(message: &Any, kind: AuthorizationType) -> Result<(String, Option<Coin>), Error> {
    let bytes = message.value.as_slice();
    let asked = match kind {
        AuthorizationType::Delegate => MsgDelegate::decode(bytes).map(|m| (m.validator_address, m.amount)),
        AuthorizationType::Undelegate => MsgUndelegate::decode(bytes).map(|m| (m.validator_address, m.amount)),
        AuthorizationType::Redelegate => MsgBeginRedelegate::decode(bytes).map(|m| (m.validator_dst_address, m.amount)),
        AuthorizationType::CancelUnbondingDelegation => {
            MsgCancelUnbondingDelegation::decode(bytes).map(|m| (m.validator_address, m.amount))
        }
        AuthorizationType::Unspecified => return Err(Error::fatal("a permission of no type was kept")),
    };
    asked.map_err(|e| SdkError::TxDecode(e.to_string()).into())
}

/// What is left of it after a message of its kind; `None` when nothing is.
pub(super) fn after(mut stake: StakeAuthorization, message: &Any) -> Result<Option<StakeAuthorization>, Error> {
    let (validator, amount) = asked(message, stake.authorization_type())?;
    let (listed, allowed) = match &stake.validators {
        Some(Policy::AllowList(list)) => (list.address.contains(&validator), true),
        Some(Policy::DenyList(list)) => (list.address.contains(&validator), false),
        None => (true, true),
    };
    if listed != allowed {
        return Err(SdkError::Unauthorized(format!("the grant does not allow the validator {validator}")).into());
    }
    let Some(most) = &stake.max_tokens else {
        return Ok(Some(stake));
    };
    let (have, need) = (
        super::limit(std::slice::from_ref(most))?,
        coin::parse_utrain(amount.as_ref())?,
    );
    let left = have
        .checked_sub(need)
        .ok_or_else(|| SdkError::Unauthorized(format!("the grant is for {have}utrain, asked are {need}")))?;
    stake.max_tokens = Some(coin::utrain(left));
    Ok((left > 0).then_some(stake))
}
