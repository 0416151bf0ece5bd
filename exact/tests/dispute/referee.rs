//! The referee alone: what it finds, and what it refuses.

use super::programs::{Case, Random, case, execute};
use std::collections::BTreeMap;
use trainyard_exact::merkle::{leaf_hash, root_of_hashes};
use trainyard_exact::prf::Hash;
use trainyard_exact::program::Commitment;
use trainyard_exact::referee::{MAX_TERMS_PER_CALL, Question, Refused, Verdict, Witness, cost, referee};
use trainyard_exact::state::tensor_root;

/// A random question about a step, with the true answer, and the witness.
fn question(random: &mut Random, case: &Case) -> (Question, Witness) {
    let values = execute(case, 0, &case.start, |_, _, _| ());
    let roots: Vec<Hash> = values.iter().map(|value| tensor_root(value)).collect();
    let commitment = Commitment::new(&case.program).unwrap();
    let at = random.below(case.program.instructions().len());
    let instruction = &case.program.instructions()[at];
    let value = case.program.first() + at;
    let primitive = &instruction.primitive;
    let element = random.below(primitive.elements());
    let start = random.below(primitive.terms());
    let end = (start + 1 + random.below(40)).min(primitive.terms());
    let read = |input: usize, at: usize| values[instruction.operands[input]][at];
    let before = primitive.fold(element, 0..start, primitive.start(), read);
    let after = primitive.fold(element, start..end, before, read);
    let hashes = roots[..value].iter().map(|root| leaf_hash(root)).collect();
    let question = Question {
        program: commitment.root(),
        header: *commitment.header(),
        prefix: root_of_hashes(hashes),
        value: value as u64,
        element,
        range: start..end,
        before,
        after,
    };
    let values: BTreeMap<usize, Vec<f32>> = values.into_iter().enumerate().collect();
    let witness = Witness::new(&commitment, &question, &roots, &values).unwrap();
    assert!(cost(primitive, &question.range) < 100_000);
    (question, witness)
}

#[test]
fn the_truth_holds_and_nothing_else_does() {
    let mut random = Random::new(1);
    for _ in 0..400 {
        let case = case(&mut random, 1);
        let (question, witness) = question(&mut random, &case);
        assert_eq!(referee(&question, &witness), Ok(Verdict::Holds));
        let bytes = witness.encode();
        assert_eq!(Witness::decode(&bytes, &question).as_ref(), Ok(&witness));
        let lie = Question {
            after: f32::from_bits(question.after.to_bits() ^ 1),
            ..question.clone()
        };
        let found = referee(&lie, &witness).unwrap();
        assert!(matches!(found, Verdict::Fails(value) if value.to_bits() == question.after.to_bits()));
        // One bit anywhere: no bytes prove anything else.
        for _ in 0..20 {
            let mut other = bytes.clone();
            other[random.below(bytes.len())] ^= 1 << random.below(8);
            if let Ok(witness) = Witness::decode(&other, &question) {
                assert!(referee(&question, &witness).is_err());
            }
            assert!(Witness::decode(&bytes[..random.below(bytes.len())], &question).is_err());
        }
    }
}

#[test]
fn what_is_missing_left_over_or_wrong_is_refused() {
    let mut random = Random::new(2);
    let mut superfluous = 0;
    for _ in 0..200 {
        let case = case(&mut random, 1);
        let (question, witness) = question(&mut random, &case);
        let refused = |question: &Question, witness: &Witness| referee(question, witness).unwrap_err();
        for (change, name) in [
            ("value", "instruction"),
            ("program", "instruction"),
            ("element", "element"),
        ] {
            let mut other = question.clone();
            match change {
                "value" => other.value += 1,
                "program" => other.program[3] ^= 1,
                _ => other.element = usize::MAX,
            }
            let text = refused(&other, &witness).to_string();
            assert!(text.contains(name), "{change}: {text}");
        }
        let long = Question {
            range: 0..MAX_TERMS_PER_CALL + 1,
            ..question.clone()
        };
        assert!(matches!(
            refused(&long, &witness),
            Refused::Outside { .. } | Refused::Terms { .. }
        ));
        if witness.operands.is_empty() {
            continue;
        }
        let mut other = question.clone();
        other.prefix[0] ^= 1;
        assert!(matches!(refused(&other, &witness), Refused::Prefix { .. }));
        let mut less = witness.clone();
        less.operands.pop();
        assert!(referee(&question, &less).is_err());
        let mut twice = witness.clone();
        twice.operands.push(witness.operands[0].clone());
        assert!(matches!(refused(&question, &twice), Refused::Operand { .. }));
        let mut root = witness.clone();
        root.operands[0].root[0] ^= 1;
        assert!(matches!(refused(&question, &root), Refused::Opening { .. }));
        // Fewer terms than the witness opens leaves for.
        let none = Question {
            range: question.range.start..question.range.start,
            ..question.clone()
        };
        assert!(matches!(refused(&none, &witness), Refused::Superfluous { .. }));
        superfluous += 1;
    }
    assert!(superfluous > 100);
}
