//! A command line as a page of the book.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// The page of a command and of all commands below it.
pub(crate) fn page(mut command: Command, renew: &str) -> String {
    command.build();
    let name = command.get_name().to_owned();
    let mut out = format!("<!-- Made from the program by `{renew}`. -->\n\n# {name}\n\n");
    let _ = writeln!(out, "{}\n", said(&command));
    let global: Vec<_> = command.get_arguments().filter(|arg| arg.is_global_set()).collect();
    if !global.is_empty() {
        out.push_str("Options of every command:\n\n");
        options(&mut out, &global);
    }
    out.push_str("| command | |\n|---|---|\n");
    for below in shown(&command) {
        let about = below.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(out, "| [{0}](#{name}-{0}) | {about} |", below.get_name());
    }
    out.push('\n');
    for below in shown(&command) {
        section(&mut out, below, &name, 2);
    }
    out.trim_end().to_owned() + "\n"
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    let below = command.get_subcommands();
    below.filter(|below| !below.is_hide_set() && below.get_name() != "help")
}

/// What a command says of itself.
fn said(command: &Command) -> String {
    let text = command.get_long_about().or_else(|| command.get_about());
    let text = text.map(ToString::to_string).unwrap_or_default();
    let after = command.get_after_long_help().or_else(|| command.get_after_help());
    match after {
        Some(after) => format!("{text}\n\n```text\n{after}\n```"),
        None => text,
    }
}

fn section(out: &mut String, command: &Command, path: &str, depth: usize) {
    let name = format!("{path} {}", command.get_name());
    let _ = writeln!(out, "{} {name}\n", "#".repeat(depth.min(4)));
    let aliases: Vec<_> = command
        .get_visible_aliases()
        .map(|alias| format!("`{alias}`"))
        .collect();
    let also = if aliases.is_empty() {
        String::new()
    } else {
        format!(" Also {}.", aliases.join(", "))
    };
    let _ = writeln!(out, "{}.{also}\n", said(command).trim_end_matches('.'));
    let own: Vec<_> = command
        .get_arguments()
        .filter(|arg| {
            !arg.is_global_set() && !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version")
        })
        .collect();
    if shown(command).next().is_none() {
        let mut words = vec![name.clone()];
        if own.iter().any(|arg| !arg.is_positional()) {
            words.push("[OPTIONS]".into());
        }
        words.extend(own.iter().filter(|arg| arg.is_positional()).map(|arg| {
            let word = format!("<{}>", value(arg));
            let word = if arg.is_required_set() {
                word
            } else {
                format!("[{}]", value(arg))
            };
            if many(arg) { word + "…" } else { word }
        }));
        let _ = writeln!(out, "```text\n{}\n```\n", words.join(" "));
    }
    if !own.is_empty() {
        options(out, &own);
    }
    for below in shown(command) {
        section(out, below, &name, depth + 1);
    }
}

fn value(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    names.join(" ")
}

/// Whether an argument may be given several values.
fn many(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|range| range.max_values() > 1)
        || matches!(arg.get_action(), clap::ArgAction::Append)
}

fn options(out: &mut String, args: &[&Arg]) {
    out.push_str("| option | |\n|---|---|\n");
    for arg in args {
        let takes = arg.get_action().takes_values();
        let mut name = if arg.is_positional() {
            format!("<{}>", value(arg))
        } else {
            let long = arg.get_long().map(|long| format!("--{long}"));
            let short = arg.get_short().map(|short| format!("-{short}"));
            let names: Vec<_> = short.into_iter().chain(long).collect();
            let value = if takes {
                format!(" <{}>", value(arg))
            } else {
                String::new()
            };
            names.join(", ") + &value
        };
        if many(arg) {
            name.push('…');
        }
        let help = arg.get_long_help().or_else(|| arg.get_help());
        let mut what = vec![help.map(ToString::to_string).unwrap_or_default()];
        if takes {
            let choices: Vec<_> = arg
                .get_possible_values()
                .iter()
                .map(|choice| choice.get_name().to_owned())
                .collect();
            if !choices.is_empty() && choices.len() < 8 {
                what.push(format!("One of {}.", choices.join(", ")));
            }
            // The user's own folder is another one for everybody.
            let own = std::env::var("HOME").unwrap_or_default();
            let default: Vec<_> = arg
                .get_default_values()
                .iter()
                .map(|value| value.to_string_lossy())
                .collect();
            if !default.is_empty() {
                let default = default.join(" ");
                let shown = if own.is_empty() {
                    default
                } else {
                    default.replace(&own, "~")
                };
                what.push(format!("Default: `{shown}`."));
            }
        }
        if let Some(variable) = arg.get_env() {
            what.push(format!("Variable `{}`.", variable.to_string_lossy()));
        }
        if arg.is_required_set() && !arg.is_positional() {
            what.push("Required.".into());
        }
        let sentences: Vec<_> = what
            .iter()
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
            .collect();
        let what = sentences
            .join(". ")
            .replace("..", ".")
            .replace('|', "\\|")
            .replace('<', "&lt;");
        let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(out, "| `{}` | {what} |", name.replace('|', "\\|"));
    }
    out.push('\n');
}
