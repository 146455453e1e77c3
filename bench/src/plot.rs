//! Plots as SVG, without a library: horizontal bars, and lines over a logarithmic axis.
use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const COLOURS: [&str; 4] = ["#2563a8", "#c2571a", "#2e7d32", "#7b3fa0"];

fn open(title: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"15\">{}</text>\n",
        escape(title)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A value of one server, in one workload.
pub struct Value {
    pub workload: String,
    pub server: String,
    pub value: f64,
}

/// One bar for each value; what several servers did in one workload stands together.
pub fn bars(title: &str, values: &[Value]) -> String {
    const ROW: f64 = 17.0;
    const HEAD: f64 = 24.0;
    const LEFT: f64 = 170.0;
    let mut workloads: Vec<&str> = Vec::new();
    for value in values {
        if !workloads.contains(&value.workload.as_str()) {
            workloads.push(&value.workload);
        }
    }
    let height = 40.0 + ROW * values.len() as f64 + HEAD * workloads.len() as f64;
    let most = values
        .iter()
        .map(|v| v.value)
        .fold(f64::MIN_POSITIVE, f64::max);
    let (mut svg, mut y) = (open(title, height), 32.0);
    for workload in workloads {
        let _ = writeln!(
            svg,
            "<text x=\"10\" y=\"{}\" font-weight=\"bold\">{}</text>",
            y + 16.0,
            escape(workload)
        );
        y += HEAD;
        for v in values.iter().filter(|v| v.workload == workload) {
            let length = v.value / most * (WIDTH - LEFT - 80.0);
            let colour = COLOURS[usize::from(v.server.contains("Kafka"))];
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"12\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{}</text>",
                LEFT - 6.0,
                y + 10.0,
                escape(&v.server),
                LEFT + length + 5.0,
                y + 10.0,
                short(v.value),
            );
            y += ROW;
        }
    }
    svg + "</svg>\n"
}

/// Three digits, or all before the point.
pub fn short(value: f64) -> String {
    match value {
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

/// A named line of points.
pub type Line = (String, Vec<(f64, f64)>);

/// Lines over a logarithmic x axis; y begins at 0.
pub fn lines(title: &str, all: &[Line]) -> String {
    const HEIGHT: f64 = 360.0;
    const LEFT: f64 = 60.0;
    const BOTTOM: f64 = 320.0;
    let points = || all.iter().flat_map(|(_, points)| points);
    let least = points().map(|(x, _)| x.log10()).fold(f64::MAX, f64::min);
    let most = points().map(|(x, _)| x.log10()).fold(least + 1.0, f64::max);
    let top = points().map(|(_, y)| *y).fold(f64::MIN_POSITIVE, f64::max) * 1.1;
    let at = |(x, y): (f64, f64)| {
        let across = (x.log10() - least) / (most - least);
        (
            LEFT + across * (WIDTH - LEFT - 40.0),
            BOTTOM - y / top * (BOTTOM - 40.0),
        )
    };
    let mut svg = open(title, HEIGHT);
    let _ = writeln!(
        svg,
        "<path d=\"M{LEFT} 40V{BOTTOM}H{}\" fill=\"none\" stroke=\"#888\"/>",
        WIDTH - 40.0
    );
    for (i, (name, points)) in all.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let mut path = String::new();
        for (n, point) in points.iter().enumerate() {
            let (x, y) = at(*point);
            let _ = write!(path, "{}{x:.1} {y:.1}", if n == 0 { 'M' } else { 'L' });
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{colour}\">{:.0}</text>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{:.0}</text>",
                if is_highest(all, i, n) {
                    y - 8.0
                } else {
                    y + 18.0
                },
                point.1,
                BOTTOM + 16.0,
                point.0,
            );
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{}\" y=\"{}\" fill=\"{colour}\">{}</text>",
            LEFT + 12.0,
            56.0 + 16.0 * i as f64,
            escape(name),
        );
    }
    svg + "</svg>\n"
}

/// Is this line's point above those of the others there? Its number then stands above it, else below: lines lie close
/// together where nothing grows.
fn is_highest(all: &[Line], line: usize, point: usize) -> bool {
    let own = all[line].1[point].1;
    all.iter().enumerate().all(|(other, (_, points))| {
        let there = points.get(point).map_or(f64::MIN, |(_, y)| *y);
        other == line || there < own || there == own && line < other
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_a_plot_out_of_its_markup() {
        let value = Value {
            workload: "x>y".into(),
            server: "s".into(),
            value: 1.0,
        };
        let svg = bars("a < b & c", &[value]);
        assert!(svg.contains("a &lt; b &amp; c") && svg.contains("x&gt;y"));
    }

    #[test]
    fn a_plot_of_nothing_is_still_a_plot() {
        assert!(lines("t", &[]).ends_with("</svg>\n") && bars("t", &[]).ends_with("</svg>\n"));
    }
}
