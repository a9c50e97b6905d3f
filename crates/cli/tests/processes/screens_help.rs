//! The help of every command, as people read it: no line wider than the terminal.

use super::screens::golden;
use cairn_cli::arguments::{Cairn, relay::Cairnd};
use clap::{Command, CommandFactory as _};
use unicode_width::UnicodeWidthStr as _;

/// Every command with those below it, in the order in which help lists them.
fn helps(command: &mut Command, columns: usize, out: &mut String) {
    // Whatever the variables of whoever runs this are set to.
    *command = std::mem::take(command).mut_args(|argument| argument.hide_env_values(true));
    let mut help = command.render_help().to_string();
    if help.contains("(see more with '--help')") {
        help = command.render_long_help().to_string();
    }
    let name = command.get_bin_name().unwrap_or(command.get_name());
    out.push_str(&format!("$ {name} --help\n{help}\n"));
    for line in help.lines() {
        // An example is to be copied whole.
        let example = line.trim_start().starts_with("cairn");
        assert!(
            line.width() <= columns || example,
            "{name} --help is wider than {columns} columns: {line}"
        );
    }
    for below in command.get_subcommands_mut() {
        if below.get_name() != "help" && !below.is_hide_set() {
            helps(below, columns, out);
        }
    }
}

#[test]
fn every_help_fits_the_terminal() {
    for columns in [80, 160] {
        let mut cairn = Cairn::command().term_width(columns);
        cairn.build();
        let mut ops = cairn.find_subcommand("ops").unwrap().clone();
        let (mut field, mut operators, mut daemon) = Default::default();
        helps(&mut ops, columns, &mut operators);
        cairn = cairn.mut_subcommand("ops", |ops| ops.hide(true));
        helps(&mut cairn, columns, &mut field);
        let mut cairnd = Cairnd::command().term_width(columns);
        cairnd.build();
        helps(&mut cairnd, columns, &mut daemon);
        golden(&format!("help-field-{columns}.txt"), &field);
        golden(&format!("help-ops-{columns}.txt"), &operators);
        golden(&format!("help-cairnd-{columns}.txt"), &daemon);
    }
}
