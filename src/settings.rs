//! Options of the daemon, in layers: defaults ← relayd.toml ← RELAYD_* environment ← flags.
//! Owns the layering, and the only use of the library that does it.
//! Must never let an error pass without its source and its key.

use crate::cli::Flags;
use actors::options::Options;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::{Figment, Source};
use std::path::{Path, PathBuf};

const DEFAULT_FILE: &str = "/etc/relayd.toml";
const PREFIX: &str = "RELAYD_";

/// The options that hold for this start. `file` is the configuration file, beside which relayd.toml may stand.
///
/// # Errors
/// One sentence for each wrong option.
pub fn read(flags: &Flags, file: &Path) -> Result<Options, Vec<String>> {
    let mut figment = Figment::from(Serialized::defaults(Options::default()));
    if let Some(path) = options_file(flags, file)? {
        figment = figment.merge(Toml::file_exact(path));
    }
    // Only what is an option: a container platform sets variables of its own, such as RELAYD_SERVICE_HOST.
    let names = names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    figment = figment.merge(Env::prefixed(PREFIX).only(&names));
    for (name, value) in &flags.settings {
        figment = match value.parse::<bool>() {
            Ok(yes) => figment.merge(Serialized::default(name, yes)),
            Err(_) => figment.merge(Serialized::default(name, value)),
        };
    }
    figment
        .extract()
        .map_err(|error| error.into_iter().map(|error| explain(&error)).collect())
}

/// Names of all options.
fn names() -> Vec<String> {
    match figment::value::Value::serialize(Options::default()) {
        Ok(figment::value::Value::Dict(_, dict)) => dict.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

fn options_file(flags: &Flags, file: &Path) -> Result<Option<PathBuf>, Vec<String>> {
    if let Some(path) = &flags.options {
        return match std::fs::metadata(path) {
            Ok(_) => Ok(Some(path.clone())),
            Err(error) => Err(vec![format!("{}: {error}", path.display())]),
        };
    }
    let beside = file.with_file_name("relayd.toml");
    Ok([beside, PathBuf::from(DEFAULT_FILE)]
        .into_iter()
        .find(|path| path.is_file()))
}

fn explain(error: &figment::Error) -> String {
    let key = error.path.join(".");
    let source = match error.metadata.as_ref() {
        Some(metadata) => match &metadata.source {
            Some(Source::File(path)) => path.display().to_string(),
            _ if metadata.name.contains("environment") => {
                format!("environment {PREFIX}{}", key.to_uppercase())
            }
            _ => format!("flag --{}", key.replace('_', "-")),
        },
        None => "options".to_owned(),
    };
    if key.is_empty() {
        format!("{source}: {}", error.kind)
    } else {
        format!("{source}: {key}: {}", error.kind)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::parse;

    fn flags(line: &str) -> Flags {
        parse(line.split_whitespace().map(Into::into)).unwrap()
    }

    fn directory(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("relayd-settings-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let directory = directory("layers");
        let conf = directory.join("x.conf");
        std::fs::write(
            directory.join("relayd.toml"),
            "user = 'file'\ntable = 'mine'\n",
        )
        .unwrap();
        let line = "--user flag --metrics 127.0.0.1:9100 --kill-tcp true";
        let options = read(&flags(line), &conf).unwrap();
        assert!(options.kill_tcp);
        assert_eq!(options.user, "flag");
        assert_eq!(options.table, "mine");
        assert_eq!(options.metrics, Some("127.0.0.1:9100".parse().unwrap()));
        assert_eq!(options.chroot, Options::default().chroot);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn errors_name_source_and_key() {
        let directory = directory("errors");
        let conf = directory.join("x.conf");
        let toml = directory.join("relayd.toml");
        let error = |line| read(&flags(line), &conf).unwrap_err().join("\n");
        let text = error("--metrics nonsense");
        assert!(
            text.starts_with("flag --metrics: metrics: invalid"),
            "{text}"
        );
        let text = error("--backend magic");
        assert!(text.starts_with("flag --backend: backend: "), "{text}");
        assert!(text.contains("magic"), "{text}");
        std::fs::write(&toml, "usr = 'x'\n").unwrap();
        let text = error("");
        assert!(
            text.contains("relayd.toml") && text.contains("usr"),
            "{text}"
        );
        std::fs::write(&toml, "user = [1]\n").unwrap();
        let text = error("");
        assert!(text.contains("relayd.toml: user: "), "{text}");
        std::fs::write(&toml, "user = \n").unwrap();
        assert!(error("").contains("relayd.toml"));
        let text = error("--options /nonexistent/o.toml");
        assert!(text.starts_with("/nonexistent/o.toml: "), "{text}");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
