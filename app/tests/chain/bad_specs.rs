//! Jobs that cannot be posted: one wrong value for every field of a spec, and budgets that cannot be.

use trainyard_app::testing::TRAIN;
use trainyard_proto::{
    any,
    job::{DataRef, Deadlines, JobSpec, Optimizer, Paradigm, Provider, Requirements, Schedule, Task},
    registry::VerificationClass,
};

use crate::support::*;

fn task(spec: &mut JobSpec) -> &mut Task {
    spec.task.as_mut().unwrap()
}

fn optimizer(spec: &mut JobSpec) -> &mut Optimizer {
    task(spec).optimizer.as_mut().unwrap()
}

fn adam(beta2: &str) -> Optimizer {
    Optimizer {
        name: "adam".into(),
        learning_rate: "0.001".into(),
        beta2: beta2.into(),
        ..Optimizer::default()
    }
}

fn schedule(spec: &mut JobSpec) -> &mut Schedule {
    task(spec).schedule.get_or_insert_default()
}

fn train_data(spec: &mut JobSpec) -> &mut DataRef {
    spec.train.as_mut().unwrap()
}

fn provider(spec: &mut JobSpec) -> &mut Provider {
    spec.provider.as_mut().unwrap()
}

fn requirements(spec: &mut JobSpec) -> &mut Requirements {
    spec.requirements.as_mut().unwrap()
}

fn deadlines(spec: &mut JobSpec) -> &mut Deadlines {
    spec.deadlines.as_mut().unwrap()
}

/// A change of a spec, and parts of what is said about it.
type Spoiled = (fn(&mut JobSpec), &'static [&'static str]);

/// Posts the spec of [`calm`] after each change; all are refused with the bound they break.
fn assert_specs_refused(cases: &[Spoiled]) {
    let mut chain = calm_yard();
    for (change, words) in cases {
        let mut spec = calm(spec());
        change(&mut spec);
        assert_message_refused(
            &mut chain,
            CLIENT,
            any::pack(&post_msg(CLIENT, &spec, BUDGET)),
            ("job", 3),
            words,
        );
    }
}

