//! Between the state machine's types and tendermint's.

use prost::Message;
use tendermint_proto::v0_38::{
    abci, crypto,
    types::{BlockIdFlag, Header},
};
use trainyard_modules::{
    context::{Block, Event, Texts},
    machine::TxResult,
    slashing::{Evidence, LastCommit, Vote},
    staking::Power,
};
use trainyard_proto::address::Address;

use super::Fatal;

/// A height or time from the wire; negative ones, which CometBFT never sends, become 0.
pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Who signed the last block and who voted twice; addresses that are none, which CometBFT never sends, are nobody's.
pub(super) fn last_commit(request: &abci::RequestFinalizeBlock) -> LastCommit {
    let known = |validator: &Option<abci::Validator>| {
        let validator = validator.as_ref()?;
        let address = <[u8; 20]>::try_from(validator.address.as_ref()).ok()?;
        Some((Address(address), unsigned(validator.power)))
    };
    let votes = request.decided_last_commit.iter().flat_map(|commit| &commit.votes);
    let votes = votes.filter_map(|vote| {
        let (validator, power) = known(&vote.validator)?;
        let signed = vote.block_id_flag != BlockIdFlag::Absent as i32;
        Some(Vote {
            validator,
            power,
            signed,
        })
    });
    let evidence = request.misbehavior.iter().filter_map(|found| {
        let (validator, power) = known(&found.validator)?;
        let height = unsigned(found.height);
        Some(Evidence {
            validator,
            power,
            height,
        })
    });
    LastCommit {
        votes: votes.collect(),
        evidence: evidence.collect(),
    }
}

pub(super) fn validator(power: &Power) -> abci::ValidatorUpdate {
    let key = crypto::public_key::Sum::Ed25519(power.key.clone());
    abci::ValidatorUpdate {
        pub_key: Some(crypto::PublicKey { sum: Some(key) }),
        power: signed(power.power),
    }
}

/// Only code, data and gas are part of the consensus; the rest is for people.
pub(super) fn tx_result(result: TxResult, texts: &mut Texts) -> abci::ExecTxResult {
    let (code, codespace, log) = failure(&result);
    abci::ExecTxResult {
        code,
        data: result.data.into(),
        log,
        info: String::new(),
        gas_wanted: signed(result.gas_wanted),
        gas_used: signed(result.gas_used),
        events: result.events.iter().map(|event| event.to_abci(texts)).collect(),
        codespace,
    }
}

/// Without events: CometBFT passes them on to nobody, and nothing has happened yet.
pub(super) fn check_response(result: &TxResult) -> abci::ResponseCheckTx {
    let (code, codespace, log) = failure(result);
    abci::ResponseCheckTx {
        code,
        log,
        gas_wanted: signed(result.gas_wanted),
        gas_used: signed(result.gas_used),
        codespace,
        ..abci::ResponseCheckTx::default()
    }
}

fn failure(result: &TxResult) -> (u32, String, String) {
    result
        .error
        .as_ref()
        .map_or_else(Default::default, |e| (e.code, e.codespace.to_string(), e.log.clone()))
}

/// The result of the header of useful work: it was checked in `ProcessProposal` and changes nothing by itself.
pub(super) fn header_result() -> abci::ExecTxResult {
    abci::ExecTxResult {
        events: vec![Event::new("pouw_header").to_abci(&mut Texts::default())],
        ..abci::ExecTxResult::default()
    }
}

/// The last block, as the store notes it: in the fields of a tendermint header, so that it is protobuf like all else.
pub(super) fn encode_block(block: &Block) -> Vec<u8> {
    Header {
        chain_id: block.chain_id.clone(),
        height: signed(block.height),
        time: Some(tendermint_proto::google::protobuf::Timestamp {
            seconds: signed(block.time),
            nanos: 0,
        }),
        proposer_address: block.proposer.clone(),
        data_hash: block.hash.clone(),
        ..Header::default()
    }
    .encode_to_vec()
}

pub(super) fn decode_block(note: &[u8]) -> Result<Block, Fatal> {
    let header = Header::decode(note)
        .map_err(|e| Fatal::Protocol(format!("the store's note about its last block is damaged: {e}")))?;
    Ok(Block {
        chain_id: header.chain_id,
        height: unsigned(header.height),
        time: header.time.map_or(0, |t| unsigned(t.seconds)),
        proposer: header.proposer_address,
        hash: header.data_hash,
    })
}
