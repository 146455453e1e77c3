//! Makes a plan that fails smaller: what is left is what it takes.
use super::{Outcome, Plan, run};

/// Runs that a search may take.
const RUNS_MAX: usize = 400;

/// The smallest plan that was found to fail as this one does, and its story.
pub fn shrink(plan: &Plan) -> (Plan, Outcome) {
    let mut smallest = plan.clone();
    let kinds =
        |outcome: &Outcome| -> Vec<String> { outcome.problems.iter().map(|p| p.kind()).collect() };
    let wanted = kinds(&run(plan, false));
    let mut runs = 0;
    'smaller: loop {
        for candidate in smallest.smaller() {
            runs += 1;
            if runs > RUNS_MAX {
                break 'smaller;
            }
            let found = kinds(&run(&candidate, false));
            if found.iter().any(|kind| wanted.contains(kind)) {
                smallest = candidate;
                continue 'smaller;
            }
        }
        break;
    }
    let outcome = run(&smallest, true);
    (smallest, outcome)
}

/// What a failing plan says to people: the problems, the story, and the plan to keep.
pub fn report(plan: &Plan, outcome: &Outcome) -> String {
    let problems: Vec<String> = outcome.problems.iter().map(|p| format!("  {p}")).collect();
    let kept = serde_json::to_string(plan).unwrap_or_default();
    format!(
        "{}\n\nIt broke:\n{}\n\nKeep it as crates/testkit/plans/NAME.json:\n{kept}\n",
        outcome.story.join("\n"),
        problems.join("\n")
    )
}
