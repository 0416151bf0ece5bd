//! The store against a model, its proofs against ICS23's verifier, and its durability against real processes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use ics23::HostFunctionsManager;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tempfile::TempDir;

use super::columns::{INDEX, NODES, PREIMAGES, VALUES};
use super::*;

type State = BTreeMap<Vec<u8>, Vec<u8>>;

fn open(dir: &TempDir) -> Store {
    open_with(dir, None, 4 << 20)
}

fn open_with(dir: &TempDir, keep_recent: Option<u64>, cache_bytes: usize) -> Store {
    Store::open(
        dir.path(),
        &Options {
            keep_recent,
            cache_bytes,
        },
    )
    .unwrap()
}

fn set(pairs: &[(&str, &str)]) -> Changes {
    pairs
        .iter()
        .map(|(key, value)| (key.as_bytes().to_vec(), Some(value.as_bytes().to_vec())))
        .collect()
}

fn commit(store: &Store, height: u64, changes: Changes) -> [u8; 32] {
    let batch = store.prepare(height, changes).unwrap();
    store.commit(batch).unwrap().app_hash
}

/// The app hash by its definition: a binary tree over the hashes of the keys, in which a subtree with one leaf is
/// that leaf.
fn definition(state: &State) -> [u8; 32] {
    fn hash(parts: [&[u8]; 3]) -> [u8; 32] {
        parts
            .into_iter()
            .fold(Sha256::new(), Sha256::chain_update)
            .finalize()
            .into()
    }
    fn subtree(leaves: &[([u8; 32], [u8; 32])], depth: usize) -> [u8; 32] {
        match leaves {
            [] => Store::empty_root(),
            [(key, value)] => hash([b"JMT::LeafNode", key, value]),
            _ => {
                let split = leaves.partition_point(|(key, _)| key[depth / 8] >> (7 - depth % 8) & 1 == 0);
                let (left, right) = (
                    subtree(&leaves[..split], depth + 1),
                    subtree(&leaves[split..], depth + 1),
                );
                hash([b"JMT::IntrnalNode", &left, &right])
            }
        }
    }
    let digest = |bytes: &[u8]| -> [u8; 32] { Sha256::digest(bytes).into() };
    let mut leaves: Vec<_> = state
        .iter()
        .map(|(key, value)| (digest(key), digest(provable(value))))
        .collect();
    leaves.sort_unstable();
    subtree(&leaves, 0)
}

fn assert_proof(store: &Store, key: &[u8], height: u64) {
    let (value, proof) = store.prove(key, height).unwrap();
    let (root, spec) = (
        store.app_hash(height).unwrap().to_vec(),
        trainyard_client::proof::spec(),
    );
    let member = |value: &[u8]| ics23::verify_membership::<HostFunctionsManager>(&proof, &spec, &root, key, value);
    let absent = ics23::verify_non_membership::<HostFunctionsManager>(&proof, &spec, &root, key);
    match value {
        Some(value) => {
            assert!(member(provable(&value)), "no proof of {key:02x?} at {height}");
            assert!(!member(b"another value") && !absent);
        }
        None => assert!(
            absent && !member(b"any value"),
            "no proof of the absence of {key:02x?} at {height}"
        ),
    }
}

fn collect(range: Range<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    range.map(Result::unwrap).collect()
}

fn rows(store: &Store, column: &str) -> usize {
    store.flush().unwrap();
    let db = &store.inner.db;
    db.iterator_cf(handle(db, column).unwrap(), rocksdb::IteratorMode::Start)
        .count()
}

#[derive(Clone, Debug)]
enum Op {
    Commit(BTreeMap<Vec<u8>, Option<Vec<u8>>>),
    /// A prepared batch that is never committed.
    Abandon(BTreeMap<Vec<u8>, Option<Vec<u8>>>),
    Prune(Index),
    Rollback,
    Reopen,
}

