//! The requests of one connection that are not answered yet.
//!
//! **The order rule** (DESIGN 5): answers leave in the order of the requests. Produce requests *run ahead*: they start as they
//! come, many at once. Anything else starts when everything before it on the connection has been answered, and nothing behind
//! it starts before it is answered itself. So does a produce request whose topics have to be looked up first: its batches get
//! their place only after that, and those behind it must not overtake them.
use std::{
    collections::VecDeque,
    future::poll_fn,
    task::{Context, Poll},
};

use futures::FutureExt;

use crate::{
    chunks::Chunks,
    connection::{Answering, Service},
    frames::{Closing, Framed},
};

/// Answers that are ready together are written together, up to about this many bytes.
const WRITE_BYTES: usize = 256 * 1024;

pub struct Queue<S: Service> {
    service: S,
    /// Oldest first. The first `started` are running, the others wait.
    slots: VecDeque<Slot<S>>,
    started: usize,
    /// Frame bytes of all slots.
    bytes: usize,
    /// Ends the connection once what was ready before it is written.
    closing: Option<Closing>,
}

struct Slot<S: Service> {
    frame_bytes: usize,
    waits_for_news: bool,
    state: State<S>,
}

enum State<S: Service> {
    Waiting(S::Request),
    Running {
        answering: Answering,
        ahead: bool,
    },
    /// Only while a slot changes from waiting to running.
    Starting,
}

impl<S: Service> Queue<S> {
    pub fn new(service: S) -> Self {
        Queue {
            service,
            slots: VecDeque::new(),
            started: 0,
            bytes: 0,
            closing: None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.closing.is_none()
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Frame bytes of all requests that are not answered.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn push(&mut self, (request, frame_bytes): Framed<S>) {
        self.bytes += frame_bytes;
        self.slots.push_back(Slot {
            frame_bytes,
            waits_for_news: self.service.waits_for_news(&request),
            state: State::Waiting(request),
        });
        self.start();
    }

    /// The client is gone: nobody wants to hear what is new, and what would wait for it is dropped.
    pub fn hang_up(&mut self) {
        let is_running = |s: &Slot<S>| matches!(s.state, State::Running { .. });
        self.slots.retain(|slot| !slot.waits_for_news);
        self.started = self.slots.iter().filter(|slot| is_running(slot)).count();
        self.bytes = self.slots.iter().map(|slot| slot.frame_bytes).sum();
        self.start();
    }

    /// Starts what the order rule lets start.
    fn start(&mut self) {
        let mut all_ahead = self.running_are_ahead();
        while all_ahead && let Some(slot) = self.slots.get_mut(self.started) {
            let State::Waiting(request) = &slot.state else {
                return;
            };
            let ahead = self.service.runs_ahead(request);
            if !ahead && self.started > 0 {
                return;
            }
            if let State::Waiting(request) = std::mem::replace(&mut slot.state, State::Starting) {
                slot.state = State::Running {
                    answering: self.service.start(request),
                    ahead,
                };
            }
            self.started += 1;
            all_ahead = ahead;
        }
    }

    /// If the newest running one is ahead, so are all: nothing starts behind one that is not.
    fn running_are_ahead(&self) -> bool {
        let newest = self.started.checked_sub(1).and_then(|i| self.slots.get(i));
        newest.is_none_or(|slot| matches!(slot.state, State::Running { ahead: true, .. }))
    }

    /// The answers at the front of the queue, as soon as there is one. Loses nothing when dropped. Waits for ever when empty.
    pub async fn answers(&mut self) -> Result<Chunks, Closing> {
        poll_fn(|cx| self.poll_answers(cx)).await
    }

    fn poll_answers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunks, Closing>> {
        let mut out = Answers::default();
        while self.closing.is_none() && out.bytes < WRITE_BYTES {
            match self.poll_front(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(chunks)) => out.add(chunks),
                Poll::Ready(Err(closing)) => self.closing = Some(closing),
            }
        }
        if out.any {
            return Poll::Ready(Ok(out.chunks));
        }
        match self.closing.take() {
            Some(closing) => Poll::Ready(Err(closing)),
            None => Poll::Pending,
        }
    }

    fn poll_front(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<bytes::Bytes>, Closing>> {
        let Some(Slot {
            state: State::Running { answering, .. },
            ..
        }) = self.slots.front_mut()
        else {
            return Poll::Pending;
        };
        let answer = std::task::ready!(answering.poll_unpin(cx));
        if let Some(done) = self.slots.pop_front() {
            self.bytes -= done.frame_bytes;
            self.started -= 1;
        }
        self.start();
        Poll::Ready(answer)
    }
}

#[derive(Default)]
struct Answers {
    any: bool,
    bytes: usize,
    chunks: Chunks,
}

impl Answers {
    fn add(&mut self, chunks: Vec<bytes::Bytes>) {
        self.any = true;
        self.bytes += chunks.iter().map(|c| c.len()).sum::<usize>();
        self.chunks.extend(chunks);
    }
}
