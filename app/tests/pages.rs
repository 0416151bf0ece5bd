//! What the book tells people they earn and lose, held against the parameters that a chain starts with.

use std::path::Path;

use trainyard_modules::{fees, gov, job, registry, slashing, staking};
use trainyard_proto::{coin::UTRAIN_PER_TRAIN as TRAIN, dec::Dec};

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Each of these stands in the page.
fn says(name: &str, sentences: &[String]) {
    let page = page(name);
    for sentence in sentences {
        assert!(page.contains(sentence.as_str()), "{name} does not say {sentence:?}");
    }
}

/// An amount as the pages write it: in groups of three digits.
fn utrain(amount: u64) -> String {
    let digits = amount.to_string();
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(String::from_utf8_lossy)
        .collect();
    groups.join(" ")
}

/// Hundredths of a percent as the pages write them.
fn percent(bp: u32) -> String {
    if bp.is_multiple_of(100) {
        format!("*{} %*", bp / 100)
    } else {
        format!("*{}.{:02} %*", bp / 100, bp % 100)
    }
}

fn hundredths(part: Dec) -> String {
    let whole = Dec::whole(100).mul_down(part).and_then(Dec::floor).unwrap();
    format!("*{whole} %*")
}

#[test]
fn what_nodes_lose_is_what_the_chain_takes() {
    let params = registry::default_params();
    let missed = percent(params.missed_duty_bp);
    let (jail, window) = (params.jail_blocks, utrain(params.missed_window));
    let reputation = params.missed_reputation;
    let times = params.max_missed;
    let all = [
        format!("{missed} of the bond, burned; *{reputation}* points of reputation"),
        format!("*{times}* of these within *{window}* blocks"),
        format!("jail for *{jail}* blocks"),
    ];
    says("roles/worker.md", &all);
    says("roles/evaluator.md", &all);
    let (worker, evaluator) = (params.min_worker_bond / TRAIN, params.min_evaluator_bond / TRAIN);
    says(
        "roles/worker.md",
        &[
            format!("at least {worker} TRAIN"),
            format!("returns after {} blocks", params.unbonding_blocks),
        ],
    );
    says(
        "roles/evaluator.md",
        &[
            format!("at least {} TRAIN", utrain(evaluator)),
            format!(
                "{} of the bond, burned; all reputation; jail",
                percent(job::default_params().outlier_slash_bp)
            ),
        ],
    );
    says(
        "protocol.md",
        &[
            format!("A missed duty burns {missed} of the bond"),
            format!("begins at *{}* of 100", params.initial_reputation),
            format!("returns after *{}* blocks", params.unbonding_blocks),
            format!("adds *{}*, unless one was missed", params.clean_reputation),
            format!("and *{}* more, then it has lapsed", params.capability_epochs),
        ],
    );
}

/// The worked example of the worker's page: five duties missed, one after the other.
#[test]
fn a_worker_falls_below_its_bond_as_its_page_says() {
    let params = registry::default_params();
    let mut bond = params.min_worker_bond / 100 * 105;
    let begins = bond;
    let mut losses = Vec::new();
    while bond >= params.min_worker_bond {
        let taken = bond * u64::from(params.missed_duty_bp) / 10_000;
        bond -= taken;
        losses.push(utrain(taken));
    }
    let lost = begins - bond;
    let (first, rest) = losses.split_first().unwrap();
    says(
        "roles/worker.md",
        &[
            format!("registers a worker with {} utrain", utrain(begins)),
            format!("{first}, then {}.", rest.join(", ")),
            format!(
                "it stands at {}, below the least, and `trainerd` adds {}.",
                utrain(bond),
                utrain(lost)
            ),
            format!(
                "lost {} in all, of the {} that",
                utrain(lost),
                utrain(params.min_worker_bond / 10)
            ),
        ],
    );
    assert_eq!(losses.len(), 5);
}