/// Few and awkward bytes, so that keys collide, extend each other and need escaping.
fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(select(vec![0x00, 0x01, 0x7f, 0xff]), 1..4)
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let changes = || btree_map(key(), proptest::option::weighted(0.6, vec(any::<u8>(), 0..3)), 0..12);
    let op = prop_oneof![
        10 => changes().prop_map(Op::Commit),
        1 => changes().prop_map(Op::Abandon),
        2 => any::<Index>().prop_map(Op::Prune),
        1 => Just(Op::Rollback),
        1 => Just(Op::Reopen),
    ];
    vec(op, 1..24)
}

fn apply(state: &mut State, changes: Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => state.insert(key, value),
            None => state.remove(&key),
        };
    }
}

fn check_height(store: &Store, height: u64, state: &State, bounds: &[(Vec<u8>, Vec<u8>)]) {
    let snapshot = store.at(height).unwrap();
    let forward: Vec<_> = state.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    assert_eq!(
        collect(snapshot.range(&[], None, false).unwrap()),
        forward,
        "height {height}"
    );
    let backward: Vec<_> = forward.iter().rev().cloned().collect();
    assert_eq!(
        collect(snapshot.range(&[], None, true).unwrap()),
        backward,
        "height {height}"
    );
    for (start, end) in bounds {
        let mut expected: Vec<_> = forward
            .iter()
            .filter(|(key, _)| start <= key && key < end)
            .cloned()
            .collect();
        assert_eq!(
            collect(snapshot.range(start, Some(end), false).unwrap()),
            expected,
            "{start:?}..{end:?}"
        );
        expected.reverse();
        assert_eq!(
            collect(snapshot.range(start, Some(end), true).unwrap()),
            expected,
            "{start:?}..{end:?}"
        );
        assert_eq!(snapshot.get(start).unwrap().as_ref(), state.get(start));
        if !state.is_empty() {
            assert_proof(store, start, height);
        }
    }
    assert_eq!(store.app_hash(height).unwrap(), definition(state));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_map_per_height(
        first in 1_u64..1000, ops in ops(), bounds in vec((key(), key()), 4), keep in proptest::option::of(1_u64..6),
        cache in select(vec![0, 2_000, 8_000, 4 << 20]),
    ) {
        let dir = TempDir::new().unwrap();
        let mut store = open_with(&dir, keep, cache);
        let mut heights: Vec<State> = Vec::new(); // From `first` on.
        let mut oldest = first;
        for op in ops {
            let next = first + heights.len() as u64;
            match op {
                Op::Commit(changes) => {
                    let before = heights.last().cloned().unwrap_or_default();
                    let mut state = before.clone();
                    apply(&mut state, changes.clone());
                    let (old, keys) = (store.snapshot(), changes.keys().cloned().collect::<Vec<_>>());
                    let mut old = old.cursor();
                    let half = keys.len() / 2;
                    for key in &keys[..half] {
                        prop_assert_eq!(old.get(key).unwrap(), before.get(key).cloned());
                    }
                    prop_assert_eq!(commit(&store, next, changes), definition(&state));
                    // While it may still be under way.
                    let new = store.snapshot();
                    let mut new = new.cursor();
                    for key in keys.iter().chain(bounds.iter().map(|(key, _)| key)) {
                        prop_assert_eq!(new.get(key).unwrap(), state.get(key).cloned());
                    }
                    if keep != Some(1) {
                        for key in &keys[half..] {
                            prop_assert_eq!(old.get(key).unwrap(), before.get(key).cloned());
                        }
                    }
                    heights.push(state);
                    oldest = oldest.max(keep.map_or(0, |keep| (next + 1).saturating_sub(keep)));
                }
                Op::Abandon(changes) => {
                    store.prepare(next, changes).unwrap();
                }
                Op::Prune(at) if !heights.is_empty() => {
                    let from = first + at.index(heights.len()) as u64;
                    store.prune(from).unwrap();
                    oldest = oldest.max(from);
                }
                Op::Rollback if next >= oldest + 2 => {
                    heights.pop();
                    prop_assert_eq!(store.rollback(&[]).unwrap().height, next - 2);
                }
                Op::Prune(_) | Op::Rollback => {
                    let error = store.rollback(&[]).unwrap_err();
                    prop_assert!(!error.is_fatal(), "{}", error);
                }
                Op::Reopen => {
                    drop(store);
                    store = open_with(&dir, keep, cache);
                }
            }
            prop_assert_eq!(store.latest().map(|latest| latest.height),
                heights.len().checked_sub(1).map(|last| first + last as u64));
            prop_assert_eq!(store.oldest(), (!heights.is_empty()).then_some(oldest));
        }
        for (height, state) in (first..).zip(&heights) {
            if height >= oldest {
                check_height(&store, height, state, &bounds);
            } else {
                let refused = matches!(store.at(height), Err(StoreError::Pruned { oldest: o, .. }) if o == oldest);
                prop_assert!(refused);
            }
        }
        // Whatever is left to sweep, the latest height alone must leave exactly its own rows.
        if let Some((last, state)) = heights.len().checked_sub(1).map(|at| (first + at as u64, &heights[at])) {
            store.prune(last).unwrap();
            check_height(&store, last, state, &bounds);
            prop_assert_eq!(rows(&store, VALUES), state.len());
            prop_assert_eq!(rows(&store, INDEX), 0);
            // A height taken back leaves the preimages of its new keys: harmless, and found again when set again.
            prop_assert!(rows(&store, PREIMAGES) >= state.len());
            let fresh_dir = TempDir::new().unwrap();
            let fresh = open(&fresh_dir);
            commit(&fresh, 1, state.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect());
            prop_assert_eq!(rows(&store, NODES), rows(&fresh, NODES));
        }
    }
}

