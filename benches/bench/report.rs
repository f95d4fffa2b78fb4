//! Compares figures to their bars.

/// Prints a ratio and whether it reaches its bar.
pub(crate) fn at_least(what: &str, ours: f64, baseline: f64, unit: &str, bar: f64) {
    let ratio = ours / baseline;
    let verdict = if ratio >= bar { "PASS" } else { "MISS" };
    println!(
        "{verdict}  {what}: {ours:.0} {unit} / {baseline:.0} {unit} = {ratio:.2}x (bar: at least {bar:.2}x)"
    );
}

/// Prints an amount and whether it stays below its bar.
pub(crate) fn at_most(what: &str, amount: f64, unit: &str, bar: f64) {
    let verdict = if amount <= bar { "PASS" } else { "MISS" };
    println!("{verdict}  {what}: {amount:.2} {unit} (bar: at most {bar:.0} {unit})");
}
