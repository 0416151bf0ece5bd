//! Whole networks of real processes on one machine: validators (`trainyard start` with CometBFT), workers and evaluators
//! (`trainerd start` with libtorch), a client (`trainyard job …`). The demo and the end-to-end tests run on them.

mod process;

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use color_eyre::eyre::{Context, OptionExt, Result, bail, ensure};
pub use process::{Process, binary, run, wait_for};
use serde_json::Value;
use trainyard_client::{
    keys::{Backend, Keyring},
    rpc::Client,
};
use trainyard_proto::{
    address::Address,
    coin::DENOM,
    cosmos::bank::v1beta1::{QueryBalanceRequest, QueryBalanceResponse, QuerySupplyOfRequest, QuerySupplyOfResponse},
    job::{Job, QueryJobRequest, QueryJobResponse, QueryRoundRequest, QueryRoundResponse, Round},
    registry::{QueryNodeRequest, QueryNodeResponse},
};

/// Port of every trainerd, each on an address of its own.
const MESH_PORT: u16 = 27_100;
/// Longest wait for a network to come up.
const UP: Duration = Duration::from_secs(60);

/// What a network is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Folder of everything: homes, keys, logs.
    pub folder: PathBuf,
    /// Chain id.
    pub chain_id: String,
    /// First loopback address; validators, then trainers, take those that follow.
    pub base: Ipv4Addr,
    /// Validators.
    pub validators: u8,
    /// Time between blocks, ms.
    pub block_ms: u64,
    /// Blocks of an epoch.
    pub epoch_blocks: u64,
    /// Accounts of clients: name and utrain.
    pub clients: Vec<(String, u64)>,
    /// Workers: name and utrain.
    pub workers: Vec<(String, u64)>,
    /// Evaluators: name and utrain.
    pub evaluators: Vec<(String, u64)>,
    /// Changes the genesis before anybody starts from it.
    pub genesis: fn(&mut Value),
}

impl Plan {
    /// One validator, three workers, two evaluators and a client named `alice`, on addresses no other test of this machine uses.
    pub fn small(folder: &Path) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let train = 1_000_000;
        let process = u8::try_from(std::process::id() % 200).unwrap_or(0);
        let third = NEXT.fetch_add(1, Ordering::Relaxed);
        let named = |names: &[&str], each: u64| names.iter().map(|n| ((*n).to_string(), each * train)).collect();
        Self {
            folder: folder.to_path_buf(),
            chain_id: "trainyard-e2e".into(),
            base: Ipv4Addr::new(127, 30 + process, third, 1),
            validators: 1,
            block_ms: 200,
            epoch_blocks: 25,
            clients: named(&["alice"], 5000),
            workers: named(&["worker1", "worker2", "worker3"], 2000),
            evaluators: named(&["eval1", "eval2"], 2000),
            genesis: |_| {},
        }
    }
}

/// A running network. Dropping it stops every process.
pub struct Network {
    plan: Plan,
    keys: PathBuf,
    client: Client,
    bootstrap: String,
    trainers: BTreeMap<String, Process>,
    validators: Vec<Process>,
}

