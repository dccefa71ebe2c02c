//! `relayctl -h` and the completion scripts, both made from the word table.
//! Owns their layout.
//! Must never name a command that the parser does not know.

use crate::words::{COMMANDS, Next, Node, Word};
use std::fmt::Write;

const OPTIONS: &str = "\
options:
  -s socket                         control socket, instead of /var/run/relayd.sock
  -j                                JSON, for show and monitor
  -h, --help                        this text

A name or an id stands for <redirectid>, <tableid> (as name:port), <hostid>, <relayid>.
Words may be cut to any unambiguous prefix, except those marked with *.
";

fn text(word: Word) -> &'static str {
    let (Word::Keyword(text) | Word::Value(text)) = word;
    text
}

/// Every command as its words, its help, and whether one of its words must be spelt out.
fn commands() -> Vec<(String, &'static str, bool)> {
    fn walk(
        nodes: &[Node],
        before: &str,
        help: &'static str,
        addition: bool,
        out: &mut Vec<(String, &'static str, bool)>,
    ) {
        for node in nodes {
            let line = format!("{before}{}", text(node.word));
            let help = if node.help.is_empty() {
                help
            } else {
                node.help
            };
            let addition = addition || node.addition;
            match node.next {
                Next::End(_) => out.push((line, help, addition)),
                Next::One(more) => walk(more, &format!("{line} "), help, addition, out),
                Next::Maybe(_, more) => {
                    out.push((line.clone(), help, addition));
                    walk(more, &format!("{line} "), help, addition, out);
                }
            }
        }
    }
    let mut out = Vec::new();
    walk(COMMANDS, "", "", false, &mut out);
    out
}

/// The text of `-h`.
pub fn help() -> String {
    let mut out = format!("{}\n\ncommands:\n", crate::error::USAGE);
    for (line, help, addition) in commands() {
        let mark = if addition { "*" } else { " " };
        let _ = writeln!(out, " {mark}{line:<33} {help}");
    }
    out.push('\n');
    out.push_str(OPTIONS);
    out
}

/// Words that may follow each sequence of words.
fn states() -> Vec<(String, Vec<&'static str>)> {
    fn walk(nodes: &[Node], path: &str, out: &mut Vec<(String, Vec<&'static str>)>) {
        out.push((
            path.to_owned(),
            nodes.iter().map(|n| text(n.word)).collect(),
        ));
        for node in nodes {
            // A value may be anything, so in a sequence it is written as `*`.
            let word = match node.word {
                Word::Keyword(keyword) => keyword,
                Word::Value(_) => "*",
            };
            let path = if path.is_empty() {
                word.to_owned()
            } else {
                format!("{path} {word}")
            };
            if let Next::One(more) | Next::Maybe(_, more) = node.next {
                walk(more, &path, out);
            }
        }
    }
    let mut out = Vec::new();
    walk(COMMANDS, "", &mut out);
    out
}

/// Completion script for a shell; `None` for one we have none for.
pub fn completions(shell: &str) -> Option<String> {
    match shell {
        "bash" => Some(bash()),
        "zsh" => Some(format!(
            "#compdef relayctl\nautoload -U +X bashcompinit && bashcompinit\n{}",
            bash()
        )),
        "fish" => Some(fish()),
        _ => None,
    }
}

fn words_for(possible: &[&str]) -> String {
    let words: Vec<&str> = possible
        .iter()
        .copied()
        .filter(|w| !w.starts_with('<'))
        .chain(
            possible
                .contains(&"<shell>")
                .then_some(["bash", "zsh", "fish"])
                .into_iter()
                .flatten(),
        )
        .collect();
    words.join(" ")
}

fn bash() -> String {
    let mut out = String::from(
        "_relayctl() {\n\
         \tlocal cur=\"${COMP_WORDS[COMP_CWORD]}\" path=\"\" i=1\n\
         \tCOMPREPLY=()\n\
         \twhile [ \"$i\" -lt \"$COMP_CWORD\" ]; do\n\
         \t\tcase \"${COMP_WORDS[i]}\" in\n\
         \t\t-s) i=$((i + 1)) ;;\n\
         \t\t-w) path=\"$path -w\" ;;\n\
         \t\t-*) ;;\n\
         \t\t*) path=\"$path ${COMP_WORDS[i]}\" ;;\n\
         \t\tesac\n\
         \t\ti=$((i + 1))\n\
         \tdone\n\
         \tcase \"${path# }\" in\n",
    );
    for (path, possible) in states() {
        let files = if possible.contains(&"<path>") {
            " $(compgen -f -- \"$cur\")"
        } else {
            ""
        };
        let pattern = if path.is_empty() {
            "\"\"".to_owned()
        } else {
            path.replace(' ', "\\ ")
        };
        let _ = writeln!(
            out,
            "\t{pattern}) COMPREPLY=($(compgen -W \"{}\" -- \"$cur\"){files}) ;;",
            words_for(&possible)
        );
    }
    out.push_str("\tesac\n}\ncomplete -F _relayctl relayctl\n");
    out
}

fn fish() -> String {
    let mut out = String::from(
        "complete -c relayctl -f\n\
         complete -c relayctl -s s -r -F -d 'control socket'\n\
         complete -c relayctl -s j -d 'JSON'\n\
         complete -c relayctl -s h -l help -d 'help'\n",
    );
    for (path, possible) in states() {
        let condition = if path.is_empty() {
            "__fish_use_subcommand".to_owned()
        } else {
            let last = path.split(' ').next_back().unwrap_or_default();
            if last == "*" {
                continue;
            }
            let seen: Vec<String> = path
                .split(' ')
                .map(|w| format!("__fish_seen_subcommand_from {w}"))
                .collect();
            seen.join("; and ")
        };
        let words = words_for(&possible);
        if !words.is_empty() {
            let _ = writeln!(out, "complete -c relayctl -n '{condition}' -a '{words}'");
        }
        if possible.contains(&"<path>") {
            let _ = writeln!(out, "complete -c relayctl -n '{condition}' -F");
        }
    }
    out
}