#[test]
fn starts_empty_at_any_height() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    assert_eq!((store.latest(), store.oldest()), (None, None));
    assert_eq!(store.snapshot().height(), 0);
    assert_eq!(store.snapshot().get(b"a").unwrap(), None);
    assert_eq!(store.snapshot().range(&[], None, true).unwrap().count(), 0);
    assert!(matches!(store.at(1), Err(StoreError::Empty)));
    assert!(matches!(store.rollback(&[]), Err(StoreError::Empty)));
    assert!(matches!(
        store.prepare(0, Changes::new()),
        Err(StoreError::Height { found: 0, expected: 1 })
    ));

    let genesis = store.snapshot();
    assert_eq!(commit(&store, 77, Changes::new()), Store::empty_root());
    assert_eq!(genesis.get(b"a").unwrap(), None, "a view of the empty state stays one");
    assert!(matches!(
        store.prove(b"a", 77),
        Err(StoreError::EmptyTree { height: 77 })
    ));
    let root = commit(&store, 78, set(&[("a", "1")]));
    assert_eq!(commit(&store, 79, Changes::new()), root);
    assert_eq!(commit(&store, 80, set(&[("a", "1")])), root);
    assert_eq!(
        commit(&store, 81, [(b"a".to_vec(), None), (b"b".to_vec(), None)].into()),
        Store::empty_root()
    );
    assert_eq!(commit(&store, 82, Changes::new()), Store::empty_root());
    let error = store.at(83).err().unwrap().to_string();
    assert_eq!(error, "height 83 is not committed yet: the latest height is 82");
    for height in [1, 82, 84] {
        let error = store.prepare(height, Changes::new()).err().unwrap();
        assert!(matches!(error, StoreError::Height { expected: 83, .. }), "{error}");
    }
    assert!(matches!(
        store.prepare(83, set(&[("", "1")])),
        Err(StoreError::EmptyKey)
    ));
}

#[test]
fn proves_values_and_absences_at_every_height() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let key = |i: u32| format!("key/{i}").into_bytes();
    let value = |i: u32, height| {
        if i.is_multiple_of(7) {
            vec![]
        } else {
            format!("{i} at {height}").into_bytes()
        }
    };
    commit(&store, 1, (0..100).map(|i| (key(i), Some(value(i, 1)))).collect());
    commit(
        &store,
        2,
        (0..100).step_by(3).map(|i| (key(i), Some(value(i, 2)))).collect(),
    );
    commit(&store, 3, (0..100).step_by(2).map(|i| (key(i), None)).collect());
    for height in 1..=3 {
        for i in 0..110 {
            assert_proof(&store, &key(i), height);
        }
    }
    let (value, proof) = store.prove(&key(3), 2).unwrap();
    assert_eq!(value.unwrap(), b"3 at 2");
    let (root, spec) = (store.app_hash(1).unwrap().to_vec(), trainyard_client::proof::spec());
    assert!(!ics23::verify_membership::<HostFunctionsManager>(
        &proof,
        &spec,
        &root,
        &key(3),
        b"3 at 2"
    ));
}

