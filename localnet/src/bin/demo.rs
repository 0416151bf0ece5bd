//! The walk-through: four validators, three workers and two evaluators train a CNN on encrypted MNIST for 1000 TRAIN, and
//! every figure is checked at the end. Run it with `scripts/demo`.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use clap::Parser;
use color_eyre::eyre::{OptionExt, Result, ensure, eyre};
use serde_json::Value;
use trainyard_localnet::{Network, Plan, binary, cache, mnist, run};
use trainyard_proto::{
    address::Address,
    coin::{UTRAIN_PER_TRAIN, show},
    job::{Job, JobState},
};

/// What the job may cost, TRAIN.
const BUDGET: u64 = 1000;
/// Who takes part.
const WORKERS: [&str; 3] = ["worker1", "worker2", "worker3"];
const EVALUATORS: [&str; 2] = ["eval1", "eval2"];
/// Rounds, steps of a round, samples of a step.
const ROUNDS: u32 = 5;
const STEPS: &str = "100";
const BATCH: &str = "64";
/// Accuracy that a trained model reaches and an untrained one cannot, parts per million.
const LEARNED_PPM: u32 = 970_000;

/// Trains a CNN on encrypted MNIST on a network of real processes and checks every figure.
#[derive(Parser)]
struct Options {
    /// Train on this engine: `libtorch`, or `exact`, whose every root is found again in the end
    #[arg(long, default_value = "libtorch", value_parser = ["libtorch", "exact"])]
    engine: String,
    /// Leave the network up afterwards, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Folder to leave graph and trained weights in [default: demo/ in the cache folder]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Folder of the network's files [default: a new temporary one]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("error: cannot start the runtime: {e}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(demo(options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("\nerror: {e:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(options: Options) -> Result<bool> {
    let results = options
        .out
        .clone()
        .map_or_else(|| Ok(cache()?.join("demo")), Ok::<_, color_eyre::Report>)?;
    let temporary = tempfile::Builder::new().prefix("trainyard-demo-").tempdir()?;
    let folder = options.dir.clone().unwrap_or_else(|| temporary.path().to_path_buf());
    ensure!(
        !folder.join("net").exists(),
        "{} holds a network already; name another folder",
        folder.display()
    );
    let started = Instant::now();
    // Ctrl-C must stop the processes, too: the network is dropped on the way out.
    let verdict = tokio::select! {
        verdict = walk(&folder, &results, &options, started) => verdict,
        _ = tokio::signal::ctrl_c() => Err(eyre!("interrupted")),
    };
    if !matches!(verdict, Ok(true)) && options.dir.is_none() {
        eprintln!("\nLogs are kept in {}.", temporary.keep().display());
    }
    verdict
}

