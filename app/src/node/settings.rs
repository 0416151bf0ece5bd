//! `app.toml`: what an operator sets for our half of a node. None of it is agreed by consensus.

use std::net::SocketAddr;

use serde::Deserialize;
use trainyard_client::signer::GasPrice;

use super::home::Home;
use super::{Error, read};
use crate::abci::Address;

/// MiB of cache of a node that has its machine for itself.
pub const CACHE_MB: u16 = 256;

/// What a node is there for: it decides the settings that `trainyard init` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum NodeType {
    /// Votes: no index of transactions, and nothing kept that it does not need.
    Validator,
    /// Serves queries and takes snapshots for others to start from.
    #[default]
    Full,
    /// Tells nodes of one another, and keeps as little as possible.
    Seed,
    /// Forgets nothing.
    Archive,
}

impl NodeType {
    fn pruning(self) -> &'static str {
        match self {
            Self::Validator | Self::Full => "default",
            Self::Seed => "everything",
            Self::Archive => "nothing",
        }
    }

    fn snapshot_interval(self) -> u64 {
        match self {
            Self::Full | Self::Archive => SNAPSHOT_INTERVAL,
            Self::Validator | Self::Seed => 0,
        }
    }
}

/// Blocks between the snapshots of a node that takes some.
const SNAPSHOT_INTERVAL: u64 = 1000;
/// Heights that the SDK's strategies keep: `default` and `everything`.
const KEEP_DEFAULT: u64 = 362_880;
const KEEP_EVERYTHING: u64 = 2;

/// The file that `trainyard init` writes. Every name can also be given by the environment, as `TRAINYARD_HALT_HEIGHT`.
#[must_use]
pub fn template(node_type: NodeType, cache_mb: u16, doors: &Doors) -> String {
    let Doors { grpc, rest } = doors;
    TEMPLATE
        .replace("@PRUNING@", node_type.pruning())
        .replace("@SNAPSHOT_INTERVAL@", &node_type.snapshot_interval().to_string())
        .replace("@GRPC@", &grpc.to_string())
        .replace("@REST@", &rest.to_string())
        .replace("@CACHE_MB@", &cache_mb.to_string())
}

/// Where a new node serves gRPC and REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doors {
    /// gRPC.
    pub grpc: SocketAddr,
    /// REST.
    pub rest: SocketAddr,
}

impl Doors {
    /// Those of a node with its RPC there: the ports that Cosmos tools try first, or, where RPC is not at its usual port
    /// either, the next two.
    #[must_use]
    pub fn beside(rpc: SocketAddr) -> Self {
        let at = |port| SocketAddr::new(rpc.ip(), port);
        match rpc.port() {
            26657 => Self {
                grpc: at(9090),
                rest: at(1317),
            },
            port => Self {
                grpc: at(port.saturating_add(1)),
                rest: at(port.saturating_add(2)),
            },
        }
    }
}

const TEMPLATE: &str = r#"# Settings of the application; those of CometBFT are in config.toml beside this file.
# A variable of the environment wins over the file: TRAINYARD_MIN_GAS_PRICE, TRAINYARD_HALT_HEIGHT and so on.

# Least price of gas at which this node takes a transaction into its mempool. The chain's base fee holds in any case.
min_gas_price = "0.001utrain"

# Which heights can be queried and proven, as in the Cosmos SDK:
#   default      the last 362880 (three weeks of blocks of five seconds)
#   nothing      all of them: nothing is forgotten (archive nodes)
#   everything   the last 2: everything else is forgotten
#   custom       the last keep_recent; 0 keeps all
pruning = "@PRUNING@"
keep_recent = 100000

# Blocks that CometBFT keeps for others, at least; 0 keeps all. Evidence of misbehaviour needs those of its maximal age.
min_retain_blocks = 0

# Take a snapshot of the state at every height that this divides, for others to start from (state sync); 0 takes none.
# How many of them are kept: a new node needs time to fetch one before it is gone.
snapshot_interval = @SNAPSHOT_INTERVAL@
snapshot_keep = 2

# Stop after committing this height, for a planned upgrade. 0 never stops.
halt_height = 0

# Where the application listens for CometBFT: unix:///path or tcp://host:port. Whoever can connect can speak for consensus.
# Empty is a unix socket in the data folder.
abci = ""

