//! Messages of the registry.

use trainyard_proto::{
    address::Address,
    coin::parse_utrain,
    registry::{
        MsgRegister, MsgRegisterResponse, MsgRenew, MsgRenewResponse, MsgUpdate, MsgUpdateResponse, Node, Role,
        VerificationClass,
    },
};

use super::{LEFT, NODES, PARAMS, PEERS, RegistryError, Rules, bonds::check_bond, node, set_roles};
use crate::{
    bank::{self, transfer},
    context::{Ctx, EPOCH, Event, Handler, Value},
    error::Error,
};

/// Longest moniker, bytes.
const MAX_MONIKER: usize = 64;

fn field(log: String) -> Error {
    RegistryError::Field(log).into()
}

fn check_peer_id(peer: &str) -> Result<(), Error> {
    // Base58btc of a multihash or base32 of a CID; the overlay checks the rest when it dials.
    if !(32..=96).contains(&peer.len()) || !peer.bytes().all(|b| b.is_ascii_alphanumeric()) {
        let shown: String = peer.chars().take(100).collect();
        return Err(field(format!("peer id {shown:?} is not 32 to 96 letters and digits")));
    }
    Ok(())
}

fn check_32(name: &str, bytes: &[u8]) -> Result<(), Error> {
    if bytes.len() == 32 {
        Ok(())
    } else {
        Err(field(format!("{name} has {} bytes, expected 32", bytes.len())))
    }
}

fn check_roles(roles: &[i32]) -> Result<(), Error> {
    let known = |r: &i32| matches!(Role::try_from(*r), Ok(Role::Worker | Role::Evaluator));
    if roles.is_empty() || roles.len() > 2 || !roles.iter().all(known) || (roles.len() == 2 && roles[0] == roles[1]) {
        return Err(field(format!(
            "roles {roles:?} are not one or both of worker (1) and evaluator (2)"
        )));
    }
    Ok(())
}

fn check_classes(classes: &[i32]) -> Result<(), Error> {
    let known = |c: &i32| matches!(VerificationClass::try_from(*c), Ok(c) if c != VerificationClass::Unspecified);
    if classes.len() > 3 || !classes.iter().all(known) {
        return Err(field(format!(
            "verification classes {classes:?} are not up to three of 1, 2 and 3"
        )));
    }
    Ok(())
}

fn check_moniker(moniker: &str) -> Result<(), Error> {
    if moniker.len() > MAX_MONIKER {
        return Err(field(format!(
            "moniker has {} bytes, at most {MAX_MONIKER}",
            moniker.len()
        )));
    }
    Ok(())
}

fn claim_peer(ctx: &mut Ctx<'_, '_>, peer: &str, owner: Address) -> Result<(), Error> {
    let key = peer.to_string();
    if let Some(taken) = PEERS.get(ctx.state, &key)? {
        let by = <[u8; 20]>::try_from(taken)
            .map(Address)
            .map_err(|_| Error::fatal("damaged owner of a peer id"))?;
        if by != owner {
            return Err(RegistryError::PeerTaken { peer: key, owner: by }.into());
        }
    }
    PEERS.set(ctx.state, &key, &owner.0.to_vec())
}

impl Handler for MsgRegister {
    type Response = MsgRegisterResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.owner.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        if !self.operator.is_empty() {
            self.operator.parse::<Address>()?;
        }
        parse_utrain(self.bond.as_ref())?;
        check_roles(&self.roles)?;
        check_classes(&self.classes)?;
        check_peer_id(&self.peer_id)?;
        check_32("X25519 key", &self.x25519_key)?;
        check_32("capability hash", &self.capability_hash)?;
        check_moniker(&self.moniker)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgRegisterResponse, Error> {
        let owner = self.signer()?;
        super::admitted(ctx.state, &owner)?;
        if NODES.get(ctx.state, &owner)?.is_some() {
            return Err(RegistryError::Registered(owner).into());
        }
        let params = PARAMS.get(ctx.state)?;
        // Who was here before comes back as it left.
        let before = LEFT.get(ctx.state, &owner)?.unwrap_or_else(|| Node {
            reputation: params.initial_reputation,
            ..Node::default()
        });
        let node = Node {
            owner: owner.to_string(),
            operator: if self.operator.is_empty() {
                owner.to_string()
            } else {
                self.operator.clone()
            },
            roles: self.roles.clone(),
            bond: parse_utrain(self.bond.as_ref())?,
            peer_id: self.peer_id.clone(),
            x25519_key: self.x25519_key.clone(),
            capability_hash: self.capability_hash.clone(),
            capability_epoch: EPOCH.get(ctx.state)?,
            classes: self.classes.clone(),
            registered_at: ctx.block.height,
            moniker: self.moniker.clone(),
            ..before
        };
        check_bond(&node, &params)?;
        claim_peer(ctx, &node.peer_id, owner)?;
        transfer(ctx, owner, Address::of_module(bank::NODE_BONDS), node.bond)?;
        LEFT.remove(ctx.state, &owner)?;
        set_roles(ctx.state, &owner, &[], &node.roles)?;
        NODES.set(ctx.state, &owner, &node)?;
        ctx.emit(
            Event::new("node_registered")
                .with("owner", owner)
                .with("peer_id", &node.peer_id)
                .with("bond", Value::Utrain(node.bond)),
        );
        Ok(MsgRegisterResponse {})
    }
}

