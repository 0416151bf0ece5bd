//! What an operator sets: `config.toml` in the daemon's home, overridden by flags and by `TRAINERD_…` variables.

use std::path::{Path, PathBuf};

use color_eyre::eyre::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use trainyard_overlay::Multiaddr;
use trainyard_proto::{
    coin::parse_human,
    registry::{Role, VerificationClass},
};

use crate::{engine::Compute, variant::OwnVariant};

/// Name of the file in the home.
pub const FILE: &str = "config.toml";

/// The whole configuration. Every field has a default but the chain id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// RPC address of a Trainyard node.
    pub node: String,
    /// Chain id; a node of another chain is refused.
    pub chain_id: String,
    /// Name of the account's key in the keyring.
    pub key: String,
    /// `test` (plain) or `file` (encrypted; password in `TRAINYARD_KEYRING_PASSWORD`).
    pub keyring_backend: String,
    /// Folder of the keyring; empty is the home.
    pub keyring_home: String,
    /// `worker`, `evaluator`.
    pub roles: Vec<String>,
    /// Bond to register with, and to come back to after penalties, such as `105TRAIN`; empty is the least that the chain asks of
    /// the roles, and `bond_margin_percent` of it.
    pub bond: String,
    /// What is bonded beside the least where `bond` is empty: a missed duty costs 1 %, and below the least there is no work.
    pub bond_margin_percent: u32,
    /// What penalties may have cost this node in all, such as `10TRAIN`, while it still tops up its bond and leaves a jail by
    /// itself; empty is a tenth of the least bond. `0TRAIN` leaves all of it to its operator.
    pub penalty_limit: String,
    /// Whether it leaves a jail by itself when the time is over.
    pub unjail: bool,
    /// Account that owns this and other nodes; empty is the daemon's own. Nodes of one operator never judge each other.
    pub operator: String,
    /// Shown to others.
    pub moniker: String,
    /// `exact`, `pinned`, `tolerant`.
    pub classes: Vec<String>,
    /// Addresses to listen on.
    pub listen: Vec<String>,
    /// Peers to join through, each ending in `/p2p/…`.
    pub bootstrap: Vec<String>,
    /// `exact` or `libtorch`; empty is what suits the job: exact for class exact, otherwise libtorch.
    pub engine: String,
    /// Instructions of the exact engine: `scalar`, `avx2` or `avx512`; empty is the fastest of this CPU. They change no bit.
    pub isa: String,
    /// Threads of the engine; 0 uses every core.
    pub threads: usize,
    /// Jobs worked on at once.
    pub max_jobs: usize,
    /// Subnet tags of jobs to take; empty takes those without a tag.
    pub subnets: Vec<String>,
    /// Region told to others.
    pub region: String,
    /// Price told to others, utrain per 10⁹ multiply-accumulates.
    pub price_utrain: u64,
    /// Steps between two checkpoints of a round.
    pub checkpoint_steps: u32,
    /// What this worker brings to contests whose client lists no variants; without it, such jobs are not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<OwnVariant>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: "http://127.0.0.1:26657".into(),
            chain_id: String::new(),
            key: "trainerd".into(),
            keyring_backend: "test".into(),
            keyring_home: String::new(),
            roles: vec!["worker".into()],
            bond: String::new(),
            bond_margin_percent: 5,
            penalty_limit: String::new(),
            unjail: true,
            operator: String::new(),
            moniker: String::new(),
            classes: vec!["exact".into(), "pinned".into(), "tolerant".into()],
            listen: vec!["/ip4/0.0.0.0/tcp/26670".into()],
            bootstrap: Vec::new(),
            engine: String::new(),
            isa: String::new(),
            threads: 0,
            max_jobs: 1,
            subnets: Vec::new(),
            region: String::new(),
            price_utrain: 0,
            checkpoint_steps: 20,
            variant: None,
        }
    }
}