impl Network {
    /// Makes the homes and starts the validators.
    pub async fn start(plan: Plan) -> Result<Self> {
        std::fs::create_dir_all(&plan.folder)?;
        let dir = plan.folder.join("net");
        let mut args: Vec<String> = ["testnet", "--dir"].map(String::from).to_vec();
        args.push(dir.display().to_string());
        for (name, value) in [
            ("--validators", plan.validators.to_string()),
            ("--chain-id", plan.chain_id.clone()),
            ("--block-time", format!("{}ms", plan.block_ms)),
            ("--epoch-blocks", plan.epoch_blocks.to_string()),
            ("--base-ip", plan.base.to_string()),
        ] {
            args.extend([name.into(), value]);
        }
        for (name, amount) in plan.clients.iter().chain(&plan.workers).chain(&plan.evaluators) {
            args.extend(["--account".into(), format!("{name}={amount}utrain")]);
        }
        run("trainyard", &args)?;
        let mut validators = Vec::new();
        for number in 0..plan.validators {
            let home = dir.join(format!("node{number}"));
            let genesis = home.join("config/genesis.json");
            let mut document: Value = serde_json::from_str(&std::fs::read_to_string(&genesis)?)?;
            (plan.genesis)(&mut document);
            std::fs::write(&genesis, serde_json::to_string_pretty(&document)?)?;
            let log = plan.folder.join(format!("node{number}.log"));
            let args = ["start".into(), "--home".into(), home.display().to_string()];
            validators.push(Process::start("trainyard", &args, &log)?);
        }
        let client = Client::new(&format!("http://{}:26657", plan.base))?;
        let network = Self {
            keys: dir.join("keys"),
            client,
            bootstrap: String::new(),
            trainers: BTreeMap::new(),
            validators,
            plan,
        };
        let mut network = network;
        wait_for("the first blocks", UP, async || {
            for validator in &mut network.validators {
                validator.check()?;
            }
            Ok((network.client.status().await?.sync_info.latest_block_height.value() >= 2).then_some(()))
        })
        .await?;
        Ok(network)
    }

    /// Starts all workers and evaluators of the plan and waits until they are registered.
    pub async fn start_trainers(&mut self) -> Result<()> {
        let names: Vec<String> = self
            .plan
            .workers
            .iter()
            .chain(&self.plan.evaluators)
            .map(|(name, _)| name.clone())
            .collect();
        for name in &names {
            self.start_trainer(name, &[])?;
        }
        for name in &names {
            let owner = self.address(name)?.to_string();
            wait_for(&format!("the registration of {name}"), UP, async || {
                self.trainers.get_mut(name).ok_or_eyre("not started")?.check()?;
                let request = QueryNodeRequest { owner: owner.clone() };
                let path = "/trainyard.registry.v1.Query/Node";
                Ok(Some(self.client.query::<_, QueryNodeResponse>(path, &request).await?))
            })
            .await?;
        }
        Ok(())
    }

    /// Replaces parts of a trainer's `config.toml`, which it reads at its next start.
    pub fn configure(&mut self, name: &str, changes: &[(&str, &str)]) -> Result<()> {
        self.init_trainer(name)?;
        let path = self.plan.folder.join(name).join("config.toml");
        let mut text = std::fs::read_to_string(&path)?;
        for (from, to) in changes {
            ensure!(text.contains(from), "{from:?} is not in {text}");
            text = text.replace(from, to);
        }
        Ok(std::fs::write(path, text)?)
    }

    /// Starts, or starts again, the trainerd of an account.
    pub fn start_trainer(&mut self, name: &str, extra: &[&str]) -> Result<()> {
        self.init_trainer(name)?;
        let home = self.plan.folder.join(name);
        let mut args = vec![
            "--home".to_string(),
            home.display().to_string(),
            "--json".into(),
            "start".into(),
        ];
        args.extend(extra.iter().map(ToString::to_string));
        let log = self.plan.folder.join(format!("{name}.log"));
        self.trainers
            .insert(name.into(), Process::start("trainerd", &args, &log)?);
        Ok(())
    }

    /// Makes the home of a trainer, where there is none yet.
    fn init_trainer(&mut self, name: &str) -> Result<()> {
        let home = self.plan.folder.join(name);
        let place = self
            .plan
            .workers
            .iter()
            .chain(&self.plan.evaluators)
            .position(|(n, _)| n == name);
        let place = u8::try_from(place.ok_or_eyre("no such trainer in the plan")?)?;
        let octets = self.plan.base.octets();
        let address = Ipv4Addr::new(
            octets[0],
            octets[1],
            octets[2],
            octets[3] + self.plan.validators + place,
        );
        let role = if self.plan.workers.iter().any(|(n, _)| n == name) {
            "worker"
        } else {
            "evaluator"
        };
        if !home.join("config.toml").exists() {
            let mut args: Vec<String> = Vec::new();
            for (flag, value) in [
                ("--home", home.display().to_string()),
                ("init", String::new()),
                ("--node", self.rpc()),
                ("--chain-id", self.plan.chain_id.clone()),
                ("--key", name.to_string()),
                ("--keyring-backend", "test".into()),
                ("--keyring-home", self.keys.display().to_string()),
                ("--role", role.into()),
                ("--moniker", name.to_string()),
                ("--listen", format!("/ip4/{address}/tcp/{MESH_PORT}")),
                ("--threads", "1".into()),
            ] {
                args.push(flag.into());
                if !value.is_empty() {
                    args.push(value);
                }
            }
            if !self.bootstrap.is_empty() {
                args.extend(["--bootstrap".into(), self.bootstrap.clone()]);
            }
            let shown = run("trainerd", &args)?;
            let peer = shown
                .lines()
                .find_map(|l| l.strip_prefix("peer id"))
                .ok_or_eyre("trainerd showed no peer id")?;
            if self.bootstrap.is_empty() {
                self.bootstrap = format!("/ip4/{address}/tcp/{MESH_PORT}/p2p/{}", peer.trim());
            }
        }
        Ok(())
    }

