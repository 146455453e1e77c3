//! Two transcripts of one story, field by field.
use std::{collections::BTreeMap, fmt};

use super::{normal, peer::Step, tree::Tree};

/// One field that the two peers answered differently. A side without the field is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub scenario: &'static str,
    pub step: String,
    pub version: i16,
    /// As in `responses[0].partition_responses[key].error_code`.
    pub path: String,
    pub kafka: Option<Tree>,
    pub ours: Option<Tree>,
}

/// Every difference between what Kafka and what we answered.
pub fn transcripts(scenario: &'static str, kafka: &[Step], ours: &[Step]) -> Vec<Difference> {
    let mut found = Vec::new();
    for at in 0..kafka.len().max(ours.len()) {
        let (theirs, mine) = (kafka.get(at), ours.get(at));
        let same_step = theirs
            .zip(mine)
            .is_some_and(|(k, o)| k.what == o.what && k.version == o.version);
        let Some(step) = theirs.or(mine) else { break };
        let mut walk = Walk {
            scenario,
            step,
            found: &mut found,
        };
        if !same_step {
            walk.push(
                "(the story itself)",
                theirs.map(told).as_ref(),
                mine.map(told).as_ref(),
            );
            break;
        }
        walk.compare("", theirs.map(|s| &s.answer), mine.map(|s| &s.answer));
    }
    found
}

fn told(step: &Step) -> Tree {
    Tree::Leaf(format!("{} v{}", step.what, step.version))
}

struct Walk<'a> {
    scenario: &'static str,
    step: &'a Step,
    found: &'a mut Vec<Difference>,
}

impl Walk<'_> {
    fn push(&mut self, path: &str, kafka: Option<&Tree>, ours: Option<&Tree>) {
        self.found.push(Difference {
            scenario: self.scenario,
            step: self.step.what.clone(),
            version: self.step.version,
            path: path.into(),
            kafka: kafka.cloned(),
            ours: ours.cloned(),
        });
    }

    fn compare(&mut self, path: &str, kafka: Option<&Tree>, ours: Option<&Tree>) {
        match (kafka, ours) {
            (Some(k), Some(o)) if k == o => {}
            (Some(k), Some(o)) if outcome(k) != outcome(o) => {
                // The other fields follow from the outcome.
                let child = |side: &Tree| side.field("error_code").cloned();
                self.push(
                    &joined(path, "error_code"),
                    child(k).as_ref(),
                    child(o).as_ref(),
                );
            }
            (Some(Tree::Struct(k_name, k)), Some(Tree::Struct(o_name, o))) if k_name == o_name => {
                let children = |fields: &[(String, Tree)]| {
                    fields
                        .iter()
                        .map(|(n, t)| (n.clone(), t.clone()))
                        .collect::<Vec<_>>()
                };
                self.children(path, ".", children(k), children(o));
            }
            (Some(Tree::List(k)), Some(Tree::List(o))) => {
                let keyed = unique_keys(k) && unique_keys(o);
                if !keyed && k.len() != o.len() {
                    let count = |items: &[Tree]| Tree::Leaf(format!("{} elements", items.len()));
                    return self.push(path, Some(&count(k)), Some(&count(o)));
                }
                self.children(path, "[", labelled(k, keyed), labelled(o, keyed));
            }
            _ => self.push(path, kafka, ours),
        }
    }

    fn children(
        &mut self,
        path: &str,
        join: &str,
        kafka: Vec<(String, Tree)>,
        ours: Vec<(String, Tree)>,
    ) {
        let extra = ours
            .iter()
            .filter(|(n, _)| !kafka.iter().any(|(k, _)| k == n));
        let labels: Vec<&String> = kafka.iter().chain(extra).map(|(n, _)| n).collect();
        let find = |side: &[(String, Tree)], label: &str| {
            side.iter()
                .find(|(n, _)| n == label)
                .map(|(_, t)| t.clone())
        };
        for label in labels {
            let path = match join {
                "[" => format!("{path}[{label}]"),
                _ => joined(path, label),
            };
            self.compare(
                &path,
                find(&kafka, label).as_ref(),
                find(&ours, label).as_ref(),
            );
        }
    }
}

fn joined(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.into()
    } else {
        format!("{path}.{field}")
    }
}

fn outcome(tree: &Tree) -> Option<&Tree> {
    tree.field("error_code")
}

fn unique_keys(items: &[Tree]) -> bool {
    let mut keys: Vec<_> = items.iter().filter_map(normal::key).collect();
    keys.sort();
    keys.dedup();
    keys.len() == items.len()
}

fn labelled(items: &[Tree], keyed: bool) -> Vec<(String, Tree)> {
    let label = |(at, item): (usize, &Tree)| match normal::key(item).filter(|_| keyed) {
        Some(key) => (key, item.clone()),
        None => (at.to_string(), item.clone()),
    };
    items.iter().enumerate().map(label).collect()
}

/// Differences for people: the same one at several versions is told once.
pub struct Told<'a>(pub &'a [Difference]);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut order = Vec::new();
        let mut versions: BTreeMap<_, Vec<i16>> = BTreeMap::new();
        for d in self.0 {
            // Topics that a story makes for each version have the version in their names.
            let plain = |text: &str| text.replace(&format!(".v{}", d.version), "");
            let side = |tree: &Option<Tree>| {
                plain(&tree.as_ref().map_or("(absent)".into(), Tree::to_string))
            };
            let told = (
                d.scenario,
                d.step.as_str(),
                plain(&d.path),
                side(&d.kafka),
                side(&d.ours),
            );
            versions
                .entry(told.clone())
                .or_insert_with(|| {
                    order.push(told);
                    Vec::new()
                })
                .push(d.version);
        }
        let mut heading = ("", "");
        for told in order {
            let (scenario, step, path, kafka, ours) = &told;
            if heading != (*scenario, *step) {
                writeln!(f, "\n{scenario} / {step}")?;
                heading = (scenario, step);
            }
            let versions = ranges(versions.get(&told).map_or(&[], Vec::as_slice));
            writeln!(
                f,
                "  v{versions} {path}\n    kafka: {kafka}\n    ours:  {ours}"
            )?;
        }
        Ok(())
    }
}

/// `3-5,7` for 3, 4, 5, 7.
pub fn ranges(versions: &[i16]) -> String {
    let mut runs: Vec<(i16, i16)> = Vec::new();
    for &v in versions {
        match runs.last_mut() {
            Some(run) if run.1 == v || run.1 + 1 == v => run.1 = v,
            _ => runs.push((v, v)),
        }
    }
    let told = |(from, to): &(i16, i16)| {
        if from == to {
            from.to_string()
        } else {
            format!("{from}-{to}")
        }
    };
    runs.iter().map(told).collect::<Vec<_>>().join(",")
}