#[test]
fn models_and_tasks_out_of_bounds() {
    assert_specs_refused(&[
        (|s| s.name = "x".repeat(129), &["name is 129 bytes", "at most 128"]),
        (|s| s.model_cid = "Qm".into(), &["model CID is \"Qm\"", "46 to 120"]),
        (
            |s| s.model_cid = "/".repeat(60),
            &["model CID is \"////", "letters and digits"],
        ),
        (|s| s.start_cid = "x".repeat(121), &["start weights' CID", "46 to 120"]),
        (|s| s.start_root = vec![0; 31], &["start root is 31 bytes", "32 bytes"]),
        (|s| s.task = None, &["task is missing"]),
        (
            |s| task(s).loss = "hinge".into(),
            &["loss \"hinge\" is not known", "cross_entropy"],
        ),
        (|s| task(s).metric = "f1".into(), &["metric is \"f1\"", "accuracy"]),
        (|s| task(s).batch_size = 0, &["batch size is 0", "1 to 65536"]),
        (|s| task(s).batch_size = 65_537, &["batch size is 65537", "1 to 65536"]),
        (|s| task(s).local_steps = 0, &["local steps is 0", "1 to 100000"]),
        (
            |s| task(s).local_steps = u32::MAX,
            &["local steps is 4294967295", "1 to 100000"],
        ),
        (|s| task(s).optimizer = None, &["optimizer \"\" is not known", "adamw"]),
        (|s| optimizer(s).name = "lion".into(), &["optimizer \"lion\"", "adamw"]),
        (
            |s| optimizer(s).learning_rate.clear(),
            &["learning_rate is \"\"", "above 0"],
        ),
        (
            |s| optimizer(s).learning_rate = "-0.1".into(),
            &["learning_rate is \"-0.1\"", "above 0"],
        ),
        (
            |s| optimizer(s).learning_rate = "NaN".into(),
            &["learning_rate is \"NaN\"", "decimal number"],
        ),
        (
            |s| optimizer(s).learning_rate = "1".repeat(1000),
            &["learning_rate is \"1111", "at most 1000"],
        ),
        (
            |s| optimizer(s).momentum = "1e999".into(),
            &["momentum is \"1e999\"", "decimal number"],
        ),
        (
            |s| optimizer(s).weight_decay = "inf".into(),
            &["weight_decay is \"inf\"", "decimal number"],
        ),
        (
            |s| optimizer(s).beta1 = "0.9".into(),
            &["beta1 means nothing to \"sgd\""],
        ),
        (|s| *optimizer(s) = adam("."), &["beta2 is \".\"", "decimal number"]),
        (
            |s| schedule(s).name = "linear".into(),
            &["schedule \"linear\"", "cosine"],
        ),
        (|s| schedule(s).steps = 7, &["steps means nothing to \"constant\""]),
        (
            |s| schedule(s).warmup = u64::MAX,
            &["warmup is 18446744073709551615 steps", "16777216"],
        ),
        (
            |s| task(s).clip_norm = "-1".into(),
            &["clip_norm is \"-1\"", "0 to 1000"],
        ),
        (
            |s| task(s).label_smoothing = "1".into(),
            &["label_smoothing is \"1\"", "not including, 1"],
        ),
        (
            |s| {
                task(s).loss = "mse".into();
                task(s).label_smoothing = "0.1".into();
            },
            &["label_smoothing means nothing to \"mse\""],
        ),
        (
            |s| s.set_paradigm(Paradigm::DataParallel),
            &["PARADIGM_DATA_PARALLEL", "PARADIGM_FEDERATED or PARADIGM_COMPETITIVE"],
        ),
        (|s| s.paradigm = 99, &["PARADIGM_UNSPECIFIED", "PARADIGM_FEDERATED"]),
        (
            |s| s.set_verification(VerificationClass::Exact),
            &["program root is 0 bytes", "32 bytes"],
        ),
        (
            |s| s.program_root = vec![0; 32],
            &["outside of class exact is 32", "0 to 0"],
        ),
        (|s| s.verification = 0, &["VERIFICATION_CLASS_UNSPECIFIED"]),
        (|s| s.macs_per_sample = 0, &["per sample is 0", "1 to 1125899906842624"]),
        (
            |s| s.macs_per_sample = u64::MAX,
            &["is 18446744073709551615", "1 to 1125899906842624"],
        ),
        (
            |s| s.delta_share_ppm = 1_000_001,
            &["share of deltas (parts per million) is 1000001", "0 to 1000000"],
        ),
    ]);
}

#[test]
fn data_out_of_bounds() {
    assert_specs_refused(&[
        (|s| s.train = None, &["training data is missing"]),
        (
            |s| train_data(s).samples = 0,
            &["number of samples is 0", "1 to 4294967296"],
        ),
        (
            |s| train_data(s).samples = 1 << 33,
            &["number of samples is 8589934592", "1 to 4294967296"],
        ),
        (
            |s| train_data(s).plaintext_root.clear(),
            &["training data is 0 bytes", "32 bytes"],
        ),
        (|s| s.test = None, &["test data is missing"]),
        (
            |s| s.test.as_mut().unwrap().manifest_cid.clear(),
            &["test data is \"\"", "46 to 120"],
        ),
        (|s| s.provider = None, &["provider is missing"]),
        (|s| provider(s).peer_id.clear(), &["peer id length is 0", "32 to 96"]),
        (
            |s| provider(s).addresses = vec!["a".into(); 9],
            &["provider's addresses is 9", "at most 8"],
        ),
        (
            |s| provider(s).addresses = vec!["a".repeat(129)],
            &["provider's addresses", "128 bytes each"],
        ),
    ]);
}

