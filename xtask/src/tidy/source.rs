//! What must not stand in a file.
use std::collections::BTreeMap;

/// The most lines a file of Rust may have; tests and generated code may have more.
const LINES_MAX: usize = 700;

/// Each is a promise that nobody keeps. Written in two halves, so that this file does not contain them.
const UNFINISHED: [&str; 7] = [
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("XX", "X"),
    concat!("#[ign", "ore"),
    concat!("for ", "now"),
];

/// Folders of one machine.
const MACHINE_PATHS: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/fa", "rm/"),
    concat!("/ro", "ot/"),
    concat!("/t", "mp/"),
    concat!("bash", "_jobs"),
];

/// Calls that read the clock, chance or the environment behind the program's back, with what to use instead.
const AMBIENT: [(&str, &str); 8] = [
    ("SystemTime::now", "sh_base::Env::wall_ms"),
    ("Utc::now", "sh_base::Env::wall_ms"),
    ("Instant::now", "sh_base::Env::mono or tokio::time::Instant"),
    ("rand::", "sh_base::Env::next_u64"),
    ("thread_rng", "sh_base::Env::next_u64"),
    ("Uuid::new_v4", "sh_base::Env::uuid"),
    ("Uuid::now_v7", "sh_base::Env::uuid"),
    ("env::var", "a setting that crates/server hands in"),
];

/// The crates that meet the real world.
const WORLDLY: [&str; 4] = [
    "crates/server/",
    "crates/streamctl/",
    "crates/testkit/",
    "bench/",
];

/// Files that quote others.
const EXEMPT: [&str; 4] = ["Cargo.lock", "LICENSE", "package-lock.json", "go.sum"];

/// The text of every file, by its path from the root.
pub type Files = BTreeMap<String, String>;

pub fn check(files: &Files) -> Vec<String> {
    let mut findings = vec![];
    for (path, text) in files {
        if EXEMPT.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        findings.extend(check_words(path, text));
        if path.ends_with(".rs") {
            findings.extend(check_length(path, text));
        }
        if path.ends_with(".rs") && !is_test(path, files) {
            findings.extend(check_ambient(path, text));
        }
    }
    findings
}

/// Whether a file is compiled for tests only: it lies in a folder for them, or a module above it is declared so.
fn is_test(path: &str, files: &Files) -> bool {
    let folders = ["/tests/", "/benches/", "/fuzz/"];
    folders.iter().any(|folder| path.contains(folder)) || is_declared_for_tests(path, files)
}

fn is_declared_for_tests(path: &str, files: &Files) -> bool {
    let module = path.trim_end_matches("/mod.rs").trim_end_matches(".rs");
    let Some((parent, name)) = module.rsplit_once('/') else {
        return false;
    };
    let homes = ["/mod.rs", "/lib.rs", "/main.rs", ".rs"].map(|end| format!("{parent}{end}"));
    let declares = |text: &String| {
        ["", "pub ", "pub(crate) "]
            .iter()
            .any(|seen| text.contains(&format!("#[cfg(test)]\n{seen}mod {name};")))
    };
    homes
        .iter()
        .filter_map(|home| files.get(home))
        .any(declares)
        || is_declared_for_tests(parent, files)
}

fn check_words(path: &str, text: &str) -> Vec<String> {
    let mut findings = vec![];
    for (number, line) in (1..).zip(text.lines()) {
        for word in UNFINISHED.iter().filter(|word| contains_word(line, word)) {
            findings.push(format!("{path}:{number}: unfinished: {word}"));
        }
        for machine in MACHINE_PATHS
            .iter()
            .filter(|machine| contains_word(line, machine))
        {
            findings.push(format!(
                "{path}:{number}: names a folder of one machine: {machine}"
            ));
        }
    }
    findings
}

/// Whether `word` stands in the line and is not the tail of something longer (`a/b/` does not contain `/b/`).
fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.}~".contains(c))
    })
}

fn check_length(path: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    let may_be_long = path.contains("/tests/") || path.contains("/generated/");
    (lines > LINES_MAX && !may_be_long)
        .then(|| format!("{path}: {lines} lines, at most {LINES_MAX}: it wants to be two modules"))
}

