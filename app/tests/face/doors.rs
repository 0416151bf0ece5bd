//! One table of queries behind three doors: ABCI, gRPC and REST give the same answer to the same question.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MethodDescriptor, Value};
use serde_json::Value as Json;
use trainyard_app::api;
use trainyard_app::testing::network::Network;
use trainyard_modules::bank::MODULE_ACCOUNTS;
use trainyard_proto::address::Address;
use trainyard_proto::any::{self, Any};
use trainyard_proto::coin::{UTRAIN_PER_TRAIN, utrain};
use trainyard_proto::cosmos::authz::v1beta1::{GenericAuthorization, Grant, MsgGrant};
use trainyard_proto::cosmos::bank::v1beta1::MsgSend;
use trainyard_proto::cosmos::feegrant::v1beta1::{BasicAllowance, MsgGrantAllowance};
use trainyard_proto::cosmos::gov::v1beta1::{MsgSubmitProposal, MsgVote, TextProposal, VoteOption};
use trainyard_proto::cosmos::staking::v1beta1::{MsgDelegate, MsgUndelegate};
use trainyard_proto::cosmos::tx::v1beta1::Tx;

use super::wire::{Wire, get, post};
use super::{PATIENCE, doors_of, network, signer};

/// What cannot be answered on this chain, for nothing of the kind is on it: the doors refuse alike.
const NOTHING_THERE: &[&str] = &[
    "/cosmos.staking.v1beta1.Query/HistoricalInfo", // kept where the parameters say so
    "/cosmos.tx.v1beta1.Service/Simulate",          // of a transaction that has been
    "/trainyard.job.v1.Query/Explain",
    "/trainyard.job.v1.Query/Grant",
    "/trainyard.job.v1.Query/Job",
    "/trainyard.job.v1.Query/Round",
    "/trainyard.registry.v1.Query/Node",
    "/trainyard.registry.v1.Query/NodeByPeer",
];

/// A chain on which something has happened, and what to ask about it.
struct World {
    network: Network,
    pool: DescriptorPool,
    /// Height of the state that is asked about.
    height: u64,
    /// Values of request fields, by name.
    texts: BTreeMap<&'static str, String>,
    numbers: BTreeMap<&'static str, u64>,
    /// A transaction that is in a block.
    tx: Vec<u8>,
}

async fn world() -> World {
    let network = network().await;
    let alice = signer(&network, "alice");
    let (from, bob) = (alice.address().to_string(), network.key("bob").address().to_string());
    let operator = network.key("validator0").address().operator();
    let send = any::type_url::<MsgSend>();
    let train = |amount: u64| utrain(amount * UTRAIN_PER_TRAIN);
    let messages: Vec<Any> = vec![
        any::pack(&MsgDelegate {
            delegator_address: from.clone(),
            validator_address: operator.clone(),
            amount: Some(train(60)),
        }),
        any::pack(&MsgUndelegate {
            delegator_address: from.clone(),
            validator_address: operator.clone(),
            amount: Some(train(1)),
        }),
        any::pack(&MsgGrant {
            granter: from.clone(),
            grantee: bob.clone(),
            grant: Some(Grant {
                authorization: Some(any::pack(&GenericAuthorization { msg: send.clone() })),
                expiration: None,
            }),
        }),
        any::pack(&MsgGrantAllowance {
            granter: from.clone(),
            grantee: bob.clone(),
            allowance: Some(any::pack(&BasicAllowance::default())),
        }),
        any::pack(&MsgSubmitProposal {
            content: Some(any::pack(&TextProposal {
                title: "t".into(),
                description: "d".into(),
            })),
            initial_deposit: vec![train(100)],
            proposer: from.clone(),
        }),
        any::pack(&MsgVote {
            proposal_id: 1,
            voter: from.clone(),
            option: VoteOption::Yes.into(),
        }),
    ];
    let sent = alice.send(messages).await.unwrap();
    let client = network.client();
    let block = client.block(Some(sent.height)).await.unwrap().block;
    let tx = block
        .data
        .iter()
        .find(|tx| trainyard_client::rpc::show_hash(&trainyard_client::tx::hash(tx)) == sent.hash);
    let validators = client.validators(sent.height).await.unwrap();
    let consensus = <[u8; 20]>::try_from(validators.validators[0].address.as_bytes()).unwrap();
    let texts = BTreeMap::from([
        ("address", from.clone()),
        ("account", from.clone()),
        ("owner", from.clone()),
        ("client", from.clone()),
        ("worker", from.clone()),
        ("delegator_addr", from.clone()),
        ("delegator_address", from.clone()),
        ("depositor", from.clone()),
        ("recipient", from.clone()),
        ("peer_id", "nobody".into()),
        ("voter", from.clone()),
        ("granter", from.clone()),
        ("grantee", bob),
        ("validator_addr", operator.clone()),
        ("validator_address", operator.clone()),
        ("validator", operator),
        ("cons_address", Address(consensus).consensus()),
        ("denom", "utrain".into()),
        ("name", MODULE_ACCOUNTS[0].into()),
        ("params_type", "tallying".into()),
        ("hash", sent.hash),
        ("query", format!("tx.height={}", sent.height)),
        ("address_string", from),
    ]);
    let numbers = BTreeMap::from([
        ("proposal_id", 1),
        ("account_id", 2),
        ("job_id", 1),
        ("height", sent.height),
        ("ending_height", 1_000_000),
    ]);
    World {
        tx: tx.unwrap().clone(),
        pool: DescriptorPool::decode(trainyard_proto::DESCRIPTORS).unwrap(),
        height: sent.height,
        network,
        texts,
        numbers,
    }
}