#[test]
fn requirements_and_deadlines_out_of_bounds() {
    assert_specs_refused(&[
        (|s| s.requirements = None, &["requirements is missing"]),
        (|s| requirements(s).max_workers = 65, &["max workers is 65", "1 to 64"]),
        (|s| requirements(s).max_workers = 0, &["max workers is 0", "1 to 64"]),
        (|s| requirements(s).min_workers = 4, &["min workers is 4", "1 to 3"]),
        (|s| requirements(s).min_workers = 0, &["min workers is 0", "1 to 3"]),
        (|s| requirements(s).evaluators = 0, &["evaluators is 0", "1 to 15"]),
        (|s| requirements(s).evaluators = 16, &["evaluators is 16", "1 to 15"]),
        (|s| requirements(s).gpus = 65, &["GPUs is 65", "0 to 64"]),
        (
            |s| requirements(s).min_reputation = 101,
            &["minimum reputation is 101", "0 to 100"],
        ),
        (
            |s| requirements(s).subnet = "x".repeat(33),
            &["subnet tag is 33 bytes", "at most 32"],
        ),
        (|s| s.rounds = 0, &["rounds is 0", "1 to 10000"]),
        (|s| s.rounds = u32::MAX, &["rounds is 4294967295", "1 to 10000"]),
        (|s| s.deadlines = None, &["deadlines is missing"]),
        (
            |s| deadlines(s).open = 0,
            &["open deadline (blocks) is 0", "1 to 1000000"],
        ),
        (
            |s| deadlines(s).grant = u32::MAX,
            &["grant deadline (blocks) is 4294967295", "1 to 1000000"],
        ),
        (
            |s| deadlines(s).round = 1_000_001,
            &["round deadline (blocks) is 1000001", "1 to 1000000"],
        ),
        (
            |s| deadlines(s).submit = 0,
            &["submit deadline (blocks) is 0", "1 to 1000000"],
        ),
        (
            |s| s.partial_share_bp = 10_001,
            &["share (basis points) is 10001", "0 to 10000"],
        ),
    ]);
}

#[test]
fn budgets_that_cannot_be() {
    let mut chain = calm_yard();
    let spec = calm(spec());
    let priced = |budget: u64| any::pack(&post_msg(CLIENT, &spec, budget));
    let mut bare = post_msg(CLIENT, &spec, BUDGET);
    bare.spec = None;
    let mut free = post_msg(CLIENT, &spec, BUDGET);
    free.budget = None;
    let mut huge = post_msg(CLIENT, &spec, BUDGET);
    huge.budget.as_mut().unwrap().amount = "99999999999999999999".into();
    let everything = u64::try_from(i64::MAX).unwrap();
    let cases: Vec<Case<'_>> = vec![
        (
            CLIENT,
            priced(0),
            ("job", 3),
            vec!["budget is 0utrain", "more than nothing"],
        ),
        (
            CLIENT,
            priced(TRAIN - 1),
            ("job", 3),
            vec!["budget is 999999utrain", "at least 1000000utrain"],
        ),
        (
            CLIENT,
            priced(CASH),
            ("sdk", 5),
            vec!["is smaller than 10000000000utrain"],
        ),
        (CLIENT, priced(everything), ("sdk", 5), vec!["insufficient funds"]),
        (
            CLIENT,
            any::pack(&huge),
            ("sdk", 10),
            vec!["99999999999999999999", "9223372036854775807"],
        ),
        (CLIENT, any::pack(&free), ("sdk", 10), vec!["no amount"]),
        (CLIENT, any::pack(&bare), ("job", 3), vec!["spec is missing"]),
    ];
    assert_all_refused(&mut chain, cases);
}

#[test]
fn a_stake_that_all_money_cannot_pay_is_refused() {
    let supply = u64::try_from(i64::MAX).unwrap() - 1_000_000 * TRAIN;
    let mut chain = register_everybody(builder().fund("nation", supply).build());
    let mut spec = calm(plain());
    (requirements(&mut spec).min_workers, requirements(&mut spec).max_workers) = (1, 1);
    let outcome = chain.ok("nation", &post_msg("nation", &spec, supply / 102 * 100));
    let id = outcome.attribute("job_posted", "job_id").unwrap().parse().unwrap();
    assert_message_refused(
        &mut chain,
        "w1",
        any::pack(&join("w1", id)),
        ("sdk", 5),
        &["insufficient funds"],
    );
}
