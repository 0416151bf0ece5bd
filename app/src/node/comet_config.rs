//! CometBFT's `config.toml`, changed in place: its comments stay.

use std::net::SocketAddr;
use std::time::Duration;

use toml_edit::{DocumentMut, Item, Value, value};

use super::settings::NodeType;

/// Largest body of an RPC request, bytes: room for a block's largest transaction in base64 and in JSON.
const MAX_BODY_BYTES: i64 = 2_000_000;
/// Largest transaction the mempool takes, bytes. The application's own bound lies below.
const MAX_TX_BYTES: i64 = 1_048_576;
/// All transactions of the mempool, bytes.
const MAX_TXS_BYTES: i64 = 128 << 20;
/// Blocks faster than this are for local networks, whose messages then must not wait either.
const LOCAL_BLOCK_TIME: Duration = Duration::from_secs(1);

/// What a node's `config.toml` says differently from CometBFT's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CometConfig {
    /// The node's name.
    pub moniker: String,
    /// Pause after a block: about the time between blocks.
    pub block_time: Duration,
    /// Where peers are listened for.
    pub p2p: SocketAddr,
    /// Where RPC is served.
    pub rpc: SocketAddr,
    /// Several nodes share this machine: private addresses are good addresses.
    pub local: bool,
    /// What it is there for.
    pub node_type: NodeType,
}

/// From where a new node's state comes, instead of from all blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSync {
    /// RPC servers that headers are checked with, two at least: one node may be named twice.
    pub servers: Vec<String>,
    /// A height whose block is trusted.
    pub height: u64,
    /// The hash of its header, hex.
    pub hash: String,
}

/// Turns state sync on in the text of a `config.toml`.
///
/// # Errors
/// It is not such a file.
pub fn with_state_sync(text: &str, sync: &StateSync) -> Result<String, String> {
    let mut config: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| e.to_string())?;
    let mut set = |name: &str, new: Value| set(&mut config, "statesync", name, new);
    set("enable", true.into())?;
    set("rpc_servers", sync.servers.join(",").into())?;
    set("trust_height", i64::try_from(sync.height).unwrap_or(i64::MAX).into())?;
    set("trust_hash", sync.hash.as_str().into())?;
    set("discovery_time", DISCOVERY_TIME.into())?;
    Ok(config.to_string())
}

/// How long a node looks for snapshots before it starts with the best one; the least that CometBFT takes.
const DISCOVERY_TIME: &str = "5s";

impl CometConfig {
    /// Changes the text of a `config.toml` that CometBFT wrote; `application` is where our half listens.
    ///
    /// # Errors
    /// It is not such a file.
    pub fn apply(&self, text: &str, application: &str) -> Result<String, String> {
        let Self {
            moniker,
            block_time,
            p2p,
            rpc,
            local,
            node_type,
        } = self;
        let mut config: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| e.to_string())?;
        let mut set = |section: &str, name: &str, new: Value| set(&mut config, section, name, new);
        set("", "proxy_app", application.into())?;
        set("", "moniker", moniker.into())?;
        set("", "log_level", "error".into())?;
        set("rpc", "laddr", format!("tcp://{rpc}").into())?;
        set("rpc", "max_body_bytes", MAX_BODY_BYTES.into())?;
        set("p2p", "laddr", format!("tcp://{p2p}").into())?;
        set("p2p", "addr_book_strict", (!local).into())?;
        set("p2p", "allow_duplicate_ip", (*local).into())?;
        set("mempool", "max_tx_bytes", MAX_TX_BYTES.into())?;
        set("mempool", "max_txs_bytes", MAX_TXS_BYTES.into())?;
        set("mempool", "size", 20_000.into())?;
        set("mempool", "cache_size", 40_000.into())?;
        set("consensus", "timeout_commit", go_duration(*block_time).into())?;
        let indexed = matches!(node_type, NodeType::Full | NodeType::Archive);
        set("tx_index", "indexer", if indexed { "kv" } else { "null" }.into())?;
        set("p2p", "seed_mode", (*node_type == NodeType::Seed).into())?;
        if *block_time < LOCAL_BLOCK_TIME {
            set("consensus", "timeout_propose", "1s".into())?;
            set("consensus", "peer_gossip_sleep_duration", "10ms".into())?;
            set("p2p", "flush_throttle_timeout", "10ms".into())?;
        }
        Ok(config.to_string())
    }
}

/// The names of CometBFT's settings that a running node's commands need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listens {
    /// Where peers are listened for, `host:port`.
    pub p2p: String,
    /// Where RPC is served, `host:port`.
    pub rpc: String,
}

/// Reads where a node listens from its `config.toml`; `variable` looks the environment up, which CometBFT heeds too:
/// `CMT_RPC_LADDR`.
///
/// # Errors
/// It is not such a file.
pub fn listens(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Listens, String> {
    let config: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| e.to_string())?;
    let get = |section: &str| {
        let written = config.get(section).and_then(|s| s.get("laddr")).and_then(Item::as_str);
        let laddr = variable(&format!("CMT_{}_LADDR", section.to_uppercase()));
        let laddr = laddr.or_else(|| written.map(str::to_owned));
        laddr
            .and_then(|l| l.strip_prefix("tcp://").map(str::to_owned))
            .ok_or_else(|| format!("[{section}] has no laddr of the form tcp://host:port"))
    };
    Ok(Listens {
        p2p: get("p2p")?,
        rpc: get("rpc")?,
    })
}

