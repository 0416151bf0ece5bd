//! Genesis files, bent value by value: an export of a chain that a crowd has lived on, with numbers, texts and entries changed.

use serde_json::Value;
use trainyard_modules::{
    gas::Gas,
    machine::{self, Genesis},
    state::{Changes, Empty, State},
    upgrade,
};

use crate::{POPULATED, harness::fuzz_made, mutate::Draws};

/// Numbers at which something overflows, wraps or is divided by.
const NUMBERS: [u64; 8] = [0, 1, 2, 1 << 31, 1 << 32, i64::MAX as u64, u64::MAX - 1, u64::MAX];

fn pick<'a, T>(from: &'a [T], draws: &mut Draws) -> &'a T {
    &from[draws.below(from.len())]
}

/// Some value inside of `value`, mostly far down.
fn descend<'a>(value: &'a mut Value, draws: &mut Draws) -> &'a mut Value {
    let inner = match value {
        Value::Object(fields) => fields.len(),
        Value::Array(items) if draws.below(8) > 0 => items.len(),
        _ => 0,
    };
    let at = draws.below(inner);
    if inner == 0 {
        return value;
    }
    let child = match value {
        Value::Object(fields) => fields.values_mut().nth(at),
        Value::Array(items) => items.get_mut(at),
        _ => None,
    };
    descend(child.expect("there are more"), draws)
}

fn bend(value: &mut Value, draws: &mut Draws) {
    match value {
        Value::Number(number) => {
            let old = number.as_u64().unwrap_or(0);
            *value = match draws.below(4) {
                0 => old.wrapping_add(1).into(),
                1 => old.wrapping_sub(1).into(),
                _ => (*pick(&NUMBERS, draws)).into(),
            };
        }
        Value::String(text) => {
            let number = text.parse::<u64>().is_ok();
            match draws.below(5) {
                0 => text.clear(),
                1 if number => *text = pick(&NUMBERS, draws).to_string(),
                2 if number => *text = format!("{}", text.parse::<u64>().unwrap_or(0).wrapping_add(1)),
                3 => text.push('0'),
                _ => {
                    text.pop();
                }
            }
        }
        Value::Bool(flag) => *flag = !*flag,
        Value::Array(items) => {
            let at = draws.below(items.len());
            match draws.below(3) {
                0 if !items.is_empty() => drop(items.remove(at)),
                1 if !items.is_empty() => items.push(items[at].clone()),
                _ => items.reverse(),
            }
        }
        Value::Null => *value = Value::Object(serde_json::Map::new()),
        Value::Object(_) => *value = Value::Null,
    }
}

/// A genesis that is taken makes a chain whose export makes the same chain, and whose books are kept.
fn taken(bytes: &[u8]) -> bool {
    let Ok(genesis) = serde_json::from_slice::<Genesis>(bytes) else {
        return false;
    };
    let Some((exported, first)) = start(&genesis) else {
        return false;
    };
    let (again, second) = start(&exported).expect("an export is taken");
    assert_eq!(again, exported, "an export of an export differs");
    for (key, value) in &first {
        assert_eq!(second.get(key), Some(value), "an import changes {}", key.escape_ascii());
    }
    assert_eq!(first.len(), second.len(), "an import adds keys");
    true
}

/// The export of a chain that starts from a genesis, and its state; none when the genesis is refused.
fn start(genesis: &Genesis) -> Option<(Genesis, Changes)> {
    let mut state = State::new(&Empty, Gas::unlimited());
    machine::init_genesis(&mut state, &POPULATED.block, genesis, &upgrade::THIS, &mut Vec::new()).ok()?;
    machine::invariants(&mut state).expect("a genesis that is taken adds up");
    let exported = machine::export(&mut state).expect("what was taken can be exported");
    let changes = state.into_changes().into_iter().filter(|(_, value)| value.is_some());
    Some((exported, changes.collect()))
}

#[test]
fn genesis_files_are_refused_or_add_up() {
    let whole = serde_json::to_value(&POPULATED.genesis).unwrap();
    assert!(taken(&serde_json::to_vec(&whole).unwrap()));
    let make = |draws: &mut Draws| {
        let mut bent = whole.clone();
        for _ in 0..=draws.below(2) {
            bend(descend(&mut bent, draws), draws);
        }
        serde_json::to_vec(&bent).unwrap()
    };
    fuzz_made("genesis files", 300, make, taken);
}

/// Each amount of money as large as a number can be, where it stands and everywhere at once.
#[test]
fn no_sum_of_a_genesis_overflows() {
    const AMOUNTS: [&str; 6] = ["amount", "bond", "budget", "stake", "posting_fee", "balance"];
    fn raise(value: &mut Value, left: &mut Option<usize>) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    if AMOUNTS.contains(&name.as_str()) && field.is_u64() {
                        match left {
                            Some(0) | None => *field = u64::MAX.into(),
                            Some(_) => {}
                        }
                        *left = left.map(|left| left.wrapping_sub(1));
                    }
                    raise(field, left);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| raise(item, left)),
            _ => {}
        }
    }
    let whole = serde_json::to_value(&POPULATED.genesis).unwrap();
    let mut refused = 0;
    for nth in (0..200).map(Some).chain([None]) {
        let mut bent = whole.clone();
        raise(&mut bent, &mut nth.clone());
        if bent != whole {
            refused += 1;
            assert!(
                !taken(&serde_json::to_vec(&bent).unwrap()),
                "amount {nth:?} may be anything"
            );
        }
    }
    assert!(refused > 30, "{refused} amounts were raised");
}

#[test]
fn no_epoch_of_a_genesis_overflows() {
    let mut genesis = POPULATED.genesis.clone();
    let last = genesis.pouw.checkpoints.last_mut().expect("epochs are over");
    last.epoch = u64::MAX;
    assert!(start(&genesis).is_none());
}
