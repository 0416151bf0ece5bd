//! `trainyard tx …`: build, sign, send.
//!
//! | file | what |
//! |---|---|
//! | `messages.rs` | money, stake, rewards, nodes |
//! | `governance.rs` | proposals and votes |
//! | `grants.rs` | permissions and allowances |
//! | `offline.rs` | files that several people sign |
//! | `files.rs` | transactions as JSON and as text |

mod files;
mod governance;
mod grants;
mod messages;
mod offline;
mod stake;

use std::time::Duration;

use color_eyre::eyre::{Result, WrapErr as _, bail};
use serde_json::{Value, json};
use trainyard_client::rpc::{self, TxOutcome};
use trainyard_client::signer::{FeePolicy, Gas, Price, Signer};
use trainyard_client::tx::Draft;
use trainyard_proto::address::Address;
use trainyard_proto::any::{self, Any};
use trainyard_proto::coin;
use trainyard_proto::cosmos::authz::v1beta1::MsgExec;

pub(super) use messages::RoleName;
pub(super) use offline::{Keys, public_key};

use super::{Global, keys};

/// A transaction with one message.
#[derive(Debug, clap::Args)]
pub(super) struct Tx {
    #[command(flatten)]
    options: TxOptions,
    #[command(flatten)]
    how: How,
    #[command(subcommand)]
    command: Command,
}

/// How a transaction is signed and handed over.
#[derive(Clone, Debug, clap::Args)]
struct How {
    /// When it is done: in a block, once a node has taken it (sync), or at once (async)
    #[arg(long, short, global = true, value_name = "MODE", default_value = "block")]
    broadcast_mode: BroadcastMode,
    /// Ask no node; with --generate-only, or in `tx sign` with --chain-id, --account-number and --sequence
    #[arg(long, global = true)]
    offline: bool,
    /// The signer's account number [default: the chain's]
    #[arg(long, short, global = true, value_name = "NUMBER")]
    account_number: Option<u64>,
    /// The signer's sequence [default: the chain's]
    #[arg(long, short, global = true, value_name = "NUMBER")]
    sequence: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum BroadcastMode {
    Block,
    Sync,
    Async,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(flatten)]
    Message(messages::Command),
    #[command(flatten)]
    Offline(offline::Command),
}

pub(super) async fn run(global: &Global, tx: Tx) -> Result<()> {
    let Tx {
        mut options,
        how,
        command,
    } = tx;
    let command = match command {
        Command::Message(command) => command,
        Command::Offline(command) => return offline::run(global, &options, &how, command).await,
    };
    if let Some(sender) = command.sender() {
        options.from = Some(sender.to_owned());
    }
    if options.generate_only {
        let build = |sender| Ok(vec![command.message(global, sender)?]);
        return offline::generate(global, &options, &how, build).await;
    }
    if how.offline {
        bail!("--offline sends nothing: add --generate-only, and sign the file with `tx sign --offline`");
    }
    let Some((signer, draft)) = prepare(global, &options, |sender| Ok(vec![command.message(global, sender)?])).await?
    else {
        return Ok(());
    };
    if how.broadcast_mode == BroadcastMode::Block && how.account_number.is_none() && how.sequence.is_none() {
        return global.print(&view(&signer.send_draft(draft).await?));
    }
    let tx = signer.sign(draft, how.account_number, how.sequence).await?;
    hand_over(global, &options, how.broadcast_mode, tx).await
}

/// Hands a signed transaction to the node and prints what is known of it then.
async fn hand_over(global: &Global, options: &TxOptions, mode: BroadcastMode, tx: Vec<u8>) -> Result<()> {
    let client = global.client()?;
    let hash = trainyard_client::tx::hash(&tx);
    match mode {
        BroadcastMode::Async => client.broadcast_unchecked(tx).await?,
        BroadcastMode::Sync | BroadcastMode::Block => drop(client.broadcast(tx).await?),
    }
    if mode == BroadcastMode::Block {
        let outcome = client.wait_tx(hash, Duration::from_secs(options.wait)).await?;
        return global.print(&view(&outcome));
    }
    // As in a block, without what only a block can tell.
    global.print(&json!({
        "txhash": rpc::show_hash(&hash),
        "height": "0",
        "code": 0,
        "codespace": "",
        "log": "",
    }))
}

