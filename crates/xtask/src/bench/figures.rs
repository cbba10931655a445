//! What was measured, and how it is shown.

use std::time::Duration;

use serde_json::{Value, json};

/// What a figure shall keep to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// The same thing without the server.
#[derive(Clone, Debug)]
pub(super) struct Floor {
    what: &'static str,
    value: f64,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    measure: &'static str,
    what: &'static str,
    unit: &'static str,
    value: f64,
    floor: Option<Floor>,
    bound: Option<Bound>,
    /// How many times the floor the figure may be.
    ratio_max: Option<f64>,
    /// Further figures of the same measure, by name.
    more: Vec<(&'static str, f64)>,
}

impl Figure {
    pub(super) fn new(
        measure: &'static str,
        what: &'static str,
        unit: &'static str,
        value: f64,
    ) -> Self {
        let (floor, bound, ratio_max) = (None, None, None);
        Self { measure, what, unit, value, floor, bound, ratio_max, more: Vec::new() }
    }

    pub(super) fn floor(mut self, what: &'static str, value: Option<f64>) -> Self {
        self.floor = value.map(|value| Floor { what, value });
        self
    }

    pub(super) fn bound(mut self, bound: Bound) -> Self {
        self.bound = Some(bound);
        self
    }

    pub(super) fn ratio_max(mut self, max: f64) -> Self {
        self.ratio_max = Some(max);
        self
    }

    pub(super) fn more(mut self, name: &'static str, value: f64) -> Self {
        self.more.push((name, value));
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.floor.as_ref().filter(|floor| floor.value > 0.0).map(|floor| self.value / floor.value)
    }

    /// None when there is nothing to keep to.
    fn is_met(&self) -> Option<bool> {
        let bound = self.bound.map(|bound| match bound {
            Bound::AtMost(most) => self.value <= most,
            Bound::AtLeast(least) => self.value >= least,
        });
        let ratio = self.ratio_max.zip(self.ratio()).map(|(max, ratio)| ratio <= max);
        match (bound, ratio) {
            (None, None) => None,
            (bound, ratio) => Some(bound.unwrap_or(true) && ratio.unwrap_or(true)),
        }
    }

    fn target(&self) -> String {
        let bound = match self.bound {
            Some(Bound::AtMost(most)) => format!("<= {}", number(most)),
            Some(Bound::AtLeast(least)) => format!(">= {}", number(least)),
            None => String::new(),
        };
        let ratio = self.ratio_max.map(|max| format!("<= {max}x")).unwrap_or_default();
        [bound, ratio].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ")
    }

    fn json(&self) -> Value {
        let more: serde_json::Map<String, Value> =
            self.more.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({
            "measure": self.measure,
            "what": self.what,
            "unit": self.unit,
            "value": self.value,
            "floor": self.floor.as_ref().map(|floor| json!({"what": floor.what, "value": floor.value})),
            "ratio": self.ratio(),
            "target": self.target(),
            "met": self.is_met(),
            "more": more,
        })
    }
}

pub(super) fn json(figures: &[Figure]) -> anyhow::Result<String> {
    let figures: Vec<Value> = figures.iter().map(Figure::json).collect();
    Ok(serde_json::to_string_pretty(&figures)? + "\n")
}

pub(super) fn print(figures: &[Figure]) {
    let mut rows = vec![
        ["measure", "ours", "floor", "ratio", "target", "met", "floor is", "more"]
            .map(str::to_owned),
    ];
    for figure in figures {
        let floor = figure.floor.as_ref();
        let more = figure.more.iter().map(|(name, value)| format!("{name} {}", number(*value)));
        rows.push([
            figure.what.to_owned(),
            format!("{} {}", number(figure.value), figure.unit),
            floor.map_or_else(|| "-".to_owned(), |floor| number(floor.value)),
            figure.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            figure.target(),
            figure.is_met().map_or("", |met| if met { "yes" } else { "NO" }).to_owned(),
            floor.map_or("", |floor| floor.what).to_owned(),
            more.collect::<Vec<_>>().join(", "),
        ]);
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// As many digits as say something.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    if digits > 0 { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// The value that this part of the samples does not exceed; `part` between 0 and 1.
pub(super) fn quantile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a short list"
    )]
    let index = (part * last as f64).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
