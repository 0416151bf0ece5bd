//! The chain under a crowd, block by block.

use std::time::Instant;

use trainyard_app::testing::{Chain, Outcome, TRAIN, VALIDATOR, VALIDATOR_STAKE, address, consensus_key};
use trainyard_modules::{
    context::Block,
    gas::Gas,
    governed::authority,
    machine::{self, Genesis, ante::Tx},
    state::{Empty, State},
    upgrade,
};
use trainyard_proto::{
    any::{self, Any},
    coin::MAX_SUPPLY,
    cosmos::{authz::v1beta1::MsgExec, gov::v1::MsgSubmitProposal},
    prost::Message,
};

use crate::{
    actions::{self, ACTIONS, GOVERNANCE, Operation},
    audit::audit,
    random::Random,
    tally::Tally,
    view::View,
};

/// Everybody. Any of them can become anything.
pub(crate) const ACTORS: [&str; 17] = [
    "client", "other", "w1", "w2", "w3", "w4", "w5", "e1", "e2", "e3", "e4", "e5", "x", "y", "z", SHARED, VALIDATOR,
];
/// An account of three keys, two of which sign.
pub(crate) const SHARED: &str = "x+y+z";
/// Blocks that two chains take after an export.
const BLOCKS_AFTER: u64 = 30;
/// Operations between two lines of progress.
const PROGRESS: u64 = 5_000;

/// How much is done, and how often what is costly is checked.
pub(crate) struct Plan {
    operations: u64,
    /// Most transactions of a block.
    crowd: u64,
    /// Blocks from one check of the invariants to the next.
    invariants: u64,
    /// Blocks from one audit of the exported state, and its import, to the next.
    audit: u64,
}

impl Plan {
    /// Some seconds.
    pub(crate) fn small() -> Self {
        Self {
            operations: 2_000,
            crowd: 24,
            invariants: 5,
            audit: 50,
        }
    }

    pub(crate) fn large(operations: u64) -> Self {
        Self {
            operations,
            crowd: 40,
            invariants: 10,
            audit: 100,
        }
    }
}

pub(crate) struct World {
    pub(crate) chain: Chain,
    pub(crate) random: Random,
    pub(crate) view: View,
    pub(crate) tally: Tally,
    /// What everybody began with, utrain.
    pub(crate) cash: u64,
    seed: u64,
    operations: u64,
    crowd: u64,
    audit_every: u64,
    began: Instant,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (operations, seed, height) = (self.operations, self.seed, self.chain.height());
            eprintln!("failed after height {height}; repeat it with: scripts/simulate {operations} {seed}");
        }
    }
}

/// Windows short enough for everything to happen, and by the seed: ordinary money, or nearly all there can be.
fn start(seed: u64, cash: u64, invariants: u64) -> Chain {
    let mut random = Random(seed ^ 0x5eed);
    let builder = Chain::builder()
        .fund_all(ACTORS.into_iter().filter(|name| *name != VALIDATOR), cash)
        .validator(VALIDATOR, VALIDATOR_STAKE)
        .restart_every(50)
        .check_every(invariants)
        .epoch_blocks(5 + random.below(20));
    let builder = builder.genesis(|genesis| {
        let time = &mut genesis.staking.params.unbonding_time;
        time.as_mut().unwrap().seconds = 30;
        genesis.registry.params.unbonding_blocks = 20;
        genesis.registry.params.jail_blocks = 10;
        genesis.registry.params.capability_epochs = 5;
        (genesis.job.params.commit_blocks, genesis.job.params.reveal_blocks) = (6, 6);
        genesis.slashing.params.signed_blocks_window = 12;
        genesis.slashing.params.downtime_jail_seconds = 20;
        actions::gov::short_votes(&mut genesis.gov.params);
    });
    builder.build()
}

impl World {
    pub(crate) fn new(seed: u64, plan: &Plan) -> Self {
        let actors = ACTORS.len() as u64;
        let cash = if seed.is_multiple_of(4) {
            MAX_SUPPLY / (actors + 8)
        } else {
            1_000_000 * TRAIN
        };
        Self {
            chain: start(seed, cash, plan.invariants),
            random: Random(seed),
            view: View::default(),
            tally: Tally::default(),
            cash,
            seed,
            operations: plan.operations,
            crowd: plan.crowd,
            audit_every: plan.audit,
            began: Instant::now(),
        }
    }

