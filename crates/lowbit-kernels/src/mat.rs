//! Views of row-major matrices of f32.

/// A borrowed matrix: `rows` rows of `cols` elements, `stride` apart.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a> MatRef<'a> {
    /// A matrix without gaps between rows.
    ///
    /// # Panics
    /// Where the slice does not have `rows * cols` elements.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a {rows} by {cols} matrix");
        Self { data, rows, cols, stride: cols }
    }

    /// Rows `stride` elements apart.
    ///
    /// # Panics
    /// Where a row would not lie inside the slice or rows would overlap.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(
            rows == 0 || (cols <= stride && (rows - 1) * stride + cols <= data.len()),
            "a strided matrix fits"
        );
        Self { data, rows, cols, stride }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `i`.
    ///
    /// # Panics
    /// Where there is none.
    #[inline(always)]
    pub fn row(&self, i: usize) -> &'a [f32] {
        assert!(i < self.rows);
        &self.data[i * self.stride..][..self.cols]
    }
}

/// A mutable matrix: `rows` rows of `cols` elements, `stride` apart.
#[derive(Debug)]
pub struct MatMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a> MatMut<'a> {
    /// A matrix without gaps between rows.
    ///
    /// # Panics
    /// Where the slice does not have `rows * cols` elements.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a {rows} by {cols} matrix");
        Self { data, rows, cols, stride: cols }
    }

    /// Rows `stride` elements apart.
    ///
    /// # Panics
    /// Where a row would not lie inside the slice or rows would overlap.
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(
            rows == 0 || (cols <= stride && (rows - 1) * stride + cols <= data.len()),
            "a strided matrix fits"
        );
        Self { data, rows, cols, stride }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `i`.
    ///
    /// # Panics
    /// Where there is none.
    #[inline(always)]
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows);
        &mut self.data[i * self.stride..][..self.cols]
    }

    /// The same matrix for reading.
    pub fn as_ref(&self) -> MatRef<'_> {
        MatRef { data: self.data, rows: self.rows, cols: self.cols, stride: self.stride }
    }

    /// The same matrix, borrowed again.
    pub fn reborrow(&mut self) -> MatMut<'_> {
        MatMut { data: self.data, rows: self.rows, cols: self.cols, stride: self.stride }
    }

    /// A form whose disjoint parts several workers may write at once.
    pub fn shared(&mut self) -> SharedMut<'_> {
        SharedMut {
            data: self.data.as_mut_ptr(),
            rows: self.rows,
            cols: self.cols,
            stride: self.stride,
            life: std::marker::PhantomData,
        }
    }
}

/// A matrix that several workers write at once, each its own part.
#[derive(Clone, Copy)]
pub struct SharedMut<'a> {
    data: *mut f32,
    rows: usize,
    cols: usize,
    stride: usize,
    life: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a `&mut [f32]` whose users promise, through `part`, to touch disjoint ranges.
unsafe impl Send for SharedMut<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedMut<'_> {}

impl<'a> SharedMut<'a> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Columns `start..start + len` of row `i`.
    ///
    /// # Panics
    /// Where that is not inside the matrix.
    ///
    /// # Safety
    /// - No other live reference, on this or another thread, covers any of these elements.
    #[inline(always)]
    pub unsafe fn part(&self, i: usize, start: usize, len: usize) -> &'a mut [f32] {
        assert!(i < self.rows && start <= self.cols && len <= self.cols - start, "part of row {i}");
        // SAFETY: the range lies inside the slice by the assertion; nobody else refers to it by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(i * self.stride + start), len) }
    }
}
