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
/// How often RE2 lets something be repeated.
const REPEATED_MAX: u32 = 1_000;
/// The classes that have names.
const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// Whether the pattern is one.
pub(super) fn check(pattern: &str) -> Result<(), Refusal> {
    compile(pattern).map(drop)
}

/// An expression that matches whole names only.
pub fn compile(pattern: &str) -> Result<Regex, Refusal> {
    let refused = |problem: &str| {
        let message = format!(
            "SubscribedTopicRegex `{pattern}` is not a valid regular expression: {problem}."
        );
        Refusal::new(GroupError::InvalidRegularExpression, message)
    };
    let translated = from_re2(pattern).map_err(refused)?;
    let whole = format!("^(?:{translated})$");
    // The pattern must be sound by itself: "a)(b" is not, though it is between our parentheses.
    let alone = RegexBuilder::new(&translated)
        .size_limit(COMPILED_BYTES_MAX)
        .build();
    let built = alone.and_then(|_| {
        RegexBuilder::new(&whole)
            .size_limit(COMPILED_BYTES_MAX)
            .build()
    });
    built.map_err(|problem| {
        let problem = problem.to_string();
        let last = problem.lines().last().unwrap_or_default();
        refused(last.trim_start_matches("error: "))
    })
}

/// RE2 quotes with `\Q...\E`, knows no nested classes, and has no set operators in them; a brace that counts nothing stands
/// for itself, nothing is repeated more than 1,000 times or twice over. What it does not take is told in its words.
fn from_re2(pattern: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    let mut in_class = false;
    // What was just written repeats something.
    let mut repeated = false;
    while let Some(c) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix("\\Q") {
            let (literal, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            out.push_str(&regex::escape(literal));
            (rest, repeated) = (after, false);
            continue;
        }
        if !in_class && let Some((operator, after)) = repetition(rest)? {
            // A group that begins with a question mark repeats nothing.
            let repeats = !out.ends_with('(');
            if repeated && repeats {
                return Err("invalid nested repetition operator");
            }
            out.push_str(operator);
            (rest, repeated) = (after, repeats);
            continue;
        }
        repeated = false;
        let length = match c {
            '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '[' if in_class && rest.starts_with("[:") => 2,
            _ => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        match token {
            "[" if in_class => out.push_str("\\["),
            "{" if !in_class => out.push_str("\\{"),
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
            "[:" => rest = copy_class(&mut out, rest)?,
            "]" => in_class = false,
            _ => {}
        }
    }
    Ok(out)
}

/// A repetition, lazy or not, and what follows it; `None`: there is none here. A brace that counts nothing is none.
fn repetition(from: &str) -> Result<Option<(&str, &str)>, &'static str> {
    let length = match from.as_bytes().first() {
        Some(b'*' | b'+' | b'?') => 1,
        Some(b'{') => match counted(from)? {
            Some(length) => length,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    let lazy = usize::from(from[length..].starts_with('?'));
    Ok(Some(from.split_at(length + lazy)))
}

/// How long a count in braces is, as `{2}`, `{2,}` or `{2,3}`.
fn counted(from: &str) -> Result<Option<usize>, &'static str> {
    let Some(end) = from.find('}') else {
        return Ok(None);
    };
    let (least, most) = match from[1..end].split_once(',') {
        Some((least, most)) => (least, Some(most).filter(|most| !most.is_empty())),
        None => (&from[1..end], None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(least) || most.is_some_and(|most| !digits(most)) {
        return Ok(None);
    }
    let number = |text: &str| text.parse::<u32>().unwrap_or(u32::MAX);
    let (least, most) = (number(least), most.map_or(number(least), number));
    match least <= most && most <= REPEATED_MAX {
        true => Ok(Some(end + 1)),
        false => Err("invalid repeat count"),
    }
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

/// The rest of a class by name, as in `[[:alpha:]]`.
fn copy_class<'a>(out: &mut String, rest: &'a str) -> Result<&'a str, &'static str> {
    let (name, after) = rest
        .split_once(":]")
        .ok_or("invalid character class range")?;
    if !CLASSES.contains(&name.trim_start_matches('^')) {
        return Err("invalid character class range");
    }
    out.push_str(name);
    out.push_str(":]");
    Ok(after)
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
    fn a_brace_that_counts_nothing_stands_for_itself() {
        assert!(matches("a{,2}", "a{,2}") && matches("a{", "a{") && matches("a{2}", "aa"));
        assert!(matches("a{2,}?b*?", "aaab") && matches("(?:ab)+", "abab"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in [
            "[",
            "(",
            "a)(b",
            "*",
            "(?<=a)b",
            r"(a)\1",
            "a**",
            "a{1001}",
            "a{2,1}",
            "[[:nope:]]",
            "x{2}{3}",
            "a{2}*",
        ] {
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
