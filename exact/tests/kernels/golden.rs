//! One hash for each kind of operation: the bits of today are the bits of every later version.

use super::{Draw, check, contraction, fold, map, moves};
use sha2::{Digest, Sha256};
use trainyard_exact::definition::Primitive;

type Make = fn(&mut Draw) -> (Primitive, Vec<Vec<f32>>);

#[test]
fn the_bits_are_those_of_every_version() {
    let makes: [(&str, Make, &str); 6] = [
        ("products", contraction::a_product, "1e1f45010794077b"),
        ("convolutions", contraction::a_convolution, "4a150bacd1243724"),
        ("folds", fold::a_fold, "539a6f6a404071de"),
        ("maps", map::a_map, "ed7f11ece36ebf57"),
        ("layouts, gathers and scatters", moves::a_move, "4d45f13f7e42583c"),
        ("random numbers", moves::random_numbers, "036efcca0fb9b235"),
    ];
    let mut found = Vec::new();
    for (name, make, _) in makes {
        let mut hash = Sha256::new();
        for seed in 0..24 {
            let (primitive, inputs) = make(&mut Draw::new(vec![seed]));
            for bits in check(&primitive, &inputs) {
                hash.update(bits.to_le_bytes());
            }
        }
        let digest = hash.finalize();
        let hex: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        found.push((name, hex));
    }
    let expected: Vec<_> = makes
        .iter()
        .map(|(name, _, hash)| (*name, (*hash).to_owned()))
        .collect();
    assert_eq!(found, expected);
}
