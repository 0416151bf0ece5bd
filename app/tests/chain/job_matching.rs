//! Who fits a job that asks for GPUs or a subnet tag: what its capability record says, if it is the registered one.

use trainyard_app::testing::{Chain, address};
use trainyard_proto::{
    any,
    job::{JobSpec, MsgJoinJob, Requirements},
    overlay::{CapabilityRecord, Gpu},
    prost::Message,
};

use crate::{registry::update, support::*};

fn record(memories_mib: &[u64], subnets: &[&str]) -> CapabilityRecord {
    let gpu = |memory_mib: &u64| Gpu {
        model: "H100".into(),
        memory_mib: *memory_mib,
    };
    CapabilityRecord {
        gpus: memories_mib.iter().map(gpu).collect(),
        subnets: subnets.iter().map(ToString::to_string).collect(),
        ..CapabilityRecord::default()
    }
}

/// Registers the hash of a record.
fn offer(chain: &mut Chain, name: &str, record: &CapabilityRecord) {
    let mut message = update(name);
    message.capability_hash = record.hash().to_vec();
    chain.ok(name, &message);
}

fn join_with(name: &str, id: u64, record: &CapabilityRecord) -> MsgJoinJob {
    let mut message = join(name, id);
    message.capability = record.encode_to_vec();
    message
}

fn asking(change: impl FnOnce(&mut Requirements)) -> JobSpec {
    let mut spec = calm(plain());
    change(spec.requirements.as_mut().unwrap());
    spec
}

#[test]
fn gpus_and_subnet_tags_are_those_of_the_registered_record() {
    let mut chain = calm_yard();
    let two_gpus = asking(|r| (r.gpus, r.gpu_memory_mib) = (2, 16_384));
    let tagged = asking(|r| r.subnet = "vision".into());
    let gpus = post(&mut chain, &two_gpus, BUDGET);
    let subnet = post(&mut chain, &tagged, BUDGET);
    let small = record(&[16_384, 16_383, 80_000], &["text", "vision"]);
    offer(&mut chain, "w1", &small);
    let weak = record(&[16_384, 16_383], &["text"]);
    offer(&mut chain, "w2", &weak);
    let mut long = join("w1", gpus);
    long.capability = vec![0; 4097];
    let mut garbage = join("w3", gpus);
    garbage.capability = vec![0xff; 40];
    let mut hash = update("w3");
    hash.capability_hash = trainyard_proto::capability::hash(&garbage.capability).to_vec();
    chain.ok("w3", &hash);
    let registered = hex::encode(weak.hash());
    let cases: Vec<Case<'_>> = vec![
        (
            "w1",
            any::pack(&join("w1", gpus)),
            ("job", 10),
            vec!["sends no capability record"],
        ),
        (
            "w2",
            any::pack(&join_with("w2", gpus, &small)),
            ("job", 10),
            vec![&registered, "its capability record has the hash"],
        ),
        (
            "w2",
            any::pack(&join_with("w2", gpus, &weak)),
            ("job", 10),
            vec!["it has 1 GPUs with at least 16384 MiB, the job asks for 2"],
        ),
        (
            "w2",
            any::pack(&join_with("w2", subnet, &weak)),
            ("job", 10),
            vec!["its subnet tags are [\"text\"], the job's is \"vision\""],
        ),
        ("w3", any::pack(&garbage), ("job", 10), vec!["does not decode"]),
        (
            "w1",
            any::pack(&long),
            ("job", 3),
            vec!["4097 bytes", "at most 4096 bytes"],
        ),
    ];
    assert_all_refused(&mut chain, cases);
    chain.ok("w1", &join_with("w1", gpus, &small));
    chain.ok("w1", &join_with("w1", subnet, &small));
    // A job that asks for neither takes no notice of a record.
    let open = post(&mut chain, &calm(plain()), BUDGET);
    chain.ok("w2", &join("w2", open));
    let why = chain.explain(gpus, Some(address("w2")));
    assert!(why.contains("told by its capability record"), "{why}");
}

#[test]
fn memory_of_no_gpus_makes_no_sense() {
    let mut chain = calm_yard();
    let spec = asking(|r| r.gpu_memory_mib = 1);
    let message = any::pack(&post_msg(CLIENT, &spec, BUDGET));
    let words = &["memory of each of no GPUs (MiB) is 1", "0 to 0"];
    assert_message_refused(&mut chain, CLIENT, message, ("job", 3), words);
}
