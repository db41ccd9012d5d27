//! When the link fails, and how.

use std::time::Duration;

use crate::link::Mode;

/// How many faults there are; the rest of the time the link is up.
const FAULTS: [Fault; 3] = [Fault::Cut, Fault::Silent, Fault::CutAndKilled];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Cut,
    /// Connections stay and carry nothing.
    Silent,
    CutAndKilled,
}

/// From when to when, of the whole time.
struct Span {
    from: Duration,
    to: Duration,
    fault: Fault,
    /// When the leaf is killed, if that is still to come.
    kill_at: Option<Duration>,
}

pub(crate) struct Schedule(Vec<Span>);

/// How things are to be at a moment.
pub(crate) struct State {
    pub(crate) mode: Mode,
    pub(crate) fault: Option<Fault>,
    /// Now, once.
    pub(crate) kill_leaf: bool,
}

impl Schedule {
    /// Each fault takes about a fifth of the time, after a pause of a tenth.
    pub(crate) fn new(total: Duration, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut at = Duration::ZERO;
        let spans = FAULTS.map(|fault| {
            let from = at + total.mul_f64(dice.between(0.08, 0.12));
            let to = from + total.mul_f64(dice.between(0.15, 0.20));
            at = to;
            let kill_at = (fault == Fault::CutAndKilled).then(|| from + (to - from) / 2);
            Span { from, to, fault, kill_at }
        });
        Self(spans.into())
    }

    pub(crate) fn state(&mut self, at: Duration) -> State {
        let Some(span) = self.0.iter_mut().find(|span| span.from <= at && at < span.to) else {
            return State { mode: Mode::Open, fault: None, kill_leaf: false };
        };
        let mode = if span.fault == Fault::Silent { Mode::Silent } else { Mode::Cut };
        let kill_leaf = span.kill_at.take_if(|kill| *kill <= at).is_some();
        State { mode, fault: Some(span.fault), kill_leaf }
    }

    /// How long there was no link, in all.
    pub(crate) fn without_link(&self) -> Duration {
        self.0.iter().map(|span| span.to - span.from).sum()
    }
}

/// Draws (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn between(&mut self, from: f64, to: f64) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        from + (to - from) * ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