/// Options of every transaction.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TxOptions {
    /// Key that signs and pays, by name or address
    #[arg(long, global = true, value_name = "KEY")]
    from: Option<String>,
    /// Gas limit, or `auto` to simulate first
    #[arg(long, global = true, default_value = "auto")]
    gas: String,
    /// What `--gas auto` multiplies the simulated gas by
    #[arg(long, global = true, default_value_t = 1.5, value_name = "FACTOR")]
    gas_adjustment: f64,
    /// Price of gas, as 0.025utrain, or `auto`: what the node asks and a quarter on top, at least 0.025utrain
    #[arg(long, global = true, default_value = "auto", value_name = "PRICE")]
    gas_prices: Price,
    /// The whole fee, as 5000utrain or 0.005TRAIN; instead of a price
    #[arg(long, global = true, value_name = "AMOUNT", value_parser = amount)]
    fees: Option<u64>,
    /// Free text
    #[arg(long, visible_alias = "note", global = true, default_value = "")]
    memo: String,
    /// Height after which the transaction is void
    #[arg(long, global = true, default_value_t = 0, value_name = "HEIGHT")]
    timeout_height: u64,
    /// Longest wait for a block, seconds
    #[arg(long, global = true, default_value_t = 60, value_name = "SECONDS")]
    wait: u64,
    /// Act for this account, which permitted it: an address or a key's name
    #[arg(long = "for", global = true, value_name = "ACCOUNT")]
    granter: Option<String>,
    /// Have this account pay the fee, which allowed it: an address or a key's name
    #[arg(long, global = true, value_name = "ACCOUNT")]
    fee_granter: Option<String>,
    /// Do not ask before signing
    #[arg(long, short, global = true)]
    yes: bool,
    /// Only print the unsigned transaction, for `tx sign`; --from may then be any address
    #[arg(long, global = true)]
    generate_only: bool,
    /// Only show what would be sent and the gas it would use
    #[arg(long, global = true)]
    dry_run: bool,
}

/// The signer that the options name.
///
/// # Errors
/// There is no such key, it does not open, or the node does not answer.
pub(super) async fn signer(global: &Global, options: &TxOptions) -> Result<Signer> {
    let Some(from) = &options.from else {
        bail!("who signs? give --from with a key's name or address")
    };
    let name = keys::name_of(global, from)?;
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
    match prepare(global, options, build).await? {
        Some((signer, draft)) => Ok(Some(signer.send_draft(draft).await?)),
        None => Ok(None),
    }
}

/// Builds and shows a transaction, and asks whether it is wanted. Nothing comes back from a dry run.
async fn prepare(
    global: &Global,
    options: &TxOptions,
    build: impl FnOnce(Address) -> Result<Vec<Any>>,
) -> Result<Option<(Signer, Draft)>> {
    let signer = signer(global, options).await?;
    let account = |name: &Option<String>| name.as_deref().map(|name| global.account(name)).transpose();
    let mut messages = build(account(&options.granter)?.unwrap_or(signer.address()))?;
    if options.granter.is_some() {
        messages = vec![any::pack(&MsgExec {
            grantee: signer.address().to_string(),
            msgs: messages,
        })];
    }
    let draft = Draft {
        messages,
        memo: options.memo.clone(),
        fee: options.fees.unwrap_or(0),
        gas_limit: 0,
        timeout_height: options.timeout_height,
        fee_granter: account(&options.fee_granter)?,
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
    Ok(Some((signer, draft)))
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