# Where gRPC and REST are served for wallets, explorers and scripts, host:port; empty serves none. They answer everybody who
# can connect: behind a public address put a proxy with TLS and limits before them.
grpc = "@GRPC@"
rest = "@REST@"

# Where GET /metrics (for Prometheus) and GET /health are answered, as 127.0.0.1:26661. Empty is nowhere.
metrics = ""

# Memory for the state's cache, in MiB. Filters and indices stand beside it: about two bytes a key.
store_cache_mb = @CACHE_MB@
"#;

/// Which heights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pruning {
    /// As many as the SDK keeps by default.
    Default,
    /// All.
    Nothing,
    /// The least that works.
    Everything,
    /// `keep_recent`.
    #[default]
    Custom,
}

/// Parsed settings.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Least price of gas for the mempool.
    #[serde(deserialize_with = "text")]
    pub min_gas_price: GasPrice,
    /// Which heights can be read; custom in files from before there was such a setting.
    #[serde(default)]
    pub pruning: Pruning,
    /// How many of them, where pruning is custom; 0 is all.
    pub keep_recent: u64,
    /// Blocks that CometBFT keeps, at least; 0 is all.
    #[serde(default)]
    pub min_retain_blocks: u64,
    /// Blocks between snapshots; 0 takes none.
    #[serde(default)]
    pub snapshot_interval: u64,
    /// Snapshots kept; at least 1.
    #[serde(default)]
    pub snapshot_keep: u16,
    /// Height to stop after; 0 is none.
    pub halt_height: u64,
    /// Where the application listens; none is a unix socket in the data folder.
    #[serde(deserialize_with = "optional_address")]
    pub abci: Option<Address>,
    /// Where gRPC is served, `host:port`; none is nowhere, also in files from before there was such a setting.
    #[serde(default, deserialize_with = "optional_text")]
    pub grpc: Option<String>,
    /// Where REST is served, as `grpc`.
    #[serde(default, deserialize_with = "optional_text")]
    pub rest: Option<String>,
    /// Where metrics and health are served; none is nowhere.
    #[serde(default, deserialize_with = "optional_socket")]
    pub metrics: Option<SocketAddr>,
    /// MiB of cache.
    pub store_cache_mb: u16,
}

/// The names in the file.
const NAMES: &[&str] = &[
    "min_gas_price",
    "pruning",
    "keep_recent",
    "min_retain_blocks",
    "snapshot_interval",
    "snapshot_keep",
    "halt_height",
    "abci",
    "grpc",
    "rest",
    "metrics",
    "store_cache_mb",
];

impl Settings {
    /// How many heights can be read; none is all.
    #[must_use]
    pub fn heights(&self) -> Option<u64> {
        match self.pruning {
            Pruning::Default => Some(KEEP_DEFAULT),
            Pruning::Nothing => None,
            Pruning::Everything => Some(KEEP_EVERYTHING),
            Pruning::Custom => (self.keep_recent > 0).then_some(self.keep_recent),
        }
    }

    /// The settings of a home, and of the environment over them.
    ///
    /// # Errors
    /// The file is missing, has an unknown name or a value that cannot be used.
    pub fn load(home: &Home) -> Result<Self, Error> {
        home.expect()?;
        let path = home.app_toml();
        Self::parse(&read(path.clone())?, |name| std::env::var(name).ok())
            .map_err(|reason| Error::Content { path, reason })
    }

    /// Parses the file's text; `variable` looks the environment up.
    ///
    /// # Errors
    /// What is wrong with the text or with a variable.
    pub fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut table: toml::Table = text.parse().map_err(|e: toml::de::Error| e.to_string())?;
        for name in NAMES {
            let Some(value) = variable(&format!("TRAINYARD_{}", name.to_uppercase())) else {
                continue;
            };
            let number = matches!(table.get(*name), Some(toml::Value::Integer(_)));
            let value = match value.parse() {
                Ok(value) if number => toml::Value::Integer(value),
                _ => toml::Value::String(value),
            };
            table.insert((*name).into(), value);
        }
        table
            .try_into()
            .map_err(|e: toml::de::Error| e.to_string().trim_end().replace('\n', " "))
    }
}

fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<GasPrice, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(serde::de::Error::custom)
}