#[test]
fn notes_live_and_die_with_their_batch() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let mut batch = store.prepare(1, set(&[("a", "1")])).unwrap();
    batch.put_note("block", b"one".to_vec());
    assert_eq!(store.note("block").unwrap(), None);
    let hash = store.commit(batch).unwrap().app_hash;
    assert_eq!(store.note("block").unwrap().unwrap(), b"one");

    let mut lost = store.prepare(2, set(&[("a", "2")])).unwrap();
    lost.put_note("block", b"two".to_vec());
    assert_eq!(
        store.snapshot().get(b"a").unwrap().unwrap(),
        b"1",
        "preparing writes nothing"
    );
    let other = store.prepare(2, set(&[("a", "3")])).unwrap();
    store.commit(other).unwrap();
    let error = store.commit(lost).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the batch for height 2 was prepared on 1, but the latest height is 2"
    );
    drop(store);

    let store = open(&dir);
    assert_eq!(store.note("block").unwrap().unwrap(), b"one");
    assert_eq!(store.latest().unwrap().height, 2);
    assert_eq!(
        store.rollback(&[]).unwrap(),
        Committed {
            height: 1,
            app_hash: hash
        }
    );
    assert_eq!(store.snapshot().get(b"a").unwrap().unwrap(), b"1");
    assert_eq!(
        commit(&store, 2, set(&[("b", "1")])),
        definition(&[(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"1".to_vec())].into())
    );
}

#[test]
fn a_snapshot_never_lies_while_it_is_pruned() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let all = |height: u64| -> Changes {
        (0..50_u8)
            .map(|i| (vec![i + 1], Some(height.to_be_bytes().to_vec())))
            .collect()
    };
    commit(&store, 1, all(1));
    let snapshot = store.at(1).unwrap();
    let mut range = snapshot.range(&[], None, false).unwrap();
    commit(&store, 2, all(2));
    assert_eq!(snapshot.get(&[9]).unwrap().unwrap(), 1_u64.to_be_bytes());
    assert!(store.prune(3).is_err());
    assert!(store.prune(2).unwrap() >= 50);
    assert!(
        range.all(|item| item.unwrap().1 == 1_u64.to_be_bytes()),
        "a running range is as of its start"
    );
    let error = snapshot.get(&[9]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "height 1 is not available: the lowest height available is 2"
    );
    assert!(!error.is_fatal());
    assert!(matches!(
        snapshot.range(&[], None, false),
        Err(StoreError::Pruned { .. })
    ));
    assert!(matches!(store.prove(&[9], 1), Err(StoreError::Pruned { .. })));
    assert!(matches!(store.rollback(&[]), Err(StoreError::Pruned { .. })));
}

