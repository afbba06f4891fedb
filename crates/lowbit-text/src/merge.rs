//! Merging of neighbouring symbols, best rank first: the loop that byte-level BPE and SentencePiece BPE share.
//!
//! Symbols form a linked list in one vector. Each remembers the rank of the merge with its right neighbour, so
//! an entry of the queue is stale exactly when the rank no longer matches. With a binary heap the whole run is
//! O(n log n); short words, nearly all words, are scanned instead, which is faster than any heap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A stretch of text and the token it is, if it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Symbol {
    pub(crate) id: Option<u32>,
    /// Offset in the text being merged, in bytes.
    pub(crate) start: u32,
    /// Length in bytes.
    pub(crate) len: u32,
}

/// What a merge makes and when its turn comes (lowest rank first, then leftmost).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Merge {
    pub(crate) rank: u32,
    pub(crate) id: u32,
}

const END: u32 = u32::MAX;
const SCANNED: usize = 24;

#[derive(Debug, Clone, Copy)]
struct Node {
    symbol: Symbol,
    prev: u32,
    next: u32,
    /// The merge with the node at `next`; `None` at the end, after being merged away, and where none exists.
    merge: Option<Merge>,
}

/// The working memory of a merge run, kept between words.
#[derive(Debug, Default)]
pub(crate) struct Merger {
    nodes: Vec<Node>,
    queue: BinaryHeap<Reverse<u64>>,
}

impl Merger {
    /// Merges `symbols` until `lookup` knows no pair any more and gives what is left, in order, to `emit`.
    ///
    /// At most `u32::MAX - 1` symbols; the caller limits the text.
    pub(crate) fn run(
        &mut self,
        symbols: impl Iterator<Item = Symbol>,
        lookup: impl Fn(Symbol, Symbol) -> Option<Merge>,
        mut emit: impl FnMut(Symbol),
    ) {
        self.nodes.clear();
        for symbol in symbols {
            let at = self.nodes.len() as u32;
            self.nodes.push(Node { symbol, prev: at.wrapping_sub(1), next: at + 1, merge: None });
        }
        let Some(last) = self.nodes.last_mut() else { return };
        last.next = END;
        for at in 1..self.nodes.len() {
            self.nodes[at - 1].merge = lookup(self.nodes[at - 1].symbol, self.nodes[at].symbol);
        }
        if self.nodes.len() <= SCANNED {
            while let Some(at) = self.best_by_scan() {
                self.apply(at, &lookup);
            }
        } else {
            self.run_queue(&lookup);
        }
        let mut at = 0;
        while at != END {
            let node = &self.nodes[at as usize];
            emit(node.symbol);
            at = node.next;
        }
    }

    fn best_by_scan(&self) -> Option<u32> {
        let mut best = None;
        let mut at = 0;
        while at != END {
            let node = &self.nodes[at as usize];
            if let Some(merge) = node.merge
                && best.is_none_or(|(rank, _)| merge.rank < rank)
            {
                best = Some((merge.rank, at));
            }
            at = node.next;
        }
        best.map(|(_, at)| at)
    }

    fn run_queue(&mut self, lookup: &impl Fn(Symbol, Symbol) -> Option<Merge>) {
        let entry = |rank: u32, at: u32| Reverse(u64::from(rank) << 32 | u64::from(at));
        let mut queue = std::mem::take(&mut self.queue).into_vec();
        queue.clear();
        queue.extend(
            self.nodes.iter().enumerate().filter_map(|(at, n)| n.merge.map(|m| entry(m.rank, at as u32))),
        );
        let mut queue = BinaryHeap::from(queue);
        while let Some(Reverse(packed)) = queue.pop() {
            let (rank, at) = ((packed >> 32) as u32, packed as u32);
            if self.nodes[at as usize].merge.is_none_or(|merge| merge.rank != rank) {
                continue;
            }
            self.apply(at, lookup);
            let node = self.nodes[at as usize];
            if let Some(merge) = node.merge {
                queue.push(entry(merge.rank, at));
            }
            if node.prev != END
                && let Some(merge) = self.nodes[node.prev as usize].merge
            {
                queue.push(entry(merge.rank, node.prev));
            }
        }
        self.queue = queue;
    }

    /// Merges the node at `at`, which has a merge, with its right neighbour.
    fn apply(&mut self, at: u32, lookup: &impl Fn(Symbol, Symbol) -> Option<Merge>) {
        let Node { symbol, prev, next, merge } = self.nodes[at as usize];
        let merge = merge.expect("only nodes with a merge are applied");
        let right = self.nodes[next as usize];
        self.nodes[next as usize].merge = None;
        let symbol = Symbol { id: Some(merge.id), start: symbol.start, len: symbol.len + right.symbol.len };
        let after = right.next;
        let merge = if after == END {
            None
        } else {
            self.nodes[after as usize].prev = at;
            lookup(symbol, self.nodes[after as usize].symbol)
        };
        self.nodes[at as usize] = Node { symbol, prev, next: after, merge };
        if prev != END {
            let left = &mut self.nodes[prev as usize];
            left.merge = lookup(left.symbol, symbol);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Merges `aa` (rank 1), `aaaa` (rank 0) and `ab` (rank 2).
    fn toy(text: &str, left: Symbol, right: Symbol) -> Option<Merge> {
        let joined = &text[left.start as usize..(right.start + right.len) as usize];
        let (rank, id) = match joined {
            "aa" => (1, 10),
            "aaaa" => (0, 11),
            "ab" => (2, 12),
            _ => return None,
        };
        Some(Merge { rank, id })
    }

    fn merged(text: &str) -> Vec<(u32, u32)> {
        let symbols = (0..text.len()).map(|at| Symbol { id: None, start: at as u32, len: 1 });
        let mut out = Vec::new();
        Merger::default().run(symbols, |l, r| toy(text, l, r), |s| out.push((s.start, s.len)));
        out
    }

    #[test]
    fn lowest_rank_goes_first_then_leftmost() {
        assert_eq!(merged("aab"), [(0, 2), (2, 1)]);
        assert_eq!(merged("aaab"), [(0, 2), (2, 2)]);
        assert_eq!(merged("aaaaab"), [(0, 4), (4, 2)]);
        assert_eq!(merged(""), []);
    }

    #[test]
    fn queue_and_scan_agree_on_periodic_text() {
        // 24 symbols are scanned, more go through the queue; a text of period 5 merges alike in both.
        let short = merged(&"aaaab".repeat(4));
        let long = merged(&"aaaab".repeat(40));
        assert_eq!(long[..short.len()], short[..]);
        assert_eq!(long.len(), short.len() * 10);
    }
}
