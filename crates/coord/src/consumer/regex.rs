//! Subscriptions by regular expression. The rules are RE2's (KIP-848); the engine is the `regex` crate, which descends from
//! it. What the two write differently is translated here.
use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};

use super::Consumer;
use crate::{
    error::{GroupError, Refusal},
    mutant,
    topics::Topics,
};

/// Compiled expressions larger than this are refused.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// Whether the pattern is one.
pub(super) fn check(pattern: &str) -> Result<(), Refusal> {
    compile(pattern).map(drop)
}

/// An expression that matches whole names only.
pub fn compile(pattern: &str) -> Result<Regex, Refusal> {
    let whole = format!("^(?:{})$", from_re2(pattern));
    // The pattern must be sound by itself: "a)(b" is not, though it is between our parentheses.
    let alone = RegexBuilder::new(&from_re2(pattern))
        .size_limit(COMPILED_BYTES_MAX)
        .build();
    let built = alone.and_then(|_| {
        RegexBuilder::new(&whole)
            .size_limit(COMPILED_BYTES_MAX)
            .build()
    });
    built.map_err(|problem| {
        let message = format!(
            "SubscribedTopicRegex `{pattern}` is not a valid regular expression: {}.",
            problem.to_string().lines().last().unwrap_or_default()
        );
        Refusal::new(GroupError::InvalidRegularExpression, message)
    })
}

/// RE2 quotes with `\Q...\E`, knows no nested classes, and has no set operators in them.
fn from_re2(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix("\\Q") {
            let (literal, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            out.push_str(&regex::escape(literal));
            rest = after;
            continue;
        }
        let length = match c {
            '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '[' if in_class && rest.starts_with("[:") => 2,
            _ => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        match token {
            "[" if in_class => out.push_str("\\["),
            "&" | "~" | "-" if in_class && after.starts_with(token) => {
                out.push('\\');
                out.push_str(token);
            }
            _ => out.push_str(token),
        }
        rest = after;
        match token {
            "[" if !in_class => {
                in_class = true;
                rest = open_class(&mut out, rest);
            }
            "[:" => rest = copy_through(&mut out, rest, ":]"),
            "]" => in_class = false,
            _ => {}
        }
    }
    out
}

/// A `]` that comes first in a class stands for itself.
fn open_class<'a>(out: &mut String, rest: &'a str) -> &'a str {
    let rest = match rest.strip_prefix('^') {
        Some(after) => {
            out.push('^');
            after
        }
        None => rest,
    };
    match rest.strip_prefix(']') {
        Some(after) => {
            out.push_str("\\]");
            after
        }
        None => rest,
    }
}

fn copy_through<'a>(out: &mut String, rest: &'a str, end: &str) -> &'a str {
    let length = rest.find(end).map_or(rest.len(), |at| at + end.len());
    let (name, after) = rest.split_at(length);
    out.push_str(name);
    after
}

impl Consumer {
    /// Matches all subscribed expressions against the topics, anew.
    pub(super) fn resolve_all(&mut self, topics: &Topics) {
        let patterns = self.members.values().filter_map(|m| m.topic_regex.clone());
        let patterns: BTreeSet<String> = patterns.filter(|p| !p.is_empty()).collect();
        self.matches = patterns
            .into_iter()
            .map(|p| (p.clone(), matching(&p, topics)))
            .collect();
    }

    /// The topics that an expression of a member matches.
    pub(super) fn matched_by(&self, pattern: &Option<String>) -> BTreeSet<String> {
        let matches = pattern.as_ref().and_then(|p| self.matches.get(p));
        matches.cloned().unwrap_or_default()
    }

    /// Matches the expressions that are new and forgets those that nobody uses any more.
    pub(super) fn resolve_new(&mut self, topics: &Topics) {
        let patterns = self
            .members
            .values()
            .filter_map(|m| m.topic_regex.as_deref());
        let patterns: BTreeSet<&str> = patterns.filter(|p| !p.is_empty()).collect();
        self.matches
            .retain(|pattern, _| patterns.contains(pattern.as_str()));
        for pattern in patterns {
            if !self.matches.contains_key(pattern) {
                self.matches
                    .insert(pattern.to_owned(), matching(pattern, topics));
            }
        }
    }

    /// The view of the topics is another now; who heartbeats next finds out whether that matters.
    pub fn topics_changed(&mut self, topics: &Topics) {
        self.topics_changed = !mutant::is("topics_forgotten");
        self.resolve_all(topics);
    }
}

/// Expressions were checked before they were let in; one that is not sound matches nothing.
fn matching(pattern: &str, topics: &Topics) -> BTreeSet<String> {
    match compile(pattern) {
        Ok(regex) => topics
            .names()
            .filter(|name| regex.is_match(name))
            .map(str::to_owned)
            .collect(),
        Err(_) => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        compile(pattern).unwrap().is_match(name)
    }

    #[test]
    fn a_pattern_matches_whole_names() {
        assert!(matches("foo.*", "foobar") && matches("a|b", "b"));
        assert!(!matches("foo", "foobar") && !matches("a|bc", "abc"));
    }

    #[test]
    fn what_re2_writes_differently_is_understood() {
        assert!(matches(r"\Qa.b\E.*", "a.bc") && !matches(r"\Qa.b\E", "axb"));
        assert!(matches("[[a]+", "[a") && matches("[]a]", "]") && matches("[[:alpha:]]+", "abc"));
        assert!(matches("[a&&b]+", "&b") && matches("[^]]", "x"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["[", "(", "a)(b", "*", "(?<=a)b", r"(a)\1"] {
            assert_eq!(
                check(bad).unwrap_err().code,
                GroupError::InvalidRegularExpression,
                "{bad}"
            );
        }
    }

    #[test]
    fn a_pattern_that_would_grow_without_bound_is_refused() {
        assert!(check("((a{1000}){1000}){1000}").is_err());
    }
}