    /// The process of a trainer.
    pub fn trainer(&mut self, name: &str) -> Result<&mut Process> {
        self.trainers.get_mut(name).ok_or_eyre("no such trainer")
    }

    /// Takes a trainer out, to stop or kill it.
    pub fn take_trainer(&mut self, name: &str) -> Result<Process> {
        self.trainers.remove(name).ok_or_eyre("no such trainer")
    }

    /// RPC address of the first validator.
    pub fn rpc(&self) -> String {
        format!("http://{}:26657", self.plan.base)
    }

    /// Address of a mesh peer to join through.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A client of the first validator.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Address of an account of the plan, or of `validator<n>`.
    pub fn address(&self, name: &str) -> Result<Address> {
        Ok(Keyring::open(&self.keys, Backend::Test, None).show(name)?.address)
    }

    /// Home of a client: keyring, packed data, peer key.
    pub fn client_home(&self, name: &str) -> Result<PathBuf> {
        let home = self.plan.folder.join(name);
        if !home.exists() {
            std::fs::create_dir_all(&home)?;
            let key = Keyring::open(&self.keys, Backend::Test, None).get(name)?;
            Keyring::open(&home, Backend::Test, None).add(name, &key)?;
        }
        Ok(home)
    }

    /// Arguments that every command of a client needs.
    pub fn client_args(&self, name: &str) -> Result<Vec<String>> {
        let home = self.client_home(name)?.display().to_string();
        Ok(["--home", &home, "--node", &self.rpc(), "--keyring-backend", "test"]
            .map(String::from)
            .to_vec())
    }

    /// Runs a command of a client and gives its JSON.
    pub fn command(&self, name: &str, args: &[&str]) -> Result<Value> {
        let mut all: Vec<String> = args.iter().map(ToString::to_string).collect();
        all.extend(self.client_args(name)?);
        all.extend(["--output".into(), "json".into()]);
        let text = run("trainyard", &all)?;
        serde_json::from_str(text.trim()).wrap_err_with(|| format!("{args:?} printed {text:?}"))
    }

    /// Runs `trainerd audit` on a job of a client, and gives what it prints.
    ///
    /// # Errors
    /// What the audit found to differ.
    pub fn audit(&self, client: &str, job_id: u64, machine: &[&str]) -> Result<String> {
        let mut args: Vec<String> = Vec::new();
        for (flag, value) in [
            ("--home", self.plan.folder.join("auditor").display().to_string()),
            ("audit", String::new()),
            ("--job", job_id.to_string()),
            ("--vault", self.client_home(client)?.display().to_string()),
            ("--node", self.rpc()),
            ("--chain-id", self.plan.chain_id.clone()),
            ("--listen", format!("/ip4/{}/tcp/0", self.plan.base)),
            ("--bootstrap", self.bootstrap.clone()),
        ] {
            args.push(flag.into());
            if !value.is_empty() {
                args.push(value);
            }
        }
        args.extend(machine.iter().map(ToString::to_string));
        run("trainerd", &args)
    }

    /// Starts a command of a client that runs for a while; its output goes to `<folder>/<log>.log`.
    pub fn command_in_background(&self, name: &str, args: &[&str], log: &str) -> Result<Process> {
        let mut all: Vec<String> = args.iter().map(ToString::to_string).collect();
        all.extend(self.client_args(name)?);
        Process::start("trainyard", &all, &self.plan.folder.join(format!("{log}.log")))
    }