#[test]
fn a_second_opener_is_told_who_is_there() {
    let dir = TempDir::new().unwrap();
    let in_use = |pid| {
        format!(
            "another process (pid {pid}) already uses {}; stop it first",
            dir.path().display()
        )
    };
    let refused = || Store::open(dir.path(), &Options::default()).err().unwrap().to_string();
    let store = open(&dir);
    assert_eq!(refused(), in_use(std::process::id()));
    drop(store);

    let mut child = spawn_child(&dir, "");
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(output.any(|line| line.contains("committed")));
    assert_eq!(refused(), in_use(child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    open(&dir);

    let file = dir.path().join("PID");
    assert!(matches!(
        Store::open(&file, &Options::default()),
        Err(StoreError::Open { .. })
    ));
}

#[test]
fn a_full_disk_is_recognised() {
    for (text, full) in [("No space left on device", true), ("Input/output error", false)] {
        // RocksDB only makes errors itself: let it fail on a path that carries the text.
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(text);
        let error = DB::open_for_read_only(&rocksdb::Options::default(), &path, false)
            .err()
            .unwrap();
        let error = StoreError::from(error);
        assert_eq!(matches!(error, StoreError::DiskFull(_)), full, "{error}");
        assert!(error.is_fatal());
    }
}

/// What the child process below commits at `height`: the state is a function of the height.
fn child_changes(height: u64) -> Changes {
    let key = |i: u64| [&[1], &(i % 50).to_be_bytes()[..]].concat();
    let value = |i: u64| format!("{height}/{i}").repeat(20).into_bytes();
    let mut changes: Changes = (0..20).map(|i| (key(height * 7 + i * 13), Some(value(i)))).collect();
    changes.insert(key(height), None);
    changes.insert(b"height".to_vec(), Some(height.to_be_bytes().to_vec()));
    changes
}

const CHILD_DIR: &str = "TRAINYARD_TEST_STORE";
const CHILD_HEIGHTS: u64 = 20_000;

/// Not a test of its own: the tests below run it in a process of its own. Commits until it is killed or fails.
#[test]
#[ignore = "run by other tests, in a process of its own"]
#[allow(clippy::print_stdout)]
fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let options = Options {
        keep_recent: Some(3),
        cache_bytes: 4 << 20,
    };
    let store = Store::open(Path::new(&dir), &options).unwrap();
    let first = store.latest().map_or(1, |latest| latest.height + 1);
    for height in first..=CHILD_HEIGHTS {
        match store
            .prepare(height, child_changes(height))
            .and_then(|batch| store.commit(batch))
        {
            Ok(_) => println!("committed {height}"),
            Err(error) => {
                println!("failed {} {error}", error.is_fatal());
                return;
            }
        }
    }
}

/// Runs `child` under a shell that first runs `setup`.
fn spawn_child(dir: &TempDir, setup: &str) -> Child {
    Command::new("sh")
        .arg("-c")
        .arg(format!(
            "{setup} exec \"$0\" store::tests::child --exact --ignored --nocapture"
        ))
        .arg(std::env::current_exe().unwrap())
        .env(CHILD_DIR, dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Compares the latest height with what the child should have written.
fn check_child(store: &Store) -> u64 {
    let Some(latest) = store.latest() else { return 0 };
    let mut state = State::new();
    (1..=latest.height).for_each(|height| apply(&mut state, child_changes(height)));
    assert_eq!(latest.app_hash, definition(&state), "height {}", latest.height);
    check_height(store, latest.height, &state, &[(vec![1], b"a".to_vec())]);
    latest.height
}

#[test]
fn killed_at_any_point_the_last_commit_is_whole() {
    let dir = TempDir::new().unwrap();
    let mut seen = 0;
    for lines in [1_usize, 2, 30, 7, 80, 3] {
        let mut child = spawn_child(&dir, "");
        let output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let committed: Vec<u64> = output
            .filter_map(|line| line.rsplit_once("committed ")?.1.parse().ok())
            .take(lines)
            .collect();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(committed.len(), lines);
        let height = check_child(&open(&dir));
        // The last one may have been under way.
        assert!(height >= seen + lines as u64 - 1, "{height} after {seen} + {lines}");
        assert!(height >= *committed.last().unwrap() - 1);
        seen = height;
    }
}

#[test]
fn a_failed_write_leaves_the_last_commit_intact() {
    let dir = TempDir::new().unwrap();
    commit(&open(&dir), 1, child_changes(1));
    // No file may grow beyond 1 MiB (2048 × 512 bytes): the log of writes fills up as a disk would.
    let child = spawn_child(&dir, "trap '' XFSZ; ulimit -f 2048;");
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let last = output
        .lines()
        .find_map(|line| line.split_once("failed "))
        .map(|(_, error)| error);
    assert!(
        last.is_some_and(|error| error.starts_with("true the database failed: IO error")),
        "{last:?}"
    );
    let committed = output.matches("committed ").count() as u64;
    let store = open(&dir);
    // The write that failed was of the last height, or the sweep after it.
    let latest = check_child(&store);
    assert!(
        latest == committed || latest == committed + 1,
        "{latest} after {committed}"
    );
    commit(&store, latest + 1, child_changes(latest + 1));
    assert_eq!(check_child(&store), latest + 1);
}
