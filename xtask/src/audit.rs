//! `cargo xtask audit`: licences, sources and double versions of every dependency, by the lists in `deny.toml`.
//!
//! The file is cargo-deny's and works with it; this reads the part of it that needs nothing but `cargo metadata`,
//! because building cargo-deny takes longer than building the project. Advisories are not checked here: they need a
//! database from outside.
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::workspace::{metadata, packages, root};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks every dependency and prints what breaks a rule.
pub fn run() -> Result<()> {
    let policy = Policy::read()?;
    let metadata = metadata(true)?;
    let dependencies: Vec<Dependency> = packages(&metadata)
        .iter()
        .filter_map(Dependency::read)
        .collect();
    let mut findings: Vec<String> = dependencies.iter().flat_map(|d| policy.check(d)).collect();
    findings.extend(policy.check_versions(&dependencies));
    for finding in &findings {
        println!("{finding}");
    }
    ensure!(
        findings.is_empty(),
        "{} findings; deny.toml has the rules",
        findings.len()
    );
    println!(
        "audit: {} dependencies keep the rules of deny.toml",
        dependencies.len()
    );
    Ok(())
}

struct Dependency {
    name: String,
    version: String,
    license: String,
    source: String,
}

impl Dependency {
    /// Members of the workspace have no source and are no dependencies.
    fn read(package: &Value) -> Option<Dependency> {
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        package["source"].as_str()?;
        Some(Dependency {
            name: text("name"),
            version: text("version"),
            license: text("license"),
            source: text("source"),
        })
    }
}

/// What `deny.toml` says.
#[derive(Debug, Default)]
struct Policy {
    allowed: BTreeSet<String>,
    /// Further licences of single crates.
    exceptions: BTreeMap<String, BTreeSet<String>>,
    banned: BTreeSet<String>,
    /// Crates that may be there in several versions.
    doubles: BTreeSet<String>,
}

impl Policy {
    fn read() -> Result<Policy> {
        let path = root().join("deny.toml");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
        Policy::parse(&text)
    }