async fn walk(folder: &Path, results: &Path, options: &Options, started: Instant) -> Result<bool> {
    let exact = options.engine == "exact";
    step(started, "Four validators, each with its own CometBFT");
    let train = UTRAIN_PER_TRAIN;
    let named = |names: &[&str], each: u64| names.iter().map(|n| ((*n).to_string(), each * train)).collect();
    let plan = Plan {
        folder: folder.to_path_buf(),
        chain_id: "trainyard-demo".into(),
        base: Ipv4Addr::new(127, 26, 0, 1),
        validators: 4,
        block_ms: 500,
        epoch_blocks: 20,
        clients: named(&["alice"], 5000),
        workers: named(&WORKERS, 2000),
        evaluators: named(&EVALUATORS, 2000),
        genesis: |_| {},
    };
    let mut network = Network::start(plan).await?;
    say(&format!(
        "chain {} makes blocks, RPC at {}",
        network.plan().chain_id,
        network.rpc()
    ));

    step(
        started,
        "Three workers and two evaluators register and lock their bonds",
    );
    network.start_trainers().await?;
    let names = Names::of(&network)?;
    for name in WORKERS.iter().chain(&EVALUATORS) {
        say(&format!("{name:<8} {}", network.address(name)?));
    }

    step(
        started,
        "Alice makes a model and packs her data, each split encrypted under a key of its own",
    );
    let home = network.client_home("alice")?;
    let model = home.join("cnn.onnx");
    let made = shown(
        &network,
        &["model", "new", "cnn", "--out", &model.display().to_string()],
    )?;
    say(&format!(
        "{} parameters, {} multiply-accumulates a sample",
        made["parameters"], made["macs_per_sample"]
    ));
    let files = mnist()?;
    let idx = |split: &str| {
        let file = |kind: &str| files.join(format!("{split}-{kind}-ubyte")).display().to_string();
        format!("idx:{},{}", file("images-idx3"), file("labels-idx1"))
    };
    let packed = shown(
        &network,
        &[
            "data",
            "pack",
            "mnist",
            "--train",
            &idx("train"),
            "--test",
            &idx("t10k"),
            "--encrypt",
        ],
    )?;
    for split in ["train", "test"] {
        let view = &packed[split];
        say(&format!(
            "{split:<5} {} samples in {} shards, {} bytes, encrypted: {}",
            view["samples"], view["shards"], view["bytes"], view["encrypted"]
        ));
    }

    let before = Money::of(&network).await?;
    step(
        started,
        "Alice posts the job: 1000 TRAIN in escrow; then everybody works",
    );
    let class = if exact { "exact" } else { "pinned" };
    let job_id = post(&network, &names, &model, &packed, class)?;
    let job = network.job(job_id).await?;
    network.check()?;

    step(started, "Alice fetches her model and scores it herself");
    let weights = home.join("model.safetensors");
    let fetched = shown(
        &network,
        &[
            "job",
            "fetch",
            &job_id.to_string(),
            "--out",
            &weights.display().to_string(),
            "--listen",
            "/ip4/127.26.0.100/tcp/0",
            "--bootstrap",
            network.bootstrap(),
        ],
    )?;
    say(&format!(
        "{} bytes in {} tensors, SHA-256 {}",
        fetched["bytes"],
        fetched["tensors"],
        text(&fetched["sha256"])
    ));
    let own = score(&model, &weights, &files, &options.engine)?;
    let reproduced = if exact {
        step(
            started,
            "Somebody else trains the whole job again, with other instructions and threads",
        );
        audit(&network, &names, &job).await?
    } else {
        true
    };

    // The epoch's end pays the fees to the validators.
    let epoch = network.plan().epoch_blocks;
    network.until_height((job.closed_at / epoch + 1) * epoch + 1).await?;
    let after = Money::of(&network).await?;
    let verdict = verdict(&network, &names, &job, &before, &after, &fetched, &own).await?;
    let seconds = started.elapsed().as_secs();
    std::fs::create_dir_all(results)?;
    for file in [&model, &weights] {
        std::fs::copy(file, results.join(file.file_name().ok_or_eyre("no name")?))?;
    }
    let verdict = verdict && reproduced;
    if verdict {
        println!(
            "\nVERDICT: every figure is right, after {seconds} s. Graph and weights are in {}.",
            results.display()
        );
    } else {
        println!("\nVERDICT: something is wrong, after {seconds} s; see the lines marked NO above.");
    }
    if options.keep {
        println!("\nThe network is up. Try, in another terminal:\n");
        let args = network.client_args("alice")?.join(" ");
        let trainyard = binary("trainyard")?;
        for command in [
            format!("job explain {job_id}"),
            format!("job explain {job_id} alice"),
            "status".into(),
            "query registry nodes".into(),
        ] {
            println!("  {} {command} {args}", trainyard.display());
        }
        println!("\nCtrl-C stops it.");
        tokio::signal::ctrl_c().await?;
    }
    network.stop()?;
    Ok(verdict)
}

fn step(started: Instant, what: &str) {
    println!("\n[{:>3} s] {what}", started.elapsed().as_secs());
}

