//! Addresses and amounts as texts and back: one text per value, and nothing else is read.

use proptest::prelude::*;
use trainyard_proto::{
    address::{ACCOUNT_PREFIX, Address, CONSENSUS_PREFIX, OPERATOR_PREFIX},
    coin::{MAX_SUPPLY, UTRAIN_PER_TRAIN, parse_amount, parse_human, parse_utrain, show, utrain},
};

proptest! {
    #[test]
    fn addresses_round_trip(bytes: [u8; 20]) {
        let address = Address(bytes);
        prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
        prop_assert_eq!(Address::parse_operator(&address.operator()), Ok(address));
        prop_assert_eq!(Address::parse(&address.consensus(), CONSENSUS_PREFIX), Ok(address));
        prop_assert!(address.operator().parse::<Address>().is_err());
        prop_assert!(Address::parse(&address.to_string(), OPERATOR_PREFIX).is_err());
        prop_assert!(address.to_string().to_uppercase().parse::<Address>().is_err());
    }

    /// Bech32 finds every single wrong character.
    #[test]
    fn a_misspelt_address_is_none(bytes: [u8; 20], at: prop::sample::Index, with in "[a-z0-9]") {
        let text = Address(bytes).to_string();
        let position = at.index(text.len());
        let mut misspelt = text.clone();
        misspelt.replace_range(position..=position, &with);
        prop_assert_eq!(misspelt.parse::<Address>().is_ok(), misspelt == text);
    }

    #[test]
    fn what_is_read_as_an_address_is_its_text(text in "(train1)?[a-z0-9]{0,50}|\\PC{0,60}") {
        if let Ok(address) = Address::parse(&text, ACCOUNT_PREFIX) {
            prop_assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn amounts_round_trip(amount in 0..=MAX_SUPPLY) {
        prop_assert_eq!(parse_amount(&amount.to_string()), Ok(amount));
        prop_assert_eq!(parse_utrain(Some(&utrain(amount))), Ok(amount));
        prop_assert_eq!(parse_human(&show(amount)), Ok(amount));
        prop_assert_eq!(parse_human(&format!("{amount}utrain")), Ok(amount));
    }

    #[test]
    fn amounts_beyond_all_money_are_refused(amount in MAX_SUPPLY + 1..) {
        prop_assert!(parse_amount(&amount.to_string()).is_err());
        let human = format!("{}TRAIN", amount / UTRAIN_PER_TRAIN + 1);
        prop_assert!(parse_human(&human).is_err());
    }

    #[test]
    fn what_is_read_as_an_amount_is_its_text(text in "[+-]?[0-9]{0,22}|\\PC{0,20}") {
        if let Ok(amount) = parse_amount(&text) {
            prop_assert_eq!(amount.to_string(), text);
        }
    }

    #[test]
    fn nothing_people_write_panics(text in "[ +-]?[0-9.e_]{0,25} ?(train|TRAIN|utrain|\\PC{0,3})") {
        if let Ok(amount) = parse_human(&text) {
            prop_assert!(amount <= MAX_SUPPLY);
        }
    }
}
