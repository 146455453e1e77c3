//! The differences from Apache Kafka that we want, each with its reason. One that no longer occurs fails the comparison, so
//! the list cannot outlive its reasons.
use super::{diff::Difference, tree::Tree};

/// All of scenario, step and path are patterns, in which `*` stands for any text.
#[derive(Debug)]
pub struct Wanted {
    pub scenario: &'static str,
    pub step: &'static str,
    pub path: &'static str,
    /// What we answer there, as it is printed (a pattern, too); `(absent)` if we leave it out.
    pub ours: &'static str,
    pub reason: &'static str,
}

pub const WANTED: &[Wanted] = &[];

impl Wanted {
    pub fn covers(&self, difference: &Difference) -> bool {
        let ours = difference
            .ours
            .as_ref()
            .map_or("(absent)".to_owned(), Tree::to_string);
        fits(self.scenario, difference.scenario)
            && fits(self.step, &difference.step)
            && fits(self.path, &difference.path)
            && fits(self.ours, &ours)
    }
}

/// Whether `text` is `pattern` with every `*` replaced by some text.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => match text.strip_prefix(head) {
            None => false,
            Some(rest) => rest
                .char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| rest.get(at..).is_some_and(|r| fits(tail, r))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text) in [
            ("*", ""),
            ("a*", "ab"),
            ("*.x[*].y", "q.x[1].y"),
            ("a", "a"),
            ("a*b*c", "aXbYbc"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("a*c", "ab"), ("", "x")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }
}
