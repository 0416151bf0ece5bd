//! Permissions to act for another account: a hot key for an operator, in named messages and until a date.
//!
//! | key | value |
//! |---|---|
//! | `authz/grant/{granter}{grantee}{message}` | [`Grant`] |
//! | `authz/received/{grantee}{granter}{message}` | index of the same by grantee |
//! | `authz/expiry/{time}{granter}{grantee}{message}` | when a grant ends |
//!
//! | message | sender | what |
//! |---|---|---|
//! | `Grant` | the granter | gives, or replaces, the permission for one kind of message |
//! | `Revoke` | the granter | takes it back |
//! | `Exec` | the grantee | runs messages that their granters would have to sign |
//!
//! A [`GenericAuthorization`] allows any message of its kind; a [`SendAuthorization`] sending up to a limit, to listed
//! accounts only where a list is given; a [`StakeAuthorization`] delegating, undelegating, redelegating or cancelling, with the
//! validators it lists or all but those, up to a limit. Messages of the grantee itself need no grant. `Exec` does not carry `Exec`, so that
//! permissions are not passed on and nothing nests without end. Expired grants are forgotten at the end of their block.
//!
//! Events as the SDK's: `cosmos.authz.v1beta1.EventGrant`, `…EventRevoke`; what `Exec` runs carries `authz_msg_index`.

mod genesis;
mod msgs;
mod queries;
mod stake;

use std::collections::BTreeSet;

pub use genesis::{Genesis, export, init};
pub use queries::{query_grantee_grants, query_granter_grants, query_grants};
use trainyard_proto::{
    address::Address,
    any::{self, Any},
    coin,
    cosmos::{
        authz::v1beta1::{GenericAuthorization, Grant},
        bank::v1beta1::{MsgSend, SendAuthorization},
        base::v1beta1::Coin,
        staking::v1beta1::StakeAuthorization,
    },
    prost::Message,
};

use crate::{
    context::{Ctx, unix_seconds},
    error::{Error, SdkError, coded},
    machine::router,
    state::{Map, State},
};

/// Who gave, who got, and for which kind of message (type URL).
pub type Key = (Address, Address, String);

/// Grants by granter, grantee and message.
pub const GRANTS: Map<Key, Grant> = Map::new("authz/grant/");
/// Grants by grantee, granter and message.
pub const RECEIVED: Map<Key, bool> = Map::new("authz/received/");
/// Grants by their end in Unix seconds.
pub const EXPIRY: Map<(u64, Key), bool> = Map::new("authz/expiry/");

/// Grants that end in one block, at most; what is left over ends in the next, and is void until then.
const MAX_ENDS: usize = 200;
/// Recipients of a [`SendAuthorization`], at most.
const MAX_ALLOWED: usize = 100;

/// Errors of permissions, with the SDK's codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum AuthzError {
    #[error("{granter} has not granted {message} to {grantee}")]
    NoGrant {
        granter: Address,
        grantee: Address,
        message: String,
    },
    #[error("expiration is at {found}, expected after the block's time, {now}")]
    Expiration { found: i64, now: u64 },
    #[error("authorization {0}")]
    Authorization(String),
    #[error("the grant of {message} by {granter} expired at {at}")]
    Expired { granter: Address, message: String, at: u64 },
    #[error("granter and grantee are both {0}")]
    Itself(Address),
}

coded!(AuthzError, "authz", |error| match error {
    AuthzError::NoGrant { .. } => 2,
    AuthzError::Expiration { .. } => 3,
    AuthzError::Authorization(_) => 4,
    AuthzError::Expired { .. } => 6,
    AuthzError::Itself(_) => 7,
});

/// What a grant allows.
enum Authorization {
    Generic(GenericAuthorization),
    Send(SendAuthorization),
    Stake(StakeAuthorization),
}

fn wrong(log: impl Into<String>) -> Error {
    AuthzError::Authorization(log.into()).into()
}

impl Authorization {
    /// Reads an authorization and checks what needs no state.
    fn read(any: Option<&Any>) -> Result<Self, Error> {
        let any = any.ok_or_else(|| wrong("is missing"))?;
        let undecodable = |e: trainyard_proto::prost::DecodeError| wrong(format!("does not decode: {e}"));
        if any.type_url == any::type_url::<GenericAuthorization>() {
            let generic = GenericAuthorization::decode(any.value.as_slice()).map_err(undecodable)?;
            router::find(&generic.msg)?;
            if generic.msg == "/cosmos.authz.v1beta1.MsgExec" {
                return Err(wrong("is for MsgExec: permissions are not passed on"));
            }
            return Ok(Self::Generic(generic));
        }
        if any.type_url == any::type_url::<StakeAuthorization>() {
            let stake = StakeAuthorization::decode(any.value.as_slice()).map_err(undecodable)?;
            stake::check(&stake)?;
            return Ok(Self::Stake(stake));
        }
        if any.type_url != any::type_url::<SendAuthorization>() {
            let shown: String = any.type_url.chars().take(100).collect();
            return Err(wrong(format!(
                "is a {shown:?}, expected a GenericAuthorization, a SendAuthorization or a StakeAuthorization"
            )));
        }
        let send = SendAuthorization::decode(any.value.as_slice()).map_err(undecodable)?;
        if coin::parse_utrain_list(&send.spend_limit)? == 0 {
            return Err(wrong("has a spend limit of zero"));
        }
        if send.allow_list.len() > MAX_ALLOWED {
            let found = send.allow_list.len();
            return Err(wrong(format!("lists {found} recipients, at most {MAX_ALLOWED}")));
        }
        for (index, text) in send.allow_list.iter().enumerate() {
            text.parse::<Address>()?;
            if send.allow_list[..index].contains(text) {
                return Err(wrong(format!("lists {text} twice")));
            }
        }
        Ok(Self::Send(send))
    }

