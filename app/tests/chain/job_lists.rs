//! Lists of jobs: by state, client and member, and what a worker can take; page by page.

use trainyard_app::testing::{Chain, TRAIN, address};
use trainyard_proto::{
    any,
    cosmos::base::query::v1beta1::PageRequest,
    job::{JobState, QueryJobsRequest, QueryJobsResponse, QueryOpenJobsForRequest, QueryOpenJobsForResponse},
};

use crate::support::*;

fn list(chain: &Chain, request: QueryJobsRequest) -> (Vec<u64>, Vec<u8>) {
    let answer: QueryJobsResponse = chain.query("/trainyard.job.v1.Query/Jobs", &request).unwrap();
    assert!(answer.jobs.iter().all(|j| j.spec.is_some()));
    let next = answer.pagination.unwrap().next_key;
    (answer.jobs.iter().map(|j| j.id).collect(), next)
}

fn numbers(chain: &Chain, state: JobState, client: &str, member: &str) -> Vec<u64> {
    let account = |name: &str| {
        if name.is_empty() {
            String::new()
        } else {
            address(name).to_string()
        }
    };
    let request = QueryJobsRequest {
        state: state.into(),
        client: account(client),
        member: account(member),
        pagination: None,
    };
    list(chain, request).0
}

#[test]
fn jobs_are_listed_by_state_client_and_member() {
    let mut chain = calm_yard();
    let first = post(&mut chain, &calm(plain()), BUDGET);
    chain.ok("other", &post_msg("other", &calm(plain()), BUDGET));
    let third = post(&mut chain, &calm(plain()), BUDGET);
    let any = JobState::Unspecified;
    assert_eq!(numbers(&chain, JobState::Open, "", ""), [1, 2, 3]);
    chain.ok(CLIENT, &cancel(CLIENT, third));
    join_all(&mut chain, 2, &WORKERS);
    chain.ok("w1", &join("w1", first));
    let lists = [
        numbers(&chain, any, "", ""),
        numbers(&chain, JobState::Open, "", ""),
        numbers(&chain, JobState::Training, "", ""),
        numbers(&chain, any, CLIENT, ""),
        numbers(&chain, JobState::Cancelled, CLIENT, ""),
        numbers(&chain, any, "", "w1"),
        numbers(&chain, JobState::Open, "", "w1"),
        numbers(&chain, any, CLIENT, "w1"),
        numbers(&chain, any, "", "e2"),
        numbers(&chain, any, "w1", ""),
    ];
    let expected: [&[u64]; 10] = [&[1, 2, 3], &[1], &[2], &[1, 3], &[3], &[1, 2], &[1], &[1], &[2], &[]];
    assert_eq!(lists, expected);
    // Who left while the job was open is none of it any more; who left in training still is.
    chain.ok("w1", &leave("w1", first));
    chain.ok("w1", &leave("w1", 2));
    assert_eq!(numbers(&chain, any, "", "w1"), [2]);
    let bad = QueryJobsRequest {
        member: "nobody".into(),
        ..QueryJobsRequest::default()
    };
    assert!(
        chain
            .query::<_, QueryJobsResponse>("/trainyard.job.v1.Query/Jobs", &bad)
            .is_err()
    );
}

#[test]
fn pages_follow_each_other_by_key_whatever_the_list() {
    let mut chain = calm_yard();
    let message = any::pack(&post_msg(CLIENT, &calm(plain()), TRAIN));
    let craft = chain.craft(CLIENT, vec![message]).gas(400_000);
    let txs = (0..230).map(|number| craft.clone().sequence_offset(number).sign());
    let txs = txs.collect();
    all_ok(&mut chain, txs);
    chain.ok(CLIENT, &cancel(CLIENT, 4));
    for (state, client, count) in [
        (JobState::Unspecified, "", 230),
        (JobState::Open, "", 229),
        (JobState::Open, CLIENT, 229),
    ] {
        let (mut all, mut key) = (Vec::new(), Vec::new());
        loop {
            let request = QueryJobsRequest {
                state: state.into(),
                client: if client.is_empty() {
                    String::new()
                } else {
                    address(client).to_string()
                },
                pagination: Some(PageRequest {
                    key,
                    limit: 70,
                    ..PageRequest::default()
                }),
                ..QueryJobsRequest::default()
            };
            let (page, next) = list(&chain, request);
            assert!(page.len() == 70 || next.is_empty());
            all.extend(page);
            key = next;
            if key.is_empty() {
                break;
            }
        }
        let expected: Vec<u64> = (1..=230).filter(|id| count == 230 || *id != 4).collect();
        assert_eq!(all, expected);
    }
    // Exactly the last entry ends the list, across the bound of what is read at once.
    for (offset, limit, last) in [(0, 229, true), (100, 100, false), (200, 29, true), (0, 100, false)] {
        let request = QueryJobsRequest {
            state: JobState::Open.into(),
            pagination: Some(PageRequest {
                offset,
                limit,
                ..PageRequest::default()
            }),
            ..QueryJobsRequest::default()
        };
        let (page, next) = list(&chain, request);
        assert_eq!((page.len() as u64, next.is_empty()), (limit, last), "{offset} {limit}");
    }
}

#[test]
fn open_jobs_come_with_the_reason_why_a_worker_cannot_take_them() {
    let mut chain = calm_yard();
    let mut strict = calm(plain());
    strict.requirements.as_mut().unwrap().min_reputation = 51;
    let mut tagged = calm(plain());
    tagged.requirements.as_mut().unwrap().subnet = "vision".into();
    for spec in [&calm(plain()), &strict, &tagged, &calm(plain()), &calm(plain())] {
        post(&mut chain, spec, BUDGET);
    }
    chain.ok("w1", &join("w1", 4));
    chain.ok(CLIENT, &cancel(CLIENT, 5));
    let ask = |name: &str| -> Vec<(u64, String)> {
        let request = QueryOpenJobsForRequest {
            worker: address(name).to_string(),
            ..QueryOpenJobsForRequest::default()
        };
        let path = "/trainyard.job.v1.Query/OpenJobsFor";
        let answer: QueryOpenJobsForResponse = chain.query(path, &request).unwrap();
        let jobs = answer.jobs.into_iter();
        jobs.map(|open| (open.job.unwrap().id, open.refusal)).collect()
    };
    let found = ask("w1");
    let words = [
        "",
        "its reputation is 50",
        "sends no capability record",
        "has joined job 4 already",
    ];
    assert_eq!(found.len(), 4);
    for ((id, refusal), (expected, word)) in found.iter().zip((1..).zip(words)) {
        assert_eq!(*id, expected);
        assert_eq!(refusal.is_empty(), word.is_empty(), "{refusal}");
        assert!(refusal.contains(word), "{refusal:?} lacks {word:?}");
    }
    assert!(
        ask("e1")
            .iter()
            .all(|(_, refusal)| refusal.contains("does not have the role worker"))
    );
    assert!(
        ask("other")
            .iter()
            .all(|(_, refusal)| refusal.contains("is not registered"))
    );
}
