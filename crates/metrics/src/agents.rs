//! Agents and the models they use: OpenTelemetry's names for it, as Prometheus writes them, and what it costs.

use std::time::Duration;

use prometheus::{CounterVec, HistogramVec, IntCounterVec, Registry};

use crate::Build;
use crate::labels::Bounded;
use crate::register::{counters, float_counters, histograms};

/// Tokens.
const TOKEN_BUCKETS: [f64; 12] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
];
/// Seconds.
const CALL_BUCKETS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Seconds.
const AGENT_BUCKETS: [f64; 10] =
    [1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 18_000.0];
const CHAT: &str = "chat";
const MILLION: f64 = 1_000_000.0;

/// A request to a model that was answered or not.
#[derive(Clone, Copy, Debug)]
pub struct Chat<'a> {
    pub provider: &'a str,
    pub model: &'a str,
    /// Those read from and written to a cache included.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Millionths of a US dollar.
    pub cost_micros: u64,
    pub took: Duration,
    /// Of few kinds; empty when all is well.
    pub error: &'a str,
}

/// Agents, their tools and their models.
#[derive(Clone, Debug)]
pub struct Agents {
    tokens: HistogramVec,
    calls: HistogramVec,
    invocations: HistogramVec,
    tools: HistogramVec,
    cost: CounterVec,
    budgets: IntCounterVec,
    models: Bounded,
    tool_names: Bounded,
    jobs: Bounded,
}

impl Agents {
    pub(crate) fn new(registry: &Registry) -> Self {
        let histogram = |name, help, labels: &[&str], buckets| {
            histograms(registry, name, help, labels, buckets)
        };
        let operation = "gen_ai_operation_name";
        let (provider, model) = ("gen_ai_provider_name", "gen_ai_request_model");
        Self {
            tokens: histogram(
                "gen_ai_client_token_usage",
                "Tokens of requests to models, those of caches included.",
                &[operation, provider, model, "gen_ai_token_type"],
                &TOKEN_BUCKETS,
            ),
            calls: histogram(
                "gen_ai_client_operation_duration_seconds",
                "How long requests to models took, to the end of the answer.",
                &[operation, provider, model, "error_type"],
                &CALL_BUCKETS,
            ),
            invocations: histogram(
                "gen_ai_invoke_agent_duration_seconds",
                "How long agents worked.",
                &[provider, model, "error_type"],
                &AGENT_BUCKETS,
            ),
            tools: histogram(
                "gen_ai_execute_tool_duration_seconds",
                "How long the tools of agents took.",
                &["gen_ai_tool_name", "error_type"],
                &CALL_BUCKETS,
            ),
            cost: float_counters(
                registry,
                "jetbridge_agent_cost_dollars_total",
                "What models cost, in US dollars, by the prices that the server was given.",
                &["team", "pipeline", "job"],
            ),
            budgets: counters(
                registry,
                "jetbridge_agent_budgets_spent_total",
                "Agents whose budget was spent, by what of.",
                &["limit_of"],
            ),
            models: Bounded::default(),
            tool_names: Bounded::default(),
            jobs: Bounded::default(),
        }
    }

    pub fn asked(&self, build: &Build<'_>, chat: &Chat<'_>) {
        let [provider, model] = self.models.set([chat.provider, chat.model]);
        let took = chat.took.as_secs_f64();
        self.calls.with_label_values(&[CHAT, provider, model, chat.error]).observe(took);
        for (kind, tokens) in [("input", chat.input_tokens), ("output", chat.output_tokens)] {
            // What was not answered has no tokens to speak of.
            if tokens > 0 {
                let tokens_of = self.tokens.with_label_values(&[CHAT, provider, model, kind]);
                tokens_of.observe(float(tokens));
            }
        }
        let [team, pipeline, job] = self.jobs.set([build.team, build.pipeline, build.job]);
        let cost = self.cost.with_label_values(&[team, pipeline, job]);
        cost.inc_by(float(chat.cost_micros) / MILLION);
    }

    /// `error` is of few kinds; empty when all is well.
    pub fn called(&self, tool: &str, took: Duration, error: &str) {
        let [tool] = self.tool_names.set([tool]);
        self.tools.with_label_values(&[tool, error]).observe(took.as_secs_f64());
    }

    /// An agent came to its end. `error` is of few kinds; empty when all is well.
    pub fn ended(&self, provider: &str, model: &str, took: Duration, error: &str) {
        let [provider, model] = self.models.set([provider, model]);
        let invocations = self.invocations.with_label_values(&[provider, model, error]);
        invocations.observe(took.as_secs_f64());
    }

    pub fn budget_spent(&self, limit_of: &str) {
        self.budgets.with_label_values(&[limit_of]).inc();
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of tokens and millionths of dollars")]
fn float(count: u64) -> f64 {
    count as f64
}