impl Handler for MsgUpdate {
    type Response = MsgUpdateResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.owner.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        if !self.peer_id.is_empty() {
            check_peer_id(&self.peer_id)?;
        }
        if !self.x25519_key.is_empty() {
            check_32("X25519 key", &self.x25519_key)?;
        }
        if !self.capability_hash.is_empty() {
            check_32("capability hash", &self.capability_hash)?;
        }
        if !self.roles.is_empty() {
            check_roles(&self.roles)?;
        }
        if self.add_bond.is_some() {
            parse_utrain(self.add_bond.as_ref())?;
        }
        check_classes(&self.classes)?;
        check_moniker(&self.moniker)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgUpdateResponse, Error> {
        let owner = self.signer()?;
        let mut node = node(ctx.state, &owner)?;
        if !self.peer_id.is_empty() && self.peer_id != node.peer_id {
            claim_peer(ctx, &self.peer_id, owner)?;
            PEERS.remove(ctx.state, &node.peer_id)?;
            node.peer_id.clone_from(&self.peer_id);
        }
        if !self.x25519_key.is_empty() {
            node.x25519_key.clone_from(&self.x25519_key);
        }
        if !self.capability_hash.is_empty() {
            node.capability_hash.clone_from(&self.capability_hash);
            node.capability_epoch = EPOCH.get(ctx.state)?;
        }
        if !self.roles.is_empty() {
            set_roles(ctx.state, &owner, &node.roles, &self.roles)?;
            node.roles.clone_from(&self.roles);
        }
        if !self.classes.is_empty() {
            node.classes.clone_from(&self.classes);
        }
        if !self.moniker.is_empty() {
            node.moniker.clone_from(&self.moniker);
        }
        if self.add_bond.is_some() {
            let added = parse_utrain(self.add_bond.as_ref())?;
            transfer(ctx, owner, Address::of_module(bank::NODE_BONDS), added)?;
            node.bond = node.bond.saturating_add(added);
        }
        // A bond that a penalty has cut may be topped up in steps, but takes on no other roles.
        if !self.roles.is_empty() {
            check_bond(&node, &PARAMS.get(ctx.state)?)?;
        }
        NODES.set(ctx.state, &owner, &node)?;
        ctx.emit(
            Event::new("node_updated")
                .with("owner", owner)
                .with("peer_id", &node.peer_id),
        );
        Ok(MsgUpdateResponse {})
    }
}

impl Handler for MsgRenew {
    type Response = MsgRenewResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.owner.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        if self.capability_hash.is_empty() {
            return Ok(());
        }
        check_32("capability hash", &self.capability_hash)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgRenewResponse, Error> {
        let owner = self.signer()?;
        let mut node = node(ctx.state, &owner)?;
        if !self.capability_hash.is_empty() {
            node.capability_hash.clone_from(&self.capability_hash);
        }
        node.capability_epoch = EPOCH.get(ctx.state)?;
        NODES.set(ctx.state, &owner, &node)?;
        let lapses_at = Rules::read(ctx.state)?.lapses_at(&node);
        ctx.emit(
            Event::new("capability_renewed")
                .with("owner", owner)
                .with("hash", hex::encode(&node.capability_hash))
                .with("lapses_at", lapses_at),
        );
        Ok(MsgRenewResponse { lapses_at })
    }
}