/// Sets the peers to stay connected to.
///
/// # Errors
/// The text is no `config.toml`.
pub fn with_persistent_peers(text: &str, peers: &[String]) -> Result<String, String> {
    let mut config: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| e.to_string())?;
    set(&mut config, "p2p", "persistent_peers", peers.join(",").into())?;
    Ok(config.to_string())
}

/// Replaces a value that is there, so that a renamed setting is noticed.
fn set(config: &mut DocumentMut, section: &str, name: &str, new: Value) -> Result<(), String> {
    let table: Option<&mut Item> = match section {
        "" => Some(config.as_item_mut()),
        section => config.get_mut(section),
    };
    let old = table
        .and_then(|table| table.get_mut(name))
        .filter(|item| item.is_value());
    let old = old.ok_or_else(|| format!("section [{section}] has no {name:?}: not a config.toml of CometBFT 0.38"))?;
    *old = value(new);
    Ok(())
}

fn go_duration(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

/// Parses a time between blocks, as `500ms` or `2s`.
///
/// # Errors
/// Another form, or not within 10 ms to 1 h.
pub fn parse_block_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time between 10ms and 3600s, as 500ms or 2s");
    let (digits, unit) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => (text.strip_suffix('s').ok_or_else(wrong)?, 1000),
    };
    let millis = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    millis
        .filter(|ms| (10..=3_600_000).contains(ms))
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Main\nproxy_app = \"tcp://z:3\"\nmoniker = \"vm\" # ours\nlog_level = \"info\"\n[rpc]\n# Listen\nladdr = \"tcp://x:1\"\n\
        max_body_bytes = 1\n[p2p]\nladdr = \"tcp://y:2\"\npersistent_peers = \"\"\naddr_book_strict = true\nseed_mode = false\n\
        allow_duplicate_ip = false\nflush_throttle_timeout = \"100ms\"\n[mempool]\nmax_tx_bytes = 1\nmax_txs_bytes = 1\n\
        size = 1\ncache_size = 1\n[consensus]\ntimeout_commit = \"1s\"\ntimeout_propose = \"3s\"\n\
        peer_gossip_sleep_duration = \"100ms\"\n[tx_index]\nindexer = \"null\"\n\
        [statesync]\nenable = false\nrpc_servers = \"\"\ntrust_height = 0\ntrust_hash = \"\"\ndiscovery_time = \"15s\"\n";

    fn config() -> CometConfig {
        CometConfig {
            moniker: "a \"quoted\" name".into(),
            block_time: Duration::from_millis(500),
            p2p: ([127, 0, 0, 2], 26656).into(),
            rpc: ([127, 0, 0, 2], 26657).into(),
            local: true,
            node_type: NodeType::Full,
        }
    }

    #[test]
    fn settings_change_and_comments_stay() {
        let text = config().apply(TEXT, "unix:///s").unwrap();
        let text = with_persistent_peers(&text, &["a@h:1".into(), "b@h:2".into()]).unwrap();
        assert!(text.starts_with("# Main\n") && text.contains("# Listen\n"), "{text}");
        let parsed: toml::Table = text.parse().unwrap();
        assert_eq!(parsed["moniker"].as_str(), Some("a \"quoted\" name"));
        assert_eq!(parsed["p2p"]["persistent_peers"].as_str(), Some("a@h:1,b@h:2"));
        assert_eq!(parsed["consensus"]["timeout_commit"].as_str(), Some("500ms"));
        assert_eq!(parsed["consensus"]["timeout_propose"].as_str(), Some("1s"));
        let found = listens(&text, |_| None).unwrap();
        assert_eq!(
            (found.p2p.as_str(), found.rpc.as_str()),
            ("127.0.0.2:26656", "127.0.0.2:26657")
        );
    }

    #[test]
    fn seeds_and_state_sync_are_settings() {
        let seed = CometConfig {
            node_type: NodeType::Seed,
            ..config()
        };
        let sync = StateSync {
            servers: vec!["http://a:1".into(), "http://b:1".into()],
            height: 7,
            hash: "AB".into(),
        };
        let text = with_state_sync(&seed.apply(TEXT, "unix:///s").unwrap(), &sync).unwrap();
        let parsed: toml::Table = text.parse().unwrap();
        assert_eq!(parsed["p2p"]["seed_mode"].as_bool(), Some(true));
        assert_eq!(parsed["tx_index"]["indexer"].as_str(), Some("null"));
        assert_eq!(parsed["statesync"]["enable"].as_bool(), Some(true));
        assert_eq!(
            parsed["statesync"]["rpc_servers"].as_str(),
            Some("http://a:1,http://b:1")
        );
        assert_eq!(parsed["statesync"]["trust_height"].as_integer(), Some(7));
    }

    #[test]
    fn a_setting_that_is_not_there_is_named() {
        let error = config()
            .apply(&TEXT.replace("timeout_commit", "timeout_c"), "")
            .unwrap_err();
        assert!(error.contains("timeout_commit"), "{error}");
        assert!(config().apply("= = =", "").is_err());
    }

    #[test]
    fn block_times_are_bounded() {
        assert_eq!(parse_block_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_block_time("2s"), Ok(Duration::from_secs(2)));
        for wrong in ["", "s", "5", "9ms", "3601s", "-1s", "99999999999999999999s", "1m"] {
            assert!(parse_block_time(wrong).is_err(), "{wrong:?}");
        }
    }
}
