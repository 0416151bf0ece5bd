//! Queries, raw keys, and blocks of other proposers.

use std::{cell::RefCell, time::Duration, time::Instant};

use tendermint_proto::v0_38::abci::response_process_proposal::ProposalStatus;
use trainyard_app::testing::{Chain, address, peer_id};
use trainyard_modules::{gas::Gas, machine, pouw, state::State};
use trainyard_proto::{cosmos::base::query::v1beta1::PageRequest, prost::Message};

use crate::{
    POPULATED,
    harness::{fuzz, fuzz_made},
    mutate::mutated,
};

/// What the node lets a query read, in gas.
const GAS: u64 = 300_000_000;
/// More than any answer to the crowd's questions needs, bytes.
const MAX_ANSWER: usize = 8 << 20;
/// Far more time than a query takes in the slowest build.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests that mean something to one path or another: fields 1 and 2 with an id, an account, an operator, a peer or a state,
/// a page in fields 2 to 4.
fn requests() -> Vec<Vec<u8>> {
    let text = |field: u8, text: &str| [vec![field << 3 | 2, u8::try_from(text.len()).unwrap()], text.into()].concat();
    let number = |field: u8, number: u8| vec![field << 3, number];
    let page = PageRequest {
        limit: 3,
        ..PageRequest::default()
    };
    let page = |field: u8| {
        let page = page.encode_to_vec();
        [vec![field << 3 | 2, u8::try_from(page.len()).unwrap()], page].concat()
    };
    let (account, other) = (address("w1").to_string(), address("client").to_string());
    let operator = address("validator").operator();
    let mut requests = vec![
        Vec::new(),
        [text(1, &account), text(2, &other)].concat(),
        [text(1, &account), text(2, &operator)].concat(),
        [text(1, &operator), text(2, &account)].concat(),
        [text(1, &other), text(2, "utrain")].concat(),
        [number(1, 1), text(2, &account)].concat(),
        [number(1, 3), number(2, 1), text(3, &account)].concat(),
        text(1, "utrain"),
        text(1, &peer_id("w1")),
    ];
    for field in 1..=4 {
        requests.push(page(field));
        requests.push([text(1, &account), page(field)].concat());
        requests.push([number(1, 2), page(field)].concat());
        requests.push([text(1, &operator), page(field)].concat());
    }
    requests
}

/// Every path answers or refuses whatever it is asked, with a bounded amount of work.
#[test]
fn every_query_answers() {
    let base = POPULATED.base();
    let paths: Vec<&str> = machine::query_paths().collect();
    let mut seeds = Vec::new();
    for (number, _) in paths.iter().enumerate() {
        for request in requests() {
            seeds.push([vec![u8::try_from(number).unwrap()], request].concat());
        }
    }
    let target = |bytes: &[u8]| {
        let Some((number, request)) = bytes.split_first() else {
            return false;
        };
        let path = paths[usize::from(*number) % paths.len()];
        let mut state = State::new(&base, Gas::new(GAS));
        let start = Instant::now();
        let answer = machine::query(&mut state, &POPULATED.block, path, request);
        assert!(start.elapsed() < PATIENCE, "{path} took {:?}", start.elapsed());
        match answer {
            Ok(answer) => {
                assert!(answer.len() < MAX_ANSWER, "{path} answers {} bytes", answer.len());
                true
            }
            Err(error) => {
                assert!(!error.is_fatal(), "{path}: {error}");
                false
            }
        }
    };
    fuzz_made("queries", 6_000, |draws| mutated(&seeds, draws), target);
}

/// Every path answers one of the requests that are meant for it.
#[test]
fn every_query_is_reached() {
    let base = POPULATED.base();
    for path in machine::query_paths().filter(|path| !path.ends_with("/Simulate")) {
        let answers = |request: Vec<u8>| {
            let mut state = State::new(&base, Gas::new(GAS));
            machine::query(&mut state, &POPULATED.block, path, &request)
        };
        let outcomes: Vec<_> = requests().into_iter().map(answers).collect();
        // "Not found" is an answer of its own: the request was read.
        let read = |error: &trainyard_modules::error::Error| !error.log.contains("does not decode");
        assert!(
            outcomes.iter().any(|o| o.as_ref().map_or_else(read, |_| true)),
            "{path}: {outcomes:?}"
        );
    }
}

/// Raw keys of any bytes, at any height, with a proof or without.
#[test]
fn raw_keys_answer() {
    let mut chain = Chain::builder().build();
    chain.skip(3);
    let seeds = [b"bank/supply/".to_vec(), b"job/params".to_vec(), vec![0xff; 40]];
    fuzz("raw keys", &seeds, |bytes| {
        let height = i64::from(bytes.first().copied().unwrap_or(0) % 6) - 1;
        for prove in [false, true] {
            let response = chain.abci_query("/store/main/key", bytes.to_vec(), height, prove);
            assert_ne!(response.codespace, "fatal", "{response:?}");
        }
        true
    });
}

/// A block is accepted only with the header that every node computes in front.
#[test]
fn headers_are_the_one_that_every_node_computes() {
    let chain = RefCell::new(Chain::builder().build());
    chain.borrow_mut().skip(3);
    let header = pouw::encode(&pouw::header(&mut POPULATED.base(), 1).unwrap());
    fuzz("headers", std::slice::from_ref(&header), |bytes| {
        let chain = chain.borrow();
        let alone = chain.process(&[bytes.to_vec()]);
        assert_eq!(alone == ProposalStatus::Accept, bytes == header);
        let behind = chain.process(&[header.clone(), bytes.to_vec()]);
        assert_eq!(behind == ProposalStatus::Accept, !pouw::is_header(bytes));
        pouw::is_header(bytes)
    });
}
