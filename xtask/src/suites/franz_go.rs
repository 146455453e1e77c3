//! franz-go's own tests of its client, run against our server. `suites/go/kgo-allow.txt` says of each test whether it
//! must pass now, and if not, what will bring it; that list only grows.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::Counts;
use crate::{
    process::{output, run_bounded},
    tools::golang,
    workspace::{root, tools_dir},
};

const LIMIT: Duration = Duration::from_secs(15 * 60);

/// What the list says of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// It must pass.
    Pass,
    /// It tests the client alone and never speaks to a server, so we do not run it.
    ClientOnly,
    /// It needs what this text names.
    Needs(String),
}

type List = BTreeMap<String, Verdict>;

/// Compiles the tests.
pub fn compile() -> Result<()> {
    let mut build = Command::new("go");
    build
        .args(["test", "-c", "-o"])
        .arg(program()?)
        .arg("./pkg/kgo");
    output(build.current_dir(golang::franz_go()?)).map(drop)
}

fn program() -> Result<PathBuf> {
    Ok(tools_dir()?.join("kgo.test"))
}

/// Runs the tests that must pass.
pub fn run(bootstrap: &str) -> Result<Counts> {
    let list = read_list()?;
    check_complete(&list, &existing()?)?;
    let names: Vec<&str> = must_pass(&list).collect();
    let mut test = Command::new(program()?);
    test.env("KGO_SEEDS", bootstrap);
    tell_all(&list, &names, &with_tests(test, &names)?)
}

/// Runs the tests that must pass beside a server of their own that is killed every 20 s; `torture` is the program that does
/// the killing, `environment` what it needs.
pub fn run_under_kills(torture: &Path, environment: &[(&str, String)]) -> Result<Counts> {
    let list = read_list()?;
    let names: Vec<&str> = must_pass(&list).collect();
    let mut test = Command::new(torture);
    test.args(["kills", "20"]).arg(program()?);
    test.envs(environment.iter().map(|(name, value)| (name, value)));
    tell_all(&list, &names, &with_tests(test, &names)?)
}

fn tell_all(list: &List, names: &[&str], test: &Command) -> Result<Counts> {
    let mut outcomes = BTreeMap::new();
    let mut said = Vec::new();
    run_bounded(test, LIMIT, |line| {
        said.push(line.to_owned());
        if let Some((name, passed, time)) = outcome(line) {
            println!("  {} {name} {time}", if passed { "ok  " } else { "FAIL" });
            outcomes.insert(name.to_owned(), passed);
        }
    })?;
    let counts = count(names, &outcomes);
    let log = tools_dir()?.join("kgo.log");
    fs::write(&log, said.join("\n"))?;
    println!("  what the tests said is in {}", log.display());
    for (needs, names) in waiting(list) {
        println!("  not yet: {needs}: {}", names.join(", "));
    }
    println!("  {counts}");
    Ok(counts)
}

fn with_tests(mut test: Command, names: &[&str]) -> Result<Command> {
    test.args([
        "-test.v",
        "-test.timeout=14m",
        &format!("-test.run=^({})$", names.join("|")),
    ])
    .current_dir(golang::franz_go()?.join("pkg/kgo"))
    .env("KGO_TEST_RF", "1")
    .env("KGO_TEST_RECORDS", "50000")
    .env("KGO_LOG_LEVEL", "info");
    Ok(test)
}

fn read_list() -> Result<List> {
    let path = root().join("suites/go/kgo-allow.txt");
    let text = fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    parse_list(&text)
}

/// A line is a test's name and `pass`, `client`, or `needs` and what.
fn parse_list(text: &str) -> Result<List> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(parse_line).collect()
}

fn parse_line(line: &str) -> Result<(String, Verdict)> {
    let (name, verdict) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let verdict = match verdict.trim().split_once(' ') {
        None if verdict.trim() == "pass" => Verdict::Pass,
        None if verdict.trim() == "client" => Verdict::ClientOnly,
        Some(("needs", what)) => Verdict::Needs(what.trim().to_owned()),
        _ => bail!("kgo-allow.txt: `{line}` should be a name and `pass`, `client` or `needs WHAT`"),
    };
    Ok((name.to_owned(), verdict))
}