fn check_ambient(path: &str, text: &str) -> Vec<String> {
    let is_worldly = WORLDLY.iter().any(|room| path.starts_with(room));
    if is_worldly || !path.starts_with("crates/") {
        return vec![];
    }
    let code = (1..).zip(production_lines(text));
    code.filter(|(_, line)| !line.trim_start().starts_with("//"))
        .flat_map(|(number, line)| {
            let calls = AMBIENT
                .iter()
                .filter(move |(call, _)| is_ambient(call, line, text));
            calls.map(move |(call, instead)| format!("{path}:{number}: {call}: use {instead}"))
        })
        .collect()
}

/// The lines before the file's unit tests.
fn production_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
}

fn is_ambient(call: &str, line: &str, text: &str) -> bool {
    if !contains_word(line, call) {
        return false;
    }
    // Tokio's clock can be paused by a test, so it is not ambient.
    let tokio_clock = line.contains("time::Instant::now") || imports_tokio_instant(text);
    !(call == "Instant::now" && tokio_clock && !text.contains("std::time::Instant"))
}

fn imports_tokio_instant(text: &str) -> bool {
    let mut statements = text.split(';');
    statements.any(|s| s.contains("use tokio::") && s.contains("time") && s.contains("Instant"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Vec<String> {
        check_all(&[(path, text)])
    }

    fn check_all(files: &[(&str, &str)]) -> Vec<String> {
        let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        super::check(&files.iter().map(owned).collect())
    }

    #[test]
    fn an_unfinished_word_is_found_with_its_line() {
        let text = format!("fn a() {{\n    {}\n}}\n", concat!("todo", "!()"));
        let findings = check("crates/log/src/lib.rs", &text);
        assert_eq!(findings.len(), 1);
        assert!(
            findings[0].starts_with("crates/log/src/lib.rs:2: unfinished"),
            "{findings:?}"
        );
    }

    #[test]
    fn a_machine_s_folder_is_found_in_any_file_but_not_inside_a_longer_path() {
        let path = concat!("cd /wo", "rk/main");
        assert_eq!(check("docs/tour.md", path).len(), 1);
        assert!(check("docs/tour.md", concat!("cd a/wo", "rk/main")).is_empty());
    }

    #[test]
    fn the_clock_is_read_by_the_server_alone() {
        let text = "fn now() { std::time::SystemTime::now(); }\n";
        assert_eq!(check("crates/log/src/lib.rs", text).len(), 1);
        assert!(check("crates/server/src/main.rs", text).is_empty());
    }

    #[test]
    fn tests_and_comments_may_name_the_clock() {
        let text = "// Never SystemTime::now here.\n#[cfg(test)]\nmod tests { fn a() { SystemTime::now(); } }\n";
        assert!(check("crates/log/src/lib.rs", text).is_empty());
        assert!(check("crates/log/tests/it/main.rs", "Instant::now()").is_empty());
    }

    #[test]
    fn a_module_declared_for_tests_may_name_the_clock_with_all_its_files() {
        let clock = "fn a() { SystemTime::now(); }\n";
        let sim = ("crates/log/src/ingest/sim/world.rs", clock);
        let declared = "#[cfg(test)]\nmod sim;\n";
        assert!(check_all(&[("crates/log/src/ingest/mod.rs", declared), sim]).is_empty());
        assert_eq!(
            check_all(&[("crates/log/src/ingest/mod.rs", "mod sim;\n"), sim]).len(),
            1
        );
    }

    #[test]
    fn tokio_s_clock_is_not_ambient_but_the_system_s_is() {
        let imported =
            "use tokio::{sync::Mutex, time::{Duration, Instant}};\nfn a() { Instant::now(); }\n";
        assert!(check("crates/log/src/lib.rs", imported).is_empty());
        assert!(check("crates/log/src/lib.rs", "tokio::time::Instant::now()").is_empty());
        let system = "use std::time::Instant;\nfn a() { Instant::now(); }\n";
        assert_eq!(check("crates/log/src/lib.rs", system).len(), 1);
    }

    #[test]
    fn a_file_that_grew_too_long_is_named() {
        let text = "\n".repeat(LINES_MAX + 1);
        assert_eq!(check("crates/log/src/lib.rs", &text).len(), 1);
        assert!(check("crates/log/tests/it/main.rs", &text).is_empty());
    }
}
