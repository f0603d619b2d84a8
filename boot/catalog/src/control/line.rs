//! One line out of a stream of bytes, with a bound.

use super::MAX_LINE;

/// A line that has not come to its end.
#[derive(Debug, Default)]
pub struct Line {
    bytes: Vec<u8>,
}

/// The line has more than [`MAX_LINE`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Line {
    /// Takes what has come. At the line's end: how many of the bytes are the line's, its end included.
    pub fn add(&mut self, bytes: &[u8]) -> Result<Option<usize>, TooLong> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let of_line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        if self.bytes.len().saturating_add(of_line.len()) >= MAX_LINE {
            return Err(TooLong);
        }
        self.bytes.extend_from_slice(of_line);
        Ok(end.map(|end| end.saturating_add(1)))
    }

    /// The line, without its end.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_where_it_ends_however_it_comes() {
        let mut line = Line::default();
        assert_eq!(line.add(b"ab"), Ok(None));
        assert_eq!(line.add(b"c\nde\nf"), Ok(Some(2)));
        assert_eq!(line.bytes(), b"abc");
        assert_eq!(Line::default().add(b"\n"), Ok(Some(1)));
    }

    #[test]
    fn an_endless_line_is_refused_at_the_bound() {
        let mut line = Line::default();
        assert_eq!(line.add(&[b'x'; MAX_LINE - 1]), Ok(None));
        assert_eq!(line.add(b"x"), Err(TooLong));
        assert_eq!(line.add(b"\n"), Ok(Some(1)));
        assert_eq!(line.bytes().len(), MAX_LINE - 1);
        assert_eq!(Line::default().add(&[b'x'; 2 * MAX_LINE]), Err(TooLong));
    }
}
