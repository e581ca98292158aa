//! Frames: u32 big-endian length, then that many bytes, opaque here.
//!
//! Where in the flow: between `ship`'s messages and the two body streams of a peer link. Pure:
//! chunks in, frames out, whatever the chunk boundaries.
//!
//! What always holds: a frame is at most [`FRAME_BYTES_MAX`]; a longer announced length is refused
//! before anything is reserved for it; memory held is at most one unfinished frame and the chunks
//! not yet taken; a frame that lies in one chunk is not copied.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::error::{Error, Result};

/// Above this a frame is refused by sender and receiver: one frame is held in memory whole on both
/// sides, and a batch of events stays well below it.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

const HEADER_BYTES: usize = 4;

/// Reserved at once for a frame that spans chunks; the rest only as its bytes arrive, so that a
/// peer cannot make us reserve 16 MiB with four bytes.
const RESERVED_BYTES_MAX: usize = 1024 * 1024;

/// The length header of a frame, or the refusal of one that is too long.
pub(crate) fn header(length: usize) -> Result<[u8; HEADER_BYTES]> {
    check_length(length)?;
    // The limit is far below u32::MAX.
    Ok((length as u32).to_be_bytes())
}

pub(crate) fn check_length(bytes: usize) -> Result<()> {
    if bytes > FRAME_BYTES_MAX {
        return Err(Error::FrameTooLarge { bytes, limit: FRAME_BYTES_MAX });
    }
    Ok(())
}

/// Puts frames together from chunks.
#[derive(Debug, Default)]
pub(crate) struct FrameDecoder {
    chunks: VecDeque<Bytes>,
    buffered_bytes: usize,
    /// The frame being put together and its full length, once its header was read.
    unfinished: Option<(usize, BytesMut)>,
}

impl FrameDecoder {
    /// Adds the next bytes of the stream. Call [`Self::next_frame`] until it gives nothing before
    /// adding more: that is what bounds the memory.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.buffered_bytes += chunk.len();
            self.chunks.push_back(chunk);
        }
    }

    /// The next whole frame, if its bytes are there.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>> {
        if self.unfinished.is_none() {
            let Some(length) = self.take_header()? else { return Ok(None) };
            if let Some(frame) = self.take_whole(length) {
                return Ok(Some(frame));
            }
            let reserved = BytesMut::with_capacity(length.min(RESERVED_BYTES_MAX));
            self.unfinished = Some((length, reserved));
        }
        self.continue_unfinished();
        match self.unfinished.take() {
            Some((length, frame)) if frame.len() == length => Ok(Some(frame.freeze())),
            unfinished => {
                self.unfinished = unfinished;
                Ok(None)
            }
        }
    }

    /// Whether the stream may end here: nothing begun is missing its rest.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.unfinished.is_none() && self.buffered_bytes == 0
    }

    fn take_header(&mut self) -> Result<Option<usize>> {
        if self.buffered_bytes < HEADER_BYTES {
            return Ok(None);
        }
        let mut header = [0; HEADER_BYTES];
        let mut filled = 0;
        while filled < HEADER_BYTES {
            let Some(front) = self.chunks.front_mut() else {
                unreachable!("buffered_bytes counts the bytes of the chunks");
            };
            let taken = front.len().min(HEADER_BYTES - filled);
            front.copy_to_slice(&mut header[filled..filled + taken]);
            filled += taken;
            self.drop_empty_front();
        }
        self.buffered_bytes -= HEADER_BYTES;
        let length = u32::from_be_bytes(header) as usize;
        check_length(length)?;
        Ok(Some(length))
    }

    /// A frame that lies within the first chunk, without copying it.
    fn take_whole(&mut self, length: usize) -> Option<Bytes> {
        if length == 0 {
            return Some(Bytes::new());
        }
        let front = self.chunks.front_mut()?;
        if front.len() < length {
            return None;
        }
        let frame = front.split_to(length);
        self.buffered_bytes -= length;
        self.drop_empty_front();
        Some(frame)
    }

    fn continue_unfinished(&mut self) {
        let Some((length, frame)) = &mut self.unfinished else { return };
        while frame.len() < *length {
            let Some(front) = self.chunks.front_mut() else { return };
            let taken = front.split_to(front.len().min(*length - frame.len()));
            self.buffered_bytes -= taken.len();
            frame.extend_from_slice(&taken);
            if front.is_empty() {
                self.chunks.pop_front();
            }
        }
    }

    fn drop_empty_front(&mut self) {
        if self.chunks.front().is_some_and(Bytes::is_empty) {
            self.chunks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            bytes.extend_from_slice(&header(frame.len()).unwrap());
            bytes.extend_from_slice(frame);
        }
        bytes
    }

    fn decode(chunks: &[&[u8]]) -> Result<(Vec<Vec<u8>>, bool)> {
        let mut decoder = FrameDecoder::default();
        let mut frames = Vec::new();
        for chunk in chunks {
            decoder.push(Bytes::copy_from_slice(chunk));
            while let Some(frame) = decoder.next_frame()? {
                frames.push(frame.to_vec());
            }
        }
        Ok((frames, decoder.is_between_frames()))
    }

    #[test]
    fn an_oversized_length_is_refused_at_its_header() {
        let length = u32::try_from(FRAME_BYTES_MAX).unwrap() + 1;
        assert!(matches!(decode(&[&length.to_be_bytes()]), Err(Error::FrameTooLarge { .. })));
        assert!(header(FRAME_BYTES_MAX).is_ok());
        assert!(header(FRAME_BYTES_MAX + 1).is_err());
    }

    #[test]
    fn an_end_inside_a_frame_is_noticed() {
        for cut in 1..=9 {
            let bytes = encode(&[vec![7; 5]]);
            let (frames, whole) = decode(&[&bytes[..cut]]).unwrap();
            assert_eq!((frames.len(), whole), (usize::from(cut == 9), cut == 9), "{cut}");
        }
    }

    #[test]
    fn a_frame_within_a_chunk_is_not_copied() {
        let mut decoder = FrameDecoder::default();
        let chunk = Bytes::from(encode(&[vec![1; 100], vec![2; 50]]));
        let first = chunk[4..].as_ptr();
        decoder.push(chunk);
        assert_eq!(decoder.next_frame().unwrap().unwrap().as_ptr(), first);
        assert_eq!(decoder.next_frame().unwrap().unwrap(), vec![2; 50]);
        assert_eq!(decoder.next_frame().unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_frames(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let bytes = encode(&frames);
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(decode(&chunks).unwrap(), (frames, true));
        }

        #[test]
        fn rubbish_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&[&bytes]);
        }
    }
}
