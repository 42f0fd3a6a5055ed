//! Text and bytes of many slots: short values in place, long ones in chunks whose dead bytes are given back.

use crate::lane::Lane;

/// Bytes kept in place.
const INLINE: usize = 12;
/// Size of a chunk; a longer value gets a chunk of its own.
const CHUNK: usize = 1 << 18;
/// Below this many dead bytes, compaction is not worth its pause.
const MIN_DEAD: usize = 1 << 20;

/// A value of at most 12 bytes, or where in the chunks a longer one is: `len` says which.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    len: u32,
    /// The bytes, or chunk and offset in little-endian.
    head: [u8; INLINE],
}

impl Span {
    fn is_long(self) -> bool {
        self.len as usize > INLINE
    }
    fn place(self) -> (usize, usize) {
        let [a, b, c, d, e, f, g, h, ..] = self.head;
        (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]) as usize)
    }
    fn long(len: usize, chunk: usize, offset: usize) -> Self {
        let [a, b, c, d] = (chunk as u32).to_le_bytes();
        let [e, f, g, h] = (offset as u32).to_le_bytes();
        Self { len: len as u32, head: [a, b, c, d, e, f, g, h, 0, 0, 0, 0] }
    }
}

#[derive(Debug, Default, Clone)]
struct Chunk {
    bytes: Vec<u8>,
    live: usize,
}

/// Byte strings by slot.
///
/// 1. Every long span lies within its chunk, and chunks' `live` add up to the lengths of all long spans.
/// 2. A chunk without live bytes, but the one being filled, holds no memory.
#[derive(Debug, Default, Clone)]
pub(crate) struct Arena {
    spans: Lane<Span>,
    chunks: Vec<Chunk>,
    /// Emptied chunks, to be filled again.
    free: Vec<usize>,
    /// The chunk being filled.
    filling: Option<usize>,
    live: usize,
    dead: usize,
}

impl Arena {
    /// The bytes of a slot; empty where none were set.
    #[inline]
    pub(crate) fn get(&self, slot: usize) -> &[u8] {
        match self.spans.at(slot) {
            None => &[],
            Some(span) if span.is_long() => self.long(*span),
            Some(span) => span.head.get(..span.len as usize).unwrap_or_default(),
        }
    }
    fn long(&self, span: Span) -> &[u8] {
        let (chunk, offset) = span.place();
        let bytes = self.chunks.get(chunk).and_then(|c| c.bytes.get(offset..offset + span.len as usize));
        debug_assert!(bytes.is_some(), "a span lies outside its chunk");
        bytes.unwrap_or_default()
    }
    /// Sets the bytes of a slot.
    #[inline]
    pub(crate) fn set(&mut self, slot: usize, bytes: &[u8]) {
        self.release(slot);
        let mut head = [0; INLINE];
        let span = match head.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                Span { len: bytes.len() as u32, head }
            }
            None => self.append(bytes),
        };
        self.spans.set(slot, span);
    }
    /// Forgets the bytes of a slot.
    pub(crate) fn clear(&mut self, slot: usize) {
        if self.spans.get(slot).len > 0 {
            self.release(slot);
            self.spans.set(slot, Span::default());
        }
    }
    fn append(&mut self, bytes: &[u8]) -> Span {
        let fits = |c: &Chunk| c.bytes.len() + bytes.len() <= c.bytes.capacity();
        let filling = match self.filling.filter(|i| self.chunks.get(*i).is_some_and(fits)) {
            Some(i) => i,
            None => self.open_chunk(bytes.len()),
        };
        let Some(chunk) = self.chunks.get_mut(filling) else { return Span::default() };
        let offset = chunk.bytes.len();
        chunk.bytes.extend_from_slice(bytes);
        chunk.live += bytes.len();
        self.live += bytes.len();
        Span::long(bytes.len(), filling, offset)
    }
    fn open_chunk(&mut self, at_least: usize) -> usize {
        if let Some(full) = self.filling.take() {
            self.give_back_if_dead(full);
        }
        // The first chunk is small: most pipelines have few long strings.
        let size = if self.chunks.is_empty() { CHUNK / 16 } else { CHUNK };
        let chunk = Chunk { bytes: Vec::with_capacity(size.max(at_least)), live: 0 };
        let i = match self.free.pop() {
            Some(i) => {
                if let Some(place) = self.chunks.get_mut(i) {
                    *place = chunk;
                }
                i
            }
            None => {
                self.chunks.push(chunk);
                self.chunks.len() - 1
            }
        };
        self.filling = Some(i);
        i
    }
    fn release(&mut self, slot: usize) {
        let span = self.spans.get(slot);
        if !span.is_long() {
            return;
        }
        let (chunk, _) = span.place();
        let len = span.len as usize;
        if let Some(c) = self.chunks.get_mut(chunk) {
            c.live -= len;
            self.live -= len;
            self.dead += len;
        }
        if self.filling != Some(chunk) {
            self.give_back_if_dead(chunk);
        }
    }
    fn give_back_if_dead(&mut self, chunk: usize) {
        if let Some(c) = self.chunks.get_mut(chunk).filter(|c| c.live == 0 && !c.bytes.is_empty()) {
            self.dead -= c.bytes.len();
            c.bytes = Vec::new();
            self.free.push(chunk);
        }
    }
    /// Rewrites all long values where more than half of the chunks' bytes are dead; `slots` is how many slots
    /// there are. Called between batches: it costs as much as what lives.
    pub(crate) fn compact(&mut self, slots: usize) {
        if self.dead < MIN_DEAD || self.dead < self.live {
            return;
        }
        let old = std::mem::take(&mut self.chunks);
        (self.free, self.filling, self.live, self.dead) = (Vec::new(), None, 0, 0);
        for slot in 0..slots {
            let span = self.spans.get(slot);
            if span.is_long() {
                let (chunk, offset) = span.place();
                let bytes = old.get(chunk).and_then(|c| c.bytes.get(offset..offset + span.len as usize));
                let moved = self.append(bytes.unwrap_or_default());
                self.spans.set(slot, moved);
            }
        }
    }
    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.spans.bytes()
            + self.chunks.capacity() * size_of::<Chunk>()
            + self.chunks.iter().map(|c| c.bytes.capacity()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(i: usize, len: usize) -> Vec<u8> {
        format!("{i:0len$}").into_bytes()
    }

    #[test]
    fn values_survive_overwriting_and_compaction_and_dead_bytes_do_not() {
        let mut arena = Arena::default();
        for i in 0..20_000 {
            arena.set(i, &text(i, 200));
        }
        let full = arena.bytes();
        for i in 0..20_000 {
            if i % 10 != 0 {
                arena.set(i, &text(i, i % 13));
            }
        }
        arena.compact(20_000);
        assert!(arena.bytes() < full / 2, "{} of {full}", arena.bytes());
        for i in 0..20_000 {
            let expected = if i % 10 == 0 { text(i, 200) } else { text(i, i % 13) };
            assert_eq!(arena.get(i), expected, "slot {i}");
        }
    }

    #[test]
    fn what_dies_in_the_order_it_came_needs_no_compaction() {
        let mut arena = Arena::default();
        for i in 0..100_000 {
            arena.set(i % 1000, &text(i, 100));
        }
        assert!(arena.bytes() < 3 * CHUNK, "{}", arena.bytes());
    }
}
