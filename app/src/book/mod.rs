//! What keeps the book true: pages made from the code, and links that lead somewhere. Only for tests.
//!
//! | file | what |
//! |---|---|
//! | `pages.rs` | a page that a test makes, compared with what lies in `docs/src/` |
//! | `commands.rs` | a command line as a page |
//! | `errors.rs` | the page of errors |
//! | `links.rs` | every link of every page leads somewhere |

pub(crate) mod commands;
mod errors;
mod links;
mod pages;

pub(crate) use pages::expect;

/// The end of a link that leads to a heading, as mdBook and GitHub make it.
pub(crate) fn anchor(heading: &str) -> String {
    let letters = heading.trim().chars().filter_map(|letter| match letter {
        letter if letter.is_alphanumeric() => Some(letter.to_ascii_lowercase()),
        '-' | '_' => Some(letter),
        letter if letter.is_whitespace() => Some('-'),
        _ => None,
    });
    letters.collect()
}