fn say(line: &str) {
    println!("        {line}");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Runs a command of Alice's, showing it.
fn shown(network: &Network, args: &[&str]) -> Result<Value> {
    println!("      $ trainyard {}", args.join(" "));
    network.command("alice", args)
}

/// Names of addresses, so that people can follow.
struct Names(BTreeMap<String, String>);

impl Names {
    fn of(network: &Network) -> Result<Self> {
        let mut names = BTreeMap::new();
        for name in WORKERS.iter().chain(&EVALUATORS).chain(&["alice"]) {
            names.insert(network.address(name)?.to_string(), (*name).to_string());
        }
        names.insert(Address::of_module("treasury").to_string(), "treasury".into());
        Ok(Self(names))
    }

    fn name<'a>(&'a self, address: &'a str) -> &'a str {
        self.0.get(address).map_or(address, String::as_str)
    }
}

/// Posts the job and tells what happens until it ends; gives its number.
fn post(network: &Network, names: &Names, model: &Path, packed: &Value, class: &str) -> Result<u64> {
    let (train, test) = (
        text(&packed["train"]["manifest_cid"]),
        text(&packed["test"]["manifest_cid"]),
    );
    let (model, rounds, budget) = (
        model.display().to_string(),
        ROUNDS.to_string(),
        format!("{BUDGET}TRAIN"),
    );
    let args = [
        "job",
        "post",
        "--name",
        "mnist-cnn",
        "--model",
        &model,
        "--train",
        train,
        "--test",
        test,
        "--budget",
        &budget,
        "--workers",
        "3",
        "--evaluators",
        "2",
        "--rounds",
        &rounds,
        "--local-steps",
        STEPS,
        "--batch-size",
        BATCH,
        "--lr",
        "0.05",
        "--momentum",
        "0.9",
        "--verification",
        class,
        "--from",
        "alice",
        "--yes",
        "--watch",
        "--listen",
        "/ip4/127.26.0.100/tcp/27100",
        "--bootstrap",
        network.bootstrap(),
    ];
    println!("      $ trainyard {}", args.join(" "));
    let mut child = Command::new(binary("trainyard")?)
        .args(args)
        .args(network.client_args("alice")?)
        .args(["--output", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or_eyre("no output")?;
    let mut teller = Teller {
        names,
        progress: BTreeMap::new(),
        job: 0,
    };
    for line in BufReader::new(output).lines() {
        if let Ok(value) = serde_json::from_str::<Value>(&line?) {
            teller.tell(&value);
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "`trainyard job post` ended with {status}");
    Ok(teller.job)
}

/// Tells a person what the client's JSON lines say.
struct Teller<'a> {
    names: &'a Names,
    /// Steps done and loss, by worker, of the round under way.
    progress: BTreeMap<String, (u64, f64)>,
    job: u64,
}

impl Teller<'_> {
    fn tell(&mut self, value: &Value) {
        if let Some(job) = value["job"].as_u64() {
            self.job = job;
        }
        if let Some(progress) = value.get("progress") {
            self.progress(progress);
        } else if let Some(event) = value["event"].as_str() {
            self.event(value["height"].as_u64().unwrap_or(0), event, &value["attributes"]);
        }
    }

    /// One line whenever the slowest worker has passed another quarter of the round.
    fn progress(&mut self, progress: &Value) {
        let worker = self.names.name(text(&progress["worker"])).to_string();
        let (step, steps) = (
            progress["step"].as_u64().unwrap_or(0),
            progress["steps"].as_u64().unwrap_or(1).max(1),
        );
        let quarter = |done: u64| done * 4 / steps;
        let slowest = |all: &BTreeMap<String, (u64, f64)>| all.values().map(|(step, _)| *step).min().unwrap_or(0);
        let before = if self.progress.len() < WORKERS.len() {
            0
        } else {
            quarter(slowest(&self.progress))
        };
        self.progress
            .insert(worker, (step, progress["loss"].as_f64().unwrap_or(0.0)));
        let now = quarter(slowest(&self.progress));
        if self.progress.len() == WORKERS.len() && now > before {
            let parts: Vec<String> = self
                .progress
                .iter()
                .map(|(name, (step, loss))| format!("{name} {step:>3}/{steps} loss {loss:.3}"))
                .collect();
            let round = progress["round"].as_u64().unwrap_or(0) + 1;
            say(&format!("round {round}: {}", parts.join("   ")));
        }
    }

    fn event(&mut self, height: u64, event: &str, attributes: &Value) {
        let get = |name: &str| text(&attributes[name]);
        let who = |name: &str| self.names.name(get(name)).to_string();
        let round = get("round").parse::<u32>().map_or(0, |round| round + 1);
        let short = |hash: &str| hash.chars().take(12).collect::<String>();
        let line = match event {
            "job_joined" => format!("{} joins, stake {}", who("worker"), amount(get("stake"))),
            "job_evaluator_drawn" => format!("{} is drawn by lot as an evaluator", who("evaluator")),
            "job_keys_granted" => format!(
                "alice seals the {} key to {} recipients",
                get("split"),
                get("recipients")
            ),
            "job_trace_committed" => format!(
                "round {round}: {} commits its trace over {} samples",
                who("worker"),
                get("samples")
            ),
            "job_round_result" => format!(
                "round {round}: {} states the merged root {}…",
                who("worker"),
                short(get("end_root"))
            ),
            "job_round_closed" => {
                self.progress.clear();
                format!("round {round} closes: all agree on {}…", short(get("end_root")))
            }
            "job_worker_dropped" => format!("{} is dropped: {}", who("worker"), get("reason")),
            "job_submitted" => format!("the result is on IPFS: {}", get("model_cid")),
            "job_evaluation_committed" => format!("{} commits to its score, which nobody can copy", who("evaluator")),
            "job_evaluation_revealed" => format!("{} reveals {}", who("evaluator"), percent(get("score_ppm"))),
            "job_settled" => format!("settled at {}", percent(get("score_ppm"))),
            "job_failed" | "job_cancelled" => format!("{event}: {}", get("reason")),
            _ => return,
        };
        println!("{height:>6}  {line}");
    }
}

/// `1utrain` as `0.000001 TRAIN`.
fn amount(coin: &str) -> String {
    coin.strip_suffix("utrain")
        .and_then(|n| n.parse().ok())
        .map_or_else(|| coin.to_string(), show)
}

fn percent(ppm: &str) -> String {
    let ppm: u32 = ppm.parse().unwrap_or(0);
    format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100)
}

/// What `trainerd score` found: lines of name and value.
fn score(model: &Path, weights: &Path, files: &Path, engine: &str) -> Result<BTreeMap<String, String>> {
    let file = |name: &str| files.join(name).display().to_string();
    let args = [
        "score",
        "--model",
        &model.display().to_string(),
        "--weights",
        &weights.display().to_string(),
        "--images",
        &file("t10k-images-idx3-ubyte"),
        "--labels",
        &file("t10k-labels-idx1-ubyte"),
        "--engine",
        engine,
    ];
    println!("      $ trainerd {}", args.join(" "));
    let printed = run("trainerd", &args)?;
    let mut found = BTreeMap::new();
    for line in printed.lines() {
        say(line);
        if let Some((name, value)) = line.split_once("  ") {
            found.insert(name.trim().to_string(), value.trim().to_string());
        }
    }
    Ok(found)
}

/// Instructions other than the best of this CPU, which the workers use.
fn other_instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx512f") {
        return "avx2";
    }
    "scalar"
}

