//! A chain over a map. After every block all invariants hold and the supply is what it was, less what was burned.

use std::collections::BTreeMap;

use secp256k1::{Message as Digest32, SECP256K1, SecretKey};
use sha2::{Digest, Sha256};
use trainyard_modules::{
    bank::{self, Balance},
    context::{Block, Ctx, Event},
    error::Error,
    gas::Gas,
    machine::{self, Genesis, Mode, TxResult, ante::Direct},
    slashing::LastCommit,
    state::{Empty, Pairs, Reader, State},
    upgrade::{self, Binary},
};
use trainyard_proto::{
    address::Address,
    any::{self, Any},
    coin,
    cosmos::{
        crypto::{ed25519, secp256k1 as wire},
        staking::v1beta1::{Description, MsgCreateValidator, MsgDelegate},
        tx::{
            signing::v1beta1::SignMode,
            v1beta1::{AuthInfo, Fee, ModeInfo, SignDoc, SignerInfo, TxBody, TxRaw, mode_info},
        },
    },
    prost::{Message, Name},
};

pub(crate) const TRAIN: u64 = coin::UTRAIN_PER_TRAIN;
/// What everybody starts with, utrain.
pub(crate) const CASH: u64 = 10_000 * TRAIN;
/// What a transaction pays, utrain.
pub(crate) const FEE: u64 = 1_000;
const GAS: u64 = 10_000_000;

/// The committed state.
#[derive(Default)]
struct Committed(BTreeMap<Vec<u8>, Vec<u8>>);

impl Reader for Committed {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(key).cloned())
    }

    fn range(&self, start: &[u8], end: Option<&[u8]>, reverse: bool) -> Result<Pairs<'_>, Error> {
        let end = end.map(<[u8]>::to_vec);
        let inside = self.0.range(start.to_vec()..);
        let inside = inside.take_while(move |(key, _)| end.as_ref().is_none_or(|end| *key < end));
        let pairs: Vec<_> = inside.map(|(k, v)| Ok((k.clone(), v.clone()))).collect();
        Ok(if reverse {
            Box::new(pairs.into_iter().rev())
        } else {
            Box::new(pairs.into_iter())
        })
    }
}

pub(crate) struct Yard {
    committed: Committed,
    pub(crate) block: Block,
    /// Events of the last block outside of its transactions.
    pub(crate) events: Vec<Event>,
    supply: u64,
    /// The program that runs.
    pub(crate) binary: &'static Binary,
}

pub(crate) fn secret(name: &str) -> SecretKey {
    SecretKey::from_byte_array(&Sha256::digest(format!("yard/{name}")).into()).unwrap()
}

pub(crate) fn public(name: &str) -> [u8; 33] {
    secret(name).public_key(SECP256K1).serialize()
}

pub(crate) fn address(name: &str) -> Address {
    Address::from_public_key(&public(name))
}

pub(crate) fn public_any(name: &str) -> Any {
    any::pack(&wire::PubKey {
        key: public(name).to_vec(),
    })
}

pub(crate) fn sign_bytes(name: &str, bytes: &[u8]) -> Vec<u8> {
    let digest = Digest32::from_digest(Sha256::digest(bytes).into());
    SECP256K1
        .sign_ecdsa(&digest, &secret(name))
        .serialize_compact()
        .to_vec()
}

pub(crate) fn delegate(from: &str, to: &str, amount: u64) -> MsgDelegate {
    MsgDelegate {
        delegator_address: address(from).to_string(),
        validator_address: address(to).operator(),
        amount: Some(coin::utrain(amount)),
    }
}

#[allow(deprecated)] // The delegator's address is deprecated in the SDK's message, and left empty here.
fn create_validator(name: &str, stake: u64) -> MsgCreateValidator {
    let key = Sha256::digest(format!("yard/consensus/{name}")).to_vec();
    MsgCreateValidator {
        description: Some(Description {
            moniker: name.into(),
            ..Description::default()
        }),
        commission: None,
        min_self_delegation: "1".into(),
        delegator_address: String::new(),
        validator_address: address(name).operator(),
        pubkey: Some(Any {
            type_url: "/cosmos.crypto.ed25519.PubKey".into(),
            value: ed25519::PubKey { key }.encode_to_vec(),
        }),
        value: Some(coin::utrain(stake)),
    }
}

