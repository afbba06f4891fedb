//! Memory for weights: zeroed, page-aligned, in huge pages where the system has them.
//!
//! Every token reads all weights once. With pages of 4 KiB that is a miss of the address cache every 4 KiB, and the
//! hardware's prefetch stops at each; huge pages read a fifth faster and are zeroed several times faster.

use memmap2::MmapMut;

/// A run of bytes that is never resized.
pub(crate) struct Pages {
    map: Option<MmapMut>,
    len: usize,
}

impl Pages {
    /// So many zeros; `None` where the system has no room for them.
    pub(crate) fn new(len: usize) -> Option<Self> {
        // An empty mapping is an error.
        let map = if len == 0 { None } else { Some(MmapMut::map_anon(len).ok()?) };
        #[cfg(target_os = "linux")]
        if let Some(map) = &map {
            // Only a hint: a kernel without huge pages says no, and nothing is lost.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Some(Self { map, len })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.map.as_ref().map_or(&[], |map| &map[..self.len])
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.map.as_mut().map_or(&mut [], |map| &mut map[..self.len])
    }
}

#[cfg(test)]
mod tests {
    use super::Pages;

    #[test]
    fn zeroed_writable_and_aligned_to_a_vector() {
        for len in [0, 1, 4096, 5 << 20] {
            let mut pages = Pages::new(len).unwrap();
            assert!(pages.bytes().len() == len && pages.bytes().iter().all(|b| *b == 0), "{len}");
            assert!(pages.bytes().as_ptr().addr().is_multiple_of(64) || len == 0);
            pages.bytes_mut().fill(7);
            assert!(pages.bytes().iter().all(|b| *b == 7));
        }
    }
}
