//! Edits of good bytes, as a fuzzer's input describes them: a list of steps, so that small inputs reach deep places.

/// The most steps in one input.
const MAX_STEPS: usize = 16;
/// The longest that edited bytes get.
const MAX_BYTES: usize = 128 * 1024;
/// Values at which lengths and counts tend to go wrong.
const EDGES: [u32; 8] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

/// A fuzzer's input, read from its front.
#[derive(Debug, Clone, Copy)]
pub struct Script<'a>(pub &'a [u8]);

impl<'a> Script<'a> {
    /// The next byte; zero at the end.
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number below `end`, of two bytes.
    pub fn below(&mut self, end: usize) -> usize {
        let number = usize::from(u16::from_le_bytes([self.byte(), self.byte()]));
        if end == 0 { 0 } else { number % end }
    }

    /// Up to `count` bytes.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Changes `bytes` by all the steps that are left.
    pub fn edit(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..MAX_STEPS {
            if self.0.is_empty() || bytes.len() > MAX_BYTES {
                return;
            }
            self.step(bytes);
        }
    }

    /// Changes `bytes` by one step.
    pub fn edit_once(&mut self, bytes: &mut Vec<u8>) {
        if bytes.len() <= MAX_BYTES {
            self.step(bytes);
        }
    }

    fn step(&mut self, bytes: &mut Vec<u8>) {
        let kind = self.byte();
        let at = self.below(bytes.len());
        let end = |length: usize| (at + length).min(bytes.len());
        match kind % 9 {
            0 if at < bytes.len() => bytes[at] = self.byte(),
            1 if at < bytes.len() => bytes[at] ^= 1 << (self.byte() % 8),
            2 => {
                let count = usize::from(self.byte() % 64);
                let new = self.take(count);
                bytes.splice(at..at, new.iter().copied());
            }
            3 => {
                let end = end(usize::from(self.byte()));
                bytes.drain(at..end);
            }
            4 => {
                let (from, count) = (self.below(bytes.len()), usize::from(self.byte()));
                let copied = bytes[from..(from + count).min(bytes.len())].to_vec();
                bytes.splice(at..at, copied);
            }
            5 => {
                let edge = EDGES[usize::from(self.byte()) % EDGES.len()];
                let order = if kind & 0x80 == 0 { edge.to_le_bytes() } else { edge.to_be_bytes() };
                let end = end(if kind & 0x40 == 0 { 4 } else { 2 });
                bytes.splice(at..end, order.into_iter().take(end - at));
            }
            6 => {
                let count = usize::from(self.byte() % 64);
                let new = self.take(count);
                bytes.splice(at..end(new.len()), new.iter().copied());
            }
            7 => bytes.truncate(at),
            _ => {
                let other = self.below(bytes.len());
                if !bytes.is_empty() {
                    bytes.swap(at, other);
                }
            }
        }
    }

    /// `good` after all the steps that are left.
    pub fn edited(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        self.edit(&mut bytes);
        bytes
    }

    /// The same of text. What is no UTF-8 any more is replaced.
    pub fn edited_text(&mut self, good: &str) -> String {
        String::from_utf8_lossy(&self.edited(good.as_bytes())).into_owned()
    }
}

/// The rest of an input as bytes of its own, or as edits of `good`, as its first byte says.
pub fn raw_or_edited(input: &[u8], good: &[u8]) -> Vec<u8> {
    match input.split_first() {
        Some((0, raw)) => raw.to_vec(),
        Some((_, steps)) => Script(steps).edited(good),
        None => Vec::new(),
    }
}
