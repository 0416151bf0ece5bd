//! What workers say they have: capability records, sent along when they join.

use trainyard_modules::job::misfit;
use trainyard_proto::{
    capability::{MAX_RECORD, hash},
    job::{Job, JobSpec, Requirements},
    overlay::{CapabilityRecord, Gpu},
    prost::Message,
    registry::{Node, VerificationClass},
};

use crate::harness::fuzz;

fn record(gpus: usize, memory_mib: u64, subnets: &[&str]) -> Vec<u8> {
    let gpu = Gpu {
        model: "Trainyard T1".into(),
        memory_mib,
    };
    let record = CapabilityRecord {
        gpus: vec![gpu; gpus],
        memory_mib: 64 << 10,
        cores: 32,
        bandwidth_mbit: 1_000,
        region: "eu".into(),
        versions: vec!["trainerd 0.1.0".into()],
        price_utrain: 7,
        addresses: vec!["/ip4/127.0.0.1/tcp/4001".into()],
        classes: vec!["exact".into()],
        subnets: subnets.iter().map(ToString::to_string).collect(),
    };
    record.encode_to_vec()
}

/// The registry has the hash of what is sent, as its sender would see to. A record whose hash it does not have is refused for that.
#[test]
fn capability_records_are_read() {
    let spec = JobSpec {
        verification: VerificationClass::Exact.into(),
        requirements: Some(Requirements {
            gpus: 1,
            gpu_memory_mib: 16 << 10,
            subnet: "lab".into(),
            ..Requirements::default()
        }),
        ..JobSpec::default()
    };
    let node = |capability_hash: Vec<u8>| Node {
        classes: vec![VerificationClass::Exact.into()],
        capability_hash,
        owner: "worker".into(),
        operator: "worker".into(),
        ..Node::default()
    };
    let seeds = [
        record(1, 16 << 10, &["lab"]),
        record(8, 80 << 10, &["lab", "home"]),
        record(2, u64::MAX, &["lab"]),
    ];
    fuzz("capability records", &seeds, |bytes| {
        let told = |node: &Node| misfit(&Job::default(), &spec, node, bytes);
        if bytes.len() > MAX_RECORD {
            return false;
        }
        let stranger = told(&node(vec![0; 32])).expect("its hash is another");
        assert!(bytes.is_empty() || stranger.contains("the registry has"), "{stranger}");
        let reason = told(&node(hash(bytes).to_vec()));
        if let Some(reason) = &reason {
            assert!(reason.len() < 1_000, "{} bytes are said of it", reason.len());
        }
        reason.is_none()
    });
}