fn optional_address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Address>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

fn optional_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(if text.is_empty() { None } else { Some(text) })
}

fn optional_socket<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |_| serde::de::Error::custom(format!("{text:?} is no address as 127.0.0.1:26661"));
    text.parse().map(Some).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doors() -> Doors {
        Doors::beside(([127, 0, 0, 1], 26657).into())
    }

    #[test]
    fn the_template_is_read_and_the_environment_wins() {
        let plain = Settings::parse(&template(NodeType::Full, 256, &doors()), |_| None).unwrap();
        assert_eq!(plain.min_gas_price, GasPrice(1000));
        assert_eq!(
            (plain.halt_height, plain.abci.clone(), plain.store_cache_mb),
            (0, None, 256)
        );
        assert_eq!(plain.grpc.as_deref(), Some("127.0.0.1:9090"));
        let set = Settings::parse(&template(NodeType::Full, 256, &doors()), |name| match name {
            "TRAINYARD_HALT_HEIGHT" => Some("7".into()),
            "TRAINYARD_ABCI" => Some("tcp://127.0.0.1:26658".into()),
            "TRAINYARD_MIN_GAS_PRICE" => Some("2".into()),
            "TRAINYARD_REST" => Some(String::new()),
            "TRAINYARD_PRUNING" => Some("custom".into()),
            "TRAINYARD_METRICS" => Some("127.0.0.1:9".into()),
            _ => None,
        })
        .unwrap();
        assert_eq!(set.halt_height, 7);
        assert_eq!(set.abci, Some(Address::Tcp("127.0.0.1:26658".into())));
        assert_eq!(set.min_gas_price, GasPrice(2_000_000));
        assert_eq!(set.rest, None);
        assert_eq!(
            (set.heights(), set.metrics),
            (Some(100_000), "127.0.0.1:9".parse().ok())
        );
        assert_eq!(
            Settings {
                halt_height: 0,
                abci: None,
                min_gas_price: GasPrice(1000),
                rest: plain.rest.clone(),
                pruning: Pruning::Default,
                metrics: None,
                ..set
            },
            plain
        );
    }

    #[test]
    fn node_types_keep_what_they_are_for() {
        let kept = |node_type| {
            let settings = Settings::parse(&template(node_type, 256, &doors()), |_| None).unwrap();
            (settings.heights(), settings.snapshot_interval > 0)
        };
        assert_eq!(kept(NodeType::Validator), (Some(KEEP_DEFAULT), false));
        assert_eq!(kept(NodeType::Full), (Some(KEEP_DEFAULT), true));
        assert_eq!(kept(NodeType::Seed), (Some(KEEP_EVERYTHING), false));
        assert_eq!(kept(NodeType::Archive), (None, true));
    }

    #[test]
    fn files_from_before_mean_what_they_meant() {
        let old =
            "min_gas_price = \"0.001utrain\"\nkeep_recent = 7\nhalt_height = 0\nabci = \"\"\nstore_cache_mb = 64\n";
        let heights = |text: &str| Settings::parse(text, |_| None).unwrap().heights();
        assert_eq!(heights(old), Some(7));
        assert_eq!(heights(&old.replace("= 7", "= 0")), None);
    }

    #[test]
    fn wrong_settings_are_named() {
        let wrong = |from: &str, to: &str| {
            Settings::parse(&template(NodeType::Full, 256, &doors()).replace(from, to), |_| None).unwrap_err()
        };
        assert!(wrong("halt_height", "halt_hieght").contains("halt_hieght"));
        assert!(wrong("keep_recent = 100000", "keep_recent = -1").contains("-1"));
        assert!(wrong("pruning = \"default\"", "pruning = \"some\"").contains("some"));
        assert!(wrong("metrics = \"\"", "metrics = \"here\"").contains("here"));
        assert!(wrong("0.001utrain", "0.001uatom").contains("0.001uatom"));
        assert!(wrong("abci = \"\"", "abci = \"nowhere\"").contains("nowhere"));
        let env = Settings::parse(&template(NodeType::Full, 256, &doors()), |name| {
            (name == "TRAINYARD_HALT_HEIGHT").then(|| "soon".into())
        });
        assert!(env.unwrap_err().contains("soon"));
    }
}
