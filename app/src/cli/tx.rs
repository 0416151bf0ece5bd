//! `trainyard tx …`: build, sign, send.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Subcommand;
use color_eyre::eyre::{Result, WrapErr as _, bail, eyre};
use serde_json::{Value, json};
use trainyard_client::rpc::TxOutcome;
use trainyard_client::signer::{FeePolicy, Gas, GasPrice, Signer};
use trainyard_client::tx::Draft;
use trainyard_proto::address::Address;
use trainyard_proto::any::{self, Any};
use trainyard_proto::coin;
use trainyard_proto::cosmos::bank::v1beta1::MsgSend;
use trainyard_proto::cosmos::crypto::ed25519;
use trainyard_proto::cosmos::staking::v1beta1::{
    CommissionRates, Description, MsgCreateValidator, MsgDelegate, MsgUndelegate,
};
use trainyard_proto::registry::{MsgLeave, MsgRegister, MsgUpdate, Role, VerificationClass};

use super::{Global, keys};

/// Options of every transaction.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TxOptions {
    /// Key that signs and pays, by name or address
    #[arg(long, value_name = "KEY")]
    from: Option<String>,
    /// Gas limit, or `auto` to simulate first
    #[arg(long, default_value = "auto")]
    gas: String,
    /// What `--gas auto` multiplies the simulated gas by
    #[arg(long, default_value_t = 1.5, value_name = "FACTOR")]
    gas_adjustment: f64,
    /// Price of gas
    #[arg(long, default_value = "0.025utrain", value_name = "PRICE")]
    gas_prices: GasPrice,
    /// The whole fee, as 5000utrain or 0.005TRAIN; instead of a price
    #[arg(long, value_name = "AMOUNT", value_parser = amount)]
    fees: Option<u64>,
    /// Free text
    #[arg(long, default_value = "")]
    memo: String,
    /// Height after which the transaction is void
    #[arg(long, default_value_t = 0, value_name = "HEIGHT")]
    timeout_height: u64,
    /// Longest wait for a block, seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait: u64,
    /// Do not ask before signing
    #[arg(long, short)]
    yes: bool,
    /// Only show what would be sent and the gas it would use
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Move money
    #[command(subcommand)]
    Bank(Bank),
    /// Delegate stake, become a validator
    #[command(subcommand)]
    Staking(Staking),
    /// Register as worker or evaluator
    #[command(subcommand)]
    Registry(Registry),
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
        #[command(flatten)]
        options: TxOptions,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Staking {
    /// Delegate to a validator
    Delegate {
        /// The validator's operator address
        validator: String,
        /// As 2.5TRAIN or 2500000utrain
        #[arg(value_parser = amount)]
        amount: u64,
        #[command(flatten)]
        options: TxOptions,
    },
    /// Take a delegation back; the money returns after the unbonding time
    Unbond {
        /// The validator's operator address
        validator: String,
        /// As 2.5TRAIN or 2500000utrain
        #[arg(value_parser = amount)]
        amount: u64,
        #[command(flatten)]
        options: TxOptions,
    },
    /// Become a validator
    CreateValidator {
        /// The node's consensus key: ed25519, base64, as in its priv_validator_key.json
        #[arg(long)]
        pubkey: String,
        /// Own stake, as 2.5TRAIN or 2500000utrain
        #[arg(long, value_parser = amount)]
        amount: u64,
        /// The name to be known by
        #[arg(long)]
        moniker: String,
        #[command(flatten)]
        options: TxOptions,
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
        #[command(flatten)]
        options: TxOptions,
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
        #[command(flatten)]
        options: TxOptions,
    },
    /// Leave; the bond returns after the unbonding time
    Leave {
        #[command(flatten)]
        options: TxOptions,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum RoleName {
    Worker,
    Evaluator,
}

type Bytes32 = [u8; 32];

pub(super) async fn run(global: &Global, command: Command) -> Result<()> {
    let (options, build): (TxOptions, Box<dyn FnOnce(Address) -> Result<Any>>) = match command {
        Command::Bank(Bank::Send {
            sender,
            to,
            amount,
            mut options,
        }) => {
            options.from = Some(sender);
            let to_address = global.account(&to)?.to_string();
            let build = move |sender: Address| {
                let amount = vec![coin::utrain(amount)];
                Ok(any::pack(&MsgSend {
                    from_address: sender.to_string(),
                    to_address,
                    amount,
                }))
            };
            (options, Box::new(build))
        }
        Command::Staking(command) => staking(command),
        Command::Registry(command) => registry(command),
    };
    let outcome = send(global, &options, |sender| Ok(vec![build(sender)?])).await?;
    outcome.map_or(Ok(()), |outcome| global.print(&view(&outcome)))
}

type Build = Box<dyn FnOnce(Address) -> Result<Any>>;

fn staking(command: Staking) -> (TxOptions, Build) {
    match command {
        Staking::Delegate {
            validator,
            amount,
            options,
        } => {
            let build = move |sender: Address| {
                Address::parse_operator(&validator)?;
                Ok(any::pack(&MsgDelegate {
                    delegator_address: sender.to_string(),
                    validator_address: validator,
                    amount: Some(coin::utrain(amount)),
                }))
            };
            (options, Box::new(build))
        }
        Staking::Unbond {
            validator,
            amount,
            options,
        } => {
            let build = move |sender: Address| {
                Address::parse_operator(&validator)?;
                Ok(any::pack(&MsgUndelegate {
                    delegator_address: sender.to_string(),
                    validator_address: validator,
                    amount: Some(coin::utrain(amount)),
                }))
            };
            (options, Box::new(build))
        }
        Staking::CreateValidator {
            pubkey,
            amount,
            moniker,
            options,
        } => (
            options,
            Box::new(move |sender| create_validator(sender, &pubkey, amount, moniker)),
        ),
    }
}

/// The message that makes `sender` a validator. `pubkey` is its ed25519 consensus key, base64.
pub(super) fn create_validator(sender: Address, pubkey: &str, amount: u64, moniker: String) -> Result<Any> {
    let key = BASE64.decode(pubkey.trim()).ok().filter(|key| key.len() == 32);
    let key = key.ok_or_else(|| eyre!("--pubkey {pubkey:?} is not an ed25519 key: 32 bytes as base64 are needed"))?;
    let none = || "0".to_owned();
    #[allow(deprecated)] // The field is still on the wire.
    let message = MsgCreateValidator {
        description: Some(Description {
            moniker,
            ..Description::default()
        }),
        commission: Some(CommissionRates {
            rate: none(),
            max_rate: none(),
            max_change_rate: none(),
        }),
        min_self_delegation: "1".into(),
        delegator_address: sender.to_string(),
        validator_address: sender.operator(),
        pubkey: Some(any::pack(&ed25519::PubKey { key })),
        value: Some(coin::utrain(amount)),
    };
    Ok(any::pack(&message))
}

fn registry(command: Registry) -> (TxOptions, Build) {
    match command {
        Registry::Register {
            roles,
            bond,
            peer_id,
            x25519_key,
            capability_hash,
            operator,
            moniker,
            options,
        } => {
            let build = move |sender: Address| {
                let role = |role: &RoleName| match role {
                    RoleName::Worker => Role::Worker.into(),
                    RoleName::Evaluator => Role::Evaluator.into(),
                };
                Ok(any::pack(&MsgRegister {
                    owner: sender.to_string(),
                    operator,
                    roles: roles.iter().map(role).collect(),
                    bond: Some(coin::utrain(bond)),
                    peer_id,
                    x25519_key: x25519_key.to_vec(),
                    capability_hash: capability_hash.to_vec(),
                    classes: vec![VerificationClass::Tolerant.into()],
                    moniker,
                }))
            };
            (options, Box::new(build))
        }
        Registry::Update {
            peer_id,
            x25519_key,
            capability_hash,
            add_bond,
            moniker,
            options,
        } => {
            let build = move |sender: Address| {
                Ok(any::pack(&MsgUpdate {
                    owner: sender.to_string(),
                    peer_id,
                    x25519_key: x25519_key.map(Vec::from).unwrap_or_default(),
                    capability_hash: capability_hash.map(Vec::from).unwrap_or_default(),
                    add_bond: add_bond.map(coin::utrain),
                    moniker,
                    ..MsgUpdate::default()
                }))
            };
            (options, Box::new(build))
        }
        Registry::Leave { options } => (
            options,
            Box::new(|sender| {
                Ok(any::pack(&MsgLeave {
                    owner: sender.to_string(),
                }))
            }),
        ),
    }
}

/// The signer that the options name.
///
/// # Errors
/// There is no such key, it does not open, or the node does not answer.
pub(super) async fn signer(global: &Global, options: &TxOptions) -> Result<Signer> {
    let Some(from) = &options.from else {
        bail!("who signs? give --from with a key's name or address")
    };
    let name = match global
        .keyring()?
        .list()?
        .into_iter()
        .find(|key| key.address.to_string() == *from)
    {
        Some(key) => key.name,
        None => from.clone(),
    };
    let key = keys::unlocked(global, &name)?.get(&name)?;
    let client = global.client()?;
    let chain_id = global.chain_id(&client).await?;
    let fees = FeePolicy {
        gas: options.gas()?,
        price: options.gas_prices,
    };
    Ok(Signer::new(
        client,
        key,
        &chain_id,
        fees,
        Duration::from_secs(options.wait),
    ))
}

/// Builds, shows, signs and sends a transaction, and waits for its block. Nothing comes back from a dry run.
///
/// # Errors
/// It is not wanted, refused, fails, or is not in a block in time.
pub(super) async fn send(
    global: &Global,
    options: &TxOptions,
    build: impl FnOnce(Address) -> Result<Vec<Any>>,
) -> Result<Option<TxOutcome>> {
    let signer = signer(global, options).await?;
    let draft = Draft {
        messages: build(signer.address())?,
        memo: options.memo.clone(),
        fee: options.fees.unwrap_or(0),
        gas_limit: 0,
        timeout_height: options.timeout_height,
    };
    let kinds: Vec<&str> = draft.messages.iter().map(|m| m.type_url.as_str()).collect();
    if options.dry_run {
        let gas = signer.estimate(&draft).await?;
        global.print(&json!({
            "messages": kinds,
            "signer": signer.address().to_string(),
            "gas_used": gas.to_string(),
        }))?;
        return Ok(None);
    }
    let question = format!("Sign {} as {}?", kinds.join(", "), signer.address());
    if !options.yes && !keys::confirm(&question)? {
        bail!("not sent");
    }
    Ok(Some(signer.send_draft(draft).await?))
}

/// A transaction in a block, for printing.
pub(super) fn view(outcome: &TxOutcome) -> Value {
    let events: Vec<Value> = outcome
        .events
        .iter()
        .map(|event| {
            let attributes: serde_json::Map<_, _> = event
                .attributes
                .iter()
                .map(|(key, value)| (key.clone(), json!(value)))
                .collect();
            json!({ "type": event.kind, "attributes": attributes })
        })
        .collect();
    json!({
        "txhash": outcome.hash,
        "height": outcome.height.to_string(),
        "code": outcome.code,
        "codespace": outcome.codespace,
        "log": outcome.log,
        "gas_wanted": outcome.gas_wanted.to_string(),
        "gas_used": outcome.gas_used.to_string(),
        "events": events,
    })
}

impl TxOptions {
    /// Whether a key was named.
    pub(super) fn has_signer(&self) -> bool {
        self.from.is_some()
    }

    fn gas(&self) -> Result<Gas> {
        if self.gas != "auto" {
            let limit = self
                .gas
                .parse()
                .wrap_err_with(|| format!("--gas {:?} is neither auto nor a number", self.gas))?;
            return Ok(Gas::Limit(limit));
        }
        if !(1.0..=10.0).contains(&self.gas_adjustment) {
            bail!("--gas-adjustment {} is outside 1..=10", self.gas_adjustment);
        }
        // Between 100 and 1000, as checked above.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let percent = (self.gas_adjustment * 100.0).ceil() as u64;
        Ok(Gas::Auto { percent })
    }
}

/// An amount as people write it, in utrain.
pub(super) fn amount(text: &str) -> Result<u64, String> {
    coin::parse_human(text).map_err(|e| e.to_string())
}

fn bytes32(text: &str) -> Result<Bytes32, String> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|e| format!("64 hex digits are needed: {e}"))?;
    Ok(bytes)
}