impl Yard {
    /// A chain with `names` of [`CASH`] each, of which those in `validators` are validators with their stakes.
    pub(crate) fn new(names: &[&str], validators: &[(&str, u64)], change: impl FnOnce(&mut Genesis)) -> Self {
        let mut genesis = Genesis::default();
        genesis.core.epoch_blocks = 5;
        let everyone = names.iter().chain(validators.iter().map(|(name, _)| name));
        genesis.bank.balances = everyone
            .map(|name| Balance {
                address: address(name).to_string(),
                amount: CASH,
            })
            .collect();
        change(&mut genesis);
        let block = Block {
            chain_id: "yard-1".into(),
            height: 0,
            time: 1_700_000_000,
            proposer: Vec::new(),
            hash: Vec::new(),
        };
        let mut yard = Self {
            committed: Committed::default(),
            block,
            events: Vec::new(),
            binary: &upgrade::THIS,
            supply: genesis.bank.balances.iter().map(|b| b.amount).sum(),
        };
        // The gentxs are signed for account numbers in the order of the balances.
        for (number, (name, stake)) in (names.len() as u64..).zip(validators) {
            let messages = vec![any::pack(&create_validator(name, *stake))];
            let tx = yard.sign(name, messages, number, 0, |_| ());
            use base64::{Engine, engine::general_purpose::STANDARD};
            genesis.genutil.gen_txs.push(STANDARD.encode(tx));
        }
        let mut state = State::new(&Empty, Gas::unlimited());
        machine::init_genesis(&mut state, &yard.block, &genesis, &upgrade::THIS, &mut Vec::new()).unwrap();
        yard.commit(state.into_changes());
        yard
    }

    /// What another module does in the last block, after its transactions.
    pub(crate) fn act<T>(&mut self, body: impl FnOnce(&mut Ctx<'_, '_>) -> Result<T, Error>) -> T {
        let mut state = State::new(&self.committed, Gas::unlimited());
        let mut events = Vec::new();
        let mut ctx = Ctx {
            state: &mut state,
            block: &self.block,
            events: &mut events,
        };
        let done = body(&mut ctx).unwrap();
        let changes = state.into_changes();
        self.note_burned(&events);
        self.commit(changes);
        self.events = events;
        self.read(machine::invariants);
        done
    }