/// Trains the job again and shows the roots of every round side by side; `false` when one differs.
async fn audit(network: &Network, names: &Names, job: &Job) -> Result<bool> {
    let machine = ["--isa", other_instructions(), "--threads", "2"];
    println!("      $ trainerd audit --job {} {}", job.id, machine.join(" "));
    let printed = match network.audit("alice", job.id, &machine) {
        Ok(printed) => printed,
        Err(e) => {
            say(&format!("{e:#}"));
            return Ok(false);
        }
    };
    for line in printed.lines() {
        let (line, worker) = line
            .split_once("  train1")
            .map_or((line, String::new()), |(line, rest)| {
                let (address, rest) = rest.split_once(',').unwrap_or((rest, ""));
                (line, format!("  {},{rest}", names.name(&format!("train1{address}"))))
            });
        say(&format!("{line}{worker}"));
    }
    let mut found = printed.lines().filter_map(|line| line.strip_prefix("  merged    "));
    let head = WORKERS.iter().chain(&["re-executor"]);
    let head: Vec<String> = head.map(|name| format!("{name:<16}")).collect();
    println!(
        "\nThe root of the weights after each round:\n           {}",
        head.join("")
    );
    let mut same = true;
    for number in 0..ROUNDS {
        let round = network.round(job.id, number).await?;
        let vote = |worker: &&str| -> String {
            let vote = round.votes.iter().find(|v| names.name(&v.worker) == *worker);
            vote.map(|v| hex::encode(&v.end_root)).unwrap_or_default()
        };
        let mut roots: Vec<String> = WORKERS.iter().map(vote).collect();
        roots.push(found.next().unwrap_or_default().to_owned());
        let equal = roots.iter().all(|root| root.len() == 64 && *root == roots[0]);
        let cells: Vec<String> = roots
            .iter()
            .map(|root| format!("{:<16}", root.chars().take(14).collect::<String>()))
            .collect();
        println!(
            "  round {}  {}{}",
            number + 1,
            cells.join(""),
            if equal { "equal" } else { "NOT EQUAL" }
        );
        same &= equal;
    }
    Ok(same)
}

/// Who has what at one moment, utrain.
struct Money {
    accounts: BTreeMap<String, u64>,
    supply: u64,
}

impl Money {
    async fn of(network: &Network) -> Result<Self> {
        let mut accounts = BTreeMap::new();
        for name in WORKERS.iter().chain(&EVALUATORS).chain(&["alice"]) {
            accounts.insert((*name).to_string(), network.balance(&network.address(name)?).await?);
        }
        let mut validators = 0;
        for module in ["fee_collector", "distribution"] {
            validators += network.balance(&Address::of_module(module)).await?;
        }
        for number in 0..network.plan().validators {
            validators += network
                .balance(&network.address(&format!("validator{number}"))?)
                .await?;
        }
        accounts.insert("validators".into(), validators);
        for module in ["treasury", "job_escrow"] {
            accounts.insert(module.into(), network.balance(&Address::of_module(module)).await?);
        }
        Ok(Self {
            accounts,
            supply: network.supply().await?,
        })
    }

