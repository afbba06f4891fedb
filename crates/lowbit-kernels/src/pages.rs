//! Memory for weights: zeroed, page-aligned, in huge pages where the system has them.
//!
//! Every token reads all weights once. With pages of 4 KiB that is a miss of the address cache every 4 KiB, and the
//! hardware's prefetch stops at each: a product beyond the caches then takes as long as reading and computing after each
//! other, and with huge pages as the longer of both. Only whole aligned huge pages are made so; weights of some MiB or
//! less are therefore cut from one larger mapping, one after the other.

use memmap2::{MmapMut, MmapRaw};
use std::sync::{Arc, Mutex};

/// Bytes of a huge page, on the machines that have them.
const HUGE: usize = 2 << 20;

/// Bytes of a mapping that weights are cut from. Address space only: memory is what is written to.
const CHUNK: usize = 64 << 20;

/// Bytes to which runs are aligned.
const PAGE: usize = 4096;

/// Where runs are cut from.
#[derive(Default)]
pub(crate) struct Arena {
    rest: Mutex<Option<Rest>>,
}

/// The end of a mapping that nobody has yet.
struct Rest {
    map: Arc<MmapRaw>,
    start: usize,
}

/// A run of bytes that is never resized.
#[derive(Default)]
pub(crate) struct Pages {
    map: Option<Arc<MmapRaw>>,
    /// Where in the mapping the run starts.
    start: usize,
    len: usize,
}

impl Arena {
    /// So many zeros; `None` where the system has no room for them.
    pub(crate) fn pages(&self, len: usize) -> Option<Pages> {
        // An empty mapping is an error.
        if len == 0 {
            return Some(Pages { map: None, start: 0, len });
        }
        let mut rest = self.rest.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let fitting = rest.take().filter(|rest| len <= rest.map.len().saturating_sub(rest.start));
        let Rest { map, start } = match fitting {
            Some(rest) => rest,
            None => Rest::new(len)?,
        };
        let pages = Pages { map: Some(Arc::clone(&map)), start, len };
        *rest = Some(Rest { map, start: (start + len).next_multiple_of(PAGE) });
        Some(pages)
    }
}

impl Rest {
    /// A mapping with room for so many bytes that start at a huge page.
    fn new(len: usize) -> Option<Self> {
        let map = MmapMut::map_anon(len.max(CHUNK).checked_add(HUGE)?).ok()?;
        // Only a hint: a kernel without huge pages says no, and nothing is lost.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let start = map.as_ptr().addr().next_multiple_of(HUGE) - map.as_ptr().addr();
        Some(Self { map: Arc::new(map.into()), start })
    }
}

impl Pages {
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.map {
            // SAFETY: the run lies in the mapping, is initialized (to zeros) and nobody else has any of it.
            Some(map) => unsafe { std::slice::from_raw_parts(map.as_ptr().add(self.start), self.len) },
            None => &[],
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match &self.map {
            // SAFETY: as for `bytes`, and `self` is borrowed exclusively.
            Some(map) => unsafe {
                std::slice::from_raw_parts_mut(map.as_mut_ptr().add(self.start), self.len)
            },
            None => &mut [],
        }
    }
}

/// Gives memory back that others of the mapping do not let go of: where no page is longer than what runs are aligned to.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
impl Drop for Pages {
    fn drop(&mut self) {
        let Some(map) = &self.map else { return };
        let len = self.len.next_multiple_of(PAGE).min(map.len() - self.start);
        // SAFETY: nobody refers to the run any more, and runs have pages of their own.
        let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, self.start, len) };
    }
}

#[cfg(test)]
mod tests {
    use super::{Arena, CHUNK, HUGE, PAGE};

    #[test]
    fn zeroed_writable_aligned_and_apart() {
        let arena = Arena::default();
        let mut all = Vec::new();
        for len in [0, 1, PAGE, 5 << 20, CHUNK - (3 << 20), CHUNK + 1, 64] {
            let mut pages = arena.pages(len).unwrap();
            assert!(pages.bytes().len() == len && pages.bytes().iter().all(|b| *b == 0), "{len}");
            assert!(pages.bytes().as_ptr().addr().is_multiple_of(PAGE) || len == 0);
            assert!(pages.bytes().as_ptr().addr().is_multiple_of(HUGE) || len <= 5 << 20);
            pages.bytes_mut().fill(7);
            all.push(pages);
        }
        assert!(all.iter().all(|pages| pages.bytes().iter().all(|b| *b == 7)));
        // Memory that was given back is zeros again for whoever comes next.
        all.clear();
        assert!(arena.pages(1 << 20).unwrap().bytes().iter().all(|b| *b == 0));
    }

    #[test]
    fn more_than_there_is_is_none() {
        assert!(Arena::default().pages(usize::MAX).is_none());
        assert!(Arena::default().pages(1 << 60).is_none());
    }
}
