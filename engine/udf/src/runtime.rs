//! One runtime of an async library, and the calls under way in it.

#![expect(unsafe_code, reason = "calls of a library's functions; each says why it holds")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use arrow::array::{Array, ArrayRef, AsArray, UInt64Array};
use arrow::datatypes::UInt64Type;
use async_ffi::FfiFuture;

use crate::abi::{Columns, DrainResult, Handle};
use crate::calls::{Exchange, Row};
use crate::cdata::OnRelease;
use crate::error::UdfError;
use crate::library::AsyncSymbols;
use crate::types::{Signature, Type};

/// The library's own time-out ends its runtime; ours fails a row. So the library gets one that never comes.
const NEVER_MICROS: u64 = 365 * 24 * 3600 * 1_000_000;
/// The library takes no call while this many are under way. We count; it must not stop to listen.
const ANY_NUMBER: u32 = u32::MAX;

/// So often is a call offered before the thread sleeps until it is wanted.
const TURNS: usize = 100;

/// What came of handing a call over.
pub(crate) enum Sent {
    /// It is under way.
    Yes,
    /// Later: the library is busy taking another one.
    Busy,
    /// Never: the runtime has ended.
    Ended,
}

/// See the [module](self).
pub(crate) struct Runtime {
    number: u64,
    symbols: AsyncSymbols,
    handle: Handle,
    exchange: Arc<Exchange>,
    waker: Waker,
    /// A call that the library has not taken yet.
    sending: Option<(u64, FfiFuture<bool>)>,
    /// Calls under way, by ticket.
    pub(crate) calls: BTreeMap<u64, Row>,
    next_ticket: u64,
    /// The call that the library did not take any more.
    pub(crate) untaken: Option<(u64, Row)>,
    ended: bool,
}

struct WakeDriver(Arc<Exchange>);

impl Wake for WakeDriver {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }
}

impl Runtime {
    pub(crate) fn start(number: u64, symbols: AsyncSymbols, exchange: Arc<Exchange>) -> Self {
        // SAFETY: the symbol is `__start` of a plugin, checked when it was loaded.
        let handle = unsafe { (symbols.start)(false, NEVER_MICROS, ANY_NUMBER) };
        let waker = Waker::from(Arc::new(WakeDriver(exchange.clone())));
        Self {
            number,
            symbols,
            handle,
            exchange,
            waker,
            sending: None,
            calls: BTreeMap::new(),
            next_ticket: 0,
            untaken: None,
            ended: false,
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether a call waits to be taken.
    pub(crate) fn is_busy(&self) -> bool {
        self.sending.is_some()
    }

    /// Hands a call over; gives its ticket.
    ///
    /// # Errors
    /// Where the columns are not of the declared types.
    pub(crate) fn send(&mut self, row: Row, signature: &Signature) -> Result<(u64, Sent), UdfError> {
        let ticket = self.next_ticket;
        let (exchange, number) = (self.exchange.clone(), self.number);
        let told: OnRelease = Arc::new(move || exchange.release(number, ticket));
        let columns = Columns::of(&row.columns, &signature.args, Some(&told))?;
        self.next_ticket += 1;
        self.calls.insert(ticket, row);
        // SAFETY: the symbol is `__send` of the plugin that gave the handle, which is stopped only when this is dropped.
        let future = unsafe { (self.symbols.send)(self.handle, ticket, columns) };
        self.sending = Some((ticket, future));
        Ok((ticket, self.press_on()))
    }

    /// Tries to hand over what waits for as long as the library's thread would take to be woken: mostly it is awake, takes
    /// the call within a microsecond, and sleeping until it says so would cost both threads ten times that.
    pub(crate) fn press_on(&mut self) -> Sent {
        for _ in 0..TURNS {
            match self.go_on() {
                Sent::Busy => std::thread::yield_now(),
                over => return over,
            }
        }
        self.go_on()
    }

    /// Tries again to hand over what waits.
    pub(crate) fn go_on(&mut self) -> Sent {
        if self.ended {
            return Sent::Ended;
        }
        let Some((ticket, future)) = &mut self.sending else { return Sent::Yes };
        let ticket = *ticket;
        let mut context = Context::from_waker(&self.waker);
        // A future of the library's that panics says so by a panic here.
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(future).poll(&mut context)));
        match polled {
            Ok(Poll::Pending) => Sent::Busy,
            Ok(Poll::Ready(true)) => {
                self.sending = None;
                Sent::Yes
            }
            Ok(Poll::Ready(false)) | Err(_) => {
                self.sending = None;
                self.ended = true;
                self.untaken = self.calls.remove(&ticket).map(|row| (ticket, row));
                Sent::Ended
            }
        }
    }

    /// The results since the last look, by ticket. `None` where the library cannot tell any more: its runtime ended while
    /// it wrote them down.
    ///
    /// # Errors
    /// Where they are not of the declared type.
    pub(crate) fn drain(&mut self, returns: Type) -> Result<Option<Vec<(u64, ArrayRef)>>, UdfError> {
        // SAFETY: the symbol is `__drain_results` of the plugin that gave the handle.
        match unsafe { (self.symbols.drain)(self.handle) } {
            DrainResult::None => Ok(Some(Vec::new())),
            DrainResult::Error => {
                self.ended = true;
                Ok(None)
            }
            DrainResult::Data(columns) => {
                let columns = columns.take(&[Type::Ubigint, returns])?;
                let [tickets, values] = columns.as_slice() else {
                    return Err(UdfError::Broken("the library gave another number of columns".to_owned()));
                };
                let tickets: &UInt64Array = tickets.as_primitive::<UInt64Type>();
                if tickets.len() != values.len() {
                    return Err(UdfError::Broken("the library gave another number of results than ids".to_owned()));
                }
                let each = tickets.values().iter().enumerate();
                Ok(Some(each.map(|(row, ticket)| (*ticket, values.slice(row, 1))).collect()))
            }
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // It looks at the handle.
        self.sending = None;
        // SAFETY: the symbol is `__stop_runtime` of the plugin that gave the handle; nothing uses it any more. The
        // runtime's thread sees that nobody can send, drops the calls under way, and ends.
        unsafe { (self.symbols.stop)(self.handle) }
    }
}