    fn get(&self, name: &str) -> u64 {
        self.accounts.get(name).copied().unwrap_or(0)
    }
}

/// Checks every figure and says so; `false` when one is wrong.
#[allow(clippy::too_many_arguments)]
async fn verdict(
    network: &Network,
    names: &Names,
    job: &Job,
    before: &Money,
    after: &Money,
    fetched: &Value,
    own: &BTreeMap<String, String>,
) -> Result<bool> {
    println!("\nThe settled ledger:");
    for payment in &job.payments {
        println!(
            "  {:>12}  {:<9}  {}",
            show(payment.amount),
            payment.reason,
            names.name(&payment.recipient)
        );
    }
    let mut checks = Checks(true);
    println!("\nChecked:");
    checks.check(job.state() == JobState::Settled, "the job has settled");
    let mut agreed = 0;
    for number in 0..ROUNDS {
        let round = network.round(job.id, number).await?;
        agreed += usize::from(round.votes.len() == 3 && round.votes.iter().all(|v| v.end_root == round.end_root));
    }
    checks.check(
        agreed == ROUNDS as usize,
        &format!("in {agreed} of {ROUNDS} rounds all three workers ended on the same root"),
    );
    let paid = |name: &str, reason: &str| {
        let paid = job
            .payments
            .iter()
            .filter(|p| names.name(&p.recipient) == name && p.reason == reason);
        paid.map(|p| p.amount).sum::<u64>()
    };
    for worker in WORKERS {
        let (pay, stake) = (paid(worker, "worker"), paid(worker, "stake"));
        checks.check(
            pay == 300 * UTRAIN_PER_TRAIN && stake == 900 * UTRAIN_PER_TRAIN,
            &format!("{worker} got {} and its stake of {} back", show(pay), show(stake)),
        );
    }
    for evaluator in EVALUATORS {
        let pay = paid(evaluator, "evaluator");
        checks.check(pay == 25 * UTRAIN_PER_TRAIN, &format!("{evaluator} got {}", show(pay)));
    }
    let treasury = after.get("treasury") - before.get("treasury");
    checks.check(
        treasury == 50 * UTRAIN_PER_TRAIN,
        &format!("the treasury got {}", show(treasury)),
    );
    checks.check(
        job.posting_fee == 10 * UTRAIN_PER_TRAIN,
        &format!("alice paid a posting fee of {}", show(job.posting_fee)),
    );
    checks.check(after.get("job_escrow") == 0, "nothing is left in escrow");
    // Everybody's balance moved by what the ledger says, less gas; the validators have the gas and the posting fee.
    let mut gas = before.get("alice") - (BUDGET * UTRAIN_PER_TRAIN + job.posting_fee) - after.get("alice");
    for (name, pay) in WORKERS.map(|w| (w, 300)).into_iter().chain(EVALUATORS.map(|e| (e, 25))) {
        gas += before.get(name) + pay * UTRAIN_PER_TRAIN - after.get(name);
    }
    let validators = after.get("validators") - before.get("validators");
    checks.check(
        validators == job.posting_fee + gas,
        &format!("the validators have the posting fee and {} of gas", show(gas)),
    );
    checks.check(
        before.supply == after.supply,
        &format!("the supply is {}, as before", show(after.supply)),
    );
    checks.check(
        text(&fetched["checked"]).contains("match the chain"),
        "the fetched model's CID, SHA-256, state root and two signatures match the chain",
    );
    let signed = fetched["signed_by"].as_array().map_or(0, Vec::len);
    checks.check(signed == 2, &format!("{signed} evaluators signed it"));
    let found = |name: &str| own.get(name).map_or("", String::as_str);
    checks.check(
        found("sha256") == text(&fetched["sha256"]),
        "the file scored here is the one that was signed",
    );
    let score = format!("{} ppm", job.score_ppm);
    checks.check(
        found("accuracy") == score,
        &format!("scored here: {}; on chain: {score}", found("accuracy")),
    );
    checks.check(
        job.score_ppm >= LEARNED_PPM,
        &format!("it has learned: {}", percent(&job.score_ppm.to_string())),
    );
    Ok(checks.0)
}

struct Checks(bool);

impl Checks {
    fn check(&mut self, right: bool, what: &str) {
        println!("  {:<3} {what}", if right { "yes" } else { "NO" });
        self.0 &= right;
    }
}