    fn parse(text: &str) -> Result<Policy> {
        let file: toml::Table = text.parse().context("deny.toml is not TOML")?;
        let list = |section: &str, key: &str| {
            let value = file.get(section).and_then(|section| section.get(key));
            value
                .and_then(toml::Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let exceptions = list("licenses", "exceptions");
        Ok(Policy {
            allowed: texts(&list("licenses", "allow")),
            exceptions: exceptions
                .iter()
                .filter_map(|e| Some((crate_name(e)?, allowed(e))))
                .collect(),
            banned: list("bans", "deny").iter().filter_map(crate_name).collect(),
            doubles: list("bans", "skip").iter().filter_map(crate_name).collect(),
        })
    }

    fn check(&self, dependency: &Dependency) -> Vec<String> {
        let Dependency {
            name,
            version,
            license,
            source,
        } = dependency;
        let mut findings = vec![];
        if source != CRATES_IO {
            findings.push(format!(
                "{name} {version} comes from {source}, not from crates.io"
            ));
        }
        if self.banned.contains(name) {
            findings.push(format!("{name} {version} is banned"));
        }
        let extra = self.exceptions.get(name);
        let allows =
            |id: &str| self.allowed.contains(id) || extra.is_some_and(|ids| ids.contains(id));
        if !permits(license, &allows) {
            findings.push(format!(
                "{name} {version} has the licence `{license}`, which is not allowed"
            ));
        }
        findings
    }

    fn check_versions(&self, dependencies: &[Dependency]) -> Vec<String> {
        let mut versions = BTreeMap::<&str, Vec<&str>>::new();
        for dependency in dependencies {
            versions
                .entry(&dependency.name)
                .or_default()
                .push(&dependency.version);
        }
        let doubles = versions
            .iter()
            .filter(|(name, all)| all.len() > 1 && !self.doubles.contains(**name));
        doubles
            .map(|(name, all)| format!("{name} is there in versions {}", all.join(", ")))
            .collect()
    }
}

fn texts(values: &[toml::Value]) -> BTreeSet<String> {
    values
        .iter()
        .filter_map(toml::Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn crate_name(entry: &toml::Value) -> Option<String> {
    Some(entry.get("crate")?.as_str()?.to_owned())
}

fn allowed(entry: &toml::Value) -> BTreeSet<String> {
    entry
        .get("allow")
        .and_then(toml::Value::as_array)
        .map(|ids| texts(ids))
        .unwrap_or_default()
}

/// Whether an SPDX expression can be met with allowed licences only. `OR` binds weaker than `AND`; `WITH` is part of
/// its licence's name; the old `/` means `OR`.
fn permits(expression: &str, allows: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let spaced = spaced.replace(" WITH ", "+WITH+");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut words = words.as_slice();
    any_of(&mut words, allows) && words.is_empty()
}

fn any_of(words: &mut &[&str], allows: &dyn Fn(&str) -> bool) -> bool {
    let mut result = all_of(words, allows);
    while let Some(("OR", rest)) = words.split_first().map(|(first, rest)| (*first, rest)) {
        *words = rest;
        // Both sides are always read: the cursor has to pass them.
        result |= all_of(words, allows);
    }
    result
}

fn all_of(words: &mut &[&str], allows: &dyn Fn(&str) -> bool) -> bool {
    let mut result = one(words, allows);
    while let Some(("AND", rest)) = words.split_first().map(|(first, rest)| (*first, rest)) {
        *words = rest;
        result &= one(words, allows);
    }
    result
}

fn one(words: &mut &[&str], allows: &dyn Fn(&str) -> bool) -> bool {
    let Some((first, rest)) = words.split_first() else {
        return false;
    };
    *words = rest;
    if *first != "(" {
        return allows(&first.replace("+WITH+", " WITH "));
    }
    let result = any_of(words, allows);
    *words = words.get(1..).unwrap_or_default();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
        [licenses]
        allow = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]
        exceptions = [{ crate = "odd", allow = ["Zlib"] }]
        [bans]
        deny = [{ crate = "openssl" }]
        skip = [{ crate = "twice" }]
    "#;

    fn dependency(name: &str, version: &str, license: &str) -> Dependency {
        let [name, version, license] = [name, version, license].map(str::to_owned);
        Dependency {
            name,
            version,
            license,
            source: CRATES_IO.to_owned(),
        }
    }

    fn findings(name: &str, license: &str) -> usize {
        Policy::parse(RULES)
            .unwrap()
            .check(&dependency(name, "1.0.0", license))
            .len()
    }

    #[test]
    fn a_licence_is_met_by_one_side_of_or_and_by_both_sides_of_and() {
        assert_eq!(findings("a", "MIT OR GPL-3.0"), 0);
        assert_eq!(findings("a", "MIT AND GPL-3.0"), 1);
        assert_eq!(findings("a", "GPL-3.0 OR (MIT AND Apache-2.0)"), 0);
        assert_eq!(findings("a", "(GPL-3.0 OR MIT) AND BSD-3-Clause"), 1);
        assert_eq!(findings("a", "MIT/GPL-3.0"), 0);
        assert_eq!(findings("a", "Apache-2.0 WITH LLVM-exception"), 0);
    }

    #[test]
    fn a_crate_without_a_licence_is_not_allowed() {
        assert_eq!(findings("a", ""), 1);
    }

    #[test]
    fn an_exception_is_for_its_crate_alone() {
        assert_eq!(findings("odd", "Zlib"), 0);
        assert_eq!(findings("a", "Zlib"), 1);
    }

    #[test]
    fn a_banned_crate_and_a_foreign_source_are_named() {
        assert_eq!(findings("openssl", "MIT"), 1);
        let mut foreign = dependency("a", "1.0.0", "MIT");
        foreign.source = "git+https://example.org/a".to_owned();
        assert_eq!(Policy::parse(RULES).unwrap().check(&foreign).len(), 1);
    }

    #[test]
    fn two_versions_of_one_crate_are_named_unless_they_are_expected() {
        let policy = Policy::parse(RULES).unwrap();
        let all = |name| {
            [
                dependency(name, "1.0.0", "MIT"),
                dependency(name, "2.0.0", "MIT"),
            ]
        };
        assert_eq!(policy.check_versions(&all("once")).len(), 1);
        assert!(policy.check_versions(&all("twice")).is_empty());
    }
}
