//! Messages of permissions.

use trainyard_proto::{
    address::Address,
    cosmos::authz::v1beta1::{
        Grant, MsgExec, MsgExecResponse, MsgGrant, MsgGrantResponse, MsgRevoke, MsgRevokeResponse,
    },
};

use super::{Authorization, AuthzError, accept, end, forget, write, wrong};
use crate::{
    auth,
    context::{Ctx, Event, Handler},
    error::{Error, SdkError},
    machine::{ante::MAX_MESSAGES, router},
};

fn given(grant: Option<&Grant>) -> Result<&Grant, Error> {
    grant.ok_or_else(|| wrong("is missing"))
}

/// Two accounts that are not the same.
fn parties(granter: &str, grantee: &str) -> Result<(Address, Address), Error> {
    let (granter, grantee) = (granter.parse()?, grantee.parse()?);
    if granter == grantee {
        return Err(AuthzError::Itself(granter).into());
    }
    Ok((granter, grantee))
}

/// The SDK writes the attributes of typed events as JSON.
fn event(kind: &'static str, message: &str, granter: Address, grantee: Address) -> Event {
    let quoted = |text: &str| format!("\"{text}\"");
    Event::new(kind)
        .with("msg_type_url", quoted(message))
        .with("granter", quoted(&granter.to_string()))
        .with("grantee", quoted(&grantee.to_string()))
}

impl Handler for MsgGrant {
    type Response = MsgGrantResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.granter.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        parties(&self.granter, &self.grantee)?;
        Authorization::read(given(self.grant.as_ref())?.authorization.as_ref()).map(drop)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgGrantResponse, Error> {
        let (granter, grantee) = parties(&self.granter, &self.grantee)?;
        let grant = given(self.grant.as_ref())?;
        let now = ctx.block.time;
        if end(grant).is_some_and(|end| end <= now) {
            let found = grant.expiration.as_ref().map_or(0, |e| e.seconds);
            return Err(AuthzError::Expiration { found, now }.into());
        }
        let message = Authorization::read(grant.authorization.as_ref())?.message();
        let key = (granter, grantee, message);
        forget(ctx.state, &key)?;
        write(ctx.state, &key, grant)?;
        // A new key has no money yet, and needs an account to sign with.
        auth::ensure(ctx.state, grantee)?;
        ctx.emit(event("cosmos.authz.v1beta1.EventGrant", &key.2, granter, grantee));
        Ok(MsgGrantResponse {})
    }
}

impl Handler for MsgRevoke {
    type Response = MsgRevokeResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.granter.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        parties(&self.granter, &self.grantee)?;
        router::find(&self.msg_type_url).map(drop)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgRevokeResponse, Error> {
        let (granter, grantee) = parties(&self.granter, &self.grantee)?;
        let key = (granter, grantee, self.msg_type_url.clone());
        if !forget(ctx.state, &key)? {
            let (granter, grantee, message) = key;
            return Err(AuthzError::NoGrant {
                granter,
                grantee,
                message,
            }
            .into());
        }
        ctx.emit(event("cosmos.authz.v1beta1.EventRevoke", &key.2, granter, grantee));
        Ok(MsgRevokeResponse {})
    }
}

impl Handler for MsgExec {
    type Response = MsgExecResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.grantee.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        let found = self.msgs.len();
        if !(1..=MAX_MESSAGES).contains(&found) {
            let log = format!("{found} messages are to be run, expected 1 to {MAX_MESSAGES}");
            return Err(SdkError::InvalidRequest(log).into());
        }
        for message in &self.msgs {
            if message.type_url == "/cosmos.authz.v1beta1.MsgExec" {
                return Err(SdkError::InvalidRequest("MsgExec does not carry MsgExec".into()).into());
            }
            (router::find(&message.type_url)?.check)(&message.value)?;
        }
        Ok(())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgExecResponse, Error> {
        let grantee = self.signer()?;
        let mut results = Vec::new();
        for (index, message) in self.msgs.iter().enumerate() {
            let route = router::find(&message.type_url)?;
            let granter = (route.check)(&message.value)?;
            accept(ctx, granter, grantee, message)?;
            let mut own = vec![Event::of_message(&message.type_url, &granter)];
            let mut inner = Ctx {
                state: &mut *ctx.state,
                block: ctx.block,
                events: &mut own,
            };
            let response = (route.execute)(&mut inner, &message.value)?;
            ctx.events
                .extend(own.into_iter().map(|event| event.with("authz_msg_index", index)));
            results.push(response.value);
        }
        Ok(MsgExecResponse { results })
    }
}
