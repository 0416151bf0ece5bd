//! `trainyard chain-info`: how wallets and registries are told of a chain. The values are the chain's own, asked of a node; where
//! it can be reached from outside is what only an operator knows.

use clap::ValueEnum;
use color_eyre::eyre::{Result, eyre};
use serde_json::{Value, json};
use trainyard_client::rpc::Client;
use trainyard_client::signer::{GasPrice, Price};
use trainyard_proto::address::{ACCOUNT_PREFIX, CONSENSUS_PREFIX, OPERATOR_PREFIX};
use trainyard_proto::coin::DENOM;
use trainyard_proto::cosmos::bank::v1beta1::{
    DenomUnit, Metadata, QueryDenomMetadataRequest, QueryDenomMetadataResponse,
};
use trainyard_proto::cosmos::staking::v1beta1::{QueryParamsRequest, QueryParamsResponse};

use super::Global;

/// Coin type of the accounts' keys, by SLIP 44: the Cosmos Hub's, whose wallets all know.
const COIN_TYPE: u32 = 118;

#[derive(Debug, clap::Args)]
pub(super) struct ChainInfo {
    /// Which form: all, or one of them alone
    #[arg(default_value = "all")]
    form: Form,
    /// Where CometBFT's RPC is served to the public [default: --node]
    #[arg(long, value_name = "URL")]
    rpc: Option<String>,
    /// Where REST is served to the public
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:1317")]
    rest: String,
    /// Where gRPC is served to the public
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9090")]
    grpc: String,
    /// Who serves them
    #[arg(long, value_name = "NAME", default_value = "Trainyard")]
    provider: String,
    /// The chain's name in registries: small letters and digits
    #[arg(long, value_name = "NAME", default_value = "trainyard", value_parser = registry_name)]
    name: String,
    /// The chain's name for people
    #[arg(long, value_name = "NAME", default_value = "Trainyard")]
    pretty_name: String,
    /// What kind of chain it is
    #[arg(long, value_name = "TYPE", default_value = "testnet")]
    network_type: NetworkType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// An object of all others by name
    All,
    /// chain.json of the chain registry
    Chain,
    /// assetlist.json of the chain registry
    Assetlist,
    /// What Keplr and its like take in experimentalSuggestChain
    Keplr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NetworkType {
    Mainnet,
    Testnet,
    Devnet,
}

fn registry_name(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    fits.then(|| text.to_owned())
        .ok_or_else(|| format!("{text:?} is not small letters and digits"))
}

/// What the chain says of itself.
struct Chain {
    id: String,
    comet: String,
    metadata: Metadata,
    /// Exponent of the unit that is shown.
    decimals: u32,
    unbonding_seconds: i64,
    steps: Steps,
}

/// Prices of gas, for those who can wait and those who cannot.
struct Steps {
    low: f64,
    average: f64,
    high: f64,
}

impl Steps {
    /// What a signer pays unasked, half as much again, and three times as much; a node that asks more than that is followed.
    fn of(asked: GasPrice) -> Self {
        let low = Price::Auto.of(asked).unwrap_or(asked).0;
        // Millionths, far below 2⁵³.
        #[allow(clippy::cast_precision_loss)]
        let utrain = |micro: u64| micro as f64 / 1e6;
        Self {
            low: utrain(low),
            average: utrain(low.saturating_mul(3) / 2),
            high: utrain(low.saturating_mul(3)),
        }
    }
}

impl Chain {
    async fn ask(global: &Global, client: &Client) -> Result<Self> {
        let status = client.status().await?;
        let path = "/cosmos.bank.v1beta1.Query/DenomMetadata";
        let request = QueryDenomMetadataRequest { denom: DENOM.into() };
        let answer: QueryDenomMetadataResponse = client.query(path, &request).await?;
        let metadata = answer
            .metadata
            .ok_or_else(|| eyre!("the chain does not describe {DENOM}"))?;
        let shown = metadata.denom_units.iter().find(|unit| unit.denom == metadata.display);
        let decimals = shown.map_or(0, |unit| unit.exponent);
        let path = "/cosmos.staking.v1beta1.Query/Params";
        let answer: QueryParamsResponse = client.query(path, &QueryParamsRequest {}).await?;
        let unbonding = answer.params.and_then(|params| params.unbonding_time);
        Ok(Self {
            id: global.chain_id(client).await?,
            comet: status.node_info.version.to_string(),
            metadata,
            decimals,
            unbonding_seconds: unbonding.map_or(0, |time| time.seconds),
            steps: Steps::of(client.gas_price().await?),
        })
    }
}

pub(super) async fn run(global: &Global, info: ChainInfo) -> Result<()> {
    let client = global.client()?;
    let chain = Chain::ask(global, &client).await?;
    let rpc = info.rpc.clone().unwrap_or_else(|| client.url().to_owned());
    let shown = match info.form {
        Form::All => json!({
            "chain": registry_chain(&chain, &info, &rpc),
            "assetlist": asset_list(&chain, &info),
            "keplr": keplr(&chain, &info, &rpc),
        }),
        Form::Chain => registry_chain(&chain, &info, &rpc),
        Form::Assetlist => asset_list(&chain, &info),
        Form::Keplr => keplr(&chain, &info, &rpc),
    };
    // For a file, whatever the output format is.
    println!("{}", serde_json::to_string_pretty(&shown)?);
    Ok(())
}

fn bech32_config() -> Value {
    json!({
        "bech32PrefixAccAddr": ACCOUNT_PREFIX,
        "bech32PrefixAccPub": format!("{ACCOUNT_PREFIX}pub"),
        "bech32PrefixValAddr": OPERATOR_PREFIX,
        "bech32PrefixValPub": format!("{OPERATOR_PREFIX}pub"),
        "bech32PrefixConsAddr": CONSENSUS_PREFIX,
        "bech32PrefixConsPub": format!("{CONSENSUS_PREFIX}pub"),
    })
}

/// `chain.json` as chain.schema.json of cosmos/chain-registry has it.
fn registry_chain(chain: &Chain, info: &ChainInfo, rpc: &str) -> Value {
    let network = match info.network_type {
        NetworkType::Mainnet => "mainnet",
        NetworkType::Testnet => "testnet",
        NetworkType::Devnet => "devnet",
    };
    let version = env!("CARGO_PKG_VERSION");
    let endpoint = |address: &str| json!([{ "address": address, "provider": info.provider }]);
    json!({
        "$schema": if network == "mainnet" { "../chain.schema.json" } else { "../../chain.schema.json" },
        "chain_name": info.name,
        "chain_type": "cosmos",
        "chain_id": chain.id,
        "pretty_name": info.pretty_name,
        "description": "A blockchain that trains machine-learning models.",
        "status": "live",
        "network_type": network,
        "bech32_prefix": ACCOUNT_PREFIX,
        "bech32_config": bech32_config(),
        "daemon_name": "trainyard",
        "node_home": "$HOME/.trainyard",
        "key_algos": ["secp256k1"],
        "slip44": COIN_TYPE,
        "fees": {
            "fee_tokens": [{
                "denom": DENOM,
                "fixed_min_gas_price": chain.steps.low,
                "low_gas_price": chain.steps.low,
                "average_gas_price": chain.steps.average,
                "high_gas_price": chain.steps.high,
            }],
        },
        "staking": {
            "staking_tokens": [{ "denom": DENOM }],
            "lock_duration": { "time": format!("{}s", chain.unbonding_seconds) },
        },
        "codebase": {
            "recommended_version": version,
            "compatible_versions": [version],
            "language": { "type": "rust" },
            "sdk": { "type": "other", "version": version },
            "consensus": { "type": "cometbft", "version": chain.comet },
        },
        "apis": {
            "rpc": endpoint(rpc),
            "rest": endpoint(&info.rest),
            "grpc": endpoint(&info.grpc),
        },
    })
}

/// `assetlist.json` as assetlist.schema.json of cosmos/chain-registry has it.
fn asset_list(chain: &Chain, info: &ChainInfo) -> Value {
    let metadata = &chain.metadata;
    let unit = |unit: &DenomUnit| {
        let mut shown = json!({ "denom": unit.denom, "exponent": unit.exponent });
        if !unit.aliases.is_empty() {
            shown["aliases"] = json!(unit.aliases);
        }
        shown
    };
    let mainnet = info.network_type == NetworkType::Mainnet;
    json!({
        "$schema": if mainnet { "../assetlist.schema.json" } else { "../../assetlist.schema.json" },
        "chain_name": info.name,
        "assets": [{
            "description": metadata.description,
            "denom_units": metadata.denom_units.iter().map(unit).collect::<Vec<_>>(),
            "type_asset": "sdk.coin",
            "base": metadata.base,
            "name": metadata.name,
            "display": metadata.display,
            "symbol": metadata.symbol,
        }],
    })
}

/// Keplr's `ChainInfo`, which other wallets take too.
fn keplr(chain: &Chain, info: &ChainInfo, rpc: &str) -> Value {
    let currency = json!({
        "coinDenom": chain.metadata.symbol,
        "coinMinimalDenom": chain.metadata.base,
        "coinDecimals": chain.decimals,
    });
    let mut fee = currency.clone();
    fee["gasPriceStep"] = json!({
        "low": chain.steps.low,
        "average": chain.steps.average,
        "high": chain.steps.high,
    });
    json!({
        "chainId": chain.id,
        "chainName": info.pretty_name,
        "rpc": rpc,
        "rest": info.rest,
        "bip44": { "coinType": COIN_TYPE },
        "bech32Config": bech32_config(),
        "currencies": [currency],
        "feeCurrencies": [fee],
        "stakeCurrency": currency,
        "features": [],
    })
}