/// The tests that the compiled program has.
fn existing() -> Result<Vec<String>> {
    let text = output(Command::new(program()?).arg("-test.list=."))?;
    Ok(text
        .lines()
        .filter(|line| line.starts_with("Test"))
        .map(str::to_owned)
        .collect())
}

/// Every test is in the list and the list names no other.
fn check_complete(list: &List, existing: &[String]) -> Result<()> {
    let unlisted: Vec<_> = existing
        .iter()
        .filter(|name| !list.contains_key(*name))
        .collect();
    let gone: Vec<_> = list
        .keys()
        .filter(|name| !existing.contains(name))
        .collect();
    if !unlisted.is_empty() || !gone.is_empty() {
        bail!(
            "kgo-allow.txt does not list {unlisted:?}, and lists tests that do not exist: {gone:?}"
        );
    }
    Ok(())
}

fn must_pass(list: &List) -> impl Iterator<Item = &str> {
    list.iter()
        .filter(|(_, verdict)| **verdict == Verdict::Pass)
        .map(|(name, _)| name.as_str())
}

/// Reads a line such as `--- PASS: TestPing (0.01s)`: the test, whether it passed, and its time. Subtests are indented
/// and belong to their test.
fn outcome(line: &str) -> Option<(&str, bool, &str)> {
    let (verdict, rest) = line.strip_prefix("--- ")?.split_once(": ")?;
    let (name, time) = rest.split_once(' ')?;
    // A skipped test proved nothing: it counts as failed.
    Some((name, verdict == "PASS", time))
}

fn count(names: &[&str], outcomes: &BTreeMap<String, bool>) -> Counts {
    let passed = names
        .iter()
        .filter(|name| outcomes.get(**name) == Some(&true))
        .count() as u64;
    Counts {
        passed,
        failed: names.len() as u64 - passed,
    }
}

fn waiting(list: &List) -> BTreeMap<&str, Vec<&str>> {
    let mut waiting = BTreeMap::<_, Vec<_>>::new();
    for (name, verdict) in list {
        if let Verdict::Needs(what) = verdict {
            waiting
                .entry(what.as_str())
                .or_default()
                .push(name.as_str());
        }
    }
    waiting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_in_the_repository_can_be_read() {
        assert!(must_pass(&read_list().unwrap()).count() > 0);
    }

    #[test]
    fn a_test_passes_is_skipped_by_us_or_names_what_it_needs() {
        let list =
            parse_list("# comment\nTestA pass\nTestB   client\n\nTestC needs groups (issue 5)\n");
        let expected = [
            ("TestA".to_owned(), Verdict::Pass),
            ("TestB".to_owned(), Verdict::ClientOnly),
            (
                "TestC".to_owned(),
                Verdict::Needs("groups (issue 5)".to_owned()),
            ),
        ];
        assert_eq!(list.unwrap(), expected.into());
        assert!(parse_list("TestA maybe").is_err());
    }

    #[test]
    fn a_test_that_is_not_listed_is_an_error() {
        let list = parse_list("TestA pass").unwrap();
        assert!(check_complete(&list, &["TestA".to_owned()]).is_ok());
        assert!(check_complete(&list, &["TestA".to_owned(), "TestB".to_owned()]).is_err());
        assert!(check_complete(&list, &[]).is_err());
    }

    #[test]
    fn a_skipped_or_missing_test_counts_as_failed() {
        let lines = [
            "--- PASS: TestA (0.01s)",
            "--- SKIP: TestB (0.00s)",
            "    --- PASS: TestC/sub (0.00s)",
        ];
        let outcomes = lines
            .iter()
            .filter_map(|l| outcome(l))
            .map(|(n, p, _)| (n.to_owned(), p))
            .collect();
        assert_eq!(
            count(&["TestA", "TestB", "TestC"], &outcomes),
            Counts {
                passed: 1,
                failed: 2
            }
        );
    }
}