impl World {
    /// A request for a method, with what its fields are called in mind.
    fn request(&self, method: &MethodDescriptor) -> DynamicMessage {
        let mut request = DynamicMessage::new(method.input());
        for field in method.input().fields() {
            let name = field.name();
            if name == "query" && method.name() != "GetTxsEvent" || field.is_list() {
                continue;
            }
            if let (Some(text), Kind::String) = (self.texts.get(name), field.kind()) {
                request.set_field(&field, Value::String(text.clone()));
            } else if let Some(&number) = self.numbers.get(name) {
                let value = match field.kind() {
                    Kind::Uint64 => Value::U64(number),
                    Kind::Int64 => Value::I64(i64::try_from(number).unwrap()),
                    other => panic!("{name} of {} is a {other:?}", method.full_name()),
                };
                request.set_field(&field, value);
            } else if name == "tx_bytes" {
                request.set_field(&field, Value::Bytes(self.tx.clone().into()));
            } else if name == "address_bytes" {
                request.set_field(&field, Value::Bytes(vec![7; 20].into()));
            } else if name == "tx" && method.name() == "TxEncode" {
                let kind = self.pool.get_message_by_name("cosmos.tx.v1beta1.Tx").unwrap();
                let tx =
                    DynamicMessage::decode(kind, Tx::decode(self.tx.as_slice()).unwrap().encode_to_vec().as_slice());
                request.set_field(&field, Value::Message(tx.unwrap()));
            }
        }
        request
    }

    fn method(&self, path: &str) -> MethodDescriptor {
        let (service, name) = path[1..].split_once('/').unwrap();
        let service = self.pool.get_service_by_name(service).unwrap();
        service.methods().find(|method| method.name() == name).unwrap()
    }
}