impl Config {
    /// Reads the file of a home; its absence gives the defaults.
    pub fn read(home: &Path) -> Result<Self> {
        let path = home.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).wrap_err_with(|| format!("{} is not valid", path.display())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e).wrap_err_with(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes the file of a home.
    pub fn write(&self, home: &Path) -> Result<()> {
        let text = toml::to_string_pretty(self)?;
        std::fs::create_dir_all(home).wrap_err_with(|| format!("cannot create {}", home.display()))?;
        let path = home.join(FILE);
        std::fs::write(&path, text).wrap_err_with(|| format!("cannot write {}", path.display()))
    }

    /// Checks what no other place checks.
    pub fn check(&self) -> Result<()> {
        ensure!(
            !self.chain_id.is_empty(),
            "chain_id is empty: name the chain with --chain-id or in {FILE}"
        );
        ensure!(
            !self.roles().wrap_err("roles")?.is_empty(),
            "roles is empty, expected \"worker\", \"evaluator\" or both"
        );
        ensure!(
            (1..=64).contains(&self.max_jobs),
            "max_jobs is {}, expected 1 to 64",
            self.max_jobs
        );
        ensure!(self.threads <= 1024, "threads is {}, at most 1024", self.threads);
        ensure!(self.checkpoint_steps >= 1, "checkpoint_steps is 0, expected at least 1");
        self.classes()?;
        self.compute()?;
        self.listen()?;
        self.bootstrap()?;
        ensure!(
            self.bond_margin_percent <= 1_000,
            "bond_margin_percent is {}, at most 1000",
            self.bond_margin_percent
        );
        self.bond_for(0)?;
        self.penalty_limit_for(0)?;
        Ok(())
    }

    /// The roles.
    pub fn roles(&self) -> Result<Vec<Role>> {
        let role = |name: &String| match name.as_str() {
            "worker" => Ok(Role::Worker),
            "evaluator" => Ok(Role::Evaluator),
            _ => bail!("role {name:?} is none of \"worker\" and \"evaluator\""),
        };
        self.roles.iter().map(role).collect()
    }

    /// The verification classes.
    pub fn classes(&self) -> Result<Vec<VerificationClass>> {
        let class = |name: &String| match name.as_str() {
            "exact" => Ok(VerificationClass::Exact),
            "pinned" => Ok(VerificationClass::Pinned),
            "tolerant" => Ok(VerificationClass::Tolerant),
            _ => bail!("class {name:?} is none of \"exact\", \"pinned\" and \"tolerant\""),
        };
        self.classes.iter().map(class).collect()
    }

    /// How this node computes.
    pub fn compute(&self) -> Result<Compute> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Compute {
            kind: given(&self.engine).map(|name| name.parse()).transpose()?,
            threads: self.threads,
            isa: given(&self.isa).map(|name| name.parse()).transpose()?,
        })
    }

    /// Addresses to listen on.
    pub fn listen(&self) -> Result<Vec<Multiaddr>> {
        addresses("listen", &self.listen)
    }

    /// Peers to join through.
    pub fn bootstrap(&self) -> Result<Vec<Multiaddr>> {
        addresses("bootstrap", &self.bootstrap)
    }

    /// The bond to have, utrain, where the chain asks for `least`.
    pub fn bond_for(&self, least: u64) -> Result<u64> {
        if self.bond.is_empty() {
            let margin = least / 100 * u64::from(self.bond_margin_percent);
            return Ok(least.saturating_add(margin));
        }
        parse_human(&self.bond).wrap_err("bond")
    }

    /// What penalties may have cost, utrain, where the chain asks for a bond of `least`.
    pub fn penalty_limit_for(&self, least: u64) -> Result<u64> {
        if self.penalty_limit.is_empty() {
            return Ok(least / 10);
        }
        parse_human(&self.penalty_limit).wrap_err("penalty_limit")
    }

    /// Folder of the keyring.
    pub fn keyring_home(&self, home: &Path) -> PathBuf {
        if self.keyring_home.is_empty() {
            home.to_path_buf()
        } else {
            PathBuf::from(&self.keyring_home)
        }
    }
}

fn addresses(what: &str, texts: &[String]) -> Result<Vec<Multiaddr>> {
    texts
        .iter()
        .map(|text| {
            text.parse()
                .wrap_err_with(|| format!("{what}: {text:?} is no multiaddr"))
        })
        .collect()
}