    /// Type URL of the messages it is for.
    fn message(&self) -> String {
        match self {
            Self::Generic(generic) => generic.msg.clone(),
            Self::Send(_) => any::type_url::<MsgSend>(),
            Self::Stake(stake) => stake::message(stake),
        }
    }

    /// What is left of it after `message`; `None` when nothing is.
    fn after(self, message: &Any) -> Result<Option<Any>, Error> {
        match self {
            Self::Generic(generic) => Ok(Some(any::pack(&generic))),
            Self::Stake(stake) => Ok(stake::after(stake, message)?.as_ref().map(any::pack)),
            Self::Send(mut send) => {
                let message =
                    MsgSend::decode(message.value.as_slice()).map_err(|e| SdkError::TxDecode(e.to_string()))?;
                let (have, need) = (limit(&send.spend_limit)?, coin::parse_utrain_list(&message.amount)?);
                if !send.allow_list.is_empty() && !send.allow_list.contains(&message.to_address) {
                    let log = format!(
                        "{} is not among the recipients that the grant lists",
                        message.to_address
                    );
                    return Err(SdkError::Unauthorized(log).into());
                }
                let left = have
                    .checked_sub(need)
                    .ok_or_else(|| SdkError::Unauthorized(format!("the grant is for {have}utrain, sent are {need}")))?;
                if left == 0 {
                    return Ok(None);
                }
                send.spend_limit = vec![coin::utrain(left)];
                Ok(Some(any::pack(&send)))
            }
        }
    }
}

fn limit(coins: &[Coin]) -> Result<u64, Error> {
    coin::parse_utrain_list(coins).map_err(|e| Error::fatal(e.to_string()))
}

/// The end of a grant; `None` where it has none.
fn end(grant: &Grant) -> Option<u64> {
    grant.expiration.as_ref().map(|end| unix_seconds(Some(end)))
}

fn write(state: &mut State<'_>, key: &Key, grant: &Grant) -> Result<(), Error> {
    let (granter, grantee, message) = key.clone();
    GRANTS.set(state, key, grant)?;
    RECEIVED.set(state, &(grantee, granter, message), &true)?;
    if let Some(end) = end(grant) {
        EXPIRY.set(state, &(end, key.clone()), &true)?;
    }
    Ok(())
}

/// Forgets a grant, if there is one, and says whether there was.
fn forget(state: &mut State<'_>, key: &Key) -> Result<bool, Error> {
    let Some(grant) = GRANTS.get(state, key)? else {
        return Ok(false);
    };
    let (granter, grantee, message) = key.clone();
    GRANTS.remove(state, key)?;
    RECEIVED.remove(state, &(grantee, granter, message))?;
    if let Some(end) = end(&grant) {
        EXPIRY.remove(state, &(end, key.clone()))?;
    }
    Ok(true)
}

/// Lets `grantee` act for `granter` in one message, or refuses it.
fn accept(ctx: &mut Ctx<'_, '_>, granter: Address, grantee: Address, message: &Any) -> Result<(), Error> {
    if granter == grantee {
        return Ok(());
    }
    let key = (granter, grantee, message.type_url.clone());
    let Some(mut grant) = GRANTS.get(ctx.state, &key)? else {
        let (granter, grantee, message) = key;
        return Err(AuthzError::NoGrant {
            granter,
            grantee,
            message,
        }
        .into());
    };
    if let Some(at) = end(&grant).filter(|end| *end <= ctx.block.time) {
        let message = message.type_url.clone();
        return Err(AuthzError::Expired { granter, message, at }.into());
    }
    let left = Authorization::read(grant.authorization.as_ref())?.after(message)?;
    match left {
        Some(left) if grant.authorization.as_ref() == Some(&left) => Ok(()),
        Some(left) => {
            grant.authorization = Some(left);
            GRANTS.set(ctx.state, &key, &grant)
        }
        None => forget(ctx.state, &key).map(drop),
    }
}

/// Forgets grants whose end has come.
///
/// # Errors
/// The store failed.
pub fn end_block(ctx: &mut Ctx<'_, '_>) -> Result<(), Error> {
    for ((_, key), _) in EXPIRY.before(ctx.state, &ctx.block.time.saturating_add(1), MAX_ENDS)? {
        forget(ctx.state, &key)?;
    }
    Ok(())
}

/// Every grant is listed with its grantee, and under its end where it has one; nothing else is.
///
/// # Errors
/// What does not hold; or the store failed.
pub fn invariant(state: &mut State<'_>) -> Result<(), Error> {
    let (mut received, mut ends) = (BTreeSet::new(), BTreeSet::new());
    for (key, grant) in GRANTS.all(state)? {
        ends.extend(end(&grant).map(|end| (end, key.clone())));
        let (granter, grantee, message) = key;
        received.insert((grantee, granter, message));
    }
    let listed: BTreeSet<_> = RECEIVED.all(state)?.into_iter().map(|(key, _)| key).collect();
    let queued: BTreeSet<_> = EXPIRY.all(state)?.into_iter().map(|(key, _)| key).collect();
    if received != listed || ends != queued {
        return Err(Error::fatal("permissions are not listed as they are given"));
    }
    Ok(())
}