/// Where a method is served over REST, and whether by POST.
fn route(method: &MethodDescriptor) -> (String, bool) {
    let http = method.parent_pool().get_extension_by_name("google.api.http").unwrap();
    let options = method.options();
    let rule = options.get_extension(&http);
    let field = |name: &str| {
        let value = rule.as_message()?.get_field_by_name(name)?;
        value.as_str().filter(|path| !path.is_empty()).map(str::to_owned)
    };
    if let Some(path) = field("post") {
        return (path, true);
    }
    let path = field("get").unwrap_or_else(|| {
        let mut snake = String::new();
        for letter in method.name().chars() {
            if letter.is_ascii_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        format!("/{}/{snake}", method.parent_service().package_name().replace('.', "/"))
    });
    (path, false)
}

fn shown(field: &FieldDescriptor, value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::U64(number) => number.to_string(),
        Value::I64(number) => number.to_string(),
        Value::Bytes(bytes) => STANDARD.encode(bytes),
        other => panic!("{} is {other:?}", field.full_name()),
    };
    // What means something in a URL.
    let escape = |c: char| match c {
        '%' | '/' | '+' | '=' | ' ' | '&' | '\'' | '#' | '?' => format!("%{:02X}", c as u32),
        other => other.to_string(),
    };
    text.chars().map(escape).collect()
}

/// The path and the body for REST.
fn rest(method: &MethodDescriptor, request: &DynamicMessage) -> (String, Option<String>) {
    let (mut path, by_post) = route(method);
    if by_post {
        let body = api::show(method.input().full_name(), &request.encode_to_vec()).unwrap();
        return (path, Some(body.to_string()));
    }
    let mut pairs = Vec::new();
    for (field, value) in request.fields() {
        let place = format!("{{{}}}", field.name());
        if path.contains(&place) {
            path = path.replace(&place, &shown(&field, value));
        } else {
            pairs.push(format!("{}={}", field.name(), shown(&field, value)));
        }
    }
    // What is in the path and has no value.
    for field in method.input().fields() {
        path = path.replace(&format!("{{{}}}", field.name()), "0");
    }
    if pairs.is_empty() {
        (path, None)
    } else {
        (format!("{path}?{}", pairs.join("&")), None)
    }
}

/// What each door says: an answer in the JSON of REST, or the text of a refusal.
async fn ask(world: &World, wire: &mut Wire, path: &str) -> [Result<Json, String>; 3] {
    let node = &world.network.nodes[0];
    let doors = doors_of(&world.network);
    let method = world.method(path);
    let request = world.request(&method);
    let bytes = request.encode_to_vec();
    let show = |bytes: &[u8]| api::show(method.output().full_name(), bytes).unwrap();

    let abci = node
        .client()
        .abci_query(path, bytes.clone(), Some(world.height), false)
        .await;
    let abci = match abci {
        Ok(answer) => Ok(show(&answer.value)),
        Err(trainyard_client::rpc::Error::Query { log, .. }) => Err(log),
        Err(other) => panic!("{path} over ABCI: {other}"),
    };
    let grpc = wire.call(path, &bytes, world.height).await;
    let grpc = grpc.map(|bytes| show(&bytes)).map_err(|(_, message)| message);
    let (path_and_query, body) = rest(&method, &request);
    let answered = match body {
        Some(body) => post(doors.rest, &path_and_query, &body, world.height),
        None => get(doors.rest, &path_and_query, world.height),
    };
    let rest = match answered {
        (200, json) => Ok(json),
        (_, json) => Err(json["message"].as_str().unwrap_or_default().to_owned()),
    };
    [abci, grpc, rest]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_door_answers_the_same() {
    let world = world().await;
    let mut wire = Wire::connect(doors_of(&world.network).grpc).await;
    let mut refused = BTreeSet::new();
    for path in api::paths() {
        let start = Instant::now();
        // What is about the last block is another thing a block later.
        loop {
            let [abci, grpc, rest] = ask(&world, &mut wire, path).await;
            let same = match (&abci, &grpc, &rest) {
                (Ok(abci), Ok(grpc), Ok(rest)) => abci == grpc && grpc == rest,
                // ABCI has more words for it.
                (Err(abci), Err(grpc), Err(rest)) => grpc == rest && abci.contains(grpc),
                _ => false,
            };
            if same {
                if abci.is_err() {
                    refused.insert(path);
                }
                break;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{path} is answered differently\nover ABCI {abci:?}\nover gRPC {grpc:?}\nover REST {rest:?}"
            );
        }
    }
    assert_eq!(refused, BTreeSet::from_iter(NOTHING_THERE.iter().copied()));
}