    /// A job.
    pub async fn job(&self, job_id: u64) -> Result<Job> {
        let answer: QueryJobResponse = self
            .client
            .query("/trainyard.job.v1.Query/Job", &QueryJobRequest { job_id })
            .await?;
        answer.job.ok_or_eyre("no job")
    }

    /// A round of a job.
    pub async fn round(&self, job_id: u64, round: u32) -> Result<Round> {
        let request = QueryRoundRequest { job_id, round };
        let answer: QueryRoundResponse = self.client.query("/trainyard.job.v1.Query/Round", &request).await?;
        answer.round.ok_or_eyre("no round")
    }

    /// Waits until a job is as `condition` wants it.
    pub async fn job_until(
        &self,
        job_id: u64,
        what: &str,
        limit: Duration,
        condition: impl Fn(&Job) -> bool,
    ) -> Result<Job> {
        wait_for(what, limit, async || {
            Ok(Some(self.job(job_id).await?).filter(&condition))
        })
        .await
    }

    /// The node that an account of the plan runs.
    pub async fn node(&self, name: &str) -> Result<QueryNodeResponse> {
        let owner = self.address(name)?.to_string();
        let path = "/trainyard.registry.v1.Query/Node";
        Ok(self.client.query(path, &QueryNodeRequest { owner }).await?)
    }

    /// utrain of an address.
    pub async fn balance(&self, address: &Address) -> Result<u64> {
        let request = QueryBalanceRequest {
            address: address.to_string(),
            denom: DENOM.into(),
        };
        let answer: QueryBalanceResponse = self
            .client
            .query("/cosmos.bank.v1beta1.Query/Balance", &request)
            .await?;
        Ok(answer.balance.ok_or_eyre("no balance")?.amount.parse()?)
    }

    /// utrain in existence.
    pub async fn supply(&self) -> Result<u64> {
        let request = QuerySupplyOfRequest { denom: DENOM.into() };
        let answer: QuerySupplyOfResponse = self
            .client
            .query("/cosmos.bank.v1beta1.Query/SupplyOf", &request)
            .await?;
        Ok(answer.amount.ok_or_eyre("no supply")?.amount.parse()?)
    }

    /// Height of the first validator.
    pub async fn height(&self) -> Result<u64> {
        Ok(self.client.status().await?.sync_info.latest_block_height.value())
    }

    /// Waits for a height.
    pub async fn until_height(&self, height: u64) -> Result<()> {
        let limit = Duration::from_secs(60);
        wait_for(&format!("height {height}"), limit, async || {
            Ok((self.height().await? >= height).then_some(()))
        })
        .await
    }

    /// Fails when a process that should run has ended.
    pub fn check(&mut self) -> Result<()> {
        for process in self.validators.iter_mut().chain(self.trainers.values_mut()) {
            process.check()?;
        }
        Ok(())
    }

    /// Stops everything: trainers first, then validators; a validator that ends with an error is named.
    pub fn stop(mut self) -> Result<()> {
        for (_, trainer) in std::mem::take(&mut self.trainers) {
            trainer.stop()?;
        }
        for (number, validator) in std::mem::take(&mut self.validators).into_iter().enumerate() {
            let status = validator.stop()?;
            ensure!(status.success(), "validator {number} ended with {status}");
        }
        Ok(())
    }
}

/// The cache folder that the scripts share.
pub fn cache() -> Result<PathBuf> {
    Ok(match std::env::var_os("TRAINYARD_CACHE") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").ok_or_eyre("HOME is not set")?).join(".cache/trainyard"),
    })
}

/// Folder of MNIST's IDX files, which `scripts/setup` puts into the cache.
pub fn mnist() -> Result<PathBuf> {
    let folder = cache()?.join("mnist");
    if !folder.join("train-images-idx3-ubyte").is_file() {
        bail!("MNIST is not in {}; `scripts/setup` puts it there", folder.display());
    }
    Ok(folder)
}
