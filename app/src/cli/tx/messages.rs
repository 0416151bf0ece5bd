//! The messages of `trainyard tx`: a line in an enum for what a user types, a line in a match for what is sent.

use clap::Subcommand;
use color_eyre::eyre::Result;
use trainyard_proto::address::Address;
use trainyard_proto::any::{self, Any};
use trainyard_proto::coin::utrain;
use trainyard_proto::cosmos::bank::v1beta1::MsgSend;
use trainyard_proto::registry::{
    MsgLeave, MsgRegister, MsgRenew, MsgUnbond, MsgUnjail, MsgUpdate, Role, VerificationClass,
};

use super::amount;
use super::governance::{Gov, Upgrade};
use super::grants::{Authz, Feegrant};
use super::stake::{Distribution, Slashing, Staking};
use crate::cli::Global;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Move money
    #[command(subcommand)]
    Bank(Bank),
    /// Delegate stake, become a validator
    #[command(subcommand)]
    Staking(Staking),
    /// Withdraw what stake has earned
    #[command(subcommand)]
    Distribution(Distribution),
    /// Let a jailed validator back
    #[command(subcommand)]
    Slashing(Slashing),
    /// Register as worker or evaluator
    #[command(subcommand)]
    Registry(Registry),
    /// Propose, pay deposits, vote
    #[command(subcommand)]
    Gov(Gov),
    /// Propose to run another program
    #[command(subcommand)]
    Upgrade(Upgrade),
    /// Let another account act for you
    #[command(subcommand)]
    Authz(Authz),
    /// Pay the fees of another account
    #[command(subcommand)]
    Feegrant(Feegrant),
}

#[derive(Debug, Subcommand)]
pub(super) enum Bank {
    /// Send money: FROM is a key's name or address
    Send {
        /// The sender
        #[arg(value_name = "FROM")]
        sender: String,
        /// The recipient: an address or a key's name
        to: String,
        /// As 2.5TRAIN or 2500000utrain
        #[arg(value_parser = amount)]
        amount: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Registry {
    /// Register a node and lock its bond; trainerd does this by itself
    Register {
        /// What it may be asked to do; repeatable
        #[arg(long = "role", required = true)]
        roles: Vec<RoleName>,
        /// As 1000TRAIN
        #[arg(long, value_parser = amount)]
        bond: u64,
        /// libp2p peer id
        #[arg(long)]
        peer_id: String,
        /// X25519 public key that data keys are sealed to, hex
        #[arg(long, value_parser = bytes32)]
        x25519_key: Bytes32,
        /// SHA-256 of the capability record, hex
        #[arg(long, value_parser = bytes32)]
        capability_hash: Bytes32,
        /// Account of whoever runs the node, if it is not the owner
        #[arg(long, default_value = "")]
        operator: String,
        /// The name to be known by
        #[arg(long, default_value = "")]
        moniker: String,
    },
    /// Change what is given of a registered node
    Update {
        /// libp2p peer id
        #[arg(long, default_value = "")]
        peer_id: String,
        /// X25519 public key, hex
        #[arg(long, value_parser = bytes32)]
        x25519_key: Option<Bytes32>,
        /// SHA-256 of the capability record, hex
        #[arg(long, value_parser = bytes32)]
        capability_hash: Option<Bytes32>,
        /// Added to the bond, as 1000TRAIN
        #[arg(long, value_parser = amount)]
        add_bond: Option<u64>,
        /// The name to be known by
        #[arg(long, default_value = "")]
        moniker: String,
    },
    /// State the node's capabilities anew, as needed in every epoch; trainerd does this by itself
    Renew {
        /// SHA-256 of the capability record, hex [default: as it stands]
        #[arg(long, value_parser = bytes32)]
        capability_hash: Option<Bytes32>,
    },
    /// Take a part of the bond back, as far as the node's roles allow; it returns after the unbonding time
    Unbond {
        /// As 2.5TRAIN or 2500000utrain
        #[arg(value_parser = amount)]
        amount: u64,
    },
    /// Let your jailed node back, once its time in jail is over
    Unjail,
    /// Leave; the bond returns after the unbonding time
    Leave,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(in crate::cli) enum RoleName {
    Worker,
    Evaluator,
}

type Bytes32 = [u8; 32];

impl Command {
    /// The account that a command names as its sender, where `--from` does not.
    pub(super) fn sender(&self) -> Option<&str> {
        match self {
            Self::Bank(Bank::Send { sender, .. }) => Some(sender),
            _ => None,
        }
    }

    /// The message of `sender`.
    pub(super) fn message(self, global: &Global, sender: Address) -> Result<Any> {
        match self {
            Self::Bank(command) => command.message(global, sender),
            Self::Staking(command) => command.message(sender),
            Self::Distribution(command) => command.message(global, sender),
            Self::Slashing(command) => Ok(command.message(sender)),
            Self::Registry(command) => Ok(command.message(sender)),
            Self::Gov(command) => command.message(sender),
            Self::Upgrade(command) => Ok(command.message(sender)),
            Self::Authz(command) => command.message(global, sender),
            Self::Feegrant(command) => command.message(global, sender),
        }
    }
}

impl Bank {
    fn message(self, global: &Global, sender: Address) -> Result<Any> {
        let Self::Send { to, amount, .. } = self;
        Ok(any::pack(&MsgSend {
            from_address: sender.to_string(),
            to_address: global.account(&to)?.to_string(),
            amount: vec![utrain(amount)],
        }))
    }
}

impl Registry {
    fn message(self, sender: Address) -> Any {
        let owner = sender.to_string();
        match self {
            Self::Register {
                roles,
                bond,
                peer_id,
                x25519_key,
                capability_hash,
                operator,
                moniker,
            } => any::pack(&MsgRegister {
                owner,
                operator,
                roles: roles.into_iter().map(|role| Role::from(role).into()).collect(),
                bond: Some(utrain(bond)),
                peer_id,
                x25519_key: x25519_key.to_vec(),
                capability_hash: capability_hash.to_vec(),
                classes: vec![VerificationClass::Tolerant.into()],
                moniker,
            }),
            Self::Update {
                peer_id,
                x25519_key,
                capability_hash,
                add_bond,
                moniker,
            } => any::pack(&MsgUpdate {
                owner,
                peer_id,
                x25519_key: x25519_key.map(Vec::from).unwrap_or_default(),
                capability_hash: capability_hash.map(Vec::from).unwrap_or_default(),
                add_bond: add_bond.map(utrain),
                moniker,
                ..MsgUpdate::default()
            }),
            Self::Renew { capability_hash } => any::pack(&MsgRenew {
                owner,
                capability_hash: capability_hash.map(Vec::from).unwrap_or_default(),
            }),
            Self::Unbond { amount } => any::pack(&MsgUnbond {
                owner,
                amount: Some(utrain(amount)),
            }),
            Self::Unjail => any::pack(&MsgUnjail { owner }),
            Self::Leave => any::pack(&MsgLeave { owner }),
        }
    }
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Worker => Self::Worker,
            RoleName::Evaluator => Self::Evaluator,
        }
    }
}

fn bytes32(text: &str) -> Result<Bytes32, String> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|e| format!("64 hex digits are needed: {e}"))?;
    Ok(bytes)
}