#[test]
fn what_a_job_pays_is_what_its_parameters_say() {
    let params = job::default_params();
    let (workers, evaluators) = (params.workers_bp, params.evaluators_bp);
    let treasury = 10_000 - workers - evaluators;
    let plain = |bp: u32| percent(bp).replace('*', "");
    says(
        "roles/client.md",
        &[
            format!("posting fee = {} of B", plain(params.posting_fee_bp)),
            format!(
                "{} to workers, {} to evaluators, {} to the treasury",
                plain(workers),
                plain(evaluators),
                plain(treasury)
            ),
        ],
    );
    // Three of five rounds of 1000 TRAIN.
    let (budget, cost) = (1_000 * TRAIN, 600 * TRAIN);
    let part = |bp: u32| utrain(cost / 10_000 * u64::from(bp));
    says(
        "roles/client.md",
        &[
            format!(
                "The fee is {}.",
                utrain(budget / 10_000 * u64::from(params.posting_fee_bp))
            ),
            format!("go to the workers, {} to the evaluators", part(evaluators)),
            format!("of which {} go to the workers", part(workers)),
            format!(
                "{} to the treasury; {} come back",
                part(treasury),
                utrain(budget - cost)
            ),
        ],
    );
    says("roles/worker.md", &[format!("{} is the workers'", percent(workers))]);
    says(
        "roles/evaluator.md",
        &[format!("{} is the evaluators'", percent(evaluators))],
    );
    // A stake is a multiple of a place's share of the workers' pot.
    let pot = budget / 10_000 * u64::from(workers);
    says(
        "roles/worker.md",
        &[
            format!("*W* is {}", utrain(pot)),
            format!("a stake of {}.", utrain(pot / 3 * u64::from(params.stake_multiple))),
            format!("After five rounds each gets {}", utrain(pot / 3)),
            format!(
                "{} × 2 / 12 = {}, at 50 % {}",
                utrain(pot),
                utrain(pot / 6),
                utrain(pot / 12)
            ),
        ],
    );
    let share = budget / 10_000 * u64::from(evaluators);
    says(
        "roles/evaluator.md",
        &[
            format!("{} / 2 = {} each", utrain(share), utrain(share / 2)),
            format!("{} for the other two each", utrain(share / 3)),
        ],
    );
    says(
        "protocol.md",
        &[
            format!("a fee of {} of it to the validators", percent(params.posting_fee_bp)),
            format!("a stake of *{}* times", params.stake_multiple),
            format!("At most *{}* workers compete", params.max_variants),
            format!("or after *{}* blocks, `RevealEvaluation`", params.commit_blocks),
            format!("at most *{}*\nevaluators in a job", params.max_replacements),
            format!("loses {} of its bond", percent(params.outlier_slash_bp)),
        ],
    );
}

#[test]
fn what_validators_and_delegators_lose_is_what_the_chain_takes() {
    let (params, stake) = (slashing::default_params(), staking::default_params());
    let (down, twice) = (
        hundredths(params.slash_fraction_downtime),
        hundredths(params.slash_fraction_double_sign),
    );
    let days = stake.unbonding_time.unwrap().seconds / (24 * 3600);
    let window = params.signed_blocks_window;
    says(
        "roles/validator.md",
        &[
            format!("of the last *{window}* blocks not signed | every block's commit | {down} of the stake"),
            format!("jailed for *{}* minutes", params.downtime_jail_seconds / 60),
            format!("CometBFT's evidence | {twice} of the stake"),
            format!("the money returns after {days} days"),
        ],
    );
    says(
        "roles/delegator.md",
        &[
            format!("of the last *{window}* blocks | {down} of your stake"),
            format!("voted twice at one height | {twice} |"),
            format!("earns nothing for *{days} days*"),
            format!("At most *{}* unbondings", stake.max_entries),
        ],
    );
    assert_eq!(
        params.min_signed_per_window,
        Dec::ratio(1, 2).unwrap(),
        "the pages say half"
    );
}

#[test]
fn the_rules_of_votes_and_fees_are_those_of_the_pages() {
    let params = gov::default_params();
    let amount =
        |coins: &[trainyard_proto::cosmos::base::v1beta1::Coin]| coins[0].amount.parse::<u64>().unwrap() / TRAIN;
    let days = |period: Option<trainyard_proto::tendermint_proto::google::protobuf::Duration>| {
        period.unwrap().seconds / (24 * 3600)
    };
    assert_eq!(days(params.expedited_voting_period), 1);
    says(
        "governance.md",
        &[
            format!(
                "{} TRAIN, {} TRAIN",
                amount(&params.min_deposit),
                amount(&params.expedited_min_deposit)
            ),
            format!(
                "| {} days; {} days; 1 day |",
                days(params.max_deposit_period),
                days(params.voting_period)
            ),
        ],
    );
    let price = fees::default_params();
    says(
        "fees.md",
        &[
            format!(
                "/ {}        target = {}",
                price.change_denominator,
                utrain(price.target_gas)
            ),
            format!(
                "within *0.0001* and *{}* utrain per gas",
                price.max_base_fee / 1_000_000
            ),
        ],
    );
    assert_eq!(fees::price(price.min_base_fee), "0.000100utrain");
    // Ten full blocks, and back.
    let mut base = price.min_base_fee;
    for _ in 0..10 {
        base = fees::next(base, 2 * price.target_gas, &price);
    }
    says("fees.md", &[format!("the base fee is\n0.{base:06} utrain")]);
    let mut blocks = 0;
    while base > price.min_base_fee {
        base = fees::next(base, 0, &price);
        blocks += 1;
    }
    assert_eq!(blocks, 9, "the page says nine");
}
