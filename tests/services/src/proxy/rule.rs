//! What is to go wrong, with which requests, and how often.

use std::time::Duration;

use fastrand::Rng;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The service's own answer to too many requests. Nothing is done.
    Throttle,
    /// An error of the service with this code and HTTP status, in its own shape. Nothing is done.
    Refuse {
        /// The HTTP status.
        status: u16,
        /// The error's code, such as `ExpiredIteratorException`.
        code: String,
    },
    /// The page of a balancer before the service: an HTTP status with HTML. Nothing is done.
    Gateway(u16),
    /// Of a batch, each entry fails with this probability and the others are done: `PutRecords`, the batches of SQS and
    /// SNS, `BatchWriteItem`, `BatchGetItem`, `DeleteObjects`. Other operations are forwarded as they are.
    Partial {
        /// Of 1.
        share: f64,
    },
    /// The connection is closed before anything is done, as by a service that is down.
    Drop,
    /// It is done, and the connection is closed instead of an answer.
    Lose,
    /// It is done after this time.
    Delay(Duration),
    /// It is done at once, and answered after this time.
    Hold(Duration),
    /// It is done, and the connection breaks after so many bytes of the answer's body.
    Cut {
        /// Bytes of the body that get through.
        after: usize,
    },
    /// An answer that comes as a stream of events ends in good order after this time.
    EndStream(Duration),
    /// The answer is this one; whether anything is done first.
    Answer {
        /// Whether the request gets to the service.
        forward: bool,
        /// The HTTP status.
        status: u16,
        /// The answer's body.
        body: String,
    },
}

/// What the counters call a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`Fault::Throttle`]
    Throttle,
    /// [`Fault::Refuse`]
    Refuse,
    /// [`Fault::Gateway`]
    Gateway,
    /// [`Fault::Partial`]
    Partial,
    /// [`Fault::Drop`]
    Drop,
    /// [`Fault::Lose`]
    Lose,
    /// [`Fault::Delay`]
    Delay,
    /// [`Fault::Hold`]
    Hold,
    /// [`Fault::Cut`]
    Cut,
    /// [`Fault::EndStream`]
    EndStream,
    /// [`Fault::Answer`]
    Answer,
}

impl Fault {
    /// An error of the service.
    pub fn refuse(status: u16, code: &str) -> Self {
        Self::Refuse { status, code: code.to_owned() }
    }
    /// What the counters call it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Throttle => Kind::Throttle,
            Self::Refuse { .. } => Kind::Refuse,
            Self::Gateway(_) => Kind::Gateway,
            Self::Partial { .. } => Kind::Partial,
            Self::Drop => Kind::Drop,
            Self::Lose => Kind::Lose,
            Self::Delay(_) => Kind::Delay,
            Self::Hold(_) => Kind::Hold,
            Self::Cut { .. } => Kind::Cut,
            Self::EndStream(_) => Kind::EndStream,
            Self::Answer { .. } => Kind::Answer,
        }
    }
}

/// A fault, the operation it befalls, and when. Of several rules the first that applies does.
#[derive(Debug, Clone)]
pub struct Rule {
    operation: String,
    fault: Fault,
    skip: u64,
    times: u64,
    share: f64,
}

impl Rule {
    /// Every request for an operation by its name (`PutRecords`), or for any (`*`).
    pub fn on(operation: &str, fault: Fault) -> Self {
        Self { operation: operation.to_owned(), fault, skip: 0, times: u64::MAX, share: 1.0 }
    }
    /// Not the first so many requests.
    #[must_use]
    pub fn after(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }
    /// So many times, then never again.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }
    /// With this probability, of 1; the proxy's seed decides.
    #[must_use]
    pub fn share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }
    /// The fault, where it befalls this request.
    pub(crate) fn befalls(&mut self, operation: &str, random: &mut Rng) -> Option<Fault> {
        if self.times == 0 || (self.operation != "*" && self.operation != operation) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        if random.f64() >= self.share {
            return None;
        }
        self.times -= 1;
        Some(self.fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_applies_to_its_operation_when_it_says() {
        let mut random = Rng::with_seed(1);
        let mut rule = Rule::on("PutRecords", Fault::Throttle).after(1).times(2);
        let mut befalls = |operation: &str| rule.befalls(operation, &mut random).is_some();
        let told = [
            befalls("GetRecords"),
            befalls("PutRecords"),
            befalls("PutRecords"),
            befalls("GetRecords"),
            befalls("PutRecords"),
            befalls("PutRecords"),
        ];
        assert_eq!(told, [false, false, true, false, true, false]);
    }

    #[test]
    fn a_share_is_met_and_a_seed_repeats_it() {
        let of = |seed| {
            let mut random = Rng::with_seed(seed);
            let mut rule = Rule::on("*", Fault::Throttle).share(0.3);
            (0..1_000).map(|_| rule.befalls("Any", &mut random).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        let faults = of(7).iter().filter(|fault| **fault).count();
        assert!((250..350).contains(&faults), "{faults}");
    }
}