    pub(crate) fn anyone(&mut self) -> &'static str {
        self.random.pick(&ACTORS)
    }

    /// One of `right`, now and then somebody else; nobody when there are none.
    pub(crate) fn one_of(&mut self, right: &[&'static str]) -> Option<&'static str> {
        let one = *self.random.choose(right)?;
        Some(if self.random.percent(4) { self.anyone() } else { one })
    }

    pub(crate) fn amount(&mut self) -> u64 {
        let cash = self.cash;
        self.random.amount(cash)
    }

    /// Blocks until enough was tried.
    pub(crate) fn run(&mut self) {
        let mut told = 0;
        while self.tally.operations() < self.operations {
            let txs = self.transactions();
            self.block(txs);
            if self.chain.height().is_multiple_of(self.audit_every) {
                self.check();
            }
            if self.tally.operations() / PROGRESS > told {
                told = self.tally.operations() / PROGRESS;
                self.tell();
            }
        }
        self.check();
        self.tell();
    }

    #[allow(clippy::cast_precision_loss)]
    fn tell(&self) {
        let (operations, seconds) = (self.tally.operations(), self.began.elapsed().as_secs_f64());
        println!(
            "seed {}: {operations} operations, height {}, {:.0} operations/s",
            self.seed,
            self.chain.height(),
            operations as f64 / seconds
        );
    }

    fn transactions(&mut self) -> Vec<Vec<u8>> {
        self.view = View::of(&self.chain);
        let mut txs = Vec::new();
        for _ in 0..self.random.below(self.crowd + 1) {
            let (signer, message) = self.operation();
            txs.push(self.transaction(signer, message));
        }
        txs
    }

    /// Time passes, validators come and go, and now and then one votes twice.
    fn block(&mut self, txs: Vec<Vec<u8>>) {
        if self.random.percent(10) {
            self.chain.pass_time(self.random.below(20));
        }
        if self.random.percent(10) {
            let (who, signs) = (self.anyone(), self.random.percent(70));
            self.chain.signs(who, signs);
        }
        let who = self.anyone();
        let votes = self.chain.validators().contains_key(consensus_key(who).as_slice());
        if votes && self.random.percent(2) {
            let height = self.chain.height().saturating_sub(self.random.below(20));
            self.chain.votes_twice(who, height);
        }
        let messages: Vec<Vec<String>> = txs.iter().map(|tx| urls(tx)).collect();
        for url in messages.iter().flatten() {
            self.tally.tried(url);
        }
        let outcomes = if self.random.percent(30) {
            self.chain.block_unchecked(txs)
        } else {
            self.chain.block(txs)
        };
        let events = self.chain.events().to_vec();
        for (urls, outcome) in messages.iter().zip(outcomes) {
            assert_ne!(outcome.codespace, "fatal", "seed {}: {outcome:?}", self.seed);
            self.count(urls, &outcome);
        }
        for url in carried_out(&events) {
            self.tally.succeeded(url);
        }
    }

    fn count(&mut self, urls: &[String], outcome: &Outcome) {
        if outcome.is_ok() {
            for url in carried_out(&outcome.events) {
                self.tally.succeeded(url);
            }
        } else if let [url] = urls {
            self.tally.refused(url, outcome);
        }
    }

    /// A message and who signs it. What only governance may send becomes a proposal.
    pub(crate) fn operation(&mut self) -> Operation {
        let (signer, message) = loop {
            let all: u64 = ACTIONS.iter().map(|action| action.weight).sum();
            let mut ticket = self.random.below(all);
            let action = ACTIONS.iter().find(|action| {
                let hit = ticket < action.weight;
                ticket = ticket.saturating_sub(action.weight);
                hit
            });
            if let Some(made) = action.and_then(|action| (action.make)(self)) {
                break made;
            }
        };
        if signer == GOVERNANCE && self.random.percent(95) {
            let proposer = self.anyone();
            return (
                proposer,
                any::pack(&actions::gov::propose(self, proposer, vec![message])),
            );
        }
        // Nobody has governance's key.
        (if signer == GOVERNANCE { self.anyone() } else { signer }, message)
    }

    /// A transaction, now and then a wrong one.
    fn transaction(&mut self, signer: &'static str, message: Any) -> Vec<u8> {
        let payer = self.view.allowances.iter().find(|(_, grantee)| *grantee == signer);
        if let Some((granter, _)) = payer.copied().filter(|_| self.random.percent(50)) {
            let mut craft = self.chain.craft(signer, vec![message]);
            craft.draft.fee_granter = Some(address(granter));
            return craft.sign();
        }
        if self.random.percent(95) {
            return self.chain.tx(signer, vec![message]);
        }
        let other = self.anyone();
        let (_, second) = self.operation();
        let amount = self.amount();
        let craft = self.chain.craft(signer, vec![message.clone()]);
        let mut tx = match self.random.below(8) {
            0 => craft.sequence_offset(1),
            1 => craft.chain_id("elsewhere-1"),
            2 => craft.signed_by(other),
            3 => craft.gas(self.random.below(60_000)),
            4 => craft.fee(amount),
            5 => self.chain.craft(signer, vec![message, second]),
            _ => self.chain.craft(signer, vec![message.clone(), message]),
        }
        .sign();
        if self.random.percent(30) {
            let at = self.random.below(tx.len() as u64);
            tx[usize::try_from(at).unwrap()] ^= self.random.next().to_le_bytes()[0];
        }
        tx
    }

    /// The state as an export has it adds up, and a chain that starts from it has the same state to the byte.
    fn check(&mut self) {
        // More can be due at one time than one block ends.
        self.chain.skip(2);
        let exported = self.chain.export();
        audit(&exported, self.chain.height(), self.chain.time());
        let text = serde_json::to_string(&exported).unwrap();
        let read: Genesis = serde_json::from_str(&text).unwrap();
        assert_eq!(read, exported);
        let block = Block {
            chain_id: self.chain.chain_id().into(),
            height: self.chain.height(),
            time: self.chain.time(),
            proposer: Vec::new(),
            hash: Vec::new(),
        };
        let mut state = State::new(&Empty, Gas::unlimited());
        machine::init_genesis(&mut state, &block, &read, &upgrade::THIS, &mut Vec::new())
            .expect("what was exported can be imported");
        let mut imported = state
            .into_changes()
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        for pair in self.chain.app().store().snapshot().range(b"", None, false).unwrap() {
            let (key, value) = pair.unwrap();
            let found = imported.next();
            let shown = |key: &[u8]| key.escape_ascii().to_string();
            let found_key = found.as_ref().map(|(key, _)| shown(key));
            assert_eq!(
                found_key,
                Some(shown(&key)),
                "seed {}: an import changes the keys",
                self.seed
            );
            assert_eq!(
                found,
                Some((key.clone(), value)),
                "seed {}: an import changes {}",
                self.seed,
                shown(&key)
            );
        }
        assert_eq!(imported.next(), None, "seed {}: an import adds a key", self.seed);
    }

    /// A chain that starts from the export goes on as this one does, with the same transactions, to the same app hash.
    pub(crate) fn go_on_twice(&mut self) {
        // The twin's first block brings the commit of a full set.
        ACTORS.into_iter().for_each(|name| self.chain.signs(name, true));
        self.chain.skip(1);
        let chain = &mut self.chain;
        let mut twin = Chain::from_genesis(chain.chain_id(), &chain.export(), chain.height() + 1, chain.time());
        for turn in 0..BLOCKS_AFTER {
            // The twin is asked nothing before its first block.
            let txs = if turn == 0 { Vec::new() } else { self.transactions() };
            let one = self.chain.block_unchecked(txs.clone());
            let other = twin.block_unchecked(txs);
            assert_eq!(one, other, "seed {}: the twin answers differently", self.seed);
            assert_eq!(
                twin.app_hash(),
                self.chain.app_hash(),
                "seed {}: turn {turn}",
                self.seed
            );
        }
    }
}

/// The messages that a transaction brings, those in others included.
fn urls(tx: &[u8]) -> Vec<String> {
    let Ok(tx) = Tx::decode(tx) else { return Vec::new() };
    let mut urls = Vec::new();
    for message in tx.messages() {
        urls.push(message.type_url.clone());
        let inner = if message.type_url == any::type_url::<MsgExec>() {
            MsgExec::decode(message.value.as_slice()).unwrap().msgs
        } else if message.type_url == any::type_url::<MsgSubmitProposal>() {
            MsgSubmitProposal::decode(message.value.as_slice()).unwrap().messages
        } else {
            Vec::new()
        };
        urls.extend(inner.into_iter().map(|message| message.type_url));
    }
    urls
}

/// Type URLs of the messages that events say were carried out.
fn carried_out(events: &[trainyard_proto::tendermint_proto::v0_38::abci::Event]) -> impl Iterator<Item = &str> {
    let actions = events.iter().filter(|event| event.r#type == "message");
    let actions = actions
        .flat_map(|event| &event.attributes)
        .filter(|a| a.key == "action");
    actions.map(|attribute| attribute.value.as_str())
}

/// Governance's account as text.
pub(crate) fn governance() -> String {
    authority().to_string()
}