    /// The supply falls by what was burned.
    fn note_burned<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>) {
        let burned = events
            .into_iter()
            .filter(|e| e.kind == "burn")
            .filter_map(|e| e.get("amount"));
        self.supply -= burned.map(|coin| coin::parse_human(&coin).unwrap()).sum::<u64>();
    }

    fn commit(&mut self, changes: trainyard_modules::state::Changes) {
        for (key, value) in changes {
            match value {
                Some(value) => self.committed.0.insert(key, value),
                None => self.committed.0.remove(&key),
            };
        }
    }

    /// Reads the committed state.
    pub(crate) fn read<T>(&self, body: impl FnOnce(&mut State<'_>) -> Result<T, Error>) -> T {
        self.try_read(body).unwrap()
    }

    pub(crate) fn try_read<T>(&self, body: impl FnOnce(&mut State<'_>) -> Result<T, Error>) -> Result<T, Error> {
        body(&mut State::new(&self.committed, Gas::unlimited()))
    }

    pub(crate) fn query<Q: Message, R: Message + Default>(&self, path: &str, request: &Q) -> Result<R, Error> {
        let bytes = self.try_read(|state| machine::query(state, &self.block, path, &request.encode_to_vec()))?;
        Ok(R::decode(bytes.as_slice()).unwrap())
    }

    pub(crate) fn balance(&self, of: Address) -> u64 {
        self.read(|state| bank::balance(state, &of))
    }

    /// What a module's account holds, utrain.
    pub(crate) fn held(&self, module: &str) -> u64 {
        self.balance(Address::of_module(module))
    }

    /// Account number and sequence.
    pub(crate) fn account(&self, of: Address) -> (u64, u64) {
        let account = self.read(|state| trainyard_modules::auth::ACCOUNTS.get(state, &of));
        account.map_or((0, 0), |a| (a.account_number, a.sequence))
    }

    /// What somebody would hold if transactions were free, utrain.
    pub(crate) fn worth(&self, name: &str) -> u64 {
        self.balance(address(name)) + self.account(address(name)).1 * FEE
    }

    fn sign(
        &self,
        signer: &str,
        messages: Vec<Any>,
        number: u64,
        sequence: u64,
        bend: impl FnOnce(&mut AuthInfo),
    ) -> Vec<u8> {
        let body = TxBody {
            messages,
            ..TxBody::default()
        };
        let mode = ModeInfo {
            sum: Some(mode_info::Sum::Single(mode_info::Single {
                mode: SignMode::Direct.into(),
            })),
        };
        #[allow(deprecated)]
        let mut auth = AuthInfo {
            signer_infos: vec![SignerInfo {
                public_key: Some(public_any(signer)),
                mode_info: Some(mode),
                sequence,
            }],
            fee: Some(Fee {
                amount: vec![coin::utrain(FEE)],
                gas_limit: GAS,
                ..Fee::default()
            }),
            tip: None,
        };
        bend(&mut auth);
        let doc = SignDoc {
            body_bytes: body.encode_to_vec(),
            auth_info_bytes: auth.encode_to_vec(),
            chain_id: self.block.chain_id.clone(),
            account_number: number,
        };
        let signature = sign_bytes(signer, &doc.encode_to_vec());
        TxRaw {
            body_bytes: doc.body_bytes,
            auth_info_bytes: doc.auth_info_bytes,
            signatures: vec![signature],
        }
        .encode_to_vec()
    }

    /// A signed transaction.
    pub(crate) fn tx(&self, signer: &str, messages: Vec<Any>) -> Vec<u8> {
        self.bent(signer, messages, |_| ())
    }

    /// A signed transaction whose fee and signer were changed before.
    pub(crate) fn bent(&self, signer: &str, messages: Vec<Any>, bend: impl FnOnce(&mut AuthInfo)) -> Vec<u8> {
        let (number, sequence) = self.account(address(signer));
        self.sign(signer, messages, number, sequence, bend)
    }

    /// The transaction with a second signature.
    pub(crate) fn cosigned(&self, tx: &[u8], signer: &str, number: u64) -> Vec<u8> {
        let mut raw = TxRaw::decode(tx).unwrap();
        let doc = SignDoc {
            body_bytes: raw.body_bytes.clone(),
            auth_info_bytes: raw.auth_info_bytes.clone(),
            chain_id: self.block.chain_id.clone(),
            account_number: number,
        };
        raw.signatures.push(sign_bytes(signer, &doc.encode_to_vec()));
        raw.encode_to_vec()
    }

    /// One block, a second after the last.
    pub(crate) fn block(&mut self, txs: &[Vec<u8>]) -> Vec<TxResult> {
        self.after(1, txs)
    }

    /// One block, `seconds` after the last.
    pub(crate) fn after(&mut self, seconds: u64, txs: &[Vec<u8>]) -> Vec<TxResult> {
        self.block.height += 1;
        self.block.time += seconds;
        self.block.hash = Sha256::digest(self.block.height.to_be_bytes()).to_vec();
        self.block.proposer = vec![1; 20];
        let mut state = State::new(&self.committed, Gas::unlimited());
        let mut events = Vec::new();
        machine::begin_block(
            &mut state,
            &self.block,
            &LastCommit::default(),
            self.binary,
            &mut events,
        )
        .unwrap();
        let run = |tx: &Vec<u8>| machine::run_tx(&mut state, &self.block, tx, Mode::Deliver, &Direct).unwrap();
        let results: Vec<TxResult> = txs.iter().map(run).collect();
        let gas = results.iter().filter(|r| r.paid).map(|r| r.gas_wanted).sum();
        machine::end_block(&mut state, &self.block, gas, &mut events).unwrap();
        let changes = state.into_changes();
        self.note_burned(results.iter().flat_map(|r| &r.events).chain(&events));
        self.commit(changes);
        self.events = events;
        self.read(machine::invariants);
        let supply = self.read(|state| bank::SUPPLY.get(state, &coin::DENOM.to_string()));
        assert_eq!(supply, Some(self.supply), "the supply at height {}", self.block.height);
        results
    }

    /// A block with one message.
    pub(crate) fn deliver<M: Message + Name>(&mut self, signer: &str, message: &M) -> TxResult {
        let tx = self.tx(signer, vec![any::pack(message)]);
        self.block(&[tx]).remove(0)
    }

    /// As [`Yard::deliver`], for what must succeed.
    pub(crate) fn ok<M: Message + Name>(&mut self, signer: &str, message: &M) -> TxResult {
        let result = self.deliver(signer, message);
        assert_eq!(result.error, None, "{} by {signer}", M::NAME);
        result
    }

    /// As [`Yard::deliver`], for what must fail with a codespace and code, saying `words`.
    pub(crate) fn refused<M: Message + Name>(&mut self, signer: &str, message: &M, failure: (&str, u32), words: &str) {
        let result = self.deliver(signer, message);
        let error = result.error.unwrap_or_else(|| panic!("{} by {signer} passed", M::NAME));
        assert_eq!((error.codespace, error.code), failure, "{error}");
        assert!(error.log.contains(words), "{:?} lacks {words:?}", error.log);
    }

    /// The value of an attribute of the last block's events.
    pub(crate) fn event(&self, kind: &str, key: &str) -> Option<String> {
        self.events.iter().filter(|e| e.kind == kind).find_map(|e| e.get(key))
    }

    /// The state as a genesis; a chain started from it has the same state, to the byte.
    pub(crate) fn export(&self) -> Genesis {
        let genesis = self.read(machine::export);
        let text = serde_json::to_string(&genesis).unwrap();
        let read: Genesis = serde_json::from_str(&text).unwrap();
        let mut state = State::new(&Empty, Gas::unlimited());
        machine::init_genesis(&mut state, &self.block, &read, &upgrade::THIS, &mut Vec::new()).unwrap();
        let again: BTreeMap<Vec<u8>, Option<Vec<u8>>> = state.into_changes();
        let again: BTreeMap<_, _> = again.into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
        for (key, value) in &self.committed.0 {
            let found = again.get(key);
            assert_eq!(found, Some(value), "{} after an import", key.escape_ascii());
        }
        assert_eq!(again.len(), self.committed.0.len(), "an import adds keys");
        genesis
    }
}
